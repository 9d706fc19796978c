"""Which instructions on a large mixed state run together, on tiles that fit the cache.

A tile has the digits 0 and 1 of a Pauli vector, whose numbers are next to each other,
and the few that a group of instructions acts on. This module knows blocks and wires,
not what they do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from qstore_pl.engine.instructions import PERMUTATION, SINGLE, Block

TILED = 7  # wires from which a state may be processed in tiles, without tables
MOST_TABLE_WIRES = 9  # beyond, no permutation is worth a table of all words
FUSED = 2  # permutations of few wires in one, beyond which it is worth a table
TILE_DIGITS = 7  # of a tile: those of state and cotangent fit the cache


def is_tiled(blocks: Sequence[Block], n_wires: int) -> bool:
    """Whether tiles take less time than permutations by tables, where both can be."""
    if n_wires < TILED or n_wires > MOST_TABLE_WIRES:
        return n_wires >= TILED
    permutations = [block for block in blocks if block.kind == PERMUTATION]
    pieces = sum(len(pieces_of(block)) for block in permutations)
    return pieces <= FUSED * len(permutations)


def pieces_of(block: Block) -> list[Block]:
    """A permutation as permutations on few wires each; another block as it is."""
    if block.kind != PERMUTATION:
        return [block]
    pieces: list[Block] = []
    for gate in block.gates:
        wires = set(gate.wires)
        last = next(
            (p for p in reversed(pieces) if not wires.isdisjoint(p.wires)), None
        )
        if last is not None and wires <= last.wires:
            last.gates.append(gate)
        else:
            pieces.append(Block(PERMUTATION, wires, [gate]))
    return pieces


def groups_of(
    blocks: Sequence[Block], n_wires: int
) -> Iterator[tuple[int, list[Block]]]:
    """Groups of blocks, and the mask of digits from 2 on of their tiles.

    A block moves left past blocks on other wires. The mask is 0 for a block that is no
    map of few digits.
    """
    left = list(blocks)
    upper = range(2, n_wires)
    while left:
        if left[0].kind == SINGLE:
            yield 0, [left[0]]
            left = left[1:]
            continue
        digits: set[int] = set()
        blocked: set[int] = set()
        taken: list[Block] = []
        rest: list[Block] = []
        for block in left:
            own = {n_wires - 1 - wire for wire in block.wires} - {0, 1}
            fits = len(digits | own) <= TILE_DIGITS - 2 or not taken
            if fits and block.kind != SINGLE and blocked.isdisjoint(block.wires):
                digits |= own
                taken.append(block)
            else:
                rest.append(block)
                blocked |= block.wires
        if len(digits) > TILE_DIGITS - 2:  # a permutation on many wires
            digits = set(upper)
        spare = (digit for digit in upper if digit not in digits)
        digits.update(itertools.islice(spare, max(0, TILE_DIGITS - 2 - len(digits))))
        yield sum(1 << digit for digit in digits), taken
        left = rest
