"""States of all qubits, taken apart into latent and trash qubits.

Latent qubits come first, trash qubits last. States are arrays, a row for each sample,
as :meth:`qstore_pl.placed.Placed.states` returns them: state vectors, which are
complex, or Pauli vectors, which are real. Nothing here knows a circuit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl._checks import plain

Complex3D = NDArray[np.complex128]
Float1D = NDArray[np.float64]
States = NDArray[Any]

TOLERANCE = 1e-8  # how far rounding may take a density matrix from being one


def latent_states(states: States, n_latent: int) -> Complex3D:
    """The partial trace over the trash.

    Args:
        states: State vectors, shape ``(n_samples, 2**n)``, or Pauli vectors, shape
            ``(n_samples, 4**n)``.
        n_latent: Number of latent qubits.

    Returns:
        Density matrices, shape ``(n_samples, 2**n_latent, 2**n_latent)``.
    """
    if np.iscomplexobj(states):
        split = states.reshape(len(states), 1 << n_latent, -1)
        return np.matmul(split, split.conj().transpose(0, 2, 1))
    # The words with the identity on all trash qubits.
    vectors = states.reshape(len(states), 1 << 2 * n_latent, -1)[:, :, 0]
    return devices.density_matrix(np.ascontiguousarray(vectors))


def zero_trash(states: States, n_latent: int) -> Float1D:
    """The probability that all trash qubits are in 0.

    Args:
        states: State vectors or Pauli vectors, as for :func:`latent_states`.
        n_latent: Number of latent qubits.

    Returns:
        Shape ``(n_samples,)``.
    """
    if np.iscomplexobj(states):
        zero = states.reshape(len(states), 1 << n_latent, -1)[:, :, 0]
        return np.asarray(np.einsum("bi,bi->b", zero.conj(), zero).real)
    words = states.reshape(len(states), 1 << 2 * n_latent, -1)[:, 0]
    n_trash = (words.shape[1].bit_length() - 1) // 2
    for _ in range(n_trash):  # the projector of a qubit is (I + Z) / 2
        words = words.reshape(len(words), 4, -1)
        words = 0.5 * (words[:, 0] + words[:, 3])
    return words[:, 0]


def checked_latent(latent: Any, n_latent: int) -> Complex3D:
    """Density matrices of the latent qubits, if they are some.

    Raises:
        TypeError: If the entries are not numbers.
        ValueError: If the shape differs, or a matrix is no density matrix.
    """
    array = plain("latent", latent)
    side = 1 << n_latent
    if array.ndim != 3 or array.shape[1:] != (side, side) or len(array) == 0:
        raise ValueError(
            f"Argument `latent` must have shape (n_samples, {side}, {side}), density "
            f"matrices of {n_latent} qubits, and at least one sample, but has shape "
            f"{array.shape}. A state vector v is v[:, None] * v.conj()."
        )
    if array.dtype.kind not in "fiubc":
        raise TypeError(
            f"Argument `latent` must hold numbers, but has dtype {array.dtype}."
        )
    matrices = array.astype(np.complex128)
    wrong = _wrong(matrices)
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(
            "Argument `latent` must hold density matrices, Hermitian, of trace 1 and "
            f"without negative eigenvalues, but matrix {first} is none: its trace is "
            f"{np.trace(matrices[first]):.6g}."
        )
    return matrices


def _wrong(matrices: Complex3D) -> NDArray[np.intp]:
    """Positions of what is no density matrix."""
    is_finite = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
    safe = np.where(is_finite[:, None, None], matrices, 0.0)
    adjoint = safe.conj().transpose(0, 2, 1)
    hermitian = np.abs(safe - adjoint).max(axis=(1, 2)) <= TOLERANCE
    traces = np.abs(np.trace(safe, axis1=1, axis2=2) - 1.0) <= TOLERANCE
    positive = np.linalg.eigvalsh(safe)[:, 0] >= -TOLERANCE
    return np.flatnonzero(~(is_finite & hermitian & traces & positive))
