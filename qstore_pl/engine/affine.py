r"""Permutations of basis states whose bits are XORs of bits, as CNOT, X and SWAP.

:math:`i \to A i \oplus c` over the field of two elements. A run of such gates is one
such map, composed of n numbers, so that a table of :math:`2^n` indices is written only
once. This module knows arrays, not circuits.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Affine(NamedTuple):
    r"""The map :math:`i \to c \oplus \bigoplus_b i_b\, a_b` of indices of n bits.

    Args:
        columns: :math:`a_b`, where each bit leads, the least significant bit first.
        shift: :math:`c`.
    """

    columns: tuple[int, ...]
    shift: int

    @classmethod
    def identity(cls, n_bits: int) -> Affine:
        """The map that changes nothing."""
        return cls(tuple(1 << bit for bit in range(n_bits)), 0)

    def __call__(self, index: int) -> int:
        """Where an index leads."""
        found = self.shift
        for bit, column in enumerate(self.columns):
            if index >> bit & 1:
                found ^= column
        return found

    def after(self, first: Affine, bits: Sequence[int]) -> Affine:
        """This map after another one, which acts on some of the bits.

        Args:
            first: The map that acts first.
            bits: Which bits its bits are, its least significant one first.
        """
        linear = [self.columns[bit] for bit in bits]
        columns = list(self.columns)
        for bit, column in zip(bits, first.columns, strict=True):
            columns[bit] = _xor(linear, column)
        return Affine(tuple(columns), self.shift ^ _xor(linear, first.shift))

    def inverse(self) -> Affine:
        """The map back.

        Raises:
            ValueError: If the map is no permutation.
        """
        # Each row is an image and the index that leads there.
        rows = [(column, 1 << bit) for bit, column in enumerate(self.columns)]
        for bit in range(len(rows)):
            at = next((k for k in range(bit, len(rows)) if rows[k][0] >> bit & 1), None)
            if at is None:
                raise ValueError("A map of bits must be invertible, but is not.")
            rows[bit], rows[at] = rows[at], rows[bit]
            image, index = rows[bit]
            rows = [
                (a ^ image, b ^ index) if k != bit and a >> bit & 1 else (a, b)
                for k, (a, b) in enumerate(rows)
            ]
        linear = [index for _, index in rows]
        return Affine(tuple(linear), _xor(linear, self.shift))

    def write(self, table: NDArray[np.int32]) -> None:
        """Write where every index leads.

        Args:
            table: Where to write it, shape ``(2**n_bits,)``.
        """
        table[0] = self.shift
        for bit, column in enumerate(self.columns):
            half = 1 << bit
            np.bitwise_xor(table[:half], column, out=table[half : 2 * half])


@functools.lru_cache(maxsize=256)
def affine_of(table: tuple[int, ...], phases: tuple[int, ...]) -> Affine | None:
    """A permutation without phases as such a map, or None if it is none.

    Args:
        table: Where each index leads, ``2**k`` integers.
        phases: Eighths of a turn, ``2**k`` integers.
    """
    shift, n_bits = table[0], len(table).bit_length() - 1
    columns = tuple(table[1 << bit] ^ shift for bit in range(n_bits))
    found = Affine(columns, shift)
    if any(phases) or any(found(i) != source for i, source in enumerate(table)):
        return None
    return found


def _xor(columns: Sequence[int], mask: int) -> int:
    """The columns at the bits of a mask, XORed."""
    found = 0
    for bit, column in enumerate(columns):
        if mask >> bit & 1:
            found ^= column
    return found
