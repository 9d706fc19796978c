"""What an autoencoder keeps of some data, in numbers; printed, a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray


@final
@dataclass(frozen=True)
class AutoencoderReport:
    """What :meth:`qstore_pl.QuantumAutoencoder.report` returns; printed, a few lines.

    Args:
        n_qubits: Number of qubits that the data are encoded on.
        n_latent: Number of latent qubits.
        n_parameters: Number of trained and frozen weights.
        n_samples: Number of samples.
        mean_fidelity: Mean over the samples of the reconstruction fidelity.
        worst_fidelity: Smallest reconstruction fidelity of a sample.
        fidelity_interval: The reconstruction fidelities of nine out of ten samples lie
            between these two, the quantiles at 5 % and 95 %.
        mean_trash_fidelity: Mean over the samples of the probability that the trash is
            found in zero.
        bound: The largest mean trash fidelity, and therefore the largest mean
            reconstruction fidelity, that any encoder without noise can have for these
            samples.
    """

    n_qubits: int
    n_latent: int
    n_parameters: int
    n_samples: int
    mean_fidelity: float
    worst_fidelity: float
    fidelity_interval: tuple[float, float]
    mean_trash_fidelity: float
    bound: float

    @property
    def compression(self) -> float:
        """Qubits in, divided by latent qubits."""
        return self.n_qubits / self.n_latent

    def __str__(self) -> str:
        low, high = self.fidelity_interval
        return "\n".join(
            [
                f"{self.n_qubits} qubits to {self.n_latent}, compression "
                f"{self.compression:.3g}, {self.n_parameters} parameters, "
                f"{self.n_samples} samples",
                f"reconstruction fidelity: mean {self.mean_fidelity:.4f}, "
                f"worst {self.worst_fidelity:.4f}",
                f"of 90 % of the samples:  from {low:.4f} to {high:.4f}",
                f"trash fidelity:          mean {self.mean_trash_fidelity:.4f}",
                f"largest possible mean:   {self.bound:.4f}, by the rank of the data",
            ]
        )

    __repr__ = __str__


def largest_fidelity(vectors: NDArray[np.complex128], n_latent: int) -> float:
    r"""The largest mean trash fidelity that any unitary encoder can have.

    It is the sum of the :math:`2^k` largest eigenvalues of the mean density matrix
    :math:`\frac{1}{S} \sum_s |\psi_s\rangle\langle\psi_s|`, what principal component
    analysis keeps of the states.

    Args:
        vectors: State vectors, shape ``(n_samples, 2**n)``.
        n_latent: Number k of latent qubits.
    """
    mean = vectors.T @ vectors.conj() / len(vectors)
    largest = np.linalg.eigvalsh(mean)[-(1 << n_latent) :]
    return min(1.0, float(largest.sum()))
