"""A conformance server on loopback, for the client of the package `pinecone` 10.

It speaks the REST interface as far as our store uses it, as we read it. That a test
passes over it says that our requests and the client's are right in form, and not that
the service behaves in this way.

``PineconeServer`` is a context manager; ``serving`` also points the client to it, lets
it not wait between attempts, and forgets what it has learnt about loopback:

    with serving(monkeypatch) as server:
        store = PineconeStore(KEY, index="states", dimension=4)
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.servers.loopback import LoopbackServer
from tests.servers.pinecone_http import Handler, Request
from tests.servers.pinecone_records import Index, Refused, invalid

KEY = "canary-key-3f1c"


@dataclass
class Fault:
    """Something that goes wrong with some of the requests.

    Args:
        kind: A status code; "drop" (the connection is closed, nothing was done); "lost"
            (the request is done, and the connection closed without a reply);
            "truncated" (done, but the reply ends early); "html" (done, but the reply is
            no JSON); "garbled" (done, but the reply is not compressed as it says);
            "other" (done, but the reply is of another form); "slow" (the reply waits
            for ``seconds``).
        where: End of the path of the requests; "" are all.
        times: How many of them it strikes; None strikes for ever.
        after: How many of them it leaves alone first.
        seconds: How long "slow" waits.
        retry_after: The header of a status code, in seconds.
        message: The text in the reply with a status code.
    """

    kind: int | str
    where: str = ""
    times: int | None = 1
    after: int = 0
    seconds: float = 0.5
    retry_after: float | None = None
    message: str = "A fault that the test asked for."
    seen: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def strikes(self, path: str) -> bool:
        """Whether it strikes this request, which it counts."""
        if not path.endswith(self.where):
            return False
        self.seen += 1
        if self.seen <= self.after:
            return False
        if self.times is not None and self.struck >= self.times:
            return False
        self.struck += 1
        return True


class PineconeServer(LoopbackServer):
    """A server with indexes of dense vectors.

    Args:
        key: The only API key that it takes.
        stale_reads: Number of reads that do not see a write, of new indexes.
        stale_seconds: Time for which reads do not see a write, of new indexes.
        starting: How many times a new index is described before it is ready.
        positions: Whether replies say how far reads are behind writes.
        faults: What goes wrong; the list may be changed at any time.

    Attributes:
        url: What the client must take for the controller's host.
        indexes: The indexes by name.
        requests: What came, in order.
    """

    handler = Handler

    def __init__(
        self,
        *,
        key: str = KEY,
        stale_reads: int = 0,
        stale_seconds: float = 0.0,
        starting: int = 0,
        positions: bool = True,
        faults: list[Fault] | None = None,
    ) -> None:
        super().__init__()
        self.key, self.starting, self.positions = key, starting, positions
        self.stale_reads, self.stale_seconds = stale_reads, stale_seconds
        self.faults = faults or []
        self.indexes: dict[str, Index] = {}
        self.requests: list[Request] = []
        self.lock = threading.RLock()
        self._models: dict[str, dict[str, Any]] = {}
        self._described: dict[str, int] = {}

    def paths(self, method: str = "") -> list[str]:
        """The paths of the requests without their index, in order."""
        return [
            request.path.partition("/of/")[2].partition("/")[2] or request.path
            for request in self.requests
            if request.method == method or not method
        ]

    def fault(self, path: str) -> Fault | None:
        """The fault that strikes a request, the first of the list that does."""
        with self.lock:
            return next((fault for fault in self.faults if fault.strikes(path)), None)

    # --- indexes --------------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        return [self._models[name] for name in self.indexes]

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make an index.

        Raises:
            Refused: If there is one of this name, or the body is not right.
        """
        name = body.get("name", "")
        if name in self.indexes:
            raise Refused(409, "ALREADY_EXISTS", "Resource already exists")
        fields = body.get("schema", {}).get("fields", {})
        dense = fields.get("_values", {})
        if list(fields) != ["_values"] or dense.get("type") != "dense_vector":
            raise invalid("schema must have the one dense field _values")
        if not 1 <= dense.get("dimension", 0) <= 20_000:
            raise invalid("dimension must be between 1 and 20000")
        if dense.get("metric") not in ("cosine", "dotproduct", "euclidean"):
            raise invalid("metric must be cosine, dotproduct or euclidean")
        self.indexes[name] = Index(
            name,
            dense["dimension"],
            dense["metric"],
            self.stale_reads,
            self.stale_seconds,
        )
        self._models[name] = {
            "name": name,
            "host": f"{self.url}/of/{name}",
            "status": {"ready": True, "state": "Ready"},
            "schema": body["schema"],
            "deletion_protection": "disabled",
            "deployment": body["deployment"],
        }
        self._described[name] = 0
        return self.describe(name)

    def describe(self, name: str) -> dict[str, Any]:
        """What is told of an index."""
        if name not in self.indexes:
            raise Refused(404, "NOT_FOUND", f"Resource {name} not found")
        self._described[name] += 1
        if self._described[name] > self.starting:
            return self._models[name]
        status = {"ready": False, "state": "Initializing"}
        return self._models[name] | {"status": status}

    def drop(self, name: str) -> None:
        """Delete an index."""
        self.describe(name)
        del self.indexes[name]


def forget_failures() -> None:
    """Give the client its retries back, which it counts for all servers of a host."""
    from pinecone._internal.http_client import get_budget_registry

    get_budget_registry()._reset()


def without_pauses(monkeypatch: Any) -> None:
    """Let the client and our store not wait between attempts."""
    from pinecone._internal import http_client

    from qstore_pl.store import pinecone_steps

    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(http_client, "_retry_sleep", lambda _seconds: None)
    monkeypatch.setattr(http_client, "_async_retry_sleep", at_once)
    monkeypatch.setattr(pinecone_steps, "FIRST_PAUSE", 0.0)


@contextlib.contextmanager
def serving(monkeypatch: Any, **options: Any) -> Iterator[PineconeServer]:
    """A server to which the client goes, with the key of the tests in the environment.

    Args:
        monkeypatch: pytest's, or its MonkeyPatch.
        options: Those of :class:`PineconeServer`.
    """
    forget_failures()
    without_pauses(monkeypatch)
    with PineconeServer(**options) as server:
        monkeypatch.setenv("PINECONE_CONTROLLER_HOST", server.url)
        monkeypatch.setenv("PINECONE_API_KEY", server.key)
        yield server
    forget_failures()
