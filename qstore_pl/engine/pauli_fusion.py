"""From gates and channels to the few instructions the mixed-state kernels read.

What acts on one wire, rotations and channels alike, becomes one affine block; Clifford
gates and constant Pauli channels become one signed, scaled permutation of Pauli words.
The first block of each wire is written directly as a factor of a product state. The
rules by which gates meet are those of :mod:`fusion`; ``pauli.md`` has the mathematics.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.fusion import (
    BATCHED,
    BLOCK,
    FACTOR,
    INVERSE,
    PERMUTE,
    WANTED,
    pack,
    reach,
    value_kinds,
    write_angle,
)
from qstore_pl.engine.gates import (
    FEATURE,
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
)
from qstore_pl.engine.transfer import LETTERS, transfer_matrix

# Columns of an instruction, by operation:
#   FACTOR, BLOCK, BATCHED: op, digit, first element, last element, kinds, 0, 0, 0
#   PERMUTE:                op, table, norm, 0, 0, 0, 0, 0
#   PAULI:                  op, low digit, angle, batched, kinds, word, 0, 0
#   SCALE:                  op, first wire, k, first angle, kinds, last angle, which, 0
#   TRANSFER:               op, first wire, k, matrix, 0, 0, 0, 0
#   KRAUS:                  op, first wire, k, slot kind, slot, count, flags, controls;
#                           flags are INVERSE and WANTED, for a gradient
#   AMPLITUDES:             op, first wire, k, slot kind, kinds, slot, complex, 0
# `kinds` has bit 0 for a gradient by weights, bit 1 by features.
PAULI, SCALE, TRANSFER, KRAUS, AMPLITUDES = range(4, 9)
# An element of a block: kind, then its columns. Kinds 0 to 2 are rotations by axis.
#   rotation: axis, angle;   DAMP: kind, angles of x, y, z, shift (-1 is none)
#   FIXED:    kind, its 12 numbers and its norm in `matrices`
DAMP, FIXED = 3, 4
MOST_TABLE_WIRES = 8  # beyond, a gate on its own is not worth a table of all words
INTS = ("code", "elements", "rotations", "terms", "observables", "wires", "tables")
FLOATS = ("constants", "coefficients", "weights_of_terms", "scales", "matrices")


@dataclass(frozen=True, eq=False)
class PauliTables:
    """A noisy circuit's structure as the kernels read it.

    Args:
        n_wires: Number of wires; wire 0 is the most significant digit of an index.
        n_weights: Length of the shared values.
        n_features: Columns of the per-sample values.
        n_outputs: Number of observables.
        code: Instructions, shape ``(n_blocks, 8)``; its columns are listed above.
        elements: What the blocks are made of, shape ``(n_elements, 5)``.
        rotations: Axis (3 is a value) and range of terms and whether batched, for each
            angle, shape ``(n_angles, 4)``.
        constants: Constant part of each angle, shape ``(n_angles,)``.
        terms: Factors of the terms, two slots a row, shape ``(n_terms, 4)``.
        coefficients: Coefficient of each term, shape ``(n_terms,)``.
        tables: Row i of a permutation's result is ``scales[i]`` times row
            ``tables[i]``, shape ``(n_tables, 4**n)``.
        scales: Signs and factors of the permutations, same shape.
        matrices: Constant blocks, norms, transfer matrices and their inverses.
        observables: Output and row of each Pauli term, shape ``(n_words, 2)``.
        weights_of_terms: Coefficients of the Pauli terms.
        wires: Digit positions and lookup tables of the instructions that need them.
        first_weight: First instruction whose gradient reaches a weight.
        first_feature: First instruction whose gradient reaches a feature.
        scratch: Numbers per sample the largest instruction needs for itself.
        side: Of the largest transfer matrix, or 0.
        general: Whether kernels beyond blocks and permutations are needed.
    """

    n_wires: int
    n_weights: int
    n_features: int
    n_outputs: int
    code: NDArray[np.int32]
    elements: NDArray[np.int32]
    rotations: NDArray[np.int32]
    constants: NDArray[np.float64]
    terms: NDArray[np.int32]
    coefficients: NDArray[np.float64]
    tables: NDArray[np.int32]
    scales: NDArray[np.float64]
    matrices: NDArray[np.float64]
    observables: NDArray[np.int32]
    weights_of_terms: NDArray[np.float64]
    wires: NDArray[np.int32]
    first_weight: int
    first_feature: int
    scratch: int
    side: int
    general: bool
    ints: NDArray[np.int32] = field(init=False)
    floats: NDArray[np.float64] = field(init=False)
    sizes: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        pack(self, INTS, FLOATS)
        sizes = [len(getattr(self, name)) for name in INTS]
        object.__setattr__(self, "sizes", np.array([self.n_wires, *sizes], np.int64))
        self.sizes.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Through __init__, so that a copy is read-only as well.
        return PauliTables, tuple(
            getattr(self, f.name) for f in dataclasses.fields(self) if f.init
        )


@dataclass
class _Block:
    """One instruction in the making."""

    kind: str
    wires: set[int]
    gates: list[MixedGate] = field(default_factory=list)
    factor: bool = False  # whether it writes its wire's factor of the product state


def build(
    n_wires: int,
    gates: Sequence[MixedGate],
    observables: Sequence[PauliSum] = (),
    *,
    n_weights: int = 0,
    n_features: int = 0,
    n_constants: int = 0,
) -> PauliTables:
    """Fuse ``gates`` and write their tables.

    Args:
        n_wires: Number of wires.
        gates: The circuit; :class:`Amplitudes` only as the first gate.
        observables: One Pauli sum per output.
        n_weights: Number of shared values.
        n_features: Number of per-sample values.
        n_constants: Number of constants, in the weight slots from ``n_weights`` on.
    """
    blocks = _fuse(gates)
    writer = _Writer(n_wires, n_weights if n_constants else None)
    code = _product_state(n_wires, blocks, writer)
    for block in blocks:
        code.append(writer.instruction(block))
    terms = [
        (output, word_index(n_wires, word, wires), coefficient)
        for output, pauli_sum in enumerate(observables)
        for coefficient, word, wires in pauli_sum
    ]
    first_weight, first_feature = reach(writer.kinds)
    return PauliTables(
        n_wires=n_wires,
        n_weights=n_weights,
        n_features=n_features,
        n_outputs=len(observables),
        code=np.array(code, np.int32).reshape(-1, 8),
        elements=np.array(writer.elements, np.int32).reshape(-1, 5),
        rotations=np.array(writer.rotations, np.int32).reshape(-1, 4),
        constants=np.array(writer.constants, np.float64),
        terms=np.array(writer.terms, np.int32).reshape(-1, 4),
        coefficients=np.array(writer.coefficients, np.float64),
        tables=np.array(writer.tables, np.int32).reshape(-1, 4**n_wires),
        scales=np.array(writer.scales, np.float64).reshape(-1, 4**n_wires),
        matrices=np.array(writer.matrices, np.float64),
        observables=np.array([t[:2] for t in terms], np.int32).reshape(-1, 2),
        weights_of_terms=np.array([t[2] for t in terms], np.float64),
        wires=np.array(writer.wires, np.int32),
        first_weight=first_weight,
        first_feature=first_feature,
        scratch=writer.scratch,
        side=writer.side,
        general=any(row[0] > PERMUTE for row in code),
    )


def word_index(n_wires: int, word: str, wires: Sequence[int]) -> int:
    """Row of a Pauli word in a Pauli vector."""
    return sum(
        LETTERS.index(letter) << 2 * (n_wires - 1 - wire)
        for letter, wire in zip(word, wires, strict=True)
    )


# --- which gates meet -------------------------------------------------------------


def _fuse(gates: Sequence[MixedGate]) -> list[_Block]:
    """Gates to blocks in order."""
    blocks: list[_Block] = []
    last: dict[int, int] = {}  # wire -> index of the last block on it
    product = not any(isinstance(gate, Amplitudes) for gate in gates)
    last_permutation = -1
    for gate in itertools.chain.from_iterable(map(_elementary, gates)):
        wires = _wires(gate)
        newest = max((last.get(wire, -1) for wire in wires), default=-1)
        kind, target = _kind(gate), -1
        if kind == "block" and newest >= 0:
            found = blocks[newest].kind
            scaling = isinstance(gate, Transfer) and _scaling(gate) is not None
            if found == "block":
                target = newest
            elif found == "permutation" and scaling:
                kind, target = found, newest
        elif kind == "permutation":
            # Blocks that write the product state run first, wherever they stand.
            newest = max(
                (last[w] for w in wires if w in last and not blocks[last[w]].factor),
                default=-1,
            )
            target = last_permutation if newest <= last_permutation else -1
        if target < 0:
            target = len(blocks)
            first = product and kind == "block" and newest < 0
            blocks.append(_Block(kind, set(), factor=first))
        blocks[target].gates.append(gate)
        blocks[target].wires |= wires
        for wire in wires:
            last[wire] = target
        if kind == "permutation":
            last_permutation = max(last_permutation, target)
    return blocks


def _elementary(gate: MixedGate) -> Iterator[MixedGate]:
    """Rotations without controls, no phases, constant channels as matrices."""
    if isinstance(gate, PauliRotation):
        yield from gate.uncontrolled()
    elif isinstance(gate, Permutation):
        yield Transfer(gate.wires, _permutation_transfer(gate.table, gate.phases))
    elif isinstance(gate, Channel) and not _slots(gate):
        factors = [factor.constant for factor in gate.factors]
        matrix = np.diag([factors[i] for i in gate.which])
        if len(gate.wires) == 1:
            matrix[3, 0] = gate.shift.constant
        yield Transfer(gate.wires, tuple(map(tuple, matrix.tolist())))
    else:
        yield gate


def _slots(gate: Channel) -> set[tuple[int, int]]:
    return {s for angle in (*gate.factors, gate.shift) for s in angle.slots}


def _wires(gate: MixedGate) -> set[int]:
    controls = gate.controls if isinstance(gate, PauliRotation | Matrix) else ()
    return {*gate.wires, *(wire for wire, _ in controls)}


def _kind(gate: MixedGate) -> str:
    if len(gate.wires) == 1 and isinstance(gate, PauliRotation | Channel | Transfer):
        return "block"
    if isinstance(gate, Transfer) and _monomial(gate.matrix) is not None:
        return "permutation"
    return "single"


@functools.lru_cache(maxsize=256)
def _permutation_transfer(
    table: tuple[int, ...], phases: tuple[int, ...]
) -> tuple[tuple[float, ...], ...]:
    unitary = np.zeros((len(table), len(table)), complex)
    unitary[np.arange(len(table)), table] = np.exp(1j * np.pi / 4 * np.array(phases))
    return tuple(map(tuple, transfer_matrix([unitary]).tolist()))


@functools.lru_cache(maxsize=256)
def _monomial(
    matrix: tuple[tuple[float, ...], ...],
) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
    """Sources and factors of a matrix with one entry a row and column, or None."""
    array = np.array(matrix)
    kept = np.abs(array) > 1e-14
    if not (np.all(kept.sum(axis=0) == 1) and np.all(kept.sum(axis=1) == 1)):
        return None
    sources = kept.argmax(axis=1)
    return tuple(sources.tolist()), tuple(array[kept].tolist())


def _scaling(gate: Transfer) -> tuple[float, ...] | None:
    """The factors of a channel that only scales Pauli words, or None."""
    found = _monomial(gate.matrix)
    if found is None or found[0] != tuple(range(len(gate.matrix))):
        return None
    return found[1]


# --- how they are written ---------------------------------------------------------


def _product_state(
    n_wires: int, blocks: list[_Block], writer: _Writer
) -> list[tuple[int, ...]]:
    """Instructions for the initial state; takes the blocks it uses out of the list."""
    if blocks and isinstance(blocks[0].gates[0], Amplitudes):
        return [writer.instruction(blocks.pop(0))]
    factors = {wire: block for block in blocks if block.factor for wire in block.wires}
    code = []
    for wire in range(n_wires):
        gates = factors[wire].gates if wire in factors else []
        code.append(writer.block(wire, gates, op=FACTOR))
    blocks[:] = [block for block in blocks if not block.factor]
    return code


class _Writer:
    """Tables that grow while the instructions are written."""

    def __init__(self, n_wires: int, first_constant: int | None = None) -> None:
        self.n_wires, self._first_constant = n_wires, first_constant
        self.elements: list[tuple[int, int, int, int, int]] = []
        self.rotations: list[tuple[int, int, int, int]] = []
        self.constants: list[float] = []
        self.terms: list[tuple[int, int, int, int]] = []
        self.coefficients: list[float] = []
        self.tables: list[NDArray[np.int32]] = []
        self.scales: list[NDArray[np.float64]] = []
        self.matrices: list[float] = []
        self.wires: list[int] = []
        self.kinds: list[set[int]] = []  # per instruction, the kinds its values have
        self.scratch, self.side = 24, 0
        self._known: dict[bytes, tuple[int, int]] = {}
        self._places: dict[Transfer, int] = {}

    def instruction(self, block: _Block) -> tuple[int, ...]:
        gate = block.gates[0]
        if block.kind == "block":
            (wire,) = block.wires
            return self.block(wire, block.gates)
        if block.kind == "permutation":
            if len(block.wires) <= 2 and self.n_wires > MOST_TABLE_WIRES:
                return self._transfer(_product(block.gates, sorted(block.wires)))
            return self._permutation(block.gates)
        if isinstance(gate, PauliRotation):
            return self._word(gate)
        if isinstance(gate, Channel):
            return self._scale(gate)
        if isinstance(gate, Transfer):
            return self._transfer(gate)
        assert isinstance(gate, Matrix | Kraus | Amplitudes)
        return self._values(gate)

    def block(
        self, wire: int, gates: Iterable[MixedGate], *, op: int | None = None
    ) -> tuple[int, ...]:
        first = len(self.elements)
        kinds: set[int] = set()
        pending: NDArray[np.float64] | None = None  # constant channels in a row
        for gate in gates:
            if isinstance(gate, Transfer):
                matrix = np.array(gate.matrix)
                pending = matrix if pending is None else matrix @ pending
                continue
            self._fixed(pending)
            pending = None
            if isinstance(gate, PauliRotation):
                axis = "XYZ".index(gate.word)
                angle = self._angle(axis, gate.angle)
                kinds |= value_kinds(gate.angle.slots, self._first_constant)
                self.elements.append((axis, angle, 0, 0, 0))
            else:
                assert isinstance(gate, Channel)
                x, y, z = (self._value(gate.factors[i], 1.0) for i in gate.which[1:])
                shift = self._value(gate.shift, 0.0)
                kinds |= value_kinds(_slots(gate), self._first_constant)
                self.elements.append((DAMP, x, y, z, shift))
        self._fixed(pending)
        self.kinds.append(kinds)
        if op is None:
            op = BATCHED if FEATURE in kinds else BLOCK
        last, digit = len(self.elements), self.n_wires - 1 - wire
        return op, digit, first, last, _mask(kinds), 0, 0, 0

    def _fixed(self, matrix: NDArray[np.float64] | None) -> None:
        if matrix is not None:
            self.elements.append((FIXED, len(self.matrices), 0, 0, 0))
            self.matrices += [*matrix[1:].reshape(-1).tolist(), _inverse(matrix)[1]]

    def _angle(self, axis: int, angle: Angle) -> int:
        return write_angle(self, axis, angle)

    def _value(self, angle: Angle, neutral: float) -> int:
        return -1 if angle == Angle(neutral) else self._angle(3, angle)

    def _permutation(self, gates: Sequence[MixedGate]) -> tuple[int, ...]:
        size = 4**self.n_wires
        table, scale = np.arange(size, dtype=np.int32), np.ones(size)
        for gate in gates:
            assert isinstance(gate, Transfer)
            found = _monomial(gate.matrix)
            assert found is not None
            step, factor = _widen(self.n_wires, gate.wires, *found)
            table, scale = table[step], factor * scale[step]
        key = table.tobytes() + scale.tobytes()
        if key not in self._known:
            self._known[key] = len(self.tables), len(self.matrices)
            self.tables.append(table)
            self.scales.append(scale)
            self.matrices.append(1.0 / float(np.abs(scale).min()))
        self.kinds.append(set())
        index, norm = self._known[key]
        return PERMUTE, index, norm, 0, 0, 0, 0, 0

    def _word(self, gate: PauliRotation) -> tuple[int, ...]:
        word = word_index(self.n_wires, gate.word, gate.wires)
        kinds = value_kinds(gate.angle.slots, self._first_constant)
        self.kinds.append(kinds)
        low = ((word & -word).bit_length() - 1) // 2
        angle = self._angle(0, gate.angle)
        return PAULI, low, angle, int(FEATURE in kinds), _mask(kinds), word, 0, 0

    def _scale(self, gate: Channel) -> tuple[int, ...]:
        kinds = value_kinds(_slots(gate), self._first_constant)
        self.kinds.append(kinds)
        wires = self._digits(gate.wires)
        first = len(self.rotations)
        for factor in gate.factors:
            self._angle(3, factor)
        which = len(self.wires)
        self.wires += gate.which
        last, k = len(self.rotations), len(gate.wires)
        self.scratch = max(self.scratch, last - first)
        return SCALE, wires, k, first, _mask(kinds), last, which, 0

    def _transfer(self, gate: Transfer) -> tuple[int, ...]:
        """A matrix, its inverse and the inverse's norm, once for each gate."""
        self.kinds.append(set())
        key = Transfer((), gate.matrix)
        if key not in self._places:
            self._places[key] = len(self.matrices)
            matrix = np.array(gate.matrix)
            inverse, norm = _inverse(matrix)
            for part in (matrix, inverse, np.array(norm)):
                self.matrices += part.reshape(-1).tolist()
        k = len(gate.wires)
        self.side = max(self.side, 4**k)
        place = self._places[key]
        return TRANSFER, self._digits(gate.wires), k, place, 0, 0, 0, 0

    def _values(self, gate: Matrix | Kraus | Amplitudes) -> tuple[int, ...]:
        kind, slot = gate.slot
        if isinstance(gate, Amplitudes):
            kinds = value_kinds({gate.slot}, self._first_constant)
            self.kinds.append(kinds)
            mask = _mask(kinds)
            self.scratch = max(self.scratch, 4 << self.n_wires)
            first, k = self._digits(gate.wires), len(gate.wires)
            return AMPLITUDES, first, k, kind, mask, slot, int(gate.complex), 0
        slots = {gate.slot} if gate.differentiable else set()
        self.kinds.append(value_kinds(slots, self._first_constant))
        controls = gate.controls if isinstance(gate, Matrix) else ()
        wires = (*(wire for wire, _ in controls), *gate.wires)
        first, k = self._digits(wires), len(wires)
        self.wires.append(sum(v << i for i, (_, v) in enumerate(reversed(controls))))
        count = gate.count if isinstance(gate, Kraus) else 0
        flags = INVERSE * (isinstance(gate, Matrix) and gate.inverse)
        flags += WANTED * gate.differentiable
        # The transfer matrix and its cotangent, a row of the state, and matrices.
        self.scratch = max(self.scratch, 2 * 16**k + 4**k + 8 * 4**k)
        self.side = max(self.side, 4**k)
        return KRAUS, first, k, kind, slot, count, flags, len(controls)

    def _digits(self, wires: Sequence[int]) -> int:
        """Positions of the wires' digits, least significant first, noted down."""
        self.wires += [self.n_wires - 1 - wire for wire in reversed(wires)]
        return len(self.wires) - len(wires)


def _product(gates: Iterable[MixedGate], wires: Sequence[int]) -> Transfer:
    """Constant channels one after the other, as one on all of these wires."""
    shape = (4,) * len(wires)
    product = np.eye(4 ** len(wires))
    for gate in gates:
        assert isinstance(gate, Transfer)
        axes = [wires.index(wire) for wire in gate.wires]
        moved = np.moveaxis(product.reshape(*shape, -1), axes, range(len(axes)))
        side = len(gate.matrix)
        flat = np.array(gate.matrix) @ moved.reshape(side, -1)
        moved = np.moveaxis(flat.reshape(moved.shape), range(len(axes)), axes)
        product = moved.reshape(product.shape)
    return Transfer(tuple(wires), tuple(map(tuple, product.tolist())))


def _mask(kinds: set[int]) -> int:
    return sum(kind for kind in kinds)  # WEIGHT is 1, FEATURE is 2


def _inverse(matrix: NDArray[np.float64]) -> tuple[NDArray[Any], float]:
    """The inverse and its largest singular value; zeros and infinity if singular."""
    smallest = float(np.linalg.svd(matrix, compute_uv=False)[-1])
    if smallest < 1e-12:
        return np.zeros_like(matrix), float("inf")
    return np.linalg.inv(matrix), 1.0 / smallest


def _widen(
    n_wires: int,
    wires: Sequence[int],
    sources: Sequence[int],
    factors: Sequence[float],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Sources and factors of a local permutation of words on the whole register."""
    index = np.arange(4**n_wires, dtype=np.int32)
    places = [2 * (n_wires - 1 - wire) for wire in reversed(wires)]
    local = np.zeros_like(index)
    for position, place in enumerate(places):
        local |= ((index >> place) & 3) << 2 * position
    source = np.array(sources, np.int32)[local]
    table = index & ~np.int32(sum(3 << place for place in places))
    for position, place in enumerate(places):
        table |= ((source >> 2 * position) & 3) << place
    return table, np.array(factors)[local]
