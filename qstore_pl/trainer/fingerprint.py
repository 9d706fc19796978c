"""Fingerprints of functions: short strings that differ if the functions do.

A resumed run must have the loss and the metrics that it began with, and functions with
the same name may differ. A fingerprint is the name of a function followed by a digest
of its bytecode, constants, names, defaults and the values it closes over. It is the
same in every process: it depends neither on the file and the lines where the function
is written nor on hash seeds or memory addresses. It does depend on the version of
Python, which determines the bytecode. Global variables that a function reads, such as
other functions, count with their names only.
"""

from __future__ import annotations

import functools
import hashlib
import types
from typing import Any

import numpy as np

Part = bytes


def fingerprint(function: Any) -> str:
    """The name of a function, followed by a digest of what it does.

    Args:
        function: A Python function of any kind. For another callable, such as an object
            with ``__call__``, only its type counts.

    Example:
        >>> fingerprint(lambda p, t: p - t) == fingerprint(lambda p, t: t - p)
        False
    """
    name = _name(function if isinstance(function, _NAMED) else type(function))
    return f"{name} {_digest(function, {}).hex()[:16]}"


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


def _digest(value: Any, seen: dict[int, int]) -> Part:
    """A digest of a value: of its contents if its type is known here, else of its type.

    Args:
        value: An object of any kind.
        seen: The functions and containers that contain the value: from ``id(...)`` to
            their position. A function may close over itself.
    """
    if id(value) in seen:
        return _joined("again", [str(seen[id(value)]).encode()])
    if isinstance(value, _HOLDERS):
        seen = seen | {id(value): len(seen)}
    kind = type(value).__name__
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes():
            return _joined(kind, [repr(value).encode()])
        case types.EllipsisType() | range():
            return _joined(kind, [repr(value).encode()])
        case np.ndarray() | np.generic():
            return _joined(kind, _of_array(np.asarray(value), seen))
        case slice():
            ends = (value.start, value.stop, value.step)
            return _joined(kind, [_digest(end, seen) for end in ends])
        case tuple() | list():
            return _joined(kind, [_digest(item, seen) for item in value])
        case set() | frozenset():
            return _joined(kind, sorted(_digest(item, seen) for item in value))
        case dict():
            pairs = [_digest(pair, seen) for pair in value.items()]
            return _joined(kind, sorted(pairs))
        case types.CodeType():
            return _joined(kind, _of_code(value, seen))
        case types.FunctionType():
            return _joined(kind, _of_function(value, seen))
        case types.MethodType():
            parts = (value.__func__, value.__self__)
            return _joined(kind, [_digest(part, seen) for part in parts])
        case functools.partial():
            bound = (value.func, value.args, value.keywords)
            return _joined(kind, [_digest(part, seen) for part in bound])
        case type() | types.BuiltinFunctionType():
            return _joined(kind, [_name(value).encode()])
        case np.ufunc() | types.ModuleType():
            return _joined(kind, [value.__name__.encode()])
        case _:  # its type, and its name if it has one, as compiled functions do
            own = getattr(value, "__qualname__", "")
            return _joined("object", [_name(type(value)).encode(), str(own).encode()])


def _of_array(array: np.ndarray[Any, Any], seen: dict[int, int]) -> list[Part]:
    description = f"{array.dtype.str}{array.shape}".encode()
    if array.dtype.hasobject:
        return [description, _digest(array.tolist(), seen)]
    return [description, array.tobytes()]


def _of_code(code: types.CodeType, seen: dict[int, int]) -> list[Part]:
    described = (
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_flags, code.co_code, code.co_exceptiontable),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
    )
    return [_digest(part, seen) for part in (*described, code.co_consts)]


def _of_function(function: types.FunctionType, seen: dict[int, int]) -> list[Part]:
    cells = [_content(cell) for cell in function.__closure__ or ()]
    described = (_name(function), function.__code__, function.__defaults__)
    return [
        _digest(part, seen) for part in (*described, function.__kwdefaults__, cells)
    ]


def _content(cell: types.CellType) -> Any:
    """The value in a cell of a closure as a tuple, empty before it is assigned."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _joined(kind: str, parts: list[Part]) -> Part:
    """One digest of several parts; it depends on where each of them ends."""
    found = hashlib.sha256()
    for part in (kind.encode(), *parts):
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


_NAMED = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)
_HOLDERS = (types.FunctionType, list, dict)
