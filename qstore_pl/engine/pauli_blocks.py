"""One-wire blocks of mixed states inside the kernels: affine maps and their gradients.

A Pauli vector is flat, ``4**n * batch`` numbers with the batch as the fast axis; digit
``q`` of an index has stride ``4**q * batch``. A block keeps component I and maps X, Y
and Z affinely: three rows of ``width`` numbers, 4 (coefficients of I, X, Y, Z) for a
map, 1 for the vector it makes of a wire in state 0. A map has one lane, or one per
sample. It is a product of elements: rotations, damping by values, and constants. The
mathematics is in ``pauli.md``. This module knows no instructions.
"""

from __future__ import annotations

import numpy as np

from qstore_pl.engine.angles import add_batched, add_shared
from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.pauli_fusion import DAMP


@inner
def start_map(P: Array, width: int, lanes: int) -> None:
    """Write the identity, or for width 1 the vector of state 0."""
    for a in range(3):
        for k in range(width):
            one = 1.0 if (a + 1 == k or (width == 1 and a == 2)) else 0.0
            for j in range(lanes):
                P[a * width + k, j] = one


@inner
def turn(
    P: Array, width: int, lanes: int, axis: int, sign: float, cs: Array, r: int, b: int
) -> None:
    """Rotate the two rows an axis turns; ``b`` is 1 for an angle per lane."""
    x, y = (axis + 1) % 3 * width, (axis + 2) % 3 * width
    cc, ss = cs[2 * r], cs[2 * r + 1]
    for k in range(width):
        p, q = P[x + k], P[y + k]
        if b == 0:
            c, s = cc[0], sign * ss[0]
            for j in range(lanes):
                u, v = p[j], q[j]
                p[j] = c * u - s * v
                q[j] = c * v + s * u
        else:
            for j in range(lanes):
                u, v = p[j], q[j]
                p[j] = cc[j] * u - sign * ss[j] * v
                q[j] = cc[j] * v + sign * ss[j] * u


@inner
def advance(
    element: Array,
    rotations: Array,
    cs: Array,
    matrices: Array,
    P: Array,
    width: int,
    lanes: int,
) -> float:
    """Apply an element to a map; returns a bound on the norm of the inverse element."""
    kind = element[0]
    if kind < DAMP:
        r = element[1]
        turn(P, width, lanes, kind, 1.0, cs, r, rotations[r, 3])
        return 1.0
    if kind == DAMP:
        least = 1.0
        for a in range(3):
            r = element[1 + a]
            if r < 0:
                continue
            b = rotations[r, 3]
            for j in range(lanes):
                f = cs[2 * r, b * j]
                least = min(least, abs(f))
                for k in range(width):
                    P[a * width + k, j] *= f
        largest = 0.0
        r = element[4]
        if r >= 0:
            b = rotations[r, 3]
            for j in range(lanes):
                f = cs[2 * r, b * j]
                largest = max(largest, abs(f))
                P[2 * width, j] += f
        return (1.0 + largest) / least if least > 1e-12 else np.inf
    at = element[1]
    m = matrices[at : at + 12]
    for k in range(width):
        for j in range(lanes):
            x, y, z = P[k, j], P[width + k, j], P[2 * width + k, j]
            for a in range(3):
                v = m[4 * a + 1] * x + m[4 * a + 2] * y + m[4 * a + 3] * z
                P[a * width + k, j] = v + m[4 * a] if k == 0 else v
    return matrices[at + 12]


@inner
def retreat(
    element: Array,
    rotations: Array,
    cs: Array,
    matrices: Array,
    C: Array,
    width: int,
    lanes: int,
) -> None:
    """Apply the transpose of an element's linear part to the rows of ``C``."""
    kind = element[0]
    if kind < DAMP:
        r = element[1]
        turn(C, width, lanes, kind, -1.0, cs, r, rotations[r, 3])
    elif kind == DAMP:
        for a in range(3):
            r = element[1 + a]
            if r < 0:
                continue
            b = rotations[r, 3]
            for k in range(width):
                for j in range(lanes):
                    C[a * width + k, j] *= cs[2 * r, b * j]
    else:
        m = matrices[element[1] : element[1] + 12]
        for k in range(width):
            for j in range(lanes):
                x, y, z = C[k, j], C[width + k, j], C[2 * width + k, j]
                for a in range(3):
                    C[a * width + k, j] = m[1 + a] * x + m[5 + a] * y + m[9 + a] * z


@inner
def row_product(
    C: Array, a: int, P: Array, b: int, sign: float, width: int, lanes: int, v: Array
) -> None:
    """Add ``sign`` times the scalar product of row a of C and row b of P to v."""
    for k in range(width):
        c, p = C[a * width + k], P[b * width + k]
        for j in range(lanes):
            v[j] += sign * c[j] * p[j]


@inner
def add_to_angle(
    r: int,
    v: Array,
    lanes: int,
    rotations: Array,
    terms: Array,
    coefficients: Array,
    w: Array,
    X: Array,
    rows: Array,
    gw: Array,
    gx: Array,
) -> None:
    """Chain rule from an angle to the weights and features.

    ``v`` is the derivative with respect to the angle, a number for each lane.
    """
    if rotations[r, 3] == 1:
        add_batched(r, v, rotations, terms, coefficients, w, X, rows, gw, gx)
    else:
        g = 0.0
        for j in range(lanes):
            g += v[j]
        add_shared(r, g, rotations, terms, coefficients, w, X, gw)


@inner
def pull_back_block(
    e0: int,
    e1: int,
    elements: Array,
    rotations: Array,
    terms: Array,
    coefficients: Array,
    cs: Array,
    matrices: Array,
    ps: Array,
    C: Array,
    v: Array,
    width: int,
    lanes: int,
    w: Array,
    X: Array,
    rows: Array,
    gw: Array,
    gx: Array,
) -> None:
    """Chain rule from the rows of a block to the weights and features.

    ``C`` is the derivative with respect to the rows, ``ps`` holds the product of the
    elements up to each of them. The elements are walked backward.
    """
    for e in range(e1 - 1, e0 - 1, -1):
        kind = elements[e, 0]
        if kind < DAMP:
            P = ps[e, : 3 * width * lanes].reshape(3 * width, lanes)
            a, b = (kind + 1) % 3, (kind + 2) % 3
            for j in range(lanes):
                v[j] = 0.0
            row_product(C, b, P, a, 1.0, width, lanes, v)
            row_product(C, a, P, b, -1.0, width, lanes, v)
            add_to_angle(
                elements[e, 1], v, lanes, rotations, terms, coefficients, w, X, rows,
                gw, gx,
            )  # fmt: skip
        elif kind == DAMP:
            for a in range(4):
                r = elements[e, 1 + a]
                if r < 0:
                    continue
                for j in range(lanes):
                    v[j] = 0.0
                if a == 3:
                    for j in range(lanes):
                        v[j] = C[2 * width, j]
                elif e > e0:
                    P = ps[e - 1, : 3 * width * lanes].reshape(3 * width, lanes)
                    row_product(C, a, P, a, 1.0, width, lanes, v)
                else:  # the map before the first element
                    for j in range(lanes):
                        if width == 4:
                            v[j] = C[4 * a + a + 1, j]
                        elif a == 2:
                            v[j] = C[2, j]
                add_to_angle(
                    r, v, lanes, rotations, terms, coefficients, w, X, rows, gw, gx
                )
        retreat(elements[e], rotations, cs, matrices, C, width, lanes)


@inner
def invert(T: Array, V: Array, lanes: int) -> None:
    """The inverse of an affine map of width 4."""
    for j in range(lanes):
        a, b, c = T[1, j], T[2, j], T[3, j]
        d, e, f = T[5, j], T[6, j], T[7, j]
        g, h, i = T[9, j], T[10, j], T[11, j]
        p, q, s = e * i - f * h, f * g - d * i, d * h - e * g
        scale = 1.0 / (a * p + b * q + c * s)
        V[1, j], V[2, j], V[3, j] = (
            scale * p,
            scale * (c * h - b * i),
            scale * (b * f - c * e),
        )
        V[5, j], V[6, j], V[7, j] = (
            scale * q,
            scale * (a * i - c * g),
            scale * (c * d - a * f),
        )
        V[9, j], V[10, j], V[11, j] = (
            scale * s,
            scale * (b * g - a * h),
            scale * (a * e - b * d),
        )
        x, y, z = T[0, j], T[4, j], T[8, j]
        for k in range(3):
            V[4 * k, j] = -(
                V[4 * k + 1, j] * x + V[4 * k + 2, j] * y + V[4 * k + 3, j] * z
            )


@inner
def apply_shared(f: Array, stride: int, T: Array) -> None:
    """Apply a map that all samples share to the digit with this stride.

    The stride is counted in numbers, so that it includes the batch.
    """
    tx, a, b, c = T[0, 0], T[1, 0], T[2, 0], T[3, 0]
    ty, d, e, g = T[4, 0], T[5, 0], T[6, 0], T[7, 0]
    tz, h, i, k = T[8, 0], T[9, 0], T[10, 0], T[11, 0]
    for o in range(0, f.shape[0], 4 * stride):
        r0, r1 = f[o : o + stride], f[o + stride : o + 2 * stride]
        r2 = f[o + 2 * stride : o + 3 * stride]
        r3 = f[o + 3 * stride : o + 4 * stride]
        for j in range(stride):
            n, x, y, z = r0[j], r1[j], r2[j], r3[j]
            r1[j] = tx * n + a * x + b * y + c * z
            r2[j] = ty * n + d * x + e * y + g * z
            r3[j] = tz * n + h * x + i * y + k * z


@inner
def apply_lanes(f: Array, digit: int, batch: int, T: Array) -> None:
    """Apply a map of each sample to a digit."""
    rows = 1 << 2 * digit
    for block in range(0, f.shape[0] // batch, 4 * rows):
        for t in range(block, block + rows):
            o, s = t * batch, rows * batch
            r0, r1 = f[o : o + batch], f[o + s : o + s + batch]
            r2 = f[o + 2 * s : o + 2 * s + batch]
            r3 = f[o + 3 * s : o + 3 * s + batch]
            for j in range(batch):
                n, x, y, z = r0[j], r1[j], r2[j], r3[j]
                r1[j] = T[0, j] * n + T[1, j] * x + T[2, j] * y + T[3, j] * z
                r2[j] = T[4, j] * n + T[5, j] * x + T[6, j] * y + T[7, j] * z
                r3[j] = T[8, j] * n + T[9, j] * x + T[10, j] * y + T[11, j] * z


@inner
def undo_shared(
    f: Array, g: Array, stride: int, T: Array, V: Array, undo: bool, C: Array
) -> None:
    """Undo a map on the state, pull the cotangent back, and C[a, k] = sum g_a f_k.

    Args:
        f: The state after the map, or before it if ``undo`` is False.
        g: The cotangent after the map.
        stride: Of the digit, batch included.
        T: The map.
        V: Its inverse.
        undo: Whether the map is still to be undone on the state.
        C: The derivative with respect to the rows of the map, shape (12, 1), written.
    """
    tx, a, b, c = T[0, 0], T[1, 0], T[2, 0], T[3, 0]
    ty, d, e, h = T[4, 0], T[5, 0], T[6, 0], T[7, 0]
    tz, i, k, l = T[8, 0], T[9, 0], T[10, 0], T[11, 0]  # noqa: E741
    x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = z0 = z1 = z2 = z3 = 0.0
    if undo:
        apply_shared(f, stride, V)
    for o in range(0, f.shape[0], 4 * stride):
        r0, r1 = f[o : o + stride], f[o + stride : o + 2 * stride]
        r2 = f[o + 2 * stride : o + 3 * stride]
        r3 = f[o + 3 * stride : o + 4 * stride]
        g0, g1 = g[o : o + stride], g[o + stride : o + 2 * stride]
        g2 = g[o + 2 * stride : o + 3 * stride]
        g3 = g[o + 3 * stride : o + 4 * stride]
        for j in range(stride):
            n, x, y, z = r0[j], r1[j], r2[j], r3[j]
            p, q, s = g1[j], g2[j], g3[j]
            x0 += p * n
            x1 += p * x
            x2 += p * y
            x3 += p * z
            y0 += q * n
            y1 += q * x
            y2 += q * y
            y3 += q * z
            z0 += s * n
            z1 += s * x
            z2 += s * y
            z3 += s * z
            g0[j] += tx * p + ty * q + tz * s
            g1[j] = a * p + d * q + i * s
            g2[j] = b * p + e * q + k * s
            g3[j] = c * p + h * q + l * s
    C[0, 0], C[1, 0], C[2, 0], C[3, 0] = x0, x1, x2, x3
    C[4, 0], C[5, 0], C[6, 0], C[7, 0] = y0, y1, y2, y3
    C[8, 0], C[9, 0], C[10, 0], C[11, 0] = z0, z1, z2, z3


@inner
def undo_lanes(
    f: Array,
    g: Array,
    digit: int,
    batch: int,
    T: Array,
    V: Array,
    undo: bool,
    C: Array,
) -> None:
    """The same as :func:`undo_shared` for a map of each sample: C (12, batch)."""
    if undo:
        apply_lanes(f, digit, batch, V)
    for k in range(12):
        for j in range(batch):
            C[k, j] = 0.0
    rows = 1 << 2 * digit
    for block in range(0, f.shape[0] // batch, 4 * rows):
        for t in range(block, block + rows):
            o, s = t * batch, rows * batch
            r0, r1 = f[o : o + batch], f[o + s : o + s + batch]
            r2 = f[o + 2 * s : o + 2 * s + batch]
            r3 = f[o + 3 * s : o + 3 * s + batch]
            g0, g1 = g[o : o + batch], g[o + s : o + s + batch]
            g2 = g[o + 2 * s : o + 2 * s + batch]
            g3 = g[o + 3 * s : o + 3 * s + batch]
            for j in range(batch):
                n, x, y, z = r0[j], r1[j], r2[j], r3[j]
                p, q, u = g1[j], g2[j], g3[j]
                C[0, j] += p * n
                C[1, j] += p * x
                C[2, j] += p * y
                C[3, j] += p * z
                C[4, j] += q * n
                C[5, j] += q * x
                C[6, j] += q * y
                C[7, j] += q * z
                C[8, j] += u * n
                C[9, j] += u * x
                C[10, j] += u * y
                C[11, j] += u * z
                g0[j] += T[0, j] * p + T[4, j] * q + T[8, j] * u
                g1[j] = T[1, j] * p + T[5, j] * q + T[9, j] * u
                g2[j] = T[2, j] * p + T[6, j] * q + T[10, j] * u
                g3[j] = T[3, j] * p + T[7, j] * q + T[11, j] * u


@inner
def extend(f: Array, size: int, batch: int, v: Array) -> None:
    """Extend a product state, ``size`` numbers, by one wire's vector: v (3, batch)."""
    for o in range(size - batch, -1, -batch):
        x, e = f[o : o + batch], 4 * o
        for k in range(3, 0, -1):
            y, u = f[e + k * batch : e + (k + 1) * batch], v[k - 1]
            for j in range(batch):
                y[j] = u[j] * x[j]
        y = f[e : e + batch]
        for j in range(batch):
            y[j] = x[j]


@inner
def factor_cotangent(
    f: Array, g: Array, digit: int, batch: int, lanes: int, C: Array
) -> None:
    """Derivative with respect to one wire's vector in a product state: C (3, lanes)."""
    for a in range(3):
        for j in range(lanes):
            C[a, j] = 0.0
    rows = 1 << 2 * digit
    for block in range(0, f.shape[0] // batch, 4 * rows):
        for t in range(block, block + rows):
            o, s = t * batch, rows * batch
            rest = f[o : o + batch]
            for a in range(3):
                at = o + (a + 1) * s
                part = g[at : at + batch]
                if lanes == 1:
                    for j in range(batch):
                        C[a, 0] += part[j] * rest[j]
                else:
                    for j in range(batch):
                        C[a, j] += part[j] * rest[j]
