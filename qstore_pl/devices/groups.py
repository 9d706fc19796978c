"""Measurements with shots: which are read from the same outcomes, and how.

Expectation values of Pauli words that commute on every wire share a circuit, as
PennyLane's `qml.transforms.split_non_commuting` groups them for every device. Any other
measurement has a circuit of its own. Before outcomes are read, gates turn the basis
that is measured into the computational one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import (
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    VarianceMP,
)
from pennylane.operation import Operator
from pennylane.tape import QuantumScript

from qstore_pl.devices.aside import aside
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.meters import Output
from qstore_pl.devices.mixed_readout import eigenbasis
from qstore_pl.devices.readout import check_hermitian, real, real_values
from qstore_pl.devices.tensors import to_numpy
from qstore_pl.engine.shots import Distribution, Group, Scores, Signs

Position = dict[Any, int]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Grouped:
    """Measurements as values that are estimated from shots.

    Args:
        rotations: For each group the gates that come before its outcomes are read.
        groups: What is read from each.
        offsets: Constants that are added to the values, shape ``(n_values,)``.
        outputs: For each measurement the values that it is made of.
    """

    rotations: tuple[tuple[Operator, ...], ...]
    groups: tuple[Group, ...]
    offsets: Float
    outputs: tuple[Output, ...]


def has_groups(mp: MeasurementProcess) -> bool:
    """Whether :func:`grouped` takes a measurement."""
    return isinstance(mp, ExpectationMP | VarianceMP | ProbabilityMP)


def grouped(
    measurements: Sequence[MeasurementProcess],
    order: Sequence[Any],
    noise: SpecNoise | None = None,
) -> Grouped:
    """The groups of measurements that share their outcomes.

    Args:
        measurements: Expectation values, variances and probabilities.
        order: Wire labels in the order of the register.
        noise: Noise of the device, of which the readout error counts; None is none.

    Raises:
        DeviceError: If an observable is not Hermitian, or has no outcomes.
    """
    with aside():
        return _Grouping(measurements, order, noise).found()


def n_groups(measurements: Sequence[MeasurementProcess]) -> int:
    """How many circuits a device would run for these measurements of one sample.

    Args:
        measurements: Expectation values, variances and probabilities.
    """
    with aside():
        observables = [mp.obs for mp in measurements if _is_expectation(mp)]
        terms = {
            t: None for obs in observables for _, t in _terms(obs) if t is not None
        }
        return len(measurements) - len(observables) + len(_together(list(terms)))


def _is_expectation(mp: MeasurementProcess) -> bool:
    return isinstance(mp, ExpectationMP) and mp.obs is not None


def _together(terms: Sequence[Operator]) -> list[list[Operator]]:
    """Terms of observables in groups that one circuit measures."""
    if not terms:
        return []
    tape = QuantumScript([], [qml.expval(term) for term in terms])
    tapes, _ = qml.transforms.split_non_commuting(tape)
    return [[mp.obs for mp in one.measurements] for one in tapes]


class _Grouping:
    """One call of :func:`grouped`."""

    def __init__(
        self,
        measurements: Sequence[MeasurementProcess],
        order: Sequence[Any],
        noise: SpecNoise | None,
    ) -> None:
        self._measurements, self._order, self._noise = measurements, order, noise
        self._position = {label: i for i, label in enumerate(order)}
        self._rotations: list[tuple[Operator, ...]] = []
        self._groups: list[Group] = []
        self._outputs: list[Output] = []
        n_values = 0
        for mp in measurements:
            shape: tuple[int, ...] = ()
            if isinstance(mp, ProbabilityMP):
                shape = (1 << len(mp.wires or order),)
            output = Output(n_values, shape, variance=isinstance(mp, VarianceMP))
            self._outputs.append(output)
            n_values = output.end
        self._offsets = np.zeros(n_values)

    def found(self) -> Grouped:
        together = []
        for mp, output in zip(self._measurements, self._outputs, strict=True):
            if _is_expectation(mp):
                together.append((mp.obs, output.first))
            else:
                self._alone(mp, output.first)
        self._expectations(together)
        return Grouped(
            tuple(self._rotations),
            tuple(self._groups),
            self._offsets,
            tuple(self._outputs),
        )

    def _expectations(self, observables: Sequence[tuple[Operator, int]]) -> None:
        """Groups of expectation values that commute on every wire."""
        terms: dict[Operator, list[tuple[float, int]]] = {}
        for obs, output in observables:
            for c, term in _terms(obs):
                if term is None:
                    self._offsets[output] += c
                else:
                    terms.setdefault(term, []).append((c, output))
        for of_group in _together(list(terms)):
            gates: dict[Any, Operator] = {}
            wires: dict[Any, None] = {}
            parts: list[Any] = []
            for term in of_group:
                read, rotation, numbers = _basis(term)
                wires |= dict.fromkeys(read)
                gates |= {(gate.name, gate.wires): gate for gate in rotation}
                places = self._places(read)
                for c, output in terms[term]:
                    if numbers is None:
                        parts.append(Signs(output, c, places))
                    else:
                        parts.append(Scores(output, places, c * numbers[:, None]))
            self._add(list(wires), list(gates.values()), parts)

    def _alone(self, mp: MeasurementProcess, output: int) -> None:
        """A measurement with a circuit of its own."""
        if isinstance(mp, ProbabilityMP):
            wires = list(mp.wires or self._order)
            rotation = mp.diagonalizing_gates() if mp.obs is not None else []
            part = Distribution(output, self._places(wires))
            self._add(wires, rotation, [part])
            return
        if mp.obs is None:
            basis: Any = mp.wires, [], mp.eigvals()
        else:
            basis = eigenbasis(mp.obs)
        read, gates, numbers = basis
        places = self._places(read)
        values = real_values(numbers, "eigenvalues").astype(np.float64)
        columns = [values, values**2] if isinstance(mp, VarianceMP) else [values]
        self._add(read, gates, [Scores(output, places, np.stack(columns, axis=1))])

    def _add(
        self, wires: Sequence[Any], rotation: Sequence[Operator], parts: Sequence[Any]
    ) -> None:
        readout = (0.0, 0.0)
        noise = self._noise
        errors = [readout if noise is None else noise.readout_of(w) for w in wires]
        self._rotations.append(tuple(rotation))
        self._groups.append(Group(self._places(wires), tuple(errors), tuple(parts)))

    def _places(self, wires: Sequence[Any]) -> tuple[int, ...]:
        return tuple(self._position[wire] for wire in wires)


def _terms(obs: Operator) -> Iterator[tuple[float, Operator | None]]:
    """The terms of an observable that are measured one by one; None is the identity.

    Raises:
        DeviceError: If a coefficient is complex.
    """
    sentence = obs.pauli_rep
    if sentence is not None:
        for word, c in sentence.items():
            yield real(c), word.operation() if len(word) else None
        return
    if isinstance(obs, qml.ops.Sum | qml.ops.SProd | qml.ops.Prod):
        coefficients, terms = obs.terms()
        if len(terms) > 1 or terms[0] is not obs:
            for c, term in zip(coefficients, terms, strict=True):
                for inner, single in _single(term):
                    yield real(c) * inner, single
            return
    yield 1.0, obs


def _single(term: Operator) -> Iterator[tuple[float, Operator | None]]:
    if term.pauli_rep is not None:
        yield from _terms(term)
    else:
        yield 1.0, term


def _basis(obs: Operator) -> tuple[Sequence[Any], Sequence[Operator], Float | None]:
    """How a term is read: wires, gates before it, and its value for each outcome.

    The value is None for a Pauli word, which is the sign of the outcome.

    Raises:
        DeviceError: If it is not Hermitian, or has no outcomes.
    """
    if isinstance(obs, qml.SparseHamiltonian):
        raise DeviceError(
            "A sparse Hamiltonian has no outcomes that could be drawn. Measure Pauli "
            "words, or run without shots."
        )
    if obs.pauli_rep is not None:
        (word,) = obs.pauli_rep
        letters = {"X": qml.X, "Y": qml.Y}
        gates = [
            gate
            for wire, letter in word.items()
            if letter in letters
            for gate in letters[letter](wire).diagonalizing_gates()
        ]
        return list(word), gates, None
    check_hermitian(obs)
    values = real_values(to_numpy(obs.eigvals()), "eigenvalues")
    return list(obs.wires), obs.diagonalizing_gates(), values.astype(np.float64)
