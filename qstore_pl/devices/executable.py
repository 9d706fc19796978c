"""A traced circuit that runs on arrays: numbers of arguments in, measured values out.

Here the arguments of a quantum function become weights and features of a Program, and
its outputs become PennyLane's measurements. A backward run gives the gradient with
respect to every number. No framework is known here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.devices.batches import Places
from qstore_pl.devices.pullback import backward
from qstore_pl.devices.readout import Readout
from qstore_pl.engine.program import Pass, Program

Float = NDArray[np.float64]
Values = list[NDArray[Any]]

_NOTHING = np.empty(0)
ONLY_FIRST_DERIVATIVES = (
    "A second derivative was asked of a compiled circuit, which has first derivatives "
    "only. Call the QNode itself, made with max_diff=2."
)
KEPT_PASSES = 4  # work arrays that wait for the next call


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

    def values(self, work: Pass) -> Values:
        """The measurements after a forward run, each of shape ``(batch, *shape)``."""
        out = work.out.copy()
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
        dy = np.empty(work.out.shape)
        for output, given in zip(self._outputs, cotangents, strict=True):
            if output.variance:
                dy[:, output.first] = -2.0 * work.out[:, output.first] * given
                dy[:, output.first + 1] = given
            elif output.shape:
                dy[:, output.first : output.end] = given.reshape(len(dy), -1)
            else:
                dy[:, output.first] = given
        return work.backward(dy, inputs=inputs)


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
        found = []
        for readout in self._readouts:
            columns = [self._words.index(word) for word in readout.words]
            words = work.out[:, columns]
            if readout.per_sample:
                found.append(np.array(readout.value(words, states)))
            else:
                assert states is not None
                pairs = zip(words, states, strict=True)
                found.append(np.stack([readout.value(w, s) for w, s in pairs]))
        return found

    def backward(
        self, work: Pass, cotangents: Sequence[Float], *, inputs: bool
    ) -> tuple[Float, Float | None]:
        """Gradients with respect to weights and features."""
        return backward(work, self._words, self._readouts, cotangents, inputs=inputs)


class Executable:
    """A circuit as a function of the arrays it was traced with.

    Args:
        program: The Program of the circuit.
        places: Where the numbers of the arguments go.
        shapes: Shape of each argument.
        meter: How measurements are made of what the Program computes.
        differentiable: Whether all measurements have a gradient.
        draw: Function from the states of the Program to PennyLane's results, if the
            circuit has shots; else None.
    """

    def __init__(
        self,
        program: Program,
        places: Places,
        shapes: Sequence[tuple[int, ...]],
        meter: Meter,
        *,
        differentiable: bool,
        draw: Callable[[NDArray[Any]], Any] | None = None,
    ) -> None:
        self.program, self.shapes, self.batch = program, tuple(shapes), places.batch
        self.differentiable, self.draw = differentiable, draw
        self._meter = meter
        self._shared = places.arguments
        columns = places.columns
        self._rows = np.arange(len(columns))
        self._constants = np.array(places.constants, dtype=np.float64)
        sizes = [math.prod(shape) for shape in shapes]
        ends = np.cumsum(sizes, dtype=np.int64)
        self._spans = [(int(e) - s, int(e)) for s, e in zip(sizes, ends, strict=True)]
        self._weight_spans: dict[int, tuple[int, int]] = {}
        end = 0
        for k in self._shared:
            self._weight_spans[k] = (end, end + sizes[k])
            end += sizes[k]
        self._columns = columns
        self._whole = self._whole_argument(columns)
        used = columns[columns < (self._spans[-1][1] if sizes else 0)]
        self._per_sample = {
            k for k, (start, end) in enumerate(self._spans)
            if np.any((used >= start) & (used < end))
        }  # fmt: skip
        self._unique = len(np.unique(used)) == used.size
        self._passes: deque[Pass] = deque(maxlen=KEPT_PASSES)

    def _whole_argument(self, columns: NDArray[np.int64]) -> int | None:
        """The argument whose numbers are the features, in its own order."""
        for k, (start, end) in enumerate(self._spans):
            if columns.size and np.array_equal(columns.ravel(), np.arange(start, end)):
                return k
        return None

    def packed(self, arguments: Sequence[Float]) -> tuple[Float, Float]:
        """Weights and features, which are copies.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
        """
        shared = [arguments[k].reshape(-1) for k in self._shared]
        weights = np.concatenate([_NOTHING, *shared])
        if self._whole is not None:
            features = arguments[self._whole].reshape(self._columns.shape)
            return weights, features.copy()
        if not self._columns.size:
            return weights, np.empty(self._columns.shape)
        numbers = [argument.reshape(-1) for argument in arguments]
        return weights, np.concatenate([*numbers, self._constants])[self._columns]

    def call(self, arguments: Sequence[Float]) -> Call:
        """The circuit run forward, ready to be differentiated.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
        """
        return Call(self, *self.packed(arguments))

    def values(self, arguments: Sequence[Float]) -> Values:
        """The measurements, of shape ``(batch, *shape)``, or without a batch ``shape``.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
        """
        weights, features = self.packed(arguments)
        work = self.taken()
        work.forward(weights, features, self._rows, gradient=False)
        found = self.unbatched(self._meter.values(work))
        self._passes.append(work)
        return found

    def sampled(self, arguments: Sequence[Float]) -> Any:
        """Measurements from finite shots, or several lists of them.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
        """
        assert self.draw is not None
        return self.draw(self.program.states(*self.packed(arguments)))

    def unbatched(self, values: Values) -> Values:
        """Measurements without their batch axis, where the circuit has none."""
        return values if self.batch is not None else [value[0] for value in values]

    def taken(self) -> Pass:
        """Work arrays of an earlier call, or new ones."""
        try:
            return self._passes.pop()
        except IndexError:
            work: Pass = self.program.new_pass(len(self._rows))
            return work

    def gradients(self, gw: Float, gx: Float | None) -> list[Float]:
        """Gradients with respect to the arguments, from those of the Program."""
        found = [np.zeros(shape) for shape in self.shapes]
        for k, (start, end) in self._weight_spans.items():
            found[k] += gw[start:end].reshape(self.shapes[k])
        if gx is None or not self._columns.size:
            return found
        if self._whole is not None:
            found[self._whole] += gx.reshape(self.shapes[self._whole])
            return found
        n_numbers = self._spans[-1][1]
        flat = np.zeros(n_numbers + self._constants.size)
        if self._unique:
            flat[self._columns] = gx  # constants aside, each number is in one place
        else:
            np.add.at(flat, self._columns, gx)
        for k in self._per_sample:
            start, end = self._spans[k]
            found[k] += flat[start:end].reshape(self.shapes[k])
        return found


class Call:
    """One forward run of a circuit, until its gradient was asked for.

    Args:
        executable: The circuit.
        weights: Shape ``(n_weights,)``.
        features: Shape ``(batch, n_features)``.
    """

    def __init__(self, executable: Executable, weights: Float, features: Float) -> None:
        self._executable, self._weights, self._features = executable, weights, features
        self._work: Pass | None = None

    def values(self) -> Values:
        """The measurements, as :meth:`Executable.values`."""
        executable = self._executable
        self._work = executable.taken()
        self._work.forward(self._weights, self._features, executable._rows)
        return executable.unbatched(executable._meter.values(self._work))

    def pull(self, cotangents: Sequence[Any], wanted: Sequence[int]) -> list[Float]:
        """Gradients with respect to all arguments.

        Args:
            cotangents: One for each measurement, of its shape.
            wanted: The arguments whose gradient is needed; that of another may be
                wrong.
        """
        executable, work = self._executable, self._work
        self._work = None
        if work is None:  # asked once more, as for a Jacobian
            work = executable.taken()
            work.forward(self._weights, self._features, executable._rows)
        if executable.batch is None:
            cotangents = [dy[None] for dy in cotangents]
        inputs = not executable._per_sample.isdisjoint(wanted)
        gw, gx = executable._meter.backward(work, cotangents, inputs=inputs)
        found = executable.gradients(gw, gx)
        executable._passes.append(work)
        return found
