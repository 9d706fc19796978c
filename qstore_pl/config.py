"""Settings of a training run: one row for each field, with its default and its check.

This module holds values only. What a setting does is decided by the trainer.
"""

# ruff: noqa: RUF009 - the calls in the class body return dataclass fields

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

Check = Callable[[str, Any], Any]  # from a field's name and a value to what is kept

# --- one constructor for each kind of field ---------------------------------------
# They return Any, so that type checkers take the annotation of the field.


def _field(check: Check, *, default: Any = None, **known: Any) -> Any:
    """A field that is not set at first.

    Args:
        check: Returns the value to keep, or raises an error that names the field.
        default: What a run takes where the field is not set; None is off, exact, or a
            fresh seed.
        **known: Entries of the tables at the end of this file.
    """
    return dataclasses.field(
        default=None, metadata={"default": default, "check": check, **known}
    )


def _integer(*, default: int | None = None, minimum: int = 1) -> Any:
    def check(name: str, value: Any) -> int:
        return integer(name, value, minimum=minimum)

    return _field(check, default=default, minimum=minimum)


def _real(*, default: float | None = None, **bounds: float) -> Any:
    def check(name: str, value: Any) -> float:
        return real(name, value, **bounds)

    return _field(check, default=default, bounds=bounds)


def _switch(*, default: bool | None = None) -> Any:
    def check(name: str, value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError(
                f"Argument `{name}` must be True or False, but is {value!r}."
            )
        return bool(value)

    return _field(check, default=default, switch=True)


def _name() -> Any:
    return _field(_checked_name)


def _choice(*words: str, default: str | None = None) -> Any:
    def check(name: str, value: Any) -> str:
        return choice(name, _checked_name(name, value), words)

    return _field(check, default=default, words=words)


def _choice_or_function(*words: str, default: str) -> Any:
    def check(name: str, value: Any) -> Any:
        if callable(value):
            return value
        if not isinstance(value, str):
            raise TypeError(
                f"Argument `{name}` must be a name, a {name.capitalize()} or a "
                f"function, but is {value!r}."
            )
        return choice(name, value, words)

    return _field(check, default=default, words=words, function=True)


def _secret() -> Any:
    def check(name: str, value: Any) -> Secret:
        del name
        return value if isinstance(value, Secret) else Secret(value)

    return _field(check)


def _checked_name(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"Argument `{name}` must be a name, but is {value!r}.")
    return value


def _backend_name(name: str, value: Any) -> str:
    return "mock_ideal" if value == "mock" else _checked_name(name, value)


def _class_weight(name: str, value: Any) -> Any:
    if value == "balanced":
        return value
    return _by_integer(name, value, lambda weight: real(name, weight, above=0.0))


def _freeze_schedule(name: str, value: Any) -> dict[int, list[int]]:
    def indices(given: Any) -> list[int]:
        return [integer(name, index, minimum=0) for index in given]

    return _by_integer(name, value, indices)


def _directory(name: str, value: Any) -> str:
    del name
    return str(Path(value).expanduser())


def _by_integer(name: str, value: Any, check: Callable[[Any], Any]) -> dict[int, Any]:
    """A dict with integer keys; TOML and JSON have only words for keys."""
    if not isinstance(value, Mapping):
        raise TypeError(f"Argument `{name}` must be a dict, but is {value!r}.")
    found = {}
    for key, item in value.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        found[integer(name, number, minimum=0)] = check(item)
    return found


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

    # training
    learning_rate: float | None = _real(default=0.01, above=0.0)
    epochs: int | None = _integer(default=10)
    batch_size: int | None = _integer(default=32)
    loss: str | Callable[[Any, Any], Any] | None = _choice_or_function(
        "mse", "cross_entropy", "binary", "hinge", default="mse"
    )
    class_weight: str | Mapping[int, float] | None = _field(_class_weight)
    shuffle: bool | None = _switch(default=True)
    accumulation_steps: int | None = _integer(default=1)
    seed: int | None = _integer(minimum=0)
    # optimizer
    optimizer: str | None = _choice(
        *("adam", "adamw", "sgd", "momentum", "nesterov", "rmsprop"),
        "natural_gradient",
        default="adam",
    )
    momentum: float | None = _real(minimum=0.0, below=1.0)
    weight_decay: float | None = _real(minimum=0.0)
    damping: float | None = _real(minimum=0.0)
    metric_tensor: str | None = _choice(
        *("fubini-study", "noiseless", "bures", "gauss-newton"),
        default="fubini-study",
    )
    metric_tensor_approximation: str | None = _choice(
        "full", "block-diag", "diag", "matrix-free", default="full"
    )
    schedule: str | Callable[[int], float] | None = _choice_or_function(
        "constant", "cosine", "step", default="constant"
    )
    schedule_epochs: int | None = _integer()
    schedule_every: int | None = _integer(default=10)
    schedule_factor: float | None = _real(default=0.1, above=0.0, below=1.0)
    schedule_final: float | None = _real(default=0.0, minimum=0.0)
    warmup_epochs: int | None = _integer()
    freeze_schedule: Mapping[int, Sequence[int]] | None = _field(_freeze_schedule)
    # gradients
    gradient_method: str | None = _choice(
        *("best", "adjoint", "parameter_shift", "finite_diff", "spsa"),
        "random_subset",
        default="best",
    )
    gradient_epsilon: float | None = _real(above=0.0)
    gradient_directions: int | None = _integer()
    gradient_sample_size: int | None = _integer()
    gradient_clip_value: float | None = _real(above=0.0)
    gradient_clip_norm: float | None = _real(above=0.0)
    use_gradient_clipping: bool | None = _switch()
    track_gradients: bool | None = _switch(default=True)
    on_nan: str | None = _choice("raise", "skip", "rollback", default="raise")
    # validation and early stopping
    validation_split: float | None = _real(above=0.0, below=1.0)
    validation_interval: int | None = _integer(default=1)
    monitor: str | None = _name()
    monitor_mode: str | None = _choice("min", "max")
    min_delta: float | None = _real(default=0.0, minimum=0.0)
    patience: int | None = _integer()
    restore_best: bool | None = _switch(default=True)
    # model and backend
    n_qubits: int | None = _integer()
    circuit_depth: int | None = _integer()
    entanglement: str | None = _choice("linear", "circular", "full")
    quantum_sdk: str | None = _field(_backend_name, default="mock_ideal")
    quantum_target: str | None = _name()
    quantum_api_key: str | Secret | None = _secret()
    max_concurrent_circuits: int | None = _integer()
    shots: int | None = _integer()
    shots_per_circuit: int | None = _integer()
    # files and messages
    checkpoint_directory: str | PathLike[str] | None = _field(_directory)
    checkpoint_interval: int | None = _integer()
    checkpoint_keep: int | None = _integer(default=3)
    on_interrupt: str | None = _choice("return", "raise", default="return")
    log_interval: int | None = _integer()
    progress: bool | None = _switch(default=False)
    strict_callbacks: bool | None = _switch(default=False)
    pinecone_api_key: str | Secret | None = _secret()
    pinecone_environment: str | None = _name()
    pinecone_index_name: str | None = _name()

    def __setattr__(self, name: str, value: Any) -> None:
        """Check and set a field; None unsets it."""
        if name not in DEFAULTS:
            _unknown(name)
        kept = None if value is None else _CHECKS[name](name, value)
        object.__setattr__(self, name, kept)

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


def _column(key: str) -> dict[str, Any]:
    """This entry of every row that has it, by the name of the field."""
    fields = dataclasses.fields(TrainingConfig)
    return {f.name: f.metadata[key] for f in fields if key in f.metadata}


DEFAULTS: dict[str, Any] = _column("default")
"""What a run takes for fields that are not set; None is off, exact, or a fresh seed."""

CHOICES: dict[str, tuple[str, ...]] = _column("words")
"""The words of each field that takes one of a few."""

_CHECKS: dict[str, Check] = _column("check")
_FUNCTIONS = tuple(_column("function"))  # fields that may be a function

# Ranges, which the reference table of the documentation shows.
_INTEGERS: dict[str, int] = _column("minimum")
_REALS: dict[str, dict[str, float]] = _column("bounds")
_SWITCHES = frozenset(_column("switch"))


def _unknown(name: str) -> NoReturn:
    raise AttributeError(
        f"TrainingConfig has no field {name!r}; its fields are {', '.join(DEFAULTS)}."
    )


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
