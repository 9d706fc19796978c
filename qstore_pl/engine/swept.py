"""The compiled kernels of large state vectors: one sample, any number of threads.

Every thread runs the same kernel. A run is a list of stages; a stage has parts, which
are taken by whichever thread comes first, and the next stage begins when all of them
are done. What a part adds up has a place of its own, and places are added in a fixed
order, so that results depend neither on the number of threads nor on their luck. A
thread that comes late finds less to do, and nobody waits for one that never comes. The
derivation is in ``sweeps.md``. This module knows only arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qstore_pl.engine.atomics import claim, finish, wait
from qstore_pl.engine.compile import (
    F1,
    F1_IN,
    F2_IN,
    I1,
    I1_IN,
    I8,
    T1_IN,
    Array,
    inner,
    kernel,
)
from qstore_pl.engine.fusion import DIAGONAL, MATRIX, PAULI
from qstore_pl.engine.instructions import FACTOR, INVERSE, PERMUTE, WANTED
from qstore_pl.engine.precision import doubles
from qstore_pl.engine.products import product_states, write_product
from qstore_pl.engine.steps import (
    all_phases,
    apply_rotations,
    exchanged,
    left_out,
    undo_rotations,
)
from qstore_pl.engine.swept_views import (
    APART,
    PARTS,
    Structure,
    divide,
    place_of,
    route_of,
    unpack,
)
from qstore_pl.engine.terms import (
    add_flipped,
    add_flips,
    add_squares,
    factors_of_bra,
    masks_in_tile,
    multiply_rows,
    only_z,
    total_of,
)
from qstore_pl.engine.tiles import (
    move_lanes,
    move_tile,
    read_and_turn,
    shuffle,
    turn,
    turn_and_write,
)
from qstore_pl.engine.values import (
    apply_matrix,
    load_amplitudes,
    pull_back_matrix,
)
from qstore_pl.engine.words import apply_diagonal, apply_pauli, pauli_bloch

CHUNK = 11  # bits of an index into a chunk, where places are taken as they come


@inner
def part_of(n: int, part: int) -> tuple[int, int]:
    """The first of n pieces that belong to a part, and the first behind it."""
    return n * part // PARTS, n * (part + 1) // PARTS


@inner
def tiles_of(scratch: Array, size: int) -> Any:
    """The scratch of a thread: parts of a tile of ket and bra, and room of float64."""
    one, side = 1 << size, (1 << size) + APART
    return (
        scratch[:one], scratch[side:][:one], scratch[2 * side :][:one],
        scratch[3 * side :][:one], doubles(scratch[4 * side :]),
    )  # fmt: skip


@inner
def words_room(room: Array, chunk: int, n_words: int, like: Array) -> Any:
    """The scratch of a thread for Pauli words, and the rest of it.

    Returns:
        A chunk in the precision of a state; eight numbers for each word; masks.
    """
    at = 1 << chunk
    squares = room[:at].view(like.dtype)[: 1 << chunk]
    lanes = room[at : at + 8 * n_words]
    at += 8 * n_words
    masks = room[at : at + n_words].view(np.int64)
    return squares, lanes, masks, room[at + n_words :]


@inner
def table_of(room: Array, s: Structure, step: int, side: int) -> Array:
    """The phases of a step, shape ``(4, side)``."""
    at = 4 * side * s.steps[step, 3]
    return room[at : at + 4 * side].reshape(4, side)


@inner
def phased_steps(s: Structure, sweep: Array) -> int:
    """How many steps of a sweep have phases."""
    n_phased = 0
    for step in range(sweep[0], sweep[1]):
        n_phased += s.steps[step, 2]
    return n_phased


@inner
def apply_gate(
    s: Structure,
    m: int,
    fr: Array,
    fi: Array,
    lanes: int,
    cs: Array,
    sign: float,
    w: Array,
    X: Array,
    rows: Array,
    room: Array,
) -> None:
    """Apply a gate that is no block to a tile, or with ``sign`` -1 its inverse."""
    one = s.code[m]
    op, a, b, c = one[0], one[1], one[2], one[3]
    x, z, on, value = one[4], one[5], one[6], one[7]
    if op == DIAGONAL:
        cc, ss = cs[2 * b], cs[2 * b + 1]
        apply_diagonal(fr, fi, a, z, on, value, lanes, 0, cc, ss, sign)
    elif op == PAULI:
        cc, ss = cs[2 * b], cs[2 * b + 1]
        apply_pauli(fr, fi, a, x, z, on, value, lanes, 0, cc, ss, sign)
    elif op == PERMUTE:
        back = 0 if sign > 0.0 else 1 << x
        table, turns = s.local[b + back :], s.local[c + back :]
        shuffle(fr, fi, s.wires[a : a + x], lanes, table, turns, c >= 0, room)
    elif op == MATRIX:
        inverse = (c & INVERSE == 1) == (sign > 0.0)
        bits = s.wires[a : a + x]
        apply_matrix(fr, fi, bits, on, value, b, z, inverse, w, X, rows[:lanes], room)


@inner
def undo_gate(
    s: Structure,
    m: int,
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    lanes: int,
    cs: Array,
    w: Array,
    X: Array,
    rows: Array,
    room: Array,
    sums: Array,
    none: Array,
) -> None:
    """The sums of a gate that is no block over a tile; then it is undone."""
    one, slot = s.code[m], s.slots[m]
    op, a, x, z, on, value = one[0], one[1], one[4], one[5], one[6], one[7]
    if op == DIAGONAL or op == PAULI:
        v = room[:lanes]
        pauli_bloch(kr, ki, lr, li, x, z, on, value, lanes, v)
        for j in range(lanes):
            sums[slot] += v[j]
    apply_gate(s, m, kr, ki, lanes, cs, -1.0, w, X, rows, room)
    if op == MATRIX and one[3] & WANTED:
        bits, inverse = s.wires[a : a + x], one[3] & INVERSE == 1
        pull_back_matrix(
            kr, ki, lr, li, bits, on, value, 1, slot, inverse, lanes, sums, none
        )
    apply_gate(s, m, lr, li, lanes, cs, -1.0, w, X, rows, room)


_TABLES = (I1_IN, T1_IN, F1_IN)
_VALUES = (F1_IN, F2_IN, I1_IN)


@kernel(*_TABLES, *_VALUES, F1, F1, I1, states=(6, 7))
def forward_general(
    sizes: Array,
    ints: Array,
    floats: Array,
    w: Array,
    X: Array,
    rows: Array,
    ws: Array,
    scratch: Array,
    counters: Array,
) -> None:
    """The state of one sample, and the sums of its expectation values."""
    n, size = sizes[0], sizes[11]
    s = unpack(sizes, ints, floats)
    v = divide(ws, sizes, s.slots)
    tr, ti, _, _, room = tiles_of(scratch, size)
    chunk = min(CHUNK, n)
    n_chunks, n_sweeps, stage = 1 << n - chunk, s.sweeps.shape[0], 0
    squares, lanes_of, masks, room = words_room(room, chunk, sizes[4], tr)
    # --- the initial state: a product state is written tile by tile, in the first sweep
    product, origin = s.code[0, 0] == FACTOR, s.routes[s.routes.shape[0] - 1 :]
    re, im = room[: 1 << chunk], room[1 << chunk : 2 << chunk]
    hr, hi = room[2 << chunk :][:n_chunks], room[2 << chunk :][n_chunks : 2 * n_chunks]
    room = room[(2 << chunk) + 2 * n_chunks :]
    if product:
        product_states(v.us[:n], chunk, re, im, hr, hi)
    if not product or n_sweeps == 0:
        part = claim(counters, stage)
        while part < PARTS:
            if product:
                first, last = part_of(n_chunks, part)
                for t in range(first, last):
                    write_product(
                        v.kr, v.ki, t << chunk, origin, 1 << chunk, re, im, hr, hi
                    )
            elif part == 0:
                one = s.code[0]
                bits = s.wires[one[1] : one[1] + one[4]]
                load_amplitudes(
                    v.kr, v.ki, bits, one[2], one[5], one[3], w, X, rows[:1]
                )
            finish(counters, stage)
            part = claim(counters, stage)
        wait(counters, stage, PARTS)
    # --- the sweeps; words of Z are measured tile by tile, in the last one
    measured = only_z(s.words) and n_sweeps > 0
    for i in range(n_sweeps):
        stage += 1
        measures = measured and i == n_sweeps - 1
        sweep = s.sweeps[i]
        lanes, side, final = 1 << size - sweep[2], 1 << sweep[2], sweep[1] - 1
        route, targets, columns = route_of(s.routes, sweep, n - size)
        all_phases(s.code, v.us, s.steps, sweep, room)
        more = room[4 * side * phased_steps(s, sweep) :]
        if measures:
            masks_in_tile(s.words, targets, lanes, masks)
        part = claim(counters, stage)
        while part < PARTS:
            if measures:
                for j in range(lanes_of.shape[0]):
                    lanes_of[j] = 0.0
            first, last = part_of(1 << n - size, part)
            for t in range(first, last):
                place = place_of(columns, n - size, t)
                if product and i == 0:
                    write_product(v.kr, v.ki, place, targets, lanes, re, im, hr, hi)
                move_tile(route, t, v.kr, v.ki, tr, ti, back=False)
                for step in range(sweep[0], sweep[1]):
                    m, end = s.steps[step, 0], s.steps[step, 1]
                    if s.steps[step, 2] == 1:
                        table = table_of(room, s, step, side)
                        mask = exchanged(s.code, v.us, m, end)
                        scale = left_out(v.us, m, end)
                        turn(tr, ti, lanes, table[0], table[1], scale, mask, back=False)
                        apply_rotations(s.code, v.us, m, end, tr, ti, lanes)
                        if step < final:
                            turn(tr, ti, lanes, table[2], table[3], 1.0, 0, back=False)
                    else:
                        apply_gate(s, m, tr, ti, lanes, v.cs, 1.0, w, X, rows, more)
                if measures:
                    for o in range(0, 1 << size, squares.shape[0]):
                        end = min(1 << size, o + squares.shape[0])
                        add_squares(
                            tr[o:end], ti[o:end], o, s.words, masks, place, squares,
                            lanes_of,
                        )  # fmt: skip
                if s.steps[final, 2] == 1:
                    table = table_of(room, s, final, side)
                    turn_and_write(
                        tr, ti, lanes, table[2], table[3], v.kr, v.ki, place,
                        targets,
                    )  # fmt: skip
                else:
                    move_lanes(v.kr, place, targets, lanes, tr, back=True)
                    move_lanes(v.ki, place, targets, lanes, ti, back=True)
            if measures:
                total_of(masks, s.words, lanes_of, v.measured[part])
            finish(counters, stage)
            part = claim(counters, stage)
        wait(counters, stage, PARTS)
    if measured:
        return
    # --- what is measured otherwise
    stage += 1
    masks_in_tile(s.words, origin, 1 << n, masks)
    part = claim(counters, stage)
    while part < PARTS:
        for j in range(lanes_of.shape[0]):
            lanes_of[j] = 0.0
        first, last = part_of(n_chunks, part)
        for o in range(first << chunk, last << chunk, 1 << chunk):
            end = o + (1 << chunk)
            add_squares(
                v.kr[o:end], v.ki[o:end], o, s.words, masks, 0, squares, lanes_of
            )
        total_of(masks, s.words, lanes_of, v.measured[part])
        add_flips(v.kr, v.ki, first << chunk, last << chunk, s.words, v.measured[part])
        finish(counters, stage)
        part = claim(counters, stage)
    wait(counters, stage, PARTS)


@kernel(*_TABLES, *_VALUES, F1, F2_IN, I8, F1, I1, states=(6, 9))
def backward_general(
    sizes: Array,
    ints: Array,
    floats: Array,
    w: Array,
    X: Array,
    rows: Array,
    ws: Array,
    dy: Array,
    stop: int,
    scratch: Array,
    counters: Array,
) -> None:
    """The sums of its gradient, after a forward run."""
    n, size = sizes[0], sizes[11]
    s = unpack(sizes, ints, floats)
    v = divide(ws, sizes, s.slots)
    tr, ti, vr, vi, room = tiles_of(scratch, size)
    chunk = min(CHUNK, n)
    n_sweeps, stage = s.sweeps.shape[0], 0
    factors, _, masks, room = words_room(room, chunk, sizes[4], tr)
    # --- the bra: of words of Z it is written tile by tile, in the first sweep
    given = dy.shape[0] == 0  # the caller has written it
    by_tiles = not given and only_z(s.words) and n_sweeps > 0
    if not given and not by_tiles:
        origin = s.routes[s.routes.shape[0] - 1 :]
        masks_in_tile(s.words, origin, 1 << n, masks)
        part = claim(counters, stage)
        while part < PARTS:
            first, last = part_of(1 << n - chunk, part)
            for o in range(first << chunk, last << chunk, 1 << chunk):
                factors_of_bra(o, s.words, masks, s.weights, dy[0], 0, factors)
                multiply_rows(v.kr, v.ki, v.lr, v.li, factors, o, origin, 1 << chunk)
            add_flipped(
                v.kr, v.ki, v.lr, v.li, first << chunk, last << chunk, s.words,
                s.weights, dy[0],
            )  # fmt: skip
            finish(counters, stage)
            part = claim(counters, stage)
        wait(counters, stage, PARTS)
    for i in range(n_sweeps - 1, -1, -1):
        sweep = s.sweeps[i]
        if s.steps[sweep[1] - 1, 1] <= stop:
            break
        # Nothing before the lowest sweep needs the ket.
        lowest = i == 0 or s.steps[s.sweeps[i - 1, 1] - 1, 1] <= stop
        stage += 1
        lanes, side, final = 1 << size - sweep[2], 1 << sweep[2], sweep[1] - 1
        route, sources, columns = route_of(s.routes, sweep, n - size)
        all_phases(s.code, v.us, s.steps, sweep, room)
        n_phased = phased_steps(s, sweep)
        at = 4 * side * n_phased
        row_sums = room[at : at + n_phased * side].reshape(n_phased, side)
        more = room[at + n_phased * side :]
        begins = by_tiles and i == n_sweeps - 1
        if begins:
            masks_in_tile(s.words, sources, lanes, masks)
        part = claim(counters, stage)
        while part < PARTS:
            sums = v.sums[part]
            for j in range(s.slots[s.steps[sweep[0], 0]], s.slots[s.steps[final, 1]]):
                sums[j] = 0.0
            for j in range(n_phased * side):
                room[at + j] = 0.0
            first, last = part_of(1 << n - size, part)
            for t in range(first, last):
                place = place_of(columns, n - size, t)
                if begins:
                    for o in range(0, 1 << size, factors.shape[0]):
                        end = min(1 << size, o + factors.shape[0])
                        own = factors[: end - o]
                        factors_of_bra(o, s.words, masks, s.weights, dy[0], place, own)
                        multiply_rows(
                            v.kr, v.ki, v.lr, v.li, own, place,
                            sources[o // lanes : end // lanes], lanes,
                        )  # fmt: skip
                if s.steps[final, 2] == 1:
                    table = table_of(room, s, final, side)
                    read_and_turn(
                        v.kr, v.ki, v.lr, v.li, place, sources, lanes, table[2],
                        table[3], tr, ti, vr, vi, row_sums[s.steps[final, 3]],
                    )  # fmt: skip
                else:
                    move_lanes(v.kr, place, sources, lanes, tr, back=False)
                    move_lanes(v.ki, place, sources, lanes, ti, back=False)
                    move_lanes(v.lr, place, sources, lanes, vr, back=False)
                    move_lanes(v.li, place, sources, lanes, vi, back=False)
                for step in range(final, sweep[0] - 1, -1):
                    m, end = s.steps[step, 0], s.steps[step, 1]
                    if s.steps[step, 2] == 1:
                        table = table_of(room, s, step, side)
                        if step < final:
                            read_and_turn(
                                tr, ti, vr, vi, 0, sources[:0], lanes, table[2],
                                table[3], tr, ti, vr, vi,
                                row_sums[s.steps[step, 3]],
                            )  # fmt: skip
                        undo_rotations(
                            s.code, v.us, m, end, tr, ti, vr, vi, lanes, s.slots,
                            sums,
                        )  # fmt: skip
                        mask = exchanged(s.code, v.us, m, end)
                        scale = left_out(v.us, m, end)
                        re, im = table[0], table[1]
                        if step > sweep[0] or not lowest:
                            turn(tr, ti, lanes, re, im, scale, mask, back=True)
                        turn(vr, vi, lanes, re, im, scale, mask, back=True)
                    else:
                        undo_gate(
                            s, m, tr, ti, vr, vi, lanes, v.cs, w, X, rows, more,
                            sums, v.sums[:0],
                        )  # fmt: skip
                if not lowest:
                    move_tile(route, t, v.kr, v.ki, tr, ti, back=True)
                move_tile(route, t, v.lr, v.li, vr, vi, back=True)
            for step in range(sweep[0], sweep[1]):
                if s.steps[step, 2] == 1:
                    of_rows = row_sums[s.steps[step, 3]]
                    for m in range(s.steps[step, 0], s.steps[step, 1]):
                        z = 0.0
                        for r in range(side):
                            z += of_rows[r] * (1.0 - 2.0 * (r >> s.code[m, 1] & 1))
                        sums[s.slots[m] + 2] += z
            finish(counters, stage)
            part = claim(counters, stage)
        wait(counters, stage, PARTS)
    # --- the initial state
    if stop < n and s.code[0, 0] == FACTOR:
        stage += 1
        low = (n + 1) // 2
        n_low, n_high = 1 << low, 1 << n - low
        ur, ui, high = room[:n_low], room[n_low : 2 * n_low], room[2 * n_low :]
        hr, hi = high[:n_high], high[n_high : 2 * n_high]
        product_states(v.us[:n], low, ur, ui, hr, hi)
        part = claim(counters, stage)
        while part < PARTS:
            own = v.over_high[part]
            for j in range(2 * n_low):
                own[j] = 0.0
            re, im = own[:n_low], own[n_low:]
            first, last = part_of(n_high, part)
            for t in range(first, last):
                a, b, x, y, o = hr[t], hi[t], 0.0, 0.0, t << low
                lr, li = v.lr[o : o + n_low], v.li[o : o + n_low]
                for j in range(n_low):
                    p, q = lr[j], li[j]
                    re[j] += a * p + b * q
                    im[j] += b * p - a * q
                    x += ur[j] * p + ui[j] * q
                    y += ui[j] * p - ur[j] * q
                v.over_low[2 * t], v.over_low[2 * t + 1] = x, y
            finish(counters, stage)
            part = claim(counters, stage)
        wait(counters, stage, PARTS)
