"""The hosted store: Pinecone, by its official client."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any, Final, TypeVar

from qstore_pl._checks import boolean, real
from qstore_pl._secrets import Secret
from qstore_pl.errors import StoreError
from qstore_pl.store import pinecone_indexes, pinecone_reads, pinecone_writes
from qstore_pl.store.filters import Condition
from qstore_pl.store.pinecone_errors import failures, translated
from qstore_pl.store.pinecone_indexes import Account
from qstore_pl.store.pinecone_steps import Call, Pause, Step, Steps
from qstore_pl.store.records import (
    Batch,
    checked_dimension,
    checked_index,
    checked_metric,
)
from qstore_pl.store.store import Query, VectorStore

KEY: Final = Secret("env:PINECONE_API_KEY")
TIMEOUT: Final = 30.0  # seconds
BESIDE: Final = 8  # requests that run beside each other

T = TypeVar("T")


class PineconeStore(VectorStore):
    """An index at Pinecone, which is made if it is not there.

    Writes are sent one request after the other, again if they fail, and return when
    reads see them. Pinecone guards what it stores itself: :meth:`verify` has nothing to
    compare it with, and :meth:`optimize` does nothing.

    A store can be pickled if its key is in the environment, and goes on in a process
    that was forked.

    Args:
        api_key: The key, or ``"env:NAME"`` for the environment variable that has it;
            None is ``"env:PINECONE_API_KEY"``.
        index: Name of the index: 1 to 45 characters out of a-z, 0-9 and hyphens.
        dimension: Length of its vectors, 1 to 20,000; None only opens an index that is
            there.
        metric: ``"cosine"``, ``"dotproduct"`` or ``"euclidean"``; None is that of the
            index, or ``"cosine"`` for a new one.
        environment: Where a new index is made: a region of AWS, as ``"us-east-1"``, or
            a region and a cloud, as ``"us-central1-gcp"``. None is ``"us-east-1"``.
        host: The host that knows the indexes, for tests; None is that of the
            environment variable PINECONE_CONTROLLER_HOST, or Pinecone's own.
        timeout: Time for one attempt of a request, in seconds; the client makes up to
            four.
        allow_insecure: Whether the key may be sent to another machine without
            encryption.

    Raises:
        ModuleNotFoundError: If the package ``pinecone`` is not installed.
        ImportError: If ``pinecone-client`` is installed, which breaks it.
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, or the host not encrypted.
        StoreError: If the service cannot be reached, does not accept the key, has no
            such index, or has it with another dimension or metric.

    Example:
        With a key in the environment variable PINECONE_API_KEY::

            with PineconeStore(index="states", dimension=256) as store:
                store.upsert([("a", vector, {"label": 1})])
                matches = store.query(vector, top_k=3, filter={"label": {"$eq": 1}})

    References:
        https://docs.pinecone.io
    """

    def __init__(
        self,
        api_key: str | Secret | None = None,
        *,
        index: str = "qstore",
        dimension: int | None = None,
        metric: str | None = None,
        environment: str | None = None,
        host: str | None = None,
        timeout: float = TIMEOUT,
        allow_insecure: bool = False,
    ) -> None:
        insecure = boolean("allow_insecure", allow_insecure)
        if api_key is None:
            key = KEY
        else:
            key = api_key if isinstance(api_key, Secret) else Secret(api_key)
        self._account = Account(
            key,
            pinecone_indexes.controller(host, insecure=insecure),
            real("timeout", timeout, above=0.0),
            insecure,
        )
        self._environment = environment
        self.index = checked_index("index", index)
        place = pinecone_indexes.opened(
            self._account,
            self.index,
            None if dimension is None else checked_dimension(dimension),
            None if metric is None else checked_metric(metric),
            environment,
        )
        self.dimension, self.metric = place.dimension, place.metric
        self._host = place.host
        self._closed = False
        self._client: tuple[int, Any] | None = None  # of which process

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(index={self.index!r}, dimension={self.dimension}, "
            f"metric={self.metric!r}, host={self._account.host!r})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_client": None}

    @property
    def plain(self) -> PineconeStore:
        """The same store, whose methods block until they are done."""
        return self

    # --- the door's abstract methods ------------------------------------------------

    def optimize(self) -> None:
        """Do nothing: Pinecone does by itself what there is to be done."""

    def close(self) -> None:
        """Give back connections; the store cannot be used afterwards."""
        self._closed = True
        held, self._client = self._client, None
        if held is not None and held[0] == os.getpid():
            held[1].close()

    def indexes(self) -> list[str]:
        """The names of all indexes at the place of this one, sorted."""
        return pinecone_indexes.names(self._account)

    def beside(
        self, index: str, *, dimension: int | None = None, metric: str | None = None
    ) -> PineconeStore:
        """Another index at the same place, as :meth:`VectorStore.beside` says."""
        return PineconeStore(
            self._account.key,
            index=index,
            dimension=dimension,
            metric=metric,
            environment=self._environment,
            host=self._account.host,
            timeout=self._account.timeout,
            allow_insecure=self._account.insecure,
        )

    # As `_run` decides how to wait, these return awaitables in the awaitable store.

    def _upsert(self, batch: Batch, namespace: str) -> Any:
        return self._run(pinecone_writes.upsert(batch, namespace))

    def _delete(self, what: list[str] | Condition | None, namespace: str) -> Any:
        return self._run(pinecone_writes.delete(what, namespace, self.dimension))

    def _query(self, query: Query) -> Any:
        return self._run(pinecone_reads.query(query))

    def _query_many(self, queries: Sequence[Query]) -> Any:
        return self._run(pinecone_reads.query_many(queries))

    def _fetch(self, ids: list[str], namespace: str) -> Any:
        return self._run(pinecone_reads.fetch(ids, namespace))

    def _list(self, prefix: str, namespace: str) -> Any:
        return self._run(pinecone_reads.list_ids(prefix, namespace))

    def _stats(self) -> Any:
        return self._run(pinecone_reads.stats(self.dimension, self.metric))

    def _verify(self) -> Any:
        return self._run(pinecone_reads.verify())

    # --- requests -------------------------------------------------------------------

    def _run(self, steps: Steps[Any]) -> Any:
        """Do steps, and return their result."""
        reply: Any = None
        failed: StoreError | None = None
        while True:
            try:
                step = steps.send(reply) if failed is None else steps.throw(failed)
            except StopIteration as done:
                return done.value
            reply = failed = None
            try:
                reply = self._done(step)
            except StoreError as error:
                failed = error

    def _done(self, step: Step) -> Any:
        match step:
            case Pause(seconds):
                return sleep(seconds)
            case Call(method, arguments):
                return self._sent(method, arguments)
        if len(step) == 1:
            return [self._run(step[0])]
        with ThreadPoolExecutor(min(BESIDE, max(len(step), 1))) as pool:
            return list(pool.map(self._run, step))

    def _sent(self, method: str, arguments: dict[str, Any]) -> Any:
        connection = self._connected()
        try:
            return getattr(connection, method)(**arguments)
        except failures() as error:
            failed = translated(error, self._host, self._account.reveal())
        raise failed

    def _connected(self) -> Any:
        """The client of this process."""
        self._must_be_open()
        if self._client is None or self._client[0] != os.getpid():
            connection = self._account.index(self._host)
            weakref.finalize(self, connection.close)
            self._client = os.getpid(), connection
        return self._client[1]

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreError(f"The store of index `{self.index}` is closed.")
