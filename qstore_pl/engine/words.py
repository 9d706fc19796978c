"""Pauli words inside the kernels: rotations, expectation values, the bra they start.

A word is a pair of masks: P = i**|x & z| X**x Z**z. States are flat with the batch as
the fast axis. Controls are a mask and the value an index must have there.
"""

from __future__ import annotations

import numpy as np

from qstore_pl.engine.compile import Array, inner

COS_EIGHTH = np.array([1, 0.5**0.5, 0, -(0.5**0.5), -1, -(0.5**0.5), 0, 0.5**0.5])


@inner
def parity_sign(index: int, mask: int) -> float:
    """(-1) to the power of the number of one bits that index and mask share."""
    z = index & mask
    z ^= z >> 16
    z ^= z >> 8
    z ^= z >> 4
    z ^= z >> 2
    z ^= z >> 1
    return 1.0 - 2.0 * (z & 1)


@inner
def word_phase(y_mask: int) -> tuple[float, float]:
    """Real and imaginary part of i to the power of the number of letters Y."""
    n_y = 0
    while y_mask:
        n_y += 1
        y_mask &= y_mask - 1
    return COS_EIGHTH[2 * n_y % 8], COS_EIGHTH[(2 * n_y + 6) % 8]


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
    """Apply exp(-i angle/2 P) for a word P of Z, where the controls hold.

    Runs of 2**low rows share one sign.
    """
    run = 1 << low
    for i in range(0, fr.shape[0] // batch, run):
        if i & controls != values:
            continue
        turn = -sign * parity_sign(i, z)
        if batched == 0:
            cc, ss = fr.dtype.type(c[0]), fr.dtype.type(turn * s[0])
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
    """Apply exp(-i angle/2 P), P = i^|x&z| X^x Z^z, to pairs (i, i ^ x) in place."""
    run = 1 << low
    top = x
    while top & (top - 1):
        top &= top - 1
    re, im = word_phase(x & z)
    kind = fr.dtype.type
    kr, ki = kind(im), kind(-re)  # -i times the word's phase
    for i in range(0, fr.shape[0] // batch, run):
        if i & top != 0 or i & controls != values:
            continue
        k = i ^ x
        si, sk = sign * parity_sign(i, z), sign * parity_sign(k, z)
        # A run of rows lies below every bit of x, so its partner is contiguous as well.
        if batched == 0:
            o, e, stride = i * batch, k * batch, run * batch
            cc, ck, ci = kind(c[0]), kind(s[0] * sk), kind(s[0] * si)
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
    """Im<bra|P|ket> where the controls hold, for each sample: v (batch,)."""
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
        q, qi = lr[o : o + batch], li[o : o + batch]
        for j in range(batch):
            # Im(conj(q) (re + i im) p)
            real = q[j] * p[j] + qi[j] * pi[j]
            imag = q[j] * pi[j] - qi[j] * p[j]
            v[j] += sign * (re * imag + im * real)


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
    """<psi|P|psi> for each sample: v (batch,)."""
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
        q, qi = lr[o : o + batch], li[o : o + batch]
        for b in range(batch):
            p[b] = 0.0
            q[b] = 0.0
            qi[b] = 0.0
        for t in range(n_terms):
            x, z = observables[t, 1], observables[t, 2]
            a = p[(t + 1) * batch : (t + 2) * batch]
            if general and x != 0:
                re, im = word_phase(x & z)
                k = i ^ x
                sign = parity_sign(k, z)
                for b in range(batch):
                    c, d = fr[k * batch + b], fi[k * batch + b]
                    q[b] += sign * a[b] * (re * c - im * d)
                    qi[b] += sign * a[b] * (re * d + im * c)
            else:
                sign = parity_sign(i, z)
                for b in range(batch):
                    p[b] += sign * a[b]
        x_, y_ = fr[o : o + batch], fi[o : o + batch]
        for b in range(batch):
            q[b] += p[b] * x_[b]
            qi[b] += p[b] * y_[b]
