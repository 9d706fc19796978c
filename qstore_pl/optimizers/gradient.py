"""What a gradient computer hands to an optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray


@final
@dataclass(frozen=True, eq=False)
class GradientResult:
    """A gradient, and what it took to get it.

    It is an array wherever one is asked for: ``np.asarray(result)``,
    ``optimizer.step(parameters, result)``.

    Args:
        gradients: Of the shape of the parameters; 0 for frozen ones.
        function_value: What was differentiated, at the parameters.
        n_circuit_executions: Circuits run, of one sample each.
        n_shots: Measurements made, over all circuits; 0 is exact.
        computation_time_ms: Wall time in milliseconds.
        trainable: Mask of the shape of the parameters; None if all are trained.

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
