"""Iris with adaptive shots beside fixed ones: shots to the same loss.

``python -m tests.benchmarks.iris_shots`` prints the table. Model and data are those of
``qstore quickstart`` with two layers: 120 flowers, batches of 32, cross entropy, Adam,
parameter shift.

The loss to reach is, for each seed, that of the run with 1,000 shots for each circuit
after ``EPOCHS`` epochs; counted are the shots of the epochs until the exact loss of all
training data is first as low. The other runs may take three times as many epochs. The
fixed number that suits the problem best takes fewer shots than adaptive ones, but which
number that is, is known only after several were tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qstore_pl import Callback, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.losses import get_loss
from tests.benchmarks.iris_natural import flowers

EPOCHS, LONGEST = 20, 60
SEEDS = range(10)
REFERENCE = 1000
FIXED = (10, 30, 100, 300, REFERENCE)
BUDGET = 32 * 49 * REFERENCE  # shots of a gradient of the reference


@dataclass(frozen=True)
class Run:
    """Exact losses after each epoch, and the shots until then."""

    losses: np.ndarray
    shots: np.ndarray

    def shots_to(self, loss):
        """Shots until the loss is first as low, infinity if it never is."""
        (low,) = np.nonzero(self.losses <= loss)
        return self.shots[low[0]] if low.size else np.inf


class ExactLoss(Callback):
    """Notes the loss of all training data without shots, after each epoch."""

    def __init__(self, model, X, y):
        self._model, self._X = model, X
        self._loss = get_loss("cross_entropy")
        self._targets = self._loss.prepare_targets(y, 3, len(y))
        self.losses = []

    def on_epoch_end(self, row):
        """Note it."""
        outputs = self._model.forward(self._X)
        self.losses.append(self._loss.value(outputs, self._targets))


def train(seed, shots, epochs):
    """One run from a seed's data, weights and batches."""
    X, y = flowers(seed)
    model = QuantumModel(4, 3, n_layers=2, readout="affine", seed=seed)
    config = TrainingConfig(
        epochs=epochs,
        batch_size=32,
        loss="cross_entropy",
        learning_rate=0.05,
        gradient_method="parameter_shift",
        shots=shots,
        shots_budget=BUDGET if shots == "adaptive" else None,
        seed=seed,
    )
    exact = ExactLoss(model, X, y)
    history = QuantumTrainer(config).train(model, (X, y), callbacks=[exact])
    spent = np.cumsum([row["shots"] for row in history])
    return Run(np.array(exact.losses), spent)


def main():
    """Train all, print the table."""
    reference = [train(seed, REFERENCE, EPOCHS) for seed in SEEDS]
    losses = [run.losses[-1] for run in reference]
    whole = np.array([run.shots[-1] for run in reference])
    print(
        f"{len(SEEDS)} seeds; loss of {REFERENCE:,} shots after {EPOCHS} epochs: "
        f"median {np.median(losses):.4f}, {np.median(whole):,.0f} shots"
    )
    head = ("shots to it", "of the reference", "most of a seed", "reached")
    print(f"{'shots of a circuit':20}" + "".join(f"{name:>18}" for name in head))
    for shots in (*FIXED, "adaptive"):
        epochs = EPOCHS if shots == REFERENCE else LONGEST
        runs = [train(seed, shots, epochs) for seed in SEEDS]
        spent = np.array(
            [run.shots_to(loss) for run, loss in zip(runs, losses, strict=True)]
        )
        cells = (
            f"{np.median(spent):,.0f}",
            f"{np.median(spent / whole):.1%}",
            f"{np.max(spent / whole):.1%}",
            f"{np.isfinite(spent).sum()} of {len(SEEDS)}",
        )
        print(f"{shots!s:20}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
