r"""Large states: which gates run together, on tiles of the state that fit the cache.

A state of n qubits is swept over a few times. In one *sweep* every tile of
:math:`2^t` amplitudes is read, the gates on some k bits are applied to it, and it is
written back to the places it came from. Inside a tile an index has k bits for the rows
and the rest for the lanes: it is a small state whose batch is the other qubits.

CNOT, X and SWAP move no amplitudes. They are maps :math:`i \to A i \oplus c` of
indices over the field of two elements, as is the order in which a tile is written
back. All of them are part of one such map, the *frame*, from the index of an amplitude
to its place in memory. Two amplitudes that a gate on bit q mixes are apart by column q
of the frame, and the places of a tile are a coset of the span of k such columns and of
as many unit vectors of low bits as there is room for, so that it consists of whole
cache lines. The frame is known when the circuit is scheduled; nothing of it depends on
values. This module knows integers, not gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.affine import Affine

LINE = 3  # bits of a place in a cache line
LONGEST_RUN = 6  # bits of a place in a run at most
LINES, BLOCKS, RUNS = range(3)  # kinds of pieces: cache lines, 64 of them, longer ones


@dataclass(frozen=True)
class Item:
    """A gate, or a map of indices that moves no amplitudes.

    Args:
        bits: The bits of an index that it acts on, least significant first.
        gate: The gate, whatever it is.
        move: For a map of indices: where each index of these bits comes from.
    """

    bits: tuple[int, ...]
    gate: Any = None
    move: Affine | None = None


@dataclass(frozen=True)
class Sweep:
    """Gates on a few bits, applied to one tile after the other.

    Args:
        bits: The bits of an index that are the rows of a tile, least significant first.
        gates: What is applied, in this order.
        read: From the index in all tiles to the place in memory before the sweep: lanes
            first, then rows, then the number of the tile.
        write: The same after the sweep.
    """

    bits: tuple[int, ...]
    gates: tuple[Any, ...]
    read: Affine
    write: Affine


def beginning(n_bits: int, items: Sequence[Item], *, rows: int) -> Affine:
    """An order of bits in memory that suits the first sweep.

    A product state can be written in any order of its factors. In this one the places
    of a tile of the first sweep follow each other as far as possible.

    Args:
        n_bits: Bits of an index.
        items: Gates and maps, as for :func:`schedule`.
        rows: Bits that are rows of a tile.

    Returns:
        From the index of an amplitude to its place in memory.
    """
    frame, left = Affine.identity(n_bits), list(items)
    while left:
        taken, moves, left = _next_sweep(left, rows)
        frame = _moved(frame, moves)
        if taken:
            bits = _bits_of(taken, n_bits, rows)
            order = _order(n_bits, [frame.columns[bit] for bit in bits])
            return Affine(tuple(1 << order.index(bit) for bit in range(n_bits)), 0)
    return Affine.identity(n_bits)


def schedule(
    n_bits: int, items: Sequence[Item], *, rows: int, size: int, start: Affine
) -> tuple[list[Sweep], Affine]:
    """Gather gates in sweeps, as many as fit into each.

    Args:
        n_bits: Bits of an index.
        items: Gates and maps in the order in which they act; each gate on ``rows`` bits
            at most.
        rows: Bits that are rows of a tile.
        size: Bits of an index into a tile.
        start: The frame before them.

    Returns:
        The sweeps, and the frame after them: from the index of an amplitude to its
        place in memory.
    """
    frame, left = start, list(items)
    sweeps: list[Sweep] = []
    while left:
        taken, moves, left = _next_sweep(left, rows)
        if taken:
            chosen = _bits_of(taken, n_bits, rows)
            read, write, frame = _tiles(frame, chosen, size)
            gates = tuple(item.gate for item in taken)
            sweeps.append(Sweep(tuple(chosen), gates, read, write))
        frame = _moved(frame, moves)
    return sweeps, frame


def _order(n_bits: int, columns: Sequence[int]) -> list[int]:
    """Bits in the order of their places, so that few vectors of a span leave low ones.

    First come bits that are in short vectors, and those that only one of them has.
    """
    vectors = _Span(columns).reduced

    def key(bit: int) -> tuple[int, int]:
        weights = [v.bit_count() for v in vectors if v >> bit & 1]
        return min(weights, default=n_bits + 1), len(weights)

    return sorted(range(n_bits), key=key)


def _bits_of(taken: Sequence[Item], n_bits: int, rows: int) -> list[int]:
    """The bits that are the rows of a sweep: those of its gates, and others."""
    bits = {bit for item in taken for bit in item.bits}
    spare = [bit for bit in range(n_bits) if bit not in bits]
    return sorted([*bits, *spare[: rows - len(bits)]])


def _moved(frame: Affine, moves: Sequence[Item]) -> Affine:
    """The frame after maps of indices."""
    for item in moves:
        assert item.move is not None
        frame = frame.after(item.move, item.bits)
    return frame


def _next_sweep(
    items: Sequence[Item], rows: int
) -> tuple[list[Item], list[Item], list[Item]]:
    """The gates of the next sweep, the maps of indices behind it, and what is left.

    A gate is taken if there is room for its bits, and nothing before it that acts on
    one of them is a map, which changes the frame, or is left over.
    """
    bits: set[int] = set()
    moved: set[int] = set()
    blocked: set[int] = set()
    taken, moves, left = [], [], []
    for item in items:
        if not blocked.isdisjoint(item.bits):
            fits = False
        elif item.move is not None:
            moves.append(item)
            moved.update(item.bits)
            continue
        else:
            fits = moved.isdisjoint(item.bits)
            fits = fits and len(bits.union(item.bits)) <= rows
        if fits:
            bits.update(item.bits)
            taken.append(item)
        else:
            left.append(item)
            blocked.update(item.bits)
    return taken, moves, left


def _tiles(
    frame: Affine, bits: Sequence[int], size: int
) -> tuple[Affine, Affine, Affine]:
    """Where tiles are read and written, and the frame after that.

    Args:
        frame: From the index of an amplitude to its place.
        bits: The bits of an index that are rows.
        size: Bits of an index into a tile.
    """
    everything = range(len(frame.columns))
    indices = frame.inverse()
    columns = [frame.columns[bit] for bit in bits]

    def in_first_row(vector: int) -> int:
        """The vector plus columns, so that it leads from a first row to a first row."""
        index = indices(vector) ^ indices.shift
        for bit, column in zip(bits, columns, strict=True):
            if index >> bit & 1:
                vector ^= column
        return vector

    span = _Span(columns)
    lanes = [  # of the lowest bits, so that places are next to each other
        in_first_row(1 << bit)
        for bit in everything
        if len(span) < size and span.add(1 << bit)
    ]
    start = 0
    for bit, column in zip(bits, columns, strict=True):
        if indices.shift >> bit & 1:
            start ^= column
    rest = [1 << bit for bit in everything if bit not in span.leading]
    others = [in_first_row(vector) for vector in rest]
    read = Affine((*lanes, *columns, *others), start)
    write = Affine((*span.reduced, *rest), 0)
    moved = write.after(read.inverse(), everything)
    return read, write, moved.after(frame, everything)


@dataclass(frozen=True)
class Route:
    """The places of a tile in the order of memory, piece by piece.

    A piece is a stretch of memory, or a block of eight stretches of eight places whose
    numbers are eight stretches of a tile, transposed.

    Args:
        kind: LINES, BLOCKS or RUNS.
        places: Where each piece begins, relative to the tile, shape ``(n_pieces,)``.
        starts: The index in the tile of that place, same shape.
        inside: The index that is XORed to it for each place of a run, or for each
            stretch of the tile in a block.
        lines: Where each stretch of memory in a block begins, shape ``(8,)``.
        twists: What is XORed to a place in a stretch of memory, for each bit of the
            number of the stretch, and to one in a stretch of the tile, shape ``(6,)``.
        tiles: Columns of the map from the number of a tile to its place, and last the
            place of the first.
        shifts: The same for what is XORed to all indices in the tile.
    """

    kind: int
    places: NDArray[np.int32]
    starts: NDArray[np.int32]
    inside: NDArray[np.int32]
    lines: NDArray[np.int32]
    twists: tuple[int, ...]
    tiles: tuple[int, ...]
    shifts: tuple[int, ...]

    @classmethod
    def of(cls, tiles: Affine, size: int) -> Route:
        """The route of tiles.

        Args:
            tiles: From the index in all tiles to the place in memory.
            size: Bits of an index into a tile.
        """
        columns = tiles.columns[:size]
        span = _Span(columns)
        low = [(1 << b, span.combination(1 << b)) for b in range(LINE)]
        lanes = [(columns[b], 1 << b) for b in range(LINE)]
        mask = (1 << LINE) - 1
        inside: list[int] = []
        lines: list[int] = []
        twists: list[int] = []

        def key(place: int, index: int) -> int:
            return place & mask | (index & mask) << LINE

        others = (*tiles.columns[LINE:], tiles.shift)
        if lanes == low and not any(place & mask for place in others):
            kind, pieces = LINES, low
            solved = _Span([place for place, _ in pieces])
        else:
            kind, pieces = BLOCKS, [*low, *lanes]
            solved = _Span([key(*piece) for piece in pieces])
            inside = [index & ~mask for _, index in low]
            lines = [place & ~mask for place, _ in lanes]
            twists = [
                *(place & mask for place, _ in lanes),
                *(index & mask for _, index in low),
            ]
        chosen = _Span([place for place, _ in pieces])
        if len(solved) < len(pieces) or len(chosen) < len(pieces):
            run = 0
            while run < min(size, LONGEST_RUN) and span.contains(1 << run):
                run += 1
            kind, pieces = (
                RUNS,
                [(1 << b, span.combination(1 << b)) for b in range(run)],
            )
            mask, lines, twists = (1 << run) - 1, [], []
            inside = [index for _, index in pieces]
            solved = _Span([place for place, _ in pieces])
            chosen = _Span([place for place, _ in pieces])

        def first(place: int, index: int) -> tuple[int, int]:
            """The place and index where the same piece begins."""
            wanted = key(place, index) if kind == BLOCKS else place & mask
            which = solved.combination(wanted)
            for i, (x, y) in enumerate(pieces):
                if which >> i & 1:
                    place, index = place ^ x, index ^ y
            return place, index

        begins = [
            first(column, 1 << index)
            for index, column in enumerate(columns)
            if chosen.add(column)
        ]
        numbers = [first(place, 0) for place in (*tiles.columns[size:], tiles.shift)]
        return cls(
            kind,
            combinations([place for place, _ in begins]),
            combinations([index for _, index in begins]),
            combinations(inside),
            combinations(lines),
            tuple(twists),
            tuple(place for place, _ in numbers),
            tuple(index for _, index in numbers),
        )


class _Span:
    """Vectors over the field of two elements, and what they span.

    Args:
        vectors: They are independent.
    """

    def __init__(self, vectors: Sequence[int] = ()) -> None:
        self._rows: dict[int, tuple[int, int]] = {}  # leading bit: vector, combination
        for vector in vectors:
            self.add(vector)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, vector: int) -> bool:
        """Add a vector, if it is independent of the others, and say whether it is."""
        rest, combination = self._reduced(vector)
        if rest:
            own = combination ^ 1 << len(self._rows)
            self._rows[rest.bit_length() - 1] = rest, own
        return rest != 0

    def contains(self, vector: int) -> bool:
        """Whether the vector is in the span."""
        return self._reduced(vector)[0] == 0

    def combination(self, vector: int) -> int:
        """Which of the vectors add up to this one, as a mask."""
        return self._reduced(vector)[1]

    @property
    def leading(self) -> set[int]:
        """The highest bits of the reduced vectors."""
        return set(self._rows)

    @property
    def reduced(self) -> list[int]:
        """Vectors with the same span, none of which has the highest bit of another.

        All unit vectors in the span are among them.
        """
        done: list[int] = []
        for lead in sorted(self._rows):
            vector = self._rows[lead][0]
            for other in reversed(done):
                if vector >> other.bit_length() - 1 & 1:
                    vector ^= other
            done.append(vector)
        return done

    def _reduced(self, vector: int) -> tuple[int, int]:
        combination = 0
        while vector:
            # The highest bit may belong to no row, and a lower one to a row.
            leads = [lead for lead in self._rows if vector >> lead & 1]
            if not leads:
                break
            row, own = self._rows[max(leads)]
            vector, combination = vector ^ row, combination ^ own
        return vector, combination


def combinations(vectors: Sequence[int]) -> NDArray[np.int32]:
    """The XOR of every subset of vectors, shape ``(2**len(vectors),)``."""
    found = np.zeros(1 << len(vectors), np.int32)
    for i, vector in enumerate(vectors):
        found[1 << i : 2 << i] = found[: 1 << i] ^ vector
    return found
