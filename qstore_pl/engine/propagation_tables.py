"""From gates to the tables of Pauli propagation: numbers of gates, and cells of words.

Gates are gathered in blocks as for Pauli vectors, and the words that are measured are
pulled back through the blocks, last block first. A block has a few *numbers*, the
entries of its transfer matrix, which an instruction computes from weights and features;
the cells of all words are linear in these numbers. This module knows no kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.affine import affine_of
from qstore_pl.engine.gates import (
    Amplitudes,
    Angle,
    Channel,
    Kraus,
    Matrix,
    MixedGate,
    PauliRotation,
    PauliSum,
    Permutation,
    Transfer,
    slots_of,
    wires_of,
)
from qstore_pl.engine.instructions import (
    ONE_WIRE,
    PERMUTATION,
    Block,
    CircuitTables,
    fuse,
)
from qstore_pl.engine.lightcone import quarter_turns
from qstore_pl.engine.pauli_fusion import (
    PauliWriter,
    elementary,
    kind_of,
    mask_of,
    monomial,
    only_scales,
    product_of,
)
from qstore_pl.engine.propagation_words import (
    MOST_WIRES,
    ONE,
    PulledBack,
    measured_words,
)

# Columns of an instruction, by operation. The first number it computes comes second.
#   GIVEN:   op, number, first constant, how many, 0, 0, 0, 0
#   AFFINE:  op, number, first element, last element, kinds, 0, 0, 0
#   TURN:    op, number, angle, 0, kinds, 0, 0, 0
#   FACTORS: op, number, first angle, last angle, kinds, 0, 0, 0
#   MATRICES: op, number, k, slot kind, slot, count, place in `wires`, wanted; the place
#            has the value of the controls, and their number
#   STATE:   op, number, k, slot kind, slot, complex, place of digits in `wires`, wanted
GIVEN, AFFINE, TURN, FACTORS, MATRICES, STATE = range(10, 16)
MOST_CONSTANT_WIRES = 4  # of a gate without values that is known by its matrix
MOST_MATRIX_WIRES = 3  # of a gate whose matrix entries are values, controls included
MOST_AMPLITUDE_WIRES = 8
_EXACT = 1e-14  # what is smaller is zero


class CannotPropagateError(ValueError):
    """A gate that no Pauli words are pulled back through, as it has too many wires."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PropagationTables(CircuitTables):
    """The structure of a circuit for Pauli propagation.

    Args: as :class:`CircuitTables`; a word in ``observables`` is a cell, and
        ``scratch`` is per sample.
        elements: What the blocks on one wire are made of, shape ``(n_elements, 5)``.
        starts: Where the terms of each cell start, shape ``(n_cells + 1,)``.
        cells: Number and source of each term, shape ``(n_terms, 2)``.
        matrices: Constant blocks of ``elements``.
        given: Constant numbers.
        factors: Constant factor of each cell, shape ``(n_cells,)``.
        n_numbers: How many numbers all instructions compute.
    """

    INTS: ClassVar[tuple[str, ...]] = (
        "code", "elements", "rotations", "terms", "observables", "wires", "starts",
        "cells",
    )  # fmt: skip
    FLOATS: ClassVar[tuple[str, ...]] = (
        "constants", "coefficients", "weights_of_terms", "matrices", "given", "factors",
    )  # fmt: skip
    SIZED: ClassVar[tuple[str, ...]] = (*INTS, "matrices", "given")

    elements: NDArray[np.int32]
    starts: NDArray[np.int32]
    cells: NDArray[np.int32]
    matrices: NDArray[np.float64]
    given: NDArray[np.float64]
    factors: NDArray[np.float64]
    n_numbers: int


def build(
    n_wires: int,
    gates: Sequence[MixedGate],
    observables: Sequence[PauliSum] = (),
    *,
    n_weights: int = 0,
    n_features: int = 0,
    n_constants: int = 0,
    max_words: int,
) -> PropagationTables:
    """Pull back the words that are measured and write the tables.

    Args:
        n_wires: Number of wires.
        gates: The circuit; :class:`Amplitudes` only as the first gate.
        observables: One Pauli sum per output.
        n_weights: Number of weights.
        n_features: Number of features.
        n_constants: Number of constants, in the weight slots from ``n_weights`` on.
        max_words: How many words there may be, those of all gates together.

    Raises:
        TooManyWordsError: If there are more words.
        CannotPropagateError: If a gate has too many wires.
    """
    if n_wires > MOST_WIRES:
        raise CannotPropagateError(
            f"a register of {n_wires} wires: the most are {MOST_WIRES}"
        )
    parts = itertools.chain.from_iterable(map(_parts, gates))
    blocks = fuse(parts, kind_of, only_scales, product=False)
    x, z, terms = measured_words(observables)
    words = PulledBack(x, z, most=max_words, of=sum(len(b.gates) for b in blocks))
    writer = _Writer(n_wires, n_weights, n_constants)
    start: Amplitudes | None = None
    for block in reversed(blocks):
        if isinstance(block.gates[0], Amplitudes):
            start = block.gates[0]
        else:
            writer.pull_back(block, words)
        words.passed(len(block.gates))
    writer.begin(start, words)
    found = words.cells()
    rows = []
    for output, place, coefficient in terms:
        cell = found.identity if place < 0 else int(found.measured[place])
        if cell >= 0:
            rows.append((output, cell, coefficient))
    tables = writer.numbers.tables(writer.code, ())
    return PropagationTables(
        **tables
        | {
            "n_outputs": len(observables),
            "observables": np.array([r[:2] for r in rows], np.int32).reshape(-1, 2),
            "weights_of_terms": np.array([r[2] for r in rows], np.float64),
        },
        n_weights=n_weights,
        n_features=n_features,
        elements=np.array(writer.numbers.elements, np.int32).reshape(-1, 5),
        starts=found.starts,
        cells=found.terms,
        matrices=np.array(writer.numbers.matrices, np.float64),
        given=np.array(writer.given, np.float64),
        factors=found.factors,
        n_numbers=writer.n_numbers,
        general=False,
    )


def _parts(gate: MixedGate) -> Iterator[MixedGate]:
    """A gate as rotations without controls, transfer matrices, or itself."""
    k = len(wires_of(gate))
    if isinstance(gate, Permutation) and k > MOST_CONSTANT_WIRES:
        if affine_of(gate.table, gate.phases) is None:
            raise CannotPropagateError(
                f"a permutation of the basis states of {k} wires, which is none by "
                f"CNOT, X and SWAP: the most are {MOST_CONSTANT_WIRES}"
            )
        yield gate
        return
    if isinstance(gate, Matrix | Kraus) and k > MOST_MATRIX_WIRES:
        raise CannotPropagateError(
            f"a matrix on {k} wires, controls included: the most are "
            f"{MOST_MATRIX_WIRES}"
        )
    if isinstance(gate, Transfer | Channel) and k > MOST_CONSTANT_WIRES:
        raise CannotPropagateError(
            f"a channel on {k} wires: the most are {MOST_CONSTANT_WIRES}"
        )
    if isinstance(gate, Amplitudes) and k > MOST_AMPLITUDE_WIRES:
        raise CannotPropagateError(
            f"initial amplitudes of {k} wires: the most are {MOST_AMPLITUDE_WIRES}"
        )
    for part in elementary(gate):
        if isinstance(part, PauliRotation) and len(part.word) == 1:
            yield part if part.angle.terms else _constant_turn(part)
        else:
            yield part


def _constant_turn(gate: PauliRotation) -> Transfer:
    """A rotation of one wire by a constant angle, as a transfer matrix."""
    axis, angle = "XYZ".index(gate.word), gate.angle.constant
    matrix = np.eye(4)
    a, b = 1 + (axis + 1) % 3, 1 + (axis + 2) % 3
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[b, a] = np.sin(angle)
    matrix[a, b] = -matrix[b, a]
    return Transfer(gate.wires, tuple(map(tuple, matrix.tolist())))


class _Writer:
    """Instructions that compute the numbers of gates, written while words go back.

    Args:
        n_wires: Number of wires.
        n_weights: Number of weights.
        n_constants: Number of constants.
    """

    def __init__(self, n_wires: int, n_weights: int, n_constants: int) -> None:
        self.numbers = PauliWriter(n_wires, n_weights, n_constants)
        self.given: list[float] = []
        self.code: list[tuple[int, ...]] = []
        self.n_numbers = 0
        self._places: dict[float, int] = {}
        assert self._constant(1.0) == ONE

    def pull_back(self, block: Block, words: PulledBack) -> None:
        """Pull words back through a block."""
        gates = block.gates
        if block.kind == ONE_WIRE:
            self._one_wire(next(iter(block.wires)), gates, words)
        elif block.kind == PERMUTATION:
            for gate in reversed(gates):
                found = monomial(gate.matrix)
                assert found is not None
                words.relabel(gate.wires, *found)
        else:
            (gate,) = gates
            self._single(gate, words)

    def begin(self, start: Amplitudes | None, words: PulledBack) -> None:
        """Give the words their values in the initial state."""
        if start is None:
            words.begin()
            return
        k, (kind, slot) = len(start.wires), start.slot
        at = len(self.numbers.wires)
        self.numbers.wires += range(k)
        mask = mask_of(self.numbers.kinds_of({start.slot}))
        row = (k, kind, slot, int(start.complex), at, mask)
        first = self._instruction(STATE, 4**k, *row)
        self._room(4 << k)
        words.begin(start.wires, first)

    def _one_wire(
        self, wire: int, gates: Sequence[MixedGate], words: PulledBack
    ) -> None:
        if all(isinstance(gate, Transfer) for gate in gates):
            self._transfer(product_of(gates, [wire]), words)
            return
        pattern = np.eye(4, dtype=bool)
        for gate in gates:
            pattern = _pattern(gate) @ pattern
        _, _, e0, e1, mask, *_ = self.numbers.one_wire(wire, gates)
        first = self._instruction(AFFINE, 12, e0, e1, mask)
        index = np.arange(-4, 12).reshape(4, 4) + first
        words.mix((wire,), np.where(pattern, index, -1))

    def _single(self, gate: MixedGate, words: PulledBack) -> None:
        match gate:
            case PauliRotation():
                self._turn(gate, words)
            case Channel():
                first_angle = len(self.numbers.rotations)
                for factor in gate.factors:
                    self.numbers.angle(3, factor)
                mask = mask_of(self.numbers.kinds_of(slots_of(gate)))
                last = len(self.numbers.rotations)
                count = len(gate.factors)
                first = self._instruction(FACTORS, count, first_angle, last, mask)
                words.scale(gate.wires, first + np.array(gate.which))
            case Transfer():
                self._transfer(gate, words)
            case Permutation():
                found = affine_of(gate.table, gate.phases)
                assert found is not None
                words.permute(found, gate.wires)
            case Matrix() | Kraus():
                self._matrices(gate, words)

    def _turn(self, gate: PauliRotation, words: PulledBack) -> None:
        quarters = quarter_turns(gate.angle)
        if quarters is not None:
            words.turn(gate.word, gate.wires, quarters)
            return
        angle = self.numbers.angle(0, gate.angle)
        mask = mask_of(self.numbers.kinds_of(gate.angle.slots))
        first = self._instruction(TURN, 3, angle, 0, mask)
        words.rotate(gate.word, gate.wires, first)

    def _transfer(self, gate: Transfer, words: PulledBack) -> None:
        found = monomial(gate.matrix)
        if found is not None:
            words.relabel(gate.wires, *found)
            return
        matrix = np.array(gate.matrix)
        values, inverse = np.unique(matrix, return_inverse=True)
        places = [-1 if abs(v) < _EXACT else self._constant(v) for v in values.tolist()]
        words.mix(gate.wires, np.array(places)[inverse].reshape(matrix.shape))

    def _matrices(self, gate: Matrix | Kraus, words: PulledBack) -> None:
        wires, (kind, slot) = wires_of(gate), gate.slot
        k = len(wires)
        side = 4**k
        slots = {gate.slot} if gate.differentiable else set()
        mask = mask_of(self.numbers.kinds_of(slots))
        controls = gate.controls if isinstance(gate, Matrix) else ()
        value = sum(v << i for i, (_, v) in enumerate(reversed(controls)))
        at = len(self.numbers.wires)
        self.numbers.wires += [value, len(controls)]
        count = gate.count if isinstance(gate, Kraus) else 1
        row = (k, kind, slot, count, at, mask)
        first = self._instruction(MATRICES, side * side, *row)
        self._room(2 * side * side + 8 * side)
        index = first + np.arange(side * side).reshape(side, side)
        if isinstance(gate, Matrix):
            index = index.T.copy() if gate.inverse else index
            index[1:, 0] = -1  # a unitary leaves the identity as it is
        words.mix(wires, index)

    def _instruction(self, op: int, count: int, *columns: int) -> int:
        """Write an instruction, and return the first of the numbers it computes."""
        first = self.n_numbers
        self.code.append((op, first, *columns, *[0] * (6 - len(columns))))
        self.n_numbers += count
        return first

    def _constant(self, value: float) -> int:
        if value not in self._places:
            at = len(self.given)
            self.given.append(value)
            self._places[value] = self._instruction(GIVEN, 1, at, 1)
        return self._places[value]

    def _room(self, size: int) -> None:
        self.numbers.scratch = max(self.numbers.scratch, size)


def _pattern(gate: MixedGate) -> NDArray[np.bool_]:
    """Which entries of a one-wire gate's transfer matrix are not always 0."""
    if isinstance(gate, Transfer):
        return np.abs(np.array(gate.matrix)) > _EXACT
    pattern = np.eye(4, dtype=bool)
    if isinstance(gate, PauliRotation):
        axis = "XYZ".index(gate.word)
        a, b = 1 + (axis + 1) % 3, 1 + (axis + 2) % 3
        pattern[a, b] = pattern[b, a] = True
    else:
        assert isinstance(gate, Channel)
        for letter, which in enumerate(gate.which):
            pattern[letter, letter] = gate.factors[which] != Angle(0.0)
        pattern[3, 0] = gate.shift != Angle(0.0)
    return pattern
