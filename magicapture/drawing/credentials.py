"""Content credentials: a signature in a portrait's file that says who made it, and that a trained model did.

They follow C2PA (https://spec.c2pa.org), by the library of those who write that standard. The certificate is the
installation's own: none comes with this program. Nothing is asked of another machine, but of a time-stamp server where
one was set; thumbnails, which would hold the face once more, are left out.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import ModuleType
from typing import TYPE_CHECKING, Self

from PIL import Image

from magicapture.messages import Message
from magicapture.settings import settings

if TYPE_CHECKING:
    from c2pa import Context

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
TYPES = {".png": "image/png", ".jpg": "image/jpeg"}
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
"""c2pa's own: look nothing up elsewhere, and embed no small copy of the picture."""
UNSIGNED = (
    "A portrait could not be signed ({reason}). Whoever runs this page has to look at MAGICAPTURE_C2PA_CERT and "
    "MAGICAPTURE_C2PA_KEY: the certificate must be for signing, still hold, and belong to the key."
)


class CredentialsError(ValueError):
    """A portrait that cannot be signed, or was changed since it was; the text says which and what to do."""


@dataclass(frozen=True, eq=False)
class Credentials:
    """What portraits are signed with. ``context``: c2pa's, which holds the signer."""

    context: "Context" = field(repr=False)

    @classmethod
    def load(cls, certificate: str, key: str, time_stamps: str = "") -> Self:
        """Read a chain of certificates, the signer's first, and its key: files in PEM, or their content.

        ``time_stamps``: the address of an RFC 3161 server, or nothing. Signs once, so that a certificate that will not
        do is known at once. Raises ``ValueError`` that says what to mend.
        """
        c2pa = _library()
        chain, secret = _pem("CERT", certificate), _pem("KEY", key)
        try:
            info = c2pa.C2paSignerInfo(_algorithm(secret), chain.encode(), secret.encode(), time_stamps or None)
            signer = c2pa.Signer.from_info(info)
            mine = cls(c2pa.Context.from_dict(SETTINGS, signer=signer))
        except c2pa.C2paError as error:
            raise ValueError(f"MAGICAPTURE_C2PA_CERT and _KEY cannot be used for signing: {error}") from error
        probe = BytesIO()
        Image.new("RGB", (8, 8)).save(probe, "PNG")
        mine.sign(probe.getvalue(), "image/png")
        return mine

    def sign(self, picture: bytes, kind: str) -> bytes:
        """Give a PNG or JPEG, whose type is ``kind``, with its credentials in it. Raises ``CredentialsError``."""
        c2pa = _library()
        who = {"claim_generator_info": [{"name": "MagiCapture"}], "format": kind}
        signed = BytesIO()
        try:
            with c2pa.Builder(who, context=self.context) as builder:
                builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA)
                builder.sign(kind, BytesIO(picture), signed)
        except c2pa.C2paError as error:
            raise CredentialsError(Message(UNSIGNED, reason=str(error))) from error
        if state(signed.getvalue(), kind) not in ("Valid", "Trusted"):
            raise CredentialsError(Message(UNSIGNED, reason=Message("it would not hold")))
        return signed.getvalue()


@lru_cache(maxsize=1)
def credentials() -> Credentials | None:
    """Give what this installation signs with; None where no certificate is set. Raises ``ValueError``."""
    here = settings()
    return Credentials.load(here.c2pa_cert, here.c2pa_key, here.c2pa_time_stamps) if here.c2pa_cert else None


def state(picture: bytes, kind: str) -> str | None:
    """Tell what becomes of a picture's credentials when they are checked; None if it has none.

    "Valid": nothing was changed since it was signed as drawn by a model; "Trusted": and the signer is known here, too;
    "Invalid": it was changed, or says something else.
    """
    c2pa = _library()
    with c2pa.Context.from_dict(SETTINGS) as context:
        try:
            reader = c2pa.Reader.try_create(kind, BytesIO(picture), context=context)
        except c2pa.C2paError:
            return "Invalid"
        if reader is None:
            return None
        with reader:
            says = reader.get_active_manifest() or {}
            return reader.get_validation_state() if _is_drawn(says) else "Invalid"


def outgoing(path: Path) -> bytes:
    """Give the portrait in the file ``path`` as it may leave: as it is, or signed if this installation signs.

    Raises ``CredentialsError`` if it was changed since it was signed.
    """
    picture, mine = path.read_bytes(), credentials()
    if mine is None:
        return picture
    kind = TYPES[path.suffix]
    found = state(picture, kind)
    if found == "Invalid":
        changed = "{name} was changed since it was signed, and does not leave as it is: delete it and draw it again."
        raise CredentialsError(Message(changed, name=path.name))
    return picture if found else mine.sign(picture, kind)


def make_outgoing(path: Path) -> None:
    """Let the file ``path`` hold what ``outgoing`` gives; its age stays. Raises ``CredentialsError``."""
    if credentials() is None:
        return
    before = path.stat()
    _make_outgoing_once(path, before.st_mtime_ns, before.st_size)


@lru_cache(maxsize=4096)
def _make_outgoing_once(path: Path, age: int, size: int) -> None:
    """Remember what was found in order, until the file changes."""
    picture = outgoing(path)
    if len(picture) == size:
        return
    with NamedTemporaryFile(delete=False) as file:
        file.write(picture)
    try:
        os.utime(file.name, ns=(age, age))
        Path(file.name).replace(path)
    finally:
        with suppress(FileNotFoundError):
            Path(file.name).unlink()


def withheld(paths: Iterable[Path]) -> dict[Path, str]:
    """Let each of the files hold what ``outgoing`` gives; gives those that may not leave, and why not."""
    reasons = {}
    for path in paths:
        try:
            make_outgoing(path)
        except CredentialsError as error:
            reasons[path] = str(error)
    return reasons


def _library() -> ModuleType:
    try:
        import c2pa  # noqa: PLC0415  an extra, and slow to load
    except ImportError as error:
        raise ValueError("MAGICAPTURE_C2PA_CERT needs a package: pip install -r requirements-c2pa.txt") from error
    return c2pa


def _is_drawn(manifest: dict) -> bool:
    """Tell a manifest that says that a trained model made the picture."""
    actions = [a for found in manifest.get("assertions", []) for a in found.get("data", {}).get("actions", [])]
    return any(action.get("digitalSourceType") == TRAINED for action in actions)


def _pem(name: str, text: str) -> str:
    """Read a PEM, which a variable names as a file or holds itself, as a Space's secrets do."""
    if text.lstrip().startswith("-----BEGIN"):
        return text
    try:
        return Path(text).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"MAGICAPTURE_C2PA_{name} must name a file in PEM, or hold it; it is not one.") from error


def _algorithm(key: str) -> str:
    """Tell which of C2PA's algorithms fits a key (C2PA 2.4, section 13.2)."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415  c2pa's own dependency
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        found = load_pem_private_key(key.encode(), None)
    except (TypeError, ValueError) as error:
        raise ValueError("MAGICAPTURE_C2PA_KEY must be a private key in PEM without a passphrase.") from error
    match found:
        case ec.EllipticCurvePrivateKey(key_size=256 | 384 | 521):
            return {256: "es256", 384: "es384", 521: "es512"}[found.key_size]
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey():
            return "ps256"
    raise ValueError("MAGICAPTURE_C2PA_KEY is of a kind that content credentials do not know: use P-256.")
