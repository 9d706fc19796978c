"""The trainer: settings, data and a model in, history out.

Everything a run draws comes from one seed. On our own devices a step is two kernel
calls on arrays; on any other device it is tapes through PennyLane. The trainer knows no
store and prints nothing but a progress bar, if asked.
"""

from __future__ import annotations

import copy
import logging
import platform
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from qstore_pl import checkpoint as files
from qstore_pl import devices
from qstore_pl._checks import choice, integer
from qstore_pl.backends import BackendManager
from qstore_pl.callbacks import Callback
from qstore_pl.config import TrainingConfig
from qstore_pl.errors import CheckpointError
from qstore_pl.gradients import (
    APPROXIMATIONS,
    METRICS,
    OPTIONS,
    ModelExpectations,
    Run,
    run_of,
)
from qstore_pl.history import History
from qstore_pl.losses import Loss, get_loss
from qstore_pl.model import QuantumModel
from qstore_pl.optimizers import (
    Constant,
    Cosine,
    NaturalGradient,
    Optimizer,
    Schedule,
    StepDecay,
    WarmUp,
    get_optimizer,
)
from qstore_pl.trainer.data import Source, source_of
from qstore_pl.trainer.interrupts import Interrupts
from qstore_pl.trainer.loop import Loop, Metrics, monitor_of
from qstore_pl.trainer.run_directory import RunDirectory, latest_in
from qstore_pl.trainer.state import Gathered, Totals, TrainState
from qstore_pl.trainer.step import Step

RUN_VERSION = 1
RUN_KEYS = {
    *("version", "model", "optimizer", "run", "device", "device_generator"),
    *("data", "config", "environment"),
}
RESUMABLE = {  # settings that may change between a run and its continuation
    *("epochs", "progress", "log_interval", "strict_callbacks"),
    *("checkpoint_directory", "checkpoint_interval", "checkpoint_keep"),
    *("pinecone_api_key", "pinecone_environment", "pinecone_index_name"),
}
HARDWARE_FIELDS = {"quantum_target", "quantum_api_key", "max_concurrent_circuits"}
STORE_FIELDS = {"pinecone_api_key", "pinecone_environment", "pinecone_index_name"}
OPTIMIZER_FIELDS = {"optimizer", "learning_rate", "momentum", "weight_decay", "damping"}
METHOD_FIELDS = {  # of the configuration, and what gradient methods call them
    "gradient_epsilon": "epsilon",
    "gradient_directions": "n_directions",
    "gradient_sample_size": "sample_size",
}

_log = logging.getLogger(__name__)


class QuantumTrainer:
    """Trains models on data.

    Args:
        config: Settings of the run; unset fields take their defaults.
        backend_manager: Where ``config.quantum_sdk`` is looked up.
        optimizer: Instead of the configuration's; each :meth:`train` begins afresh with
            a copy of it.
        metrics: Functions of (predictions, prepared targets) to record, by name.

    Attributes:
        optimizer: The optimizer of the last :meth:`train`, None before.
        history: Of the last :meth:`train`, also of one that failed.
        stopped: Why it ended before its last epoch; empty if it did not.

    Raises:
        ValueError: If a setting names nothing known, or would be ignored.

    Example:
        >>> from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1, 1, (40, 2))
        >>> y = np.sign(X[:, 0])
        >>> config = TrainingConfig(epochs=20, batch_size=10, learning_rate=0.1, seed=0)
        >>> history = QuantumTrainer(config).train(QuantumModel(2, 1, seed=0), (X, y))
        >>> history["losses"][-1] < 0.5 * history["losses"][0]
        True
    """

    def __init__(
        self,
        config: TrainingConfig | None = None,
        backend_manager: BackendManager | None = None,
        *,
        optimizer: Optimizer | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(
                "Argument `optimizer` must be an Optimizer, but is of type "
                f"{type(optimizer).__name__}. Names belong in the configuration."
            )
        self._given = optimizer
        self._metrics = {} if metrics is None else dict(metrics)
        self.history = History(self._metrics)
        self.stopped = ""
        self._interrupts = Interrupts()
        self.config = TrainingConfig() if config is None else config
        self.backend_manager = backend_manager or BackendManager(self.config)
        self.optimizer: Optimizer | None = None
        # Unknown names and ignored settings are errors now, not after hours.
        self._check_dependent()
        self._check_method()
        self._check_metric(natural=isinstance(self._new_optimizer(), NaturalGradient))
        get_loss(self.config.resolve("loss"))
        self.backend_manager.get_backend(self.config.resolve("quantum_sdk"))
        self._bound_sdk = self.config.quantum_sdk

    def train(
        self,
        model: QuantumModel,
        data: Any,
        val_data: Any = None,
        epochs: int | None = None,
        *,
        resume: str | PathLike[str] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> History:
        """Fit the model's trainable parameters, in place, to data.

        SIGINT and SIGTERM end it after the batch that is running, with a checkpoint if
        there is a directory for it; a second one ends it at once.

        Args:
            model: The model. One without a backend takes ``config.quantum_sdk``.
            data: A tuple ``(X, y)`` of arrays, cut into shuffled batches; or any
                iterable of batches, each ``(inputs, targets)`` or a dict with these
                keys, taken in its own order.
            val_data: In the same forms; measured after every ``validation_interval``
                epochs, and the last.
            epochs: Passes over the data in all, those of a resumed run included; None
                takes the configuration's.
            resume: A checkpoint to go on from, or ``"latest"`` of the configuration's
                ``checkpoint_directory``. The run ends as it would have without the
                break, bit for bit. None begins at the model's parameters.
            callbacks: Told how it goes.

        Returns:
            One row per epoch. A loss is the mean over samples of the batch losses
            before each update.

        Raises:
            ValueError: If data are empty, of different lengths or do not fit the model,
                an iterator cannot be repeated, a setting would be ignored, or the loss
                becomes NaN or infinite: then the parameters are those before that step.
            TypeError: If data are of another form.
            CheckpointError: If checkpoints cannot be written or read, or belong to
                another run.
        """
        config = self.config
        self._interrupts = Interrupts()
        self.optimizer = self._new_optimizer()
        self._check_dependent()
        self._check_method()
        self._check_metric(natural=isinstance(self.optimizer, NaturalGradient))
        if config.validation_interval is not None and val_data is None:
            raise ValueError(
                "Configuration validation_interval must be unset without `val_data`, "
                "since it would be ignored."
            )
        epochs = config.resolve("epochs") if epochs is None else epochs
        epochs = integer("epochs", epochs, minimum=1)
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    "Argument `callbacks` must hold Callbacks, but has one of type "
                    f"{type(callback).__name__}. Inherit from Callback."
                )
        if ignored := config.set_fields() & HARDWARE_FIELDS:
            raise ValueError(
                f"Configuration {', '.join(sorted(ignored))} must be unset: the "
                "simulators here would ignore it."
            )
        if config.set_fields() & STORE_FIELDS:
            _log.warning(
                "No store is opened by this version: nothing leaves the machine."
            )
        self._bind(model)
        loss = get_loss(config.resolve("loss"))
        if config.class_weight is not None:
            loss = loss.with_class_weight(
                _class_weights(config.class_weight, data, model, loss)
            )
        source = source_of(data, "data", model, loss, config, epochs)
        validation = None
        if val_data is not None:
            validation = source_of(val_data, "val_data", model, loss, None, epochs)
        monitor = monitor_of(config, validation)
        columns = self._measured(loss, validated=validation is not None)
        if monitor not in columns:
            raise ValueError(
                "Configuration monitor must be a column of the history that is "
                f"measured, {', '.join(columns)}, but is {monitor!r}."
            )
        self._kind = repr(self.optimizer)
        sources = [source] if validation is None else [source, validation]
        if resume is None:
            state = self._fresh_state(model, loss)
        else:
            state = self._take_over(self._found(resume), model, sources)
        if state.epoch > epochs:
            raise ValueError(
                f"Argument `epochs` must be >= {state.epoch}, those that the resumed "
                f"run has done, but is {epochs}. It is the total."
            )
        self.history, self.stopped = state.history, ""
        step = Step(model, loss, self.optimizer, self._run(model, state), config)

        def tree() -> dict[str, Any]:
            return self._tree(model, state, sources)

        with ExitStack() as stack:
            directory = None
            if config.checkpoint_directory is not None:
                keep = config.resolve("checkpoint_keep")
                directory = RunDirectory(config.checkpoint_directory, keep=keep)
                stack.enter_context(directory)
            stack.enter_context(self._interrupts)
            loop = Loop(
                step, state, source, validation, epochs, config, self._schedule(epochs),
                self._metrics, tuple(callbacks), self._interrupts, directory, tree,
            )  # fmt: skip
            if config.resolve("progress"):
                loop.bar = stack.enter_context(_bar(epochs, state.epoch))
            try:
                loop.run()
            except BaseException as error:
                loop.tell_of(error)
                raise
            self.stopped = state.stopped
            if state.epoch < epochs and not state.stopped:
                self.stopped = self._interrupts.requested
        if self.stopped and not state.stopped:
            _log.warning(
                "Training was stopped by %s after epoch %d, batch %d.",
                self.stopped,
                state.epoch,
                state.step,
            )
        return state.history

    def stop(self) -> None:
        """Ask a run in another thread to end after the batch that is running."""
        self._interrupts.request("stop()")

    def _measured(self, loss: Loss, *, validated: bool) -> list[str]:
        """Columns of the history that this run fills, and that can be best."""
        unknown = {"epoch", "time"}
        if not self.config.resolve("track_gradients"):
            unknown |= {"gradient_norm"}
        if not loss.is_classification:
            unknown |= {"accuracy", "val_accuracy"}
        return [
            name
            for name in History(self._metrics).columns
            if name not in unknown and (validated or not name.startswith("val_"))
        ]

    def _fresh_state(self, model: QuantumModel, loss: Loss) -> TrainState:
        rng = np.random.default_rng(self.config.seed)
        of_method, of_device = rng.spawn(2)
        if self.config.seed is not None and not model.has_own_backend:
            drawn = of_device.bit_generator.state
            devices.set_generator_state(model.device, dict(drawn))
        return TrainState(
            rng=rng,
            method_rng=of_method,
            totals=Totals(loss.is_classification or bool(self._metrics)),
            gathered=Gathered(np.zeros(model.parameters.size)),
            history=History(self._metrics),
        )

    def _schedule(self, epochs: int) -> Schedule:
        """The learning rate of each epoch."""
        config = self.config
        assert self.optimizer is not None
        rate = self.optimizer.learning_rate
        warm = config.warmup_epochs or 0
        name = config.resolve("schedule")
        schedule: Schedule = Constant(rate)
        if name == "cosine":
            schedule = Cosine(
                rate,
                n_steps=max(1, epochs - warm),
                final=config.resolve("schedule_final"),
            )
        elif name == "step":
            schedule = StepDecay(
                rate,
                every=config.resolve("schedule_every"),
                factor=config.resolve("schedule_factor"),
            )
        return WarmUp(schedule, n_steps=warm) if warm else schedule

    def _tree(
        self, model: QuantumModel, state: TrainState, sources: Sequence[Source]
    ) -> dict[str, Any]:
        """The whole run as values."""
        assert self.optimizer is not None
        return {
            "version": RUN_VERSION,
            "model": model.get_state(),
            "optimizer": self.optimizer.state,
            "run": state.to_tree(),
            "device": devices.description(model.device),
            "device_generator": devices.generator_state(model.device),
            "data": [source.digest for source in sources],
            "config": self._settings(),
            "environment": environment(),
        }

    def _found(self, resume: str | PathLike[str]) -> Any:
        """The checkpoint to resume from."""
        if resume != "latest":
            return files.load(resume)
        if self.config.checkpoint_directory is None:
            raise ValueError(
                'Argument `resume` may be "latest" only with a checkpoint_directory in '
                "the configuration, but there is none. Give a path."
            )
        return latest_in(self.config.checkpoint_directory)[1]

    def _settings(self) -> dict[str, Any]:
        """What the result depends on, besides data and model."""
        metrics = {"metrics": ", ".join(self._metrics)} if self._metrics else {}
        return self.config.to_dict() | {"optimizer": self._kind} | metrics

    def _take_over(
        self, found: Any, model: QuantumModel, sources: Sequence[Source]
    ) -> TrainState:
        """Continue from a checkpoint, if it is one of such a run."""
        if not isinstance(found, dict) or not found.keys() >= RUN_KEYS:
            raise CheckpointError(
                "A checkpoint to resume from must be one that training wrote, but this "
                "is another. Use load_checkpoint."
            )
        if found["version"] != RUN_VERSION:
            raise CheckpointError(
                f"A run to resume must be of version {RUN_VERSION}, but is of version "
                f"{found['version']}. Use the release of qstore-pl that wrote it."
            )
        assert self.optimizer is not None
        before, now = found["config"], self._settings()
        different = {
            key: (before.get(key), now.get(key))
            for key in sorted({*before, *now} - RESUMABLE)
            if before.get(key) != now.get(key)
        }
        here = devices.description(model.device)
        if found["device"] != here:
            different["device"] = (found["device"], here)
        if different:
            listed = "; ".join(
                f"{key} was {was!r}, is {now!r}"
                for key, (was, now) in different.items()
            )
            raise CheckpointError(
                f"A resumed run must have the settings it began with, but {listed}. "
                "To go on with others, load the model's state and train without resume."
            )
        if found["data"] != [source.digest for source in sources]:
            raise CheckpointError(
                "A resumed run must have the data it began with, also to validate, but "
                "they are others. To go on with them, load the model's state and train "
                "without resume."
            )
        try:
            model.load_state(found["model"])
            self.optimizer.load_state(found["optimizer"])
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"A resumed run must have the model it began with: {error}"
            ) from error
        self._warn_of(found, model)
        devices.set_generator_state(model.device, found["device_generator"])
        return TrainState.from_tree(found["run"])

    def _warn_of(self, found: dict[str, Any], model: QuantumModel) -> None:
        """Say what keeps a resumed run from being the same bit for bit."""
        there, here = found["environment"], environment()
        reasons = [f"{key} changed" for key in here if there.get(key) != here[key]]
        draws = self.config.shots or model.device.shots
        if found["device_generator"] is None and draws:
            reasons.append(f"{model.device.name} does not tell where its draws are")
        if reasons:
            warnings.warn(
                "The run is resumed approximately, not bit for bit: "
                f"{', '.join(reasons)}.",
                stacklevel=4,
            )

    def _check_dependent(self) -> None:
        """Refuse settings that the run would ignore."""
        config = self.config
        given = config.set_fields()
        watched = "patience" in given or "checkpoint_directory" in given
        needed: dict[str, tuple[bool, str]] = {
            "schedule_every": (config.schedule == "step", 'schedule="step"'),
            "schedule_factor": (config.schedule == "step", 'schedule="step"'),
            "schedule_final": (config.schedule == "cosine", 'schedule="cosine"'),
            "restore_best": ("patience" in given, "patience"),
            **dict.fromkeys(
                ("monitor", "monitor_mode", "min_delta"),
                (watched, "patience or checkpoint_directory"),
            ),
            **dict.fromkeys(
                ("checkpoint_interval", "checkpoint_keep"),
                ("checkpoint_directory" in given, "checkpoint_directory"),
            ),
        }
        for name, (is_used, other) in needed.items():
            if name in given and not is_used:
                raise ValueError(
                    f"Configuration {name} must be unset without {other}, since it "
                    "would be ignored."
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

    def _check_method(self) -> None:
        config = self.config
        method = choice("gradient_method", config.resolve("gradient_method"), OPTIONS)
        for field, option in METHOD_FIELDS.items():
            if getattr(config, field) is not None and option not in OPTIONS[method]:
                raise ValueError(
                    f"Configuration {field} must be unset for the gradient method "
                    f'"{method}", which would ignore it.'
                )
        if method == "random_subset" and config.gradient_sample_size is None:
            raise ValueError(
                "Configuration gradient_sample_size must be set for the gradient "
                'method "random_subset": how many weights each gradient draws.'
            )

    def _check_metric(self, *, natural: bool) -> None:
        config = self.config
        choice("metric", config.resolve("metric"), (*METRICS, "gauss-newton"))
        approximation = config.resolve("metric_approximation")
        choice("metric_approximation", approximation, APPROXIMATIONS)
        ignored = config.set_fields() & {"metric", "metric_approximation"}
        if ignored and not natural:
            raise ValueError(
                f"Configuration {', '.join(sorted(ignored))} must be unset unless the "
                'optimizer is "natural_gradient".'
            )

    def _run(self, model: QuantumModel, state: TrainState) -> Run:
        """The gradient method on the model."""
        config = self.config
        options = {
            option: getattr(config, field) for field, option in METHOD_FIELDS.items()
        }
        return run_of(
            ModelExpectations(model, shots=config.shots),
            config.resolve("gradient_method"),
            rng=state.method_rng,
            **options,
        )

    def _bind(self, model: QuantumModel) -> None:
        """Give the model its backend: its own wins, unless another was just chosen."""
        theirs = {
            "n_qubits": model.n_qubits,
            "circuit_depth": model.quantum_layer.n_layers,
            "entanglement": model.quantum_layer.entanglement,
        }
        for name, own in theirs.items():
            wanted = getattr(self.config, name)
            if wanted is not None and wanted != own:
                raise ValueError(
                    f"Argument `{name}` of the configuration must equal the model's "
                    f"{own}, but is {wanted}."
                )
        chosen = self.config.quantum_sdk
        if not model.has_own_backend or chosen != self._bound_sdk:
            model.fill_backend(
                self.backend_manager.get_backend(self.config.resolve("quantum_sdk"))
            )
        self._bound_sdk = chosen

    def _new_optimizer(self) -> Optimizer:
        config = self.config
        if self._given is not None:
            ignored = config.set_fields() & OPTIMIZER_FIELDS
            if ignored:
                raise ValueError(
                    f"Configuration {', '.join(sorted(ignored))} must be unset where "
                    "the trainer is given an optimizer, which has its own."
                )
            optimizer = copy.deepcopy(self._given)
            optimizer.load_state({})
            return optimizer
        return get_optimizer(
            config.resolve("optimizer"),
            config.resolve("learning_rate"),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            damping=config.damping,
        )

    def save_checkpoint(self, checkpoint: Any, path: str | PathLike[str]) -> None:
        """Write numbers, words and arrays to a file, atomically and with a checksum.

        Args:
            checkpoint: For example ``{"epoch": 3, "model_state": model.get_state(),
                "optimizer_state": trainer.optimizer.state, "loss": 0.1}``.
            path: Where to write; the format is the same whatever the ending.
        """
        files.save(path, checkpoint)

    def load_checkpoint(self, path: str | PathLike[str]) -> Any:
        """Read what :meth:`save_checkpoint` wrote.

        Raises:
            CheckpointError: If the file is damaged or of another format.
        """
        return files.load(path)


def _class_weights(
    wanted: Any, data: Any, model: QuantumModel, loss: Loss
) -> dict[int, float]:
    """Weights by label; balanced ones make every class count the same."""
    if loss.labels is None:
        return {}  # which the loss refuses
    n_classes = max(2, model.output_dim)
    if wanted != "balanced":
        if unknown := [label for label in wanted if label >= n_classes]:
            raise ValueError(
                f"Configuration class_weight must have labels from 0 to "
                f"{n_classes - 1}, but has {unknown}."
            )
        return dict(wanted)
    if not (isinstance(data, tuple) and len(data) == 2):
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


def _bar(total: int, done: int) -> Any:
    """A progress bar over the epochs."""
    from tqdm.auto import tqdm  # here: in a notebook without widgets it warns

    return tqdm(total=total, initial=done, unit="epoch")


def _processor() -> str:
    """The model of the CPU, where it can be read."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def environment() -> dict[str, str]:
    """What the bits of a result depend on besides the values."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("numpy", "numba", "scipy")},
        **{name: metadata.version(name) for name in ("pennylane", "qstore-pl")},
    }
