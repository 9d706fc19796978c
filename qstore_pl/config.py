"""Settings of a training run. Only values: what they lead to is the trainer's."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from qstore_pl._checks import choice, integer, real
from qstore_pl._secrets import Secret

DEFAULTS: dict[str, Any] = {
    # training
    "learning_rate": 0.01,
    "epochs": 10,
    "batch_size": 32,
    "loss": "mse",
    "class_weight": None,
    "shuffle": True,
    "accumulation_steps": 1,
    "seed": None,
    # optimizer
    "optimizer": "adam",
    "momentum": None,
    "weight_decay": None,
    "damping": None,
    "metric_tensor": "fubini-study",
    "metric_tensor_approximation": "full",
    "schedule": "constant",
    "schedule_epochs": None,
    "schedule_every": 10,
    "schedule_factor": 0.1,
    "schedule_final": 0.0,
    "warmup_epochs": None,
    "freeze_schedule": None,
    # gradients
    "gradient_method": "best",
    "gradient_epsilon": None,
    "gradient_directions": None,
    "gradient_sample_size": None,
    "gradient_clip_value": None,
    "gradient_clip_norm": None,
    "use_gradient_clipping": None,
    "track_gradients": True,
    "on_nan": "raise",
    # validation and early stopping
    "validation_split": None,
    "validation_interval": 1,
    "monitor": None,
    "monitor_mode": None,
    "min_delta": 0.0,
    "patience": None,
    "restore_best": True,
    # model and backend
    "n_qubits": None,
    "circuit_depth": None,
    "entanglement": None,
    "quantum_sdk": "mock_ideal",
    "quantum_target": None,
    "quantum_api_key": None,
    "max_concurrent_circuits": None,
    "shots": None,
    "shots_per_circuit": None,
    # files and messages
    "checkpoint_directory": None,
    "checkpoint_interval": None,
    "checkpoint_keep": 3,
    "on_interrupt": "return",
    "log_interval": None,
    "progress": False,
    "strict_callbacks": False,
    "pinecone_api_key": None,
    "pinecone_environment": None,
    "pinecone_index_name": None,
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
        batch_size: Samples per gradient, >= 1.
        loss: Name of a loss, a ``Loss``, or a function of (predictions, targets).
        class_weight: ``"balanced"``, or a dict from label to weight, > 0.
        shuffle: Whether samples are shuffled before every epoch.
        accumulation_steps: Batches whose gradients are averaged for an update, >= 1.
        seed: Seed of every random draw, >= 0, but those of a device that was made
            elsewhere; unset is a fresh one.
        optimizer: Name of the optimizer.
        momentum: Momentum of the optimizer, in [0, 1); only for those that have one.
        weight_decay: As the optimizer means it, >= 0.
        damping: Of the natural gradient's metric, >= 0.
        metric_tensor: Of the natural gradient: ``"fubini-study"``, ``"noiseless"`` (of
            the circuit simulated without noise), ``"bures"`` (of density matrices), or
            ``"gauss-newton"`` (of the loss, "mse" or "cross_entropy").
        metric_tensor_approximation: ``"full"``, ``"block-diag"``, ``"diag"``, or
            ``"matrix-free"`` for many weights.
        schedule: The learning rate of each epoch: ``"constant"``, ``"cosine"`` or
            ``"step"``, a ``Schedule`` of :mod:`qstore_pl.optimizers`, or a function
            from the number of the epoch, counted from 0, to the learning rate.
        schedule_epochs: Epochs after which ``"cosine"`` has fallen to its end, those of
            the warm-up included, >= 1; unset is all epochs of the run. To prolong a
            run later, set it to the epochs of the prolonged run from the beginning.
        schedule_every: Epochs from one ``"step"`` to the next, >= 1.
        schedule_factor: Of each ``"step"``, in (0, 1).
        schedule_final: Learning rate that ``"cosine"`` falls to, >= 0.
        warmup_epochs: Epochs in which the learning rate rises, >= 1.
        freeze_schedule: From an epoch, counted from 0, to the flat indices of the layer
            that are frozen from it on; all others are trained from it on.
        gradient_method: ``"best"``, ``"adjoint"``, ``"parameter_shift"``,
            ``"finite_diff"``, ``"spsa"`` or ``"random_subset"``.
        gradient_epsilon: Step of ``"finite_diff"`` and ``"spsa"``, radians, > 0.
        gradient_directions: Directions that ``"spsa"`` averages, >= 1.
        gradient_sample_size: Weights that ``"random_subset"`` draws, >= 1.
        gradient_clip_value: Largest absolute value of a gradient entry, > 0.
        gradient_clip_norm: Largest norm of the gradient, > 0, after clipping by value.
        use_gradient_clipping: True needs one of the two, False none.
        track_gradients: Whether the history has the norm of the gradient.
        on_nan: What a loss or gradient that is not finite leads to: ``"raise"``;
            ``"skip"`` the batch; ``"rollback"`` to the end of the last epoch.
        validation_split: Share of the samples, in (0, 1), that is held out to validate
            where :meth:`QuantumTrainer.train` gets no ``val_data``. They are drawn by
            ``seed`` (by 0 where it is unset), with the same share of every class.
        validation_interval: Epochs from one validation to the next, >= 1.
        monitor: Column of the history that says what is best; unset is ``"val_loss"``,
            or ``"loss"`` without validation.
        monitor_mode: Which value of that column is best, ``"min"`` or ``"max"``. It is
            known of losses and accuracies, and must be set for any other column.
        min_delta: What counts as better, >= 0.
        patience: Measured epochs without a better one until the run stops, >= 1; unset
            is off.
        restore_best: Whether a run that has ``patience`` ends with the best parameters.
        n_qubits: Must equal the model's, >= 1.
        circuit_depth: Must equal the layers of the model, >= 1.
        entanglement: Must equal the model's.
        quantum_sdk: Name of the backend; ``"mock"`` is ``"mock_ideal"``.
        quantum_target: Machine of a hardware backend.
        quantum_api_key: Of a hardware backend: the key, or ``"env:NAME"``.
        max_concurrent_circuits: Of a hardware backend, >= 1.
        shots: Measurements per expectation value, >= 1; unset is exact.
        shots_per_circuit: Another name of the same; one of the two.
        checkpoint_directory: Where checkpoints go; unset writes no files. A leading
            ``~`` is the home directory.
        checkpoint_interval: Epochs from one checkpoint to the next, >= 1. Unset, they
            are written as often as takes at most 5 % of the time of the run.
        checkpoint_keep: Latest checkpoints to keep, >= 1, besides the best.
        on_interrupt: What follows when SIGINT (Ctrl-C) or SIGTERM has ended a run,
            after its checkpoint is written: ``"return"`` the history, or ``"raise"``
            what the signal would have led to, ``KeyboardInterrupt`` for Ctrl-C.
        log_interval: Epochs from one line of the log to the next, >= 1; unset is none.
            Where logging is not set up, the lines go to stderr.
        progress: Whether a progress bar is shown, with the loss.
        strict_callbacks: Whether an error in a callback ends the run.
        pinecone_api_key: Of the vector store: the key, or ``"env:NAME"``.
        pinecone_environment: Of the vector store.
        pinecone_index_name: Of the vector store.

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
    loss: str | Callable[[Any, Any], Any] | None = None
    class_weight: str | Mapping[int, float] | None = None
    shuffle: bool | None = None
    accumulation_steps: int | None = None
    seed: int | None = None
    optimizer: str | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    damping: float | None = None
    metric_tensor: str | None = None
    metric_tensor_approximation: str | None = None
    schedule: str | Callable[[int], float] | None = None
    schedule_epochs: int | None = None
    schedule_every: int | None = None
    schedule_factor: float | None = None
    schedule_final: float | None = None
    warmup_epochs: int | None = None
    freeze_schedule: Mapping[int, Sequence[int]] | None = None
    gradient_method: str | None = None
    gradient_epsilon: float | None = None
    gradient_directions: int | None = None
    gradient_sample_size: int | None = None
    gradient_clip_value: float | None = None
    gradient_clip_norm: float | None = None
    use_gradient_clipping: bool | None = None
    track_gradients: bool | None = None
    on_nan: str | None = None
    validation_split: float | None = None
    validation_interval: int | None = None
    monitor: str | None = None
    monitor_mode: str | None = None
    min_delta: float | None = None
    patience: int | None = None
    restore_best: bool | None = None
    n_qubits: int | None = None
    circuit_depth: int | None = None
    entanglement: str | None = None
    quantum_sdk: str | None = None
    quantum_target: str | None = None
    quantum_api_key: str | Secret | None = None
    max_concurrent_circuits: int | None = None
    shots: int | None = None
    shots_per_circuit: int | None = None
    checkpoint_directory: str | PathLike[str] | None = None
    checkpoint_interval: int | None = None
    checkpoint_keep: int | None = None
    on_interrupt: str | None = None
    log_interval: int | None = None
    progress: bool | None = None
    strict_callbacks: bool | None = None
    pinecone_api_key: str | Secret | None = None
    pinecone_environment: str | None = None
    pinecone_index_name: str | None = None

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

    def to_dict(self) -> dict[str, Any]:
        """What is set, as words and numbers; a function by its name, no secret.

        Secrets are there as ``"env:NAME"`` if they were given so, else not at all.
        """
        found: dict[str, Any] = {}
        for name in DEFAULTS:
            value = getattr(self, name)
            if isinstance(value, Secret):
                value = value.reference
            elif name in _FUNCTIONS and callable(value):
                value = f"function {getattr(value, '__name__', repr(value))}"
            elif isinstance(value, dict):
                value = {str(key): item for key, item in value.items()}
            if value is not None:
                found[name] = value
        return found

    def to_toml(self) -> str:
        """What is set, as TOML that :meth:`from_toml` reads.

        Raises:
            ValueError: If the loss or the schedule is a function, which a file cannot
                hold.
        """
        functions = [name for name in _FUNCTIONS if callable(getattr(self, name))]
        if functions:
            raise ValueError(
                f"Argument `{functions[0]}` must be a name to be written to a file, "
                "but is a function."
            )
        return "".join(
            f"{name} = {_toml(value)}\n" for name, value in self.to_dict().items()
        )

    @classmethod
    def from_toml(cls, text: str) -> TrainingConfig:
        """The settings in a TOML document.

        Raises:
            ValueError: If it is not TOML, or a value is out of its range.
            TypeError: If a value is of another kind, or a field is unknown.
        """
        return cls(**tomllib.loads(text))

    def __repr__(self) -> str:
        shown = [
            f"{n}={getattr(self, n)!r}" for n in DEFAULTS if n in self.set_fields()
        ]
        return f"TrainingConfig({', '.join(shown)})"


_INTEGERS = {  # and their minimum
    **dict.fromkeys(("epochs", "batch_size", "n_qubits", "circuit_depth"), 1),
    **dict.fromkeys(("shots", "shots_per_circuit"), 1),
    **dict.fromkeys(("gradient_directions", "gradient_sample_size"), 1),
    **dict.fromkeys(("accumulation_steps", "validation_interval", "patience"), 1),
    **dict.fromkeys(("checkpoint_interval", "checkpoint_keep", "log_interval"), 1),
    **dict.fromkeys(("schedule_epochs", "schedule_every", "warmup_epochs"), 1),
    "max_concurrent_circuits": 1,
    "seed": 0,
}
_POSITIVE = {"above": 0.0}
_NOT_NEGATIVE = {"minimum": 0.0}
_REALS: dict[str, dict[str, float]] = {
    "learning_rate": _POSITIVE,
    "gradient_epsilon": _POSITIVE,
    "gradient_clip_value": _POSITIVE,
    "gradient_clip_norm": _POSITIVE,
    "momentum": {"minimum": 0.0, "below": 1.0},
    "schedule_factor": {"above": 0.0, "below": 1.0},
    "schedule_final": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "damping": _NOT_NEGATIVE,
    "validation_split": {"above": 0.0, "below": 1.0},
    "min_delta": _NOT_NEGATIVE,
}
_SWITCHES = {
    *("shuffle", "progress", "restore_best", "strict_callbacks"),
    *("track_gradients", "use_gradient_clipping"),
}
CHOICES = {
    "loss": ("mse", "cross_entropy", "binary", "hinge"),
    "optimizer": (
        *("adam", "adamw", "sgd", "momentum", "nesterov", "rmsprop"),
        "natural_gradient",
    ),
    "metric_tensor": ("fubini-study", "noiseless", "bures", "gauss-newton"),
    "metric_tensor_approximation": ("full", "block-diag", "diag", "matrix-free"),
    "schedule": ("constant", "cosine", "step"),
    "gradient_method": (
        *("best", "adjoint", "parameter_shift", "finite_diff", "spsa"),
        "random_subset",
    ),
    "on_nan": ("raise", "skip", "rollback"),
    "monitor_mode": ("min", "max"),
    "entanglement": ("linear", "circular", "full"),
    "on_interrupt": ("return", "raise"),
}
"""The words of each field that takes one of a few."""

_FUNCTIONS = ("loss", "schedule")  # fields that may be one


def _unknown(name: str) -> NoReturn:
    raise AttributeError(
        f"TrainingConfig has no field {name!r}; its fields are {', '.join(DEFAULTS)}."
    )


def _checked(name: str, value: Any) -> Any:
    if name in _INTEGERS:
        return integer(name, value, minimum=_INTEGERS[name])
    if name in _REALS:
        return real(name, value, **_REALS[name])
    if name in _SWITCHES:
        if not isinstance(value, bool | np.bool_):
            raise TypeError(
                f"Argument `{name}` must be True or False, but is {value!r}."
            )
        return bool(value)
    match name:
        case "loss" | "schedule" if callable(value):
            return value
        case "loss" | "schedule" if not isinstance(value, str):
            raise TypeError(
                f"Argument `{name}` must be a name, a {name.capitalize()} or a "
                f"function, but is {value!r}."
            )
        case "class_weight" if value != "balanced":
            return _by_integer(name, value, lambda w: real(name, w, above=0.0))
        case "freeze_schedule":
            return _by_integer(
                name, value, lambda i: [integer(name, k, minimum=0) for k in i]
            )
        case "quantum_api_key" | "pinecone_api_key":
            return value if isinstance(value, Secret) else Secret(value)
        case "checkpoint_directory":
            return str(Path(value).expanduser())
        case _ if name in CHOICES and isinstance(value, str):
            return choice(name, value, CHOICES[name])
        case _:
            if not isinstance(value, str):
                raise TypeError(f"Argument `{name}` must be a name, but is {value!r}.")
            return "mock_ideal" if (name, value) == ("quantum_sdk", "mock") else value


def _by_integer(name: str, value: Any, check: Callable[[Any], Any]) -> dict[int, Any]:
    """A dict with integer keys; TOML and JSON have only words for keys."""
    if not isinstance(value, Mapping):
        raise TypeError(f"Argument `{name}` must be a dict, but is {value!r}.")
    found = {}
    for key, item in value.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        found[integer(name, number, minimum=0)] = check(item)
    return found


def _toml(value: Any) -> str:
    """A value as TOML; words are written as JSON, which TOML reads."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | list):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value)
    items = ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items())
    return f"{{{items}}}"
