"""PennyLane devices over the engine, and the one door to its Programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pennylane.devices import Device
from pennylane.tape import QuantumScript

from qstore_pl.devices.base import QStoreDevice
from qstore_pl.devices.failures import running_on
from qstore_pl.devices.lowering import (
    Binding,
    CacheInfo,
    check_memory,
)
from qstore_pl.devices.metrics import METRICS, metric, tape_metric
from qstore_pl.devices.mock_ideal import MockIdeal
from qstore_pl.devices.mock_noisy import MockNoisy
from qstore_pl.devices.noise import NoiseSpec
from qstore_pl.devices.shift_rules import shift_fails
from qstore_pl.engine.metric import FubiniStudy, Metric
from qstore_pl.engine.program import Program, untied_columns

__all__ = [
    "METRICS",
    "Binding",
    "CacheInfo",
    "FubiniStudy",
    "Metric",
    "MockIdeal",
    "MockNoisy",
    "NoiseSpec",
    "Program",
    "check_memory",
    "compile",
    "description",
    "functions",
    "generator_state",
    "is_native",
    "metric",
    "running_on",
    "set_generator_state",
    "shift_fails",
    "tape_metric",
    "untied_columns",
]


def is_native(device: Device) -> bool:
    """Whether :func:`compile` gives Programs for a device: ours, without shots."""
    return isinstance(device, QStoreDevice) and not device.shots


def description(device: Device) -> str:
    """What a device is, without its seed."""
    if isinstance(device, QStoreDevice):
        return device.description
    return str(device.name)


def functions(device: Device) -> list[Callable[..., Any]]:
    """The user's own functions that the results of one of our devices depend on."""
    return device.functions if isinstance(device, QStoreDevice) else []


def generator_state(device: Device) -> dict[str, Any] | None:
    """Where the random draws of one of our devices are; None for another."""
    return device.generator_state if isinstance(device, QStoreDevice) else None


def set_generator_state(device: Device, state: dict[str, Any] | None) -> None:
    """Let one of our devices draw on from a state; None changes nothing."""
    if isinstance(device, QStoreDevice) and state is not None:
        device.generator_state = state


def compile(
    tape: QuantumScript, binding: Sequence[Binding], device: Device
) -> Program | None:
    """The Program a device runs for a tape: arrays in, arrays out, no PennyLane.

    It is None where the device has noise that depends on the values of gates.

    Args:
        tape: One sample's circuit, measuring expectation values of Pauli sums.
        binding: Where each tape parameter is found, in the tape's order.
        device: A device for which :func:`is_native` holds.

    Raises:
        ValueError: If the device is another one, or a measurement is.
        DeviceError: If an operation cannot be lowered, or memory does not suffice.
    """
    if not (isinstance(device, QStoreDevice) and is_native(device)):
        raise ValueError(
            "Argument `device` must be a qstore device without shots, but is "
            f"{device.name}. Run the QNode there."
        )
    return device.compile(tape, binding)
