"""The kinds of states that a device simulates: lowered, measured and sampled.

A device chooses the kind for each tape. Here Programs of the engine meet PennyLane's
functions of states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from qstore_pl.devices.mixed_readout import (
    Condition,
    Conditioned,
    density_tensor,
    mixed_readout_of,
)
from qstore_pl.devices.readout import Readout, readout_of
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.program import Program

SHADOWS = (ClassicalShadowMP, ShadowExpvalMP)


class StateKind(ABC):
    """A kind of states: vectors, density matrices, or trajectories."""

    simulator: ModuleType
    """PennyLane's module with functions of states of this kind."""

    exact = True
    """Whether two executions with the same values have the same results."""

    program: Callable[..., Program] = MixedProgram
    """The class of the Program, where states are mixed."""

    @abstractmethod
    def lower(self, circuit: Circuit) -> Program:
        """The Program of a tape that was taken apart."""

    @abstractmethod
    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """What an analytic measurement needs of the states, and its value.

        Args:
            mp: The measurement.
            order: Wire labels in the order of the register.
        """

    @abstractmethod
    def tensor(self, states: NDArray[Any]) -> NDArray[np.complex128]:
        """The states of a Program in the shape that PennyLane's functions take.

        Args:
            states: From the Program, a row for each sample.
        """

    def reads_truly(self, wires: Iterable[Any]) -> bool:
        """Whether the outcomes on these wires are read without errors."""
        return True

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
        """Results from finite shots, nested as PennyLane does for several measurements.

        Args:
            measurements: The measurements, on the labels in ``order``.
            states: The states, as :meth:`tensor` gives them.
            order: Wire labels in the order of the register.
            shots: Number of shots, which may be several numbers.
            rng: The random generator that outcomes are drawn from.
            batched: Whether the results have a batch axis.
        """
        positions = {label: i for i, label in enumerate(order)}
        states, shots = self._kept(states, order, shots, rng)
        return self.simulator.measure_with_samples(
            [mp.map_wires(positions) for mp in map(self._sampled, measurements)],
            states if batched else states[0],
            shots=shots,
            is_state_batched=batched,
            rng=rng,
            **self._misreading(measurements, order),
        )

    def _kept(
        self,
        states: NDArray[np.complex128],
        order: tuple[Any, ...],
        shots: Shots,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.complex128], Shots]:
        """The states after postselection, and the number of shots that it keeps."""
        return states, shots

    def _sampled(self, mp: MeasurementProcess) -> MeasurementProcess:
        """The measurement that is handed to PennyLane's sampling in its place."""
        return mp

    def _misreading(
        self, measurements: Sequence[MeasurementProcess], order: Sequence[Any]
    ) -> dict[str, Any]:
        return {}


class PureStates(StateKind):
    """State vectors, for circuits without noise."""

    simulator = qml.devices.qubit

    def lower(self, circuit: Circuit) -> Program:
        """The Program of a tape that was taken apart."""
        return lower(circuit)

    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """What an analytic measurement needs of state vectors, and its value."""
        return readout_of(mp, order)

    def tensor(self, states: NDArray[Any]) -> NDArray[np.complex128]:
        """State vectors with an axis for each wire."""
        n_wires = states.shape[1].bit_length() - 1
        return states.reshape((len(states), *[2] * n_wires))


class MixedStates(StateKind):
    """Density matrices, for circuits with noise.

    Args:
        noise: Noise of the device.
        postselected: The outcome that is kept, for the label of each record that is
            postselected.
    """

    simulator = qml.devices.qubit_mixed

    def __init__(
        self, noise: SpecNoise, postselected: Mapping[Any, int] | None = None
    ) -> None:
        self.noise, self.postselected = noise, dict(postselected or {})

    def lower(self, circuit: Circuit) -> Program:
        """The Program of a tape that was taken apart."""
        return lower(circuit, self.noise)

    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """What an analytic measurement needs of density matrices, and its value."""
        readout = mixed_readout_of(mp, order, self.noise)
        if not self.postselected:
            return readout
        return Conditioned(readout, Condition(self.postselected, order))

    def tensor(self, states: NDArray[Any]) -> NDArray[np.complex128]:
        """Density matrices with two axes for each wire."""
        return density_tensor(states)

    def _kept(
        self,
        states: NDArray[np.complex128],
        order: tuple[Any, ...],
        shots: Shots,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.complex128], Shots]:
        if not self.postselected:
            return states, shots
        n = len(order)
        states = states.copy()
        for label, outcome in self.postselected.items():
            for axis in (1 + order.index(label), 1 + n + order.index(label)):
                np.moveaxis(states, axis, 0)[1 - outcome] = 0.0
        matrix = states.reshape(len(states), 1 << n, 1 << n)
        (share,) = np.einsum("bii->b", matrix).real  # one sample
        left = [int(rng.binomial(s, min(share, 1.0))) for s in shots]
        if not all(left):
            raise DeviceError(
                f"Of {list(shots)} shots {left} had the postselected outcome, whose "
                f"probability is {share:.3g}. Use more shots."
            )
        return states / share, Shots(left if shots.has_partitioned_shots else left[0])

    def reads_truly(self, wires: Iterable[Any]) -> bool:
        """Whether the outcomes on these wires are read without errors."""
        return not any(any(self.noise.readout_of(wire)) for wire in wires)

    def _sampled(self, mp: MeasurementProcess) -> MeasurementProcess:
        return word_by_word(mp)

    def _misreading(
        self, measurements: Sequence[MeasurementProcess], order: Sequence[Any]
    ) -> dict[str, Any]:
        if not self.noise.spec.has_readout_error:
            return {}
        if any(isinstance(mp, SHADOWS) for mp in measurements):
            raise DeviceError(
                "Classical shadows cannot be misread here. Measure something else, or "
                "use noise without readout error."
            )

        def misread(wire: int) -> Any:
            label = order[wire]
            channel = self.noise.spec.readout_channel(label)
            if channel is None or label in self.noise.records:
                return qml.Identity(wire)
            return qml.QubitChannel(channel.data, wires=wire)

        return {"readout_errors": [misread]}


def word_by_word(mp: MeasurementProcess) -> MeasurementProcess:
    """The expectation value of a sum, in a form that PennyLane samples word by word.

    PennyLane samples a multiple of a sum in the eigenbasis of the sum, where readout
    error has another effect.
    """
    sentence = None if mp.obs is None else mp.obs.pauli_rep
    if isinstance(mp, ExpectationMP) and sentence is not None and len(sentence) > 1:
        return ExpectationMP(sentence.operation())
    return mp
