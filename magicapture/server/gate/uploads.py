"""How Gradio takes files in: what of it would let visitors meet, or be fetched or held for them."""

from secrets import token_bytes

import gradio as gr
from gradio import processing_utils, route_utils, routes
from starlette.formparsers import MultiPartException

MAX_FIELD_BYTES = 2**16
"""Of a field of a form that is no file: it is held in memory."""
MAX_FILES = 40


class _Upload(route_utils.GradioUploadFile):
    """An upload that is stored under an unguessable name, even if another one has the same content."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.sha.update(token_bytes(32))


class _Parser(route_utils.GradioMultiPartParser):
    """A reader of forms that holds no large field and opens no thousand files."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **(options | {"max_files": MAX_FILES, "max_fields": MAX_FILES}))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Take some of a part in. Raises ``MultiPartException`` when a field gets too large."""
        if self._current_part.file is None and len(self._current_part.data) + end - start > MAX_FIELD_BYTES:
            raise MultiPartException("A field of this form exceeds the maximum allowed size: send files as files.")
        super().on_part_data(data, start, end)


async def _refuse_download(url: str, *_where: object, **_options: object) -> str:
    raise gr.Error(f"Nothing is fetched from elsewhere: upload {url[:200]} as a file.", print_exception=False)


def guard_uploads() -> None:
    """Let every visitor's upload lie apart, hold nothing large in memory, and fetch nothing for anyone.

    Gradio stores equal files once, so when one visitor's upload has been dealt with, another's would be gone. And where
    an event names an address as a file, it would fetch that, of any size, before the event's function is asked.
    """
    route_utils.GradioUploadFile = _Upload
    route_utils.GradioMultiPartParser = routes.GradioMultiPartParser = _Parser
    processing_utils.async_ssrf_protected_download = _refuse_download
