"""A Hub on this machine: as much of its protocol as huggingface_hub's client needs for models and data sets.

Follows https://huggingface.co/docs/hub/api and Git LFS's batch API with the basic transfer.
"""

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import unquote, urlsplit

WRITER, READER = "hf_writer", "hf_reader"
"""The tokens of two accounts; the second may read and nothing else."""
ACCOUNTS = {WRITER: "mona", READER: "lisa"}
LFS_ENDINGS = (".safetensors", ".png", ".bin")


@dataclass
class Repository:
    """A model or data set: its files as after the last commit. ``sizes`` overrides what is said of a file's size."""

    private: bool = True
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs\n"})
    sizes: dict[str, int] = field(default_factory=dict)
    commits: int = 0

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{self.commits}".encode()).hexdigest()


class Hub(ThreadingHTTPServer):
    """What the Hub keeps, what it was asked, and how it is to fail."""

    daemon_threads = True

    def __init__(self, handler: "type[Handler] | None" = None) -> None:
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []  # method, path, token
        self.hidden: set[str] = set()  # repositories that are there, and outside the token's scope
        self.cut_uploads = False  # in the middle of each file
        self.hold_uploads = False  # there, too, until the client is gone
        self.held = Event()
        self.lose_commits = False  # accept them, and break off before the answer
        self.url = f"http://127.0.0.1:{self.server_port}"

    def asked(self, method: str, part: str) -> int:
        return sum(method == m and part in path for m, path, _ in self.requests)

    def handle_error(self, request, client_address) -> None:
        """Say nothing: broken connections are part of the play."""


class RefusalError(Exception):
    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hub

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the base class asks for these names

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.requests.append((self.command, path, self.token))
        self.length = int(self.headers.get("Content-Length", 0))
        try:
            if path.startswith("/lfs/"):  # on the Hub, a storage with addresses of its own: no token
                return self._put_blob(path.removeprefix("/lfs/"))
            self.body = self.rfile.read(self.length)
            return self._route(path)
        except RefusalError as refusal:
            headers = {"X-Error-Message": str(refusal), "X-Error-Code": refusal.code}
            return self._send(json.dumps({"error": str(refusal)}).encode(), headers, refusal.status)

    def _route(self, path: str) -> None:
        if self.token and self.token not in ACCOUNTS:
            raise RefusalError(401, "Invalid credentials in Authorization header")
        self.account = ACCOUNTS.get(self.token)
        if path == "/api/whoami-v2":
            return self._send_json({"type": "user", "name": self.account})
        if path == "/api/validate-yaml":
            return self._send_json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(self.body))
        if path == "/api/repos/delete":
            return self._delete(json.loads(self.body))
        if "/resolve/" in path:
            repo_id, _, place = path[1:].removeprefix("datasets/").partition("/resolve/")
            return self._file(self._repository(repo_id), place.split("/", 1)[1])
        if path.endswith(".git/info/lfs/objects/batch"):
            self._require_writer()
            return self._send_json({"objects": [self._lfs_object(**f) for f in json.loads(self.body)["objects"]]})
        repo_id, action = "/".join(path.split("/")[3:5]), path.split("/")[5:6]
        repository = self._repository(repo_id)
        if action == ["preupload"]:
            return self._send_json({"files": [self._mode(f["path"]) for f in json.loads(self.body)["files"]]})
        if action == ["commit"]:
            return self._commit(repo_id, repository)
        if action == ["tree"]:
            return self._send_json([self._leaf(repository, name) for name in repository.files])
        return self._send_json(
            {
                "id": repo_id,
                "sha": repository.sha,
                "private": repository.private,
                "siblings": [self._sibling(repository, name) for name in repository.files],
            }
        )

    def _require_writer(self) -> None:
        if self.token != WRITER:
            raise RefusalError(403, "You don't have the rights to write here")

    def _repository(self, repo_id: str) -> Repository:
        repository = self.server.repositories.get(repo_id)
        if (
            repository is None
            or repo_id in self.server.hidden
            or (repository.private and not repo_id.startswith(f"{self.account}/"))
        ):
            raise RefusalError(404 if self.token else 401, "Repository not found", "RepoNotFound")
        return repository

    def _create(self, wanted: dict) -> None:
        self._require_writer()
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        if repo_id in self.server.repositories:
            raise RefusalError(409, "You already created this model repo")
        self.server.repositories[repo_id] = Repository(private=wanted["visibility"] == "private")
        self._send_json({"url": f"{self.server.url}/{repo_id}", "id": repo_id})

    def _delete(self, wanted: dict) -> None:
        self._require_writer()
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        self._repository(repo_id)
        del self.server.repositories[repo_id]
        self._send_json({})

    def _mode(self, name: str) -> dict:
        return {"path": name, "uploadMode": "lfs" if name.endswith(LFS_ENDINGS) else "regular", "shouldIgnore": False}

    def _lfs_object(self, oid: str, size: int) -> dict:
        upload = {"actions": {"upload": {"href": f"{self.server.url}/lfs/{oid}"}}}
        return {"oid": oid, "size": size} | ({} if oid in self.server.blobs else upload)

    def _put_blob(self, oid: str) -> None:
        if self.server.cut_uploads or self.server.hold_uploads:
            self.rfile.read(self.length // 2)
            if self.server.hold_uploads:
                self.server.held.set()
                self.rfile.read(self.length)  # more than is still to come
            return self._cut()
        data = self.rfile.read(self.length)
        if hashlib.sha256(data).hexdigest() != oid:
            raise RefusalError(400, "The content has another hash")
        self.server.blobs[oid] = data
        return self._send(b"")

    def _commit(self, repo_id: str, repository: Repository) -> None:
        self._require_writer()
        files = dict(repository.files)
        for operation in map(json.loads, self.body.splitlines()):
            match operation["key"], operation["value"]:
                case "file", value:
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile", value:
                    files[value["path"]] = self.server.blobs[value["oid"]]
                case "deletedFile", value:
                    del files[value["path"]]
        repository.files, repository.commits = files, repository.commits + 1
        if self.server.lose_commits:
            return self._cut()
        url = f"{self.server.url}/{repo_id}/commit/{repository.sha}"
        return self._send_json({"success": True, "commitOid": repository.sha, "commitUrl": url})

    def _sibling(self, repository: Repository, name: str) -> dict:
        data = repository.files[name]
        entry = {"rfilename": name, "size": repository.sizes.get(name, len(data)), "blobId": "0" * 40}
        if name.endswith(LFS_ENDINGS):
            entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": entry["size"], "pointerSize": 130}
        return entry

    def _leaf(self, repository: Repository, name: str) -> dict:
        return {"type": "file", "path": name, "size": len(repository.files[name]), "oid": "0" * 40}

    def _file(self, repository: Repository, name: str) -> None:
        if name not in repository.files:
            raise RefusalError(404, "Entry not found", "EntryNotFound")
        data = repository.files[name]
        self._send(data, {"X-Repo-Commit": repository.sha, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'})

    def _cut(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _send_json(self, content: dict) -> None:
        self._send(json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, data: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def running_hub(kind: Hub | None = None) -> Iterator[Hub]:
    """Answer on a free port for the length of a ``with`` block."""
    with kind or Hub() as hub, serving(hub):
        yield hub


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let ``server`` answer for the length of a ``with`` block."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
