"""``qstore devices``: the devices that PennyLane finds, and what they can."""

from __future__ import annotations

import argparse
import re
from importlib.metadata import EntryPoint
from typing import Any

from qstore_pl._tables import aligned
from qstore_pl.commands.printing import add_command, show

# Their devices run on this computer, and can be made without a key.
HERE = ("qstore-pl", "pennylane", "pennylane-lightning")
GRADIENTS = ("backprop", "adjoint")  # PennyLane's words; "device" is its own choice
HEAD = ("device", "package", "version", "gradients", "gates", "measurements inside")
WIRES = 2


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "devices",
        "list the devices that qml.device finds, and what they can",
        description="Lists the names that qml.device takes. Devices of this package, "
        "of PennyLane and of Lightning are made once and asked what they can. Devices "
        "of other packages are not made, since that may take a key, and devices with "
        "PennyLane's old interface cannot be asked. Transforms are PennyLane's, as "
        "parameter shift, which run further circuits.",
    )
    parser.set_defaults(run=_devices)


def _devices(options: argparse.Namespace) -> int:
    import pennylane as qml

    entries = sorted(qml.plugin_devices.items(), key=lambda one: _order(*one))
    found = [_described(name, entry) for name, entry in entries]
    lines = aligned([HEAD, *map(_row, found)], right=[HEAD.index("gates")])
    missing = [f"{one['device']}: {one['missing']}" for one in found if one["missing"]]
    show(options, {"devices": found}, [*lines, *missing])
    return 0


def _order(name: str, entry: EntryPoint) -> tuple[int, str]:
    """The devices of this package first, then those that run here."""
    package = _package(entry)
    return (HERE.index(package) if package in HERE else len(HERE)), name


def _package(entry: EntryPoint) -> str:
    assert entry.dist is not None
    return re.sub("[-_.]+", "-", entry.dist.name).lower()


def _described(name: str, entry: EntryPoint) -> dict[str, Any]:
    """What is known of a device."""
    assert entry.dist is not None
    known: dict[str, Any] = {
        "device": name,
        "package": _package(entry),
        "version": entry.dist.version,
        "asked": False,
        "gradients": None,
        "gates": None,
        "mid_circuit_measurements": None,
        "missing": None,
    }
    if _package(entry) not in HERE:
        return known
    import pennylane as qml
    from pennylane.devices import ExecutionConfig, LegacyDeviceFacade

    try:
        device = qml.device(name, wires=WIRES)
    except ImportError as error:
        return known | {"missing": " ".join(str(error).split())}
    if isinstance(device, LegacyDeviceFacade):
        return known  # its answer would be PennyLane's guess
    gradients = [
        method
        for method in GRADIENTS
        if device.supports_derivatives(ExecutionConfig(gradient_method=method))
    ]
    if device.supports_derivatives(ExecutionConfig(gradient_method="device")):
        gradients.append("device")
    capabilities = device.capabilities
    if capabilities is not None:
        known["gates"] = len(capabilities.operations)
        known["mid_circuit_measurements"] = list(capabilities.supported_mcm_methods)
    return known | {"asked": True, "gradients": gradients}


def _row(known: dict[str, Any]) -> tuple[str, ...]:
    if known["missing"]:
        gradients = "not installed"
    elif not known["asked"]:
        gradients = "not asked"
    else:
        gradients = ", ".join(known["gradients"]) or "transforms"
    gates, inside = known["gates"], known["mid_circuit_measurements"]
    return (
        known["device"],
        known["package"],
        known["version"],
        gradients,
        "-" if gates is None else str(gates),
        "-" if inside is None else ", ".join(inside) or "none",
    )
