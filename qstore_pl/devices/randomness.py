"""Whether a function draws random numbers: the generators that it can reach."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType, MethodType
from typing import Any

import numpy as np

_LIBRARIES = ("pennylane", "numpy", "qstore_pl", "torch", "jax", "builtins")
DEPTH = 4  # of functions that call functions, and of objects that hold objects


def generators_of(function: Callable[..., Any]) -> list[Any]:
    """The states of the global random generators, and of those a function can reach.

    They are reached by the names in the function and in functions that it calls, in
    containers and attributes. Two calls of this function give equal lists if nothing
    was drawn in between.

    Args:
        function: A function of Python.
    """
    state: Any = np.random.get_state()  # noqa: NPY002
    found: list[Any] = [random.getstate(), state[1].tobytes(), state[2:]]
    torch = sys.modules.get("torch")
    if torch is not None:
        # In a thread of its own, where torch's transforms do not wrap the state.
        with ThreadPoolExecutor(1) as thread:
            state = thread.submit(lambda: torch.get_rng_state().numpy().tobytes())
        found.append(state.result())
    found += map(_state, _reached(function, DEPTH, set()))
    return found


def _reached(value: Any, depth: int, seen: set[int]) -> Iterator[Any]:
    """The generators that a value holds, or uses if it is a function."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if _is_generator(value):
        yield value
    elif depth:
        for part in _parts(value):
            yield from _reached(part, depth - 1, seen)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, MethodType):
        yield value.__self__
        yield value.__func__
    elif isinstance(value, FunctionType):
        if (value.__module__ or "").partition(".")[0] in (
            "pennylane",
            "numpy",
            "qstore_pl",
        ):
            return
        names = inspect.getclosurevars(value)
        yield from names.nonlocals.values()
        yield from names.globals.values()
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
        if hasattr(value, "__wrapped__"):
            yield value.__wrapped__
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    else:
        kind = value if isinstance(value, type) else type(value)
        if _home(kind) not in _LIBRARIES:
            yield from vars(value).values() if hasattr(value, "__dict__") else ()


def _home(value: Any) -> str:
    """The package that a function or a class is from."""
    return (value.__module__ or "").partition(".")[0]


def _is_generator(value: Any) -> bool:
    kinds = (np.random.Generator, np.random.RandomState, random.Random)
    torch = sys.modules.get("torch")
    return isinstance(value, kinds) or (
        torch is not None and isinstance(value, torch.Generator)
    )


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return repr(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return repr(generator.get_state())
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.get_state().numpy().tobytes()
