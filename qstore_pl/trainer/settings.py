"""What a configuration means for a run. A setting that it would ignore is an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qstore_pl import devices
from qstore_pl._checks import choice
from qstore_pl.backends import CONFIGURED, Backend, MachineDevice
from qstore_pl.config import ADAPTIVE, TrainingConfig
from qstore_pl.gradients import (
    APPROXIMATIONS,
    METRICS,
    OPTIONS,
)
from qstore_pl.history import History
from qstore_pl.layers import QuantumLayer
from qstore_pl.losses import Loss
from qstore_pl.model import QuantumModel
from qstore_pl.optimizers import (
    ByFunction,
    Constant,
    Cosine,
    Schedule,
    StepDecay,
    WarmUp,
)
from qstore_pl.placed import Placed
from qstore_pl.trainer.data import are_arrays
from qstore_pl.trainer.scores import Metrics, NamedScore
from qstore_pl.trainer.trainable import Trainable

STORES = {"pinecone_api_key", "store_directory"}
A_STORE = "a vector store (store_directory, pinecone_api_key)"
LIMITS = {"max_cost", "max_circuits", "max_shots"}
MODEL_FIELDS = ("n_qubits", "circuit_depth", "entanglement")
METHOD_FIELDS = {  # field of the configuration -> option of the gradient method
    "gradient_epsilon": "epsilon",
    "gradient_directions": "n_directions",
    "gradient_sample_size": "sample_size",
}

DIRECTIONS = {  # column of the history -> which of its values is the best
    **dict.fromkeys(("loss", "val_loss"), "min"),
    **dict.fromkeys(("accuracy", "val_accuracy"), "max"),
}


def check_settings(config: TrainingConfig, *, natural: bool) -> None:
    """Refuse unknown names, and settings that every run would ignore.

    Args:
        config: The configuration.
        natural: Whether the optimizer is the natural gradient.

    Raises:
        ValueError: If there is such a name or setting.
    """
    _check_dependent(config)
    _check_method(config)
    _check_metric(config, natural=natural)


def _check_dependent(config: TrainingConfig) -> None:
    """Refuse settings that have no meaning without another setting."""
    given = config.set_fields()
    if callable(config.schedule) and "learning_rate" in given:
        raise ValueError(
            "Configuration learning_rate must be unset where the schedule is a "
            "function, which gives the rate of every epoch."
        )
    stored = bool(given & STORES)
    saved = "checkpoint_directory" in given or stored
    watched = "patience" in given or saved
    needed: dict[str, tuple[bool, str]] = {
        "schedule_epochs": (config.schedule == "cosine", 'schedule="cosine"'),
        "schedule_every": (config.schedule == "step", 'schedule="step"'),
        "schedule_factor": (config.schedule == "step", 'schedule="step"'),
        "schedule_final": (config.schedule == "cosine", 'schedule="cosine"'),
        "shots_budget": (config.shots == ADAPTIVE, 'shots="adaptive"'),
        "restore_best": ("patience" in given, "patience"),
        "on_budget": (bool(given & LIMITS), "max_cost, max_circuits or max_shots"),
        **dict.fromkeys(
            ("monitor", "monitor_mode", "min_delta"),
            (watched, f"patience, checkpoint_directory or {A_STORE}"),
        ),
        "checkpoint_interval": (saved, f"checkpoint_directory or {A_STORE}"),
        "checkpoint_keep": ("checkpoint_directory" in given, "checkpoint_directory"),
        "store_samples": (stored, A_STORE),
    }
    for name in ("pinecone_environment", "pinecone_index_name"):
        needed[name] = ("pinecone_api_key" in given, "pinecone_api_key")
    for name, (is_used, other) in needed.items():
        if name in given and not is_used:
            raise ValueError(
                f"Configuration {name} must be unset without {other}, since it "
                "would be ignored."
            )
    if config.shots == ADAPTIVE and config.shots_budget is None:
        raise ValueError(
            'Configuration shots_budget must be set for shots="adaptive": the most '
            "shots of all circuits of one gradient together."
        )
    if given >= {"shots", "shots_per_circuit"}:
        raise ValueError(
            "Configuration shots_per_circuit must be unset where shots is set, which "
            "means the same."
        )
    if given >= {"pinecone_api_key", "store_directory"}:
        raise ValueError(
            "Configuration store_directory must be unset where pinecone_api_key is "
            "set: the vector store is Pinecone then."
        )
    if given >= {"backend_shares", "quantum_sdk"}:
        raise ValueError(
            "Configuration quantum_sdk must be unset where backend_shares names the "
            "backends, since it would be ignored."
        )
    limits = given & {"gradient_clip_value", "gradient_clip_norm"}
    clips = config.use_gradient_clipping
    if clips is not None and clips != bool(limits):
        raise ValueError(
            f"Configuration use_gradient_clipping={clips} must come "
            + (
                "with gradient_clip_value or gradient_clip_norm."
                if clips
                else f"without {', '.join(sorted(limits))}."
            )
        )


def _check_method(config: TrainingConfig) -> None:
    method = choice("gradient_method", config.resolve("gradient_method"), OPTIONS)
    for field, option in METHOD_FIELDS.items():
        if getattr(config, field) is not None and option not in OPTIONS[method]:
            raise ValueError(
                f"Configuration {field} must be unset for the gradient method "
                f'"{method}", which would ignore it.'
            )
    if config.shots == ADAPTIVE and method not in ("best", "parameter_shift"):
        raise ValueError(
            'Configuration gradient_method must be "parameter_shift" or unset for '
            f'shots="adaptive", but is "{method}".'
        )
    if method == "random_subset" and config.gradient_sample_size is None:
        raise ValueError(
            "Configuration gradient_sample_size must be set for the gradient "
            'method "random_subset": how many weights each gradient draws.'
        )


def _check_metric(config: TrainingConfig, *, natural: bool) -> None:
    choice("metric_tensor", config.resolve("metric_tensor"), (*METRICS, "gauss-newton"))
    approximation = config.resolve("metric_tensor_approximation")
    choice("metric_tensor_approximation", approximation, APPROXIMATIONS)
    ignored = config.set_fields() & {"metric_tensor", "metric_tensor_approximation"}
    if ignored and not natural:
        raise ValueError(
            f"Configuration {', '.join(sorted(ignored))} must be unset unless the "
            'optimizer is "natural_gradient".'
        )


def check_executed(config: TrainingConfig, placed: Placed | None = None) -> None:
    """Refuse what an executor cannot do.

    Args:
        config: The configuration.
        placed: The model on its backend, where it is known.

    Raises:
        ValueError: If there is such a setting, or such a backend.
    """
    reasons = {
        "backend_shares": "every worker has the one backend of the model",
        **dict.fromkeys(LIMITS, "circuits of its workers are counted after they ran"),
    }
    for name in sorted(config.set_fields() & reasons.keys()):
        raise ValueError(
            f"Configuration {name} must be unset with an executor, where "
            f"{reasons[name]}."
        )
    if config.shots == ADAPTIVE:
        raise ValueError(
            'Configuration shots must be a number or unset with an executor: "adaptive"'
            " chooses them from averages over the samples of all workers."
        )
    if placed is None:
        return
    device, name = placed.device, placed.backend.name
    is_machine = isinstance(device, MachineDevice)
    if is_machine:
        raise ValueError(
            f"Argument `executor` must be None for backend `{name}`, to which a "
            "mini-batch goes as a whole, with every circuit that it needs. Where it "
            "takes several jobs at a time, set max_concurrent_circuits."
        )
    shots = config.shots or config.shots_per_circuit or device.shots
    if shots and not devices.is_ours(device):
        raise ValueError(
            f"Argument `executor` must be None for shots on backend `{name}`, whose "
            "random draws cannot be repeated on another worker. Use a device of this "
            "package, or no shots."
        )


def check_schedule(config: TrainingConfig, epochs: int) -> None:
    """Refuse a schedule whose length does not suit the run.

    Args:
        config: The configuration.
        epochs: Total number of epochs of the run.

    Raises:
        ValueError: If the schedule ends within its warm-up, or the learning rate is 0
            before the run ends.
    """
    length, warm = config.schedule_epochs, config.warmup_epochs or 0
    if length is None:
        return
    if length <= warm:
        raise ValueError(
            f"Configuration schedule_epochs must be > warmup_epochs={warm}, which are "
            f"among them, but is {length}."
        )
    if epochs > length and config.resolve("schedule_final") == 0:
        raise ValueError(
            f"Configuration schedule_epochs must be >= {epochs}, the run's epochs, "
            f"but is {length}: the learning rate would be 0 from then on. Give a "
            "schedule_final > 0 to stay at."
        )


def check_run(config: TrainingConfig, *, validated: bool) -> None:
    """Refuse settings that this run would ignore.

    Args:
        config: The configuration.
        validated: Whether the run has validation data.

    Raises:
        ValueError: If there is such a setting.
    """
    if config.validation_interval is not None and not validated:
        raise ValueError(
            "Configuration validation_interval must be unset without `val_data` or "
            "validation_split, since it would be ignored."
        )


def check_backends(config: TrainingConfig, backends: Sequence[Backend]) -> None:
    """Refuse settings of hardware that none of the backends was made with.

    Args:
        config: The configuration.
        backends: The backends of the run.

    Raises:
        ValueError: If there is such a setting.
    """
    ignored = [
        field
        for field, option in CONFIGURED.items()
        if getattr(config, field) is not None
        and all(b.options.get(option) != getattr(config, field) for b in backends)
    ]
    if ignored:
        names = ", ".join(backend.name for backend in backends)
        raise ValueError(
            f"Configuration {', '.join(sorted(ignored))} must be unset: {names} would "
            "ignore it. Backends that have such an option take it from the "
            "configuration of the BackendManager that makes them."
        )


def check_model(config: TrainingConfig, model: Trainable) -> None:
    """Refuse a model that is not as the configuration says.

    Raises:
        ValueError: If the model has another number of qubits or layers, or another
            entanglement.
    """
    theirs: dict[str, set[Any]] = {name: set() for name in MODEL_FIELDS}
    if isinstance(model, QuantumModel):
        layers = [part for part in model.layers if isinstance(part, QuantumLayer)]
        theirs = {
            "n_qubits": {model.n_qubits},
            "circuit_depth": {sum(layer.n_layers for layer in layers)},
            "entanglement": {layer.entanglement for layer in layers},
        }
    for name, own in theirs.items():
        wanted = getattr(config, name)
        if wanted is not None and own != {wanted}:
            listed = " and ".join(map(str, sorted(own))) or "none"
            raise ValueError(
                f"Configuration {name} must equal the model's {listed}, but is "
                f"{wanted}."
            )


def check_not_frozen(config: TrainingConfig, model: Trainable) -> None:
    """Refuse a model with nothing to train.

    Raises:
        ValueError: If all parameters are frozen, and no schedule changes that.
    """
    if config.freeze_schedule is None and not model.trainable.any():
        raise ValueError(
            "Argument `model` must have a parameter to train, but all are frozen. See "
            "model.trainable and unfreeze_parameters() of its layers."
        )


def check_monitor(
    config: TrainingConfig,
    history: History,
    loss: Loss,
    metrics: Metrics,
    *,
    validated: bool,
) -> None:
    """Refuse a monitored column that is not measured, or whose mode is unclear.

    Args:
        config: The configuration.
        history: The empty history of the run, with its columns.
        loss: The loss of the run.
        metrics: The metrics of the run, by name.
        validated: Whether the run has validation data.

    Raises:
        ValueError: If the run does not measure the column, ``monitor_mode`` is needed
            but unset, or it contradicts what is known of the column.
    """
    unknown = {"epoch", "time"}
    if not config.resolve("track_gradients"):
        unknown |= {"gradient_norm"}
    if not loss.is_classification:
        unknown |= {"accuracy", "val_accuracy"}
    columns = [
        name
        for name in history.columns
        if name not in unknown and (validated or not name.startswith("val_"))
    ]
    monitor = monitor_of(config, validated=validated)
    if monitor not in columns:
        raise ValueError(
            "Configuration monitor must be a column of the history that is "
            f"measured, {', '.join(columns)}, but is {monitor!r}."
        )
    mode, known = config.monitor_mode, _known_direction(monitor, metrics)
    if mode is None and known is None:
        raise ValueError(
            'Configuration monitor_mode must be "min" or "max" for '
            f"monitor={monitor!r}, of which it is not known which value is best, but "
            "is unset."
        )
    if known is not None and mode not in (None, known):
        raise ValueError(
            f'Configuration monitor_mode must be "{known}" or unset for '
            f"monitor={monitor!r}, but is {mode!r}. To watch it the other way, record "
            "it as a metric of your own."
        )


def monitor_of(config: TrainingConfig, *, validated: bool) -> str:
    """The column of the history by which epochs are compared."""
    return str(config.monitor or ("val_loss" if validated else "loss"))


def direction_of(config: TrainingConfig, monitor: str, metrics: Metrics) -> str:
    """Whether the smallest (``"min"``) or the largest value (``"max"``) is the best."""
    mode = config.monitor_mode or _known_direction(monitor, metrics)
    assert mode is not None  # `check_monitor` has asked for it
    return mode


def _known_direction(monitor: str, metrics: Metrics) -> str | None:
    score = metrics.get(monitor.removeprefix("val_"))
    if isinstance(score, NamedScore):
        return score.mode
    return DIRECTIONS.get(monitor)


def schedule_length(config: TrainingConfig, epochs: int) -> int | None:
    """Length of the schedule in epochs; None if it has no end.

    Args:
        config: The configuration.
        epochs: Total number of epochs of the run.
    """
    if config.resolve("schedule") != "cosine":
        return None
    return config.schedule_epochs or epochs


def schedule_of(config: TrainingConfig, rate: float, epochs: int) -> Schedule:
    """The learning rate of each epoch, as the configuration says.

    Args:
        config: The configuration.
        rate: Learning rate of the optimizer, > 0.
        epochs: Total number of epochs of the run.
    """
    length = schedule_length(config, epochs)
    warm = config.warmup_epochs or 0
    name = config.resolve("schedule")
    schedule: Schedule = Constant(rate)
    if callable(name):
        schedule = name if isinstance(name, Schedule) else ByFunction(name)
    elif length is not None:
        schedule = Cosine(
            rate,
            n_steps=max(1, length - warm),
            final=config.resolve("schedule_final"),
        )
    elif name == "step":
        schedule = StepDecay(
            rate,
            every=config.resolve("schedule_every"),
            factor=config.resolve("schedule_factor"),
        )
    return WarmUp(schedule, n_steps=warm) if warm else schedule


def class_weights(
    wanted: Any, data: Any, model: Trainable, loss: Loss
) -> dict[int, float]:
    """The weight of each class, by label.

    Args:
        wanted: A dict from label to weight, or ``"balanced"``, which lets all classes
            count the same.
        data: The training data, whose labels are counted.
        model: The model, for its number of outputs.
        loss: The loss, for the classes of its targets.
    """
    if loss.labels is None:
        return {}  # with_class_weight() of this loss raises an error
    n_classes = max(2, model.output_dim)
    if wanted != "balanced":
        if unknown := [label for label in wanted if label >= n_classes]:
            raise ValueError(
                f"Configuration class_weight must have labels from 0 to "
                f"{n_classes - 1}, but has {unknown}."
            )
        return dict(wanted)
    if not are_arrays(data):
        raise ValueError(
            'Configuration class_weight="balanced" must come with a tuple (X, y), '
            "whose labels can be counted. Give a dict for batches."
        )
    prepared = loss.prepare_targets(data[1], model.output_dim, len(data[1]))
    labels, counts = np.unique(loss.labels(prepared), return_counts=True)
    return {
        int(label): counts.sum() / (len(labels) * count)
        for label, count in zip(labels, counts, strict=True)
    }
