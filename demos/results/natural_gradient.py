"""The natural gradient on random circuits: half of Adam's steps.

``python -m demos.results.natural_gradient`` runs the circuits of
``tests/benchmarks/natural_gradient.py``, which says what they are: 7 qubits, 5 layers
of random rotations with a ladder of CZ, from which <Z_0 Z_1> is brought below -0.95.
The numbers to reach: over 40 seeds the median number of steps is at most 14, and at
most half of Adam's; and at most 5 seeds take longer than with Adam. The short version
has 3 seeds, too few for the first and the last of these, and a median of at most 0.7 of
Adam's.

Stokes, Izaac, Killoran, Carleo, Quantum natural gradient, Quantum 4, 269 (2020),
arXiv:1909.02108.
"""

import sys
import time

import numpy as np

from demos.results import report
from tests.benchmarks import natural_gradient as benchmark


def steps(name, seeds):
    """Steps to the target from each seed, and the mean seconds of a descent."""
    start = time.perf_counter()
    found = [
        float(benchmark.steps_to_target(benchmark.costs(name, seed))) for seed in seeds
    ]
    return np.array(found), (time.perf_counter() - start) / len(seeds)


def run(short):
    """Both optimizers from every seed."""
    seeds = range(3) if short else benchmark.SEEDS
    natural, natural_seconds = steps("natural gradient", seeds)
    adam, adam_seconds = steps("Adam", seeds)
    # A descent that never arrives has infinite steps: medians can hold that, means not.
    median, adam_median = float(np.median(natural)), float(np.median(adam))
    claims = [("share of Adam's median", median / adam_median, 0.7 if short else 0.5)]
    if not short:
        claims.append(("median of steps", median, 14))
        slower = int(np.sum(natural > adam))
        claims.append(("seeds that take longer than with Adam", slower, 5))
    return report.Report(
        f"Random circuits, 7 qubits: median of steps to <Z_0 Z_1> < {benchmark.TARGET}",
        f"{len(seeds)} seeds, step size {benchmark.LEARNING_RATE}, damping "
        f"{benchmark.DAMPING}, both from the same angles",
        [
            report.Row("natural gradient", [median], natural_seconds),
            report.Row("Adam", [adam_median], adam_seconds),
        ],
        [report.Claim(*claim, at_most=True) for claim in claims],
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
