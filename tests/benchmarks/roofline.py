"""Case `roofline`: our gradient beside the two rates that bound it on this machine.

Operations are those of the formula, whatever the kernels do: a one-qubit block takes 14
for each amplitude, once forward and for ket and bra backward; the derivatives of its
angles take 8 more. Bytes are those of a layer that goes through memory once: state
forward, ket and bra backward, read and written. So the intensity is a property of the
circuit, 50 n / 96 operations a byte for n qubits, and a small state, which stays in the
caches, may be above the roof of the memory.
"""

from __future__ import annotations

from statistics import median

from tests.benchmarks.growth import seconds_in_turn, work_of
from tests.benchmarks.machine import copy_rate, dgemm_rate
from tests.benchmarks.problem import Problem
from tests.benchmarks.race import Row

OPERATIONS = 3 * 14 + 8  # for each amplitude and one-qubit block
BYTES = 3 * 2 * 16  # for each amplitude and layer
MOST_AMPLITUDES = 2**20
PROBLEMS = tuple(
    Problem(n_qubits=n, n_layers=4, batch=batch)
    for batch in (1, 32, 1024)
    for n in (4, 6, 8, 10, 12, 14, 16, 18, 20)
    if batch * 2**n <= MOST_AMPLITUDES
)
PEER = "the roof"


def operations(problem):
    """Of a gradient."""
    blocks = problem.n_qubits * problem.n_layers
    return OPERATIONS * blocks * problem.batch * 2**problem.n_qubits


def bytes_moved(problem):
    """By a gradient."""
    return BYTES * problem.n_layers * problem.batch * 2**problem.n_qubits


def measured(name, peers, repeats):
    """The time of each gradient, beside the least that both rates allow."""
    dgemm, copy = dgemm_rate(), copy_rate()
    rows = []
    for problem, raw in zip(PROBLEMS, seconds_in_turn(PROBLEMS, repeats), strict=True):
        counts = {"operations": operations(problem), "bytes": bytes_moved(problem)}
        rows.append(
            Row(
                row=f"{name}, {problem.n_qubits} qubits, batch {problem.batch}",
                ours=median(raw),
                peer=PEER,
                kind="bound",
                peer_time=max(counts["operations"] / dgemm, counts["bytes"] / copy),
                raw={"ours": raw},
                work=work_of(problem) | counts | {"dgemm": dgemm, "copy": copy},
            )
        )
    return rows
