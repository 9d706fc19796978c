"""The gates the engine knows, with symbolic angles.

A gate is a Pauli rotation, a permutation with phases or a matrix, a set closed under
adjoint and control, or it gives the initial amplitudes. Every value (a weight, a
feature, a matrix entry, an amplitude) is named by a slot, never stored. Circuits of
mixed states also have channels: with factors that are polynomials, with Kraus matrices
of values, or constant. This module knows no PennyLane.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

CONSTANT, WEIGHT, FEATURE = 0, 1, 2
DERIVED = 3  # of a value that has no column yet; its index is the value's description
Slot: TypeAlias = tuple[int, Any]  # (WEIGHT or FEATURE, index); ONE stands for 1
ONE: Slot = (CONSTANT, 0)


@dataclass(frozen=True)
class Angle:
    r"""A polynomial of degree <= 2 in weights and features, in radians.

    :math:`\theta = c_0 + \sum_t c_t\, a_t b_t`, where a factor is a slot or 1.

    Args:
        constant: :math:`c_0`.
        terms: Triples :math:`(c_t, a_t, b_t)`.
    """

    constant: float = 0.0
    terms: tuple[tuple[float, Slot, Slot], ...] = ()

    def __add__(self, other: Angle | float) -> Angle:
        other = other if isinstance(other, Angle) else Angle(float(other))
        return Angle(self.constant + other.constant, self.terms + other.terms)

    __radd__ = __add__

    def __neg__(self) -> Angle:
        return -1.0 * self

    def __sub__(self, other: Angle | float) -> Angle:
        return self + -1.0 * other

    def __rsub__(self, other: float) -> Angle:
        return float(other) + -self

    def __mul__(self, other: Angle | float) -> Angle:
        if not isinstance(other, Angle):
            factor = float(other)
            return Angle(
                factor * self.constant,
                tuple((factor * c, a, b) for c, a, b in self.terms),
            )
        product = self.constant * other + other.constant * Angle(0.0, self.terms)
        crossed = []
        for c, a, b in self.terms:
            for d, e, f in other.terms:
                factors = [slot for slot in (a, b, e, f) if slot != ONE]
                if len(factors) > 2:
                    raise ValueError("An angle must have degree <= 2 in its values.")
                first, second = (*factors, ONE, ONE)[:2]
                crossed.append((c * d, first, second))
        return Angle(product.constant, product.terms + tuple(crossed))

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> Angle:
        return self * (1.0 / other)

    @property
    def slots(self) -> set[Slot]:
        """The weights and features this angle depends on."""
        return {slot for _, a, b in self.terms for slot in (a, b) if slot != ONE}

    def renamed(self, rename: Callable[[Slot], Slot]) -> Angle:
        """The same polynomial with its values in other slots; ONE must stay ONE."""
        terms = tuple((c, rename(a), rename(b)) for c, a, b in self.terms)
        return Angle(self.constant, terms)

    def evaluate(
        self, weights: NDArray[np.float64], features: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Value for every row of ``features``, shape ``(n_samples,)``."""
        total = np.full(len(features), self.constant)
        for coefficient, *factors in self.terms:
            product: NDArray[np.float64] | float = coefficient
            for kind, index in factors:
                if kind == WEIGHT:
                    product = product * weights[index]
                elif kind == FEATURE:
                    product = product * features[:, index]
            total += product
        return total


def slot_angles(kind: int, offset: int, shape: tuple[int, ...]) -> NDArray[np.object_]:
    """An array of angles, one per consecutive slot from ``offset`` on, in C order."""
    size = int(np.prod(shape, dtype=int))
    array = np.empty(size, dtype=object)
    for i in range(size):
        array[i] = Angle(0.0, ((1.0, (kind, offset + i), ONE),))
    return array.reshape(shape)


@dataclass(frozen=True)
class PauliRotation:
    r""":math:`e^{-i\theta P/2}` where the controls hold, the identity elsewhere.

    The empty word is the identity: with controls a phase :math:`e^{-i\theta/2}` on the
    controlled part, without them a global phase.

    Args:
        word: Letters ``X``, ``Y``, ``Z``, one for each of ``wires``.
        controls: Pairs (wire, value the wire must have).
    """

    word: str
    wires: tuple[int, ...]
    angle: Angle
    controls: tuple[tuple[int, int], ...] = ()

    def adjoint(self) -> PauliRotation:
        """The inverse rotation."""
        return dataclasses.replace(self, angle=-self.angle)

    def controlled(self, controls: Sequence[tuple[int, int]]) -> PauliRotation:
        """The same rotation under more controls."""
        return dataclasses.replace(self, controls=self.controls + tuple(controls))

    def uncontrolled(self) -> Iterator[PauliRotation]:
        """Rotations without controls whose product is this one up to a global phase.

        They commute. A projector is a product of (1 +- Z) / 2, so that there is one
        rotation for each subset of the controls, about the word with Z on the subset.
        """
        share = 0.5 ** len(self.controls) * self.angle
        for chosen in itertools.product((0, 1), repeat=len(self.controls)):
            kept = list(itertools.compress(self.controls, chosen))
            sign = (-1.0) ** sum(value for _, value in kept)
            word = "Z" * len(kept) + self.word
            if word:
                wires = tuple(wire for wire, _ in kept) + self.wires
                yield PauliRotation(word, wires, sign * share)


@dataclass(frozen=True)
class Permutation:
    r"""Basis states permuted, with phases: :math:`\psi'_i = e^{i\pi p_i/4} \psi_{t_i}`.

    Args:
        wires: Wires of the local index, most significant first.
        table: :math:`t`, length ``2**len(wires)``.
        phases: :math:`p`, in eighths of a turn.
    """

    wires: tuple[int, ...]
    table: tuple[int, ...]
    phases: tuple[int, ...]

    def adjoint(self) -> Permutation:
        """The inverse permutation, with the opposite phases."""
        table, phases = [0] * len(self.table), [0] * len(self.table)
        for i, (source, phase) in enumerate(zip(self.table, self.phases, strict=True)):
            table[source], phases[source] = i, -phase % 8
        return Permutation(self.wires, tuple(table), tuple(phases))

    def controlled(self, controls: Sequence[tuple[int, int]]) -> Permutation:
        """The same permutation on the part of the space where ``controls`` hold."""
        size = len(self.table)
        wanted = size * sum(
            value << place for place, (_, value) in enumerate(reversed(controls))
        )
        table = list(range(size << len(controls)))
        phases = [0] * len(table)
        for i in range(size):
            table[wanted + i] = wanted + self.table[i]
            phases[wanted + i] = self.phases[i]
        wires = tuple(wire for wire, _ in controls) + self.wires
        return Permutation(wires, tuple(table), tuple(phases))


@dataclass(frozen=True)
class Matrix:
    """A unitary on some wires whose entries are values.

    Args:
        wires: Wires of the local index, most significant first.
        slot: First of ``2 * 4**len(wires)`` consecutive slots: real parts in C order,
            then imaginary parts.
        inverse: Whether the conjugate transpose is meant.
        controls: Pairs (wire, value the wire must have).
        differentiable: Whether backward runs give gradients of its entries.
    """

    wires: tuple[int, ...]
    slot: Slot
    inverse: bool = False
    controls: tuple[tuple[int, int], ...] = ()
    differentiable: bool = False

    def adjoint(self) -> Matrix:
        """The conjugate transpose."""
        return dataclasses.replace(self, inverse=not self.inverse)

    def controlled(self, controls: Sequence[tuple[int, int]]) -> Matrix:
        """The same unitary under more controls."""
        return dataclasses.replace(self, controls=self.controls + tuple(controls))


@dataclass(frozen=True)
class Drawn:
    """A matrix for each sample that need not be unitary, as trajectories draw them.

    Args:
        wires: Wires of the local index, most significant first.
        slot: First of ``4 * 4**len(wires) + 1`` consecutive features: real parts of the
            matrix in C order, imaginary parts, both of its inverse, and the number of
            the checkpoint before it, or -1.
    """

    wires: tuple[int, ...]
    slot: Slot


@dataclass(frozen=True)
class Amplitudes:
    """Initial amplitudes on some wires, the other wires in state 0; a first gate.

    Args:
        wires: Wires of the local index, most significant first.
        slot: First of ``2**len(wires)`` consecutive slots of real parts.
        complex: Whether as many imaginary parts follow.
    """

    wires: tuple[int, ...]
    slot: Slot
    complex: bool = False


@dataclass(frozen=True)
class Channel:
    r"""A channel that scales Pauli words; on one wire it may shift Z besides.

    :math:`r_P \to f_{w(P)}\, r_P` for the components :math:`r_P = \mathrm{Tr}\,P\rho`,
    then :math:`r_Z \to r_Z + s`.

    Args:
        wires: Wires of the local word, most significant first.
        factors: The distinct :math:`f`, polynomials in values, without unit.
        which: :math:`w`, the index into ``factors`` for each of the ``4**len(wires)``
            words; letters I, X, Y, Z are digits 0 to 3. The identity needs factor 1.
        shift: :math:`s`, which only a channel on one wire may have.
    """

    wires: tuple[int, ...]
    factors: tuple[Angle, ...]
    which: tuple[int, ...]
    shift: Angle = Angle()


@dataclass(frozen=True)
class Kraus:
    """A channel whose Kraus matrices are values.

    Args:
        wires: Wires of the local index, most significant first.
        slot: First of ``count * 2 * 4**len(wires)`` consecutive slots: the real parts
            of all matrices in C order, then the imaginary parts.
        count: Number of matrices.
        differentiable: Whether backward runs give gradients of their entries.
    """

    wires: tuple[int, ...]
    slot: Slot
    count: int
    differentiable: bool = False


@dataclass(frozen=True)
class Transfer:
    r"""A constant channel, given by its Pauli transfer matrix.

    Args:
        wires: Wires of the local word, most significant first.
        matrix: Rows of :math:`T_{ij} = \mathrm{Tr}(P_i\, E(P_j)) / 2^k`; it preserves
            the trace.
    """

    wires: tuple[int, ...]
    matrix: tuple[tuple[float, ...], ...]


Gate: TypeAlias = PauliRotation | Permutation | Matrix | Drawn | Amplitudes
MixedGate: TypeAlias = Gate | Channel | Kraus | Transfer


def renamed(gate: MixedGate, rename: Callable[[Slot], Slot]) -> MixedGate:
    """The same gate with its values in other slots.

    Args:
        gate: Any gate.
        rename: The new slot of each slot; consecutive slots must stay consecutive.
    """
    match gate:
        case PauliRotation():
            return dataclasses.replace(gate, angle=gate.angle.renamed(rename))
        case Channel():
            factors = tuple(factor.renamed(rename) for factor in gate.factors)
            shift = gate.shift.renamed(rename)
            return dataclasses.replace(gate, factors=factors, shift=shift)
        case Matrix() | Drawn() | Amplitudes() | Kraus():
            return dataclasses.replace(gate, slot=rename(gate.slot))
    return gate


def wires_of(gate: MixedGate) -> tuple[int, ...]:
    """The wires a gate acts on, controls in front."""
    if isinstance(gate, PauliRotation | Matrix):
        return (*(wire for wire, _ in gate.controls), *gate.wires)
    return gate.wires


def slots_of(gate: MixedGate) -> set[Slot]:
    """The weights and features a gate depends on: of its angles, or its entries."""
    size = 1 << len(gate.wires)
    match gate:
        case PauliRotation():
            return gate.angle.slots
        case Channel():
            return {s for angle in (*gate.factors, gate.shift) for s in angle.slots}
        case Matrix():
            n_entries = 2 * size**2
        case Kraus():
            n_entries = 2 * size**2 * gate.count
        case Drawn():
            n_entries = 4 * size**2 + 1
        case Amplitudes():
            n_entries = 2 * size if gate.complex else size
        case _:
            return set()
    kind, first = gate.slot
    return {(kind, first + i) for i in range(n_entries)}


def angles_of(gate: MixedGate) -> tuple[Angle, ...]:
    """The angles of a gate, and the factors of a channel."""
    if isinstance(gate, PauliRotation):
        return (gate.angle,)
    return (*gate.factors, gate.shift) if isinstance(gate, Channel) else ()


PauliTerm: TypeAlias = tuple[float, str, tuple[int, ...]]  # coefficient, word, wires
PauliSum: TypeAlias = tuple[PauliTerm, ...]
