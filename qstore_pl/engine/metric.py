r"""The Fubini-Study metric of a circuit's states, sample by sample.

.. math::
    F_{ij} = \mathrm{Re}\left(\langle\partial_i\psi|\partial_j\psi\rangle -
    \langle\partial_i\psi|\psi\rangle\langle\psi|\partial_j\psi\rangle\right)

A tangent state is half the state with one angle turned by pi, so all of them are one
run of the kernels on more samples: see ``metric.md``. This module knows arrays and
gates, not PennyLane.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.gates import (
    FEATURE,
    ONE,
    WEIGHT,
    Amplitudes,
    Angle,
    Matrix,
    MixedGate,
    PauliRotation,
    Permutation,
    Slot,
)
from qstore_pl.engine.program import Float1D, Float2D, Pass, Program, Rows

CHUNK_BYTES = 1 << 26  # of the states held at a time

Float3D = NDArray[np.float64]


class Metric:
    """The metric of one circuit with respect to some of its weights.

    Args:
        program: The circuit, of pure states.
        trainable: Which weights, shape ``(n_weights,)``.

    Raises:
        TypeError: If states are mixed.
        ValueError: If a trainable weight is no part of an angle.

    References:
        Stokes, Izaac, Killoran and Carleo, Quantum Natural Gradient, Quantum 4, 269
        (2020), arXiv:1909.02108; it is the quantum Fisher information over 4.
    """

    def __init__(self, program: Program, trainable: NDArray[np.bool_]) -> None:
        self._place = {int(w): i for i, w in enumerate(np.flatnonzero(trainable))}
        self._angles: list[Angle] = []
        self._n_features = n_features = program.n_features
        turned: list[MixedGate] = []
        for gate in program.gates:
            self._refuse(gate)
            if not (isinstance(gate, PauliRotation) and self._wanted(gate.angle)):
                turned.append(gate)
                continue
            for rotation in gate.uncontrolled():
                slot = (FEATURE, n_features + len(self._angles))
                angle = rotation.angle + Angle(0.0, ((np.pi, slot, ONE),))
                turned.append(dataclasses.replace(rotation, angle=angle))
                self._angles.append(rotation.angle)
        self._program = Program(
            program.n_wires,
            turned,
            n_weights=len(trainable),
            n_features=n_features + len(self._angles),
        )

    def __call__(self, weights: Float1D, features: Float2D, rows: Rows) -> Float3D:
        """The metric of each sample, shape ``(batch, n_trainable, n_trainable)``.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(n_samples, n_features)``.
            rows: Which samples, shape ``(batch,)``.
        """
        k, lanes = len(self._place), 1 + len(self._angles)
        metric = np.empty((len(rows), k, k))
        per_sample = 32 * lanes << self._program.n_wires
        step = max(1, CHUNK_BYTES // per_sample)
        for start in range(0, len(rows), step):
            part = features[rows[start : start + step]]
            by_use = self._by_use(weights, part)
            chain = self._chain(weights, part)
            metric[start : start + step] = chain.transpose(0, 2, 1) @ by_use @ chain
        return metric

    def _by_use(self, weights: Float1D, features: Float2D) -> Float3D:
        """The metric by every use of an angle, shape (batch, n_uses, n_uses)."""
        batch, n_uses = len(features), len(self._angles)
        columns = np.zeros((batch, 1 + n_uses, self._n_features + n_uses))
        columns[:, :, : self._n_features] = features[:, None]
        use = np.arange(n_uses)
        columns[:, use + 1, self._n_features + use] = 1.0
        values = columns.reshape(batch * (1 + n_uses), -1)
        run = Pass(self._program, len(values), keep=True)
        run.forward(weights, values, np.arange(len(values)), gradient=False)
        states = run.states(phase=False).reshape(batch, 1 + n_uses, -1)
        overlaps = (states @ states[:, 0].conj()[:, :, None])[:, 1:, 0]
        parts = states[:, 1:].copy().view(np.float64)  # real and imaginary in turn
        gram = parts @ parts.transpose(0, 2, 1)
        for part in (overlaps.real, overlaps.imag):
            gram -= part[:, :, None] * part[:, None, :]
        return 0.25 * gram

    def _chain(self, weights: Float1D, features: Float2D) -> Float3D:
        """Derivatives of the uses by the weights, shape (batch, uses, n_trainable)."""
        chain = np.zeros((len(features), len(self._angles), len(self._place)))
        for u, angle in enumerate(self._angles):
            for coefficient, a, b in angle.terms:
                for slot, other in ((a, b), (b, a)):
                    if slot[0] == WEIGHT and slot[1] in self._place:
                        value = coefficient * _value(other, weights, features)
                        chain[:, u, self._place[slot[1]]] += value
        return chain

    def _wanted(self, angle: Angle) -> bool:
        return any(kind == WEIGHT and i in self._place for kind, i in angle.slots)

    def _refuse(self, gate: MixedGate) -> None:
        if isinstance(gate, PauliRotation | Permutation):
            return
        if not isinstance(gate, Matrix | Amplitudes):
            raise TypeError(
                "The Fubini-Study metric must be that of pure states, but the circuit "
                f"has a {type(gate).__name__}."
            )
        kind, first = gate.slot
        size = 1 << len(gate.wires)
        if isinstance(gate, Matrix):
            size = 2 * size**2
        elif gate.complex:
            size *= 2
        entries = range(first, first + size)
        if kind == WEIGHT and not self._place.keys().isdisjoint(entries):
            raise ValueError(
                "Trainable weights must be parts of angles for the metric, but "
                f"{first} to {first + size - 1} are entries of {type(gate).__name__}. "
                "Mark them as not trainable."
            )


def _value(slot: Slot, weights: Float1D, features: Float2D) -> Float1D | float:
    kind, index = slot
    if kind == WEIGHT:
        return float(weights[index])
    return features[:, index] if kind == FEATURE else 1.0
