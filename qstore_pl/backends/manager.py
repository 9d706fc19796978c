"""Finds the PennyLane device for the name of a backend. It knows no model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pennylane.devices import Device

from qstore_pl._checks import integer, real
from qstore_pl.backends.choosing import best, qubits_of
from qstore_pl.backends.kinds import (
    KINDS,
    OTHERS,
    OURS,
    DeviceFactory,
    GivenDevice,
    MachineFactory,
    factory_of,
)
from qstore_pl.backends.table import (
    BackendTable,
    of_kind,
    of_registered,
    of_simulator,
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

    Example:
        >>> backend = BackendManager().get_backend("mock_noisy")
        >>> backend.name, backend.is_remote
        ('mock_noisy', False)
        >>> backend.device(2).name
        'qstore.mock_noisy'
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

    def list_backends(self) -> BackendTable:
        """All backends with what is known of each, in alphabetical order.

        Returns:
            A mapping from names to what is known, which is whether the backend is
            installed and has a key, most qubits, exact values or shots, gradient
            methods, whether it is remote, its price, and the options of
            :meth:`get_backend`. ``print`` shows it as a table.
        """
        rows = {name: of_simulator(name) for name in (*OURS, *OTHERS)}
        rows |= {kind: of_kind(kind, configured(self.config, kind)) for kind in KINDS}
        for name, backend in _registered.items():
            rows[name] = of_registered(name, backend.factory)
        return BackendTable(rows)

    def find_best_backend(
        self,
        circuit: Any,
        *,
        shots: int | None = None,
        noisy: bool = False,
        remote: bool = False,
        prefer_qpu: bool = False,
        max_cost: float | None = None,
    ) -> Backend:
        """The fastest backend that can run a circuit.

        The built-in backends are tried from the fastest to the slowest for a training
        step: those of this package, PennyLane's, Qiskit's, Cirq's, and then those that
        are not on this computer, where jobs wait. The first is taken that is installed,
        has its key if it needs one, has enough qubits and noise as asked for, and runs
        with shots, or exactly without. A backend that you registered is never chosen,
        since its speed is not known.

        Args:
            circuit: A model, a QNode on a device with wires, or a number of qubits, >=
                1.
            shots: Measurements per circuit, >= 1; None asks for exact values.
            noisy: Whether the backend must have noise; else it must have none.
            remote: Whether circuits may leave this computer.
            prefer_qpu: Whether quantum computers are tried first. They may then be
                taken in spite of their noise, and circuits may leave this computer.
            max_cost: Most US dollars, >= 0, that the cheapest circuit on the backend
                may cost, one without gates; a backend of unknown price is not taken
                then. None is any price. What a training run costs is told by
                ``QuantumTrainer.estimate_cost``.

        Raises:
            ValueError: If no backend can run it; the message says what excludes each.
            TypeError: If ``circuit`` is none of these.

        Example:
            >>> BackendManager().find_best_backend(4).name
            'mock_ideal'
            >>> BackendManager().find_best_backend(4, shots=100, noisy=True).name
            'mock_noisy'
        """
        if shots is not None:
            shots = integer("shots", shots, minimum=1)
        if max_cost is not None:
            max_cost = real("max_cost", max_cost, minimum=0.0)
        name = best(
            self.list_backends(),
            {kind: configured(self.config, kind) for kind in KINDS},
            qubits_of(circuit),
            shots=shots,
            noisy=noisy,
            remote=remote,
            prefer_qpu=prefer_qpu,
            max_cost=max_cost,
        )
        return self.get_backend(name)

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
