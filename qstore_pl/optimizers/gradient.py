"""The gradient that a gradient computer returns and an optimizer takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray


@final
@dataclass(frozen=True, eq=False)
class GradientResult:
    """A gradient, and how many circuits and how much time it took.

    It can be used where an array is expected, as in ``np.asarray(result)`` or
    ``optimizer.step(parameters, result)``.

    Args:
        gradients: The gradient, in the shape of the parameters; 0 for frozen
            parameters.
        function_value: Value of the differentiated function at the parameters.
        n_circuit_executions: Number of circuits that were run, of one sample each.
        n_shots: Number of measurements over all circuits; 0 if values are exact.
        computation_time_ms: Wall time in milliseconds.
        trainable: Mask in the shape of the parameters; None if all are trained.

    Example:
        >>> result = GradientResult(np.array([1.0, 0.0]), 0.5, 3, 0, 1.2)
        >>> np.asarray(result)
        array([1., 0.])
    """

    gradients: NDArray[np.float64]
    function_value: float
    n_circuit_executions: int
    n_shots: int
    computation_time_ms: float
    trainable: NDArray[np.bool_] | None = None

    def __array__(
        self,
        dtype: Any = None,
        copy: bool | None = None,  # noqa: FBT001 numpy's protocol
    ) -> NDArray[Any]:
        return np.array(self.gradients, dtype=dtype, copy=copy)
