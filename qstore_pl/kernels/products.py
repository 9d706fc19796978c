r"""Matrices of products between many states: real matrix products, tile by tile.

A complex row of length d is a real row of length 2d, with which
:math:`\mathrm{Re}\langle a|b\rangle` and :math:`\mathrm{Im}\langle a|b\rangle` are two
real matrix products. A tile is squared and added while it is in the cache, so that no
complex matrix is ever written. This module knows arrays alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl._blas import one_blas_thread

Float2D = NDArray[np.float64]
Complex2D = NDArray[np.complex128]

TILE = 192  # rows and columns of a tile, which stays in the cache with its states


def overlaps(a: Complex2D, b: Complex2D | None = None) -> Float2D:
    r"""The matrix :math:`|\langle a_i|b_j\rangle|^2` of state vectors.

    Args:
        a: Shape ``(n, d)``.
        b: Shape ``(m, d)``; None is ``a``, with a matrix that is exactly symmetric.

    Returns:
        Shape ``(n, m)``.
    """
    columns = a if b is None else b
    left = _real(a)
    right, turned = _real(columns), _real(-1j * columns)

    def tile(rows: slice, cols: slice) -> Float2D:
        found = left[rows] @ right[cols].T
        imaginary = left[rows] @ turned[cols].T
        np.multiply(found, found, out=found)
        np.multiply(imaginary, imaginary, out=imaginary)
        found += imaginary
        return found

    return _in_tiles(tile, len(a), None if b is None else len(b))


def inner_products(a: Float2D, b: Float2D | None = None) -> Float2D:
    r"""The matrix :math:`\sum_k a_{ik} b_{jk}` of real vectors.

    Args:
        a: Shape ``(n, d)``.
        b: Shape ``(m, d)``; None is ``a``, with a matrix that is exactly symmetric.

    Returns:
        Shape ``(n, m)``.
    """
    columns = a if b is None else b

    def tile(rows: slice, cols: slice) -> Float2D:
        return a[rows] @ columns[cols].T

    return _in_tiles(tile, len(a), None if b is None else len(b))


def _real(vectors: Complex2D) -> Float2D:
    """Complex rows as real rows of twice the length: real parts, imaginary parts."""
    return np.ascontiguousarray(vectors).view(np.float64)


def _in_tiles(
    tile: Callable[[slice, slice], Float2D], n_rows: int, n_columns: int | None
) -> Float2D:
    """A matrix tile by tile; None columns is a symmetric one, of its upper tiles."""
    size = n_rows if n_columns is None else n_columns
    found = np.empty((n_rows, size))
    tiles = [
        (slice(i, i + TILE), slice(j, j + TILE))
        for i in range(0, n_rows, TILE)
        for j in range(i if n_columns is None else 0, size, TILE)
    ]

    def fill(k: int) -> None:
        rows, cols = tiles[k]
        part = tile(rows, cols)
        if n_columns is None and rows == cols:
            part = np.triu(part) + np.triu(part, 1).T
        found[rows, cols] = part
        if n_columns is None and rows != cols:
            found[cols, rows] = part.T

    with one_blas_thread():  # results must not depend on the number of threads
        if len(tiles) == 1:
            fill(0)
        else:
            devices.in_threads(fill, range(len(tiles)))
    return found
