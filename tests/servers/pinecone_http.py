"""The HTTP side of the Pinecone conformance server: requests in, replies out."""

from __future__ import annotations

import base64
import hmac
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.loopback import LoopbackHandler, close
from tests.servers.pinecone_records import DEFAULT, Index, Refused, invalid

if TYPE_CHECKING:
    from tests.servers.pinecone import Fault, PineconeServer

MOST_BYTES = 2 * 1024 * 1024  # of a request
MOST_URL = 8192  # characters
DATA = re.compile(r"/of/(?P<index>[^/]+)(?P<path>/.*)")
JSON = "application/json"


@dataclass
class Request:
    """A request that came."""

    method: str
    path: str
    size: int  # bytes of the body
    body: dict[str, Any]
    query: dict[str, list[str]]


class Handler(LoopbackHandler):
    owner: PineconeServer

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self._serve(self.rfile.read(size))

    do_POST = do_DELETE = do_GET

    def _serve(self, raw: bytes) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        fault: Fault | None = None
        try:
            if len(raw) > MOST_BYTES:
                raise Refused(413, "OUT_OF_RANGE", "request exceeds 2 MB")
            body = json.loads(raw or b"{}", parse_constant=_no_constant)
            request = Request(
                self.command, path, len(raw), body, parse_qs(url.query, True)
            )
            self.owner.requests.append(request)
            self._allow()
            fault = self.owner.fault(path)
            if fault is not None and self._struck(fault):
                return
            with self.owner.lock:
                status, value = self._done(request)
        except Refused as refused:
            self._error(refused)
        else:
            self._answer(status, value, fault)

    def _allow(self) -> None:
        given = self.headers.get("Api-Key", "").encode()
        if not hmac.compare_digest(given, self.owner.key.encode()):
            raise Refused(401, "UNAUTHENTICATED", "Invalid API Key")
        if not self.headers.get("X-Pinecone-Api-Version"):
            raise invalid("the header X-Pinecone-Api-Version is missing")
        if len(self.path) > MOST_URL:
            raise Refused(414, "INVALID_ARGUMENT", "the address is too long")

    def _done(self, request: Request) -> tuple[int, Any]:
        """The status and the reply of a request, which is done."""
        match request.method, request.path.split("/")[1:]:
            case "GET", ["indexes"]:
                return 200, {"indexes": self.owner.models()}
            case "POST", ["indexes"]:
                return 201, self.owner.create(request.body)
            case "GET", ["indexes", name]:
                return 200, self.owner.describe(name)
            case "DELETE", ["indexes", name]:
                self.owner.drop(name)
                return 202, {}
        match = DATA.fullmatch(request.path)
        if match is None or match["index"] not in self.owner.indexes:
            raise Refused(404, "NOT_FOUND", f"{request.path} not found")
        index = self.owner.indexes[match["index"]]
        namespace = request.body.get("namespace") or DEFAULT
        match request.method, match["path"]:
            case "POST", "/vectors/upsert":
                count = index.upsert(namespace, request.body.get("vectors"))
                return 200, {"upsertedCount": count}
            case "POST", "/vectors/delete":
                index.delete(namespace, request.body)
                return 200, {}
        return 200, self._read(index, request, match["path"])

    def _read(self, index: Index, request: Request, path: str) -> dict[str, Any]:
        index.read()
        asked = {name: values[0] for name, values in request.query.items()}
        shown = request.body.get("namespace") or asked.get("namespace") or ""
        space = index.spaces.get(shown or DEFAULT, {})
        found: dict[str, Any] = {"namespace": shown, "usage": {"readUnits": 1}}
        match request.method, path:
            case "POST", "/query":
                return found | {"matches": index.query(shown or DEFAULT, request.body)}
            case "GET", "/vectors/fetch":
                ids = request.query.get("ids", [])
                return found | {
                    "vectors": {one: space[one].sent() for one in ids if one in space}
                }
            case "GET", "/vectors/list":
                return found | _page(sorted(space), asked)
            case "POST", "/describe_index_stats":
                counts = {name: len(space) for name, space in index.spaces.items()}
                return {
                    "namespaces": {n: {"vectorCount": c} for n, c in counts.items()},
                    "dimension": index.dimension,
                    "indexFullness": 0.0,
                    "totalVectorCount": sum(counts.values()),
                    "metric": index.metric,
                    "vectorType": "dense",
                }
        raise Refused(404, "NOT_FOUND", f"{request.path} not found")

    # --- replies --------------------------------------------------------------------

    def _struck(self, fault: Fault) -> bool:
        """Whether a fault ends the request before anything is done."""
        if fault.kind == "slow":
            self.owner.closing.wait(fault.seconds)
        if fault.kind == "drop":
            self._hang_up()
            return True
        if isinstance(fault.kind, int):
            headers = {}
            if fault.retry_after is not None:
                headers["Retry-After"] = f"{fault.retry_after:g}"
            self._error(Refused(fault.kind, "FAULT", fault.message), headers)
            return True
        return False

    def _answer(self, status: int, value: Any, fault: Fault | None) -> None:
        kind = None if fault is None else fault.kind
        body = json.dumps(value).encode()
        if kind == "lost":
            self._hang_up()
        elif kind == "html":
            self._send(200, b"<html>no JSON</html>", {"Content-Type": "text/html"})
        elif kind == "garbled":
            self._send(status, body, {"Content-Type": JSON, "Content-Encoding": "gzip"})
        elif kind == "other":
            self._send(
                200,
                b'{"matches": 3, "vectors": 3, "namespaces": 3}',
                {"Content-Type": JSON},
            )
        elif kind == "truncated":
            self._send(status, body[:-1], {"Content-Type": JSON}, size=len(body))
            self._hang_up()
        else:
            self._send(status, body, {"Content-Type": JSON} | self._positions())

    def _positions(self) -> dict[str, str]:
        match = DATA.fullmatch(unquote(urlsplit(self.path).path))
        if match is None or not self.owner.positions:
            return {}
        index = self.owner.indexes[match["index"]]
        if match["path"] in ("/vectors/upsert", "/vectors/delete"):
            return {"x-pinecone-lsn-committed": str(index.committed)}
        if match["path"] == "/query":
            return {"x-pinecone-lsn-reconciled": str(index.reconciled)}
        return {}

    def _error(self, refused: Refused, headers: dict[str, str] | None = None) -> None:
        error = {"code": refused.code, "message": refused.message}
        body = json.dumps({"error": error, "status": refused.status}).encode()
        self._send(refused.status, body, {"Content-Type": JSON} | (headers or {}))

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        *,
        size: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.send_header("x-pinecone-request-id", str(len(self.owner.requests)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        close(self.connection)


def _page(ids: list[str], asked: dict[str, str]) -> dict[str, Any]:
    """One page of identifiers, and the token of the next one."""
    limit = int(asked.get("limit", "100"))
    if not 1 <= limit <= 100:
        raise invalid("limit must be between 1 and 100")
    last = base64.b64decode(asked.get("paginationToken", "")).decode()
    found = [i for i in ids if i.startswith(asked.get("prefix", "")) and i > last]
    page: dict[str, Any] = {"vectors": [{"id": one} for one in found[:limit]]}
    if len(found) > limit:
        token = base64.b64encode(found[limit - 1].encode()).decode()
        page["pagination"] = {"next": token}
    return page


def _no_constant(word: str) -> Any:
    raise invalid(f"{word} is no JSON")
