"""Training: the loop, checkpoints, resuming, early stopping and validation."""

from __future__ import annotations

from qstore_pl.trainer.trainable import Trainable
from qstore_pl.trainer.trainer import QuantumTrainer

__all__ = ["QuantumTrainer", "Trainable"]
