"""The natural gradient. It knows arrays only: it is given the metric tensor."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.lapack import dposv
from scipy.sparse.linalg import LinearOperator, cg

from qstore_pl._blas import one_blas_thread
from qstore_pl._checks import Float1D, Float2D, boolean, finite, integer, real
from qstore_pl.optimizers.gradient import GradientResult
from qstore_pl.optimizers.optimizer import Bool1D, Optimizer, State

RCOND = 1e-7  # least eigenvalue that the pseudo-inverse keeps, relative to the largest
ROUNDING = 1e-8  # errors that a metric tensor may have, relative to its largest entry
CG_TOLERANCE = 1e-10  # of the residual, relative to the norm of the gradient
LEAST_DAMPING, MOST_DAMPING = 1e-8, 1e8  # bounds of adaptive damping


@final
class NaturalGradient(Optimizer):
    r"""Gradient descent in the geometry of a metric tensor :math:`F`.

    .. math::

        d_t = (F_t + \lambda I)^{-1} g_t, \qquad v_t = \mu v_{t-1} + d_t, \qquad
        \theta_t = \theta_{t-1} - \eta v_t

    The metric tensor covers the first parameters, the weights of a circuit. For all
    others, such as those of a classical readout, it is taken to be the identity,
    without damping. Where :math:`\lambda = 0` the inverse is a pseudo-inverse. A matrix
    is solved with by Cholesky decomposition, a linear operator by conjugate gradients.

    Unlike PennyLane's ``QNGOptimizer`` it takes the gradient of any loss, and a metric
    tensor of a mini-batch and of several arguments with the blocks that couple them.

    Args:
        learning_rate: Step length :math:`\eta`, > 0.
        damping: Multiple :math:`\lambda` of the identity that is added to the metric
            tensor, >= 0; its first value if ``adapt_damping`` is set.
        momentum: Decay :math:`\mu` of the velocity, in [0, 1).
        averaging: Decay :math:`\beta`, in [0, 1), of the running average
            :math:`F_t = \beta F_{t-1} + (1 - \beta) F` of metric tensors.
        interval: Number of steps for which a metric tensor is used, >= 1; see
            :attr:`wants_metric`.
        trust_radius: Longest allowed step :math:`\eta\, d_t`, > 0, its length measured
            with the metric tensor; None allows any length.
        adapt_damping: Whether the damping changes during training; :meth:`adapt` must
            then be called after every step.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range.

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
        if boolean("adapt_damping", adapt_damping) and self.damping == 0.0:
            raise ValueError(
                "Argument `damping` must be > 0 with adapt_damping=True, which "
                "multiplies it, but is 0.0."
            )
        self.adapt_damping = bool(adapt_damping)

    def init(self, n_parameters: int) -> State:
        """The state before the first step: no metric tensor, and a velocity of zeros.

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
        """Whether the next step needs a new metric tensor; see ``interval``."""
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
        """One step that changes neither its arguments nor this object.

        Args:
            gradients: Derivatives of the loss, shape ``(n_parameters,)``.
            state: The state that :meth:`init` or the previous update returned.
            parameters: Shape ``(n_parameters,)``.
            trainable: Mask of bools, shape ``(n_parameters,)``; False is frozen. None
                takes the mask of a :class:`GradientResult`, or trains all parameters.
            metric: The metric tensor, as in :meth:`step`.

        Returns:
            The new parameters, shape ``(n_parameters,)``, and the new state.

        Raises:
            ValueError: As in :meth:`step` and :meth:`load_state`.
            TypeError: As in :meth:`step` and :meth:`load_state`.
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
        """One step, which changes ``parameters`` and the state of this object in place.

        Args:
            parameters: A writable, contiguous float64 array of shape
                ``(n_parameters,)``.
            gradients: Derivatives of the loss, shape ``(n_parameters,)``. Entries of
                frozen parameters are ignored.
            trainable: Mask of bools, shape ``(n_parameters,)``; False is frozen. None
                takes the mask of a :class:`GradientResult`, or trains all parameters.
            metric: The metric tensor of the first ``n <= n_parameters`` parameters: a
                symmetric matrix of shape ``(n, n)``, or a
                :class:`scipy.sparse.linalg.LinearOperator` of that shape. With the
                damping it must be positive definite, without damping positive
                semidefinite. Rows and columns of frozen parameters are ignored. None
                uses the metric tensor of the last step again.

        Raises:
            TypeError: As in :meth:`Optimizer.step`.
            ValueError: As in :meth:`Optimizer.step`, or if the metric tensor is
                missing, has another shape, or is not finite, symmetric or positive. In
                these cases nothing was changed.
        """
        advance = functools.partial(self._advance, metric=metric)
        self._step(parameters, gradients, trainable, advance)

    def adapt(self, before: float, after: float) -> None:
        r"""Adapt the damping to the success of the last step (Levenberg-Marquardt).

        The quadratic model that the step minimised predicts that the loss falls by
        :math:`\frac{\eta}{2} g^T d`. If it fell by less than a quarter of that, the
        damping is doubled; if by more than three quarters, it is halved. The loss must
        be that of all data, or of a batch large enough to represent them: on a small
        batch a step can succeed that fails on the others.

        Args:
            before: Loss of a batch before the last step.
            after: Loss of the same batch after the last step.

        Raises:
            ValueError: If ``adapt_damping`` is not set, or no step was made yet.
        """
        if not self.adapt_damping or not self._state:
            raise ValueError(
                "NaturalGradient.adapt was called before the first step, or without "
                "adapt_damping=True."
            )
        predicted = self._state["predicted"]
        reduction = before - after
        damping = self._state["damping"]
        if not reduction >= 0.25 * predicted:  # also if it is NaN
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
        """The metric tensor to solve with: the new one, an average, or the last one."""
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
    """Refuse a metric tensor that is not symmetric.

    Args:
        metric: Block of the metric tensor for the trained parameters.
        chosen: Indices of these parameters, which the message names.

    Raises:
        ValueError: If the block is not symmetric.
    """
    if (metric == metric.T).all():  # true of our kernels, and quickly checked
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
            f"damping {damping}. Raise the damping: noise can make it indefinite."
        )
    return np.asarray(solution)


def _pseudo_solve(metric: Float2D, gradients: Float1D) -> Float1D:
    values, vectors = np.linalg.eigh(metric)
    largest = np.abs(values).max()
    if values[0] < -ROUNDING * largest:
        raise ValueError(
            "Argument `metric` must be positive semidefinite without damping, but has "
            f"the eigenvalue {values[0]:.6g}. Set a damping > {-values[0]:.6g}: noise "
            "can make it indefinite."
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
            f"Conjugate gradients did not find the natural gradient in {failed} "
            "iterations. Raise the damping."
        )
    return np.asarray(solution)
