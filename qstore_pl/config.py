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

from qstore_pl._checks import boolean, choice, integer, real
from qstore_pl._secrets import Secret

ADAPTIVE = "adaptive"  # shots that follow the gradient

Check = Callable[[str, Any], Any]  # from a field's name and a value to what is kept

# --- one constructor for each kind of field ---------------------------------------
# They return Any, so that type checkers take the annotation of the field.


def _field(check: Check, *, default: Any = None, **known: Any) -> Any:
    """A field that is not set at first.

    Args:
        check: Returns the value to keep, or raises an error that names the field.
        default: What a run takes where the field is not set. None means off, exact, or
            a fresh seed.
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
    return _field(boolean, default=default, switch=True)


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


def _backend_shares(name: str, value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise TypeError(f"Argument `{name}` must be a dict, but is {value!r}.")
    found = {
        _backend_name(name, key): real(name, share, above=0.0)
        for key, share in value.items()
    }
    if len(found) < max(2, len(value)):
        raise ValueError(
            f"Argument `{name}` must name at least two backends, each once, but is "
            f"{value!r}. Set quantum_sdk for a single one."
        )
    return found


def _class_weight(name: str, value: Any) -> Any:
    if value == "balanced":
        return value
    return _by_integer(name, value, lambda weight: real(name, weight, above=0.0))


def _shots(name: str, value: Any) -> int | str:
    if isinstance(value, str):
        return choice(name, value, (ADAPTIVE,))
    return integer(name, value, minimum=1)


def _freeze_schedule(name: str, value: Any) -> dict[int, list[int]]:
    def indices(given: Any) -> list[int]:
        return [integer(name, index, minimum=0) for index in given]

    return _by_integer(name, value, indices)


def _directory(name: str, value: Any) -> str:
    del name
    return str(Path(value).expanduser())


def _by_integer(name: str, value: Any, check: Callable[[Any], Any]) -> dict[int, Any]:
    """A dict with integer keys, which may be given as strings, as TOML and JSON do."""
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
        epochs: Number of passes over the training data, >= 1. A resumed run counts the
            epochs that it did before.
        batch_size: Samples per gradient, >= 1.
        loss: What is minimised: the name of a loss, a ``Loss``, or a function of
            (predictions, targets).
        class_weight: Factors that multiply the loss of each class: a dict from class
            label to factor, > 0, or ``"balanced"``, which lets every class count the
            same.
        shuffle: Whether the samples are put into a new random order before every epoch.
        accumulation_steps: Number of batches, >= 1, whose gradients are averaged for
            one update of the parameters.
        seed: Seed of all random draws of the run, >= 0, except those of a device that
            you made yourself. Unset, every run takes a fresh seed.
        optimizer: Name of the optimizer: ``"adam"``, ``"adamw"``, ``"sgd"``,
            ``"momentum"``, ``"nesterov"``, ``"rmsprop"`` or ``"natural_gradient"``.
        momentum: Decay of the velocity in each step, in [0, 1), for the optimizers
            ``"sgd"``, ``"momentum"``, ``"nesterov"`` and ``"natural_gradient"``.
        weight_decay: Strength of the weight decay, >= 0. It is the rate at which
            ``"adamw"`` shrinks the parameters; the other optimizers add this multiple
            of the parameters to the gradient, and ``"natural_gradient"`` has none.
        damping: Multiple of the identity, >= 0, that ``"natural_gradient"`` adds to the
            metric tensor before it solves with it.
        metric_tensor: Metric tensor of ``"natural_gradient"``: ``"fubini-study"`` of
            pure states, ``"noiseless"`` of the same circuit simulated without noise,
            ``"bures"`` of density matrices; or in its place ``"gauss-newton"``, the
            Gauss-Newton matrix of the losses "mse", "cross_entropy" and "binary".
        metric_tensor_approximation: Which entries of the metric tensor are computed:
            all (``"full"``), those within each layer of gates (``"block-diag"``), or
            those of each gate alone (``"diag"``). ``"matrix-free"`` computes products
            with vectors instead of entries, for many weights.
        schedule: Learning rate of each epoch: ``"constant"``; ``"cosine"``, which falls
            along half a cosine; ``"step"``, which falls by a factor every few epochs; a
            ``Schedule`` of :mod:`qstore_pl.optimizers`; or a function from the number
            of the epoch, counted from 0, to the learning rate.
        schedule_epochs: Length of the ``"cosine"`` schedule in epochs, >= 1, with its
            warm-up. Unset, it is the number of epochs of the run. If you may prolong a
            run later, set it to the final number of epochs from the beginning.
        schedule_every: Number of epochs, >= 1, after which the ``"step"`` schedule
            lowers the learning rate, again and again.
        schedule_factor: Factor, in (0, 1), by which the ``"step"`` schedule multiplies
            the learning rate each time.
        schedule_final: Learning rate, >= 0, at which the ``"cosine"`` schedule ends.
        warmup_epochs: Number of first epochs, >= 1, in which the learning rate rises
            linearly. Unset, there is no warm-up.
        freeze_schedule: Dict from an epoch, counted from 0, to the indices of the
            circuit weights that are frozen from this epoch on; all other weights are
            trained from this epoch on.
        gradient_method: How gradients are estimated: ``"adjoint"``,
            ``"parameter_shift"``, ``"finite_diff"``, ``"spsa"``, ``"random_subset"``,
            or ``"best"``, which is adjoint on the devices of this package without
            shots, else parameter shift.
        gradient_epsilon: Step of the gradient methods ``"finite_diff"`` and ``"spsa"``
            in radians, > 0. Unset, it is chosen for the number of shots.
        gradient_directions: Number of random directions, >= 1, over which the gradient
            method ``"spsa"`` averages.
        gradient_sample_size: Number of weights, >= 1, that the gradient method
            ``"random_subset"`` draws for each gradient.
        gradient_clip_value: Largest absolute value of a gradient entry, > 0; a larger
            entry is cut to it.
        gradient_clip_norm: Largest Euclidean norm of the gradient, > 0; a longer
            gradient is scaled down to it, after its entries were cut.
        use_gradient_clipping: Whether gradients are clipped. True requires
            ``gradient_clip_value`` or ``gradient_clip_norm``, False forbids both;
            unset, they decide.
        track_gradients: Whether the history records the norm of the gradient.
        on_nan: What happens when a loss or a gradient is not finite: ``"raise"`` ends
            the run with an error, ``"skip"`` leaves out the batch, ``"rollback"``
            returns to the parameters at the end of the last epoch.
        validation_split: Share of the samples, in (0, 1), that is held out for
            validation where :meth:`QuantumTrainer.train` gets no ``val_data``. The
            samples are drawn with ``seed``, or with 0 where it is unset, and have the
            same share of every class.
        validation_interval: Number of epochs, >= 1, from one validation to the next.
        monitor: Column of the history by which epochs are compared to find the best.
            Unset, it is ``"val_loss"``, or ``"loss"`` without validation.
        monitor_mode: Whether the smallest (``"min"``) or the largest value (``"max"``)
            of the monitored column is the best. It is known for losses and accuracies,
            and must be set for any other column.
        min_delta: Difference, >= 0, by which the monitored value must improve on the
            best one so far in order to count as better.
        patience: Number of successive epochs, >= 1, without a better monitored value
            after which the run stops; epochs in which it was not measured do not count.
            Unset, a run never stops early.
        restore_best: Whether a run that has ``patience`` ends with the parameters of
            its best epoch.
        n_qubits: Number of qubits that the model must have, >= 1.
        circuit_depth: Number of layers of rotations and CNOTs that the model must
            have, >= 1.
        entanglement: Entanglement that the layers of the model must have:
            ``"linear"``, ``"circular"``, ``"full"`` or ``"none"``.
        quantum_sdk: Name of the backend on which a model runs that has none of its own;
            ``"mock"`` is another name of ``"mock_ideal"``, and ``"ionq"`` of
            ``"ionq_simulator"``.
        backend_shares: Dict from the names of at least two backends to shares, > 0, of
            the samples of every mini-batch that each of them runs, in proportion to
            the others. It goes with models that have no backend of their own, and
            without ``quantum_sdk``.
        quantum_target: Name of the machine, for backends that have the option
            ``machine``; another backend refuses it.
        quantum_api_key: Key, or ``"env:NAME"`` for the environment variable that has
            it, for backends that have the option ``api_key``; another backend refuses
            it.
        max_concurrent_circuits: Number of jobs, >= 1, that may be at work at the same
            time, for backends that have the option ``max_concurrent``; another backend
            refuses it.
        shots: Measurements per circuit, >= 1. Unset, the shots of the device hold; the
            devices of this package are exact unless they are given some.
            ``"adaptive"`` chooses them for each weight and each step, from the
            gradients and variances measured so far, within ``shots_budget``: see
            :class:`qstore_pl.gradients.AdaptiveShift`. It goes with the gradient
            method ``"parameter_shift"``.
        shots_budget: Most shots of all circuits of one gradient together, >= 1, where
            ``shots`` is ``"adaptive"``.
        shots_per_circuit: Another name of ``shots``; only one of the two may be set.
        max_cost: Most US dollars that the run may cost, > 0, those of the run that it
            resumes included. The run ends before the step that would exceed them.
        max_circuits: Most circuits that the run may take, >= 1, counted like
            ``max_cost``.
        max_shots: Most shots of all circuits of the run together, >= 1, counted like
            ``max_cost``.
        on_budget: What happens when one of these limits has ended a run and its
            checkpoint is written: ``"return"`` returns the history, ``"raise"`` raises
            a BudgetError.
        checkpoint_directory: Directory into which checkpoints are written; a leading
            ``~`` is the home directory. Unset, no files are written.
        checkpoint_interval: Number of epochs, >= 1, from one checkpoint to the next.
            Unset, they are written as often as takes at most 5 % of the time of the
            run.
        checkpoint_keep: Number of latest checkpoints that are kept, >= 1; that of the
            best epoch is kept besides.
        on_interrupt: What happens when SIGINT (Ctrl-C) or SIGTERM has ended a run and
            its checkpoint is written: ``"return"`` returns the history, ``"raise"``
            does what the signal does without us, ``KeyboardInterrupt`` for Ctrl-C.
        log_interval: Number of epochs, >= 1, from one line of the log to the next.
            Unset, nothing is logged. Where logging is not set up, the lines go to
            stderr.
        progress: Whether a progress bar with the loss is shown. Unset, one is shown
            where a person is watching, which is in a terminal or a notebook, unless
            there is a ``log_interval``.
        strict_callbacks: Whether an error in a callback ends the run instead of being
            logged.
        store_directory: Directory of an embedded vector store (LanceDB). A run writes
            its checkpoints and the embeddings of its training samples there, where they
            can be searched.
        store_samples: Number of training samples, from the first, whose embeddings a
            run writes to its vector store, >= 0.
        pinecone_api_key: Key for Pinecone, or ``"env:NAME"`` for the environment
            variable that has it. The vector store is then there instead of in a
            directory.
        pinecone_environment: Where a new index of Pinecone is made: a region, as
            ``"us-east-1"``, or region and cloud, as ``"us-central1-gcp"``.
        pinecone_index_name: Name of the index of Pinecone that has the embeddings;
            that of the checkpoints has the suffix ``-checkpoints``.

    Raises:
        TypeError: If a value is of the wrong kind.
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
    entanglement: str | None = _choice("linear", "circular", "full", "none")
    quantum_sdk: str | None = _field(_backend_name, default="mock_ideal")
    backend_shares: Mapping[str, float] | None = _field(_backend_shares)
    quantum_target: str | None = _name()
    quantum_api_key: str | Secret | None = _secret()
    max_concurrent_circuits: int | None = _integer()
    shots: int | str | None = _field(_shots, minimum=1)
    shots_budget: int | None = _integer()
    shots_per_circuit: int | None = _integer()
    max_cost: float | None = _real(above=0.0)
    max_circuits: int | None = _integer()
    max_shots: int | None = _integer()
    on_budget: str | None = _choice("return", "raise", default="return")
    # files and messages
    checkpoint_directory: str | PathLike[str] | None = _field(_directory)
    checkpoint_interval: int | None = _integer()
    checkpoint_keep: int | None = _integer(default=3)
    on_interrupt: str | None = _choice("return", "raise", default="return")
    log_interval: int | None = _integer()
    progress: bool | None = _switch()
    strict_callbacks: bool | None = _switch(default=False)
    # vector store
    store_directory: str | PathLike[str] | None = _field(_directory)
    store_samples: int | None = _integer(default=1000, minimum=0)
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
        """The fields that are set, as strings and numbers that JSON can hold.

        A function is replaced by its name. A secret is ``"env:NAME"`` if it was given
        in this form, and is left out otherwise.
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
        """The fields that are set, as TOML that :meth:`from_toml` reads.

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
            ValueError: If the text is not TOML, or a value is out of its range.
            TypeError: If a value is of the wrong kind, or a field is unknown.
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
"""What a run takes for each field that is not set.

None means off, exact, or a fresh seed.
"""

CHOICES: dict[str, tuple[str, ...]] = _column("words")
"""The allowed words of each field that takes one of a few."""

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
    """A value as TOML. Strings are written as in JSON, which TOML can read."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | list):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value)
    items = ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items())
    return f"{{{items}}}"
