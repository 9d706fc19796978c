"""From a list of gates to sweeps over a large state, as the kernels read them.

Gates are gathered in blocks as for small states, and scheduled. Inside a sweep a tile
is a small register, and each instruction is written as for a circuit on that register.
What moves no amplitudes, as CNOT, is in the places of the tiles. This module knows no
kernels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.affine import Affine, affine_of
from qstore_pl.engine.fusion import StateWriter, kind_of, pauli_masks, without_phases
from qstore_pl.engine.gates import (
    Amplitudes,
    Angle,
    Drawn,
    Gate,
    Matrix,
    PauliRotation,
    PauliSum,
    Permutation,
    wires_of,
)
from qstore_pl.engine.instructions import (
    BLOCK,
    FACTOR,
    ONE_WIRE,
    PERMUTATION,
    PERMUTE,
    Block,
    CircuitTables,
    fuse,
)
from qstore_pl.engine.schedule import (
    Item,
    Route,
    Sweep,
    beginning,
    combinations,
    schedule,
)

TILE = 14  # bits of an index into a tile: ket and bra fill half of an L2 cache
LANES = 3  # fewest bits of a tile that are lanes

# Columns of an instruction, where they are not those of state vectors:
#   BLOCK:    op, bit, first angle, last angle, 0, 0, 0, 0; FACTOR likewise
#   PERMUTE:  op, first wire, first index, first phase or -1, wires, 0, 0, 0; indices
#             and phases are followed by the inverse ones
# Columns of a sweep:
#   first step, last step, rows, kind of the route, its pieces, indices inside one,
#   first number of the route, first number of where tiles are written
# Columns of a step:
#   first instruction, last instruction, whether they are blocks on different bits,
#   number of this among such steps of the sweep


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class SweptTables(CircuitTables):
    """The structure of a circuit on a large state vector.

    Args: as :class:`CircuitTables`; a row of ``observables`` is an output, an X mask
        and a Z mask of places in memory, and the number of letters Y.
        slots: Where the sums of each instruction begin, and their number, shape
            ``(n_blocks + 1,)``.
        steps: The steps of all sweeps.
        sweeps: The sweeps.
        routes: Places of tiles.
        local: Permutations inside tiles.
        size: Bits of an index into a tile.
        rows: Most bits that are rows of a tile.
        phase: Global phase as an angle.
        places: From the index of an amplitude to its place after the last sweep.
    """

    INTS: ClassVar[tuple[str, ...]] = (
        "code", "rotations", "terms", "observables", "wires", "slots", "steps",
        "sweeps", "routes", "local",
    )  # fmt: skip
    FLOATS: ClassVar[tuple[str, ...]] = (
        "constants", "coefficients", "weights_of_terms",
    )  # fmt: skip
    SIZED: ClassVar[tuple[str, ...]] = (*INTS, "shape")

    slots: NDArray[np.int32]
    steps: NDArray[np.int32]
    sweeps: NDArray[np.int32]
    routes: NDArray[np.int32]
    local: NDArray[np.int32]
    size: int
    rows: int
    phase: Angle
    places: Affine

    @property
    def shape(self) -> range:
        """As long as a tile has bits, so that kernels are given that number."""
        return range(self.size)

    @property
    def most_phases(self) -> int:
        """Most steps of a sweep that have phases."""
        return int(self.steps[:, 3].max(initial=-1)) + 1


def build(
    n_wires: int,
    gates: Sequence[Gate],
    observables: Sequence[PauliSum] = (),
    *,
    n_weights: int = 0,
    n_features: int = 0,
    n_constants: int = 0,
) -> SweptTables | None:
    """Schedule ``gates`` and write their tables.

    Args:
        n_wires: Number of wires.
        gates: The circuit; :class:`Amplitudes` only as the first gate.
        observables: One Pauli sum per output.
        n_weights: Number of weights.
        n_features: Number of features.
        n_constants: Number of constants, in the weight slots from ``n_weights`` on.

    Returns:
        None where a gate is drawn, or acts on more wires than a tile has rows.
    """
    phase, gates = without_phases(gates)
    size, rows = tile_shape(n_wires)
    if not all(_fits(gate, rows) for gate in gates):
        return None
    gates = [part for gate in gates for part in _narrow(gate, rows)]
    writer = _Writer(n_wires, n_weights, n_constants)
    code = writer.write(fuse(gates, kind_of, product=writer.starts_as_product(gates)))
    sweeps, places = schedule(
        n_wires, writer.items, rows=rows, size=size, start=writer.start
    )
    for sweep in sweeps:
        code += writer.sweep(sweep, size, len(code))
    writer.places = places
    writer.n_wires = n_wires
    shared = writer.tables(code, observables)
    slots = np.concatenate([[0], np.cumsum(writer.sums)])
    return SweptTables(
        **shared,
        n_weights=n_weights,
        n_features=n_features,
        slots=slots.astype(np.int32),
        steps=np.array(writer.steps, np.int32).reshape(-1, 4),
        sweeps=np.array(writer.sweeps, np.int32).reshape(-1, 8),
        routes=np.array([*writer.routes, *[0] * 14], np.int32),  # read, if not used
        local=np.array(writer.local, np.int32),
        size=size,
        rows=rows,
        phase=phase,
        places=places,
        general=True,  # one kernel has all instructions: it compiles as fast
    )


def tile_shape(n_wires: int) -> tuple[int, int]:
    """Bits of an index into a tile, and how many of them are rows.

    All wires are rows in as few sweeps as possible, in equal parts.
    """
    size = min(TILE, max(n_wires - 4, -(-n_wires // 2) + LANES))
    sweeps = math.ceil(n_wires / (size - LANES))
    return size, math.ceil(n_wires / sweeps)


def _fits(gate: Gate, rows: int) -> bool:
    """Whether a gate can be applied to tiles, as it is or in narrower parts."""
    if isinstance(gate, Amplitudes):
        return True
    if isinstance(gate, Drawn):
        return False
    if isinstance(gate, Permutation) and affine_of(gate.table, gate.phases) is not None:
        return True
    if isinstance(gate, PauliRotation) and not gate.controls:
        return True
    return len(wires_of(gate)) <= rows


def _narrow(gate: Gate, rows: int) -> Iterator[Gate]:
    """A gate, or narrower ones with the same product.

    A rotation about a long word is one about Z on its last wire, between gates that
    turn each letter into Z, and CNOTs, which cost nothing here.
    """
    if not isinstance(gate, PauliRotation) or len(gate.wires) <= rows:
        yield gate
        return
    quarter = {"X": ("Y", -math.pi / 2), "Y": ("X", math.pi / 2)}
    turns = [
        PauliRotation(quarter[letter][0], (wire,), Angle(quarter[letter][1]))
        for letter, wire in zip(gate.word, gate.wires, strict=True)
        if letter in quarter
    ]
    *others, last = gate.wires
    cnots = [Permutation((wire, last), (0, 1, 3, 2), (0,) * 4) for wire in others]
    yield from turns
    yield from cnots
    yield PauliRotation("Z", (last,), gate.angle)
    yield from reversed(cnots)
    yield from (turn.adjoint() for turn in turns)


class _Writer(StateWriter):
    """Tables of a large state: the initial state first, then sweep by sweep."""

    def __init__(self, n_wires: int, n_weights: int, n_constants: int) -> None:
        super().__init__(n_wires, n_weights, n_constants)
        self.items: list[Item] = []  # what is scheduled
        self.sums: list[int] = []  # numbers that each instruction adds up
        self.steps: list[tuple[int, ...]] = []
        self.sweeps: list[tuple[int, ...]] = []
        self.routes: list[int] = []
        self.local: list[int] = []
        self.start = self.places = Affine.identity(n_wires)

    @staticmethod
    def starts_as_product(gates: Sequence[Gate]) -> bool:
        """Whether the initial state is a product state."""
        return not any(isinstance(gate, Amplitudes) for gate in gates)

    def write(self, blocks: Sequence[Block]) -> list[tuple[int, ...]]:
        """Write the initial state, and keep all other gates as items."""
        rest = [block for block in blocks if not block.factor]
        first: list[Block] = []
        if rest and isinstance(rest[0].gates[0], Amplitudes):
            first, rest = rest[:1], rest[1:]
        for block in rest:
            if block.kind != PERMUTATION:
                self.items.append(Item(self._bits(block.gates[0]), block))
                continue
            for gate in block.gates:
                move = affine_of(gate.table, gate.phases)
                one = Block(PERMUTATION, set(gate.wires), [gate])
                self.items.append(
                    Item(self._bits(gate), one if move is None else None, move)
                )
        code = [self.instruction(block) for block in first] or self._factors(blocks)
        self.sums += [0] * len(code)
        return code

    def _factors(self, blocks: Sequence[Block]) -> list[tuple[int, ...]]:
        """Write the factors of the initial state, that of the highest place first."""
        _, rows = tile_shape(self.n_wires)
        self.start = beginning(self.n_wires, self.items, rows=rows)
        factors = {
            w: block.gates for block in blocks if block.factor for w in block.wires
        }
        bits = sorted(range(self.n_wires), key=lambda bit: -self.start.columns[bit])
        wires = [self.n_wires - 1 - bit for bit in bits]
        return [self.one_wire(w, factors.get(w, []), op=FACTOR) for w in wires]

    def _bits(self, gate: Gate) -> tuple[int, ...]:
        return tuple(self.n_wires - 1 - wire for wire in reversed(wires_of(gate)))

    def sweep(self, sweep: Sweep, size: int, first: int) -> list[tuple[int, ...]]:
        """Write a sweep.

        Args:
            sweep: The sweep.
            size: Bits of an index into a tile.
            first: Number of instructions before it.
        """
        n_wires, k = len(self.places.columns), len(sweep.bits)
        wires = {n_wires - 1 - bit: k - 1 - row for row, bit in enumerate(sweep.bits)}
        self.n_wires = k
        code = [self._inside(block, wires) for block in _in_order(sweep.gates)]
        first_step, phased = len(self.steps), 0
        bits: set[int] = set()  # of the blocks of the last step
        for m, row in enumerate(code, first):
            block = row[0] == BLOCK
            if block and bits and row[1] not in bits:
                start, _, *others = self.steps.pop()
                self.steps.append((start, m + 1, *others))
            else:
                self.steps.append((m, m + 1, int(block), phased if block else -1))
                phased += block
                bits = set()
            if block:
                bits.add(row[1])
        route = Route.of(sweep.read, size)
        read = len(self.routes)
        for numbers in (
            route.tiles, route.shifts, route.places, route.starts, route.inside,
            route.lines, route.twists,
        ):  # fmt: skip
            self.routes += [int(number) for number in numbers]
        write = len(self.routes)
        self.routes += list(sweep.write.columns[size:])
        self.routes += [
            int(p) for p in combinations(sweep.write.columns[size - k : size])
        ]
        steps = (first_step, len(self.steps))
        pieces = (route.kind, len(route.places), len(route.inside))
        self.sweeps.append((*steps, k, *pieces, read, write))
        return code

    def _inside(self, block: Block, wires: Mapping[int, int]) -> tuple[int, ...]:
        """Write a block as an instruction on the rows of a tile."""
        gates = [_on(gate, wires) for gate in block.gates]
        found = self.instruction(
            Block(block.kind, {wires[w] for w in block.wires}, gates)
        )
        gate, n_sums = gates[0], 0
        if block.kind == ONE_WIRE:
            n_sums = 3
        elif isinstance(gate, PauliRotation):
            n_sums = 1
        elif isinstance(gate, Matrix) and gate.differentiable:
            n_sums = 2 * 4 ** len(gate.wires)
        self.sums.append(n_sums)
        return found

    def one_wire(
        self, wire: int, gates: Sequence[PauliRotation], *, op: int | None = None
    ) -> tuple[int, ...]:
        op, bit, first, last, *_ = super().one_wire(
            wire, gates, op=BLOCK if op is None else op
        )
        return op, bit, first, last, 0, 0, 0, 0

    def _permutation(self, gates: Sequence[Permutation]) -> tuple[int, ...]:
        self.kinds.append(set())
        (gate,) = gates
        first, k, phases = self.positions(gate.wires), len(gate.wires), -1
        table = len(self.local)
        self.local += [*gate.table, *gate.adjoint().table]
        if any(gate.phases):
            phases = len(self.local)
            self.local += [p % 8 for p in (*gate.phases, *gate.adjoint().phases)]
        self.scratch = max(self.scratch, 1 << k)
        return PERMUTE, first, table, phases, k, 0, 0, 0

    def place(self, word: str, wires: Sequence[int]) -> tuple[int, ...]:
        x, z = pauli_masks(self.n_wires, word, wires)
        flips = self.places(x) ^ self.places.shift
        indices = self.places.inverse().columns
        signs = sum(
            (z & column).bit_count() % 2 << b for b, column in enumerate(indices)
        )
        return flips, signs, (x & z).bit_count()

    def _rows(
        self, observables: Sequence[PauliSum]
    ) -> Iterator[tuple[tuple[int, ...], float]]:
        shift = self.places.inverse().shift
        for output, pauli_sum in enumerate(observables):
            for coefficient, word, wires in pauli_sum:
                _, z = pauli_masks(self.n_wires, word, wires)
                sign = (-1.0) ** (z & shift).bit_count()
                yield (output, *self.place(word, wires)), sign * coefficient


def _in_order(blocks: Sequence[Block]) -> Iterator[Block]:
    """Blocks so that those on different wires next to each other are in their order.

    The last wire, which is the lowest bit, comes first.
    """
    same: dict[int, Block] = {}
    for block in blocks:
        (wire,) = block.wires if block.kind == ONE_WIRE else (None,)
        if wire is None or wire in same:
            yield from (same[w] for w in sorted(same, reverse=True))
            same = {}
        if wire is None:
            yield block
        else:
            same[wire] = block
    yield from (same[w] for w in sorted(same, reverse=True))


def _on(gate: Any, wires: Mapping[int, int]) -> Any:
    """The same gate on other wires."""
    changes: dict[str, Any] = {"wires": tuple(wires[wire] for wire in gate.wires)}
    if isinstance(gate, PauliRotation | Matrix):
        changes["controls"] = tuple((wires[wire], v) for wire, v in gate.controls)
    return dataclasses.replace(gate, **changes)
