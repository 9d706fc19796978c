"""Gradients of expectation values where no Program gives them."""

from __future__ import annotations

from qstore_pl import devices
from qstore_pl.gradients.device import DeviceRun
from qstore_pl.gradients.shift import ShiftedRun
from qstore_pl.model import QuantumModel

__all__ = ["DeviceRun", "ShiftedRun", "run_of"]


def run_of(model: QuantumModel, *, shots: int | None) -> DeviceRun | ShiftedRun:
    """The device's own gradient where it has one, else parameter shift.

    Args:
        model: Its device decides.
        shots: Measurements per circuit; None takes the device's own, or is exact.
    """
    if shots is None and devices.is_native(model.device):
        return DeviceRun(model)
    return ShiftedRun(model, shots=shots)
