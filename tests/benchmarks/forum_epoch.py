"""Case `forum-epoch`: 16,384 samples in batches of 64, 2 qubits, 12 weights.

A user of PennyLane's forum waited 100 s for it (thread 1131). Programs and check are
those of :mod:`demos.results.forum_epoch`.
"""

from __future__ import annotations

from demos.results import forum_epoch
from tests.benchmarks.contender import Contender
from tests.benchmarks.race import race

SAMPLES = 16_384
TARGETS = {"default.qubit backprop": 20}


class Epoch(Contender):
    """A program whose unit of work is an epoch; `run` gives seconds and loss."""

    def __init__(self, name, setting, run):
        self.name, self.setting, self._run = name, setting, run

    def numbers(self):
        return {"loss": self._run(SAMPLES)[1]}

    def seconds(self, n):
        return sum(self._run(SAMPLES)[0] for _ in range(n)) / n


def measured(name, peers, repeats):
    """Time an epoch of ours and of a loop over batches on default.qubit."""
    ours = Epoch("qstore_pl", "QuantumTrainer.train", forum_epoch.ours)
    peer = Epoch(
        "default.qubit backprop",
        "autograd, broadcast batches, qml.GradientDescentOptimizer",
        forum_epoch.default_qubit,
    )
    return race(name, ours, [[peer]], repeats, TARGETS)
