"""Training: the loop, checkpoints, resuming, early stopping and validation."""

from __future__ import annotations

from qstore_pl.trainer.dask_executor import DaskExecutor
from qstore_pl.trainer.executor import Executor, ThreadExecutor
from qstore_pl.trainer.sweeps import SweepRow, sweep
from qstore_pl.trainer.trainable import Trainable
from qstore_pl.trainer.trainer import QuantumTrainer

__all__ = [
    "DaskExecutor",
    "Executor",
    "QuantumTrainer",
    "SweepRow",
    "ThreadExecutor",
    "Trainable",
    "sweep",
]
