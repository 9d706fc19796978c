"""PennyLane's channels, as gates of the engine.

A channel on one wire multiplies the components X, Y and Z of the state by factors, and
may add to Z. Where a factor is no polynomial of the channel's parameters, it is
computed from their values, and the entry has its derivative. Strengths that are numbers
are checked here; a strength that depends on weights or features is not.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator

from qstore_pl.devices.entries import Entry, Wires, first_slot
from qstore_pl.devices.symbols import Symbols
from qstore_pl.devices.tensors import is_jax, to_jax, to_numpy
from qstore_pl.engine.gates import Angle, Channel, Kraus, MixedGate, Transfer
from qstore_pl.engine.transfer import LETTERS, transfer_matrix

MAX_CHANNEL_WIRES = 4  # a transfer matrix has 16**wires entries
ONE = Angle(1.0)
CHANNELS: dict[str, Entry] = {}


def _numbers(op: Operator) -> list[Any]:
    """The parameters as floats, as JAX traces them, or as symbols."""
    kept = [isinstance(v, Symbols) or is_jax(v) for v in op.data]
    pairs = zip(op.data, kept, strict=True)
    return [v if as_it_is else float(to_numpy(v)) for v, as_it_is in pairs]


def _checked(op: Operator, holds: Any, needed: str, values: Sequence[Any]) -> Any:
    """The values, if a condition on them holds.

    Where JAX compiles, whether it holds is not known yet: the values become NaN if it
    does not.

    Raises:
        ValueError: If the condition does not hold.
    """
    if qml.math.is_abstract(holds):
        return tuple(qml.math.where(holds, value, np.nan) for value in values)
    if not holds:
        shown = ", ".join(
            "a symbol" if isinstance(value, Symbols) else f"{float(value):g}"
            for value in values
        )
        raise ValueError(
            f"Parameters of {op.name} must have {needed}, but are {shown}."
        )
    return tuple(values)


def _probabilities(op: Operator) -> tuple[Any, ...]:
    values = _numbers(op)
    return _checked(op, _from_0_to_1(*values), "values from 0 to 1", values)


def _from_0_to_1(*values: Any) -> Any:
    holds: Any = True
    for value in values:
        if _are_known(value):
            holds = holds & (value >= 0.0) & (value <= 1.0)
    return holds


def _are_known(*values: Any) -> bool:
    """Whether no value is a symbol, which is known only on execution."""
    return not any(isinstance(value, Symbols) for value in values)


def _one_wire(
    name: str,
    scales: Callable[..., tuple[Angle, Angle, Angle, Angle]],
    *,
    n_values: int = 1,
    values: Callable[[Operator], tuple[float, ...]] = _probabilities,
    jacobian: Callable[[Operator], NDArray[np.float64]] | None = None,
) -> None:
    """Enter a channel on one wire into the table.

    Args:
        name: Name of the channel.
        scales: Function from the numbers of the channel, as angles, to the factors of
            X, Y and Z and what is added to Z.
        n_values: How many numbers there are.
        values: Function from the channel to its numbers.
        jacobian: Function from the channel to the derivative of its numbers with
            respect to its parameters; None if the numbers are the parameters.
    """

    def lower(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
        x, y, z, shift = scales(*(param.angle for param in params))
        yield Channel(wires, (ONE, x, y, z), (0, 1, 2, 3), shift)

    CHANNELS[name] = Entry(
        lower,
        ndims=(0,) * n_values,
        values=values,
        jacobian=jacobian,
        controllable=False,
        channel=True,
    )


def _depolarizing(p: Angle) -> tuple[Angle, Angle, Angle, Angle]:
    scale = ONE - 4.0 / 3.0 * p
    return scale, scale, scale, Angle()


def _reset(to_zero: Angle, to_one: Angle) -> tuple[Angle, Angle, Angle, Angle]:
    scale = ONE - to_zero - to_one
    return scale, scale, scale, to_zero - to_one


def _reset_values(op: Operator) -> tuple[Any, ...]:
    values = _probabilities(op)
    holds = not _are_known(*values) or sum(values) <= 1.0
    return _checked(op, holds, "a sum <= 1", values)


_one_wire("DepolarizingChannel", _depolarizing)
_one_wire("BitFlip", lambda p: (ONE, ONE - 2.0 * p, ONE - 2.0 * p, Angle()))
_one_wire("PhaseFlip", lambda p: (ONE - 2.0 * p, ONE - 2.0 * p, ONE, Angle()))
_one_wire("ResetError", _reset, n_values=2, values=_reset_values)


def _coherence(op: Operator) -> tuple[Any, ...]:
    gamma, *others = _probabilities(op)
    return (qml.math.sqrt(1.0 - gamma), gamma, *others)


def _coherence_jacobian(op: Operator) -> NDArray[np.float64]:
    gamma, *others = _numbers(op)
    with np.errstate(divide="ignore"):  # the slope is infinite at gamma = 1
        slope = -0.5 / np.sqrt(np.float64(1.0 - gamma))
    jacobian = np.zeros((1 + len(others), 2 + len(others)))
    jacobian[0, :2] = slope, 1.0
    jacobian[1:, 2:] = np.eye(len(others))
    return jacobian


_one_wire(
    "PhaseDamping",
    lambda root, gamma: (root, root, ONE, Angle()),
    n_values=2,
    values=_coherence,
    jacobian=_coherence_jacobian,
)
_one_wire(
    "AmplitudeDamping",
    lambda root, gamma: (root, root, ONE - gamma, gamma),
    n_values=2,
    values=_coherence,
    jacobian=_coherence_jacobian,
)
_one_wire(
    "GeneralizedAmplitudeDamping",
    lambda root, gamma, p: (root, root, ONE - gamma, gamma * (ONE - 2.0 * p)),
    n_values=3,
    values=_coherence,
    jacobian=_coherence_jacobian,
)


def _relaxation(op: Operator) -> tuple[float, ...]:
    values = _numbers(op)
    needed = "an excited population from 0 to 1"
    values = _checked(op, _from_0_to_1(values[0]), needed, values)
    excited, t1, t2, time = values
    known = _are_known(t1, t2, time)
    holds = not known or (t1 > 0.0) & (t2 > 0.0) & (t2 <= 2.0 * t1) & (time >= 0.0)
    needed = "times t1 > 0, 0 < t2 <= 2 t1 and a gate time >= 0"
    excited, t1, t2, time = _checked(op, holds, needed, values)
    kept = qml.math.exp(-time / t1)
    return qml.math.exp(-time / t2), kept, (1.0 - 2.0 * excited) * (1.0 - kept)


def _relaxation_jacobian(op: Operator) -> NDArray[np.float64]:
    excited, t1, t2, time = _numbers(op)
    coherence, kept = np.exp(-time / t2), np.exp(-time / t1)
    bias = 1.0 - 2.0 * excited
    by_t1 = kept * time / t1**2
    return np.array(
        [
            [0.0, 0.0, -2.0 * (1.0 - kept)],
            [0.0, by_t1, -bias * by_t1],
            [coherence * time / t2**2, 0.0, 0.0],
            [-coherence / t2, -kept / t1, bias * kept / t1],
        ]
    )


_one_wire(
    "ThermalRelaxationError",
    lambda coherence, kept, shift: (coherence, coherence, kept, shift),
    n_values=3,
    values=_relaxation,
    jacobian=_relaxation_jacobian,
)


def _pauli_error(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    """A factor for each Pauli word that anticommutes with the error."""
    signs = np.ones(1)
    for letter in op.hyperparameters["operators"]:
        row = [1.0 if other in ("I", letter) else -1.0 for other in LETTERS]
        signs = np.kron(signs, np.ones(4) if letter == "I" else np.array(row))
    which = tuple(int(sign < 0.0) for sign in signs)
    yield Channel(wires, (ONE, ONE - 2.0 * params[0].angle), which)


CHANNELS["PauliError"] = Entry(
    _pauli_error,
    key=lambda op: op.hyperparameters["operators"],
    ndims=(0,),
    values=_probabilities,
    controllable=False,
    channel=True,
)


def _kraus(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    (param,) = params
    yield Kraus(wires, first_slot(op, param, complex=True), len(op.data), param.wanted)


def _kraus_values(op: Operator) -> tuple[Any, ...]:
    jax = any(map(is_jax, op.data))
    tensor = to_jax if jax else to_numpy
    return (qml.math.stack([tensor(matrix) for matrix in op.data]),)


CHANNELS["QubitChannel"] = Entry(
    _kraus,
    key=lambda op: len(op.data),
    ndims=(3,),
    values=_kraus_values,
    pulls=lambda op: [operator.itemgetter(k) for k in range(len(op.data))],
    complex=True,
    controllable=False,
    channel=True,
)


def _replacement(op: Operator) -> tuple[Any, ...]:
    """Kraus matrices that replace any state by a density matrix."""
    matrix = to_numpy(op.data[0])
    if len(op.wires) > MAX_CHANNEL_WIRES:
        raise DeviceError(
            f"{op.name} must be on at most {MAX_CHANNEL_WIRES} wires here, but is on "
            f"{len(op.wires)}."
        )
    shares, vectors = np.linalg.eigh(matrix)
    columns = np.sqrt(np.maximum(shares, 0.0)) * vectors
    units = np.eye(len(matrix))
    return (np.stack([np.outer(c, e) for c in columns.T for e in units]),)


CHANNELS["QubitDensityMatrix"] = Entry(
    lambda op, params, wires: [
        Kraus(wires, first_slot(op, params[0], complex=True), 4 ** len(wires))
    ],
    ndims=(3,),
    values=_replacement,
    complex=True,
    differentiable=False,
    controllable=False,
    channel=True,
)


def constant_gate(op: Operator, wires: Wires) -> Transfer:
    """An operation with its present values, as a gate without any value.

    Args:
        op: A channel, or a gate with a matrix.
        wires: Positions of its wires in the register.

    Raises:
        DeviceError: If it has neither Kraus matrices nor a matrix, or too many wires.
    """
    if len(wires) > MAX_CHANNEL_WIRES:
        raise DeviceError(
            f"Operation {op.name} must be on at most {MAX_CHANNEL_WIRES} wires to be "
            f"used as noise, but is on {len(wires)}."
        )
    if isinstance(op, qml.operation.Channel):
        kraus = op.kraus_matrices()
    elif op.has_matrix:
        kraus = [op.matrix()]
    else:
        raise DeviceError(
            f"Operation {op.name} has neither Kraus matrices nor a matrix, so it "
            "cannot be used as noise here. Run the circuit through a QNode."
        )
    matrix = transfer_matrix([to_numpy(part) for part in kraus])
    matrix[0] = 0.0
    matrix[0, 0] = 1.0  # the trace is kept exactly, in spite of rounding
    return Transfer(wires, tuple(map(tuple, matrix.tolist())))
