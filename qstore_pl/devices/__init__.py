"""PennyLane devices over the engine, and the Programs of compiled circuits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pennylane.devices import Device
from pennylane.tape import QuantumScript

from qstore_pl.devices.aside import aside
from qstore_pl.devices.assembly import (
    executable,
    lanes_of_weights,
    of_first_sample,
)
from qstore_pl.devices.base import QStoreDevice
from qstore_pl.devices.bound import bound_operations
from qstore_pl.devices.deferring import deferred_bound
from qstore_pl.devices.entries import CannotCompileError
from qstore_pl.devices.executable import (
    ONLY_FIRST_DERIVATIVES,
    Call,
    Executable,
)
from qstore_pl.devices.failures import running_on
from qstore_pl.devices.groups import has_groups
from qstore_pl.devices.lanes import Lanes, lanes_of
from qstore_pl.devices.memory import check_memory
from qstore_pl.devices.metrics import METRICS, metric, tape_metric
from qstore_pl.devices.mock_ideal import MockIdeal
from qstore_pl.devices.mock_noisy import MockNoisy
from qstore_pl.devices.noise import NoiseSpec
from qstore_pl.devices.parametric import (
    Circuit,
    Gate,
    Parametric,
    in_batches,
    parametric,
)
from qstore_pl.devices.program_cache import CacheInfo
from qstore_pl.devices.resumable import ResumableDevice
from qstore_pl.devices.shift_rules import shift_fails
from qstore_pl.devices.shifts import rules_of_conditions
from qstore_pl.devices.structure import (
    LightCones,
    depth,
    gates,
    light_cones,
    parts_of,
)
from qstore_pl.devices.symbols import SymbolError, Symbols, symbols, symbols_of
from qstore_pl.devices.torch_symbols import TorchSymbols
from qstore_pl.devices.tracing import (
    Recorded,
    alike,
    check_alike,
    needs_value,
    recorded,
    traced,
    twice,
)
from qstore_pl.engine.lanes import Shifts, Uses
from qstore_pl.engine.metric import FubiniStudy, Metric
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.passes import IdlePasses
from qstore_pl.engine.program import Program, untied_columns
from qstore_pl.engine.shots import Drawn
from qstore_pl.engine.threads import run as in_threads
from qstore_pl.engine.trajectories import TrajectoryProgram
from qstore_pl.engine.transfer import density_matrix, pauli_vector

__all__ = [
    "METRICS",
    "ONLY_FIRST_DERIVATIVES",
    "CacheInfo",
    "Call",
    "CannotCompileError",
    "Circuit",
    "Drawn",
    "Executable",
    "FubiniStudy",
    "Gate",
    "IdlePasses",
    "Lanes",
    "LightCones",
    "Metric",
    "MixedProgram",
    "MockIdeal",
    "MockNoisy",
    "NoiseSpec",
    "Parametric",
    "Program",
    "Recorded",
    "ResumableDevice",
    "Shifts",
    "SymbolError",
    "Symbols",
    "TorchSymbols",
    "TrajectoryProgram",
    "Uses",
    "alike",
    "aside",
    "bound_operations",
    "check_alike",
    "check_memory",
    "compile",
    "deferred_bound",
    "density_matrix",
    "depth",
    "description",
    "executable",
    "functions",
    "gates",
    "generator_state",
    "has_groups",
    "in_batches",
    "in_threads",
    "is_native",
    "is_ours",
    "lanes",
    "lanes_of_weights",
    "light_cones",
    "metric",
    "needs_value",
    "of_first_sample",
    "parametric",
    "parts_of",
    "pauli_vector",
    "recorded",
    "rules_of_conditions",
    "running_on",
    "set_generator_state",
    "shift_fails",
    "symbols",
    "symbols_of",
    "tape_metric",
    "traced",
    "twice",
    "untied_columns",
]


def is_ours(device: Device) -> bool:
    """Whether a device is one of this package.

    Example:
        >>> import pennylane as qml
        >>> names = ("qstore.mock_noisy", "default.mixed")
        >>> [is_ours(qml.device(name)) for name in names]
        [True, False]
    """
    return isinstance(device, QStoreDevice)


def is_native(device: Device) -> bool:
    """Whether :func:`compile` takes a device: it is ours, and has no shots.

    Example:
        >>> import pennylane as qml
        >>> names = ("qstore.mock_ideal", "default.qubit")
        >>> [is_native(qml.device(name)) for name in names]
        [True, False]
    """
    return isinstance(device, QStoreDevice) and not device.shots


def description(device: Device) -> str:
    """A text that says what a device is; its seed is not part of it.

    Example:
        >>> import pennylane as qml
        >>> description(qml.device("qstore.mock_ideal", wires=2, seed=7))
        'qstore.mock_ideal'
    """
    if isinstance(device, ResumableDevice):
        return device.description
    return str(device.name)


def functions(device: Device) -> list[Callable[..., Any]]:
    """Functions of the user's that results depend on, such as those of a noise model.

    They are listed for our devices only; another device gives an empty list.
    """
    return device.functions if isinstance(device, ResumableDevice) else []


def generator_state(device: Device) -> dict[str, Any] | None:
    """The state of the random generator of one of our devices; None for another one."""
    return device.generator_state if isinstance(device, ResumableDevice) else None


def set_generator_state(device: Device, state: dict[str, Any] | None) -> None:
    """Set the random generator of one of our devices to a state.

    Args:
        device: One of our devices; nothing happens for another.
        state: What :func:`generator_state` gave; None changes nothing.
    """
    if isinstance(device, ResumableDevice) and state is not None:
        device.generator_state = state


def compile(
    tape: QuantumScript,
    inputs: Sequence[Symbols | None],
    device: Device,
    *,
    n_weights: int,
    n_features: int,
) -> Program | None:
    """The Program of a circuit on a device: a function of arrays, without PennyLane.

    A Program is called with weights, which all samples share, and features, a row for
    each sample. These are not checked when it is called: amplitudes should be
    normalised, bits be 0 or 1, and strengths of channels be in their range.

    Args:
        tape: The circuit of one sample. It may measure expectation values, of Pauli
            sums or of other observables on at most 8 wires, and probabilities of the
            computational basis on at most 8 wires, which are one output for each
            outcome.
        inputs: What each parameter of the tape is, in the order of the tape: symbols of
            the shape of the parameter, which say how it depends on weights and
            features; or None for a constant, the number that is on the tape.
        device: A device for which :func:`is_native` holds.
        n_weights: Length of the weights that the Program is called with.
        n_features: Number of columns of the features that it is called with.

    Returns:
        None if the device has noise that depends on the values of gates.

    Raises:
        ValueError: If the device is not one of ours or has shots, the inputs do not fit
            the tape, or something else is measured.
        DeviceError: If an operation cannot be compiled, or memory does not suffice.

    Example:
        >>> import pennylane as qml
        >>> tape = qml.tape.QuantumScript([qml.RX(0.0, 0)], [qml.expval(qml.Z(0))])
        >>> angle = 2 * symbols("weights", 0, ())
        >>> device = qml.device("qstore.mock_ideal", wires=1)
        >>> program = compile(tape, [angle], device, n_weights=1, n_features=0)
        >>> float(program.run([np.pi / 2], np.empty((1, 0)))[0, 0])
        -1.0
    """
    if not (isinstance(device, QStoreDevice) and is_native(device)):
        raise ValueError(
            "Argument `device` must be a qstore device without shots, but is "
            f"{device.name}. Run the QNode there."
        )
    return device.compile(tape, inputs, n_weights=n_weights, n_features=n_features)


def lanes(
    tape: QuantumScript,
    inputs: Sequence[Symbols | None],
    device: Device,
    *,
    n_weights: int,
    n_features: int,
    shots: bool,
    shifted: bool,
) -> Lanes | None:
    """A circuit that runs at many weights at once, or with shifted gates.

    Args:
        tape: The circuit of one sample, as :func:`compile` takes it.
        inputs: What each parameter of the tape is, as for :func:`compile`.
        device: One of our devices.
        n_weights: Length of the weights.
        n_features: Number of columns of the features.
        shots: Whether values are estimated from shots.
        shifted: Whether gates can be shifted; else every lane has its own weights.

    Returns:
        None if the device has noise that depends on the values of gates.

    Raises:
        TypeError: If the device is not one of ours.
        DeviceError: If a gate has no shift rule, or cannot be compiled.
    """
    if not isinstance(device, QStoreDevice):
        raise TypeError(
            f"Argument `device` must be a qstore device, but is {device.name}."
        )
    tape, inputs = deferred_bound(tape, inputs, follows_gates=device.follows_gates)
    return lanes_of(
        tape,
        bound_operations(tape, inputs),
        device,
        n_weights=n_weights,
        n_features=n_features,
        shots=shots,
        shifted=shifted,
    )
