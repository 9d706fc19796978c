"""Large states against lightning.qubit: values and gradients of random circuits.

``python -m tests.benchmarks.large_agreement`` runs 60 circuits of 13 to 18 wires, in
which every gate of the tests occurs several times, and prints the largest differences.
Two threads must give the same bits as one. It takes some minutes, and times nothing.
"""

from __future__ import annotations

import argparse
import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest import mock

import numpy as np
import pennylane as qml
from pennylane.operation import Operator
from pennylane.tape import QuantumScript

from qstore_pl.engine import large, threads
from tests.cases import DRAWN, GATES, PREPARATIONS
from tests.test_random_circuits import (
    ARGUMENTS,
    DEVICE,
    N_FEATURES,
    N_WEIGHTS,
    Measurement,
    Numbers,
    QNodes,
    Recipe,
    Step,
    qnodes,
    random_step,
    reference_qnodes,
    run_autograd,
)

CIRCUITS = 60
WIDTHS = range(13, 19)
BATCHES = (1, 3)
WAYS = (1, "tiles"), (2, "tiles"), (2, "samples")
KINDS = 12  # gates between two layers
TOLERANCE = 1e-10
PEER = "lightning.qubit"
KNOWN = {
    *("RX", "RY", "RZ", "PhaseShift", "CNOT", "GlobalPhase", "Identity"),
    *("StatePrep", "BasisState", "AmplitudeEmbedding", "BasisEmbedding"),
    *("DoubleExcitationPlus", "DoubleExcitationMinus"),
}
WHOLE = {"DoubleExcitationPlus", "DoubleExcitationMinus"}  # without a decomposition


def recipes(n_circuits: int = CIRCUITS, widths: range = WIDTHS) -> Iterator[Recipe]:
    """Random circuits; the gates of the tests are dealt out in turn."""
    rng = np.random.default_rng(18)
    deck = itertools.cycle(rng.permutation(sorted(set(DRAWN) | set(GATES))).tolist())
    for i in range(n_circuits):
        n, batch = widths[i % len(widths)], BATCHES[i // len(widths) % len(BATCHES)]

        def some(n: int = n, batch: int = batch) -> list[Step]:
            labels = itertools.islice(deck, KINDS)
            seeds = rng.integers(10**6, size=KINDS).tolist()
            drawn = zip(seeds, labels, strict=True)
            steps = [random_step(seed, [label], n, batch) for seed, label in drawn]
            return [
                constant(step) if step.gate in WHOLE and step.variant else step
                for step in steps
            ]

        steps = [
            *layer("RY", "weight", n), *ring(n), *some(),
            *layer("RX", "feature", n), *some(), *ring(n),
        ]  # fmt: skip
        if i % 3 == 0:
            name = list(PREPARATIONS)[i // 3 % len(PREPARATIONS)]
            first = random_step(int(rng.integers(10**6)), [name], n, None)
            # lightning.qubit has no gradient with respect to the first state.
            steps.insert(0, constant(first))
        measured = []
        for kind in ("word", "sum", "hermitian"):
            wires = tuple(rng.permutation(n)[: int(rng.integers(1, 5))].tolist())
            measured.append(Measurement("expval", kind, wires, int(rng.integers(999))))
        yield Recipe(n, batch, ARGUMENTS, tuple(steps), tuple(measured), i)


def constant(step: Step) -> Step:
    """The same gate with constant parameters."""
    return replace(step, sources=tuple(("constant", i) for _, i in step.sources))


def layer(gate: str, source: str, n_wires: int) -> list[Step]:
    """A rotation on each wire."""
    return [Step(gate, (i,), ((source, i),), None, (), i) for i in range(n_wires)]


def ring(n_wires: int) -> list[Step]:
    """CNOTs from each wire to the next."""
    pairs = [(i, (i + 1) % n_wires) for i in range(n_wires)]
    return [Step("CNOT", pair, (), None, (), 0) for pair in pairs]


def ours(recipe: Recipe, values: Numbers, n_threads: int, way: str) -> Numbers:
    """States, values and gradients.

    Args:
        recipe: The circuit.
        values: Weights and features.
        n_threads: Number of threads.
        way: Whether they share ``"samples"`` or the ``"tiles"`` of each.

    Raises:
        AssertionError: If they did not.
    """
    used = []
    together = threads.together

    def counted(task: Callable[[int], None], workers: int) -> None:
        used.append(workers)
        together(task, workers)

    with (
        mock.patch.dict(os.environ, QSTORE_NUM_THREADS=str(n_threads)),
        mock.patch.object(large, "PARALLEL", 0),
        mock.patch.object(large, "MANY", WIDTHS[-1] if way == "samples" else 0),
        mock.patch.object(threads, "together", counted),
    ):
        found = run_autograd(recipe, qnodes(recipe, DEVICE, "autograd"), values)
    shared = way == "samples" and recipe.batch >= n_threads
    if set(used) != {1 if shared else n_threads}:
        raise AssertionError(f"{recipe} ran on {set(used)} threads.")
    return found


@qml.transform
def simplified(tape: QuantumScript) -> tuple[list[QuantumScript], Callable]:
    """A tape of gates that lightning.qubit differentiates."""
    operations = [part for op in tape.operations for part in simple_gates(op)]
    return [tape.copy(operations=operations)], lambda results: results[0]


def simple_gates(op: Operator) -> Iterator[Operator]:
    """Gates with PennyLane's matrix, where nothing is trained, or its decomposition."""
    if op.name in KNOWN:
        yield op
    elif any(qml.math.requires_grad(values) for values in op.data):
        for part in op.decomposition():
            yield from simple_gates(part)
    elif not op.wires:
        yield qml.GlobalPhase(-np.angle(qml.matrix(op)[0, 0]))
    else:
        yield qml.QubitUnitary(qml.matrix(op), op.wires)


def theirs(recipe: Recipe) -> QNodes:
    """The circuit on lightning.qubit, sample by sample."""

    def of_sample(b: int | None) -> QNodes:
        state, results = qnodes(recipe, PEER, "autograd", b)
        return simplified(state), simplified(results)

    return reference_qnodes(recipe, of_sample)


def difference(recipe: Recipe) -> float:
    """The largest difference of a number to that of lightning.qubit.

    Raises:
        AssertionError: If two threads do not give the bits of one.
    """
    rng = np.random.default_rng(recipe.seed)
    values = [
        rng.uniform(-np.pi, np.pi, N_WEIGHTS),
        rng.uniform(-np.pi, np.pi, (recipe.batch, N_FEATURES)),
    ]
    with warnings.catch_warnings():
        # Autograd's own: the cotangent of a real angle inside a complex matrix.
        warnings.filterwarnings("ignore", "Casting complex values to real")
        wanted = run_autograd(recipe, theirs(recipe), values)
        alone, *both = (ours(recipe, values, *way) for way in WAYS)
    for others in both:
        for one, other in zip(alone, others, strict=True):
            np.testing.assert_array_equal(one, other)
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(alone, wanted, strict=True)]
    if any(a.shape != b.shape for a, b in pairs):
        raise AssertionError(f"{recipe} has results of other shapes.")
    return max(float(np.max(np.abs(a - b))) for a, b in pairs)


def main() -> None:
    """Run all circuits, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--circuits", type=int, default=CIRCUITS)
    largest, seen = 0.0, set()
    for recipe in recipes(parser.parse_args().circuits):
        found = difference(recipe)
        largest = max(largest, found)
        seen |= {step.gate for step in recipe.steps}
        size = f"{recipe.n_wires} wires, batch {recipe.batch}"
        print(f"{recipe.seed}: {size}: {found:.1e}", flush=True)
    missing = set(GATES) - seen
    print(f"largest difference {largest:.1e}, {len(seen)} kinds, without {missing}")
    if largest > TOLERANCE or missing:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
