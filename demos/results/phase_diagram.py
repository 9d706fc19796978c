"""A quantum convolutional network finds where a topological phase ends.

``python -m demos.results.phase_diagram`` takes exact ground states of the open chain

    H = -J sum Z_i X_{i+1} Z_{i+2} - h1 sum X_i - h2 sum X_i X_{i+1}

at h1 = 0.5 J, and follows the output of the network from the topological phase (small
h2) to the paramagnetic one. The number to reach: at the end of the phase h2 / J is
within 0.05 of 0.423, the critical point of the infinite chain. The output of a short
chain falls gradually: its end is taken where the curve turns upwards most, the largest
second derivative. Where it falls most steeply is printed as well; that moves more with
the length of the chain. The number is taken from N = 15. The short version has N = 9
alone, and allows 0.1.

The circuit has no weights. It is made of the gates that the paper names: controlled
phases and Toffoli gates with controls in the X basis (convolution), phase flips where a
neighbour's X is -1 (pooling), and Z X Z of three neighbours at the end. It keeps one
wire of three. On which wires the gates act follows from what the paper asks of it, and
``tests/test_results.py`` holds: a cluster state becomes a cluster state on the wires
that are kept, and so does one in which any single X has gone wrong.

Cong, Choi, Lukin, Quantum convolutional neural networks, Nature Physics 15, 1273
(2019), arXiv:1810.03787.
"""

import itertools
import sys
import time

import numpy as np
import pennylane as qml
from scipy.interpolate import make_interp_spline
from scipy.sparse.linalg import eigsh

from demos.results import report
from qstore_pl import compile as compiled

H1, CRITICAL = 0.5, 0.423
H2 = np.linspace(0.0, 0.9, 46)


def cluster(wires):
    """A controlled phase on every pair of neighbours."""
    for pair in itertools.pairwise(wires):
        qml.CZ(pair)


def in_x_basis(gate, controls, target):
    """A controlled gate that acts where the X of its controls is -1."""
    for wire in controls:
        qml.Hadamard(wire)
    gate([*controls, target])
    for wire in controls:
        qml.Hadamard(wire)


def network(wires):
    """Convolution and pooling; returns the wires that are kept, one of three."""
    kept = wires[1::3]
    cluster(wires)
    cluster(kept)
    for left, middle, right in zip(wires[::3], kept, wires[2::3], strict=True):
        in_x_basis(qml.Toffoli, [left, right], middle)
    # X of a wire that is dropped also flips the phase of a kept one in the next block.
    for right, middle in zip(wires[2::3], kept[1:], strict=False):
        in_x_basis(qml.CZ, [right], middle)
    for left, middle in zip(wires[3::3], kept, strict=False):
        in_x_basis(qml.CZ, [left], middle)
    return kept


def string_order(wires):
    """Z X Z in the middle of some wires."""
    middle = len(wires) // 2
    before, at, after = wires[middle - 1 : middle + 2]
    return qml.expval(qml.Z(before) @ qml.X(at) @ qml.Z(after))


def ground_states(n):
    """Ground states at each of ``H2``, shape (len(H2), 2**n)."""
    zxz = [qml.Z(i) @ qml.X(i + 1) @ qml.Z(i + 2) for i in range(n - 2)]
    field = [H1 * qml.X(i) for i in range(n)]
    pairs = [qml.X(i) @ qml.X(i + 1) for i in range(n - 1)]
    without, coupling = (
        -qml.sum(*terms).sparse_matrix(wire_order=range(n), format="csr").real
        for terms in (zxz + field, pairs)
    )
    states, state = [], np.ones(2**n)
    for h2 in H2:
        _, vectors = eigsh(without + h2 * coupling, k=1, which="SA", v0=state)
        states.append(state := vectors[:, 0])
    return np.array(states)


def outputs(n):
    """The output of the network at each of ``H2``."""

    @compiled
    @qml.qnode(qml.device("qstore.mock_ideal", wires=n))
    def circuit(states):
        qml.StatePrep(states, wires=range(n))
        return string_order(network(range(n)))

    return circuit(ground_states(n))


def transition(values):
    """h2 where the curve turns upwards most, and where it falls most steeply."""
    curve, fine = make_interp_spline(H2, values, k=5), np.linspace(0.05, 0.85, 801)
    return (
        float(fine[curve.derivative(2)(fine).argmax()]),
        float(fine[curve.derivative()(fine).argmin()]),
    )


def run(short):
    """Every chain, from short to long."""
    lengths, allowed = ((9,), 0.1) if short else ((9, 12, 15), 0.05)
    rows = []
    for n in lengths:
        start = time.perf_counter()
        turning, steepest = transition(outputs(n))
        seconds = time.perf_counter() - start
        rows.append(report.Row(f"N = {n}: turns upwards most", [turning], seconds))
        rows.append(report.Row(f"N = {n}: falls most steeply", [steepest]))
    infinite = "infinite chain, as quoted for arXiv:1810.03787, fig. 2c"
    return report.Report(
        "End of a topological phase: h2 / J at h1 = 0.5 J",
        f"exact ground states at {len(H2)} values of h2, one convolution and pooling",
        [*rows, report.Row("critical point", [CRITICAL], source=infinite)],
        [
            report.Claim(
                f"distance of h2 / J from {CRITICAL}, N = {lengths[-1]}",
                abs(turning - CRITICAL),
                allowed,
                at_most=True,
            )
        ],
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
