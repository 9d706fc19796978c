"""The compiled mixed-state kernels: forward run and vector-Jacobian product.

One interpreter walks the instructions of a noisy circuit over a chunk of samples; what
an instruction does is in :mod:`pauli_blocks`, :mod:`pauli_words` and
:mod:`pauli_values`. The state is un-computed backward where that is safe and restored
from a checkpoint where it is not; the rule and the mathematics are in ``pauli.md``.
This module knows only arrays.
"""

from __future__ import annotations

from typing import Any

from qstore_pl.engine.angles import fill_angles
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
from qstore_pl.engine.instructions import (
    BATCHED,
    BLOCK,
    FACTOR,
    INVERSE,
    PERMUTE,
    WANTED,
)
from qstore_pl.engine.pauli_blocks import (
    add_to_angle,
    advance,
    apply_lanes,
    apply_shared,
    extend,
    factor_cotangent,
    invert,
    pull_back_block,
    start_map,
    undo_lanes,
    undo_shared,
)
from qstore_pl.engine.pauli_fusion import (
    AMPLITUDES,
    KRAUS,
    PAULI,
    SCALE,
    SHUFFLE,
    TRANSFER,
)
from qstore_pl.engine.pauli_groups import in_group, run_group, undo_group
from qstore_pl.engine.pauli_tiles import pull_factor
from qstore_pl.engine.pauli_values import (
    apply_transfer,
    fill_transfer,
    load_amplitudes,
    pull_back_amplitudes,
    pull_back_kraus,
    read_amplitudes,
    transfer_cotangent,
)
from qstore_pl.engine.pauli_views import divide, unpack
from qstore_pl.engine.pauli_words import (
    expectations,
    least_factor,
    permute,
    permute_back,
    scale_cotangents,
    scale_words,
    start_cotangent,
    turn_words,
    word_cotangent,
)

MOST_GROWTH = 1e3  # factor by which un-computing may grow errors between checkpoints
MOST_GROWTH_SINGLE = 1e1  # the same in single precision


@inner
def multiply_elements(
    e0: int,
    e1: int,
    elements: Array,
    rotations: Array,
    cs: Array,
    matrices: Array,
    ps: Array,
    width: int,
    lanes: int,
) -> float:
    """The product up to each element; returns a bound on the norm of its inverse."""
    norm = 1.0
    size = 3 * width * lanes
    for e in range(e0, e1):
        P = ps[e, :size].reshape(3 * width, lanes)
        if e == e0:
            start_map(P, width, lanes)
        else:
            ps[e, :size] = ps[e - 1, :size]
        norm *= advance(elements[e], rotations, cs, matrices, P, width, lanes)
    return norm


def _make_forward(*, general: bool, tiled: bool) -> Any:
    small = not tiled

    def forward(
        sizes: Array,
        ints: Array,
        floats: Array,
        w: Array,
        X: Array,
        rows: Array,
        ws: Array,
        scratch: int,
        keep: int,
        out: Array,
    ) -> int:
        """Returns how many checkpoints a backward run needs."""
        (
            n, code, elements, rotations, terms, observables, wires, tables, constants,
            coefficients, weights_of_terms, scales, matrices,
        ) = unpack(sizes, ints, floats)  # fmt: skip
        batch = rows.shape[0]
        M = code.shape[0]
        states, cs, ps, marks, p, kept = divide(
            ws, n, batch, rotations.shape[0], elements.shape[0], M, scratch
        )
        f, t = states[0], states[1]
        room = kept.shape[0] // f.shape[0]
        fill_angles(rotations, constants, terms, coefficients, w, X, rows, 1.0, cs)
        needed, growth = 0, 1.0
        most = MOST_GROWTH if ws.itemsize == 8 else MOST_GROWTH_SINGLE
        size = batch
        for j in range(batch):
            f[j] = 1.0
        following = 0
        while following < M:
            m, following = following, following + 1
            op, a, e0, e1 = code[m, 0], code[m, 1], code[m, 2], code[m, 3]
            lanes, norm = 1, 1.0
            marks[m] = -1.0
            group = tiled and in_group(code[m])
            if tiled and group:
                own = 1.0
                for i in range(m, code[m, 7]):
                    marks[i] = -1.0
                    if code[i, 0] == SHUFFLE:
                        norm *= matrices[code[i, 4] + (1 << 2 * code[i, 2])]
                    else:
                        norm *= multiply_elements(
                            code[i, 2], code[i, 3], elements, rotations, cs, matrices,
                            ps, 4, 1,
                        )  # fmt: skip
                    if i == m:
                        own = norm
                following = code[m, 7]
                if keep and not growth * norm <= most:
                    # This one alone, so that states between them can be kept.
                    following, norm = m + 1, own
            elif op == FACTOR:
                lanes = batch if code[m, 4] & 2 else 1
                multiply_elements(
                    e0, e1, elements, rotations, cs, matrices, ps, 1, lanes
                )
                v = p[: 3 * batch].reshape(3, batch)
                if e0 == e1:
                    start_map(v, 1, batch)
                else:
                    P = ps[e1 - 1, : 3 * lanes].reshape(3, lanes)
                    for k in range(3):
                        for j in range(batch):
                            v[k, j] = P[k, j if lanes > 1 else 0]
                extend(f, size, batch, v)
                size *= 4
                continue
            elif small and (op == BLOCK or op == BATCHED):
                lanes = batch if op == BATCHED else 1
                norm = multiply_elements(
                    e0, e1, elements, rotations, cs, matrices, ps, 4, lanes
                )
            elif small and op == PERMUTE:
                norm = matrices[e0]
            elif general:
                if op == SCALE:
                    least = least_factor(e1, code[m, 5], rotations, cs, batch)
                    norm = 1.0 / least if least > 0.0 else 2.0 * most
                elif op == TRANSFER:
                    norm = matrices[e1 + (2 << 4 * e0)]
                elif op == KRAUS and code[m, 5] > 0:
                    norm = 2.0 * most
            growth *= norm
            if keep and not growth <= most:
                growth = 1.0
                marks[m] = needed
                if needed < room:
                    o = needed * f.shape[0]
                    kept[o : o + f.shape[0]] = f
                needed += 1
            if tiled and group:
                run_group(f, m, following, code, ps, wires, matrices, p)
            elif small and op == BLOCK:
                T = ps[e1 - 1, :12].reshape(12, 1)
                apply_shared(f, batch << 2 * a, T)
            elif small and op == BATCHED:
                T = ps[e1 - 1].reshape(12, batch)
                apply_lanes(f, a, batch, T)
            elif small and op == PERMUTE:
                permute(t, f, tables[a], scales[a], batch)
                f, t = t, f
            elif general:
                if op == PAULI:
                    c, s = cs[2 * e0], cs[2 * e0 + 1]
                    turn_words(f, a, code[m, 5], batch, e1, c, s, 1.0)
                elif op == SCALE:
                    which = wires[code[m, 6] : code[m, 6] + (1 << 2 * e0)]
                    digits = wires[a : a + e0]
                    scale_words(f, digits, which, e1, rotations, cs, batch, 0)
                elif op == TRANSFER:
                    T = matrices[e1 : e1 + (1 << 4 * e0)]
                    apply_transfer(f, wires[a : a + e0], T, 1, 0, batch, p)
                elif op == KRAUS:
                    lanes = batch if e1 == 2 else 1
                    T, q = p[: lanes << 4 * e0], p[lanes << 4 * e0 :]
                    count = max(1, code[m, 5])
                    value = wires[a + e0]
                    fill_transfer(
                        e0, code[m, 7], value, e1, code[m, 4], count, w, X, rows, lanes,
                        T, q,
                    )  # fmt: skip
                    back = code[m, 6] & INVERSE
                    apply_transfer(f, wires[a : a + e0], T, lanes, back, batch, q)
                elif op == AMPLITUDES:
                    digits = wires[a : a + e0]
                    read_amplitudes(
                        digits, n, e1, code[m, 5], code[m, 6], w, X, rows, p
                    )
                    load_amplitudes(f, n, batch, p)
        expectations(f, observables, weights_of_terms, batch, out)
        return needed

    return forward


def _make_backward(*, general: bool, tiled: bool) -> Any:
    small = not tiled

    def backward(
        sizes: Array,
        ints: Array,
        floats: Array,
        w: Array,
        X: Array,
        rows: Array,
        ws: Array,
        scratch: int,
        dy: Array,
        stop: int,
        swapped: int,
        gw: Array,
        gx: Array,
    ) -> None:
        (
            n, code, elements, rotations, terms, observables, wires, tables, _,
            coefficients, weights_of_terms, scales, matrices,
        ) = unpack(sizes, ints, floats)  # fmt: skip
        batch = rows.shape[0]
        M = code.shape[0]
        states, cs, ps, marks, p, kept = divide(
            ws, n, batch, rotations.shape[0], elements.shape[0], M, scratch
        )
        f, t, g = states[swapped], states[1 - swapped], states[2]
        kinds = 3 if gx.shape[0] > 0 else 1
        for i in range(gw.shape[0]):
            gw[i] = 0.0
        for b in range(gx.shape[0]):
            for i in range(gx.shape[1]):
                gx[b, i] = 0.0
        if dy.shape[0] > 0:  # else the caller has written the cotangent
            start_cotangent(g, observables, weights_of_terms, dy, batch)
        following = M - 1
        while following >= stop:
            m, following = following, following - 1
            op, a, e0, e1 = code[m, 0], code[m, 1], code[m, 2], code[m, 3]
            wanted = code[m, 4] & kinds
            undo = marks[m] < 0.0
            if not undo:
                o = int(marks[m]) * f.shape[0]
                f[:] = kept[o : o + f.shape[0]]
            if tiled and in_group(code[m]):
                first = m
                while undo and first > max(stop, code[m, 6]) and marks[first - 1] < 0.0:
                    first -= 1
                following = first - 1
                n_maps = m + 1 - first
                C = p[: 12 * n_maps].reshape(n_maps, 12)
                room = p[16 * n_maps :]  # whole cache lines
                undo_group(f, g, first, m + 1, undo, code, ps, wires, matrices, C, room)
                for i in range(m, first - 1, -1):
                    if code[i, 0] != SHUFFLE and code[i, 4] & kinds:
                        pull_back_block(
                            code[i, 2], code[i, 3], elements, rotations, terms,
                            coefficients, cs, matrices, ps,
                            C[i - first].reshape(12, 1), room[:1], 4, 1, w, X, rows,
                            gw, gx,
                        )  # fmt: skip
            elif tiled and op == FACTOR:
                following = -1  # all factors at once, from the highest digit down
                for i in range(n):
                    C = p[:3].reshape(3, 1)
                    pull_factor(f, g, code[i, 1], p[:3])
                    if i >= stop and code[i, 4] & kinds:
                        pull_back_block(
                            code[i, 2], code[i, 3], elements, rotations, terms,
                            coefficients, cs, matrices, ps, C, p[8:9], 1, 1, w, X, rows,
                            gw, gx,
                        )  # fmt: skip
            elif small and op == FACTOR:
                if wanted:
                    lanes = batch if code[m, 4] & 2 else 1
                    C = p[: 3 * lanes].reshape(3, lanes)
                    v = p[3 * lanes : 4 * lanes]
                    factor_cotangent(f, g, a, batch, lanes, C)
                    pull_back_block(
                        e0, e1, elements, rotations, terms, coefficients, cs, matrices,
                        ps, C, v, 1, lanes, w, X, rows, gw, gx,
                    )  # fmt: skip
            elif small and (op == BLOCK or op == BATCHED):
                lanes = batch if op == BATCHED else 1
                T = ps[e1 - 1, : 12 * lanes].reshape(12, lanes)
                C = p[: 12 * lanes].reshape(12, lanes)
                V = p[12 * lanes : 24 * lanes].view(f.dtype)[: 12 * lanes]
                V = V.reshape(12, lanes)
                if undo:
                    invert(T, V, lanes)
                if op == BLOCK:
                    undo_shared(f, g, batch << 2 * a, T, V, undo, C)
                else:
                    undo_lanes(f, g, a, batch, T, V, undo, C)
                if wanted:
                    pull_back_block(
                        e0, e1, elements, rotations, terms, coefficients, cs, matrices,
                        ps, C, p[12 * lanes : 13 * lanes], 4, lanes, w, X, rows, gw, gx,
                    )  # fmt: skip
            elif small and op == PERMUTE:
                if undo:
                    permute_back(t, f, tables[a], scales[a], batch, 1)
                    f, t = t, f
                permute_back(t, g, tables[a], scales[a], batch, 0)
                g, t = t, g
            elif general:
                if op == PAULI:
                    c, s = cs[2 * e0], cs[2 * e0 + 1]
                    word = code[m, 5]
                    if wanted:
                        v = p[:batch]
                        word_cotangent(f, g, a, word, batch, v)
                        add_to_angle(
                            e0, v, batch, rotations, terms, coefficients, w, X, rows,
                            gw, gx,
                        )  # fmt: skip
                    turn_words(f, a, word, batch, e1, c, s, -1.0)
                    turn_words(g, a, word, batch, e1, c, s, -1.0)
                elif op == SCALE:
                    which = wires[code[m, 6] : code[m, 6] + (1 << 2 * e0)]
                    digits = wires[a : a + e0]
                    if undo:
                        scale_words(f, digits, which, e1, rotations, cs, batch, 1)
                    if wanted:
                        n_factors = code[m, 5] - e1
                        V = p[: n_factors * batch].reshape(n_factors, batch)
                        scale_cotangents(f, g, digits, which, batch, V)
                        for i in range(n_factors):
                            add_to_angle(
                                e1 + i, V[i], batch, rotations, terms, coefficients, w,
                                X, rows, gw, gx,
                            )  # fmt: skip
                    scale_words(g, digits, which, e1, rotations, cs, batch, 0)
                elif op == TRANSFER:
                    side = 1 << 4 * e0
                    digits = wires[a : a + e0]
                    if undo:
                        T = matrices[e1 + side : e1 + 2 * side]
                        apply_transfer(f, digits, T, 1, 0, batch, p)
                    T = matrices[e1 : e1 + side]
                    apply_transfer(g, digits, T, 1, 1, batch, p)
                elif op == KRAUS:
                    lanes = batch if e1 == 2 else 1
                    size = lanes << 4 * e0
                    T, C, q = p[:size], p[size : 2 * size], p[2 * size :]
                    slot, count, n_controls = code[m, 4], max(1, code[m, 5]), code[m, 7]
                    value = wires[a + e0]
                    fill_transfer(
                        e0, n_controls, value, e1, slot, count, w, X, rows, lanes, T, q
                    )
                    back = 1 - (code[m, 6] & INVERSE)
                    digits = wires[a : a + e0]
                    if undo:  # a unitary: its inverse is its transpose
                        apply_transfer(f, digits, T, lanes, back, batch, q)
                    if code[m, 6] & WANTED and e1 & kinds:
                        transfer_cotangent(f, g, digits, lanes, 1 - back, batch, C)
                        pull_back_kraus(
                            e0, n_controls, value, e1, slot, count, w, X, rows, lanes,
                            C, gw, gx, q,
                        )  # fmt: skip
                    apply_transfer(g, digits, T, lanes, back, batch, q)
                elif op == AMPLITUDES:
                    digits = wires[a : a + e0]
                    kind, slot, is_complex = e1, code[m, 5], code[m, 6]
                    read_amplitudes(digits, n, kind, slot, is_complex, w, X, rows, p)
                    pull_back_amplitudes(
                        g, digits, n, kind, slot, is_complex, batch, gw, gx, p
                    )

    return backward


_TABLES = (I1_IN, T1_IN, F1_IN)
_VALUES = (F1_IN, F2_IN, I1_IN)
_FORWARD = (*_TABLES, *_VALUES, F1, I8, I8, F2)
_BACKWARD = (*_TABLES, *_VALUES, F1, I8, F2_IN, I8, I8, F1, F2)


def _variant(name: str, *, backward: bool, general: bool, tiled: bool) -> Kernel:
    make: Any = _make_backward if backward else _make_forward
    signature: tuple[Any, ...] = _BACKWARD if backward else _FORWARD
    function = make(general=general, tiled=tiled)
    function.__name__ = function.__qualname__ = f"mixed_{name}"
    return Kernel(function, signature, states=(6,))


def _pair(variant: str, *, general: bool, tiled: bool) -> tuple[Kernel, Kernel]:
    """The forward and the backward kernel of a variant."""
    options = {"general": general, "tiled": tiled}
    return (
        _variant(f"forward_{variant}", backward=False, **options),
        _variant(f"backward_{variant}", backward=True, **options),
    )


# Each kernel has the instructions that its circuits need, so that it compiles faster:
# as for pure states those of usual models, or all; and those of small or large states.
forward_core, backward_core = _pair("core", general=False, tiled=False)
forward_general, backward_general = _pair("general", general=True, tiled=False)
forward_tiled_core, backward_tiled_core = _pair("tiled_core", general=False, tiled=True)
forward_tiled_general, backward_tiled_general = _pair(
    "tiled_general", general=True, tiled=True
)
