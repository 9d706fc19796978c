"""One-qubit blocks and permutations inside the kernels, and their share of a gradient.

States are flat, ``2**n * batch`` numbers with the batch as the fast axis, real and
imaginary parts apart; bit ``q`` of an index has stride ``2**q * batch``. A block is a
2x2 matrix [[a, -b*], [b, a*]], kept as its first column (a, b). This module knows no
angles.
"""

from __future__ import annotations

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.words import COS_EIGHTH


@inner
def apply_block(fr: Array, fi: Array, stride: int, u: Array) -> None:
    """Apply a block that all samples share to the bit with this stride.

    The stride is counted in numbers, so that it includes the batch.
    """
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
    """Apply a block of each sample; with ``sign`` -1 its inverse."""
    ar, ai, br, bi = u[0], u[1], u[2], u[3]
    rows = 1 << bit
    own = fr.dtype.type(sign)
    for k in range(fr.shape[0] // (2 * rows * batch)):
        for t in range(rows):
            o = (2 * k * rows + t) * batch
            o2 = o + rows * batch
            p, pi = fr[o : o + batch], fi[o : o + batch]
            q, qi = fr[o2 : o2 + batch], fi[o2 : o2 + batch]
            for j in range(batch):
                a, c, d, e = ar[j], own * ai[j], own * br[j], own * bi[j]
                x, xi, y, yi = p[j], pi[j], q[j], qi[j]
                p[j] = a * x - c * xi - d * y - e * yi
                pi[j] = a * xi + c * x - d * yi + e * y
                q[j] = d * x - e * xi + a * y + c * yi
                qi[j] = d * xi + e * x + a * yi - c * y


@inner
def undo_block(
    kr: Array, ki: Array, lr: Array, li: Array, stride: int, u: Array, undo: bool
) -> tuple[float, float, float]:
    """Im<bra|P|ket> for P = X, Y, Z on one wire, summed over samples.

    Then, if ``undo``, the inverse of the block is applied to the ket and to the bra.
    """
    ar, ai, br, bi = u[0], -u[1], -u[2], -u[3]
    zero = kr.dtype.type(0.0)
    total_x = total_y = total_z = 0.0
    for k in range(kr.shape[0] // (2 * stride)):
        o = k * 2 * stride
        e = o + stride
        p, pi, q, qi = kr[o:e], ki[o:e], kr[e : e + stride], ki[e : e + stride]
        v, vi, w, wi = lr[o:e], li[o:e], lr[e : e + stride], li[e : e + stride]
        x, y, z = zero, zero, zero
        if undo:
            for j in range(stride):
                p0, p0i, p1, p1i = p[j], pi[j], q[j], qi[j]
                l0, l0i, l1, l1i = v[j], vi[j], w[j], wi[j]
                x += l0 * p1i - l0i * p1 + l1 * p0i - l1i * p0
                y += -(l0 * p1 + l0i * p1i) + (l1 * p0 + l1i * p0i)
                z += l0 * p0i - l0i * p0 - (l1 * p1i - l1i * p1)
                p[j] = ar * p0 - ai * p0i - br * p1 - bi * p1i
                pi[j] = ar * p0i + ai * p0 - br * p1i + bi * p1
                q[j] = br * p0 - bi * p0i + ar * p1 + ai * p1i
                qi[j] = br * p0i + bi * p0 + ar * p1i - ai * p1
                v[j] = ar * l0 - ai * l0i - br * l1 - bi * l1i
                vi[j] = ar * l0i + ai * l0 - br * l1i + bi * l1
                w[j] = br * l0 - bi * l0i + ar * l1 + ai * l1i
                wi[j] = br * l0i + bi * l0 + ar * l1i - ai * l1
        else:
            for j in range(stride):
                p0, p0i, p1, p1i = p[j], pi[j], q[j], qi[j]
                l0, l0i, l1, l1i = v[j], vi[j], w[j], wi[j]
                x += l0 * p1i - l0i * p1 + l1 * p0i - l1i * p0
                y += -(l0 * p1 + l0i * p1i) + (l1 * p0 + l1i * p0i)
                z += l0 * p0i - l0i * p0 - (l1 * p1i - l1i * p1)
        total_x += x
        total_y += y
        total_z += z
    return total_x, total_y, total_z


@inner
def batched_bloch(
    kr: Array, ki: Array, lr: Array, li: Array, bit: int, batch: int, v: Array
) -> None:
    """Im<bra|P|ket> for P = X, Y, Z on one wire, for each sample: v (3, batch)."""
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
            e, ei, f, fi = (
                lr[o : o + batch],
                li[o : o + batch],
                lr[o2 : o2 + batch],
                li[o2 : o2 + batch],
            )
            for j in range(batch):
                p0, p0i, p1, p1i = p[j], pi[j], q[j], qi[j]
                l0, l0i, l1, l1i = e[j], ei[j], f[j], fi[j]
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
        c = fr.dtype.type(COS_EIGHTH[eighths[i]])
        s = fr.dtype.type(COS_EIGHTH[(eighths[i] + 6) % 8])
        o = i * batch
        x, y = fr[o : o + batch], fi[o : o + batch]
        for j in range(batch):
            p, q = x[j], y[j]
            x[j] = c * p - s * q
            y[j] = c * q + s * p
