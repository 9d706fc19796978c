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

from qstore_pl.engine.angles import (
    add_batched,
    add_shared,
    fill_angles,
    shared_su2,
)
from qstore_pl.engine.atomics import claim, finish, wait
from qstore_pl.engine.compile import (
    F1,
    F1_IN,
    F2,
    F2_IN,
    I1,
    I1_IN,
    I8,
    T1_IN,
    Array,
    Kernel,
    inner,
    kernel,
)
from qstore_pl.engine.fusion import AMPLITUDES, DIAGONAL, MATRIX, PAULI
from qstore_pl.engine.instructions import BLOCK, FACTOR, INVERSE, PERMUTE, WANTED
from qstore_pl.engine.tiles import (
    add_terms,
    bra_of_terms,
    move_lanes,
    move_tile,
    read_and_turn,
    rotate,
    rotate_two,
    shuffle,
    turn,
    turn_and_write,
    undo_rotation,
)
from qstore_pl.engine.values import (
    apply_matrix,
    load_amplitudes,
    pull_back_amplitudes,
    pull_back_matrix,
)
from qstore_pl.engine.words import apply_diagonal, apply_pauli, pauli_bloch

PARTS = 16  # of a stage
APART = 64  # numbers between arrays, so that they do not share sets of the cache
CHUNK = 11  # bits of an index into a chunk, where places are taken as they come


@inner
def unpack(sizes: Array, ints: Array, floats: Array) -> Any:
    """The tables of a circuit as views, in the order of ``SweptTables.INTS``."""
    n_blocks, n_angles, n_terms, n_words = sizes[1], sizes[2], sizes[3], sizes[4]
    n_wires, n_slots, n_steps, n_sweeps = sizes[5], sizes[6], sizes[7], sizes[8]
    n_routes = sizes[9]
    at = 8 * n_blocks
    code = ints[:at].reshape(n_blocks, 8)
    rotations = ints[at : at + 4 * n_angles].reshape(n_angles, 4)
    at += 4 * n_angles
    terms = ints[at : at + 4 * n_terms].reshape(n_terms, 4)
    at += 4 * n_terms
    words = ints[at : at + 4 * n_words].reshape(n_words, 4)
    at += 4 * n_words
    wires = ints[at : at + n_wires]
    at += n_wires
    slots = ints[at : at + n_slots]
    at += n_slots
    steps = ints[at : at + 4 * n_steps].reshape(n_steps, 4)
    at += 4 * n_steps
    sweeps = ints[at : at + 8 * n_sweeps].reshape(n_sweeps, 8)
    at += 8 * n_sweeps
    routes = ints[at : at + n_routes]
    local = ints[at + n_routes :]
    constants, coefficients = floats[:n_angles], floats[n_angles : n_angles + n_terms]
    return (
        code, rotations, terms, words, wires, slots, steps, sweeps, routes, local,
        constants, coefficients, floats[n_angles + n_terms :],
    )  # fmt: skip


@inner
def divide(ws: Array, sizes: Array, n_slots: int) -> Any:
    """Views of the work array: ket and bra, half angles, blocks, and sums of parts.

    The last two are sums over the high bits and over the low bits of a bra, from which
    the gradient of a product state is made.
    """
    n, n_blocks, n_angles, n_words = sizes[0], sizes[1], sizes[2], sizes[4]
    size, low = (1 << n) + APART, (n + 1) // 2
    states = (ws[: 1 << n], ws[size:][: 1 << n])
    bras = (ws[2 * size :][: 1 << n], ws[3 * size :][: 1 << n])
    at = 4 * size
    cs = ws[at : at + 2 * n_angles].reshape(2 * n_angles, 1)
    at += 2 * n_angles
    us = ws[at : at + 4 * n_blocks].reshape(n_blocks, 4)
    at += 4 * n_blocks
    sums = ws[at : at + PARTS * n_slots].reshape(PARTS, n_slots)
    at += PARTS * n_slots
    measured = ws[at : at + PARTS * n_words].reshape(PARTS, n_words)
    at += PARTS * n_words
    over_high = ws[at : at + (2 * PARTS << low)].reshape(PARTS, 2 << low)
    at += 2 * PARTS << low
    return states, bras, cs, us, sums, measured, over_high, ws[at:]


@kernel(I1_IN, T1_IN, F1_IN, F1_IN, F2_IN, I1_IN, F1)
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
    (
        code, rotations, terms, words, wires, slots, steps, sweeps, routes, local,
        constants, coefficients, weights_of_terms,
    ) = unpack(sizes, ints, floats)  # fmt: skip
    _, _, cs, us, _, _, _, _ = divide(ws, sizes, slots[slots.shape[0] - 1])
    fill_angles(rotations, constants, terms, coefficients, w, X, rows, 0.5, cs)
    for m in range(code.shape[0]):
        if code[m, 0] == BLOCK or code[m, 0] == FACTOR:
            shared_su2(rotations, code[m, 2], code[m, 3], cs, us[m])


@inner
def place_of(columns: Array, n: int, index: int) -> int:
    """The place of a tile, or what else follows from its number.

    The columns of the map may be followed by what belongs to the number 0.
    """
    place = columns[columns.shape[0] - 1] if columns.shape[0] > n else 0
    for b in range(n):
        if index >> b & 1:
            place ^= columns[b]
    return place


@inner
def route_of(routes: Array, sweep: Array, n: int) -> Any:
    """The route of a sweep as views, in the order of the fields of ``Route``."""
    n_pieces, n_inside, at = sweep[4], sweep[5], sweep[6]
    tiles = routes[at : at + n + 1]
    at += n + 1
    shifts = routes[at : at + n + 1]
    at += n + 1
    places = routes[at : at + n_pieces]
    at += n_pieces
    starts = routes[at : at + n_pieces]
    at += n_pieces
    inside = routes[at : at + n_inside]
    at += n_inside
    lines = routes[at : at + 8]
    twists = (
        routes[at + 8], routes[at + 9], routes[at + 10], routes[at + 11],
        routes[at + 12], routes[at + 13],
    )  # fmt: skip
    return tiles, shifts, places, starts, inside, lines, twists


@inner
def product_state(us: Array, first: int, last: int, re: Array, im: Array) -> None:
    """The product of the factors of some bits: re, im (2**(last - first),)."""
    re[0], im[0] = 1.0, 0.0
    n, size = us.shape[0], 1
    for bit in range(first, last):
        # Factors are in the order of wires: the last wire is the lowest bit.
        u = us[n - 1 - bit]
        for i in range(size):
            x, y = re[i], im[i]
            re[size + i] = u[2] * x - u[3] * y
            im[size + i] = u[2] * y + u[3] * x
            re[i] = u[0] * x - u[1] * y
            im[i] = u[0] * y + u[1] * x
        size *= 2


@inner
def phases_of(code: Array, us: Array, first: int, last: int, table: Array) -> None:
    """The phases of each row before and after the rotations of a step.

    Args:
        table: Real and imaginary parts of those before, then of those after, shape
            ``(4, 2**k)``, written.
    """
    side = table.shape[1]
    table[0, 0], table[1, 0], table[2, 0], table[3, 0] = 1.0, 0.0, 1.0, 0.0
    size, bit = 1, 0
    while size < side:
        ar, ai, br, bi = 1.0, 0.0, 1.0, 0.0
        for m in range(first, last):
            if code[m, 1] == bit:
                u = us[m]
                c, s = np.hypot(u[0], u[1]), np.hypot(u[2], u[3])
                if c > 0.0:
                    ar, ai = u[0] / c, u[1] / c
                if s > 0.0:
                    br, bi = u[2] / s, u[3] / s
        er, ei = ar * br - ai * bi, -(ar * bi + ai * br)
        for i in range(size):
            x, y = table[0, i], table[1, i]
            table[0, size + i], table[1, size + i] = er * x - ei * y, er * y + ei * x
            x, y = table[2, i], table[3, i]
            table[2, size + i], table[3, size + i] = br * x - bi * y, br * y + bi * x
            table[2, i], table[3, i] = ar * x - ai * y, ar * y + ai * x
        size *= 2
        bit += 1


@inner
def all_phases(
    code: Array, us: Array, steps: Array, sweep: Array, scratch: Array
) -> None:
    """The phases of all steps of a sweep."""
    side = 1 << sweep[2]
    for i in range(sweep[0], sweep[1]):
        if steps[i, 2] == 1:
            at = 4 * side * steps[i, 3]
            table = scratch[at : at + 4 * side].reshape(4, side)
            phases_of(code, us, steps[i, 0], steps[i, 1], table)


@inner
def rotation_of(u: Array) -> tuple[float, bool, float]:
    """The rotation of a block as :func:`rotate` takes it, and the number left out."""
    c, s = np.hypot(u[0], u[1]), np.hypot(u[2], u[3])
    if s > c:
        return c / s, True, s
    return s / c, False, c


@inner
def apply_rotations(
    code: Array, us: Array, first: int, last: int, fr: Array, fi: Array, lanes: int
) -> None:
    """Apply the rotations of blocks on different bits to a tile."""
    m = first
    while m < last:
        bit = code[m, 1]
        t, swapped, _ = rotation_of(us[m])
        if m + 1 < last and code[m + 1, 1] == bit + 1:
            u, swapped_next, _ = rotation_of(us[m + 1])
            rotate_two(fr, lanes << bit, t, swapped, u, swapped_next)
            rotate_two(fi, lanes << bit, t, swapped, u, swapped_next)
            m += 2
        else:
            rotate(fr, lanes << bit, t, swapped)
            rotate(fi, lanes << bit, t, swapped)
            m += 1


@inner
def left_out(us: Array, first: int, last: int) -> float:
    """The number that blocks leave out of their rotations."""
    scale = 1.0
    for m in range(first, last):
        _, _, more = rotation_of(us[m])
        scale *= more
    return scale


@inner
def undo_rotations(
    code: Array,
    us: Array,
    first: int,
    last: int,
    kr: Array,
    ki: Array,
    lr: Array,
    li: Array,
    lanes: int,
    slots: Array,
    sums: Array,
) -> None:
    """The sums of X and Y of blocks on different bits over a tile; then they are undone.

    What is left out of rotations is left out of ket and bra.
    """
    scale = 1.0
    for m in range(last - 1, first - 1, -1):
        t, swapped, more = rotation_of(us[m])
        x, y = undo_rotation(kr, ki, lr, li, lanes << code[m, 1], t, swapped)
        sums[slots[m]] += scale * scale * x
        sums[slots[m] + 1] += scale * scale * y
        scale *= more


def _make_forward(general: bool) -> Any:
    def forward(
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
        (
            code, rotations, terms, words, wires, slots, steps, sweeps, routes, local,
            constants, coefficients, weights_of_terms,
        ) = unpack(sizes, ints, floats)  # fmt: skip
        n, size = sizes[0], sizes[11]
        (kr, ki), _, cs, us, _, measured, _, _ = divide(
            ws, sizes, slots[slots.shape[0] - 1]
        )
        side = (1 << size) + APART
        tr, ti = scratch[: 1 << size], scratch[side : side + (1 << size)]
        room = scratch[4 * side :]
        chunk = min(CHUNK, n)
        n_chunks = 1 << n - chunk
        stage = 0
        # --- the initial state
        if code[0, 0] == FACTOR:
            re, im = room[: 1 << chunk], room[1 << chunk : 2 << chunk]
            high = room[2 << chunk :]
            product_state(us[:n], 0, chunk, re, im)
            product_state(us[:n], chunk, n, high[:n_chunks], high[n_chunks:])
            part = claim(counters, stage)
            while part < PARTS:
                for t in range(n_chunks * part // PARTS, n_chunks * (part + 1) // PARTS):
                    a, b = high[t], high[n_chunks + t]
                    x = kr[t << chunk : (t + 1) << chunk]
                    y = ki[t << chunk : (t + 1) << chunk]
                    for j in range(1 << chunk):
                        x[j] = a * re[j] - b * im[j]
                        y[j] = a * im[j] + b * re[j]
                finish(counters, stage)
                part = claim(counters, stage)
        elif general:
            if claim(counters, stage) == 0:
                bit, kind, is_complex, k = code[0, 1], code[0, 2], code[0, 3], code[0, 4]
                bits, slot = wires[bit : bit + k], code[0, 5]
                load_amplitudes(kr, ki, bits, kind, slot, is_complex, w, X, rows[:1])
                for _ in range(PARTS):
                    finish(counters, stage)
        wait(counters, stage, PARTS)
        # --- the sweeps
        n_tiles = 1 << n - size
        for i in range(sweeps.shape[0]):
            stage += 1
            sweep = sweeps[i]
            k, kind = sweep[2], sweep[3]
            lanes, side = 1 << size - k, 1 << k
            tiles, shifts, places, starts, inside, lines, twists = route_of(
                routes, sweep, n - size
            )
            to = sweep[7]
            columns = routes[to : to + n - size]
            to += n - size
            targets = routes[to : to + side]
            all_phases(code, us, steps, sweep, room)
            ends_turned = steps[sweep[1] - 1, 2] == 1
            at = 0
            for s in range(sweep[0], sweep[1]):
                at += 4 * side * steps[s, 2]
            more = room[at:]
            part = claim(counters, stage)
            while part < PARTS:
                for t in range(n_tiles * part // PARTS, n_tiles * (part + 1) // PARTS):
                    place, shift = place_of(tiles, n - size, t), place_of(shifts, n - size, t)
                    move_tile(
                        kind, kr, ki, place, shift, places, starts, inside, lines,
                        twists, tr, ti, False,
                    )  # fmt: skip
                    for s in range(sweep[0], sweep[1]):
                        m, last = steps[s, 0], steps[s, 1]
                        if steps[s, 2] == 1:
                            at = 4 * side * steps[s, 3]
                            table = room[at : at + 4 * side].reshape(4, side)
                            scale = left_out(us, m, last)
                            turn(tr, ti, lanes, table[0], table[1], scale, 1.0)
                            apply_rotations(code, us, m, last, tr, ti, lanes)
                            if s < sweep[1] - 1:
                                turn(tr, ti, lanes, table[2], table[3], 1.0, 1.0)
                        elif general:
                            one = code[m]
                            op, a, b, c = one[0], one[1], one[2], one[3]
                            x, z, on, value = one[4], one[5], one[6], one[7]
                            if op == DIAGONAL:
                                apply_diagonal(
                                    tr, ti, a, z, on, value, lanes, 0, cs[2 * b],
                                    cs[2 * b + 1], 1.0,
                                )  # fmt: skip
                            elif op == PAULI:
                                apply_pauli(
                                    tr, ti, a, x, z, on, value, lanes, 0, cs[2 * b],
                                    cs[2 * b + 1], 1.0,
                                )  # fmt: skip
                            elif op == PERMUTE:
                                shuffle(
                                    tr, ti, wires[a : a + x], lanes, local[b:],
                                    local[c:], c >= 0, more,
                                )  # fmt: skip
                            elif op == MATRIX:
                                apply_matrix(
                                    tr, ti, wires[a : a + x], on, value, b, z,
                                    c & INVERSE == 1, w, X, rows[:lanes], more,
                                )  # fmt: skip
                    place = place_of(columns, n - size, t)
                    if ends_turned:
                        at = 4 * side * steps[sweep[1] - 1, 3]
                        table = room[at : at + 4 * side].reshape(4, side)
                        turn_and_write(
                            tr, ti, lanes, table[2], table[3], kr, ki, place, targets
                        )
                    else:
                        move_lanes(kr, place, targets, lanes, tr, True)
                        move_lanes(ki, place, targets, lanes, ti, True)
                finish(counters, stage)
                part = claim(counters, stage)
            wait(counters, stage, PARTS)
        # --- what is measured
        stage += 1
        part = claim(counters, stage)
        while part < PARTS:
            add_terms(
                kr, ki, words, chunk, n_chunks * part // PARTS,
                n_chunks * (part + 1) // PARTS, general, room, measured[part],
            )  # fmt: skip
            finish(counters, stage)
            part = claim(counters, stage)
        wait(counters, stage, PARTS)

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
        scratch: Array,
        counters: Array,
    ) -> None:
        (
            code, rotations, terms, words, wires, slots, steps, sweeps, routes, local,
            constants, coefficients, weights_of_terms,
        ) = unpack(sizes, ints, floats)  # fmt: skip
        n, size = sizes[0], sizes[11]
        (kr, ki), (lr, li), cs, us, sums, _, over_high, over_low = divide(
            ws, sizes, slots[slots.shape[0] - 1]
        )
        side = (1 << size) + APART
        tr, ti = scratch[: 1 << size], scratch[side : side + (1 << size)]
        vr, vi = scratch[2 * side :][: 1 << size], scratch[3 * side :][: 1 << size]
        room = scratch[4 * side :]
        chunk = min(CHUNK, n)
        n_chunks = 1 << n - chunk
        stage = 0
        if dy.shape[0] > 0:  # else the caller has written the bra
            part = claim(counters, stage)
            while part < PARTS:
                bra_of_terms(
                    kr, ki, lr, li, words, weights_of_terms, dy[0], chunk,
                    n_chunks * part // PARTS, n_chunks * (part + 1) // PARTS, general,
                    room,
                )  # fmt: skip
                finish(counters, stage)
                part = claim(counters, stage)
            wait(counters, stage, PARTS)
        n_tiles = 1 << n - size
        for i in range(sweeps.shape[0] - 1, -1, -1):
            sweep = sweeps[i]
            if steps[sweep[1] - 1, 1] <= stop:
                break
            # Nothing before the lowest sweep needs the ket.
            lowest = i == 0 or steps[sweeps[i - 1, 1] - 1, 1] <= stop
            stage += 1
            k, kind = sweep[2], sweep[3]
            lanes, side = 1 << size - k, 1 << k
            tiles, shifts, places, starts, inside, lines, twists = route_of(
                routes, sweep, n - size
            )
            to = sweep[7]
            columns = routes[to : to + n - size]
            to += n - size
            sources = routes[to : to + side]
            all_phases(code, us, steps, sweep, room)
            ends_turned = steps[sweep[1] - 1, 2] == 1
            at, n_phased = 0, 0
            for s in range(sweep[0], sweep[1]):
                at += 4 * side * steps[s, 2]
                n_phased += steps[s, 2]
            row_sums = room[at : at + n_phased * side].reshape(n_phased, side)
            more = room[at + n_phased * side :]
            part = claim(counters, stage)
            while part < PARTS:
                own = sums[part]
                for j in range(slots[steps[sweep[0], 0]], slots[steps[sweep[1] - 1, 1]]):
                    own[j] = 0.0
                row_sums[:] = 0.0
                for t in range(n_tiles * part // PARTS, n_tiles * (part + 1) // PARTS):
                    place = place_of(columns, n - size, t)
                    if ends_turned:
                        at = 4 * side * steps[sweep[1] - 1, 3]
                        table = room[at : at + 4 * side].reshape(4, side)
                        read_and_turn(
                            kr, ki, lr, li, place, sources, lanes, table[2], table[3],
                            tr, ti, vr, vi, row_sums[steps[sweep[1] - 1, 3]],
                        )  # fmt: skip
                    else:
                        move_lanes(kr, place, sources, lanes, tr, False)
                        move_lanes(ki, place, sources, lanes, ti, False)
                        move_lanes(lr, place, sources, lanes, vr, False)
                        move_lanes(li, place, sources, lanes, vi, False)
                    for s in range(sweep[1] - 1, sweep[0] - 1, -1):
                        m, last = steps[s, 0], steps[s, 1]
                        if steps[s, 2] == 1:
                            at = 4 * side * steps[s, 3]
                            table = room[at : at + 4 * side].reshape(4, side)
                            if s < sweep[1] - 1:
                                read_and_turn(
                                    tr, ti, vr, vi, 0, sources[:0], lanes, table[2],
                                    table[3], tr, ti, vr, vi, row_sums[steps[s, 3]],
                                )  # fmt: skip
                            undo_rotations(
                                code, us, m, last, tr, ti, vr, vi, lanes, slots, own
                            )
                            scale = left_out(us, m, last)
                            if s > sweep[0] or not lowest:
                                turn(tr, ti, lanes, table[0], table[1], scale, -1.0)
                            turn(vr, vi, lanes, table[0], table[1], scale, -1.0)
                        elif general:
                            one = code[m]
                            op, a, b, c = one[0], one[1], one[2], one[3]
                            x, z, on, value = one[4], one[5], one[6], one[7]
                            slot = slots[m]
                            if op == DIAGONAL or op == PAULI:
                                v = more[:lanes]
                                pauli_bloch(
                                    tr, ti, vr, vi, x, z, on, value, lanes, v
                                )
                                for j in range(lanes):
                                    own[slot] += v[j]
                                cc, ss = cs[2 * b], cs[2 * b + 1]
                            if op == DIAGONAL:
                                apply_diagonal(
                                    tr, ti, a, z, on, value, lanes, 0, cc, ss, -1.0
                                )
                                apply_diagonal(
                                    vr, vi, a, z, on, value, lanes, 0, cc, ss, -1.0
                                )
                            elif op == PAULI:
                                apply_pauli(
                                    tr, ti, a, x, z, on, value, lanes, 0, cc, ss, -1.0
                                )
                                apply_pauli(
                                    vr, vi, a, x, z, on, value, lanes, 0, cc, ss, -1.0
                                )
                            elif op == PERMUTE:
                                bits = wires[a : a + x]
                                table_, turns = local[b + (1 << x) :], local[c + (1 << x) :]
                                shuffle(
                                    tr, ti, bits, lanes, table_, turns, c >= 0, more
                                )
                                shuffle(
                                    vr, vi, bits, lanes, table_, turns, c >= 0, more
                                )
                            elif op == MATRIX:
                                bits = wires[a : a + x]
                                back = c & INVERSE == 0
                                apply_matrix(
                                    tr, ti, bits, on, value, b, z, back, w, X,
                                    rows[:lanes], more,
                                )  # fmt: skip
                                if c & WANTED:
                                    pull_back_matrix(
                                        tr, ti, vr, vi, bits, on, value, 1, slot,
                                        not back, lanes, own, row_sums[:0],
                                    )  # fmt: skip
                                apply_matrix(
                                    vr, vi, bits, on, value, b, z, back, w, X,
                                    rows[:lanes], more,
                                )  # fmt: skip
                    place, shift = place_of(tiles, n - size, t), place_of(shifts, n - size, t)
                    if not lowest:
                        move_tile(
                            kind, kr, ki, place, shift, places, starts, inside, lines,
                            twists, tr, ti, True,
                        )  # fmt: skip
                    move_tile(
                        kind, lr, li, place, shift, places, starts, inside, lines,
                        twists, vr, vi, True,
                    )  # fmt: skip
                for s in range(sweep[0], sweep[1]):
                    if steps[s, 2] == 1:
                        rows_ = row_sums[steps[s, 3]]
                        for m in range(steps[s, 0], steps[s, 1]):
                            bit, z_ = code[m, 1], 0.0
                            for r in range(side):
                                z_ += rows_[r] * (1.0 - 2.0 * (r >> bit & 1))
                            own[slots[m] + 2] += z_
                finish(counters, stage)
                part = claim(counters, stage)
            wait(counters, stage, PARTS)
        # --- the initial state
        if stop < n and code[0, 0] == FACTOR:
            stage += 1
            low = (n + 1) // 2
            n_high = 1 << n - low
            factors = room[: 2 << low]
            ur, ui = factors[: 1 << low], factors[1 << low :]
            high = room[2 << low :]
            product_state(us[:n], 0, low, ur, ui)
            product_state(us[:n], low, n, high[:n_high], high[n_high:])
            part = claim(counters, stage)
            while part < PARTS:
                own = over_high[part]
                own[:] = 0.0
                hr, hi = own[: 1 << low], own[1 << low :]
                for t in range(n_high * part // PARTS, n_high * (part + 1) // PARTS):
                    a, b = high[t], high[n_high + t]
                    v, u = lr[t << low : (t + 1) << low], li[t << low : (t + 1) << low]
                    re, im = 0.0, 0.0
                    for j in range(1 << low):
                        p, q = v[j], u[j]  # of conj(bra): p - iq
                        hr[j] += a * p + b * q
                        hi[j] += b * p - a * q
                        re += ur[j] * p + ui[j] * q
                        im += ui[j] * p - ur[j] * q
                    over_low[2 * t], over_low[2 * t + 1] = re, im
                finish(counters, stage)
                part = claim(counters, stage)
            wait(counters, stage, PARTS)

    return backward


@inner
def rotations_of(
    v: Array,
    first: int,
    last: int,
    rotations: Array,
    terms: Array,
    coefficients: Array,
    cs: Array,
    w: Array,
    X: Array,
    rows: Array,
    gw: Array,
    gx: Array,
) -> None:
    """The chain rule from the sums of X, Y, Z behind a block to its angles: v (3, 1)."""
    for r in range(last - 1, first - 1, -1):
        axis = rotations[r, 0]
        if rotations[r, 3] == 0:
            add_shared(r, v[axis, 0], rotations, terms, coefficients, w, X, gw)
        else:
            add_batched(
                r, v[axis], rotations, terms, coefficients, w, X, rows, gw, gx
            )
        a, d = (axis + 1) % 3, (axis + 2) % 3
        c, s = cs[2 * r, 0], cs[2 * r + 1, 0]
        c, s = c * c - s * s, 2.0 * c * s
        y, z = v[a, 0], v[d, 0]
        v[a, 0], v[d, 0] = c * y + s * z, c * z - s * y


@inner
def factors_of(
    us: Array, first: int, last: int, sums: Array, room: Array, found: Array
) -> None:
    """For each bit of a product state: Im<bra|P|ket> for P = X, Y, Z.

    Args:
        us: The factors, in the order of wires.
        first: The first bit.
        last: The last bit, exclusive.
        sums: The conjugate of the bra with all other bits contracted, real and
            imaginary parts, shape ``(2, 2**(last - first))``.
        room: Room for six times as many numbers.
        found: Written, shape ``(n, 3)``, in the order of wires.
    """
    n, k = us.shape[0], last - first
    size = 1 << k
    # Level q holds what is left when all bits above bit q are contracted.
    re, im = room[: 2 * size], room[2 * size : 4 * size]
    pr, pi = room[4 * size : 5 * size], room[5 * size : 6 * size]
    re[size : 2 * size], im[size : 2 * size] = sums[0], sums[1]
    for q in range(k - 1, 0, -1):
        u, half = us[n - 1 - first - q], 1 << q
        for x in range(half):
            a, b = re[2 * half + x], im[2 * half + x]
            c, d = re[3 * half + x], im[3 * half + x]
            re[half + x] = u[0] * a - u[1] * b + u[2] * c - u[3] * d
            im[half + x] = u[0] * b + u[1] * a + u[2] * d + u[3] * c
    for q in range(k):
        product_state(us, first, first + q, pr, pi)
        u, half = us[n - 1 - first - q], 1 << q
        a = b = c = d = 0.0
        for x in range(half):
            a += re[2 * half + x] * pr[x] - im[2 * half + x] * pi[x]
            b += re[2 * half + x] * pi[x] + im[2 * half + x] * pr[x]
            c += re[3 * half + x] * pr[x] - im[3 * half + x] * pi[x]
            d += re[3 * half + x] * pi[x] + im[3 * half + x] * pr[x]
        own = found[n - 1 - first - q]
        own[0] = a * u[3] + b * u[2] + c * u[1] + d * u[0]
        own[1] = -(a * u[2] - b * u[3]) + (c * u[0] - d * u[1])
        own[2] = a * u[1] + b * u[0] - (c * u[3] + d * u[2])


@kernel(I1_IN, T1_IN, F1_IN, F1, F2)
def outputs(sizes: Array, ints: Array, floats: Array, ws: Array, out: Array) -> None:
    """Expectation values from the sums of all parts: out (1, n_outputs)."""
    (
        code, rotations, terms, words, wires, slots, steps, sweeps, routes, local,
        constants, coefficients, weights_of_terms,
    ) = unpack(sizes, ints, floats)  # fmt: skip
    _, _, _, _, _, measured, _, _ = divide(ws, sizes, slots[slots.shape[0] - 1])
    for k in range(out.shape[1]):
        out[0, k] = 0.0
    for t in range(words.shape[0]):
        found = 0.0
        for part in range(PARTS):
            found += measured[part, t]
        out[0, words[t, 0]] += weights_of_terms[t] * found


@kernel(I1_IN, T1_IN, F1_IN, F1_IN, F2_IN, I1_IN, F1, I8, F1, F1, F2)
def gradients(
    sizes: Array,
    ints: Array,
    floats: Array,
    w: Array,
    X: Array,
    rows: Array,
    ws: Array,
    stop: int,
    room: Array,
    gw: Array,
    gx: Array,
) -> None:
    """Gradients from the sums of all parts: gw (n_shared,), gx (1, n_features)."""
    (
        code, rotations, terms, words, wires, slots, steps, sweeps, routes, local,
        constants, coefficients, weights_of_terms,
    ) = unpack(sizes, ints, floats)  # fmt: skip
    _, (lr, li), cs, us, sums, _, over_high, over_low = divide(
        ws, sizes, slots[slots.shape[0] - 1]
    )
    n = sizes[0]
    v = np.empty((3, 1))
    gw[:] = 0.0
    gx[:] = 0.0
    for part in range(1, PARTS):
        for j in range(slots[stop], sums.shape[1]):
            sums[0, j] += sums[part, j]
    total = sums[0]
    for m in range(code.shape[0] - 1, stop - 1, -1):
        one, at = code[m], slots[m]
        op = one[0]
        if op == BLOCK:
            u = us[m]
            c, s = np.hypot(u[0], u[1]), np.hypot(u[2], u[3])
            co, si = 1.0, 0.0
            if c > 0.0 and s > 0.0:
                co = (u[0] * u[2] + u[1] * u[3]) / (c * s)
                si = (u[0] * u[3] - u[1] * u[2]) / (c * s)
            elif c > 0.0:
                co, si = u[0] / c, -u[1] / c
            elif s > 0.0:
                co, si = u[2] / s, u[3] / s
            x, y = total[at], total[at + 1]
            v[0, 0], v[1, 0], v[2, 0] = co * x - si * y, co * y + si * x, total[at + 2]
            rotations_of(
                v, one[2], one[3], rotations, terms, coefficients, cs, w, X, rows, gw, gx
            )
        elif op == DIAGONAL or op == PAULI:
            v[0, 0] = total[at]
            r = one[2]
            if one[3] == 0:
                add_shared(r, total[at], rotations, terms, coefficients, w, X, gw)
            else:
                add_batched(
                    r, v[0], rotations, terms, coefficients, w, X, rows, gw, gx
                )
        elif op == MATRIX and one[3] & WANTED:
            kind, slot = one[2], one[5]
            for e in range(slots[m + 1] - at):
                if kind == 1:
                    gw[slot + e] += total[at + e]
                elif gx.shape[0] > 0:
                    gx[0, slot + e] += total[at + e]
        elif op == AMPLITUDES:
            bits = wires[one[1] : one[1] + one[4]]
            pull_back_amplitudes(
                lr, li, 1, bits, one[2], one[5], one[3], gw, gx
            )
    if stop < n and code[0, 0] == FACTOR:
        low = (n + 1) // 2
        n_high = 1 << n - low
        contracted = over_high[0].reshape(2, 1 << low)
        for part in range(1, PARTS):
            for j in range(2 << low):
                over_high[0, j] += over_high[part, j]
        found = room[: 3 * n].reshape(n, 3)
        more = room[3 * n :]
        factors_of(us[:n], 0, low, contracted, more, found)
        second = more[: 2 * n_high].reshape(2, n_high)
        for t in range(n_high):
            second[0, t], second[1, t] = over_low[2 * t], over_low[2 * t + 1]
        factors_of(us[:n], low, n, second, more[2 * n_high :], found)
        for m in range(n - 1, stop - 1, -1):
            v[0, 0], v[1, 0], v[2, 0] = found[m, 0], found[m, 1], found[m, 2]
            rotations_of(
                v, code[m, 2], code[m, 3], rotations, terms, coefficients, cs, w, X,
                rows, gw, gx,
            )  # fmt: skip


_TABLES = (I1_IN, T1_IN, F1_IN)
_VALUES = (F1_IN, F2_IN, I1_IN)
_FORWARD = (*_TABLES, *_VALUES, F1, F1, I1)
_BACKWARD = (*_TABLES, *_VALUES, F1, F2_IN, I8, F1, I1)


def _variant(make: Any, name: str, signature: tuple[Any, ...], general: bool) -> Kernel:
    function = make(general)
    function.__name__ = function.__qualname__ = name
    return Kernel(function, signature)


forward_core = _variant(_make_forward, "forward_core", _FORWARD, general=False)
backward_core = _variant(_make_backward, "backward_core", _BACKWARD, general=False)
forward_general = _variant(_make_forward, "forward_general", _FORWARD, general=True)
backward_general = _variant(_make_backward, "backward_general", _BACKWARD, general=True)
