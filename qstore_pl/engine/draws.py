r"""What a trajectory may put in the place of a channel, and with which probabilities.

Linear unravelling: a channel with Kraus matrices :math:`K_i` is replaced by
:math:`K_i / \sqrt{q_i}` with a probability :math:`q_i` that does not depend on the
state. The average of :math:`|\psi\rangle\langle\psi|`, left unnormalised, is the
density matrix exactly, whatever the :math:`q_i > 0` are.

A channel has many sets of Kraus matrices. The canonical one, whose matrices are
orthogonal, :math:`\mathrm{Tr}\,K_i^\dagger K_j = \lambda_i \delta_{ij}`, has the
largest possible :math:`\lambda_0`: the first matrix keeps as much of the channel as one
matrix can, and is near to the identity where noise is weak. It is called *no error*,
the others are *errors*. A Pauli channel has the Pauli words themselves, the identity
first. The probabilities are those of the matrices in the maximally mixed state,
:math:`q_i = \lambda_i / 2^k`, since a wire of an entangled state is near to it.

Where errors are so many that the string without them hardly counts, another set may
have less variance: the even mixtures :math:`\sum_i \omega^{ij} K_i / \sqrt{m}` with
:math:`\omega = e^{2\pi i/m}`, drawn with equal probabilities, for damping
:math:`(K_0 \pm K_1) / \sqrt{2}`. They change the state little by little, where a jump
of a wire that is nearly in :math:`|0\rangle` or :math:`|1\rangle` changes it at once.
The squared norm of the drawn state tells which set is better:
:math:`\sum_i \langle K_i^\dagger K_i \rangle^2 / q_i`, as an average over states, half
of it over all pure states, half over the eigenstates of the state that the channel
drives to. For damping the even mixtures are better, for relaxation with dephasing and
for weak random channels the canonical matrices.

The matrix of an error is often singular, as the jump :math:`|0\rangle\langle 1|` of a
damping. The backward run cannot un-compute it, and keeps a checkpoint before it
(:mod:`strata`). This module knows arrays, not PennyLane.

References:
    Molmer, Castin and Dalibard, Monte Carlo wave-function method in quantum optics,
    JOSA B 10, 524 (1993), for the idea; the linear form keeps gradients unbiased.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.gates import (
    FEATURE,
    Angle,
    Channel,
    Drawn,
    Gate,
    Kraus,
    PauliRotation,
    Transfer,
    slot_angles,
    slots_of,
)
from qstore_pl.engine.program import Float1D, Float2D, Program
from qstore_pl.engine.transfer import kraus_matrices

Complex3D = NDArray[np.complex128]
SINGULAR = 1e-9  # smallest singular value, over the largest, that can be un-computed


@dataclass(frozen=True)
class Choices:
    """What may replace one channel; the first choice is no error.

    Args:
        probabilities: Of each choice, shape ``(n_samples, m)``, or ``(1, m)`` if all
            samples share them.
        table: The values that each choice has in the columns of its channel, shape
            ``(m, n_columns)``.
        growth: The factor by which un-computing each choice may grow an error of
            rounding, infinite where it cannot be un-computed, shape ``(m,)``.
        strong: Other choices with less variance where errors are many, if there are.
    """

    probabilities: Float2D
    table: Float2D
    growth: Float1D
    strong: Choices | None = None


class Draw(ABC):
    """What replaces one channel: gates whose values are drawn.

    The values are columns behind the features, ``n_columns`` of them.

    Attributes:
        constant: The choices, if they depend neither on weights nor on features.
    """

    n_columns: int
    gates: Sequence[Gate]
    constant: Choices | None = None

    @abstractmethod
    def choices(self, weights: Float1D, features: Float2D) -> Choices:
        """What may be drawn.

        Args:
            weights: Values that all samples share, followed by the constants.
            features: Features of each sample, shape ``(n_samples, n_features)``.
        """


class PauliDraw(Draw):
    """Draws a Pauli word, for a channel that only multiplies words by factors.

    Its columns are the X bit and the Z bit of each wire.

    Args:
        gate: The channel.
        first: The first of its columns.
        program: The Program that it is a part of.
    """

    def __init__(self, gate: Channel, first: int, program: Program) -> None:
        k = len(gate.wires)
        self._gate, self.n_columns = gate, 2 * k
        bits = np.pi * slot_angles(FEATURE, first, (k, 2))
        self.gates = [
            PauliRotation(letter, (wire,), bits[i, j])
            for i, wire in enumerate(gate.wires)
            for j, letter in enumerate("XZ")
        ]
        letters = np.array(
            [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]
        )
        signs = np.ones((1, 1))  # whether two words commute, the inverse of scaling
        for _ in range(k):
            signs = np.kron(signs, letters)
        self._signs = signs / 4**k
        digit = np.arange(4**k)[:, None] >> 2 * np.arange(k)[::-1] & 3
        z = digit >> 1
        bits_of_words = np.stack([z ^ digit & 1, z], axis=2).reshape(4**k, 2 * k)
        self._table = bits_of_words.astype(np.float64)
        if _is_constant(gate, program):
            self.constant = self.choices(*_constants(program))

    def choices(self, weights: Float1D, features: Float2D) -> Choices:
        """All Pauli words, the identity first."""
        shared = all(kind != FEATURE for kind, _ in slots_of(self._gate))
        rows = np.empty((1, features.shape[1])) if shared else features
        factors = [factor.evaluate(weights, rows) for factor in self._gate.factors]
        scales = np.stack([factors[i] for i in self._gate.which], axis=1)
        probabilities = np.maximum(scales @ self._signs, 0.0)  # but for rounding
        return Choices(probabilities, self._table, np.ones(len(self._table)))


class MatrixDraw(Draw):
    """Draws a matrix, for any other channel; all samples must share the channel.

    Its columns are the matrix, its inverse and the number of a checkpoint.

    Args:
        gate: The channel.
        first: The first of its columns.
        program: The Program that it is a part of.

    Raises:
        ValueError: If the channel depends on features.
    """

    def __init__(
        self, gate: Channel | Kraus | Transfer, first: int, program: Program
    ) -> None:
        self._gate, self._side = gate, 1 << len(gate.wires)
        self.n_columns = 4 * self._side**2 + 1
        self.gates = [Drawn(gate.wires, (FEATURE, first))]
        if isinstance(gate, Transfer):
            self.constant = matrix_choices(kraus_matrices(np.array(gate.matrix)))
            return
        if any(kind == FEATURE for kind, _ in slots_of(gate)):
            raise ValueError(
                "A channel drawn by trajectories must be the same for all samples. Run "
                "the samples one by one."
            )
        if _is_constant(gate, program):
            self.constant = self.choices(*_constants(program))

    def choices(self, weights: Float1D, features: Float2D) -> Choices:
        """The canonical Kraus matrices, the largest first."""
        del features
        return self.constant or matrix_choices(self._matrices(weights))

    def _matrices(self, weights: Float1D) -> Complex3D:
        gate = self._gate
        if isinstance(gate, Kraus):
            size = gate.count * self._side**2
            real, imaginary = weights[gate.slot[1] :][: 2 * size].reshape(2, size)
            return (real + 1j * imaginary).reshape(gate.count, self._side, self._side)
        assert isinstance(gate, Channel)
        row = np.empty((1, 0))
        factors = [float(f.evaluate(weights, row)[0]) for f in gate.factors]
        matrix = np.diag([factors[i] for i in gate.which])
        matrix[3, 0] = gate.shift.evaluate(weights, row)[0]
        return kraus_matrices(matrix)


def draw_of(gate: Channel | Kraus | Transfer, first: int, program: Program) -> Draw:
    """What replaces a channel.

    Args:
        gate: The channel.
        first: The first column of its values.
        program: The Program that it is a part of.

    Raises:
        ValueError: If the channel is no Pauli channel, and depends on features.
    """
    if isinstance(gate, Transfer):
        matrix = np.array(gate.matrix)
        scales = np.diag(matrix)
        if not np.allclose(matrix, np.diag(scales), rtol=0, atol=1e-14):
            return MatrixDraw(gate, first, program)
        factors = tuple(map(Angle, scales.tolist()))
        gate = Channel(gate.wires, factors, tuple(range(len(factors))))
    if isinstance(gate, Channel) and gate.shift == Angle():
        return PauliDraw(gate, first, program)
    return MatrixDraw(gate, first, program)


def canonical(kraus: Complex3D) -> tuple[Complex3D, Float1D]:
    """Orthogonal Kraus matrices of the same channel, the largest first.

    Args:
        kraus: Kraus matrices, shape ``(m, 2**k, 2**k)``.

    Returns:
        The matrices, shape ``(rank, 2**k, 2**k)``, and the traces of their squares,
        shape ``(rank,)``, whose sum is ``2**k``.
    """
    overlaps = np.einsum("iab,jab->ij", kraus.conj(), kraus)
    values, vectors = np.linalg.eigh(overlaps)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > 1e-12 * kraus.shape[1]
    return np.einsum("ij,iab->jab", vectors[:, kept], kraus), values[kept]


def matrix_choices(kraus: Complex3D) -> Choices:
    """The choices of a channel that has these Kraus matrices.

    Args:
        kraus: Kraus matrices, shape ``(m, 2**k, 2**k)``.
    """
    matrices, squares = canonical(kraus)
    probabilities = squares / squares.sum()
    found = _choices(matrices, probabilities)
    mixtures = even_mixtures(matrices)
    equal = np.full(len(mixtures), 1.0 / len(mixtures))
    if spread(mixtures, equal) < spread(matrices, probabilities):
        return dataclasses.replace(found, strong=_choices(mixtures, equal))
    return found


def even_mixtures(kraus: Complex3D) -> Complex3D:
    """Kraus matrices of the same channel that are all as large.

    Args:
        kraus: Kraus matrices, shape ``(m, 2**k, 2**k)``.
    """
    m = len(kraus)
    turns = np.exp(2j * np.pi / m * np.outer(np.arange(m), np.arange(m)))
    return np.einsum("ji,iab->jab", turns / np.sqrt(m), kraus)


def spread(kraus: Complex3D, probabilities: Float1D) -> float:
    """Mean fourth power of the norm of a state whose matrix was drawn.

    Args:
        kraus: Kraus matrices, shape ``(m, 2**k, 2**k)``.
        probabilities: With which they are drawn, shape ``(m,)``.

    Returns:
        The average over all pure states, and over the eigenstates of the state that the
        channel drives to; 1 is no spread.
    """
    side = kraus.shape[1]
    squares = np.einsum("iba,ibc->iac", kraus.conj(), kraus)
    trace = np.einsum("iaa->i", squares).real
    anywhere = (trace**2 + (np.abs(squares) ** 2).sum(axis=(1, 2))) / side / (side + 1)
    channel = np.einsum("iab,icd->acbd", kraus, kraus.conj())
    often = np.linalg.matrix_power(channel.reshape(side**2, side**2), 1 << 20)
    driven = (often @ np.eye(side).ravel()).reshape(side, side)
    weights, vectors = np.linalg.eigh(driven + driven.conj().T)
    weights /= weights.sum()
    means = np.einsum("as,iab,bs->is", vectors.conj(), squares, vectors).real
    there = means**2 @ weights
    return float(np.sum((anywhere + there) / probabilities)) / 2.0


def _choices(kraus: Complex3D, probabilities: Float1D) -> Choices:
    """The choices for matrices that are drawn with these probabilities."""
    matrices = kraus / np.sqrt(probabilities)[:, None, None]
    values = np.linalg.svd(matrices, compute_uv=False)
    regular = values[:, -1] > SINGULAR * values[:, 0]
    growth = np.full(len(matrices), np.inf)
    growth[regular] = values[regular, 0] / values[regular, -1]
    inverses = np.zeros_like(matrices)
    inverses[regular] = np.linalg.inv(matrices[regular])
    parts = (matrices.real, matrices.imag, inverses.real, inverses.imag)
    flat = [part.reshape(len(matrices), -1) for part in parts]
    no_checkpoint = np.full((len(matrices), 1), -1.0)
    table = np.concatenate([*flat, no_checkpoint], axis=1)
    return Choices(probabilities[None], table, growth)


def _is_constant(gate: Channel | Kraus, program: Program) -> bool:
    """Whether a channel depends neither on weights nor on features."""
    return all(
        kind != FEATURE and index >= program.n_weights for kind, index in slots_of(gate)
    )


def _constants(program: Program) -> tuple[Float1D, Float2D]:
    """Values of weights and features for channels that read constants alone."""
    weights = program.with_constants(np.zeros(program.n_weights))
    return weights, np.empty((1, program.n_features))
