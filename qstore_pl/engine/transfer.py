r"""Pauli transfer matrices and Pauli vectors: dense maths in numpy, no kernels.

A state on n wires is the real vector :math:`r_P = \mathrm{Tr}\,P\rho`, length
:math:`4^n`, with :math:`\rho = 2^{-n} \sum_P r_P P`; the letters I, X, Y, Z of its
wires are the digits 0 to 3 of its index, wire 0 the most significant. A channel is the
real matrix :math:`T_{ij} = 2^{-k}\,\mathrm{Tr}(P_i\,E(P_j))`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

LETTERS = "IXYZ"
_PAULIS = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]
)


@functools.cache
def pauli_words(k: int) -> Complex:
    """The matrices of all words on k wires, shape ``(4**k, 2**k, 2**k)``."""
    words = np.ones((1, 1, 1), complex)
    for _ in range(k):
        side = 2 * words.shape[1]
        words = np.einsum("aij,bkl->abikjl", words, _PAULIS).reshape(-1, side, side)
    words.flags.writeable = False
    return words


def transfer_matrix(kraus: Iterable[Complex]) -> Float:
    """Transfer matrix of a channel.

    Args:
        kraus: Kraus matrices, each of shape ``(2**k, 2**k)``.

    Returns:
        Shape ``(4**k, 4**k)``.
    """
    matrices = np.stack([np.asarray(matrix, complex) for matrix in kraus])
    words = pauli_words(matrices.shape[-1].bit_length() - 1)
    images = np.einsum(
        "kab,jbc,kdc->jad", matrices, words, matrices.conj(), optimize=True
    )
    products = np.einsum("iab,jba->ij", words, images, optimize=True)
    return np.ascontiguousarray(products.real) / matrices.shape[-1]


def pauli_vector(matrices: Complex) -> Float:
    r"""Components :math:`\mathrm{Tr}\,P M` of Hermitian matrices.

    Args:
        matrices: Shape ``(batch, 2**n, 2**n)``.

    Returns:
        Shape ``(batch, 4**n)``.
    """
    batch, side, _ = matrices.shape
    # The trace of P M is a sum over the entries of the transpose of P times M.
    rows = _each_wire(matrices, np.array(_PAULIS).transpose(0, 2, 1).reshape(4, 4))
    return np.ascontiguousarray(rows.real).reshape(batch, side * side)


def density_matrix(vectors: Float) -> Complex:
    r"""The matrices :math:`2^{-n} \sum_P r_P P`.

    Args:
        vectors: Shape ``(batch, 4**n)``.

    Returns:
        Shape ``(batch, 2**n, 2**n)``.
    """
    batch, size = vectors.shape
    n = (size.bit_length() - 1) // 2
    basis = np.array(_PAULIS).reshape(4, 4).T / 2
    array = vectors.astype(complex).reshape(batch, *[4] * n)
    for _ in range(n):  # the first wire's axis comes last, so all of them in turn
        array = np.tensordot(array, basis, axes=(1, 1))
    array = array.reshape(batch, *[2] * (2 * n))
    order = [1 + 2 * i for i in range(n)] + [2 + 2 * i for i in range(n)]
    return array.transpose(0, *order).reshape(batch, 1 << n, 1 << n)


def _each_wire(matrices: Complex, change: Complex) -> Complex:
    """Apply a 4x4 matrix to each wire's row bit and column bit, wire by wire."""
    batch, side, _ = matrices.shape
    n = side.bit_length() - 1
    order = [axis for i in range(n) for axis in (1 + i, 1 + n + i)]
    array = matrices.reshape(batch, *[2] * (2 * n)).transpose(0, *order)
    array = array.reshape(batch, *[4] * n)
    for _ in range(n):
        array = np.tensordot(array, change, axes=(1, 1))
    return array


def kraus_matrices(matrix: Float) -> Complex:
    """Kraus matrices of a channel, from the eigenvectors of its Choi matrix.

    Args:
        matrix: Transfer matrix, shape ``(4**k, 4**k)``.

    Returns:
        Shape ``(rank, 2**k, 2**k)``.
    """
    side = 1 << (len(matrix).bit_length() - 1) // 2
    words = pauli_words(side.bit_length() - 1)
    choi = np.einsum("ij,iab,jdc->acbd", matrix / side, words, words, optimize=True)
    values, vectors = np.linalg.eigh(choi.reshape(side**2, side**2))
    kept = values > 1e-12 * side
    scaled = np.sqrt(values[kept]) * vectors[:, kept]
    return np.ascontiguousarray(scaled.T).reshape(-1, side, side)
