r"""Tiles of a large state inside the kernels: read, turned by blocks, written back.

A tile is a small state: its rows are some qubits, and its lanes, the fast axis, are
``2**l`` places of all others. Real and imaginary parts are apart.

A block :math:`\begin{pmatrix} a & -b^* \\ b & a^* \end{pmatrix}` is
:math:`\mathrm{diag}(A, B)\, R\, \mathrm{diag}(1, E)` with the real rotation R by
:math:`c = |a|, s = |b|` and the phases :math:`A = a/|a|`, :math:`B = b/|b|` and
:math:`E = (AB)^*`. The rotations of all blocks on a tile act on real and imaginary
parts alike, which is half of the work, and the phases of all of them are one factor for
each row. This module knows neither circuits nor threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.schedule import BLOCKS, LINES
from qstore_pl.engine.vectors import (
    WIDTH,
    add,
    crossed,
    fill,
    fma,
    fms,
    fnma,
    load,
    mul,
    store,
    sub,
    total,
    twisted,
)
from qstore_pl.engine.words import COS_EIGHTH, parity_sign


@inner
def move_tile(
    kind: int,
    re: Array,
    im: Array,
    place: int,
    shift: int,
    places: Array,
    starts: Array,
    inside: Array,
    lines: Array,
    twists: Array,
    tr: Array,
    ti: Array,
    back: bool,
) -> None:
    """Read a tile from memory by a :class:`~qstore_pl.engine.schedule.Route`.

    Args:
        kind: The kind of the route.
        re: Real parts of the state.
        im: Imaginary parts.
        place: Place of the tile.
        shift: What is XORed to indices in the tile.
        places: Where each piece begins, relative to the tile.
        starts: The index in the tile of that place.
        inside: Indices in the tile, relative to that, of what a piece consists of.
        lines: Places of the stretches of memory of a block.
        twists: How numbers are permuted inside these stretches.
        tr: Real parts of the tile.
        ti: Imaginary parts.
        back: Whether it is written to memory instead.
    """
    if kind == BLOCKS:
        move_blocks(re, place, shift, places, starts, inside, lines, twists, tr, back)
        move_blocks(im, place, shift, places, starts, inside, lines, twists, ti, back)
    elif kind == LINES:
        for u in range(places.shape[0]):
            p, k = place ^ places[u], starts[u] ^ shift
            if back:
                store(re, p, load(tr, k))
                store(im, p, load(ti, k))
            else:
                store(tr, k, load(re, p))
                store(ti, k, load(im, p))
    else:
        for u in range(places.shape[0]):
            o, at = np.uint64(place ^ places[u]), starts[u] ^ shift
            for y in range(inside.shape[0]):
                # An unsigned index cannot be negative, which would be one question more.
                q, e = o + np.uint64(y), np.uint64(at ^ inside[y])
                if back:
                    re[q] = tr[e]
                    im[q] = ti[e]
                else:
                    tr[e] = re[q]
                    ti[e] = im[q]


@inner
def move_blocks(
    state: Array,
    place: int,
    shift: int,
    places: Array,
    starts: Array,
    inside: Array,
    lines: Array,
    twists: Array,
    tile: Array,
    back: bool,
) -> None:
    """Read one part of a tile, or write it, by blocks of 8 x 8 numbers, transposed."""
    m1, m2, m4, t1, t2, t4 = twists
    in_memory = m1 | m2 | m4 != 0
    in_tile = t1 | t2 | t4 != 0
    for u in range(places.shape[0]):
        o, at = place ^ places[u], starts[u] ^ shift
        if back:
            a, b = load(tile, at), load(tile, at ^ inside[1])
            c, d = load(tile, at ^ inside[2]), load(tile, at ^ inside[3])
            e, f = load(tile, at ^ inside[4]), load(tile, at ^ inside[5])
            g, h = load(tile, at ^ inside[6]), load(tile, at ^ inside[7])
        else:
            a, b = load(state, o), load(state, o ^ lines[1])
            c, d = load(state, o ^ lines[2]), load(state, o ^ lines[3])
            e, f = load(state, o ^ lines[4]), load(state, o ^ lines[5])
            g, h = load(state, o ^ lines[6]), load(state, o ^ lines[7])
        if back and in_tile:
            a, b, c, d, e, f, g, h = twist(a, b, c, d, e, f, g, h, t1, t2, t4)
        if not back and in_memory:
            a, b, c, d, e, f, g, h = twist(a, b, c, d, e, f, g, h, m1, m2, m4)
        a, b = crossed(a, b, 1)
        c, d = crossed(c, d, 1)
        e, f = crossed(e, f, 1)
        g, h = crossed(g, h, 1)
        a, c = crossed(a, c, 2)
        b, d = crossed(b, d, 2)
        e, g = crossed(e, g, 2)
        f, h = crossed(f, h, 2)
        a, e = crossed(a, e, 4)
        b, f = crossed(b, f, 4)
        c, g = crossed(c, g, 4)
        d, h = crossed(d, h, 4)
        if back and in_memory:
            a, b, c, d, e, f, g, h = twist(a, b, c, d, e, f, g, h, m1, m2, m4)
        if not back and in_tile:
            a, b, c, d, e, f, g, h = twist(a, b, c, d, e, f, g, h, t1, t2, t4)
        if back:
            store(state, o, a)
            store(state, o ^ lines[1], b)
            store(state, o ^ lines[2], c)
            store(state, o ^ lines[3], d)
            store(state, o ^ lines[4], e)
            store(state, o ^ lines[5], f)
            store(state, o ^ lines[6], g)
            store(state, o ^ lines[7], h)
        else:
            store(tile, at, a)
            store(tile, at ^ inside[1], b)
            store(tile, at ^ inside[2], c)
            store(tile, at ^ inside[3], d)
            store(tile, at ^ inside[4], e)
            store(tile, at ^ inside[5], f)
            store(tile, at ^ inside[6], g)
            store(tile, at ^ inside[7], h)


@inner
def twist(
    a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, m1: int, m2: int,
    m4: int,
) -> Any:  # fmt: skip
    """Permute the lanes of eight vectors by a mask for each bit of their number."""
    b, f = twisted(b, m1), twisted(f, m1)
    d, h = twisted(d, m1 ^ m2), twisted(h, m1 ^ m2 ^ m4)
    c, g = twisted(c, m2), twisted(g, m2 ^ m4)
    return a, b, c, d, twisted(e, m4), twisted(f, m4), g, h


@inner
def move_lanes(
    state: Array, place: int, places: Array, lanes: int, tile: Array, back: bool
) -> None:
    """Read one part of a tile whose lanes follow each other in memory, or write it.

    Args:
        state: One part of the state, real or imaginary.
        place: Place of the tile.
        places: Where each row is, relative to the tile.
        lanes: Number of lanes.
        tile: The part of the tile.
        back: Whether it is written to memory.
    """
    for r in range(places.shape[0]):
        p, o = place ^ places[r], r * lanes
        for x in range(0, lanes, WIDTH):
            if back:
                store(state, p + x, load(tile, o + x))
            else:
                store(tile, o + x, load(state, p + x))


@inner
def turn(
    fr: Array, fi: Array, lanes: int, re: Array, im: Array, scale: float, sign: float
) -> None:
    """Multiply every row by its phase and a scale; by the conjugate with ``sign`` -1."""
    for r in range(re.shape[0]):
        c, s = fill(scale * re[r]), fill(scale * sign * im[r])
        for j in range(r * lanes, (r + 1) * lanes, WIDTH):
            x, y = load(fr, j), load(fi, j)
            store(fr, j, fnma(s, y, mul(c, x)))
            store(fi, j, fma(s, x, mul(c, y)))


@inner
def turn_and_write(
    tr: Array,
    ti: Array,
    lanes: int,
    re: Array,
    im: Array,
    kr: Array,
    ki: Array,
    place: int,
    places: Array,
) -> None:
    """Multiply every row by its phase, and write the tile to memory."""
    for r in range(re.shape[0]):
        c, s, o, p = fill(re[r]), fill(im[r]), r * lanes, place ^ places[r]
        for j in range(0, lanes, WIDTH):
            x, y = load(tr, o + j), load(ti, o + j)
            store(kr, p + j, fnma(s, y, mul(c, x)))
            store(ki, p + j, fma(s, x, mul(c, y)))


@inner
def read_and_turn(
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    place: int,
    places: Array,
    lanes: int,
    re: Array,
    im: Array,
    tr: Array,
    ti: Array,
    vr: Array,
    vi: Array,
    sums: Array,
) -> None:
    """Read tiles of ket and bra, and multiply their rows by the conjugate of phases.

    Args:
        kr: Real parts of the ket; its imaginary parts and those of the bra follow.
        ki: As said.
        lr: As said.
        li: As said.
        place: Place of the tile.
        places: Where each row is, relative to the tile; empty if it is a tile already.
        lanes: Number of lanes.
        re: Real parts of the phases.
        im: Imaginary parts.
        tr: Where real parts of the ket are written; others follow.
        ti: As said.
        vr: As said.
        vi: As said.
        sums: Im(conj(bra) ket) of every row is added, shape ``(n_rows,)``.
    """
    for r in range(re.shape[0]):
        c, s, found, o = fill(re[r]), fill(im[r]), fill(0.0), r * lanes
        p = o if places.shape[0] == 0 else place ^ places[r]
        for j in range(0, lanes, WIDTH):
            x, y = load(kr, p + j), load(ki, p + j)
            v, w = load(lr, p + j), load(li, p + j)
            found = fma(v, y, found)
            found = fnma(w, x, found)
            store(tr, o + j, fma(s, y, mul(c, x)))
            store(ti, o + j, fnma(s, x, mul(c, y)))
            store(vr, o + j, fma(s, w, mul(c, v)))
            store(vi, o + j, fnma(s, v, mul(c, w)))
        sums[r] += total(found)


@inner
def shuffle(
    fr: Array,
    fi: Array,
    bits: Array,
    lanes: int,
    table: Array,
    eighths: Array,
    turned: bool,
    scratch: Array,
) -> None:
    """Permute the rows of a tile on some bits, and turn them.

    Args:
        fr: Real parts of the tile.
        fi: Imaginary parts.
        bits: The bits of a row that are permuted, least significant first.
        lanes: Number of lanes.
        table: The index that each index of these bits comes from.
        eighths: Phases in eighths of a turn.
        turned: Whether there are phases.
        scratch: Room for ``2 * 2**k * lanes`` numbers.
    """
    side, mask = 1 << bits.shape[0], 0
    for b in range(bits.shape[0]):
        mask |= 1 << bits[b]
    half = side * lanes
    for i in range(fr.shape[0] // lanes):
        if i & mask != 0:
            continue
        for e in range(side):
            o = row_of(bits, i, e) * lanes
            for j in range(lanes):
                scratch[e * lanes + j] = fr[o + j]
                scratch[half + e * lanes + j] = fi[o + j]
        for e in range(side):
            o, q = row_of(bits, i, e) * lanes, table[e] * lanes
            c, s = 1.0, 0.0
            if turned:
                c, s = COS_EIGHTH[eighths[e]], COS_EIGHTH[(eighths[e] + 6) % 8]
            for j in range(lanes):
                x, y = scratch[q + j], scratch[half + q + j]
                fr[o + j] = c * x - s * y
                fi[o + j] = c * y + s * x


@inner
def row_of(bits: Array, row: int, index: int) -> int:
    """The row with the bits of an index at some of its bits."""
    for b in range(bits.shape[0]):
        row |= (index >> b & 1) << bits[b]
    return row


@inner
def rotate(f: Array, stride: int, t: float, swapped: bool) -> None:
    """Apply a rotation to the bit with this stride, without its larger number.

    Of [[c, -s], [s, c]] it is [[1, -t], [t, 1]] with t = s / c, or if ``swapped``
    [[t, -1], [1, t]] with t = c / s: half as many operations.
    """
    T = fill(t)
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
    T, U = fill(t), fill(u)
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
    X, Y, T = fill(0.0), fill(0.0), fill(t)
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
def walsh(f: Array) -> None:
    """Sums with all signs over every bit of an index but the lowest three, in place."""
    stride = WIDTH
    while stride < f.shape[0]:
        for o in range(0, f.shape[0], 2 * stride):
            for j in range(o, o + stride, WIDTH):
                x, y = load(f, j), load(f, j + stride)
                store(f, j, add(x, y))
                store(f, j + stride, sub(x, y))
        stride *= 2


@inner
def add_terms(
    fr: Array,
    fi: Array,
    words: Array,
    chunk: int,
    first: int,
    last: int,
    general: bool,
    scratch: Array,
    sums: Array,
) -> None:
    """Sums of Pauli words over some chunks of a state.

    Words of Z are read from the sums of squares with all signs.

    Args:
        fr: Real parts of the state.
        fi: Imaginary parts.
        words: For each term its output, X mask, Z mask, and number of letters Y.
        chunk: Bits of an index into a chunk.
        first: The first chunk.
        last: The last chunk, exclusive.
        general: Whether there are words with X.
        scratch: Room for a chunk, and a row of eight numbers for each term.
        sums: Written, shape ``(n_terms,)``.
    """
    n_terms, size = words.shape[0], 1 << chunk
    squares, lanes = scratch[:size], scratch[size:]
    for j in range(WIDTH * n_terms):
        lanes[j] = 0.0
    for t in range(n_terms):
        sums[t] = 0.0
    for i in range(first, last):
        o = i << chunk
        for j in range(0, size, WIDTH):
            x, y = load(fr, o + j), load(fi, o + j)
            store(squares, j, fma(y, y, mul(x, x)))
        walsh(squares)
        for t in range(n_terms):
            x_mask, z_mask = words[t, 1], words[t, 2]
            if x_mask == 0:
                sign = fill(parity_sign(o, z_mask))
                at = z_mask & (size - 1) & ~(WIDTH - 1)
                own = load(lanes, WIDTH * t)
                store(lanes, WIDTH * t, fma(sign, load(squares, at), own))
            elif general:
                re, im = COS_EIGHTH[2 * words[t, 3] % 8], COS_EIGHTH[(2 * words[t, 3] + 6) % 8]
                found = 0.0
                for p in range(o, o + size):
                    q = p ^ x_mask
                    a, b, c, d = fr[p], fi[p], fr[q], fi[q]
                    one = re * (a * c + b * d) - im * (a * d - b * c)
                    found += parity_sign(q, z_mask) * one
                sums[t] += found
    for t in range(n_terms):
        if words[t, 1] == 0:
            for j in range(WIDTH):
                sums[t] += parity_sign(j, words[t, 2]) * lanes[WIDTH * t + j]


@inner
def bra_of_terms(
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    words: Array,
    weights: Array,
    dy: Array,
    chunk: int,
    first: int,
    last: int,
    general: bool,
    scratch: Array,
) -> None:
    """Some chunks of the bra: the sum of all words times their weights, on the ket."""
    n_terms, size = words.shape[0], 1 << chunk
    factors = scratch[:size]
    for i in range(first, last):
        o = i << chunk
        for j in range(size):
            factors[j] = 0.0
        for t in range(n_terms):
            z = words[t, 2]
            if words[t, 1] == 0:
                c = weights[t] * dy[words[t, 0]] * parity_sign(o, z)
                at = z & (size - 1) & ~(WIDTH - 1)
                for j in range(WIDTH):
                    factors[at + j] += c * parity_sign(j, z)
        walsh(factors)
        for j in range(0, size, WIDTH):
            c = load(factors, j)
            store(lr, o + j, mul(c, load(kr, o + j)))
            store(li, o + j, mul(c, load(ki, o + j)))
        if general:
            for t in range(n_terms):
                x, z, n_y = words[t, 1], words[t, 2], words[t, 3]
                if x == 0:
                    continue
                c = weights[t] * dy[words[t, 0]]
                re, im = c * COS_EIGHTH[2 * n_y % 8], c * COS_EIGHTH[(2 * n_y + 6) % 8]
                for p in range(o, o + size):
                    q = p ^ x
                    sign = parity_sign(q, z)
                    lr[p] += sign * (re * kr[q] - im * ki[q])
                    li[p] += sign * (re * ki[q] + im * kr[q])
