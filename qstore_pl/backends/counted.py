"""Backends on which nothing is run but what is free and takes no time.

A machine of another package is replaced by one that counts, and any other device of
another package by one that returns numbers of the right shape. Our own simulators run,
since they are free and fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, final

import numpy as np
from pennylane.devices import Device, ExecutionConfig
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP, ProbabilityMP, VarianceMP
from pennylane.tape import QuantumScript

from qstore_pl import devices
from qstore_pl.backends.counting import UNEVEN, Counting
from qstore_pl.backends.device import MachineDevice
from qstore_pl.backends.kinds import (
    KINDS,
    DeviceFactory,
    MachineFactory,
    NamedDevice,
)
from qstore_pl.backends.machine import Bill, Machine
from qstore_pl.backends.manager import Backend, BackendManager
from qstore_pl.backends.readout_mitigation import ReadoutMitigation
from qstore_pl.backends.zero_noise import ZeroNoise

NO_GATES = frozenset({"Identity", "Barrier", "WireCut", "Snapshot", "GlobalPhase"})


@final
class CountingBackends(BackendManager):
    """A manager whose backends are prepared as those of another, but run nothing.

    Our own simulators run as they are.

    Args:
        manager: The other manager.
        prices: A file of prices for backends that have this option; None takes the
            prices that they were made with.
    """

    def __init__(
        self, manager: BackendManager, *, prices: str | PathLike[str] | None = None
    ) -> None:
        super().__init__(manager.config)
        self._manager, self._prices = manager, prices
        self._ours: list[tuple[Device, Any]] = []  # with the states of their generators

    def get_backend(self, name: str | None = None, **options: Any) -> Backend:
        """The backend that stands for the one of this name."""
        return self.counted(self._manager.get_backend(name, **options))

    def counted(self, backend: Backend) -> Backend:
        """The backend that stands for another one."""
        factory = backend.factory
        if isinstance(factory, NamedDevice):
            return backend
        if not isinstance(factory, MachineFactory):
            return Backend(backend.name, CountedFactory(factory, self._ours))
        options = dict(factory.options)
        if self._prices is not None and "prices" in KINDS[factory.kind].options:
            options["prices"] = self._prices
        chosen = tuple(options.items())
        return Backend(backend.name, replace(factory, options=chosen, counted=True))

    def restore(self) -> None:
        """Give devices of the user's the random generators that they had."""
        for device, generator in reversed(self._ours):
            devices.set_generator_state(device, generator)
        self._ours.clear()


@final
@dataclass(frozen=True)
class CountedFactory:
    """A function that makes devices that count.

    Args:
        factory: What makes the devices that they stand for.
        ours: Where devices of this package, which run as they are, are noted with the
            states of their generators.
    """

    factory: DeviceFactory
    ours: list[tuple[Device, Any]] = field(compare=False, repr=False)

    def __call__(self, n_wires: int) -> Device:
        """A device with at least this many wires."""
        device = self.factory(n_wires)
        if isinstance(device, MachineDevice):
            shots = device.shots.total_shots
            return MachineDevice(
                counting(device.machine), device.wires, shots=shots, seed=0
            )
        if devices.is_ours(device):
            self.ours.append((device, devices.generator_state(device)))
            return device
        return CountingDevice(device)


def counting(machine: Machine) -> Machine:
    """A machine that counts, with the error mitigation of the one it stands for."""
    if isinstance(machine, ReadoutMitigation | ZeroNoise):
        return machine.around(counting(machine.machine))
    return Counting(machine)


@final
class CountingDevice(Device):
    """A PennyLane device that prepares circuits as another one, and runs none.

    It has the transforms and the shots of the other device, and says that it has its
    derivatives. Expectation values and derivatives are near 0.

    Args:
        device: The device that it stands for.

    Attributes:
        spent: All that the other device would have run so far. The price is not known
            to it.
    """

    def __init__(self, device: Device) -> None:
        super().__init__(wires=device.wires)
        self._shots = device.shots
        self._device = device
        self._rng = np.random.default_rng(0)
        self.spent: Bill = Bill(dollars=None)

    @property
    def name(self) -> str:
        """The name of the device that it stands for."""
        return self._device.name

    def setup_execution_config(
        self,
        config: ExecutionConfig | None = None,
        circuit: QuantumScript | None = None,
    ) -> ExecutionConfig:
        """As the other device."""
        return self._device.setup_execution_config(config, circuit)

    def preprocess_transforms(
        self, execution_config: ExecutionConfig | None = None
    ) -> Any:
        """As the other device."""
        return self._device.preprocess_transforms(execution_config)

    def supports_derivatives(
        self,
        execution_config: ExecutionConfig | None = None,
        circuit: QuantumScript | None = None,
    ) -> bool:
        """As the other device."""
        return bool(self._device.supports_derivatives(execution_config, circuit))

    def execute(
        self, circuits: Any, execution_config: ExecutionConfig | None = None
    ) -> Any:
        """Results of the right shape."""
        del execution_config
        if isinstance(circuits, QuantumScript):
            return self.execute([circuits])[0]
        self.spent += Bill(jobs=1, dollars=None)
        return tuple(self._results(tape) for tape in circuits)

    def compute_derivatives(
        self, circuits: Any, execution_config: ExecutionConfig | None = None
    ) -> Any:
        """Derivatives of the right shape."""
        if isinstance(circuits, QuantumScript):
            return self.compute_derivatives([circuits], execution_config)[0]
        return tuple(self._derivatives(tape) for tape in circuits)

    def _results(self, tape: QuantumScript) -> Any:
        batch = tape.batch_size or 1
        shots = batch * (tape.shots.total_shots or 0)
        gates = [len(op.wires) for op in tape.operations if op.name not in NO_GATES]
        one = sum(n == 1 for n in gates)
        self.spent += Bill(
            batch, shots, batch * one, batch * (len(gates) - one), dollars=None
        )
        found = tuple(self._values(tape, mp) for mp in tape.measurements)
        return found[0] if len(found) == 1 else found

    def _values(self, tape: QuantumScript, mp: Any) -> Any:
        shape = _shape(tape, mp, len(self.wires or tape.wires))
        if isinstance(mp, ProbabilityMP):
            shares = 1.0 + self._rng.uniform(-UNEVEN, UNEVEN, shape)
            return shares / shares.sum(axis=-1, keepdims=True)
        return self._rng.uniform(-UNEVEN, UNEVEN, shape)

    def _derivatives(self, tape: QuantumScript) -> Any:
        n = len(tape.trainable_params)
        found = []
        for mp in tape.measurements:
            shape = _shape(tape, mp, len(self.wires or tape.wires))
            parts = tuple(self._rng.uniform(-UNEVEN, UNEVEN, shape) for _ in range(n))
            found.append(parts[0] if n == 1 else parts)
        return found[0] if len(found) == 1 else tuple(found)


def _shape(tape: QuantumScript, mp: Any, n_wires: int) -> tuple[int, ...]:
    """The shape of the result of a measurement."""
    if not isinstance(mp, ExpectationMP | VarianceMP | ProbabilityMP):
        raise DeviceError(
            f"What is run can be counted for expectation values, variances and "
            f"probabilities, but the circuit measures {mp}."
        )
    shape = tuple(mp.shape(shots=None, num_device_wires=n_wires))
    return shape if tape.batch_size is None else (tape.batch_size, *shape)


def counting_of(device: MachineDevice) -> Counting:
    """The counting machine of a device, below the error mitigation.

    Args:
        device: A device that :func:`counted` made.
    """
    machine: Any = device.machine
    while not isinstance(machine, Counting):
        machine = machine.machine
    return machine
