"""The embedded store by itself: its files, its versions, its exactness, its indexes."""

import copy
import hashlib
import os
import pickle
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest

from qstore_pl.errors import StoreError, StoreTimeoutError
from qstore_pl.store import LanceStore, Vectors
from qstore_pl.store import lance as lance_module
from qstore_pl.store.lance_calls import repeated
from qstore_pl.store.lance_tables import namespace_of, table_name
from tests.naive_store import MemoryStore
from tests.processes import run

pytestmark = pytest.mark.timeout(60)


def records(n, dimension, *, seed=0):
    rng = np.random.default_rng(seed)
    metadata = [{"label": i % 5, "name": f"n{i % 7}"} for i in range(n)]
    ids = [f"r{i:05d}" for i in range(n)]
    return Vectors(ids, rng.normal(size=(n, dimension)), metadata)


def found(matches):
    return [match.id for match in matches]


# --- opening ---------------------------------------------------------------------


def test_a_new_object_sees_what_another_wrote(tmp_path):
    first = LanceStore(tmp_path / "deep" / "er", dimension=2, metric="euclidean")
    first.upsert([("a", [1.0, 2.0], {"label": 1, "tags": []})], namespace="Some")
    second = LanceStore(tmp_path / "deep" / "er")
    assert (second.dimension, second.metric) == (2, "euclidean")
    record = second.fetch(["a"], namespace="Some")["a"]
    assert record.metadata == {"label": 1.0, "tags": []}
    first.upsert([("b", [0.0, 1.0], {"new": True})], namespace="Some")
    assert second.list(namespace="Some") == ["a", "b"]
    second.upsert([("c", [3.0, 1.0])])
    assert first.stats().namespaces == {"": 1, "Some": 2}
    assert list(first.stats().namespaces) == ["", "Some"]


def test_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    store = LanceStore("~/vectors", dimension=2)
    assert store.path == tmp_path / "vectors"
    assert store.indexes() == ["qstore"]


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(StoreError, match=r"no index `qstore`.*give the argument"):
        LanceStore(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    LanceStore(tmp_path, dimension=3)
    with pytest.raises(StoreError, match="has dimension 3, not 4"):
        LanceStore(tmp_path, dimension=4)
    with pytest.raises(StoreError, match="has metric cosine, not dotproduct"):
        LanceStore(tmp_path, metric="dotproduct")
    (tmp_path / "file").write_text("something")
    for options in ({"path": tmp_path / "file"}, {"path": tmp_path, "index": "file"}):
        with pytest.raises(StoreError, match="is a file"):
            LanceStore(**options, dimension=3)


def test_indexes_of_newer_versions_and_of_others_are_refused(tmp_path, monkeypatch):
    import lancedb
    import pyarrow as pa

    with monkeypatch.context() as patch:
        patch.setattr("qstore_pl.store.lance_tables.VERSION", 2)
        LanceStore(tmp_path, index="newer", dimension=3)
    with pytest.raises(StoreError, match=r"newer version.*format 2.*up to 1"):
        LanceStore(tmp_path, index="newer")
    nothing = pa.schema([pa.field("nothing", pa.bool_())])
    lancedb.connect(tmp_path / "other").create_table("about", schema=nothing)
    with pytest.raises(StoreError, match="was not written by qstore_pl"):
        LanceStore(tmp_path, index="other", dimension=3)


def test_without_lancedb_the_error_names_the_extra(tmp_path):
    script = (
        "import sys; sys.modules['lancedb'] = None\n"
        "from qstore_pl.store import LanceStore\n"
        "assert 'pyarrow' not in sys.modules\n"
        f"LanceStore({str(tmp_path)!r}, dimension=2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert 'ModuleNotFoundError: LanceStore needs LanceDB: pip install "qst' in (
        done.stderr
    )


def test_a_closed_store_says_so(tmp_path):
    with LanceStore(tmp_path, dimension=2) as store:
        store.upsert([("a", [1.0, 0.0])])
    for call in (store.stats, store.optimize, lambda: store.query([1.0, 0.0])):
        with pytest.raises(StoreError, match="is closed"):
            call()


def test_indexes_lie_beside_each_other(tmp_path):
    store = LanceStore(tmp_path, index="b", dimension=2)
    other = store.beside("a", dimension=3, metric="euclidean")
    (tmp_path / "no-index").mkdir()
    assert other.indexes() == ["a", "b"]
    assert (other.dimension, other.metric) == (3, "euclidean")
    assert store.beside("a").dimension == 3
    with pytest.raises(StoreError, match="no index `c`"):
        store.beside("c")


def test_copies_open_the_files_for_themselves(tmp_path):
    store = LanceStore(tmp_path, index="x", dimension=2, metric="dotproduct")
    store.upsert([("a", [1.0, 0.0])])
    for other in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
        store.close()
        assert repr(other) == repr(store)
        assert other.list() == ["a"]


# The processes of the tests have threads of others as well, and must not be forked.
FORK = """
import os
import sys
import warnings

from qstore_pl import StoreError
from qstore_pl.store import LanceStore

store = LanceStore(sys.argv[1], dimension=2)
warnings.simplefilter("ignore")  # LanceDB and Python 3.12 warn of forks with threads
child = os.fork()
if child == 0:
    for use in (store.list, lambda: LanceStore(sys.argv[1])):
        try:
            use()
        except StoreError as error:
            print(error, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_is_refused(tmp_path):
    status, said, _ = run(FORK, tmp_path)
    assert status == 0
    assert said.count('by the method "spawn"') == 2


# --- names -----------------------------------------------------------------------


def test_tables_of_namespaces():
    digest = hashlib.sha256(b"About").hexdigest()[:8]
    assert table_name("About") == f"About-{digest}"
    spaces = ["", "default", "about", "About", "a" * 128, "x-0123abcd", "a.b_c-"]
    names = [table_name(space).lower() for space in spaces]
    assert len({*names, "about"}) == len(spaces) + 1
    assert [namespace_of(table_name(space)) for space in spaces] == spaces


def test_namespaces_and_keys_that_differ_in_case_only(tmp_path):
    store = LanceStore(tmp_path, dimension=2)
    for space in ("about", "About", "default", "x" * 128):
        store.upsert([("a", [1.0, 0.0], {"Key": space, "key": 1})], namespace=space)
    for space in ("about", "About", "default", "x" * 128):
        wanted = {"Key": {"$eq": space}, "key": {"$gte": 1}}
        assert found(store.query([1.0, 0.0], filter=wanted, namespace=space)) == ["a"]
    assert store.list() == []


# --- exactness -------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
def test_the_index_finds_the_same_as_the_definition(tmp_path, monkeypatch, metric):
    monkeypatch.setattr(lance_module, "INDEXED_ROWS", 1000)
    stores = LanceStore(tmp_path, dimension=12, metric=metric), MemoryStore(12, metric)
    start, later = records(2000, 12), records(400, 12, seed=1)
    for store in stores:
        store.upsert(start)
        store.optimize()
        store.upsert(later)  # replaces the first 400
        store.delete([f"r{i:05d}" for i in range(390, 500)])
    ours, wanted = stores
    queries = np.random.default_rng(2).normal(size=(5, 12))
    for _ in range(2):
        assert ours._tables.find("").list_indices()
        for filter in (None, {"label": {"$eq": 3}}):
            many = ours.query_many(queries, top_k=25, filter=filter)
            for i, query in enumerate(queries):
                one = ours.query(query, top_k=25, filter=filter, include_values=True)
                right = wanted.query(query, top_k=25, filter=filter)
                assert found(one) == found(many[i]) == found(right)
                scores = [match.score for match in right]
                np.testing.assert_allclose(
                    [match.score for match in one], scores, rtol=1e-5, atol=1e-6
                )
                assert all(
                    np.array_equal(
                        match.values, ours.fetch([match.id])[match.id].values
                    )
                    for match in one[:3]
                )
        ours.optimize()


def test_small_and_large_dot_products_keep_their_order(tmp_path):
    store = LanceStore(tmp_path, dimension=3, metric="dotproduct")
    sizes = 10.0 ** np.arange(-9, 10)
    vectors = [[size, 2 * size, -size] for size in sizes]
    store.upsert(Vectors([f"{size:g}" for size in sizes], vectors))
    for length in (1e-9, 1.0, 1e9):
        matches = store.query([length, length, 0.0], top_k=19)
        assert found(matches) == [f"{size:g}" for size in sizes[::-1]]
        np.testing.assert_allclose(
            [match.score for match in matches], 3 * length * sizes[::-1], rtol=1e-6
        )


# --- many writes -----------------------------------------------------------------


def test_small_writes_are_joined_and_old_versions_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(lance_module, "KEPT_VERSIONS", timedelta(milliseconds=1))
    monkeypatch.setattr(lance_module, "OPTIMIZED_AFTER", 10)
    store = LanceStore(tmp_path, dimension=4)
    vectors = np.random.default_rng(0).normal(size=(41, 4))
    for i, vector in enumerate(vectors):
        store.upsert([(f"{i:02d}", vector, {f"key{i % 3}": i})])
    assert sum(len(files) for *_, files in os.walk(tmp_path)) < 25
    assert store.list() == [f"{i:02d}" for i in range(41)]
    assert store.fetch(["40"])["40"].metadata == {"key1": 40.0}
    assert store.verify() == {}


@pytest.mark.parametrize("limit", [("PART_BYTES", 16 * 100), ("PART_ROWS", 100)])
def test_a_large_upsert_is_cut_into_parts(limit, tmp_path, monkeypatch):
    monkeypatch.setattr(lance_module, *limit)
    store = LanceStore(tmp_path, dimension=4)
    given = records(250, 4)
    assert store.upsert(given) == 250
    assert store._tables.find("").version == 1 + 3
    kept = store.fetch(given.ids)
    assert all(
        np.array_equal(kept[one].values, vector.astype(np.float32))
        for one, vector in zip(given.ids, given.values, strict=True)
    )


def test_a_column_that_another_writer_adds_in_between(tmp_path, monkeypatch):
    store, other = (LanceStore(tmp_path, dimension=2) for _ in range(2))
    store.upsert([("a", [1.0, 0.0], {"old": 1})])
    once = iter([True])

    def late(*arguments):
        table = original(*arguments)
        if next(once, False):
            other.upsert([("a", [0.0, 1.0], {"new": 2})])
        return table

    original = lance_module.arrow_table
    monkeypatch.setattr(lance_module, "arrow_table", late)
    store.upsert([("a", [3.0, 0.0], {"old": 3})])
    assert other.fetch(["a"])["a"].metadata == {"old": 3.0}
    assert other.verify() == {}


def test_conflicts_are_repeated_until_a_deadline():
    tries = []

    def change():
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("Retryable commit conflict for version 3")
        return len(tries)

    assert repeated(change, "write index `a`") == 3
    with pytest.raises(StoreTimeoutError, match="Cannot write index `a`: other writ"):
        repeated(always_busy, "write index `a`", deadline=0.05)
    with pytest.raises(StoreError, match=r"^Cannot write index `a`: no space$"):
        repeated(full, "write index `a`")


def always_busy():
    raise RuntimeError("Too many concurrent writers.")


def full():
    raise OSError("no space, /build/lance-13.0.0/src/io.rs:3:4")
