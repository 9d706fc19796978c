"""From gates and channels to the few instructions the mixed-state kernels read.

What acts on one wire, rotations and channels alike, becomes one affine block; Clifford
gates and constant Pauli channels become one signed, scaled permutation of Pauli words.
The rules by which gates meet are those of :mod:`instructions`; ``pauli.md`` has the
mathematics.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

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
    slots_of,
)
from qstore_pl.engine.instructions import (
    BATCHED,
    BLOCK,
    INVERSE,
    ONE_WIRE,
    PERMUTATION,
    PERMUTE,
    SINGLE,
    WANTED,
    Block,
    CircuitTables,
    Writer,
    fuse,
)
from qstore_pl.engine.pauli_schedule import groups_of, is_tiled, pieces_of
from qstore_pl.engine.transfer import LETTERS, transfer_matrix

# Columns of an instruction, by operation:
#   FACTOR, BLOCK, BATCHED: op, digit, first element, last element, kinds, 0, 0, 0
#   SHUFFLE:                op, first wire, k, sources, factors, 0, 0, 0
#   PERMUTE:                op, table, norm, 0, 0, 0, 0, 0
#   PAULI:                  op, low digit, angle, batched, kinds, word, 0, 0
#   SCALE:                  op, first wire, k, first angle, kinds, last angle, which, 0
#   TRANSFER:               op, first wire, k, matrix, 0, 0, 0, 0
#   KRAUS:                  op, first wire, k, slot kind, slot, count, flags, controls;
#                           flags are INVERSE and WANTED, for a gradient
#   AMPLITUDES:             op, first wire, k, slot kind, kinds, slot, complex, 0
# `kinds` has bit 0 for a gradient with respect to weights, bit 1 to features.
# Where states are tiled, the last three columns of BLOCK, BATCHED and SHUFFLE are the
# digits from 2 on of a tile, as a mask, and the first and last instruction of a group
# on such tiles; those of FACTOR are 1, 0, 0.
PAULI, SCALE, TRANSFER, KRAUS, AMPLITUDES, SHUFFLE = range(4, 10)
# An element of a block: kind, then its columns. Kinds 0 to 2 are rotations by axis.
#   rotation: axis, angle;   DAMP: kind, angles of x, y, z, shift (-1 is none)
#   FIXED:    kind, its 12 numbers and its norm in `matrices`
DAMP, FIXED = 3, 4


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PauliTables(CircuitTables):
    """The structure of a noisy circuit on Pauli vectors.

    Args: as :class:`CircuitTables`; a word in ``observables`` is a row of the Pauli
        vector, and ``scratch`` is per sample.
        elements: What the blocks are made of, shape ``(n_elements, 5)``.
        tables: Row i of a permutation's result is ``scales[i]`` times row
            ``tables[i]``, shape ``(n_tables, 4**n)``.
        scales: Signs and factors of the permutations, same shape.
        matrices: Constant blocks, norms, transfer matrices and their inverses.
        side: Of the largest transfer matrix, or 0.
        tiled: Whether the state is processed in tiles, one sample at a time.
    """

    INTS: ClassVar[tuple[str, ...]] = (
        "code", "elements", "rotations", "terms", "observables", "wires", "tables",
    )  # fmt: skip
    FLOATS: ClassVar[tuple[str, ...]] = (
        "constants", "coefficients", "weights_of_terms", "scales", "matrices",
    )  # fmt: skip
    SIZED: ClassVar[tuple[str, ...]] = INTS

    elements: NDArray[np.int32]
    tables: NDArray[np.int32]
    scales: NDArray[np.float64]
    matrices: NDArray[np.float64]
    side: int
    tiled: bool

    @property
    def variant(self) -> str:
        """Which of the kernels for Pauli vectors run the circuit."""
        return f"tiled_{super().variant}" if self.tiled else super().variant


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
        n_weights: Number of weights.
        n_features: Number of features.
        n_constants: Number of constants, in the weight slots from ``n_weights`` on.
    """
    product = not any(isinstance(gate, Amplitudes) for gate in gates)
    parts = itertools.chain.from_iterable(map(elementary, gates))
    blocks = fuse(parts, kind_of, only_scales, product=product)
    writer = PauliWriter(n_wires, n_weights, n_constants)
    writer.tiled = is_tiled(blocks, n_wires)
    code = _in_groups(writer, blocks) if writer.tiled else writer.write(blocks)
    return PauliTables(
        **writer.tables(code, observables),
        n_weights=n_weights,
        n_features=n_features,
        elements=np.array(writer.elements, np.int32).reshape(-1, 5),
        tables=np.array(writer.permutations, np.int32).reshape(-1, 4**n_wires),
        scales=np.array(writer.scales, np.float64).reshape(-1, 4**n_wires),
        matrices=np.array(writer.matrices, np.float64),
        side=writer.side,
        tiled=writer.tiled,
        general=any(PERMUTE < row[0] < SHUFFLE for row in code),
    )


def _in_groups(writer: PauliWriter, blocks: Sequence[Block]) -> list[tuple[int, ...]]:
    """Write blocks in groups that take one pass over the state each."""
    factors = [block for block in blocks if block.factor]
    rest = [piece for block in blocks if not block.factor for piece in pieces_of(block)]
    groups = list(groups_of(rest, writer.n_wires))
    code = writer.write([*factors, *(block for _, group in groups for block in group)])
    at = len(code) - len(rest)
    code[:at] = [(*row[:5], 1, 0, 0) for row in code[:at]]
    for mask, group in groups:
        if mask:
            last = at + len(group)
            code[at:last] = [(*row[:5], mask, at, last) for row in code[at:last]]
        at += len(group)
    return code


def word_index(n_wires: int, word: str, wires: Sequence[int]) -> int:
    """Row of a Pauli word in a Pauli vector."""
    return sum(
        LETTERS.index(letter) << 2 * (n_wires - 1 - wire)
        for letter, wire in zip(word, wires, strict=True)
    )


# --- which gates meet -------------------------------------------------------------


def elementary(gate: MixedGate) -> Iterator[MixedGate]:
    """A gate as rotations without controls, transfer matrices, or itself."""
    if isinstance(gate, PauliRotation):
        yield from gate.uncontrolled()
    elif isinstance(gate, Permutation):
        yield Transfer(gate.wires, _permutation_transfer(gate.table, gate.phases))
    elif isinstance(gate, Channel) and not slots_of(gate):
        factors = [factor.constant for factor in gate.factors]
        matrix = np.diag([factors[i] for i in gate.which])
        if len(gate.wires) == 1:
            matrix[3, 0] = gate.shift.constant
        yield Transfer(gate.wires, tuple(map(tuple, matrix.tolist())))
    else:
        yield gate


def kind_of(gate: MixedGate) -> str:
    """The kind of block that an elementary gate makes."""
    if len(gate.wires) == 1 and isinstance(gate, PauliRotation | Channel | Transfer):
        return ONE_WIRE
    if isinstance(gate, Transfer) and monomial(gate.matrix) is not None:
        return PERMUTATION
    return SINGLE


def only_scales(gate: MixedGate) -> bool:
    """Whether it is a constant channel that multiplies each Pauli word by a factor."""
    if not isinstance(gate, Transfer):
        return False
    found = monomial(gate.matrix)
    return found is not None and found[0] == tuple(range(len(gate.matrix)))


@functools.lru_cache(maxsize=256)
def _permutation_transfer(
    table: tuple[int, ...], phases: tuple[int, ...]
) -> tuple[tuple[float, ...], ...]:
    unitary = np.zeros((len(table), len(table)), complex)
    unitary[np.arange(len(table)), table] = np.exp(1j * np.pi / 4 * np.array(phases))
    return tuple(map(tuple, transfer_matrix([unitary]).tolist()))


@functools.lru_cache(maxsize=256)
def monomial(
    matrix: tuple[tuple[float, ...], ...],
) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
    """Column and value of the one entry in each row, or None if some have more."""
    array = np.array(matrix)
    kept = np.abs(array) > 1e-14
    if not (np.all(kept.sum(axis=0) == 1) and np.all(kept.sum(axis=1) == 1)):
        return None
    sources = kept.argmax(axis=1)
    return tuple(sources.tolist()), tuple(array[kept].tolist())


# --- how they are written ---------------------------------------------------------


class PauliWriter(Writer):
    """Tables of circuits on Pauli words that grow while instructions are written.

    Args: as :class:`Writer`.
    """

    def __init__(self, n_wires: int, n_weights: int, n_constants: int) -> None:
        super().__init__(n_wires, n_weights, n_constants)
        self.elements: list[tuple[int, int, int, int, int]] = []
        self.permutations: list[NDArray[np.int32]] = []
        self.scales: list[NDArray[np.float64]] = []
        self.matrices: list[float] = []
        self.scratch, self.side, self.tiled = 24, 0, False
        self._known: dict[bytes, tuple[int, int]] = {}
        self._places: dict[Transfer, int] = {}
        self._shuffles: dict[Any, tuple[int, int]] = {}

    def instruction(self, block: Block) -> tuple[int, ...]:
        """Write a block to the tables and return the columns of its instruction."""
        gate = block.gates[0]
        if block.kind == ONE_WIRE:
            (wire,) = block.wires
            return self.one_wire(wire, block.gates)
        if block.kind == PERMUTATION:
            if self.tiled:
                return self._shuffle(sorted(block.wires), block.gates)
            return self._permutation(block.gates)
        if isinstance(gate, PauliRotation):
            return self._word(gate)
        if isinstance(gate, Channel):
            return self._scale(gate)
        if isinstance(gate, Transfer):
            return self._transfer(gate)
        assert isinstance(gate, Matrix | Kraus | Amplitudes)
        return self._values(gate)

    def place(self, word: str, wires: Sequence[int]) -> tuple[int, ...]:
        """The row of a Pauli word in a Pauli vector."""
        return (word_index(self.n_wires, word, wires),)

    def one_wire(
        self, wire: int, gates: Sequence[MixedGate], *, op: int | None = None
    ) -> tuple[int, ...]:
        """Write gates on one wire as the elements of a block."""
        first = len(self.elements)
        kinds: set[int] = set()
        pending: NDArray[np.float64] | None = None  # product of constant channels
        for gate in gates:
            if isinstance(gate, Transfer):
                matrix = np.array(gate.matrix)
                pending = matrix if pending is None else matrix @ pending
                continue
            self._fixed(pending)
            pending = None
            if isinstance(gate, PauliRotation):
                axis = "XYZ".index(gate.word)
                angle = self.angle(axis, gate.angle)
                kinds |= self.kinds_of(gate.angle.slots)
                self.elements.append((axis, angle, 0, 0, 0))
            else:
                assert isinstance(gate, Channel)
                x, y, z = (self._value(gate.factors[i], 1.0) for i in gate.which[1:])
                shift = self._value(gate.shift, 0.0)
                kinds |= self.kinds_of(slots_of(gate))
                self.elements.append((DAMP, x, y, z, shift))
        self._fixed(pending)
        self.kinds.append(kinds)
        if op is None:
            op = BATCHED if FEATURE in kinds else BLOCK
        last, digit = len(self.elements), self.n_wires - 1 - wire
        return op, digit, first, last, mask_of(kinds), 0, 0, 0

    def _fixed(self, matrix: NDArray[np.float64] | None) -> None:
        if matrix is not None:
            self.elements.append((FIXED, len(self.matrices), 0, 0, 0))
            self.matrices += [*matrix[1:].reshape(-1).tolist(), _inverse(matrix)[1]]

    def _value(self, angle: Angle, neutral: float) -> int:
        return -1 if angle == Angle(neutral) else self.angle(3, angle)

    def _permutation(self, gates: Sequence[MixedGate]) -> tuple[int, ...]:
        size = 4**self.n_wires
        table, scale = np.arange(size, dtype=np.int32), np.ones(size)
        for gate in gates:
            assert isinstance(gate, Transfer)
            found = monomial(gate.matrix)
            assert found is not None
            step, factor = _widen(self.n_wires, gate.wires, *found)
            table, scale = table[step], factor * scale[step]
        key = table.tobytes() + scale.tobytes()
        if key not in self._known:
            self._known[key] = len(self.permutations), len(self.matrices)
            self.permutations.append(table)
            self.scales.append(scale)
            self.matrices.append(1.0 / float(np.abs(scale).min()))
        self.kinds.append(set())
        index, norm = self._known[key]
        return PERMUTE, index, norm, 0, 0, 0, 0, 0

    def _shuffle(
        self, wires: Sequence[int], gates: Sequence[MixedGate]
    ) -> tuple[int, ...]:
        """Write where each word on a few wires comes from, and its factor."""
        found = monomial(product_of(gates, wires).matrix)
        assert found is not None
        sources, factors = found
        if found not in self._shuffles:
            self._shuffles[found] = len(self.wires), len(self.matrices)
            self.wires += sources
            self.matrices += [*factors, 1.0 / min(map(abs, factors))]
        self.kinds.append(set())
        k = len(wires)
        self.side = max(self.side, 4**k)
        return SHUFFLE, self.positions(wires), k, *self._shuffles[found], 0, 0, 0

    def _word(self, gate: PauliRotation) -> tuple[int, ...]:
        word = word_index(self.n_wires, gate.word, gate.wires)
        kinds = self.kinds_of(gate.angle.slots)
        self.kinds.append(kinds)
        low = ((word & -word).bit_length() - 1) // 2
        angle = self.angle(0, gate.angle)
        return PAULI, low, angle, int(FEATURE in kinds), mask_of(kinds), word, 0, 0

    def _scale(self, gate: Channel) -> tuple[int, ...]:
        kinds = self.kinds_of(slots_of(gate))
        self.kinds.append(kinds)
        wires = self.positions(gate.wires)
        first = len(self.rotations)
        for factor in gate.factors:
            self.angle(3, factor)
        which = len(self.wires)
        self.wires += gate.which
        last, k = len(self.rotations), len(gate.wires)
        self.scratch = max(self.scratch, last - first)
        return SCALE, wires, k, first, mask_of(kinds), last, which, 0

    def _transfer(self, gate: Transfer) -> tuple[int, ...]:
        """Write a matrix, its inverse and the norm of that, once for equal gates."""
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
        return TRANSFER, self.positions(gate.wires), k, place, 0, 0, 0, 0

    def _values(self, gate: Matrix | Kraus | Amplitudes) -> tuple[int, ...]:
        kind, slot = gate.slot
        if isinstance(gate, Amplitudes):
            kinds = self.kinds_of({gate.slot})
            self.kinds.append(kinds)
            mask = mask_of(kinds)
            self.scratch = max(self.scratch, 4 << self.n_wires)
            first, k = self.positions(gate.wires), len(gate.wires)
            return AMPLITUDES, first, k, kind, mask, slot, int(gate.complex), 0
        slots = {gate.slot} if gate.differentiable else set()
        self.kinds.append(self.kinds_of(slots))
        controls = gate.controls if isinstance(gate, Matrix) else ()
        wires = (*(wire for wire, _ in controls), *gate.wires)
        first, k = self.positions(wires), len(wires)
        self.wires.append(sum(v << i for i, (_, v) in enumerate(reversed(controls))))
        count = gate.count if isinstance(gate, Kraus) else 0
        flags = INVERSE * (isinstance(gate, Matrix) and gate.inverse)
        flags += WANTED * gate.differentiable
        # The transfer matrix and its cotangent, a row of the state, and matrices.
        self.scratch = max(self.scratch, 2 * 16**k + 4**k + 8 * 4**k)
        self.side = max(self.side, 4**k)
        return KRAUS, first, k, kind, slot, count, flags, len(controls)


def product_of(gates: Iterable[MixedGate], wires: Sequence[int]) -> Transfer:
    """The product of constant channels, as one channel on all of these wires."""
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


def mask_of(kinds: set[int]) -> int:
    """Bit 0 for a gradient with respect to weights, bit 1 to features."""
    return sum(kinds)  # WEIGHT is 1, FEATURE is 2


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
    """Extend a local permutation of words, with factors, to the whole register."""
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
