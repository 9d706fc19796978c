"""Labels of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def several_classes(y: Any) -> NDArray[Any]:
    """The classes among some labels, sorted.

    Args:
        y: Labels, shape ``(n_samples,)``.

    Raises:
        ValueError: If there is only one class.
    """
    classes = np.unique(np.asarray(y))
    if len(classes) < 2:
        raise ValueError(
            "Argument `y` must have samples of two classes or more, but has one "
            f"class: {classes.tolist()}."
        )
    return classes
