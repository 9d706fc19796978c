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
    ExpectationMP,
    MeasurementProcess,
    ShadowExpvalMP,
    Shots,
)

from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.lowering import Circuit, lower
from qstore_pl.devices.mixed_readout import density_tensor, mixed_readout_of
from qstore_pl.devices.readout import Readout, readout_of
from qstore_pl.engine.program import Program

SHADOWS = (ClassicalShadowMP, ShadowExpvalMP)


class States(ABC):
    """A kind of states."""

    simulator: ModuleType
    """PennyLane's functions of states of this kind."""

    exact = True
    """Whether two runs on the same values are the same."""

    @abstractmethod
    def lower(self, circuit: Circuit) -> Program:
        """The Program of a tape that was taken apart."""

    @abstractmethod
    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """The readout of an analytic measurement."""

    @abstractmethod
    def tensor(self, states: NDArray[Any]) -> NDArray[np.complex128]:
        """What a Program calls states as PennyLane does, shape (batch, 2, ..., 2)."""

    def sample(
        self,
        measurements: Sequence[MeasurementProcess],
        states: NDArray[np.complex128],
        order: tuple[Any, ...],
        shots: Shots,
        rng: np.random.Generator,
        *,
        batched: bool,
    ) -> Any:
        """Results from finite shots, in PennyLane's nesting for several measurements.

        Args:
            measurements: On the labels of ``order``.
            states: From :meth:`tensor`.
            order: Wire labels in the order of the register.
            shots: How many.
            rng: Where the samples come from.
            batched: Whether results have a batch axis.
        """
        positions = {label: i for i, label in enumerate(order)}
        return self.simulator.measure_with_samples(
            [mp.map_wires(positions) for mp in map(self._sampled, measurements)],
            states if batched else states[0],
            shots=shots,
            is_state_batched=batched,
            rng=rng,
            **self._misreading(measurements, order),
        )

    def _sampled(self, mp: MeasurementProcess) -> MeasurementProcess:
        """The measurement as PennyLane is given it."""
        return mp

    def _misreading(
        self, measurements: Sequence[MeasurementProcess], order: Sequence[Any]
    ) -> dict[str, Any]:
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

    def _sampled(self, mp: MeasurementProcess) -> MeasurementProcess:
        return word_by_word(mp)

    def _misreading(
        self, measurements: Sequence[MeasurementProcess], order: Sequence[Any]
    ) -> dict[str, Any]:
        spec = self.noise.spec
        if not spec.has_readout_error:
            return {}
        if any(isinstance(mp, SHADOWS) for mp in measurements):
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


def word_by_word(mp: MeasurementProcess) -> MeasurementProcess:
    """The expectation value of a sum as one that PennyLane samples term by term.

    A multiple of a sum it would read in an eigenbasis, which is misread otherwise.
    """
    sentence = None if mp.obs is None else mp.obs.pauli_rep
    if isinstance(mp, ExpectationMP) and sentence is not None and len(sentence) > 1:
        return ExpectationMP(sentence.operation())
    return mp
