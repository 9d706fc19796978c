"""Backends, the places where circuits run, and how they are found by name."""

from qstore_pl.backends.budget import Budget, Purse
from qstore_pl.backends.device import MachineDevice
from qstore_pl.backends.kinds import MachineFactory, NamedDevice
from qstore_pl.backends.lanes import MachineLanes
from qstore_pl.backends.machine import Batch, Bill, Limits, Machine, Ticket
from qstore_pl.backends.manager import (
    CONFIGURED,
    Backend,
    BackendManager,
    as_backend,
    configured,
    wire_labels,
)
from qstore_pl.backends.readout_mitigation import ReadoutMitigation
from qstore_pl.backends.table import BackendInfo, BackendTable
from qstore_pl.backends.zero_noise import ZeroNoise

__all__ = [
    "CONFIGURED",
    "Backend",
    "BackendInfo",
    "BackendManager",
    "BackendTable",
    "Batch",
    "Bill",
    "Budget",
    "Limits",
    "Machine",
    "MachineDevice",
    "MachineFactory",
    "MachineLanes",
    "NamedDevice",
    "Purse",
    "ReadoutMitigation",
    "Ticket",
    "ZeroNoise",
    "as_backend",
    "configured",
    "wire_labels",
]
