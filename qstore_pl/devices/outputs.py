"""The outputs of compiled circuits, as Pauli sums of the engine.

Every output is an expectation value: a measured expectation value is one output, and
probabilities are one output for each outcome. Readout error is put into the operator
that is measured, so that its expectation value is what the device reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP, MeasurementProcess, ProbabilityMP

from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.mixed_readout import SPARSE_IS_NOT_MISREAD, eigenbasis
from qstore_pl.devices.readout import check_hermitian, real, real_values
from qstore_pl.devices.tensors import to_numpy
from qstore_pl.engine.gates import PauliSum

MAX_WIRES = 8  # on k wires there are 4**k words of a matrix, 2**k probabilities


def outputs_of(
    mp: MeasurementProcess, order: Sequence[Any], noise: SpecNoise | None = None
) -> list[PauliSum]:
    """The operators whose expectation values a measurement is made of.

    Args:
        mp: An expectation value, or probabilities of outcomes in the computational
            basis.
        order: Wire labels in the order of the register.
        noise: Noise of the device, of which the readout error counts; None for no
            noise.

    Returns:
        One operator for an expectation value, and ``2**k`` for the probabilities of k
        wires, in the order of the outcomes; the first wire is the most significant bit.

    Raises:
        ValueError: If it is another measurement, or on too many wires.
        DeviceError: If an observable is not Hermitian, or cannot be read with errors.
    """
    if isinstance(mp, ProbabilityMP) and mp.obs is None and mp.eigvals() is None:
        wires = list(mp.wires) or list(order)
        if len(wires) <= MAX_WIRES:
            return _projectors(wires, order, noise)
    elif isinstance(mp, ExpectationMP) and mp.obs is not None:
        sentence = mp.obs.pauli_rep
        if sentence is not None:
            terms = pauli_sum(sentence, order)
            return [terms if noise is None else noise.observed(terms, order)]
        if len(mp.obs.wires) <= MAX_WIRES:
            matrix = _observed_matrix(mp.obs, noise)
            wires = list(mp.obs.wires)
            sentence = qml.pauli_decompose(matrix, wire_order=wires, pauli=True)
            return [pauli_sum(sentence, order)]
    raise ValueError(
        "A compiled circuit must measure expectation values, of observables that are "
        f"Pauli words or on at most {MAX_WIRES} wires, or the probabilities of at most "
        f"{MAX_WIRES} wires, but measures {mp}. Run it through its QNode."
    )


def pauli_sum(sentence: Any, order: Sequence[Any]) -> PauliSum:
    """A sum of Pauli words of PennyLane's, as one of the engine.

    Args:
        sentence: The sum, a `qml.pauli.PauliSentence` with coefficients of any
            framework.
        order: Wire labels in the order of the register.

    Raises:
        DeviceError: If a coefficient is complex.
    """
    position = {label: i for i, label in enumerate(order)}
    return tuple(
        (real(c), "".join(word.values()), tuple(position[wire] for wire in word))
        for word, c in sentence.items()
    )


def _projectors(
    wires: Sequence[Any], order: Sequence[Any], noise: SpecNoise | None
) -> list[PauliSum]:
    """The operator of each outcome, a product of :math:`a_i I + b_i Z`."""
    position = {label: i for i, label in enumerate(order)}
    factors = []
    for wire in wires:
        e0, e1 = (0.0, 0.0) if noise is None else noise.readout_of(wire)
        zero = np.array([1.0 + e1 - e0, 1.0 - e0 - e1]) / 2.0  # of I and Z
        factors.append((zero, np.array([1.0, 0.0]) - zero))
    places = [position[wire] for wire in wires]
    words = [
        ("Z" * sum(chosen), tuple(itertools.compress(places, chosen)))
        for chosen in itertools.product((0, 1), repeat=len(wires))
    ]
    return [
        tuple((float(c), *word) for c, word in zip(_kron(parts), words, strict=True))
        for parts in itertools.product(*factors)
    ]


def _kron(factors: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The Kronecker product of some vectors, the first of them most significant."""
    product = np.ones(1)
    for factor in factors:
        product = np.kron(product, factor)
    return product


def _observed_matrix(obs: Any, noise: SpecNoise | None) -> NDArray[Any]:
    """The matrix of an observable, or of the operator that is read instead of it."""
    check_hermitian(obs)
    if noise is None or not any(any(noise.readout_of(wire)) for wire in obs.wires):
        if obs.has_matrix:
            return to_numpy(obs.matrix(obs.wires))
        return obs.sparse_matrix(wire_order=obs.wires).toarray()
    if isinstance(obs, qml.SparseHamiltonian):
        raise DeviceError(SPARSE_IS_NOT_MISREAD)
    wires, gates, values = eigenbasis(obs)
    values = real_values(values, "eigenvalues").reshape([2] * len(wires))
    for axis, wire in enumerate(wires):
        e0, e1 = noise.readout_of(wire)
        zero, one = np.moveaxis(values, axis, 0)
        values = np.stack([(1.0 - e0) * zero + e0 * one, e1 * zero + (1.0 - e1) * one])
        values = np.moveaxis(values, 0, axis)
    rotation = np.eye(values.size, dtype=complex)
    for gate in gates:
        rotation = qml.matrix(gate, wire_order=list(wires)) @ rotation
    return rotation.conj().T @ (values.reshape(-1, 1) * rotation)
