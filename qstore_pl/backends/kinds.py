"""The backends that have a name: what they are made of, and what they take.

A row for each kind of machine. What is installed and which keys there are is asked for
when a device is made, or when backends are listed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pennylane as qml
from pennylane.devices import Device

from qstore_pl._secrets import Secret
from qstore_pl.backends.counting import Counting
from qstore_pl.backends.device import MachineDevice
from qstore_pl.backends.machine import Machine
from qstore_pl.backends.mitigation import MITIGATION, check_mitigation, mitigated


@dataclass(frozen=True)
class Kind:
    """A kind of backend that is a machine of another package.

    Args:
        extra: Name of the extra that installs what it needs.
        needs: Modules that it imports.
        module: Where its class is.
        machine: Name of its class, or of a function that makes it.
        fixed: Arguments of the class that the name decides.
        options: Names of the arguments that a user may give.
        required: Those of them that a user must give.
        remote: Whether circuits leave this computer.
        key: Environment variables in which its key is looked for.
    """

    extra: str
    needs: tuple[str, ...]
    module: str
    machine: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    remote: bool = False
    key: tuple[str, ...] = ()

    def made(self, name: str, options: Mapping[str, Any]) -> Machine:
        """The machine with these options.

        Args:
            name: Name of the backend.
            options: Arguments of the class.

        Raises:
            ImportError: If a package is missing; the message says how to install it.
        """
        try:
            for module in self.needs:
                importlib.import_module(module)
        except ImportError as error:
            raise ImportError(
                f"Backend {name} needs {error.name}, which is not installed. Install "
                f'it with pip install "qstore-pl[{self.extra}]".'
            ) from error
        home = importlib.import_module(f"qstore_pl.backends.{self.module}")
        machine: Machine = getattr(home, self.machine)(**self.fixed, **options)
        return machine


REMOTE = ("deadline", "ledger", "max_concurrent", "poll", "replay")
IONQ = ("api_key", "compilation", "job_name", "prices", *REMOTE)
KINDS = {
    "cirq": Kind("cirq", ("cirq",), "cirq", "CirqMachine"),
    "cirq_mixed": Kind(
        "cirq",
        ("cirq",),
        "cirq",
        "CirqMachine",
        fixed={"mixed": True},
        options=("noise",),
    ),
    "qiskit": Kind(
        "qiskit",
        ("qiskit", "qiskit_aer"),
        "qiskit",
        "AerMachine",
        options=("noise_model", "method"),
    ),
    "ionq_simulator": Kind(
        "ionq",
        ("pennylane_ionq",),
        "ionq",
        "IonQMachine",
        options=("noise_model", "noise_seed", *IONQ),
        remote=True,
        key=("PENNYLANE_IONQ_API_KEY", "IONQ_API_KEY"),
    ),
    "ionq_qpu": Kind(
        "ionq",
        ("pennylane_ionq",),
        "ionq",
        "IonQMachine",
        fixed={"qpu": True},
        options=("machine", "error_mitigation", *IONQ),
        remote=True,
        key=("PENNYLANE_IONQ_API_KEY", "IONQ_API_KEY"),
    ),
    "qiskit_remote": Kind(
        "qiskit",
        ("qiskit", "qiskit_ibm_runtime"),
        "ibm",
        "qiskit_remote",
        options=(
            "backend",
            "optimization_level",
            "token",
            "instance",
            *REMOTE,
        ),
        required=("backend",),
        remote=True,
        key=("QISKIT_IBM_TOKEN",),
    ),
}
SECRETS = ("api_key", "token")  # options
DEVICE_OPTIONS = ("shots", "seed")


@dataclass(frozen=True)
class MachineFactory:
    """A function that makes the device of a machine; it can be pickled.

    Args:
        kind: Name of the backend, one of ``KINDS``.
        options: What the user chose for it.
        counted: Whether circuits are counted instead of run, which takes no key.
    """

    kind: str
    options: tuple[tuple[str, Any], ...] = ()
    counted: bool = False

    def __call__(self, n_wires: int) -> Device:
        """A new device with this many wires."""
        given = dict(self.options)
        of_device = {k: given.pop(k) for k in DEVICE_OPTIONS if k in given}
        corrections = {k: given.pop(k) for k in MITIGATION if k in given}
        machine = KINDS[self.kind].made(self.kind, given)
        if self.counted:
            machine = Counting(machine)
        return MachineDevice(mitigated(machine, corrections), n_wires, **of_device)


@dataclass(frozen=True)
class NamedDevice:
    """A function that makes a device of this package; it can be pickled.

    Args:
        device: Name of the device for ``qml.device``.
    """

    device: str

    def __call__(self, n_wires: int) -> Device:
        """A new device with this many wires."""
        # seed=None, as the default would draw from the user's global NumPy generator.
        return qml.device(self.device, wires=n_wires, seed=None)


@dataclass(frozen=True)
class PluginDevice:
    """A function that makes a device of another package, which may take no seed.

    Args:
        device: Name of the device for ``qml.device``.
    """

    device: str

    def __call__(self, n_wires: int) -> Device:
        """A new device with this many wires."""
        return qml.device(self.device, wires=n_wires)


@dataclass(frozen=True)
class GivenDevice:
    """A function that returns a device that exists already.

    Args:
        device: The device.
    """

    device: Device

    def __call__(self, n_wires: int) -> Device:
        """The device, if it has at least this many wires."""
        if self.device.wires is not None and len(self.device.wires) < n_wires:
            raise ValueError(
                f"Argument `backend` must have at least {n_wires} wires, but "
                f"{self.device.name} has {len(self.device.wires)}."
            )
        return self.device


DeviceFactory = Callable[[int], Device]
OURS = ("mock_ideal", "mock_noisy")
OTHERS = {"default.qubit": "default.qubit", "lightning": "lightning.qubit"}


def factory_of(name: str, options: Mapping[str, Any]) -> DeviceFactory | None:
    """What makes the devices of a built-in backend; None if the name is none.

    Args:
        name: Name of the backend.
        options: What the user chose for it.

    Raises:
        TypeError: If it takes none of these options.
        ValueError: If the number in an option is out of its range.
    """
    if name in KINDS:
        kind = KINDS[name]
        allowed = (*kind.options, *MITIGATION, *DEVICE_OPTIONS)
        if unknown := [word for word in options if word not in allowed]:
            raise TypeError(
                f"Backend {name} has no option {unknown[0]!r}; its options are "
                f"{', '.join(allowed)}."
            )
        check_mitigation(options)
        if missing := [word for word in kind.required if options.get(word) is None]:
            raise TypeError(
                f"Backend {name} must be given the option {missing[0]!r}: "
                f'BackendManager().get_backend("{name}", {missing[0]}=...).'
            )
        kept = {
            k: Secret(v) if k in SECRETS and isinstance(v, str) else v
            for k, v in options.items()
            if v is not None
        }
        return MachineFactory(name, tuple(kept.items()))
    found: DeviceFactory | None = None
    if name in OURS:
        found = NamedDevice(f"qstore.{name}")
    elif name in OTHERS or name in qml.plugin_devices:
        found = PluginDevice(OTHERS.get(name, name))
    if found is not None and options:
        raise TypeError(
            f"Backend {name} has no option {next(iter(options))!r} here. Make the "
            "device with qml.device, and give it as the backend."
        )
    return found
