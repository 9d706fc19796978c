"""What checkpoints cost: time per epoch along a long run, with and without a directory.

``python -m tests.benchmarks.checkpoints`` trains 10,000 epochs three times: without
files, with the default (checkpoints as often as takes at most 5 % of the time) and with
one after every epoch. It prints the mean time of an epoch in every tenth of the run,
the whole as a multiple of the run without files, and what is in the directory.

The times are those of the clock, between the ends of epochs, so that files are in them.
On an idle machine; the numbers with an interval are those of the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from qstore_pl import Callback, QuantumModel, QuantumTrainer, TrainingConfig


class Clock(Callback):
    """Notes when each epoch ended, after its checkpoint."""

    def __init__(self):
        self.ends = []

    def on_step_end(self, epoch, step, loss):
        if step == 0:
            self.ends.append(time.perf_counter())


def run(epochs, **files):
    """Milliseconds per epoch in each tenth of a run."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.5, 1.5, (100, 4))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    model = QuantumModel(4, 2, readout="affine", seed=0)
    config = TrainingConfig(
        epochs=epochs, batch_size=10, loss="cross_entropy", seed=0, **files
    )
    clock = Clock()
    QuantumTrainer(config).train(model, (X, y), callbacks=clock)
    ends = np.append(clock.ends, time.perf_counter())
    return np.array([part.mean() for part in np.array_split(np.diff(ends), 10)]) * 1e3


def main():
    """Run the three, print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.checkpoints")
    parser.add_argument("--epochs", type=int, default=10_000)
    options = parser.parse_args()
    run(20)  # kernels are loaded
    plain = run(options.epochs)
    print("ms per epoch in each tenth of the run")
    print("no files      ", *(f"{t:7.3f}" for t in plain))
    for name, interval in (("by time", None), ("every epoch", 1)):
        with tempfile.TemporaryDirectory() as directory:
            found = run(
                options.epochs,
                checkpoint_directory=directory,
                checkpoint_interval=interval,
            )
            files = [path.stat().st_size for path in Path(directory).iterdir()]
        print(
            f"{name:14}",
            *(f"{t:7.3f}" for t in found),
            f" {found.mean() / plain.mean():.2f} x, last/first tenth "
            f"{found[-1] / found[0]:.2f}, {len(files)} files, the largest of "
            f"{max(files) / 1e3:.0f} kB",
        )


if __name__ == "__main__":
    main()
