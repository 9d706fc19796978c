"""Every place for vectors, so that one suite can run over all of them.

A place holds indexes. ``open`` opens one of them as a store whose methods block; the
methods of a store that is made for asyncio are awaited in one event loop.
"""

import inspect

from qstore_pl.store import VectorStore
from tests.naive_store import MemoryStore


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
    """A store whose methods are coroutines, as one whose methods block."""

    def __init__(self, store, loop):
        self.store, self.loop = store, loop

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
            return Awaited(found, self.loop) if is_store else found

        return run

    def __enter__(self):
        self.loop.run_until_complete(self.store.__aenter__())
        return self

    def __exit__(self, *failure):
        self.loop.run_until_complete(self.store.__aexit__(*failure))


PLACES = {
    "memory": lambda path: Memory(),
}
