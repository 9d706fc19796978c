"""Light cones: which weights and features an expectation value can depend on at all.

In the Heisenberg picture an observable is pulled back through the gates, last gate
first. For each wire the letters (I, X, Y, Z) are kept that the pulled-back observable
may have there, for all observables at once: bit ``o`` of ``letters[wire][letter]`` says
whether observable ``o`` may have the letter. A rotation that commutes with everything
possible is not seen. Only the structure of the circuit is read, never a value, so a
slot outside the cone has a gradient of zero, while one inside may happen to have one.
This module knows no kernels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence

import numpy as np

from qstore_pl.engine.gates import (
    WEIGHT,
    Angle,
    Channel,
    MixedGate,
    PauliRotation,
    PauliSum,
    Permutation,
    Slot,
    Transfer,
    slots_of,
    wires_of,
)
from qstore_pl.engine.transfer import LETTERS

MOST_WORDS = 64  # local words that are pulled back one by one; beyond, all are possible
MOST_WIRES = 8  # of a permutation whose words are pulled back
_EXACT = 1e-12  # what is smaller is zero

Letters = list[list[int]]  # for each wire four sets of observables, as bits
Word = tuple[int, ...]  # letters as numbers 0 to 3
Image = tuple[int, ...]  # for each wire the possible letters, as bits 0 to 3


def light_cones(
    gates: Sequence[MixedGate], observables: Sequence[PauliSum]
) -> list[set[Slot]]:
    """The weights and features each expectation value can depend on.

    Args:
        gates: The circuit.
        observables: One Pauli sum per output.

    Returns:
        For each observable a set of slots; constants are among them, as weight slots.
    """
    # Word by word: of a single word every letter is certain at first.
    words = list(dict.fromkeys(term[1:] for terms in observables for term in terms))
    by_word = dict(zip(words, _cones(gates, words), strict=True))
    return [set().union(*(by_word[t[1:]] for t in terms)) for terms in observables]


def _cones(
    gates: Sequence[MixedGate], words: Sequence[tuple[str, tuple[int, ...]]]
) -> list[set[Slot]]:
    """The slots that each Pauli word's expectation value can depend on."""
    letters = _first_letters(gates, words)
    seen: dict[Slot, int] = {}
    for gate in reversed(gates):
        if isinstance(gate, PauliRotation):
            seeing = 0
            for rotation in gate.uncontrolled() if gate.controls else [gate]:
                seeing |= _pull_back_rotation(letters, rotation)
        else:
            seeing = _touched(letters, wires_of(gate))
            if seeing:
                _pull_back(letters, gate, seeing)
        if seeing:
            for slot in slots_of(gate):
                seen[slot] = seen.get(slot, 0) | seeing
    return [
        {slot for slot, those in seen.items() if those >> output & 1}
        for output in range(len(words))
    ]


def last_rotations(
    gates: Sequence[MixedGate], outcomes: Collection[int] = ()
) -> set[Slot]:
    """The weights that occur in nothing but the last rotations of their wires.

    Walking back from the end of a wire, these are the rotations up to the first gate on
    several wires that comes after a rotation in the walk. An observable may commute
    with such a rotation, as Z does with a final RZ, although the model is a sound one.

    Args:
        gates: The circuit.
        outcomes: Wires that hold an outcome at the end. A wire that is measured ends
            there: the rotations that its outcome controls are none of its own.
    """
    turned: set[int] = set()  # wires with a rotation behind the current gate
    ended: set[int] = set()  # wires whose last rotations all lie behind it
    last: set[Slot] = set()
    other: set[Slot] = set()
    for gate in reversed(gates):
        wires = wires_of(gate)
        if isinstance(gate, PauliRotation):
            decide = [wire for wire, _ in gate.controls if wire in outcomes]
            wires = tuple(wire for wire in wires if wire not in decide)
        if len(wires) > 1:
            ended |= turned.intersection(wires)
        is_last = isinstance(gate, PauliRotation) and ended.isdisjoint(wires)
        if is_last and wires:
            turned.update(wires)
            last |= slots_of(gate)
        else:
            other |= slots_of(gate)
    return {slot for slot in last - other if slot[0] == WEIGHT}


def _first_letters(
    gates: Sequence[MixedGate], words: Sequence[tuple[str, tuple[int, ...]]]
) -> Letters:
    """The letters of the words themselves."""
    measured = [wire for _, wires in words for wire in wires]
    acted = [wire for gate in gates for wire in wires_of(gate)]
    letters = [[0, 0, 0, 0] for _ in range(1 + max([*measured, *acted], default=-1))]
    for output, (word, wires) in enumerate(words):
        placed = dict(zip(wires, word, strict=True))
        for wire, row in enumerate(letters):
            row[LETTERS.index(placed.get(wire, "I"))] |= 1 << output
    return letters


def _touched(letters: Letters, wires: Sequence[int]) -> int:
    """The observables that may be other than the identity on these wires."""
    found = 0
    for wire in wires:
        _, x, y, z = letters[wire]
        found |= x | y | z
    return found


def _pull_back_rotation(letters: Letters, gate: PauliRotation) -> int:
    """Pull back through a rotation without controls; the observables that see it.

    A word P that anticommutes with W becomes a sum of P and WP.
    """
    odd = unknown = 0
    turns = []
    for wire, name in zip(gate.wires, gate.word, strict=True):
        if name == "I":
            continue
        w = LETTERS.index(name)
        a, b = (letter for letter in (1, 2, 3) if letter != w)
        row = letters[wire]
        commuting, anticommuting = row[0] | row[w], row[a] | row[b]
        odd ^= anticommuting & ~commuting
        unknown |= anticommuting & commuting
        turns.append((row, w))
    seen = odd | unknown
    if not seen:
        return 0
    quarters = quarter_turns(gate.angle)
    if quarters is not None and quarters % 2 == 0:
        return seen
    gone = 0 if quarters is None else odd & ~unknown  # P becomes WP alone
    for row, w in turns:
        # As numbers 0 to 3, letters multiply by XOR.
        row[:] = [row[i] & ~gone | row[i ^ w] & seen for i in range(4)]
    return seen


def quarter_turns(angle: Angle) -> int | None:
    """How many right angles a constant angle is, or None if it is none of them."""
    if angle.terms:
        return None
    quarters = angle.constant / (0.5 * np.pi)
    nearest = round(quarters)
    return nearest if abs(quarters - nearest) < _EXACT else None


def _pull_back(letters: Letters, gate: MixedGate, seeing: int) -> None:
    """Pull back through any other gate; ``seeing`` are the observables that see it."""
    wires = wires_of(gate)
    image: Callable[[Word], Image] | None
    match gate:
        case Permutation() if len(wires) <= MOST_WIRES:
            image = functools.partial(_permuted, gate.table, gate.phases)
        case Transfer():
            image = functools.partial(_transferred, gate.matrix)
        case Channel():
            image = functools.partial(_scaled, gate.shift != Angle())
        case _:
            image = None
    words = None if image is None else _possible_words(letters, wires)
    if image is None or words is None:
        for wire in wires:
            letters[wire] = [found | seeing for found in letters[wire]]
        return
    rows = [[0, 0, 0, 0] for _ in wires]
    for word, those in words:
        for row, found in zip(rows, image(word), strict=True):
            for letter in range(4):
                if found >> letter & 1:
                    row[letter] |= those
    for wire, row in zip(wires, rows, strict=True):
        letters[wire] = row


def _possible_words(
    letters: Letters, wires: Sequence[int]
) -> list[tuple[Word, int]] | None:
    """Local words with the observables that may have them; None if there are many."""
    words: list[tuple[Word, int]] = [((), -1)]
    for wire in wires:
        words = [
            ((*word, letter), those & found)
            for word, those in words
            for letter, found in enumerate(letters[wire])
            if those & found
        ]
        if len(words) > MOST_WORDS:
            return None
    return words


@functools.lru_cache(maxsize=4096)
def _permuted(table: tuple[int, ...], phases: tuple[int, ...], word: Word) -> Image:
    r"""The letters of :math:`U^\dagger P U` for a permutation U with phases.

    :math:`U = \sum_i e^{i\pi p_i/4} |i\rangle\langle t_i|`, so that P, which takes
    :math:`|i\rangle` to :math:`\pm|i \oplus x\rangle`, becomes a matrix with one entry
    in each column, at column :math:`t_i` and row :math:`t_{i \oplus x}`. Entries whose
    row and column differ by the same bits s are a sum of words with X mask s.
    """
    k = len(word)
    x = z = 0
    for letter in word:
        x, z = 2 * x + (letter in (1, 2)), 2 * z + (letter in (2, 3))
    index = np.arange(1 << k)
    sources, turns = np.array(table), np.array(phases)
    signs = 1.0 - 2.0 * (np.bitwise_count(index[:, None] & index) & 1)
    values = signs[z] * np.exp(0.25j * np.pi * (turns - turns[index ^ x]))
    entries = np.zeros((1 << k, 1 << k), complex)
    entries[sources[index ^ x] ^ sources, sources] = values
    x_masks, z_masks = np.nonzero(np.abs(entries @ signs) > _EXACT * (1 << k))
    image = []
    for place in reversed(range(k)):
        has_x, has_z = x_masks >> place & 1, z_masks >> place & 1
        # From (x, z) to the number of the letter: Y has both bits.
        found = np.where(has_x, 1 + has_z, 3 * has_z)
        image.append(int(np.bitwise_or.reduce(1 << found)))
    return tuple(image)


@functools.lru_cache(maxsize=4096)
def _transferred(matrix: tuple[tuple[float, ...], ...], word: Word) -> Image:
    """The letters of the words that a constant channel's row of this word has."""
    k, row = len(word), 0
    for letter in word:
        row = 4 * row + letter
    words = np.flatnonzero(np.abs(matrix[row]) > _EXACT)
    return tuple(
        int(np.bitwise_or.reduce(1 << (words >> 2 * place & 3), initial=0))
        for place in reversed(range(k))
    )


def _scaled(shifted: bool, word: Word) -> Image:
    """A channel keeps each word; one that shifts Z adds the identity to it."""
    if shifted and word == (3,):
        return (1 << 3 | 1,)
    return tuple(1 << letter for letter in word)
