"""PineconeStore with the real client, over the conformance server on loopback."""

import copy
import gc
import json
import pickle

import numpy as np
import pytest

from qstore_pl import TrainingConfig
from qstore_pl._secrets import Secret
from qstore_pl.errors import StoreError, StoreTimeoutError
from qstore_pl.store import PineconeStore, Record, Vectors, open_store
from qstore_pl.store import pinecone_indexes as indexes
from qstore_pl.store import pinecone_reads as reads
from qstore_pl.store import pinecone_steps as steps
from qstore_pl.store import pinecone_writes as writes
from qstore_pl.store.records import Batch
from tests.processes import run
from tests.servers.pinecone import KEY, Fault, serving

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def store(server):
    with PineconeStore(index="states", dimension=3) as store:
        yield store


# --- opening ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "cloud", "region"),
    [
        (None, "aws", "us-east-1"),
        ("us-west-2", "aws", "us-west-2"),
        ("us-east-1-aws", "aws", "us-east-1"),
        ("us-central1-gcp", "gcp", "us-central1"),
        ("eastus2-azure", "azure", "eastus2"),
    ],
)
def test_a_new_index_is_made_where_the_environment_says(
    server, environment, cloud, region
):
    store = PineconeStore(
        index="new", dimension=5, metric="euclidean", environment=environment
    )
    assert (store.index, store.dimension, store.metric) == ("new", 5, "euclidean")
    (made,) = [one.body for one in server.requests if one.method == "POST"]
    assert made["deployment"] == {
        "deployment_type": "managed",
        "cloud": cloud,
        "region": region,
    }
    assert made["schema"]["fields"]["_values"]["dimension"] == 5


def test_an_index_that_is_there_is_opened(server, store):
    made = len(server.paths("POST"))
    with PineconeStore(index="states") as again:
        assert (again.dimension, again.metric) == (3, "cosine")
        again.upsert([("a", [1, 2, 3])])
    assert server.paths("POST")[made] == "vectors/upsert"
    assert store.list() == ["a"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"index": "other"}, "no index `other` at http.*Pass `dimension`"),
        ({"dimension": 4}, "dimension 3, but `dimension` is 4"),
        ({"metric": "dotproduct"}, "metric 'cosine', but `metric` is 'dotproduct'"),
        ({"api_key": "wrong"}, "does not accept the API key"),
        ({"api_key": "env:NOBODY_SET_THIS"}, "needs an API key.*NOBODY_SET_THIS"),
        ({"host": "http://127.0.0.1:1"}, "connection to http://127.0.0.1:1 failed"),
        ({"api_key": "a\nb"}, "not a valid HTTP header value"),
    ],
)
def test_what_cannot_be_opened(store, arguments, words):
    with pytest.raises(StoreError, match=words):
        PineconeStore(**({"index": "states"} | arguments))


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"host": "http://example.com"}, ValueError, "API key would go there in clear"),
        ({"host": "http://10.0.0.1"}, ValueError, "allow_insecure=True"),
        ({"host": "http://localhost.example.com"}, ValueError, "in clear"),
        ({"host": "https://http://example.com"}, ValueError, "must be an address"),
        ({"host": "http://localhost@example.com"}, ValueError, "must be an address"),
        ({"host": 3}, TypeError, "must be a string"),
        ({"environment": "US East"}, ValueError, "must be a region"),
        ({"timeout": 0}, ValueError, "`timeout` must be > 0"),
        ({"allow_insecure": 1}, TypeError, "`allow_insecure` must be True or False"),
        ({"index": "A"}, ValueError, "`index` must have"),
        ({"dimension": 0}, ValueError, "`dimension` must be >= 1"),
        ({"metric": "manhattan"}, ValueError, "`metric` must be one of"),
        ({"api_key": 3}, TypeError, "secret must be a string"),
    ],
)
def test_wrong_arguments_send_nothing(server, arguments, kind, words):
    with pytest.raises(kind, match=words):
        PineconeStore(**arguments)
    assert server.requests == []


@pytest.mark.parametrize(
    ("host", "safe"),
    [
        ("api.pinecone.io", True),
        ("https://states-1x.svc.pinecone.io", True),
        ("http://127.9.9.9:5081/of/a", True),
        ("http://[::1]:5081", True),
        ("http://db.localhost", True),
        ("http://0.0.0.0", False),
        ("http://127.0.0.1.example.com", False),
    ],
)
def test_what_is_sent_in_clear_stays_on_this_machine(host, safe):
    assert indexes.is_safe(host) is safe


def test_an_index_at_a_host_that_is_not_safe_is_not_spoken_to(server, store):
    server._models["states"]["host"] = "http://example.com"
    with pytest.raises(StoreError, match=r"at http://example[.]com, where the API key"):
        PineconeStore(index="states")
    assert PineconeStore(index="states", allow_insecure=True).dimension == 3


def test_a_new_index_is_waited_for(monkeypatch):
    with serving(monkeypatch, starting=4) as server:
        PineconeStore(index="slow", dimension=2)
        assert server.paths("GET") == ["/indexes/slow"] * 5
        server._described["slow"] = -100
        monkeypatch.setattr(indexes, "OPENING", 0.0)
        with pytest.raises(StoreTimeoutError, match=r"not ready.*but Initializing"):
            PineconeStore(index="slow")
        server._described["slow"] = 100
        server._models["slow"]["status"] = {"ready": False, "state": "Terminating"}
        with pytest.raises(StoreError, match="is Terminating"):
            PineconeStore(index="slow")


def test_somebody_else_may_be_quicker_to_make_an_index(server, store):
    server.faults.append(Fault(404, "/indexes/states"))
    with PineconeStore(index="states", dimension=3) as other:
        assert other.stats().dimension == 3
    assert server.faults[0].struck == 1


DENSE = {"type": "dense_vector", "dimension": 3, "metric": "cosine"}


@pytest.mark.parametrize(
    "fields",
    [
        {"embedding": DENSE},
        {"_values": DENSE, "text": DENSE},
        {"_values": {"type": "sparse_vector"}},
    ],
    ids=["other", "more", "sparse"],
)
def test_an_index_of_documents_is_refused(server, store, fields):
    server._models["states"]["schema"] = {"fields": fields}
    with pytest.raises(StoreError, match="not an index of dense vectors"):
        PineconeStore(index="states")


def test_the_configuration_of_a_run_opens_it(server, caplog):
    config = TrainingConfig(
        pinecone_api_key=KEY,
        pinecone_environment="us-east-1",
        pinecone_index_name="quantum-ml",
    )
    caplog.set_level("INFO", "qstore_pl")
    with open_store(config, dimension=2) as store:
        assert isinstance(store, PineconeStore)
        assert store.indexes() == ["quantum-ml"]
    assert "The store is Pinecone, index `quantum-ml`." in caplog.messages


# --- what is sent ----------------------------------------------------------------


def test_numbers_arrive_as_they_are_kept(server, store):
    values = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    metadata = [{"n": 3, "s": 'a"\\\x01é', "b": True, "t": ["x", ""]}, {}, {}, {}]
    store.upsert(Vectors(list("abcd"), values, metadata), namespace="n1")
    kept = server.indexes["states"].spaces["n1"]
    assert np.array_equal([one.values for one in kept.values()], values)
    found = store.fetch(["d", "a", "z"], namespace="n1")
    assert list(found) == ["d", "a"]
    assert found["a"].metadata == {
        "n": 3.0,
        "s": 'a"\\\x01é',
        "b": True,
        "t": ["x", ""],
    }
    assert type(found["a"].metadata["n"]) is float
    assert found["a"].metadata["b"] is True
    assert found["d"].values.dtype == np.float32
    assert np.array_equal(found["d"].values, values[3])
    (match,) = store.query(values[1], top_k=1, namespace="n1", include_values=True)
    assert match.id == "b"
    assert np.array_equal(match.values, values[1])


@pytest.mark.parametrize(
    ("n_records", "dimension", "length"),
    [(2500, 2, 4), (700, 256, 4), (1500, 50, 512), (6, 20_000, 3), (90, 3, 5)],
)
def test_requests_are_as_large_as_they_may_be(n_records, dimension, length):
    rng = np.random.default_rng(n_records)
    values = -np.exp(rng.normal(-60, 1, (n_records, dimension))).astype(np.float32)
    text = "\x01é" * (4000 if dimension == 3 else 1)
    batch = Batch(
        [f"{i}".rjust(length, '"') for i in range(n_records)],
        values,
        {"text": [text] * n_records},
    )
    parts = list(batch.parts(writes.sizes(batch)))
    assert [one for part in parts for one in part.ids] == batch.ids
    sent = [
        len(
            json.dumps(
                {
                    "vectors": [
                        {"id": i, "values": v, "metadata": m}
                        for i, v, m in zip(
                            part.ids, part.values.tolist(), part.metadata(), strict=True
                        )
                    ],
                    "namespace": "n" * 128,
                },
                separators=(",", ":"),
                ensure_ascii=False,
            ).encode()
        )
        for part in parts
    ]
    assert max(sent) < 2_000_000
    assert all(len(part) <= 1000 for part in parts)
    for part, size in zip(parts[:-1], sent, strict=False):
        assert len(part) == 1000 or size > 1_300_000


def test_identifiers_of_any_length_fit_into_addresses(server, store):
    ids = [f"{'%/&#+ ' * 85}{i:02}" for i in range(12)] + [f"r{i}" for i in range(230)]
    values = np.random.default_rng(2).normal(size=(len(ids), 3))
    store.upsert(Vectors(ids, values))
    found = store.fetch(ids)
    assert list(found) == ids
    assert store.list() == sorted(ids)
    assert store.list("r2") == sorted(f"r{i}" for i in range(230) if f"{i}"[0] == "2")
    assert store.list("%/&#+ %")[-1].endswith("11")
    store.delete(ids[:12])
    assert store.list() == sorted(ids[12:])
    assert store.query(id="r7", top_k=1)[0].id == "r7"


def test_chunks_of_identifiers_are_not_longer_than_addresses():
    ids = ["é" * n for n in range(1, 300)]
    groups = list(reads.chunks(ids))
    assert [one for group in groups for one in group] == ids
    for group in groups:
        assert len(group) == 1 or sum(6 * len(one) + 5 for one in group) <= 4000
    assert list(reads.chunks([])) == []


# --- what is not there -----------------------------------------------------------


@pytest.mark.parametrize("as_an_error", [False, True])
def test_a_namespace_that_is_not_there_is_empty(server, store, as_an_error):
    if as_an_error:
        fault = Fault(404, "", None, message="Namespace not found")
        server.faults.append(fault)
    assert store.query([1, 0, 0], namespace="none") == []
    assert store.fetch(["a"], namespace="none") == {}
    assert store.list(namespace="none") == []
    store.delete(["a"], namespace="none")
    store.delete(filter={"a": {"$eq": 1}}, namespace="none")
    store.delete(delete_all=True, namespace="none")
    with pytest.raises(KeyError, match="no record 'a'"):
        store.query(id="a", namespace="none")


def test_an_index_that_was_deleted_is_not_empty(server, store):
    server.drop("states")
    for ask in (
        store.list,
        store.stats,
        store.verify,
        lambda: store.fetch(["a"]),
        lambda: store.query([1, 0, 0]),
        lambda: store.delete(["a"]),
        lambda: store.upsert([("a", [1, 0, 0])]),
    ):
        with pytest.raises(StoreError, match="no such index"):
            ask()


# --- reads that are late ---------------------------------------------------------


@pytest.mark.parametrize("positions", [True, False])
def test_what_was_written_is_read(monkeypatch, positions):
    with (
        serving(monkeypatch, stale_reads=4, positions=positions) as server,
        PineconeStore(index="late", dimension=2) as store,
    ):
        records = [(f"r{i}", [1, i], {"i": i}) for i in range(5)]
        store.upsert(records)
        assert store.fetch(["r4"])["r4"].metadata == {"i": 4.0}
        store.upsert([("r4", [1, 4], {"i": 5})])
        assert store.query(filter={"i": {"$eq": 5}}, vector=[1, 0])[0].id == "r4"
        store.upsert([("r4", [2, 4], {"i": 5})])
        assert store.fetch(["r4"])["r4"].values.tolist() == [2, 4]
        store.delete(["r0", "never"])
        assert store.list() == ["r1", "r2", "r3", "r4"]
        store.delete(filter={"i": {"$gte": 3}})
        assert store.list() == ["r1", "r2"]
        store.delete(delete_all=True, namespace="")
        assert store.stats().namespaces == {}
        # Nothing but the log tells that an unchanged record was written again.
        seen = len(server.requests)
        store.upsert([("a", [1, 0]), ("b", [1, 0])])
        store.upsert([("a", [0, 1]), ("b", [1, 0])])
        if positions:
            assert store.fetch(["a"])["a"].values.tolist() == [0, 1]
            assert "vectors/fetch" not in server.paths()[seen:-1]


def test_a_write_that_is_never_seen_is_an_error_in_bounded_time(monkeypatch):
    with (
        serving(monkeypatch, stale_reads=10**9) as server,
        PineconeStore(index="late", dimension=2) as store,
    ):
        monkeypatch.setattr(steps, "DEADLINE", 0.05)
        with pytest.raises(StoreTimeoutError, match="write of 1 records was accepted"):
            store.upsert([("a", [1, 0])])
        server.indexes["late"].stale_reads = 0
        server.indexes["late"].pending.clear()
        store.upsert([("a", [1, 0])])
        server.indexes["late"].stale_reads = 10**9
        with pytest.raises(StoreTimeoutError, match="deletion of 1 records"):
            store.delete(["a"])


# --- the object ------------------------------------------------------------------


def test_copies_and_pickles_open_their_own_connection(store):
    store.upsert([("a", [1, 0, 0])])
    for other in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
        assert other.fetch(["a"])["a"].id == "a"
        other.close()
    assert store.list() == ["a"]


def test_a_key_that_was_given_is_not_pickled(store):
    with PineconeStore(KEY, index="states") as given:
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(given)
        other = copy.deepcopy(given)
        assert other.list() == []
        other.close()
    with PineconeStore(Secret("env:PINECONE_API_KEY"), index="states") as named:
        assert pickle.loads(pickle.dumps(named)).index == "states"


# The processes of the tests have threads, and must not be forked.
FORK = """
import os
from qstore_pl.store import PineconeStore

store = PineconeStore(index="states")
assert store.list() == ["a"]
held = store._client
child = os.fork()
if child == 0:
    os._exit(0 if store.list() == ["a"] and store._client != held else 1)
assert os.waitpid(child, 0)[1] == 0
assert store.list() == ["a"]
assert store._client == held
"""


def test_a_process_that_was_forked_has_its_own_connection(server, store):
    store.upsert([("a", [1, 0, 0])])
    assert run(FORK) == (0, "", "")


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(StoreError, match="index `states` is closed"):
        store.list()


def test_other_indexes_beside(store):
    with store.beside("more", dimension=2, metric="dotproduct") as more:
        more.upsert([Record("a", np.float32([3, 4]))])
        assert store.indexes() == ["more", "states"]
        assert more.query([1, 1])[0].score == 7.0
    assert repr(more).startswith("PineconeStore(index='more', dimension=2, metric=")


def test_other_indexes_are_opened_in_the_same_way(server):
    options = {"environment": "eastus2-azure", "timeout": 7.0, "allow_insecure": True}
    with (
        PineconeStore(host=f"{server.url}/", dimension=2, **options) as store,
        store.beside("more", dimension=2) as more,
    ):
        assert more._account == store._account
    made = [one.body for one in server.requests if one.method == "POST"]
    assert made[0]["deployment"] == made[1]["deployment"]
    assert made[1]["deployment"]["cloud"] == "azure"


def test_a_store_that_is_forgotten_closes_its_connection(store):
    """Warnings of sockets that stay open are errors here."""
    other = store.beside("more", dimension=2)
    other.list()
    closed = []
    other._client[1]._http.close = lambda: closed.append(1)
    connection = other._client[1]
    del other
    gc.collect()
    assert closed == [1]
    connection._http._client.close()
