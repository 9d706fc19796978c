"""Calls between compiled kernels and XLA: addresses, structs of C, versions, errors.

XLA calls a function with the address of a call frame, a struct that leads to the
arguments, to the results and to the functions of XLA. The structs are those of
``xla/ffi/api/c_api.h``, which ``jax.ffi.include_dir()`` has. Here each is an array of
64-bit integers. This module knows nothing of circuits, nor JAX.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir
import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from qstore_pl.engine.compile import I8, Array, Kernel, inner

# Places of fields, and how many there are: of a call frame, a buffer, an extension.
EXTENSIONS, API, STAGE, ARGUMENTS, RESULTS, FRAME = 1, 2, 4, 9, 14, 22
DTYPE, DATA, BUFFER = 2, 3, 6
KIND, NEXT, METADATA, EXTENSION = 1, 2, 3, 4
VERSION, TRAITS = 3, 4  # of the metadata
ERROR_CREATE = 6  # of the functions of XLA
LOW = 0xFFFFFFFF  # of a field that holds an enumeration

IS_METADATA, EXECUTE, SINGLE, INTERNAL = 1, 3, 11, 13  # in these enumerations
VERSION_0_1 = 1 << 32  # the minor version is in the upper half


# --- addresses ---------------------------------------------------------------------


@intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    """The pointer to an address that is known as an integer."""
    del typing_context, address

    def make(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del context, signature
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(I8), make


@inner
def words(address: int, n: int) -> Array:
    """The ``n`` 64-bit integers at an address."""
    return numba.carray(_pointer(address), (n,), np.int64)


@inner
def short_words(address: int, n: int) -> Array:
    """The ``n`` 32-bit integers at an address."""
    return numba.carray(_pointer(address), (n,), np.int32)


@inner
def floats(address: int, n: int) -> Array:
    """The ``n`` numbers in double precision at an address."""
    return numba.carray(_pointer(address), (n,), np.float64)


@inner
def table(address: int, n_rows: int, n_columns: int) -> Array:
    """The numbers at an address, as an array of two axes."""
    return numba.carray(_pointer(address), (n_rows, n_columns), np.float64)


@inner
def buffer(list_address: int, i: int) -> Array:
    """The fields of one of the arguments or results."""
    return words(words(list_address, i + 1)[i], BUFFER)


@inner
def load(source: Array, at: int, values: Array) -> None:
    """Read numbers of an argument, from place ``at`` on, in either precision."""
    n = values.shape[0]
    if source[DTYPE] & LOW == SINGLE:
        singles = numba.carray(_pointer(source[DATA] + 4 * at), (n,), np.float32)
        for i in range(n):
            values[i] = singles[i]
    else:
        doubles = floats(source[DATA] + 8 * at, n)
        for i in range(n):
            values[i] = doubles[i]


@inner
def store(target: Array, at: int, values: Array) -> None:
    """Write numbers of a result, from place ``at`` on, in either precision."""
    n = values.shape[0]
    if target[DTYPE] & LOW == SINGLE:
        singles = numba.carray(_pointer(target[DATA] + 4 * at), (n,), np.float32)
        for i in range(n):
            singles[i] = values[i]
    else:
        doubles = floats(target[DATA] + 8 * at, n)
        for i in range(n):
            doubles[i] = values[i]


# --- what XLA asks for -------------------------------------------------------------


@inner
def is_run(frame: Array) -> bool:
    """Whether a function is to run; else XLA asked for its version, and has it now."""
    extension = frame[EXTENSIONS]
    while extension != 0:
        fields = words(extension, EXTENSION)
        if fields[KIND] & LOW == IS_METADATA:
            metadata = words(fields[METADATA], TRAITS + 1)
            metadata[VERSION] = VERSION_0_1
            metadata[TRAITS] = 0
            return False
        extension = fields[NEXT]
    return frame[STAGE] & LOW == EXECUTE


@intrinsic
def failure(typing_context: Any, api: Any) -> Any:
    """An error of XLA, made by the function that it has for this."""
    del typing_context, api

    def make(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del signature
        number, text = ir.IntType(64), "A kernel of qstore_pl has failed."
        message = context.insert_const_string(builder.module, text)
        fields = cgutils.alloca_once(builder, number, size=4)
        parts = (number(32), number(0), builder.ptrtoint(message, number))
        for i, part in enumerate((*parts, number(INTERNAL))):
            builder.store(part, builder.gep(fields, [number(i)]))
        functions = builder.inttoptr(values[0], number.as_pointer())
        create = builder.load(builder.gep(functions, [number(ERROR_CREATE)]))
        kind = ir.FunctionType(number, [number.as_pointer()]).as_pointer()
        return builder.call(builder.inttoptr(create, kind), [fields])

    return I8(I8), make


# --- kernels -----------------------------------------------------------------------


def machine_code(kernel: Kernel, result: Any) -> Any:
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
            return status.is_error

        return types.boolean(arguments), make

    return call
