"""What comes from outside is refused at the door, or taken for exactly what it is."""

import pytest

from qstore_pl.errors import StoreError

pytestmark = pytest.mark.timeout(60)

ATTEMPTS = [
    "' OR '1'='1",
    "x' OR 1=1 --",
    "'; DROP TABLE default; --",
    "') OR (true",
    "/* */ x",
    "`id`",
    '" OR ""="',
    "\\' OR true --",
    "''",
    "'",
    "%",
    "_",
    "*",
    "../x",
    "..\\x",
    "/etc/passwd",
    "file:///etc/passwd",
    "%2e%2e%2fx",
    "?namespace=other",
    "a&namespace=other",
    "#",
    "$ne",
    '{"$ne": ""}',
    "{x}",
    "%s",
    "NULL",
    "true",
    "__default__",
    "id",
]
HIDDEN = ["a\0b", "\0", "a\nb", "a\r\nX-Header: 1", "\x1b[2J", "\u2028", "\u202e", "＇"]
OTHER = {"secret": "of another"}


@pytest.fixture(scope="module")
def store(shared_place):
    """Records with these texts as identifiers and metadata, and some of another."""
    opened = shared_place.open(2)
    texts = [*ATTEMPTS, *HIDDEN]
    named = [(one, [1, row], {"text": one}) for row, one in enumerate(ATTEMPTS)]
    rest = [
        (f"hidden {row}", [1, row], {"text": one}) for row, one in enumerate(HIDDEN)
    ]
    listed = [
        (f"list {row}", [2, row], {"list": [one]}) for row, one in enumerate(texts)
    ]
    opened.upsert([*named, *rest, *listed])
    strangers = [(one, [1, 1], OTHER) for one in [*ATTEMPTS, "plain", "x"]]
    opened.upsert(strangers, namespace="other")
    return opened


def found(store, **filter_of_key):
    matches = store.query([1, 1], filter=filter_of_key, top_k=1_000)
    return sorted(match.id for match in matches)


@pytest.mark.parametrize("text", ATTEMPTS)
def test_identifiers_and_prefixes_are_taken_literally(store, text):
    (record,) = store.fetch([text]).values()
    assert (record.id, record.metadata) == (text, {"text": text})
    assert store.list(text) == sorted(x for x in ATTEMPTS if x.startswith(text))
    matches = store.query(id=text, top_k=1_000)
    assert all(match.metadata != OTHER for match in matches)
    assert store.fetch([text], namespace="other")[text].metadata == OTHER
    assert store.fetch([text + " "]) == {}


@pytest.mark.parametrize("text", [*ATTEMPTS, *HIDDEN])
def test_values_of_filters_are_taken_literally(store, text):
    row = [*ATTEMPTS, *HIDDEN].index(text)
    own = text if text in ATTEMPTS else f"hidden {HIDDEN.index(text)}"
    assert found(store, text={"$eq": text}) == [own]
    assert found(store, text={"$in": [text, "nothing"]}) == [own]
    assert found(store, list={"$eq": text}) == [f"list {row}"]
    assert found(store, list={"$in": ["nothing", text]}) == [f"list {row}"]
    others = found(store, text={"$ne": text})
    assert own not in others
    assert len(others) == 2 * len([*ATTEMPTS, *HIDDEN]) - 1
    assert found(store, text={"$nin": [text]}) == others
    assert found(store, missing={"$eq": text}) == []


@pytest.mark.parametrize("text", ATTEMPTS)
def test_deleting_takes_only_the_record_of_this_name(store, text):
    space = "deleting"
    records = [("x", [1, 0], {"text": "x"}), (text, [1, 1], {"text": text})]
    store.upsert(records, namespace=space)
    store.delete([text], namespace=space)
    assert store.list(namespace=space) == ["x"]
    store.upsert(records, namespace=space)
    store.delete(filter={"text": {"$eq": text}}, namespace=space)
    assert store.list(namespace=space) == ["x"]
    assert len(store.list(namespace="other")) == len(ATTEMPTS) + 2


NAMES = ["_", "NULL", "true", "__default__", "id"]  # these are keys like any other


@pytest.mark.parametrize("text", [x for x in [*ATTEMPTS, *HIDDEN] if x not in NAMES])
def test_as_namespace_index_or_key_they_are_refused(shared_place, store, text):
    before = shared_place.trace()
    for call in (
        lambda: store.beside(text, dimension=2),
        lambda: store.query([1, 1], filter={text: {"$eq": 1}}),
        lambda: store.upsert([("x", [1, 1], {text: 1})]),
        lambda: store.query([1, 1], namespace=text),
        lambda: store.upsert([("x", [1, 1])], namespace=text),
        lambda: store.delete(delete_all=True, namespace=text),
    ):
        with pytest.raises(ValueError, match="Argument `"):
            call()
    assert shared_place.trace() == before


@pytest.mark.parametrize("name", ["id", "vector", "checksum", "values", "true", "NULL"])
def test_names_of_columns_are_names_like_any_other(store, name):
    metadata = {name: "own", f"string_{name}": "other", f"number_{name}": 1}
    store.upsert([("own", [1, 0], metadata)], namespace=name)
    assert store.fetch(["own"], namespace=name)["own"].metadata == metadata
    matches = store.query([1, 0], filter={name: {"$eq": "own"}}, namespace=name)
    assert [match.id for match in matches] == ["own"]
    assert store.query([1, 0], filter={name: {"$eq": name}}, namespace=name) == []


def test_nothing_is_written_outside_of_the_place(shared_place, store):
    """No name of a namespace is a path, and no namespace is an index."""
    store.upsert([("x", [1, 1])], namespace="a..b")
    assert store.list(namespace="a..b") == ["x"]
    if isinstance(shared_place.trace(), set):
        inside = str(shared_place.path)
        assert all(file.startswith(inside) for file in shared_place.trace())
    with pytest.raises(StoreError, match="other"):
        store.beside("other")
