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

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.vectors import (
    WIDTH,
    add,
    fill,
    fma,
    fnma,
    load,
    mul,
    store,
    sub,
    total,
)
from qstore_pl.engine.words import COS_EIGHTH, parity_sign


@inner
def read_tile(
    state: Array,
    place: int,
    run: int,
    places: Array,
    runs: Array,
    inside: Array,
    tile: Array,
) -> None:
    """Read one part of a tile from memory.

    Args:
        state: One part of the state, real or imaginary.
        place: Place of the tile.
        run: Places that follow each other, a power of two.
        places: Where each run begins, relative to the tile.
        runs: The index in the tile of the beginning of each run.
        inside: What is XORed to it for each place of a run.
        tile: Written.
    """
    low = place & (run - 1)
    first = inside[low]
    for u in range(places.shape[0]):
        source = state[(place ^ low ^ places[u]) :]
        at = runs[u] ^ first
        for y in range(run):
            tile[at ^ inside[y]] = source[y]


@inner
def write_tile(
    state: Array,
    place: int,
    run: int,
    places: Array,
    runs: Array,
    inside: Array,
    tile: Array,
) -> None:
    """Write one part of a tile to memory; the arguments are those of reading."""
    low = place & (run - 1)
    first = inside[low]
    for u in range(places.shape[0]):
        target = state[(place ^ low ^ places[u]) :]
        at = runs[u] ^ first
        for y in range(run):
            target[y] = tile[at ^ inside[y]]


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
        if back:
            for x in range(0, lanes, WIDTH):
                store(state, p + x, load(tile, o + x))
        else:
            for x in range(0, lanes, WIDTH):
                store(tile, o + x, load(state, p + x))


@inner
def turn(fr: Array, fi: Array, lanes: int, re: Array, im: Array, sign: float) -> None:
    """Multiply every row by its phase, or by the conjugate with ``sign`` -1."""
    for r in range(re.shape[0]):
        c, s = fill(re[r]), fill(sign * im[r])
        for j in range(r * lanes, (r + 1) * lanes, WIDTH):
            x, y = load(fr, j), load(fi, j)
            store(fr, j, fnma(s, y, mul(c, x)))
            store(fi, j, fma(s, x, mul(c, y)))


@inner
def add_rows(
    kr: Array, ki: Array, lr: Array, li: Array, lanes: int, sums: Array
) -> None:
    """Add Im(conj(bra) ket) of every row to the sum of the row."""
    for r in range(sums.shape[0]):
        found = fill(0.0)
        for j in range(r * lanes, (r + 1) * lanes, WIDTH):
            found = fma(load(lr, j), load(ki, j), found)
            found = fnma(load(li, j), load(kr, j), found)
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
def rotate(f: Array, stride: int, c: float, s: float) -> None:
    """Apply the rotation [[c, -s], [s, c]] to the bit with this stride."""
    C, S = fill(c), fill(s)
    for o in range(0, f.shape[0], 2 * stride):
        for j in range(o, o + stride, WIDTH):
            x, y = load(f, j), load(f, j + stride)
            store(f, j, fnma(S, y, mul(C, x)))
            store(f, j + stride, fma(S, x, mul(C, y)))


@inner
def rotate_two(f: Array, stride: int, c: float, s: float, d: float, t: float) -> None:
    """Apply two rotations: (c, s) to the bit with this stride, (d, t) to the next."""
    C, S, D, T = fill(c), fill(s), fill(d), fill(t)
    for o in range(0, f.shape[0], 4 * stride):
        for j in range(o, o + stride, WIDTH):
            x, y = load(f, j), load(f, j + stride)
            z, w = load(f, j + 2 * stride), load(f, j + 3 * stride)
            x, y = fnma(S, y, mul(C, x)), fma(S, x, mul(C, y))
            z, w = fnma(S, w, mul(C, z)), fma(S, z, mul(C, w))
            store(f, j, fnma(T, z, mul(D, x)))
            store(f, j + 2 * stride, fma(T, x, mul(D, z)))
            store(f, j + stride, fnma(T, w, mul(D, y)))
            store(f, j + 3 * stride, fma(T, y, mul(D, w)))


@inner
def undo_rotation(
    kr: Array, ki: Array, lr: Array, li: Array, stride: int, c: float, s: float
) -> tuple[float, float]:
    """Im<bra|P|ket> for P = X, Y on a bit; then the rotation is undone on both."""
    C, S, X, Y = fill(c), fill(s), fill(0.0), fill(0.0)
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
            store(kr, j, fma(S, p1, mul(C, p)))
            store(kr, j + stride, fnma(S, p, mul(C, p1)))
            store(ki, j, fma(S, q1, mul(C, q)))
            store(ki, j + stride, fnma(S, q, mul(C, q1)))
            store(lr, j, fma(S, v1, mul(C, v)))
            store(lr, j + stride, fnma(S, v, mul(C, v1)))
            store(li, j, fma(S, w1, mul(C, w)))
            store(li, j + stride, fnma(S, w, mul(C, w1)))
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
