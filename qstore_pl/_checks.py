"""Checks of arguments, whose errors say what was needed, what came, and what to do.

Public functions call them once; the functions they call do not check again.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Return ``value`` if it is one of the ``known`` words.

    Raises:
        ValueError: If it is not; the message lists the known words.
    """
    words = sorted(known)
    if not isinstance(value, str) or value not in words:
        listed = ", ".join(f'"{word}"' for word in words)
        raise ValueError(
            f"Argument `{name}` must be one of {listed}, but is {value!r}."
        )
    return value


def boolean(name: str, value: Any) -> bool:
    """Return ``value`` as a bool; numbers are refused.

    Raises:
        TypeError: If it is neither True nor False.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"Argument `{name}` must be True or False, but is {value!r}.")
    return bool(value)


def integer(name: str, value: Any, *, minimum: int | None = None) -> int:
    """Return ``value`` as an int; bools and fractions are refused.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is less than ``minimum``.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"Argument `{name}` must be an integer, but is {value!r}.")
    if minimum is not None and value < minimum:
        raise ValueError(f"Argument `{name}` must be >= {minimum}, but is {value}.")
    return int(value)


def real(
    name: str,
    value: Any,
    *,
    minimum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Return ``value`` as a finite float within the bounds.

    Raises:
        TypeError: If it is not a real number.
        ValueError: If it is not finite, less than ``minimum``, not greater than
            ``above``, or not less than ``below``.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"Argument `{name}` must be a real number, but is {value!r}.")
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"Argument `{name}` must be finite, but is {number}.")
    if minimum is not None and number < minimum:
        raise ValueError(f"Argument `{name}` must be >= {minimum}, but is {number}.")
    if above is not None and number <= above:
        raise ValueError(f"Argument `{name}` must be > {above}, but is {number}.")
    if below is not None and number >= below:
        raise ValueError(f"Argument `{name}` must be < {below}, but is {number}.")
    return number


def plain(name: str, value: Any) -> NDArray[Any]:
    """Return ``value`` as an array that is not masked.

    NumPy's conversion to an array would silently use the numbers under the mask.

    Raises:
        ValueError: If an entry is masked, also in an array inside a list; or if rows
            have different lengths.
    """
    if type(value) is np.ndarray:
        return value
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(map(np.ma.is_masked, parts)):
        raise ValueError(
            f"Argument `{name}` must have no masked entries, but has some. Put numbers "
            "there with .filled(number), or leave these samples out, as .compressed() "
            "and numpy.ma.compress_rows do."
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"Argument `{name}` must have rows of the same length, but NumPy can make "
            f"no array of it: {error}"
        ) from error


def finite(name: str, value: Any) -> NDArray[np.float64]:
    """Return ``value`` as a C-ordered float64 array without NaN or infinity.

    Raises:
        TypeError: If it is complex or not numeric.
        ValueError: If an entry is masked, NaN or infinite; the message names the first
            one that is not finite.
    """
    array = plain(name, value)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"Argument `{name}` must hold real numbers, but has dtype {array.dtype}."
        )
    array = np.ascontiguousarray(array, dtype=np.float64)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"Argument `{name}` must be finite, but entry {where} is {array[where]}. "
            "Remove or impute such samples first."
        )
    return array
