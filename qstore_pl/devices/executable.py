"""A traced circuit that runs on arrays: arguments in, measurements out.

A forward run may be followed by a backward run, which gives the gradient with respect
to every number of the arguments. No framework is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.devices.meters import Float, Meter, Values
from qstore_pl.devices.packing import Packing
from qstore_pl.engine.passes import IdlePasses
from qstore_pl.engine.program import Pass, Program

ONLY_FIRST_DERIVATIVES = (
    "A second derivative was asked of a compiled circuit, which has first derivatives "
    "only. Call the QNode itself, made with max_diff=2."
)


class Executable:
    """A circuit as a function of the arrays it was traced with.

    Args:
        program: The Program of the circuit.
        packing: How arguments become weights and features.
        meter: How measurements are made of what the Program computes.
        batched: Whether the circuit has a batch axis.
        differentiable: Whether all measurements have a gradient.
        draw: Function from the states of the Program to PennyLane's results, if the
            circuit has shots; else None.
    """

    def __init__(
        self,
        program: Program,
        packing: Packing,
        meter: Meter,
        *,
        batched: bool,
        differentiable: bool,
        draw: Callable[[NDArray[Any]], Any] | None = None,
    ) -> None:
        self.program, self.packing, self.meter = program, packing, meter
        self.differentiable, self.draw = differentiable, draw
        self._batched = batched
        self._rows = np.arange(packing.batch)
        self._passes = IdlePasses(program)

    def call(self, arguments: Sequence[Float]) -> Call:
        """A call of the circuit that may be differentiated.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
        """
        return Call(self, *self.packing.packed(arguments))

    def values(self, arguments: Sequence[Float]) -> Values:
        """The measurements, of shape ``(batch, *shape)``, or without a batch ``shape``.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
        """
        work = self.run(*self.packing.packed(arguments), gradient=False)
        found = self.read(work)
        self._passes.give_back(work)
        return found

    def sampled(self, arguments: Sequence[Float]) -> Any:
        """Measurements from finite shots, or several lists of them.

        Args:
            arguments: Arrays of float64 of the shapes that were traced.
        """
        assert self.draw is not None
        return self.draw(self.program.states(*self.packing.packed(arguments)))

    def run(self, weights: Float, features: Float, *, gradient: bool = True) -> Pass:
        """A forward run, in work arrays of an earlier one or in new ones.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.
            gradient: Whether a backward run may follow.
        """
        work = self._passes.take(len(self._rows))
        work.forward(weights, features, self._rows, gradient=gradient)
        return work

    def read(self, work: Pass) -> Values:
        """The measurements after a forward run."""
        values = self.meter.values(work)
        return values if self._batched else [value[0] for value in values]

    def pull(
        self, work: Pass, cotangents: Sequence[Any], wanted: Sequence[int]
    ) -> list[Float | None]:
        """Gradients with respect to some arguments, as :meth:`Call.pull`.

        Args:
            work: A forward run, which is used up.
            cotangents: One for each measurement, of its shape.
            wanted: The arguments whose gradient is needed.
        """
        if not self._batched:
            cotangents = [dy[None] for dy in cotangents]
        inputs = not self.packing.per_sample.isdisjoint(wanted)
        gradients = self.meter.backward(work, cotangents, inputs=inputs)
        found = self.packing.gradients(*gradients, wanted)
        self._passes.give_back(work)
        return found


class Call:
    """One call of a circuit, until its gradient was asked for.

    Args:
        executable: The circuit.
        weights: Shape ``(n_weights,)``.
        features: Shape ``(batch, n_features)``.
    """

    def __init__(self, executable: Executable, weights: Float, features: Float) -> None:
        self._executable, self._values = executable, (weights, features)
        self._work: Pass | None = None

    def values(self) -> Values:
        """The measurements, as :meth:`Executable.values`."""
        self._work = self._executable.run(*self._values)
        return self._executable.read(self._work)

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
        work, self._work = self._work, None
        if work is None:  # asked once more, as for a Jacobian
            work = self._executable.run(*self._values)
        return self._executable.pull(work, cotangents, wanted)
