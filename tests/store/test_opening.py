"""Opening a store: which one it is, what is said of it, and what is refused."""

import copy
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from qstore_pl import StoreError, TrainingConfig, VectorStore, open_store
from qstore_pl.store import LanceStore, PineconeStore
from tests.servers.pinecone import KEY

pytestmark = pytest.mark.timeout(60)

NO_STORE = {
    "neither": ({}, "neither is"),
    "both": ({"pinecone_api_key": "k", "store_directory": "stored"}, "both are"),
}


@pytest.fixture
def said(caplog):
    """What is logged, at all levels and by all packages."""
    caplog.set_level(logging.DEBUG)

    def lines():
        return [
            (record.levelname, record.getMessage())
            for record in caplog.records
            if record.name == "qstore_pl.store"
        ]

    yield lines
    assert KEY not in caplog.text


def test_a_directory_is_lancedb(tmp_path, said):
    place = tmp_path / "new" / "it's"
    for where in (place, str(place), TrainingConfig(store_directory=place)):
        with open_store(where, dimension=2, metric="euclidean") as store:
            assert type(store) is LanceStore
            assert isinstance(store, VectorStore)
            assert (store.index, store.dimension) == ("qstore", 2)
            assert store.metric == "euclidean"
    line = ("INFO", f"The store is LanceDB in `{place}`, index `qstore`.")
    assert said() == [line] * 3
    assert sorted(tmp_path.iterdir()) == [tmp_path / "new"]


@pytest.mark.parametrize("key", [KEY, "env:OTHER_KEY"])
def test_a_configuration_with_a_key_is_pinecone(server, said, monkeypatch, key):
    monkeypatch.setenv("OTHER_KEY", KEY)
    monkeypatch.delenv("PINECONE_API_KEY")
    config = TrainingConfig(
        pinecone_api_key=key,
        pinecone_index_name="runs",
        pinecone_environment="us-central1-gcp",
    )
    with open_store(config, dimension=2) as store:
        assert type(store) is PineconeStore
        assert (store.index, store.dimension, store.metric) == ("runs", 2, "cosine")
        store.upsert([("a", [1, 2])])
        assert [match.id for match in store.query([1, 2])] == ["a"]
        assert KEY not in repr(store)
    with open_store(config, index="others", dimension=3) as store:
        assert store.index == "others"
    (model, other) = server.models()
    assert (model["name"], other["name"]) == ("runs", "others")
    assert model["deployment"]["region"] == "us-central1"
    assert model["deployment"]["cloud"] == "gcp"
    assert said() == [
        ("INFO", "The store is Pinecone, index `runs`."),
        ("INFO", "The store is Pinecone, index `others`."),
    ]


def test_the_word_pinecone_takes_the_key_of_the_environment(
    server, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    with open_store("pinecone", dimension=2) as store:
        assert type(store) is PineconeStore
        assert store.indexes() == ["qstore"]
    assert list(tmp_path.iterdir()) == []
    with open_store(Path("pinecone"), dimension=2) as store:
        assert type(store) is LanceStore
    monkeypatch.delenv("PINECONE_API_KEY")
    asked = len(server.requests)
    with pytest.raises((KeyError, StoreError), match="PINECONE_API_KEY"):
        open_store("pinecone", dimension=2)
    assert len(server.requests) == asked


@pytest.mark.parametrize(("fields", "words"), NO_STORE.values(), ids=NO_STORE)
def test_a_configuration_must_name_one_store(fields, words):
    config = TrainingConfig(**fields)
    with pytest.raises(ValueError, match=f"pinecone_api_key or .* set .*{words}"):
        open_store(config, dimension=2)


@pytest.mark.parametrize(
    ("where", "kind", "words"),
    [
        (5, TypeError, "must be a directory, `pinecone` or a TrainingConfig, but is 5"),
        (None, TypeError, "`where` must be a directory"),
        (b"stored", TypeError, "`where` must be a directory"),
        ("", ValueError, "must name a directory, but is empty"),
    ],
)
def test_other_places_are_refused(where, kind, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=words):
        open_store(where, dimension=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"index": ""}, ValueError, "`index` must have 1 to 45 characters"),
        ({"index": "../x"}, ValueError, "`index` must have 1 to 45 characters"),
        ({"index": 1}, TypeError, "`index` must have 1 to 45 characters"),
        ({"dimension": 0}, ValueError, "`dimension` must be >= 1"),
        ({"dimension": 20_001}, ValueError, "`dimension` must be <= 20000"),
        ({"dimension": True}, TypeError, "`dimension` must be an integer"),
        ({"metric": "l2"}, ValueError, "`metric` must be one of"),
        ({"metric": None, "dimension": None}, StoreError, "qstore"),
    ],
)
def test_options_are_refused_before_anything_is_made(
    options, kind, words, server, tmp_path
):
    config = TrainingConfig(pinecone_api_key=KEY)
    for where in (tmp_path / "stored", config):
        with pytest.raises(kind, match=words):
            open_store(where, **({"dimension": 2} | options))
    assert list(tmp_path.rglob("*")) == []
    assert server.indexes == {}


@pytest.mark.parametrize(
    ("package", "extra", "fields"),
    [
        ("lancedb", "lance", {"store_directory": "stored"}),
        ("pinecone", "pinecone", {"pinecone_api_key": KEY}),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package, extra, fields, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"qstore-pl\[{extra}\]"):
        open_store(TrainingConfig(**fields), dimension=2)
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_imported_without_the_packages_of_stores():
    code = (
        "import sys; sys.modules.update(dict.fromkeys("
        "['lancedb', 'pyarrow', 'pinecone', 'lance']));"
        "import qstore_pl.store as s; s.open_store, s.LanceStore, s.PineconeStore"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)


def test_a_store_prints_as_the_call_that_opens_it(tmp_path):
    with open_store(tmp_path / "it's", dimension=2, index="runs") as store:
        again = eval(repr(store), {"LanceStore": LanceStore})
        assert repr(again) == repr(store)
        assert repr(str(tmp_path / "it's")) in repr(store)


def test_a_store_is_pickled_and_copied(tmp_path, server):
    stores = [
        open_store(tmp_path, dimension=2, metric="euclidean"),
        open_store("pinecone", dimension=2, metric="euclidean"),
    ]
    for store in stores:
        store.upsert([("a", [1, 2], {"label": 1})])
        copies = [pickle.loads(pickle.dumps(store)), copy.deepcopy(store)]
        for other in copies:
            assert type(other) is type(store)
            assert repr(other) == repr(store)
            assert other.fetch(["a"])["a"].metadata == {"label": 1}
            other.upsert([("b", [3, 4])])
            other.close()
        assert store.list() == ["a", "b"]
        assert KEY.encode() not in pickle.dumps(store)
        store.close()


def test_a_key_itself_is_not_pickled(server):
    config = TrainingConfig(pinecone_api_key=KEY)
    with (
        open_store(config, dimension=2) as store,
        pytest.raises(TypeError, match="cannot be pickled"),
    ):
        pickle.dumps(store)


def test_a_closed_store_says_so(tmp_path, server):
    for where in (tmp_path, "pinecone"):
        store = open_store(where, dimension=2)
        with store as entered:
            assert entered is store
        store.close()
        for call in (
            lambda store=store: store.upsert([("a", [1, 2])]),
            lambda store=store: store.query([1, 2]),
            lambda store=store: store.stats(),
        ):
            with pytest.raises(StoreError, match="is closed"):
                call()
