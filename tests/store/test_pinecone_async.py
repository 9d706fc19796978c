"""The awaitable twin of PineconeStore: the same results, and a free event loop."""

import asyncio
import pickle
import threading
import time

import numpy as np
import pytest

from qstore_pl.errors import StoreError, UpsertError
from qstore_pl.store import PineconeStore, Vectors
from qstore_pl.store import pinecone_writes as writes
from qstore_pl.store.pinecone_async import AsyncPineconeStore
from tests.servers.pinecone import Fault

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def plain(server):
    with PineconeStore(index="states", dimension=3) as store:
        yield store


def records(count=250):
    values = np.random.default_rng(3).normal(size=(count, 3))
    metadata = [{"i": i, "even": i % 2 == 0} for i in range(count)]
    return Vectors([f"r{i:03}" for i in range(count)], values, metadata)


def matches(found):
    return [(match.id, match.score, match.metadata) for match in found]


@pytest.mark.parametrize("stale_reads", [0, 3])
def test_every_method_gives_what_the_blocking_one_gives(plain, server, stale_reads):
    server.indexes["states"].stale_reads = stale_reads
    asked = np.random.default_rng(4).normal(size=(20, 3))

    async def used():
        async with AsyncPineconeStore(plain) as store:
            assert store.plain is plain
            assert await store.upsert(records()) == 250
            one = await store.query(asked[0], top_k=4, filter={"i": {"$lt": 100}})
            assert matches(one) == matches(
                plain.query(asked[0], top_k=4, filter={"i": {"$lt": 100}})
            )
            many = await store.query_many(asked, top_k=3)
            assert list(map(matches, many)) == [
                matches(plain.query(row, top_k=3)) for row in asked
            ]
            found = await store.fetch([f"r{i:03}" for i in range(240, 260)])
            assert list(found) == [f"r{i:03}" for i in range(240, 250)]
            assert await store.list("r1") == plain.list("r1")
            assert await store.stats() == plain.stats()
            assert await store.verify() == {}
            assert await store.optimize() is None
            assert await store.indexes() == ["states"]
            with pytest.raises(KeyError, match="no record 'z'"):
                await store.query(id="z")
            await store.delete(["r000"])
            await store.delete(filter={"even": {"$eq": True}})
            assert len(await store.list()) == 125
            async with await store.beside("more", dimension=2) as more:
                assert await more.list() == []

    asyncio.run(used())


def test_arguments_are_checked_at_the_call(plain, server):
    store = AsyncPineconeStore(plain)
    sent = len(server.requests)
    with pytest.raises(ValueError, match="shape"):
        store.query([1, 2])
    with pytest.raises(TypeError, match="async with"), store:
        pass
    assert len(server.requests) == sent


def test_the_event_loop_is_free_meanwhile_and_requests_run_beside_each_other(
    plain, server
):
    server.faults.append(Fault("slow", "/query", None, seconds=0.3))

    async def used():
        ticks = []

        async def tick():
            while True:
                ticks.append(time.perf_counter())
                await asyncio.sleep(0.005)

        async with AsyncPineconeStore(plain) as store:
            await store.stats()  # connects
            ticking = asyncio.create_task(tick())
            start = time.perf_counter()
            await store.query_many(np.eye(3).repeat(5, axis=0))
            spent = time.perf_counter() - start
            ticking.cancel()
        return spent, len(ticks)

    spent, n_ticks = asyncio.run(used())
    assert 0.6 <= spent < 3.0  # fifteen requests, eight at a time: not 4.5 seconds
    assert n_ticks > 10  # not one for each time that all are waited for


def test_a_call_that_is_cancelled_stops_at_once(plain, server):
    server.faults.append(Fault("slow", "/query", None, seconds=20))

    async def used():
        async with AsyncPineconeStore(plain) as store:
            await store.stats()
            start = time.perf_counter()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await store.query_many(np.eye(3))
            assert time.perf_counter() - start < 5
            assert len(asyncio.all_tasks()) == 1
            del server.faults[:]
            assert await store.query([1, 0, 0]) == []

    asyncio.run(used())


def test_a_failure_stops_what_runs_beside_it(plain, server):
    server.faults.append(Fault("slow", "/query", 2, seconds=20))
    server.faults.append(Fault(400, "/query"))

    async def used():
        async with AsyncPineconeStore(plain) as store:
            await store.stats()
            start = time.perf_counter()
            with pytest.raises(StoreError, match="refused"):
                await store.query_many(np.eye(3))
            assert time.perf_counter() - start < 5
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(used())


def test_each_event_loop_has_its_own_connections(plain):
    store = AsyncPineconeStore(plain)
    found = []

    async def used():
        await store.upsert([(threading.current_thread().name, [1, 0, 0])])
        found.append(store._clients[asyncio.get_running_loop()])
        await found[-1].close()

    threads = [
        threading.Thread(target=asyncio.run, args=[used()], name=f"t{i}")
        for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plain.list() == ["t0", "t1", "t2"]
    assert len(set(map(id, found))) == 3


def test_failures_are_the_same(plain, server, monkeypatch):
    monkeypatch.setattr(writes, "MOST_RECORDS", 100)

    async def used():
        async with AsyncPineconeStore(plain) as store:
            server.faults[:] = [Fault(429, "/query", 2, retry_after=0.01)]
            assert await store.query([1, 0, 0]) == []
            server.faults[:] = [Fault("garbled"), Fault("html"), Fault("lost")]
            assert (await store.stats()).total == 0
            server.faults[:] = [Fault(503, "/vectors/upsert", None, after=1)]
            with pytest.raises(UpsertError, match="150 of 250 records") as caught:
                await store.upsert(records())
            assert caught.value.failed == list(records().ids[100:])
            server.faults[:] = [Fault(400, "/query", None)]
            with pytest.raises(StoreError, match="refused a request"):
                await store.query_many(np.eye(3))
            server.faults.clear()
        with pytest.raises(StoreError, match="is closed"):
            await store.list()
        with pytest.raises(StoreError, match="is closed"):
            plain.list()
        assert len(store._clients) == 0

    asyncio.run(used())


def test_pickles_open_their_own_connections(plain):
    plain.upsert([("a", [1, 0, 0])])

    async def used():
        async with AsyncPineconeStore(plain) as store:
            other = pickle.loads(pickle.dumps(store))
            assert await other.list() == ["a"]
            await other.close()
            assert await store.list() == ["a"]

    asyncio.run(used())
