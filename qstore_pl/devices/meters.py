"""From what a Program computes to measurements, and from their cotangents back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.devices.pullback import backward, forward_values
from qstore_pl.devices.readout import Readout
from qstore_pl.engine.program import Pass

Float = NDArray[np.float64]
Values = list[NDArray[Any]]


class Meter(ABC):
    """How measurements are made of what a Program computes, and pulled back."""

    @abstractmethod
    def values(self, work: Pass) -> Values:
        """The measurements after a forward run, each of shape ``(batch, *shape)``."""

    @abstractmethod
    def backward(
        self, work: Pass, cotangents: Sequence[Float], *, inputs: bool
    ) -> tuple[Float, Float | None]:
        """Gradients with respect to weights and features.

        Args:
            work: The pass after its forward run, which is used up.
            cotangents: One for each measurement, of shape ``(batch, *shape)``.
            inputs: Whether the gradient with respect to the features is wanted.
        """


@dataclass(frozen=True)
class Output:
    """A measurement that is made of outputs of the Program.

    Args:
        first: The first of these outputs.
        shape: Shape of the value of one sample.
        variance: Whether there are two outputs, the expectation values of an observable
            and of its square, and the measurement is the variance.
    """

    first: int
    shape: tuple[int, ...] = ()
    variance: bool = False

    @property
    def end(self) -> int:
        """The position after the last of the outputs."""
        return self.first + (2 if self.variance else math.prod(self.shape))


@final
class OutputMeter(Meter):
    """Measurements that are outputs of the Program, or variances made of two.

    Args:
        outputs: One for each measurement.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = tuple(outputs)

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return max((output.end for output in self._outputs), default=0)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the measurements of one sample."""
        return [output.shape for output in self._outputs]

    def values(self, work: Pass) -> Values:
        """The measurements after a forward run, each of shape ``(batch, *shape)``."""
        return self.measured(work.out.copy())

    def measured(self, out: Float) -> Values:
        """The measurements, from outputs of shape ``(batch, n_outputs)``."""
        found = []
        for output in self._outputs:
            if output.variance:
                found.append(out[:, output.first + 1] - out[:, output.first] ** 2)
            elif output.shape:
                part = out[:, output.first : output.end]
                found.append(part.reshape(len(out), *output.shape))
            else:
                found.append(out[:, output.first])
        return found

    def backward(
        self, work: Pass, cotangents: Sequence[Float], *, inputs: bool
    ) -> tuple[Float, Float | None]:
        """Gradients with respect to weights and features."""
        return work.backward(self.pulled(work.out, cotangents), inputs=inputs)

    def pulled(self, out: Float, cotangents: Sequence[Float]) -> Float:
        """Derivatives with respect to the outputs.

        Args:
            out: The outputs, shape ``(batch, n_outputs)``.
            cotangents: One for each measurement, of shape ``(batch, *shape)``.
        """
        dy = np.empty(out.shape)
        for output, given in zip(self._outputs, cotangents, strict=True):
            if output.variance:
                dy[:, output.first] = -2.0 * out[:, output.first] * given
                dy[:, output.first + 1] = given
            elif output.shape:
                dy[:, output.first : output.end] = given.reshape(len(dy), -1)
            else:
                dy[:, output.first] = given
        return dy


@final
class StateMeter(Meter):
    """Measurements that are read from Pauli words and from the states.

    Args:
        words: The Pauli words that the Program measures.
        readouts: One for each measurement.
    """

    def __init__(self, words: Sequence[Any], readouts: Sequence[Readout]) -> None:
        self._words, self._readouts = tuple(words), tuple(readouts)
        self._needs_state = any(readout.needs_state for readout in readouts)

    def values(self, work: Pass) -> Values:
        """The measurements after a forward run, each of shape ``(batch, *shape)``."""
        states = work.states() if self._needs_state else None
        return forward_values(work, self._words, self._readouts, states)

    def backward(
        self, work: Pass, cotangents: Sequence[Float], *, inputs: bool
    ) -> tuple[Float, Float | None]:
        """Gradients with respect to weights and features."""
        return backward(work, self._words, self._readouts, cotangents, inputs=inputs)
