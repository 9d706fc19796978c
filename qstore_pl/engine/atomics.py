"""Counters that several threads share inside kernels.

In Python, where kernels run in one thread, they are plain numbers.
"""

from __future__ import annotations

import os
from typing import Any

from numba.core import types
from numba.extending import intrinsic, overload

from qstore_pl.engine.compile import Array, inner

SPINS = 1000  # looks at a counter before other threads get the processor
APART = 8  # counters are so far apart that no two share a cache line

_yield = types.ExternalFunction("sched_yield", types.int32())
_CAN_YIELD = os.name == "posix"


@intrinsic
def _add(typing: Any, array: Any, index: Any, number: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.gep(data, [args[1]])
        return builder.atomic_rmw("add", place, args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), code


@intrinsic
def _read(typing: Any, array: Any, index: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return types.int64(array, types.intp), code


def add(array: Array, index: int, number: int) -> int:
    """Add to a counter; what it was before."""
    before = int(array[index])
    array[index] += number
    return before


def read(array: Array, index: int) -> int:
    """A counter as it is now, and all that was written before it was set."""
    return int(array[index])


def give_way() -> None:
    """Let other threads have the processor."""


@overload(add, strict=False)
def _(array: Any, index: Any, number: Any) -> Any:
    return lambda array, index, number: _add(array, index, number)


@overload(read, strict=False)
def _(array: Any, index: Any) -> Any:
    return lambda array, index: _read(array, index)


@overload(give_way, strict=False)
def _() -> Any:
    if _CAN_YIELD:
        return lambda: _yield()
    return lambda: 0


@inner
def claim(counters: Array, stage: int) -> int:
    """The next part of a stage that no thread has taken."""
    return add(counters, 2 * APART * stage, 1)


@inner
def finish(counters: Array, stage: int) -> None:
    """Say that a part of a stage is done."""
    add(counters, 2 * APART * stage + APART, 1)


@inner
def wait(counters: Array, stage: int, parts: int) -> None:
    """Wait until all parts of a stage are done, whoever does them."""
    spins = 0
    while read(counters, 2 * APART * stage + APART) < parts:
        spins += 1
        if spins > SPINS:
            give_way()
            spins = 0
