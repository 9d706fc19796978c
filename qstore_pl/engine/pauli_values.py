"""Transfer matrices, Kraus matrices of values and amplitudes, on mixed states.

Vectors are flat with the batch as the fast axis; the entries of matrices and amplitudes
are slots of the weights or of the features, real parts first. A local matrix has one
lane, or one per sample.
"""

from __future__ import annotations

from qstore_pl.engine.angles import factor
from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.pauli_words import count_bits

TILE = 64  # numbers of a row that a shared matrix takes at a time


@inner
def apply_transfer(
    f: Array, digits: Array, T: Array, lanes: int, transpose: int, batch: int, p: Array
) -> None:
    """Apply a transfer matrix of k wires; p has room for 4**k rows of a tile."""
    k = digits.shape[0]
    side = 1 << 2 * k
    targets, low = 0, digits[0]
    for d in range(k):
        targets |= 3 << 2 * digits[d]
        low = min(low, digits[d])
    # Rows below the lowest digit are neighbours and are taken together, but one by
    # one where each sample has its own matrix.
    run = 1 if lanes > 1 else 1 << 2 * low
    length = run * batch
    tile = batch if lanes > 1 else min(length, TILE)
    for i in range(0, f.shape[0] // batch, run):
        if i & targets != 0:
            continue
        for start in range(0, length, tile):
            width = min(tile, length - start)
            for c in range(side):
                o = i
                for d in range(k):
                    o |= (c >> 2 * d & 3) << 2 * digits[d]
                source = f[o * batch + start : o * batch + start + width]
                q = p[c * tile : c * tile + width]
                for j in range(width):
                    q[j] = source[j]
            for r in range(side):
                o = i
                for d in range(k):
                    o |= (r >> 2 * d & 3) << 2 * digits[d]
                x = f[o * batch + start : o * batch + start + width]
                for j in range(width):
                    x[j] = 0.0
                for c in range(side):
                    at = (c * side + r if transpose else r * side + c) * lanes
                    q = p[c * tile : c * tile + width]
                    if lanes == 1:
                        t = T[at]
                        if t == 0.0:
                            continue
                        for j in range(width):
                            x[j] += t * q[j]
                    else:
                        for j in range(width):
                            x[j] += T[at + j] * q[j]


@inner
def turn_by(re: float, im: float, quarter: int) -> tuple[float, float]:
    """A complex number times i to the power of ``quarter``."""
    quarter &= 3
    if quarter == 0:
        return re, im
    if quarter == 1:
        return -im, re
    if quarter == 2:
        return -re, -im
    return im, -re


@inner
def compress(i: int) -> int:
    """The even bits of a number, moved together."""
    out = 0
    for bit in range(16):
        out |= (i >> 2 * bit & 1) << bit
    return out


@inner
def spread(i: int) -> int:
    """The bits of a number, moved to even places."""
    out = 0
    for bit in range(16):
        out |= (i >> bit & 1) << 2 * bit
    return out


@inner
def fill_transfer(
    k: int,
    n_controls: int,
    value: int,
    kind: int,
    slot: int,
    count: int,
    w: Array,
    X: Array,
    rows: Array,
    lanes: int,
    T: Array,
    p: Array,
) -> None:
    """T[i, j] = Tr(P_i sum_m K_m P_j K_m^dagger) / 2**k from Kraus matrices of values.

    With controls the matrix acts where they hold ``value``, in front of its own wires.
    """
    side, inner_side = 1 << k, 1 << (k - n_controls)
    n_words = side * side
    offset = value * inner_side
    size = inner_side * inner_side
    kr, ki = p[:n_words], p[n_words : 2 * n_words]
    mr, mi = p[2 * n_words : 3 * n_words], p[3 * n_words : 4 * n_words]
    for t in range(n_words * n_words * lanes):
        T[t] = 0.0
    for lane in range(lanes):
        for m in range(count):
            for a in range(side):
                for b in range(side):
                    kr[a * side + b] = 1.0 if a == b else 0.0
                    ki[a * side + b] = 0.0
            for a in range(inner_side):
                for b in range(inner_side):
                    at = slot + m * size + a * inner_side + b
                    o = (a + offset) * side + b + offset
                    kr[o] = factor(kind, at, w, X, rows[lane])
                    ki[o] = factor(kind, at + count * size, w, X, rows[lane])
            for word in range(n_words):
                z = compress(word >> 1)
                x = z ^ compress(word)
                # K P: column b of it is column b ^ x of K times <b ^ x|P|b>.
                for a in range(side):
                    for c in range(side):
                        re, im = 0.0, 0.0
                        for b in range(side):
                            s = 1.0 - 2.0 * (count_bits(z & b) & 1)
                            u, v = (
                                s * kr[a * side + (b ^ x)],
                                s * ki[a * side + (b ^ x)],
                            )
                            re += u * kr[c * side + b] + v * ki[c * side + b]
                            im += v * kr[c * side + b] - u * ki[c * side + b]
                        re, im = turn_by(re, im, count_bits(x & z))
                        mr[a * side + c], mi[a * side + c] = re, im
                for left in range(n_words):
                    z2 = compress(left >> 1)
                    x2 = z2 ^ compress(left)
                    re, im = 0.0, 0.0
                    for a in range(side):  # <a ^ x2|P|a> <a|M|a ^ x2>
                        s = 1.0 - 2.0 * (count_bits(z2 & a) & 1)
                        re += s * mr[a * side + (a ^ x2)]
                        im += s * mi[a * side + (a ^ x2)]
                    re, im = turn_by(re, im, count_bits(x2 & z2))
                    T[(left * n_words + word) * lanes + lane] += re / side


@inner
def transfer_cotangent(
    f: Array, g: Array, digits: Array, lanes: int, transpose: int, batch: int, C: Array
) -> None:
    """C[i, j], the derivative with respect to T[i, j]: row i of g times row j of f.

    ``f`` is the vector before the matrix, ``g`` the cotangent after it.
    """
    k = digits.shape[0]
    side = 1 << 2 * k
    targets = 0
    for d in range(k):
        targets |= 3 << 2 * digits[d]
    C[: side * side * lanes] = 0.0
    for base in range(f.shape[0] // batch):
        if base & targets != 0:
            continue
        for r in range(side):
            o = base
            for d in range(k):
                o |= (r >> 2 * d & 3) << 2 * digits[d]
            x = g[o * batch : o * batch + batch]
            for c in range(side):
                e = base
                for d in range(k):
                    e |= (c >> 2 * d & 3) << 2 * digits[d]
                y = f[e * batch : e * batch + batch]
                at = (c * side + r if transpose else r * side + c) * lanes
                if lanes == 1:
                    total = 0.0
                    for j in range(batch):
                        total += x[j] * y[j]
                    C[at] += total
                else:
                    for j in range(batch):
                        C[at + j] += x[j] * y[j]


@inner
def pull_back_kraus(
    k: int,
    n_controls: int,
    value: int,
    kind: int,
    slot: int,
    count: int,
    w: Array,
    X: Array,
    rows: Array,
    lanes: int,
    C: Array,
    gw: Array,
    gx: Array,
    p: Array,
) -> None:
    """Gradient with respect to the entries of Kraus matrices.

    It is the real and the imaginary part of 2 / 2**k sum of C_ij P_i K P_j.
    """
    side, inner_side = 1 << k, 1 << (k - n_controls)
    n_words = side * side
    offset = value * inner_side
    size = inner_side * inner_side
    kr, ki = p[:n_words], p[n_words : 2 * n_words]
    br, bi = p[2 * n_words : 3 * n_words], p[3 * n_words : 4 * n_words]
    vr, vi = p[4 * n_words : 5 * n_words], p[5 * n_words : 6 * n_words]
    for lane in range(lanes):
        for m in range(count):
            for a in range(side):
                for b in range(side):
                    kr[a * side + b] = 1.0 if a == b else 0.0
                    ki[a * side + b] = 0.0
            for a in range(inner_side):
                for b in range(inner_side):
                    at = slot + m * size + a * inner_side + b
                    o = (a + offset) * side + b + offset
                    kr[o] = factor(kind, at, w, X, rows[lane])
                    ki[o] = factor(kind, at + count * size, w, X, rows[lane])
            vr[:], vi[:] = 0.0, 0.0
            for word in range(n_words):
                # B, the sum over words i of C[i, word] P_i; <a|P|a ^ x> of each.
                br[:], bi[:] = 0.0, 0.0
                for left in range(n_words):
                    c = C[(left * n_words + word) * lanes + lane]
                    if c == 0.0:
                        continue
                    z = compress(left >> 1)
                    x = z ^ compress(left)
                    for a in range(side):
                        s = c * (1.0 - 2.0 * (count_bits(z & (a ^ x)) & 1))
                        re, im = turn_by(s, 0.0, count_bits(x & z))
                        br[a * side + (a ^ x)] += re
                        bi[a * side + (a ^ x)] += im
                # V + B K P: column b of K P is column b ^ x of K times <b ^ x|P|b>.
                z = compress(word >> 1)
                x = z ^ compress(word)
                for b in range(side):
                    s = 1.0 - 2.0 * (count_bits(z & b) & 1)
                    for a in range(side):
                        re, im = 0.0, 0.0
                        for c in range(side):
                            u, v = kr[c * side + (b ^ x)], ki[c * side + (b ^ x)]
                            re += br[a * side + c] * u - bi[a * side + c] * v
                            im += br[a * side + c] * v + bi[a * side + c] * u
                        re, im = turn_by(s * re, s * im, count_bits(x & z))
                        vr[a * side + b] += re
                        vi[a * side + b] += im
            for a in range(inner_side):
                for b in range(inner_side):
                    at = slot + m * size + a * inner_side + b
                    o = (a + offset) * side + b + offset
                    re, im = 2.0 * vr[o] / side, 2.0 * vi[o] / side
                    if kind == 1:
                        gw[at] += re
                        gw[at + count * size] += im
                    else:
                        gx[lane, at] += re
                        gx[lane, at + count * size] += im


@inner
def word_transform(re: Array, im: Array, size: int, batch: int) -> None:
    """Entry i becomes the sum over z of (-1)**(z & i) times entry z, in place."""
    step = 1
    while step < size:
        for i in range(size):
            if i & step:
                continue
            o, e = i * batch, (i + step) * batch
            for j in range(batch):
                a, b = re[o + j], re[e + j]
                re[o + j], re[e + j] = a + b, a - b
                a, b = im[o + j], im[e + j]
                im[o + j], im[e + j] = a + b, a - b
        step *= 2


@inner
def read_amplitudes(
    digits: Array,
    n: int,
    kind: int,
    slot: int,
    is_complex: int,
    w: Array,
    X: Array,
    rows: Array,
    p: Array,
) -> None:
    """Write the amplitudes of all wires into p, shape (2 * 2**n, batch).

    Real parts come first, then imaginary parts.
    """
    batch, size, side = rows.shape[0], 1 << n, 1 << digits.shape[0]
    for j in range(2 * size * batch):
        p[j] = 0.0
    for i in range(side):
        o = 0
        for d in range(digits.shape[0]):
            o |= (i >> d & 1) << digits[d]
        for j in range(batch):
            p[o * batch + j] = factor(kind, slot + i, w, X, rows[j])
            if is_complex:
                at = (size + o) * batch + j
                p[at] = factor(kind, slot + side + i, w, X, rows[j])


@inner
def load_amplitudes(f: Array, n: int, batch: int, p: Array) -> None:
    """Pauli vector of a pure state: for each X mask one transform over Z masks."""
    size = 1 << n
    m = size * batch
    ar, ai, br, bi = p[:m], p[m : 2 * m], p[2 * m : 3 * m], p[3 * m : 4 * m]
    for x in range(size):
        # Tr(P |a><a|) = i**|x & z| sum over i of (-1)**(z & i) a_i conj(a_(i ^ x)).
        for i in range(size):
            o, e = i * batch, (i ^ x) * batch
            for j in range(batch):
                u, v, s, t = ar[o + j], ai[o + j], ar[e + j], ai[e + j]
                br[o + j] = u * s + v * t
                bi[o + j] = v * s - u * t
        word_transform(br, bi, size, batch)
        for z in range(size):
            row = (spread(z) << 1 | spread(x ^ z)) * batch
            for j in range(batch):
                re, _ = turn_by(br[z * batch + j], bi[z * batch + j], count_bits(x & z))
                f[row + j] = re


@inner
def pull_back_amplitudes(
    g: Array,
    digits: Array,
    n: int,
    kind: int,
    slot: int,
    is_complex: int,
    batch: int,
    gw: Array,
    gx: Array,
    p: Array,
) -> None:
    """Gradient with respect to amplitudes: twice an entry of sum over P of g_P P|a>."""
    size, side = 1 << n, 1 << digits.shape[0]
    m = size * batch
    ar, ai, br, bi = p[:m], p[m : 2 * m], p[2 * m : 3 * m], p[3 * m : 4 * m]
    for x in range(size):
        for z in range(size):
            row = (spread(z) << 1 | spread(x ^ z)) * batch
            for j in range(batch):
                re, im = turn_by(g[row + j], 0.0, count_bits(x & z))
                br[z * batch + j], bi[z * batch + j] = re, im
        word_transform(br, bi, size, batch)
        for i in range(side):  # <i|P|i ^ x> has the sign of z & (i ^ x)
            o = 0
            for d in range(digits.shape[0]):
                o |= (i >> d & 1) << digits[d]
            e = (o ^ x) * batch
            for j in range(batch):
                u, v = br[e + j], bi[e + j]
                s, t = ar[e + j], ai[e + j]
                re, im = 2.0 * (u * s - v * t), 2.0 * (u * t + v * s)
                if kind == 1:
                    gw[slot + i] += re
                    if is_complex:
                        gw[slot + side + i] += im
                elif gx.shape[0] > 0:
                    gx[j, slot + i] += re
                    if is_complex:
                        gx[j, slot + side + i] += im
