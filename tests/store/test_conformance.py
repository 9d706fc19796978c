"""What every vector store must do, whichever it is: one suite over all of them.

Where a result is not written out here, it is that of the twin in memory.
"""

import math
import string

import numpy as np
import pytest

from qstore_pl.errors import StoreError
from qstore_pl.store import METRICS, Match, Record, Vectors
from tests.store.places import Memory

pytestmark = pytest.mark.timeout(60)

KINDS = {
    "text": "a line\nand 'quotes' \"\\ \t",
    "unicode": "ψ ⊗ φ, 量子, \N{OCTOPUS}, e\u0301",
    "nothing": "",
    "NUL": "a\0b",
    "number": 0.1,
    "integer": 3,
    "large": 2**53,
    "small": -5e-324,
    "yes": True,
    "no": False,
    "tags": ["b", "", "a", "a", "ψ"],
    "no_tags": [],
}
KEPT = {**KINDS, "integer": 3.0, "large": 2.0**53}


def floats(metadata):
    """Values with their kinds, which ``1 == True`` would hide."""
    return {key: (type(value), value) for key, value in metadata.items()}


# --- what is written is there ----------------------------------------------------


def test_vectors_come_back_bit_for_bit(place):
    store = place.open(5)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 5)) * 10.0 ** rng.integers(-15, 15, (40, 1))
    values[0] = [1e-45, -0.0, 1.0, 1 / 3, 16_777_217]
    ids = [f"record {row}" for row in range(40)]
    assert store.upsert(Vectors(ids, values)) == 40
    fetched = store.fetch(ids[::-1])
    for one, wanted in zip(ids, values.astype(np.float32), strict=True):
        found = fetched[one]
        assert type(found) is Record
        assert found.id == one
        assert found.values.dtype == np.float32
        assert found.values.tobytes() == wanted.tobytes()
        assert found.metadata == {}
    (match,) = store.query(id=ids[0], top_k=1, include_values=True)
    assert match.id == ids[0]
    assert match.values.tobytes() == values[0].astype(np.float32).tobytes()


def test_metadata_come_back_as_they_were(place):
    store = place.open(2)
    others = {"text": 5, "number": "0.1", "yes": ["yes"], "tags": True, "new_key": "x"}
    many = {f"key_{number}": number for number in range(200)}
    given = {"kinds": KINDS, "others": others, "many": many, "none": {}}
    store.upsert([(one, [1, 2], metadata) for one, metadata in given.items()])
    fetched = store.fetch(list(given))
    assert floats(fetched["kinds"].metadata) == floats(KEPT)
    assert floats(fetched["others"].metadata) == floats({**others, "text": 5.0})
    assert fetched["many"].metadata == many
    assert fetched["none"].metadata == {}
    found = {match.id: match.metadata for match in store.query([1, 2])}
    assert found == {one: record.metadata for one, record in fetched.items()}
    plain = store.query([1, 2], include_metadata=False)
    assert {type(match) for match in plain} == {Match}
    assert all(match.metadata == {} and match.values is None for match in plain)


def test_the_forms_of_records_and_numpy_s_own_kinds(place):
    store = place.open(2)
    store.upsert(
        [
            ("pair", (1, 2)),
            ("triple", np.array([1, 2]), {"label": np.int64(1), "ok": np.bool_(True)}),
            {"id": "dict", "values": [np.float32(1), 2]},
            {"id": "dict with metadata", "values": [1, 2], "metadata": {"a": "b"}},
            {"id": "none", "values": [1, 2], "metadata": None},
            (np.str_("numpy"), [1, 2], {"tags": (np.str_("t"), "u")}),
        ]
    )
    copied = store.fetch(store.list())
    store.upsert(copied.values(), namespace="copies")
    again = store.fetch(store.list(), namespace="copies")
    assert copied.keys() == again.keys()
    for one, record in copied.items():
        assert type(again[one].id) is str
        assert again[one].values.tolist() == record.values.tolist() == [1.0, 2.0]
        assert floats(again[one].metadata) == floats(record.metadata)
    metadata = {one: record.metadata for one, record in copied.items()}
    assert metadata["triple"] == {"label": 1.0, "ok": True}
    assert metadata["numpy"] == {"tags": ["t", "u"]}
    assert metadata["pair"] == metadata["dict"] == metadata["none"] == {}


def test_a_record_is_replaced_as_a_whole(place):
    store = place.open(2)
    store.upsert([("a", [1, 0], {"old": 1, "kept": "x"}), ("b", [0, 1], {"old": 2})])
    store.upsert([("a", [0, 2], {"kept": True, "new": ["n"]}), ("c", [1, 1])])
    a, b = map(store.fetch(["a", "b"]).__getitem__, "ab")
    assert (a.values.tolist(), a.metadata) == ([0, 2], {"kept": True, "new": ["n"]})
    assert (b.values.tolist(), b.metadata) == ([0, 1], {"old": 2})
    assert [m.id for m in store.query([1, 0], filter={"old": {"$exists": True}})] == [
        "b"
    ]
    assert store.query([1, 0], filter={"kept": {"$eq": "x"}}) == []
    assert store.stats().namespaces == {"": 3}
    store.upsert([("a", [3, 4])])
    (a,) = store.fetch(["a"]).values()
    assert (a.values.tolist(), a.metadata) == ([3, 4], {})


def test_a_batch_of_many_parts(place):
    store = place.open(300)
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3_000, 300)).astype(np.float32)
    ids = [f"record-{row:04}" for row in range(3_000)]
    metadata = [{"row": row, "text": "x" * (row % 7)} for row in range(3_000)]
    assert store.upsert(Vectors(ids, values, metadata)) == 3_000
    assert store.stats().namespaces == {"": 3_000}
    assert store.list() == ids
    rows = rng.permutation(3_000)[:250]
    fetched = store.fetch([ids[row] for row in rows])
    assert len(fetched) == 250
    for row in rows:
        record = fetched[ids[row]]
        assert record.values.tobytes() == values[row].tobytes()
        assert record.metadata == metadata[row]
    (nearest, *_) = store.query(values[2_999], top_k=2)
    assert nearest.id == ids[2_999]
    store.delete(ids[:2_500])
    assert store.list() == ids[2_500:]


def test_the_longest_names_and_the_most_metadata(place):
    store = place.open(1)
    printable = string.digits + string.ascii_letters + string.punctuation + " "
    ids = [printable, "i" * 512, " ", "'", '"', "%", "a/b?c=d&e#f", "\\", "..", "+"]
    space = "N" + "n.-_" * 31 + "nnn"
    most = {"k" * 64: "x" * 40_000}
    store.upsert([(one, [1.0], most) for one in ids], namespace=space)
    assert store.stats().namespaces == {space: len(ids)}
    assert store.list(namespace=space) == sorted(ids)
    fetched = store.fetch(ids, namespace=space)
    assert all(fetched[one].metadata == most for one in ids)
    for one in ids:
        assert store.list(one, namespace=space) == [one]
        assert store.query(id=one, namespace=space, top_k=10_000)
    store.delete(ids[1:], namespace=space)
    assert store.list(namespace=space) == ids[:1]


# --- namespaces ------------------------------------------------------------------


def test_namespaces_are_apart(place):
    store = place.open(2)
    spaces = ["", "runs", "Runs", "RUNS", "default", "a.b", "a-b", "a_b", "con"]
    for row, space in enumerate(spaces):
        records = [("same", [1, row], {"space": space}), (f"own-{row}", [1, 0])]
        store.upsert(records, namespace=space)
    assert store.stats().namespaces == dict.fromkeys(spaces, 2)
    assert store.stats().total == 2 * len(spaces)
    for row, space in enumerate(spaces):
        assert store.list(namespace=space) == [f"own-{row}", "same"]
        (record,) = store.fetch(["same", "own-99"], namespace=space).values()
        assert record.metadata == {"space": space}
        assert {m.id for m in store.query([1, 1], namespace=space)} == {
            f"own-{row}",
            "same",
        }
    store.delete(["same"], namespace="Runs")
    store.delete(filter={"space": {"$exists": True}}, namespace="a.b")
    store.delete(delete_all=True, namespace="runs")
    left = dict.fromkeys(spaces, 2) | {"Runs": 1, "a.b": 1}
    del left["runs"]
    assert store.stats().namespaces == left
    assert store.list(namespace="runs") == []
    store.upsert([("again", [1, 1])], namespace="runs")
    assert store.list(namespace="runs") == ["again"]


def test_the_default_namespace_has_two_names(place):
    store = place.open(2)
    store.upsert([("a", [1, 0])])
    store.upsert([("b", [1, 1])], namespace="__default__")
    assert store.stats().namespaces == {"": 2}
    for name in ("", "__default__"):
        assert store.list(namespace=name) == ["a", "b"]
        assert store.fetch(["a"], namespace=name).keys() == {"a"}
        assert [m.id for m in store.query([1, 0], namespace=name)] == ["a", "b"]
    store.delete(["a"], namespace="__default__")
    assert store.list() == ["b"]
    store.delete(delete_all=True, namespace="")
    assert store.stats().namespaces == {}


def test_what_is_not_there(place):
    store = place.open(2, "euclidean")
    for space in ("", "nowhere"):
        assert store.list(namespace=space) == []
        assert store.list("a", namespace=space) == []
        assert store.fetch(["a"], namespace=space) == {}
        assert store.query([1, 2], namespace=space) == []
        assert store.query([1, 2], namespace=space, filter={"a": {"$ne": 1}}) == []
        assert list(store.query_many([[1, 2], [3, 4]], namespace=space)) == [[], []]
        with pytest.raises(KeyError):
            store.query(id="a", namespace=space)
        store.delete(["a"], namespace=space)
        store.delete([], namespace=space)
        store.delete(filter={"a": {"$eq": 1}}, namespace=space)
        store.delete(delete_all=True, namespace=space)
        store.optimize()
        assert store.verify() == {}
        assert store.stats().namespaces == {}
    assert store.fetch([]) == {}
    assert list(store.query_many(np.empty((0, 2)))) == []
    assert (store.stats().dimension, store.stats().metric) == (2, "euclidean")
    assert store.stats().total == 0


def test_lists_are_sorted_and_have_pages(place):
    store = place.open(1)
    ids = [f"run-{row % 7}/epoch{row:06}" for row in range(330)]
    odd = ["100%", "100x", "a_b", "axb", "it's", 'a"b', "a\\b", "a\\", "A", "Z", "z"]
    store.upsert([(one, [1.0]) for one in [*ids, *odd]])
    assert store.list() == sorted([*ids, *odd])
    assert store.list("run-") == sorted(ids)
    assert store.list("run-3/") == [one for one in sorted(ids) if "-3/" in one]
    assert store.list("100%") == ["100%"]
    assert store.list("100") == ["100%", "100x"]
    assert store.list("a_") == ["a_b"]
    assert store.list("it'") == ["it's"]
    assert store.list('a"') == ['a"b']
    assert store.list("a\\") == ["a\\", "a\\b"]
    assert store.list("A") == ["A"]
    assert store.list("run-3/epoch000003 or more") == []
    assert len(store.fetch(sorted(ids))) == 330
    store.delete(ids[:300])
    assert store.list("run-") == sorted(ids[300:])


# --- the nearest -----------------------------------------------------------------

FILTER = {"$or": [{"label": {"$in": [0, 2]}}, {"name": {"$eq": "5"}}]}


def filled(place, metric):
    """A store and its twin with the same records."""
    store, twin = place.open(12, metric), Memory().open(12, metric)
    rng = np.random.default_rng(2)
    values = rng.normal(size=(120, 12)) * rng.uniform(0.1, 10, (120, 1))
    ids = [f"r{row}" for row in range(120)]
    metadata = [{"label": row % 4, "name": str(row)} for row in range(120)]
    for each in (store, twin):
        each.upsert(Vectors(ids, values, metadata))
        each.upsert(Vectors(ids[:9], values[9:18]), namespace="other")
    return store, twin, rng


def assert_alike(found, wanted):
    assert [match.id for match in found] == [match.id for match in wanted]
    for match, other in zip(found, wanted, strict=True):
        assert type(match.score) is float
        assert math.isclose(match.score, other.score, rel_tol=1e-5, abs_tol=2e-6)
        assert match.metadata == other.metadata


def assert_same_answers(store, twin, vectors):
    for vector in vectors:
        for options in (
            {},
            {"top_k": 1},
            {"top_k": 500},
            {"filter": FILTER, "top_k": 7},
            {"filter": FILTER, "top_k": 500, "include_metadata": False},
            {"namespace": "other"},
        ):
            assert_alike(store.query(vector, **options), twin.query(vector, **options))


@pytest.mark.parametrize("metric", METRICS)
def test_ranking_and_scores(place, metric):
    store, twin, rng = filled(place, metric)
    vectors = rng.normal(size=(3, 12))
    assert_same_answers(store, twin, vectors)
    for options in ({}, {"filter": FILTER, "top_k": 3}, {"namespace": "other"}):
        several = store.query_many(vectors, **options)
        assert len(several) == 3
        for found, vector in zip(several, vectors, strict=True):
            assert_alike(found, store.query(vector, **options))
    for options in ({}, {"filter": FILTER}):
        found = store.query(id="r7", **options)
        assert_alike(found, twin.query(id="r7", **options))
    shown = store.query(id="r7", namespace="other", include_values=True)
    kept = twin.fetch([match.id for match in shown], namespace="other")
    assert len(shown) == 9
    for match in shown:
        assert match.values.tobytes() == kept[match.id].values.tobytes()


@pytest.mark.parametrize("metric", METRICS)
def test_ranking_after_changes(place, metric):
    store, twin, rng = filled(place, metric)
    vectors = rng.normal(size=(1, 12))
    store.optimize()
    assert_same_answers(store, twin, vectors)
    replaced = rng.normal(size=(20, 12)) * 3
    ids = [f"r{row}" for row in range(110, 130)]
    metadata = [{"label": "none", "name": "5"} for _ in ids]
    for each in (store, twin):
        each.upsert(Vectors(ids, replaced, metadata))
        each.delete([f"r{row}" for row in range(0, 100, 3)])
        each.delete(filter={"label": {"$eq": 1}})
    assert_same_answers(store, twin, vectors)
    store.optimize()
    assert_same_answers(store, twin, vectors)
    assert store.list() == twin.list()
    assert store.stats() == twin.stats()
    assert store.verify() == {}


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ("cosine", [("b", 1.0), ("a", 0.8), ("d", 0.0), ("c", -0.6)]),
        ("dotproduct", [("a", 8.0), ("b", 1.0), ("d", 0.0), ("c", -0.6)]),
        ("euclidean", [("b", 0.0), ("d", 1.25), ("c", 3.2), ("a", 85.0)]),
    ],
)
def test_scores_in_numbers(place, metric, wanted):
    """cos = v.w/|v||w|, dot = v.w, and the squared distance (v - w)**2."""
    store = place.open(2, metric)
    records = {"a": [8, 6], "b": [1, 0], "c": [-0.6, 0.8], "d": [0, 0.5]}
    store.upsert(records.items())
    found = store.query([1, 0])
    assert [match.id for match in found] == [one for one, _ in wanted]
    scores = [match.score for match in found]
    assert scores == pytest.approx([score for _, score in wanted], abs=1e-6)


# --- indexes ---------------------------------------------------------------------


def test_indexes_of_one_place(place):
    store = place.open(3, "dotproduct", index="runs")
    store.upsert([("a", [1, 2, 3])])
    with store.beside("runs-checkpoints", dimension=2, metric="euclidean") as other:
        other.upsert([("a", [5, 6])])
        assert store.indexes() == other.indexes() == ["runs", "runs-checkpoints"]
        found = other.index, other.dimension, other.metric
        assert found == ("runs-checkpoints", 2, "euclidean")
        assert other.fetch(["a"])["a"].values.tolist() == [5, 6]
        with other.beside("runs") as back:
            assert (back.index, back.dimension, back.metric) == (
                *("runs", 3, "dotproduct"),
            )
            assert back.fetch(["a"])["a"].values.tolist() == [1, 2, 3]
    with store.beside("0", dimension=1) as third:
        assert third.metric == "cosine"
    assert store.indexes() == ["0", "runs", "runs-checkpoints"]


def test_an_index_is_opened_again(place):
    with place.open(2, "euclidean", index="again") as store:
        store.upsert([("a", [1, 2], {"label": 1})])
    for options in ({}, {"dimension": 2}, {"metric": "euclidean"}):
        with place.open(index="again", **options) as store:
            assert (store.dimension, store.metric) == (2, "euclidean")
            assert store.fetch(["a"])["a"].metadata == {"label": 1}
            assert store.plain.stats().total == 1


def test_another_dimension_or_metric_is_refused(place):
    place.open(2, index="taken")
    for options in (
        {"dimension": 3},
        {"metric": "euclidean"},
        {"dimension": 2, "metric": "dotproduct"},
    ):
        with pytest.raises(StoreError, match="taken"):
            place.open(index="taken", **options)
    store = place.open(index="taken")
    with pytest.raises(StoreError, match="taken"):
        store.beside("taken", dimension=3)


def test_an_index_that_is_not_there_needs_a_dimension(place):
    store = place.open(2)
    with pytest.raises(StoreError, match="absent"):
        place.open(index="absent")
    with pytest.raises(StoreError, match="absent"):
        store.beside("absent", metric="cosine")
    assert store.indexes() == ["qstore"]


# --- the door --------------------------------------------------------------------


def test_what_is_refused_is_refused_before_anything_is_sent(place):
    """`test_door.py` has all of it; here are some on every road there is."""
    store = place.open(2)
    store.upsert([("kept", [1, 2])])
    before = place.trace()
    for call, message in (
        (lambda: store.upsert([("a", [1, 2]), ("b", [0, 0])]), "must not be zero"),
        (lambda: store.upsert([("a", [1, 2]), ("a", [1, 2])]), "every identifier once"),
        (lambda: store.query([1, 2, 3]), r"shape \(1, 2\)"),
        (lambda: store.query([1, 2], filter={"a": {"$regex": ""}}), "operators"),
        (lambda: store.query_many([[1, 2]], top_k=0), "`top_k` must be >= 1"),
        (lambda: store.delete(["a"], delete_all=True), "but 2 are"),
        (lambda: store.fetch(["a", "ψ"]), "printable ASCII"),
        (lambda: store.list(namespace="../x"), "`namespace` must have"),
        (lambda: store.beside("../x", dimension=2), "`index` must have"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert place.trace() == before
