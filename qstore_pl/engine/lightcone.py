r"""Which weights and features an expectation value can depend on, from structure alone.

An observable is pulled back through the circuit, gate by gate. Of the Pauli words that
it may then be a sum of, only the letters on each wire are kept, so what is found is a
superset of the truth: what is not in it can never matter. This module knows gates, and
runs nothing.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.gates import (
    Amplitudes,
    Channel,
    Drawn,
    Kraus,
    Matrix,
    MixedGate,
    PauliRotation,
    PauliSum,
    Permutation,
    Slot,
    Transfer,
)
from qstore_pl.engine.transfer import LETTERS, transfer_matrix

IDENTITY, ALL = 1, 15  # sets of letters as bits: I, X, Y, Z are bits 0 to 3
MAX_WIRES = 3  # of a gate whose action on Pauli words is computed

Letters = dict[int, int]  # wire -> the letters that may stand there; absent is I


def light_cones(
    gates: Sequence[MixedGate], observables: Sequence[PauliSum]
) -> list[set[Slot]]:
    """The slots that each observable's expectation value can depend on.

    Args:
        gates: The circuit, in the order in which the gates act.
        observables: Sums of Pauli words.

    Returns:
        For each observable a set of slots (WEIGHT or FEATURE, index). Any other slot
        leaves its expectation value as it is, whatever the values of all slots are.
    """
    steps = [_step(gate) for gate in reversed(gates)]
    return [
        set().union(*(_cone(steps, word, wires) for _, word, wires in observable))
        for observable in observables
    ]


def last_slots(gates: Sequence[MixedGate]) -> set[Slot]:
    """The slots that only enter the last gates on single wires.

    Between such a gate and the end of the circuit no gate on several wires is followed
    by another gate on the same single wire. Some of these slots always change nothing:
    those that turn about the axis that is measured, or a wire that is not.

    Args:
        gates: The circuit, in the order in which the gates act.
    """
    begun: set[int] = set()  # wires whose last gates have been met
    ended: set[int] = set()  # and passed
    last: set[Slot] = set()
    earlier: set[Slot] = set()
    for gate in reversed(gates):
        wires = set(_wires(gate))
        if len(wires) == 1 and not wires & ended:
            begun |= wires
            last |= _slots(gate)
        else:
            ended |= wires & begun
            earlier |= _slots(gate)
    return last - earlier


class _Step:
    """A gate as it acts on sets of letters, in the Heisenberg picture."""

    def __init__(self, gate: MixedGate) -> None:
        self.wires, self.slots = _wires(gate), _slots(gate)

    def pull(self, letters: Letters) -> bool:
        """Change the letters; whether the gate's own numbers matter.

        Every letter becomes possible, unless the gate meets only identities.
        """
        if all(letters.get(wire, IDENTITY) == IDENTITY for wire in self.wires):
            return False
        letters |= dict.fromkeys(self.wires, ALL)
        return True


class _Rotation(_Step):
    def __init__(self, gate: PauliRotation) -> None:
        super().__init__(gate)
        self._word = [LETTERS.index(letter) for letter in gate.word]
        # Quarter turns carry each word to one word; other angles mix it with another.
        quarters = 2.0 * gate.angle.constant / math.pi
        whole = not gate.angle.terms and abs(quarters - round(quarters)) < 1e-9
        self._quarters = round(quarters) % 4 if whole else None

    def pull(self, letters: Letters) -> bool:
        anticommuting, certain = 0, True
        for letter, wire in zip(self._word, self.wires, strict=True):
            there = letters.get(wire, IDENTITY)
            same = there & (IDENTITY | 1 << letter)
            other = there & ~same
            certain = certain and not (same and other)
            anticommuting += bool(other)
        if certain and anticommuting % 2 == 0:
            return False
        if self._quarters in (0, 2):
            return False
        for letter, wire in zip(self._word, self.wires, strict=True):
            there = letters.get(wire, IDENTITY)
            turned = sum(1 << (i ^ letter) for i in range(4) if there >> i & 1)
            stays = 0 if certain and self._quarters is not None else there
            letters[wire] = turned | stays
        return True


class _Linear(_Step):
    """A gate on few wires whose action on Pauli words is known.

    Args:
        gate: The gate.
        images: For each word on its wires the letters of its image, wire by wire.
    """

    def __init__(self, gate: MixedGate, images: tuple[tuple[int, ...], ...]) -> None:
        super().__init__(gate)
        self._images = images

    def pull(self, letters: Letters) -> bool:
        there = [letters.get(wire, IDENTITY) for wire in self.wires]
        if all(bits == IDENTITY for bits in there):
            return False
        found = [0] * len(there)
        possible = ([i for i in range(4) if bits >> i & 1] for bits in there)
        for word in itertools.product(*possible):
            index = functools.reduce(lambda high, digit: 4 * high + digit, word, 0)
            found = [a | b for a, b in zip(found, self._images[index], strict=True)]
        letters |= dict(zip(self.wires, found, strict=True))
        return True


def _step(gate: MixedGate) -> Sequence[_Step]:
    match gate:
        case PauliRotation():
            return [_Rotation(part) for part in gate.uncontrolled()]
        case Permutation() if len(gate.wires) <= MAX_WIRES:
            return [_Linear(gate, _permuted(gate.table, gate.phases))]
        case Transfer() if len(gate.wires) <= MAX_WIRES:
            return [_Linear(gate, _images(np.array(gate.matrix)))]
        case Channel() if len(gate.wires) <= MAX_WIRES:
            kept = np.eye(4 ** len(gate.wires))
            if len(gate.wires) == 1:
                kept[3, 0] = 1.0  # it may shift Z
            return [_Linear(gate, _images(kept))]
    return [_Step(gate)]


@functools.lru_cache(maxsize=256)
def _permuted(
    table: tuple[int, ...], phases: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    matrix = np.zeros((len(table), len(table)), complex)
    matrix[range(len(table)), table] = np.exp(0.25j * np.pi * np.array(phases))
    return _images(transfer_matrix([matrix]))


def _images(transfer: NDArray[np.float64]) -> tuple[tuple[int, ...], ...]:
    """Letters of the image of each word in the Heisenberg picture: rows of a matrix."""
    k = (len(transfer).bit_length() - 1) // 2
    digits = np.stack(
        [np.arange(len(transfer)) >> 2 * (k - 1 - i) & 3 for i in range(k)]
    )
    return tuple(
        tuple(
            int(np.bitwise_or.reduce(1 << digits[i, np.abs(row) > 1e-9]))
            for i in range(k)
        )
        for row in transfer
    )


def _cone(
    steps: Sequence[Sequence[_Step]], word: str, wires: Sequence[int]
) -> set[Slot]:
    letters = {
        w: 1 << LETTERS.index(letter) for letter, w in zip(word, wires, strict=True)
    }
    seen: set[Slot] = set()
    for step in steps:
        for part in step:
            if part.pull(letters):
                seen |= part.slots
    return seen


def _wires(gate: MixedGate) -> tuple[int, ...]:
    if isinstance(gate, PauliRotation | Matrix):
        return (*(wire for wire, _ in gate.controls), *gate.wires)
    return gate.wires


def _slots(gate: MixedGate) -> set[Slot]:
    """The slots whose values a gate depends on."""
    size = 1 << len(_wires(gate))
    match gate:
        case PauliRotation():
            return gate.angle.slots
        case Channel():
            return set().union(*(f.slots for f in (*gate.factors, gate.shift)))
        case Matrix():
            side = 1 << len(gate.wires)
            return _consecutive(gate.slot, 2 * side**2)
        case Kraus():
            return _consecutive(gate.slot, gate.count * 2 * size**2)
        case Amplitudes():
            return _consecutive(gate.slot, size << gate.complex)
        case Drawn():
            return _consecutive(gate.slot, 4 * size**2 + 1)
    return set()


def _consecutive(slot: Slot, count: int) -> set[Slot]:
    kind, first = slot
    return {(kind, first + i) for i in range(count)}
