"""How well a kernel matrix fits labels, and how two kernel matrices differ.

This module knows matrices alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_pl._blas import one_blas_thread
from qstore_pl._checks import finite, plain, real

Float2D = NDArray[np.float64]


def alignment(K: ArrayLike, y: ArrayLike, *, centered: bool = False) -> float:
    r"""The alignment of a kernel matrix with the labels of the samples.

    It is the cosine :math:`\langle K, T\rangle_F / (\lVert K\rVert_F \lVert T\rVert_F)`
    between the matrix K and the matrix T that would be ideal: :math:`T_{ij}` is 1 where
    two samples have the same label, and :math:`-1/(k - 1)` where they have not, with k
    labels. For two labels that is :math:`T = y y^T` with labels -1 and 1. Where one
    label is much more frequent than the others, a matrix of ones has a high alignment;
    ``centered`` removes this.

    Args:
        K: Kernel matrix, shape ``(n_samples, n_samples)``, symmetric.
        y: Labels of any kind, shape ``(n_samples,)``, of at least two classes.
        centered: Whether the means of rows and columns are subtracted from both
            matrices first.

    Returns:
        A number from -1 to 1.

    Raises:
        ValueError: If shapes do not fit, an entry is not finite, there is only one
            label, or a matrix is zero.

    Example:
        >>> alignment([[1.0, 0.5], [0.5, 1.0]], ["cat", "dog"])
        0.31622776601683794

    References:
        Hubregtsen et al., Training quantum embedding kernels on near-term quantum
        computers, Physical Review A 106, 042431 (2022), arXiv:2105.02276. Cortes,
        Mohri and Rostamizadeh, Algorithms for learning kernels based on centered
        alignment, JMLR 13, 795 (2012).
    """
    matrix = _matrix("K", K)
    return value_and_derivative(matrix, ideal(y, len(matrix)), centered=centered)[0]


def ideal(y: Any, n_samples: int) -> Float2D:
    """The matrix that a kernel has at best, as :func:`alignment` says.

    Args:
        y: Labels, shape ``(n_samples,)``.
        n_samples: How many there must be.

    Raises:
        ValueError: If the shape differs, or there is only one label.
    """
    labels = plain("y", y)
    if labels.shape != (n_samples,):
        raise ValueError(
            f"Argument `y` must have shape ({n_samples},), a label for each sample, "
            f"but has shape {labels.shape}."
        )
    names, index = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"Argument `y` must have labels of at least two classes, but all are "
            f"{names[0]!r}."
        )
    same = index[:, None] == index
    return np.where(same, 1.0, -1.0 / (len(names) - 1))


def value_and_derivative(
    K: Float2D, T: Float2D, *, centered: bool
) -> tuple[float, Float2D]:
    """The cosine of two matrices, and its derivatives with respect to the first.

    Args:
        K: Shape ``(n, n)``.
        T: Shape ``(n, n)``.
        centered: Whether the means of rows and columns are subtracted first.

    Raises:
        ValueError: If one of them is zero.
    """
    if centered:
        K, T = _centered(K), _centered(T)
    # Not np.linalg.norm, whose BLAS would use threads, which take longer here.
    norm, norm_of_ideal = np.sqrt(np.sum(K * K)), np.sqrt(np.sum(T * T))
    if norm == 0.0 or norm_of_ideal == 0.0:
        raise ValueError(
            "Argument `K` must not be zero, but is, without its means. All samples are "
            "alike to this kernel."
        )
    value = float(np.sum(K * T) / (norm * norm_of_ideal))
    derivative = T / (norm * norm_of_ideal) - value / norm**2 * K
    return value, _centered(derivative) if centered else derivative


def geometric_difference(
    K: ArrayLike, other: ArrayLike, *, regularization: float = 0.0
) -> float:
    r"""The geometric difference :math:`g(K \| K')`: what K' tells apart but K does not.

    .. math:: g = \sqrt{\bigl\lVert \sqrt{K'}\,\sqrt{K}\,(K + \lambda)^{-2}
              \sqrt{K}\,\sqrt{K'} \bigr\rVert}

    with the largest singular value as norm, and both matrices divided by their mean
    diagonal entry. With a classical kernel as K and a quantum kernel as K', it bounds
    how much better the quantum kernel may predict: for every choice of labels the
    model complexity of the classical kernel is at most :math:`g^2` times that of the
    quantum kernel. If g is much smaller than the root of the number of samples, the
    classical kernel predicts as well.

    Args:
        K: Kernel matrix, shape ``(n_samples, n_samples)``, symmetric.
        other: The kernel matrix K' of the same samples.
        regularization: The number :math:`\lambda`, >= 0, for matrices K that are
            singular.

    Raises:
        ValueError: If shapes differ, an entry is not finite, a mean diagonal entry is
            not positive, or K is singular without a regularization.

    Example:
        >>> K = np.array([[1.0, 0.5], [0.5, 1.0]])
        >>> round(geometric_difference(K, np.eye(2)), 6)
        1.414214

    References:
        Huang et al., Power of data in quantum machine learning, Nature Communications
        12, 2631 (2021), arXiv:2011.01938.
    """
    shift = real("regularization", regularization, minimum=0.0)
    matrix, matrix_of_other = _matrix("K", K), _matrix("other", other)
    if matrix.shape != matrix_of_other.shape:
        raise ValueError(
            f"Argument `other` must have shape {matrix.shape}, as `K`, but has shape "
            f"{matrix_of_other.shape}."
        )
    with one_blas_thread():
        values, vectors = np.linalg.eigh(_scaled("K", matrix))
        of_other, vectors_of_other = np.linalg.eigh(_scaled("other", matrix_of_other))
        values, of_other = np.maximum(values, 0.0), np.maximum(of_other, 0.0)
        if shift == 0.0 and values[0] <= len(values) * 1e-14 * values[-1]:
            raise ValueError(
                "Argument `K` must not be singular, but its smallest eigenvalue is "
                f"{values[0]:.2g}. Give a regularization, as 1e-3."
            )
        left = np.sqrt(values) / (values + shift)
        middle = vectors.T @ vectors_of_other * np.sqrt(of_other)
        return float(np.linalg.norm(left[:, None] * middle, ord=2))


def _matrix(name: str, value: ArrayLike) -> Float2D:
    array = finite(name, value)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or len(array) == 0:
        raise ValueError(
            f"Argument `{name}` must have shape (n_samples, n_samples), but has shape "
            f"{array.shape}."
        )
    return array


def _scaled(name: str, matrix: Float2D) -> Float2D:
    mean = matrix.diagonal().mean()
    if mean <= 0.0:
        raise ValueError(
            f"Argument `{name}` must have a positive mean diagonal entry, but it is "
            f"{mean}."
        )
    return np.asarray(matrix / mean)


def _centered(matrix: Float2D) -> Float2D:
    by_row = matrix - matrix.mean(axis=0)
    return np.asarray(by_row - by_row.mean(axis=1, keepdims=True))
