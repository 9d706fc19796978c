"""Pauli words as rows of a mixed state inside the kernels: permuted, turned, scaled.

The product of two words is, up to a phase, the word whose digits are the bitwise XOR of
theirs: I, X, Y, Z are 0 to 3. Vectors are flat with the batch as the fast axis.
"""

from __future__ import annotations

from qstore_pl.engine.compile import Array, inner


@inner
def permute(d: Array, s: Array, table: Array, scale: Array, batch: int) -> None:
    """Row i of the destination becomes scale[i] times row table[i] of the source."""
    for i in range(table.shape[0]):
        o, e, c = i * batch, table[i] * batch, d.dtype.type(scale[i])
        a, b = d[o : o + batch], s[e : e + batch]
        for j in range(batch):
            a[j] = c * b[j]


@inner
def permute_back(
    d: Array, s: Array, table: Array, scale: Array, batch: int, divide: int
) -> None:
    """The transpose of :func:`permute`, or its inverse if ``divide``."""
    for i in range(table.shape[0]):
        o, e = i * batch, table[i] * batch
        c = d.dtype.type(1.0 / scale[i] if divide else scale[i])
        a, b = d[e : e + batch], s[o : o + batch]
        for j in range(batch):
            a[j] = c * b[j]


@inner
def count_bits(i: int) -> int:
    """Number of one bits."""
    n = 0
    while i:
        i &= i - 1
        n += 1
    return n


@inner
def product_sign(word: int, row: int) -> int:
    """Sign s of -i W P = s Q for Hermitian words; 0 if W and P commute.

    As words are i**|x & z| X**x Z**z, the product has the phase i**e with the e below.
    """
    even = 0x55555555
    z, x = word >> 1 & even, (word ^ word >> 1) & even
    v, u = row >> 1 & even, (row ^ row >> 1) & even
    e = count_bits(x & z) + count_bits(u & v) + 2 * count_bits(z & u)
    e = (e - count_bits((x ^ u) & (z ^ v))) & 3
    if e & 1 == 0:
        return 0
    return 1 if e == 1 else -1


@inner
def turn_words(
    f: Array,
    low: int,
    word: int,
    batch: int,
    batched: int,
    c: Array,
    s: Array,
    sign: float,
) -> None:
    """exp(-i angle/2 W): each word that anticommutes with W turns towards -i W P."""
    run = 1 << 2 * low
    for i in range(0, f.shape[0] // batch, run):
        k = i ^ word
        if k < i:
            continue
        turned = product_sign(word, i)
        if turned == 0:
            continue
        if batched == 0:
            cc, ss = f.dtype.type(c[0]), f.dtype.type(sign * turned * s[0])
            o, e, length = i * batch, k * batch, run * batch
            p, q = f[o : o + length], f[e : e + length]
            for j in range(length):
                x, y = p[j], q[j]
                p[j] = cc * x - ss * y
                q[j] = cc * y + ss * x
        else:
            # Within a run the digits of the word are the same, so are signs.
            for t in range(run):
                o, e = (i + t) * batch, (k + t) * batch
                p, q = f[o : o + batch], f[e : e + batch]
                for j in range(batch):
                    ss = sign * turned * s[j]
                    x, y = p[j], q[j]
                    p[j] = c[j] * x - ss * y
                    q[j] = c[j] * y + ss * x


@inner
def word_cotangent(
    f: Array, g: Array, low: int, word: int, batch: int, v: Array
) -> None:
    """Derivative with respect to the angle of :func:`turn_words`, for each sample.

    State and cotangent are those after the rotation.
    """
    for j in range(batch):
        v[j] = 0.0
    run = 1 << 2 * low
    for i in range(0, f.shape[0] // batch, run):
        k = i ^ word
        if k < i:
            continue
        turned = product_sign(word, i)
        if turned == 0:
            continue
        for t in range(run):
            o, e = (i + t) * batch, (k + t) * batch
            p, q = f[o : o + batch], f[e : e + batch]
            a, b = g[o : o + batch], g[e : e + batch]
            for j in range(batch):
                v[j] += turned * (b[j] * p[j] - a[j] * q[j])


@inner
def local_word(row: int, digits: Array) -> int:
    """The digits of a row at these positions, least significant first."""
    local = 0
    for d in range(digits.shape[0]):
        local |= (row >> 2 * digits[d] & 3) << 2 * d
    return local


@inner
def scale_words(
    f: Array,
    digits: Array,
    which: Array,
    first: int,
    rotations: Array,
    cs: Array,
    batch: int,
    divide: int,
) -> None:
    """Multiply (or divide) each row by the factor of its local word."""
    for i in range(f.shape[0] // batch):
        r = first + which[local_word(i, digits)]
        b = rotations[r, 3]
        for j in range(batch):
            factor = cs[2 * r, b * j]
            if divide:
                factor = 1.0 / factor
            f[i * batch + j] *= factor


@inner
def scale_cotangents(
    f: Array, g: Array, digits: Array, which: Array, batch: int, v: Array
) -> None:
    """Derivative with respect to each factor of :func:`scale_words`.

    ``f`` is the state before the factors, ``g`` the cotangent after them.
    """
    for k in range(v.shape[0]):
        for j in range(batch):
            v[k, j] = 0.0
    for i in range(f.shape[0] // batch):
        k = which[local_word(i, digits)]
        for j in range(batch):
            v[k, j] += f[i * batch + j] * g[i * batch + j]


@inner
def least_factor(
    first: int, last: int, rotations: Array, cs: Array, batch: int
) -> float:
    """The smallest absolute factor over all samples."""
    least = 1.0
    for r in range(first, last):
        for j in range(batch if rotations[r, 3] else 1):
            least = min(least, abs(cs[2 * r, j]))
    return least


@inner
def expectations(
    f: Array, observables: Array, weights: Array, batch: int, out: Array
) -> None:
    """Expectation values as sums of components: out (batch, n_outputs)."""
    for b in range(batch):
        for k in range(out.shape[1]):
            out[b, k] = 0.0
    for t in range(observables.shape[0]):
        k, o = observables[t, 0], observables[t, 1] * batch
        for b in range(batch):
            out[b, k] += weights[t] * f[o + b]


@inner
def start_cotangent(
    g: Array, observables: Array, weights: Array, dy: Array, batch: int
) -> None:
    """The transpose of :func:`expectations`."""
    for i in range(g.shape[0]):
        g[i] = 0.0
    for t in range(observables.shape[0]):
        k, o = observables[t, 0], observables[t, 1] * batch
        for b in range(batch):
            g[o + b] += weights[t] * dy[b, k]
