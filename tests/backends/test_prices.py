"""The list of prices: what it says, and what a user's file may change."""

import datetime

import numpy as np
import pytest

from qstore_pl.backends.prices import Price, price_list

ONE, TWO, SHOTS = np.array([[0, 18, 18], [0, 8, 8], [100, 100, 10_000]])
ENTRY = '[targets.t]\nsource = "s"\nas_of = 2026-01-02\n'


def read(tmp_path, text):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return price_list(path)


@pytest.mark.parametrize(
    ("target", "mitigated", "dollars"),
    [
        # learn.microsoft.com/azure/quantum/pricing, 17 September 2025
        ("aria-1", False, [12.4166, 12.4166, 0.00022 * 180_000 + 0.000975 * 80_000]),
        ("aria-2", True, [97.5, 97.5, 117.6]),
        ("forte-1", False, [25.7899, 25.7899, 29.61 + 89.68]),
        ("forte-enterprise-1", True, [168.195, 168.195, 168.195]),
    ],
)
def test_circuits_on_ionqs_quantum_computers(target, mitigated, dollars):
    price = price_list().of(f"ionq.qpu.{target}")
    found = price.dollars(ONE, TWO, SHOTS, mitigated=mitigated)
    np.testing.assert_allclose(found, dollars, rtol=1e-12)
    assert "microsoft" in price_list().source_of(f"ionq.qpu.{target}")


def test_a_quote_of_ionq():
    # A user published that GET /v0.4/jobs/estimate gave $206.95 for this on forte-1,
    # with these rates: the least price is no part of a larger one.
    price = Price(one_qubit_gate=0.000164, two_qubit_gate=0.001121, minimum=25.7899)
    (found,) = price.dollars(np.array([51]), np.array([11]), np.array([10_000]))
    assert round(found, 2) == 206.95


def test_simulators_are_free_and_some_prices_are_not_known():
    prices = price_list()
    for target in ("cirq", "qiskit", "mock_ideal", "ionq.simulator"):
        np.testing.assert_array_equal(prices.of(target).dollars(ONE, TWO, SHOTS), 0.0)
    assert prices.of("qiskit_remote") is None
    assert prices.source_of("qiskit_remote").startswith("IBM bills the seconds")
    assert prices.of("nobody's") is None
    assert "no entry for nobody's" in prices.source_of("nobody's")
    assert "nobody's" not in prices
    assert prices.of("ionq.qpu.forte-1").seconds(1, 1) is None
    assert prices.of("ionq.qpu.aria-1").seconds(2, 3) == pytest.approx(2070e-6)


def test_a_file_replaces_targets(tmp_path):
    prices = read(
        tmp_path,
        'version = 1\ndate = 2030-01-02\n[targets."ionq.qpu.aria-1"]\ncircuit = 2\n'
        "shot = 0.5\nminimum = 60.0\nsource = 'contract'\nas_of = 2030-01-01\n",
    )
    price = prices.of("ionq.qpu.aria-1")
    np.testing.assert_array_equal(price.dollars(ONE, TWO, SHOTS), [60.0, 60.0, 5002.0])
    found = price.dollars(ONE, TWO, SHOTS, mitigated=True)
    np.testing.assert_array_equal(found, [60.0, 60.0, 5002.0])
    assert prices.source_of("ionq.qpu.aria-1") == "contract (2030-01-01)"
    assert prices.date == datetime.date(2030, 1, 2)
    assert prices.of("ionq.qpu.aria-2") == price_list().of("ionq.qpu.aria-2")
    assert price_list().date == datetime.date(2026, 11, 30)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("version = ", ValueError, "is not TOML"),
        ("date = 2026-01-02", ValueError, "must have version, date and tables"),
        (f"version = 2\ndate = 2026-01-02\n{ENTRY}", ValueError, "must be 1, but is 2"),
        (f"version = 1\ndate = 2026\n{ENTRY}", TypeError, "Entry date of .* a day"),
        ("version = 1\ndate = 2026-01-02\ntargets = 3", TypeError, "must be a table"),
        ("version = 1\ndate = 2026-01-02\n[targets]\nt = 1", TypeError, "a table, but"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, text, kind, message):
    with pytest.raises(kind, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("shots = 1", ValueError, "must not have 'shots'; it may have circuit, shot"),
        ("shot = -1", ValueError, "shot in .* must be a number >= 0, but is -1"),
        ("shot = true", ValueError, "shot in .* must be a number >= 0, but is True"),
        ("shot = nan", ValueError, "must be a number >= 0, but is nan"),
        ('unknown = ""', ValueError, "unknown in .* must be a text, but is ''"),
        ('unknown = "?"\nshot = 1', ValueError, "must have no shot where it says why"),
        ("as_of = 2026-01-02T03:04:05", TypeError, "as_of in .* must be a day"),
    ],
)
def test_an_entry_of_another_form_is_refused(tmp_path, line, kind, message):
    entry = '[targets.t]\nsource = "s"\n' + (
        "" if "as_of" in line else "as_of = 2026-01-02\n"
    )
    with pytest.raises(kind, match=message) as caught:
        read(tmp_path, f"version = 1\ndate = 2026-01-02\n{entry}{line}\n")
    assert "[targets.t]" in str(caught.value)
    assert str(tmp_path / "prices.toml") in str(caught.value)


@pytest.mark.parametrize("missing", ["source", "as_of"])
def test_an_entry_has_a_source_and_a_day(tmp_path, missing):
    lines = [line for line in ENTRY.splitlines() if missing not in line]
    with pytest.raises(ValueError, match=f"must have {missing}, but has none"):
        read(tmp_path, "version = 1\ndate = 2026-01-02\n" + "\n".join(lines))
