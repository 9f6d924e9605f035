"""Who was forgotten at their wish: salted hashes of ids, so that the next run does not begin with them anew."""

import hashlib
import json
import secrets
from datetime import UTC, datetime

from magicapture.staff.manifest import Row
from magicapture.staff.run_folder import RunFolder

FORGOTTEN = "forgotten.json"


def remember(folder: RunFolder, person_id: str) -> None:
    """Note that a person is not to be computed again unless they agree anew."""
    known = _known(folder)
    known["hashes"][_hash(known["salt"], person_id)] = datetime.now(UTC).isoformat()
    folder.write_json(FORGOTTEN, known)


def is_forgotten(folder: RunFolder, row: Row) -> bool:
    """Tell whether the person of ``row`` was forgotten, and has not agreed anew since."""
    known = _known(folder)
    when = known["hashes"].get(_hash(known["salt"], row.person_id))
    if when is None or not row.consented:
        return when is not None
    return datetime.fromisoformat(row.consent_at) <= datetime.fromisoformat(when)


def _known(folder: RunFolder) -> dict:
    path = folder.folder / FORGOTTEN
    return json.loads(path.read_text()) if path.is_file() else {"salt": secrets.token_hex(16), "hashes": {}}


def _hash(salt: str, name: str) -> str:
    return hashlib.sha256(f"{salt}\n{name}".encode()).hexdigest()
