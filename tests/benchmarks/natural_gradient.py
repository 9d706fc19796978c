"""Natural gradient beside Adam and gradient descent, on 40 random circuits.

``python -m tests.benchmarks.natural_gradient`` prints the table, and draws the plot of
the documentation with its numbers in a JSON file beside it, in two minutes.

The circuit, after Stokes et al. (arXiv:1909.02108): 7 qubits, RY(pi/4) on each; then
5 layers of RX, RY or RZ on each wire, drawn with their first angles from the seed, and
a ladder of CZ. The cost is <Z_0 Z_1>. Counted are the updates before the cost is first
below -0.95: all three optimizers start from the same angles, with the same step size.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pennylane as qml
from matplotlib.figure import Figure

from qstore_pl.gradients import (
    QuantumGradientComputer,
    QuantumNaturalGradientOptimizer,
)
from qstore_pl.optimizers import SGD, Adam

N_QUBITS, DEPTH = 7, 5
LEARNING_RATE, DAMPING = 0.05, 1e-3
TARGET = -0.95
SEEDS = range(40)
STEPS = 80
ROTATIONS = (qml.RX, qml.RY, qml.RZ)
DIRECTORY = Path(__file__).parents[2] / "docs" / "_static"


def random_circuit(seed):
    """The QNode of a seed and its first angles, shape (DEPTH * N_QUBITS,)."""
    rng = np.random.default_rng(seed)
    gates = rng.integers(3, size=(DEPTH, N_QUBITS))
    angles = rng.uniform(0, 2 * np.pi, (DEPTH, N_QUBITS))

    @qml.qnode(qml.device("qstore.mock_ideal", wires=N_QUBITS))
    def circuit(angles):
        for wire in range(N_QUBITS):
            qml.RY(np.pi / 4, wire)
        for layer in range(DEPTH):
            for wire in range(N_QUBITS):
                rotation = ROTATIONS[gates[layer, wire]]
                rotation(angles[layer * N_QUBITS + wire], wire)
            for wire in range(N_QUBITS - 1):
                qml.CZ([wire, wire + 1])
        return qml.expval(qml.Z(0) @ qml.Z(1))

    return circuit, angles.ravel()


def natural_gradient(circuit, angles):
    """Yield the cost before each step of the natural gradient."""
    optimizer = QuantumNaturalGradientOptimizer(LEARNING_RATE, damping=DAMPING)
    angles = qml.numpy.array(angles, requires_grad=True)
    while True:
        angles, cost = optimizer.step_and_cost(circuit, angles)
        yield float(cost)


def plain(optimizer, circuit, angles):
    """Yield the cost before each step of an optimizer that takes gradients."""
    computer = QuantumGradientComputer()
    while True:
        result = computer.compute_gradients(circuit, angles)
        yield result.function_value
        optimizer.step(angles, result)


def costs(name, seed):
    """Yield the costs of a descent after 0 to ``STEPS`` updates."""
    circuit, angles = random_circuit(seed)
    match name:
        case "natural gradient":
            descent = natural_gradient(circuit, angles)
        case "Adam":
            descent = plain(Adam(LEARNING_RATE), circuit, angles)
        case "gradient descent":
            descent = plain(SGD(LEARNING_RATE), circuit, angles)
    return itertools.islice(descent, STEPS + 1)


NAMES = ("natural gradient", "Adam", "gradient descent")


def steps_to_target(costs):
    """Updates before the cost is first below ``TARGET``, infinity if it never is."""
    return next((n for n, cost in enumerate(costs) if cost < TARGET), np.inf)


def numbers(curves):
    """What the documentation quotes.

    Args:
        curves: For each optimizer the costs, shape (n_seeds, STEPS + 1).
    """
    steps = {n: [steps_to_target(curve) for curve in c] for n, c in curves.items()}
    slower = np.greater(steps["natural gradient"], steps["Adam"])
    return {
        "target": TARGET,
        "learning_rate": LEARNING_RATE,
        "damping": DAMPING,
        "steps_made": STEPS,
        "median_steps": {n: _or_none(np.median(s)) for n, s in steps.items()},
        "never": {n: int(np.isinf(s).sum()) for n, s in steps.items()},
        "seeds_slower_than_adam": np.flatnonzero(slower).tolist(),
        "steps": {n: [_or_none(one) for one in s] for n, s in steps.items()},
    }


def _or_none(count):
    return None if np.isinf(count) else count


def draw(curves, path):
    """Median cost with quartiles, and how many circuits are below the target."""
    # No date and no random names: the same numbers give the same file.
    style = {"svg.hashsalt": "natural gradient", "svg.fonttype": "none"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        n_steps = np.arange(STEPS + 1)
        for name, values in curves.items():
            low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
            (line,) = left.plot(n_steps, middle, label=name)
            left.fill_between(n_steps, low, high, color=line.get_color(), alpha=0.15)
            steps = np.array([steps_to_target(curve) for curve in values])
            below = (steps[:, None] <= n_steps).mean(axis=0)
            right.step(n_steps, 100 * below, where="post", label=name)
        left.axhline(TARGET, color="gray", linewidth=0.8, linestyle=":")
        left.set(xlabel="step", ylabel="cost, median and quartiles", xlim=(0, STEPS))
        left.legend(frameon=False)
        label = f"circuits that were below {TARGET}, %"
        right.set(xlabel="step", ylabel=label, xlim=(0, STEPS), ylim=(0, 100))
        figure.savefig(path, metadata={"Date": None})


def table(found):
    """The numbers as text."""
    lines = [f"{'updates before cost < ' + str(TARGET):28}{'median':>8}{'never':>8}"]
    for name in NAMES:
        median = found["median_steps"][name]
        shown = f"> {STEPS}" if median is None else f"{median:g}"
        lines.append(f"{name:28}{shown:>8}{found['never'][name]:>8}")
    slower = found["seeds_slower_than_adam"]
    lines.append(
        f"{len(SEEDS)} circuits, {STEPS} steps; natural gradient slower than Adam on "
        f"{len(slower)}: seeds {', '.join(map(str, slower))}"
    )
    return "\n".join(lines)


def main():
    """Run all descents, print the table, write plot and numbers."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.natural_gradient")
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    directory = parser.parse_args().directory
    curves = {name: np.array([[*costs(name, s)] for s in SEEDS]) for name in NAMES}
    found = numbers(curves)
    print(table(found))
    directory.mkdir(parents=True, exist_ok=True)
    plot = directory / "natural_gradient.svg"
    draw(curves, plot)
    plot.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    print(f"written to {plot} and {plot.with_suffix('.json').name}")


if __name__ == "__main__":
    main()
