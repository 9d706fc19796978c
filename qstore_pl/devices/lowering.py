"""The waist: tapes end here and Programs begin.

A tape is taken apart into structure and values. The structure, without any value, is
the key of a cache of Programs; the values become one array of weights (numbers all
samples share) and one of features (a row per sample). On the compiled road symbols say
instead how each parameter of a tape depends on weights and features of the caller's.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator

from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.outputs import outputs_of, pauli_sum
from qstore_pl.devices.registry import Parameter, entry_of, lower_operation
from qstore_pl.devices.symbols import Constant, SymbolError, Symbols
from qstore_pl.devices.tensors import NUMPY, Arrays, to_numpy
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Channel,
    Kraus,
    MixedGate,
    PauliSum,
    Slot,
    Transfer,
)
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.program import Program
from qstore_pl.engine.pure import PureProgram

_CHANNELS = frozenset({Channel, Kraus, Transfer})
NO_STRENGTHS = (
    "Trajectories give no gradient with respect to parameters of {}. Use "
    'method="density", or mark them as not trainable.'
)
Word = Any  # qml.pauli.PauliWord


class NeedsMixedStatesError(DeviceError):
    """A circuit whose states were taken to be pure has a channel."""


class CacheInfo(NamedTuple):
    """How often a structure was known, how often it had to be lowered."""

    hits: int
    misses: int
    size: int


@dataclass(frozen=True)
class Circuit:
    """A tape taken apart.

    Args:
        order: Wire labels in the order of the register.
        operations: The operations, for their structure only.
        wires: Labels of the wires of each operation.
        parameters: Where each parameter of each operation is found.
        words: The distinct Pauli words to measure.
        weights: Values shared by all samples, shape ``(n_weights,)``; of numpy or JAX.
        features: Values per sample, shape ``(batch or 1, n_features)``.
        batch: Number of samples, or None for a tape without a batch axis.
        key: The structure without any value.
    """

    order: tuple[Any, ...]
    operations: Sequence[Operator]
    wires: Sequence[tuple[Any, ...]]
    parameters: tuple[tuple[Parameter, ...], ...]
    words: tuple[Word, ...]
    weights: Any
    features: Any
    batch: int | None
    key: Hashable


def take_apart(
    tape: qml.tape.QuantumScript,
    words: Sequence[Word] = (),
    *,
    order: tuple[Any, ...] | None = None,
    arrays: Arrays = NUMPY,
) -> Circuit:
    """Separate the structure of a tape from its values, without a binding.

    Args:
        tape: Its operations all have an entry in the registry.
        words: The distinct Pauli words to measure.
        order: Wire labels in the order of the register; None takes the tape's.
        arrays: What the values become.

    Raises:
        DeviceError: If an operation was not decomposed, or an angle is complex.
        ValueError: If batch axes differ in length or have none.
    """
    order = wire_order(tape) if order is None else order
    weights: list[Any] = []
    features: list[Any] = []
    parameters: list[tuple[Parameter, ...]] = []
    wires: list[tuple[Any, ...]] = []
    key: list[Hashable] = [order, tuple(words)]
    trainable = set(tape.trainable_params)
    index = n_weights = n_features = 0
    for op in tape.operations:
        entry = entry_of(op)
        if entry is None:
            raise DeviceError(
                f"Operation {op.name} was not decomposed for this device."
            )
        data = op.data if entry.values is None else entry.values(op)
        labels = op.wires.labels  # which costs something where there are controls
        wires.append(labels)
        key.append((type(op), op.name, labels, entry.key(op)))
        first, index = index, index + op.num_params
        if not data:
            parameters.append(())
            continue
        # Gradients by the entries of a matrix cost something: only where wanted.
        wanted = entry.complex and not trainable.isdisjoint(range(first, index))
        found = []
        for value, ndim in zip(data, entry.ndims or op.ndim_params, strict=True):
            array = arrays.tensor(value)
            is_complex = entry.complex or array.dtype.kind == "c"
            if is_complex and not (entry.complex or entry.initial):
                raise DeviceError(
                    f"Parameters of {op.name} must be real, but have dtype "
                    f"{array.dtype}. Take their real part."
                )
            batched = array.ndim > ndim
            shape = array.shape[1:] if batched else array.shape
            size = math.prod(shape)
            rows = array.reshape(len(array), size) if batched else array.reshape(size)
            if is_complex:
                rows = arrays.concatenate([rows.real, rows.imag], axis=-1)
            size = rows.shape[-1]
            if batched:
                place = (FEATURE, n_features)
                features.append(rows)
                n_features += size
            else:
                place = (WEIGHT, n_weights)
                weights.append(rows)
                n_weights += size
            found.append(Parameter(*place, shape, is_complex, wanted))
            key.append((batched, shape, is_complex, wanted))
        parameters.append(tuple(found))
    batch = _common_batch(features)
    return Circuit(
        order=order,
        operations=tape.operations,
        wires=wires,
        parameters=tuple(parameters),
        words=tuple(words),
        weights=arrays.joined(weights, (0,)),
        features=arrays.joined(features, (1, 0)),
        batch=batch,
        key=tuple(key),
    )


def _common_batch(features: list[Any]) -> int | None:
    """The number of samples, or None where nothing has a batch axis."""
    sizes = {len(rows) for rows in features}
    if len(sizes) > 1 or 0 in sizes:
        raise ValueError(
            "Parameters with a batch axis must have the same number of samples, at "
            f"least one, but have {' and '.join(map(str, sorted(sizes)))}."
        )
    return sizes.pop() if sizes else None


class ProgramCache:
    """The most recently used Programs by structure; may be shared by threads.

    Args:
        size: Most Programs to keep.
    """

    def __init__(self, size: int = 128) -> None:
        self._size = size
        self._programs: OrderedDict[Hashable, Program] = OrderedDict()
        self._hits = self._misses = 0
        self._lock = threading.Lock()

    def get(
        self, circuit: Circuit, lower: Callable[[Circuit], Program], kind: Hashable
    ) -> Program:
        """The Program of a structure, lowered when it is first met.

        Args:
            circuit: The structure.
            lower: Makes its Program.
            kind: What besides the structure determines the Program.
        """
        key = kind, circuit.key
        with self._lock:
            program = self._programs.get(key)
            if program is not None:
                self._hits += 1
                self._programs.move_to_end(key)
                return program
            self._misses += 1
        program = lower(circuit)
        with self._lock:
            self._programs[key] = program
            if len(self._programs) > self._size:
                self._programs.popitem(last=False)
        return program

    def info(self) -> CacheInfo:
        """Hits, misses and Programs kept."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, len(self._programs))

    def __reduce__(self) -> tuple[Any, ...]:
        return ProgramCache, (self._size,)


def lower(
    circuit: Circuit,
    noise: SpecNoise | None = None,
    program: Callable[..., Program] = MixedProgram,
) -> Program:
    """The Program of a tape that was taken apart.

    Args:
        circuit: The tape.
        noise: For mixed states, what follows the gates; None is for pure states.
        program: What runs mixed states.

    Raises:
        DeviceError: If its states do not fit into memory, or initial amplitudes are not
            the first operation.
    """
    _check_memory(circuit.order, noise, program)
    words = [pauli_sum({word: 1.0}, circuit.order) for word in circuit.words]
    if noise is not None:
        words = [noise.observed(word, circuit.order) for word in words]
    position = {label: i for i, label in enumerate(circuit.order)}
    gates: list[MixedGate] = []
    for op, labels, params in zip(
        circuit.operations, circuit.wires, circuit.parameters, strict=True
    ):
        gates += _gates_of(op, labels, params, position, noise)
    sizes = len(circuit.weights), circuit.features.shape[1]
    return _program(circuit.order, gates, words, sizes, noise, program)


def lower_bound(
    tape: qml.tape.QuantumScript,
    inputs: Sequence[Symbols | None],
    noise: SpecNoise | None = None,
    program: Callable[..., Program] = MixedProgram,
    *,
    n_weights: int,
    n_features: int,
) -> Program:
    """The Program of a tape whose parameters depend on weights and features.

    Args:
        tape: One sample's circuit, measuring what :func:`outputs_of` takes.
        inputs: What each tape parameter is, in the tape's order: a symbol for every
            number of it, or None for a constant, the number on the tape.
        noise: For mixed states, what follows the gates; None is for pure states.
        program: What runs mixed states.
        n_weights: Length of the weights.
        n_features: Columns of the features.

    Raises:
        ValueError: If the inputs do not fit the tape, or a measurement is none that a
            Program has.
        DeviceError: As :func:`lower`, or if an operation needs other numbers than
            polynomials of weights and features.
    """
    wires = [op.wires.labels for op in tape.operations]
    order = wire_order(tape, wires)
    _check_memory(order, noise, program)
    values = tape.get_parameters(trainable_only=False)
    _check_inputs(values, inputs, n_weights, n_features)
    position = {label: i for i, label in enumerate(order)}
    drawn = noise is not None and program is not MixedProgram
    gates: list[MixedGate] = []
    bound = bound_operations(tape, inputs)
    for (op, params), labels in zip(bound, wires, strict=True):
        found = _bound_gates(op, labels, params, position, noise)
        if drawn and any(isinstance(gate, Channel) and _slots(gate) for gate in found):
            raise DeviceError(NO_STRENGTHS.format(op.name))
        gates += found
    outputs = [
        terms for mp in tape.measurements for terms in outputs_of(mp, order, noise)
    ]
    return _program(order, gates, outputs, (n_weights, n_features), noise, program)


def bound_operations(
    tape: qml.tape.QuantumScript, inputs: Sequence[Symbols | None]
) -> list[tuple[Operator, list[Symbols | Constant]]]:
    """The operations of a tape, each with what is known of its numbers.

    Args:
        tape: The circuit.
        inputs: As :func:`lower_bound`.

    Raises:
        DeviceError: If a number of an observable is no constant.
    """
    rest = iter(inputs)
    bound: list[tuple[Operator, list[Symbols | Constant]]] = [
        (
            op,
            [
                Constant(to_numpy(value)) if given is None else given
                for value, given in zip(op.data, rest, strict=False)
            ],
        )
        for op in tape.operations
    ]
    if any(entry is not None for entry in rest):
        raise DeviceError(
            "Parameters of observables must be constants in a compiled circuit, but "
            "one depends on weights or features. Use the circuit's QNode."
        )
    return bound


def _gates_of(
    op: Operator,
    labels: Sequence[Any],
    params: Sequence[Any],
    position: Mapping[Any, int],
    noise: SpecNoise | None,
) -> Iterable[MixedGate]:
    if noise is not None:
        return noise.gates(op, params, position)
    return lower_operation(op, params, tuple([position[label] for label in labels]))


def _bound_gates(
    op: Operator,
    labels: Sequence[Any],
    params: Sequence[Symbols | Constant],
    position: Mapping[Any, int],
    noise: SpecNoise | None,
) -> list[MixedGate]:
    """The gates of an operation whose parameters are symbols or constants."""
    try:
        gates = list(_gates_of(op, labels, params, position, noise))
    except SymbolError as error:
        raise DeviceError(
            f"{op.name} cannot be compiled: it takes {error} of a parameter. Run the "
            "circuit through its QNode."
        ) from error
    if noise is None and not _CHANNELS.isdisjoint(map(type, gates)):
        raise NeedsMixedStatesError(
            f"{op.name} is a channel or has one inside, and states are pure on this "
            "device. Use qstore.mock_noisy."
        )
    return gates


def _slots(channel: Channel) -> set[Slot]:
    """The weights and features that the strengths of a channel depend on."""
    return set().union(*(a.slots for a in (*channel.factors, channel.shift)))


def _check_inputs(
    values: Sequence[Any],
    inputs: Sequence[Symbols | None],
    n_weights: int,
    n_features: int,
) -> None:
    shapes = [np.shape(value) for value in values]
    given = [None if entry is None else entry.shape for entry in inputs]
    fit = [a in (None, b) for a, b in zip(given, shapes, strict=False)]
    if len(given) != len(shapes) or not all(fit):
        raise ValueError(
            "Argument `inputs` must have an entry for each parameter of the tape, None "
            f"or of its shape: {shapes}, but has {given}."
        )
    sizes = {WEIGHT: n_weights, FEATURE: n_features}
    for entry in inputs:
        for angle in [] if entry is None else entry.entries:
            for kind, index in angle.slots:
                if index >= sizes[kind]:
                    name = "weights" if kind == WEIGHT else "features"
                    raise ValueError(
                        f"Argument `inputs` must use indices < {sizes[kind]} of the "
                        f"{name}, but uses {index}."
                    )


def _program(
    order: Sequence[Any],
    gates: Sequence[MixedGate],
    outputs: Sequence[PauliSum],
    sizes: tuple[int, int],
    noise: SpecNoise | None,
    program: Callable[..., Program],
) -> Program:
    if any(isinstance(gate, Amplitudes) for gate in gates[1:]):
        raise DeviceError(
            "A state preparation must be the first operation, or be decomposed."
        )
    kind = PureProgram if noise is None else program
    n_weights, n_features = sizes
    return kind(len(order), gates, outputs, n_weights=n_weights, n_features=n_features)


def _check_memory(
    order: Sequence[Any], noise: SpecNoise | None, program: Callable[..., Program]
) -> None:
    check_memory(len(order), mixed=noise is not None and program is MixedProgram)


def check_memory(n_wires: int, *, mixed: bool = False) -> None:
    """Refuse more wires than this machine has memory for.

    Raises:
        DeviceError: If it has less than three states take: the state, its cotangent and
            scratch.
    """
    needed = 3 * 8 << 2 * n_wires if mixed else 3 * 16 << n_wires
    if n_wires > (15 if mixed else 30) or needed > memory():
        way_out = ', or method="trajectories"' if mixed else ""
        raise DeviceError(
            f"A circuit on {n_wires} wires needs {needed:,} bytes for its "
            f"{'density matrices' if mixed else 'states'}, but this machine has "
            f"{memory():,}. Use fewer wires{way_out}."
        )


def memory() -> int:
    """Bytes of physical memory, or what 64 bits can address where that is not known."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1 << 62


def wire_order(
    tape: qml.tape.QuantumScript, wires: Sequence[tuple[Any, ...]] | None = None
) -> tuple[Any, ...]:
    """Wire labels in the order of the register: PennyLane's standard order.

    Labels 0, 1, 2, ... keep their order where those only measured come last. Otherwise
    labels come as the operations name them, then those only measured.

    Args:
        tape: The circuit.
        wires: Labels of the wires of each operation, where they are known already.
    """
    labels = tape.wires.labels
    if labels == tuple(range(len(labels))):
        return labels
    if wires is None:
        wires = [op.wires.labels for op in tape.operations]
    acted = list(dict.fromkeys(itertools.chain.from_iterable(wires)))
    on = set(acted)
    named = dict.fromkeys(w for mp in tape.measurements for w in mp.wires.labels)
    rest = [label for label in named if label not in on]
    n, n_acted = len(acted) + len(rest), len(acted)
    if on == set(range(n_acted)) and set(rest) == set(range(n_acted, n)):
        return tuple(range(n))
    if all(isinstance(label, int | np.integer) for label in rest):
        rest.sort()
    return (*acted, *rest)
