"""From a list of gates to the few instructions the kernels read.

Consecutive one-qubit rotations on a wire become one block, consecutive permutations one
gather. The rules by which gates meet are those of :mod:`instructions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._computer import require_memory
from qstore_pl.engine.affine import Affine, affine_of
from qstore_pl.engine.gates import (
    WEIGHT,
    Amplitudes,
    Angle,
    Drawn,
    Gate,
    Matrix,
    PauliRotation,
    PauliSum,
    Permutation,
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

# Columns of an instruction, by operation:
#   FACTOR, BLOCK, BATCHED: op, bit, first angle, last angle, first of the shared ones
#                           at the end, whether a weight comes before them, 0, 0
#   PERMUTE:                op, table, whether it has phases, 0, 0, 0, 0, 0
#   DIAGONAL, PAULI:        op, low bit, angle, batched, x mask, z mask, controls,
#                           values
#   MATRIX:                 op, first wire, slot kind, flags, k, slot, controls, values;
#                           flags are INVERSE, DRAWN and WANTED, for a gradient
#   AMPLITUDES:             op, first wire, slot kind, complex, k, slot, 0, 0
DIAGONAL, PAULI, MATRIX, AMPLITUDES = range(4, 8)
DRAWN = 2  # flag of matrices that trajectories draw; the other flags are shared


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Tables(CircuitTables):
    """The structure of a circuit on state vectors.

    Args: as :class:`CircuitTables`; a word in ``observables`` is an X mask and a Z
        mask, and ``scratch`` is the side of the largest matrix.
        tables: Permutations and their inverses in turn, shape ``(2 * n_tables, 2**n)``.
        phases: Their phases in eighths of a turn, same shape, or no columns.
        phase: Global phase as an angle: the state is multiplied by its exponential.
    """

    INTS: ClassVar[tuple[str, ...]] = (
        "code", "rotations", "terms", "observables", "wires", "tables", "phases",
    )  # fmt: skip
    FLOATS: ClassVar[tuple[str, ...]] = (
        "constants", "coefficients", "weights_of_terms",
    )  # fmt: skip
    SIZED: ClassVar[tuple[str, ...]] = INTS[:-1]

    tables: NDArray[np.int32]
    phases: NDArray[np.int32]
    phase: Angle


def build(
    n_wires: int,
    gates: Sequence[Gate],
    observables: Sequence[PauliSum] = (),
    *,
    n_weights: int = 0,
    n_features: int = 0,
    n_constants: int = 0,
) -> Tables:
    """Fuse ``gates`` and write their tables.

    Args:
        n_wires: Number of wires.
        gates: The circuit; :class:`Amplitudes` only as the first gate.
        observables: One Pauli sum per output.
        n_weights: Number of weights.
        n_features: Number of features.
        n_constants: Number of constants, in the weight slots from ``n_weights`` on.
    """
    phase, gates = without_phases(gates)
    product = not any(isinstance(gate, Amplitudes) for gate in gates)
    writer = StateWriter(n_wires, n_weights, n_constants)
    code = writer.write(fuse(gates, kind_of, product=product))
    shared = writer.tables(code, observables)
    general = bool(shared["observables"][:, 1].any()) or any(
        row[0] > PERMUTE or (row[0] == PERMUTE and row[2]) for row in code
    )
    return Tables(
        **shared,
        n_weights=n_weights,
        n_features=n_features,
        tables=_tables(writer.permutations, 1 << n_wires),
        phases=_stack(_with_zeros(writer.phases)),
        phase=phase,
        general=general,
    )


def without_phases(gates: Sequence[Gate]) -> tuple[Angle, list[Gate]]:
    """The global phase in radians, and the gates without those that make it."""
    phase, rest = Angle(), []
    for gate in gates:
        if isinstance(gate, PauliRotation) and not gate.word and not gate.controls:
            phase = phase - 0.5 * gate.angle
        else:
            rest.append(gate)
    return phase, rest


def kind_of(gate: Gate) -> str:
    """The kind of block a gate makes."""
    if isinstance(gate, Permutation):
        return PERMUTATION
    if isinstance(gate, PauliRotation) and len(gate.word) == 1 and not gate.controls:
        return ONE_WIRE
    return SINGLE


class StateWriter(Writer):
    """Tables of state vectors that grow while the instructions are written."""

    def __init__(self, n_wires: int, n_weights: int, n_constants: int) -> None:
        super().__init__(n_wires, n_weights, n_constants)
        self.permutations: list[Affine | NDArray[np.int32]] = []
        self.phases: list[NDArray[np.int32] | None] = []
        self._known: dict[Any, int] = {}

    def instruction(self, block: Block) -> tuple[int, ...]:
        """Write a block to the tables and return the columns of its instruction."""
        gate = block.gates[0]
        if block.kind == ONE_WIRE:
            (wire,) = block.wires
            return self.one_wire(wire, block.gates)
        if block.kind == PERMUTATION:
            return self._permutation(block.gates)
        if isinstance(gate, PauliRotation):
            return self._pauli(gate)
        return self._values(gate)

    def place(self, word: str, wires: Sequence[int]) -> tuple[int, ...]:
        """The masks of a Pauli word."""
        return pauli_masks(self.n_wires, word, wires)

    def one_wire(
        self, wire: int, gates: Sequence[PauliRotation], *, op: int | None = None
    ) -> tuple[int, ...]:
        """Write gates on one wire, as :meth:`Writer.one_wire` says."""
        first = split = len(self.rotations)
        kinds: set[int] = set()
        weight_before = False
        for gate in gates:
            kinds |= self.kinds_of(gate.angle.slots)
            index = self.angle("XYZ".index(gate.word), gate.angle)
            if self.rotations[index][3]:
                split, weight_before = len(self.rotations), WEIGHT in kinds
        self.kinds.append(kinds)
        if op is None:
            op = BATCHED if split > first else BLOCK
        bit, last = self.n_wires - 1 - wire, len(self.rotations)
        return op, bit, first, last, split, int(weight_before), 0, 0

    def _permutation(self, gates: Sequence[Permutation]) -> tuple[int, ...]:
        self.kinds.append(set())
        maps = [affine_of(gate.table, gate.phases) for gate in gates]
        found = [affine for affine in maps if affine is not None]
        if len(found) == len(maps):
            index = self._affine(gates, found)
        else:
            index = self._general(gates)
        return PERMUTE, index, int(self.phases[2 * index] is not None), 0, 0, 0, 0, 0

    def _affine(self, gates: Sequence[Permutation], maps: Sequence[Affine]) -> int:
        """The index of the table of gates that map indices as XORs of their bits."""
        whole = Affine.identity(self.n_wires)
        for gate, affine in zip(gates, maps, strict=True):
            bits = [self.n_wires - 1 - wire for wire in reversed(gate.wires)]
            whole = whole.after(affine, bits)
        if whole not in self._known:
            self._known[whole] = len(self.permutations) // 2
            self.permutations += [whole, whole.inverse()]
            self.phases += [None, None]
        return self._known[whole]

    def _general(self, gates: Sequence[Permutation]) -> int:
        """The index of the table of any permutations."""
        # The product is formed on the wires it acts on, and extended once.
        wires = sorted({wire for gate in gates for wire in gate.wires})
        local, turns = np.arange(1 << len(wires), dtype=np.int32), np.zeros(1, np.int32)
        for gate in gates:
            positions = [wires.index(wire) for wire in gate.wires]
            step, shift = _widen(len(wires), positions, gate.table, gate.phases)
            local = local[step]
            turns = turns[step] if turns.size > 1 else turns
            turns = turns if shift is None else (turns + shift) % 8
        key = (tuple(wires), local.tobytes(), turns.tobytes())
        if key not in self._known:
            self._known[key] = len(self.permutations) // 2
            table, phases = _widen(self.n_wires, wires, local, turns)
            inverse = np.empty_like(table)
            inverse[table] = np.arange(table.size, dtype=np.int32)
            self.permutations += [table, inverse]
            self.phases += [phases, None if phases is None else -phases[inverse] % 8]
        return self._known[key]

    def _pauli(self, gate: PauliRotation) -> tuple[int, ...]:
        x, z = pauli_masks(self.n_wires, gate.word, gate.wires)
        controls, values = _control_masks(self.n_wires, gate.controls)
        index = self.angle(0, gate.angle)
        batched = self.rotations[index][3]
        self.kinds.append(self.kinds_of(gate.angle.slots))
        low = _lowest_bit(x | z | controls)
        op = PAULI if x else DIAGONAL
        return op, low, index, batched, x, z, controls, values

    def _values(self, gate: Gate) -> tuple[int, ...]:
        assert isinstance(gate, Matrix | Drawn | Amplitudes)
        first = self.positions(gate.wires)
        kind, slot = gate.slot
        k = len(gate.wires)
        if isinstance(gate, Amplitudes):
            self.kinds.append(self.kinds_of({gate.slot}))
            return AMPLITUDES, first, kind, int(gate.complex), k, slot, 0, 0
        if isinstance(gate, Drawn):
            self.kinds.append(set())
            self.scratch = max(self.scratch, 4, 1 << k)
            return MATRIX, first, kind, DRAWN, k, slot, 0, 0
        slots = {gate.slot} if gate.differentiable else set()
        self.kinds.append(self.kinds_of(slots))
        self.scratch = max(self.scratch, 1 << k)
        flags = INVERSE * gate.inverse + WANTED * gate.differentiable
        controls, values = _control_masks(self.n_wires, gate.controls)
        return MATRIX, first, kind, flags, k, slot, controls, values


def pauli_masks(n_wires: int, word: str, wires: Sequence[int]) -> tuple[int, int]:
    """X mask and Z mask of a Pauli word; Y is in both."""
    x = z = 0
    for letter, wire in zip(word, wires, strict=True):
        bit = 1 << (n_wires - 1 - wire)
        x |= bit if letter in "XY" else 0
        z |= bit if letter in "YZ" else 0
    return x, z


def _control_masks(
    n_wires: int, controls: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    mask = value = 0
    for wire, wanted in controls:
        mask |= 1 << (n_wires - 1 - wire)
        value |= wanted << (n_wires - 1 - wire)
    return mask, value


def _lowest_bit(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _widen(
    n_wires: int, wires: Sequence[int], table: Any, phases: Any
) -> tuple[NDArray[np.int32], NDArray[np.int32] | None]:
    """Extend a permutation with phases from some wires to the whole register.

    Args:
        n_wires: Number of wires of the register.
        wires: The k wires that are permuted; the first is the most significant bit of
            an index into the table.
        table: The index each index comes from, ``2**k`` integers.
        phases: Phases in eighths of a turn, ``2**k`` integers, or one for all.

    Returns:
        Table and phases on the register; the phases are None where all are zero.
    """
    k, shape = len(wires), (2,) * n_wires
    rest = [wire for wire in range(n_wires) if wire not in wires]
    axes = [*wires, *rest]
    back = np.argsort(axes)

    def ordered(rows: NDArray[np.int32]) -> NDArray[np.int32]:
        return rows.reshape(shape).transpose(back).reshape(-1)

    index = np.arange(1 << n_wires, dtype=np.int32).reshape(shape).transpose(axes)
    rows = index.reshape(1 << k, -1)
    wide = ordered(rows[np.asarray(table)])
    turns = np.asarray(phases, np.int32)
    if not turns.any():
        return wide, None
    return wide, ordered(np.repeat(turns, rows.shape[1]))


def _with_zeros(
    phases: Sequence[NDArray[np.int32] | None],
) -> list[NDArray[np.int32]]:
    """The phases of all tables, with zeros for the tables that have none.

    The kernels read a row for each table, or no rows where no table has phases.
    """
    found = [row for row in phases if row is not None]
    if not found:
        return []
    zeros = np.zeros_like(found[0])
    return [zeros if row is None else row for row in phases]


def _tables(
    permutations: Sequence[Affine | NDArray[np.int32]], size: int
) -> NDArray[np.int32]:
    """The tables of all permutations, a row each, written where they stay."""
    if not permutations:
        return np.zeros((0, 0), np.int32)
    require_memory(
        4 * len(permutations) * size,
        f"A circuit with {len(permutations) // 2} permutations of {size:,} amplitudes",
        "Use gates on fewer wires.",
    )
    tables = np.empty((len(permutations), size), np.int32)
    for row, permutation in zip(tables, permutations, strict=True):
        if isinstance(permutation, Affine):
            permutation.write(row)
        else:
            row[:] = permutation
    return tables


def _stack(rows: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.stack(rows) if rows else np.zeros((0, 0), np.int32)
