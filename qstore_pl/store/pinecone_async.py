"""The awaitable store at Pinecone: waiting for replies leaves the event loop free."""

from __future__ import annotations

import asyncio
from typing import Any, final
from weakref import WeakKeyDictionary

from qstore_pl.errors import StoreError
from qstore_pl.store.awaitable import AwaitableStore
from qstore_pl.store.pinecone import BESIDE, PineconeStore
from qstore_pl.store.pinecone_errors import failures, translated
from qstore_pl.store.pinecone_steps import Call, Pause, Step, Steps


@final
class AsyncPineconeStore(AwaitableStore, PineconeStore):  # type: ignore[misc]
    """The awaitable twin of a store at Pinecone.

    Its methods have the arguments of :class:`VectorStore`, which are checked at the
    call, and return what is awaited for the result. A call that is cancelled stops
    waiting at once; a request that was sent may still be done by the service.

    It uses asyncio's client of the package ``pinecone``, one in each event loop, and
    must be closed in the loop that used it: by ``async with``, or ``await
    store.close()``.

    Args:
        store: A store that is open; it is closed together with its twin.

    Example:
        An index is opened in a thread, so that the event loop is free meanwhile::

            plain = await asyncio.to_thread(PineconeStore, index="states")
            async with AsyncPineconeStore(plain) as store:
                matches = await store.query(vector, top_k=3)
    """

    def __init__(self, store: PineconeStore) -> None:
        vars(self).update(store.plain.__getstate__())
        self._plain = store.plain
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = (
            WeakKeyDictionary()
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"_plain": self._plain}

    def __setstate__(self, state: dict[str, Any]) -> None:
        AsyncPineconeStore.__init__(self, state["_plain"])

    @property
    def plain(self) -> PineconeStore:
        """The same store, whose methods block until they are done."""
        return self._plain

    async def close(self) -> None:  # type: ignore[override]
        """Give back the connections of this event loop, and those of ``plain``."""
        self._closed = True
        held = self._clients.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held.close()
        self._plain.close()

    # --- requests -------------------------------------------------------------------

    async def _run(self, steps: Steps[Any]) -> Any:
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
                reply = await self._done(step)
            except StoreError as error:
                failed = error

    async def _done(self, step: Step) -> Any:
        match step:
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Call(method, arguments):
                return await self._sent(method, arguments)
        if len(step) == 1:
            return [await self._run(step[0])]
        free = asyncio.Semaphore(BESIDE)

        async def one(steps: Steps[Any]) -> Any:
            async with free:
                return await self._run(steps)

        tasks = [asyncio.create_task(one(steps)) for steps in step]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _sent(self, method: str, arguments: dict[str, Any]) -> Any:
        connection = self._connected()
        try:
            return await getattr(connection, method)(**arguments)
        except failures() as error:
            failed = translated(error, self._host, self._account.reveal())
        raise failed

    def _connected(self) -> Any:
        """The client of this event loop."""
        self._must_be_open()
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = self._account.index(self._host, kind="AsyncIndex")
        return self._clients[loop]
