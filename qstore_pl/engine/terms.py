"""Pauli words on a large state, chunk by chunk as it is in memory.

Words of Z are read from the sums of squares with all signs, a Walsh-Hadamard transform
of a chunk, however many words there are. This module knows no gates.
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
        scratch: Room for a chunk, and a row of eight numbers for each term.
        sums: Written, shape ``(n_terms,)``.
    """
    n_terms, size = words.shape[0], 1 << chunk
    squares, lanes = scratch[:size].view(fr.dtype)[:size], scratch[size:]
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
                sign = fill(lanes, parity_sign(o, z_mask))
                at = z_mask & (size - 1) & ~(WIDTH - 1)
                own = load(lanes, WIDTH * t)
                found = fma(sign, widened(load(squares, at)), own)
                store(lanes, WIDTH * t, found)
            else:
                re, im = (
                    COS_EIGHTH[2 * words[t, 3] % 8],
                    COS_EIGHTH[(2 * words[t, 3] + 6) % 8],
                )
                more = 0.0
                for p in range(o, o + size):
                    q = p ^ x_mask
                    a, b, c, d = fr[p], fi[p], fr[q], fi[q]
                    one = re * (a * c + b * d) - im * (a * d - b * c)
                    more += parity_sign(q, z_mask) * one
                sums[t] += more
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
    scratch: Array,
) -> None:
    """Some chunks of the bra: the sum of all words times their weights, on the ket."""
    n_terms, size = words.shape[0], 1 << chunk
    factors = scratch[:size].view(kr.dtype)[:size]
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
