"""The noise of a device, put into a circuit when it is lowered.

Channels follow each gate, angles are over-rotated, and measured words are misread. The
noise is constant: it depends on the names and wires of gates, not on the values of
their parameters, which are symbols here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator
from pennylane.ops.functions import bind_new_parameters

from qstore_pl.devices.channels import constant_gate
from qstore_pl.devices.entries import Wires
from qstore_pl.devices.gates import MATRIX_ENTRY
from qstore_pl.devices.noise import NoiseSpec, is_gate
from qstore_pl.devices.records import Decided, Followed, Record
from qstore_pl.devices.registry import (
    elementary,
    entry_of,
    lower_operation,
    made_of,
)
from qstore_pl.devices.symbols import Symbols
from qstore_pl.engine.gates import MixedGate, PauliSum, PauliTerm, Transfer

Positions = Mapping[Any, int]


class SpecNoise:
    """The noise of a :class:`NoiseSpec`, for one register.

    Args:
        spec: The strengths of the noise.
        records: Labels of wires that hold outcomes of measurements inside the circuit.
            No noise acts on them from the measurement on, and they are not misread a
            second time.
    """

    def __init__(self, spec: NoiseSpec, records: Iterable[Any] = ()) -> None:
        self.spec = spec
        self.records = frozenset(records)
        self._after: dict[int, list[tuple[Wires, Transfer]]] = {}

    def knowing(self, records: Iterable[Any]) -> SpecNoise:
        """The same noise, for a circuit with these records."""
        return SpecNoise(self.spec, records) if records else self

    def readout_of(self, label: Any) -> tuple[float, float]:
        """The pair ``(p(1|0), p(0|1))`` of a wire that is measured at the end."""
        return (0.0, 0.0) if label in self.records else self.spec.readout_of(label)

    @property
    def follows_gates(self) -> bool:
        """Whether noise may follow single gates, which templates are made of."""
        return self.spec.has_gate_noise

    def may_follow(self, op: Operator) -> bool:
        """Whether noise may follow an operation as a whole."""
        return self.is_noisy(op)

    def is_noisy(self, op: Operator) -> bool:
        """Whether noise follows an operation that is not decomposed any further."""
        return self.spec.has_gate_noise and is_gate(op)

    def gates(
        self,
        op: Operator,
        params: Sequence[Any],
        position: Positions,
        outcomes: set[Any],
    ) -> Iterable[MixedGate]:
        """The gates of an operation, with the noise between them.

        Args:
            op: A gate, or a template, whose gates are noisy one by one.
            params: What each of its parameters is.
            position: The position of each label in the register.
            outcomes: Labels of the wires that hold outcomes where the operation stands.
                The marker of a record adds its own. A wire that no gate needs after its
                measurement is its own record, and was a wire like any other before.
        """
        parts = gates_of if self.spec.has_gate_noise else elementary
        for part, its_params in parts(op, params):
            wires = _own_places(part, op, position)
            if isinstance(part, Record):
                outcomes.update(part.wires)
                yield from self._misread_record(part, wires)
            noisy = self.is_noisy(part)
            turns = noisy or isinstance(part, Decided)
            if turns and self.spec.over_rotation:
                if entry_of(part) is MATRIX_ENTRY and 0 in part.ndim_params:
                    raise DeviceError(
                        f"Operation {part.name} is known by its matrix only, so its "
                        "angles cannot be over-rotated. Write it in other gates."
                    )
                its_params = [self._over_rotated(param) for param in its_params]
            yield from lower_operation(part, its_params, wires)
            if noisy or isinstance(part, Followed):
                yield from self.after(part, position, outcomes)

    def after(
        self, op: Operator, position: Positions, outcomes: set[Any]
    ) -> Iterable[Transfer]:
        """The channels that follow a gate.

        Args:
            op: A gate on one or two wires, besides those that hold outcomes.
            position: The position of each label in the register.
            outcomes: Labels of the wires that hold outcomes.
        """
        labels = tuple(w for w in op.wires.labels if w not in outcomes)
        if not labels:
            return
        if len(labels) not in self._after:
            if len(labels) < len(op.wires) or isinstance(op, Followed):
                op = qml.QubitUnitary(np.eye(1 << len(labels)), wires=labels)
            channels = self.spec.operations_after(op)
            local = {label: i for i, label in enumerate(labels)}
            places = [tuple(local[w] for w in c.wires.labels) for c in channels]
            self._after[len(labels)] = [
                (place, constant_gate(channel, place))
                for place, channel in zip(places, channels, strict=True)
            ]
        for place, gate in self._after[len(labels)]:
            wires = tuple(position[labels[i]] for i in place)
            yield Transfer(wires, gate.matrix)

    def observed(self, terms: PauliSum, labels: Sequence[Any]) -> PauliSum:
        r"""The operator whose expectation value the device reads instead of another.

        On each measured wire it has :math:`P \to (1 - e_0 - e_1) P + (e_1 - e_0) I`.

        Args:
            terms: The operator that is measured, with positions in the register.
            labels: Label of each position.
        """
        return tuple(part for term in terms for part in self._misread(term, labels))

    def _misread_record(self, record: Record, wires: Wires) -> Iterable[Transfer]:
        """The misreading of an outcome, before anything depends on it."""
        e0, e1 = self.spec.readout_of(record.hyperparameters["measured"])
        if e0 or e1:
            kept = float(np.sqrt((1.0 - e0) * (1.0 - e1)))
            rows = np.diag([1.0, kept, kept, 1.0 - e0 - e1])
            rows[3, 0] = e1 - e0
            yield Transfer(wires, tuple(map(tuple, rows.tolist())))

    def _over_rotated(self, param: Any) -> Any:
        if param.shape:
            return param
        return (1.0 + self.spec.over_rotation) * Symbols(param.angles)

    def _misread(self, term: PauliTerm, labels: Sequence[Any]) -> Iterable[PauliTerm]:
        coefficient, word, wires = term
        parts: list[PauliTerm] = [(coefficient, "", ())]
        for letter, wire in zip(word, wires, strict=True):
            e0, e1 = self.readout_of(labels[wire])
            read = [(c * (1.0 - e0 - e1), w + letter, (*q, wire)) for c, w, q in parts]
            lost = [(c * (e1 - e0), w, q) for c, w, q in parts if e0 != e1]
            parts = read + lost
        return parts


def gates_of(
    op: Operator, params: Sequence[Any]
) -> Iterable[tuple[Operator, Sequence[Any]]]:
    """The gates of an operation that noise follows, as a QNode finds them.

    They are the gates of a template, and of a gate on more than two wires. An adjoint
    that is itself a gate of PennyLane's is written as that gate.
    """
    for part, its_params in elementary(op, params):
        adjoint = isinstance(part, qml.ops.op_math.Adjoint) and part.base.has_adjoint
        wide = len(part.wires) > 2 and is_gate(part)
        if not (adjoint or wide) or isinstance(part, qml.Projector):
            yield part, its_params
            continue
        for smaller, of_it in made_of(part, its_params, part.wires.labels):
            yield from gates_of(smaller, of_it)


class ModelNoise(SpecNoise):
    """The noise of a `qml.NoiseModel` that does not depend on the values of gates.

    Args:
        model: Pairs of a condition on gates and what is inserted where it holds. It has
            nothing for measurements.
    """

    def __init__(self, model: qml.NoiseModel) -> None:
        super().__init__(NoiseSpec())
        self.model = model

    @property
    def follows_gates(self) -> bool:
        """Whether noise may follow single gates: it may."""
        return True

    def may_follow(self, op: Operator) -> bool:
        """Whether noise may follow an operation as a whole: the model decides."""
        return True

    def gates(
        self,
        op: Operator,
        params: Sequence[Any],
        position: Positions,
        outcomes: set[Any],
    ) -> Iterable[MixedGate]:
        """The gates of an operation, with what the noise model inserts.

        Args:
            op: A gate, or a template, whose gates are noisy one by one.
            params: What each of its parameters is.
            position: The position of each label in the register.
            outcomes: Empty: with a noise model no circuit with records is lowered.

        Raises:
            ReadsValuesError: If the model reads the value of a parameter.
        """
        for part, its_params in gates_of(op, params):
            before, after = self._inserted(part)
            yield from (constant_gate(o, _places(o, position)) for o in before)
            wires = _own_places(part, op, position)
            yield from lower_operation(part, its_params, wires)
            yield from (constant_gate(o, _places(o, position)) for o in after)

    def _inserted(self, op: Operator) -> tuple[list[Operator], list[Operator]]:
        """What the model inserts before and after a gate, whatever its parameters are.

        It is what `qml.noise.add_noise` inserts, which needs the values.
        """
        values = [np.asarray(v) if np.ndim(v) else _Unknown() for v in op.data]
        gate = bind_new_parameters(op, values) if values else op
        before: list[Operator] = []
        after: list[Operator] = []
        for condition, insert in self.model.model_map.items():
            if not condition(gate):
                continue
            queued = qml.tape.make_qscript(insert)(gate, **self.model.metadata)
            found = [i for i, o in enumerate(queued.operations) if self._is(o, gate)]
            at = found[0] if found else 0
            before = queued.operations[:at] + before
            after += queued.operations[at + 1 if found else 0 :]
        return before, after

    def _is(self, inserted: Operator, gate: Operator) -> bool:
        if inserted.name != gate.name or inserted.wires != gate.wires:
            return False
        pairs = zip(inserted.data, gate.data, strict=True)
        if all(one is other for one, other in pairs):
            return True
        raise ReadsValuesError(
            f"The noise model inserts another {gate.name} at a {gate.name}: which of "
            "them is the gate depends on values. Run the circuit through its QNode."
        )


class ReadsValuesError(DeviceError):
    """A noise model reads values of gates, so that it cannot be compiled."""


class _Unknown:
    """A parameter without a value: whatever is done with it raises an error."""

    ndim = 0
    shape = ()
    size = 1
    dtype = np.dtype(np.float64)

    def _read(self, *_: Any, **__: Any) -> Any:
        raise ReadsValuesError(
            "The noise model reads the values of gates. Run the circuit through its "
            "QNode."
        )

    __array__ = __array_ufunc__ = __array_function__ = _read
    __float__ = __int__ = __complex__ = __bool__ = __index__ = __len__ = _read
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _read
    __getitem__ = __iter__ = _read
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = _read
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __rmatmul__ = _read
    __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __pos__ = __abs__ = _read
    __round__ = __floor__ = __ceil__ = __trunc__ = __divmod__ = __rdivmod__ = _read
    __hash__ = object.__hash__


_Unknown.__module__ = "numpy"  # by which PennyLane finds the interface


def _own_places(part: Operator, op: Operator, position: Positions) -> Wires:
    """The positions of the wires of a gate that is part of an operation."""
    try:
        return tuple([position[label] for label in part.wires.labels])
    except KeyError as error:
        raise DeviceError(
            f"{op.name} must act on its own wires, but its decomposition has a "
            f"{part.name} on wire {error.args[0]!r}."
        ) from None


def _places(op: Operator, position: Positions) -> Wires:
    try:
        return tuple(position[label] for label in op.wires.labels)
    except KeyError as error:
        raise DeviceError(
            f"The noise model inserts {op.name} on wire {error.args[0]!r}, which the "
            "circuit does not have."
        ) from None
