"""Bad arguments: the same error from every store, and nothing has reached it."""

import re

import numpy as np
import pytest

from qstore_pl.store import Record, Vectors
from qstore_pl.store.filters import MAX_CONDITIONS, MAX_DEPTH

pytestmark = pytest.mark.timeout(60)

GOOD = [1.0, 2.0, 3.0]
V, T, K = ValueError, TypeError, KeyError


def upsert(*records, **options):
    return lambda store: store.upsert(records, **options)


def columns(*args):
    return lambda store: store.upsert(Vectors(*args))


def metadata(value, key="key"):
    return upsert(("good", GOOD), ("bad", GOOD, {key: value}))


def query(*args, **options):
    return lambda store: store.query(*args, **options)


def filtered(condition):
    return query(GOOD, filter=condition)


def values(vector):
    return upsert(("good", GOOD), ("bad", vector))


def deep(levels):
    inside = {"key": {"$eq": 1}}
    for _ in range(levels):
        inside = {"$and": [inside]}
    return inside


MANY = {"$or": [{"key": {"$eq": number}} for number in range(MAX_CONDITIONS + 1)]}

BAD = {
    # vectors
    "NaN": (values([np.nan, 1, 2]), V, "`values` must be finite, .* in row 1 has not"),
    "infinity": (values([np.inf, 1, 2]), V, "`values` must be finite"),
    "too large": (values([1e39, 1, 2]), V, "`values` must be finite, .* 1e19"),
    "too long": (values([1e19, 2e19, 2]), V, "`values` must be finite, .* 1e19"),
    "zero": (values([0, 0, 0]), V, "`values` must not be zero"),
    "zero in single precision": (values([1e-60, 0, 0]), V, "must not be zero"),
    "too short": (values([1e-20, 0, 0]), V, "must .* between 1e-19 and 1e19"),
    "complex": (values([1j, 0, 1]), T, "`values` must hold real numbers, .* complex"),
    "text": (values(["1", "2", "3"]), T, "must hold real numbers, but has dtype <U"),
    "no numbers": (values([None, 1, 2]), T, "`values` must hold real .* object"),
    "a short vector": (values([1, 2]), V, "`values` must have rows of the same length"),
    "all short": (upsert(("a", [1, 2])), V, r"must have shape \(1, 3\), .* \(1, 2\)"),
    "no vector": (upsert(("a", None)), T, "`values` must hold real .* object"),
    "a matrix": (upsert(("a", np.eye(3))), V, r"shape \(1, 3\), .* \(1, 3, 3\)"),
    "masked": (values(np.ma.array(GOOD, mask=[0, 1, 0])), V, "no masked entries"),
    "columns of bools": (columns(["a"], [[True] * 3]), T, "real numbers, .* bool"),
    "columns of text": (columns(["a"], [["1"] * 3]), T, "must hold real numbers"),
    "too few rows": (columns(["a", "b"], [GOOD]), V, r"\(2, 3\), .* \(1, 3\)"),
    "flat values": (columns(["a"], GOOD), V, r"must have shape \(1, 3\), .* \(3,\)"),
    # identifiers
    "empty id": (
        upsert(("", GOOD)),
        V,
        "`ids` must hold strings of 1 to 512 .* has ''",
    ),
    "long id": (upsert(("i" * 513, GOOD)), V, r"1 to 512 .*\.\.\. of 513 characters"),
    "non-ASCII id": (upsert(("ψ", GOOD)), V, "printable ASCII characters, .* 'ψ'"),
    "NUL in an id": (upsert(("a\0b", GOOD)), V, "printable ASCII .*x00b"),
    "newline in an id": (upsert(("a\n", GOOD)), V, "printable ASCII characters"),
    "number as id": (upsert((1, GOOD)), T, "`ids` must hold strings, but has 1"),
    "bytes as id": (upsert((b"a", GOOD)), T, "`ids` must hold strings, but has b'a'"),
    "an id twice": (
        upsert(("a", GOOD), ("b", GOOD), ("a", GOOD)),
        V,
        "`ids` must have every identifier once, but has 'a' several times",
    ),
    "ids as one string": (columns("a", [GOOD]), T, r"Write \[identifier\]"),
    "ids as a number": (columns(1, [GOOD]), T, "must be a sequence of identifiers"),
    # metadata
    "nested": (metadata({"a": 1}), T, "`metadata` must hold strings, numbers, bools"),
    "an operator": (metadata({"$ne": ""}), T, "'key' is {'\\$ne': ''}"),
    "None": (metadata(None), T, "Leave a key out that has no value"),
    "list of numbers": (metadata([1, 2]), T, "lists of strings"),
    "mixed list": (metadata(["a", 1]), T, "lists of strings"),
    "bytes": (metadata(b"a"), T, "lists of strings"),
    "an array": (metadata(np.eye(2)), T, "lists of strings"),
    "complex metadata": (metadata(1j), T, "lists of strings"),
    "NaN as metadata": (metadata(np.nan), V, "finite numbers, but 'key' is nan"),
    "infinite metadata": (metadata(np.float32(np.inf)), V, "finite numbers"),
    "large integer": (metadata(2**53 + 1), V, r"integers up to 2\*\*53, but 'key'"),
    "large negative": (metadata(-(2**53) - 1), V, "Write it as a string"),
    "half a surrogate": (metadata("\ud800"), V, "`metadata` .* a lone surrogate"),
    "half a surrogate in a list": (metadata(["a", "\udfff"]), V, "lone surrogate"),
    "too much": (metadata("x" * 40_961), V, "at most 40960 bytes .* record 1 takes"),
    "too much of escapes": (metadata("\0" * 7_000), V, "at most 40960 bytes"),
    "too much of everything": (
        metadata(["ψ" * 100] * 210),
        V,
        "at most 40960 bytes as JSON for each record, but that of record 1",
    ),
    "empty key": (metadata(1, ""), V, "`metadata` must have keys of 1 to 64"),
    "long key": (metadata(1, "k" * 65), V, "`metadata` must have keys of 1 to 64"),
    "key with $": (metadata(1, "$eq"), V, "must have keys .*, but has '\\$eq'"),
    "key with a dot": (metadata(1, "a.b"), V, "`metadata` must have keys"),
    "key with a backtick": (metadata(1, "a`b"), V, "`metadata` must have keys"),
    "key with newline": (metadata(1, "a\n"), V, "`metadata` must have keys"),
    "number as key": (metadata(1, 1), T, "`metadata` must have keys"),
    "metadata as text": (upsert(("a", GOOD, "key")), T, "must hold dicts, .* 'key'"),
    "metadata as a number": (upsert(("a", GOOD, 0)), T, "must hold dicts, but has 0"),
    "columns of metadata": (
        columns(["a"], [GOOD], {"key": [1]}),
        T,
        "`metadata` must be a list of dicts, but is {'key'",
    ),
    "too little metadata": (
        columns(["a", "b"], np.ones((2, 3)), [{}]),
        V,
        "`metadata` must have 2 dicts, one for each record, but has 1",
    ),
    # forms of records
    "no record": (upsert(), V, "`vectors` must have a record, but has none"),
    "no records at all": (lambda store: store.upsert(None), T, "iterable of records"),
    "a tuple of one": (upsert(("a",)), T, r"must hold \(id, values\), .* \('a',\)"),
    "a tuple of four": (upsert(("a", GOOD, {}, 1)), T, r"must hold \(id, values\)"),
    "one record alone": (lambda store: store.upsert(("ab", GOOD)), T, "has 'ab'"),
    "a dict of records": (lambda store: store.upsert({"ab": GOOD}), T, "has 'ab'"),
    "a matrix alone": (lambda store: store.upsert(np.eye(3)), T, "but has array"),
    "sparse values": (
        upsert({"id": "a", "values": GOOD, "sparse_values": {}}),
        T,
        r"must hold \(id, values\), .* or dicts with these keys",
    ),
    "a record without id": (upsert({"values": GOOD}), T, "dicts with these keys"),
    "a fetched zero": (upsert(Record("a", np.zeros(3))), V, "must not be zero"),
    # namespaces
    "namespace with a path": (
        upsert(("a", GOOD), namespace="../x"),
        V,
        "`namespace` must have 1 to 128 letters, .*, but has '../x'",
    ),
    "namespace of dots": (upsert(("a", GOOD), namespace=".."), V, "`namespace` must"),
    "long namespace": (query(GOOD, namespace="n" * 129), V, "of 129 characters"),
    "number as namespace": (query(GOOD, namespace=0), T, "`namespace` must .* has 0"),
    "no namespace": (query(GOOD, namespace=None), T, "`namespace` must .* has None"),
    "an array as namespace": (query(GOOD, namespace=np.eye(2)), T, "`namespace`"),
    "non-ASCII namespace": (query(GOOD, namespace="ψ"), V, "`namespace` must"),
    # queries
    "nothing to search": (query(), V, "`vector` and `id` must be given, but none is"),
    "two to search": (query(GOOD, id="a"), V, "must be given, but both are"),
    "no vector to search": (query(1.0), V, r"`vector` must have shape \(3,\), .* \(\)"),
    "vectors to search": (query([GOOD]), V, r"`vector` must have shape \(3,\), but"),
    "a query of two": (query([1, 2]), V, r"shape \(1, 3\), but has shape \(1, 2\)"),
    "a NaN to search": (query([np.nan, 1, 2]), V, "`vector` must be finite"),
    "zero to search": (query([0, 0, 0]), V, "`vector` must not be zero"),
    "complex to search": (query([1j, 1, 2]), T, "`vector` must hold real numbers"),
    "text to search": (query("abc"), V, "`vector` must have shape"),
    "id to search": (query(id="ψ"), V, "`id` must hold strings of 1 to 512"),
    "unknown id": (query(id="nobody"), K, "nobody"),
    "no top_k": (query(GOOD, top_k=0), V, "`top_k` must be >= 1, but is 0"),
    "half a top_k": (query(GOOD, top_k=1.5), T, "`top_k` must be an integer"),
    "True as top_k": (query(GOOD, top_k=True), T, "`top_k` must be an integer"),
    "large top_k": (query(GOOD, top_k=10_001), V, "`top_k` must be <= 10000, but"),
    "large top_k with values": (
        query(GOOD, top_k=1_001, include_values=True),
        V,
        "`top_k` must be <= 1000 with include_values=True, but is 1001",
    ),
    "1 for True": (query(GOOD, include_values=1), T, "must be True or False"),
    "None for False": (query(GOOD, include_metadata=None), T, "`include_metadata`"),
    "query_many of one": (
        lambda s: s.query_many(GOOD),
        V,
        r"shape \(n, 3\), .* \(3,\)",
    ),
    "query_many of zeros": (
        lambda store: store.query_many([GOOD, [0, 0, 0]]),
        V,
        "`vectors` must not be zero, .* the vector in row 1 has not",
    ),
    "query_many, top_k": (
        lambda store: store.query_many([GOOD], top_k=10_001),
        V,
        "`top_k` must be <= 10000",
    ),
    # filters
    "filter of text": (filtered("key = 1"), T, "`filter` must be a dict"),
    "empty filter": (filtered({}), V, "`filter` must have a condition, but is empty"),
    "bare value": (filtered({"key": 1}), T, r"Write \{'key': \{'\$eq': \.\.\.\}\}"),
    "no operator": (filtered({"key": {}}), V, "must have an operator for 'key'"),
    "unknown operator": (filtered({"key": {"$regex": "a"}}), V, "has '\\$regex'"),
    "value as operator": (filtered({"key": {"eq": 1}}), V, "one of the operators"),
    "top operator": (filtered({"$ne": {"$eq": 1}}), V, "must combine conditions"),
    "$not": (filtered({"$not": [{"key": {"$eq": 1}}]}), V, "by \\$and and \\$or"),
    "$where": (filtered({"$where": "1 = 1"}), V, "must combine conditions"),
    "SQL as key": (filtered({"1=1 --": {"$eq": 1}}), V, "`filter` must have keys"),
    "number as filter key": (filtered({1: {"$eq": 1}}), T, "`filter` must have keys"),
    "operator as value": (filtered({"key": {"$eq": {"$ne": ""}}}), T, "or a bool for"),
    "list as value": (filtered({"key": {"$eq": ["a"]}}), T, "or a bool for \\$eq"),
    "None as value": (filtered({"key": {"$eq": None}}), T, "has None"),
    "NaN as value": (filtered({"key": {"$lt": np.nan}}), V, "finite numbers for \\$lt"),
    "large value": (filtered({"key": {"$eq": 2**53 + 1}}), V, r"up to 2\*\*53"),
    "half a surrogate as value": (
        filtered({"key": {"$eq": "\ud800"}}),
        V,
        "`filter` must hold text that UTF-8 can hold, but 'key' has a lone surrogate",
    ),
    "order of text": (filtered({"key": {"$gt": "a"}}), T, "a number for \\$gt"),
    "order of bools": (filtered({"key": {"$gt": True}}), T, "a number for \\$gt"),
    "$in of text": (filtered({"key": {"$in": "abc"}}), T, "a list with at least one"),
    "$in of nothing": (filtered({"key": {"$in": []}}), T, "a list with at least one"),
    "$in of lists": (filtered({"key": {"$in": [["a"]]}}), T, "or a bool for \\$in"),
    "$in of operators": (filtered({"key": {"$nin": [{"$eq": 1}]}}), T, "of 'key'"),
    "$in of too many": (
        filtered({"key": {"$in": ["a"] * 10_001}}),
        V,
        "at most 10000 values for \\$in of 'key', but has 10001",
    ),
    "$exists of 1": (filtered({"key": {"$exists": 1}}), T, "True or False for"),
    "$and of a dict": (filtered({"$and": {"key": {"$eq": 1}}}), T, "a list of dicts"),
    "$or of nothing": (
        filtered({"$or": []}),
        V,
        "conditions for '\\$or', but has none",
    ),
    "$or of an empty one": (filtered({"$or": [{}]}), V, "must have a condition"),
    "too deep": (filtered(deep(MAX_DEPTH + 1)), V, "nested at most 20 deep"),
    "too many conditions": (filtered(MANY), V, "at most 1000 conditions, .* 1001"),
    # deleting, fetching, listing
    "delete nothing": (lambda s: s.delete(), V, "must be given, but 0 are"),
    "delete by both": (
        lambda store: store.delete(["a"], filter={"key": {"$eq": 1}}),
        V,
        "must be given, but 2 are. To delete by both, query with the filter first",
    ),
    "delete an empty filter": (lambda s: s.delete(filter={}), V, "Leave it out"),
    "delete all of no namespace": (
        lambda store: store.delete(delete_all=True),
        V,
        "`namespace` must be given with `delete_all`",
    ),
    "delete all of False": (
        lambda store: store.delete(delete_all=True, namespace=False),
        T,
        "`namespace` must have 1 to 128 .*, but has False",
    ),
    "delete all as 1": (
        lambda store: store.delete(delete_all=1, namespace=""),
        T,
        "`delete_all` must be True or False, but is 1",
    ),
    "delete one string": (lambda s: s.delete("kept"), T, r"Write \[identifier\]"),
    "delete a number": (lambda s: s.delete(5), T, "must be a sequence of identifiers"),
    "delete an id twice": (lambda s: s.delete(["a", "a"]), V, "every identifier once"),
    "fetch one string": (lambda s: s.fetch("kept"), T, r"Write \[identifier\]"),
    "fetch None": (lambda s: s.fetch(None), T, "must be a sequence of identifiers"),
    "fetch non-ASCII": (lambda s: s.fetch(["ψ"]), V, "printable ASCII"),
    "list a number": (lambda s: s.list(0), T, "`prefix` must hold strings, but has 0"),
    "list NUL": (lambda s: s.list("a\0"), V, "`prefix` must hold strings of"),
    "list a path": (lambda s: s.list(namespace="a/b"), V, "`namespace` must have"),
    # indexes
    "index with a path": (
        lambda store: store.beside("../x", dimension=3),
        V,
        "`index` must have 1 to 45 characters .*, but has '../x'",
    ),
    "index with capitals": (
        lambda s: s.beside("Index"),
        V,
        "`index` must have 1 to 45",
    ),
    "long index": (lambda s: s.beside("i" * 46), V, "`index` must have 1 to 45"),
    "no index": (lambda s: s.beside(""), V, "`index` must have 1 to 45 .* has ''"),
    "number as index": (lambda s: s.beside(1), T, "`index` must have 1 to 45"),
    "no dimension": (lambda s: s.beside("new", dimension=0), V, "`dimension` must be"),
    "half a dimension": (lambda s: s.beside("new", dimension=1.5), T, "`dimension`"),
    "large dimension": (
        lambda store: store.beside("new", dimension=20_001),
        V,
        "`dimension` must be <= 20000",
    ),
    "unknown metric": (
        lambda store: store.beside("new", dimension=3, metric="manhattan"),
        V,
        '`metric` must be one of "cosine", "dotproduct", "euclidean"',
    ),
}


@pytest.fixture(scope="module")
def store(shared_place):
    opened = shared_place.open(3)
    opened.upsert([("kept", GOOD, {"key": 1})])
    return opened


@pytest.mark.parametrize(("call", "kind", "message"), BAD.values(), ids=BAD)
def test_it_is_refused_and_nothing_has_reached_the_store(
    shared_place, store, call, kind, message
):
    before = shared_place.trace()
    with pytest.raises(kind) as caught:
        call(store)
    assert type(caught.value) is kind
    assert re.search(message, str(caught.value)), str(caught.value)
    if kind is not KeyError:
        assert shared_place.trace() == before


def test_what_was_there_is_there(store):
    """After all the refused calls, if this file runs as a whole."""
    assert store.stats().namespaces == {"": 1}
    assert store.list() == ["kept"]
