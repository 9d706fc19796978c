"""Groups of instructions on a large mixed state inside the kernels, tile by tile.

All instructions of a group act on the digits of its tiles, so that a group takes one
pass over the state. This module knows no angles: the maps are products of elements
already.
"""

from __future__ import annotations

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.instructions import BATCHED, BLOCK
from qstore_pl.engine.pauli_blocks import invert
from qstore_pl.engine.pauli_fusion import SHUFFLE
from qstore_pl.engine.pauli_schedule import TILE_DIGITS
from qstore_pl.engine.pauli_tiles import (
    apply_map,
    move_rows,
    next_place,
    position_of,
    shuffle,
    undo_map,
)


@inner
def places_of(digits: int) -> int:
    """The bits of a place in a state that belong to digits, given as a mask."""
    found = 0
    for digit in range(16):
        found |= (digits >> digit & 1) * 3 << 2 * digit
    return found


@inner
def in_group(row: Array) -> bool:
    """Whether an instruction is one of a group."""
    op = row[0]
    return (op == BLOCK or op == BATCHED or op == SHUFFLE) and row[7] > 0


@inner
def run_group(
    f: Array,
    first: int,
    last: int,
    code: Array,
    ps: Array,
    wires: Array,
    matrices: Array,
    p: Array,
) -> None:
    """Apply instructions of one group to the state of a sample."""
    rows, size = places_of(code[first, 5]), 1 << 2 * TILE_DIGITS
    rest, base = (f.shape[0] - 1) & ~rows & ~15, 0
    tile, more = f, p.view(f.dtype)
    if rest:
        tile, more = more[:size], more[size:]
    while True:
        if rest:
            move_rows(f, base, rows, tile, back=False)
        for m in range(first, last):
            a, e0, e1 = code[m, 1], code[m, 2], code[m, 3]
            if code[m, 0] != SHUFFLE:
                apply_map(tile, position_of(a, rows), ps[e1 - 1, :12])
            else:
                side = 1 << 2 * e0
                digits, sources = wires[a : a + e0], wires[e1 : e1 + side]
                factors = matrices[code[m, 4] : code[m, 4] + side]
                shuffle(tile, digits, rows, sources, factors, 0, more)
        if rest:
            move_rows(f, base, rows, tile, back=True)
        base = next_place(base, rest)
        if base == 0:
            break


@inner
def undo_group(
    f: Array,
    g: Array,
    first: int,
    last: int,
    undo: bool,
    code: Array,
    ps: Array,
    wires: Array,
    matrices: Array,
    C: Array,
    p: Array,
) -> None:
    """Undo instructions of one group on the state, and pull the cotangent back.

    Args:
        f: The state after them.
        g: The cotangent after them.
        first: The first of the instructions.
        last: The one behind them.
        undo: Whether the state is not the one before them already.
        code: All instructions.
        ps: Products up to each element.
        wires: Digits and sources of instructions.
        matrices: Factors.
        C: The derivative with respect to each map, shape ``(last - first, 12)``.
        p: Room for as many inverse maps, two tiles, and more, in float64.
    """
    rows, size = places_of(code[first, 5]), 1 << 2 * TILE_DIGITS
    rest, base = (f.shape[0] - 1) & ~rows & ~15, 0
    n_maps = last - first
    more = p.view(f.dtype)
    V, more = more[: 12 * n_maps].reshape(n_maps, 12), more[16 * n_maps :]
    tile, other = f, g
    if rest:
        tile, other, more = more[:size], more[size : 2 * size], more[2 * size :]
    for m in range(first, last):
        if code[m, 0] != SHUFFLE:
            T, v = ps[code[m, 3] - 1, :12], V[m - first]
            for k in range(12):
                C[m - first, k] = 0.0
            if undo:
                invert(T.reshape(12, 1), v.reshape(12, 1), 1)
            else:
                for k in range(12):
                    v[k] = 1.0 if k % 5 == 1 else 0.0
    while True:
        if rest:
            move_rows(f, base, rows, tile, back=False)
            move_rows(g, base, rows, other, back=False)
        for m in range(last - 1, first - 1, -1):
            a, e0, e1 = code[m, 1], code[m, 2], code[m, 3]
            if code[m, 0] != SHUFFLE:
                i, digit = m - first, position_of(a, rows)
                undo_map(tile, other, digit, ps[e1 - 1, :12], V[i], C[i])
            else:
                side = 1 << 2 * e0
                digits, sources = wires[a : a + e0], wires[e1 : e1 + side]
                factors = matrices[code[m, 4] : code[m, 4] + side]
                for back in range(1 if undo else 2, 3):
                    one = tile if back == 1 else other
                    shuffle(one, digits, rows, sources, factors, back, more)
        if rest:
            move_rows(f, base, rows, tile, back=True)
            move_rows(g, base, rows, other, back=True)
        base = next_place(base, rest)
        if base == 0:
            break
