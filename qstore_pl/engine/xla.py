"""Circuits as functions that XLA calls: no Python runs between a step and its kernels.

XLA gives a function the addresses of its arguments and results, in structs of C. One
argument is the structure of the circuit as bytes, so that nothing has to live longer
than the compiled step; the others are weights, features and cotangents. The last
result is a work array, so that no call allocates memory. The structs are those of
``xla/ffi/api/c_api.h``, which ``jax.ffi.include_dir()`` has; all their fields are read
here as 64-bit integers. This module knows arrays, addresses and Programs, not JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import llvmlite.ir as ir
import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from qstore_pl.engine import pauli, statevector
from qstore_pl.engine.compile import I8, Array, Foreign, Kernel, inner
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.program import Program
from qstore_pl.engine.pure import PureProgram

MOST_STRUCTURE = 1 << 20  # bytes, of which each compiled step has a copy
MOST_WORK = 1 << 26  # bytes of the work array

Float = NDArray[np.float64]

# Places of the fields of a call frame, of a buffer, of an extension and its metadata.
EXTENSIONS, API, STAGE, ARGUMENTS, RESULTS, FRAME = 1, 2, 4, 9, 14, 22
DTYPE, DATA, BUFFER = 2, 3, 6
KIND, NEXT, METADATA, EXTENSION = 1, 2, 3, 4
VERSION, TRAITS = 3, 4
ERROR_CREATE = 6  # in the API

EXECUTE, METADATA_KIND, SINGLE, INTERNAL = 3, 1, 11, 13
MINOR_VERSION = 1  # the major version is 0
LOW = 0xFFFFFFFF  # of a field, where an enumeration of 32 bits is

# Places in the first numbers of a structure.
(
    N_SIZES, N_INTS, N_FLOATS, N_CONSTANTS, N_ENTRIES, N_WEIGHTS, N_FEATURES, N_MEASURED,
    N_READOUTS, BATCH, PRODUCTS, COLUMNS, SIZE, SCRATCH, MORE_SCRATCH, STOP, SWAPPED,
    BY_WEIGHTS, BY_FEATURES, HEAD,
) = range(20)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A run of a circuit as a function that XLA calls.

    Args:
        function: The function. Its arguments are the structure, the weights and the
            features, and for a backward run one cotangent for each readout. Its results
            are the readouts, or the gradients that were asked for, and the work array.
        structure: The structure, shape ``(n_bytes,)``.
        n_bytes: Length of the work array, in bytes.
    """

    function: Foreign
    structure: NDArray[np.uint8]
    n_bytes: int


def forward_call(program: Program, batch: int, readouts: Float) -> Call | None:
    """The readouts of a circuit as a function that XLA calls.

    Args:
        program: The circuit.
        batch: Number of samples.
        readouts: Matrix from the outputs of the Program to the readouts, shape
            ``(n_readouts, n_outputs)``.

    Returns:
        None where a :class:`Pass` does better, or the circuit is none for one call.
    """
    return _call(program, batch, readouts, FORWARD, wanted=(False, False), products=0)


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
        None where a :class:`Pass` does better, or the circuit is none for one call.
    """
    return _call(program, batch, readouts, BACKWARD, wanted=wanted, products=products)


def _call(
    program: Program,
    batch: int,
    readouts: Float,
    functions: dict[str, Foreign],
    *,
    wanted: tuple[bool, bool],
    products: int,
) -> Call | None:
    exact = type(program) in (PureProgram, MixedProgram)
    if numba.config.DISABLE_JIT or not exact or program.derived:
        return None
    work = program.new_pass(batch)
    plan, tables = work.plan, program.tables
    if plan.parallel:
        return None
    matrix = readouts if program.sums is None else readouts @ program.sums
    entries = np.argwhere(matrix.T)  # measured, readout
    head = np.zeros(HEAD, np.int64)
    head[N_SIZES], head[N_INTS] = tables.sizes.size, tables.ints.size
    head[N_FLOATS], head[N_CONSTANTS] = tables.floats.size, program.constants.size
    head[N_ENTRIES], head[N_WEIGHTS] = len(entries), program.n_weights
    head[N_FEATURES], head[N_MEASURED] = program.n_features, matrix.shape[1]
    head[N_READOUTS], head[BATCH], head[PRODUCTS] = len(matrix), batch, products
    head[COLUMNS], head[SIZE] = plan.columns, plan.size
    head[SCRATCH], head[MORE_SCRATCH] = plan.scratch
    head[STOP], head[SWAPPED] = plan.stop[wanted[1]], plan.swapped
    head[BY_WEIGHTS], head[BY_FEATURES] = wanted
    ints = np.zeros(tables.ints.size + tables.ints.size % 2, np.int32)
    ints[: tables.ints.size] = tables.ints
    factors = matrix.T[tuple(entries.T)]
    parts = [head, tables.sizes, entries.reshape(-1), ints]
    parts += [tables.floats, program.constants, factors]
    structure = np.concatenate([part.view(np.uint8) for part in parts])
    n_bytes = 8 * sum(_sections(head))
    if len(structure) > MOST_STRUCTURE or n_bytes > MOST_WORK:
        return None
    forward, _ = work.kernels
    return Call(functions[forward.symbol], structure, n_bytes)


@inner
def _sections(head: Array) -> Any:
    """Lengths of the parts of the work array, in the order of :func:`_divide`."""
    columns, measured = head[COLUMNS], head[COLUMNS] * head[N_MEASURED]
    n_shared = head[N_WEIGHTS] + head[N_CONSTANTS]
    features, readouts = columns * head[N_FEATURES], columns * head[N_READOUTS]
    return (
        columns, n_shared, n_shared, n_shared, features, features, measured, measured,
        readouts, head[SIZE],
    )  # fmt: skip


# --- addresses ---------------------------------------------------------------------


@intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    """The pointer to an address that is known as an integer."""
    del typing_context, address

    def make(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del context, signature
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(I8), make


@intrinsic
def _failure(typing_context: Any, api: Any) -> Any:
    """An error of XLA, made by the function that its API has for this."""
    del typing_context, api

    def make(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del signature
        number, text = ir.IntType(64), "A circuit could not be run (qstore_pl)."
        message = context.insert_const_string(builder.module, text)
        fields = cgutils.alloca_once(builder, number, size=4)
        for i, value in enumerate((32, 0, builder.ptrtoint(message, number), INTERNAL)):
            field = value if isinstance(value, ir.Value) else number(value)
            builder.store(field, builder.gep(fields, [number(i)]))
        table = builder.inttoptr(values[0], number.as_pointer())
        create = builder.load(builder.gep(table, [number(ERROR_CREATE)]))
        kind = ir.FunctionType(number, [number.as_pointer()]).as_pointer()
        return builder.call(builder.inttoptr(create, kind), [fields])

    return I8(I8), make


def _machine_code(kernel: Kernel, result: Any) -> Any:
    """A function that runs the machine code of a kernel, and returns whether it failed.

    It takes the arguments of the kernel as a tuple. Nothing is compiled twice: the
    kernel is found by its symbol when the calling code is loaded.

    Args:
        kernel: The kernel.
        result: The type of what it returns, which is dropped.
    """

    @intrinsic
    def call(typing_context: Any, arguments: Any) -> Any:
        del typing_context

        def make(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            del signature
            given = zip(
                cgutils.unpack_tuple(builder, values[0]),
                arguments.types,
                kernel.signature,
                strict=True,
            )
            parts = [context.cast(builder, *each) for each in given]
            convention = context.call_conv
            kind = convention.get_function_type(result, kernel.signature)
            code = cgutils.get_or_insert_function(builder.module, kind, kernel.symbol)
            status, _ = convention.call_function(
                builder, code, result, kernel.signature, parts
            )
            return builder.zext(status.is_error, ir.IntType(64))

        return I8(arguments), make

    return call


@inner
def _words(address: int, n: int) -> Array:
    return numba.carray(_pointer(address), (n,), np.int64)


@inner
def _floats(address: int, n: int) -> Array:
    return numba.carray(_pointer(address), (n,), np.float64)


@inner
def _table(address: int, n_rows: int, n_columns: int) -> Array:
    return numba.carray(_pointer(address), (n_rows, n_columns), np.float64)


@inner
def _buffer(list_address: int, i: int) -> Array:
    """The fields of one of the arguments or results."""
    return _words(_words(list_address, i + 1)[i], BUFFER)


@inner
def _load(buffer: Array, at: int, values: Array) -> None:
    """Read numbers of an argument, from place ``at`` on, in either precision."""
    n = values.shape[0]
    if buffer[DTYPE] & LOW == SINGLE:
        singles = numba.carray(_pointer(buffer[DATA] + 4 * at), (n,), np.float32)
        for i in range(n):
            values[i] = singles[i]
    else:
        values[:] = _floats(buffer[DATA] + 8 * at, n)


@inner
def _store(buffer: Array, at: int, values: Array) -> None:
    """Write numbers of a result, from place ``at`` on, in either precision."""
    n = values.shape[0]
    if buffer[DTYPE] & LOW == SINGLE:
        singles = numba.carray(_pointer(buffer[DATA] + 4 * at), (n,), np.float32)
        for i in range(n):
            singles[i] = values[i]
    else:
        _floats(buffer[DATA] + 8 * at, n)[:] = values


# --- what XLA calls ----------------------------------------------------------------


@inner
def _is_run(frame: Array) -> bool:
    """Whether the circuit is to be run, and not only the version is asked for."""
    extension = frame[EXTENSIONS]
    while extension != 0:
        fields = _words(extension, EXTENSION)
        if fields[KIND] & LOW == METADATA_KIND:
            metadata = _words(fields[METADATA], TRAITS + 1)
            metadata[VERSION] = MINOR_VERSION << 32
            metadata[TRAITS] = 0
            return False
        extension = fields[NEXT]
    return frame[STAGE] & LOW == EXECUTE


@inner
def _unpack(address: int) -> Any:
    """The structure as views: its head, the tables of the circuit, and the readouts."""
    head = _words(address, HEAD)
    at = address + 8 * HEAD
    sizes = _words(at, head[N_SIZES])
    at += 8 * head[N_SIZES]
    entries = _words(at, 2 * head[N_ENTRIES])
    at += 16 * head[N_ENTRIES]
    ints = numba.carray(_pointer(at), (head[N_INTS],), np.int32)
    at += 4 * (head[N_INTS] + head[N_INTS] % 2)
    floats = _floats(at, head[N_FLOATS])
    at += 8 * head[N_FLOATS]
    constants = _floats(at, head[N_CONSTANTS])
    at += 8 * head[N_CONSTANTS]
    return head, sizes, ints, floats, constants, entries, _floats(at, head[N_ENTRIES])


@inner
def _divide(head: Array, address: int) -> Any:
    """Addresses of the parts of the work array."""
    (
        rows, w, gw, total, features, gx, out, dy, values, _
    ) = _sections(head)  # fmt: skip
    at_w = address + 8 * rows
    at_gw = at_w + 8 * w
    at_total = at_gw + 8 * gw
    at_features = at_total + 8 * total
    at_gx = at_features + 8 * features
    at_out = at_gx + 8 * gx
    at_dy = at_out + 8 * out
    at_values = at_dy + 8 * dy
    return (
        address, at_w, at_gw, at_total, at_features, at_gx, at_out, at_dy, at_values,
        at_values + 8 * values,
    )  # fmt: skip


@inner
def _start(
    head: Array, constants: Array, weights: Array, at_rows: int, at_w: int
) -> Any:
    """The weights with the constants behind them, and the rows of a chunk."""
    n, columns = head[N_WEIGHTS], head[COLUMNS]
    w = _floats(at_w, n + constants.shape[0])
    _load(weights, 0, w[:n])
    w[n:] = constants
    rows = _words(at_rows, columns)
    for i in range(columns):
        rows[i] = i
    return w, rows


def _forward(kernel: Kernel, *, mixed: bool) -> Foreign:
    """The forward run as a function that XLA calls."""
    run = _machine_code(kernel, I8 if mixed else types.none)

    def function(frame_address: int) -> int:
        frame = _words(frame_address, FRAME)
        if not _is_run(frame):
            return 0
        arguments, results = frame[ARGUMENTS], frame[RESULTS]
        head, sizes, ints, floats, constants, entries, factors = _unpack(
            _buffer(arguments, 0)[DATA]
        )
        (
            at_rows, at_w, _, _, at_features, _, at_out, _, at_values, at_work
        ) = _divide(head, _buffer(results, head[N_READOUTS])[DATA])  # fmt: skip
        weights, features = _buffer(arguments, 1), _buffer(arguments, 2)
        w, all_rows = _start(head, constants, weights, at_rows, at_w)
        work = _floats(at_work, head[SIZE])
        n_features, n_measured = head[N_FEATURES], head[N_MEASURED]
        for first in range(0, head[BATCH], head[COLUMNS]):
            n = min(head[COLUMNS], head[BATCH] - first)
            X, out = _table(at_features, n, n_features), _table(at_out, n, n_measured)
            _load(features, first * n_features, _floats(at_features, n * n_features))
            rows, scratch = all_rows[:n], head[SCRATCH] * n + head[MORE_SCRATCH]
            if mixed:
                failed = run(
                    (sizes, ints, floats, w, X, rows, work, scratch, 0, out)
                )
            else:
                failed = run((sizes, ints, floats, w, X, rows, work, out))
            if failed:
                return _failure(frame[API])
            values = _table(at_values, head[N_READOUTS], n)
            values[:] = 0.0
            for i in range(factors.shape[0]):
                measured, readout = entries[2 * i], entries[2 * i + 1]
                for j in range(n):
                    values[readout, j] += factors[i] * out[j, measured]
            for readout in range(head[N_READOUTS]):
                _store(_buffer(results, readout), first, values[readout])
        return 0

    return _named(function, kernel, (kernel,))


def _backward(forward_kernel: Kernel, kernel: Kernel, *, mixed: bool) -> Foreign:
    """A forward run and the backward run behind it as a function that XLA calls."""
    forward = _machine_code(forward_kernel, I8 if mixed else types.none)
    backward = _machine_code(kernel, types.none)

    def function(frame_address: int) -> int:
        frame = _words(frame_address, FRAME)
        if not _is_run(frame):
            return 0
        arguments, results = frame[ARGUMENTS], frame[RESULTS]
        head, sizes, ints, floats, constants, entries, factors = _unpack(
            _buffer(arguments, 0)[DATA]
        )
        last = head[BY_WEIGHTS] + head[BY_FEATURES]
        (
            at_rows, at_w, at_gw, at_total, at_features, at_gx, at_out, at_dy, at_values,
            at_work,
        ) = _divide(head, _buffer(results, last)[DATA])  # fmt: skip
        weights, features = _buffer(arguments, 1), _buffer(arguments, 2)
        w, all_rows = _start(head, constants, weights, at_rows, at_w)
        gw, total = _floats(at_gw, w.shape[0]), _floats(at_total, w.shape[0])
        work = _floats(at_work, head[SIZE])
        n_features, n_measured = head[N_FEATURES], head[N_MEASURED]
        batch, stop, swapped = head[BATCH], head[STOP], head[SWAPPED]
        for product in range(head[PRODUCTS]):
            total[:] = 0.0
            for first in range(0, batch, head[COLUMNS]):
                n = min(head[COLUMNS], batch - first)
                at = product * batch + first
                X, numbers = _table(at_features, n, n_features), n * n_features
                _load(features, first * n_features, _floats(at_features, numbers))
                out, dy = _table(at_out, n, n_measured), _table(at_dy, n, n_measured)
                gx = _table(at_gx, 0, 0)
                if head[BY_FEATURES]:
                    gx = _table(at_gx, n, n_features)
                values = _table(at_values, head[N_READOUTS], n)
                for readout in range(head[N_READOUTS]):
                    _load(_buffer(arguments, 3 + readout), at, values[readout])
                dy[:] = 0.0
                for i in range(factors.shape[0]):
                    measured, readout = entries[2 * i], entries[2 * i + 1]
                    for j in range(n):
                        dy[j, measured] += factors[i] * values[readout, j]
                rows, scratch = all_rows[:n], head[SCRATCH] * n + head[MORE_SCRATCH]
                if mixed:
                    failed = forward(
                        (sizes, ints, floats, w, X, rows, work, scratch, 1, out)
                    )
                    failed |= backward(
                        (
                            sizes, ints, floats, w, X, rows, work, scratch, dy, stop,
                            swapped, gw, gx,
                        )
                    )  # fmt: skip
                else:
                    failed = forward((sizes, ints, floats, w, X, rows, work, out))
                    failed |= backward(
                        (
                            sizes, ints, floats, w, X, rows, work, dy, stop, swapped,
                            gw, gx,
                        )
                    )  # fmt: skip
                if failed:
                    return _failure(frame[API])
                for i in range(w.shape[0]):
                    total[i] += gw[i]
                if head[BY_FEATURES]:
                    gradient = _floats(at_gx, numbers)
                    _store(_buffer(results, last - 1), at * n_features, gradient)
            if head[BY_WEIGHTS]:
                n = head[N_WEIGHTS]
                _store(_buffer(results, 0), product * n, total[:n])
        return 0

    return _named(function, kernel, (forward_kernel, kernel))


def _named(
    function: Callable[[int], int], kernel: Kernel, kernels: tuple[Kernel, ...]
) -> Foreign:
    name = f"xla_{cast(Any, kernel.function).__name__}"
    function.__name__ = function.__qualname__ = name
    return Foreign(function, kernels)


FORWARD: dict[str, Foreign] = {}
"""The functions of forward runs, by the symbol of the forward kernel."""
BACKWARD: dict[str, Foreign] = {}
"""The functions of backward runs, by the symbol of the forward kernel."""
for _kernels, _mixed in ((statevector, False), (pauli, True)):
    for _there, _back in (
        (_kernels.forward_core, _kernels.backward_core),
        (_kernels.forward_general, _kernels.backward_general),
    ):
        FORWARD[_there.symbol] = _forward(_there, mixed=_mixed)
        BACKWARD[_there.symbol] = _backward(_there, _back, mixed=_mixed)
