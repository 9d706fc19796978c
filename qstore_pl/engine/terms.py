"""Pauli words on a large state, part by part.

Words of Z are read from the sums of squares with all signs, a Walsh-Hadamard transform
of a part of the state, however many words there are. A part is a stretch of memory, or
of a tile; then masks are those of an index into the tile. This module knows no gates.
"""

from __future__ import annotations

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.vectors import (
    WIDTH,
    add,
    fill,
    fma,
    load,
    mul,
    store,
    sub,
    widened,
)
from qstore_pl.engine.words import COS_EIGHTH, parity_sign


@inner
def walsh(f: Array) -> None:
    """Sums with all signs over every bit of an index but the lowest three, in place.

    Two bits are taken at a time, so that there are half as many passes.
    """
    stride = WIDTH
    while 2 * stride < f.shape[0]:
        for o in range(0, f.shape[0], 4 * stride):
            for j in range(o, o + stride, WIDTH):
                x, y = load(f, j), load(f, j + stride)
                z, w = load(f, j + 2 * stride), load(f, j + 3 * stride)
                x, y = add(x, y), sub(x, y)
                z, w = add(z, w), sub(z, w)
                store(f, j, add(x, z))
                store(f, j + stride, add(y, w))
                store(f, j + 2 * stride, sub(x, z))
                store(f, j + 3 * stride, sub(y, w))
        stride *= 4
    if stride < f.shape[0]:
        for j in range(0, stride, WIDTH):
            x, y = load(f, j), load(f, j + stride)
            store(f, j, add(x, y))
            store(f, j + stride, sub(x, y))


@inner
def only_z(words: Array) -> bool:
    """Whether all words are words of Z, so that what is measured is diagonal."""
    flips = 0
    for t in range(words.shape[0]):
        flips |= words[t, 1]
    return flips == 0


@inner
def masks_in_tile(words: Array, targets: Array, lanes: int, masks: Array) -> None:
    """The Z masks of words as masks of an index into a tile.

    Args:
        words: For each term its output, X mask, Z mask, and number of letters Y.
        targets: Places of the rows, relative to the tile.
        lanes: Number of lanes, which follow each other.
        masks: Written, shape ``(n_terms,)``.
    """
    for t in range(words.shape[0]):
        z = words[t, 2]
        mask, bit, row = z & (lanes - 1), lanes, 1
        while row < targets.shape[0]:
            if parity_sign(z, targets[row]) < 0.0:
                mask |= bit
            bit, row = 2 * bit, 2 * row
        masks[t] = mask


@inner
def add_squares(
    fr: Array,
    fi: Array,
    start: int,
    words: Array,
    masks: Array,
    place: int,
    squares: Array,
    lanes: Array,
) -> None:
    """Add what words of Z are on a part of a state.

    Args:
        fr: Real parts of the part.
        fi: Imaginary parts.
        start: Index of its first amplitude.
        words: As for :func:`masks_in_tile`.
        masks: Their masks of an index, which need not be a place.
        place: The place of the index 0.
        squares: Room for as many numbers as the part has, or more.
        lanes: A row of eight numbers for each word.
    """
    size = fr.shape[0]
    squares = squares[:size]
    for j in range(0, size, WIDTH):
        x, y = load(fr, j), load(fi, j)
        store(squares, j, fma(y, y, mul(x, x)))
    walsh(squares)
    for t in range(words.shape[0]):
        if words[t, 1] == 0:
            sign = parity_sign(place, words[t, 2]) * parity_sign(start, masks[t])
            at = masks[t] & (size - 1) & ~(WIDTH - 1)
            own = load(lanes, WIDTH * t)
            found = fma(fill(lanes, sign), widened(load(squares, at)), own)
            store(lanes, WIDTH * t, found)


@inner
def total_of(masks: Array, words: Array, lanes: Array, sums: Array) -> None:
    """What words of Z have added up in their lanes: sums (n_terms,), written."""
    for t in range(words.shape[0]):
        sums[t] = 0.0
        if words[t, 1] == 0:
            for j in range(WIDTH):
                sums[t] += parity_sign(j, masks[t]) * lanes[WIDTH * t + j]


@inner
def add_flips(
    fr: Array, fi: Array, first: int, last: int, words: Array, sums: Array
) -> None:
    """Add what words with letters X or Y are on the places from first to last."""
    for t in range(words.shape[0]):
        x_mask, z_mask = words[t, 1], words[t, 2]
        if x_mask == 0:
            continue
        re, im = (
            COS_EIGHTH[2 * words[t, 3] % 8],
            COS_EIGHTH[(2 * words[t, 3] + 6) % 8],
        )
        more = 0.0
        for p in range(first, last):
            q = p ^ x_mask
            a, b, c, d = fr[p], fi[p], fr[q], fi[q]
            one = re * (a * c + b * d) - im * (a * d - b * c)
            more += parity_sign(q, z_mask) * one
        sums[t] += more


@inner
def factors_of_bra(
    start: int,
    words: Array,
    masks: Array,
    weights: Array,
    dy: Array,
    place: int,
    factors: Array,
) -> None:
    """The sum of words of Z times their weights on a part of a state, written.

    Args: as for :func:`add_squares`.
    """
    size = factors.shape[0]
    for j in range(size):
        factors[j] = 0.0
    for t in range(words.shape[0]):
        if words[t, 1] == 0:
            c = weights[t] * dy[words[t, 0]]
            c *= parity_sign(place, words[t, 2]) * parity_sign(start, masks[t])
            at = masks[t] & (size - 1) & ~(WIDTH - 1)
            for j in range(WIDTH):
                factors[at + j] += c * parity_sign(j, masks[t])
    walsh(factors)


@inner
def multiply_rows(
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    factors: Array,
    place: int,
    places: Array,
    lanes: int,
) -> None:
    """The bra on rows of a tile: the ket times factors, both in memory."""
    for r in range(places.shape[0]):
        p, o = place ^ places[r], r * lanes
        for x in range(0, lanes, WIDTH):
            c = load(factors, o + x)
            store(lr, p + x, mul(c, load(kr, p + x)))
            store(li, p + x, mul(c, load(ki, p + x)))


@inner
def add_flipped(
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    first: int,
    last: int,
    words: Array,
    weights: Array,
    dy: Array,
) -> None:
    """Add words with letters X or Y to the bra on the places from first to last."""
    for t in range(words.shape[0]):
        x, z, n_y = words[t, 1], words[t, 2], words[t, 3]
        if x == 0:
            continue
        c = weights[t] * dy[words[t, 0]]
        re, im = c * COS_EIGHTH[2 * n_y % 8], c * COS_EIGHTH[(2 * n_y + 6) % 8]
        for p in range(first, last):
            q = p ^ x
            sign = parity_sign(q, z)
            lr[p] += sign * (re * kr[q] - im * ki[q])
            li[p] += sign * (re * ki[q] + im * kr[q])
