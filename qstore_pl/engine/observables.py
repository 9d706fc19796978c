"""Outputs that share their Pauli words: each word is measured once.

The probabilities of k wires are 2**k sums of the same 2**k words. The kernels measure
these words, and one matrix makes outputs of them. This module knows no states.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.compile import F2, F2_IN, Array, kernel
from qstore_pl.engine.gates import PauliSum

FEWER = 4  # terms for each distinct word, from which sharing may pay
SAVED = 512  # numbers that need not be read, from which it outweighs the matrix product


def shared_words(
    observables: Sequence[PauliSum], reads: int
) -> tuple[tuple[PauliSum, ...], NDArray[np.float64]] | None:
    """The distinct words of Pauli sums, if measuring each of them once pays.

    Args:
        observables: One Pauli sum per output.
        reads: How many numbers of a state the kernel reads for one term.

    Returns:
        Each word as a sum of its own, and the matrix of coefficients from words to
        outputs, shape ``(n_outputs, n_words)``; None if it does not pay.
    """
    n_terms = sum(map(len, observables))
    if n_terms * reads < SAVED:
        return None
    found: dict[tuple[str, tuple[int, ...]], int] = {}
    places: dict[tuple[tuple[int, str], ...], int] = {}  # letters in order of wires
    entries: list[tuple[int, int, float]] = []
    for output, pauli_sum in enumerate(observables):
        for coefficient, word, wires in pauli_sum:
            if (word, wires) not in found:
                letters = sorted(zip(wires, word, strict=True))
                key = tuple(pair for pair in letters if pair[1] != "I")
                found[word, wires] = places.setdefault(key, len(places))
            entries.append((output, found[word, wires], coefficient))
    n_words = len(places)
    if n_terms < FEWER * n_words or (n_terms - n_words) * reads < SAVED:
        return None
    matrix = np.zeros((len(observables), n_words))
    for output, place, coefficient in entries:
        matrix[output, place] += coefficient
    matrix.flags.writeable = False
    words = tuple(
        ((1.0, "".join(letter for _, letter in key), tuple(wire for wire, _ in key)),)
        for key in places
    )
    return words, matrix


# BLAS would do it as fast, but with threads of its own: with two of them on two busy
# cores a product of 50 microseconds took 4 milliseconds.
@kernel(F2_IN, F2_IN, F2)
def multiply(rows: Array, matrix: Array, out: Array) -> None:
    """The matrix product of ``rows`` and ``matrix``, row by row in a fixed order."""
    for b in range(rows.shape[0]):
        total = out[b]
        for k in range(total.shape[0]):
            total[k] = 0.0
        for i in range(matrix.shape[0]):
            c, row = rows[b, i], matrix[i]
            for k in range(total.shape[0]):
                total[k] += c * row[k]
