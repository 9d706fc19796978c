"""Probabilities of outcomes in the computational basis, read from states.

States have the shapes that the kernels use, with the samples last. An outcome is the
number whose bits are those of the wires that are read, the first of them the most
significant. This module knows neither circuits nor shots.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.compile import F2, F2_IN, I1_IN, Array, kernel

Float2D = NDArray[np.float64]
Wires = tuple[int, ...]


def of_amplitudes(
    re: Float2D, im: Float2D, n_wires: int, wires: Wires, out: Float2D
) -> None:
    """Probabilities of outcomes, from the amplitudes of state vectors.

    Args:
        re: Real parts, shape ``(2**n_wires, batch)``.
        im: Imaginary parts, of the same shape.
        n_wires: Number of wires; wire 0 is the most significant bit of an index.
        wires: The wires that are read.
        out: The probabilities, shape ``(2**len(wires), batch)``, written.
    """
    places = [] if wires == tuple(range(n_wires)) else [n_wires - 1 - w for w in wires]
    add = _add_squares if re.dtype == np.float64 else _add_squares.single
    add(re, im, np.array(places, dtype=np.int64), out)


@kernel(F2_IN, F2_IN, I1_IN, F2, states=(0, 1))
def _add_squares(re: Array, im: Array, places: Array, out: Array) -> None:
    """Squares of amplitudes, added up by outcome.

    Args:
        re: Real parts, shape ``(2**n, batch)``.
        im: Imaginary parts.
        places: Position of each bit of the outcome in the index of an amplitude, most
            significant first; empty if the outcome is the index.
        out: Shape ``(2**k, batch)``, written.
    """
    batch = re.shape[1]
    for j in range(out.shape[0]):
        for b in range(batch):
            out[j, b] = 0.0
    for i in range(re.shape[0]):
        j = i
        if places.shape[0] > 0 or out.shape[0] == 1:
            j = 0
            for p in range(places.shape[0]):
                j = 2 * j + (i >> places[p] & 1)
        x, y, total = re[i], im[i], out[j]
        for b in range(batch):
            total[b] += x[b] * x[b] + y[b] * y[b]


def of_pauli_vector(state: Float2D, n_wires: int, wires: Wires) -> Float2D:
    """Probabilities of outcomes, from Pauli vectors.

    Only words of I and Z on the wires count: the probability of 0 or 1 on a wire is
    half the sum or the difference of the components with I and with Z there.

    Args:
        state: Pauli vectors, shape ``(4**n_wires, batch)``.
        n_wires: Number of wires; wire 0 is the most significant digit of an index.
        wires: The wires that are read.

    Returns:
        Shape ``(2**len(wires), batch)``.
    """
    index = np.zeros(1, dtype=np.int64)
    for wire in wires:
        z = 3 << 2 * (n_wires - 1 - wire)
        index = np.add.outer(index, [0, z]).ravel()
    found = state[index].astype(np.float64)
    for place in range(len(wires)):
        pairs = found.reshape(1 << place, 2, -1)
        zero, one = pairs[:, 0].copy(), pairs[:, 1]
        pairs[:, 0] = 0.5 * (zero + one)
        pairs[:, 1] = 0.5 * (zero - one)
    return found
