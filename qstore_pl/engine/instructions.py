"""From gates to instructions: what the tables of both kinds of states have in common.

Gates are gathered in blocks, and each block is written as one instruction. A gate may
move left past blocks on other wires to join one. The first block of each wire is
written directly as a factor of a product state. What instructions there are besides,
and how they are written, is in :mod:`fusion` for state vectors and in
:mod:`pauli_fusion` for Pauli vectors. This module knows no kernels.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    MixedGate,
    PauliSum,
    Slot,
    wires_of,
)

FACTOR, BLOCK, BATCHED, PERMUTE = range(4)  # operations of both kinds
INVERSE, WANTED = 1, 4  # flags of matrices: conjugate transpose, with a gradient
# Kinds of blocks: what acts on one wire, permutations, and gates on their own.
ONE_WIRE, PERMUTATION, SINGLE = "one wire", "permutation", "single"


@dataclass(frozen=True, eq=False, kw_only=True)
class CircuitTables:
    """A circuit structure as the kernels read it.

    Passing an array to a kernel costs as much as a gate, so the arrays travel as two,
    ``ints`` and ``floats``; the others are read-only views of them.

    Args:
        n_wires: Number of wires; wire 0 is the most significant digit of an index.
        n_weights: Length of the weights.
        n_features: Columns of the features.
        n_outputs: Number of observables.
        code: Instructions, shape ``(n_blocks, 8)``; the module of each kind of states
            lists the columns.
        rotations: For each angle its axis (3 is a value that is no angle), the range of
            its terms and whether it depends on features, shape ``(n_angles, 4)``.
        constants: Constant part of each angle, shape ``(n_angles,)``.
        terms: Factors of the terms, two slots a row, shape ``(n_terms, 4)``.
        coefficients: Coefficient of each term, shape ``(n_terms,)``.
        observables: For each Pauli term its output and its word, a row each.
        weights_of_terms: Coefficients of the Pauli terms.
        wires: Bit or digit positions and lookup tables that instructions need.
        first_weight: First instruction whose gradient reaches a weight; -1 is none.
        first_feature: First instruction whose gradient reaches a feature; -1 is none.
        scratch: Room for intermediate numbers, as the most demanding instruction needs.
        general: Whether the kernels of all instructions are needed, and not only those
            of usual models.
    """

    INTS: ClassVar[tuple[str, ...]]  # order of the arrays inside the two that travel
    FLOATS: ClassVar[tuple[str, ...]]
    SIZED: ClassVar[tuple[str, ...]]  # arrays whose lengths the kernels are given

    n_wires: int
    n_weights: int
    n_features: int
    n_outputs: int
    code: NDArray[np.int32]
    rotations: NDArray[np.int32]
    constants: NDArray[np.float64]
    terms: NDArray[np.int32]
    coefficients: NDArray[np.float64]
    observables: NDArray[np.int32]
    weights_of_terms: NDArray[np.float64]
    wires: NDArray[np.int32]
    first_weight: int
    first_feature: int
    scratch: int
    general: bool
    ints: NDArray[np.int32] = field(init=False)
    floats: NDArray[np.float64] = field(init=False)
    sizes: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._pack("ints", self.INTS, np.int32)
        self._pack("floats", self.FLOATS, np.float64)
        sizes = [len(getattr(self, name)) for name in self.SIZED]
        object.__setattr__(self, "sizes", np.array([self.n_wires, *sizes], np.int64))
        self.sizes.flags.writeable = False

    @property
    def variant(self) -> str:
        """Which of the kernels for these states run the circuit."""
        return "general" if self.general else "core"

    def _pack(self, name: str, keys: Sequence[str], dtype: Any) -> None:
        """Make the arrays of these names read-only views of one."""
        arrays = [getattr(self, key) for key in keys]
        packed = np.concatenate([array.reshape(-1) for array in arrays], dtype=dtype)
        packed.flags.writeable = False
        object.__setattr__(self, name, packed)
        ends = np.cumsum([array.size for array in arrays])
        for key, array, end in zip(keys, arrays, ends, strict=True):
            view = packed[end - array.size : end].reshape(array.shape)
            object.__setattr__(self, key, view)

    def __reduce__(self) -> tuple[Any, ...]:
        # Through __init__, so that a copy is read-only as well.
        given = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init
        }
        return _made, (type(self), given)


def _made(kind: type[CircuitTables], given: dict[str, Any]) -> CircuitTables:
    return kind(**given)


@dataclass
class Block:
    """One instruction in the making."""

    kind: str
    wires: set[int] = field(default_factory=set)
    gates: list[Any] = field(default_factory=list)
    factor: bool = False  # whether it writes its wire's factor of the product state


def fuse(
    gates: Iterable[MixedGate],
    kind_of: Callable[[Any], str],
    joins_permutation: Callable[[Any], bool] = lambda gate: False,
    *,
    product: bool,
) -> list[Block]:
    """Gather gates in blocks, in the order in which they are applied.

    Args:
        gates: The circuit.
        kind_of: The kind of block a gate makes.
        joins_permutation: Whether a gate on one wire may join a permutation before it.
        product: Whether the initial state is a product state.
    """
    blocks: list[Block] = []
    last: dict[int, int] = {}  # wire -> index of the last block on it
    last_permutation = -1
    for gate in gates:
        wires, kind, target = set(wires_of(gate)), kind_of(gate), -1
        newest = max((last.get(wire, -1) for wire in wires), default=-1)
        if kind == ONE_WIRE and newest >= 0:
            found = blocks[newest].kind
            if found == ONE_WIRE:
                target = newest
            elif found == PERMUTATION and joins_permutation(gate):
                kind, target = found, newest
        elif kind == PERMUTATION:
            # Blocks that write the product state run first, wherever they stand.
            newest = max(
                (last[w] for w in wires if w in last and not blocks[last[w]].factor),
                default=-1,
            )
            target = last_permutation if newest <= last_permutation else -1
        if target < 0:
            target = len(blocks)
            first = product and kind == ONE_WIRE and newest < 0
            blocks.append(Block(kind, factor=first))
        blocks[target].gates.append(gate)
        blocks[target].wires |= wires
        for wire in wires:
            last[wire] = target
        if kind == PERMUTATION:
            last_permutation = max(last_permutation, target)
    return blocks


class Writer(ABC):
    """Tables that grow while the instructions are written.

    Args:
        n_wires: Number of wires.
        n_weights: Number of weights.
        n_constants: Number of constants, in the weight slots from ``n_weights`` on.
    """

    def __init__(self, n_wires: int, n_weights: int, n_constants: int) -> None:
        self.n_wires = n_wires
        self._first_constant = n_weights if n_constants else None
        self.rotations: list[tuple[int, int, int, int]] = []
        self.constants: list[float] = []
        self.terms: list[tuple[int, int, int, int]] = []
        self.coefficients: list[float] = []
        self.wires: list[int] = []
        self.kinds: list[set[int]] = []  # per instruction, the kinds its values have
        self.scratch = 0

    @abstractmethod
    def instruction(self, block: Block) -> tuple[int, ...]:
        """Write a block to the tables and return the columns of its instruction."""

    @abstractmethod
    def one_wire(
        self, wire: int, gates: Sequence[Any], *, op: int | None = None
    ) -> tuple[int, ...]:
        """Write gates on one wire.

        Args:
            wire: The wire.
            gates: One after the other; none is the identity.
            op: The operation of the instruction; None finds it from the gates.
        """

    @abstractmethod
    def place(self, word: str, wires: Sequence[int]) -> tuple[int, ...]:
        """The columns that name a Pauli word, in the rows of observables."""

    def write(self, blocks: Sequence[Block]) -> list[tuple[int, ...]]:
        """Write all blocks, those of the initial state first."""
        rest = [block for block in blocks if not block.factor]
        if rest and isinstance(rest[0].gates[0], Amplitudes):
            return [self.instruction(block) for block in rest]
        factors = {w: block for block in blocks if block.factor for w in block.wires}
        code = []
        for wire in range(self.n_wires):
            gates = factors[wire].gates if wire in factors else []
            code.append(self.one_wire(wire, gates, op=FACTOR))
        return code + [self.instruction(block) for block in rest]

    def angle(self, axis: int, angle: Angle) -> int:
        """Write an angle to the tables and return its index.

        Args:
            axis: 0 to 2, or 3 for a value that is no angle.
            angle: The polynomial.
        """
        first = len(self.terms)
        batched = False
        for coefficient, a, b in angle.terms:
            self.coefficients.append(coefficient)
            self.terms.append((*a, *b))
            batched = batched or a[0] == FEATURE or b[0] == FEATURE
        self.rotations.append((axis, first, len(self.terms), int(batched)))
        self.constants.append(angle.constant)
        return len(self.rotations) - 1

    def kinds_of(self, slots: Iterable[Slot]) -> set[int]:
        """The kinds of values among slots: WEIGHT, FEATURE, both or none."""
        first = self._first_constant
        return {
            kind
            for kind, index in slots
            if first is None or kind != WEIGHT or index < first
        }

    def positions(self, wires: Sequence[int]) -> int:
        """Write positions of wires, least significant first; return the first place."""
        self.wires += [self.n_wires - 1 - wire for wire in reversed(wires)]
        return len(self.wires) - len(wires)

    def tables(
        self, code: Sequence[tuple[int, ...]], observables: Sequence[PauliSum]
    ) -> dict[str, Any]:
        """The arrays that both kinds of tables have."""
        rows = list(self._rows(observables))
        width = 1 + len(self.place("", ()))
        first_weight, first_feature = (
            min((m for m, found in enumerate(self.kinds) if kind in found), default=-1)
            for kind in (WEIGHT, FEATURE)
        )
        return {
            "n_wires": self.n_wires,
            "n_outputs": len(observables),
            "code": np.array(code, np.int32).reshape(-1, 8),
            "rotations": np.array(self.rotations, np.int32).reshape(-1, 4),
            "constants": np.array(self.constants, np.float64),
            "terms": np.array(self.terms, np.int32).reshape(-1, 4),
            "coefficients": np.array(self.coefficients, np.float64),
            "observables": np.array([r for r, _ in rows], np.int32).reshape(-1, width),
            "weights_of_terms": np.array([c for _, c in rows], np.float64),
            "wires": np.array(self.wires, np.int32),
            "first_weight": first_weight,
            "first_feature": first_feature,
            "scratch": self.scratch,
        }

    def _rows(
        self, observables: Sequence[PauliSum]
    ) -> Iterator[tuple[tuple[int, ...], float]]:
        """For each Pauli term its row of columns and its coefficient."""
        for output, pauli_sum in enumerate(observables):
            for coefficient, word, wires in pauli_sum:
                yield (output, *self.place(word, wires)), coefficient
