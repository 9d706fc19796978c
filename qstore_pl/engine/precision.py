"""States in double or single precision, and work arrays that hold both.

A kernel is compiled for states of float64 or of float32, by the type of its work array.
States and the matrices that act on them have this type; angles, what is added up over a
state and what is measured have float64 in either case. This module knows no circuits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qstore_pl._checks import choice
from qstore_pl.engine.compile import Array, inner

DOUBLE, SINGLE = "complex128", "complex64"
PRECISIONS = (DOUBLE, SINGLE)


def precision(dtype: Any) -> str:
    """The name of a precision, or an error that lists the names.

    Args:
        dtype: Name of the type of amplitudes.
    """
    return choice("dtype", dtype, PRECISIONS)


def real_type(dtype: str) -> Any:
    """Numpy's type of the real numbers that make up states of a precision."""
    return np.float32 if dtype == SINGLE else np.float64


@inner
def per_double(work: Array) -> int:
    """How many numbers of a work array take the room of one float64."""
    return 8 // work.itemsize


@inner
def doubles(work: Array) -> Array:
    """The numbers of a part of a work array as float64, as many as there is room for.

    The part must begin at an even place.
    """
    return work[: work.shape[0] - work.shape[0] % (8 // work.itemsize)].view(np.float64)
