"""Gradient estimators that use the adjoint method of the devices of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from autograd import make_vjp
from autograd.tracer import isbox
from numpy.typing import NDArray
from pennylane import numpy as pnp

from qstore_pl.devices import Program
from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import (
    NO_DEPENDENCE,
    Expectations,
    Float1D,
    Float2D,
    NoDependenceError,
)

MOST_PASSES = 8  # number of batch sizes whose work arrays are kept


@final
class CompiledGradient(GradientEstimator):
    """The adjoint method of a compiled circuit: a forward and a backward pass.

    Args:
        expectations: The circuit, and the device that it runs on.
        program: The compiled circuit.
    """

    def __init__(self, expectations: Expectations, program: Program) -> None:
        super().__init__(expectations)
        self._program = program
        self._passes: dict[int, Any] = {}  # batch size -> work arrays
        self._last: Any = None

    def _measure(
        self,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool,
    ) -> Float2D:
        """The measured values of some samples, shape ``(batch, n_values)``."""
        batch = rows.shape[0]
        last = self._passes.get(batch)
        if last is None:
            while len(self._passes) >= MOST_PASSES:
                del self._passes[next(iter(self._passes))]  # the one made first
            last = self._passes[batch] = self._program.new_pass(batch)
        self._last = last
        self.expectations.spend(batch)
        return last.forward(weights, features, rows, gradient=gradient)

    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``."""
        return self._last.backward(cotangents)[0]


@final
class DeviceGradient(GradientEstimator):
    """The adjoint method through PennyLane: a QNode differentiated by autograd.

    It serves circuits that cannot be compiled, such as those whose noise depends on the
    angles of gates. (A parameter shift would be wrong there: it would shift the noise
    too.) A mini-batch is one call of the QNode.

    Args:
        expectations: The circuit, on a device that has a gradient of its own and no
            shots.
    """

    def __init__(self, expectations: Expectations) -> None:
        super().__init__(expectations)
        self._pull_back: Callable[..., Any] | None = None

    def _measure(
        self,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool,
    ) -> Float2D:
        """The measured values of some samples, shape ``(batch, n_values)``."""
        del gradient  # autograd is asked for it later
        self.expectations.check_batch(weights, features[rows])

        def outputs(at: Any) -> Any:
            found = self.expectations.outputs(at, features[rows])
            if not isbox(found):
                raise NoDependenceError(NO_DEPENDENCE)
            return found

        self._pull_back, value = make_vjp(outputs)(pnp.array(weights))
        return np.asarray(value, dtype=np.float64)

    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``."""
        if self._pull_back is None:
            raise RuntimeError("DeviceGradient.backward was called before forward.")
        with self.expectations.running():
            gradient = self._pull_back(cotangents)
        return np.asarray(gradient, dtype=np.float64)
