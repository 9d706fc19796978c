"""PennyLane devices over the engine, and the one door to its Programs."""

from __future__ import annotations

from pennylane.devices import Device

from qstore_pl.devices.base import QStoreDevice
from qstore_pl.devices.lowering import Binding, CacheInfo
from qstore_pl.devices.lowering import compile_tape as compile
from qstore_pl.devices.mock_ideal import MockIdeal

__all__ = ["Binding", "CacheInfo", "MockIdeal", "compile", "is_native"]


def is_native(device: Device) -> bool:
    """Whether :func:`compile` gives Programs for a device: ours, exact."""
    return isinstance(device, QStoreDevice) and not device.shots
