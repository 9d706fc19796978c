r"""The parameter-shift rule, for all trained weights or a random subset of them.

The shifted circuits of all samples go to the device in one submission. A gate is only
shifted if it depends on a trained weight and an output depends on it.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError

from qstore_pl.devices import shift_fails
from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import (
    Expectations,
    Float1D,
    Float2D,
    Traced,
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

    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``.

        Raises:
            DeviceError: If the shift rule does not hold for a gate that depends on one
                of the weights.
        """
        wanted, scale = self._wanted()
        if not wanted.any():
            return np.zeros(self.expectations.n_weights)
        traced = Traced(self._gates, self._weights, wanted)
        if not traced.tape.trainable_params:  # no gate depends on these weights
            return np.zeros(self.expectations.n_weights)
        if reason := shift_fails(traced.tape):
            raise DeviceError(reason)
        samples = one_per_sample(traced.tape, len(self._features))
        shifted: list[Any] = []
        spans = []
        for tape in samples:
            tapes, combine = qml.gradients.param_shift.tape_transform(tape)
            spans.append((len(shifted), len(shifted) + len(tapes), combine))
            shifted += tapes
        results = self.expectations.execute(shifted)
        gradients = [
            _jacobian(combine(results[start:end]), tape) @ dy
            for dy, tape, (start, end, combine) in zip(
                cotangents, samples, spans, strict=True
            )
        ]
        return np.where(wanted, scale * traced.pull_back(gradients), 0.0)

    def _gates(self, weights: Any) -> Any:
        """The tape, decomposed into gates that can be shifted."""
        tape = self.expectations.tape(weights, self._features)
        (expanded,), _ = qml.gradients.param_shift.expand_transform(tape)
        return expanded

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


def _jacobian(result: Any, tape: qml.tape.QuantumScript) -> Float2D:
    """The result of the transform as an array of shape ``(n_trainable, n_values)``."""
    several = len(tape.measurements) > 1
    n = len(tape.trainable_params)
    columns = []
    for part in result if several else (result,):
        by_parameter = part if n > 1 else (part,)
        columns.append(np.stack([np.reshape(row, -1) for row in by_parameter]))
    return np.concatenate(columns, axis=1).astype(np.float64)
