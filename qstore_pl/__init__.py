"""Practical training of quantum models in PennyLane.

The public names and modules are loaded on first use: importing this package imports
neither PennyLane nor numba nor scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "AmplitudeEncoding": "layers",
    "AngleEncoding": "layers",
    "BackendManager": "backends",
    "BasisEncoding": "layers",
    "Callback": "callbacks",
    "BudgetError": "errors",
    "CheckpointError": "errors",
    "CheckpointIndex": "index",
    "DaskExecutor": "trainer",
    "EmbeddingIndex": "index",
    "ExecutorError": "errors",
    "FidelityKernel": "kernels",
    "FiniteDifferenceGradient": "gradients",
    "GradientResult": "gradients",
    "HammingKernel": "kernels",
    "History": "history",
    "Loss": "losses",
    "NaturalGradient": "optimizers",
    "NaturalGradientComputer": "gradients",
    "NoiseSpec": "devices",
    "ProjectedKernel": "kernels",
    "QStoreError": "errors",
    "QuantumAutoencoder": "autoencoder",
    "QuantumCircuitError": "errors",
    "QuantumClassifier": "sklearn",
    "QuantumConvolutionalLayer": "layers",
    "QuantumDataEncoder": "encoding",
    "QuantumGradientComputer": "gradients",
    "QuantumLayer": "layers",
    "QuantumModel": "model",
    "QuantumNaturalGradientOptimizer": "gradients",
    "QuantumPoolingLayer": "layers",
    "QuantumRegressor": "sklearn",
    "QuantumTrainer": "trainer",
    "RMSprop": "optimizers",
    "SGD": "optimizers",
    "SPSAGradient": "gradients",
    "StoreError": "errors",
    "ThreadExecutor": "trainer",
    "TrainingConfig": "config",
    "UnseenWarning": "errors",
    "VectorStore": "store",
    "ZZEncoding": "layers",
    "audit_gradients": "gradients",
    "compile": "compiled",
    "open_store": "store",
    "report": "baselines",
    "sweep": "trainer",
}

_MODULES = (
    *("aio", "autoencoder", "backends", "baselines", "callbacks", "checkpoint"),
    *("circuit", "compiled", "config", "cost", "devices", "diagnostics", "embedding"),
    *("encoding", "errors"),
    *(
        "gradients",
        "history",
        "index",
        "interfaces",
        "kernels",
        "layers",
        "losses",
        "model",
        "optimizers",
        "placed",
        "readout",
        "sklearn",
        "store",
        "summary",
        "templates",
        "trainer",
    ),
)

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "AmplitudeEncoding",
    "AngleEncoding",
    "BackendManager",
    "BasisEncoding",
    "BudgetError",
    "Callback",
    "CheckpointError",
    "CheckpointIndex",
    "DaskExecutor",
    "EmbeddingIndex",
    "ExecutorError",
    "FidelityKernel",
    "FiniteDifferenceGradient",
    "GradientResult",
    "HammingKernel",
    "History",
    "Loss",
    "NaturalGradient",
    "NaturalGradientComputer",
    "NoiseSpec",
    "ProjectedKernel",
    "QStoreError",
    "QuantumAutoencoder",
    "QuantumCircuitError",
    "QuantumClassifier",
    "QuantumConvolutionalLayer",
    "QuantumDataEncoder",
    "QuantumGradientComputer",
    "QuantumLayer",
    "QuantumModel",
    "QuantumNaturalGradientOptimizer",
    "QuantumPoolingLayer",
    "QuantumRegressor",
    "QuantumTrainer",
    "RMSprop",
    "SPSAGradient",
    "StoreError",
    "ThreadExecutor",
    "TrainingConfig",
    "UnseenWarning",
    "VectorStore",
    "ZZEncoding",
    "__version__",
    "audit_gradients",
    "compile",
    "open_store",
    "report",
    "sweep",
]

if TYPE_CHECKING:  # the public names, for type checkers and editors
    from qstore_pl import aio as aio
    from qstore_pl import autoencoder as autoencoder
    from qstore_pl import backends as backends
    from qstore_pl import baselines as baselines
    from qstore_pl import callbacks as callbacks
    from qstore_pl import checkpoint as checkpoint
    from qstore_pl import circuit as circuit
    from qstore_pl import compiled as compiled
    from qstore_pl import config as config
    from qstore_pl import cost as cost
    from qstore_pl import devices as devices
    from qstore_pl import diagnostics as diagnostics
    from qstore_pl import embedding as embedding
    from qstore_pl import encoding as encoding
    from qstore_pl import errors as errors
    from qstore_pl import gradients as gradients
    from qstore_pl import history as history
    from qstore_pl import index as index
    from qstore_pl import interfaces as interfaces
    from qstore_pl import kernels as kernels
    from qstore_pl import layers as layers
    from qstore_pl import losses as losses
    from qstore_pl import model as model
    from qstore_pl import optimizers as optimizers
    from qstore_pl import placed as placed
    from qstore_pl import readout as readout
    from qstore_pl import sklearn as sklearn
    from qstore_pl import store as store
    from qstore_pl import summary as summary
    from qstore_pl import templates as templates
    from qstore_pl import trainer as trainer
    from qstore_pl.autoencoder import QuantumAutoencoder as QuantumAutoencoder
    from qstore_pl.backends import BackendManager as BackendManager
    from qstore_pl.baselines import report as report
    from qstore_pl.callbacks import Callback as Callback
    from qstore_pl.compiled import compile as compile
    from qstore_pl.config import TrainingConfig as TrainingConfig
    from qstore_pl.devices import NoiseSpec as NoiseSpec
    from qstore_pl.encoding import QuantumDataEncoder as QuantumDataEncoder
    from qstore_pl.errors import BudgetError as BudgetError
    from qstore_pl.errors import CheckpointError as CheckpointError
    from qstore_pl.errors import ExecutorError as ExecutorError
    from qstore_pl.errors import QStoreError as QStoreError
    from qstore_pl.errors import QuantumCircuitError as QuantumCircuitError
    from qstore_pl.errors import StoreError as StoreError
    from qstore_pl.errors import UnseenWarning as UnseenWarning
    from qstore_pl.gradients import FiniteDifferenceGradient as FiniteDifferenceGradient
    from qstore_pl.gradients import GradientResult as GradientResult
    from qstore_pl.gradients import NaturalGradientComputer as NaturalGradientComputer
    from qstore_pl.gradients import QuantumGradientComputer as QuantumGradientComputer
    from qstore_pl.gradients import (
        QuantumNaturalGradientOptimizer as QuantumNaturalGradientOptimizer,
    )
    from qstore_pl.gradients import SPSAGradient as SPSAGradient
    from qstore_pl.gradients import audit_gradients as audit_gradients
    from qstore_pl.history import History as History
    from qstore_pl.index import CheckpointIndex as CheckpointIndex
    from qstore_pl.index import EmbeddingIndex as EmbeddingIndex
    from qstore_pl.kernels import FidelityKernel as FidelityKernel
    from qstore_pl.kernels import HammingKernel as HammingKernel
    from qstore_pl.kernels import ProjectedKernel as ProjectedKernel
    from qstore_pl.layers import AmplitudeEncoding as AmplitudeEncoding
    from qstore_pl.layers import AngleEncoding as AngleEncoding
    from qstore_pl.layers import BasisEncoding as BasisEncoding
    from qstore_pl.layers import QuantumConvolutionalLayer as QuantumConvolutionalLayer
    from qstore_pl.layers import QuantumLayer as QuantumLayer
    from qstore_pl.layers import QuantumPoolingLayer as QuantumPoolingLayer
    from qstore_pl.layers import ZZEncoding as ZZEncoding
    from qstore_pl.losses import Loss as Loss
    from qstore_pl.model import QuantumModel as QuantumModel
    from qstore_pl.optimizers import SGD as SGD
    from qstore_pl.optimizers import Adam as Adam
    from qstore_pl.optimizers import AdamW as AdamW
    from qstore_pl.optimizers import NaturalGradient as NaturalGradient
    from qstore_pl.optimizers import RMSprop as RMSprop
    from qstore_pl.sklearn import QuantumClassifier as QuantumClassifier
    from qstore_pl.sklearn import QuantumRegressor as QuantumRegressor
    from qstore_pl.store import VectorStore as VectorStore
    from qstore_pl.store import open_store as open_store
    from qstore_pl.trainer import DaskExecutor as DaskExecutor
    from qstore_pl.trainer import QuantumTrainer as QuantumTrainer
    from qstore_pl.trainer import ThreadExecutor as ThreadExecutor
    from qstore_pl.trainer import sweep as sweep
else:  # type checkers must not see this: any misspelt name would be Any to them

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, *_MODULES]
