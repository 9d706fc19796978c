"""What goes wrong with the embedded store: kills, damage, full disks, other writers."""

import contextlib
import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from qstore_pl.errors import StoreError
from qstore_pl.store import LanceStore, Vectors
from tests import processes
from tests.faults import lance_workers as workers

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def path(tmp_path):
    LanceStore(tmp_path, dimension=8)
    return tmp_path


def batches(store):
    """How many records of each batch there are."""
    return Counter(one.rpartition("-")[0] for one in store.list())


# --- processes -------------------------------------------------------------------


def test_a_killed_writer_leaves_whole_batches(path):
    store, clock = LanceStore(path), random.Random(0)
    wanted = set()
    for round in range(25):
        receiver, sender = processes.context.Pipe(duplex=False)
        name = f"w{round}"
        writer = processes.context.Process(
            target=workers.write_for_ever, args=(path, name, sender)
        )
        writer.start()
        sender.close()
        last = receiver.recv()
        writer.join(clock.uniform(0, 0.1))
        writer.kill()
        writer.join()
        with contextlib.suppress(EOFError):
            while True:
                last = receiver.recv()
        wanted |= {f"{name}-{number:04d}" for number in range(last + 1)}
        found = batches(store)
        assert wanted <= found.keys()
        # At most one batch more than was acknowledged, and it is whole.
        assert found.keys() - wanted <= {f"{name}-{last + 1:04d}"}
        assert set(found.values()) == {workers.ROWS}
        wanted = set(found)
    assert store.verify() == {}
    one = sorted(wanted)[-1]
    given = workers.batch(one.partition("-")[0], int(one.partition("-")[2]))
    kept = store.fetch(given.ids)
    values = np.stack([kept[one].values for one in given.ids])
    np.testing.assert_array_equal(values, given.values.astype(np.float32))


def test_two_writers_and_a_reader(path):
    stop = processes.context.Event()
    receivers, started = [], []
    for target, names in (
        (workers.write_until, ["a"]),
        (workers.write_until, ["b"]),
        (workers.read_until, []),
    ):
        receiver, sender = processes.context.Pipe(duplex=False)
        started.append(
            processes.context.Process(target=target, args=(path, *names, stop, sender))
        )
        started[-1].start()
        sender.close()
        receivers.append(receiver)
    for receiver in receivers:
        assert receiver.recv() == "begun"
    started[0].join(2)
    stop.set()
    n_a, n_b, n_read = (receiver.recv() for receiver in receivers)
    for process in started:
        process.join()
    assert min(n_a, n_b) > 3
    assert n_read > 3
    store = LanceStore(path)
    written = {
        f"{name}-{i:04d}" for name, n in (("a", n_a), ("b", n_b)) for i in range(n)
    }
    written |= {f"common-{i:04d}" for i in range(3)}
    assert batches(store) == dict.fromkeys(written, workers.ROWS)
    assert store.verify() == {}


def test_a_full_disk(path):
    receiver, sender = processes.context.Pipe(duplex=False)
    child = processes.context.Process(target=workers.fill_disk, args=(path, sender))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert f"Cannot write index `qstore` in `{path}`" in receiver.recv()
    store = LanceStore(path)
    assert batches(store) == {"small-0000": workers.ROWS, "after-0000": workers.ROWS}
    assert store.verify() == {}


def test_a_directory_that_is_read_only():
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        LanceStore(path, dimension=8).upsert([("a", np.ones(8))])
        everything = [path, *path.rglob("*")]
        for one in everything:
            one.chmod(0o555 if one.is_dir() else 0o444)
        receiver, sender = processes.context.Pipe(duplex=False)
        child = processes.context.Process(
            target=workers.write_where_not_allowed, args=(path, sender)
        )
        child.start()
        sender.close()
        assert receiver.recv() == ["a"]
        for _ in range(3):
            assert "ermission denied" in receiver.recv()
        assert receiver.recv() == ["a"]
        child.join()
        for one in everything:
            one.chmod(0o755)


# --- damage ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A store with two data files, a replaced record, and all kinds of metadata."""
    path = tmp_path_factory.mktemp("intact")
    store = LanceStore(path, dimension=8)
    vectors = np.random.default_rng(0).normal(size=(60, 8))
    metadata = [
        {"n": i % 10, "name": f"né{i % 7}", "ok": bool(i % 2), "tags": ["a", f"b{i}"]}
        for i in range(60)
    ]
    store.upsert(Vectors([f"r{i:02d}" for i in range(60)], vectors, metadata))
    store.upsert([("r03", vectors[4], {"n": 3.5})])
    return path, store.fetch(store.list())


def same(a, b):
    return np.array_equal(a.values, b.values) and a.metadata == b.metadata


def test_no_flipped_bit_gives_a_wrong_record(intact):
    path, wanted = intact
    chance = random.Random(0)
    seen = Counter()
    tables = path / "qstore"
    files = sorted(tables.glob("default.lance/data/*.lance"))
    files += sorted(tables.glob("*.lance/_versions/*.manifest"))
    for file in files:
        whole = file.read_bytes()
        for _ in range(30 if "data" in file.parts else 10):
            flipped = bytearray(whole)
            flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            file.write_bytes(flipped)
            try:
                store = LanceStore(path)
                damaged = store.verify().get("", [])
                seen["named" if damaged else "unchanged"] += 1
                found = store.fetch([one for one in wanted if one not in damaged])
                assert all(same(found[one], wanted[one]) for one in found)
                # A damaged identifier is named as it is now.
                assert len(found) + len(damaged) == len(wanted)
                for one in damaged:
                    with pytest.raises(StoreError, match="is damaged"):
                        store._fetch([one], "")
            except StoreError:
                seen["error"] += 1
        file.write_bytes(whole)
    assert min(seen["named"], seen["unchanged"], seen["error"]) > 5
    assert LanceStore(path).verify() == {}
