"""Tracing: a quantum function is called with symbols instead of numbers.

What the function does with its arguments, and which gates it applies, are found out
once. It is called twice, since a function that does something else the second time, as
one that draws random numbers, cannot be compiled.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError, QuantumFunctionError
from pennylane.measurements import MeasurementProcess
from pennylane.operation import Operator
from pennylane.ops import MidMeasure
from pennylane.ops.mid_measure import MeasurementValue
from pennylane.queuing import AnnotatedQueue
from pennylane.tape import QuantumScript
from scipy.sparse import issparse

from qstore_pl.devices.randomness import generators_of
from qstore_pl.devices.symbols import OF_OBSERVABLE, SymbolError, Symbols
from qstore_pl.devices.tensors import is_traced, to_numpy
from qstore_pl.engine.gates import WEIGHT

T = TypeVar("T")
ATTEMPTS = 3
CONSTANT_OBSERVABLES = (
    "The numbers of observables must be constants in a compiled circuit, but one "
    "depends on an argument. Measure the terms, and sum them outside; or call the "
    "QNode itself."
)
_OBSERVABLES = {"pauli_arithmetic", "sprod", "linear_combination", "dot"}


@dataclass(frozen=True)
class Recorded:
    """What a quantum function did when it was called.

    Args:
        tape: Its gates and measurements.
        output: What it returned: measurements, in lists, tuples or dictionaries.
    """

    tape: QuantumScript
    output: Any


def recorded(function: Callable[..., Any], args: Any, kwargs: Any) -> Recorded:
    """Call a quantum function and record what it does.

    Args:
        function: The quantum function.
        args: Its arguments by position.
        kwargs: Its arguments by name.

    Raises:
        QuantumFunctionError: If it does not return its measurements, in their order.
    """
    with AnnotatedQueue() as queue:
        output = function(*args, **kwargs)
    tape = QuantumScript.from_queue(queue)
    returned, _ = qml.pytrees.flatten(output, is_leaf=_is_measurement)
    if not returned or not all(map(_is_measurement, returned)):
        raise QuantumFunctionError(
            "A quantum function must return a measurement, or several of them in a "
            f"list, tuple or dictionary, but returned {type(output).__name__}."
        )
    if len(returned) != len(tape.measurements) or any(
        one is not other for one, other in zip(returned, tape.measurements, strict=True)
    ):
        raise QuantumFunctionError(
            "A quantum function must return all measurements, in the order in which "
            "they are made."
        )
    return Recorded(tape, output)


def _is_measurement(value: Any) -> bool:
    return isinstance(value, MeasurementProcess)


def traced(
    function: Callable[..., Any],
    call: Callable[[Sequence[Symbols]], tuple[Any, Any]],
    shapes: Sequence[tuple[int, ...]],
    kinds: Sequence[type[Symbols]],
) -> Recorded:
    """What a quantum function does with symbols, if it does the same every time.

    Args:
        function: The quantum function.
        call: Function from the symbols to its arguments, by position and by name.
        shapes: Shapes of the arrays that symbols stand for. They are numbered one after
            the other.
        kinds: The class of the symbols for each array.

    Raises:
        DeviceError: If it needs the value of an argument, or does something else when
            it is called again.
    """
    name = getattr(function, "__name__", repr(function))
    starts = itertools.accumulate((int(np.prod(s)) for s in shapes), initial=0)
    given = [
        kind.consecutive((WEIGHT, start), shape)
        for start, shape, kind in zip(starts, shapes, kinds, strict=False)
    ]

    def record() -> Recorded:
        try:
            return recorded(function, *call(given))
        except Exception as error:
            found = _symbol_error(error)
            if found is None:
                raise
            raise needs_value(name, found) from error

    first, second = twice(function, record)
    check_alike(name, alike(first.tape.circuit, second.tape.circuit))
    for value in first.tape.get_parameters(trainable_only=False):
        if not isinstance(value, Symbols) and is_traced(value):
            raise DeviceError(
                f"{name} cannot be compiled: it uses a value that is being "
                "differentiated and is none of its arguments. Pass it as an argument."
            )
    return first


def _symbol_error(error: BaseException | None) -> SymbolError | None:
    """What was done with a symbol, if an error was raised because of that."""
    while error is not None and not isinstance(error, SymbolError):
        error = error.__cause__ or error.__context__
    return error


def needs_value(name: str, error: SymbolError) -> DeviceError:
    """The error that says that a quantum function needs the value of an argument.

    Args:
        name: What the function is called.
        error: What it does with the argument.
    """
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    files = {Path(code.co_filename).stem for code in codes}
    if str(error) == OF_OBSERVABLE or not files.isdisjoint(_OBSERVABLES):
        return DeviceError(f"{name} cannot be compiled. {CONSTANT_OBSERVABLES}")
    if any(code.co_name == "_preprocess" for code in codes):
        out = "Normalise a state yourself, qml.StatePrep(x / np.linalg.norm(x), wires)"
    elif "conversion" in str(error):
        out = (
            "Put numbers together by np.stack, not by writing them into an array; or "
            "give that argument to static_argnames of qstore_pl.compile"
        )
    else:
        out = (
            "Give that argument to static_argnames of qstore_pl.compile, so that the "
            "circuit is traced again for each of its values"
        )
    return DeviceError(
        f"{name} cannot be compiled: it needs the value of an argument, which is not "
        f"known when it is traced, for {error}. {out}, or call the QNode itself."
    )


def twice(function: Callable[..., Any], record: Callable[[], T]) -> tuple[T, T]:
    """The results of two calls, of a function that draws no random numbers.

    Args:
        function: The quantum function.
        record: Function that calls it.

    Raises:
        DeviceError: If it draws random numbers.
    """
    for _ in range(ATTEMPTS):  # another thread may draw meanwhile
        before = generators_of(function)
        found = record(), record()
        if generators_of(function) == before:
            return found
    name = getattr(function, "__name__", repr(function))
    raise DeviceError(
        f"{name} cannot be compiled: it draws random numbers, which would be the same "
        "at every call. Draw them outside and pass them as an argument."
    )


def check_alike(name: str, same: object) -> None:
    """Refuse a quantum function that did something else when it was called again.

    Args:
        name: What the function is called.
        same: Whether two calls had the same gates.

    Raises:
        DeviceError: If they had not.
    """
    if not same:
        raise DeviceError(
            f"{name} cannot be compiled: called twice with the same arguments it "
            "applied different gates. Pass what changes as an argument."
        )


def alike(one: Any, other: Any) -> bool:
    """Whether two circuits, or parts of them, are the same.

    Args:
        one: Operations, measurements, their parts and lists of them.
        other: The same of another circuit. What a framework traces counts as the same.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray) and one.dtype == object:
        return alike(one.tolist(), other.tolist())
    if isinstance(one, Symbols):
        return one.shape == other.shape and one.entries == other.entries
    if isinstance(one, MidMeasure):  # each has an identity of its own besides
        kinds = [(op.wires, op.reset, op.postselect) for op in (one, other)]
        return kinds[0] == kinds[1]
    if isinstance(one, Operator):
        return (
            one.name == other.name
            and one.wires == other.wires
            and alike(one.data, other.data)
            and alike(one.hyperparameters, other.hyperparameters)
        )
    if isinstance(one, MeasurementProcess):
        if isinstance(one.mv, MeasurementValue):  # in the order of their identities
            return set(one.wires) == set(other.wires)
        return one.wires == other.wires and alike(one.obs, other.obs)
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(alike(*pair) for pair in pairs)
    if isinstance(one, dict):
        return list(one) == list(other) and alike([*one.values()], [*other.values()])
    if isinstance(one, qml.wires.Wires | str | bytes):
        return bool(one == other)
    if isinstance(one, int | float | complex | np.generic | np.ndarray):
        return bool(np.array_equal(one, other))
    if is_traced(one):
        return is_traced(other)
    if issparse(one) or qml.math.get_interface(one) in ("torch", "jax"):
        return bool(np.array_equal(to_numpy(one), to_numpy(other)))
    return True  # an object without numbers, such as the name of a measurement
