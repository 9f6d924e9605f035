"""Files that programs send: which they may name, and that nothing stays of them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import gradio as gr
from gradio.processing_utils import save_base64_to_cache

from magicapture.messages import Message
from magicapture.photos.references import MAX_PHOTOS
from magicapture.server.workspace import Workspace, WorkspaceError, new_key
from magicapture.settings import Settings

Files = list[gr.FileData]
"""What endpoints declare. gradio_client sends a ``dict`` for each, MCP clients a ``str``: an address or a data: URI."""

ROUTE = "/gradio_api/file="
MAX_CHARACTERS = 40 * 2**20
"""Of a data: URI: 30 MB of picture."""
REFUSAL = (
    "This is no file that was uploaded here: pass handle_file(path) of gradio_client, a data: URI, or the address that "
    "this server gave to an upload."
)


@contextmanager
def received(settings: Settings, *groups: list[dict | str]) -> Iterator[list[list[Path]]]:
    """Give a path for each file, group by group. They and the uploads are gone afterwards, whatever happens.

    The paths are links of their own: Gradio stores equal uploads once, and one file may be in several groups. Raises
    ``WorkspaceError`` for all but uploads, such as a path into some visitor's folder.
    """
    if not all(isinstance(group, list) and len(group) <= MAX_PHOTOS for group in groups):
        raise WorkspaceError(Message("Pass a list of at most {n} files.", n=MAX_PHOTOS))
    with ExitStack() as stack:
        found = [[_upload(settings.served, file) for file in group] for group in groups]
        for path in filter(None, chain.from_iterable(found)):
            stack.callback(_discard, path)
        if None in chain.from_iterable(found):
            raise WorkspaceError(REFUSAL)
        yield [[_linked(path, stack) for path in group if path] for group in found]


@contextmanager
def guest() -> Iterator[Workspace]:
    """Give the workspace of someone who leaves nothing behind."""
    workspace = Workspace.of(new_key())
    try:
        yield workspace
    finally:
        workspace.delete_everything()


def _upload(served: Path, file: dict | str) -> Path | None:
    """Find the upload that is meant, ``served/<hash of the content>/<name>``; visitors' own files lie deeper."""
    with suppress(OSError, ValueError, LookupError):  # too long a name, a null character, no base64, no path
        path = Path(_named(served, file)).resolve()
        return path if path.parent.parent == served and path.is_file() else None
    return None


def _named(served: Path, file: dict | str) -> str:
    if isinstance(file, dict):
        return file["path"]
    if file.startswith("data:") and len(file) <= MAX_CHARACTERS:
        return save_base64_to_cache(file, str(served))
    return unquote(file.partition(ROUTE)[2]) or file


def _linked(path: Path, stack: ExitStack) -> Path:
    place = Path(stack.enter_context(TemporaryDirectory(dir=path.parent.parent)))
    (place / path.name).hardlink_to(path)
    return place / path.name


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)
    with suppress(OSError):  # uploads of one content under several names share a folder
        path.parent.rmdir()
