r"""The parameter-shift rule, for all trained weights or a random subset of them.

The shifted circuits of all samples go to the device in one submission. A gate is only
shifted if it depends on a trained weight and an output depends on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.backends import MachineLanes
from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import (
    Bool1D,
    Expectations,
    Float1D,
    Float2D,
    Traced,
    as_values,
    one_per_sample,
)


@final
class ParameterShift(GradientEstimator):
    r"""PennyLane's parameter-shift rule, which works on every device.

    Args:
        expectations: The circuit, and the device that it runs on.
        sample_size: Number :math:`m` of weights that are drawn for each gradient, all
            :math:`n` with the same probability and each at most once. Their gradient
            entries are multiplied by :math:`n / m` and all others are 0, which makes
            the gradient unbiased. None shifts all weights.
        rng: Generator from which the weights are drawn; not needed without
            ``sample_size``.

    References:
        Schuld, Bergholm, Gogolin, Izaac and Killoran, Evaluating analytic gradients on
        quantum hardware, Phys. Rev. A 99, 032331 (2019), arXiv:1811.11184.
    """

    def __init__(
        self,
        expectations: Expectations,
        *,
        sample_size: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(expectations)
        self._sample_size, self._rng = sample_size, rng
        self._pull_back: Callable[[Float2D], Float1D] = _before_forward

    def _measure(
        self,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool,
    ) -> Float2D:
        """The measured values of some samples, shape ``(batch, n_values)``.

        Raises:
            DeviceError: If the shift rule does not hold for a gate that depends on one
                of the weights.
        """
        samples = features[rows]
        wanted, scale = self._wanted() if gradient else (np.zeros(0, dtype=bool), 1.0)
        if not wanted.any():
            self._pull_back = lambda _: np.zeros(self.expectations.n_weights)
            return self.expectations.values([weights], samples, rows)[0]
        lanes = self.expectations.lanes(samples.shape, shifted=True)
        if lanes is None:
            values, pull_back = self._in_tapes(weights, samples, rows, wanted)
        else:
            columns = lanes.features_of(samples)
            values, pull_back = self._in_lanes(lanes, weights, columns, rows, wanted)
        self._pull_back = lambda dm: np.where(wanted, scale * pull_back(dm), 0.0)
        return values

    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``."""
        return self._pull_back(cotangents)

    def _in_lanes(
        self,
        lanes: devices.Lanes | MachineLanes,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        wanted: Bool1D,
    ) -> tuple[Float2D, Callable[[Float2D], Float1D]]:
        """Values, and the function to the gradient, by circuits at many values."""
        shifts = lanes.shifts(wanted)
        shots = self.expectations.shots
        n_circuits = shifts.n_lanes * len(features) * lanes.n_groups
        with self.expectations.counting(n_circuits):
            values = lanes.shifted(shifts, weights, features, rows, shots=shots)

        def pull_back(cotangents: Float2D) -> Float1D:
            return shifts.gradient(values, cotangents, weights, features)[0]

        return values[0], pull_back

    def _in_tapes(
        self,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        wanted: Bool1D,
    ) -> tuple[Float2D, Callable[[Float2D], Float1D]]:
        """Values, and the function to the gradient, by tapes of PennyLane."""
        traced = Traced(lambda at: self._gates(at, features), weights, wanted)
        # A copy forgets the rules of its conditional gates.
        tapes = one_per_sample(traced.tape, len(features))
        samples = [devices.rules_of_conditions(tape) for tape in tapes]
        # As they are: noise may follow gates that shifts take apart.
        own = self.expectations.tape(weights, features)
        if not traced.tape.trainable_params:  # no gate depends on these weights
            values = self.expectations.values([weights], features, rows)[0]
            return values, lambda _: np.zeros(len(weights))
        if reason := devices.shift_fails(samples[0]):
            raise DeviceError(reason)
        tapes = one_per_sample(own, len(features))
        spans = []
        for tape in samples:
            shifted, combine = qml.gradients.param_shift.tape_transform(tape)
            spans.append((len(tapes), len(tapes) + len(shifted), combine))
            tapes += shifted
        results = self.expectations.execute(tapes)

        def pull_back(cotangents: Float2D) -> Float1D:
            gradients = [
                _jacobian(combine(results[start:end]), tape) @ dm
                for dm, tape, (start, end, combine) in zip(
                    cotangents, samples, spans, strict=True
                )
            ]
            return traced.pull_back(gradients)

        return as_values(results[: len(samples)]), pull_back

    def _gates(self, weights: Any, features: Float2D) -> Any:
        """The tape, decomposed into gates that can be shifted."""
        tape = self.expectations.tape(weights, features)
        (expanded,), _ = qml.gradients.param_shift.expand_transform(tape)
        return devices.rules_of_conditions(expanded)

    def _wanted(self) -> tuple[Any, float]:
        trainable = self.expectations.trainable
        if self._sample_size is None:
            return trainable, 1.0
        assert self._rng is not None
        indices = np.flatnonzero(trainable)
        size = min(self._sample_size, len(indices))
        wanted = np.zeros_like(trainable)
        wanted[self._rng.choice(indices, size, replace=False)] = True
        return wanted, len(indices) / max(size, 1)


def _before_forward(_: Float2D) -> Float1D:
    raise RuntimeError("ParameterShift.backward was called before forward.")


def _jacobian(result: Any, tape: qml.tape.QuantumScript) -> Float2D:
    """The result of the transform as an array of shape ``(n_trainable, n_values)``."""
    several = len(tape.measurements) > 1
    n = len(tape.trainable_params)
    columns = []
    for part in result if several else (result,):
        by_parameter = part if n > 1 else (part,)
        columns.append(np.stack([np.reshape(row, -1) for row in by_parameter]))
    return np.concatenate(columns, axis=1).astype(np.float64)
