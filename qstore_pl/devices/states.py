"""The kinds of states that a device simulates: lowered, measured and sampled.

A device chooses the kind for each tape. Here Programs of the engine meet PennyLane's
functions of states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import MeasurementProcess, Shots
from pennylane.operation import Operator

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


class StateKind(ABC):
    """A kind of states: vectors, density matrices, or trajectories."""

    simulator: ModuleType
    """PennyLane's module with functions of states of this kind."""

    exact = True
    """Whether two executions with the same values have the same results."""

    program: Callable[..., Program] = MixedProgram
    """The class of the Program, where states are mixed."""

    noise: SpecNoise | None = None
    """The noise of the device, of which the readout error counts."""

    postselected: Mapping[Any, int] = MappingProxyType({})
    """The outcome that is kept, for the label of each record that is postselected."""

    fills = False
    """Whether postselection can keep every shot."""

    @abstractmethod
    def lower(
        self,
        circuit: Circuit,
        rotation: Sequence[Operator] = (),
        *,
        dtype: str = "complex128",
    ) -> Program:
        """The Program of a tape that was taken apart.

        Args:
            circuit: The tape.
            rotation: Gates before outcomes are read, which have no noise.
            dtype: The type of amplitudes, which says the precision of the states.
        """

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

    def shadow(
        self,
        mp: MeasurementProcess,
        states: NDArray[Any],
        order: tuple[Any, ...],
        shots: Shots,
        rng: np.random.Generator,
    ) -> Sequence[Any]:
        """A classical shadow by PennyLane's functions, for each number of shots.

        Args:
            mp: The measurement.
            states: The state, a single row.
            order: Wire labels in the order of the register.
            shots: Number of shots, which may be several numbers.
            rng: The random generator that it is drawn from.
        """
        positions = {label: i for i, label in enumerate(order)}
        found = self.simulator.measure_with_samples(
            [mp.map_wires(positions)],
            self.tensor(states)[0],
            shots=shots,
            is_state_batched=False,
            rng=rng,
        )
        if shots.has_partitioned_shots:
            return [one[0] for one in found]
        return [found[0]]

    def state_bytes(self, n_wires: int) -> int:
        """Memory that the state of one sample takes."""
        return 16 << n_wires

    def check_kept(self, shots: Sequence[int], left: Sequence[int], p: float) -> None:
        """Refuse that postselection keeps no shot, or do nothing.

        Args:
            shots: Numbers of shots.
            left: How many of each are kept.
            p: Probability of the outcomes that are kept.
        """
        return


class PureStates(StateKind):
    """State vectors, for circuits without noise.

    Args:
        postselected: The outcome that is kept, for the label of each record that is
            postselected. It counts in circuits with shots alone.
    """

    simulator = qml.devices.qubit
    fills = True

    def __init__(self, postselected: Mapping[Any, int] | None = None) -> None:
        self.postselected = dict(postselected or {})

    def lower(
        self,
        circuit: Circuit,
        rotation: Sequence[Operator] = (),
        *,
        dtype: str = "complex128",
    ) -> Program:
        """The Program of a tape that was taken apart."""
        return lower(circuit, rotation=rotation, dtype=dtype)

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
    noise: SpecNoise

    def __init__(
        self, noise: SpecNoise, postselected: Mapping[Any, int] | None = None
    ) -> None:
        self.noise, self.postselected = noise, dict(postselected or {})

    def lower(
        self,
        circuit: Circuit,
        rotation: Sequence[Operator] = (),
        *,
        dtype: str = "complex128",
    ) -> Program:
        """The Program of a tape that was taken apart."""
        return lower(circuit, self.noise, rotation=rotation, dtype=dtype)

    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """What an analytic measurement needs of density matrices, and its value."""
        readout = mixed_readout_of(mp, order, self.noise)
        if not self.postselected:
            return readout
        return Conditioned(readout, Condition(self.postselected, order))

    def tensor(self, states: NDArray[Any]) -> NDArray[np.complex128]:
        """Density matrices with two axes for each wire."""
        return density_tensor(states)

    def shadow(
        self,
        mp: MeasurementProcess,
        states: NDArray[Any],
        order: tuple[Any, ...],
        shots: Shots,
        rng: np.random.Generator,
    ) -> Sequence[Any]:
        """A classical shadow by PennyLane's functions, which know no misreading.

        Raises:
            DeviceError: If the device has readout error.
        """
        if self.noise.spec.has_readout_error:
            raise DeviceError(
                "Classical shadows cannot be misread here. Measure something else, or "
                "use noise without readout error."
            )
        return super().shadow(mp, states, order, shots, rng)

    def state_bytes(self, n_wires: int) -> int:
        """Memory that the state of one sample takes."""
        return 8 << 2 * n_wires

    def check_kept(self, shots: Sequence[int], left: Sequence[int], p: float) -> None:
        """Refuse that postselection keeps no shot.

        Raises:
            DeviceError: If one of the numbers of shots that are kept is 0.
        """
        if not all(left):
            raise DeviceError(
                f"Of {list(shots)} shots {list(left)} had the postselected outcome, "
                f"whose probability is {p:.3g}. Use more shots."
            )

    def reads_truly(self, wires: Iterable[Any]) -> bool:
        """Whether the outcomes on these wires are read without errors."""
        return not any(any(self.noise.readout_of(wire)) for wire in wires)
