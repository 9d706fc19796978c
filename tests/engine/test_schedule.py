"""Sweeps over tiles against what they stand for, in exact arithmetic, index by index.

A state is a list of numbers modulo a prime, and a gate a random matrix of such numbers:
nothing is rounded, and no two gates on the same bit commute.
"""

import itertools

import numpy as np
import pytest

from qstore_pl.engine.affine import Affine
from qstore_pl.engine.schedule import (
    BLOCKS,
    LINES,
    RUNS,
    Item,
    Route,
    beginning,
    combinations,
    schedule,
)
from qstore_pl.engine.sweeps import TILE, tile_shape
from qstore_pl.engine.swept_views import Way
from qstore_pl.engine.tiles import move_tile

PRIME = 2**31 - 1
CNOT, SWAP, X = Affine((1, 3), 0), Affine((2, 1), 0), Affine((1,), 1)


def random_map(rng, n):
    """An invertible map of n bits, drawn until it is one."""
    while True:
        found = Affine(tuple(rng.integers(1, 1 << n, n).tolist()), int(rng.integers(8)))
        try:
            found.inverse()
        except ValueError:
            continue
        return found


def random_items(rng, n_bits, n_items, rows):
    """Gates on up to three bits, of which ``rows`` have room, and maps of indices."""
    items = []
    for _ in range(n_items):
        order = [int(bit) for bit in rng.permutation(n_bits)]
        if rng.random() < 0.5:
            k = int(rng.integers(1, min(3, rows) + 1))
            matrix = rng.integers(0, 1000, (1 << k, 1 << k))
            bits = tuple(order[:k])
            items.append(Item(bits, (bits, matrix)))
        else:
            move = [CNOT, SWAP, X, random_map(rng, 3)][rng.integers(4)]
            items.append(Item(tuple(order[: len(move.columns)]), move=move))
    return items


def ring(n_bits, n_layers):
    """A gate on each bit, then CNOTs from each bit to the next, again and again."""
    gates = [
        Item((bit,), ((bit,), np.array([[1, 2], [3, 5]]))) for bit in range(n_bits)
    ]
    pairs = [(bit, (bit + 1) % n_bits) for bit in range(n_bits)]
    return n_layers * [*gates, *(Item(pair, move=CNOT) for pair in pairs)]


def all_of(affine):
    return np.array([affine(i) for i in range(1 << len(affine.columns))])


def part_of(index, bits):
    return sum((index >> bit & 1) << k for k, bit in enumerate(bits))


def applied(matrix, bits, state):
    """A gate on an axis of ``2**n`` numbers, index by index."""
    found = np.zeros_like(state)
    for index in range(len(state)):
        rest = index & ~sum(1 << bit for bit in bits)
        for column in range(len(matrix)):
            source = rest | sum((column >> k & 1) << b for k, b in enumerate(bits))
            one = matrix[part_of(index, bits), column] * state[source] % PRIME
            found[index] = (found[index] + one) % PRIME
    return found


def directly(n_bits, items, state):
    """The items one after the other."""
    for item in items:
        if item.move is None:
            bits, matrix = item.gate
            state = applied(matrix, bits, state)
            continue
        sources = []
        for index in range(1 << n_bits):
            moved = item.move(part_of(index, item.bits))
            rest = index & ~sum(1 << bit for bit in item.bits)
            sources.append(
                rest | sum((moved >> k & 1) << b for k, b in enumerate(item.bits))
            )
        state = state[sources]
    return state


def by_tiles(sweeps, places, size, memory):
    """The sweeps on tiles, and then the amplitudes from their places."""
    for sweep in sweeps:
        lanes = 1 << size - len(sweep.bits)
        tiles = memory[all_of(sweep.read)].reshape(-1, 1 << len(sweep.bits), lanes)
        tiles = np.moveaxis(tiles, 1, 0)  # rows, tiles, lanes
        for bits, matrix in sweep.gates:
            rows = [sweep.bits.index(bit) for bit in bits]
            tiles = applied(matrix, rows, tiles)
        memory = np.empty_like(memory)
        memory[all_of(sweep.write)] = np.moveaxis(tiles, 0, 1).ravel()
    return memory[all_of(places)]


CASES = {
    f"{n} bits, {seed}": (n, random_items(rng, n, 30, tile_shape(n)[1]))
    for n in (6, 7, 8, 9)
    for seed in range(4)
    for rng in [np.random.default_rng([n, seed])]
}
CASES |= {
    "nothing": (6, []),
    "ring of 8": (8, ring(8, 3)),
    "ring of 9": (9, ring(9, 3)),
}
CASES["only maps"] = 7, [Item((2, 6), move=CNOT), Item((0,), move=X)]
HIGH = ring(8, 1)[4:8]  # the gates of the high bits
STAR = [Item((0, bit), move=CNOT) for bit in range(4, 8)]
CASES["CNOTs from rows to a lane"] = 8, [*HIGH, Item((5,), move=X), *STAR, *HIGH]
CASES["maps first"] = 8, [*(Item((b, 7 - b), move=SWAP) for b in range(4)), *ring(8, 1)]


@pytest.fixture(scope="module", params=CASES)
def scheduled(request):
    """Bits, items, shape of the tiles, and what is made of them."""
    n_bits, items = CASES[request.param]
    size, rows = tile_shape(n_bits)
    start = beginning(n_bits, items, rows=rows)
    made = schedule(n_bits, items, rows=rows, size=size, start=start)
    return n_bits, items, size, rows, start, *made


def test_sweeps_are_the_items_one_after_the_other(scheduled):
    n_bits, items, size, _, start, sweeps, places = scheduled
    state = np.random.default_rng(0).integers(0, PRIME, 1 << n_bits)
    wanted = directly(n_bits, items, state)
    memory = np.empty_like(state)
    memory[all_of(start)] = state
    np.testing.assert_array_equal(by_tiles(sweeps, places, size, memory), wanted)


def test_every_gate_is_in_one_sweep_behind_all_gates_on_its_bits(scheduled):
    _, items, _, rows, _, sweeps, _ = scheduled
    found = [gate for sweep in sweeps for gate in sweep.gates]
    given = [item.gate for item in items if item.move is None]
    number = {id(gate): i for i, gate in enumerate(given)}
    if len(number) == len(given):  # a ring has the same gates in each layer
        assert sorted(number[id(gate)] for gate in found) == list(range(len(given)))
    assert len(found) == len(given)
    for sweep in sweeps:
        assert list(sweep.bits) == sorted(set(sweep.bits))
        assert len(sweep.bits) == rows
        assert {bit for bits, _ in sweep.gates for bit in bits} <= set(sweep.bits)


def test_a_tile_is_written_where_it_was_read_its_lanes_one_behind_the_other(scheduled):
    n_bits, _, size, rows, _, sweeps, _ = scheduled
    for sweep in sweeps:
        read = all_of(sweep.read).reshape(-1, 1 << size)
        written = all_of(sweep.write).reshape(-1, 1 << size)
        np.testing.assert_array_equal(np.sort(read), np.sort(written))
        np.testing.assert_array_equal(np.sort(written.ravel()), np.arange(1 << n_bits))
        lanes = 1 << size - rows
        first = written[:, ::lanes]
        assert not (first % lanes).any()
        runs = (first[:, :, None] + np.arange(lanes)).reshape(written.shape)
        np.testing.assert_array_equal(written, runs)


def test_every_layer_of_a_ring_is_as_many_sweeps_as_its_rows_need():
    for n_bits in (8, 14, 20, 24):
        size, rows = tile_shape(n_bits)
        start = Affine.identity(n_bits)
        sweeps, _ = schedule(n_bits, ring(n_bits, 5), rows=rows, size=size, start=start)
        assert len(sweeps) == 5 * (n_bits // rows)


@pytest.mark.parametrize("n_bits", [8, 14, 16])
@pytest.mark.parametrize("up", [True, False])
def test_the_tiles_of_the_first_sweep_are_in_two_pieces_at_most(n_bits, up):
    size, rows = tile_shape(n_bits)
    bits = range(n_bits) if up else range(n_bits)[::-1]
    moves = [Item((b, (b + 1) % n_bits), move=CNOT) for b in bits]
    items = [*moves, *(Item((b,), "a gate") for b in bits)]
    start = beginning(n_bits, items, rows=rows)
    assert sorted(start.columns) == [1 << bit for bit in range(n_bits)]
    sweeps, _ = schedule(n_bits, items, rows=rows, size=size, start=start)
    (tile, *_) = all_of(sweeps[0].read).reshape(-1, 1 << size)
    assert np.sum(np.diff(np.sort(tile)) > 1) <= 1


# ------------------------------------------------------- the order of memory
def check_route(tiles, size):
    """Tiles are read along the route as the map says, and written back."""
    route, n_bits = Route.of(tiles, size), len(tiles.columns)
    way = Way(
        route.kind, n_bits - size, np.array(route.tiles), np.array(route.shifts),
        route.places, route.starts, route.inside, route.lines, route.twists or (0,) * 6,
    )  # fmt: skip
    state = np.random.default_rng(1).normal(size=(2, 1 << n_bits))
    found, back = np.empty((2, 1 << size)), np.full(state.shape, np.nan)
    for number, wanted in enumerate(all_of(tiles).reshape(-1, 1 << size)):
        move_tile(way, number, *state, *found, back=False)
        np.testing.assert_array_equal(found, state[:, wanted])
        move_tile(way, number, *back, *found, back=True)
    np.testing.assert_array_equal(back, state)
    return route


def test_tiles_are_moved_piece_by_piece_as_the_map_says(scheduled):
    _, _, size, _, _, sweeps, _ = scheduled
    for sweep in sweeps:
        check_route(sweep.read, size)


# Columns of tiles of 6 bits in a memory of 8, whose other columns are a complement, and
# where the first tile begins: the kind of route, and how many twists are not zero.
ROUTES = {
    "as it is": ((1, 2, 4, 8, 16, 32), 0, LINES, 0),
    "whole lines in another order": ((1, 2, 4, 128, 8, 64), 0b10110000, LINES, 0),
    "lines that begin inside others": ((1, 2, 4, 8, 16, 32), 0b10110101, RUNS, 0),
    "lines whose order is not the same": ((1, 2, 4, 8 | 1, 16 | 6, 32), 0, RUNS, 0),
    "lines with their bits reversed": ((4, 2, 1, 8, 16, 32), 0b10110101, RUNS, 0),
    "a transposed block": ((8, 16, 32, 1, 2, 4), 0b10110101, BLOCKS, 0),
    "twisted in memory": ((8 | 1, 16 | 3, 32 | 4, 1, 2, 4), 0b101, BLOCKS, 3),
    "twisted in the tile": ((8, 16, 32, 1 | 8, 2 | 24, 4 | 32), 0b101, BLOCKS, 3),
    "half a line": ((1, 2, 8, 4, 16, 32), 0b10110101, RUNS, 0),
    "no line": ((2, 4, 8, 16, 32, 64), 0b10110101, RUNS, 0),
}


@pytest.mark.parametrize("name", ROUTES)
def test_each_kind_of_route(name):
    columns, shift, kind, twists = ROUTES[name]
    rest = next(
        pair
        for pair in itertools.combinations([1, 2, 4, 8, 16, 32, 64, 128], 2)
        if len(set(combinations([*columns, *pair]).tolist())) == 256
    )
    route = check_route(Affine((*columns, *rest), shift), 6)
    assert (route.kind, np.count_nonzero(route.twists)) == (kind, twists)


# ------------------------------------------------------- tiles
@pytest.mark.parametrize("n_wires", range(6, 31))
def test_tiles_of_any_register(n_wires):
    size, rows = tile_shape(n_wires)
    assert size - rows >= 3  # whole cache lines
    assert size <= min(TILE, n_wires)
    assert rows * -(-n_wires // rows) < n_wires + -(-n_wires // rows)  # in equal parts
