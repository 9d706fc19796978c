"""Instructions on tiles of a large mixed state inside the kernels: one sample.

A tile is a small Pauli vector: its digits 0 and 1 are those of the state, and the rest
are the digits that a group of instructions needs. It is read from the state, all
instructions of the group are applied to it in the cache, and it is written back. What
is meant to be eight numbers at a time is written so, also where rows are shorter: then
vectors are crossed, so that each of them has one row. This module knows no angles.
"""

from __future__ import annotations

from typing import Any

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.vectors import (
    WIDTH,
    crossed,
    fill,
    fma,
    load,
    mul,
    store,
    total,
)


@inner
def next_place(place: int, mask: int) -> int:
    """The next number all of whose bits are in a mask; 0 after the last."""
    return ((place | ~mask) + 1) & mask


@inner
def move_rows(f: Array, base: int, rows: int, tile: Array, back: bool) -> None:
    """Read a tile, or write it back.

    Args:
        f: The state.
        base: Where the tile begins.
        rows: The bits of a place that belong to digits of the tile above the lowest
            two.
        tile: The tile.
        back: Whether it is written.
    """
    place, at = 0, 0
    while at < tile.shape[0]:
        o = base + place
        for x in range(0, 2 * WIDTH, WIDTH):
            if back:
                store(f, o + x, load(tile, at + x))
            else:
                store(tile, at + x, load(f, o + x))
        at += 2 * WIDTH
        place = next_place(place, rows)


@inner
def position_of(digit: int, rows: int) -> int:
    """The digit of a tile that is a digit of the state."""
    if digit < 2:
        return digit
    found, below = 2, rows & ((1 << 2 * digit) - 1)
    while below:
        below &= below - 1
        below &= below - 1
        found += 1
    return found


@inner
def load_rows(f: Array, at: int, step: int, other: int, digit: int) -> Any:
    """Four vectors with the letters I, X, Y and Z of a digit.

    Args:
        f: A tile.
        at: Where the first vector begins.
        step: How far apart the first and the second, the third and the fourth are.
        other: How far apart the first and the third are.
        digit: If it is 0 or 1, whose letters are next to each other, vectors are
            crossed.
    """
    a, b = load(f, at), load(f, at + step)
    c, d = load(f, at + other), load(f, at + other + step)
    if digit == 0:
        a, b = crossed(a, b, 1)
        c, d = crossed(c, d, 1)
        a, c = crossed(a, c, 2)
        b, d = crossed(b, d, 2)
    elif digit == 1:
        a, c = crossed(a, c, 4)
        b, d = crossed(b, d, 4)
        b, c = c, b
    return a, b, c, d


@inner
def store_rows(
    f: Array, at: int, step: int, other: int, digit: int, a: Any, b: Any, c: Any, d: Any
) -> None:
    """Write what :func:`load_rows` has read."""
    if digit == 0:
        a, b = crossed(a, b, 1)
        c, d = crossed(c, d, 1)
        a, c = crossed(a, c, 2)
        b, d = crossed(b, d, 2)
    elif digit == 1:
        b, c = c, b
        a, c = crossed(a, c, 4)
        b, d = crossed(b, d, 4)
    store(f, at, a)
    store(f, at + step, b)
    store(f, at + other, c)
    store(f, at + other + step, d)


@inner
def map_rows(m: Any, n: Any, x: Any, y: Any, z: Any) -> Any:
    """An affine map, twelve vectors, of the letters of a digit."""
    return (
        fma(m[3], z, fma(m[2], y, fma(m[1], x, mul(m[0], n)))),
        fma(m[7], z, fma(m[6], y, fma(m[5], x, mul(m[4], n)))),
        fma(m[11], z, fma(m[10], y, fma(m[9], x, mul(m[8], n)))),
    )


@inner
def filled(f: Array, T: Array) -> Any:
    """Twelve numbers, each as a vector of the precision of a state."""
    return (
        fill(f, T[0]), fill(f, T[1]), fill(f, T[2]), fill(f, T[3]),
        fill(f, T[4]), fill(f, T[5]), fill(f, T[6]), fill(f, T[7]),
        fill(f, T[8]), fill(f, T[9]), fill(f, T[10]), fill(f, T[11]),
    )  # fmt: skip


@inner
def apply_map(f: Array, digit: int, T: Array) -> None:
    """Apply an affine map, 12 numbers, to a digit of a tile."""
    m = filled(f, T)
    step = max(WIDTH, 1 << 2 * digit)
    for o in range(0, f.shape[0], 4 * step):
        for j in range(o, o + step, WIDTH):
            n, x, y, z = load_rows(f, j, step, 2 * step, digit)
            x, y, z = map_rows(m, n, x, y, z)
            store_rows(f, j, step, 2 * step, digit, n, x, y, z)


@inner
def undo_map(f: Array, g: Array, digit: int, T: Array, V: Array, C: Array) -> None:
    """Undo a map on the state, pull the cotangent back, and C[a, k] += sum g_a f_k.

    Args:
        f: A tile of the state after the map.
        g: That of the cotangent after the map.
        digit: The digit that the map acts on.
        T: The map, 12 numbers.
        V: Its inverse, or the identity if the state is the one before the map.
        C: The derivative with respect to the map is added to it.
    """
    m, v = filled(f, T), filled(f, V)
    step = max(WIDTH, 1 << 2 * digit)
    zero = fill(f, 0.0)
    x0, x1, x2, x3 = zero, zero, zero, zero
    y0, y1, y2, y3 = zero, zero, zero, zero
    z0, z1, z2, z3 = zero, zero, zero, zero
    for o in range(0, f.shape[0], 4 * step):
        for j in range(o, o + step, WIDTH):
            n, x, y, z = load_rows(f, j, step, 2 * step, digit)
            x, y, z = map_rows(v, n, x, y, z)
            store_rows(f, j, step, 2 * step, digit, n, x, y, z)
            e, p, q, s = load_rows(g, j, step, 2 * step, digit)
            x0, x1, x2, x3 = fma(p, n, x0), fma(p, x, x1), fma(p, y, x2), fma(p, z, x3)
            y0, y1, y2, y3 = fma(q, n, y0), fma(q, x, y1), fma(q, y, y2), fma(q, z, y3)
            z0, z1, z2, z3 = fma(s, n, z0), fma(s, x, z1), fma(s, y, z2), fma(s, z, z3)
            e = fma(m[8], s, fma(m[4], q, fma(m[0], p, e)))
            a = fma(m[9], s, fma(m[5], q, mul(m[1], p)))
            b = fma(m[10], s, fma(m[6], q, mul(m[2], p)))
            c = fma(m[11], s, fma(m[7], q, mul(m[3], p)))
            store_rows(g, j, step, 2 * step, digit, e, a, b, c)
    C[0] += total(x0)
    C[1] += total(x1)
    C[2] += total(x2)
    C[3] += total(x3)
    C[4] += total(y0)
    C[5] += total(y1)
    C[6] += total(y2)
    C[7] += total(y3)
    C[8] += total(z0)
    C[9] += total(z1)
    C[10] += total(z2)
    C[11] += total(z3)


@inner
def shuffle(
    f: Array,
    digits: Array,
    rows: int,
    sources: Array,
    factors: Array,
    back: int,
    p: Array,
) -> None:
    """Permute the words on a few digits of a tile, and multiply them by factors.

    Args:
        f: The tile.
        digits: Digits of the state, the lowest first.
        rows: As for :func:`move_rows`.
        sources: The word that each word comes from, shape ``(4**k,)``.
        factors: What it is multiplied by, same shape.
        back: 0 for this, 1 for its inverse, 2 for its transpose.
        p: Room for ``9 * 4**k`` numbers.
    """
    k, side = digits.shape[0], sources.shape[0]
    low, mask = position_of(digits[0], rows), 0
    for d in range(k):
        mask |= 3 << 2 * position_of(digits[d], rows)
    scales, p = p[:side], p[side:]
    for r in range(side):
        scales[r] = 1.0 / factors[r] if back == 1 else factors[r]
    if low > 1:
        shuffle_vectors(f, mask, sources, scales, back, p)
    elif mask & 15 != 15:
        shuffle_crossed(f, low, mask, sources, scales, back, p)
    else:
        shuffle_numbers(f, mask, sources, scales, back, p)


@inner
def shuffle_vectors(
    f: Array, mask: int, sources: Array, scales: Array, back: int, p: Array
) -> None:
    """Where the lowest digit is 2 or higher: whole vectors move."""
    rest, base = (f.shape[0] - 1) & ~mask & ~7, 0
    while True:
        place = 0
        for r in range(sources.shape[0]):
            if sources[r] != r or scales[r] != 1.0:
                x = load(f, base + place)
                if back:
                    store(p, sources[r] * WIDTH, mul(fill(f, scales[r]), x))
                else:
                    store(p, r * WIDTH, x)
            place = next_place(place, mask)
        for r in range(sources.shape[0]):
            if sources[r] != r or scales[r] != 1.0:
                if back:
                    x = load(p, r * WIDTH)
                else:
                    x = mul(fill(f, scales[r]), load(p, sources[r] * WIDTH))
                store(f, base + place, x)
            place = next_place(place, mask)
        base = next_place(base, rest)
        if base == 0:
            break


@inner
def shuffle_crossed(
    f: Array, low: int, mask: int, sources: Array, scales: Array, back: int, p: Array
) -> None:
    """Where the lowest digit is 0 or 1, and the other one of them stays."""
    other = 16
    while mask & other:
        other *= 4
    rest = (f.shape[0] - 1) & ~mask & ~other & ~15
    mask &= ~15
    base = 0
    while True:
        place = 0
        for r in range(0, sources.shape[0], 4):
            a, b, c, d = load_rows(f, base + place, WIDTH, other, low)
            if back:
                store(p, sources[r] * WIDTH, mul(fill(f, scales[r]), a))
                store(p, sources[r + 1] * WIDTH, mul(fill(f, scales[r + 1]), b))
                store(p, sources[r + 2] * WIDTH, mul(fill(f, scales[r + 2]), c))
                store(p, sources[r + 3] * WIDTH, mul(fill(f, scales[r + 3]), d))
            else:
                store(p, r * WIDTH, a)
                store(p, (r + 1) * WIDTH, b)
                store(p, (r + 2) * WIDTH, c)
                store(p, (r + 3) * WIDTH, d)
            place = next_place(place, mask)
        for r in range(0, sources.shape[0], 4):
            if back:
                a, b = load(p, r * WIDTH), load(p, (r + 1) * WIDTH)
                c, d = load(p, (r + 2) * WIDTH), load(p, (r + 3) * WIDTH)
            else:
                a = mul(fill(f, scales[r]), load(p, sources[r] * WIDTH))
                b = mul(fill(f, scales[r + 1]), load(p, sources[r + 1] * WIDTH))
                c = mul(fill(f, scales[r + 2]), load(p, sources[r + 2] * WIDTH))
                d = mul(fill(f, scales[r + 3]), load(p, sources[r + 3] * WIDTH))
            store_rows(f, base + place, WIDTH, other, low, a, b, c, d)
            place = next_place(place, mask)
        base = next_place(base, rest)
        if base == 0:
            break


@inner
def shuffle_numbers(
    f: Array, mask: int, sources: Array, scales: Array, back: int, p: Array
) -> None:
    """Where digits 0 and 1 are among the digits: one number after the other."""
    rest, base = (f.shape[0] - 1) & ~mask, 0
    while True:
        place = 0
        for r in range(sources.shape[0]):
            x = f[base + place]
            if back:
                p[sources[r]] = scales[r] * x
            else:
                p[r] = x
            place = next_place(place, mask)
        for r in range(sources.shape[0]):
            f[base + place] = p[r] if back else scales[r] * p[sources[r]]
            place = next_place(place, mask)
        base = next_place(base, rest)
        if base == 0:
            break


@inner
def pull_factor(f: Array, g: Array, digit: int, C: Array) -> None:
    """The derivative with respect to one wire's vector in a product state.

    It goes from the highest digit down: the cotangent is contracted with the vector of
    this digit, so that a quarter of it is left for the digits below.

    Args:
        f: The product state.
        g: The cotangent of this digit and those below, in its first numbers.
        digit: The digit.
        C: The derivative, shape ``(3,)``, written.
    """
    size = 1 << 2 * digit
    x, y, z = f[size], f[2 * size], f[3 * size]
    a = b = c = 0.0
    f0, g0, g1 = f[:size], g[:size], g[size : 2 * size]
    g2, g3 = g[2 * size : 3 * size], g[3 * size : 4 * size]
    for j in range(size):
        n, p, q, s = f0[j], g1[j], g2[j], g3[j]
        a += p * n
        b += q * n
        c += s * n
        g0[j] += x * p + y * q + z * s
    C[0], C[1], C[2] = a, b, c
