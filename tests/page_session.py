"""What the page's script sends, without a browser: so that a test can also send what the script never would."""

import json
import secrets
from contextlib import suppress
from functools import cached_property
from http.client import HTTPConnection
from urllib.parse import urlsplit

import httpx
from running import PATIENCE


def file_data(path: object) -> dict:
    """Give what stands for a file in an event's inputs."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def gallery(*paths: object) -> list[dict]:
    """Give what a gallery with these pictures sends."""
    return [{"image": file_data(path), "caption": None} for path in paths]


def raw_get(address: str, path: str) -> tuple[int, bytes]:
    """Fetch ``path`` exactly as it is written: other clients tidy up dots in it. Gives status and content."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read()


class PageSession:
    """One opened page. Its events are named by the element that they belong to, and what happens to it."""

    def __init__(self, address: str, session_hash: str = "") -> None:
        self.http = httpx.Client(base_url=address, timeout=PATIENCE)
        self.session_hash = session_hash or secrets.token_hex(6)
        self.http.get("/").raise_for_status()  # as a browser does, which gets its cookie there
        self.config = self.http.get("/config").raise_for_status().json()
        self._parts = {part["id"]: part for part in self.config["components"]}

    @cached_property
    def endpoints(self) -> dict[str, dict]:
        """What the description of the API says of each public endpoint."""
        return self.http.get("/gradio_api/info").raise_for_status().json()["named_endpoints"]

    def enter(self, key: str = "") -> str:
        """Load the page in a browser that kept ``key``; gives the key to keep from now on."""
        return self.send("load", browserstate=key).json()["data"][0]

    def send(self, trigger: str, element: str = "", /, event_data: object = None, **values: object) -> httpx.Response:
        """Send an event; ``values`` replaces what the inputs hold at first, by their element, tab or type."""
        event = next(
            event
            for event in self.config["dependencies"]
            for part, name in event["targets"]
            if name == trigger and event["backend_fn"] and (not element or self._name(part) == element)
        )
        data = [values.get(self._name(part), self._parts[part]["props"].get("value")) for part in event["inputs"]]
        body = {"fn_index": event["id"], "data": data, "session_hash": self.session_hash, "event_data": event_data}
        if not event["queue"]:
            return self.http.post("/gradio_api/run/predict", json=body)
        joined = self.http.post("/gradio_api/queue/join", json=body)
        return self._outcome(joined.json()["event_id"]) if joined.is_success else joined

    def call(self, endpoint: str, *data: object) -> httpx.Response:
        """Call a public endpoint; gives its answer."""
        joined = self.begin(endpoint, *data)
        if not joined.is_success:
            return joined
        heard = self.listen(f"/gradio_api/call/{endpoint}/{joined.json()['event_id']}")
        return httpx.Response(200 if "event: complete" in heard else 500, text=heard)

    def begin(self, endpoint: str, *data: object) -> httpx.Response:
        """Call a public endpoint without waiting for its answer; what is left out at the end has its default."""
        left = self.endpoints[f"/{endpoint}"]["parameters"][len(data) :]
        defaults = [parameter["parameter_default"] for parameter in left if parameter["parameter_has_default"]]
        return self.http.post(f"/gradio_api/call/{endpoint}", json={"data": [*data, *defaults]})

    def _outcome(self, event_id: str) -> httpx.Response:
        """Wait for what comes of an event."""
        with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={self.session_hash}") as stream:
            if not stream.is_success:
                return httpx.Response(stream.status_code, content=stream.read())
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:") or "{}")
                if message.get("event_id") == event_id and message["msg"] == "process_completed":
                    return httpx.Response(200 if message["success"] else 500, json=message["output"])
        raise AssertionError("the event came to no end")

    def upload(self, name: str, content: bytes) -> str:
        """Send a file; gives its path on the server."""
        return self.http.post("/gradio_api/upload", files={"files": (name, content)}).raise_for_status().json()[0]

    def listen(self, path: str) -> str:
        """Give all that a stream of events says until it ends, or is cut."""
        heard = ""
        with self.http.stream("GET", path) as stream, suppress(httpx.RemoteProtocolError):
            for text in stream.iter_text():
                heard += text
        return heard

    def _name(self, part: int | None) -> str:
        found = self._parts.get(part, {"props": {}, "type": ""})
        return (found["props"].get("elem_id") or found["props"].get("id") or found["type"]).replace("-", "_")
