"""The two kinds of states a device runs: how a tape is lowered, read and sampled.

Glue between Programs and PennyLane's functions of states; a device chooses the kind for
each tape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import (
    ClassicalShadowMP,
    MeasurementProcess,
    ShadowExpvalMP,
)
from pennylane.tape import QuantumScript

from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.lowering import Circuit, lower
from qstore_pl.devices.mixed_readout import density_tensor, mixed_readout_of
from qstore_pl.devices.readout import Readout, readout_of
from qstore_pl.engine.program import Program


class States(ABC):
    """A kind of states."""

    simulator: ModuleType
    """PennyLane's functions of states of this kind."""

    @abstractmethod
    def lower(self, circuit: Circuit) -> Program:
        """The Program of a tape that was taken apart."""

    @abstractmethod
    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """The readout of an analytic measurement."""

    @abstractmethod
    def tensor(self, states: NDArray[Any]) -> NDArray[np.complex128]:
        """What a Program calls states as PennyLane does, shape (batch, 2, ..., 2)."""

    def sampling_options(
        self, tape: QuantumScript, order: Sequence[Any]
    ) -> dict[str, Any]:
        """More arguments for PennyLane's sampling."""
        return {}


class PureStates(States):
    """State vectors."""

    simulator = qml.devices.qubit

    def lower(self, circuit: Circuit) -> Program:
        """The Program of a tape that was taken apart."""
        return lower(circuit)

    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """The readout of an analytic measurement."""
        return readout_of(mp, order)

    def tensor(self, states: NDArray[Any]) -> NDArray[np.complex128]:
        """State vectors with an axis for each wire."""
        n_wires = states.shape[1].bit_length() - 1
        return states.reshape(len(states), *[2] * n_wires)


class MixedStates(States):
    """Density matrices, with noise after the gates and misread outcomes.

    Args:
        noise: What follows the gates.
    """

    simulator = qml.devices.qubit_mixed

    def __init__(self, noise: SpecNoise) -> None:
        self.noise = noise

    def lower(self, circuit: Circuit) -> Program:
        """The Program of a tape that was taken apart."""
        return lower(circuit, self.noise)

    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """The readout of an analytic measurement."""
        return mixed_readout_of(mp, order, self.noise)

    def tensor(self, states: NDArray[Any]) -> NDArray[np.complex128]:
        """Density matrices with two axes for each wire."""
        return density_tensor(states)

    def sampling_options(
        self, tape: QuantumScript, order: Sequence[Any]
    ) -> dict[str, Any]:
        """How each wire is misread.

        Raises:
            DeviceError: If PennyLane's function of the measurement cannot misread it.
        """
        spec = self.noise.spec
        if not spec.has_readout_error:
            return {}
        shadows = (ClassicalShadowMP, ShadowExpvalMP)
        if any(isinstance(mp, shadows) for mp in tape.measurements):
            raise DeviceError(
                "Classical shadows cannot be misread here. Measure something else, or "
                "use noise without readout error."
            )

        def misread(wire: int) -> Any:
            channel = spec.readout_channel(order[wire])
            if channel is None:
                return qml.Identity(wire)
            return qml.QubitChannel(channel.data, wires=wire)

        return {"readout_errors": [misread]}
