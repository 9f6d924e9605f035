"""What one visitor has on the page: values in ``gr.State``, seen by that visitor alone and gone with the tab."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Session:
    """The states that the tabs share.

    ``person`` and ``style``: ``CheckedSet`` or None; ``adapter``: ``Adapter`` or None; ``folder``: a ``Path`` for files
    to download, deleted when the visitor has left.
    """

    person: gr.State
    style: gr.State
    adapter: gr.State
    folder: gr.State


def new_session() -> Session:
    """Create the states; call it while the page is being built."""
    return Session(
        person=gr.State(time_to_live=KEPT_SECONDS),
        style=gr.State(time_to_live=KEPT_SECONDS),
        adapter=gr.State(time_to_live=KEPT_SECONDS),
        folder=gr.State(time_to_live=KEPT_SECONDS, delete_callback=delete_folder),
    )


def new_folder() -> Path:
    """Make an empty folder for one visitor's files."""
    return Path(tempfile.mkdtemp(prefix="magicapture-"))


def delete_folder(folder: Path | None) -> None:
    """Delete a visitor's files."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
