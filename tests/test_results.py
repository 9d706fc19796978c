"""The scripts of published results reach their reduced numbers.

What the scripts claim in full is in ``demos/results/README.md``.
"""

import importlib

import numpy as np
import pennylane as qml
import pytest

from demos.results import phase_diagram, report

SCRIPTS = (
    "circle",
    "few_data_qcnn",
    "forum_epoch",
    "havlicek",
    "iris",
    "kernel_widths",
    "linearly_separable",
    "natural_gradient",
    "nearest_states",
    "phase_diagram",
    "trained_kernel",
    "wine_and_cancer",
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_short_version_reaches_its_number(name, capsys):
    script = importlib.import_module(f"demos.results.{name}")
    status = report.main(script.run, ["--short"])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert "reduced version" in printed


def test_a_missed_number_is_exit_status_1(capsys):
    rows = [report.Row("ours", [0.5, 1.0], 2.0)]
    claims = [report.Claim("mean", 0.75, 0.7), report.Claim("mean", 0.75, 0.8)]
    assert report.main(lambda short: report.Report("task", "", rows, claims), []) == 1
    printed = capsys.readouterr().out
    assert "reached: mean: 0.75 >= 0.7\nMISSED: mean: 0.75 >= 0.8\n" in printed
    assert printed.splitlines()[4].split() == [
        *("ours", "0.7500", "0.2500", "0.5000", "2", "2", "this", "run")
    ]


@pytest.mark.parametrize("bad", [np.nan, 1.1])
def test_what_is_not_small_enough_is_missed(bad):
    assert not report.Claim("seconds", bad, 1.0, at_most=True).reached
    assert report.Claim("seconds", 1.0, 1.0, at_most=True).reached


def cluster_order(error, pooled):
    """Z X Z in the middle of 15 wires in a cluster state, or of the 5 that are kept."""

    @qml.qnode(qml.device("qstore.mock_ideal", wires=15))
    def circuit():
        wires = range(15)
        for wire in wires:
            qml.Hadamard(wire)
        phase_diagram.cluster(wires)
        if error is not None:
            qml.X(error)
        kept = phase_diagram.network(wires) if pooled else wires
        return phase_diagram.string_order(kept)

    return circuit()


def test_the_network_keeps_cluster_states_and_corrects_any_single_error():
    assert cluster_order(None, pooled=True) == pytest.approx(1.0, abs=1e-10)
    assert [cluster_order(e, pooled=True) for e in range(15)] == pytest.approx(
        [1.0] * 15, abs=1e-10
    )
    # Without it an X next to the middle, wire 7, turns the sign.
    found = [cluster_order(e, pooled=False) for e in (6, 7, 8)]
    assert found == pytest.approx([-1.0, 1.0, -1.0], abs=1e-10)
