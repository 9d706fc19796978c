"""Circuits at many values at once on a machine of another package.

It has the methods of the lanes of our own devices: gradient estimators do not know the
difference. All lanes of a mini-batch, values and shifts, are one submission, in which
circuits that are the same are run once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl.backends.machine import Machine
from qstore_pl.errors import QuantumCircuitError

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Float3D = NDArray[np.float64]
Bool1D = NDArray[np.bool_]
Shots = int | NDArray[np.int64]


class Runner(Protocol):
    """A device that runs circuits at many angles."""

    machine: Machine

    def run(self, parts: Sequence[Any]) -> list[devices.Drawn]:
        """Run circuits in one submission."""


@final
class MachineLanes:
    """A circuit that runs at many values at once.

    Args:
        device: The device of the machine.
        circuit: The circuit, turned if gates are shifted.
    """

    def __init__(self, device: Runner, circuit: devices.Parametric) -> None:
        self._device, self._circuit = device, circuit
        self._shifts: dict[bytes, devices.Shifts] = {}

    @property
    def n_groups(self) -> int:
        """How many circuits are run for one lane."""
        return len(self._circuit.circuits)

    @property
    def uses(self) -> devices.Uses:
        """The numbers of gates that may be shifted."""
        assert self._circuit.uses is not None
        return self._circuit.uses

    @staticmethod
    def features_of(features: Float2D) -> Float2D:
        """Data as the circuit takes them."""
        return features

    def shifts(self, weights: Bool1D) -> devices.Shifts:
        """The lanes for the gradient with respect to some weights.

        Args:
            weights: Mask of the weights, shape ``(n_weights,)``.
        """
        key = weights.tobytes()
        if key not in self._shifts:
            self._shifts = {
                key: devices.Shifts(self.uses, self.uses.depending(weights))
            }
        return self._shifts[key]

    def at(
        self,
        points: Float2D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        shots: Shots = 0,
    ) -> Float3D:
        """Measured values at several weights, in one submission.

        Args:
            points: Weights, shape ``(n_points, n_weights)``.
            features: Encoded data of the samples, shape ``(batch, n_features)``.
            rows: Not used.
            shots: Number of shots, one or one for each point; 0 for exact values.

        Returns:
            Shape ``(n_points, batch, n_values)``.
        """
        del rows
        angles = [self._circuit.angles(point, features) for point in points]
        return self._run(np.concatenate(angles), len(points), shots)

    def shifted(
        self,
        shifts: devices.Shifts,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        shots: Shots = 0,
        drawn: list[devices.Drawn] | None = None,
    ) -> Float3D:
        """Measured values as they are and with shifted gates, in one submission.

        Args:
            shifts: The lanes of each sample.
            weights: Shape ``(n_weights,)``.
            features: Encoded data of the samples, shape ``(batch, n_features)``.
            rows: Not used.
            shots: Number of shots, one or one for each lane; 0 for exact values.
            drawn: A list to which the outcomes are added, in the order of the lanes.

        Returns:
            Shape ``(n_lanes, batch, n_values)``.

        Raises:
            QuantumCircuitError: If the outcomes of a machine that corrects them are
                asked for.
        """
        del rows
        machine = self._device.machine
        if drawn is not None and machine.limits.quasi:
            raise QuantumCircuitError(
                "Adaptive shots need the variances of outcomes, which are not known "
                "from corrected frequencies. Give a number of shots, or leave out the "
                "error mitigation.",
                backend=machine.name,
            )
        all_lanes = slice(0, shifts.n_lanes * len(features))
        columns = shifts.columns(weights, features, all_lanes)
        angles = self._circuit.angles(weights, columns)
        return self._run(angles, shifts.n_lanes, shots, drawn)

    def _run(
        self,
        angles: Float2D,
        n_lanes: int,
        shots: Shots,
        drawn: list[devices.Drawn] | None = None,
    ) -> Float3D:
        each = np.broadcast_to(np.asarray(shots, dtype=np.int64), (n_lanes,))
        batch = len(angles) // n_lanes
        numbers: Any = np.repeat(each, batch) if each.any() else None
        (found,) = self._device.run([(self._circuit, angles, numbers)])
        if drawn is not None:
            drawn.append(found)
        return found.values().reshape(n_lanes, batch, -1)
