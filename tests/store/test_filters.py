"""Filters mean the same on every store, for queries and for deleting."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qstore_pl.store.filters import checked_filter, mongo
from tests.naive_store import as_kept, satisfies

pytestmark = pytest.mark.timeout(60)

RECORDS = {
    "a": {"label": 0, "name": "x", "noisy": False, "tags": ["p", "q"], "loss": 0.5},
    "b": {"label": 1, "name": "y", "noisy": True, "tags": ["q"], "loss": -0.5},
    "c": {"label": True, "name": "1", "noisy": 1, "tags": [], "loss": 1e300},
    "d": {"label": "1", "name": "", "noisy": 0, "tags": "q", "loss": 0.1 + 0.2},
    "e": {"label": ["1", "0"], "name": "O'Neil", "loss": 2**53, "Label": 5},
    "f": {"name": "ψ ⊗ φ", "loss": -0.0, "label": False},
    "g": {},
}
SEVERAL = [str(number) for number in range(1_000)]

FILTERS = [
    # equality: of the same kind only
    ({"label": {"$eq": 1}}, "b"),
    ({"label": {"$eq": 1.0}}, "b"),
    ({"label": {"$eq": True}}, "c"),
    ({"label": {"$eq": "1"}}, "de"),
    ({"label": {"$eq": 0}}, "a"),
    ({"label": {"$eq": False}}, "f"),
    ({"label": {"$eq": "0"}}, "e"),
    ({"label": {"$eq": 2}}, ""),
    ({"Label": {"$eq": 5}}, "e"),
    ({"LABEL": {"$eq": 5}}, ""),
    ({"noisy": {"$eq": True}}, "b"),
    ({"noisy": {"$eq": 1}}, "c"),
    ({"noisy": {"$eq": "True"}}, ""),
    ({"name": {"$eq": "x"}}, "a"),
    ({"name": {"$eq": "X"}}, ""),
    ({"name": {"$eq": ""}}, "d"),
    ({"name": {"$eq": "O'Neil"}}, "e"),
    ({"name": {"$eq": "ψ ⊗ φ"}}, "f"),
    ({"tags": {"$eq": "q"}}, "abd"),
    ({"tags": {"$eq": "p"}}, "a"),
    ({"tags": {"$eq": ""}}, ""),
    ({"loss": {"$eq": 0.1 + 0.2}}, "d"),
    ({"loss": {"$eq": 0.3}}, ""),
    ({"loss": {"$eq": 2**53}}, "e"),
    ({"loss": {"$eq": 2**53 - 1}}, ""),
    ({"loss": {"$eq": 0}}, "f"),
    ({"loss": {"$eq": -0.0}}, "f"),
    ({"missing": {"$eq": "x"}}, ""),
    # its opposite holds for records without the key
    ({"label": {"$ne": 1}}, "acdefg"),
    ({"label": {"$ne": "1"}}, "abcfg"),
    ({"label": {"$ne": True}}, "abdefg"),
    ({"tags": {"$ne": "q"}}, "cefg"),
    ({"name": {"$ne": ""}}, "abcefg"),
    ({"loss": {"$ne": 0}}, "abcdeg"),
    ({"missing": {"$ne": "x"}}, "abcdefg"),
    # order: numbers only
    ({"loss": {"$gt": 0}}, "acde"),
    ({"loss": {"$gte": 0}}, "acdef"),
    ({"loss": {"$lt": 0}}, "b"),
    ({"loss": {"$lte": 0}}, "bf"),
    ({"loss": {"$lte": -0.0}}, "bf"),
    ({"loss": {"$gt": -0.5}}, "acdef"),
    ({"loss": {"$gt": 1e299, "$lt": 1e301}}, "c"),
    ({"loss": {"$gt": 0.3}}, "acde"),
    ({"label": {"$gte": 0}}, "ab"),
    ({"label": {"$lt": 1}}, "a"),
    ({"noisy": {"$gte": 0}}, "cd"),
    ({"name": {"$gt": 0}}, ""),
    ({"tags": {"$lte": 1e9}}, ""),
    ({"missing": {"$lt": 1}}, ""),
    ({"missing": {"$gte": 1}}, ""),
    # one of several, of several kinds
    ({"label": {"$in": [1, "1"]}}, "bde"),
    ({"label": {"$in": [True, False]}}, "cf"),
    ({"label": {"$in": [0, 1, 2]}}, "ab"),
    ({"tags": {"$in": ["p", "z"]}}, "a"),
    ({"name": {"$in": ["", "O'Neil"]}}, "de"),
    ({"name": {"$in": SEVERAL}}, "c"),
    ({"label": {"$in": list(range(1_000))}}, "ab"),
    ({"missing": {"$in": [1, "x", True]}}, ""),
    ({"label": {"$nin": [1, "1"]}}, "acfg"),
    ({"label": {"$nin": [True]}}, "abdefg"),
    ({"tags": {"$nin": ["p"]}}, "bcdefg"),
    ({"name": {"$nin": SEVERAL}}, "abdefg"),
    ({"loss": {"$nin": [0, 0.5]}}, "bcdeg"),
    ({"missing": {"$nin": [1, "x", True]}}, "abcdefg"),
    # whether there is a value at all
    ({"label": {"$exists": True}}, "abcdef"),
    ({"label": {"$exists": False}}, "g"),
    ({"tags": {"$exists": True}}, "abcd"),
    ({"tags": {"$exists": False}}, "efg"),
    ({"missing": {"$exists": True}}, ""),
    ({"missing": {"$exists": False}}, "abcdefg"),
    # together
    ({"label": {"$eq": 1}, "loss": {"$lt": 0}}, "b"),
    ({"$and": [{"loss": {"$gt": 0}}, {"tags": {"$eq": "q"}}]}, "ad"),
    ({"$or": [{"loss": {"$lt": 0}}, {"tags": {"$eq": "p"}}]}, "ab"),
    ({"$or": [{"missing": {"$eq": 1}}]}, ""),
    ({"$and": [{"missing": {"$ne": 1}}]}, "abcdefg"),
    ({"$or": [{"missing": {"$eq": 1}}, {"name": {"$eq": "x"}}]}, "a"),
    ({"$and": [{"missing": {"$eq": 1}}, {"name": {"$eq": "x"}}]}, ""),
    (
        {
            "$or": [{"noisy": {"$eq": True}}, {"label": {"$exists": False}}],
            "name": {"$ne": "y"},
        },
        "g",
    ),
    (
        {
            "$and": [
                {"$or": [{"label": {"$eq": 0}}, {"label": {"$eq": False}}]},
                {"$or": [{"loss": {"$gte": 0.5}}, {"loss": {"$eq": 0}}]},
            ]
        },
        "af",
    ),
]


def records(names=RECORDS):
    return [(one, [1.0, ord(one) - 100], RECORDS[one]) for one in names]


@pytest.fixture(scope="module")
def store(shared_place):
    """Records with all kinds of metadata, which came in three batches."""
    opened = shared_place.open(2)
    for names in ("ag", "bcd", "ef"):
        opened.upsert(records(names))
    return opened


def found(store, condition):
    return "".join(sorted(match.id for match in store.query([1, 1], filter=condition)))


@pytest.mark.parametrize(("condition", "wanted"), FILTERS)
def test_what_a_query_with_a_filter_finds(store, condition, wanted):
    assert found(store, condition) == wanted


def test_a_filter_does_not_change_the_scores(store):
    alike = {match.id: match.score for match in store.query([1, 1])}
    (some,) = store.query_many([[1, 1]], filter={"tags": {"$eq": "q"}}, top_k=2)
    assert len(some) == 2
    for match in some:
        assert match.score == pytest.approx(alike[match.id], rel=1e-6)


def test_top_k_are_of_those_that_satisfy_the_filter(store):
    everything = store.query([1, 1])
    odd = {"name": {"$in": ["y", "", "ψ ⊗ φ"]}}
    wanted = [match.id for match in everything if match.id in "bdf"][:2]
    assert [match.id for match in store.query([1, 1], filter=odd, top_k=2)] == wanted


SCALARS = st.sampled_from(
    [0, 1, True, False, "1", "0", "", "x", "q", "p", 0.5, -0.5, 0.3, 2**53, "O'Neil"]
)
KEYS = st.sampled_from(["label", "name", "noisy", "tags", "loss", "missing"])
OPERANDS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), SCALARS),
    st.tuples(
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
        st.sampled_from([-0.5, 0, 0.3, 0.5, 1, 2**53, 1e300]),
    ),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, min_size=1)),
    st.tuples(st.just("$exists"), st.booleans()),
)
COMPARISONS = st.builds(lambda key, operand: {key: dict([operand])}, KEYS, OPERANDS)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda parts: st.builds(
        lambda word, several: {word: several},
        st.sampled_from(["$and", "$or"]),
        st.lists(parts, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


@given(condition=CONDITIONS)
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_filters_of_all_shapes(store, condition):
    checked = checked_filter("filter", condition)
    wanted = "".join(
        one
        for one, metadata in RECORDS.items()
        if satisfies({k: as_kept(v) for k, v in metadata.items()}, checked)
    )
    assert found(store, condition) == wanted


@given(condition=CONDITIONS)
@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@example(condition={"a": {"$gt": 1, "$lt": 2}, "$or": [{"b": {"$in": ["x"]}}]})
def test_a_condition_as_a_filter_again_is_the_same_condition(condition):
    checked = checked_filter("filter", condition)
    assert checked_filter("filter", mongo(checked)) == checked


DELETED = [
    {"label": {"$eq": 1}},
    {"label": {"$ne": "1"}},
    {"tags": {"$in": ["p", "q"]}},
    {"loss": {"$lte": 0}},
    {"missing": {"$eq": 1}},
    {"missing": {"$exists": False}},
    {"$or": [{"name": {"$eq": "O'Neil"}}, {"noisy": {"$eq": True}}]},
]


def test_what_is_deleted_by_a_filter(shared_place):
    store = shared_place.open(2, index="deleted")
    for row, condition in enumerate(DELETED):
        space = f"space-{row}"
        store.upsert(records(), namespace=space)
        gone = {
            match.id for match in store.query([1, 1], filter=condition, namespace=space)
        }
        store.delete(filter=condition, namespace=space)
        assert set(store.list(namespace=space)) == set(RECORDS) - gone
        kept = store.fetch(list(RECORDS), namespace=space)
        assert kept.keys() == RECORDS.keys() - gone


def test_as_many_conditions_as_the_door_lets_through(store):
    many = [{"name": {"$ne": f"name {number}"}} for number in range(999)]
    assert found(store, {"$and": [*many, {"name": {"$eq": "x"}}]}) == "a"
    deep = {"$or": [{"name": {"$eq": "x"}}, {"missing": {"$eq": 1}}]}
    for word in ["$and", "$or"] * 9 + ["$and"]:
        deep = {word: [deep, {"loss": {"$gt": 0} if word == "$and" else {"$lt": 0}}]}
    assert found(store, deep) == "a"
