"""The decoder of an autoencoder, as a linear map of latent states.

It is the adjoint of the encoder, with noise where the backend has some. Since it is
linear, one run of a few states says what becomes of all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl.model import QuantumModel

Complex2D = NDArray[np.complex128]
Complex3D = NDArray[np.complex128]
Float1D = NDArray[np.float64]

BYTES = 1 << 26  # of the density matrices that are made of state vectors at a time


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


def decoder_of(model: QuantumModel, n_latent: int) -> Decoder:
    """The decoder with the present weights, from one run of a batch of states.

    Args:
        model: The encoding, followed by the layers of the encoder.
        n_latent: Number of latent qubits, the first ones.

    Raises:
        DeviceError: If the backend of the model has no exact states.
        QuantumCircuitError: If a device that is not ours fails.
    """
    if not model.placed.is_mixed:
        images = _decoded(model, np.eye(1 << n_latent))
        if images.ndim == 2:
            return Isometry(images)
        # Without noise, but on a device that has density matrices only.
    return Channel(_decoded(model, product_states(n_latent)))


def _decoded(model: QuantumModel, vectors: NDArray[Any]) -> NDArray[np.complex128]:
    """What latent state vectors become: state vectors or density matrices.

    Args:
        model: The encoding, followed by the layers of the encoder.
        vectors: Shape ``(batch, 2**n_latent)``.

    Returns:
        Shape ``(batch, 2**n_qubits)`` or ``(batch, 2**n_qubits, 2**n_qubits)``.
    """
    placed, batch, size = model.placed, len(vectors), 1 << model.n_qubits
    states = np.zeros((*vectors.shape, size // vectors.shape[1]), np.complex128)
    states[:, :, 0] = vectors

    def encoder(labels: Sequence[Any]) -> None:
        for part in model.stack.parts[1:]:
            for block in part.blocks:
                block.apply(None, model.weights, labels)

    def circuit() -> Any:
        qml.StatePrep(states.reshape(batch, size), wires=placed.wires)
        qml.adjoint(encoder)(placed.wires)
        return qml.state()

    with devices.running_on(placed.device, placed.backend.name):
        found = qml.QNode(circuit, placed.device, diff_method=None)()
    images = np.asarray(found, dtype=np.complex128)
    rest = images.shape[-1] // size  # of wires that only the device has, all in 0
    if images.ndim == 2:
        return images.reshape(batch, size, rest)[:, :, 0]
    return images.reshape(batch, size, rest, size, rest)[:, :, 0, :, 0]
