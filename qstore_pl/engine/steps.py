r"""Blocks on different bits of a tile, applied together: the steps of a sweep.

A block :math:`\begin{pmatrix} a & -b^* \\ b & a^* \end{pmatrix}` is
:math:`\mathrm{diag}(A, B)\, R\, \mathrm{diag}(1, E)` with the real rotation R by
:math:`c = |a|, s = |b|` and the phases :math:`A = a/|a|`, :math:`B = b/|b|` and
:math:`E = (AB)^*`. The rotations of all blocks of a step act on real and imaginary
parts alike, and are computed without their larger number, which leaves a quarter of the
operations. The phases of all of them are one factor for each row of the tile. Rotations
on low bits are applied to one piece of the tile after the other, all of them while the
piece is in the L1 cache, and those on high bits two at a time. This module knows
neither memory nor threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qstore_pl.engine.angles import add_batched, add_shared
from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.tiles import turn
from qstore_pl.engine.vectors import WIDTH, fill, fma, fms, fnma, load, store, total

PIECE = 1 << 10  # numbers of one part of a state that are processed in the L1 cache


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
def overlaps(
    p: Any, q: Any, v: Any, w: Any, p1: Any, q1: Any, v1: Any, w1: Any, X: Any, Y: Any
) -> Any:
    """Im<bra|P|ket> for P = X, Y on a bit, added to X and Y.

    Args:
        p: Real part of the ket where the bit is 0.
        q: Its imaginary part.
        v: Real part of the bra there.
        w: Its imaginary part.
        p1: The same where the bit is 1, and so are the others.
        q1: As said.
        v1: As said.
        w1: As said.
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
def turned_back(T: Any, x: Any, y: Any, swapped: bool) -> Any:
    """Two vectors with the rotation of :func:`rotate` undone."""
    if swapped:
        return fma(T, x, y), fms(T, y, x)
    return fma(T, y, x), fnma(T, x, y)


@inner
def store_turned_back(
    f: Array, i: int, j: int, T: Any, x: Any, y: Any, swapped: bool
) -> None:
    """Undo the rotation of two vectors, and write them."""
    x, y = turned_back(T, x, y, swapped)
    store(f, i, x)
    store(f, j, y)


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
            i = j + stride
            p, q, v, w = load(kr, j), load(ki, j), load(lr, j), load(li, j)
            p1, q1, v1, w1 = load(kr, i), load(ki, i), load(lr, i), load(li, i)
            X, Y = overlaps(p, q, v, w, p1, q1, v1, w1, X, Y)
            store_turned_back(kr, j, i, T, p, p1, swapped)
            store_turned_back(ki, j, i, T, q, q1, swapped)
            store_turned_back(lr, j, i, T, v, v1, swapped)
            store_turned_back(li, j, i, T, w, w1, swapped)
    return total(X), total(Y)


@inner
def undo_two(
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    stride: int,
    t: float,
    swapped: bool,
    u: float,
    swapped_next: bool,
) -> tuple[float, float, float, float]:
    """The same as :func:`undo_rotation` for the bit with this stride, then the next.

    The sums of the next bit are those after the first rotation is undone.
    """
    X, Y, Z, W = fill(kr, 0.0), fill(kr, 0.0), fill(kr, 0.0), fill(kr, 0.0)
    T, U = fill(kr, t), fill(kr, u)
    for o in range(0, kr.shape[0], 4 * stride):
        for j0 in range(o, o + stride, WIDTH):
            j1, j2, j3 = j0 + stride, j0 + 2 * stride, j0 + 3 * stride
            p0, q0, v0, w0 = load(kr, j0), load(ki, j0), load(lr, j0), load(li, j0)
            p1, q1, v1, w1 = load(kr, j1), load(ki, j1), load(lr, j1), load(li, j1)
            X, Y = overlaps(p0, q0, v0, w0, p1, q1, v1, w1, X, Y)
            p0, p1 = turned_back(T, p0, p1, swapped)
            q0, q1 = turned_back(T, q0, q1, swapped)
            v0, v1 = turned_back(T, v0, v1, swapped)
            w0, w1 = turned_back(T, w0, w1, swapped)
            p2, q2, v2, w2 = load(kr, j2), load(ki, j2), load(lr, j2), load(li, j2)
            p3, q3, v3, w3 = load(kr, j3), load(ki, j3), load(lr, j3), load(li, j3)
            X, Y = overlaps(p2, q2, v2, w2, p3, q3, v3, w3, X, Y)
            p2, p3 = turned_back(T, p2, p3, swapped)
            q2, q3 = turned_back(T, q2, q3, swapped)
            v2, v3 = turned_back(T, v2, v3, swapped)
            w2, w3 = turned_back(T, w2, w3, swapped)
            Z, W = overlaps(p0, q0, v0, w0, p2, q2, v2, w2, Z, W)
            Z, W = overlaps(p1, q1, v1, w1, p3, q3, v3, w3, Z, W)
            store_turned_back(kr, j0, j2, U, p0, p2, swapped_next)
            store_turned_back(ki, j0, j2, U, q0, q2, swapped_next)
            store_turned_back(lr, j0, j2, U, v0, v2, swapped_next)
            store_turned_back(li, j0, j2, U, w0, w2, swapped_next)
            store_turned_back(kr, j1, j3, U, p1, p3, swapped_next)
            store_turned_back(ki, j1, j3, U, q1, q3, swapped_next)
            store_turned_back(lr, j1, j3, U, v1, v3, swapped_next)
            store_turned_back(li, j1, j3, U, w1, w3, swapped_next)
    return total(X), total(Y), total(Z), total(W)


@inner
def write_rotation(u: Array) -> None:
    """The rotation of a block as :func:`rotate` takes it, and the number left out.

    They are written behind the block, in ``u[4:7]``.
    """
    c, s = np.hypot(u[0], u[1]), np.hypot(u[2], u[3])
    if s > c:
        u[4], u[5], u[6] = c / s, 1.0, s
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
        scale *= us[m, 6]
    return scale


@inner
def apply_step(
    code: Array,
    us: Array,
    first: int,
    last: int,
    fr: Array,
    fi: Array,
    lanes: int,
    table: Array,
) -> None:
    """Apply the phases before, and the rotations of blocks on different bits."""
    scale = left_out(us, first, last)
    piece = min(fr.shape[0], max(PIECE, lanes))
    rows = piece // lanes
    for i in range(fr.shape[0] // piece):
        re, im = fr[i * piece : (i + 1) * piece], fi[i * piece : (i + 1) * piece]
        r = i * rows
        turn(re, im, lanes, table[0, r : r + rows], table[1, r : r + rows], scale, 1.0)
        rotate_bits(code, us, first, last, re, im, lanes, 0, piece)
    rotate_bits(code, us, first, last, fr, fi, lanes, piece, fr.shape[0])


@inner
def rotate_bits(
    code: Array,
    us: Array,
    first: int,
    last: int,
    fr: Array,
    fi: Array,
    lanes: int,
    least: int,
    most: int,
) -> None:
    """Apply the rotations on bits whose strides are at least one number, and below one.

    Neighbouring bits are taken together.
    """
    m = first
    while m < last:
        bit, u = code[m, 1], us[m]
        stride = lanes << bit
        if stride < least or stride >= most:
            m += 1
        elif m + 1 < last and code[m + 1, 1] == bit + 1 and 2 * stride < most:
            v = us[m + 1]
            rotate_two(fr, stride, u[4], u[5] > 0.0, v[4], v[5] > 0.0)
            rotate_two(fi, stride, u[4], u[5] > 0.0, v[4], v[5] > 0.0)
            m += 2
        else:
            rotate(fr, stride, u[4], u[5] > 0.0)
            rotate(fi, stride, u[4], u[5] > 0.0)
            m += 1


@inner
def undo_step(
    code: Array,
    us: Array,
    first: int,
    last: int,
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    lanes: int,
    table: Array,
    ket: bool,
    slots: Array,
    sums: Array,
) -> None:
    """The sums of X and Y of blocks on different bits; then the step is undone.

    What rotations leave out is left out of ket and bra until the phases are undone.

    Args:
        code: As for all others, the tables of the circuit.
        us: Its blocks and their rotations.
        first: The first block.
        last: The one behind the last.
        kr: Real parts of the ket.
        ki: Its imaginary parts.
        lr: Real parts of the bra.
        li: Its imaginary parts.
        lanes: Number of lanes.
        table: The phases of the step.
        ket: Whether the phases of the ket are undone too.
        slots: Where the sums of each block are.
        sums: What the sums are added to.
    """
    piece = min(kr.shape[0], max(PIECE // 2, lanes))  # half: there are two states
    rows, scale = piece // lanes, left_out(us, first, last)
    high = undo_bits(
        code, us, first, last, kr, ki, lr, li, lanes, piece, kr.shape[0], 1.0, slots,
        sums,
    )  # fmt: skip
    for i in range(kr.shape[0] // piece):
        o, e, r = i * piece, (i + 1) * piece, i * rows
        x, y, v, w = kr[o:e], ki[o:e], lr[o:e], li[o:e]
        undo_bits(code, us, first, last, x, y, v, w, lanes, 0, piece, high, slots, sums)
        re, im = table[0, r : r + rows], table[1, r : r + rows]
        if ket:
            turn(x, y, lanes, re, im, scale, -1.0)
        turn(v, w, lanes, re, im, scale, -1.0)


@inner
def undo_bits(
    code: Array,
    us: Array,
    first: int,
    last: int,
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    lanes: int,
    least: int,
    most: int,
    scale: float,
    slots: Array,
    sums: Array,
) -> float:
    """Undo the rotations on bits whose strides are at least one number, and below one.

    Args: as for :func:`undo_step`, and
        scale: What is left out of ket and bra already.

    Returns:
        What is left out of them now.
    """
    m = first
    while m < last:
        bit, u, at = code[m, 1], us[m], slots[m]
        stride = lanes << bit
        if stride < least or stride >= most:
            m += 1
            continue
        square = scale * scale
        if m + 1 < last and code[m + 1, 1] == bit + 1 and 2 * stride < most:
            v = us[m + 1]
            x, y, z, w = undo_two(
                kr, ki, lr, li, stride, u[4], u[5] > 0.0, v[4], v[5] > 0.0
            )
            sums[slots[m + 1]] += square * u[6] * u[6] * z
            sums[slots[m + 1] + 1] += square * u[6] * u[6] * w
            scale *= v[6]
            m += 2
        else:
            x, y = undo_rotation(kr, ki, lr, li, stride, u[4], u[5] > 0.0)
            m += 1
        sums[at] += square * x
        sums[at + 1] += square * y
        scale *= u[6]
    return scale


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
