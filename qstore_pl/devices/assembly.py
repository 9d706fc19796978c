"""From the tape of a traced quantum function to a circuit that runs on arrays.

Operations are lowered with symbols for their parameters. Measurements become outputs of
the Program where they are expectation values, and are read from the states where they
are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices.preprocess import validate_device_wires, validate_measurements
from pennylane.exceptions import DeviceError
from pennylane.measurements import (
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    Shots,
    VarianceMP,
)
from pennylane.operation import Operator
from pennylane.ops.functions import bind_new_parameters
from pennylane.tape import QuantumScript

from qstore_pl.devices.acceptance import accepted_analytic, accepted_sampled
from qstore_pl.devices.base import QStoreDevice
from qstore_pl.devices.batches import Places, batch_of
from qstore_pl.devices.bound import gates_of_pairs
from qstore_pl.devices.deferring import deferred
from qstore_pl.devices.executable import ExactExecutable, Executable
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.groups import grouped, has_groups
from qstore_pl.devices.lanes import Lanes, lanes_of, sampler_of
from qstore_pl.devices.lowering import Lowering, wire_order
from qstore_pl.devices.matrices import is_pauli_rotation
from qstore_pl.devices.meters import Meter, Output, OutputMeter, StateMeter
from qstore_pl.devices.outputs import MAX_WIRES, outputs_of, pauli_sum
from qstore_pl.devices.packing import Packing
from qstore_pl.devices.readings import Rotation
from qstore_pl.devices.registry import entry_of, has_own_decomposition, made_of
from qstore_pl.devices.sampled import DrawnExecutable, SampledExecutable
from qstore_pl.devices.shifts import depends
from qstore_pl.devices.states import StateKind
from qstore_pl.devices.symbols import Constant, Symbols, parameter_of
from qstore_pl.devices.tensors import to_numpy
from qstore_pl.devices.tracing import CONSTANT_OBSERVABLES
from qstore_pl.engine.gates import WEIGHT, PauliSum
from qstore_pl.engine.program import Program

MAX_WORDS = 256  # of an observable whose square is measured for its variance
Pair = tuple[Operator, list[Any]]


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
    scalar = entry is not None and entry.channel and not any(entry.ndims or ())
    if scalar and any(param.shape for param in params):
        raise DeviceError(
            f"The parameters of {op.name} must be numbers that all samples share, but "
            "one has a batch axis. Call the circuit once for each sample."
        )
    constant = not any(isinstance(param, Symbols) for param in params)
    if entry is not None and entry.values is not None and constant:
        params = [Constant(to_numpy(value)) for value in entry.values(op)]
    yield op, list(params)


def _ndims(op: Operator, params: Sequence[Any]) -> Sequence[int]:
    """How many axes each parameter of an operation has in one sample.

    Args:
        op: The operation.
        params: What its parameters are, or the numbers that are computed from them.
    """
    entry = entry_of(op)
    if entry is None or entry.ndims is None or len(entry.ndims) != len(params):
        return op.ndim_params
    return entry.ndims


def of_first_sample(op: Operator) -> Operator:
    """An operation with the parameters of the first sample of its batch.

    Args:
        op: The operation; one without a batch axis is returned as it is.
    """
    pairs = list(zip(op.data, _ndims(op, op.data), strict=False))
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
        for param, ndim in zip(params, _ndims(op, params), strict=False)
    ]
    places = Places(sizes, batch_of(shapes))
    found: list[Pair] = []
    for op, params in pairs:
        if not params:
            found.append((op, params))
            continue
        placed = []
        for param, ndim in zip(params, _ndims(op, params), strict=False):
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
    pairs, places = split(pairs_of(tape), [math.prod(shape) for shape in shapes])
    order = wire_order(tape)
    sizes = {"n_weights": places.n_weights, "n_features": places.n_features}

    def lower(kind: StateKind, noise: SpecNoise | None) -> Executable:
        lowering = Lowering(order, noise, kind.program, device.dtype)
        lowering.check_memory()
        gates = gates_of_pairs(pairs, lowering)
        packing, batched = Packing(places, shapes), places.batch is not None
        if not tape.shots:
            outputs, meter, differentiable = _measured(tape, order, kind, noise)
            program = lowering.program_of(gates, outputs, **sizes)
            return ExactExecutable(
                program, packing, meter, batched=batched, differentiable=differentiable
            )
        if all(map(has_groups, tape.measurements)):
            read = grouped(tape.measurements, order, noise)
            return SampledExecutable(
                sampler_of(read, gates, lowering, **sizes),
                lanes,
                packing,
                OutputMeter(read.outputs),
                device,
                list(tape.shots),
                batched=batched,
            )

        programs: dict[Any, Program] = {}

        def program_of(rotation: Rotation) -> Program:
            if rotation.key not in programs:
                basis = lowering.basis(rotation.operations)
                found = lowering.program_of([*gates, *basis], [], **sizes)
                programs[rotation.key] = found
            return programs[rotation.key]

        def draw(*values: Any) -> list[Any]:
            results = device.drawn(
                tape, kind, order, program_of, values, batched=batched
            )
            if len(tape.measurements) == 1:
                return list(results) if tape.shots.has_partitioned_shots else [results]
            if tape.shots.has_partitioned_shots:
                return [result for part in results for result in part]
            return list(results)

        return DrawnExecutable(program_of(Rotation()), draw, packing, batched=batched)

    def lanes() -> Lanes:
        found = lanes_of(
            tape, pairs, device, **sizes, shots=True, shifted=True, inputs=True
        )
        assert found is not None  # as the circuit itself was lowered
        return found

    found = device.lowered(tape, lower)
    if found is None:
        raise DeviceError(
            f"The noise of {device.name} cannot be compiled with this circuit: it "
            "reads the values of gates, or acts at measurements. Call the QNode itself."
        )
    return found


def lanes_of_weights(
    tape: QuantumScript,
    device: QStoreDevice,
    shapes: Sequence[tuple[int, ...]],
    shots: Shots,
    *,
    shifted: bool,
) -> Lanes | None:
    """The lanes of a circuit of symbols that is a function of weights and a batch.

    Args:
        tape: What a quantum function recorded, with symbols for its two arguments.
        device: The device.
        shapes: Shapes of the weights and of the batch.
        shots: The shots of its measurements.
        shifted: Whether gates can be shifted; else every lane has its own weights.

    Returns:
        The lanes. None if no gate depends on the weights, or one takes them otherwise
        than as values that all samples share; if the batch axis has another length than
        the data; or if the noise of the device depends on the values of gates.

    Raises:
        DeviceError: If the device cannot run it, or an operation cannot be compiled.
    """
    tape = _prepared(tape, device, shots)
    pairs, places = split(pairs_of(tape), [math.prod(shape) for shape in shapes])
    packing = Packing(places, shapes)
    if not any(depends(params, {WEIGHT}) for _, params in pairs):
        return None
    n_weights, n_samples = math.prod(shapes[0]), shapes[1][0]
    own = places.arguments[:1] == [0] and places.n_weights == n_weights
    if not own or 0 in packing.per_sample or packing.batch != n_samples:
        return None
    found = lanes_of(
        tape,
        pairs,
        device,
        n_weights=n_weights,
        n_features=places.n_features,
        shots=bool(shots),
        shifted=shifted,
    )
    if found is not None:
        nothing = np.zeros(shapes[0])
        found.features_of = lambda features: packing.packed([nothing, features])[1]
    return found


def _prepared(tape: QuantumScript, device: QStoreDevice, shots: Shots) -> QuantumScript:
    """A tape with deferred measurements, whose wires and observables fit the device."""
    tape = tape.copy(shots=shots)
    data = [v for mp in tape.measurements if mp.obs is not None for v in mp.obs.data]
    if any(isinstance(parameter_of(value), Symbols) for value in data):
        raise DeviceError(CONSTANT_OBSERVABLES)
    tape = deferred(tape, follows_gates=device.follows_gates)
    (tape,), _ = validate_device_wires(tape, device.wires, name=device.name)
    (tape,), _ = validate_measurements(
        tape,
        analytic_measurements=accepted_analytic,
        sample_measurements=accepted_sampled,
        name=device.name,
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
