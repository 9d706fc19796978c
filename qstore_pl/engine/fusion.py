"""From a list of gates to the few instructions the kernels read.

Consecutive one-qubit rotations on a wire become one block, consecutive permutations one
gather. A gate may move left past blocks on other wires to find its partner. The first
block of each wire is written directly as a factor of a product state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    Drawn,
    Gate,
    Matrix,
    PauliRotation,
    PauliSum,
    Permutation,
    Slot,
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
FACTOR, BLOCK, BATCHED, PERMUTE, DIAGONAL, PAULI, MATRIX, AMPLITUDES = range(8)
INVERSE, DRAWN, WANTED = 1, 2, 4
# Order of the arrays inside the two that travel.
INTS = ("code", "rotations", "terms", "observables", "wires_table", "tables", "phases")
FLOATS = ("constants", "coefficients", "weights_of_terms")


@dataclass(frozen=True, eq=False)
class Tables:
    """A circuit structure as the kernels read it.

    Args:
        n_wires: Number of wires; wire 0 is the most significant bit of an index.
        n_weights: Length of the shared values.
        n_features: Columns of the per-sample values.
        n_outputs: Number of observables.
        code: Instructions, shape ``(n_blocks, 8)``; its columns are listed above.
        rotations: Axis and range of terms and whether batched, shape ``(n_angles, 4)``.
        constants: Constant part of each angle, shape ``(n_angles,)``.
        terms: Factors of the terms, two slots a row, shape ``(n_terms, 4)``.
        coefficients: Coefficient of each term, shape ``(n_terms,)``.
        tables: Permutations and their inverses in turn, shape ``(2 * n_tables, 2**n)``.
        phases: Their phases in eighths of a turn, same shape, or no columns.
        observables: Output, X mask and Z mask of each Pauli term.
        weights_of_terms: Coefficients of the Pauli terms.
        wires_table: Wires of matrices and initial amplitudes, as bit positions.
        phase: Global phase as an angle: the state is multiplied by its exponential.
        scratch: Length of the largest matrix's side.
        first_weight: First instruction whose gradient reaches a weight.
        first_feature: First instruction whose gradient reaches a feature.
        general: Whether kernels beyond rotations, permutations and Z words are needed.
    """

    n_wires: int
    n_weights: int
    n_features: int
    n_outputs: int
    code: NDArray[np.int32]
    rotations: NDArray[np.int32]
    constants: NDArray[np.float64]
    terms: NDArray[np.int32]
    coefficients: NDArray[np.float64]
    tables: NDArray[np.int32]
    phases: NDArray[np.int32]
    observables: NDArray[np.int32]
    weights_of_terms: NDArray[np.float64]
    wires_table: NDArray[np.int32]
    phase: Angle
    scratch: int
    first_weight: int
    first_feature: int
    general: bool
    ints: NDArray[np.int32] = field(init=False)
    floats: NDArray[np.float64] = field(init=False)
    sizes: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        pack(self, INTS, FLOATS)
        sizes = [len(self.code), len(self.rotations), len(self.terms)]
        sizes += [len(self.observables), len(self.wires_table), len(self.tables)]
        object.__setattr__(self, "sizes", np.array([self.n_wires, *sizes], np.int64))
        self.sizes.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Through __init__, so that a copy is read-only as well.
        return Tables, tuple(
            getattr(self, f.name) for f in dataclasses.fields(self) if f.init
        )


def pack(tables: Any, ints: Sequence[str], floats: Sequence[str]) -> None:
    """Make the arrays of these names read-only views of two, ``ints`` and ``floats``.

    Passing an array to a kernel costs as much as a gate, so they travel as two.
    """
    for name, fields, dtype in (
        ("ints", ints, np.int32),
        ("floats", floats, np.float64),
    ):
        arrays = [getattr(tables, key) for key in fields]
        packed = np.concatenate([array.reshape(-1) for array in arrays], dtype=dtype)
        packed.flags.writeable = False
        object.__setattr__(tables, name, packed)
        ends = np.cumsum([array.size for array in arrays])
        for key, array, end in zip(fields, arrays, ends, strict=True):
            view = packed[end - array.size : end].reshape(array.shape)
            object.__setattr__(tables, key, view)


@dataclass
class _Block:
    """One instruction in the making."""

    kind: str
    wires: set[int]
    gates: list[Gate] = field(default_factory=list)
    factor: bool = False  # whether it writes its wire's factor of the product state


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
        n_weights: Number of shared values.
        n_features: Number of per-sample values.
        n_constants: Number of constants, in the weight slots from ``n_weights`` on.
    """
    phase, blocks = _fuse(gates)
    writer = _Writer(n_wires, n_weights if n_constants else None)
    code = _product_state(n_wires, blocks, writer)
    for block in blocks:
        code.append(writer.instruction(block))
    terms = [
        (output, *_masks(n_wires, word, wires), coefficient)
        for output, pauli_sum in enumerate(observables)
        for coefficient, word, wires in pauli_sum
    ]
    first_weight, first_feature = reach(writer.kinds)
    general = any(row[0] in (DIAGONAL, PAULI, MATRIX, AMPLITUDES) for row in code)
    general |= any(x for _, x, _, _ in terms) or any(
        row[0] == PERMUTE and row[2] for row in code
    )
    return Tables(
        n_wires=n_wires,
        n_weights=n_weights,
        n_features=n_features,
        n_outputs=len(observables),
        code=np.array(code, np.int32).reshape(-1, 8),
        rotations=np.array(writer.rotations, np.int32).reshape(-1, 4),
        constants=np.array(writer.constants, np.float64),
        terms=np.array(writer.terms, np.int32).reshape(-1, 4),
        coefficients=np.array(writer.coefficients, np.float64),
        tables=_stack(writer.tables),
        phases=_stack(_with_zeros(writer.phases)),
        observables=np.array([t[:3] for t in terms], np.int32).reshape(-1, 3),
        weights_of_terms=np.array([t[3] for t in terms], np.float64),
        wires_table=np.array(writer.wires, np.int32),
        phase=phase,
        scratch=writer.scratch,
        first_weight=first_weight,
        first_feature=first_feature,
        general=bool(general),
    )


def reach(kinds: Sequence[set[int]]) -> tuple[int, int]:
    """First instruction with a gradient by weights, and by features; -1 is none."""
    first_weight, first_feature = (
        min((m for m, found in enumerate(kinds) if kind in found), default=-1)
        for kind in (WEIGHT, FEATURE)
    )
    return first_weight, first_feature


def value_kinds(slots: Iterable[Slot], first_constant: int | None) -> set[int]:
    """The kinds of values among slots: WEIGHT, FEATURE, both or none.

    Args:
        slots: Any slots.
        first_constant: Weight slots from here on are constants; None if there are none.
    """
    return {
        kind
        for kind, index in slots
        if first_constant is None or kind != WEIGHT or index < first_constant
    }


def write_angle(writer: Any, axis: int, angle: Angle) -> int:
    """Note down an angle in a writer's lists; its index there.

    Args:
        writer: Has the lists ``rotations``, ``constants``, ``terms``, ``coefficients``.
        axis: 0 to 2, or 3 for a value that is no angle.
        angle: The polynomial.
    """
    first = len(writer.terms)
    for coefficient, a, b in angle.terms:
        writer.coefficients.append(coefficient)
        writer.terms.append((*a, *b))
    batched = any(kind == FEATURE for kind, _ in angle.slots)
    writer.rotations.append((axis, first, len(writer.terms), int(batched)))
    writer.constants.append(angle.constant)
    return len(writer.rotations) - 1


def _fuse(gates: Sequence[Gate]) -> tuple[Angle, list[_Block]]:
    """Gates to blocks in order, and the global phase in radians."""
    phase = Angle()
    blocks: list[_Block] = []
    last: dict[int, int] = {}  # wire -> index of the last block on it
    product = not any(isinstance(gate, Amplitudes) for gate in gates)
    last_permutation = -1
    for gate in gates:
        if isinstance(gate, PauliRotation) and not gate.word and not gate.controls:
            phase = phase - 0.5 * gate.angle
            continue
        wires = {*gate.wires, *(wire for wire, _ in getattr(gate, "controls", ()))}
        newest = max((last.get(wire, -1) for wire in wires), default=-1)
        if isinstance(gate, Permutation):
            kind = "permutation"
            # Blocks that write the product state run first, wherever they stand.
            newest = max(
                (last[w] for w in wires if w in last and not blocks[last[w]].factor),
                default=-1,
            )
            target = last_permutation if newest <= last_permutation else -1
        elif (
            isinstance(gate, PauliRotation)
            and len(gate.word) == 1
            and not gate.controls
        ):
            kind = "rotations"
            target = newest if newest >= 0 and blocks[newest].kind == kind else -1
        else:
            kind, target = "single", -1
        if target < 0:
            target = len(blocks)
            first = product and kind == "rotations" and newest < 0
            blocks.append(_Block(kind, set(), factor=first))
        blocks[target].gates.append(gate)
        blocks[target].wires |= wires
        for wire in wires:
            last[wire] = target
        if kind == "permutation":
            last_permutation = target
    return phase, blocks


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
        code.append(writer.rotation_block(wire, gates, op=FACTOR))
    blocks[:] = [block for block in blocks if not block.factor]
    return code


class _Writer:
    """Tables that grow while the instructions are written."""

    def __init__(self, n_wires: int, first_constant: int | None = None) -> None:
        self.n_wires, self._first_constant = n_wires, first_constant
        self.rotations: list[tuple[int, int, int, int]] = []
        self.constants: list[float] = []
        self.terms: list[tuple[int, int, int, int]] = []
        self.coefficients: list[float] = []
        self.tables: list[NDArray[np.int32]] = []
        self.phases: list[NDArray[np.int32] | None] = []
        self.wires: list[int] = []
        self.kinds: list[set[int]] = []  # per instruction, the kinds its values have
        self.scratch = 0
        self._known: dict[Any, int] = {}

    def instruction(self, block: _Block) -> tuple[int, ...]:
        gate = block.gates[0]
        if block.kind == "rotations":
            (wire,) = block.wires
            return self.rotation_block(wire, block.gates)
        if block.kind == "permutation":
            return self._permutation(block.gates)
        if isinstance(gate, PauliRotation):
            return self._pauli(gate)
        return self._values(gate)

    def rotation_block(
        self, wire: int, gates: Sequence[Gate], *, op: int | None = None
    ) -> tuple[int, ...]:
        first = split = len(self.rotations)
        kinds: set[int] = set()
        weight_before = False
        for gate in gates:
            assert isinstance(gate, PauliRotation)
            kinds |= value_kinds(gate.angle.slots, self._first_constant)
            index = write_angle(self, "XYZ".index(gate.word), gate.angle)
            if self.rotations[index][3]:
                split, weight_before = len(self.rotations), WEIGHT in kinds
        self.kinds.append(kinds)
        if op is None:
            op = BATCHED if split > first else BLOCK
        bit, last = self.n_wires - 1 - wire, len(self.rotations)
        return op, bit, first, last, split, int(weight_before), 0, 0

    def _permutation(self, gates: Sequence[Gate]) -> tuple[int, ...]:
        # On the wires they act on first, and then once on the whole register.
        wires = sorted({wire for gate in gates for wire in gate.wires})
        local, turns = np.arange(1 << len(wires), dtype=np.int32), np.zeros(1, np.int32)
        for gate in gates:
            assert isinstance(gate, Permutation)
            positions = [wires.index(wire) for wire in gate.wires]
            step, shift = _widen(len(wires), positions, gate.table, gate.phases)
            local = local[step]
            turns = turns[step] if turns.size > 1 else turns
            turns = turns if shift is None else (turns + shift) % 8
        key = (tuple(wires), local.tobytes(), turns.tobytes())
        if key not in self._known:
            self._known[key] = len(self.tables) // 2
            table, phases = _widen(self.n_wires, wires, local, turns)
            inverse = np.empty_like(table)
            inverse[table] = np.arange(table.size, dtype=np.int32)
            self.tables += [table, inverse]
            self.phases += [phases, None if phases is None else -phases[inverse] % 8]
        self.kinds.append(set())
        index = self._known[key]
        return PERMUTE, index, int(self.phases[2 * index] is not None), 0, 0, 0, 0, 0

    def _pauli(self, gate: PauliRotation) -> tuple[int, ...]:
        x, z = _masks(self.n_wires, gate.word, gate.wires)
        controls, values = _control_masks(self.n_wires, gate.controls)
        index = write_angle(self, 0, gate.angle)
        batched = self.rotations[index][3]
        self.kinds.append(value_kinds(gate.angle.slots, self._first_constant))
        low = _lowest_bit(x | z | controls)
        op = PAULI if x else DIAGONAL
        return op, low, index, batched, x, z, controls, values

    def _values(self, gate: Gate) -> tuple[int, ...]:
        assert isinstance(gate, Matrix | Drawn | Amplitudes)
        first = len(self.wires)
        # Least significant bit of the local index first.
        self.wires += [self.n_wires - 1 - wire for wire in reversed(gate.wires)]
        kind, slot = gate.slot
        k = len(gate.wires)
        if isinstance(gate, Amplitudes):
            self.kinds.append(value_kinds({gate.slot}, self._first_constant))
            return AMPLITUDES, first, kind, int(gate.complex), k, slot, 0, 0
        if isinstance(gate, Drawn):
            self.kinds.append(set())
            self.scratch = max(self.scratch, 4, 1 << k)
            return MATRIX, first, kind, DRAWN, k, slot, 0, 0
        slots = {gate.slot} if gate.differentiable else set()
        self.kinds.append(value_kinds(slots, self._first_constant))
        self.scratch = max(self.scratch, 1 << k)
        flags = INVERSE * gate.inverse + WANTED * gate.differentiable
        controls, values = _control_masks(self.n_wires, gate.controls)
        return MATRIX, first, kind, flags, k, slot, controls, values


def _masks(n_wires: int, word: str, wires: Sequence[int]) -> tuple[int, int]:
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
    """A permutation with phases of some wires, on a register of more.

    Args:
        n_wires: Wires of the register.
        wires: Those that are permuted, the most significant bit of the table first.
        table: Where each index comes from, ``2**k`` integers.
        phases: Eighths of a turn, ``2**k`` integers, or one for all.

    Returns:
        The same two on the register; None is no phases.
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
    """The phases of all tables, zeros where there are none; none if there are nowhere.

    Kernels read the rows of all tables alike.
    """
    found = [row for row in phases if row is not None]
    if not found:
        return []
    zeros = np.zeros_like(found[0])
    return [zeros if row is None else row for row in phases]


def _stack(rows: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.stack(rows) if rows else np.zeros((0, 0), np.int32)
