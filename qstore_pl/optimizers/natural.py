"""Natural gradient. It knows arrays only: the metric comes from elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.lapack import dposv
from scipy.sparse.linalg import LinearOperator, cg

from qstore_pl._blas import one_blas_thread
from qstore_pl._checks import Float1D, Float2D, finite, integer, real
from qstore_pl.optimizers.gradient import GradientResult
from qstore_pl.optimizers.optimizer import Bool1D, Optimizer, State

RCOND = 1e-7  # of the pseudo-inverse, relative to the largest eigenvalue
ROUNDING = 1e-8  # of a metric, relative to its largest entry or eigenvalue
CG_TOLERANCE = 1e-10  # of the residual, relative to the gradient
LEAST_DAMPING, MOST_DAMPING = 1e-8, 1e8  # where it adapts


@final
class NaturalGradient(Optimizer):
    r"""Gradient descent in the geometry of a metric.

    .. math::

        d_t = (F_t + \lambda I)^{-1} g_t, \qquad v_t = \mu v_{t-1} + d_t, \qquad
        \theta_t = \theta_{t-1} - \eta v_t

    The metric is that of the first parameters, those of a circuit; for the others, such
    as a classical read-out, it is the identity without damping. Where :math:`\lambda`
    is 0 the inverse is a pseudo-inverse. Matrices are solved by Cholesky decomposition,
    linear operators by conjugate gradients.

    Other than PennyLane's ``QNGOptimizer`` it takes the metric of several arguments
    with what is between them, and of a batch, and any loss's gradient.

    Args:
        learning_rate: Step length :math:`\eta`, > 0.
        damping: :math:`\lambda`, >= 0; the first one where it adapts.
        momentum: Decay :math:`\mu` of the velocity, in [0, 1).
        averaging: Decay :math:`\beta` of the metric, in [0, 1):
            :math:`F_t = \beta F_{t-1} + (1 - \beta) F`.
        interval: Steps from one metric to the next, >= 1; see :attr:`wants_metric`.
        trust_radius: Longest :math:`\eta\, d_t` in the metric, > 0; None is off.
        adapt_damping: Whether :meth:`adapt` is to be told the loss after each step.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.

    Example:
        >>> parameters = np.array([1.0, -2.0])
        >>> natural = NaturalGradient(0.1, damping=0.0)
        >>> natural.step(parameters, [0.5, -0.5], metric=np.diag([0.25, 1.0]))
        >>> parameters
        array([ 0.8 , -1.95])

    References:
        Amari, Natural gradient works efficiently in learning, Neural Computation 10,
        251 (1998); Stokes et al., Quantum Natural Gradient, arXiv:1909.02108; damping:
        Martens, Deep learning via Hessian-free optimization, ICML 2010.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        damping: float = 1e-3,
        momentum: float = 0.0,
        averaging: float = 0.0,
        interval: int = 1,
        trust_radius: float | None = None,
        adapt_damping: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.damping = real("damping", damping, minimum=0.0)
        self.momentum = real("momentum", momentum, minimum=0.0, below=1.0)
        self.averaging = real("averaging", averaging, minimum=0.0, below=1.0)
        self.interval = integer("interval", interval, minimum=1)
        self.trust_radius = trust_radius
        if trust_radius is not None:
            self.trust_radius = real("trust_radius", trust_radius, above=0.0)
        if not isinstance(adapt_damping, bool | np.bool_):
            raise TypeError(
                "Argument `adapt_damping` must be True or False, but is "
                f"{adapt_damping!r}."
            )
        if adapt_damping and self.damping == 0.0:
            raise ValueError(
                "Argument `damping` must be > 0 with adapt_damping=True, which "
                "multiplies it, but is 0.0."
            )
        self.adapt_damping = bool(adapt_damping)

    def init(self, n_parameters: int) -> State:
        """State before the first step: no metric, a velocity of zeros.

        Args:
            n_parameters: Length of the parameter vector.
        """
        size = integer("n_parameters", n_parameters, minimum=0)
        return {
            "count": 0,
            "damping": self.damping,
            "metric": np.zeros((0, 0)),
            "predicted": 0.0,
            "velocity": np.zeros(size),
        }

    @property
    def wants_metric(self) -> bool:
        """Whether the next step needs a metric, by :attr:`interval`."""
        state = self._state
        return not state or len(state["metric"]) == 0 or self._is_due(state)

    def _is_due(self, state: Mapping[str, Any]) -> bool:
        return state["count"] % self.interval == 0

    def update(
        self,
        gradients: ArrayLike | GradientResult,
        state: Mapping[str, Any],
        parameters: ArrayLike,
        *,
        trainable: ArrayLike | None = None,
        metric: Any = None,
    ) -> tuple[Float1D, State]:
        """The same step as :meth:`step`, without side effects.

        Args:
            gradients: As :meth:`step`.
            state: From :meth:`init` or another update.
            parameters: Shape ``(n_parameters,)``.
            trainable: As :meth:`step`.
            metric: As :meth:`step`.

        Returns:
            The new parameters, shape ``(n_parameters,)``, and the new state.

        Raises:
            ValueError: As :meth:`step` and :meth:`load_state`.
            TypeError: As :meth:`step` and :meth:`load_state`.
        """
        advance = functools.partial(self._advance, metric=metric)
        return self._updated(gradients, state, parameters, trainable, advance)

    def step(
        self,
        parameters: Float1D,
        gradients: ArrayLike | GradientResult,
        *,
        trainable: ArrayLike | None = None,
        metric: Any = None,
    ) -> None:
        """One step in place on ``parameters``; the state stays with this object.

        Args:
            parameters: Shape ``(n_parameters,)``, a writable contiguous float64 array.
            gradients: Shape ``(n_parameters,)``. Entries of frozen parameters are not
                looked at.
            trainable: Mask of bools, shape ``(n_parameters,)``; False is frozen. None
                takes that of a :class:`GradientResult`, or trains all.
            metric: Shape ``(n, n)``, symmetric, of the first ``n <= n_parameters``
                parameters, or a :class:`scipy.sparse.linalg.LinearOperator`. It is
                positive semidefinite, but for noise that the damping outweighs. Rows of
                frozen parameters have no effect. None keeps the last one.

        Raises:
            TypeError: As :meth:`Optimizer.step`.
            ValueError: As :meth:`Optimizer.step`, or if the metric is missing, has
                another shape, is not finite or not symmetric, or is not positive
                definite with its damping, without damping not positive semidefinite:
                then nothing was changed.
        """
        advance = functools.partial(self._advance, metric=metric)
        self._step(parameters, gradients, trainable, advance)

    def adapt(self, before: float, after: float) -> None:
        r"""Levenberg-Marquardt: less damping where the last step did what it promised.

        The promise is the reduction :math:`\frac{\eta}{2} g^T d` of the quadratic model
        whose minimum the step was. Below a quarter of it the damping doubles, above
        three quarters it halves. A small batch does as promised where others do not:
        this is for whole data sets, or batches that stand for them.

        Args:
            before: Loss of the batch before the last step.
            after: Loss of the same batch after it.

        Raises:
            ValueError: If damping is fixed, or no step was made.
        """
        if not self.adapt_damping or not self._state:
            raise ValueError(
                "NaturalGradient.adapt must follow a step of an optimizer with "
                "adapt_damping=True."
            )
        predicted = self._state["predicted"]
        reduction = before - after
        damping = self._state["damping"]
        if not reduction >= 0.25 * predicted:  # NaN too
            damping = min(2.0 * damping, MOST_DAMPING)
        elif reduction > 0.75 * predicted:
            damping = max(0.5 * damping, LEAST_DAMPING)
        self._state["damping"] = damping

    def _advance(
        self,
        parameters: Float1D,
        gradients: Float1D,
        trainable: Bool1D,
        state: State,
        metric: Any = None,
    ) -> int:
        bad = np.flatnonzero(trainable & ~np.isfinite(gradients))
        if bad.size:
            return int(bad[0])
        with one_blas_thread():
            kept = self._metric(metric, state, parameters.size)
            n = kept.shape[0]
            chosen = np.flatnonzero(trainable[:n])
            direction = np.where(trainable, gradients, 0.0)
            quantum = gradients[chosen]
            damping = state["damping"] if self.adapt_damping else self.damping
            if isinstance(kept, LinearOperator):
                apply = _restricted(kept, chosen)
                solved = _by_conjugate_gradients(apply, quantum, damping)
            else:
                block = kept if len(chosen) == n else kept[np.ix_(chosen, chosen)]
                if metric is not None:
                    _check_symmetry(block, chosen)
                apply = block.__matmul__
                solved = _solve(block, quantum, damping)
            direction[chosen] = solved
            rate = self._learning_rate
            if self.trust_radius is not None:
                classical = direction[n:]
                squared = solved @ apply(solved) + classical @ classical
                length = rate * np.sqrt(max(squared, 0.0))
                if length > self.trust_radius:
                    direction *= self.trust_radius / length
            predicted = (
                0.5 * rate * float(np.where(trainable, gradients, 0) @ direction)
            )
        velocity = state["velocity"]
        moved = np.where(trainable, self.momentum * velocity + direction, velocity)
        state["velocity"] = moved
        parameters -= np.where(trainable, rate * moved, 0.0)
        state["count"] += 1
        state["predicted"] = max(predicted, 0.0)
        if not isinstance(kept, LinearOperator):
            state["metric"] = kept
        return -1

    def _metric(self, metric: Any, state: State, n_parameters: int) -> Any:
        """What to solve with: the new metric, averaged, or the last one."""
        last = state["metric"]
        if metric is None:
            if len(last) == 0:
                raise ValueError(
                    "Argument `metric` must be given for the first step of "
                    "NaturalGradient, and whenever `wants_metric` is True."
                )
            return last
        if isinstance(metric, LinearOperator):
            if self.averaging or self.interval > 1:
                raise ValueError(
                    "Argument `metric` must be a matrix for averaging and intervals, "
                    "but is a linear operator, which cannot be kept."
                )
            new: Any = metric
        else:
            new = finite("metric", metric).copy()
        shape = new.shape
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] > n_parameters:
            raise ValueError(
                "Argument `metric` must have shape (n, n), n <= "
                f"{n_parameters} parameters, but has shape {shape}."
            )
        if self.averaging and len(last):
            if last.shape != shape:
                raise ValueError(
                    f"Argument `metric` must have shape {last.shape}, as the average "
                    f"so far, but has shape {shape}."
                )
            return self.averaging * last + (1.0 - self.averaging) * new
        return new


def _check_symmetry(metric: Float2D, chosen: NDArray[np.intp]) -> None:
    """Refuse a metric of some parameters that is not symmetric.

    Raises:
        ValueError: If it is not; the message has the indices of the parameters.
    """
    if (metric == metric.T).all():  # as those of our kernels, at half the cost
        return
    skew = np.abs(metric - metric.T)
    if skew.max() > ROUNDING * np.abs(metric).max():
        i, j = np.unravel_index(skew.argmax(), skew.shape)
        row, column = int(chosen[i]), int(chosen[j])
        raise ValueError(
            f"Argument `metric` must be symmetric, but entry {(row, column)} is "
            f"{metric[i, j]} and entry {(column, row)} is {metric[j, i]}."
        )


def _solve(metric: Float2D, gradients: Float1D, damping: float) -> Float1D:
    if len(gradients) == 0:
        return gradients
    if damping == 0.0:
        return _pseudo_solve(metric, gradients)
    damped = metric.copy()
    damped.flat[:: len(metric) + 1] += damping
    _, solution, failed = dposv(damped, gradients)
    if failed:
        raise ValueError(
            "Argument `metric` must be positive definite when damped, but is not with "
            f"damping {damping}. Raise the damping; noise makes metrics indefinite."
        )
    return np.asarray(solution)


def _pseudo_solve(metric: Float2D, gradients: Float1D) -> Float1D:
    values, vectors = np.linalg.eigh(metric)
    largest = np.abs(values).max()
    if values[0] < -ROUNDING * largest:
        raise ValueError(
            "Argument `metric` must be positive semidefinite without damping, but has "
            f"the eigenvalue {values[0]:.6g}. Set a damping > {-values[0]:.6g}; noise "
            "makes metrics indefinite."
        )
    kept = values > RCOND * largest
    projected = vectors[:, kept].T @ gradients
    return np.asarray(vectors[:, kept] @ (projected / values[kept]))


def _restricted(metric: LinearOperator, chosen: Any) -> Any:
    whole = np.zeros(metric.shape[0])

    def apply(vector: Float1D) -> Float1D:
        whole[chosen] = vector
        return np.asarray(metric @ whole)[chosen]

    return apply


def _by_conjugate_gradients(apply: Any, gradients: Float1D, damping: float) -> Float1D:
    n = len(gradients)
    if n == 0:
        return gradients
    damped = LinearOperator(
        (n, n), matvec=lambda v: apply(np.ravel(v)) + damping * np.ravel(v), dtype=float
    )
    solution, failed = cg(damped, gradients, rtol=CG_TOLERANCE)
    if failed:
        raise ValueError(
            "The natural gradient must be found by conjugate gradients, but after "
            f"{failed} iterations it was not. Raise the damping."
        )
    return np.asarray(solution)
