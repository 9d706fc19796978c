"""What the suite does around the measurements: peers, other Pythons, rows, the page."""

import json
import os
import sys

import pytest

from tests.benchmarks import machine, page, plots, summary
from tests.benchmarks.cases import CASES
from tests.benchmarks.contender import Function
from tests.benchmarks.large_n_forward import in_copies
from tests.benchmarks.machine import BusyMachineError, load_average
from tests.benchmarks.peers import MissingPeerError, Peers, Setting, settings
from tests.benchmarks.race import DisagreementError, Row, check_agreement, timed
from tests.benchmarks.remote import Remote, RemoteError
from tests.benchmarks.report import rows_of, seconds

PATH = "tests.benchmarks.contender:Function"


def contender(name="a", seconds_a_call=None, **options):
    """One that pretends to take so long."""
    found = Function(name, "as it is", int, lambda _: {"number": 1.0}, **options)
    if seconds_a_call is not None:
        found.seconds = lambda n: seconds_a_call
    return found


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        (Row("r", ours=1.0, peer_time=6.0, target=6), True),
        (Row("r", ours=1.0, peer_time=5.9, target=6), False),
        (Row("r", ours=0.1, target=0.15), True),
        (Row("r", ours=0.2, target=0.15), False),
        (Row("r", ours=1.0, peer_time=2.0), None),
        (Row("r", ours=1.0, peer_time=15.0, target=15, at_most=True), True),
        (Row("r", ours=1.0, peer_time=15.1, target=15, at_most=True), False),
    ],
)
def test_what_reaching_a_target_means(row, reached):
    assert row.reached is reached
    assert row.as_dict()["reached"] is reached


def test_the_quickest_setting_of_a_peer_counts():
    slow, quick = contender("b", 6.0), contender("b", 4.0)
    quick.setting = "better"
    (row,) = timed("r", contender(seconds_a_call=2.0), [[slow, quick]], 3, {"b": 2.0})
    assert (row.setting, row.ratio, row.reached) == ("better", 2.0, True)
    assert row.raw["tried"] == {"as it is": 6.0, "better": 4.0}
    assert row.spread == {"ours": [2.0, 2.0], "peer": [4.0, 4.0]}


def test_single_precision_may_differ_more():
    single = Function("s", "", int, lambda _: {"number": 1.0 + 1e-6})
    with pytest.raises(DisagreementError, match="number of s"):
        check_agreement([contender(), single])
    single.tolerance = 1e-4
    check_agreement([contender(), single])


def test_times_in_copies():
    row = Row("r", 30.0, peer_time=60.0, raw={"ours": [30], "peer": [60], "tried": {}})
    assert (in_copies(row, 3.0).ours, row.peer_time, row.ratio) == (10.0, 20.0, 2.0)


def test_peers_that_are_asked_for_must_be_installed(monkeypatch):
    lacks_one = {"prism_q": None}
    monkeypatch.setattr(
        "tests.benchmarks.peers.find_spec", lambda module: lacks_one.get(module, module)
    )
    with pytest.raises(MissingPeerError, match=r"^prism-q not installed"):
        Peers(["prism-q", "jax"])
    peers = Peers()
    made = peers.columns(
        "c", [settings("prism-q", PATH), settings("jax", PATH)], 1, 2, 3
    )
    assert [[type(one) for one in column] for column in made] == [[Function]]
    assert not peers.need("d", ("prism-q", "jax"))
    assert peers.missing == {"c": ["prism-q"], "d": ["prism-q"]}


def test_peers_in_another_python(monkeypatch):
    monkeypatch.setattr("tests.benchmarks.peers.find_spec", lambda module: None)
    peers = Peers(["lightning.qubit"], sys.executable)
    assert not peers.has("lightning.qubit")
    column = settings("lightning.qubit", PATH)
    ((remote,),) = peers.columns("c", [column], "who", "how", os.getpid, str)
    assert (remote.name, remote.setting) == ("who", "how")
    assert int(remote.numbers()) != os.getpid()
    assert 0 < remote.seconds(3) < 1


def test_an_error_in_another_python(capfd):
    with pytest.raises(RemoteError, match="other Python ended"):
        Remote(sys.executable, Setting("jax", "tests.benchmarks.contender:Nothing"), ())
    assert "has no attribute 'Nothing'" in capfd.readouterr().err


def test_a_busy_machine_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(os, "getloadavg", lambda: (1.2, 0.0, 0.0))
    assert load_average(1.5) == 1.2
    assert load_average(0.5) == 1.2
    assert "WARNING: load average 1.20 is over 0.5" in capsys.readouterr().out
    with pytest.raises(BusyMachineError, match="pass --busy"):
        load_average(0.5, strict=True)


def test_rates_are_amounts_over_seconds(monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    assert machine.best_rate(8.0, lambda: None, repeats=2) == 4.0


def result(*rows, repeats=7, load=0.1):
    """A file with these rows in one case."""
    about = {"caches": [], "dgemm": 5e10, "copy": 2e10, "processor": "p", "cores": 2}
    case = {"date": "2026-12-01", "load": {"before": load}, "missing": ["scaluq"]}
    case["repeats"] = repeats
    return {
        "machine": about | {"system": "s", "python": "3.11"},
        "cases": {"training-4q": case | {"rows": [row.as_dict() for row in rows]}},
    }


def test_the_page_shows_bad_rows():
    found = page.page(
        result(
            Row("one", 1.0, "quick", "its best", peer_time=0.5, target=2.0),
            Row("two", 1.0, "slow", peer_time=300.0, target=100),
            Row("three", 1e-6, "bound", peer_time=1e-7, kind="bound"),
        )
    )
    reach, slower, *_ = found.split("## ")[1:]
    assert "| one | quick | ≥ 2x | 0.5x | **no** |" in reach
    assert "| two | slow | ≥ 100x | 300x | yes |" in reach
    assert "| one | quick | its best | 0.5x |" in slower
    assert "two" not in slower
    assert "three" not in slower
    assert "not installed: scaluq" in found
    assert "1 µs" in found
    assert "{warning}" not in found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"load": 3.0}, "the load average was up to 3.0"),
        ({"repeats": 1}, "some cases were measured 1 times"),
    ],
)
def test_the_page_warns_of_numbers_that_are_no_measurements(options, words):
    found = page.page(result(Row("one", 1.0), **options))
    assert f"These times are no measurements: {words}." in found


def test_numbers_of_every_size_are_shown():
    shown = [seconds(value) for value in (2.0, 1.5e-3, 2e-6, 3e-9)]
    assert shown == ["2 s", "1.5 ms", "2 µs", "3 ns"]
    assert seconds(12.34, "copies") == "12.3 copies"


def test_the_page_is_what_its_file_says():
    """The page and its pictures are made by `python -m tests.benchmarks.page`."""
    found = json.loads((page.DOCS / page.RESULTS).read_text())
    assert (page.DOCS / "benchmarks.md").read_text() == page.page(found)
    assert set(found["cases"]) <= set(CASES)
    for name in plots.drawn(found):
        assert (page.DOCS / "_static" / f"benchmarks-{name}.svg").exists()
    assert all(row["row"] for row in rows_of(found))


def test_the_rows_of_the_readme_are_those_of_the_file():
    """They are written by `python -m tests.benchmarks.summary`."""
    found = json.loads((page.DOCS / page.RESULTS).read_text())
    table = summary.between(summary.README.read_text()).group(1)
    assert table == summary.summary(found)
