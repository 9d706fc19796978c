"""Traced circuits with shots: estimates, and gradients from shifted circuits.

Circuits that return outcomes or counts are here too; they have no gradient. No
framework is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

from qstore_pl._lazy import cached_property
from qstore_pl.devices.base import QStoreDevice
from qstore_pl.devices.executable import Call, Executable
from qstore_pl.devices.lanes import Lanes
from qstore_pl.devices.meters import Float, OutputMeter, Values
from qstore_pl.devices.packing import Packing
from qstore_pl.engine.lanes import Shifts
from qstore_pl.engine.program import Program
from qstore_pl.engine.shots import Sampler


@final
class SampledExecutable(Executable):
    """A circuit with shots, of expectation values, variances and probabilities.

    Its gradient is taken by the parameter-shift rule, with circuits that are run when
    it is asked for.

    Args:
        sampler: The circuit with shots.
        lanes: Function that makes the circuit with shifted gates.
        packing: How arguments become weights and features.
        meter: How measurements are made of the values that are estimated.
        device: The device, whose generator gives a key to each submission.
        shots: Each of the numbers of shots.
        batched: Whether the circuit has a batch axis.
    """

    def __init__(
        self,
        sampler: Sampler,
        lanes: Callable[[], Lanes],
        packing: Packing,
        meter: OutputMeter,
        device: QStoreDevice,
        shots: Sequence[int],
        *,
        batched: bool,
    ) -> None:
        super().__init__(packing, batched=batched, differentiable=True)
        self._sampler, self._make_lanes, self._device = sampler, lanes, device
        self.meter, self.shots = meter, tuple(shots)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the measurements, for all numbers of shots."""
        batch = (self.packing.batch,) if self.batched else ()
        of_each = [(*batch, *shape) for shape in self.meter.shapes]
        return of_each * len(self.shots)

    @cached_property
    def lanes(self) -> Lanes:
        """The circuit with shifted gates."""
        return self._make_lanes()

    def call(
        self, arguments: Sequence[Float], estimates: Sequence[Float] = ()
    ) -> SampledCall:
        """A call of the circuit that may be differentiated.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
            estimates: The values that were estimated, if the call was made before.
        """
        return SampledCall(self, *self.packing.packed(arguments), estimates)

    def values(self, arguments: Sequence[Float]) -> Values:
        """The measurements."""
        return self.read(self.estimates(*self.packing.packed(arguments)))

    def estimates(self, weights: Float, features: Float) -> list[Float]:
        """The estimated values for each number of shots, ``(batch, n_values)``.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.
        """
        sampler, key = self._sampler, self._device.stream_key()
        n_circuits = len(self.rows) * len(sampler.groups)
        n_shots = n_circuits * sum(self.shots)
        self._device.track(n_circuits * len(self.shots), n_shots)
        ids = np.stack([self.rows, np.zeros_like(self.rows)], axis=1)
        exact = sampler.probabilities(weights, features, key, ids)
        found = []
        for entry, shots in enumerate(self.shots):
            ids[:, 1] = entry
            each = np.full(len(ids), shots)
            found.append(sampler.draw(exact, each, key, ids).values())
        return found

    def read(self, estimates: Sequence[Float]) -> Values:
        """The measurements of each number of shots, from estimated values."""
        each = [self.meter.measured(values) for values in estimates]
        return self.shaped([value for values in each for value in values])

    def shifts(self, wanted: Sequence[int]) -> Shifts:
        """The shifted circuits for the gradient with respect to some arguments."""
        return self.lanes.shifts(*self.packing.masks(wanted))


@final
class SampledCall(Call):
    """One call of a circuit with shots.

    Args:
        executable: The circuit.
        weights: Shape ``(n_weights,)``.
        features: Shape ``(batch, n_features)``.
        estimates: The estimated values for each number of shots, if they are known.
    """

    def __init__(
        self,
        executable: SampledExecutable,
        weights: Float,
        features: Float,
        estimates: Sequence[Float],
    ) -> None:
        self._executable, self._values = executable, (weights, features)
        self.estimates = list(estimates)
        self._shifted: dict[tuple[int, ...], list[Float]] = {}

    def values(self) -> Values:
        """The measurements."""
        self.estimates = self._executable.estimates(*self._values)
        return self._executable.read(self.estimates)

    def pull(
        self, cotangents: Sequence[Any], wanted: Sequence[int]
    ) -> list[Float | None]:
        """Gradients with respect to some arguments, at the values that were estimated.

        The shifted circuits are run once for all pulls of this call.
        """
        executable = self._executable
        if not executable.batched:
            cotangents = [dy[None] for dy in cotangents]
        shifts = executable.shifts(wanted)
        shifted = self._shifted.get(tuple(wanted))
        if shifted is None:
            shifted = [
                executable.lanes.shifted(
                    shifts, *self._values, executable.rows, shots=shots, known=known
                )
                for shots, known in zip(executable.shots, self.estimates, strict=True)
            ]
            self._shifted[tuple(wanted)] = shifted
        n = len(cotangents) // len(shifted)
        gradients = []
        for entry, (values, known) in enumerate(
            zip(shifted, self.estimates, strict=True)
        ):
            own = cotangents[n * entry : n * (entry + 1)]
            dy = executable.meter.pulled(known, own)
            gradients.append(shifts.gradient(values, dy, *self._values))
        gw, gx = (np.sum(parts, axis=0) for parts in zip(*gradients, strict=True))
        return executable.packing.gradients(gw, gx, wanted)


@final
class DrawnExecutable(Executable):
    """A circuit with shots that returns outcomes or counts, which have no gradient.

    Args:
        program: The Program of the circuit.
        draw: Function from weights and features to the results, one for each
            measurement and number of shots.
        packing: How arguments become weights and features.
        batched: Whether the circuit has a batch axis.
    """

    program: Program

    def __init__(
        self,
        program: Program,
        draw: Callable[[Float, Float], list[Any]],
        packing: Packing,
        *,
        batched: bool,
    ) -> None:
        super().__init__(packing, batched=batched, differentiable=False)
        self.program, self._draw = program, draw

    def call(self, arguments: Sequence[Float]) -> Call:
        """Always an error, since outcomes and counts have no gradient."""
        raise NotImplementedError("Outcomes and counts have no gradient.")

    def values(self, arguments: Sequence[Float]) -> list[Any]:
        """The results, which may be dictionaries."""
        return self._draw(*self.packing.packed(arguments))
