"""Calls of the kernels inside functions that JAX compiles, without Python between them.

XLA calls a function of :mod:`qstore_pl.engine.xla` by its name. This module tells XLA
the name when a circuit is first compiled, and is imported only where JAX is installed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from qstore_pl.engine.compile import Foreign, source_hash
from qstore_pl.engine.xla import Call

Array = Any  # an array or a tracer of JAX

_lock = threading.Lock()
_names: dict[Foreign, str] = {}


def apply_call(call: Call, shapes: Sequence[Any], *args: Array) -> list[Array]:
    """The results of a call, where JAX traces its arguments.

    Args:
        call: The call.
        shapes: Shapes and types of the results.
        args: The arguments that follow the structure, in single or double precision.
    """
    # XLA 0.7.1 aborts the process where a large function only returns the one result
    # of a call: there are two at least, of which the last is the work array.
    results = [jax.ShapeDtypeStruct(shape.shape, shape.dtype) for shape in shapes]
    results.append(jax.ShapeDtypeStruct((call.work,), np.uint8))
    function = jax.ffi.ffi_call(_name(call.function), results)
    return list(function(call.structure, *args))[:-1]


def _name(function: Foreign) -> str:
    """The name by which XLA calls a function.

    JAX may keep compiled functions on disk, so the name says which sources know how to
    read the structure that they hold.
    """
    with _lock:
        if function not in _names:
            name = f"qstore_pl_{function.function.__name__}_{source_hash()}"
            capsule = jax.ffi.pycapsule(function.address)
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
            _names[function] = name
        return _names[function]
