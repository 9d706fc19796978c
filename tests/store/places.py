"""Every place for vectors, so that one suite can run over all of them.

A place holds indexes. ``open`` opens one of them as a store whose methods block; the
methods of a store that is made for asyncio are awaited in one event loop.
"""

import asyncio
import contextlib
import inspect
import os

import pytest

from qstore_pl.store import LanceStore, PineconeStore, VectorStore
from qstore_pl.store.awaitable import AsyncStore
from qstore_pl.store.pinecone_async import AsyncPineconeStore
from tests.naive_store import MemoryStore
from tests.servers.pinecone import serving


class Memory:
    """The twin in memory: what it says is what all others have to say."""

    def __init__(self):
        self.indexes = {}

    def open(self, dimension=None, metric=None, *, index="qstore"):
        return MemoryStore(dimension, metric, index=index, place=self.indexes)

    def trace(self):
        """Something that changes if anything reaches the place."""
        return {
            (index, space): sorted(records)
            for index, (_, _, spaces) in self.indexes.items()
            for space, records in spaces.items()
        }

    def close(self):
        self.indexes.clear()


class Awaited:
    """A store whose methods are coroutines, as one whose methods block.

    Stores that it opens are closed with ``held``, a ``contextlib.ExitStack``.
    """

    def __init__(self, store, loop, held):
        self.store, self.loop, self.held = store, loop, held
        held.callback(self.close)

    def close(self):
        self.loop.run_until_complete(self.store.close())
        self.loop.run_until_complete(asyncio.sleep(0))  # connections end here

    def __getattr__(self, name):
        value = getattr(self.store, name)
        if not callable(value):
            return value

        async def call(*args, **kwargs):
            found = value(*args, **kwargs)
            return await found if inspect.isawaitable(found) else found

        def run(*args, **kwargs):
            found = self.loop.run_until_complete(call(*args, **kwargs))
            is_store = isinstance(found, VectorStore)
            return Awaited(found, self.loop, self.held) if is_store else found

        return run

    def __enter__(self):
        self.loop.run_until_complete(self.store.__aenter__())
        return self

    def __exit__(self, *failure):
        self.loop.run_until_complete(self.store.__aexit__(*failure))


class Lance:
    """A directory."""

    def __init__(self, path):
        self.path = path / "stored"

    def open(self, dimension=None, metric=None, *, index="qstore"):
        return LanceStore(self.path, index=index, dimension=dimension, metric=metric)

    def trace(self):
        return {
            f"{folder}/{name}"
            for folder, _, names in os.walk(self.path.parent)
            for name in names
        }

    def close(self):
        pass


class AwaitedLance(Lance):
    """The same, whose store is awaited."""

    def __init__(self, path):
        super().__init__(path)
        self.held = contextlib.ExitStack()
        self.loop = asyncio.new_event_loop()
        self.held.callback(self.loop.close)

    def open(self, dimension=None, metric=None, *, index="qstore"):
        made = AsyncStore(super().open(dimension, metric, index=index))
        return Awaited(made, self.loop, self.held)

    def close(self):
        self.held.close()


class Pinecone:
    """The conformance server, and the client that it is for."""

    def __init__(self, path):
        self.held = contextlib.ExitStack()
        patch = self.held.enter_context(pytest.MonkeyPatch.context())
        self.server = self.held.enter_context(serving(patch))

    def open(self, dimension=None, metric=None, *, index="qstore"):
        made = PineconeStore(index=index, dimension=dimension, metric=metric)
        self.held.callback(made.close)
        return made

    def trace(self):
        return len(self.server.requests)

    def close(self):
        self.held.close()


class AwaitedPinecone(Pinecone):
    """The same, whose store is awaited."""

    def __init__(self, path):
        super().__init__(path)
        self.loop = asyncio.new_event_loop()
        self.held.callback(self.loop.close)

    def open(self, dimension=None, metric=None, *, index="qstore"):
        made = AsyncPineconeStore(super().open(dimension, metric, index=index))
        return Awaited(made, self.loop, self.held)


PLACES = {
    "memory": lambda path: Memory(),
    "lance": Lance,
    "lance-async": AwaitedLance,
    "pinecone": Pinecone,
    "pinecone-async": AwaitedPinecone,
}
