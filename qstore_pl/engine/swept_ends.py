"""What comes before and after the stages of a large state: few numbers, in one thread.

Before them angles and blocks are computed from values; after them sums of all parts
become expectation values and gradients. The derivation is in ``sweeps.md``. This module
knows only arrays.
"""

from __future__ import annotations

from qstore_pl.engine.angles import fill_angles, shared_su2
from qstore_pl.engine.compile import (
    F1,
    F1_IN,
    F2,
    F2_IN,
    I1_IN,
    I8,
    T1_IN,
    Array,
    kernel,
)
from qstore_pl.engine.fusion import AMPLITUDES, DIAGONAL, MATRIX, PAULI
from qstore_pl.engine.instructions import BLOCK, FACTOR, WANTED
from qstore_pl.engine.precision import doubles
from qstore_pl.engine.products import factors_of
from qstore_pl.engine.steps import behind_block, rotations_of, write_rotation
from qstore_pl.engine.swept_views import PARTS, divide, unpack
from qstore_pl.engine.values import pull_back_amplitudes


@kernel(I1_IN, T1_IN, F1_IN, F1_IN, F2_IN, I1_IN, F1, states=(6,))
def prepare(
    sizes: Array,
    ints: Array,
    floats: Array,
    w: Array,
    X: Array,
    rows: Array,
    ws: Array,
) -> None:
    """Compute all angles and blocks."""
    s = unpack(sizes, ints, floats)
    v = divide(ws, sizes, s.slots)
    fill_angles(
        s.rotations, s.constants, s.terms, s.coefficients, w, X, rows, 0.5, v.cs
    )
    for m in range(s.code.shape[0]):
        if s.code[m, 0] == BLOCK or s.code[m, 0] == FACTOR:
            shared_su2(s.rotations, s.code[m, 2], s.code[m, 3], v.cs, v.us[m])
            write_rotation(v.us[m])


@kernel(I1_IN, T1_IN, F1_IN, F1, F2, states=(3,))
def outputs(sizes: Array, ints: Array, floats: Array, ws: Array, out: Array) -> None:
    """Expectation values from the sums of all parts: out (1, n_outputs)."""
    s = unpack(sizes, ints, floats)
    measured = divide(ws, sizes, s.slots).measured
    for k in range(out.shape[1]):
        out[0, k] = 0.0
    for t in range(s.words.shape[0]):
        found = 0.0
        for part in range(PARTS):
            found += measured[part, t]
        out[0, s.words[t, 0]] += s.weights[t] * found


@kernel(*(I1_IN, T1_IN, F1_IN, F1_IN, F2_IN, I1_IN, F1, I8, F1, F1, F2), states=(6, 8))
def gradients(
    sizes: Array,
    ints: Array,
    floats: Array,
    w: Array,
    X: Array,
    rows: Array,
    ws: Array,
    stop: int,
    scratch: Array,
    gw: Array,
    gx: Array,
) -> None:
    """Gradients from the sums of all parts: gw (n_shared,), gx (1, n_features)."""
    s, n, room = unpack(sizes, ints, floats), sizes[0], doubles(scratch)
    v = divide(ws, sizes, s.slots)
    for i in range(gw.shape[0]):
        gw[i] = 0.0
    for i in range(gx.shape[0] * gx.shape[1]):
        gx[0, i] = 0.0
    total, bloch = v.sums[0], room[: 3 * (s.code.shape[0] + 1)].reshape(-1, 3, 1)
    more = room[3 * (s.code.shape[0] + 1) :]
    for part in range(1, PARTS):
        for j in range(s.slots[stop], total.shape[0]):
            total[j] += v.sums[part, j]
    if stop < n and s.code[0, 0] == FACTOR:
        low = (n + 1) // 2
        n_high = 1 << n - low
        for part in range(1, PARTS):
            for j in range(2 << low):
                v.over_high[0, j] += v.over_high[part, j]
        for j in range(2 << low):
            more[j] = v.over_high[0, j]
        first, last = 0, low
        for _ in range(2):  # the low bits, then the high ones
            side = 1 << last - first
            sums = more[: 2 * side].reshape(2, side)
            factors_of(v.us[:n], first, last, sums, more[2 * side :], bloch)
            for t in range(n_high):
                more[t], more[n_high + t] = v.over_low[2 * t], v.over_low[2 * t + 1]
            first, last = low, n
    for m in range(s.code.shape[0] - 1, stop - 1, -1):
        one, at = s.code[m], s.slots[m]
        op = one[0]
        first, last = one[2], one[3]
        if op == BLOCK:
            behind_block(v.us[m], total[at : at + 3], bloch[m])
        elif op == DIAGONAL or op == PAULI:
            last = first + 1
            for axis in range(3):  # about whatever word
                bloch[m, axis, 0] = total[at]
        if op == BLOCK or op == FACTOR or op == DIAGONAL or op == PAULI:
            rotations_of(
                bloch[m], first, last, s.rotations, s.terms, s.coefficients, v.cs, w, X,
                rows, gw, gx,
            )  # fmt: skip
        elif op == MATRIX and one[3] & WANTED:
            for e in range(s.slots[m + 1] - at):
                if one[2] == 1:
                    gw[one[5] + e] += total[at + e]
                elif gx.shape[0] > 0:
                    gx[0, one[5] + e] += total[at + e]
        elif op == AMPLITUDES:
            bits = s.wires[one[1] : one[1] + one[4]]
            pull_back_amplitudes(v.lr, v.li, 1, bits, one[2], one[5], one[3], gw, gx)
