"""The same names as ``qstore_pl``, with slow methods as coroutines to be awaited.

Write ``from qstore_pl.aio import ...`` instead of ``from qstore_pl import ...``. A
coroutine runs the method in a thread, and the event loop goes on meanwhile. Classes
without slow methods are the same objects as in ``qstore_pl``. ``open_store`` and
``sweep`` are coroutines, too; the former gives a store whose methods are awaited.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import qstore_pl as plain
from qstore_pl import SGD as SGD
from qstore_pl import Adam as Adam
from qstore_pl import AdamW as AdamW
from qstore_pl import AmplitudeEncoding as AmplitudeEncoding
from qstore_pl import AngleEncoding as AngleEncoding
from qstore_pl import BackendManager as BackendManager
from qstore_pl import BasisEncoding as BasisEncoding
from qstore_pl import BudgetError as BudgetError
from qstore_pl import Callback as Callback
from qstore_pl import CheckpointError as CheckpointError
from qstore_pl import DaskExecutor as DaskExecutor
from qstore_pl import ExecutorError as ExecutorError
from qstore_pl import FidelityKernel as FidelityKernel
from qstore_pl import GradientResult as GradientResult
from qstore_pl import HammingKernel as HammingKernel
from qstore_pl import History as History
from qstore_pl import Loss as Loss
from qstore_pl import NaturalGradient as NaturalGradient
from qstore_pl import NoiseSpec as NoiseSpec
from qstore_pl import ProjectedKernel as ProjectedKernel
from qstore_pl import QStoreError as QStoreError
from qstore_pl import QuantumCircuitError as QuantumCircuitError
from qstore_pl import QuantumClassifier as QuantumClassifier
from qstore_pl import QuantumConvolutionalLayer as QuantumConvolutionalLayer
from qstore_pl import QuantumLayer as QuantumLayer
from qstore_pl import (
    QuantumNaturalGradientOptimizer as QuantumNaturalGradientOptimizer,
)
from qstore_pl import QuantumPoolingLayer as QuantumPoolingLayer
from qstore_pl import QuantumRegressor as QuantumRegressor
from qstore_pl import RMSprop as RMSprop
from qstore_pl import StoreError as StoreError
from qstore_pl import ThreadExecutor as ThreadExecutor
from qstore_pl import TrainingConfig as TrainingConfig
from qstore_pl import UnseenWarning as UnseenWarning
from qstore_pl import VectorStore as VectorStore
from qstore_pl import ZZEncoding as ZZEncoding
from qstore_pl import __version__ as __version__
from qstore_pl import audit_gradients as audit_gradients
from qstore_pl import compile as compile
from qstore_pl import report as report
from qstore_pl import templates as templates
from qstore_pl.store import PineconeStore
from qstore_pl.store.awaitable import AsyncStore
from qstore_pl.store.pinecone_async import AsyncPineconeStore
from qstore_pl.trainer import SweepRow

P = ParamSpec("P")
R = TypeVar("R")

AWAITABLE = {
    "QuantumModel": ("forward", "predict"),
    "QuantumAutoencoder": ("fit",),
    "QuantumDataEncoder": ("encode", "encode_batch"),
    "QuantumGradientComputer": ("compute_gradients",),
    "FiniteDifferenceGradient": ("compute_gradients",),
    "SPSAGradient": ("compute_gradients",),
    "NaturalGradientComputer": ("compute_gradients", "compute_natural_gradient"),
    "QuantumTrainer": ("train", "estimate_cost"),
    "CheckpointIndex": (
        *("open", "beside", "save", "load", "model", "export", "names", "ls"),
        *("delete", "gc", "verify", "search"),
    ),
    "EmbeddingIndex": (
        *("open", "from_store", "add", "reindex"),
        *("search", "classify", "state", "models"),
    ),
}
"""The classes that differ from those of ``qstore_pl``, and their coroutines."""

__all__ = ["AWAITABLE"]
__all__ += plain.__all__


def __dir__() -> list[str]:
    return __all__


def _awaitable(method: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(method)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        call = functools.partial(method, *args, **kwargs)
        task = asyncio.ensure_future(asyncio.to_thread(call))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            trainer = args[0]
            while isinstance(trainer, plain.QuantumTrainer) and not task.done():
                trainer.stop()  # repeated, as train() forgets one from before it began
                await asyncio.wait([task], timeout=0.05)
            raise

    return run


def _on_plain(kind: type[Any], name: str) -> Any:
    """A coroutine that runs a method on a plain object with the same attributes.

    Methods of plain classes call each other, and those calls must not be coroutines.
    """
    method = getattr(kind, name)
    if inspect.ismethod(method):  # a class method
        return classmethod(_awaitable(method.__func__))

    @functools.wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        same = object.__new__(kind)
        same.__dict__ = self.__dict__
        return method(same, *args, **kwargs)

    return _awaitable(run)


# Type checkers rightly object to these classes: their methods return coroutines where
# those of the base class return results, and some base classes are marked as final.


class QuantumModel(plain.QuantumModel):
    """As :class:`qstore_pl.QuantumModel`, but ``forward`` and ``predict`` are coroutines."""

    forward = _awaitable(plain.QuantumModel.forward)  # type: ignore[assignment]
    predict = _awaitable(plain.QuantumModel.predict)  # type: ignore[assignment]


class QuantumDataEncoder(plain.QuantumDataEncoder):
    """As :class:`qstore_pl.QuantumDataEncoder`, but ``encode`` and ``encode_batch`` are coroutines."""

    encode = _awaitable(plain.QuantumDataEncoder.encode)  # type: ignore[assignment]
    encode_batch = _awaitable(plain.QuantumDataEncoder.encode_batch)  # type: ignore[assignment]


class QuantumGradientComputer(plain.QuantumGradientComputer):  # type: ignore[misc]
    """As :class:`qstore_pl.QuantumGradientComputer`, but ``compute_gradients`` is a coroutine."""

    compute_gradients = _awaitable(plain.QuantumGradientComputer.compute_gradients)  # type: ignore[assignment]


class FiniteDifferenceGradient(plain.FiniteDifferenceGradient):  # type: ignore[misc]
    """As :class:`qstore_pl.FiniteDifferenceGradient`, but ``compute_gradients`` is a coroutine."""

    compute_gradients = _awaitable(plain.FiniteDifferenceGradient.compute_gradients)  # type: ignore[assignment]


class SPSAGradient(plain.SPSAGradient):  # type: ignore[misc]
    """As :class:`qstore_pl.SPSAGradient`, but ``compute_gradients`` is a coroutine."""

    compute_gradients = _awaitable(plain.SPSAGradient.compute_gradients)  # type: ignore[assignment]


class NaturalGradientComputer(plain.NaturalGradientComputer):  # type: ignore[misc]
    """As :class:`qstore_pl.NaturalGradientComputer`, but ``compute_gradients`` and ``compute_natural_gradient`` are coroutines."""

    compute_gradients = _awaitable(plain.NaturalGradientComputer.compute_gradients)  # type: ignore[assignment]
    compute_natural_gradient = _awaitable(
        plain.NaturalGradientComputer.compute_natural_gradient
    )  # type: ignore[assignment]


class QuantumTrainer(plain.QuantumTrainer):
    """As :class:`qstore_pl.QuantumTrainer`, but ``train`` and ``estimate_cost`` are coroutines."""

    train = _awaitable(plain.QuantumTrainer.train)  # type: ignore[assignment]
    estimate_cost = _awaitable(plain.QuantumTrainer.estimate_cost)  # type: ignore[assignment]


class QuantumAutoencoder(plain.QuantumAutoencoder):
    """As :class:`qstore_pl.QuantumAutoencoder`, but ``fit`` is a coroutine.

    If it is cancelled, the training goes on in its thread. A training run that can be
    stopped is :meth:`QuantumTrainer.train` of its model.
    """

    fit = _awaitable(plain.QuantumAutoencoder.fit)  # type: ignore[assignment]


class CheckpointIndex(plain.CheckpointIndex):  # type: ignore[misc]
    """As :class:`qstore_pl.CheckpointIndex`, but all its methods are coroutines.

    They are ``open``, ``beside``, ``save``, ``load``, ``model``, ``export``, ``names``,
    ``ls``, ``delete``, ``gc``, ``verify`` and ``search``.
    """

    open = _on_plain(plain.CheckpointIndex, "open")
    beside = _on_plain(plain.CheckpointIndex, "beside")
    save = _on_plain(plain.CheckpointIndex, "save")
    load = _on_plain(plain.CheckpointIndex, "load")
    model = _on_plain(plain.CheckpointIndex, "model")
    export = _on_plain(plain.CheckpointIndex, "export")
    names = _on_plain(plain.CheckpointIndex, "names")
    ls = _on_plain(plain.CheckpointIndex, "ls")
    delete = _on_plain(plain.CheckpointIndex, "delete")
    gc = _on_plain(plain.CheckpointIndex, "gc")
    verify = _on_plain(plain.CheckpointIndex, "verify")
    search = _on_plain(plain.CheckpointIndex, "search")


class EmbeddingIndex(plain.EmbeddingIndex):  # type: ignore[misc]
    """As :class:`qstore_pl.EmbeddingIndex`, but all its methods are coroutines.

    They are ``open``, ``from_store``, ``add``, ``reindex``, ``search``, ``classify``,
    ``state`` and ``models``. ``len(index)`` waits for the store.
    """

    open = _on_plain(plain.EmbeddingIndex, "open")
    from_store = _on_plain(plain.EmbeddingIndex, "from_store")
    add = _on_plain(plain.EmbeddingIndex, "add")
    reindex = _on_plain(plain.EmbeddingIndex, "reindex")
    search = _on_plain(plain.EmbeddingIndex, "search")
    classify = _on_plain(plain.EmbeddingIndex, "classify")
    state = _on_plain(plain.EmbeddingIndex, "state")
    models = _on_plain(plain.EmbeddingIndex, "models")


@functools.wraps(plain.open_store)
async def open_store(*args: Any, **kwargs: Any) -> VectorStore:
    store = await asyncio.to_thread(plain.open_store, *args, **kwargs)
    if isinstance(store, PineconeStore):
        return AsyncPineconeStore(store)
    return AsyncStore(store)


@functools.wraps(plain.sweep)
async def sweep(*args: Any, **kwargs: Any) -> list[SweepRow]:
    return await asyncio.to_thread(plain.sweep, *args, **kwargs)
