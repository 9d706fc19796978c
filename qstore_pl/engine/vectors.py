"""Eight numbers at a time inside the kernels, where the compiler finds no vectors.

In a loop over many short rows LLVM spends its time on finding out whether they overlap.
These functions say what is meant: each is one instruction on a vector of eight float64
numbers, on processors that have them, and a few where they are shorter. Vectors have
the precision of the array that they are read from, float64 or float32. In Python they
are arrays of eight numbers. This module knows no states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model

from qstore_pl.engine.compile import Array

WIDTH = 8
_WIDE = ir.VectorType(ir.DoubleType(), WIDTH)
_FAST = ("contract", "reassoc", "nsz", "arcp", "afn")


class _Vector(types.Type):
    """numba's type of eight numbers.

    Args:
        number: numba's type of one of them, float64 or float32.
    """

    def __init__(self, number: Any) -> None:
        super().__init__(name=f"EightNumbers({number})")
        self.is_single = number == types.float32
        one = ir.FloatType() if self.is_single else ir.DoubleType()
        self.llvm, self.align = ir.VectorType(one, WIDTH), number.bitwidth // 8


_vectors = {number: _Vector(number) for number in (types.float64, types.float32)}


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.llvm)


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    vector = _vectors[kind.dtype].llvm
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def _load(typing: Any, array: Any, index: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _address(context, builder, signature.args[0], *args)
        return builder.load(place, align=signature.return_type.align)

    return _vectors[array.dtype](array, types.intp), code


@intrinsic
def _store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _address(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], place, align=signature.args[2].align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic
def _fill(typing: Any, array: Any, number: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, first = signature.return_type, ir.Constant(ir.IntType(32), 0)
        value = builder.fptrunc(args[1], ir.FloatType()) if kind.is_single else args[1]
        one = builder.insert_element(ir.Constant(kind.llvm, ir.Undefined), value, first)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return builder.shuffle_vector(one, one, lanes)

    return _vectors[array.dtype](array, types.float64), code


def _with_product(combine: Callable[[Any, Any, Any], Any]) -> Any:
    """An intrinsic of a, b and c, which combines the product a b with c."""

    @intrinsic
    def combined(typing: Any, a: Any, b: Any, c: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, y, z = args
            return combine(builder, builder.fmul(x, y, flags=_FAST), z)

        return a(a, b, c), code

    return combined


def _of_two(instruction: str) -> Any:
    """An intrinsic that is one instruction of LLVM on two vectors."""

    @intrinsic
    def applied(typing: Any, a: Any, b: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, instruction)(*args, flags=_FAST)

        return a(a, b), code

    return applied


_fma = _with_product(lambda builder, product, z: builder.fadd(product, z, flags=_FAST))
_fms = _with_product(lambda builder, product, z: builder.fsub(product, z, flags=_FAST))
_fnma = _with_product(lambda builder, product, z: builder.fsub(z, product, flags=_FAST))
_mul, _add, _sub = _of_two("fmul"), _of_two("fadd"), _of_two("fsub")


def _chosen(places: Callable[[int], int]) -> Any:
    """An intrinsic: lanes of two vectors, those of the second from ``WIDTH`` on."""

    @intrinsic
    def chosen(typing: Any, a: Any, b: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.VectorType(ir.IntType(32), WIDTH)
            lanes = ir.Constant(kind, [places(lane) for lane in range(WIDTH)])
            return builder.shuffle_vector(*args, lanes)

        return a(a, b), code

    return chosen


def _low_of(bit: int) -> Any:
    return _chosen(lambda lane: WIDTH + (lane ^ bit) if lane & bit else lane)


def _high_of(bit: int) -> Any:
    return _chosen(lambda lane: WIDTH + lane if lane & bit else lane ^ bit)


def _flip_of(bit: int) -> Any:
    return _chosen(lambda lane: lane ^ bit)


_low1, _low2, _low4 = _low_of(1), _low_of(2), _low_of(4)
_high1, _high2, _high4 = _high_of(1), _high_of(2), _high_of(4)
_flip1, _flip2, _flip4 = _flip_of(1), _flip_of(2), _flip_of(4)


@intrinsic
def _total(typing: Any, vector: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = args[0]
        if signature.args[0].is_single:
            wide = builder.fpext(wide, _WIDE)

        def lane(i: int) -> Any:
            return builder.extract_element(wide, ir.Constant(ir.IntType(32), i))

        found = lane(0)
        for i in range(1, WIDTH):
            found = builder.fadd(found, lane(i), flags=_FAST)
        return found

    return types.float64(vector), code


@intrinsic
def _widened(typing: Any, vector: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        single = signature.args[0].is_single
        return builder.fpext(args[0], _WIDE) if single else args[0]

    return _vectors[types.float64](vector), code


@intrinsic
def _narrowed(typing: Any, array: Any, vector: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.return_type
        return builder.fptrunc(args[1], kind.llvm) if kind.is_single else args[1]

    return _vectors[array.dtype](array, vector), code


def load(array: Array, index: int) -> Any:
    """Eight numbers from this index on."""
    return array[index : index + WIDTH].copy()


def store(array: Array, index: int, vector: Any) -> None:
    """Write eight numbers from this index on."""
    array[index : index + WIDTH] = vector


def fill(array: Array, number: float) -> Any:
    """Eight times a number, in the precision of an array."""
    return np.full(WIDTH, number, array.dtype)


def fma(a: Any, b: Any, c: Any) -> Any:
    """The sum a b + c."""
    return a * b + c


def fms(a: Any, b: Any, c: Any) -> Any:
    """The difference a b - c."""
    return a * b - c


def fnma(a: Any, b: Any, c: Any) -> Any:
    """The difference c - a b."""
    return c - a * b


def mul(a: Any, b: Any) -> Any:
    """The product a b."""
    return a * b


def add(a: Any, b: Any) -> Any:
    """The sum a + b."""
    return a + b


def sub(a: Any, b: Any) -> Any:
    """The difference a - b."""
    return a - b


def crossed(a: Any, b: Any, bit: int) -> Any:
    """Two vectors whose groups of 1, 2 or 4 lanes are exchanged across.

    Args:
        a: The first vector.
        b: The second.
        bit: 1, 2 or 4.
    """
    lane = np.arange(WIDTH)
    upper = lane & bit != 0
    return np.where(upper, b[lane ^ bit], a), np.where(upper, b, a[lane ^ bit])


def twisted(vector: Any, mask: int) -> Any:
    """The lanes of a vector at their numbers XORed with a mask."""
    return vector[np.arange(WIDTH) ^ mask]


def total(vector: Any) -> float:
    """The sum of eight numbers in double precision, from the first to the last."""
    return float(vector.sum(dtype=np.float64))


def widened(vector: Any) -> Any:
    """Eight numbers in double precision."""
    return vector.astype(np.float64)


def narrowed(array: Array, vector: Any) -> Any:
    """Eight numbers of double precision in the precision of an array."""
    return vector.astype(array.dtype)


@overload(load, strict=False)
def _(array: Any, index: Any) -> Any:
    return lambda array, index: _load(array, index)


@overload(store, strict=False)
def _(array: Any, index: Any, vector: Any) -> Any:
    return lambda array, index, vector: _store(array, index, vector)


@overload(fill, strict=False)
def _(array: Any, number: Any) -> Any:
    return lambda array, number: _fill(array, number)


@overload(fma, strict=False)
def _(a: Any, b: Any, c: Any) -> Any:
    return lambda a, b, c: _fma(a, b, c)


@overload(fms, strict=False)
def _(a: Any, b: Any, c: Any) -> Any:
    return lambda a, b, c: _fms(a, b, c)


@overload(fnma, strict=False)
def _(a: Any, b: Any, c: Any) -> Any:
    return lambda a, b, c: _fnma(a, b, c)


@overload(mul, strict=False)
def _(a: Any, b: Any) -> Any:
    return lambda a, b: _mul(a, b)


@overload(add, strict=False)
def _(a: Any, b: Any) -> Any:
    return lambda a, b: _add(a, b)


@overload(sub, strict=False)
def _(a: Any, b: Any) -> Any:
    return lambda a, b: _sub(a, b)


@overload(crossed, strict=False)
def _(a: Any, b: Any, bit: Any) -> Any:
    def code(a: Any, b: Any, bit: Any) -> Any:
        if bit == 1:
            return _low1(a, b), _high1(a, b)
        if bit == 2:
            return _low2(a, b), _high2(a, b)
        return _low4(a, b), _high4(a, b)

    return code


@overload(twisted, strict=False)
def _(vector: Any, mask: Any) -> Any:
    def code(vector: Any, mask: Any) -> Any:
        if mask & 1:
            vector = _flip1(vector, vector)
        if mask & 2:
            vector = _flip2(vector, vector)
        if mask & 4:
            vector = _flip4(vector, vector)
        return vector

    return code


@overload(total, strict=False)
def _(vector: Any) -> Any:
    return lambda vector: _total(vector)


@overload(widened, strict=False)
def _(vector: Any) -> Any:
    return lambda vector: _widened(vector)


@overload(narrowed, strict=False)
def _(array: Any, vector: Any) -> Any:
    return lambda array, vector: _narrowed(array, vector)
