"""Optimizers turn gradients into new parameters. They never call the model.

PennyLane's optimizers differentiate a cost function, train all entries of an argument
or none, and change their state even in a step whose gradient is NaN. The optimizers
here take gradients from any source, can freeze single parameters, refuse gradients that
are not finite, offer an update without side effects besides the step in place, and
continue bit for bit from a saved state of arrays and numbers.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

from qstore_pl._checks import choice
from qstore_pl.optimizers.adam import Adam
from qstore_pl.optimizers.adamw import AdamW
from qstore_pl.optimizers.gradient import GradientResult
from qstore_pl.optimizers.natural import NaturalGradient
from qstore_pl.optimizers.optimizer import Optimizer, State, clip_gradients
from qstore_pl.optimizers.rmsprop import RMSprop
from qstore_pl.optimizers.schedules import (
    ByFunction,
    Constant,
    Cosine,
    Schedule,
    StepDecay,
    WarmUp,
)
from qstore_pl.optimizers.sgd import SGD

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "ByFunction",
    "Constant",
    "Cosine",
    "GradientResult",
    "NaturalGradient",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "State",
    "StepDecay",
    "WarmUp",
    "clip_gradients",
    "get_optimizer",
]

# An option that a name sets here may still be given: it replaces the value here.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": SGD,
    "momentum": functools.partial(SGD, momentum=0.9),
    "nesterov": functools.partial(SGD, momentum=0.9, nesterov=True),
    "rmsprop": RMSprop,
    "natural_gradient": NaturalGradient,
}


def get_optimizer(
    name: str,
    learning_rate: float,
    *,
    momentum: float | None = None,
    weight_decay: float | None = None,
    damping: float | None = None,
) -> Optimizer:
    """A new optimizer by name. An option that is None keeps the optimizer's default.

    Args:
        name: A key of ``OPTIMIZERS``.
        learning_rate: Step length, > 0.
        momentum: Decay of the velocity, in [0, 1), for :class:`SGD` and
            :class:`NaturalGradient`.
        weight_decay: Strength of the weight decay, >= 0, for all optimizers but
            :class:`NaturalGradient`.
        damping: Multiple of the identity that is added to the metric tensor, >= 0, for
            :class:`NaturalGradient`.

    Raises:
        ValueError: If the name is unknown, or the optimizer has no such option.

    Example:
        >>> get_optimizer("momentum", 0.1)
        SGD(learning_rate=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """
    optimizer = OPTIMIZERS[choice("optimizer", name, OPTIMIZERS)]
    known = inspect.signature(optimizer).parameters
    given = {"momentum": momentum, "weight_decay": weight_decay, "damping": damping}
    options = {option: value for option, value in given.items() if value is not None}
    for option in options:
        if option not in known:
            raise ValueError(
                f'Argument `{option}` must be left out for optimizer "{name}", which '
                f"knows only {', '.join(known)}."
            )
    return optimizer(learning_rate, **options)
