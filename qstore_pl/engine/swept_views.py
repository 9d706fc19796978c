"""What the kernels of large states read and write, as views of a few arrays.

This module knows no gates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.precision import doubles

PARTS = 16  # of a stage
APART = 64  # numbers between arrays, so that they do not share sets of the cache


class Structure(NamedTuple):
    """The tables of a circuit; see :class:`~qstore_pl.engine.sweeps.SweptTables`."""

    code: Array
    rotations: Array
    terms: Array
    words: Array
    wires: Array
    slots: Array
    steps: Array
    sweeps: Array
    routes: Array
    local: Array
    constants: Array
    coefficients: Array
    weights: Array


class Work(NamedTuple):
    """The work array of one sample.

    Args:
        kr: Real parts of the ket, shape ``(2**n,)``.
        ki: Its imaginary parts.
        lr: Real parts of the bra.
        li: Its imaginary parts.
        cs: Cosine and sine of half angles, shape ``(2 * n_angles, 1)``.
        us: Blocks and their rotations, shape ``(n_blocks, 7)``.
        sums: What each part of the state adds up for a gradient, a row for each.
        measured: Expectation values of words, a row for each part.
        over_high: Sums over the high bits of the conjugate of the bra, times a product
            state; a row for each part, of real and then imaginary parts.
        over_low: The same over the low bits, real and imaginary parts in turn.
    """

    kr: Array
    ki: Array
    lr: Array
    li: Array
    cs: Array
    us: Array
    sums: Array
    measured: Array
    over_high: Array
    over_low: Array


class Way(NamedTuple):
    """A :class:`~qstore_pl.engine.schedule.Route` inside the kernels.

    Args:
        kind: LINES, BLOCKS or RUNS.
        n: Bits of the number of a tile.
        tiles: As there, and so are the others.
        shifts: As there.
        places: As there.
        starts: As there.
        inside: As there.
        lines: As there, for BLOCKS only.
        twists: As there, for BLOCKS only.
    """

    kind: int
    n: int
    tiles: Array
    shifts: Array
    places: Array
    starts: Array
    inside: Array
    lines: Array
    twists: Array


@inner
def unpack(sizes: Array, ints: Array, floats: Array) -> Structure:
    """The tables of a circuit as views."""
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
    return Structure(
        code, rotations, terms, words, wires, slots, steps, sweeps,
        ints[at : at + n_routes], ints[at + n_routes :], floats[:n_angles],
        floats[n_angles : n_angles + n_terms], floats[n_angles + n_terms :],
    )  # fmt: skip


@inner
def divide(ws: Array, sizes: Array, slots: Array) -> Work:
    """The work array as views: ket and bra have its type, the others are float64."""
    n, n_blocks, n_angles, n_words = sizes[0], sizes[1], sizes[2], sizes[4]
    size, low, n_sums = (1 << n) + APART, (n + 1) // 2, slots[slots.shape[0] - 1]
    rest, at = doubles(ws[4 * size :]), 2 * n_angles
    cs = rest[:at].reshape(2 * n_angles, 1)
    us = rest[at : at + 7 * n_blocks].reshape(n_blocks, 7)
    at += 7 * n_blocks
    sums = rest[at : at + PARTS * n_sums].reshape(PARTS, n_sums)
    at += PARTS * n_sums
    measured = rest[at : at + PARTS * n_words].reshape(PARTS, n_words)
    at += PARTS * n_words
    over_high = rest[at : at + (2 * PARTS << low)].reshape(PARTS, 2 << low)
    at += 2 * PARTS << low
    return Work(
        ws[: 1 << n], ws[size:][: 1 << n], ws[2 * size :][: 1 << n],
        ws[3 * size :][: 1 << n], cs, us, sums, measured, over_high, rest[at:],
    )  # fmt: skip


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
    """Where the tiles of a sweep are read and written.

    Args:
        routes: The routes of all sweeps.
        sweep: The sweep.
        n: Bits of the number of a tile.

    Returns:
        The route they are read by; places of the rows they are written to, relative to
        the tile; and the columns of the map from the number of a tile to its place.
    """
    kind, n_pieces, n_inside, at, to = sweep[3], sweep[4], sweep[5], sweep[6], sweep[7]
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
    lines, twists = routes[at : at + 8], routes[at + 8 : at + 14]
    route = Way(kind, n, tiles, shifts, places, starts, inside, lines, twists)
    rows = routes[to + n : to + n + (1 << sweep[2])]
    return route, rows, routes[to : to + n]
