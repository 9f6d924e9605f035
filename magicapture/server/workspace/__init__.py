"""What is kept of a visitor's files, for how long, and its deletion."""

from magicapture.server.workspace.folder import WorkspaceError, new_key
from magicapture.server.workspace.portraits import KeptPortrait, PortraitGoneError, TooLittleLikenessError
from magicapture.server.workspace.retention import keep_sweeping, sweep
from magicapture.server.workspace.shelf import StoredAdapter
from magicapture.server.workspace.visitor import Workspace

__all__ = [
    "KeptPortrait",
    "PortraitGoneError",
    "StoredAdapter",
    "TooLittleLikenessError",
    "Workspace",
    "WorkspaceError",
    "keep_sweeping",
    "new_key",
    "sweep",
]
