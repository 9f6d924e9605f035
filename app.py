"""The Space's entry: load the models, build the page, serve it."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import spaces  # noqa: F401  ZeroGPU needs it imported before torch

from magicapture.bases import load_base
from magicapture.faces import load_engine
from magicapture.ui.examples import EXAMPLES
from magicapture.ui.page import build_page
from magicapture.ui.theme import CSS, THEME

MAX_FILE_SIZE = "30mb"


def main() -> None:
    """Serve the page; ``GRADIO_SERVER_NAME`` and ``GRADIO_SERVER_PORT`` say where."""
    page = build_page(load_base(), load_engine())
    page.queue(max_size=20).launch(
        theme=THEME,
        css=CSS,
        allowed_paths=[str(EXAMPLES)],
        max_file_size=MAX_FILE_SIZE,
        footer_links=[],
        run_history=False,  # it would keep photos of faces in the browser
        ssr_mode=False,
        share=False,
    )


if __name__ == "__main__":
    main()
