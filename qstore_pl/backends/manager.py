"""Finds the PennyLane device for the name of a backend. It knows no model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pennylane.devices import Device

from qstore_pl.backends.kinds import (
    KINDS,
    OTHERS,
    OURS,
    DeviceFactory,
    GivenDevice,
    MachineFactory,
    factory_of,
)
from qstore_pl.config import TrainingConfig

CONFIGURED = {
    "quantum_target": "machine",
    "quantum_api_key": "api_key",
    "max_concurrent_circuits": "max_concurrent",
}
"""Fields of the configuration, and the options that they are for backends that have
them."""

_log = logging.getLogger("qstore_pl.backends")


@dataclass(frozen=True)
class Backend:
    """A place where circuits run.

    Args:
        name: Name of the backend, as users know it.
        factory: Function from a number of wires to a PennyLane device.
    """

    name: str
    factory: DeviceFactory

    @property
    def options(self) -> Mapping[str, Any]:
        """The options that it was made with."""
        factory = self.factory
        return dict(factory.options) if isinstance(factory, MachineFactory) else {}

    @property
    def is_remote(self) -> bool:
        """Whether circuits leave this computer, as far as is known."""
        factory = self.factory
        return isinstance(factory, MachineFactory) and KINDS[factory.kind].remote

    def device(self, n_wires: int) -> Device:
        """A device with at least this many wires."""
        return self.factory(n_wires)


BUILT_IN = (*OURS, *KINDS, *OTHERS)
_registered: dict[str, Backend] = {}  # by name, for the whole process


class BackendManager:
    """Finds backends by name, and registers them.

    A name that one manager registers is known everywhere in the process: to all other
    managers, to ``QuantumModel(backend=...)`` and to
    ``TrainingConfig(quantum_sdk=...)``.

    Args:
        config: The configuration whose ``quantum_sdk`` is the name of the backend where
            :meth:`get_backend` is given none.

    Example:
        >>> BackendManager().get_backend("mock_ideal").name
        'mock_ideal'
    """

    def __init__(self, config: TrainingConfig | None = None) -> None:
        self.config = TrainingConfig() if config is None else config

    def __repr__(self) -> str:
        return f"BackendManager(config={self.config!r})"

    def get_backend(self, name: str | None = None, **options: Any) -> Backend:
        """The backend of this name.

        Args:
            name: One of :meth:`list_backends`, or the name of any PennyLane device that
                is installed, such as ``"default.mixed"``. None takes the
                ``quantum_sdk`` of the configuration.
            **options: Options of the backend, which :meth:`list_backends` names.

        Raises:
            ValueError: If no backend has that name; the message lists the known ones.
            TypeError: If the backend has no such option.
        """
        if name is None:
            name = self.config.resolve("quantum_sdk")
        name = plain_name(name)
        if name == "ionq":
            name = "ionq_simulator"
            _log.info(
                'Backend "ionq" is "ionq_simulator", a simulator that IonQ runs. Name '
                '"ionq_qpu" for a quantum computer, which takes money.'
            )
        if name in _registered:
            if options:
                raise TypeError(
                    f"Backend {name} was registered, and has no options. Register it "
                    "with a function that makes the device as you want it."
                )
            return _registered[name]
        factory = factory_of(name, configured(self.config, name) | options)
        if factory is not None:
            return Backend(name, factory)
        listed = ", ".join(f'"{word}"' for word in sorted(_known()))
        raise ValueError(
            f"Argument `backend` must be one of {listed}, or the name of a PennyLane "
            f"device that is installed, but is {name!r}."
        )

    def list_backends(self) -> list[str]:
        """The names of all registered and built-in backends, sorted."""
        return sorted(_known())

    def register_backend(
        self, name: str, backend: DeviceFactory | Device, *, replace: bool = False
    ) -> Backend:
        """Add a backend, for the whole process.

        Args:
            name: A name that no other backend has.
            backend: A PennyLane device, or a function from a number of wires to one.
            replace: Whether the name may be that of a backend registered before. Models
                that already run on the old backend stay there.

        Raises:
            ValueError: If the name is taken.
            TypeError: If ``backend`` is neither a device nor a function.
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


def plain_name(name: str) -> str:
    """A name without the words that may be left out of it."""
    return "mock_ideal" if name == "mock" else name.removeprefix("qstore.")


def configured(config: TrainingConfig, name: str) -> dict[str, Any]:
    """The options of a backend that a configuration sets.

    Args:
        config: The configuration.
        name: Name of the backend.
    """
    name = "ionq_simulator" if name == "ionq" else plain_name(name)
    if name in _registered or name not in KINDS:
        return {}
    return {
        option: getattr(config, field)
        for field, option in CONFIGURED.items()
        if option in KINDS[name].options and getattr(config, field) is not None
    }


def _known() -> set[str]:
    """The names of all backends."""
    return {*BUILT_IN, *_registered}


def wire_labels(device: Device, n_wires: int) -> tuple[Any, ...]:
    """The first wire labels of a device, or numbers if it takes any labels."""
    labels = range(n_wires) if device.wires is None else device.wires
    return tuple(labels)[:n_wires]


def as_backend(backend: Any, *, name: str | None = None) -> Backend:
    """The backend that an argument stands for.

    Args:
        backend: A name, a Backend, a PennyLane device, or, with ``name``, a function
            from a number of wires to one.
        name: Name of the backend; None takes that of the device.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If ``backend`` is none of these.
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
