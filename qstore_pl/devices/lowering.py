"""The waist: tapes end here and Programs begin.

A tape is taken apart into structure and values. The structure, without any value, is
the key of a cache of Programs; the values become one array of weights (numbers all
samples share) and one of features (a row per sample). A binding says which weight or
feature each number of a tape is, where it is not simply the next one.
"""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator

from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.registry import Parameter, entry_of, lower_operation
from qstore_pl.devices.tensors import NUMPY, Arrays
from qstore_pl.engine.gates import FEATURE, WEIGHT, Amplitudes, MixedGate, PauliSum
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.program import Program
from qstore_pl.engine.pure import PureProgram

Word = Any  # qml.pauli.PauliWord


class Binding(NamedTuple):
    """Where one tape parameter is found: the source and its first index there."""

    source: str  # "weights" or "features"
    offset: int


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
        parameters: Where each parameter of each operation is found.
        words: The distinct Pauli words to measure.
        weights: Values shared by all samples, shape ``(n_weights,)``; of numpy or JAX.
        features: Values per sample, shape ``(batch or 1, n_features)``.
        batch: Number of samples, or None for a tape without a batch axis.
        key: The structure without any value.
    """

    order: tuple[Any, ...]
    operations: Sequence[Operator]
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
        key.append((type(op), op.name, op.wires.labels, entry.key(op)))
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
    observables = [_pauli_sum({word: 1.0}, circuit.order) for word in circuit.words]
    return _program(
        circuit.order,
        circuit.operations,
        circuit.parameters,
        observables,
        {"weights": len(circuit.weights), "features": circuit.features.shape[1]},
        noise,
        program,
    )


def lower_bound(
    tape: qml.tape.QuantumScript,
    binding: Sequence[Binding],
    noise: SpecNoise | None = None,
    program: Callable[..., Program] = MixedProgram,
) -> Program:
    """The Program of a tape whose parameters are bound to weights and features.

    Args:
        tape: One sample's circuit, measuring expectation values of Pauli sums.
        binding: One entry for each tape parameter, in the tape's order.
        noise: For mixed states, what follows the gates; None is for pure states.
        program: What runs mixed states.

    Raises:
        ValueError: If a measurement is not an expectation value of Pauli words.
        DeviceError: As :func:`lower`, or if an operation's numbers are computed from
            its parameters.
    """
    order = wire_order(tape)
    bound = iter(binding)
    sizes = {"weights": 0, "features": 0}
    parameters = []
    for op in tape.operations:
        found = []
        entry = entry_of(op)
        if entry is not None and (entry.jacobian is not None or entry.complex):
            raise DeviceError(
                f"Parameters of {op.name} cannot be bound to weights or features: "
                "other numbers are computed from them. Use the circuit's QNode."
            )
        for value in op.data:
            source, offset = next(bound)
            kind = WEIGHT if source == "weights" else FEATURE
            found.append(Parameter(kind, offset, np.shape(value)))
            sizes[source] = max(sizes[source], offset + np.size(value))
        parameters.append(tuple(found))
    observables = []
    for mp in tape.measurements:
        sentence = None if mp.obs is None else mp.obs.pauli_rep
        if not isinstance(mp, qml.measurements.ExpectationMP) or sentence is None:
            raise ValueError(
                "A compiled circuit must measure expectation values of Pauli words, "
                f"but measures {mp}. Run it through its QNode."
            )
        observables.append(_pauli_sum(sentence, order))
    return _program(
        order, tape.operations, parameters, observables, sizes, noise, program
    )


def _program(
    order: Sequence[Any],
    operations: Sequence[Operator],
    parameters: Sequence[Sequence[Parameter]],
    observables: Sequence[PauliSum],
    sizes: dict[str, int],
    noise: SpecNoise | None,
    program: Callable[..., Program],
) -> Program:
    position = {label: i for i, label in enumerate(order)}
    gates: list[MixedGate] = []
    for op, params in zip(operations, parameters, strict=True):
        if noise is None:
            wires = tuple(position[label] for label in op.wires.labels)
            gates += lower_operation(op, params, wires)
        else:
            gates += noise.gates(op, params, position)
    if any(isinstance(gate, Amplitudes) for gate in gates[1:]):
        raise DeviceError(
            "A state preparation must be the first operation, or be decomposed."
        )
    n_values: dict[str, Any] = {
        "n_weights": sizes["weights"],
        "n_features": sizes["features"],
    }
    if noise is None:
        check_memory(len(order))
        return PureProgram(len(order), gates, observables, **n_values)
    check_memory(len(order), mixed=program is MixedProgram)
    observables = [noise.observed(terms, order) for terms in observables]
    return program(len(order), gates, observables, **n_values)


def _pauli_sum(sentence: Any, order: Sequence[Any]) -> PauliSum:
    position = {label: i for i, label in enumerate(order)}
    return tuple(
        (float(c), "".join(word.values()), tuple(position[wire] for wire in word))
        for word, c in sentence.items()
    )


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


def wire_order(tape: qml.tape.QuantumScript) -> tuple[Any, ...]:
    """Wire labels in the order of the register: PennyLane's standard order.

    Labels 0, 1, 2, ... keep their order where those only measured come last. Otherwise
    labels come as the operations name them, then those only measured.
    """
    labels = tape.wires.labels
    if labels == tuple(range(len(labels))):
        return labels
    acted = list(dict.fromkeys(w for op in tape.operations for w in op.wires.labels))
    on = set(acted)
    named = dict.fromkeys(w for mp in tape.measurements for w in mp.wires.labels)
    rest = [label for label in named if label not in on]
    n, n_acted = len(acted) + len(rest), len(acted)
    if on == set(range(n_acted)) and set(rest) == set(range(n_acted, n)):
        return tuple(range(n))
    if all(isinstance(label, int | np.integer) for label in rest):
        rest.sort()
    return (*acted, *rest)
