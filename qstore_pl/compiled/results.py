"""From the measurements of a circuit to what its QNode returns."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import pennylane as qml
from pennylane.measurements import MeasurementProcess


def builder(output: Any, *, partitioned: bool) -> Callable[[Any], Any]:
    """The function from measurements to what a QNode returns.

    Args:
        output: What the quantum function returned.
        partitioned: Whether there are several numbers of shots: all measurements for
            the first, then all for the next.
    """
    leaves, structure = qml.pytrees.flatten(output, is_leaf=_is_measurement)
    build: Callable[[Any], Any]
    if isinstance(output, MeasurementProcess):
        build = operator.itemgetter(0)
    elif type(output) in (list, tuple) and len(leaves) == len(output):
        build = type(output)
    else:
        build = functools.partial(qml.pytrees.unflatten, structure=structure)
    if not partitioned:
        return build
    n = len(leaves)

    def of_each(results: Sequence[Any]) -> tuple[Any, ...]:
        starts = range(0, len(results), n)
        return tuple(build(results[start : start + n]) for start in starts)

    return of_each


def _is_measurement(value: Any) -> bool:
    return isinstance(value, MeasurementProcess)
