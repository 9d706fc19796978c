"""Angles inside the kernels: their values, the 2x2 blocks they make, the chain rule.

An angle is a polynomial of degree <= 2 in weights and features. ``cs`` holds the cosine
and sine of every half angle (of every angle for mixed states), shape
``(2 * n_angles, batch)``; an angle that all samples share is in column 0. This module
knows no states.
"""

from __future__ import annotations

import numpy as np

from qstore_pl.engine.compile import Array, inner


@inner
def factor(kind: int, slot: int, w: Array, X: Array, row: int) -> float:
    """Value of one factor of an angle's term."""
    if kind == 1:
        return w[slot]
    if kind == 2:
        return X[row, slot]
    return 1.0


@inner
def fill_angles(
    rotations: Array,
    constants: Array,
    terms: Array,
    coefficients: Array,
    w: Array,
    X: Array,
    rows: Array,
    share: float,
    cs: Array,
) -> None:
    """Write the cosine and sine of ``share`` times every angle into ``cs``.

    An angle that all samples share fills column 0 only. An angle with axis 3 is not one
    of a rotation, and its value itself is written.
    """
    batch = rows.shape[0]
    for r in range(rotations.shape[0]):
        first, end = rotations[r, 1], rotations[r, 2]
        if rotations[r, 3] == 0:
            angle = constants[r]
            for t in range(first, end):
                angle += (
                    coefficients[t]
                    * factor(terms[t, 0], terms[t, 1], w, X, 0)
                    * factor(terms[t, 2], terms[t, 3], w, X, 0)
                )
            if rotations[r, 0] == 3:
                cs[2 * r, 0] = angle
            else:
                cs[2 * r, 0] = np.cos(share * angle)
                cs[2 * r + 1, 0] = np.sin(share * angle)
        else:
            c, s = cs[2 * r], cs[2 * r + 1]
            for b in range(batch):
                c[b] = constants[r]
            for t in range(first, end):
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
            if rotations[r, 0] == 3:
                continue
            # Neighbours are often equal: the runs of a metric differ in one angle.
            last, cosine, sine = np.nan, 0.0, 0.0
            for b in range(batch):
                part = share * c[b]
                if part != last:
                    last, cosine, sine = part, np.cos(part), np.sin(part)
                c[b] = cosine
                s[b] = sine


@inner
def shared_su2(rotations: Array, first: int, last: int, cs: Array, u: Array) -> None:
    """First column of the product of rotations that all samples share: u (4,).

    It is (a, b) of [[a, -b*], [b, a*]], each as a real and an imaginary part.
    """
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
    """The same as :func:`shared_su2` for each sample: u (4, batch)."""
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
    """Chain rule from an angle that all samples share to the weights."""
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
    """Chain rule from an angle of each sample to the weights and features."""
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
