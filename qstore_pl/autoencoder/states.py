"""States of all qubits, taken apart into latent and trash qubits, and put together.

Latent qubits come first, trash qubits last. States are arrays, a row for each sample,
as :meth:`qstore_pl.placed.Placed.states` returns them: state vectors, which are
complex, or Pauli vectors, which are real. Nothing here knows a circuit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl._checks import plain

Complex2D = NDArray[np.complex128]
Complex3D = NDArray[np.complex128]
Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
States = NDArray[Any]

BYTES = 1 << 26  # of the density matrices that are made of state vectors at a time
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


class Decoder(ABC):
    """The linear map from latent states to states of all qubits."""

    @abstractmethod
    def decoded(self, latent: Complex3D) -> Complex3D:
        """The density matrices that latent ones become.

        Args:
            latent: Shape ``(n_samples, 2**n_latent, 2**n_latent)``.

        Returns:
            Shape ``(n_samples, 2**n, 2**n)``.
        """

    @abstractmethod
    def fidelities(self, latent: Complex3D, vectors: Complex2D) -> Float1D:
        r"""The fidelities :math:`\langle\psi|D(\rho)|\psi\rangle` of decoded states.

        Args:
            latent: Density matrices, shape ``(n_samples, 2**n_latent, 2**n_latent)``.
            vectors: State vectors, shape ``(n_samples, 2**n)``.

        Returns:
            Shape ``(n_samples,)``.
        """


@final
class Isometry(Decoder):
    r"""A decoder without noise, :math:`\rho \to V \rho V^\dagger`.

    Args:
        images: What the basis states of the latent qubits become, the columns of
            :math:`V`, as rows: shape ``(2**n_latent, 2**n)``.
    """

    def __init__(self, images: Complex2D) -> None:
        self._images = images

    def decoded(self, latent: Complex3D) -> Complex3D:
        """Products with the isometry from both sides."""
        return np.matmul(self._images.T, np.matmul(latent, self._images.conj()))

    def fidelities(self, latent: Complex3D, vectors: Complex2D) -> Float1D:
        """Those of the latent states with what the vectors are pulled back to."""
        back = vectors @ self._images.conj().T
        return np.asarray(
            np.einsum("ba,bac,bc->b", back.conj(), latent, back, optimize=True).real
        )


@final
class Channel(Decoder):
    r"""A decoder with noise, known by the images of all :math:`|a\rangle\langle b|`.

    Args:
        images: What product states become, the latent qubits each in one of the four
            states of :func:`product_states`: density matrices, shape
            ``(4**n_latent, 2**n, 2**n)``.
    """

    def __init__(self, images: Complex3D) -> None:
        self._side = images.shape[-1]
        n_latent = (len(images).bit_length() - 1) // 2
        vectors = product_states(n_latent)
        products = vectors[:, :, None] * vectors[:, None, :].conj()
        size = len(images)  # as many product states as entries of a latent matrix
        flat = images.reshape(size, -1)
        self._images = np.linalg.solve(products.reshape(size, size), flat)

    def decoded(self, latent: Complex3D) -> Complex3D:
        """Sums of images."""
        flat = latent.reshape(len(latent), -1) @ self._images
        return flat.reshape(len(latent), self._side, self._side)

    def fidelities(self, latent: Complex3D, vectors: Complex2D) -> Float1D:
        """Contracted image by image, so that no decoded state is needed."""
        at_a_time = max(1, BYTES // (16 * self._side**2))
        found = np.empty(len(vectors))
        for start in range(0, len(vectors), at_a_time):
            part = vectors[start : start + at_a_time]
            outer = part.conj()[:, :, None] * part[:, None, :]
            of_images = outer.reshape(len(part), -1) @ self._images.T
            weights = latent[start : start + at_a_time].reshape(len(part), -1)
            found[start : start + at_a_time] = np.einsum(
                "bk,bk->b", weights, of_images
            ).real
        return found


def product_states(n_qubits: int) -> Complex2D:
    r"""The states :math:`|0\rangle, |1\rangle, |+\rangle, |{+}i\rangle` on each qubit.

    Their density matrices are a basis of all operators.

    Args:
        n_qubits: Number of qubits.

    Returns:
        Shape ``(4**n_qubits, 2**n_qubits)``.
    """
    half = np.sqrt(0.5)
    single = np.array([[1.0, 0.0], [0.0, 1.0], [half, half], [half, 1j * half]])
    states = np.ones((1, 1), dtype=np.complex128)
    for _ in range(n_qubits):
        states = np.kron(states, single)
    return states
