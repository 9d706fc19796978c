"""What goes wrong between PineconeStore and its service, and what becomes of it."""

import logging
import math
import subprocess
import sys
import traceback

import numpy as np
import pytest

from qstore_pl import TrainingConfig
from qstore_pl.errors import StoreError, StoreTimeoutError, UpsertError
from qstore_pl.store import PineconeStore, Vectors, open_store
from qstore_pl.store import pinecone as module
from qstore_pl.store import pinecone_steps as steps
from qstore_pl.store import pinecone_writes as writes
from qstore_pl.store.pinecone_errors import translated
from tests.servers.pinecone import KEY, Fault, serving

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture
def store(server):
    with PineconeStore(index="states", dimension=2) as store:
        yield store


def records(count, start=0):
    values = np.random.default_rng(count).normal(size=(count, 2))
    return Vectors([f"r{start + i:04}" for i in range(count)], values)


# --- what the client does not check ----------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        ("a", [math.nan, 1]),
        ("a", [math.inf, 1]),
        ("a", [0, 0]),
        ("a", [1, 2, 3]),
        ("a", [1j, 1]),
        ("", [1, 2]),
        ("a" * 513, [1, 2]),
        ("é", [1, 2]),
        ("a", [1, 2], {"text": "x" * 41_000}),
        ("a", [1, 2], {"nested": {"a": 1}}),
        ("a", [1, 2], {"big": 2**53 + 1}),
        ("a", [1, 2], {"nothing": None}),
        ("a", [1, 2], {"$eq": 1}),
    ],
    ids=str,
)
def test_what_the_service_cannot_hold_is_not_sent(store, server, record):
    sent = len(server.requests)
    with pytest.raises((TypeError, ValueError)):
        store.upsert([("good", [1, 1]), record])
    assert len(server.requests) == sent


# --- the way to the service and back ---------------------------------------------

GOES_AWAY = [
    [Fault(503), Fault(429, retry_after=1), Fault(500)],
    [Fault("drop"), Fault("lost"), Fault("drop")],
    [Fault("lost", times=5)],
    [Fault("truncated", times=2)],
    [Fault("html"), Fault("garbled")],
    [Fault("other"), Fault(503, times=4)],
    [Fault(408, times=6)],
]


@pytest.mark.parametrize(
    "faults", GOES_AWAY, ids=lambda f: "+".join(str(x.kind) for x in f)
)
def test_what_goes_away_is_not_noticed(store, server, faults):
    for ask, wanted in (
        (lambda: store.upsert(records(3)), 3),
        (lambda: store.query(id="r0001", top_k=1)[0].id, "r0001"),
        (lambda: list(store.fetch(["r0002"])), ["r0002"]),
        (store.list, ["r0000", "r0001", "r0002"]),
        (lambda: store.stats().total, 3),
        (lambda: store.delete(["r0000"]), None),
    ):
        server.faults[:] = [Fault(f.kind, times=f.times) for f in faults]
        assert ask() == wanted
        assert all(fault.struck == fault.times for fault in server.faults)
    server.faults.clear()
    assert store.list() == ["r0001", "r0002"]


@pytest.mark.parametrize(
    ("fault", "words", "attempts"),
    [
        (Fault(503, times=None), "not available.*503", 12),
        (Fault(429, times=None, retry_after=30), "not available.*429", 12),
        (Fault("drop", times=None), "connection to http.*failed", 12),
        (Fault("html", times=None), "reply of http.*cannot be read", 3),
        (Fault("truncated", times=None), "connection to http.*failed", 3),
        (Fault("garbled", times=None), "reply of http.*cannot be read", 3),
        (Fault("other", "/query", times=None), "reply of http.*cannot be read", 3),
        (
            Fault(400, times=None, message="no"),
            r"refused a request: \[400 FAULT\] no",
            1,
        ),
        (Fault(403, times=None), "refused a request.*403", 1),
        (Fault(401, times=None), "does not accept the API key", 1),
    ],
    ids=lambda value: str(value.kind) if isinstance(value, Fault) else "",
)
def test_what_does_not_go_away_is_an_error(store, server, fault, words, attempts):
    sent = len(server.requests)
    server.faults.append(Fault(fault.kind, fault.where, None, message=fault.message))
    with pytest.raises(StoreError, match=words) as caught:
        store.query([1, 0])
    assert len(server.requests) - sent == attempts
    assert caught.value.__cause__ is not None


def test_pauses_grow_and_are_bounded(store, server, monkeypatch):
    slept = []
    monkeypatch.setattr(module, "sleep", slept.append)
    monkeypatch.setattr(steps, "FIRST_PAUSE", 0.1)
    server.faults.append(Fault("html", times=None))
    with pytest.raises(StoreError):
        store.stats()
    assert len(slept) == 2
    assert 0.05 <= slept[0] <= 0.1
    assert 0.1 <= slept[1] <= 0.2
    longest = [steps.pause(attempt).seconds for attempt in range(30)]
    assert max(longest) <= steps.LONGEST_PAUSE
    assert len(set(longest)) == 30


def test_a_service_that_is_too_slow_is_a_timeout(server):
    with PineconeStore(index="states", dimension=2, timeout=0.02) as store:
        server.faults.append(Fault("slow", "/query", None, seconds=5))
        with pytest.raises(StoreTimeoutError, match="did not answer in time"):
            store.query([1, 0])
        assert server.faults[0].struck == 12


def test_after_the_deadline_nothing_is_sent_again(store, server, monkeypatch):
    monkeypatch.setattr(steps, "DEADLINE", -1.0)
    server.faults.append(Fault("html", times=None))
    with pytest.raises(StoreError):
        store.stats()
    assert server.faults[0].struck == 1


# --- writes of several requests --------------------------------------------------


@pytest.fixture
def few(monkeypatch):
    """At most 40 records in a request."""
    monkeypatch.setattr(writes, "MOST_RECORDS", 40)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("kind", [503, "drop", "html", 400])
def test_what_could_not_be_written_is_told(store, server, kind):
    server.faults.append(Fault(kind, "/vectors/upsert", None, after=2))
    wanted = records(150)
    with pytest.raises(UpsertError, match="70 of 150 records could not") as caught:
        store.upsert(wanted)
    assert caught.value.failed == list(wanted.ids[80:])
    server.faults.clear()
    written = 120 if kind == "html" else 80  # what it wrote without a word
    assert store.list() == list(wanted.ids[:written])
    again = [(i, v) for i, v in zip(wanted.ids, wanted.values, strict=True)]
    assert store.upsert(again[80:]) == 70
    assert store.list() == list(wanted.ids)


@pytest.mark.usefixtures("few")
def test_a_request_that_is_too_large_is_halved(store, server):
    server.faults.append(Fault(413, "/vectors/upsert", 3))
    assert store.upsert(records(100)) == 100
    sizes = [
        len(one.body["vectors"]) for one in server.requests if "upsert" in one.path
    ]
    assert sizes == [40, 20, 10, 5, 5, 10, 20, 40, 20]
    assert store.list() == list(records(100).ids)


@pytest.mark.usefixtures("few")
def test_a_record_that_is_too_large_alone_is_an_error(store, server):
    server.faults.append(Fault(413, "/vectors/upsert", None))
    with pytest.raises(UpsertError, match="refused a request as too large") as caught:
        store.upsert(records(50))
    assert caught.value.failed == list(records(50).ids)
    sizes = [
        len(one.body["vectors"]) for one in server.requests if "upsert" in one.path
    ]
    assert sizes == [40, 20, 10, 5, 2, 1]


@pytest.mark.parametrize("times", [1, None])
def test_fewer_records_than_were_sent(store, server, monkeypatch, times):
    index = server.indexes["states"]
    upsert, calls = index.upsert, []

    def half(namespace, vectors):
        calls.append(len(vectors))
        if times is None or len(calls) <= times:
            return upsert(namespace, vectors[: len(vectors) // 2])
        return upsert(namespace, vectors)

    monkeypatch.setattr(index, "upsert", half)
    if times is None:
        with pytest.raises(UpsertError, match="wrote 5 of 10 records") as caught:
            store.upsert(records(10))
        assert caught.value.failed == list(records(10).ids)
    else:
        store.upsert(records(10))
        assert store.list() == list(records(10).ids)
    assert calls == [10] * (3 if times is None else 2)


# --- the package of the client ---------------------------------------------------

BROKEN = "raise Exception('The official Pinecone python package has been renamed')\n"


def test_the_old_package_is_told_how_to_be_removed(server, monkeypatch, tmp_path):
    """In its own process, since pinecone is imported here already."""
    (tmp_path / "pinecone").mkdir()
    (tmp_path / "pinecone" / "__init__.py").write_text(BROKEN)
    old = tmp_path / "pinecone_client-6.0.0.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Name: pinecone-client\nVersion: 6.0.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="pip uninstall -y pinecone-client pinecone"):
        PineconeStore(dimension=2)
    assert server.requests == []


def test_a_missing_package_is_told_how_to_be_installed(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "pinecone", None)
    words = r"needs the package pinecone: pip install \"qstore-pl\[pinecone\]\""
    with pytest.raises(ModuleNotFoundError, match=words):
        open_store("pinecone", dimension=2)
    assert server.requests == []


def test_the_store_can_be_imported_without_it():
    code = (
        "import sys; sys.modules['pinecone'] = sys.modules['httpx'] = None\n"
        "from qstore_pl.store import PineconeStore\n"
        "import qstore_pl.store.pinecone_async\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- the key ---------------------------------------------------------------------


def failures(server):
    """Everything that fails, with a key that was given."""
    given = {"index": "states", "dimension": 2}
    for kind in (401, 403, 404, 400, 503, "drop", "html", "truncated", "garbled"):
        server.faults[:] = [Fault(kind, times=None, message=f"Not {KEY}!")]
        yield lambda: PineconeStore(KEY, **given)
    server.faults.clear()
    yield lambda: PineconeStore(KEY + "\n", **given)
    yield lambda: PineconeStore(KEY, **given | {"dimension": 3})
    yield lambda: PineconeStore(KEY, index="none")
    yield lambda: PineconeStore(KEY, host="http://127.0.0.1:1", **given)
    yield lambda: PineconeStore(KEY, host="http://example.com", **given)
    store = PineconeStore(KEY, **given)
    yield lambda: store.beside("none")
    yield lambda: store.upsert([("a", [1, math.nan])])
    for kind in (401, 400, 413, 503, "lost", "html", "other"):
        server.faults[:] = [Fault(kind, times=None, message=f"Not {KEY}!")]
        yield lambda: store.upsert([("a", [1, 1])])
        yield lambda: store.query([1, 0])
    store.close()
    yield store.list


def test_the_key_is_nowhere(store, server, monkeypatch, caplog, capfd):
    monkeypatch.setenv("PINECONE_DEBUG_CURL", "1")
    monkeypatch.delenv("PINECONE_API_KEY")
    caplog.set_level(logging.DEBUG)
    shown = [repr(PineconeStore(KEY, index="states"))]
    for fail in failures(server):
        with pytest.raises((StoreError, ValueError)) as caught:
            fail()
        error = caught.value
        shown += [repr(error), str(error), "".join(traceback.format_exception(error))]
        while error is not None:
            shown += [repr(vars(error)), repr(error.args)]
            error = error.__cause__ or error.__context__
    shown += [*caplog.messages, caplog.text, *capfd.readouterr()]
    server.faults.clear()
    config = TrainingConfig(pinecone_api_key=KEY, pinecone_index_name="states")
    with open_store(config) as opened:
        shown += [repr(opened), repr(opened._account), repr(vars(opened))]
    assert len(shown) > 200
    assert [text for text in shown if KEY in text] == []


def test_frames_of_the_client_are_not_kept(store, server):
    """Their local variables hold the key, which some tools print."""
    server.faults.append(Fault(400, times=None))
    with pytest.raises(StoreError) as caught:
        store.query([1, 0])
    report = traceback.TracebackException.from_exception(
        caught.value, capture_locals=True
    )
    text = "".join(report.format())
    assert "ApiError" in text
    assert KEY not in text


def test_a_cause_that_holds_the_key_is_dropped():
    error = translated(RuntimeError(f"no {KEY}"), "https://example.com", KEY)
    assert str(error) == "The client of Pinecone refused a request: no ***"
    assert error.__cause__ is None
