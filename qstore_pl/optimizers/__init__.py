"""Optimizers: gradients in, new parameters out. They never call the model."""

from __future__ import annotations

import inspect

from qstore_pl._checks import choice
from qstore_pl.optimizers.adam import Adam
from qstore_pl.optimizers.optimizer import Optimizer, State, clip_gradients
from qstore_pl.optimizers.sgd import SGD

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "Optimizer",
    "State",
    "clip_gradients",
    "get_optimizer",
]

OPTIMIZERS: dict[str, type[Adam] | type[SGD]] = {"adam": Adam, "sgd": SGD}


def get_optimizer(
    name: str,
    learning_rate: float,
    *,
    momentum: float | None = None,
    weight_decay: float | None = None,
) -> Adam | SGD:
    """A new optimizer by name; an option that is None keeps the optimizer's own value.

    Args:
        name: A key of ``OPTIMIZERS``.
        learning_rate: Step length, > 0.
        momentum: Only for optimizers that have one.
        weight_decay: Multiple of the parameters added to the gradients.

    Raises:
        ValueError: If the name is unknown, or the optimizer has no such option.

    Example:
        >>> get_optimizer("sgd", 0.1, momentum=0.9)
        SGD(learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    """
    optimizer = OPTIMIZERS[choice("optimizer", name, OPTIMIZERS)]
    known = inspect.signature(optimizer).parameters
    given = {"momentum": momentum, "weight_decay": weight_decay}
    options = {option: value for option, value in given.items() if value is not None}
    for option in options:
        if option not in known:
            raise ValueError(
                f'Argument `{option}` must be left out for optimizer "{name}", which '
                f"knows only {', '.join(known)}."
            )
    return optimizer(learning_rate, **options)
