"""Circuits as functions that XLA calls: no Python runs between a step and its kernels.

One argument is the structure of the circuit as bytes, so that nothing has to live
longer than the compiled step; the others are weights, features and cotangents. The last
result is a work array, so that no call allocates memory, and several threads may call
the same function at once. This module knows arrays and Programs, not JAX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numba
import numpy as np
from numba.core import types
from numpy.typing import NDArray

from qstore_pl.engine import pauli, statevector
from qstore_pl.engine.compile import I8, Array, Foreign, Kernel, inner
from qstore_pl.engine.foreign import (
    API,
    ARGUMENTS,
    DATA,
    FRAME,
    RESULTS,
    buffer,
    failure,
    floats,
    is_run,
    load,
    machine_code,
    short_words,
    store,
    table,
    words,
)
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.precision import DOUBLE
from qstore_pl.engine.program import KEPT_BYTES, Program
from qstore_pl.engine.pure import PureProgram

MOST_STRUCTURE = 1 << 20  # bytes, of which each compiled step has a copy
# Amplitudes times instructions from which a Pass does better, which keeps its forward
# run for the backward run: one forward run then takes longer than a call of Python.
MOST_WORK = 1 << 22

Float = NDArray[np.float64]

# Places in the head of a structure.
(
    N_SIZES, N_INTS, N_FLOATS, N_CONSTANTS, N_ENTRIES, N_WEIGHTS, N_FEATURES,
    N_MEASURED, N_READOUTS, BATCH, PRODUCTS, COLUMNS, WORK, SCRATCH, MORE_SCRATCH, STOP,
    SWAPPED, BY_WEIGHTS, BY_FEATURES, HEAD,
) = range(20)  # fmt: skip


# --- structures --------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A run of a circuit as a function that XLA calls.

    Args:
        function: The function. Its arguments are the structure, the weights and the
            features, and for a backward run one cotangent for each readout. Its results
            are the readouts, or the gradients that were asked for, and the work array.
        structure: The structure, shape ``(n_bytes,)``.
        work: Length of the work array, in bytes.
    """

    function: Foreign
    structure: NDArray[np.uint8]
    work: int


def forward_call(
    program: Program, batch: int, readouts: Float, *, linearized: bool
) -> Call | None:
    """The readouts of a circuit as a function that XLA calls.

    Args:
        program: The circuit.
        batch: Number of samples.
        readouts: Matrix from the outputs of the Program to the readouts, shape
            ``(n_readouts, n_outputs)``.
        linearized: Whether a backward run with the same values may follow.

    Returns:
        None for circuits that only a :class:`Pass` runs, or that it runs faster.
    """
    nothing = (False, False)
    return _call(program, batch, readouts, nothing, 0, twice=linearized)


def backward_call(
    program: Program,
    batch: int,
    readouts: Float,
    *,
    wanted: tuple[bool, bool],
    products: int,
) -> Call | None:
    """Vector-Jacobian products of a circuit as a function that XLA calls.

    Args:
        program: The circuit.
        batch: Number of samples.
        readouts: As for :func:`forward_call`.
        wanted: Whether the gradients with respect to weights and features are results.
        products: Number of products.

    Returns:
        None for circuits that only a :class:`Pass` runs, or that it runs faster.
    """
    return _call(program, batch, readouts, wanted, products, twice=True)


def _call(
    program: Program,
    batch: int,
    readouts: Float,
    wanted: tuple[bool, bool],
    products: int,
    *,
    twice: bool,
) -> Call | None:
    known = type(program) in (PureProgram, MixedProgram) and not program.derived
    known = known and program.dtype == DOUBLE
    if numba.config.DISABLE_JIT or not known:
        return None
    work = program.new_pass(batch)
    plan, tables = work.plan, program.tables
    if plan.parallel or (twice and plan.work >= MOST_WORK):
        return None
    matrix = readouts if program.sums is None else readouts @ program.sums
    entries = np.argwhere(matrix.T)  # (n_entries, 2): what is measured, readout
    head = np.zeros(HEAD, np.int64)
    head[N_SIZES], head[N_INTS] = tables.sizes.size, tables.ints.size
    head[N_FLOATS], head[N_CONSTANTS] = tables.floats.size, program.constants.size
    head[N_ENTRIES], head[N_WEIGHTS] = len(entries), program.n_weights
    head[N_FEATURES] = program.n_features
    head[N_READOUTS], head[N_MEASURED] = matrix.shape
    head[BATCH], head[PRODUCTS], head[COLUMNS] = batch, products, plan.columns
    head[WORK] = plan.size + (plan.checkpoints if products else 0)
    head[SCRATCH], head[MORE_SCRATCH] = plan.scratch
    head[STOP], head[SWAPPED] = plan.stop[wanted[1]], plan.swapped
    head[BY_WEIGHTS], head[BY_FEATURES] = wanted
    ints = np.zeros(tables.ints.size + tables.ints.size % 2, np.int32)
    ints[: tables.ints.size] = tables.ints
    factors = matrix.T[tuple(entries.T)]
    parts = [head, tables.sizes, entries.reshape(-1), ints]
    parts += [tables.floats, program.constants, factors]
    structure = np.concatenate([part.view(np.uint8) for part in parts])
    size = 8 * sum(_lengths(head))
    if len(structure) > MOST_STRUCTURE or size > KEPT_BYTES:
        return None
    functions = BACKWARD if products else FORWARD
    return Call(functions[work.kernels[0].symbol], structure, int(size))


@inner
def _unpack(address: int) -> Any:
    """The structure as views: its head, the tables, constants, and the readouts."""
    head = words(address, HEAD)
    at = address + 8 * HEAD
    sizes = words(at, head[N_SIZES])
    at += 8 * head[N_SIZES]
    entries = words(at, 2 * head[N_ENTRIES])
    at += 16 * head[N_ENTRIES]
    ints = short_words(at, head[N_INTS])
    at += 4 * (head[N_INTS] + head[N_INTS] % 2)
    numbers = floats(at, head[N_FLOATS])
    at += 8 * head[N_FLOATS]
    constants = floats(at, head[N_CONSTANTS])
    at += 8 * head[N_CONSTANTS]
    factors = floats(at, head[N_ENTRIES])
    return head, (sizes, ints, numbers), constants, entries, factors


@inner
def _lengths(head: Array) -> Any:
    """Lengths of the parts of the work array, in the order of :func:`_divide`."""
    n, n_shared = head[COLUMNS], head[N_WEIGHTS] + head[N_CONSTANTS]
    features, measured = n * head[N_FEATURES], n * head[N_MEASURED]
    return (
        n, n_shared, n_shared, n_shared, features, features, measured, measured,
        n * head[N_READOUTS], head[WORK],
    )  # fmt: skip


@inner
def _divide(head: Array, address: int) -> Any:
    """The work array as views, and as addresses where a shape depends on the chunk.

    Returns:
        The numbers of the rows of a chunk, weights and constants, gradients of a chunk
        and of all chunks; addresses of features, gradients with respect to them, what
        is measured, its cotangents, and readouts or their cotangents; and the work
        array of the kernels.
    """
    lengths = _lengths(head)
    n_shared = lengths[1]
    rows = words(address, lengths[0])
    for i in range(lengths[0]):
        rows[i] = i
    at = address + 8 * lengths[0]
    w = floats(at, n_shared)
    gw = floats(at + 8 * n_shared, n_shared)
    total = floats(at + 16 * n_shared, n_shared)
    at_features = at + 24 * n_shared
    at_gx = at_features + 8 * lengths[4]
    at_out = at_gx + 8 * lengths[5]
    at_dy = at_out + 8 * lengths[6]
    at_values = at_dy + 8 * lengths[7]
    work = floats(at_values + 8 * lengths[8], lengths[9])
    places = (at_features, at_gx, at_out, at_dy, at_values)
    return rows, w, gw, total, places, work


@inner
def _load_weights(source: Array, constants: Array, w: Array) -> None:
    n = w.shape[0] - constants.shape[0]
    load(source, 0, w[:n])
    for i in range(constants.shape[0]):
        w[n + i] = constants[i]


@inner
def _read_out(
    entries: Array, factors: Array, out: Array, first: int, values: Array, results: int
) -> None:
    """Write the readouts of a chunk, sums of what was measured."""
    values[:] = 0.0
    for i in range(factors.shape[0]):
        measured, readout = entries[2 * i], entries[2 * i + 1]
        for j in range(out.shape[0]):
            values[readout, j] += factors[i] * out[j, measured]
    for readout in range(values.shape[0]):
        store(buffer(results, readout), first, values[readout])


@inner
def _pull_back_readouts(
    entries: Array, factors: Array, arguments: int, first: int, values: Array, dy: Array
) -> None:
    """The transpose of :func:`_read_out`, of the cotangents among the arguments."""
    for readout in range(values.shape[0]):
        load(buffer(arguments, 3 + readout), first, values[readout])
    dy[:] = 0.0
    for i in range(factors.shape[0]):
        measured, readout = entries[2 * i], entries[2 * i + 1]
        for j in range(dy.shape[0]):
            dy[j, measured] += factors[i] * values[readout, j]


# --- what XLA calls ----------------------------------------------------------------


def _pure(forward_kernel: Kernel, backward_kernel: Kernel) -> Any:
    """The two runs of a chunk of state vectors."""
    forward = machine_code(forward_kernel, types.none)
    backward = machine_code(backward_kernel, types.none)

    @inner
    def run(chunk: Any, scratch: int, keep: int, out: Array) -> bool:
        return forward((*chunk, out))

    @inner
    def run_back(
        chunk: Any, scratch: int, dy: Array, head: Array, gw: Array, gx: Array
    ) -> bool:
        return backward((*chunk, dy, head[STOP], head[SWAPPED], gw, gx))

    return run, run_back


def _mixed(forward_kernel: Kernel, backward_kernel: Kernel) -> Any:
    """The two runs of a chunk of Pauli vectors."""
    forward = machine_code(forward_kernel, I8)
    backward = machine_code(backward_kernel, types.none)

    @inner
    def run(chunk: Any, scratch: int, keep: int, out: Array) -> bool:
        return forward((*chunk, scratch, keep, out))

    @inner
    def run_back(
        chunk: Any, scratch: int, dy: Array, head: Array, gw: Array, gx: Array
    ) -> bool:
        return backward((*chunk, scratch, dy, head[STOP], head[SWAPPED], gw, gx))

    return run, run_back


def _forward(run: Any) -> Any:
    """The forward run of a batch."""

    def function(frame_address: int) -> int:
        frame = words(frame_address, FRAME)
        if not is_run(frame):
            return 0
        arguments, results = frame[ARGUMENTS], frame[RESULTS]
        structure = buffer(arguments, 0)[DATA]
        head, tables, constants, entries, factors = _unpack(structure)
        last = buffer(results, head[N_READOUTS])[DATA]
        all_rows, w, _, _, places, work = _divide(head, last)
        at_features, _, at_out, _, at_values = places
        _load_weights(buffer(arguments, 1), constants, w)
        n_features = head[N_FEATURES]
        for first in range(0, head[BATCH], head[COLUMNS]):
            n = min(head[COLUMNS], head[BATCH] - first)
            numbers = floats(at_features, n * n_features)
            load(buffer(arguments, 2), first * n_features, numbers)
            X, out = (
                table(at_features, n, n_features),
                table(at_out, n, head[N_MEASURED]),
            )
            chunk = (*tables, w, X, all_rows[:n], work)
            if run(chunk, head[SCRATCH] * n + head[MORE_SCRATCH], 0, out):
                return failure(frame[API])
            values = table(at_values, head[N_READOUTS], n)
            _read_out(entries, factors, out, first, values, results)
        return 0

    return function


def _backward(run: Any, run_back: Any) -> Any:
    """The products of a batch, each by a forward and a backward run of every chunk."""

    def function(frame_address: int) -> int:
        frame = words(frame_address, FRAME)
        if not is_run(frame):
            return 0
        arguments, results = frame[ARGUMENTS], frame[RESULTS]
        structure = buffer(arguments, 0)[DATA]
        head, tables, constants, entries, factors = _unpack(structure)
        n_gradients = head[BY_WEIGHTS] + head[BY_FEATURES]
        last = buffer(results, n_gradients)[DATA]
        all_rows, w, gw, total, places, work = _divide(head, last)
        at_features, at_gx, at_out, at_dy, at_values = places
        _load_weights(buffer(arguments, 1), constants, w)
        n_features, n_measured = head[N_FEATURES], head[N_MEASURED]
        for product in range(head[PRODUCTS]):
            total[:] = 0.0
            for first in range(0, head[BATCH], head[COLUMNS]):
                n = min(head[COLUMNS], head[BATCH] - first)
                numbers = floats(at_features, n * n_features)
                load(buffer(arguments, 2), first * n_features, numbers)
                X, out = table(at_features, n, n_features), table(at_out, n, n_measured)
                chunk = (*tables, w, X, all_rows[:n], work)
                scratch = head[SCRATCH] * n + head[MORE_SCRATCH]
                if run(chunk, scratch, 1, out):
                    return failure(frame[API])
                at = product * head[BATCH] + first
                dy, values = (
                    table(at_dy, n, n_measured),
                    table(at_values, head[N_READOUTS], n),
                )
                _pull_back_readouts(entries, factors, arguments, at, values, dy)
                gx = table(at_gx, n * head[BY_FEATURES], n_features * head[BY_FEATURES])
                if run_back(chunk, scratch, dy, head, gw, gx):
                    return failure(frame[API])
                for i in range(total.shape[0]):
                    total[i] += gw[i]
                if head[BY_FEATURES]:
                    gradient = floats(at_gx, n * n_features)
                    store(buffer(results, n_gradients - 1), at * n_features, gradient)
            if head[BY_WEIGHTS]:
                gradient = total[: head[N_WEIGHTS]]
                store(buffer(results, 0), product * head[N_WEIGHTS], gradient)
        return 0

    return function


def _functions(runs_of: Any, forward: Kernel, backward: Kernel) -> None:
    """Make the two functions of circuits with these kernels."""
    run, run_back = runs_of(forward, backward)
    FORWARD[forward.symbol] = _named(_forward(run), forward)
    BACKWARD[forward.symbol] = _named(_backward(run, run_back), forward, backward)


def _named(function: Any, *kernels: Kernel) -> Foreign:
    name = f"xla_{cast(Any, kernels[-1]).__name__}"
    function.__name__ = function.__qualname__ = name
    return Foreign(function, kernels)


# By the symbol of the forward kernel; each is compiled when a circuit needs it.
FORWARD: dict[str, Foreign] = {}
BACKWARD: dict[str, Foreign] = {}
_functions(_pure, statevector.forward_core, statevector.backward_core)
_functions(_pure, statevector.forward_general, statevector.backward_general)
_functions(_mixed, pauli.forward_core, pauli.backward_core)
_functions(_mixed, pauli.forward_general, pauli.backward_general)
_functions(_mixed, pauli.forward_tiled_core, pauli.backward_tiled_core)
_functions(_mixed, pauli.forward_tiled_general, pauli.backward_tiled_general)
