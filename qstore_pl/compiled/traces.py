"""What is kept of a QNode for arguments of some shapes: its circuit, ready to run."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.compiled import in_autograd
from qstore_pl.compiled.arguments import BOX, TORCH, framework_of
from qstore_pl.compiled.results import builder

Rebuild: TypeAlias = Callable[[Iterator[Any]], tuple[Any, Any]]


class Trace(ABC):
    """What is kept of a QNode for arguments of some shapes."""

    program: devices.Program | None = None

    @abstractmethod
    def __call__(self, leaves: list[Any], road: str) -> Any:
        """The results of the QNode.

        Args:
            leaves: The arrays and numbers among its arguments.
            road: The framework that they belong to.
        """


@final
class SymbolicTrace(Trace):
    """A QNode traced with symbols.

    Args:
        executable: The circuit as a function of arrays.
        build: Function from the measurements to the results of the QNode.
    """

    def __init__(
        self,
        executable: devices.Executable,
        build: Callable[[Any], Any],
    ) -> None:
        self.executable, self._build = executable, build
        self.program = executable.program

    def __call__(self, leaves: list[Any], road: str) -> Any:
        """The results of the QNode."""
        executable = self.executable
        if executable.differentiable:
            if road == BOX:
                return self._build(in_autograd.differentiated(executable, leaves))
            if road == TORCH:
                return self._build(_torch().differentiated(executable, leaves))
        elif road == BOX or (road == TORCH and _torch().wants_gradient(leaves)):
            raise DeviceError(
                "A compiled circuit has gradients of expectation values, variances and "
                "probabilities only. Return nothing else from the circuit."
            )
        return self._build(_converted(executable.values(_arrays(leaves, road)), road))


def traced_by_symbols(
    qnode: qml.QNode, leaves: Sequence[Any], rebuild: Rebuild
) -> SymbolicTrace:
    """A QNode traced with symbols in the place of its arrays.

    Args:
        qnode: The QNode.
        leaves: The arrays and numbers among its arguments.
        rebuild: Function from what stands in their place to its arguments.

    Raises:
        DeviceError: If it cannot be compiled.
    """
    shapes = [tuple(np.shape(leaf)) for leaf in leaves]
    kinds = [_symbols_of(leaf) for leaf in leaves]
    found = devices.traced(
        qnode.func, lambda symbols: rebuild(iter(symbols)), shapes, kinds
    )
    executable = devices.executable(found.tape, qnode.device, shapes, qnode.shots)
    build = builder(found.output, partitioned=qnode.shots.has_partitioned_shots)
    return SymbolicTrace(executable, build)


def _symbols_of(leaf: Any) -> type[devices.Symbols]:
    """The class of the symbols that stand for an argument."""
    is_torch = framework_of(type(leaf)) == TORCH
    return devices.TorchSymbols if is_torch else devices.Symbols


def _torch() -> Any:
    return importlib.import_module("qstore_pl.compiled.in_torch")


def _arrays(leaves: Sequence[Any], road: str) -> list[NDArray[np.float64]]:
    if road == TORCH:
        leaves = [qml.math.toarray(leaf) for leaf in leaves]
    return [np.asarray(leaf, dtype=np.float64) for leaf in leaves]


def _converted(values: Any, road: str) -> Any:
    """Results as arrays of a framework, nested as they are."""
    if road != TORCH:
        return values
    if isinstance(values, list | tuple):
        return [_converted(value, road) for value in values]
    if isinstance(values, dict):
        return values
    return _torch().tensor(values)


@final
class JaxTrace(Trace):
    """A QNode that JAX compiled.

    Args:
        function: Function of the arrays and numbers among its arguments.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, leaves: list[Any], road: str) -> Any:
        """The results of the QNode."""
        return self._function(*leaves)


def traced_by_jax(
    qnode: qml.QNode, leaves: Sequence[Any], rebuild: Rebuild
) -> JaxTrace:
    """A QNode compiled by JAX.

    Args: as :func:`traced_by_symbols`.

    Raises:
        DeviceError: If it cannot be compiled.
    """
    interface = importlib.import_module("qstore_pl.compiled.in_jax")
    return JaxTrace(interface.traced(qnode, leaves, rebuild))
