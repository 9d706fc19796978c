"""Rows `kernel-4q` and `kernel-8q`: fidelity kernel matrices of many samples."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np
import pennylane as qml

from qstore_pl import FidelityKernel
from qstore_pl.kernels.products import overlaps
from tests.benchmarks.machine import DGEMM_SIDE
from tests.benchmarks.race import Row, check_close, in_turn, medians

SIZES = {"kernel-4q": (4, 100), "kernel-8q": (8, 1000)}  # qubits, samples
CHECKED = 8  # samples of the matrices that are compared
PAIRS_TARGET = 1000
SECONDS_TARGET = 0.5
RATE_TARGET = 0.55


def samples_of(n_qubits, n_samples):
    return np.random.default_rng(0).uniform(-1, 1, (n_samples, n_qubits))


def gates(x):
    """The ZZ feature map, gate by gate; entries of `x` may have a batch axis."""
    n_qubits = len(x)
    for _ in range(2):
        for wire in range(n_qubits):
            qml.Hadamard(wire)
            qml.PhaseShift(2 * x[wire], wires=wire)
        for i, j in itertools.combinations(range(n_qubits), 2):
            qml.CNOT([i, j])
            qml.PhaseShift(2 * (np.pi - x[i]) * (np.pi - x[j]), wires=j)
            qml.CNOT([i, j])


def ours(X):
    return FidelityKernel(X.shape[1])(X)


def pairwise(device):
    """PennyLane's kernel matrix from a circuit for each pair, as its demos have it."""

    def matrix(X):
        n_qubits = X.shape[1]

        @qml.qnode(qml.device(device, wires=n_qubits), diff_method=None)
        def inversion_test(x, y):
            gates(y)
            qml.adjoint(gates)(x)
            return qml.probs(wires=range(n_qubits))

        def kernel(x, y):
            return inversion_test(x, y)[0]

        return qml.kernels.square_kernel_matrix(
            X, kernel, assume_normalized_kernel=True
        )

    return matrix


def from_states(X):
    """All states in one broadcast tape on default.qubit, and numpy."""

    @qml.qnode(qml.device("default.qubit", wires=X.shape[1]), diff_method=None)
    def state(columns):
        gates(columns)
        return qml.state()

    states = state(X.T)
    return abs(states.conj() @ states.T) ** 2


LIGHTNING = "square_kernel_matrix, lightning.qubit"
PAIRS = {
    LIGHTNING: pairwise("lightning.qubit"),
    "square_kernel_matrix, default.qubit": pairwise("default.qubit"),
}
STATES = {"default.qubit states, numpy": from_states}


def check_matrices(n_qubits, peers):
    """Compare the matrices of a few samples with ours.

    Raises:
        DisagreementError: If an entry differs.
    """
    X = samples_of(n_qubits, CHECKED)
    for name, matrix in peers.items():
        check_close(f"kernel matrix by {name}", matrix(X), ours(X))


def seconds(function: Callable, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def measured(name, peers, repeats):
    """Time the matrix of all samples, states included.

    The circuits of all pairs take so long that they are run once.
    """
    n_qubits, n_samples = SIZES[name]
    X = samples_of(n_qubits, n_samples)
    pairs = PAIRS if name == "kernel-4q" else {}
    print(f"{name}: checking that all agree", flush=True)
    check_matrices(n_qubits, PAIRS | STATES)
    measures = {"ours": lambda: seconds(ours, X)}
    measures |= {k: lambda f=f: seconds(f, X) for k, f in STATES.items()}
    for measure in measures.values():
        measure()
    print(f"{name}: timing in turn", flush=True)
    raw = in_turn(measures, repeats)
    tried = {k: seconds(f, X) for k, f in pairs.items()}
    raw |= {k: [value] for k, value in tried.items()}
    times = medians(raw)
    rows = []
    if tried:
        targets = dict.fromkeys(tried) | {LIGHTNING: PAIRS_TARGET}
        rows += [_row(name, raw, times, peer, targets[peer]) for peer in tried]
    else:
        rows.append(Row(row=name, ours=times["ours"], target=SECONDS_TARGET, raw=raw))
    rows += [_row(name, raw, times, peer) for peer in STATES]
    if not tried:
        rows.append(rate(repeats))
    return rows


def _row(name, raw, times, peer, target=None):
    return Row(
        row=name,
        ours=times["ours"],
        peer=peer,
        peer_time=times[peer],
        target=target,
        raw={"ours": raw["ours"], "peer": raw[peer]},
    )


def rate(repeats):
    """The products of states alone, beside the same arithmetic at the rate of DGEMM.

    The ratio is the share of that rate which is reached.
    """
    n_qubits, n = SIZES["kernel-8q"]
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, n, 2**n_qubits, 2)).view(np.complex128)[..., 0]
    x, y = rng.normal(size=(2, DGEMM_SIDE, DGEMM_SIDE))
    share = 8 * n * n * 2**n_qubits / (2 * DGEMM_SIDE**3)
    raw = in_turn(
        {
            "ours": lambda: seconds(overlaps, a, b),
            "peer": lambda: seconds(np.matmul, x, y) * share,
        },
        repeats,
    )
    times = medians(raw)
    return Row(
        row="kernel-8q, products of a rectangular matrix",
        ours=times["ours"],
        peer="8 n m 2^n operations at the rate of DGEMM",
        kind="bound",
        peer_time=times["peer"],
        target=RATE_TARGET,
        raw=raw,
    )
