"""Iris with a natural gradient beside Adam: epochs and wall time to the same loss.

``python -m tests.benchmarks.iris_natural`` prints the table. Model, data and batches
are those of ``qstore quickstart``: 120 flowers, batches of 32, cross entropy.

The loss is that of all training data after each epoch. The loss to reach is, for each
seed, the least one that any of the four Adams has after ``EPOCHS`` epochs; counted is
the first epoch after which a run is as low. "Adam, its best" is the first of the four
to get there. Time is that of the epochs, with the loss after each.

Natural gradients are by the Gauss-Newton matrix, which for cross entropy is the Fisher
information of the class probabilities by all parameters, and by the Fubini-Study metric
of the circuit, where the read-out steps along its gradient. Tried were learning rates
.03 to 1 with damping .001 to 3, momentum 0, .9 and .95, adapted damping and trust
radii of .1 and .3; printed are the four rates at a damping among the best.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig

EPOCHS = 30
SEEDS = range(10)
ADAMS = tuple({"learning_rate": rate} for rate in (0.01, 0.03, 0.1, 0.3))
NATURAL = {
    "optimizer": "natural_gradient",
    "metric_tensor": "gauss-newton",
    "learning_rate": 0.5,
    "damping": 0.02,
}
NATURALS = tuple(NATURAL | {"learning_rate": rate} for rate in (0.1, 0.3, 0.5, 1.0))
FUBINI_STUDY = tuple(
    settings | {"metric_tensor": "fubini-study", "damping": 0.1}
    for settings in NATURALS
)


@dataclass(frozen=True)
class Run:
    """Training losses after each epoch, and the seconds until then."""

    losses: np.ndarray
    seconds: np.ndarray

    def epochs_to(self, loss):
        """Epochs until the loss is first as low, infinity if it never is."""
        (low,) = np.nonzero(self.losses <= loss)
        return low[0] + 1 if low.size else np.inf

    def seconds_to(self, loss):
        """The same in seconds."""
        epochs = self.epochs_to(loss)
        return self.seconds[epochs - 1] if epochs < np.inf else np.inf


@functools.cache
def flowers(seed):
    """The training part of a split, scaled, and its labels."""
    X, y = load_iris(return_X_y=True)
    X, _, y, _ = train_test_split(X, y, test_size=0.2, stratify=y, random_state=seed)
    return StandardScaler().fit_transform(X), y


def train(seed, settings, epochs=EPOCHS):
    """One run from a seed's data, weights and batches."""
    model = QuantumModel(4, 3, n_layers=3, readout="affine", seed=seed)
    config = TrainingConfig(
        epochs=epochs, batch_size=32, loss="cross_entropy", seed=seed, **settings
    )
    data = flowers(seed)
    history = QuantumTrainer(config).train(model, data, val_data=data)
    losses, seconds = ([row[key] for row in history] for key in ("val_loss", "time"))
    return Run(np.array(losses), np.cumsum(seconds))


def best(adams):
    """The loss to reach, and the first of a seed's Adams to reach it."""
    loss = min(run.losses[-1] for run in adams)
    return loss, min(adams, key=lambda run: run.epochs_to(loss))


def main():
    """Train all, print the table."""
    everybody = (*ADAMS, *NATURALS, *FUBINI_STUDY)
    for settings in everybody:
        train(0, settings, epochs=1)  # compiles
    runs = {i: [train(seed, s) for seed in SEEDS] for i, s in enumerate(everybody)}
    adams = zip(*(runs[i] for i in range(len(ADAMS))), strict=True)
    losses, winners = zip(*map(best, adams), strict=True)

    def line(name, runs):
        epochs = [run.epochs_to(loss) for run, loss in zip(runs, losses, strict=True)]
        times = [run.seconds_to(loss) for run, loss in zip(runs, losses, strict=True)]
        last = np.median([run.losses[-1] for run in runs])
        shown = [f"{last:.4f}", f"> {EPOCHS}", ""]
        if np.isfinite(np.median(epochs)):
            shown[1:] = f"{np.median(epochs):g}", f"{1e3 * np.median(times):.1f} ms"
        print(f"{name:48}" + "".join(f"{cell:>16}" for cell in shown))
        return np.median(times)

    head = (f"loss after {EPOCHS}", "epochs to best", "time to best")
    print(f"{f'medians of {len(SEEDS)} seeds':48}" + "".join(f"{h:>16}" for h in head))
    for i, settings in enumerate(everybody):
        optimizer = settings.get("metric_tensor", "Adam")
        damping = f", damping {settings['damping']}" if "damping" in settings else ""
        line(f"{optimizer}, rate {settings['learning_rate']}{damping}", runs[i])
    adam = line("Adam, its best on each seed", winners)
    natural = line("natural gradient as chosen", runs[everybody.index(NATURAL)])
    print(f"natural gradient took {natural / adam:.2f} times Adam's wall time")


if __name__ == "__main__":
    main()
