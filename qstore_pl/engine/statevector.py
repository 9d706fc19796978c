"""The compiled pure-state kernels: forward run and vector-Jacobian product.

One interpreter walks the instructions of a circuit over a chunk of samples; what an
instruction does is in :mod:`blocks`, :mod:`words` and :mod:`values`. The derivation of
the backward pass is in ``adjoint.md``. This module knows only arrays.
"""

from __future__ import annotations

from typing import Any

from qstore_pl.engine.angles import (
    add_batched,
    add_shared,
    batched_su2,
    fill_angles,
    shared_su2,
)
from qstore_pl.engine.blocks import (
    apply_batched,
    apply_block,
    batched_bloch,
    gather,
    turn_rows,
    undo_block,
)
from qstore_pl.engine.compile import (
    F1,
    F1_IN,
    F2,
    F2_IN,
    I1_IN,
    I8,
    T1_IN,
    Array,
    Kernel,
    inner,
)
from qstore_pl.engine.fusion import AMPLITUDES, DIAGONAL, DRAWN, MATRIX, PAULI
from qstore_pl.engine.instructions import (
    BATCHED,
    BLOCK,
    FACTOR,
    INVERSE,
    PERMUTE,
    WANTED,
)
from qstore_pl.engine.precision import doubles, per_double
from qstore_pl.engine.values import (
    apply_drawn,
    apply_matrix,
    checkpoint,
    load_amplitudes,
    pull_back_amplitudes,
    pull_back_matrix,
)
from qstore_pl.engine.words import (
    apply_diagonal,
    apply_pauli,
    expectations,
    pauli_bloch,
    start_bra,
)


@inner
def unpack(sizes: Array, ints: Array, floats: Array) -> Any:
    """The tables of a circuit as views, in the order of ``Tables.INTS``."""
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
def divide(ws: Array, n: int, batch: int, n_angles: int, n_blocks: int) -> Any:
    """Views of the work array: three states, half angles, blocks and room for sums.

    States and blocks have the type of the work array, the others are float64.
    """
    size = batch << n
    at, length = 6 * size, per_double(ws) * 2 * n_angles * batch
    cs = doubles(ws[at : at + length]).reshape(2 * n_angles, batch)
    at += length
    us = ws[at : at + 4 * n_blocks * batch].reshape(n_blocks, 4 * batch)
    at += 4 * n_blocks * batch
    return ws[: 6 * size].reshape(6, size), cs, us, doubles(ws[at:])


def _make_forward(general: bool) -> Any:
    def forward(
        sizes: Array,
        ints: Array,
        floats: Array,
        w: Array,
        X: Array,
        rows: Array,
        ws: Array,
        out: Array,
    ) -> None:
        (
            n, code, rotations, terms, observables, wires, tables, phases, constants,
            coefficients, weights_of_terms,
        ) = unpack(sizes, ints, floats)  # fmt: skip
        batch = rows.shape[0]
        M = code.shape[0]
        states, cs, us, p = divide(ws, n, batch, rotations.shape[0], M)
        kr, ki, tr, ti = states[0], states[1], states[2], states[3]
        fill_angles(rotations, constants, terms, coefficients, w, X, rows, 0.5, cs)
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
                elif op == MATRIX and r1 == DRAWN:
                    mark = X[rows[0], z + (4 << 2 * x)]
                    if mark >= 0.0:
                        cr, ci = checkpoint(mark, kr.shape[0], ws)
                        cr[:], ci[:] = kr, ki
                    apply_drawn(kr, ki, wires[bit : bit + x], z, 0, X, rows, p)
                elif op == MATRIX:
                    apply_matrix(
                        kr, ki, wires[bit : bit + x], on, value, r0, z,
                        r1 & INVERSE == 1, w, X, rows, p,
                    )  # fmt: skip
                elif op == AMPLITUDES:
                    load_amplitudes(kr, ki, wires[bit : bit + x], r0, z, r1, w, X, rows)
        expectations(kr, ki, observables, weights_of_terms, batch, general, p, out)

    return forward


def _make_backward(general: bool) -> Any:
    def backward(
        sizes: Array,
        ints: Array,
        floats: Array,
        w: Array,
        X: Array,
        rows: Array,
        ws: Array,
        dy: Array,
        stop: int,
        swapped: int,
        gw: Array,
        gx: Array,
    ) -> None:
        (
            n, code, rotations, terms, observables, wires, tables, phases, _,
            coefficients, weights_of_terms,
        ) = unpack(sizes, ints, floats)  # fmt: skip
        batch = rows.shape[0]
        M = code.shape[0]
        states, cs, us, p = divide(ws, n, batch, rotations.shape[0], M)
        k, t = 2 * swapped, 2 - 2 * swapped
        kr, ki, tr, ti = states[k], states[k + 1], states[t], states[t + 1]
        lr, li = states[4], states[5]
        v = p[: 3 * batch].reshape(3, batch)
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
                elif op == MATRIX and r1 == DRAWN:
                    bits = wires[bit : bit + x]
                    mark = X[rows[0], z + (4 << 2 * x)]
                    if mark >= 0.0:
                        cr, ci = checkpoint(mark, kr.shape[0], ws)
                        kr[:], ki[:] = cr, ci
                    else:
                        apply_drawn(kr, ki, bits, z + (2 << 2 * x), 0, X, rows, p)
                    apply_drawn(lr, li, bits, z, 1, X, rows, p)
                elif op == MATRIX:
                    bits = wires[bit : bit + x]
                    back = r1 & INVERSE == 0
                    apply_matrix(kr, ki, bits, on, value, r0, z, back, w, X, rows, p)
                    if r1 & WANTED:
                        pull_back_matrix(
                            kr, ki, lr, li, bits, on, value, r0, z, not back, batch, gw,
                            gx,
                        )  # fmt: skip
                    if m > stop:
                        apply_matrix(
                            lr, li, bits, on, value, r0, z, back, w, X, rows, p
                        )
                elif op == AMPLITUDES:
                    bits = wires[bit : bit + x]
                    pull_back_amplitudes(lr, li, batch, bits, r0, z, r1, gw, gx)

    return backward


_TABLES = (I1_IN, T1_IN, F1_IN)
_VALUES = (F1_IN, F2_IN, I1_IN)
_FORWARD = (*_TABLES, *_VALUES, F1, F2)
_BACKWARD = (*_TABLES, *_VALUES, F1, F2_IN, I8, I8, F1, F2)


def _variant(make: Any, name: str, signature: tuple[Any, ...], general: bool) -> Kernel:
    function = make(general)
    function.__name__ = function.__qualname__ = name
    return Kernel(function, signature, states=(6,))


# Usual models have rotations, permutations and Z words alone. Their kernels compile
# faster than those of all instructions; each is compiled when a circuit needs it.
forward_core = _variant(_make_forward, "forward_core", _FORWARD, general=False)
backward_core = _variant(_make_backward, "backward_core", _BACKWARD, general=False)
forward_general = _variant(_make_forward, "forward_general", _FORWARD, general=True)
backward_general = _variant(_make_backward, "backward_general", _BACKWARD, general=True)
