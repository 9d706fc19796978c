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
    """The gradient by an amplitude is twice the bra, real and imaginary part alike."""
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
