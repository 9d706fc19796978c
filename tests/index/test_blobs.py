"""Bytes in a vector store: chunks, manifests, and what is damaged."""

import hashlib

import numpy as np
import pytest

from qstore_pl.errors import CheckpointError, StoreError
from qstore_pl.index.blobs import (
    CHUNK,
    manifests,
    read_blob,
    unused_chunks,
    write_blob,
)
from tests.naive_store import MemoryStore

SPACE = "blobs"
CHUNKS = "blobs.chunks"


def random_bytes(size, seed=0):
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture
def store():
    return MemoryStore(3)


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 260 * CHUNK - 7])
def test_bytes_of_any_size_come_back(store, size):
    data = random_bytes(size)
    write_blob(store, SPACE, "one", data, {"epoch": 3, "name": "a"}, [0.0, 2.0, 1.0])
    assert read_blob(store, SPACE, "one") == (data, {"epoch": 3.0, "name": "a"})
    assert store.stats().namespaces.get(CHUNKS, 0) == -(-size // CHUNK)
    np.testing.assert_array_equal(
        store.fetch(["one"], namespace=SPACE)["one"].values, [0, 2, 1]
    )


def test_the_same_bytes_are_kept_once_and_a_replaced_blob_leaves_its_chunks(store):
    first, second = random_bytes(2 * CHUNK, 1), random_bytes(10, 2)
    for key in ("a", "b"):
        write_blob(store, SPACE, key, first, {})
    assert store.stats().namespaces == {CHUNKS: 2, SPACE: 2}
    write_blob(store, SPACE, "a", second, {})
    assert unused_chunks(store, SPACE, older_than=0.0) == []
    write_blob(store, SPACE, "b", second, {})
    left = [f"{hashlib.sha256(first).hexdigest()}.00000{i}" for i in range(2)]
    assert unused_chunks(store, SPACE, older_than=0.0) == left
    assert unused_chunks(store, SPACE) == []  # they may belong to a writer at work
    store.delete(left, namespace=CHUNKS)
    assert read_blob(store, SPACE, "b")[0] == second
    assert sorted(manifests(store, SPACE)) == ["a", "b"]


def test_the_manifest_is_written_last(store, monkeypatch):
    """A writer that dies leaves the earlier blob as it was."""
    write_blob(store, SPACE, "a", b"before", {})

    def fail(batch, namespace):
        if namespace == SPACE:
            raise StoreError("no connection")
        return MemoryStore._upsert(store, batch, namespace)

    monkeypatch.setattr(store, "_upsert", fail)
    with pytest.raises(StoreError, match="no connection"):
        write_blob(store, SPACE, "a", b"after", {})
    assert read_blob(store, SPACE, "a")[0] == b"before"
    assert len(unused_chunks(store, SPACE, older_than=0.0)) == 1


def test_damage_is_named(store):
    with pytest.raises(KeyError, match="none"):
        read_blob(store, SPACE, "none")
    data = random_bytes(2 * CHUNK)
    write_blob(store, SPACE, "a", data, {})
    one = store.list(namespace=CHUNKS)[1]
    kept = store.fetch([one], namespace=CHUNKS)[one]
    for text, found in [("not base64", "no base64"), ("QUJD", "SHA-256")]:
        store.upsert([(one, kept.values, {"qstore_data": text})], namespace=CHUNKS)
        with pytest.raises(CheckpointError, match=found):
            read_blob(store, SPACE, "a")
    store.delete([one], namespace=CHUNKS)
    with pytest.raises(CheckpointError, match=f"its chunk `{one}` is missing"):
        read_blob(store, SPACE, "a")
    store.upsert([("b", kept.values)], namespace=SPACE)
    with pytest.raises(CheckpointError, match="must be a manifest"):
        read_blob(store, SPACE, "b")


def test_our_keys_are_not_the_callers(store):
    with pytest.raises(ValueError, match=r"`manifest` must have no key.*'qstore_size'"):
        write_blob(store, SPACE, "a", b"", {"qstore_size": 1})
