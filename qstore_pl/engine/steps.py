r"""Blocks on different bits of a tile, applied together: the steps of a sweep.

A block :math:`\begin{pmatrix} a & -b^* \\ b & a^* \end{pmatrix}` is
:math:`\mathrm{diag}(A, B)\, R\, \mathrm{diag}(1, E)` with the real rotation R by
:math:`c = |a|, s = |b|` and the phases :math:`A = a/|a|`, :math:`B = b/|b|` and
:math:`E = (AB)^*`. The rotations of all blocks of a step act on real and imaginary
parts alike, and are computed without their larger number, which leaves a quarter of the
operations. The phases of all of them are one factor for each row of the tile. This
module knows neither memory nor threads.
"""

from __future__ import annotations

import numpy as np

from qstore_pl.engine.angles import add_batched, add_shared
from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.vectors import WIDTH, fill, fma, fms, fnma, load, store, total


@inner
def rotate(f: Array, stride: int, t: float, swapped: bool) -> None:
    """Apply a rotation to the bit with this stride, without its larger number.

    Of [[c, -s], [s, c]] it is [[1, -t], [t, 1]] with t = s / c, or if ``swapped``
    [[t, -1], [1, t]] with t = c / s: half as many operations.
    """
    T = fill(f, t)
    for o in range(0, f.shape[0], 2 * stride):
        for j in range(o, o + stride, WIDTH):
            x, y = load(f, j), load(f, j + stride)
            if swapped:
                store(f, j, fms(T, x, y))
                store(f, j + stride, fma(T, y, x))
            else:
                store(f, j, fnma(T, y, x))
                store(f, j + stride, fma(T, x, y))


@inner
def rotate_two(
    f: Array, stride: int, t: float, swapped: bool, u: float, swapped_next: bool
) -> None:
    """Apply two rotations: one to the bit with this stride, one to the next."""
    T, U = fill(f, t), fill(f, u)
    for o in range(0, f.shape[0], 4 * stride):
        for j in range(o, o + stride, WIDTH):
            x, y = load(f, j), load(f, j + stride)
            z, w = load(f, j + 2 * stride), load(f, j + 3 * stride)
            if swapped:
                x, y = fms(T, x, y), fma(T, y, x)
                z, w = fms(T, z, w), fma(T, w, z)
            else:
                x, y = fnma(T, y, x), fma(T, x, y)
                z, w = fnma(T, w, z), fma(T, z, w)
            if swapped_next:
                x, z = fms(U, x, z), fma(U, z, x)
                y, w = fms(U, y, w), fma(U, w, y)
            else:
                x, z = fnma(U, z, x), fma(U, x, z)
                y, w = fnma(U, w, y), fma(U, y, w)
            store(f, j, x)
            store(f, j + stride, y)
            store(f, j + 2 * stride, z)
            store(f, j + 3 * stride, w)


@inner
def undo_rotation(
    kr: Array, ki: Array, lr: Array, li: Array, stride: int, t: float, swapped: bool
) -> tuple[float, float]:
    """Im<bra|P|ket> for P = X, Y on a bit; then the rotation is undone on both.

    The numbers of the rotation are those of :func:`rotate`.
    """
    X, Y, T = fill(kr, 0.0), fill(kr, 0.0), fill(kr, t)
    for o in range(0, kr.shape[0], 2 * stride):
        for j in range(o, o + stride, WIDTH):
            p, q = load(kr, j), load(ki, j)
            v, w = load(lr, j), load(li, j)
            p1, q1 = load(kr, j + stride), load(ki, j + stride)
            v1, w1 = load(lr, j + stride), load(li, j + stride)
            X = fma(v, q1, X)
            Y = fma(v1, p, Y)
            X = fnma(w, p1, X)
            Y = fnma(v, p1, Y)
            X = fma(v1, q, X)
            Y = fma(w1, q, Y)
            X = fnma(w1, p, X)
            Y = fnma(w, q1, Y)
            if swapped:
                store(kr, j, fma(T, p, p1))
                store(kr, j + stride, fms(T, p1, p))
                store(ki, j, fma(T, q, q1))
                store(ki, j + stride, fms(T, q1, q))
                store(lr, j, fma(T, v, v1))
                store(lr, j + stride, fms(T, v1, v))
                store(li, j, fma(T, w, w1))
                store(li, j + stride, fms(T, w1, w))
            else:
                store(kr, j, fma(T, p1, p))
                store(kr, j + stride, fnma(T, p, p1))
                store(ki, j, fma(T, q1, q))
                store(ki, j + stride, fnma(T, q, q1))
                store(lr, j, fma(T, v1, v))
                store(lr, j + stride, fnma(T, v, v1))
                store(li, j, fma(T, w1, w))
                store(li, j + stride, fnma(T, w, w1))
    return total(X), total(Y)


@inner
def rotation_of(u: Array) -> tuple[float, bool, float]:
    """The rotation of a block as :func:`rotate` takes it, and the number left out."""
    c, s = np.hypot(u[0], u[1]), np.hypot(u[2], u[3])
    if s > c:
        return c / s, True, s
    return s / c, False, c


@inner
def phases_of(code: Array, us: Array, first: int, last: int, table: Array) -> None:
    """The phases of each row before and after the rotations of a step.

    They are written to ``table``, shape ``(4, 2**k)``: real and imaginary parts of
    those before, then of those after.
    """
    side = table.shape[1]
    table[0, 0], table[1, 0], table[2, 0], table[3, 0] = 1.0, 0.0, 1.0, 0.0
    size, bit = 1, 0
    while size < side:
        ar, ai, br, bi = 1.0, 0.0, 1.0, 0.0
        for m in range(first, last):
            if code[m, 1] == bit:
                u = us[m]
                c, s = np.hypot(u[0], u[1]), np.hypot(u[2], u[3])
                if c > 0.0:
                    ar, ai = u[0] / c, u[1] / c
                if s > 0.0:
                    br, bi = u[2] / s, u[3] / s
        er, ei = ar * br - ai * bi, -(ar * bi + ai * br)
        for i in range(size):
            x, y = table[0, i], table[1, i]
            table[0, size + i], table[1, size + i] = er * x - ei * y, er * y + ei * x
            x, y = table[2, i], table[3, i]
            table[2, size + i], table[3, size + i] = br * x - bi * y, br * y + bi * x
            table[2, i], table[3, i] = ar * x - ai * y, ar * y + ai * x
        size *= 2
        bit += 1


@inner
def all_phases(
    code: Array, us: Array, steps: Array, sweep: Array, scratch: Array
) -> None:
    """The phases of all steps of a sweep."""
    side = 1 << sweep[2]
    for i in range(sweep[0], sweep[1]):
        if steps[i, 2] == 1:
            at = 4 * side * steps[i, 3]
            table = scratch[at : at + 4 * side].reshape(4, side)
            phases_of(code, us, steps[i, 0], steps[i, 1], table)


@inner
def left_out(us: Array, first: int, last: int) -> float:
    """The number that blocks leave out of their rotations."""
    scale = 1.0
    for m in range(first, last):
        _, _, more = rotation_of(us[m])
        scale *= more
    return scale


@inner
def apply_rotations(
    code: Array, us: Array, first: int, last: int, fr: Array, fi: Array, lanes: int
) -> None:
    """Apply the rotations of blocks on different bits to a tile."""
    m = first
    while m < last:
        bit = code[m, 1]
        t, swapped, _ = rotation_of(us[m])
        if m + 1 < last and code[m + 1, 1] == bit + 1:
            u, swapped_next, _ = rotation_of(us[m + 1])
            rotate_two(fr, lanes << bit, t, swapped, u, swapped_next)
            rotate_two(fi, lanes << bit, t, swapped, u, swapped_next)
            m += 2
        else:
            rotate(fr, lanes << bit, t, swapped)
            rotate(fi, lanes << bit, t, swapped)
            m += 1


@inner
def undo_rotations(
    code: Array,
    us: Array,
    first: int,
    last: int,
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    lanes: int,
    slots: Array,
    sums: Array,
) -> None:
    """The sums of X and Y of blocks on different bits; then the blocks are undone.

    What is left out of rotations is left out of ket and bra.
    """
    scale = 1.0
    for m in range(last - 1, first - 1, -1):
        t, swapped, more = rotation_of(us[m])
        x, y = undo_rotation(kr, ki, lr, li, lanes << code[m, 1], t, swapped)
        sums[slots[m]] += scale * scale * x
        sums[slots[m] + 1] += scale * scale * y
        scale *= more


@inner
def rotations_of(
    v: Array,
    first: int,
    last: int,
    rotations: Array,
    terms: Array,
    coefficients: Array,
    cs: Array,
    w: Array,
    X: Array,
    rows: Array,
    gw: Array,
    gx: Array,
) -> None:
    """The chain rule from X, Y, Z behind a block to its angles: v (3, 1)."""
    for r in range(last - 1, first - 1, -1):
        axis = rotations[r, 0]
        if rotations[r, 3] == 0:
            add_shared(r, v[axis, 0], rotations, terms, coefficients, w, X, gw)
        else:
            add_batched(r, v[axis], rotations, terms, coefficients, w, X, rows, gw, gx)
        a, d = (axis + 1) % 3, (axis + 2) % 3
        c, s = cs[2 * r, 0], cs[2 * r + 1, 0]
        c, s = c * c - s * s, 2.0 * c * s
        y, z = v[a, 0], v[d, 0]
        v[a, 0], v[d, 0] = c * y + s * z, c * z - s * y


@inner
def behind_block(u: Array, sums: Array, bloch: Array) -> None:
    """The sums of X, Y, Z behind a block from those behind its rotation: (3, 1)."""
    c, s = np.hypot(u[0], u[1]), np.hypot(u[2], u[3])
    co, si = 1.0, 0.0  # of the phase between B and A
    if c > 0.0 and s > 0.0:
        co = (u[0] * u[2] + u[1] * u[3]) / (c * s)
        si = (u[0] * u[3] - u[1] * u[2]) / (c * s)
    elif c > 0.0:
        co, si = u[0] / c, -u[1] / c
    elif s > 0.0:
        co, si = u[2] / s, u[3] / s
    bloch[0, 0] = co * sums[0] - si * sums[1]
    bloch[1, 0] = co * sums[1] + si * sums[0]
    bloch[2, 0] = sums[2]
