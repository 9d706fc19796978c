"""One optimization step on flat arrays, in place: clipping, Adam, SGD.

Arrays in, arrays out: this module knows neither circuits nor losses. Arguments are
checked by :mod:`qstore_pl.optimizers`; here an array of the wrong length is undefined.
Entries where ``trainable`` is False are frozen: weight and moments stay bit-equal.
"""

from __future__ import annotations

import math

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from qstore_pl._checks import Float1D
from qstore_pl.engine.compile import F1, F1_IN, F8, I8, inner, kernel

Bool1D = NDArray[np.bool_]
B1_IN = types.Array(types.boolean, 1, "C", readonly=True)


@inner
def _first_not_finite(gradients: Float1D, trainable: Bool1D) -> int:
    """Index of the first trainable entry that is NaN or infinite; -1 if none is."""
    for i in range(gradients.shape[0]):
        if trainable[i] and not np.isfinite(gradients[i]):
            return i
    return -1


@inner
def _norm(gradients: Float1D) -> float:
    """Euclidean norm; scaled by the largest entry, so that squares cannot overflow."""
    largest = 0.0
    for i in range(gradients.shape[0]):
        largest = max(largest, abs(gradients[i]))
    if largest == 0.0:
        return 0.0
    total = 0.0
    for i in range(gradients.shape[0]):
        total += (gradients[i] / largest) ** 2
    return largest * math.sqrt(total)


@kernel(F1, B1_IN, F8, F8)
def clip(gradients: Float1D, trainable: Bool1D, value: float, norm: float) -> float:
    """Zero the frozen entries, then limit each entry, then the norm of all of them.

    Args:
        gradients: The gradient, shape ``(n_parameters,)``, changed in place.
        trainable: Mask of bools, shape ``(n_parameters,)``; False is frozen.
        value: Largest absolute value of an entry, > 0; infinity is off.
        norm: Largest Euclidean norm, > 0; infinity is off.

    Returns:
        The norm over the trainable entries before clipping. Where it is NaN or infinite
        an entry is not finite, and ``gradients`` is unchanged.
    """
    bad = _first_not_finite(gradients, trainable)
    if bad >= 0:
        return float(abs(gradients[bad]))
    for i in range(gradients.shape[0]):
        if not trainable[i]:
            gradients[i] = 0.0
    before = _norm(gradients)
    limited = before
    if value < np.inf:
        for i in range(gradients.shape[0]):
            gradients[i] = min(max(gradients[i], -value), value)
        limited = _norm(gradients)
    if limited > norm:
        for i in range(gradients.shape[0]):
            gradients[i] *= norm / limited
    return before


@kernel(F1, F1_IN, F1, F1, B1_IN, F8, F8, F8, F8, F8, F8, I8)
def adam(
    parameters: Float1D,
    gradients: Float1D,
    first: Float1D,
    second: Float1D,
    trainable: Bool1D,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    decoupled_decay: float,
    count: int,
) -> int:
    """One step of Adam or AdamW; the formulas are in the optimizers.

    Args:
        parameters: Shape ``(n_parameters,)``, changed in place.
        gradients: Shape ``(n_parameters,)``.
        first: Running mean of the gradients, changed in place.
        second: Running mean of their squares, changed in place.
        trainable: Mask of bools, shape ``(n_parameters,)``.
        learning_rate: Step length.
        beta1: Decay of ``first``.
        beta2: Decay of ``second``.
        epsilon: Added to the root of the second moment.
        weight_decay: Multiple of the parameters added to the gradients.
        decoupled_decay: Multiple of the parameters added to the direction of the step,
            past the moments.
        count: Number of this step, from 1.

    Returns:
        -1, or the first trainable index whose gradient is not finite: then nothing
        was written.
    """
    bad = _first_not_finite(gradients, trainable)
    if bad >= 0:
        return bad
    steps = float(count)  # a whole exponent would be multiplied out, and round more
    size = learning_rate / (1.0 - beta1**steps)
    root = math.sqrt(1.0 - beta2**steps)
    kept = 1.0 - learning_rate * decoupled_decay
    for i in range(parameters.shape[0]):
        if trainable[i]:
            gradient = gradients[i] + weight_decay * parameters[i]
            first[i] = beta1 * first[i] + (1.0 - beta1) * gradient
            second[i] = beta2 * second[i] + (1.0 - beta2) * gradient * gradient
            step = size * first[i] / (math.sqrt(second[i]) / root + epsilon)
            parameters[i] = kept * parameters[i] - step
    return -1


@kernel(F1, F1_IN, F1, B1_IN, F8, F8, F8, F8)
def rmsprop(
    parameters: Float1D,
    gradients: Float1D,
    second: Float1D,
    trainable: Bool1D,
    learning_rate: float,
    decay: float,
    epsilon: float,
    weight_decay: float,
) -> int:
    """One step of RMSprop; the formula is in the optimizer.

    Args:
        parameters: Shape ``(n_parameters,)``, changed in place.
        gradients: Shape ``(n_parameters,)``.
        second: Running mean of the squares of the gradients, changed in place.
        trainable: Mask of bools, shape ``(n_parameters,)``.
        learning_rate: Step length.
        decay: Of ``second``.
        epsilon: Added to the root of ``second``.
        weight_decay: Multiple of the parameters added to the gradients.

    Returns:
        -1, or the first trainable index whose gradient is not finite: then nothing
        was written.
    """
    bad = _first_not_finite(gradients, trainable)
    if bad >= 0:
        return bad
    for i in range(parameters.shape[0]):
        if trainable[i]:
            gradient = gradients[i] + weight_decay * parameters[i]
            second[i] = decay * second[i] + (1.0 - decay) * gradient * gradient
            step = learning_rate * gradient / (math.sqrt(second[i]) + epsilon)
            parameters[i] -= step
    return -1


@kernel(F1, F1_IN, F1, B1_IN, F8, F8, F8, types.boolean)
def sgd(
    parameters: Float1D,
    gradients: Float1D,
    velocity: Float1D,
    trainable: Bool1D,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> int:
    """One step of gradient descent with momentum; the formula is in the optimizer.

    Args:
        parameters: Shape ``(n_parameters,)``, changed in place.
        gradients: Shape ``(n_parameters,)``.
        velocity: Sum of past gradients, changed in place.
        trainable: Mask of bools, shape ``(n_parameters,)``.
        learning_rate: Step length.
        momentum: Decay of ``velocity``.
        weight_decay: Multiple of the parameters added to the gradients.
        nesterov: Whether the step looks ahead along the new velocity.

    Returns:
        -1, or the first trainable index whose gradient is not finite: then nothing
        was written.
    """
    bad = _first_not_finite(gradients, trainable)
    if bad >= 0:
        return bad
    for i in range(parameters.shape[0]):
        if trainable[i]:
            gradient = gradients[i] + weight_decay * parameters[i]
            velocity[i] = momentum * velocity[i] + gradient
            step = gradient + momentum * velocity[i] if nesterov else velocity[i]
            parameters[i] -= learning_rate * step
    return -1
