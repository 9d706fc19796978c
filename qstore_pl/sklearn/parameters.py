"""Parameters of estimators: what is refused, and seeds."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from sklearn.utils import check_random_state


def check_left_out(estimator: Any, names: Sequence[str], when: str) -> None:
    """Refuse parameters that an estimator would ignore.

    Args:
        estimator: The estimator.
        names: Names of the parameters, which must have their defaults.
        when: Why they would be ignored, for the message.

    Raises:
        ValueError: If one has another value.
    """
    defaults = inspect.signature(type(estimator)).parameters
    for name in names:
        value, default = getattr(estimator, name), defaults[name].default
        if value != default:
            raise ValueError(
                f"Parameter {name} must be left at {default!r} {when}, since it would "
                f"be ignored, but is {value!r}."
            )


def seed_of(random_state: Any) -> int:
    """A seed, drawn from what scikit-learn calls a random state.

    Args:
        random_state: An integer, a RandomState, or None for a fresh seed.
    """
    return int(check_random_state(random_state).randint(2**31 - 1))
