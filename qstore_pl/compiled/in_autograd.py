"""Compiled circuits in autograd, whose arrays are those of ``pennylane.numpy``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from autograd.extend import defvjp, defvjp_argnums, primitive
from autograd.tracer import isbox
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from qstore_pl.devices import ONLY_FIRST_DERIVATIVES, Call, Executable

Float = NDArray[np.float64]


class _Run:
    """A call that autograd may ask to be differentiated."""

    def __init__(self, executable: Executable) -> None:
        self.executable = executable
        self.shapes: list[tuple[int, ...]] = []
        self.call: Call | None = None


def differentiated(executable: Executable, leaves: Sequence[Any]) -> list[Any]:
    """The measurements, where autograd traces some of the arguments.

    Args:
        executable: The circuit.
        leaves: Its arguments, some of them boxes of autograd.
    """
    run = _Run(executable)
    values = _values(run, *leaves)
    if len(run.shapes) == 1:
        return [values]
    sizes = [math.prod(shape) for shape in run.shapes]
    starts = itertools.accumulate(sizes, initial=0)
    return [
        _part(values, start, size, shape)
        for start, size, shape in zip(starts, sizes, run.shapes, strict=False)
    ]


@primitive
def _values(run: _Run, *leaves: Any) -> Any:
    """One measurement, or all of them in a vector."""
    call = run.executable.call(_arrays(leaves))
    values = call.values()
    run.call, run.shapes = call, [value.shape for value in values]
    if len(values) == 1:
        return values[0]
    return np.concatenate([value.reshape(-1) for value in values])


def _arrays(leaves: Sequence[Any]) -> list[Float]:
    """Arguments as plain arrays of float64."""
    return [np.asarray(leaf, dtype=np.float64) for leaf in leaves]


def _pull(
    argnums: Sequence[int], ans: Any, args: Sequence[Any], kwargs: Any
) -> Callable[[Any], list[Float | None]]:
    run: _Run = args[0]

    def pull(dy: Any) -> list[Float | None]:
        if isbox(dy) or any(map(isbox, args)):
            raise DeviceError(ONLY_FIRST_DERIVATIVES)
        assert run.call is not None
        if len(run.shapes) == 1:
            cotangents = [np.asarray(dy)]
        else:
            ends = np.cumsum([math.prod(shape) for shape in run.shapes])[:-1]
            parts = np.split(dy, ends)
            cotangents = [p.reshape(s) for p, s in zip(parts, run.shapes, strict=True)]
        wanted = [argnum - 1 for argnum in argnums]
        found = run.call.pull(cotangents, wanted)
        return [found[k] for k in wanted]

    return pull


defvjp_argnums(_values, _pull)


@primitive
def _part(values: Float, start: int, size: int, shape: tuple[int, ...]) -> Any:
    """One measurement out of the vector of all."""
    return values[start : start + size].reshape(shape)


def _back(
    ans: Any, values: Any, start: int, size: int, shape: tuple[int, ...]
) -> Callable[[Any], Any]:
    def back(dy: Any) -> Any:
        if isbox(dy):
            raise DeviceError(ONLY_FIRST_DERIVATIVES)
        whole = np.zeros(values.shape)
        whole[start : start + size] = np.reshape(dy, -1)
        return whole

    return back


defvjp(_part, _back)
