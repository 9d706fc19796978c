"""From the name of a backend to a PennyLane device. It never sees a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pennylane as qml
from pennylane.devices import Device

from qstore_pl.config import TrainingConfig

DeviceFactory = Callable[[int], Device]


@dataclass(frozen=True)
class NamedDevice:
    """A factory for devices PennyLane knows by name; unlike a closure it pickles.

    Args:
        device: Name for ``qml.device``.
    """

    device: str

    def __call__(self, n_wires: int) -> Device:
        """A new device with this many wires."""
        # None: numpy's global generator is the user's, who made no device here.
        return qml.device(self.device, wires=n_wires, seed=None)


@dataclass(frozen=True)
class PluginDevice:
    """A factory for devices of other packages, which may know no seed.

    Args:
        device: Name for ``qml.device``.
    """

    device: str

    def __call__(self, n_wires: int) -> Device:
        """A new device with this many wires."""
        return qml.device(self.device, wires=n_wires)


@dataclass(frozen=True)
class GivenDevice:
    """The factory of a device that exists already."""

    device: Device

    def __call__(self, n_wires: int) -> Device:
        """That device, if it has enough wires."""
        if self.device.wires is not None and len(self.device.wires) < n_wires:
            raise ValueError(
                f"Argument `backend` must have at least {n_wires} wires, but "
                f"{self.device.name} has {len(self.device.wires)}."
            )
        return self.device


@dataclass(frozen=True)
class Backend:
    """A place where circuits run.

    Args:
        name: The name users know it by.
        factory: From a number of wires to a PennyLane device.
    """

    name: str
    factory: DeviceFactory

    def device(self, n_wires: int) -> Device:
        """A device with at least this many wires."""
        return self.factory(n_wires)


BUILT_IN = {
    name: Backend(name, NamedDevice(f"qstore.{name}"))
    for name in ("mock_ideal", "mock_noisy")
}
_registered: dict[str, Backend] = {}  # of this process, by name


class BackendManager:
    """Finds backends by name, and registers them.

    A name that one manager registers is known everywhere in the process: to every
    other manager, to ``QuantumModel(backend=)`` and to a configuration's
    ``quantum_sdk``.

    Args:
        config: Its ``quantum_sdk`` is the name :meth:`get_backend` takes by default.

    Example:
        >>> BackendManager().get_backend("mock_ideal").name
        'mock_ideal'
    """

    def __init__(self, config: TrainingConfig | None = None) -> None:
        self.config = TrainingConfig() if config is None else config

    def __repr__(self) -> str:
        return f"BackendManager(config={self.config!r})"

    def get_backend(self, name: str | None = None) -> Backend:
        """The backend of a name; without one, the configuration's.

        Args:
            name: One of :meth:`list_backends`, or the name of any PennyLane device
                that is installed, as ``"default.qubit"``.

        Raises:
            ValueError: If no backend has that name; the message lists the known ones.
        """
        if name is None:
            name = self.config.resolve("quantum_sdk")
        name = "mock_ideal" if name == "mock" else name.removeprefix("qstore.")
        known = _known()
        if name in known:
            return known[name]
        if name in qml.plugin_devices:
            return Backend(name, PluginDevice(name))
        listed = ", ".join(f'"{word}"' for word in sorted(known))
        raise ValueError(
            f"Argument `backend` must be one of {listed}, or the name of a PennyLane "
            f"device that is installed, but is {name!r}."
        )

    def list_backends(self) -> list[str]:
        """The known names, sorted."""
        return sorted(_known())

    def register_backend(
        self, name: str, backend: DeviceFactory | Device, *, replace: bool = False
    ) -> Backend:
        """Add a backend, for the whole process.

        Args:
            name: A new name.
            backend: A PennyLane device, or a function from a number of wires to one.
            replace: Whether the name may be that of a backend registered before. What
                already runs on that one stays there.

        Raises:
            ValueError: If the name is taken.
            TypeError: If ``backend`` is neither of the two.
        """
        if name in ("mock", *BUILT_IN):
            raise ValueError(f"Argument `name` must be new, but {name!r} is built in.")
        if name in _registered and not replace:
            raise ValueError(
                f"Argument `name` must be new, but {name!r} is registered. Pass "
                "replace=True to let it mean another backend."
            )
        _registered[name] = as_backend(backend, name=name)
        return _registered[name]


def _known() -> dict[str, Backend]:
    """The backends of every name."""
    return BUILT_IN | _registered


def wire_labels(device: Device, n_wires: int) -> tuple[Any, ...]:
    """A device's first wire labels, or numbers where it takes any."""
    labels = range(n_wires) if device.wires is None else device.wires
    return tuple(labels)[:n_wires]


def as_backend(backend: Any, *, name: str | None = None) -> Backend:
    """The backend that a name, a device, a factory or a Backend stands for.

    Raises:
        ValueError: If it is an unknown name.
        TypeError: If it is none of these.
    """
    if isinstance(backend, Backend):
        return backend
    if isinstance(backend, str):
        return BackendManager().get_backend(backend)
    if isinstance(backend, Device):
        return Backend(name or backend.name, GivenDevice(backend))
    if callable(backend) and name is not None:
        return Backend(name, backend)
    raise TypeError(
        "Argument `backend` must be a name, a Backend or a PennyLane device, but is "
        f"{backend!r}."
    )
