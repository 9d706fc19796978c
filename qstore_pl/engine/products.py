"""Product states inside the kernels of large states, and their share of a gradient.

This module knows no gates.
"""

from __future__ import annotations

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.vectors import WIDTH, fill, fma, fnma, load, mul, narrowed, store


@inner
def product_state(us: Array, first: int, last: int, re: Array, im: Array) -> None:
    """The product of the factors of some bits: re, im (2**(last - first),)."""
    re[0], im[0] = 1.0, 0.0
    n, size = us.shape[0], 1
    for bit in range(first, last):
        # Factors are in the order of places: the last one is the lowest bit.
        u = us[n - 1 - bit]
        for i in range(size):
            x, y = re[i], im[i]
            re[size + i] = u[2] * x - u[3] * y
            im[size + i] = u[2] * y + u[3] * x
            re[i] = u[0] * x - u[1] * y
            im[i] = u[0] * y + u[1] * x
        size *= 2


@inner
def product_states(
    us: Array, low: int, re: Array, im: Array, more_re: Array, more_im: Array
) -> None:
    """The products of the factors of the low bits, and of the other ones."""
    first, last = 0, low
    for _ in range(2):
        product_state(us, first, last, re, im)
        re, im = more_re, more_im
        first, last = low, us.shape[0]


@inner
def write_product(
    kr: Array,
    ki: Array,
    place: int,
    places: Array,
    lanes: int,
    re: Array,
    im: Array,
    high_re: Array,
    high_im: Array,
) -> None:
    """Write a product state to the rows of a tile.

    Args:
        kr: Real parts of the state.
        ki: Imaginary parts.
        place: Place of the tile.
        places: Places of its rows, relative to the tile.
        lanes: Number of lanes, which follow each other.
        re: The product of the factors of the low bits.
        im: Its imaginary part.
        high_re: The product of the other factors.
        high_im: Its imaginary part.
    """
    size, low = re.shape[0], 0
    while 1 << low < size:
        low += 1
    for r in range(places.shape[0]):
        for x in range(0, lanes, WIDTH):
            p = (place ^ places[r]) + x
            h, j = p >> low, p & (size - 1)
            a, b = fill(re, high_re[h]), fill(re, high_im[h])
            c, d = load(re, j), load(im, j)
            store(kr, p, narrowed(kr, fnma(b, d, mul(a, c))))
            store(ki, p, narrowed(kr, fma(b, c, mul(a, d))))


@inner
def factors_of(
    us: Array, first: int, last: int, sums: Array, room: Array, found: Array
) -> None:
    """For each bit of a product state: Im<bra|P|ket> for P = X, Y, Z.

    Args:
        us: The factors, that of the highest bit first.
        first: The first bit.
        last: The last bit, exclusive.
        sums: The conjugate of the bra with all other bits contracted, real and
            imaginary parts, shape ``(2, 2**(last - first))``.
        room: Room for six times as many numbers.
        found: Written, shape ``(n, 3, 1)``, in the order of the factors.
    """
    n, k = us.shape[0], last - first
    size = 1 << k
    # Level q holds what is left when all bits above bit q are contracted.
    re, im = room[: 2 * size], room[2 * size : 4 * size]
    pr, pi = room[4 * size : 5 * size], room[5 * size : 6 * size]
    for x in range(size):
        re[size + x], im[size + x] = sums[0, x], sums[1, x]
    for q in range(k - 1, 0, -1):
        u, half = us[n - 1 - first - q], 1 << q
        for x in range(half):
            a, b = re[2 * half + x], im[2 * half + x]
            c, d = re[3 * half + x], im[3 * half + x]
            re[half + x] = u[0] * a - u[1] * b + u[2] * c - u[3] * d
            im[half + x] = u[0] * b + u[1] * a + u[2] * d + u[3] * c
    for q in range(k):
        product_state(us, first, first + q, pr, pi)
        u, half = us[n - 1 - first - q], 1 << q
        a = b = c = d = 0.0
        for x in range(half):
            a += re[2 * half + x] * pr[x] - im[2 * half + x] * pi[x]
            b += re[2 * half + x] * pi[x] + im[2 * half + x] * pr[x]
            c += re[3 * half + x] * pr[x] - im[3 * half + x] * pi[x]
            d += re[3 * half + x] * pi[x] + im[3 * half + x] * pr[x]
        own = found[n - 1 - first - q]
        own[0, 0] = a * u[3] + b * u[2] + c * u[1] + d * u[0]
        own[1, 0] = -(a * u[2] - b * u[3]) + (c * u[0] - d * u[1])
        own[2, 0] = a * u[1] + b * u[0] - (c * u[3] + d * u[2])
