"""The Space's entry: load the models, build the page, serve it."""
# ruff: noqa: E402  what stands before the imports sets what they read

import os
import sys
import tempfile
from dataclasses import replace

from magicapture.offline import go_offline
from magicapture.settings import TEMPORARY_FILES, make_root, settings

if settings().private:
    go_offline()
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported, as are the next
os.environ["GRADIO_SERVER_NAME"] = settings().server_name  # where it is empty, gradio would serve to everyone
os.environ["GRADIO_SERVER_PORT"] = str(settings().server_port)
make_root(settings().root)
tempfile.tempdir = str(settings().root / TEMPORARY_FILES)
os.environ["FORWARDED_ALLOW_IPS"] = settings().proxies  # read by uvicorn
os.environ["GRADIO_TEMP_DIR"] = str(settings().served)  # so that what visitors have lies in one place, without copies

import spaces  # noqa: F401  ZeroGPU needs it imported before torch

from magicapture.bases import BaseError, load_base
from magicapture.drawing.credentials import credentials
from magicapture.faces import EngineUnavailableError, load_engine
from magicapture.server.drawings import Drawings
from magicapture.server.elsewhere import ClusterError
from magicapture.server.gate import guard_events, guard_uploads, layers
from magicapture.server.gate.queue import THREADS, bound_queue
from magicapture.server.gate.sign_in import checks_password
from magicapture.server.gate.visits import PAGES_IN_ALL
from magicapture.server.gpu import prepare
from magicapture.server.jobs import TRAININGS, Jobs
from magicapture.server.metrics import serve_metrics
from magicapture.server.queue import Limits
from magicapture.server.records import Records
from magicapture.server.workspace import keep_sweeping
from magicapture.things.networks import ThingNetworkError
from magicapture.ui.examples import EXAMPLES
from magicapture.ui.language import hand_to_browser, translate
from magicapture.ui.page import build_page
from magicapture.ui.session import AppContext, OwnBase
from magicapture.ui.theme import CSS, THEME

MAX_FILE_SIZE = "300mb"  # of an uploaded adapter; photos have a bound of their own


def opened_records() -> Records:
    """Open the records; exits with a sentence where they cannot be, or where a certificate will not do."""
    try:
        credentials()  # known before anyone draws
        return Records(settings().database_url)
    except ValueError as error:
        sys.exit(str(error))


def loaded(records: Records) -> AppContext:
    """Load what everyone shares; exits with a sentence where what was chosen cannot be had here."""
    per_visitor, per_address = settings().jobs_per_visitor, settings().jobs_per_address
    jobs = Jobs(records, replace(TRAININGS, per_visitor=per_visitor, per_address=per_address))
    drawings = Drawings(records, Limits(per_visitor=3, per_address=settings().drawings_per_address, in_all=48))
    keep_sweeping(settings(), records)
    try:
        prepare()
        base, engine = OwnBase.of(load_base()), load_engine()
    except (BaseError, ClusterError, EngineUnavailableError, ThingNetworkError) as error:
        sys.exit(str(error))
    return AppContext(base, engine, settings(), records, jobs, drawings)


def main() -> None:
    """Serve the page; ``GRADIO_SERVER_NAME`` and ``GRADIO_SERVER_PORT`` say where."""
    context = loaded(opened_records())
    context.jobs.recover()
    if settings().metrics_port:
        serve_metrics(settings().metrics_port, context.records)
    guard_uploads()
    guard_events(translate)
    page = build_page(context)
    page.queue(api_open=False)
    bound_queue(page)
    page.launch(
        theme=THEME,
        css=CSS,
        i18n=hand_to_browser(page),
        allowed_paths=[str(EXAMPLES)],
        auth=checks_password(settings().users) if settings().users else None,
        max_file_size=MAX_FILE_SIZE,
        app_kwargs={"middleware": layers(settings(), translate)},
        enable_monitoring=False,  # it would show everyone's requests
        mcp_server=not settings().users,  # its tools would be open to those who are not signed in
        footer_links=[],
        run_history=False,  # it would keep photos of faces in the browser
        ssr_mode=False,
        max_threads=THREADS,
        state_session_capacity=PAGES_IN_ALL,
        share=False,
    )


if __name__ == "__main__":
    main()
