"""Weights of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl._checks import finite

Float1D = NDArray[np.float64]


def sample_weights(given: Any, n_samples: int) -> Float1D | None:
    """The weights of samples, checked; None where none were given.

    Args:
        given: One weight for each sample, >= 0, or None.
        n_samples: Number of samples.

    Raises:
        TypeError: If they are not real numbers.
        ValueError: If they have another shape, one is negative or not finite, or all
            are zero.
    """
    if given is None:
        return None
    weights = finite("sample_weight", given)
    if weights.shape != (n_samples,):
        raise ValueError(
            f"Argument `sample_weight` must have shape ({n_samples},), one weight for "
            f"each sample, but has shape {weights.shape}."
        )
    if (weights < 0.0).any():
        raise ValueError(
            f"Argument `sample_weight` must be >= 0, but has {weights.min()} in it."
        )
    if not weights.any():
        raise ValueError(
            "Argument `sample_weight` must have a weight that is not zero, but all "
            "are zero."
        )
    return weights


def with_mean_one(weights: Float1D | None) -> Float1D | None:
    """The weights, multiplied by a number so that their mean is 1.

    Args:
        weights: Shape ``(n_samples,)``, not all zero, or None.
    """
    return None if weights is None else weights / weights.mean()
