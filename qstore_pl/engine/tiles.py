"""Tiles of a large state inside the kernels: read from memory, and written back.

A tile is a small state: its rows are some qubits, and its lanes, the fast axis, are
places of all others. Real and imaginary parts are apart. This module knows neither
circuits nor threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.schedule import BLOCKS, LINES
from qstore_pl.engine.swept_views import Way, place_of
from qstore_pl.engine.vectors import (
    WIDTH,
    crossed,
    fill,
    fma,
    fnma,
    load,
    mul,
    store,
    total,
    twisted,
)
from qstore_pl.engine.words import COS_EIGHTH


@inner
def move_tile(
    way: Way, number: int, re: Array, im: Array, tr: Array, ti: Array, back: bool
) -> None:
    """Read a tile from memory, piece by piece.

    Args:
        way: Where the pieces are.
        number: Number of the tile.
        re: Real parts of the state.
        im: Imaginary parts.
        tr: Real parts of the tile.
        ti: Imaginary parts.
        back: Whether it is written to memory instead.
    """
    place = place_of(way.tiles, way.n, number)
    shift = place_of(way.shifts, way.n, number)
    if way.kind == BLOCKS:
        move_blocks(way, place, shift, re, tr, back)
        move_blocks(way, place, shift, im, ti, back)
        return
    for u in range(way.places.shape[0]):
        p, k = place ^ way.places[u], way.starts[u] ^ shift
        if way.kind == LINES:
            if back:
                store(re, p, load(tr, k))
                store(im, p, load(ti, k))
            else:
                store(tr, k, load(re, p))
                store(ti, k, load(im, p))
            continue
        for y in range(way.inside.shape[0]):
            # An unsigned index cannot be negative, which would be one question more.
            q, e = np.uint64(p + y), np.uint64(k ^ way.inside[y])
            if back:
                re[q] = tr[e]
                im[q] = ti[e]
            else:
                tr[e] = re[q]
                ti[e] = im[q]


@inner
def move_blocks(
    way: Way, place: int, shift: int, state: Array, tile: Array, back: bool
) -> None:
    """Read one part of a tile, or write it, by blocks of 8 x 8 numbers, transposed."""
    lines, inside = way.lines, way.inside
    m1, m2, m4 = way.twists[0], way.twists[1], way.twists[2]
    t1, t2, t4 = way.twists[3], way.twists[4], way.twists[5]
    in_memory = m1 | m2 | m4 != 0
    in_tile = t1 | t2 | t4 != 0
    for u in range(way.places.shape[0]):
        o, at = place ^ way.places[u], way.starts[u] ^ shift
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
    fr: Array,
    fi: Array,
    lanes: int,
    re: Array,
    im: Array,
    scale: float,
    mask: int,
    back: bool,
) -> None:
    """Multiply rows by phases and a scale, and exchange those whose numbers differ.

    Args:
        fr: Real parts of a tile.
        fi: Imaginary parts.
        lanes: Number of lanes.
        re: Real parts of the phase that each row has afterwards.
        im: Imaginary parts.
        scale: A factor of all rows.
        mask: Bits of the number of a row by which it and its partner differ.
        back: Whether this is undone, but for the scale.
    """
    sign = -scale if back else scale
    for r in range(re.shape[0]):
        q = r ^ mask
        if q < r:
            continue
        first, second = (q, r) if back else (r, q)
        c, s = fill(fr, scale * re[first]), fill(fr, sign * im[first])
        d, t = fill(fr, scale * re[second]), fill(fr, sign * im[second])
        o, e = r * lanes, q * lanes
        for j in range(0, lanes, WIDTH):
            x, y = load(fr, e + j), load(fi, e + j)
            v, w = load(fr, o + j), load(fi, o + j)
            store(fr, o + j, fnma(s, y, mul(c, x)))
            store(fi, o + j, fma(s, x, mul(c, y)))
            if mask:
                store(fr, e + j, fnma(t, w, mul(d, v)))
                store(fi, e + j, fma(t, v, mul(d, w)))


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
        c, s, o, p = fill(tr, re[r]), fill(tr, im[r]), r * lanes, place ^ places[r]
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
        c, s, found, o = fill(tr, re[r]), fill(tr, im[r]), fill(tr, 0.0), r * lanes
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
