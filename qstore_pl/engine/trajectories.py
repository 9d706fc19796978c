r"""Noisy circuits past the density limit: an average over drawn pure-state circuits.

Linear unravelling: a channel with Kraus matrices :math:`K_i` is replaced by
:math:`K_i / \sqrt{q_i}` with a probability :math:`q_i` that does not depend on the
state. The average of :math:`|\psi\rangle\langle\psi|`, left unnormalised, is the
density matrix exactly, and so it is with expectation values and gradients. Pauli
channels draw a word. Any other is mixed first, :math:`K'_j = \sum_i \omega^{ij} K_i`
with :math:`\omega = e^{2\pi i/m}`, drawn evenly: for damping :math:`K_0 \pm K_1`, which
can be un-computed. This module knows arrays, not PennyLane.

References:
    Molmer, Castin and Dalibard, Monte Carlo wave-function method in quantum optics,
    JOSA B 10, 524 (1993), for the idea; the linear form keeps gradients unbiased.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.fusion import Tables, build
from qstore_pl.engine.gates import (
    FEATURE,
    Angle,
    Channel,
    Drawn,
    Gate,
    Kraus,
    MixedGate,
    PauliRotation,
    PauliSum,
    Transfer,
    slot_angles,
    slots_of,
)
from qstore_pl.engine.program import Float1D, Float2D, Program, Rows
from qstore_pl.engine.pure import PurePass
from qstore_pl.engine.transfer import kraus_matrices

Uniform = Callable[[tuple[int, ...]], Float2D]
"""From a shape to independent numbers, uniform in [0, 1)."""

MOST_GROWTH = 1e3  # of an error in the state by un-computing, between two checkpoints


class Draw(ABC):
    """What replaces one channel: gates that read what is drawn from columns.

    Args:
        wires: Of the channel.
        first: First column.
    """

    n_columns: int
    gates: list[Gate]

    @abstractmethod
    def fill(
        self, weights: Float1D, features: Float2D, uniform: Float1D, columns: Float2D
    ) -> float:
        """Draw for every row.

        Args:
            weights: Shared values, constants behind them.
            features: Values of each row, shape ``(n_rows, n_features)``.
            uniform: One number in [0, 1) for each row.
            columns: Shape ``(n_rows, n_columns)``, written.

        Returns:
            The largest factor by which un-computing may grow an error.
        """


class PauliDraw(Draw):
    """A Pauli word, for a channel that only scales words: X and Z bits of each wire."""

    def __init__(self, gate: Channel, first: int) -> None:
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
        self._bits = np.stack([z ^ digit & 1, z], axis=2).reshape(4**k, 2 * k)

    def fill(
        self, weights: Float1D, features: Float2D, uniform: Float1D, columns: Float2D
    ) -> float:
        """Draw for every row."""
        constant = not any(factor.slots for factor in self._gate.factors)
        rows = features[:1] if constant else features
        factors = [factor.evaluate(weights, rows) for factor in self._gate.factors]
        scales = np.stack([factors[i] for i in self._gate.which], axis=1)
        cumulative = np.cumsum(scales @ self._signs, axis=1)
        word = (uniform[:, None] >= cumulative[:, :-1]).sum(axis=1)
        columns[:] = self._bits[word]
        return 1.0


class MatrixDraw(Draw):
    """A matrix and its inverse, for any other channel, which all samples share."""

    def __init__(
        self, gate: Channel | Kraus | Transfer, first: int, program: Program
    ) -> None:
        self._gate, self._side = gate, 1 << len(gate.wires)
        self.n_columns = 4 * self._side**2 + 1
        self.gates = [Drawn(gate.wires, (FEATURE, first))]
        self._constant: Choice | None = None
        if isinstance(gate, Transfer):
            self._constant = Choice(kraus_matrices(np.array(gate.matrix)))
            return
        slots = slots_of(gate)
        if any(kind == FEATURE for kind, _ in slots):
            raise ValueError(
                "A channel drawn by trajectories must be the same for all samples. Run "
                "the samples one by one."
            )
        n_weights = program.n_weights
        if all(index >= n_weights for _, index in slots):  # constants
            shared = program.with_constants(np.zeros(n_weights))
            self._constant = Choice(self._matrices(shared))

    def fill(
        self, weights: Float1D, features: Float2D, uniform: Float1D, columns: Float2D
    ) -> float:
        """Draw for every row."""
        choice = self._constant or Choice(self._matrices(weights))
        columns[:, :-1] = choice.flat[(uniform * len(choice.flat)).astype(int)]
        columns[:, -1] = -1.0  # no checkpoint yet
        return choice.growth

    def _matrices(self, weights: Float1D) -> NDArray[np.complex128]:
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


class Choice:
    """The matrices one of which is drawn, evenly, with their inverses.

    Args:
        kraus: Kraus matrices of the channel, shape ``(m, 2**k, 2**k)``.
    """

    def __init__(self, kraus: NDArray[np.complex128]) -> None:
        m = len(kraus)
        turns = np.exp(2j * np.pi / m * np.outer(np.arange(m), np.arange(m)))
        matrices = np.einsum("ji,iab->jab", turns, kraus)
        values = np.linalg.svd(matrices, compute_uv=False)
        least = values[:, -1].min()
        self.growth = float("inf")
        inverses = np.zeros_like(matrices)
        if least > 1e-9:
            self.growth = float((values[:, 0] / values[:, -1]).max())
            inverses = np.linalg.inv(matrices)
        parts = (matrices.real, matrices.imag, inverses.real, inverses.imag)
        self.flat = np.concatenate([part.reshape(m, -1) for part in parts], axis=1)


@final
class TrajectoryProgram(Program):
    """A mixed-state circuit as an average over trajectories.

    Its states are those of every trajectory, as :class:`TrajectoryPass` has them.

    Args:
        n_wires: Number of wires.
        gates: The circuit; initial amplitudes only as the first.
        observables: One Pauli sum per output.
        n_weights: Length of the weights.
        n_features: Columns of the features.
        constants: Values that never change, in the weight slots from ``n_weights`` on.
        trajectories: How many are drawn for each sample.
        uniform: Where the draws come from.
    """

    tables: Tables  # of the drawn circuit: its features have the columns drawn as well

    def __init__(
        self,
        n_wires: int,
        gates: Sequence[MixedGate],
        observables: Sequence[PauliSum] = (),
        *,
        n_weights: int = 0,
        n_features: int = 0,
        constants: Float1D | Sequence[float] = (),
        trajectories: int,
        uniform: Uniform,
    ) -> None:
        self.trajectories, self.uniform = trajectories, uniform
        super().__init__(
            n_wires,
            gates,
            observables,
            n_weights=n_weights,
            n_features=n_features,
            constants=constants,
        )

    def _reads(self) -> int:
        return self.trajectories << self.n_wires

    def _build(self, observables: Sequence[PauliSum]) -> Tables:
        self.draws: list[tuple[int, Draw]] = []
        n_columns = self.n_features
        pure: list[Gate] = []
        for gate in self.gates:
            if not isinstance(gate, Channel | Kraus | Transfer):
                pure.append(gate)
                continue
            draw = _draw(gate, n_columns, self)
            self.draws.append((n_columns, draw))
            pure += draw.gates
            n_columns += draw.n_columns
        return build(
            self.n_wires,
            pure,
            observables,
            n_weights=self.n_weights,
            n_features=n_columns,
            n_constants=self.constants.size,
        )

    def new_pass(self, batch: int, *, keep: bool = False) -> TrajectoryPass:
        """Work arrays for runs of ``batch`` samples, to keep in a loop.

        Args:
            batch: Number of samples.
            keep: Whether to keep every state, however large.
        """
        return TrajectoryPass(self, batch, keep=keep)

    def with_gates(
        self,
        gates: Sequence[MixedGate],
        observables: Sequence[PauliSum] = (),
        *,
        n_weights: int = 0,
        n_features: int = 0,
    ) -> Self:
        """The average over as many trajectories of another circuit."""
        return type(self)(
            self.n_wires,
            gates,
            observables,
            n_weights=n_weights,
            n_features=n_features,
            constants=self.constants,
            trajectories=self.trajectories,
            uniform=self.uniform,
        )


@final
class TrajectoryPass:
    """One set of trajectories, drawn by its forward run and used by its backward run.

    As a :class:`Pass`; but states and bras are those of every trajectory, shape
    ``(batch * trajectories, 2**n_wires)``, the trajectories of a sample in a row.

    Args:
        program: The circuit.
        batch: Number of samples.
        keep: Whether to keep every state, however large.
    """

    def __init__(
        self, program: TrajectoryProgram, batch: int, *, keep: bool = False
    ) -> None:
        self.batch, self._program, self._keep = batch, program, keep
        self._n_rows = batch * program.trajectories
        self._rows = np.arange(self._n_rows)
        self._values = np.empty((self._n_rows, program.tables.n_features))
        self._passes: dict[int, PurePass] = {}
        self.out = np.empty((batch, program.n_outputs))

    def forward(
        self, weights: Float1D, features: Float2D, rows: Rows, *, gradient: bool = True
    ) -> Float2D:
        """Averages of expectation values, shape ``(batch, n_outputs)``."""
        program, values = self._program, self._values
        n = program.n_features
        values[:, :n] = np.repeat(features[rows], program.trajectories, axis=0)
        uniform = program.uniform((len(program.draws), self._n_rows))
        shared = program.with_constants(weights)
        growth, checkpoints = 1.0, 0
        for (first, draw), numbers in zip(program.draws, uniform, strict=True):
            columns = values[:, first : first + draw.n_columns]
            growth *= draw.fill(shared, values[:, :n], numbers, columns)
            if gradient and not growth <= MOST_GROWTH:
                columns[:, -1] = checkpoints
                growth, checkpoints = 1.0, checkpoints + 1
        run = self._passes.get(checkpoints)
        if run is None:
            run = PurePass(
                program, self._n_rows, keep=self._keep, checkpoints=checkpoints
            )
            self._passes = {checkpoints: run}
        self._run = run
        run.forward(weights, values, self._rows, gradient=gradient)
        self.out[:] = self.samples.mean(axis=1)
        return self.out

    @property
    def samples(self) -> NDArray[np.float64]:
        """Outputs of each trajectory, ``(batch, trajectories, n_outputs)``."""
        return self._run.out.reshape(self.batch, self._program.trajectories, -1)

    @property
    def standard_errors(self) -> Float2D:
        """Standard errors of the averages, shape ``(batch, n_outputs)``."""
        return standard_error(self.samples)

    def backward(
        self,
        cotangents: Float2D,
        *,
        inputs: bool = False,
        bra: NDArray[Any] | None = None,
    ) -> tuple[Float1D, Float2D | None]:
        """Averages of gradients, of the trajectories of :meth:`forward`.

        Args:
            cotangents: Shape ``(batch, n_outputs)``.
            inputs: Whether the gradient with respect to the features is wanted.
            bra: Instead of the cotangents, for every trajectory, not divided.

        Returns:
            Gradients of shapes ``(n_weights,)`` and ``(batch, n_features)`` or None.
        """
        n = self._program.trajectories
        if bra is None:
            cotangents = np.repeat(cotangents / n, n, axis=0)
        gw, gx = self._run.backward(
            cotangents, inputs=inputs, bra=None if bra is None else bra / n
        )
        if gx is None:
            return gw, None
        shares = gx[:, : self._program.n_features].reshape(self.batch, n, -1)
        return gw, shares.sum(axis=1)

    def again(self) -> None:
        """After :meth:`backward`, the same trajectories for another backward run."""
        self._run.again()

    def states(self, *, phase: bool = True) -> NDArray[np.complex128]:
        """The state of each trajectory; its norm belongs to it."""
        return self._run.states(phase=phase)

    @property
    def nbytes(self) -> int:
        """Bytes of the work arrays."""
        return self._values.nbytes + sum(run.nbytes for run in self._passes.values())


def standard_error(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the mean over axis 1; infinite for one sample."""
    n = samples.shape[1]
    if n == 1:
        return np.full_like(samples[:, 0], np.inf)
    return samples.std(axis=1, ddof=1) / np.sqrt(n)


def _draw(gate: Channel | Kraus | Transfer, first: int, program: Program) -> Draw:
    if isinstance(gate, Transfer):
        matrix = np.array(gate.matrix)
        scales = np.diag(matrix)
        if not np.allclose(matrix, np.diag(scales), rtol=0, atol=1e-14):
            return MatrixDraw(gate, first, program)
        factors = tuple(map(Angle, scales.tolist()))
        gate = Channel(gate.wires, factors, tuple(range(len(factors))))
    if isinstance(gate, Channel) and gate.shift == Angle():
        return PauliDraw(gate, first)
    return MatrixDraw(gate, first, program)
