"""Awaitable twins of stores; that of a store on this machine works in threads."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, final

from qstore_pl.store.filters import Condition
from qstore_pl.store.records import Batch
from qstore_pl.store.store import Ids, Query, VectorStore


class AwaitableStore(VectorStore):
    """What awaitable stores have in common, each of which is the twin of a plain one.

    Args:
        store: The plain store.
    """

    @abstractmethod
    def __init__(self, store: Any) -> None: ...

    async def optimize(self) -> None:  # type: ignore[override]
        """Make later queries faster, where there is something to be done for it."""
        await asyncio.to_thread(self.plain.optimize)

    @abstractmethod
    async def close(self) -> None:  # type: ignore[override]
        """Give back connections; the store cannot be used afterwards."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __enter__(self) -> Self:
        raise TypeError("The store is awaitable: write `async with`.")

    async def indexes(self) -> Ids:  # type: ignore[override]
        """The names of all indexes at the place of this one, sorted."""
        return await asyncio.to_thread(self.plain.indexes)

    async def beside(  # type: ignore[override]
        self, index: str, *, dimension: int | None = None, metric: str | None = None
    ) -> Self:
        """Another index at the same place, as :meth:`VectorStore.beside` says."""
        found = await asyncio.to_thread(
            self.plain.beside, index, dimension=dimension, metric=metric
        )
        return type(self)(found)


@final
class AsyncStore(AwaitableStore):
    """The awaitable twin of any other store.

    Its methods have the arguments of :class:`VectorStore`, which are checked at the
    call, and return what is awaited for the result. The work is done in a thread; if
    waiting for it is cancelled, it is done nevertheless.

    Args:
        store: The store; it is closed together with its twin.

    Example:
        >>> from qstore_pl import open_store
        >>> async def nearest():
        ...     plain = open_store("stored", index="flowers", dimension=2)
        ...     async with AsyncStore(plain) as store:
        ...         await store.upsert([("a", [1.0, 0.0])])
        ...         return await store.query([1.0, 0.0])
        >>> asyncio.run(nearest())[0].id
        'a'
    """

    def __init__(self, store: VectorStore) -> None:
        self._plain = store.plain
        self.index, self.dimension = store.index, store.dimension
        self.metric = store.metric

    @property
    def plain(self) -> VectorStore:
        """The same store, whose methods block until they are done."""
        return self._plain

    def __repr__(self) -> str:
        return f"AsyncStore({self._plain!r})"

    async def close(self) -> None:  # type: ignore[override]
        """Give back connections; the store cannot be used afterwards."""
        await asyncio.to_thread(self._plain.close)

    # The public methods return what these return, which is to be awaited.

    def _upsert(self, batch: Batch, namespace: str) -> Any:
        return asyncio.to_thread(self._plain._upsert, batch, namespace)

    def _delete(self, what: Ids | Condition | None, namespace: str) -> Any:
        return asyncio.to_thread(self._plain._delete, what, namespace)

    def _query(self, query: Query) -> Any:
        return asyncio.to_thread(self._plain._query, query)

    def _query_many(self, queries: Sequence[Query]) -> Any:
        return asyncio.to_thread(self._plain._query_many, queries)

    def _fetch(self, ids: Ids, namespace: str) -> Any:
        return asyncio.to_thread(self._plain._fetch, ids, namespace)

    def _list(self, prefix: str, namespace: str) -> Any:
        return asyncio.to_thread(self._plain._list, prefix, namespace)

    def _stats(self) -> Any:
        return asyncio.to_thread(self._plain._stats)

    def _verify(self) -> Any:
        return asyncio.to_thread(self._plain._verify)
