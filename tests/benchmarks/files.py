"""Case `files`: what checkpoints, a store and the history add to epochs of a second."""

from __future__ import annotations

import tempfile
import time

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
from tests.benchmarks.contender import Contender
from tests.benchmarks.problem import N_OUTPUTS, Problem
from tests.benchmarks.race import race

MOST = 1.05
EPOCHS, EPOCH_SECONDS, MOST_REPEATS = 5, 1.0, 5
PROBLEM = Problem(n_qubits=8, n_layers=4, batch=32)


class Run(Contender):
    """A training run; its unit of work is an epoch.

    Args:
        n_samples: Samples of an epoch, as often as needed.
        files: Whether the run writes checkpoints and embeddings.
    """

    def __init__(self, n_samples, *, files):
        self._repeats = -(-n_samples // len(PROBLEM.inputs))
        self._files = files
        self.name = "with checkpoints and a store" if files else "without files"
        self.setting, self.kind = "QuantumTrainer.train", "ours"

    def numbers(self):
        return {"loss": self._train(1)[1]}

    def seconds(self, n):
        return sum(self._train(EPOCHS)[0] for _ in range(n)) / n

    def _train(self, epochs):
        model = QuantumModel(PROBLEM.n_qubits, N_OUTPUTS, PROBLEM.n_layers, seed=0)
        data = (
            PROBLEM.inputs.repeat(self._repeats, axis=0),
            PROBLEM.targets.repeat(self._repeats, axis=0),
        )
        with tempfile.TemporaryDirectory() as directory:
            names = ("checkpoint_directory", "store_directory") if self._files else ()
            config = TrainingConfig(
                batch_size=PROBLEM.batch,
                seed=0,
                **{name: f"{directory}/{name}" for name in names},
            )
            start = time.perf_counter()
            history = QuantumTrainer(config).train(model, data, epochs=epochs)
            return (time.perf_counter() - start) / epochs, history["losses"][0]


def measured(name, peers, repeats):
    """Time epochs of about a second with and without files."""
    once = Run(len(PROBLEM.inputs), files=False)
    once.seconds(1)
    n_samples = round(len(PROBLEM.inputs) * EPOCH_SECONDS / once.seconds(1))
    plain, with_files = (Run(n_samples, files=files) for files in (False, True))
    row = f"{name}, epochs without files"
    targets = {with_files.name: MOST}
    repeats = min(repeats, MOST_REPEATS)
    return race(row, plain, [[with_files]], repeats, targets, at_most=True)
