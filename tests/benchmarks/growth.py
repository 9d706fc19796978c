"""Cases `growth-*`: how the time of value and gradient grows with the circuit.

A time is that of a forward and a backward run, over what it should be proportional to:
samples; layers after the first one, which is written as a product state; amplitudes
times gates. The ratio is that to the first of its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from tests.benchmarks.contender import Function
from tests.benchmarks.ours import our_model
from tests.benchmarks.problem import N_OUTPUTS, Problem
from tests.benchmarks.race import Row, in_turn, measure, rough_times

SECONDS_A_MEASUREMENT = 0.2
MOST_REPEATS = 5


def gradient(problem):
    """A forward and a backward run of the first batch; work arrays are made before."""
    program = our_model(problem).placed.program
    work = program.new_pass(problem.batch)
    features = np.ascontiguousarray(problem.inputs[: problem.batch])
    weights, rows = problem.weights.ravel().copy(), np.arange(problem.batch)
    cotangents = np.ones((problem.batch, N_OUTPUTS))

    def run():
        work.forward(weights, features, rows)
        return work.backward(cotangents)

    return Function("qstore_pl", "Program.new_pass", run)


@dataclass(frozen=True)
class Law:
    """What should be constant.

    Args:
        problems: The circuits, the first of which the others are compared with.
        of: What a row calls its circuit, as a format of the problem.
        share: Function from a problem to what its time should be proportional to.
        most: The largest ratio.
    """

    problems: tuple[Problem, ...]
    of: str
    share: Callable[[Problem], int]
    most: float


def amplitudes_times_blocks(problem):
    """Length of a state, times the one-qubit blocks that act on it."""
    return 2**problem.n_qubits * problem.n_qubits * problem.n_layers


LAWS = {
    "growth-batch": Law(
        tuple(Problem(n_qubits=8, n_layers=4, batch=2**k) for k in range(3, 13)),
        "batch {0.batch}",
        lambda problem: problem.batch,
        1.1,
    ),
    "growth-depth": Law(
        tuple(
            Problem(n_qubits=8, n_layers=n_layers, batch=32)
            for n_layers in (4, 8, 16, 32, 64)
        ),
        "{0.n_layers} layers",
        lambda problem: problem.n_layers - 1,
        1.1,
    ),
    "growth-qubits": Law(
        tuple(Problem(n_qubits=n, n_layers=2, batch=1) for n in range(10, 25, 2)),
        "{0.n_qubits} qubits",
        amplitudes_times_blocks,
        1.3,
    ),
}


def seconds_in_turn(problems, repeats):
    """Seconds of a gradient of each problem: a list of measurements each."""
    contenders = [gradient(problem) for problem in problems]
    print(f"timing {len(contenders)} circuits in turn", flush=True)
    rough = rough_times(contenders)
    measures = {
        i: measure(contender, SECONDS_A_MEASUREMENT / rough[contender])
        for i, contender in enumerate(contenders)
    }
    return list(in_turn(measures, min(repeats, MOST_REPEATS)).values())


def measured(name, peers, repeats):
    """The time of each circuit over its share, beside that of the first."""
    law = LAWS[name]
    raw = seconds_in_turn(law.problems, repeats)
    shares = [
        [time / law.share(problem) for time in times]
        for problem, times in zip(law.problems, raw, strict=True)
    ]
    first = law.of.format(law.problems[0])
    return [
        Row(
            row=f"{name}, {first}",
            ours=median(shares[0]),
            peer=law.of.format(problem),
            peer_time=median(own),
            target=law.most,
            at_most=True,
            kind="ours",
            raw={"ours": shares[0], "peer": own},
            work=work_of(problem) | {"seconds": median(times)},
        )
        for problem, own, times in zip(law.problems, shares, raw, strict=True)
    ][1:]


def work_of(problem):
    """The size of a circuit, for plots."""
    return {
        "n_qubits": problem.n_qubits,
        "n_layers": problem.n_layers,
        "batch": problem.batch,
    }
