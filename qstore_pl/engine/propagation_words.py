r"""Which Pauli words expectation values depend on, found from the structure alone.

The words that are measured are pulled back through the gates, last gate first. A gate
on wires where a word has no letter leaves it as it is, a Clifford gate gives it other
letters, and any other gate makes it a sum of words. Nothing is truncated, and no value
is read. What comes of it is a list of linear steps forward in time; the derivation is
in ``propagation.md``. This module knows arrays, not kernels.

A word is two masks of bits: ``x`` where it has the letter X or Y, ``z`` where it has Y
or Z; wire q is bit q. The value of a word is kept in a *cell*, a row of the array that
the kernels fill. Cell 0 is the number 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.affine import Affine
from qstore_pl.engine.gates import PauliSum

Int1D = NDArray[np.int64]
Int2D = NDArray[np.int64]
Float1D = NDArray[np.float64]

MOST_WIRES = 62  # bits of a mask
HASH_BITS = 20
CONSTANT, IDENTITY = 0, 1  # cells of the number 1 and of the word without letters
ONE = 0  # the number of a gate that is always 1


class TooManyWordsError(ValueError):
    """The words that a circuit's expectation values depend on are too many.

    Args:
        most: How many there may be.
        gates: Through how many gates, from the end, they have been pulled back.
        of: How many gates there are.
    """

    def __init__(self, most: int, gates: int, of: int) -> None:
        super().__init__(most, gates, of)
        self.most, self.gates, self.of = most, gates, of

    def __str__(self) -> str:
        return (
            f"more than {self.most:,} Pauli words, when they have been pulled back "
            f"through the last {self.gates:,} of {self.of:,} gates"
        )


@dataclass(frozen=True)
class Step:
    """What one gate does to the values of words.

    Args:
        cells: The cells that are written, shape ``(n,)``.
        factors: Constant factor of each cell, shape ``(n,)``.
        rows: For each term the row of ``cells`` to which it belongs, in order.
        numbers: For each term the number of the gate that it is multiplied by.
        sources: For each term the cell that is read.
    """

    cells: Int1D
    factors: Float1D
    rows: Int1D
    numbers: Int1D
    sources: Int1D


@dataclass(frozen=True)
class Cells:
    """The steps of all gates as one list of cells, in the order they are written.

    Args:
        factors: Constant factor of each cell, shape ``(n_cells,)``.
        starts: Where the terms of each cell start, and where the last ones end, shape
            ``(n_cells + 1,)``.
        terms: The number and the source of each term, shape ``(n_terms, 2)``. A source
            comes before the cell.
        measured: The cell of each word that is measured, or -1 where the value is 0.
        identity: The cell of the word without letters.
    """

    factors: Float1D
    starts: NDArray[np.int32]
    terms: NDArray[np.int32]
    measured: Int1D
    identity: int


class PulledBack:
    """Words that are pulled back through gates, and the steps that come of it.

    Args:
        x: Masks of the words that are measured, which are distinct and not the
            identity, shape ``(n_words,)``.
        z: As ``x``.
        most: How many cells there may be.
        of: Number of gates, for the message.
    """

    def __init__(self, x: Int1D, z: Int1D, *, most: int, of: int) -> None:
        self._x, self._z = x, z
        self._cells = np.arange(2, len(x) + 2)
        self._factors = np.ones(len(x))
        self._n_measured = len(x)
        self.n_cells = 2 + len(x)
        self._most, self._of, self._passed = most, of, 0
        self._steps: list[Step] = []
        self._more(0)

    def passed(self, gates: int) -> None:
        """Count gates that the words have been pulled back through."""
        self._passed += gates

    def relabel(
        self, wires: Sequence[int], sources: Sequence[int], factors: Sequence[float]
    ) -> None:
        """Pull back through a gate that makes one word of each word.

        Args:
            wires: Wires of the local word, most significant first.
            sources: The local word that each local word becomes, ``4**k`` numbers with
                the letters I, X, Y, Z as digits 0 to 3.
            factors: The factor of each local word.
        """
        mask = _mask_of(wires)
        touched = np.flatnonzero((self._x | self._z) & mask)
        if not touched.size:
            return
        x, z = self._x[touched], self._z[touched]
        local = _digits(x, z, wires)
        to_x, to_z = _masks(wires)
        source = np.asarray(sources)[local]
        self._x[touched] = x & ~mask | to_x[source]
        self._z[touched] = z & ~mask | to_z[source]
        self._factors[touched] *= np.asarray(factors)[local]

    def permute(self, found: Affine, wires: Sequence[int]) -> None:
        r"""Pull back through a permutation :math:`i \to A i \oplus c` of basis states.

        The word with the masks x and z becomes that with :math:`A x` and
        :math:`A^{-T} z`.

        Args:
            found: Where each index leads; the amplitude at i comes from there.
            wires: Wires of the index, most significant first.
        """
        mask = _mask_of(wires)
        touched = np.flatnonzero((self._x | self._z) & mask)
        if not touched.size:
            return
        x, z = self._x[touched], self._z[touched]
        places = list(reversed(wires))  # of the bits, least significant first
        back = found.inverse()
        new_x, new_z = np.zeros_like(x), np.zeros_like(z)
        for bit, wire in enumerate(places):
            for row, other in enumerate(places):
                if found.columns[bit] >> row & 1:
                    new_x ^= (x >> wire & 1) << other
                if back.columns[row] >> bit & 1:
                    new_z ^= (z >> wire & 1) << other
        shift = sum((found.shift >> bit & 1) << q for bit, q in enumerate(places))
        # A word has the factor i**|x & z|.
        quarter = np.bitwise_count(x & z & mask).astype(np.int64)
        quarter -= np.bitwise_count(new_x & new_z)
        quarter += 2 * np.bitwise_count(new_z & shift).astype(np.int64)
        self._x[touched] = x & ~mask | new_x
        self._z[touched] = z & ~mask | new_z
        self._factors[touched] *= np.where(quarter & 2, -1.0, 1.0)

    def rotate(self, letters: str, wires: Sequence[int], first: int) -> None:
        r"""Pull back through a rotation about a word W.

        A word P that anticommutes with W becomes :math:`\cos\theta\,P \mp
        \sin\theta\, (-i W P)`.

        Args:
            letters: Letters of W.
            wires: Their wires.
            first: Where the numbers of the gate begin: the cosine, the sine, and the
                sine with the other sign.
        """
        wx, wz = word_masks(letters, wires)
        odd, signs = self._turned(wx, wz)
        if not odd.size:
            return
        x, z = self._x[odd], self._z[odd]
        # Of a pair P and WP the word stands for both that lacks the lowest letter of W.
        pivot = wx & -wx if wx else wz & -wz
        second = (x if wx else z) & pivot != 0
        base_x, base_z = np.where(second, x ^ wx, x), np.where(second, z ^ wz, z)
        group, leaders = _groups(base_x, base_z)
        n = len(leaders)
        self._more(2 * n)
        pairs = self.n_cells + np.arange(2 * n)
        own = 2 * group + second
        rows = np.repeat(np.arange(len(odd)), 2)
        sources = np.stack([pairs[own], pairs[own ^ 1]], axis=1).reshape(-1)
        sines = np.where(signs > 0, first + 2, first + 1)
        numbers = np.stack([np.full(len(odd), first), sines], axis=1).reshape(-1)
        new_x, new_z = base_x[leaders], base_z[leaders]
        self._replace(
            odd,
            Step(self._cells[odd], self._factors[odd], rows, numbers, sources),
            np.stack([new_x, new_x ^ wx], axis=1).reshape(-1),
            np.stack([new_z, new_z ^ wz], axis=1).reshape(-1),
        )

    def turn(self, letters: str, wires: Sequence[int], quarters: int) -> None:
        """Pull back through a rotation by a number of right angles.

        Args:
            letters: Letters of the word of the rotation.
            wires: Their wires.
            quarters: The number of right angles.
        """
        wx, wz = word_masks(letters, wires)
        odd, signs = self._turned(wx, wz)
        if quarters % 2:
            self._x[odd] ^= wx
            self._z[odd] ^= wz
            self._factors[odd] *= -signs if quarters % 4 == 1 else signs
        elif quarters % 4 == 2:
            self._factors[odd] *= -1.0

    def mix(self, wires: Sequence[int], numbers: Int2D) -> None:
        """Pull back through a gate that is known by its transfer matrix.

        Args:
            wires: Wires of the local word, most significant first.
            numbers: The number of each entry, or -1 where it is 0, shape
                ``(4**k, 4**k)``. Row 0 is that of the identity, and is not read.
        """
        mask, pattern = _mask_of(wires), numbers >= 0
        acted = (self._x | self._z) & mask != 0
        touched = np.flatnonzero(acted)
        if not touched.size:
            return
        x, z = self._x[touched], self._z[touched]
        local = _digits(x, z, wires)
        rest_x, rest_z = x & ~mask, z & ~mask
        group, leaders = _groups(rest_x, rest_z)
        rest_x, rest_z = rest_x[leaders], rest_z[leaders]
        present = np.zeros((len(leaders), len(pattern)), np.float32)
        present[group, local] = 1.0
        needed = present @ pattern.astype(np.float32) > 0.0
        shifted = np.flatnonzero(needed[:, 0])
        needed[:, 0] = False
        of, letter = np.nonzero(needed)
        self._more(len(of))
        cells = np.full(needed.shape, -1)
        cells[of, letter] = self.n_cells + np.arange(len(of))
        to_x, to_z = _masks(wires)
        new_x, new_z = rest_x[of] | to_x[letter], rest_z[of] | to_z[letter]
        rows, column = np.nonzero(pattern[local])
        if shifted.size:
            self._mix_shifted(
                shifted, touched, acted, local, group, cells, numbers,
                (rest_x, rest_z), (new_x, new_z),
            )  # fmt: skip
            return
        step = Step(
            self._cells[touched],
            self._factors[touched],
            rows,
            numbers[local[rows], column],
            cells[group[rows], column],
        )
        self._replace(touched, step, new_x, new_z)

    def _mix_shifted(
        self,
        shifted: Int1D,
        touched: Int1D,
        acted: NDArray[np.bool_],
        local: Int1D,
        group: Int1D,
        cells: Int2D,
        numbers: Int2D,
        rest: tuple[Int1D, Int1D],
        new: tuple[Int1D, Int1D],
    ) -> None:
        """:meth:`mix` where words without letters on the wires are read as well.

        Such a word may be needed already, by a later gate or by a measurement.
        """
        wanted_x, wanted_z = rest[0][shifted], rest[1][shifted]
        kept = self._candidates(~acted, wanted_x, wanted_z)
        joined, _ = _groups(
            np.concatenate([self._x[kept], wanted_x]),
            np.concatenate([self._z[kept], wanted_z]),
        )
        place = np.full(len(joined), -1)
        place[joined[: len(kept)]] = kept
        known = place[joined[len(kept) :]]  # where the word stands, or -1
        identity = (wanted_x | wanted_z) == 0
        found = known >= 0
        # A factor that has gathered behind this gate is no part of what is read here.
        scaled = found & (self._factors[known] != 1.0)
        fresh = ~identity & (~found | scaled)
        count = int(fresh.sum())
        self._more(len(new[0]) + count)
        own = self.n_cells + len(new[0]) + np.arange(count)
        column_of_identity = np.full(len(shifted), IDENTITY)
        column_of_identity[found] = self._cells[known[found]]
        column_of_identity[fresh] = own
        cells[shifted, 0] = column_of_identity
        rows, column = np.nonzero((numbers >= 0)[local])
        copied = known[scaled]
        n, more = len(touched), np.arange(len(copied))
        step = Step(
            np.concatenate([self._cells[touched], self._cells[copied]]),
            np.concatenate([self._factors[touched], self._factors[copied]]),
            np.concatenate([rows, n + more]),
            np.concatenate([numbers[local[rows], column], np.full(len(copied), ONE)]),
            np.concatenate([cells[group[rows], column], column_of_identity[scaled]]),
        )
        gone = np.concatenate([touched, copied])
        self._replace(
            gone,
            step,
            np.concatenate([new[0], wanted_x[fresh]]),
            np.concatenate([new[1], wanted_z[fresh]]),
        )

    def _candidates(
        self, mask: NDArray[np.bool_], wanted_x: Int1D, wanted_z: Int1D
    ) -> Int1D:
        """Where the words stand that may be among the wanted ones, and few others.

        Words are told apart by a few bits of a hash, before they are sorted.
        """
        there = np.zeros(1 << HASH_BITS, bool)
        there[_hashes(wanted_x, wanted_z)] = True
        return np.flatnonzero(mask & there[_hashes(self._x, self._z)])

    def scale(self, wires: Sequence[int], numbers: Int1D) -> None:
        """Pull back through a gate that multiplies each word by a number.

        Args:
            wires: Wires of the local word, most significant first.
            numbers: The number for each of the ``4**k`` local words.
        """
        touched = np.flatnonzero((self._x | self._z) & _mask_of(wires))
        if not touched.size:
            return
        x, z = self._x[touched], self._z[touched]
        count = len(touched)
        self._more(count)
        step = Step(
            self._cells[touched],
            self._factors[touched],
            np.arange(count),
            numbers[_digits(x, z, wires)],
            self.n_cells + np.arange(count),
        )
        self._replace(touched, step, x, z)

    def begin(self, wires: Sequence[int] = (), first: int | None = None) -> None:
        """Give the words their values in the initial state, where the circuit begins.

        Args:
            wires: Wires whose amplitudes are given, most significant first; the other
                wires are in state 0.
            first: Where the numbers of the words on these wires begin, ``4**k`` of
                them; None if there are none.
        """
        others = ~_mask_of(wires)
        alive = np.flatnonzero((self._x & others) == 0)
        x, z = (np.append(part[alive], 0) for part in (self._x, self._z))
        numbers = np.full(len(x), ONE)
        if first is not None:
            numbers = first + _digits(x, z, wires)
        step = Step(
            np.append(self._cells[alive], IDENTITY),
            np.append(self._factors[alive], 1.0),
            np.arange(len(x)),
            numbers,
            np.full(len(x), CONSTANT),
        )
        self._steps.append(step)

    def cells(self) -> Cells:
        """All steps forward in time, without the words whose value is always 0."""
        place = np.full(self.n_cells, -1)  # of each cell in the new order
        place[CONSTANT] = 0
        factors, counts = [np.ones(1)], [np.zeros(1, np.int64)]
        terms = [np.empty((0, 2), np.int32)]
        n = 1
        for step in reversed(self._steps):
            sources = place[step.sources]
            kept = sources >= 0
            of = np.bincount(step.rows[kept], minlength=len(step.cells))
            written = of > 0
            counts.append(of[written])
            factors.append(step.factors[written])
            pairs = np.stack([step.numbers[kept], sources[kept]], axis=1)
            terms.append(pairs.astype(np.int32))
            found = step.cells[written]
            place[found] = n + np.arange(len(found))
            n += len(found)
        starts = np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()
        return Cells(
            np.concatenate(factors),
            starts.astype(np.int32),
            np.concatenate(terms),
            place[2 : 2 + self._n_measured],
            int(place[IDENTITY]),
        )

    def _more(self, count: int) -> None:
        if self.n_cells + count > self._most:
            raise TooManyWordsError(self._most, self._passed, self._of)

    def _turned(self, wx: int, wz: int) -> tuple[Int1D, Int1D]:
        """The words P that anticommute with W, and the signs s of -i W P = s Q."""
        odd = np.bitwise_count(self._x & wz) + np.bitwise_count(self._z & wx) & 1
        places = np.flatnonzero(odd)
        x, z = self._x[places], self._z[places]
        quarter = np.bitwise_count(x & z).astype(np.int64) + (wx & wz).bit_count()
        quarter += 2 * np.bitwise_count(x & wz).astype(np.int64)
        quarter -= np.bitwise_count((x ^ wx) & (z ^ wz))
        return places, np.where(quarter & 3 == 1, 1, -1)

    def _replace(self, gone: Int1D, step: Step, new_x: Int1D, new_z: Int1D) -> None:
        """Put words in new cells, from ``n_cells`` on, in the place of others."""
        kept = np.ones(len(self._x), bool)
        kept[gone] = False
        count = len(new_x)
        own = self.n_cells + np.arange(count)
        self._steps.append(step)
        self._x = np.concatenate([self._x[kept], new_x])
        self._z = np.concatenate([self._z[kept], new_z])
        self._cells = np.concatenate([self._cells[kept], own])
        self._factors = np.concatenate([self._factors[kept], np.ones(count)])
        self.n_cells += count


# --- words as masks ---------------------------------------------------------------


def measured_words(
    observables: Sequence[PauliSum],
) -> tuple[Int1D, Int1D, list[tuple[int, int, float]]]:
    """The distinct words of Pauli sums, without the identity.

    Args:
        observables: One Pauli sum per output.

    Returns:
        Their masks x and z, and for each term of a sum the output, the number of its
        word (-1 for the identity) and the coefficient.
    """
    places: dict[tuple[int, int], int] = {}
    terms = []
    for output, pauli_sum in enumerate(observables):
        for coefficient, word, wires in pauli_sum:
            masks = word_masks(word, wires)
            place = -1 if masks == (0, 0) else places.setdefault(masks, len(places))
            terms.append((output, place, coefficient))
    masks_of = np.array(list(places), np.int64).reshape(-1, 2)
    return masks_of[:, 0].copy(), masks_of[:, 1].copy(), terms


def word_masks(letters: str, wires: Sequence[int]) -> tuple[int, int]:
    """The masks x and z of a word."""
    x = sum(1 << q for a, q in zip(letters, wires, strict=True) if a in "XY")
    z = sum(1 << q for a, q in zip(letters, wires, strict=True) if a in "YZ")
    return x, z


def _mask_of(wires: Sequence[int]) -> int:
    return sum(1 << wire for wire in wires)


def _digits(x: Int1D, z: Int1D, wires: Sequence[int]) -> Int1D:
    """The local words as numbers, the letters I, X, Y, Z as digits 0 to 3."""
    found = np.zeros(len(x), np.int64)
    for wire in wires:
        a, b = x >> wire & 1, z >> wire & 1
        found = 4 * found + (a ^ 3 * b)  # X is 1, Z is 3, and Y is 1 ^ 3
    return found


def _masks(wires: Sequence[int]) -> tuple[Int1D, Int1D]:
    """The masks of all local words on some wires, in the order of their numbers."""
    index = np.arange(1 << 2 * len(wires))
    x, z = np.zeros_like(index), np.zeros_like(index)
    for place, wire in enumerate(reversed(wires)):
        digit = index >> 2 * place & 3
        x |= (digit & 1 ^ digit >> 1) << wire
        z |= (digit >> 1) << wire
    return x, z


def _groups(x: Int1D, z: Int1D) -> tuple[Int1D, Int1D]:
    """Number equal words alike.

    Returns:
        The number of each word, and a place where each number stands.
    """
    if not len(x):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    x_bits, z_bits = int(x.max()).bit_length(), int(z.max()).bit_length()
    if x_bits + z_bits > 63:  # by their ranks, which are fewer
        x, z = _ranks(x), _ranks(z)
        z_bits = int(z.max()).bit_length()
    key = x << z_bits | z
    order = np.argsort(key)
    in_order = key[order]
    starts = np.ones(len(key), bool)
    starts[1:] = in_order[1:] != in_order[:-1]
    number = np.empty(len(key), np.int64)
    number[order] = np.cumsum(starts) - 1
    return number, order[starts]


def _hashes(x: Int1D, z: Int1D) -> Int1D:
    """A number of ``HASH_BITS`` bits for each word."""
    mixed = x * 0x1E3779B97F4A7C15 + z * 0x3F58476D1CE4E5B9  # wraps around
    return mixed >> (63 - HASH_BITS) & (1 << HASH_BITS) - 1


def _ranks(values: Int1D) -> Int1D:
    ranks: Int1D = np.unique(values, return_inverse=True)[1]
    return ranks
