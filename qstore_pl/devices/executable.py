"""A traced circuit that runs on arrays: arguments in, measurements out.

A call may be followed by its gradient with respect to every number of the arguments. No
framework is known here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from qstore_pl.devices.meters import Float, Meter, Values
from qstore_pl.devices.packing import Packing
from qstore_pl.engine.passes import IdlePasses
from qstore_pl.engine.program import Pass, Program

ONLY_FIRST_DERIVATIVES = (
    "A second derivative was asked of a compiled circuit, which has first derivatives "
    "only. Call the QNode itself, made with max_diff=2."
)


class Call(ABC):
    """One call of a circuit, until its gradient was asked for."""

    @abstractmethod
    def values(self) -> Values:
        """The measurements, as :meth:`Executable.values`."""

    @abstractmethod
    def pull(
        self, cotangents: Sequence[Any], wanted: Sequence[int]
    ) -> list[Float | None]:
        """Gradients with respect to some arguments.

        Args:
            cotangents: One for each measurement, of its shape.
            wanted: Indices of the arguments whose gradient is needed.

        Returns:
            A new array for each wanted argument, None for the others.
        """


class Executable(ABC):
    """A circuit as a function of the arrays it was traced with.

    Args:
        packing: How arguments become weights and features.
        batched: Whether the circuit has a batch axis.
        differentiable: Whether all measurements have a gradient.
    """

    program: Program | None = None

    def __init__(
        self, packing: Packing, *, batched: bool, differentiable: bool
    ) -> None:
        self.packing, self.batched = packing, batched
        self.differentiable = differentiable
        self.rows = np.arange(packing.batch)

    @abstractmethod
    def call(self, arguments: Sequence[Float]) -> Call:
        """A call of the circuit that may be differentiated.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
        """

    @abstractmethod
    def values(self, arguments: Sequence[Float]) -> Values:
        """The measurements, of shape ``(batch, *shape)``, or without a batch ``shape``.

        With several numbers of shots there are all measurements for the first number,
        then all for the next.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
        """

    def shaped(self, values: Values) -> Values:
        """Measurements without a batch axis where the circuit has none."""
        return values if self.batched else [value[0] for value in values]


@final
class ExactExecutable(Executable):
    """A circuit without shots.

    Args:
        program: The Program of the circuit.
        packing: How arguments become weights and features.
        meter: How measurements are made of what the Program computes.
        batched: Whether the circuit has a batch axis.
        differentiable: Whether all measurements have a gradient.
    """

    program: Program

    def __init__(
        self,
        program: Program,
        packing: Packing,
        meter: Meter,
        *,
        batched: bool,
        differentiable: bool,
    ) -> None:
        super().__init__(packing, batched=batched, differentiable=differentiable)
        self.program, self.meter = program, meter
        self._passes = IdlePasses(program)

    def call(self, arguments: Sequence[Float]) -> ExactCall:
        """A call of the circuit that may be differentiated."""
        return ExactCall(self, *self.packing.packed(arguments))

    def values(self, arguments: Sequence[Float]) -> Values:
        """The measurements."""
        work = self.run(*self.packing.packed(arguments), gradient=False)
        found = self.read(work)
        self._passes.give_back(work)
        return found

    def run(self, weights: Float, features: Float, *, gradient: bool = True) -> Pass:
        """A forward run, in work arrays of an earlier one or in new ones.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.
            gradient: Whether a backward run may follow.
        """
        work: Pass = self._passes.take(len(self.rows))
        work.forward(weights, features, self.rows, gradient=gradient)
        return work

    def read(self, work: Pass) -> Values:
        """The measurements after a forward run."""
        return self.shaped(self.meter.values(work))

    def pull(
        self, work: Pass, cotangents: Sequence[Any], wanted: Sequence[int]
    ) -> list[Float | None]:
        """Gradients with respect to some arguments, as :meth:`Call.pull`.

        Args:
            work: A forward run, which is used up.
            cotangents: One for each measurement, of its shape.
            wanted: The arguments whose gradient is needed.
        """
        if not self.batched:
            cotangents = [dy[None] for dy in cotangents]
        inputs = not self.packing.per_sample.isdisjoint(wanted)
        gradients = self.meter.backward(work, cotangents, inputs=inputs)
        found = self.packing.gradients(*gradients, wanted)
        self._passes.give_back(work)
        return found


@final
class ExactCall(Call):
    """One call of a circuit without shots.

    Args:
        executable: The circuit.
        weights: Shape ``(n_weights,)``.
        features: Shape ``(batch, n_features)``.
    """

    def __init__(
        self, executable: ExactExecutable, weights: Float, features: Float
    ) -> None:
        self._executable, self._values = executable, (weights, features)
        self._work: Pass | None = None

    def values(self) -> Values:
        """The measurements."""
        self._work = self._executable.run(*self._values)
        return self._executable.read(self._work)

    def pull(
        self, cotangents: Sequence[Any], wanted: Sequence[int]
    ) -> list[Float | None]:
        """Gradients with respect to some arguments."""
        work, self._work = self._work, None
        if work is None:  # asked once more, as for a Jacobian
            work = self._executable.run(*self._values)
        return self._executable.pull(work, cotangents, wanted)
