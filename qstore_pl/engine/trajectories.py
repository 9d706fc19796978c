r"""Noisy circuits past the density limit: an average over drawn pure-state circuits.

Every channel is replaced by one of its matrices (:mod:`draws`), and the kernels of
state vectors run the circuits that come of it. The circuit without errors is run once
for each sample, and has its exact weight; circuits with errors are drawn, and equal
ones are run once (:mod:`strata`). The weighted averages of expectation values,
probabilities and gradients have no bias. This module knows arrays, not PennyLane.

References:
    Molmer, Castin and Dalibard, Monte Carlo wave-function method in quantum optics,
    JOSA B 10, 524 (1993), for the idea; the linear form keeps gradients unbiased.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.draws import Choices, Draw, draw_of
from qstore_pl.engine.fusion import Tables, build
from qstore_pl.engine.gates import (
    Channel,
    Gate,
    Kraus,
    MixedGate,
    PauliSum,
    Transfer,
)
from qstore_pl.engine.precision import DOUBLE
from qstore_pl.engine.program import Float1D, Float2D, Program, Rows
from qstore_pl.engine.pure import PurePass
from qstore_pl.engine.strata import Odds, Strata, checkpoints, first_over

Uniform = Callable[[tuple[int, ...]], Float2D]
"""A function from a shape to independent random numbers, uniform in [0, 1)."""

MOST_GROWTH = 1e3  # factor by which un-computing may grow errors between checkpoints
FEW = 0.1  # no-error weight below which noise counts as strong
MOST_GROWTH_SINGLE = 1e1  # the same in single precision


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
        trajectories: Number of trajectories with errors that are drawn for each sample.
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
        known = [draw.constant for _, draw in self.draws]
        self._constant: tuple[list[Choices], Odds] | None = None
        if all(one is not None for one in known):
            self._constant = _best([one for one in known if one is not None])
        # How far the value of one string may be off the mean of them all.
        self.scales = np.array([scale_of(terms) for terms in self.observables])

    def _reads(self) -> int:
        return self.n_rows << self.n_wires

    @property
    def n_rows(self) -> int:
        """Most circuits of one sample: the one without errors, and those drawn."""
        return 1 + self.trajectories

    def _build(self, observables: Sequence[PauliSum]) -> Tables:
        self.draws: list[tuple[int, Draw]] = []
        n_columns = self.n_features
        pure: list[Gate] = []
        for gate in self.gates:
            if not isinstance(gate, Channel | Kraus | Transfer):
                pure.append(gate)
                continue
            draw = draw_of(gate, n_columns, self)
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

    def choices(
        self, weights: Float1D, features: Float2D
    ) -> tuple[list[Choices], Odds]:
        """What may replace each channel, and the probabilities of strings of it.

        Args:
            weights: Values that all samples share, shape ``(n_weights,)``.
            features: Features of each sample, shape ``(batch, n_features)``.
        """
        if self._constant is not None:
            return self._constant
        shared = self.with_constants(weights)
        found = [
            draw.constant or draw.choices(shared, features) for _, draw in self.draws
        ]
        return _best(found)

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

    It is used as a :class:`Pass`. Arrays of states and bras have a row for each
    trajectory of each sample, shape ``(batch * (1 + trajectories), 2**n_wires)``: first
    the one without errors, then those drawn. The rows are multiplied by the square
    roots of their weights, so that their sum is the average, and a trajectory that
    equals an earlier one of its sample is 0.

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
        self.dtype = program.dtype
        self.uniform = program.uniform  # may be set to another source
        n_rows = batch * program.n_rows
        self._values = np.empty((n_rows, program.tables.n_features))
        self._run: PurePass | None = None
        self._fits = (-1, -1)  # rows and checkpoints that the pass was made for
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
        program = self._program
        own = features[rows]
        choices, odds = program.choices(weights, own)
        n = program.trajectories
        uniform = self.uniform((1 + len(program.draws), self.batch * n))
        strata = Strata.draw(odds, uniform.reshape(-1, self.batch, n))
        most = MOST_GROWTH if program.dtype == DOUBLE else MOST_GROWTH_SINGLE
        growths = [one.growth for one in choices]
        first = first_over(growths, strata.choices, most)
        self.strata = strata = strata.sorted_by(first)
        n_rows = len(strata.sample)
        values = self._values[:n_rows]
        values[:, : program.n_features] = own[strata.sample]
        pairs = zip(program.draws, choices, strata.choices, strict=True)
        for (start, draw), one, row in pairs:
            values[:, start : start + draw.n_columns] = one.table[row]
        marks, count = np.full(strata.choices.shape, -1), 0
        if gradient and any(np.any(growth != 1.0) for growth in growths):
            columns = self._pass(n_rows).plan.columns
            marks, count = checkpoints(growths, strata.choices, columns, most)
        for (start, draw), mark in zip(program.draws, marks, strict=True):
            here = mark >= 0
            values[here, start + draw.n_columns - 1] = mark[here]
        run = self._run = self._pass(n_rows, count)
        run.forward(weights, values, np.arange(n_rows), gradient=gradient)
        self.out[:] = strata.totals(run.out)
        return self.out

    def _pass(self, n_rows: int, checkpoints: int | None = None) -> PurePass:
        """The pass of the last run if it fits, or a new one."""
        if (
            self._run is None
            or self._fits[0] != n_rows
            or (checkpoints is not None and self._fits[1] != checkpoints)
        ):
            self._run = None  # its memory is free before there is another
            self._fits = n_rows, checkpoints or 0
            self._run = PurePass(
                self._program, n_rows, keep=self._keep, checkpoints=self._fits[1]
            )
        return self._run

    @property
    def standard_errors(self) -> Float2D:
        """Standard errors of the averages, shape ``(batch, n_outputs)``."""
        return self.strata.standard_errors(self.outputs)

    @property
    def intervals(self) -> tuple[Float2D, Float2D]:
        """Ends of the 95 % intervals, each of shape ``(batch, n_outputs)``."""
        width = self.strata.half_widths(self.outputs, self._program.scales)
        return self.out - width, self.out + width

    @property
    def outputs(self) -> Float2D:
        """Outputs of each trajectory that was run, in the order of :attr:`strata`.

        Their shape is ``(n_rows, n_outputs)``.
        """
        return self._last.out

    @property
    def _last(self) -> PurePass:
        if self._run is None:
            raise RuntimeError("TrajectoryPass needs a forward run first.")
        return self._run

    def of_strings(self, each: NDArray[np.float64]) -> NDArray[np.float64]:
        """Numbers that belong to each string, from those of the weighted states.

        Args:
            each: Numbers that are quadratic in the states of :meth:`states`, shape
                ``(batch * (1 + trajectories), n)``.

        Returns:
            Shape ``(n_rows, n)`` in the order of :attr:`strata`, as if no state had a
            weight.
        """
        strata = self.strata
        found = each[strata.slot]
        weights = np.broadcast_to(strata.weights[:, None], found.shape)
        return np.divide(found, weights, out=np.zeros_like(found), where=weights > 0.0)

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
            bra: If given, it is used instead of the cotangents: the bras of the states
                of :meth:`states`, without global phases.

        Returns:
            The gradient with respect to the weights, shape ``(n_weights,)``, and that
            with respect to the features, shape ``(batch, n_features)``, or None.
        """
        strata = self.strata
        if bra is None:
            cotangents = cotangents[strata.sample] * strata.weights[:, None]
        else:
            bra = bra[strata.slot] * np.sqrt(strata.weights)[:, None]
        gw, gx = self._last.backward(cotangents, inputs=inputs, bra=bra)
        if gx is None:
            return gw, None
        found = np.zeros((self.batch, self._program.n_features))
        np.add.at(found, strata.sample, gx[:, : self._program.n_features])
        return gw, found

    def again(self) -> None:
        """Run the same trajectories again after :meth:`backward`."""
        self._last.again()

    def states(self, *, phase: bool = True) -> NDArray[np.complex128]:
        """The weighted states of all trajectories.

        Args:
            phase: Whether the global phase is included.

        Returns:
            Shape ``(batch * (1 + trajectories), 2**n_wires)``.
        """
        strata, each = self.strata, self._last.states(phase=phase)
        each *= np.sqrt(strata.weights)[:, None]
        found = np.zeros((self.batch * self._program.n_rows, each.shape[1]), complex)
        found[strata.slot] = each
        return found

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
        return self.strata.totals(self._last.probabilities(wires))

    @property
    def nbytes(self) -> int:
        """Bytes of the work arrays."""
        return self._values.nbytes + (0 if self._run is None else self._run.nbytes)


def _best(choices: list[Choices]) -> tuple[list[Choices], Odds]:
    """The choices that are drawn from, and their odds."""
    odds = Odds(choices)
    if np.max(odds.no_error) < FEW and any(one.strong for one in choices):
        choices = [one.strong or one for one in choices]
        odds = Odds(choices)
    return choices, odds


def scale_of(terms: PauliSum) -> float:
    """The scale of an observable's values: root of the sum of squared coefficients.

    Args:
        terms: A sum of Pauli words, of which the identity does not count.
    """
    return float(np.sqrt(sum(c**2 for c, word, _ in terms if word)))
