r"""Parameter shift with as many shots for each weight as its gradient is worth.

From the gradients and variances that were measured so far, the shots of the next
gradient are chosen so that the loss is expected to fall the most for each shot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import Expectations, Float1D, Float2D

FEWEST = 10  # shots of a circuit, from which a variance can be estimated
RATE = 0.2  # squared norm of the gradient over the variance that it may have
MEMORY = 0.9  # share of the earlier average in a running average
_BIAS = 1e-6  # added to the squared gradient, times MEMORY to the number of steps

Int1D = NDArray[np.int64]


@final
class AdaptiveShift(GradientEstimator):
    r"""The parameter-shift rule with shots that follow the gradient (gCANS).

    Entry :math:`g_i` of the gradient, measured with :math:`s_i` shots in each of its
    circuits, has the variance :math:`\sigma_i^2 / s_i`. The next gradient takes

    .. math::
        s_i = r\, \frac{\sigma_i \sum_j \sigma_j}{\lVert g \rVert^2}, \quad
        r = \frac{2 L \alpha}{2 - L \alpha}

    shots, with running averages over the steps for :math:`g` and :math:`\sigma^2`. For
    gradient descent with the learning rate :math:`\alpha`, where :math:`L` is the
    Lipschitz constant of the gradient, this is where the loss is expected to fall the
    most for each shot. Here :math:`r` is 0.2, so that the variance of the whole
    gradient is 5 times its squared norm: optimizers average over about ten steps. The
    unshifted circuits take as many shots as the shifted ones that take the most.

    Args:
        expectations: The circuit, on a device of this package or a machine that has a
            name as a backend.
        budget: Most shots of all circuits of one gradient together. If the rule asks
            for more, what it asks for beyond ``FEWEST`` is reduced by the same factor
            in all circuits.
        share: Share of the samples of each mini-batch, in (0, 1], that this estimator
            is given where others run the rest: it asks for as much less.

    Raises:
        ValueError: If the circuit runs on another device, has noise that depends on the
            values of gates, or cannot be compiled.

    Example:
        >>> from qstore_pl import QuantumModel
        >>> from qstore_pl.gradients import ModelExpectations
        >>> model = QuantumModel(2, 1, seed=0)
        >>> circuit = ModelExpectations(model, shots=100)
        >>> estimator = AdaptiveShift(circuit, budget=10_000)
        >>> features = model.prepare([[0.1, 0.2], [0.3, 0.4]])
        >>> outputs = estimator.forward(model.parameters, features, np.arange(2))
        >>> estimator.backward(np.ones((2, 1))).shape
        (12,)

    References:
        Gu, Lowe, Dub, Coles and Arrasmith, Adaptive shot allocation for fast
        convergence in variational quantum algorithms (2021), arXiv:2108.10434.

        Kuebler, Arrasmith, Cincio and Coles, An adaptive optimizer for
        measurement-frugal variational algorithms, Quantum 4, 263 (2020),
        arXiv:1909.09083.
    """

    def __init__(
        self, expectations: Expectations, *, budget: int, share: float = 1.0
    ) -> None:
        super().__init__(expectations)
        lanes = expectations.lanes((), shifted=True)
        if lanes is None:
            raise ValueError(
                "Adaptive shots need a device of this package, or a machine that is a "
                "backend by its name, and a circuit that can be compiled with shifts "
                "there, with noise that does not depend on the values of gates, but "
                "the circuit is another, or runs on another device, "
                f"{expectations.backend}. Give a number of shots."
            )
        self._lanes, self._budget, self._share = lanes, budget, share
        n = expectations.n_weights
        self._n_steps, self._mean, self._variance = 0, np.zeros(n), np.zeros(n)
        self._drawn: list[devices.Drawn] = []
        self._shots: Int1D = np.empty(0, dtype=np.int64)  # of each lane
        self._shifted = np.empty((0, 0, 0))
        self._at: tuple[Float1D, Float2D] = np.empty(0), np.empty((0, 0))

    @property
    def state(self) -> dict[str, Any]:
        """The running averages, as numbers and arrays, for a checkpoint."""
        return {
            "n_steps": self._n_steps,
            "mean": self._mean.copy(),
            "variance": self._variance.copy(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :attr:`state` returned."""
        self._n_steps = state["n_steps"]
        self._mean, self._variance = state["mean"].copy(), state["variance"].copy()

    def _measure(
        self,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool,
    ) -> Float2D:
        """The measured values of some samples, shape ``(batch, n_values)``."""
        expectations, lanes = self.expectations, self._lanes
        wanted = expectations.trainable
        if not gradient:
            wanted = np.zeros_like(wanted)
        shifts = lanes.shifts(wanted)
        circuits = len(rows) * lanes.n_groups
        asked = self._by_lane(shifts, self._asked())
        if gradient:
            self._shots = self._allowed(asked, circuits)
        else:
            most = max(FEWEST, self._budget // circuits)
            self._shots = np.minimum(asked, most).astype(np.int64)
        samples = features[rows]
        self._drawn, self._at = [], (weights, samples)
        n_shots = circuits * int(self._shots.sum())
        with expectations.counting(circuits * len(self._shots), n_shots):
            self._shifted = lanes.shifted(
                shifts, weights, samples, rows, shots=self._shots, drawn=self._drawn
            )
        return np.asarray(self._shifted[0])

    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``."""
        shifts = self._lanes.shifts(self.expectations.trainable)
        gradient = shifts.gradient(self._shifted, cotangents, *self._at)[0]
        batch, n_lanes = len(cotangents), shifts.n_lanes
        whole = np.tile(cotangents, (n_lanes, 1))
        parts, start = [], 0
        for drawn in self._drawn:
            end = start + len(drawn)
            parts.append(drawn.variances(whole[start:end]).sum(axis=1))
            start = end
        spread = np.concatenate(parts).reshape(n_lanes, batch)
        spread *= (self._shots / (self._shots - 1))[:, None]  # of few shots
        variance = shifts.variance(spread, *self._at)
        self._n_steps += 1
        self._mean = MEMORY * self._mean + (1 - MEMORY) * gradient
        self._variance = MEMORY * self._variance + (1 - MEMORY) * variance
        return gradient

    def _asked(self) -> Float1D:
        """The shots that the rule asks for, for each weight."""
        if self._n_steps == 0:
            return np.full(self._n_weights, float(FEWEST))
        trained = self.expectations.trainable
        fraction = 1.0 - MEMORY**self._n_steps
        mean, variance = self._mean / fraction, self._variance / fraction
        sigma = np.where(trained, np.sqrt(variance), 0.0)
        norm = np.sum(np.where(trained, mean, 0.0) ** 2)
        norm += _BIAS * MEMORY**self._n_steps
        rate = self._share * RATE
        return np.maximum(rate * sigma * sigma.sum() / norm, FEWEST)

    def _by_lane(self, shifts: devices.Shifts, of_weights: Float1D) -> Float1D:
        """The shots of each lane, the most that one of its weights asks for."""
        of_uses = self._lanes.uses.largest(of_weights)
        found = np.empty(shifts.n_lanes)
        found[1:] = of_uses[shifts.shifted_uses]
        found[0] = max(found[1:].max(initial=FEWEST), of_weights.max(initial=FEWEST))
        return found

    def _allowed(self, shots: Float1D, circuits: int) -> Int1D:
        """The shots of each lane within the budget.

        Args:
            shots: What the rule asks for.
            circuits: Circuits of each lane.
        """
        fewest = circuits * FEWEST * len(shots)
        if fewest > self._budget:
            raise ValueError(
                f"The budget of adaptive shots must be >= {fewest}, {FEWEST} shots for "
                f"each of the {circuits * len(shots)} circuits of a gradient, but is "
                f"{self._budget}. Raise it, or take smaller batches."
            )
        more = shots - FEWEST
        total = circuits * more.sum()
        if total > self._budget - fewest:
            more *= (self._budget - fewest) / total
        return FEWEST + np.floor(more).astype(np.int64)
