"""What an entry of the registry is: how one kind of operation becomes gates.

An entry belongs to the structure of a circuit: none of it depends on the values of
parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator

from qstore_pl.devices.symbols import Constant, SymbolError, Symbols
from qstore_pl.engine.derived import Derived
from qstore_pl.engine.gates import (
    DERIVED,
    ONE,
    Angle,
    MixedGate,
    Slot,
    slot_angles,
)

Wires: TypeAlias = tuple[int, ...]


class CannotCompileError(DeviceError):
    """An operation needs the values of parameters that are symbols."""


@dataclass(frozen=True)
class Parameter:
    """The slots that hold the numbers of one parameter of a tape.

    Args:
        kind: ``WEIGHT`` for numbers that all samples share, ``FEATURE`` for numbers of
            each sample.
        offset: Index of the first number among the weights or the features.
        shape: Shape of the parameter, without a batch axis.
        complex: Whether the numbers are complex. Their imaginary parts follow all the
            real parts.
        wanted: Whether the gradient with respect to the entries of a matrix is wanted.
    """

    kind: int
    offset: int
    shape: tuple[int, ...]
    complex: bool = False
    wanted: bool = False

    @property
    def angles(self) -> NDArray[np.object_]:
        """The numbers as angles, an array of shape ``shape``."""
        return slot_angles(self.kind, self.offset, self.shape)

    @property
    def angle(self) -> Angle:
        """The only number of a scalar parameter, as an angle."""
        return Angle(0.0, ((1.0, self.slot, ONE),))

    @property
    def slot(self) -> Slot:
        """The slot of the first number."""
        return self.kind, self.offset


Pull: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
Lower: TypeAlias = Callable[[Operator, Sequence[Any], Wires], Iterable[MixedGate]]
Parts: TypeAlias = Callable[
    [Operator, Sequence[Any], Sequence[Any]],
    Iterable[tuple[Operator, tuple[Any, ...]]],
]


@dataclass(frozen=True)
class Entry:
    """How one kind of operation becomes gates of the engine.

    Args:
        lower: Function from the operation, what its parameters are and the positions of
            its wires to its gates.
        key: Function from the operation to what its gates depend on besides its name,
            its wires and the shapes of its parameters.
        ndims: Number of axes of each parameter, without a batch axis; None takes
            ``ndim_params`` of the operation.
        values: Function from the operation to the numbers that its gates hold, where
            these are not the parameters themselves.
        complex: Whether the numbers are complex, even where all imaginary parts are 0.
        differentiable: Whether the device has the gradient with respect to the
            parameters.
        controllable: Whether the operation is unitary, so that it has an adjoint and a
            controlled form.
        initial: Whether the operation can only be the first of a circuit.
        channel: Whether the operation turns pure states into mixed ones.
        parts: Function that gives the gates of a template, each with what its
            parameters are. The numbers on these gates mean nothing.
        jacobian: Function from the operation to the derivative of ``values`` with
            respect to the parameters, shape ``(n_parameters, n_values)``, where
            ``values`` computes with them.
        pulls: Function from the operation to one map for each parameter, from the
            gradient with respect to the numbers to the gradient with respect to the
            parameter, where ``values`` only rearranges the parameters.
    """

    lower: Lower
    key: Callable[[Operator], Hashable] = lambda op: None
    ndims: tuple[int, ...] | None = None
    values: Callable[[Operator], tuple[Any, ...]] | None = None
    complex: bool = False
    differentiable: bool = True
    controllable: bool = True
    initial: bool = False
    channel: bool = False
    parts: Parts | None = None
    jacobian: Callable[[Operator], NDArray[np.float64]] | None = None
    pulls: Callable[[Operator], Sequence[Pull]] | None = None


def register(
    entries: dict[str, Entry], *names: str, **options: Any
) -> Callable[[Lower], Lower]:
    """Decorate the function that lowers some operations, and enter it into a table.

    Args:
        entries: The table, which is changed.
        names: Names of the operations.
        options: The other arguments of their :class:`Entry`.
    """

    def decorate(lower: Lower) -> Lower:
        for name in names:
            entries[name] = Entry(lower, **options)
        return lower

    return decorate


NOT_COMPLEX = (
    "{} cannot be compiled: its numbers are complex, which weights and features are "
    "not. Run the circuit through its QNode, or leave it constant."
)


def first_slot(op: Operator, param: Any, *, complex: bool = False) -> Slot:
    """The slot where the numbers of a parameter begin, which are no angles.

    Args:
        op: The operation.
        param: What its parameter is.
        complex: Whether the gate needs complex numbers.

    Raises:
        DeviceError: If the numbers are symbols and the gate needs complex numbers, or
            they are not consecutive weights or features and it prepares no state.
    """
    if complex and isinstance(param, Symbols):
        raise DeviceError(NOT_COMPLEX.format(op.name))
    if complex and isinstance(param, Constant):
        return Constant(param.numbers.astype(np.complex128)).slot
    try:
        return param.slot
    except SymbolError as error:
        if isinstance(op, qml.operation.StatePrepBase):  # computed, then consecutive
            entries = tuple(Derived("value", (angle,)) for angle in param.entries)
            return DERIVED, entries
        raise DeviceError(
            f"{op.name} cannot be compiled: its numbers must be consecutive weights or "
            f"features, as they are, but are {error}. Run the circuit through its "
            "QNode."
        ) from error
