r"""Real amplitudes as the angles of rotations that prepare them.

A state of n wires is prepared wire by wire: the rotation of wire k is controlled by all
wires before it, one angle for each of their :math:`2^k` values. Such a multiplexed
rotation is :math:`2^k` rotations with a CNOT after each.

References:
    M. Möttönen, J. J. Vartiainen, V. Bergholm and M. M. Salomaa, Transformation of
    quantum states using uniformly controlled rotations, Quantum Inf. Comput. 5, 467
    (2005), arXiv:quant-ph/0407010.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Float2D = NDArray[np.float64]


def preparation(
    wires: Sequence[int],
) -> Iterator[tuple[str, tuple[int, ...], int | None]]:
    """The gates: name, wires, and for a rotation the number of its angle.

    Args:
        wires: The wires of the state, the first of them the most significant bit.
    """
    column = 0
    for k, target in enumerate(wires):
        for j in range(1 << k):
            yield "RY", (target,), column
            column += 1
            if k:
                yield "CNOT", (wires[k - 1 - _changed(j, k)], target), None


def _changed(j: int, k: int) -> int:
    """The bit of a Gray code of k bits that changes after its number j."""
    return min(((j + 1) & -(j + 1)).bit_length() - 1, k - 1)


def real_angles(amplitudes: Float2D) -> Float2D:
    """The angles for real amplitudes, in the order of :func:`preparation`.

    Args:
        amplitudes: Unit rows, shape ``(batch, 2**n)``.

    Returns:
        Shape ``(batch, 2**n - 1)``, radians.
    """
    batch, size = amplitudes.shape
    n = size.bit_length() - 1
    found = []
    norms = amplitudes  # signed at the last wire, lengths of branches before it
    for k in reversed(range(n)):
        pairs = norms.reshape(batch, 1 << k, 2)
        angles = 2.0 * np.arctan2(pairs[:, :, 1], pairs[:, :, 0])
        found.append(angles @ _multiplexing(k))
        norms = np.hypot(pairs[:, :, 0], pairs[:, :, 1])
    return np.concatenate(found[::-1], axis=1)


@functools.cache
def _multiplexing(k: int) -> Float2D:
    """From the angle for each value of k controls to those between the CNOTs."""
    number = np.arange(1 << k)
    gray = number ^ number >> 1
    ones = np.bitwise_count(number[:, None] & gray[None, :])
    return (1.0 - 2.0 * (ones & 1)) / (1 << k)
