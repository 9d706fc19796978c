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
from typing import Any, final

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
"""A function from a shape to independent random numbers, uniform in [0, 1)."""

MOST_GROWTH = 1e3  # factor by which un-computing may grow errors between checkpoints


class Draw(ABC):
    """What replaces one channel: gates whose values are drawn.

    The values are columns behind the features, ``n_columns`` of them.
    """

    n_columns: int
    gates: list[Gate]

    @abstractmethod
    def fill(
        self, weights: Float1D, features: Float2D, uniform: Float1D, columns: Float2D
    ) -> float:
        """Draw values for every trajectory.

        Args:
            weights: Values that all samples share, followed by the constants.
            features: Features of each trajectory, shape ``(n_rows, n_features)``.
            uniform: One random number in [0, 1) for each trajectory, shape
                ``(n_rows,)``.
            columns: The values drawn, shape ``(n_rows, n_columns)``, written.

        Returns:
            The largest factor by which un-computing may grow an error.
        """


class PauliDraw(Draw):
    """Draws a Pauli word, for a channel that only multiplies words by factors.

    Its columns are the X bit and the Z bit of each wire.
    """

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
    """Draws a matrix, for any other channel; all samples must share the channel.

    Its columns are the matrix, its inverse and the number of a checkpoint.
    """

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
    """Matrices with their inverses, one of which is drawn with equal probabilities.

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
        gates: The gates in the order in which they act; :class:`Amplitudes` only as
            the first.
        observables: One Pauli sum per output.
        n_weights: Length of the weights.
        n_features: Columns of the features.
        constants: Values that never change, shape ``(n_constants,)``: those of the
            weight slots from ``n_weights`` on.
        trajectories: Number of trajectories of each sample.
        uniform: Source of random numbers.
    """

    tables: Tables  # of the circuit that is run, with the values drawn as features

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
        """Work arrays for repeated runs of ``batch`` samples.

        Args:
            batch: Number of samples.
            keep: Whether to keep the states of all trajectories, however much memory
                they take.
        """
        return TrajectoryPass(self, batch, keep=keep)

    @property
    def _options(self) -> dict[str, Any]:
        return {"trajectories": self.trajectories, "uniform": self.uniform}


@final
class TrajectoryPass:
    """One set of trajectories, drawn by its forward run and used by its backward run.

    It is used as a :class:`Pass`. States and bras are those of every trajectory, shape
    ``(batch * trajectories, 2**n_wires)``; those of one sample are neighbours.

    Args:
        program: The circuit.
        batch: Number of samples.
        keep: Whether to keep the states of all trajectories, however much memory they
            take.
    """

    def __init__(
        self, program: TrajectoryProgram, batch: int, *, keep: bool = False
    ) -> None:
        self.batch, self._program, self._keep = batch, program, keep
        self.uniform = program.uniform  # may be set to another source
        self._n_rows = batch * program.trajectories
        self._rows = np.arange(self._n_rows)
        self._values = np.empty((self._n_rows, program.tables.n_features))
        self._passes: dict[int, PurePass] = {}
        self.out = np.empty((batch, program.n_outputs))

    def forward(
        self, weights: Float1D, features: Float2D, rows: Rows, *, gradient: bool = True
    ) -> Float2D:
        """Draw trajectories and average their expectation values.

        Args:
            weights: Values that all samples share, shape ``(n_weights,)``.
            features: Values of each sample, shape ``(n_samples, n_features)``.
            rows: Indices of the samples to run, shape ``(batch,)``.
            gradient: Whether :meth:`backward` may follow.

        Returns:
            Averages, shape ``(batch, n_outputs)``.
        """
        program, values = self._program, self._values
        n = program.n_features
        values[:, :n] = np.repeat(features[rows], program.trajectories, axis=0)
        uniform = self.uniform((len(program.draws), self._n_rows))
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
        """Outputs of each trajectory, shape ``(batch, trajectories, n_outputs)``."""
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
        """Averages of the gradients of the trajectories that :meth:`forward` drew.

        Args:
            cotangents: Factors of the outputs, shape ``(batch, n_outputs)``.
            inputs: Whether the gradient with respect to the features is wanted.
            bra: If given, it is used instead of the cotangents: the bra of every
                trajectory, not yet divided by the number of trajectories.

        Returns:
            The gradient with respect to the weights, shape ``(n_weights,)``, and that
            with respect to the features, shape ``(batch, n_features)``, or None.
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
        """Run the same trajectories again after :meth:`backward`."""
        self._run.again()

    def states(self, *, phase: bool = True) -> NDArray[np.complex128]:
        """The state of each trajectory, which is not normalised.

        Args:
            phase: Whether the global phase is included.
        """
        return self._run.states(phase=phase)

    def probabilities(self, wires: tuple[int, ...], *, last: bool = False) -> Float2D:
        """Probabilities of outcomes, averaged over trajectories; see :class:`Pass`.

        Their sum is 1 on average only, since trajectories are not normalised.

        Args:
            wires: The wires that are read, the first of them the most significant bit
                of an outcome.
            last: Whether nothing else is asked of this run.

        Returns:
            Shape ``(batch, 2**len(wires))``.
        """
        del last  # an average is an array of its own
        each = self._run.probabilities(wires)
        by_sample = each.reshape(self.batch, self._program.trajectories, each.shape[1])
        return np.asarray(by_sample.mean(axis=1))

    @property
    def nbytes(self) -> int:
        """Bytes of the work arrays."""
        return self._values.nbytes + sum(run.nbytes for run in self._passes.values())


def standard_error(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error of the mean over axis 1; infinite if there is one entry."""
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
