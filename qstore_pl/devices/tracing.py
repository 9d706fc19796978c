"""Tracing: a quantum function is called with symbols, and becomes a Program.

What the function does with its arguments, and which gates it applies, are found out
once. It is called twice, since a function that does something else the second time, as
one that draws random numbers, cannot be compiled.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.devices.preprocess import validate_device_wires, validate_measurements
from pennylane.exceptions import DeviceError, QuantumFunctionError
from pennylane.measurements import (
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    Shots,
    VarianceMP,
)
from pennylane.operation import Operator
from pennylane.ops import Conditional, MidMeasure
from pennylane.ops.functions import bind_new_parameters
from pennylane.queuing import AnnotatedQueue
from pennylane.tape import QuantumScript
from scipy.sparse import issparse

from qstore_pl.devices.acceptance import accepted_analytic, accepted_sampled
from qstore_pl.devices.base import QStoreDevice
from qstore_pl.devices.batches import Places, batch_of
from qstore_pl.devices.bound import gates_of_pairs
from qstore_pl.devices.executable import (
    Executable,
    Meter,
    Output,
    OutputMeter,
    StateMeter,
)
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.lowering import Lowering, wire_order
from qstore_pl.devices.matrices import is_pauli_rotation
from qstore_pl.devices.outputs import MAX_WIRES, outputs_of, pauli_sum
from qstore_pl.devices.randomness import generators_of
from qstore_pl.devices.registry import entry_of, has_own_decomposition, made_of
from qstore_pl.devices.states import StateKind
from qstore_pl.devices.symbols import Constant, SymbolError, Symbols, parameter_of
from qstore_pl.devices.tensors import is_traced, to_numpy
from qstore_pl.engine.gates import WEIGHT, PauliSum

_OBSERVABLES = {"pauli_arithmetic", "sprod", "linear_combination", "dot"}
MAX_WORDS = 256  # of an observable whose square is measured for its variance
Pair = tuple[Operator, list[Any]]


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
    with unchanged(function) as check:
        try:
            first, second = (recorded(function, *call(given)) for _ in range(2))
        except Exception as error:
            found = _symbol_error(error)
            if found is None:
                raise
            raise needs_value(name, found) from error
        check(alike(first.tape.circuit, second.tape.circuit))
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
    if not files.isdisjoint(_OBSERVABLES):
        out = "Measure the terms of an observable, and sum them outside"
    elif any(code.co_name == "_preprocess" for code in codes):
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
        f"{name} cannot be compiled: it takes {error} of an argument whose value is "
        f"not known when it is traced. {out}, or call the QNode itself."
    )


@contextlib.contextmanager
def unchanged(function: Callable[..., Any]) -> Iterator[Callable[[object], None]]:
    """Refuse a quantum function that is not the same every time it is called.

    Args:
        function: The quantum function, which is called in the context.

    Yields:
        A function to be told whether two calls had the same gates.

    Raises:
        DeviceError: If it draws random numbers, or two calls were different.
    """
    name = getattr(function, "__name__", repr(function))
    before = generators_of(function)

    def check(same: object) -> None:
        if generators_of(function) != before:
            raise DeviceError(
                f"{name} cannot be compiled: it draws random numbers, which would be "
                "the same at every call. Draw them outside and pass them as an "
                "argument."
            )
        if not same:
            raise DeviceError(
                f"{name} cannot be compiled: called twice with the same arguments it "
                "applied different gates. Pass what changes as an argument."
            )

    yield check


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


def pairs_of(tape: QuantumScript) -> list[Pair]:
    """The operations of a tape with their parameters, until each is a known one.

    PennyLane sees the batch of some templates only once they are decomposed.

    Args:
        tape: The circuit, with symbols on it.
    """
    return [
        pair
        for op in tape.operations
        for pair in _known(op, [parameter_of(value) for value in op.data])
    ]


def _known(op: Operator, params: Sequence[Any]) -> Iterable[Pair]:
    entry = entry_of(op)
    if entry is None and has_own_decomposition(op) and not is_pauli_rotation(op):
        for part, own in made_of(op, params, op.wires.labels):
            yield from _known(part, own)
        return
    constant = not any(isinstance(param, Symbols) for param in params)
    if entry is not None and entry.values is not None and constant:
        params = [Constant(to_numpy(value)) for value in entry.values(op)]
    yield op, list(params)


def _ndims(op: Operator) -> Sequence[int]:
    """How many axes each parameter of an operation has in one sample."""
    entry = entry_of(op)
    return (entry.ndims if entry is not None else None) or op.ndim_params


def of_first_sample(op: Operator) -> Operator:
    """An operation with the parameters of the first sample of its batch.

    Args:
        op: The operation; one without a batch axis is returned as it is.
    """
    pairs = list(zip(op.data, _ndims(op), strict=False))
    if all(qml.math.ndim(value) == ndim for value, ndim in pairs):
        return op
    data = [value[0] if qml.math.ndim(value) > ndim else value for value, ndim in pairs]
    return bind_new_parameters(op, data)


def split(pairs: Sequence[Pair], sizes: Sequence[int]) -> tuple[list[Pair], Places]:
    """The circuit of one sample, and where the numbers of the arguments go.

    Args:
        pairs: The operations with their parameters.
        sizes: How many numbers each argument has.

    Raises:
        ValueError: If the batch axes of the parameters differ in length, or have length
            0.
        DeviceError: If samples are different functions of arguments.
    """
    shapes = [
        (param.shape, ndim)
        for op, params in pairs
        if params
        for param, ndim in zip(params, _ndims(op), strict=False)
    ]
    places = Places(sizes, batch_of(shapes))
    found: list[Pair] = []
    for op, params in pairs:
        if not params:
            found.append((op, params))
            continue
        placed = []
        for param, ndim in zip(params, _ndims(op), strict=False):
            if len(param.shape) > ndim:
                placed.append(places.split(param))
            elif isinstance(param, Symbols):
                placed.append(places.shared(param))
            else:
                placed.append(param)
        found.append((op, placed))
    return found, places


def direct_outputs(
    mp: MeasurementProcess,
    order: Sequence[Any],
    noise: SpecNoise | None,
    *,
    exact: bool,
) -> tuple[list[PauliSum], bool] | None:
    """A measurement as expectation values, or None if it is read from states.

    Args:
        mp: The measurement.
        order: Wire labels in the order of the register.
        noise: Noise of the device, of which the readout error counts; None for none.
        exact: Whether values are exact, so that the square of one is.

    Returns:
        The operators, and whether they are an observable and its square, of which the
        measurement is the variance.
    """
    if isinstance(mp, ExpectationMP) and mp.obs is not None:
        if mp.obs.pauli_rep is not None:
            return outputs_of(mp, order, noise), False
    elif isinstance(mp, VarianceMP) and mp.obs is not None and exact:
        sentence = mp.obs.pauli_rep
        if sentence is None or len(sentence) ** 2 > MAX_WORDS:
            return None
        if noise is not None and len(sentence) > 1:
            return None  # words that are misread together
        square = sentence @ sentence
        square.simplify()
        sums = [pauli_sum(sentence, order), pauli_sum(square, order)]
        if noise is not None:
            sums = [noise.observed(terms, order) for terms in sums]
        return sums, True
    elif isinstance(mp, ProbabilityMP) and mp.obs is None and mp.eigvals() is None:
        few = len(mp.wires or order) <= MAX_WIRES
        return (outputs_of(mp, order, noise), False) if few else None
    return None


def executable(
    tape: QuantumScript,
    device: QStoreDevice,
    shapes: Sequence[tuple[int, ...]],
    shots: Shots,
) -> Executable:
    """A circuit of symbols on a device, as a function of arrays.

    Args:
        tape: What a quantum function recorded, with symbols for the numbers of its
            arguments.
        device: The device.
        shapes: Shapes of the arguments.
        shots: The shots of its measurements.

    Raises:
        DeviceError: If the device cannot run it, or an operation cannot be compiled.
        ValueError: If batch axes differ in length.
    """
    tape = _prepared(tape, device, shots)
    sizes = [math.prod(shape) for shape in shapes]
    pairs, places = split(pairs_of(tape), sizes)
    order = wire_order(tape)

    def lower(kind: StateKind, noise: SpecNoise | None) -> Executable:
        lowering = Lowering(order, noise, kind.program)
        lowering.check_memory()
        gates = gates_of_pairs(pairs, lowering)
        outputs, meter, differentiable = _measured(tape, order, kind, noise)
        program = lowering.program_of(
            gates, outputs, n_weights=places.n_weights, n_features=places.n_features
        )

        def draw(states: NDArray[Any]) -> Any:
            batched = places.batch is not None
            results = device.drawn(tape, kind, states, order, batched=batched)
            if len(tape.measurements) > 1:
                return results
            if tape.shots.has_partitioned_shots:
                return [[result] for result in results]
            return [results]

        return Executable(
            program,
            places,
            shapes,
            meter,
            differentiable=differentiable,
            draw=draw if tape.shots else None,
        )

    found = device.lowered(tape, lower)
    if found is None:
        raise DeviceError(
            f"The noise of {device.name} cannot be compiled with this circuit: it "
            "reads the values of gates, or acts at measurements. Call the QNode itself."
        )
    return found


def _prepared(tape: QuantumScript, device: QStoreDevice, shots: Shots) -> QuantumScript:
    """A tape with deferred measurements, whose wires and observables fit the device."""
    tape = tape.copy(shots=shots)
    if any(isinstance(op, MidMeasure | Conditional) for op in tape.operations):
        tape = device.deferred(tape)
        if any(isinstance(op, qml.Projector) for op in tape.operations):
            raise DeviceError(
                f"Postselection cannot be compiled on {device.name}. Call the QNode "
                "itself."
            )
    (tape,), _ = validate_device_wires(tape, device.wires, name=device.name)
    (tape,), _ = validate_measurements(
        tape,
        analytic_measurements=accepted_analytic,
        sample_measurements=accepted_sampled,
        name=device.name,
    )
    data = [v for mp in tape.measurements if mp.obs is not None for v in mp.obs.data]
    if any(isinstance(value, Symbols) for value in data):
        raise DeviceError(
            "The numbers of observables must be constants in a compiled circuit, but "
            "one depends on an argument. Measure the terms, and sum them outside; or "
            "call the QNode itself."
        )
    return tape


def _measured(
    tape: QuantumScript,
    order: tuple[Any, ...],
    kind: StateKind,
    noise: SpecNoise | None,
) -> tuple[list[PauliSum], Meter, bool]:
    """What a Program measures, how that becomes measurements, and their gradients.

    Args:
        tape: The circuit.
        order: Wire labels in the order of the register.
        kind: The kind of states.
        noise: Noise of the device; None for pure states.
    """
    if tape.shots:
        return [], OutputMeter([]), False
    direct = [
        direct_outputs(mp, order, noise, exact=kind.exact) for mp in tape.measurements
    ]
    sums: list[PauliSum] = []
    outputs = []
    for found, mp in zip(direct, tape.measurements, strict=True):
        if found is None:
            break
        terms, variance = found
        shape = (len(terms),) if isinstance(mp, ProbabilityMP) else ()
        outputs.append(Output(len(sums), shape, variance=variance))
        sums += terms
    else:
        return sums, OutputMeter(outputs), True
    readouts = [kind.readout(mp, order) for mp in tape.measurements]
    words = dict.fromkeys(word for readout in readouts for word in readout.words)
    sums = [pauli_sum({word: 1.0}, order) for word in words]
    if noise is not None:
        sums = [noise.observed(terms, order) for terms in sums]
    differentiable = all(readout.differentiable for readout in readouts)
    return sums, StateMeter(tuple(words), readouts), differentiable
