"""Lowering: PennyLane's tapes end here, and Programs of the engine begin.

A tape that is executed is taken apart into structure and values. The structure, which
holds no value, is the key of a cache of Programs. The values become one array of
weights, the numbers that all samples share, and one of features, with a row for each
sample. A tape that is compiled has no values; :mod:`bound` lowers it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator

from qstore_pl._lazy import cached_property
from qstore_pl.devices.entries import Parameter
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.memory import check_memory
from qstore_pl.devices.outputs import pauli_sum
from qstore_pl.devices.registry import entry_of, lower_operation
from qstore_pl.devices.symbols import Constant, Unplaced
from qstore_pl.devices.tensors import NUMPY, Arrays, to_numpy
from qstore_pl.engine.derived import Derived
from qstore_pl.engine.gates import (
    DERIVED,
    FEATURE,
    WEIGHT,
    Amplitudes,
    Kraus,
    Matrix,
    MixedGate,
    PauliSum,
    Slot,
    angles_of,
    renamed,
)
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.program import Program
from qstore_pl.engine.pure import PureProgram
from qstore_pl.engine.trajectories import TrajectoryProgram

Word = Any  # qml.pauli.PauliWord


@dataclass(frozen=True)
class Circuit:
    """A tape, taken apart into structure and values.

    Args:
        order: Wire labels in the order of the register.
        operations: The operations, of which the structure counts.
        wires: Labels of the wires of each operation.
        parameters: The slots of the numbers of each operation.
        words: The distinct Pauli words to measure.
        weights: Numbers that all samples share, shape ``(n_weights,)``, an array of
            numpy or of JAX.
        features: Numbers of each sample, shape ``(batch, n_features)``; one row if the
            tape has no batch axis.
        batch: Number of samples, or None for a tape without a batch axis.
        key: The structure, in a form that can be hashed.
    """

    order: tuple[Any, ...]
    operations: Sequence[Operator]
    wires: Sequence[tuple[Any, ...]]
    parameters: tuple[tuple[Parameter, ...], ...]
    words: tuple[Word, ...]
    weights: Any
    features: Any
    batch: int | None
    key: tuple[Any, ...]


class Value(NamedTuple):
    """One parameter of an operation, as the numbers it holds.

    Args:
        rows: The numbers, shape ``(size,)``, or ``(batch, size)`` with a batch axis.
            Imaginary parts follow all real parts.
        kind: Whether it has a batch axis, its shape without one, and whether it is
            complex.
    """

    rows: Any
    kind: tuple[bool, tuple[int, ...], bool]


class Part(NamedTuple):
    """An operation, taken apart into structure and values.

    Args:
        labels: Labels of its wires.
        key: What its gates depend on, besides the kinds of its values.
        n_params: Number of its parameters.
        values: The numbers that its gates hold.
        complex: Whether they are the entries of a matrix.
    """

    labels: tuple[Any, ...]
    key: Hashable
    n_params: int
    values: tuple[Value, ...]
    complex: bool

    @classmethod
    def of(cls, op: Operator, arrays: Arrays = NUMPY) -> Part:
        """Take an operation apart.

        Args:
            op: An operation that has an entry in the registry.
            arrays: The kind of arrays, of numpy or of JAX, that hold the values.

        Raises:
            DeviceError: If it has no entry, or an angle is complex.
        """
        entry = entry_of(op)
        if entry is None:
            raise DeviceError(
                f"Operation {op.name} was not decomposed for this device."
            )
        data = op.data if entry.values is None else entry.values(op)
        labels = op.wires.labels  # computed anew by PennyLane for controlled gates
        key = type(op), op.name, labels, entry.key(op)
        if not data:
            return cls(labels, key, op.num_params, (), entry.complex)
        values = []
        for value, ndim in zip(data, entry.ndims or op.ndim_params, strict=True):
            array = arrays.tensor(value)
            is_complex = entry.complex or array.dtype.kind == "c"
            if is_complex and not (entry.complex or entry.initial):
                raise DeviceError(
                    f"Parameters of {op.name} must be real, but have dtype "
                    f"{array.dtype}. Take their real part."
                )
            batched = array.ndim > ndim
            shape = array.shape[1:] if batched else array.shape
            size = math.prod(shape)
            rows = array.reshape(len(array), size) if batched else array.reshape(size)
            if is_complex:
                rows = arrays.concatenate([rows.real, rows.imag], axis=-1)
            values.append(Value(rows, (batched, shape, is_complex)))
        return cls(labels, key, op.num_params, tuple(values), entry.complex)


def take_apart(
    tape: qml.tape.QuantumScript,
    words: Sequence[Word] = (),
    *,
    order: tuple[Any, ...] | None = None,
    arrays: Arrays = NUMPY,
    parts: Sequence[Part] | None = None,
) -> Circuit:
    """Separate the structure of a tape from its values.

    Args:
        tape: A circuit whose operations all have an entry in the registry.
        words: The distinct Pauli words to measure.
        order: Wire labels in the order of the register; None takes that of
            :func:`wire_order`.
        arrays: The kind of arrays, of numpy or of JAX, that hold the values.
        parts: The operations, if they were taken apart already.

    Raises:
        DeviceError: If an operation has no entry, or an angle is complex.
        ValueError: If the batch axes of the parameters differ in length, or have length
            0.
    """
    order = wire_order(tape) if order is None else order
    if parts is None:
        parts = [Part.of(op, arrays) for op in tape.operations]
    parameters: list[tuple[Parameter, ...]] = []
    key: list[Hashable] = [order, tuple(words)]
    trainable = set(tape.trainable_params)
    index = 0
    sizes = [0, 0]  # of the weights and of the features
    for part in parts:
        key.append(part.key)
        first, index = index, index + part.n_params
        if not part.values:
            parameters.append(())
            continue
        # Gradients with respect to entries of a matrix cost time: only where wanted.
        wanted = part.complex and not trainable.isdisjoint(range(first, index))
        found = []
        for rows, kind in part.values:
            batched, shape, is_complex = kind
            place = FEATURE if batched else WEIGHT
            offset = sizes[batched]
            sizes[batched] += rows.shape[-1]
            found.append(Parameter(place, offset, shape, is_complex, wanted))
            key.append((*kind, wanted))
        parameters.append(tuple(found))
    weights, features, batch = values_of(parts, arrays)
    return Circuit(
        order=order,
        operations=tape.operations,
        wires=[part.labels for part in parts],
        parameters=tuple(parameters),
        words=tuple(words),
        weights=weights,
        features=features,
        batch=batch,
        key=tuple(key),
    )


def values_of(
    parts: Sequence[Part], arrays: Arrays = NUMPY
) -> tuple[Any, Any, int | None]:
    """Weights, features and number of samples of a circuit, as in :class:`Circuit`.

    Args:
        parts: Its operations.
        arrays: The kind of arrays, of numpy or of JAX, that hold the values.

    Raises:
        ValueError: If the batch axes of the parameters differ in length, or have length
            0.
    """
    weights: list[Any] = []
    features: list[Any] = []
    for part in parts:
        for rows, (batched, _, _) in part.values:
            (features if batched else weights).append(rows)
    batch = _common_batch(features)
    return arrays.joined(weights, (0,)), arrays.joined(features, (1, 0)), batch


def _common_batch(features: list[Any]) -> int | None:
    """The number of samples, or None where no parameter has a batch axis."""
    sizes = {len(rows) for rows in features}
    if len(sizes) > 1 or 0 in sizes:
        raise ValueError(
            "Parameters with a batch axis must have the same number of samples, at "
            f"least one, but have {' and '.join(map(str, sorted(sizes)))}."
        )
    return sizes.pop() if sizes else None


def lower(
    circuit: Circuit,
    noise: SpecNoise | None = None,
    program: Callable[..., Program] = MixedProgram,
    rotation: Sequence[Operator] = (),
    *,
    dtype: str = "complex128",
) -> Program:
    """The Program of a tape that was taken apart.

    Args:
        circuit: The tape.
        noise: Noise of the device, for mixed states; None is for pure states.
        program: The class of the Program if the states are mixed.
        rotation: Gates after the circuit that turn the basis that is measured into the
            computational one.
        dtype: The type of amplitudes, which says the precision of the states.

    Raises:
        DeviceError: If the states do not fit into memory, or initial amplitudes are not
            the first operation.
    """
    lowering = Lowering(circuit.order, noise, program, dtype)
    lowering.check_memory()
    words = [pauli_sum({word: 1.0}, circuit.order) for word in circuit.words]
    if noise is not None:
        words = [noise.observed(word, circuit.order) for word in words]
    gates: list[MixedGate] = []
    for op, labels, params in zip(
        circuit.operations, circuit.wires, circuit.parameters, strict=True
    ):
        gates += lowering.gates_of(op, labels, params)
    return lowering.program_of(
        [*gates, *lowering.basis(rotation)],
        words,
        n_weights=len(circuit.weights),
        n_features=circuit.features.shape[1],
    )


@dataclass(frozen=True)
class Lowering:
    """The steps from operations on labelled wires to gates, and on to a Program.

    Args:
        order: Wire labels in the order of the register.
        noise: Noise of the device, for mixed states; None is for pure states.
        kind: The class of the Program if the states are mixed.
        dtype: The type of amplitudes, which says the precision of the states.
    """

    order: tuple[Any, ...]
    noise: SpecNoise | None = None
    kind: Callable[..., Program] = MixedProgram
    dtype: str = "complex128"
    _outcomes: set[Any] = field(default_factory=set)  # wires that hold some so far

    @cached_property
    def position(self) -> dict[Any, int]:
        """The position of each label in the register."""
        return {label: i for i, label in enumerate(self.order)}

    @property
    def is_drawn(self) -> bool:
        """Whether the states are trajectories, which are drawn at random."""
        kind = self.kind
        drawn = isinstance(kind, functools.partial) and kind.func is TrajectoryProgram
        return self.noise is not None and drawn

    def check_memory(self) -> None:
        """Refuse a register whose states do not fit into memory.

        Pauli propagation has no states, and counts its words when it finds them.

        Raises:
            DeviceError: If they do not.
        """
        mixed = self.noise is not None and self.kind is MixedProgram
        if mixed or self.noise is None or self.is_drawn:
            check_memory(len(self.order), mixed=mixed, dtype=self.dtype)

    def gates_of(
        self, op: Operator, labels: Sequence[Any], params: Sequence[Any]
    ) -> Iterable[MixedGate]:
        """The gates of an operation, and the noise before and after them.

        Args:
            op: The operation.
            labels: Labels of its wires.
            params: What each of its parameters is, as for :func:`lower_operation`.
        """
        if self.noise is not None:
            return self.noise.gates(op, params, self.position, self._outcomes)
        wires = tuple([self.position[label] for label in labels])
        return lower_operation(op, params, wires)

    def basis(self, rotation: Sequence[Operator]) -> list[MixedGate]:
        """The gates before a measurement, which are part of it, and have no noise.

        Args:
            rotation: Gates that turn the basis that is measured into the computational
                one.
        """
        return [
            gate
            for op in rotation
            for gate in lower_operation(
                op,
                [Constant(to_numpy(value)) for value in op.data],
                tuple([self.position[label] for label in op.wires.labels]),
            )
        ]

    def program_of(
        self,
        gates: Sequence[MixedGate],
        outputs: Sequence[PauliSum],
        *,
        n_weights: int,
        n_features: int,
    ) -> Program:
        """The Program of a circuit.

        Args:
            gates: The gates of the circuit, in the order they act. Constants that are
                no angles need not have a place yet.
            outputs: One Pauli sum for each output.
            n_weights: Length of the weights.
            n_features: Number of columns of the features.

        Raises:
            DeviceError: If a gate other than the first gives initial amplitudes.
        """
        if any(isinstance(gate, Amplitudes) for gate in gates[1:]):
            raise DeviceError(
                "A state preparation must be the first operation, or be decomposed."
            )
        gates, constants = with_places(gates, n_weights)
        gates, derived = with_columns(gates, n_features)
        if derived and self.is_drawn:
            raise DeviceError(
                "Trajectories give no gradient through functions of weights and "
                'features. Use method="density".'
            )
        options = {"derived": derived} if derived else {}
        kind = PureProgram if self.noise is None else self.kind
        program = kind(
            len(self.order),
            gates,
            outputs,
            n_weights=n_weights,
            n_features=n_features,
            constants=constants,
            **options,
        )
        return program.with_dtype(self.dtype)


def with_columns(
    gates: Sequence[MixedGate], n_features: int
) -> tuple[Sequence[MixedGate], list[Derived]]:
    """Give derived values their place in the feature slots behind the features.

    Args:
        gates: The circuit, in which derived values have no column yet.
        n_features: Number of columns of the features.

    Returns:
        The gates, and the derived values in the order of their columns, in which each
        needs only earlier ones.
    """
    place = DerivedPlaces(n_features)
    if any(map(_has_derived, gates)):
        gates = [renamed(gate, place) for gate in gates]
    return gates, place.derived


class DerivedPlaces:
    """Gives derived values their place in the feature slots behind the features.

    It is a function from a slot to the slot of its column.

    Args:
        n_features: Number of columns of the features.

    Attributes:
        derived: The derived values in the order of their columns.
    """

    def __init__(self, n_features: int) -> None:
        self._n_features = n_features
        self._columns: dict[Any, Slot] = {}
        self.derived: list[Derived] = []

    def __call__(self, slot: Slot) -> Slot:
        """The slot of a value, which changes for derived ones only."""
        kind, found = slot
        if kind != DERIVED:
            return slot
        if found not in self._columns:
            several = found if isinstance(found, tuple) else (found,)
            # Those that these are computed from get their columns first.
            made = [one.renamed(self) for one in several]
            self._columns[found] = FEATURE, self._n_features + len(self.derived)
            self.derived.extend(made)
        return self._columns[found]


def _has_derived(gate: MixedGate) -> bool:
    if isinstance(gate, Amplitudes):
        return gate.slot[0] == DERIVED
    return any(
        a[0] == DERIVED or b[0] == DERIVED
        for angle in angles_of(gate)
        for _, a, b in angle.terms
    )


def with_places(
    gates: Iterable[MixedGate], n_weights: int
) -> tuple[list[MixedGate], NDArray[np.float64]]:
    """Give constants their place in the weight slots behind the weights.

    Args:
        gates: The circuit, in which constants have no place yet.
        n_weights: Length of the weights.

    Returns:
        The gates, and the array of all constants. Constants of several gates that are
        equal are held once.
    """
    places: dict[bytes, int] = {}
    constants = [np.empty(0)]
    placed: list[MixedGate] = []
    end = n_weights
    for gate in gates:
        if isinstance(gate, Matrix | Kraus | Amplitudes):
            slot = gate.slot
            if isinstance(slot, Unplaced):
                key = slot.numbers.tobytes()
                if key not in places:
                    places[key] = end
                    constants.append(slot.numbers)
                    end += slot.numbers.size
                gate = dataclasses.replace(gate, slot=(WEIGHT, places[key]))
        placed.append(gate)
    return placed, np.concatenate(constants)


def wire_order(
    tape: qml.tape.QuantumScript, wires: Sequence[tuple[Any, ...]] | None = None
) -> tuple[Any, ...]:
    """Wire labels in the order of the register, which is PennyLane's standard order.

    If the labels are 0, 1, 2, ..., and those that are only measured come last, they
    keep that order. Otherwise the labels come in the order in which the operations name
    them, and then those that are only measured.

    Args:
        tape: The circuit.
        wires: Labels of the wires of each operation; None reads them from the tape.
    """
    labels = tape.wires.labels
    if labels == tuple(range(len(labels))):
        return labels
    if wires is None:
        wires = [op.wires.labels for op in tape.operations]
    acted = list(dict.fromkeys(itertools.chain.from_iterable(wires)))
    on = set(acted)
    named = dict.fromkeys(w for mp in tape.measurements for w in mp.wires.labels)
    rest = [label for label in named if label not in on]
    n, n_acted = len(acted) + len(rest), len(acted)
    if on == set(range(n_acted)) and set(rest) == set(range(n_acted, n)):
        return tuple(range(n))
    if all(isinstance(label, int | np.integer) for label in rest):
        rest.sort()
    return (*acted, *rest)
