"""Makes the gradient estimator that a name and options describe."""

from __future__ import annotations

from typing import Any

import numpy as np
from pennylane.devices import ExecutionConfig

from qstore_pl._checks import choice
from qstore_pl.gradients.adjoint import CompiledGradient, DeviceGradient
from qstore_pl.gradients.difference import FiniteDifferences, SimultaneousPerturbation
from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import Expectations
from qstore_pl.gradients.shift import ParameterShift

OPTIONS: dict[str, tuple[str, ...]] = {
    "best": (),
    "adjoint": (),
    "parameter_shift": (),
    "finite_diff": ("epsilon",),
    "spsa": ("epsilon", "n_directions"),
    "random_subset": ("sample_size",),
}
"""The names of the gradient methods, and the options that each takes."""


def estimator_of(
    expectations: Expectations,
    method: str = "best",
    *,
    epsilon: float | None = None,
    n_directions: int | None = None,
    sample_size: int | None = None,
    rng: np.random.Generator | None = None,
) -> GradientEstimator:
    """The gradient estimator of a circuit that uses this method.

    Args:
        expectations: The circuit, and the device that it runs on.
        method: Name of the method. ``"best"`` is adjoint on the devices of this package
            without shots, else parameter shift. ``"random_subset"`` is parameter shift
            of some weights only, which are drawn anew for each gradient.
        epsilon: Step of ``"finite_diff"`` and ``"spsa"`` in radians, > 0; None chooses
            it for the number of shots.
        n_directions: Number of random directions, >= 1, that ``"spsa"`` averages over;
            None is 1.
        sample_size: Number of weights, >= 1, that ``"random_subset"`` draws; it must be
            given for this method.
        rng: Generator from which ``"spsa"`` and ``"random_subset"`` draw; None is a
            fresh one.

    Raises:
        ValueError: If the method is unknown, an option is missing or would be ignored,
            or the device has no adjoint gradient.

    Example:
        >>> from qstore_pl import QuantumModel
        >>> from qstore_pl.gradients import ModelExpectations
        >>> model = QuantumModel(2, 1, seed=0)
        >>> estimator = estimator_of(ModelExpectations(model), "adjoint")
        >>> features = model.prepare([[0.1, 0.2], [0.3, 0.4]])
        >>> outputs = estimator.forward(model.parameters, features, np.arange(2))
        >>> outputs.shape, estimator.backward(np.ones((2, 1))).shape
        ((2, 1), (12,))
    """
    choice("method", method, OPTIONS)
    given = {
        "epsilon": epsilon,
        "n_directions": n_directions,
        "sample_size": sample_size,
    }
    for name, value in given.items():
        if value is not None and name not in OPTIONS[method]:
            raise ValueError(
                f"Argument `{name}` must be left out for the gradient method "
                f'"{method}", which would ignore it.'
            )
    rng = np.random.default_rng() if rng is None else rng
    match method:
        case "finite_diff":
            return FiniteDifferences(expectations, epsilon=epsilon)
        case "spsa":
            directions = 1 if n_directions is None else n_directions
            return SimultaneousPerturbation(
                expectations, epsilon=epsilon, n_directions=directions, rng=rng
            )
        case "random_subset":
            if sample_size is None:
                raise ValueError(
                    "Argument `sample_size` must be given for the gradient method "
                    '"random_subset": how many weights each gradient draws.'
                )
            return ParameterShift(expectations, sample_size=sample_size, rng=rng)
        case "parameter_shift":
            return ParameterShift(expectations)
        case "best":
            if not expectations.is_exact_here:
                return ParameterShift(expectations)
        case _:
            _check_adjoint(expectations)
    if expectations.program is not None:
        return CompiledGradient(expectations, expectations.program)
    return DeviceGradient(expectations)


def _check_adjoint(expectations: Expectations) -> None:
    device: Any = expectations.device
    config = ExecutionConfig(gradient_method="adjoint")
    if expectations.shots:
        problem = f"it runs {expectations.shots} shots"
    elif not device.supports_derivatives(config):
        problem = f"{device.name} has none"
    else:
        return
    raise ValueError(
        'The gradient method "adjoint" needs a device with a gradient of its own and '
        f'without shots, but {problem}. Use "best" or "parameter_shift".'
    )
