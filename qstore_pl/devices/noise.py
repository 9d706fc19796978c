"""What noise a device has, as one value, and the same noise for other simulators.

A :class:`NoiseSpec` says what follows gates on one or two wires and how outcomes are
misread. It knows gates and wires, and nothing of circuits, Programs or devices.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import numbers
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.measurements import (
    ClassicalShadowMP,
    CountsMP,
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    SampleMP,
    ShadowExpvalMP,
    VarianceMP,
)
from pennylane.operation import Channel, Operator, StatePrepBase
from pennylane.ops import MidMeasure
from pennylane.ops.functions import bind_new_parameters

from qstore_pl._checks import choice, finite, real
from qstore_pl.devices.aside import aside
from qstore_pl.devices.records import Decided, Followed, Record, RecordCopy
from qstore_pl.engine.transfer import pauli_words

Pair: TypeAlias = tuple[float, float]
Readout: TypeAlias = Pair | tuple[tuple[Hashable, Pair], ...]

P1_MAX, P2_MAX, DEPHASING_MAX = 3 / 4, 15 / 16, 1 / 2  # the channel that forgets all

AER_GATES = (
    *("x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "rx", "ry", "rz", "p", "u"),
    *("cx", "cy", "cz", "swap", "cp", "rxx", "ryy", "rzz"),
)
"""Gates on one or two qubits that Aer runs as they are on mixed states too."""

_NO_GATE = (
    *(StatePrepBase, Channel, MidMeasure, qml.QubitDensityMatrix, qml.Snapshot),
    *(qml.Barrier, qml.WireCut, qml.GlobalPhase, qml.Identity),
    *(Record, RecordCopy, Decided, Followed),
)
_OUTCOMES = (ExpectationMP, VarianceMP, ProbabilityMP, SampleMP, CountsMP)
_SHADOWS = (ClassicalShadowMP, ShadowExpvalMP)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class NoiseSpec:
    r"""Strengths of the noise of a device; without arguments there is no noise.

    After every gate on one or two wires come, in this order: depolarizing, dephasing on
    each of its wires, relaxation of each of its wires over the gate's duration. State
    preparations, Barrier, Snapshot, GlobalPhase, Identity and channels carry no noise.

    Args:
        p1: Depolarizing after a one-qubit gate: the probability of a Pauli error, in
            [0, 3/4], as `qml.DepolarizingChannel` takes it.
        p2: Correlated depolarizing after a two-qubit gate: the probability of an error,
            in [0, 15/16], equal for the 15 two-qubit Pauli words.
        t1: Relaxation time in seconds, > 0; infinite is no relaxation.
        t2: Dephasing time in seconds, > 0 and at most ``2 * t1``; infinite is none.
        gate_time_1: Duration of a one-qubit gate in seconds, >= 0.
        gate_time_2: Duration of a two-qubit gate in seconds, >= 0.
        excited: Population of :math:`|1\rangle` that relaxation leads to, in [0, 1].
        dephasing: Probability of a phase flip after every gate, on each of its wires,
            in [0, 1/2].
        over_rotation: Relative error of every angle: a scalar parameter
            :math:`\theta` of a gate becomes :math:`(1 + \epsilon)\theta`. Parameters
            that are vectors or matrices, as that of QubitUnitary, stay. The
            parameter-shift rule, and with it every gradient with shots, assumes angles
            without this error, so that the gradient has a relative error of this
            order, as on a machine.
        readout: The pair ``(p(1|0), p(0|1))`` for every wire, or a mapping from wire
            label to such a pair, wires not listed being read perfectly. A confusion
            matrix, shape (2, 2), row = true outcome, rows summing to 1, is taken
            wherever a pair is.

    Raises:
        TypeError: If a value is no number.
        ValueError: If a value is out of its range, ``t2 > 2 * t1``, or outcomes are
            misread more often than not.

    Example:
        >>> noise = NoiseSpec(p1=0.001, p2=0.01, readout=(0.01, 0.03))
        >>> noise.scaled(2.0)
        NoiseSpec(p1=0.002, p2=0.02, readout=(0.02, 0.06))
        >>> noise.operations_after(qml.RX(0.3, wires="a"))
        [DepolarizingChannel(0.001, wires=['a'])]

    References:
        Nielsen and Chuang, Quantum Computation and Quantum Information, section 8.3;
        PennyLane's channels; Qiskit Aer's `ReadoutError` for the confusion matrix.
    """

    p1: float = 0.0
    p2: float = 0.0
    t1: float = math.inf
    t2: float = math.inf
    gate_time_1: float = 0.0
    gate_time_2: float = 0.0
    excited: float = 0.0
    dephasing: float = 0.0
    over_rotation: float = 0.0
    readout: Any = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check every field, and store it in one form."""
        checked: dict[str, Any] = {
            "p1": _probability("p1", self.p1, P1_MAX),
            "p2": _probability("p2", self.p2, P2_MAX),
            "t1": _lifetime("t1", self.t1),
            "t2": _lifetime("t2", self.t2),
            "gate_time_1": real("gate_time_1", self.gate_time_1, minimum=0.0),
            "gate_time_2": real("gate_time_2", self.gate_time_2, minimum=0.0),
            "excited": _probability("excited", self.excited, 1.0),
            "dephasing": _probability("dephasing", self.dephasing, DEPHASING_MAX),
            "over_rotation": real("over_rotation", self.over_rotation),
            "readout": _readout(self.readout),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.t2 > 2.0 * self.t1:
            raise ValueError(
                f"Argument `t2` must be <= 2 * t1 = {2.0 * self.t1} s, but is "
                f"{self.t2} s. Relaxation without further dephasing is t2 = 2 * t1."
            )

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"NoiseSpec({', '.join(shown)})".replace("=inf", "=math.inf")

    @property
    def has_gate_noise(self) -> bool:
        """Whether there is noise besides readout error."""
        return bool(
            self.p1
            or self.p2
            or self.dephasing
            or self.over_rotation
            or self._relaxes(max(self.gate_time_1, self.gate_time_2))
        )

    @property
    def has_readout_error(self) -> bool:
        """Whether outcomes of some wire are misread."""
        return bool(self.readout != (0.0, 0.0))

    def scaled(self, scale: float) -> NoiseSpec:
        """The noise with its strengths multiplied by a factor.

        The probabilities p1, p2 and dephasing become ``min(scale * p, p_max)`` with
        p_max = 3/4, 15/16 and 1/2. Durations of gates and over-rotation are multiplied.
        Probabilities of misreading become ``min(scale * e, 1/2)``. The factor 0 gives
        no noise, the factor 1 this noise.

        Args:
            scale: The factor, >= 0.

        Raises:
            TypeError: If ``scale`` is no number.
            ValueError: If it is negative or not finite.
        """
        scale = real("scale", scale, minimum=0.0)
        if scale == 1.0:
            return self
        return dataclasses.replace(
            self,
            p1=min(scale * self.p1, P1_MAX),
            p2=min(scale * self.p2, P2_MAX),
            dephasing=min(scale * self.dephasing, DEPHASING_MAX),
            gate_time_1=scale * self.gate_time_1,
            gate_time_2=scale * self.gate_time_2,
            over_rotation=scale * self.over_rotation,
            readout={
                label: (min(scale * e0, 0.5), min(scale * e1, 0.5))
                for label, (e0, e1) in self._readout_pairs.items()
            }
            if self._by_wire
            else tuple(min(scale * e, 0.5) for e in self.readout),
        )

    # --- gates -------------------------------------------------------------------

    def operations_after(self, op: Operator) -> list[Operator]:
        """The channels that follow a gate, in the order they act.

        Over-rotation is not among them, since it changes the gate itself.

        Args:
            op: An operation. What is no gate is followed by nothing.

        Raises:
            ValueError: If it is a gate on more than two wires.
        """
        if not is_gate(op):
            return []
        wires = op.wires
        if len(wires) > 2:
            raise ValueError(
                f"Noise follows gates on at most 2 wires, but {op.name} acts on "
                f"{len(wires)}. Decompose it first, as with qml.transforms.decompose."
            )
        channels = []
        if len(wires) == 1 and self.p1:
            channels.append(qml.DepolarizingChannel(self.p1, wires=wires))
        if len(wires) == 2 and self.p2:
            kraus = two_qubit_depolarizing(self.p2)
            channels.append(qml.QubitChannel(kraus, wires=wires))
        if self.dephasing:
            channels += [qml.PhaseFlip(self.dephasing, wires=wire) for wire in wires]
        time = self.gate_time_1 if len(wires) == 1 else self.gate_time_2
        for wire in wires:
            channels += self._relaxation(time, wire)
        return channels

    def _relaxes(self, time: float) -> bool:
        return time > 0.0 and math.isfinite(self.t2)  # if t1 is finite, so is t2

    def _relaxation(self, time: float, wire: Hashable) -> list[Operator]:
        if not self._relaxes(time):
            return []
        if time <= self.t1 if self.t2 > self.t1 else time <= 100.0 * self.t2:
            return [
                qml.ThermalRelaxationError(self.excited, self.t1, self.t2, time, wire)
            ]
        # PennyLane's ThermalRelaxationError divides 0 by 0 for long times: for t2 > t1
        # it is off by 1e-8 at 10 t1 and wrong from 20 t1 on, else it is NaN from 700 t2
        # on. Damping and a phase flip are the same channel.
        damping = -math.expm1(-time / self.t1)
        flip = -math.expm1(time * (0.5 / self.t1 - 1.0 / self.t2)) / 2.0
        return [
            qml.GeneralizedAmplitudeDamping(damping, self.excited, wires=wire),
            qml.PhaseFlip(max(flip, 0.0), wires=wire),
        ]

    # --- readout -----------------------------------------------------------------

    @property
    def _by_wire(self) -> bool:
        return not isinstance(self.readout[0], float)

    @property
    def _readout_pairs(self) -> dict[Hashable, Pair]:
        return dict(self.readout) if self._by_wire else {}

    def readout_of(self, label: Hashable) -> Pair:
        """The pair ``(p(1|0), p(0|1))`` of the wire with a label."""
        if self._by_wire:
            return self._readout_pairs.get(label, (0.0, 0.0))
        e0, e1 = self.readout
        return e0, e1

    def readout_channel(self, label: Hashable) -> qml.QubitChannel | None:
        """A channel that measures a wire and misreads it; None if it is read perfectly.

        A device without readout error that measures after this channel gives misread
        outcomes.
        """
        e0, e1 = self.readout_of(label)
        if not (e0 or e1):
            return None
        kraus = np.zeros((4, 2, 2))
        kraus[0, 0, 0], kraus[1, 1, 0] = math.sqrt(1.0 - e0), math.sqrt(e0)
        kraus[2, 1, 1], kraus[3, 0, 1] = math.sqrt(1.0 - e1), math.sqrt(e1)
        return qml.QubitChannel(list(kraus), wires=label)

    # --- other simulators --------------------------------------------------------

    def to_noise_model(self) -> qml.NoiseModel:
        r"""The same noise for `qml.noise.add_noise` and any PennyLane device.

        Noise follows the gates the model is shown: at the levels "top" and "user" of
        ``add_noise`` those of the circuit, at "device" those the device runs. Gates on
        more than two wires are refused at every level: decompose them first.

        Readout error is inserted before expval, var, probs, sample and counts, so that
        every measured Pauli letter :math:`P` becomes
        :math:`(1 - e_0 - e_1)P + (e_1 - e_0)I` with :math:`e_0 = p(1|0)`,
        :math:`e_1 = p(0|1)`. State, density matrix, purity and entropies are not read
        out. The model raises ValueError for a measurement it cannot express: sums of
        words that do not commute on every wire, all wires by default, mid-circuit
        outcomes and shadows.

        Example:
            >>> noise = NoiseSpec(p1=0.03, readout=(0.0, 0.1))
            >>> @qml.noise.add_noise(noise_model=noise.to_noise_model())
            ... @qml.qnode(qml.device("default.mixed", wires=1))
            ... def circuit():
            ...     qml.X(0)
            ...     return qml.expval(qml.Z(0))
            >>> print(f"{circuit():.3f}")
            -0.764
        """
        gates = {qml.BooleanFn(is_gate, "gate"): self._follow}
        outcomes = {qml.BooleanFn(_is_read, "outcomes"): self._misread}
        return qml.NoiseModel(
            gates if self.has_gate_noise else {},
            outcomes if self.has_readout_error else {},
        )

    def _follow(self, op: Operator, **_: Any) -> None:
        """Queue what has to follow a perfect gate so that it is noisy."""
        with aside():
            operations = self.operations_after(op)
            scales = [
                1.0 if ndim else 1.0 + self.over_rotation for ndim in op.ndim_params
            ]
            if any(scale != 1.0 for scale in scales):
                angles = [s * value for s, value in zip(scales, op.data, strict=True)]
                # add_noise replaces the first operation that is nearly equal to the
                # gate by the gate. A lazy adjoint is never equal to its base.
                replaced = qml.adjoint(qml.adjoint(bind_new_parameters(op, angles)))
                operations = [qml.adjoint(op), replaced, *operations]
        for operation in operations:
            qml.apply(operation)

    def _misread(self, measurement: MeasurementProcess, **_: Any) -> None:
        """Queue what has to precede a measurement so that its outcomes are misread."""
        with aside():
            rotation = _to_computational_basis(measurement)
            channels = [self.readout_channel(wire) for wire in measurement.wires]
            channels = [channel for channel in channels if channel is not None]
            back = [qml.adjoint(op, lazy=False) for op in reversed(rotation)]
        for operation in (*rotation, *channels, *back) if channels else ():
            qml.apply(operation)

    def to_aer(self, *, basis_gates: Sequence[str] = AER_GATES) -> Any:
        """The same noise as a `qiskit_aer.noise.NoiseModel`; needs qiskit-aer.

        Aer adds noise by the name of a gate: a circuit must be written in
        ``basis_gates``, and a gate outside them runs perfectly if Aer is given it.

        Args:
            basis_gates: Names of Qiskit's standard gates on one or two qubits.

        Returns:
            A noise model; wires are Aer's qubits.

        Raises:
            ImportError: If qiskit-aer is not installed.
            TypeError: If readout is given for wires that are no qubit numbers.
            ValueError: If angles are over-rotated, which Aer cannot express, or if a
                gate is unknown or acts on more than two qubits.
        """
        aer, gates = _import("qiskit_aer.noise"), _import("qiskit.circuit.library")
        if self.over_rotation:
            raise ValueError(
                f"Argument `over_rotation` must be 0 for Aer, which cannot scale "
                f"angles, but is {self.over_rotation}. Scale those of the circuit."
            )
        known = gates.get_standard_gate_name_mapping()
        widths = {
            name: known[choice("basis_gates", name, known)].num_qubits
            for name in basis_gates
        }
        model = aer.NoiseModel(basis_gates=list(basis_gates))
        for width in sorted(set(widths.values())):
            names = [name for name in basis_gates if widths[name] == width]
            if width not in (1, 2):
                raise ValueError(
                    f"Argument `basis_gates` must hold gates on 1 or 2 qubits, but "
                    f"{names[0]} acts on {width}."
                )
            error = self._aer_error(aer, width)
            if error is not None:
                model.add_all_qubit_quantum_error(error, names)
        if not self._by_wire:
            e0, e1 = self.readout
            if self.has_readout_error:
                model.add_all_qubit_readout_error([[1 - e0, e0], [e1, 1 - e1]])
        for label, (e0, e1) in self._readout_pairs.items():
            if not isinstance(label, numbers.Integral):
                raise TypeError(
                    f"Argument `readout` must name qubits by number for Aer, but names "
                    f"{label!r}."
                )
            model.add_readout_error([[1 - e0, e0], [e1, 1 - e1]], [int(label)])
        return model

    def _aer_error(self, aer: Any, width: int) -> Any:
        p, time = [(self.p1, self.gate_time_1), (self.p2, self.gate_time_2)][width - 1]
        one_qubit, error = [], None
        if self.dephasing:
            flip = [("Z", self.dephasing), ("I", 1.0 - self.dephasing)]
            one_qubit.append(aer.pauli_error(flip))
        if self._relaxes(time):
            times = (self.t1, self.t2, time, self.excited)
            one_qubit.append(aer.thermal_relaxation_error(*times))
        if p:  # Aer's parameter is the probability of replacing the state by 1/d
            error = aer.depolarizing_error(p * 4**width / (4**width - 1), width)
        for part in one_qubit:
            part = part.tensor(part) if width == 2 else part
            error = part if error is None else error.compose(part)
        return error


# --- checks ----------------------------------------------------------------------


def _probability(name: str, value: Any, maximum: float) -> float:
    number = real(name, value, minimum=0.0)
    if number > maximum:
        raise ValueError(f"Argument `{name}` must be <= {maximum}, but is {number}.")
    return number


def _lifetime(name: str, value: Any) -> float:
    return math.inf if value == math.inf else real(name, value, above=0.0)


def _readout(value: Any) -> Readout:
    """One pair, or pairs of label and pair without the wires read perfectly."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif _is_items(value):
        items = list(value)
    else:
        return _pair("readout", value)
    pairs = [(label, _pair(f"readout[{label!r}]", pair)) for label, pair in items]
    noisy = (item for item in pairs if item[1] != (0.0, 0.0))
    return tuple(sorted(noisy, key=lambda item: repr(item[0]))) or (0.0, 0.0)


def _is_items(value: Any) -> bool:
    """Whether a value is a mapping as it is stored, from `dataclasses.replace`."""
    return isinstance(value, tuple) and all(
        isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], tuple)
        for item in value
    )


def _pair(name: str, value: Any) -> Pair:
    array = finite(name, value)
    if array.shape not in ((2,), (2, 2)):
        raise ValueError(
            f"Argument `{name}` must be a pair (p(1|0), p(0|1)) or a confusion matrix "
            f"of shape (2, 2), but has shape {array.shape}."
        )
    if (array < 0.0).any() or (array > 1.0).any():
        raise ValueError(
            f"Argument `{name}` must hold probabilities from 0 to 1, but is "
            f"{array.tolist()}."
        )
    if array.ndim == 2:
        if (np.abs(array.sum(axis=1) - 1.0) > 1e-8).any():
            raise ValueError(
                f"Argument `{name}` must have rows that sum to 1, one row per true "
                f"outcome, but they sum to {array.sum(axis=1).tolist()}."
            )
        array = np.array([array[0, 1], array[1, 0]])
    if array.sum() > 1.0:
        raise ValueError(
            f"Argument `{name}` must have p(1|0) + p(0|1) <= 1, but they are "
            f"{array.tolist()}: worse than a coin. Swap the outcomes."
        )
    return float(array[0]), float(array[1])


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"An Aer noise model needs {module}, which is not installed. Install it "
            f'with: pip install "qstore-pl[qiskit]"'
        ) from error


# --- gates and measurements ------------------------------------------------------


def two_qubit_depolarizing(p: float) -> list[NDArray[np.complex128]]:
    """Kraus matrices, 16 of shape (4, 4), of 15 Pauli errors of probability p/15."""
    weights = np.full(16, p / 15.0)
    weights[0] = 1.0 - p
    return list(np.sqrt(weights)[:, None, None] * pauli_words(2))


def is_gate(op: Operator) -> bool:
    """Whether noise follows an operation: no preparation, channel or marker."""
    return not isinstance(op, _NO_GATE) and len(op.wires) > 0


def _is_read(measurement: MeasurementProcess) -> bool:
    return isinstance(measurement, _OUTCOMES + _SHADOWS)


def _to_computational_basis(measurement: MeasurementProcess) -> list[Operator]:
    """The gates, without noise, before the readout of a measurement."""
    way_out = None
    if isinstance(measurement, _SHADOWS):
        way_out = "Its bases are drawn later; set `readout` to (0, 0)"
    elif measurement.mv is not None:
        way_out = 'Defer measurements first, as with level="device"'
    elif measurement.obs is None and not measurement.wires:
        way_out = 'Name its wires, or use level="device"'
    if way_out is not None:
        raise ValueError(
            f"Readout error cannot be inserted before {measurement}. {way_out}."
        )
    return [] if measurement.obs is None else _diagonalizing(measurement.obs)


def _diagonalizing(obs: Operator) -> list[Operator]:
    """The gates after which an observable is read wire by wire."""
    words = obs.pauli_rep or {}
    letters = {pair for word in words for pair in word.items()}
    if words and len({wire for wire, _ in letters}) == len(letters):
        basis = {"X": qml.X, "Y": qml.Y, "Z": qml.Z}
        pairs = sorted(letters, key=repr)
        return [op for w, p in pairs for op in basis[p](w).diagonalizing_gates()]
    if isinstance(obs, qml.ops.Prod) and not obs.has_overlapping_wires:
        return [op for factor in obs for op in _diagonalizing(factor)]
    if isinstance(obs, qml.ops.SProd):
        return _diagonalizing(obs.base)
    if not isinstance(obs, qml.ops.CompositeOp):
        return list(obs.diagonalizing_gates())
    raise ValueError(
        f"Readout error cannot be inserted before {obs}: its terms are not read in one "
        f"basis per wire. Measure them one by one, as with "
        f"qml.transforms.split_non_commuting, before the noise is added."
    )
