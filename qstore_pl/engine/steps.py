r"""Blocks on different bits of a tile, applied together: the steps of a sweep.

A block :math:`\begin{pmatrix} a & -b^* \\ b & a^* \end{pmatrix}` is
:math:`\mathrm{diag}(A, B)\, R\, \mathrm{diag}(1, E)` with the real rotation R by
:math:`c = |a|, s = |b|` and the phases :math:`A = a/|a|`, :math:`B = b/|b|` and
:math:`E = (AB)^*`. The rotations of all blocks of a step act on real and imaginary
parts alike, and are computed without their factor c, as :math:`[[1, -t], [t, 1]]` with
:math:`t = s/c`, which leaves a quarter of the operations. Where s is larger than c, R
is another rotation behind one by a right angle, which exchanges rows: it has the factor
s and :math:`t = -c/s`. The phases of all blocks are one factor for each row of the
tile, and rows are exchanged when they are multiplied by it. Neighbouring bits are taken
together, which halves the passes over the tile. This module knows neither memory nor
threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qstore_pl.engine.angles import add_batched, add_shared
from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.vectors import WIDTH, fill, fma, fnma, load, store, total


@inner
def rotate(f: Array, stride: int, t: float) -> None:
    """Apply [[1, -t], [t, 1]] to the bit with this stride."""
    T = fill(f, t)
    for o in range(0, f.shape[0], 2 * stride):
        for j in range(o, o + stride, WIDTH):
            x, y = load(f, j), load(f, j + stride)
            store(f, j, fnma(T, y, x))
            store(f, j + stride, fma(T, x, y))


@inner
def rotate_two(f: Array, stride: int, t: float, u: float) -> None:
    """The same to the bit with this stride, and with u to the next."""
    T, U = fill(f, t), fill(f, u)
    for o in range(0, f.shape[0], 4 * stride):
        for j in range(o, o + stride, WIDTH):
            x, y = load(f, j), load(f, j + stride)
            z, w = load(f, j + 2 * stride), load(f, j + 3 * stride)
            x, y = fnma(T, y, x), fma(T, x, y)
            z, w = fnma(T, w, z), fma(T, z, w)
            store(f, j, fnma(U, z, x))
            store(f, j + stride, fnma(U, w, y))
            store(f, j + 2 * stride, fma(U, x, z))
            store(f, j + 3 * stride, fma(U, y, w))


@inner
def overlaps(
    p: Any, q: Any, v: Any, w: Any, p1: Any, q1: Any, v1: Any, w1: Any, X: Any, Y: Any
) -> Any:
    """Im<bra|P|ket> for P = X, Y on a bit, added to X and Y.

    Args:
        p: Real part of the ket where the bit is 0.
        q: Its imaginary part.
        v: Real part of the bra there.
        w: Its imaginary part.
        p1: Real part of the ket where the bit is 1.
        q1: Its imaginary part.
        v1: Real part of the bra there.
        w1: Its imaginary part.
        X: Sum so far.
        Y: Sum so far.
    """
    X = fma(v, q1, X)
    Y = fma(v1, p, Y)
    X = fnma(w, p1, X)
    Y = fnma(v, p1, Y)
    X = fma(v1, q, X)
    Y = fma(w1, q, Y)
    X = fnma(w1, p, X)
    Y = fnma(w, q1, Y)
    return X, Y


@inner
def turned_back(T: Any, x: Any, y: Any) -> Any:
    """Two vectors with [[1, -t], [t, 1]] undone, but for a factor."""
    return fma(T, y, x), fnma(T, x, y)


@inner
def undo_rotation(
    kr: Array, ki: Array, lr: Array, li: Array, stride: int, t: float
) -> tuple[float, float]:
    """Im<bra|P|ket> for P = X, Y on a bit; then the rotation is undone on both."""
    X, Y, T = fill(kr, 0.0), fill(kr, 0.0), fill(kr, t)
    for o in range(0, kr.shape[0], 2 * stride):
        for j in range(o, o + stride, WIDTH):
            i = j + stride
            p, q, v, w = load(kr, j), load(ki, j), load(lr, j), load(li, j)
            p1, q1, v1, w1 = load(kr, i), load(ki, i), load(lr, i), load(li, i)
            X, Y = overlaps(p, q, v, w, p1, q1, v1, w1, X, Y)
            p, p1 = turned_back(T, p, p1)
            q, q1 = turned_back(T, q, q1)
            v, v1 = turned_back(T, v, v1)
            w, w1 = turned_back(T, w, w1)
            store_four(kr, ki, lr, li, j, p, q, v, w)
            store_four(kr, ki, lr, li, i, p1, q1, v1, w1)
    return total(X), total(Y)


@inner
def undo_two(
    kr: Array, ki: Array, lr: Array, li: Array, stride: int, t: float, u: float
) -> tuple[float, float, float, float]:
    """The same for the bit with this stride, and then for the next."""
    X, Y, Z, W = fill(kr, 0.0), fill(kr, 0.0), fill(kr, 0.0), fill(kr, 0.0)
    T, U = fill(kr, t), fill(kr, u)
    for o in range(0, kr.shape[0], 4 * stride):
        for j in range(o, o + stride, WIDTH):
            j1, j2, j3 = j + stride, j + 2 * stride, j + 3 * stride
            p, q, v, w = load(kr, j), load(ki, j), load(lr, j), load(li, j)
            p1, q1, v1, w1 = load(kr, j1), load(ki, j1), load(lr, j1), load(li, j1)
            X, Y = overlaps(p, q, v, w, p1, q1, v1, w1, X, Y)
            p, p1 = turned_back(T, p, p1)
            q, q1 = turned_back(T, q, q1)
            v, v1 = turned_back(T, v, v1)
            w, w1 = turned_back(T, w, w1)
            p2, q2, v2, w2 = load(kr, j2), load(ki, j2), load(lr, j2), load(li, j2)
            p3, q3, v3, w3 = load(kr, j3), load(ki, j3), load(lr, j3), load(li, j3)
            X, Y = overlaps(p2, q2, v2, w2, p3, q3, v3, w3, X, Y)
            p2, p3 = turned_back(T, p2, p3)
            q2, q3 = turned_back(T, q2, q3)
            v2, v3 = turned_back(T, v2, v3)
            w2, w3 = turned_back(T, w2, w3)
            Z, W = overlaps(p, q, v, w, p2, q2, v2, w2, Z, W)
            Z, W = overlaps(p1, q1, v1, w1, p3, q3, v3, w3, Z, W)
            p, p2 = turned_back(U, p, p2)
            q, q2 = turned_back(U, q, q2)
            v, v2 = turned_back(U, v, v2)
            w, w2 = turned_back(U, w, w2)
            store_four(kr, ki, lr, li, j, p, q, v, w)
            store_four(kr, ki, lr, li, j2, p2, q2, v2, w2)
            p1, p3 = turned_back(U, p1, p3)
            q1, q3 = turned_back(U, q1, q3)
            v1, v3 = turned_back(U, v1, v3)
            w1, w3 = turned_back(U, w1, w3)
            store_four(kr, ki, lr, li, j1, p1, q1, v1, w1)
            store_four(kr, ki, lr, li, j3, p3, q3, v3, w3)
    return total(X), total(Y), total(Z), total(W)


@inner
def store_four(
    kr: Array, ki: Array, lr: Array, li: Array, j: int, p: Any, q: Any, v: Any, w: Any
) -> None:
    """Write real and imaginary parts of ket and bra."""
    store(kr, j, p)
    store(ki, j, q)
    store(lr, j, v)
    store(li, j, w)


@inner
def write_rotation(u: Array) -> None:
    """Write t of a block, whether it is exchanged, and what is left out: u[4:7]."""
    c, s = np.hypot(u[0], u[1]), np.hypot(u[2], u[3])
    if s > c:
        u[4], u[5], u[6] = -c / s, 1.0, s
    else:
        u[4], u[5], u[6] = s / c, 0.0, c


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
        ar, ai, br, bi, is_exchanged = 1.0, 0.0, 1.0, 0.0, False
        for m in range(first, last):
            if code[m, 1] == bit:
                u = us[m]
                is_exchanged = u[5] > 0.0
                c, s = np.hypot(u[0], u[1]), np.hypot(u[2], u[3])
                if c > 0.0:
                    ar, ai = u[0] / c, u[1] / c
                if s > 0.0:
                    br, bi = u[2] / s, u[3] / s
        er, ei = ar * br - ai * bi, -(ar * bi + ai * br)
        for i in range(size):
            x, y = table[0, i], table[1, i]
            if is_exchanged:
                table[0, size + i], table[1, size + i] = x, y
                table[0, i], table[1, i] = ei * y - er * x, -er * y - ei * x
            else:
                table[0, size + i] = er * x - ei * y
                table[1, size + i] = er * y + ei * x
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
        scale *= us[m, 6]
    return scale


@inner
def exchanged(code: Array, us: Array, first: int, last: int) -> int:
    """The bits whose rows are exchanged before the rotations of a step, as a mask."""
    mask = 0
    for m in range(first, last):
        if us[m, 5] > 0.0:
            mask |= 1 << code[m, 1]
    return mask


@inner
def apply_rotations(
    code: Array, us: Array, first: int, last: int, fr: Array, fi: Array, lanes: int
) -> None:
    """Apply the rotations of blocks on different bits to a tile."""
    m = first
    while m < last:
        bit, t = code[m, 1], us[m, 4]
        if m + 1 < last and code[m + 1, 1] == bit + 1:
            rotate_two(fr, lanes << bit, t, us[m + 1, 4])
            rotate_two(fi, lanes << bit, t, us[m + 1, 4])
            m += 2
        else:
            rotate(fr, lanes << bit, t)
            rotate(fi, lanes << bit, t)
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
    """The sums of X and Y of blocks on different bits; then the rotations are undone.

    What they leave out is left out of ket and bra.
    """
    m, square = first, 1.0
    while m < last:
        bit, t, at = code[m, 1], us[m, 4], slots[m]
        more = us[m, 6] * us[m, 6]
        if m + 1 < last and code[m + 1, 1] == bit + 1:
            x, y, z, w = undo_two(kr, ki, lr, li, lanes << bit, t, us[m + 1, 4])
            sums[slots[m + 1]] += square * more * z
            sums[slots[m + 1] + 1] += square * more * w
            more *= us[m + 1, 6] * us[m + 1, 6]
            m += 2
        else:
            x, y = undo_rotation(kr, ki, lr, li, lanes << bit, t)
            m += 1
        sums[at] += square * x
        sums[at + 1] += square * y
        square *= more


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
