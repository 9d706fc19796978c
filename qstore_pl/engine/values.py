"""Matrices and amplitudes inside the kernels: gates whose numbers are values.

Their entries are slots of the weights or of the features, real parts first. States are
flat with the batch as the fast axis.
"""

from __future__ import annotations

from qstore_pl.engine.angles import factor
from qstore_pl.engine.compile import Array, inner


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
    """Apply a k-qubit matrix of values; scratch has 2 * 2**k rows of batch numbers."""
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
def pull_back_matrix(
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    bits: Array,
    controls: int,
    values: int,
    kind: int,
    slot: int,
    inverse: bool,
    batch: int,
    gw: Array,
    gx: Array,
) -> None:
    """Gradient with respect to entry (r, c): twice the sum of conj(bra_r) ket_c.

    The ket is the one before the matrix, the bra the one after it.
    """
    if kind == 2 and gx.shape[0] == 0:
        return
    side = 1 << bits.shape[0]
    targets = 0
    for b in range(bits.shape[0]):
        targets |= 1 << bits[b]
    for i in range(kr.shape[0] // batch):
        if i & targets != 0 or i & controls != values:
            continue
        for r in range(side):
            o = i
            for b in range(bits.shape[0]):
                o |= ((r >> b) & 1) << bits[b]
            x, y = lr[o * batch : o * batch + batch], li[o * batch : o * batch + batch]
            for c in range(side):
                e = i
                for b in range(bits.shape[0]):
                    e |= ((c >> b) & 1) << bits[b]
                p = kr[e * batch : e * batch + batch]
                q = ki[e * batch : e * batch + batch]
                entry = slot + (c * side + r if inverse else r * side + c)
                sign = -2.0 if inverse else 2.0
                if kind == 1:
                    re, im = 0.0, 0.0
                    for j in range(batch):
                        re += x[j] * p[j] + y[j] * q[j]
                        im += y[j] * p[j] - x[j] * q[j]
                    gw[entry] += 2.0 * re
                    gw[entry + side * side] += sign * im
                else:
                    for j in range(batch):
                        gx[j, entry] += 2.0 * (x[j] * p[j] + y[j] * q[j])
                        gx[j, entry + side * side] += sign * (y[j] * p[j] - x[j] * q[j])


@inner
def apply_drawn(
    fr: Array,
    fi: Array,
    bits: Array,
    slot: int,
    adjoint: int,
    X: Array,
    rows: Array,
    scratch: Array,
) -> None:
    """Apply a k-qubit matrix of each sample, or its conjugate transpose."""
    batch = rows.shape[0]
    if bits.shape[0] > 1:
        apply_matrix(fr, fi, bits, 0, 0, 2, slot, adjoint == 1, X[0], X, rows, scratch)
        return
    m = scratch[: 8 * batch].view(fr.dtype)[: 8 * batch].reshape(8, batch)
    for j in range(batch):
        for e in range(4):
            source = slot + ((e & 1) * 2 + (e >> 1) if adjoint else e)
            m[2 * e, j] = X[rows[j], source]
            im = X[rows[j], source + 4]
            m[2 * e + 1, j] = -im if adjoint else im
    a, ai, b, bi = m[0], m[1], m[2], m[3]
    c, ci, d, di = m[4], m[5], m[6], m[7]
    step = 1 << bits[0]
    for k in range(fr.shape[0] // (2 * step * batch)):
        for t in range(step):
            o = (2 * k * step + t) * batch
            o2 = o + step * batch
            p, pi = fr[o : o + batch], fi[o : o + batch]
            q, qi = fr[o2 : o2 + batch], fi[o2 : o2 + batch]
            for j in range(batch):
                x, xi, y, yi = p[j], pi[j], q[j], qi[j]
                p[j] = a[j] * x - ai[j] * xi + b[j] * y - bi[j] * yi
                pi[j] = a[j] * xi + ai[j] * x + b[j] * yi + bi[j] * y
                q[j] = c[j] * x - ci[j] * xi + d[j] * y - di[j] * yi
                qi[j] = c[j] * xi + ci[j] * x + d[j] * yi + di[j] * y


@inner
def checkpoint(mark: float, size: int, ws: Array) -> tuple[Array, Array]:
    """Views of a checkpoint's parts; checkpoints fill ``ws`` from its end."""
    at = ws.shape[0] - 2 * size * (int(mark) + 1)
    return ws[at : at + size], ws[at + size : at + 2 * size]


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
    """The initial state: amplitudes from values on some wires, the others in 0."""
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


@inner
def pull_back_amplitudes(
    lr: Array,
    li: Array,
    batch: int,
    bits: Array,
    kind: int,
    slot: int,
    is_complex: int,
    gw: Array,
    gx: Array,
) -> None:
    """Gradient with respect to amplitudes: twice the bra, part by part."""
    side = 1 << bits.shape[0]
    for r in range(side):
        o = 0
        for b in range(bits.shape[0]):
            o |= ((r >> b) & 1) << bits[b]
        for j in range(batch):
            g, gi = 2.0 * lr[o * batch + j], 2.0 * li[o * batch + j]
            if kind == 1:
                gw[slot + r] += g
                if is_complex:
                    gw[slot + side + r] += gi
            elif gx.shape[0] > 0:
                gx[j, slot + r] += g
                if is_complex:
                    gx[j, slot + side + r] += gi
