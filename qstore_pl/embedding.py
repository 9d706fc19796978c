r"""Embeddings: samples as vectors that describe the states of a circuit.

The Pauli embedding of a state :math:`\rho` on n qubits is

.. math:: v_P = 2^{-n/2}\,\mathrm{Tr}(P\rho)

for the :math:`4^n` words P of I, X, Y and Z. With w the vector of another state
:math:`\sigma`, the dot product :math:`v \cdot w` is :math:`\mathrm{Tr}(\rho\sigma)`,
the squared length :math:`v \cdot v` is the purity, and the cosine is, for pure states,
the fidelity :math:`|\langle\psi|\varphi\rangle|^2`. What a vector database computes of
such vectors are therefore overlaps of quantum states.

The local embedding has the expectation values of X, Y and Z of the single qubits, the
features of the projected kernel. Half the squared distance of two of them is the sum
over the qubits of the squared Hilbert-Schmidt distances of the one-qubit states.

This module knows circuits on a backend. It knows no model and no store.

References:
    Huang et al., Power of data in quantum machine learning, Nature Communications 12,
    2631 (2021), arXiv:2011.01938.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl._blas import one_blas_thread
from qstore_pl._checks import choice
from qstore_pl.placed import Placed

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

KINDS: Final = ("pauli", "local", "outputs")
MAX_QUBITS: Final = 7  # 4**7 = 16,384 numbers; a store takes vectors of up to 20,000

_BYTES = 1 << 17  # of an array of products, which then stays in the cache


def dimension(kind: str, n_qubits: int, n_outputs: int) -> int:
    """Length of the vectors of one kind.

    Args:
        kind: ``"pauli"``, ``"local"`` or ``"outputs"``.
        n_qubits: Number of qubits.
        n_outputs: Number of outputs of the model.

    Raises:
        ValueError: If the kind is unknown, or there are more than 7 qubits for
            ``"pauli"``.

    Example:
        >>> [dimension(kind, 4, 2) for kind in KINDS]
        [256, 12, 2]
    """
    choice("kind", kind, KINDS)
    if kind == "pauli":
        _check_width(n_qubits)
        return 4**n_qubits
    return 3 * n_qubits if kind == "local" else n_outputs


def pauli(placed: Placed, features: Float2D, weights: Float1D) -> Float2D:
    r"""The Pauli embeddings of the final states of some samples, on all qubits.

    Wires that a layer does not keep belong to the state like all others. Readout error
    acts on what is measured, and therefore not on states.

    Args:
        placed: The circuit on its backend.
        features: Encoded data, shape ``(n_samples, n_features)``.
        weights: Shape ``(n_weights,)``.

    Returns:
        Shape ``(n_samples, 4**n_qubits)``. The letters I, X, Y, Z of a word are the
        digits 0 to 3 of its index, with qubit 0 the most significant.

    Raises:
        ValueError: If there are more than 7 qubits.
        DeviceError: If the circuit has no single state: with shots, trajectories, or a
            measurement inside.
        QuantumCircuitError: If a device that is not ours fails.
    """
    _check_width(placed.n_qubits)
    states = placed.states(features, weights)
    if states.dtype.kind == "c":
        return _of_state_vectors(states)
    return states / np.sqrt(1 << placed.n_qubits)


def local(placed: Placed, features: Float2D, weights: Float1D) -> Float2D:
    r"""The Bloch vectors of all qubits for some samples.

    They are measured values, and therefore with the readout error of the backend. A
    qubit that was measured inside the circuit has no X and no Y left.

    Args:
        placed: The circuit on its backend.
        features: Encoded data, shape ``(n_samples, n_features)``.
        weights: Shape ``(n_weights,)``.

    Returns:
        Shape ``(n_samples, 3 * n_qubits)``: :math:`\langle X\rangle` of all qubits,
        then :math:`\langle Y\rangle`, then :math:`\langle Z\rangle`.

    Raises:
        DeviceError: If the backend has shots or trajectories.
        QuantumCircuitError: If a device that is not ours fails.
    """
    return exact_values(placed.local, features, weights)


def exact_values(placed: Placed, features: Float2D, weights: Float1D) -> Float2D:
    """The measured values of some samples, where they are no estimates.

    Args:
        placed: The circuit on its backend.
        features: Encoded data, shape ``(n_samples, n_features)``.
        weights: Shape ``(n_weights,)``.

    Returns:
        Shape ``(n_samples, n_values)``.

    Raises:
        DeviceError: If the backend has shots or trajectories.
        QuantumCircuitError: If a device that is not ours fails.
    """
    device = placed.device
    if device.shots:
        raise DeviceError(
            f"Embeddings are exact, but device {device.name} estimates from "
            f"{device.shots.total_shots} shots. Take a backend without shots, such as "
            '"mock_ideal" or "mock_noisy".'
        )
    if isinstance(placed.program, devices.TrajectoryProgram):
        raise DeviceError(
            f"Embeddings are exact, but device {device.name} estimates from "
            'trajectories. Take method="density", or "mock_ideal".'
        )
    return placed.values(features, weights)


def _check_width(n_qubits: int) -> None:
    if n_qubits > MAX_QUBITS:
        raise ValueError(
            f'Argument `kind` must not be "pauli" for more than {MAX_QUBITS} qubits, '
            f"but there are {n_qubits}, which would be {4**n_qubits:,} numbers for a "
            'sample. Take kind="local", which has 3 for each qubit.'
        )


def _of_state_vectors(states: NDArray[np.complex128]) -> Float2D:
    r"""The Pauli embeddings of state vectors.

    A word is :math:`i^q X^x Z^z`, with the bits x where it has X or Y, the bits z where
    it has Y or Z, and the number q of letters Y. Its expectation value is :math:`i^q`
    times :math:`\sum_k (-1)^{z \cdot k}\, \bar\psi_{k \oplus x} \psi_k`. This sum is
    real for even q and imaginary for odd q, so that the sum of its real and its
    imaginary part is all there is of it: one real matrix product for all words.

    Args:
        states: Shape ``(n_samples, 2**n)``.
    """
    n_samples, side = states.shape
    flipped, signs, places, factors = _words(side.bit_length() - 1)
    found = np.empty((n_samples, side * side))
    at_a_time = max(1, _BYTES // (8 * side * side))
    with one_blas_thread():
        for start in range(0, n_samples, at_a_time):
            some = states[start : start + at_a_time]
            real, imaginary = some.real, some.imag
            parts = real[:, flipped] * (real + imaginary)[:, None, :]
            parts += imaginary[:, flipped] * (imaginary - real)[:, None, :]
            # Row k of a sample is one x, and its columns become z.
            sums = parts.reshape(-1, side) @ signs
            sums = sums.reshape(len(some), side * side)
            np.take(sums, places, axis=1, out=found[start : start + at_a_time])
    found *= factors
    return found


@functools.lru_cache(maxsize=MAX_QUBITS)
def _words(n: int) -> tuple[Any, Any, Any, Any]:
    """What all states on n qubits have in common.

    Returns:
        ``k ^ x`` and ``(-1)**(z & k)``, both of shape ``(2**n, 2**n)``; and for each
        word the index of its ``(x, z)``, and its factor, both of shape ``(4**n,)``.
    """
    side = np.arange(1 << n)
    flipped = side[:, None] ^ side
    signs = 1.0 - 2.0 * (np.bitwise_count(side[:, None] & side) % 2)
    words = np.arange(4**n)
    x, z, q = np.zeros_like(words), np.zeros_like(words), np.zeros_like(words)
    for wire in range(n):
        letter = words >> 2 * (n - 1 - wire) & 3
        x = 2 * x + ((letter == 1) | (letter == 2))
        z = 2 * z + (letter >= 2)
        q += letter == 2
    factors = np.array([1.0, -1.0, -1.0, 1.0])[q % 4] / np.sqrt(1 << n)
    return flipped, signs, x << n | z, factors
