"""The compiled pure-state kernels: forward run and vector-Jacobian product.

One interpreter walks the instructions of a Program over a chunk of samples. States are
``(2**n, batch)`` with real and imaginary parts apart; batch is the fast axis, so every
inner loop has unit stride. Bit ``q`` of an index has stride ``2**q * batch``. The
derivation of the backward pass is in ``adjoint.md``. This module knows only arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qstore_pl.engine.compile import (
    F1,
    F1_IN,
    F2,
    F2_IN,
    I1_IN,
    I8,
    T1_IN,
    T2_IN,
    Kernel,
    inner,
)
from qstore_pl.engine.fusion import (
    AMPLITUDES,
    BATCHED,
    BLOCK,
    DIAGONAL,
    FACTOR,
    MATRIX,
    PAULI,
    PERMUTE,
)

Array = Any  # numba types the kernels by their signature, not by annotations


COS_EIGHTH = np.array([1, 0.5**0.5, 0, -(0.5**0.5), -1, -(0.5**0.5), 0, 0.5**0.5])


@inner
def parity_sign(index: int, mask: int) -> float:
    """(-1) to the number of common one bits."""
    z = index & mask
    z ^= z >> 16
    z ^= z >> 8
    z ^= z >> 4
    z ^= z >> 2
    z ^= z >> 1
    return 1.0 - 2.0 * (z & 1)


@inner
def word_phase(y_mask: int) -> tuple[float, float]:
    """Real and imaginary part of i to the number of letters Y."""
    n_y = 0
    while y_mask:
        n_y += 1
        y_mask &= y_mask - 1
    return COS_EIGHTH[2 * n_y % 8], COS_EIGHTH[(2 * n_y + 6) % 8]


@inner
def factor(kind: int, slot: int, w: Array, X: Array, row: int) -> float:
    """Value of one factor of an angle's term."""
    if kind == 1:
        return w[slot]
    if kind == 2:
        return X[row, slot]
    return 1.0


@inner
def unpack(sizes: Array, ints: Array, floats: Array) -> Any:
    """The tables of a circuit as views, in the order of :data:`fusion.INTS`."""
    n, n_blocks, n_angles, n_terms = sizes[0], sizes[1], sizes[2], sizes[3]
    n_words, n_wires, n_tables = sizes[4], sizes[5], sizes[6]
    at = 0
    code = ints[at : at + 8 * n_blocks].reshape(n_blocks, 8)
    at += 8 * n_blocks
    rotations = ints[at : at + 4 * n_angles].reshape(n_angles, 4)
    at += 4 * n_angles
    terms = ints[at : at + 4 * n_terms].reshape(n_terms, 4)
    at += 4 * n_terms
    observables = ints[at : at + 3 * n_words].reshape(n_words, 3)
    at += 3 * n_words
    wires = ints[at : at + n_wires]
    at += n_wires
    side = 1 << n
    tables = ints[at : at + n_tables * side].reshape(n_tables, side)
    at += n_tables * side
    # Without a phase anywhere there are no rows to read.
    n_phased = n_tables if ints.shape[0] > at else 0
    phases = ints[at : at + n_phased * side].reshape(n_phased, side)
    constants = floats[:n_angles]
    coefficients = floats[n_angles : n_angles + n_terms]
    weights_of_terms = floats[n_angles + n_terms :]
    return (
        n, code, rotations, terms, observables, wires, tables, phases, constants,
        coefficients, weights_of_terms,
    )  # fmt: skip


@inner
def fill_angles(
    rotations: Array,
    constants: Array,
    terms: Array,
    coefficients: Array,
    w: Array,
    X: Array,
    rows: Array,
    cs: Array,
) -> None:
    """Cosine and sine of every half angle: cs (2 n_angles, batch), column 0 if shared."""
    batch = rows.shape[0]
    for r in range(rotations.shape[0]):
        first, last = rotations[r, 1], rotations[r, 2]
        if rotations[r, 3] == 0:
            angle = constants[r]
            for t in range(first, last):
                angle += (
                    coefficients[t]
                    * factor(terms[t, 0], terms[t, 1], w, X, 0)
                    * factor(terms[t, 2], terms[t, 3], w, X, 0)
                )
            cs[2 * r, 0] = np.cos(0.5 * angle)
            cs[2 * r + 1, 0] = np.sin(0.5 * angle)
        else:
            c, s = cs[2 * r], cs[2 * r + 1]
            for b in range(batch):
                c[b] = constants[r]
            for t in range(first, last):
                ka, ia, kb, ib = terms[t, 0], terms[t, 1], terms[t, 2], terms[t, 3]
                scale = coefficients[t]
                if ka == 1:
                    scale *= w[ia]
                if kb == 1:
                    scale *= w[ib]
                if ka == 2 and kb == 2:
                    for b in range(batch):
                        c[b] += scale * X[rows[b], ia] * X[rows[b], ib]
                elif ka == 2 or kb == 2:
                    column = ia if ka == 2 else ib
                    for b in range(batch):
                        c[b] += scale * X[rows[b], column]
                else:
                    for b in range(batch):
                        c[b] += scale
            for b in range(batch):
                half = 0.5 * c[b]
                c[b] = np.cos(half)
                s[b] = np.sin(half)


@inner
def shared_su2(rotations: Array, first: int, last: int, cs: Array, u: Array) -> None:
    """First column (a, b) of [[a, -b*], [b, a*]], the product of shared rotations."""
    ar, ai, br, bi = 1.0, 0.0, 0.0, 0.0
    for r in range(first, last):
        c, s = cs[2 * r, 0], cs[2 * r + 1, 0]
        axis = rotations[r, 0]
        if axis == 0:
            ar, ai, br, bi = (
                c * ar + s * bi,
                c * ai - s * br,
                c * br + s * ai,
                c * bi - s * ar,
            )
        elif axis == 1:
            ar, ai, br, bi = (
                c * ar - s * br,
                c * ai - s * bi,
                s * ar + c * br,
                s * ai + c * bi,
            )
        else:
            ar, ai, br, bi = (
                c * ar + s * ai,
                c * ai - s * ar,
                c * br - s * bi,
                c * bi + s * br,
            )
    u[0], u[1], u[2], u[3] = ar, ai, br, bi


@inner
def batched_su2(
    rotations: Array, first: int, last: int, batch: int, cs: Array, u: Array
) -> None:
    """As :func:`shared_su2` for every sample: u (4, batch)."""
    ar, ai, br, bi = u[0], u[1], u[2], u[3]
    for j in range(batch):
        ar[j], ai[j], br[j], bi[j] = 1.0, 0.0, 0.0, 0.0
    for r in range(first, last):
        c, s = cs[2 * r], cs[2 * r + 1]
        if rotations[r, 3] == 0:
            c0, s0 = c[0], s[0]
            for j in range(batch):
                c[j] = c0
                s[j] = s0
        axis = rotations[r, 0]
        if axis == 0:
            for j in range(batch):
                p, q, x, y = ar[j], ai[j], br[j], bi[j]
                ar[j] = c[j] * p + s[j] * y
                ai[j] = c[j] * q - s[j] * x
                br[j] = c[j] * x + s[j] * q
                bi[j] = c[j] * y - s[j] * p
        elif axis == 1:
            for j in range(batch):
                p, q, x, y = ar[j], ai[j], br[j], bi[j]
                ar[j] = c[j] * p - s[j] * x
                ai[j] = c[j] * q - s[j] * y
                br[j] = s[j] * p + c[j] * x
                bi[j] = s[j] * q + c[j] * y
        else:
            for j in range(batch):
                p, q, x, y = ar[j], ai[j], br[j], bi[j]
                ar[j] = c[j] * p + s[j] * q
                ai[j] = c[j] * q - s[j] * p
                br[j] = c[j] * x - s[j] * y
                bi[j] = c[j] * y + s[j] * x


@inner
def apply_block(fr: Array, fi: Array, stride: int, u: Array) -> None:
    """One shared 2x2 block on the bit with this stride (in numbers, batch included)."""
    ar, ai, br, bi = u[0], u[1], u[2], u[3]
    for k in range(fr.shape[0] // (2 * stride)):
        o = k * 2 * stride
        p, pi = fr[o : o + stride], fi[o : o + stride]
        q, qi = fr[o + stride : o + 2 * stride], fi[o + stride : o + 2 * stride]
        for j in range(stride):
            x, xi, y, yi = p[j], pi[j], q[j], qi[j]
            p[j] = ar * x - ai * xi - br * y - bi * yi
            pi[j] = ar * xi + ai * x - br * yi + bi * y
            q[j] = br * x - bi * xi + ar * y + ai * yi
            qi[j] = br * xi + bi * x + ar * yi - ai * y


@inner
def apply_batched(
    fr: Array, fi: Array, bit: int, batch: int, u: Array, sign: float
) -> None:
    """A 2x2 block per sample; ``sign`` -1 applies the inverse."""
    ar, ai, br, bi = u[0], u[1], u[2], u[3]
    rows = 1 << bit
    for k in range(fr.shape[0] // (2 * rows * batch)):
        for t in range(rows):
            o = (2 * k * rows + t) * batch
            o2 = o + rows * batch
            p, pi = fr[o : o + batch], fi[o : o + batch]
            q, qi = fr[o2 : o2 + batch], fi[o2 : o2 + batch]
            for j in range(batch):
                a, c, d, e = ar[j], sign * ai[j], sign * br[j], sign * bi[j]
                x, xi, y, yi = p[j], pi[j], q[j], qi[j]
                p[j] = a * x - c * xi - d * y - e * yi
                pi[j] = a * xi + c * x - d * yi + e * y
                q[j] = d * x - e * xi + a * y + c * yi
                qi[j] = d * xi + e * x + a * yi - c * y


@inner
def undo_block(
    kr: Array, ki: Array, lr: Array, li: Array, stride: int, u: Array, undo: bool
) -> tuple[float, float, float]:
    """Im<bra|P|ket> for P = X, Y, Z on one wire, then the inverse block on both."""
    ar, ai, br, bi = u[0], -u[1], -u[2], -u[3]
    x = y = z = 0.0
    for k in range(kr.shape[0] // (2 * stride)):
        o = k * 2 * stride
        e = o + stride
        p, pi, q, qi = kr[o:e], ki[o:e], kr[e : e + stride], ki[e : e + stride]
        l, li_, m, mi = lr[o:e], li[o:e], lr[e : e + stride], li[e : e + stride]
        if undo:
            for j in range(stride):
                p0, p0i, p1, p1i = p[j], pi[j], q[j], qi[j]
                l0, l0i, l1, l1i = l[j], li_[j], m[j], mi[j]
                x += l0 * p1i - l0i * p1 + l1 * p0i - l1i * p0
                y += -(l0 * p1 + l0i * p1i) + (l1 * p0 + l1i * p0i)
                z += l0 * p0i - l0i * p0 - (l1 * p1i - l1i * p1)
                p[j] = ar * p0 - ai * p0i - br * p1 - bi * p1i
                pi[j] = ar * p0i + ai * p0 - br * p1i + bi * p1
                q[j] = br * p0 - bi * p0i + ar * p1 + ai * p1i
                qi[j] = br * p0i + bi * p0 + ar * p1i - ai * p1
                l[j] = ar * l0 - ai * l0i - br * l1 - bi * l1i
                li_[j] = ar * l0i + ai * l0 - br * l1i + bi * l1
                m[j] = br * l0 - bi * l0i + ar * l1 + ai * l1i
                mi[j] = br * l0i + bi * l0 + ar * l1i - ai * l1
        else:
            for j in range(stride):
                p0, p0i, p1, p1i = p[j], pi[j], q[j], qi[j]
                l0, l0i, l1, l1i = l[j], li_[j], m[j], mi[j]
                x += l0 * p1i - l0i * p1 + l1 * p0i - l1i * p0
                y += -(l0 * p1 + l0i * p1i) + (l1 * p0 + l1i * p0i)
                z += l0 * p0i - l0i * p0 - (l1 * p1i - l1i * p1)
    return x, y, z


@inner
def batched_bloch(
    kr: Array, ki: Array, lr: Array, li: Array, bit: int, batch: int, v: Array
) -> None:
    """Im<bra|P|ket> for P = X, Y, Z on one wire, per sample: v (3, batch)."""
    x, y, z = v[0], v[1], v[2]
    for j in range(batch):
        x[j], y[j], z[j] = 0.0, 0.0, 0.0
    rows = 1 << bit
    for k in range(kr.shape[0] // (2 * rows * batch)):
        for t in range(rows):
            o = (2 * k * rows + t) * batch
            o2 = o + rows * batch
            p, pi, q, qi = (
                kr[o : o + batch],
                ki[o : o + batch],
                kr[o2 : o2 + batch],
                ki[o2 : o2 + batch],
            )
            l, li_, m, mi = (
                lr[o : o + batch],
                li[o : o + batch],
                lr[o2 : o2 + batch],
                li[o2 : o2 + batch],
            )
            for j in range(batch):
                p0, p0i, p1, p1i = p[j], pi[j], q[j], qi[j]
                l0, l0i, l1, l1i = l[j], li_[j], m[j], mi[j]
                x[j] += l0 * p1i - l0i * p1 + l1 * p0i - l1i * p0
                y[j] += -(l0 * p1 + l0i * p1i) + (l1 * p0 + l1i * p0i)
                z[j] += l0 * p0i - l0i * p0 - (l1 * p1i - l1i * p1)


@inner
def gather(
    dr: Array, di: Array, sr: Array, si: Array, table: Array, batch: int
) -> None:
    """Row i of the destination is row table[i] of the source."""
    if batch == 1:
        for i in range(table.shape[0]):
            j = table[i]
            dr[i] = sr[j]
            di[i] = si[j]
    else:
        for i in range(table.shape[0]):
            j, o = table[i] * batch, i * batch
            a, b = dr[o : o + batch], di[o : o + batch]
            c, d = sr[j : j + batch], si[j : j + batch]
            for k in range(batch):
                a[k] = c[k]
                b[k] = d[k]


@inner
def turn_rows(fr: Array, fi: Array, eighths: Array, batch: int) -> None:
    """Multiply row i by exp(i pi eighths[i] / 4)."""
    for i in range(eighths.shape[0]):
        if eighths[i] == 0:
            continue
        c, s = COS_EIGHTH[eighths[i]], COS_EIGHTH[(eighths[i] + 6) % 8]
        o = i * batch
        x, y = fr[o : o + batch], fi[o : o + batch]
        for j in range(batch):
            p, q = x[j], y[j]
            x[j] = c * p - s * q
            y[j] = c * q + s * p


@inner
def apply_diagonal(
    fr: Array,
    fi: Array,
    low: int,
    z: int,
    controls: int,
    values: int,
    batch: int,
    batched: int,
    c: Array,
    s: Array,
    sign: float,
) -> None:
    """exp(-i angle/2 Z) where the controls hold; runs of 2**low rows share one sign."""
    run = 1 << low
    for i in range(0, fr.shape[0] // batch, run):
        if i & controls != values:
            continue
        turn = -sign * parity_sign(i, z)
        if batched == 0:
            cc, ss = c[0], turn * s[0]
            o, e = i * batch, (i + run) * batch
            x, y = fr[o:e], fi[o:e]
            for j in range(run * batch):
                p, q = x[j], y[j]
                x[j] = cc * p - ss * q
                y[j] = cc * q + ss * p
        else:
            for t in range(run):
                o = (i + t) * batch
                x, y = fr[o : o + batch], fi[o : o + batch]
                for j in range(batch):
                    p, q = x[j], y[j]
                    x[j] = c[j] * p - turn * s[j] * q
                    y[j] = c[j] * q + turn * s[j] * p


@inner
def apply_pauli(
    fr: Array,
    fi: Array,
    low: int,
    x: int,
    z: int,
    controls: int,
    values: int,
    batch: int,
    batched: int,
    c: Array,
    s: Array,
    sign: float,
) -> None:
    """exp(-i angle/2 P) with P = i^|x&z| X^x Z^z, pairs (i, i ^ x) in place."""
    run = 1 << low
    top = x
    while top & (top - 1):
        top &= top - 1
    re, im = word_phase(x & z)
    kr, ki = im, -re  # -i times the word's phase
    for i in range(0, fr.shape[0] // batch, run):
        if i & top != 0 or i & controls != values:
            continue
        k = i ^ x
        si, sk = sign * parity_sign(i, z), sign * parity_sign(k, z)
        # A run of rows lies below every bit of x, so its partner is contiguous as well.
        if batched == 0:
            o, e, stride = i * batch, k * batch, run * batch
            cc, ck, ci = c[0], s[0] * sk, s[0] * si
            p, pi = fr[o : o + stride], fi[o : o + stride]
            q, qi = fr[e : e + stride], fi[e : e + stride]
            for j in range(stride):
                a0, a1, b0, b1 = p[j], pi[j], q[j], qi[j]
                p[j] = cc * a0 + ck * (kr * b0 - ki * b1)
                pi[j] = cc * a1 + ck * (kr * b1 + ki * b0)
                q[j] = cc * b0 + ci * (kr * a0 - ki * a1)
                qi[j] = cc * b1 + ci * (kr * a1 + ki * a0)
        else:
            for t in range(run):
                o, e = (i + t) * batch, (k + t) * batch
                p, pi = fr[o : o + batch], fi[o : o + batch]
                q, qi = fr[e : e + batch], fi[e : e + batch]
                for j in range(batch):
                    a0, a1, b0, b1 = p[j], pi[j], q[j], qi[j]
                    p[j] = c[j] * a0 + s[j] * sk * (kr * b0 - ki * b1)
                    pi[j] = c[j] * a1 + s[j] * sk * (kr * b1 + ki * b0)
                    q[j] = c[j] * b0 + s[j] * si * (kr * a0 - ki * a1)
                    qi[j] = c[j] * b1 + s[j] * si * (kr * a1 + ki * a0)


@inner
def pauli_bloch(
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    x: int,
    z: int,
    controls: int,
    values: int,
    batch: int,
    v: Array,
) -> None:
    """Im<bra|P|ket> where the controls hold, per sample: v (batch,)."""
    re, im = word_phase(x & z)
    for j in range(batch):
        v[j] = 0.0
    for i in range(kr.shape[0] // batch):
        if i & controls != values:
            continue
        k = i ^ x
        sign = parity_sign(k, z)
        o, e = i * batch, k * batch
        p, pi = kr[e : e + batch], ki[e : e + batch]
        l, li_ = lr[o : o + batch], li[o : o + batch]
        for j in range(batch):
            # Im(conj(l) (re + i im) p)
            real = l[j] * p[j] + li_[j] * pi[j]
            imag = l[j] * pi[j] - li_[j] * p[j]
            v[j] += sign * (re * imag + im * real)


@inner
def apply_matrix(
    fr: Array,
    fi: Array,
    bits: Array,
    controls: int,
    values: int,
    kind: int,
    slot: int,
    inverse: bool,
    w: Array,
    X: Array,
    rows: Array,
    scratch: Array,
) -> None:
    """A k-qubit matrix of values; scratch holds 2 * 2**k rows of batch numbers."""
    batch = rows.shape[0]
    side = 1 << bits.shape[0]
    targets = 0
    for b in range(bits.shape[0]):
        targets |= 1 << bits[b]
    for i in range(fr.shape[0] // batch):
        if i & targets != 0 or i & controls != values:
            continue
        for r in range(side):
            o = i
            for b in range(bits.shape[0]):
                o |= ((r >> b) & 1) << bits[b]
            for j in range(batch):
                scratch[2 * r * batch + j] = fr[o * batch + j]
                scratch[(2 * r + 1) * batch + j] = fi[o * batch + j]
        for r in range(side):
            o = i
            for b in range(bits.shape[0]):
                o |= ((r >> b) & 1) << bits[b]
            x, y = fr[o * batch : o * batch + batch], fi[o * batch : o * batch + batch]
            for j in range(batch):
                x[j] = 0.0
                y[j] = 0.0
            for c in range(side):
                entry = slot + (c * side + r if inverse else r * side + c)
                for j in range(batch):
                    re = factor(kind, entry, w, X, rows[j])
                    im = factor(kind, entry + side * side, w, X, rows[j])
                    if inverse:
                        im = -im
                    p = scratch[2 * c * batch + j]
                    q = scratch[(2 * c + 1) * batch + j]
                    x[j] += re * p - im * q
                    y[j] += re * q + im * p


@inner
def add_shared(
    r: int,
    g: float,
    rotations: Array,
    terms: Array,
    coefficients: Array,
    w: Array,
    X: Array,
    gw: Array,
) -> None:
    """Chain rule from a shared angle to the weights."""
    for t in range(rotations[r, 1], rotations[r, 2]):
        ka, ia, kb, ib = terms[t, 0], terms[t, 1], terms[t, 2], terms[t, 3]
        gc = g * coefficients[t]
        if ka == 1:
            gw[ia] += gc * factor(kb, ib, w, X, 0)
        if kb == 1:
            gw[ib] += gc * factor(ka, ia, w, X, 0)


@inner
def add_batched(
    r: int,
    v: Array,
    rotations: Array,
    terms: Array,
    coefficients: Array,
    w: Array,
    X: Array,
    rows: Array,
    gw: Array,
    gx: Array,
) -> None:
    """Chain rule from an angle per sample to the weights and features."""
    for t in range(rotations[r, 1], rotations[r, 2]):
        for side in range(2):
            k, slot = terms[t, 2 * side], terms[t, 2 * side + 1]
            other, column = terms[t, 2 - 2 * side], terms[t, 3 - 2 * side]
            scale = coefficients[t] * (w[column] if other == 1 else 1.0)
            if k == 1:
                total = 0.0
                if other == 2:
                    for j in range(rows.shape[0]):
                        total += v[j] * X[rows[j], column]
                else:
                    for j in range(rows.shape[0]):
                        total += v[j]
                gw[slot] += scale * total
            elif k == 2 and gx.shape[0] > 0:
                if other == 2:
                    for j in range(rows.shape[0]):
                        gx[j, slot] += scale * v[j] * X[rows[j], column]
                else:
                    for j in range(rows.shape[0]):
                        gx[j, slot] += scale * v[j]


@inner
def expectations(
    fr: Array,
    fi: Array,
    observables: Array,
    weights_of_terms: Array,
    batch: int,
    general: bool,
    p: Array,
    out: Array,
) -> None:
    """Expectation values of Pauli sums: out (batch, n_outputs)."""
    for b in range(batch):
        for k in range(out.shape[1]):
            out[b, k] = 0.0
    n_terms = observables.shape[0]
    for t in range(n_terms * batch):
        p[batch + t] = 0.0
    for i in range(fr.shape[0] // batch):
        o = i * batch
        x, y = fr[o : o + batch], fi[o : o + batch]
        for b in range(batch):
            p[b] = x[b] * x[b] + y[b] * y[b]
        for t in range(n_terms):
            sign = parity_sign(i, observables[t, 2])
            a = p[(t + 1) * batch : (t + 2) * batch]
            for b in range(batch):
                a[b] += sign * p[b]
    for t in range(n_terms):
        k, a = observables[t, 0], p[(t + 1) * batch : (t + 2) * batch]
        if general:
            if observables[t, 1] != 0:
                pauli_expectation(
                    fr, fi, observables[t, 1], observables[t, 2], batch, a
                )
        for b in range(batch):
            out[b, k] += weights_of_terms[t] * a[b]


@inner
def pauli_expectation(
    fr: Array, fi: Array, x: int, z: int, batch: int, v: Array
) -> None:
    """<psi|P|psi> per sample: v (batch,)."""
    re, im = word_phase(x & z)
    for j in range(batch):
        v[j] = 0.0
    for i in range(fr.shape[0] // batch):
        k = i ^ x
        sign = parity_sign(k, z)
        o, e = i * batch, k * batch
        for j in range(batch):
            a, b, c, d = fr[o + j], fi[o + j], fr[e + j], fi[e + j]
            v[j] += sign * (re * (a * c + b * d) - im * (a * d - b * c))


@inner
def start_bra(
    fr: Array,
    fi: Array,
    lr: Array,
    li: Array,
    observables: Array,
    weights_of_terms: Array,
    dy: Array,
    batch: int,
    general: bool,
    p: Array,
) -> None:
    """The bra sum_k dy_k O_k |psi>."""
    n_terms = observables.shape[0]
    for t in range(n_terms):
        a = p[(t + 1) * batch : (t + 2) * batch]
        for b in range(batch):
            a[b] = weights_of_terms[t] * dy[b, observables[t, 0]]
    for i in range(fr.shape[0] // batch):
        o = i * batch
        l, li_ = lr[o : o + batch], li[o : o + batch]
        for b in range(batch):
            p[b] = 0.0
            l[b] = 0.0
            li_[b] = 0.0
        for t in range(n_terms):
            x, z = observables[t, 1], observables[t, 2]
            a = p[(t + 1) * batch : (t + 2) * batch]
            if general and x != 0:
                re, im = word_phase(x & z)
                k = i ^ x
                sign = parity_sign(k, z)
                for b in range(batch):
                    c, d = fr[k * batch + b], fi[k * batch + b]
                    l[b] += sign * a[b] * (re * c - im * d)
                    li_[b] += sign * a[b] * (re * d + im * c)
            else:
                sign = parity_sign(i, z)
                for b in range(batch):
                    p[b] += sign * a[b]
        x_, y_ = fr[o : o + batch], fi[o : o + batch]
        for b in range(batch):
            l[b] += p[b] * x_[b]
            li_[b] += p[b] * y_[b]


@inner
def load_amplitudes(
    kr: Array,
    ki: Array,
    bits: Array,
    kind: int,
    slot: int,
    is_complex: int,
    w: Array,
    X: Array,
    rows: Array,
) -> None:
    """The initial state from values on some wires, zero elsewhere."""
    batch = rows.shape[0]
    side = 1 << bits.shape[0]
    for j in range(kr.shape[0]):
        kr[j] = 0.0
        ki[j] = 0.0
    for r in range(side):
        o = 0
        for b in range(bits.shape[0]):
            o |= ((r >> b) & 1) << bits[b]
        for j in range(batch):
            kr[o * batch + j] = factor(kind, slot + r, w, X, rows[j])
            if is_complex:
                ki[o * batch + j] = factor(kind, slot + side + r, w, X, rows[j])


def _make_forward(general: bool) -> Any:  # noqa: FBT001
    def forward(sizes, ints, floats, w, X, rows, ws, out):
        (
            n, code, rotations, terms, observables, wires, tables, phases, constants,
            coefficients, weights_of_terms,
        ) = unpack(sizes, ints, floats)  # fmt: skip
        batch = rows.shape[0]
        D = 1 << n
        N = D * batch
        kr, ki, tr, ti = ws[0:N], ws[N : 2 * N], ws[2 * N : 3 * N], ws[3 * N : 4 * N]
        R, M = rotations.shape[0], code.shape[0]
        at = 6 * N
        cs = ws[at : at + 2 * R * batch].reshape(2 * R, batch)
        at += 2 * R * batch
        us = ws[at : at + 4 * M * batch].reshape(M, 4 * batch)
        at += 4 * M * batch
        p = ws[at:]
        fill_angles(rotations, constants, terms, coefficients, w, X, rows, cs)
        size = 1
        for b in range(batch):
            kr[b] = 1.0
            ki[b] = 0.0
        for m in range(M):
            op, bit, r0, r1 = code[m, 0], code[m, 1], code[m, 2], code[m, 3]
            if op == FACTOR:
                u = us[m].reshape(4, batch)
                batched_su2(rotations, r0, r1, batch, cs, u)
                a, ai, c, ci = u[0], u[1], u[2], u[3]
                for t in range(size - 1, -1, -1):
                    o, e = t * batch, 2 * t * batch
                    x, xi = kr[o : o + batch], ki[o : o + batch]
                    y0, y0i = kr[e : e + batch], ki[e : e + batch]
                    y1 = kr[e + batch : e + 2 * batch]
                    y1i = ki[e + batch : e + 2 * batch]
                    for b in range(batch):
                        v, vi = x[b], xi[b]
                        y1[b] = c[b] * v - ci[b] * vi
                        y1i[b] = c[b] * vi + ci[b] * v
                        y0[b] = a[b] * v - ai[b] * vi
                        y0i[b] = a[b] * vi + ai[b] * v
                size *= 2
            elif op == BLOCK:
                shared_su2(rotations, r0, r1, cs, us[m])
                apply_block(kr, ki, (1 << bit) * batch, us[m])
            elif op == BATCHED:
                u = us[m].reshape(4, batch)
                batched_su2(rotations, r0, r1, batch, cs, u)
                apply_batched(kr, ki, bit, batch, u, 1.0)
            elif op == PERMUTE:
                gather(tr, ti, kr, ki, tables[2 * bit], batch)
                kr, tr = tr, kr
                ki, ti = ti, ki
                if general:
                    if r0 == 1:
                        turn_rows(kr, ki, phases[2 * bit], batch)
            elif general:
                x, z, on, value = code[m, 4], code[m, 5], code[m, 6], code[m, 7]
                if op == DIAGONAL:
                    c, s = cs[2 * r0], cs[2 * r0 + 1]
                    apply_diagonal(kr, ki, bit, z, on, value, batch, r1, c, s, 1.0)
                elif op == PAULI:
                    c, s = cs[2 * r0], cs[2 * r0 + 1]
                    apply_pauli(kr, ki, bit, x, z, on, value, batch, r1, c, s, 1.0)
                elif op == MATRIX:
                    apply_matrix(
                        kr, ki, wires[bit : bit + x], on, value, r0, z, r1 == 1, w, X,
                        rows, p,
                    )  # fmt: skip
                elif op == AMPLITUDES:
                    load_amplitudes(kr, ki, wires[bit : bit + x], r0, z, r1, w, X, rows)
        expectations(kr, ki, observables, weights_of_terms, batch, general, p, out)

    return forward


def _make_backward(general: bool) -> Any:  # noqa: FBT001
    def backward(sizes, ints, floats, w, X, rows, ws, dy, stop, swapped, gw, gx):
        (
            n, code, rotations, terms, observables, wires, tables, phases, constants,
            coefficients, weights_of_terms,
        ) = unpack(sizes, ints, floats)  # fmt: skip
        batch = rows.shape[0]
        D = 1 << n
        N = D * batch
        k0 = 2 * N * swapped
        t0 = 2 * N - k0
        kr, ki, tr, ti = (
            ws[k0 : k0 + N],
            ws[k0 + N : k0 + 2 * N],
            ws[t0 : t0 + N],
            ws[t0 + N : t0 + 2 * N],
        )
        lr, li = ws[4 * N : 5 * N], ws[5 * N : 6 * N]
        R, M = rotations.shape[0], code.shape[0]
        at = 6 * N
        cs = ws[at : at + 2 * R * batch].reshape(2 * R, batch)
        at += 2 * R * batch
        us = ws[at : at + 4 * M * batch].reshape(M, 4 * batch)
        at += 4 * M * batch
        p = ws[at:]
        v = ws[at : at + 3 * batch].reshape(3, batch)
        for i in range(gw.shape[0]):
            gw[i] = 0.0
        for b in range(gx.shape[0]):
            for f in range(gx.shape[1]):
                gx[b, f] = 0.0
        if dy.shape[0] > 0:  # else the caller has written the bra
            start_bra(
                kr, ki, lr, li, observables, weights_of_terms, dy, batch, general, p
            )
        for m in range(M - 1, stop - 1, -1):
            op, bit, r0, r1 = code[m, 0], code[m, 1], code[m, 2], code[m, 3]
            if op == BLOCK or op == FACTOR or op == BATCHED:
                split, head = code[m, 4], code[m, 5] == 1 or gx.shape[0] > 0
                undo = op == BLOCK and m > stop
                if split < r1:
                    # Rotations all samples share see the sum over samples only.
                    x, y, z = undo_block(
                        kr, ki, lr, li, (1 << bit) * batch, us[m], undo
                    )
                for r in range(r1 - 1, split - 1, -1):
                    axis = rotations[r, 0]
                    g = x if axis == 0 else (y if axis == 1 else z)
                    add_shared(r, g, rotations, terms, coefficients, w, X, gw)
                    c, s = cs[2 * r, 0], cs[2 * r + 1, 0]
                    c, s = c * c - s * s, 2.0 * c * s
                    if axis == 0:
                        y, z = c * y + s * z, c * z - s * y
                    elif axis == 1:
                        z, x = c * z + s * x, c * x - s * z
                    else:
                        x, y = c * x + s * y, c * y - s * x
                if split > r0 and head:
                    batched_bloch(kr, ki, lr, li, bit, batch, v)
                    for r in range(r1 - 1, r0 - 1, -1):
                        axis = rotations[r, 0]
                        if r < split:
                            add_batched(
                                r, v[axis], rotations, terms, coefficients, w, X, rows,
                                gw, gx,
                            )  # fmt: skip
                        a, d = v[(axis + 1) % 3], v[(axis + 2) % 3]
                        ch, sh = cs[2 * r], cs[2 * r + 1]
                        for b in range(batch):
                            c = ch[b] * ch[b] - sh[b] * sh[b]
                            s = 2.0 * ch[b] * sh[b]
                            y_, z_ = a[b], d[b]
                            a[b] = c * y_ + s * z_
                            d[b] = c * z_ - s * y_
                if op == BATCHED and m > stop:
                    u = us[m].reshape(4, batch)
                    apply_batched(kr, ki, bit, batch, u, -1.0)
                    apply_batched(lr, li, bit, batch, u, -1.0)
            elif op == PERMUTE:
                if general:
                    if r0 == 1:
                        gather(tr, ti, kr, ki, tables[2 * bit + 1], batch)
                        turn_rows(tr, ti, phases[2 * bit + 1], batch)
                        kr, tr = tr, kr
                        ki, ti = ti, ki
                        gather(tr, ti, lr, li, tables[2 * bit + 1], batch)
                        turn_rows(tr, ti, phases[2 * bit + 1], batch)
                        lr, tr = tr, lr
                        li, ti = ti, li
                        continue
                gather(tr, ti, kr, ki, tables[2 * bit + 1], batch)
                kr, tr = tr, kr
                ki, ti = ti, ki
                gather(tr, ti, lr, li, tables[2 * bit + 1], batch)
                lr, tr = tr, lr
                li, ti = ti, li
            elif general:
                x, z, on, value = code[m, 4], code[m, 5], code[m, 6], code[m, 7]
                if op == DIAGONAL or op == PAULI:
                    c, s = cs[2 * r0], cs[2 * r0 + 1]
                    pauli_bloch(kr, ki, lr, li, x, z, on, value, batch, v[0])
                    if r1 == 1:
                        add_batched(
                            r0, v[0], rotations, terms, coefficients, w, X, rows, gw, gx
                        )
                    else:
                        g = 0.0
                        for b in range(batch):
                            g += v[0, b]
                        add_shared(r0, g, rotations, terms, coefficients, w, X, gw)
                    if m > stop:
                        if op == DIAGONAL:
                            apply_diagonal(
                                kr, ki, bit, z, on, value, batch, r1, c, s, -1.0
                            )
                            apply_diagonal(
                                lr, li, bit, z, on, value, batch, r1, c, s, -1.0
                            )
                        else:
                            apply_pauli(
                                kr, ki, bit, x, z, on, value, batch, r1, c, s, -1.0
                            )
                            apply_pauli(
                                lr, li, bit, x, z, on, value, batch, r1, c, s, -1.0
                            )
                elif op == MATRIX:
                    bits = wires[bit : bit + x]
                    apply_matrix(kr, ki, bits, on, value, r0, z, r1 == 0, w, X, rows, p)
                    apply_matrix(lr, li, bits, on, value, r0, z, r1 == 0, w, X, rows, p)
                elif op == AMPLITUDES:
                    bits = wires[bit : bit + x]
                    side = 1 << x
                    for r in range(side):
                        o = 0
                        for b in range(x):
                            o |= ((r >> b) & 1) << bits[b]
                        for j in range(batch):
                            g, gi = 2.0 * lr[o * batch + j], 2.0 * li[o * batch + j]
                            if r0 == 1:
                                gw[z + r] += g
                                if r1 == 1:
                                    gw[z + side + r] += gi
                            elif gx.shape[0] > 0:
                                gx[j, z + r] += g
                                if r1 == 1:
                                    gx[j, z + side + r] += gi

    return backward


_TABLES = (I1_IN, T1_IN, F1_IN)
_VALUES = (F1_IN, F2_IN, I1_IN)
_FORWARD = (*_TABLES, *_VALUES, F1, F2)
_BACKWARD = (*_TABLES, *_VALUES, F1, F2_IN, I8, I8, F1, F2)


def _variant(make: Any, name: str, signature: tuple[Any, ...], general: bool) -> Kernel:  # noqa: FBT001
    function = make(general)
    function.__name__ = function.__qualname__ = name
    return Kernel(function, signature)


# Rotations, permutations and Z words, which is what models are made of, compile twice as
# fast as the interpreter of all instructions; each variant only when a circuit needs it.
forward_core = _variant(_make_forward, "forward_core", _FORWARD, general=False)
backward_core = _variant(_make_backward, "backward_core", _BACKWARD, general=False)
forward_general = _variant(_make_forward, "forward_general", _FORWARD, general=True)
backward_general = _variant(_make_backward, "backward_general", _BACKWARD, general=True)
