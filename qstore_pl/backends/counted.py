"""Backends on which nothing is run but what is free and takes no time.

A machine of another package is replaced by one that counts, and any other device of
another package by one that returns numbers of the right shape. Our own simulators run,
since they are free and fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from pennylane.devices import Device, ExecutionConfig
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP, ProbabilityMP, VarianceMP
from pennylane.tape import QuantumScript

from qstore_pl import devices
from qstore_pl.backends.counting import UNEVEN, Counting
from qstore_pl.backends.device import MachineDevice
from qstore_pl.backends.kinds import DeviceFactory, MachineFactory
from qstore_pl.backends.machine import Bill
from qstore_pl.backends.manager import Backend

NO_GATES = frozenset({"Identity", "Barrier", "WireCut", "Snapshot", "GlobalPhase"})


def counted(backend: Backend) -> Backend:
    """A backend that is prepared as another one, but runs nothing that costs.

    Args:
        backend: The backend that it stands for. A device of this package that it makes
            or is runs as it is.
    """
    return Backend(backend.name, CountedFactory(backend.factory))


@final
@dataclass(frozen=True)
class CountedFactory:
    """A function that makes devices that count.

    Args:
        factory: What makes the devices that they stand for.
    """

    factory: DeviceFactory

    def __call__(self, n_wires: int) -> Device:
        """A device with at least this many wires."""
        if isinstance(self.factory, MachineFactory):
            return self.factory.device(n_wires, counted=True)
        device = self.factory(n_wires)
        if isinstance(device, MachineDevice):
            return MachineDevice(
                Counting(device.machine),
                device.wires,
                shots=device.shots.total_shots,
                seed=0,
            )
        return device if devices.is_ours(device) else CountingDevice(device)


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
