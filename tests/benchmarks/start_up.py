"""Rows `import` and `first-epoch`: what a fresh Python process waits for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from tests.benchmarks.race import Row, in_turn, medians

IMPORT = """
import time, pennylane
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""
STATEMENTS = {
    "import qstore_pl": "import qstore_pl",
    "import of the trainer and the model": (
        "from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig"
    ),
}
FIRST_EPOCH = """
import numpy as np, pennylane
from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
rng = np.random.default_rng(0)
data = rng.uniform(-1, 1, (50, 4)), rng.uniform(-1, 1, (50, 2))
trainer = QuantumTrainer(TrainingConfig(batch_size=10, progress=False))
trainer.train(QuantumModel(4, 2, n_layers=2, seed=0), data, epochs=1)
print("end of the first epoch", flush=True)
"""


def measured(name, peers, repeats):
    """The rows of a case."""
    return import_time(repeats) if name == "import" else first_epoch(repeats)


def import_time(repeats):
    """Seconds of our imports in processes that have imported PennyLane already."""

    def measurement(statement):
        code = IMPORT.format(statement=statement)
        return lambda: float(subprocess.check_output([sys.executable, "-c", code]))

    measures = {name: measurement(code) for name, code in STATEMENTS.items()}
    print("import: timing in fresh processes", flush=True)
    in_turn(measures, 1)  # writes the bytecode, fills the file cache
    raw = in_turn(measures, repeats)
    times = medians(raw)
    targets = {"import qstore_pl": 0.15}
    return [
        Row(
            row=f"{name}, after pennylane",
            ours=times[name],
            target=targets.get(name),
            raw={"ours": raw[name]},
        )
        for name in STATEMENTS
    ]


def seconds_to_first_epoch(cache):
    """Seconds from starting Python to the end of its first epoch of training."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", FIRST_EPOCH],
        env=os.environ | {"QSTORE_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    if process.returncode or line != "end of the first epoch\n":
        raise RuntimeError("the first training run failed: see the traceback above")
    return seconds


def first_epoch(repeats):
    """A process's first training, with an empty and with a filled kernel cache."""

    def cold():
        with tempfile.TemporaryDirectory() as empty:
            return seconds_to_first_epoch(empty)

    print("first-epoch: timing in fresh processes", flush=True)
    with tempfile.TemporaryDirectory() as filled:
        seconds_to_first_epoch(filled)
        raw = in_turn(
            {"empty cache": cold, "warm cache": lambda: seconds_to_first_epoch(filled)},
            repeats,
        )
    times = medians(raw)
    targets = {"empty cache": 15.0}
    return [
        Row(
            row=f"start to first epoch, {name}",
            ours=times[name],
            target=targets.get(name),
            raw={"ours": raw[name]},
        )
        for name in raw
    ]
