r"""Metrics of a circuit's states: how far the states move when the angles change.

The Fubini-Study metric of pure states,

.. math::
    F_{ij} = \mathrm{Re}\left(\langle\partial_i\psi|\partial_j\psi\rangle -
    \langle\partial_i\psi|\psi\rangle\langle\psi|\partial_j\psi\rangle\right),

and the Bures metric of mixed states, which equals it where the states are pure.
Tangents are states of the same circuit with one angle turned, so all of them are one
run of the kernels on more samples: see ``metric.md``. This module knows arrays and
gates, not PennyLane.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._checks import choice
from qstore_pl.engine.derived import Columns
from qstore_pl.engine.gates import (
    FEATURE,
    ONE,
    WEIGHT,
    Amplitudes,
    Angle,
    Channel,
    Drawn,
    Kraus,
    Matrix,
    MixedGate,
    PauliRotation,
    Slot,
    Transfer,
    slots_of,
    wires_of,
)
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.precision import DOUBLE
from qstore_pl.engine.program import Float1D, Float2D, Program, Rows
from qstore_pl.engine.pure import PureProgram
from qstore_pl.engine.transfer import density_matrix

APPROXIMATIONS = ("full", "block-diag", "diag")
CHUNK_BYTES = 1 << 26  # of the states held at a time
BURES_WIRES = 6  # most wires of the Bures metric, which diagonalises density matrices
KEPT_PASSES = 4  # batch sizes whose work arrays are kept

Bool1D = NDArray[np.bool_]
Float3D = NDArray[np.float64]


class Metric(ABC):
    """The metric of a circuit's states with respect to some weights and features.

    An instance belongs to one thread at a time. States are in double precision, also
    where those of the circuit are not. Coordinates of the metric are the
    chosen weights, then the chosen features.

    Args:
        program: The circuit.
        weights: Mask of the chosen weights, shape ``(n_weights,)``.
        features: Mask of the chosen features, shape ``(n_features,)``; None chooses
            none.
        approximation: ``"full"`` is the metric itself. ``"block-diag"`` keeps entries
            between gates of one layer, which ends before the first gate that acts after
            another gate of the layer. ``"diag"`` keeps entries of a gate with itself.

    Raises:
        TypeError: If the circuit's states are of the wrong kind.
        ValueError: If a chosen value is no part of an angle, or there are too many
            wires.
    """

    _lane_bytes: int  # memory of one state

    def __init__(
        self,
        program: Program,
        weights: Bool1D,
        features: Bool1D | None = None,
        *,
        approximation: str = "full",
    ) -> None:
        choice("approximation", approximation, APPROXIMATIONS)
        program = program.with_dtype(DOUBLE)
        chosen = [(WEIGHT, int(i)) for i in np.flatnonzero(weights)]
        if features is not None:
            chosen += [(FEATURE, int(i)) for i in np.flatnonzero(features)]
        self._place = {slot: i for i, slot in enumerate(chosen)}
        self._uses: list[Angle] = []
        # The turned circuit takes derived values as features.
        self._derived, self._n_given = program.derived, program.n_features
        self._n_features = self._n_given + len(program.derived)
        self._moving = set(chosen)
        for k, derived in enumerate(program.derived):
            if any(map(self._wanted, derived.arguments)):
                self._moving.add((FEATURE, self._n_given + k))
        layers = _Layers(program.n_wires)
        turned: list[MixedGate] = []
        for gate in program.gates:
            self._refuse(gate)
            if not (isinstance(gate, PauliRotation) and self._wanted(gate.angle)):
                turned.append(gate)
                layers.pass_through(wires_of(gate))
                continue
            for rotation in gate.uncontrolled():
                slot = (FEATURE, self._n_features + len(self._uses))
                angle = rotation.angle + Angle(0.0, ((1.0, slot, ONE),))
                turned.append(dataclasses.replace(rotation, angle=angle))
                self._uses.append(rotation.angle)
                layers.add(rotation.wires)
        layer = np.array(layers.of_uses)
        self._kept: NDArray[np.bool_] | None = None
        if approximation == "block-diag":
            self._kept = layer[:, None] == layer
        elif approximation == "diag":
            self._kept = np.eye(len(layer), dtype=bool)
        self._turned = program.with_gates(
            turned,
            n_weights=len(weights),
            n_features=self._n_features + len(self._uses),
        )
        varying = any(
            self._is_value(a) and self._is_value(b)
            for angle in self._uses
            for _, a, b in angle.terms
            if a in self._moving or b in self._moving
        ) or len(self._moving) > len(chosen)
        self._constant_chain: Float3D | None = None
        if not varying:
            self._constant_chain = self._chain(np.zeros(len(weights)), np.zeros((1, 0)))
        self._runs: dict[int, tuple[Any, Float2D, Rows]] = {}

    @property
    def size(self) -> int:
        """Number of chosen values."""
        return len(self._place)

    def __call__(self, weights: Float1D, features: Float2D, rows: Rows) -> Float3D:
        """The metric of each sample, shape ``(batch, size, size)``.

        Args:
            weights: Values that all samples share, shape ``(n_weights,)``.
            features: Values of each sample, shape ``(n_samples, n_features)``.
            rows: Indices of the samples, shape ``(batch,)``.
        """
        metric = np.zeros((len(rows), self.size, self.size))
        if not self._uses:
            return metric
        for part, samples in self._parts(weights, features, rows):
            by_use = self._by_use(self._states(weights, samples))
            chain = self._chain_at(weights, samples)
            metric[part] = chain.transpose(0, 2, 1) @ self._approximate(by_use) @ chain
        return metric

    def mean(self, weights: Float1D, features: Float2D, rows: Rows) -> Float2D:
        """The average of the samples' metrics, shape ``(size, size)``.

        It is a quarter of the quantum Fisher information of the mixture in which each
        state carries the label of its sample.

        Args: as :meth:`__call__`.
        """
        chain = self._constant_chain
        if chain is None or not self._uses:
            return np.asarray(self(weights, features, rows).mean(axis=0))
        total: Any = 0.0
        for _, samples in self._parts(weights, features, rows):
            total = total + self._sum_by_use(self._states(weights, samples))
        return chain[0].T @ self._approximate(total / len(rows)) @ chain[0]

    @abstractmethod
    def _turns(self) -> Float2D:
        """What each lane adds to the angle of each use, shape ``(lanes, uses)``."""

    @abstractmethod
    def _by_use(self, states: NDArray[Any]) -> Float3D:
        """From states, shape (lanes, batch, length), to (batch, uses, uses)."""

    def _sum_by_use(self, states: NDArray[Any]) -> Float2D:
        return np.asarray(self._by_use(states).sum(axis=0))

    @abstractmethod
    def _refuse(self, gate: MixedGate) -> None:
        """Raise for a gate that this metric cannot have."""

    def _approximate(self, by_use: NDArray[np.float64]) -> NDArray[np.float64]:
        return by_use if self._kept is None else by_use * self._kept

    def _parts(self, weights: Float1D, features: Float2D, rows: Rows) -> Any:
        """The batch in chunks: where they are, and their features."""
        step = max(1, CHUNK_BYTES // (self._lane_bytes * len(self._turns())))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            yield part, self._whole(weights, features[rows[part]])

    def _whole(self, weights: Float1D, features: Float2D) -> Float2D:
        """The features of some samples, and the derived values behind them."""
        if not self._derived:
            return features
        return Columns(self._derived, self._n_given).forward(weights, features)

    def _states(self, weights: Float1D, samples: Float2D) -> NDArray[Any]:
        """States of all lanes, shape (lanes, batch, length)."""
        batch, n = len(samples), self._n_features
        if batch not in self._runs:
            turns = self._turns()
            values = np.empty((len(turns), batch, n + len(self._uses)))
            values[:, :, n:] = turns[:, None]
            if len(self._runs) >= KEPT_PASSES:
                self._runs.pop(next(iter(self._runs)))
            lanes = len(turns) * batch
            run = self._turned.new_pass(lanes, keep=True)
            self._runs[batch] = run, values, np.arange(lanes)
        run, values, lanes_ = self._runs[batch]
        values[:, :, :n] = samples
        run.forward(weights, values.reshape(len(lanes_), -1), lanes_, gradient=False)
        states = run.states(phase=False)
        return states.reshape(len(values), batch, -1)

    def _chain_at(self, weights: Float1D, samples: Float2D) -> Float3D:
        if self._constant_chain is not None:
            return self._constant_chain
        return self._chain(weights, samples)

    def _chain(self, weights: Float1D, features: Float2D) -> Float3D:
        """Derivatives of the uses' angles with respect to the chosen values.

        Their shape is ``(batch, uses, size)``.
        """
        weights = self._turned.with_constants(weights)
        rates: dict[Slot, Float2D | int] = dict(self._place)

        def rate(angle: Angle) -> Float2D:
            """The derivatives of an angle, shape ``(batch, size)``."""
            total = np.zeros((len(features), self.size))
            for coefficient, a, b in angle.terms:
                for slot, other in ((a, b), (b, a)):
                    if slot in rates:
                        value = coefficient * _value(other, weights, features)
                        if isinstance(rates[slot], int):
                            total[:, rates[slot]] += value
                        else:
                            total += np.reshape(value, (-1, 1)) * rates[slot]
            return total

        for k, derived in enumerate(self._derived, self._n_given):
            if (FEATURE, k) in self._moving:
                arguments = [a.evaluate(weights, features) for a in derived.arguments]
                rates[FEATURE, k] = sum(
                    derived.slope(i, arguments, features[:, k])[:, None]
                    * rate(argument)
                    for i, argument in enumerate(derived.arguments)
                )
        if not self._uses:
            return np.zeros((len(features), 0, self.size))
        return np.stack([rate(angle) for angle in self._uses], axis=1)

    def _is_value(self, slot: Slot) -> bool:
        """Whether it is a weight or a feature, not 1 or a constant."""
        kind, index = slot
        return slot != ONE and not (kind == WEIGHT and index >= self._turned.n_weights)

    def _wanted(self, angle: Angle) -> bool:
        return not self._moving.isdisjoint(angle.slots)

    def _refuse_entries(self, gate: Matrix | Amplitudes | Kraus) -> None:
        entries = slots_of(gate)
        if not self._place.keys().isdisjoint(entries):
            kind, first = gate.slot
            last = first + len(entries) - 1
            source = "weights" if kind == WEIGHT else "inputs"
            raise ValueError(
                f"Trainable {source} must be parts of angles for the metric, but "
                f"{first} to {last} are entries of {type(gate).__name__}. "
                "Mark them as not trainable."
            )


@final
class FubiniStudy(Metric):
    """The Fubini-Study metric of pure states, a quarter of the Fisher information.

    Args: as :class:`Metric`.

    References:
        Stokes, Izaac, Killoran and Carleo, Quantum Natural Gradient, Quantum 4, 269
        (2020), arXiv:1909.02108.
    """

    def __init__(
        self,
        program: Program,
        weights: Bool1D,
        features: Bool1D | None = None,
        *,
        approximation: str = "full",
    ) -> None:
        if not isinstance(program, PureProgram):
            raise TypeError(
                "The Fubini-Study metric must be that of pure states, but the circuit "
                f"is a {type(program).__name__}."
            )
        self._lane_bytes = 32 << program.n_wires
        self._program, self._weights = program.with_dtype(DOUBLE), weights
        super().__init__(self._program, weights, features, approximation=approximation)
        self._is_exact_product = features is None and approximation == "full"

    def _turns(self) -> Float2D:
        n_uses = len(self._uses)
        return np.pi * np.eye(1 + n_uses, n_uses, k=-1)

    def _by_use(self, states: NDArray[Any]) -> Float3D:
        overlaps = _overlaps(states)  # (uses, batch)
        parts = states[1:].view(np.float64).transpose(1, 0, 2)  # real, imaginary, ...
        gram = parts @ parts.transpose(0, 2, 1)
        for part in (overlaps.real.T, overlaps.imag.T):
            gram -= part[:, :, None] * part[:, None, :]
        return 0.25 * gram

    def _sum_by_use(self, states: NDArray[Any]) -> Float2D:
        overlaps = _overlaps(states).view(np.float64)
        parts = states[1:].view(np.float64).reshape(len(states) - 1, -1)
        return 0.25 * (parts @ parts.T - overlaps @ overlaps.T)

    def product(
        self, weights: Float1D, features: Float2D, rows: Rows
    ) -> Callable[[Float1D], Float1D]:
        """The average metric as a function on vectors, without the matrix.

        It needs the same few states however many weights there are. Its error is about
        1e-13 of the sum of the changes of all angles.

        Args: as :meth:`__call__`.

        Returns:
            A function from a vector to the product of metric and vector, both of shape
            ``(size,)``.

        Raises:
            ValueError: If features are chosen, or the metric is an approximation.
        """
        if not self._is_exact_product:
            raise ValueError(
                "Products need the full metric with respect to weights alone, but this "
                "metric is another. Use its matrix."
            )
        features = np.ascontiguousarray(features[rows])
        chosen, rows = np.flatnonzero(self._weights), np.arange(len(features))
        n, batch = self._n_features, len(features)
        run = self._program.new_pass(batch, keep=True)
        run.forward(weights, features, rows)
        state = run.states(phase=False)
        features = self._whole(weights, features)
        rates = self._chain_at(weights, features)
        # The turned circuit takes any turns, here those along a vector.
        orders, coefficients = _STENCIL.T
        values = np.zeros((len(orders), batch, n + len(self._uses)))
        values[:, :, :n] = features
        lanes = np.arange(len(orders) * batch)
        moved = self._turned.new_pass(len(lanes), keep=True)

        def turned() -> NDArray[np.complex128]:
            moved.forward(
                weights, values.reshape(len(lanes), -1), lanes, gradient=False
            )
            return moved.states(phase=False).reshape(len(orders), batch, -1)

        # Without controlled rotations the turned circuit may have another phase.
        phase = np.vecdot(turned()[0], state)
        nothing = np.empty((0, 0))
        spent = False

        def product(vector: Float1D) -> Float1D:
            nonlocal spent
            turns = rates @ vector
            fastest = np.abs(turns).sum(axis=1).max()
            if fastest == 0.0:
                return np.zeros(len(chosen))
            step = _STEP / fastest
            values[:, :, n:] = step * orders[:, None, None] * turns
            tangent = np.tensordot(coefficients / step, turned(), axes=1)
            tangent *= phase[:, None]
            along = np.vecdot(state, tangent)
            if spent:
                run.again()
            bra = tangent - along[:, None] * state
            gradient, _ = run.backward(nothing, bra=bra)
            spent = True
            return gradient[chosen] / (2 * batch)

        return product

    def _refuse(self, gate: MixedGate) -> None:
        if isinstance(gate, Channel | Kraus | Transfer | Drawn):
            raise TypeError(
                "The Fubini-Study metric must be that of pure states, but the circuit "
                f"has a {type(gate).__name__}."
            )
        if isinstance(gate, Matrix | Amplitudes):
            self._refuse_entries(gate)


@final
class Bures(Metric):
    r"""The Bures metric of mixed states, from their eigenvectors.

    .. math::
        G_{ij} = \frac12 \sum_{kl} \frac{\mathrm{Re}\,\langle k|\partial_i\rho|l\rangle
        \langle l|\partial_j\rho|k\rangle}{\lambda_k + \lambda_l}

    over eigenvalues with :math:`\lambda_k + \lambda_l > 10^{-12}`. It is a quarter of
    the quantum Fisher information of symmetric logarithmic derivatives.

    Args: as :class:`Metric`.

    References:
        Braunstein and Caves, Statistical distance and the geometry of quantum states,
        Phys. Rev. Lett. 72, 3439 (1994), doi:10.1103/PhysRevLett.72.3439.
    """

    def __init__(
        self,
        program: Program,
        weights: Bool1D,
        features: Bool1D | None = None,
        *,
        approximation: str = "full",
    ) -> None:
        if not isinstance(program, MixedProgram):
            raise TypeError(
                "The Bures metric must be that of a MixedProgram, but the circuit is a "
                f"{type(program).__name__}."
            )
        if program.n_wires > BURES_WIRES:
            raise ValueError(
                f"The Bures metric must be that of at most {BURES_WIRES} wires, but "
                f"the circuit has {program.n_wires}."
            )
        self._lane_bytes = 64 << 2 * program.n_wires
        super().__init__(program, weights, features, approximation=approximation)

    def _turns(self) -> Float2D:
        n_uses = len(self._uses)
        quarter = 0.5 * np.pi * np.eye(n_uses)
        return np.concatenate([np.zeros((1, n_uses)), quarter, -quarter])

    def _by_use(self, states: NDArray[Any]) -> Float3D:
        lanes, batch, length = states.shape
        half = lanes // 2
        values, vectors = np.linalg.eigh(density_matrix(states[0]))
        # Angles enter the components as sines and cosines of themselves.
        slopes = 0.5 * (states[1 : 1 + half] - states[1 + half :])
        matrices = density_matrix(slopes.reshape(half * batch, length))
        side = matrices.shape[-1]
        matrices = matrices.reshape(half, batch, side, side)
        matrices = vectors.conj().transpose(0, 2, 1) @ matrices @ vectors
        sums = values[:, :, None] + values[:, None, :]
        inside = sums > 1e-12
        scale = np.zeros_like(sums)
        scale[inside] = np.sqrt(0.5 / sums[inside])
        parts = (scale * matrices).reshape(half, batch, -1).view(np.float64)
        parts = parts.transpose(1, 0, 2)
        return parts @ parts.transpose(0, 2, 1)

    def _refuse(self, gate: MixedGate) -> None:
        if isinstance(gate, Channel):
            angles = (*gate.factors, gate.shift)
            if any(self._wanted(angle) for angle in angles):
                raise ValueError(
                    "Trainable values must be parts of angles for the metric, but a "
                    "channel depends on one. Mark it as not trainable."
                )
        if isinstance(gate, Matrix | Amplitudes | Kraus):
            self._refuse_entries(gate)


class _Layers:
    """Layers of gates none of which acts after another of the same layer.

    They follow the order of the gates, as ``CircuitGraph.parametrized_layers`` of
    PennyLane does.
    """

    def __init__(self, n_wires: int) -> None:
        self._after = [False] * n_wires  # whether a wire depends on the layer
        self._layer = 0
        self.of_uses: list[int] = []

    def pass_through(self, wires: tuple[int, ...]) -> None:
        """Note a gate that belongs to no layer."""
        after = any(self._after[wire] for wire in wires)
        for wire in wires:
            self._after[wire] = after

    def add(self, wires: tuple[int, ...]) -> None:
        """Note the next use."""
        if any(self._after[wire] for wire in wires):
            self._layer += 1
            self._after = [False] * len(self._after)
        for wire in wires:
            self._after[wire] = True
        self.of_uses.append(self._layer)


# Sixth order: the error is (step / 2)**6 / 140 of the derivative, at most.
_STENCIL = np.array(
    [
        (sign * k, sign * c / 60)
        for k, c in ((1, 45.0), (2, -9.0), (3, 1.0))
        for sign in (1, -1)
    ]
)
_STEP = 0.03  # radians, of all angles together


def _overlaps(states: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Overlaps of the tangents with the state, shape (uses, batch)."""
    return np.vecdot(states[0], states[1:])


def _value(slot: Slot, weights: Float1D, features: Float2D) -> Float1D | float:
    kind, index = slot
    if kind == WEIGHT:
        return float(weights[index])
    return features[:, index] if kind == FEATURE else 1.0
