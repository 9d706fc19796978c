"""Circuits as the gates of another machine: names, wires, and an angle each.

Operations are decomposed until each gate is one that the machine has. Angles that
differ between the circuits of a batch are columns, computed from weights and features;
the list of gates is the same for all of them. What is measured becomes groups, each
with the gates that turn its basis into the computational one, and values are read from
the frequencies of outcomes. It knows no machine.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator
from pennylane.tape import QuantumScript

from qstore_pl.devices.amplitudes import preparation, real_angles
from qstore_pl.devices.aside import aside
from qstore_pl.devices.entries import CannotCompileError
from qstore_pl.devices.groups import Grouped, grouped
from qstore_pl.devices.lowering import DerivedPlaces
from qstore_pl.devices.records import Record, RecordCopy
from qstore_pl.devices.registry import has_own_decomposition, is_foreign, made_of
from qstore_pl.devices.shifts import Pair, measured_wires, turned
from qstore_pl.devices.symbols import Constant
from qstore_pl.devices.tensors import to_numpy
from qstore_pl.engine.gates import FEATURE, Angle
from qstore_pl.engine.lanes import Use, Uses
from qstore_pl.engine.shots import Drawn, Sampler

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Outcomes = Any  # (n, 2**k) shares, or for each circuit the list of its outcomes

NOTHING = frozenset({"Identity", "GlobalPhase", "Barrier", "WireCut", "Snapshot"})
MAX_PREPARED = 12  # wires of a state that is prepared by gates
MAX_WHOLE = 4  # wires of a matrix that is decomposed


class Gate(NamedTuple):
    """A gate with at most one angle.

    Args:
        name: PennyLane's name of the gate.
        wires: Positions of its wires.
        angle: Its angle in radians, if that is a constant.
        column: The column of the angles of a batch, if it is not.
    """

    name: str
    wires: tuple[int, ...]
    angle: float | None = None
    column: int | None = None


@dataclass(frozen=True)
class Circuit:
    """A list of gates, and the wires that are measured after them.

    Args:
        n_wires: Number of wires, at least one.
        gates: The gates in the order they act.
        measured: Positions of the measured wires, the first of them the most
            significant bit of an outcome.
        n_columns: Number of columns of the angles of a batch.
    """

    n_wires: int
    gates: tuple[Gate, ...]
    measured: tuple[int, ...]
    n_columns: int = 0


class Preparation(NamedTuple):
    """Amplitudes that are features, prepared by rotations whose angles are computed.

    Args:
        first: The first of these features.
        n_wires: Number of wires of the state.
    """

    first: int
    n_wires: int

    def angles(self, features: Float2D) -> Float2D:
        """The angles of the rotations, shape ``(batch, 2**n_wires - 1)``."""
        end = self.first + (1 << self.n_wires)
        return real_angles(features[:, self.first : end])


@final
class Parametric:
    """A circuit as a function of weights and features, for a machine that is not ours.

    Args:
        circuits: The circuit for each group of measured values.
        read: What is read from the outcomes of each.
        angles: The columns of angles that are polynomials, with their derived values.
        preparations: What computes the columns behind these.
        uses: The numbers of gates that may be shifted; None if there are none.
    """

    def __init__(
        self,
        circuits: Sequence[Circuit],
        read: Grouped,
        angles: Uses,
        preparations: Sequence[Preparation] = (),
        uses: Uses | None = None,
    ) -> None:
        self.circuits, self.uses = tuple(circuits), uses
        self._angles, self._preparations = angles, tuple(preparations)
        self._sampler = Sampler((), read.groups, read.offsets)
        self.outputs = read.outputs

    def angles(self, weights: Float1D, features: Float2D) -> Float2D:
        """The angles of a batch, shape ``(batch, n_columns)``.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``; of a turned circuit with the
                columns of the shifts behind them.
        """
        which = range(len(self._angles.uses))
        found = [np.empty((len(features), 0))]
        if which:
            found.append(self._angles.values(which, weights, features))
        found += [one.angles(features) for one in self._preparations]
        return np.concatenate(found, axis=1)

    def drawn(self, outcomes: Sequence[Outcomes], batch: int) -> Drawn:
        """The outcomes of a batch, from which values are computed.

        Args:
            outcomes: For each circuit the relative frequencies or probabilities of
                outcomes, shape ``(batch, 2**k)``; or a list with the outcomes of all
                shots of each circuit.
            batch: Number of circuits of each group.
        """
        return Drawn(self._sampler, outcomes, batch)


def parametric(
    tape: QuantumScript,
    pairs: Sequence[Pair],
    gate_set: frozenset[str],
    order: Sequence[Any],
    *,
    n_weights: int,
    n_features: int,
    shifted: bool,
) -> Parametric:
    """A circuit whose parameters are functions of weights and features.

    Args:
        tape: The circuit, of which the wires and the measurements count.
        pairs: Its operations, each with what its parameters are.
        gate_set: PennyLane's names of the gates of the machine, which have at most one
            parameter.
        order: Wire labels in the order of the register.
        n_weights: Length of the weights.
        n_features: Columns of the features.
        shifted: Whether gates can be shifted; the columns of the shifts come behind the
            features.

    Raises:
        DeviceError: If an operation cannot be decomposed into these gates, or a gate
            that is to be shifted has no shift rule.
    """
    uses: list[Use] = []
    operations = list(pairs)
    if shifted:
        measured = measured_wires(tape)
        operations, uses = turned(
            pairs, measured, None, n_features=n_features, inputs=False
        )
    made = _Gates(order, gate_set)
    for op, params in operations:
        made.add(op, params)
    sizes = {"n_weights": n_weights, "n_features": n_features}
    wide = {"n_weights": n_weights, "n_features": n_features + len(uses)}
    n_polynomials = len(made.angles)
    gates = made.placed(n_polynomials)
    n_columns = n_polynomials + sum((1 << p.n_wires) - 1 for p in made.preparations)
    read = grouped(tape.measurements, order)
    circuits = _circuits(gates, read, order, gate_set, n_columns)
    return Parametric(
        circuits,
        read,
        _placed(made.angles, wide),
        made.preparations,
        _placed(uses, sizes) if shifted else None,
    )


def _circuits(
    gates: Sequence[Gate],
    read: Grouped,
    order: Sequence[Any],
    gate_set: frozenset[str],
    n_columns: int,
) -> list[Circuit]:
    """The circuit of each group of measurements."""
    return [
        Circuit(
            max(len(order), 1),
            (*gates, *_basis(rotation, order, gate_set)),
            group.wires,
            n_columns,
        )
        for group, rotation in zip(read.groups, read.rotations, strict=True)
    ]


def _placed(uses: Sequence[Use], sizes: dict[str, int]) -> Uses:
    """Numbers with the derived values that they are computed by, in their columns."""
    place = DerivedPlaces(sizes["n_features"])
    placed = [Use(use.angle.renamed(place), use.rule) for use in uses]
    return Uses(placed, place.derived, **sizes)


def _basis(
    rotation: Sequence[Operator], order: Sequence[Any], gate_set: frozenset[str]
) -> list[Gate]:
    """The gates that turn the basis that is measured into the computational one."""
    made = _Gates(order, gate_set)
    waiting = list(rotation)
    while waiting:
        op = waiting.pop(0)
        names = [op.name, *(part.name for part in waiting[:2])]
        if names == ["PauliZ", "S", "Hadamard"] and "RX" in gate_set:
            # PennyLane's rotation of the basis of Y; its phases are not measured.
            made.add(qml.RX(np.pi / 2, op.wires), [Constant(np.array(np.pi / 2))])
            del waiting[:2]
            continue
        made.add(op, [Constant(to_numpy(value)) for value in op.data])
    return made.placed(0)


class _Gates:
    """Gates that are collected while operations are decomposed.

    Args:
        order: Wire labels in the order of the register.
        gate_set: Names of the gates of the machine.
    """

    def __init__(self, order: Sequence[Any], gate_set: frozenset[str]) -> None:
        self._position = {label: i for i, label in enumerate(order)}
        self._set = gate_set
        self._gates: list[Gate] = []
        self.angles: list[Use] = []
        self.preparations: list[Preparation] = []
        self._columns: dict[Angle, int] = {}
        self._n_prepared = 0

    def placed(self, n_polynomials: int) -> list[Gate]:
        """The gates; columns of prepared states come behind those of polynomials."""
        return [
            gate._replace(column=n_polynomials - 1 - gate.column)
            if gate.column is not None and gate.column < 0
            else gate
            for gate in self._gates
        ]

    def add(self, op: Operator, params: Sequence[Any]) -> None:
        """Decompose an operation.

        Args:
            op: The operation.
            params: What each of its parameters is.
        """
        if op.name in NOTHING or isinstance(op, Record):
            return
        if isinstance(op, RecordCopy):
            with aside():
                op = qml.CNOT(op.wires)
        if op.name in self._set and not is_foreign(op) and len(params) <= 1:
            wires = self._positions(op.wires.labels)
            if not params:
                self._gates.append(Gate(op.name, wires))
            elif not getattr(params[0], "shape", ()):
                self._gates.append(self._rotation(op.name, wires, params[0]))
            else:
                raise CannotCompileError(_BATCHED.format(op.name))
            return
        if isinstance(op, qml.operation.StatePrepBase):
            self._prepare(op, params)
            return
        rule = _RULES.get(op.name)
        parts: Iterable[Pair] = (
            _decomposed(op, params)
            if rule is None
            else [(part, ()) for part in rule(op.wires)]
        )
        for part, own in parts:
            self.add(part, own)

    def _positions(self, labels: Sequence[Any]) -> tuple[int, ...]:
        return tuple(self._position[label] for label in labels)

    def _rotation(self, name: str, wires: tuple[int, ...], param: Any) -> Gate:
        if isinstance(param, Constant):
            return Gate(name, wires, angle=float(np.real(param.numbers)))
        angle = param.angle
        if not angle.terms:
            return Gate(name, wires, angle=float(angle.constant))
        if angle not in self._columns:
            self._columns[angle] = len(self.angles)
            self.angles.append(Use(angle, ()))
        return Gate(name, wires, column=self._columns[angle])

    def _prepare(self, op: Operator, params: Sequence[Any]) -> None:
        """Prepare a state by gates, where its amplitudes or bits are given."""
        (param,) = params
        if len(op.wires) > MAX_PREPARED:
            raise DeviceError(
                f"A state on {len(op.wires)} wires cannot be prepared by gates, which "
                f"would be more than {1 << MAX_PREPARED}. Use a device that prepares "
                "states, or an encoding with fewer numbers."
            )
        if isinstance(param, Constant) or isinstance(op, qml.BasisState):
            for part, own in _decomposed(op, params):
                self.add(part, own)
            return
        kind, first = param.slot
        if kind != FEATURE:
            raise CannotCompileError(
                f"{op.name} cannot be prepared by gates where its amplitudes are "
                "weights. Use rotations."
            )
        wires = self._positions(op.wires.labels)
        self.preparations.append(Preparation(first, len(wires)))
        for name, which, column in preparation(wires):
            if column is None:
                self._gates.append(Gate(name, which))
            else:
                place = -1 - (self._n_prepared + column)
                self._gates.append(Gate(name, which, column=place))
        self._n_prepared += (1 << len(wires)) - 1


_BATCHED = "{} cannot be run on another machine with a batch of angles in one gate."


def _decomposed(op: Operator, params: Sequence[Any]) -> Iterator[Pair]:
    """The operations in the decomposition of an operation.

    Raises:
        DeviceError: If it has none, or none for symbols.
    """
    constant = all(isinstance(param, Constant) for param in params)
    if isinstance(op, qml.QubitUnitary) and not constant:
        raise CannotCompileError(
            "A QubitUnitary whose matrix depends on weights or features cannot be "
            "decomposed into gates once for all. Use rotations."
        )
    if isinstance(op, qml.operation.StatePrepBase) and constant:
        with aside():
            parts = op.decomposition()
        yield from ((part, _constants(part)) for part in parts)
        return
    if not has_own_decomposition(op):
        if op.has_matrix and len(op.wires) <= MAX_WHOLE and constant:
            with aside():
                op = qml.QubitUnitary(_unitary(op), op.wires)
            yield from _decomposed(op, _constants(op))
            return
        raise DeviceError(
            f"Operation {op.name} is not a gate of this machine and has no "
            "decomposition. Write one: compute_decomposition of its class."
        )
    yield from made_of(op, params, op.wires.labels)


def _unitary(op: Operator) -> NDArray[Any]:
    matrix = to_numpy(qml.matrix(op))
    if not np.allclose(matrix @ matrix.conj().T, np.eye(len(matrix))):
        raise DeviceError(f"Operation {op.name} is not unitary, and is no gate.")
    return matrix


def _constants(op: Operator) -> list[Constant]:
    return [Constant(to_numpy(value)) for value in op.data]


def _controlled_z(wires: Any) -> list[Operator]:
    one, other = wires
    return [qml.Hadamard(other), qml.CNOT([one, other]), qml.Hadamard(other)]


# Shorter than PennyLane's decompositions.
_RULES: dict[str, Callable[[Any], list[Operator]]] = {"CZ": _controlled_z}


def in_batches(
    tapes: Sequence[QuantumScript], gate_set: frozenset[str], order: Sequence[Any]
) -> list[Numeric]:
    """Tapes of numbers, one for each sample, in batches that share their gates.

    Args:
        tapes: The circuits, with expectation values, variances and probabilities.
        gate_set: PennyLane's names of the gates of the machine.
        order: Wire labels in the order of the register.

    Raises:
        DeviceError: If an operation cannot be decomposed into these gates.
    """
    found: dict[Hashable, tuple[list[int], list[list[float]], list[Gate]]] = {}
    for index, tape in enumerate(tapes):
        made = _Gates(order, gate_set)
        for op in tape.operations:
            made.add(op, _constants(op))
        gates, values = _columns(made.placed(0))
        key = tuple(gates), tuple(mp.hash for mp in tape.measurements)
        which, rows, _ = found.setdefault(key, ([], [], gates))
        which.append(index)
        rows.append(values)
    none = Uses((), (), n_weights=0, n_features=0)
    batches = []
    for which, rows, gates in found.values():
        read = grouped(tapes[which[0]].measurements, order)
        n_columns = len(rows[0])
        circuits = _circuits(gates, read, order, gate_set, n_columns)
        angles = np.array(rows, dtype=np.float64).reshape(len(which), n_columns)
        batches.append(Numeric(Parametric(circuits, read, none), angles, which))
    return batches


class Numeric(NamedTuple):
    """Tapes of numbers that share their gates.

    Args:
        parametric: The circuit.
        angles: The angles of each, shape ``(n, n_columns)``.
        which: Their numbers among all tapes.
    """

    parametric: Parametric
    angles: Float2D
    which: list[int]


def _columns(gates: Sequence[Gate]) -> tuple[list[Gate], list[float]]:
    """The gates with a column for every angle, and the angles."""
    values: list[float] = []
    found = []
    for gate in gates:
        if gate.angle is not None:
            values.append(gate.angle)
            gate = gate._replace(angle=None, column=len(values) - 1)
        found.append(gate)
    return found, values
