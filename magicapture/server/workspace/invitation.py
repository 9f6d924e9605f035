"""A visitor's folder that was prepared for somebody, and the one-time link that leads to it.

A link holds a token of 256 random bits, and nothing of it is kept: the visitor's key is a hash of it, and the folder is
named by a hash of the key, so that a link is known by its folder being there. The folder is swept when the time of
results is up, and the link leads nowhere then.
"""

import base64
import json
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from magicapture.server.workspace.folder import TEMPORARY, VisitorFolder

INVITATION, OPENED = "review/invitation.json", "review/opened.json"
"""In the visitor's folder, before the link was used and after."""
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
UNKNOWN = "This link leads nowhere: it is not whole, its time is up, or what it led to was deleted."
USED = "This link was opened before. Go on in the browser where that was, or ask for a new link."


class InvitationError(ValueError):
    """A link that opens nothing; the text says why and what to do."""


@dataclass(frozen=True)
class Invitation:
    """For whom a folder was prepared: ``person`` is a number in the folder ``run``; ``expires``: when it is swept."""

    run: Path
    person: int
    expires: datetime

    @classmethod
    def of(cls, folder: VisitorFolder) -> Self | None:
        """Read the invitation of a visitor's folder, opened or not; None of an ordinary visitor's."""
        for name in (OPENED, INVITATION):
            with suppress(FileNotFoundError):
                facts = json.loads((folder.folder / name).read_text())
                return cls(Path(facts["run"]), facts["person"], datetime.fromisoformat(facts["expires"]))
        return None

    def as_json(self) -> str:
        """Give what ``of`` reads."""
        return json.dumps({"run": str(self.run), "person": self.person, "expires": self.expires.isoformat()})


def new_token() -> str:
    """Draw the secret of a link."""
    return secrets.token_urlsafe(32)


def key_of(token: str) -> str:
    """Give the visitor's key that a link's token stands for."""
    return base64.urlsafe_b64encode(sha256(f"invitation\n{token}".encode()).digest()).decode().rstrip("=")


def prepare(token: str, invitation: Invitation, files: Mapping[str, bytes], root: Path | None = None) -> VisitorFolder:
    """Make the folder that the link with ``token`` leads to, with ``files`` by their path in it; it appears at once."""
    visitor = VisitorFolder.of(key_of(token), root)
    served = visitor.folder.parent
    served.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=TEMPORARY, dir=served) as place:
        folder = Path(place) / visitor.name
        for name, data in {**files, INVITATION: invitation.as_json().encode()}.items():
            (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        folder.chmod(0o700)
        folder.rename(visitor.folder)
    return visitor


def open_once(token: str, root: Path | None = None) -> str:
    """Use a link up; gives the key of the visitor that it leads to. Raises ``InvitationError``."""
    if not TOKEN.fullmatch(token):
        raise InvitationError(UNKNOWN)
    visitor = VisitorFolder.of(key_of(token), root)
    invitation = Invitation.of(visitor)
    if invitation is None or invitation.expires <= datetime.now(UTC):
        raise InvitationError(UNKNOWN)
    try:
        (visitor.folder / INVITATION).rename(visitor.folder / OPENED)  # of two at a time, one finds it
    except FileNotFoundError as error:
        raise InvitationError(USED) from error
    return key_of(token)
