"""Settings of a training run. Only values: what they lead to is the trainer's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from qstore_pl._checks import integer, real

DEFAULTS: dict[str, Any] = {
    "learning_rate": 0.01,
    "epochs": 10,
    "batch_size": 32,
    "optimizer": "adam",
    "momentum": None,
    "weight_decay": None,
    "damping": None,
    "metric": "fubini-study",
    "metric_approximation": "full",
    "gradient_method": "best",
    "gradient_epsilon": None,
    "gradient_directions": None,
    "gradient_sample_size": None,
    "loss": "mse",
    "n_qubits": None,
    "quantum_sdk": "mock_ideal",
    "gradient_clip_value": None,
    "gradient_clip_norm": None,
    "shuffle": True,
    "shots": None,
    "seed": None,
    "progress": False,
}
"""What a run takes for fields that are not set; None is off, exact, or a fresh seed."""


@dataclasses.dataclass(kw_only=True, repr=False)
class TrainingConfig:
    """Settings of a training run; a field that is None is not set.

    Every assignment is checked. ``DEFAULTS`` says what a run takes for fields that are
    not set.

    Args:
        learning_rate: Step length of the optimizer, > 0.
        epochs: Passes over the data in all, >= 1, also when a run is resumed.
        batch_size: Samples per update, >= 1.
        optimizer: Name of the optimizer.
        momentum: Momentum of the optimizer, in [0, 1); only for those that have one.
        weight_decay: As the optimizer means it, >= 0.
        damping: Of the natural gradient's metric, >= 0.
        metric: Of the natural gradient: ``"fubini-study"``, ``"noiseless"`` (of the
            circuit simulated without noise), ``"bures"`` (of density matrices), or
            ``"gauss-newton"`` (of the loss, "mse" or "cross_entropy").
        metric_approximation: ``"full"``, ``"block-diag"``, ``"diag"``, or
            ``"matrix-free"`` for many weights.
        gradient_method: ``"best"``, ``"adjoint"``, ``"parameter_shift"``,
            ``"finite_diff"``, ``"spsa"`` or ``"random_subset"``.
        gradient_epsilon: Step of ``"finite_diff"`` and ``"spsa"``, radians, > 0.
        gradient_directions: Directions that ``"spsa"`` averages, >= 1.
        gradient_sample_size: Weights that ``"random_subset"`` draws, >= 1.
        loss: Name of a loss, a ``Loss``, or a function of (predictions, targets).
        n_qubits: Must equal the model's, >= 1.
        quantum_sdk: Name of the backend; ``"mock"`` is ``"mock_ideal"``.
        gradient_clip_value: Largest absolute value of a gradient entry, > 0.
        gradient_clip_norm: Largest norm of the gradient, > 0, after clipping by value.
        shuffle: Whether samples are shuffled before every epoch.
        shots: Measurements per expectation value, >= 1; unset is exact.
        seed: Seed of every random draw, >= 0; unset is a fresh one.
        progress: Whether a progress bar is shown.

    Raises:
        TypeError: If a value is of another kind.
        ValueError: If a value is out of its range.
        AttributeError: If a field is assigned that does not exist.

    Example:
        >>> config = TrainingConfig(learning_rate=0.1)
        >>> config.epochs = 5
        >>> config
        TrainingConfig(learning_rate=0.1, epochs=5)
        >>> config.batch_size is None, config.resolve("batch_size")
        (True, 32)
    """

    learning_rate: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    damping: float | None = None
    metric: str | None = None
    metric_approximation: str | None = None
    gradient_method: str | None = None
    gradient_epsilon: float | None = None
    gradient_directions: int | None = None
    gradient_sample_size: int | None = None
    loss: str | Callable[[Any, Any], Any] | None = None
    n_qubits: int | None = None
    quantum_sdk: str | None = None
    gradient_clip_value: float | None = None
    gradient_clip_norm: float | None = None
    shuffle: bool | None = None
    shots: int | None = None
    seed: int | None = None
    progress: bool | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Check and set a field; None unsets it."""
        if name not in DEFAULTS:
            _unknown(name)
        object.__setattr__(self, name, None if value is None else _checked(name, value))

    def set_fields(self) -> frozenset[str]:
        """Names of the fields that are set."""
        return frozenset(n for n in DEFAULTS if getattr(self, n) is not None)

    def resolve(self, name: str) -> Any:
        """The value of a field, or its default where it is not set.

        Raises:
            AttributeError: If there is no such field.
        """
        if name not in DEFAULTS:
            _unknown(name)
        value = getattr(self, name)
        return DEFAULTS[name] if value is None else value

    def __repr__(self) -> str:
        shown = [
            f"{n}={getattr(self, n)!r}" for n in DEFAULTS if n in self.set_fields()
        ]
        return f"TrainingConfig({', '.join(shown)})"


def _unknown(name: str) -> NoReturn:
    raise AttributeError(
        f"TrainingConfig has no field {name!r}; its fields are {', '.join(DEFAULTS)}."
    )


def _checked(name: str, value: Any) -> Any:
    match name:
        case "epochs" | "batch_size" | "n_qubits" | "shots":
            return integer(name, value, minimum=1)
        case "gradient_directions" | "gradient_sample_size":
            return integer(name, value, minimum=1)
        case "seed":
            return integer(name, value, minimum=0)
        case "learning_rate" | "gradient_clip_value" | "gradient_clip_norm":
            return real(name, value, above=0.0)
        case "gradient_epsilon":
            return real(name, value, above=0.0)
        case "momentum":
            return real(name, value, minimum=0.0, below=1.0)
        case "weight_decay" | "damping":
            return real(name, value, minimum=0.0)
        case "shuffle" | "progress":
            if not isinstance(value, bool | np.bool_):
                raise TypeError(
                    f"Argument `{name}` must be True or False, but is {value!r}."
                )
            return bool(value)
        case "loss":
            if not isinstance(value, str) and not callable(value):
                raise TypeError(
                    f"Argument `loss` must be a name, a Loss or a function, but is "
                    f"{value!r}."
                )
            return value
        case _:
            if not isinstance(value, str):
                raise TypeError(f"Argument `{name}` must be a name, but is {value!r}.")
            return "mock_ideal" if (name, value) == ("quantum_sdk", "mock") else value
