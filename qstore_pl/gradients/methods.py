"""From the name of a gradient method and its options to the estimator that does it."""

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
"""The gradient methods, and the options each takes."""


def estimator_of(
    expectations: Expectations,
    method: str = "best",
    *,
    epsilon: float | None = None,
    n_directions: int | None = None,
    sample_size: int | None = None,
    rng: np.random.Generator | None = None,
) -> GradientEstimator:
    """A gradient method on a circuit.

    Args:
        expectations: The circuit.
        method: ``"best"`` is adjoint on our devices without shots, else parameter
            shift. ``"adjoint"``, ``"parameter_shift"``, ``"finite_diff"``, ``"spsa"``;
            ``"random_subset"`` shifts some of the weights, drawn for each gradient.
        epsilon: Step in radians; None chooses it by the shots.
        n_directions: Directions that SPSA averages; None is 1.
        sample_size: Weights of a random subset, which needs it.
        rng: Where random methods draw from; None is a fresh generator.

    Raises:
        ValueError: If the method is unknown, an option is not its own or missing, or
            the device has no adjoint gradient.
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
        'The gradient method "adjoint" must have a device with a gradient of its own '
        f'and without shots, but {problem}. Use "best" or "parameter_shift".'
    )
