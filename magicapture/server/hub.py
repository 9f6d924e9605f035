"""Adapters go to the Hugging Face Hub and come from there."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from httpx2 import HTTPError
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from magicapture.adapters.adapter import Adapter
from magicapture.adapters.card import model_card
from magicapture.adapters.info import INFO_FILE, AdapterError, AdapterInfo
from magicapture.bases.base import FOR_OTHER_TOOLS, LORA_FILE, ROWS_FILE
from magicapture.bases.words import prompt_for
from magicapture.drawing.credentials import CredentialsError, outgoing
from magicapture.drawing.portrait import read_facts
from magicapture.messages import Message, joined, own
from magicapture.server.workspace.space import FULL, SPACE
from magicapture.server.workspace.uploads import read_foreign
from magicapture.settings import settings

FILES = (LORA_FILE, ROWS_FILE, INFO_FILE)  # besides card and pictures; never the targets, which describe a face
IMAGES = "images/"
MAX_BYTES = 256_000_000  # of an adapter that is loaded
NOT_PUSHED = "The adapter was not pushed, and is safe here: {reason}."
NOT_LOADED = "{repository} was not loaded, and nothing has changed here: {reason}."
FAILURES = (HTTPError, OSError, RuntimeError, ValueError)
"""What huggingface_hub raises: refusals, broken connections, uploads that were cut, answers it cannot read."""
PUSH_ANSWERS = {
    401: ("the sign-in is not valid or has expired", "Sign in again and push once more."),
    403: ("this account has no right to write there", "Sign in with one that has, or download the zip."),
}
PULL_ANSWERS = dict.fromkeys(
    (401, 403, 404), ("there is no such repository, or it is private", "Check its id, or sign in.")
)
"""What refusals of the Hub mean, and what to do."""

Source = Literal["sign-in", "environment", "this computer"]


class HubError(Exception):
    """A push or pull that failed; the text says what failed, that nothing is lost, and what to do next."""


@dataclass(frozen=True)
class Account:
    """Who would own what is pushed, and where the right to do so comes from."""

    name: str
    source: Source


def account(oauth_token: str | None = None) -> Account | None:
    """Tell to which account a push would go; None where there is none, or the Hub does not confirm it."""
    if settings().private:
        return None
    token, source = _token(oauth_token)
    try:
        return Account(HfApi(token=token).whoami()["name"], source) if token else None
    except FAILURES:
        return None


def push(folder: Path, name: str, pictures: list[Path], oauth_token: str | None = None, private: bool = True) -> str:
    """Put the adapter saved in ``folder`` into a new repository called ``name`` and give its address.

    ``pictures``: portraits, as ``Portrait.save`` wrote them, for the card's gallery. All files arrive in one commit or
    none does; pushing the same adapter again under the same name replaces its gallery. Raises ``HubError``.
    """
    _refuse_in_private_mode()
    _check_name(name)
    info = _read(folder)
    gallery = _gallery(pictures, info.subject)
    token, _ = _token(oauth_token)
    if not token:
        raise _error(NOT_PUSHED, "sign in to the Hub first")
    with _user_errors(NOT_PUSHED, PUSH_ANSWERS):
        api = HfApi(token=token)
        repo_id = f"{api.whoami()['name']}/{name}"
        there = _create(api, repo_id, folder / LORA_FILE, private)
        content = {
            **{path: folder / path for path in (*FILES, *FOR_OTHER_TOOLS) if (folder / path).is_file()},
            INFO_FILE: info.as_json().encode(),
            "README.md": model_card(info, repo_id, [(path, prompt) for path, (_, prompt) in gallery.items()]).encode(),
            **{path: picture for path, (picture, _) in gallery.items()},
        }
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(path, data) for path, data in content.items()
        ]
        operations += [CommitOperationDelete(path) for path in there - content.keys() if path.startswith(IMAGES)]
        api.create_commit(repo_id, operations, commit_message="Add a MagiCapture adapter")
    return f"{api.endpoint}/{repo_id}"


def pull(repo_id: str, into: Path, oauth_token: str | None = None) -> Adapter:
    """Load the adapter of the repository ``repo_id``, check it, and save it as the folder ``into``.

    ``into`` must not exist; it appears with all files or not at all. The adapter must have been trained on a base that
    this installation knows. Raises ``HubError``.
    """
    _refuse_in_private_mode()
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        reason = 'its name must read "account/repository", as on its page on the Hub'
        raise _error(NOT_LOADED, reason, repository=repo_id) from None
    into.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".pull-", dir=into.parent) as temporary:
        folder = Path(temporary, "from-hub", repo_id)
        with _user_errors(NOT_LOADED, PULL_ANSWERS, repository=repo_id):
            _download(HfApi(token=_token(oauth_token)[0]), repo_id, folder)
        try:
            adapter = read_foreign(folder)
        except AdapterError as error:
            failed = "{repository} was not loaded, and nothing has changed here; choose another adapter."
            raise HubError(joined(" ", Message(failed, repository=repo_id), str(error))) from error
        adapter.save(Path(temporary, "checked")).rename(into)
    return adapter


def _token(oauth_token: str | None) -> tuple[str | Literal[False], Source]:
    """Give the token to use and where it comes from; False keeps huggingface_hub from looking for the host's own."""
    if oauth_token or not settings().lends_host_token:  # what lies there is the owner's, not the visitor's
        return oauth_token or False, "sign-in"
    return get_token() or False, "environment" if os.environ.get("HF_TOKEN") else "this computer"


def _refuse_in_private_mode() -> None:
    if settings().private:
        raise HubError(
            "The Hub is out of reach: this installation opens no outgoing connection (MAGICAPTURE_PRIVATE=1). "
            "Nothing is lost; adapters can be downloaded and uploaded as zip files."
        )


def _check_name(name: str) -> None:
    try:
        validate_repo_id(f"account/{name}")
    except HFValidationError:
        advice = (
            "Use up to 96 letters (A–Z), digits, dots, single hyphens and underscores, beginning and ending with a "
            "letter or digit."
        )
        raise _error(NOT_PUSHED, Message("{name} cannot be a repository's name", name=repr(name)), advice) from None


def _read(folder: Path) -> AdapterInfo:
    """Give the adapter's facts without its title, which is the visitor's own note."""
    try:
        info = Adapter.load(folder).info
    except AdapterError as error:
        raise HubError(joined(" ", "Nothing was pushed; choose another adapter.", str(error))) from error
    return replace(info, title=None)


def _gallery(pictures: list[Path], noun: str) -> dict[str, tuple[bytes, str]]:
    """Give picture and prompt by path in the repository; refuses pictures that were not drawn here, such as photos."""
    gallery = {}
    for number, picture in enumerate(pictures, start=1):
        try:
            extras = read_facts(picture)["prompt"]
            content = outgoing(picture)
        except CredentialsError as error:
            changed = Message("{name} was changed since it was signed", name=picture.name)
            raise _error(NOT_PUSHED, changed, "Untick it and push again.") from error
        except (OSError, AttributeError, KeyError, ValueError) as error:
            other = "{name} is not a portrait that was drawn here, and nothing else may stand in the gallery"
            raise _error(NOT_PUSHED, Message(other, name=picture.name), "Untick it and push again.") from error
        prompt = ", ".join(filter(None, (prompt_for("composed", noun=noun), extras)))
        gallery[f"{IMAGES}{number}.png"] = content, prompt
    return gallery


def _create(api: HfApi, repo_id: str, weights: Path, private: bool) -> set[str]:
    """Create the repository, or find the one that an earlier push of ``weights`` left; gives the files in it."""
    try:
        api.create_repo(repo_id, private=private)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
    else:
        return set()
    there = _left_by_a_push(api, repo_id, weights, private)
    if there is None:
        taken = "there is a repository {repository} already, with other content or another visibility"
        advice = "Nothing was changed in it; choose another name, such as {name}."
        another = f"{repo_id.split('/')[1]}-2"
        raise _error(NOT_PUSHED, Message(taken, repository=repo_id), Message(advice, name=another))
    return there


def _left_by_a_push(api: HfApi, repo_id: str, weights: Path, private: bool) -> set[str] | None:
    """Give the files in the repository if it is empty, or full of the same weights, else None.

    A push that was cut leaves it empty, because there is one commit; it is full if only the Hub's answer was lost.
    """
    try:
        info = api.model_info(repo_id, files_metadata=True)
    except RepositoryNotFoundError:  # a signed-in visitor lends the app only the repositories that it made itself
        return None
    there = {file.rfilename: file for file in info.siblings or ()}
    lfs = there[LORA_FILE].lfs if LORA_FILE in there else None
    with weights.open("rb") as file:
        same = lfs is not None and lfs.sha256 == hashlib.file_digest(file, "sha256").hexdigest()
    return set(there) if info.private == private and (same or there.keys() <= {".gitattributes"}) else None


def _download(api: HfApi, repo_id: str, folder: Path) -> None:
    """Fetch the adapter's files, and no other, once their sizes are known to be within bounds and to have room."""
    info = api.model_info(repo_id, files_metadata=True)
    sizes = {file.rfilename: file.size for file in info.siblings or ()}
    missing = [name for name in FILES if sizes.get(name) is None]
    if missing:
        reason = Message("it holds no adapter of this app, for it lacks {files}", files=", ".join(missing))
        raise _error(NOT_LOADED, reason, "Choose a repository that was pushed from here.", repository=repo_id)
    size = sum(sizes[name] or 0 for name in FILES)
    if size > MAX_BYTES:
        large = "its files have {n} MB, and an adapter may have at most {m} MB"
        reason = Message(large, n=size // 10**6, m=MAX_BYTES // 10**6)
        raise _error(NOT_LOADED, reason, "Choose a smaller one.", repository=repo_id)
    if not SPACE.take(2 * size, settings().root, settings().disk_bytes):  # as it comes, and once it is checked
        raise HubError(FULL)
    for name in FILES:
        api.hf_hub_download(repo_id, name, revision=info.sha, local_dir=folder)


def _error(failed: str, reason: str, advice: str = "", **values: Any) -> HubError:
    """Give the error that says what ``failed``, a sentence with a place for the ``reason``, and what to do."""
    return HubError(joined(" ", Message(failed, reason=own(reason), **values), advice))


@contextmanager
def _user_errors(failed: str, answers: Mapping[int, tuple[str, str]], **values: Any) -> Iterator[None]:
    """Turn what huggingface_hub raises into a ``HubError`` that begins with ``failed``."""
    try:
        yield
    except FAILURES as error:
        raise _error(failed, *_reason(error, answers), **values) from error


def _reason(error: BaseException, answers: Mapping[int, tuple[str, str]]) -> tuple[str, str]:
    """Give why it failed and what to do, by the first cause that says something.

    An upload's failure hides the Hub's answer behind its own.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HfHubHTTPError):
        cause = cause.__cause__
    if cause is not None:
        status = cause.response.status_code
        unknown = Message("the Hub answered with the error {n}", n=status), "Try again in a few minutes."
        return answers.get(status, unknown)
    if isinstance(error, ValueError):
        advice = "Download the zip instead, or try again later."
        return Message("the Hub did not accept it ({error})", error=error), advice
    return "the connection to the Hub broke off or could not be made", "Try again: it takes up where it stopped."
