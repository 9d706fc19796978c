"""Circuits that run at many values at once on our devices, exactly or with shots.

A mini-batch at several weights, or with shifted gates, is one run of a Program on more
samples. With shots the outcomes of every lane are drawn from random streams of its own,
so that they depend neither on threads nor on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from pennylane.tape import QuantumScript

from qstore_pl.devices.base import QStoreDevice
from qstore_pl.devices.bound import gates_of_pairs
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.groups import Grouped, grouped, n_groups
from qstore_pl.devices.lowering import DerivedPlaces, Lowering, wire_order
from qstore_pl.devices.outputs import outputs_of
from qstore_pl.devices.shifts import Pair, measured_wires, turned
from qstore_pl.devices.states import StateKind
from qstore_pl.engine.gates import MixedGate
from qstore_pl.engine.lanes import (
    Shifts,
    Use,
    Uses,
    in_chunks,
    own_columns,
)
from qstore_pl.engine.passes import IdlePasses
from qstore_pl.engine.program import Program
from qstore_pl.engine.shots import Drawn, Sampler, draw_from
from qstore_pl.engine.streams import Ids, Key
from qstore_pl.engine.trajectories import TrajectoryProgram

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Float3D = NDArray[np.float64]
Bool1D = NDArray[np.bool_]
Shots = int | NDArray[np.int64]
KEPT_SHIFTS = 4  # of the latest masks
_NO_WEIGHTS = np.empty(0)
_NO_KEY = np.zeros(4, dtype=np.uint64)


def _as_they_are(features: Float2D) -> Float2D:
    return features


@final
class Lanes:
    """A circuit on one of our devices that runs at many values at once.

    Args:
        device: The device, whose generator gives a key to each submission.
        circuit: The circuit without shots, or with them.
        n_groups: How many circuits are run for one lane.
        uses: The numbers of gates that may be shifted, if the circuit is a turned one.
            None if it is not: then it is untied, and each lane has its own weights.

    Attributes:
        features_of: Function from data as the user has them to the features of the
            circuit.
    """

    def __init__(
        self,
        device: QStoreDevice,
        circuit: Program | Sampler,
        n_groups: int,
        uses: Uses | None = None,
    ) -> None:
        self.features_of: Callable[[Float2D], Float2D] = _as_they_are
        self._shifts: dict[tuple[bytes, bytes | None], Shifts] = {}
        self._device, self.n_groups = device, n_groups
        self._circuit = circuit if uses is not None else circuit.untied
        self.uses = uses or Uses((), (), n_weights=0, n_features=0)
        programs = (
            self._circuit.programs
            if isinstance(self._circuit, Sampler)
            else (self._circuit,)
        )
        self._drawn = any(isinstance(one, TrajectoryProgram) for one in programs)
        self._n_columns = max((one.n_features for one in programs), default=0)
        self._lane_bytes = 8 * self._n_columns + max(
            (one.new_pass(1).nbytes for one in programs), default=0
        )
        if isinstance(self._circuit, Program):
            self._idle = IdlePasses(self._circuit)

    def shifts(self, weights: Bool1D, features: Bool1D | None = None) -> Shifts:
        """The lanes for the gradient with respect to some weights and features.

        Args:
            weights: Mask of the weights, shape ``(n_weights,)``.
            features: Mask of the features, shape ``(n_features,)``; None is none.
        """
        key = weights.tobytes(), None if features is None else features.tobytes()
        found = self._shifts.get(key)
        if found is None:
            found = Shifts(self.uses, self.uses.depending(weights, features))
            while len(self._shifts) >= KEPT_SHIFTS:
                self._shifts.pop(next(iter(self._shifts), key), None)
            self._shifts[key] = found
        return found

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
            rows: Index of each sample in the data, which determines its random streams,
                shape ``(batch,)``.
            shots: Number of shots, one or one for each point; 0 for a circuit without
                shots.

        Returns:
            Shape ``(n_points, batch, n_values)``.
        """

        def columns(lanes: slice) -> Float2D:
            return own_columns(features, points, lanes)

        return self._run(columns, len(points), _NO_WEIGHTS, rows, shots)

    def shifted(
        self,
        shifts: Shifts,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        shots: Shots = 0,
        drawn: list[Drawn] | None = None,
        known: Float2D | None = None,
    ) -> Float3D:
        """Measured values as they are and with shifted gates, in one submission.

        Args:
            shifts: The lanes of each sample.
            weights: Shape ``(n_weights,)``.
            features: Encoded data of the samples, shape ``(batch, n_features)``.
            rows: Index of each sample in the data, shape ``(batch,)``.
            shots: Number of shots, one or one for each lane; 0 for a circuit without
                shots.
            drawn: A list to which the outcomes are added, in the order of the lanes.
            known: The values of the first lane, which is not run then, shape
                ``(batch, n_values)``.

        Returns:
            Shape ``(n_lanes, batch, n_values)``.
        """

        def columns(lanes: slice) -> Float2D:
            return shifts.columns(weights, features, lanes)

        return self._run(columns, shifts.n_lanes, weights, rows, shots, drawn, known)

    def spread(
        self,
        shifts: Shifts,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        cotangents: Float2D,
    ) -> Float2D:
        """Exact variance of a sum of measured values with one shot in each circuit.

        The sum is that of the measured values times their cotangents.

        Args:
            shifts: The lanes of each sample.
            weights: Shape ``(n_weights,)``.
            features: Encoded data of the samples, shape ``(batch, n_features)``.
            rows: Index of each sample in the data, shape ``(batch,)``.
            cotangents: Factors of the measured values, shape ``(batch, n_values)``.

        Returns:
            Shape ``(n_lanes, batch)``.
        """
        circuit, key = self._circuit, self._key()
        assert isinstance(circuit, Sampler)

        def run(lanes: slice, ids: Ids) -> Float2D:
            columns = shifts.columns(weights, features, lanes)
            sample = np.arange(lanes.start, lanes.stop) % len(rows)
            found = circuit.spread(weights, columns, cotangents[sample], key, ids)
            return found[:, None]

        return in_chunks(shifts.n_lanes, rows, self._lane_bytes, run)[:, :, 0]

    def _key(self) -> Key:
        """A key of random streams, if any are drawn from."""
        if self._drawn or isinstance(self._circuit, Sampler):
            return self._device.stream_key()
        return _NO_KEY

    def _run(
        self,
        columns: Any,
        n_lanes: int,
        weights: Float1D,
        rows: NDArray[np.int64],
        shots: Shots,
        drawn: list[Drawn] | None = None,
        known: Float2D | None = None,
    ) -> Float3D:
        circuit, key = self._circuit, self._key()
        each = np.broadcast_to(np.asarray(shots, dtype=np.int64), (n_lanes,))

        def run(lanes: slice, ids: Ids) -> Float2D:
            values = columns(lanes)
            if isinstance(circuit, Program):
                return self._exact(weights, values, key, ids)
            exact = circuit.probabilities(weights, values, key, ids)
            found = circuit.draw(exact, each[ids[:, 1]], key, ids)
            if drawn is not None:
                drawn.append(found)
            return found.values()

        first = 0 if known is None else 1
        found = in_chunks(n_lanes, rows, self._lane_bytes, run, first=first)
        n_circuits, n_shots = n_lanes - first, int(each[first:].sum())
        batch = len(rows) * self.n_groups
        self._device.track(n_circuits * batch, n_shots * batch)
        return found if known is None else np.concatenate([known[None], found])

    def _exact(
        self, weights: Float1D, features: Float2D, key: Key, ids: Ids
    ) -> Float2D:
        circuit = self._circuit
        assert isinstance(circuit, Program)
        work = self._idle.take(len(features))
        draw_from(work, circuit, key, ids)
        rows = np.arange(len(features))
        values = work.forward(weights, features, rows, gradient=False).copy()
        self._idle.give_back(work)
        return values


def lanes_of(
    tape: QuantumScript,
    pairs: Sequence[Pair],
    device: QStoreDevice,
    *,
    n_weights: int,
    n_features: int,
    shots: bool,
    shifted: bool,
    inputs: bool = False,
) -> Lanes | None:
    """The lanes of a circuit on one of our devices.

    Args:
        tape: The circuit, of which the wires and the measurements count.
        pairs: Its operations, each with what its parameters are.
        device: The device.
        n_weights: Length of the weights.
        n_features: Columns of the features.
        shots: Whether values are estimated from shots.
        shifted: Whether gates can be shifted; else every lane has its own weights.
        inputs: Whether gates that depend on features alone can be shifted as well.

    Returns:
        The lanes, or None if the noise of the device depends on the values of gates.

    Raises:
        DeviceError: If a gate has no shift rule, or the circuit cannot be compiled.
    """
    order = wire_order(tape)

    def lower(kind: StateKind, noise: SpecNoise | None) -> Lanes:
        lowering = Lowering(order, noise, kind.program, device.dtype)
        lowering.check_memory()
        operations, uses = list(pairs), list[Use]()
        if shifted:
            measured = measured_wires(tape)
            operations, uses = turned(
                pairs, measured, noise, n_features=n_features, inputs=inputs
            )
        gates = gates_of_pairs(operations, lowering)
        sizes = {"n_weights": n_weights, "n_features": n_features + len(uses)}
        circuit: Program | Sampler
        if shots:
            read = grouped(tape.measurements, order, noise)
            circuit = sampler_of(read, gates, lowering, **sizes)
        else:
            outputs = [
                terms
                for mp in tape.measurements
                for terms in outputs_of(mp, order, noise)
            ]
            circuit = lowering.program_of(gates, outputs, **sizes)
        chain = _chain(uses, n_weights, n_features) if shifted else None
        return Lanes(device, circuit, n_groups(tape.measurements), chain)

    return device.lowered(tape, lower)


def sampler_of(
    read: Grouped,
    gates: Sequence[MixedGate],
    lowering: Lowering,
    *,
    n_weights: int,
    n_features: int,
) -> Sampler:
    """A circuit with shots.

    Args:
        read: What is measured.
        gates: The gates of the circuit, in which constants have no place yet.
        lowering: The steps to the register of the circuit.
        n_weights: Length of the weights.
        n_features: Columns of the features.
    """
    programs = [
        lowering.program_of(
            [*gates, *lowering.basis(rotation)],
            [],
            n_weights=n_weights,
            n_features=n_features,
        )
        for rotation in read.rotations
    ]
    return Sampler(programs, read.groups, read.offsets)


def _chain(uses: Sequence[Use], n_weights: int, n_features: int) -> Uses:
    """The numbers that may be shifted, with the functions they are computed by."""
    place = DerivedPlaces(n_features)
    placed = [Use(use.angle.renamed(place), use.rule) for use in uses]
    return Uses(placed, place.derived, n_weights=n_weights, n_features=n_features)
