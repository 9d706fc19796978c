"""The record of remote jobs: what is in it, who may write, and what it refuses."""

import dataclasses
import datetime
import resource
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from qstore_pl.backends.ledger import Entry, Ledger, canonical, digest_of
from qstore_pl.errors import LedgerError

COLUMNS = [
    *("key", "run", "backend", "target", "digest", "circuits", "qubits", "shots"),
    *("dollars", "state", "job", "error", "created", "changed", "result"),
]


def entry(name="a", **values):
    made = Entry(
        digest_of(name),
        "run-1",
        "ionq_qpu",
        "qpu.aria-1",
        digest_of("payload"),
        3,
        2,
        100,
        37.25,
    )
    return dataclasses.replace(made, **values)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "made" / "jobs.db")


def state(ledger, name="a"):
    found = ledger.find(digest_of(name))
    return found.state, found.job, found.error


def test_a_job_from_before_it_is_sent_to_its_result(ledger):
    begun = datetime.datetime.now(datetime.UTC)
    assert ledger.reserve(entry()) is None
    assert state(ledger) == ("sending", None, None)
    ledger.sent(entry().key, "id-7")
    assert state(ledger) == ("sent", "id-7", None)
    ledger.done(entry().key, [{"2": 0.25, "10": 0.75}])
    found = Ledger(ledger.path).find(entry().key)  # of another process
    times = [datetime.datetime.fromisoformat(t) for t in (found.created, found.changed)]
    slack = datetime.timedelta(milliseconds=1)
    assert begun - slack <= times[0] <= times[1]
    assert times[1].utcoffset() == datetime.timedelta(0)
    assert found == entry(
        state="done",
        job="id-7",
        result=[{"2": 0.25, "10": 0.75}],
        created=found.created,
        changed=found.changed,
    )


@pytest.mark.parametrize("ending", ["failed", "refused"])
def test_a_job_that_has_surely_no_result_may_be_sent_again(ledger, ending):
    ledger.reserve(entry())
    created = ledger.find(entry().key).created
    getattr(ledger, ending)(entry().key, "no ions today")
    assert state(ledger) == (ending, None, "no ions today")
    assert ledger.reserve(entry()) is None
    assert state(ledger) == ("sending", None, None)
    assert ledger.find(entry().key).created == created


@pytest.mark.parametrize("name", ["sending", "sent", "lost", "done"])
def test_any_other_job_stands_as_it_is(ledger, name):
    ledger.reserve(entry())
    arguments = {"sent": ["id"], "lost": ["no reply"], "done": [[1]]}
    if name in arguments:
        getattr(ledger, name)(entry().key, *arguments[name])
    found = ledger.find(entry().key)
    assert found.state == name
    assert ledger.reserve(entry(shots=7)) == found
    assert ledger.find(entry().key) == found


def test_the_file(ledger):
    ledger.reserve(entry())
    ledger.done(entry().key, [{"b": 1.0, "a": 0.1}])
    connection = sqlite3.connect(ledger.path)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    rows = connection.execute("SELECT * FROM jobs")
    assert [column[0] for column in rows.description] == COLUMNS
    row = dict(zip(COLUMNS, rows.fetchone(), strict=True))
    assert row["result"] == '[{"a":0.1,"b":1.0}]'
    assert row["key"] == (
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    )  # SHA-256 of "a", FIPS 180
    connection.close()


def test_of_many_writers_one_may_send_each_job(ledger):
    names = [str(i % 10) for i in range(40)]
    with ThreadPoolExecutor(8) as threads:
        free = list(
            threads.map(lambda name: Ledger(ledger.path).reserve(entry(name)), names)
        )
    assert sum(found is None for found in free) == 10
    assert len(ledger.entries()) == 10


def test_the_usual_place(monkeypatch, tmp_path):
    monkeypatch.setenv("QSTORE_JOBS", str(tmp_path / "mine.db"))
    assert Ledger().path == tmp_path / "mine.db"
    monkeypatch.delenv("QSTORE_JOBS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Ledger().path == tmp_path / "qstore-pl" / "jobs.db"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Ledger().path == tmp_path / ".local" / "share" / "qstore-pl" / "jobs.db"


def test_a_full_disk_is_an_error(ledger):
    ledger.reserve(entry())
    size = ledger.path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(LedgerError, match=r"jobs\.db.* cannot be used.*Nothing is"):
            ledger.reserve(entry("b", run="x" * 10 * size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert state(ledger)[0] == "sending"


def test_files_that_are_no_ledger(tmp_path, ledger):
    (tmp_path / "text").write_text("no database, but a long text" * 100)
    for path in (tmp_path / "text", tmp_path, tmp_path / "text" / "jobs.db"):
        with pytest.raises(LedgerError, match=r"cannot be used.*Set another path"):
            Ledger(path).reserve(entry())
    ledger.reserve(entry())
    connection = sqlite3.connect(ledger.path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(LedgerError, match=r"has version 2, but .* reads version 1"):
        ledger.entries()


def test_keys_by_their_first_characters(ledger):
    names = [str(i) for i in range(17)]  # two of them have the same first digit
    for name in names:
        ledger.reserve(entry(name))
    assert [one.key for one in ledger.entries()] == [digest_of(name) for name in names]
    assert ledger.find(digest_of("3")[:10]).key == digest_of("3")
    for start, wrong in (("", "17 jobs"), ("x", "no job"), ("%", "no job")):
        with pytest.raises(LedgerError, match=f"has {wrong} whose key begins with"):
            ledger.find(start)


@pytest.mark.parametrize(
    ("before", "job", "after"),
    [
        ("sending", "id-9", ("sent", "id-9")),
        ("lost", "id-9", ("sent", "id-9")),
        ("sending", None, ("refused", None)),
        ("lost", None, ("refused", None)),
        ("sent", None, ("refused", "id-1")),
        ("sent", "id-9", None),
        ("done", "id-9", None),
        ("done", None, None),
        ("failed", "id-9", None),
    ],
)
def test_a_user_says_what_became_of_a_job(ledger, before, job, after):
    ledger.reserve(entry())
    if before in ("sent", "done"):
        ledger.sent(entry().key, "id-1")
    if before != "sent" and before != "sending":
        getattr(ledger, before)(entry().key, "something")
    found = ledger.find(entry().key)
    if after is None:
        with pytest.raises(LedgerError, match=f"is {before}.*nothing to resolve"):
            ledger.resolve(found, job)
        assert ledger.find(entry().key) == found
    else:
        ledger.resolve(found, job)
        assert state(ledger)[:2] == after


def test_results_by_what_was_sent(ledger):
    other = digest_of("other payload")
    for i, name in enumerate("dcba"):
        ledger.reserve(entry(name, digest=other if name == "c" else entry().digest))
        if name != "b":
            ledger.done(digest_of(name), i)
    assert [one.result for one in ledger.recorded(entry().digest)] == [0, 3]
    assert [one.result for one in ledger.recorded(other)] == [1]


def test_one_text_for_a_tree():
    assert canonical({"b": [1.5, None], "a": "é"}) == '{"a":"\\u00e9","b":[1.5,null]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))
    assert digest_of("a", "b") != digest_of("ab") != digest_of("a\nb", "")
