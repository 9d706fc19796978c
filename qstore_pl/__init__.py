"""Practical training of quantum models in PennyLane.

The public names, loaded on first use: importing this package imports no numba, no
scikit-learn and no PennyLane.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "BackendManager": "backends",
    "Callback": "callbacks",
    "CheckpointError": "errors",
    "FiniteDifferenceGradient": "gradients",
    "GradientResult": "gradients",
    "History": "history",
    "Loss": "losses",
    "NaturalGradient": "optimizers",
    "NaturalGradientComputer": "gradients",
    "NoiseSpec": "devices",
    "QStoreError": "errors",
    "QuantumCircuitError": "errors",
    "QuantumDataEncoder": "encoding",
    "QuantumGradientComputer": "gradients",
    "QuantumLayer": "layers",
    "QuantumModel": "model",
    "QuantumNaturalGradientOptimizer": "gradients",
    "QuantumTrainer": "trainer",
    "RMSprop": "optimizers",
    "SGD": "optimizers",
    "SPSAGradient": "gradients",
    "TrainingConfig": "config",
    "audit_gradients": "gradients",
}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name == "templates":
        return importlib.import_module("qstore_pl.templates")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "templates"]
