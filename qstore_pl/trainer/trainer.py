"""The trainer: it fits a model to data as a configuration says.

All random draws of a run come from one seed. On the devices of this package a training
step is two calls of compiled kernels; on any other device it runs through PennyLane.
The trainer prints nothing but a progress bar, where a person is watching or asked for
one.
"""

from __future__ import annotations

import copy
import logging
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

from pennylane.devices import Device

from qstore_pl import checkpoint as files
from qstore_pl import devices
from qstore_pl._checks import integer
from qstore_pl._progress import bar
from qstore_pl.backends import Backend, BackendManager, Bill, configured
from qstore_pl.backends.counted import CountingBackends
from qstore_pl.backends.prices import price_list
from qstore_pl.callbacks import Callback
from qstore_pl.config import TrainingConfig
from qstore_pl.cost import CostEstimate
from qstore_pl.gradients import GradientEstimator
from qstore_pl.history import History
from qstore_pl.losses import Loss, get_loss
from qstore_pl.model import QuantumModel
from qstore_pl.optimizers import NaturalGradient, Optimizer, get_optimizer
from qstore_pl.placed import Placed
from qstore_pl.trainer.beginning import (
    gradients_of,
    in_parallel,
    purse_of,
    shots_of,
    spent_in,
    state_of,
)
from qstore_pl.trainer.data import Source, are_arrays, source_of, split
from qstore_pl.trainer.estimate import Preflight
from qstore_pl.trainer.executor import Executor, check_executor
from qstore_pl.trainer.interrupts import Interrupts
from qstore_pl.trainer.loop import Loop
from qstore_pl.trainer.recorded import settings_of
from qstore_pl.trainer.resume import Parts, found_in
from qstore_pl.trainer.run_directory import RunDirectory
from qstore_pl.trainer.saving import FileSaver, Saver
from qstore_pl.trainer.scores import check_metrics, metrics_of
from qstore_pl.trainer.settings import (
    LIMITS,
    check_backends,
    check_executed,
    check_model,
    check_monitor,
    check_not_frozen,
    check_run,
    check_schedule,
    check_settings,
    class_weights,
    direction_of,
    monitor_of,
    schedule_of,
)
from qstore_pl.trainer.state import TrainState
from qstore_pl.trainer.step import Step
from qstore_pl.trainer.storing import Storing, has_store
from qstore_pl.trainer.trainable import Trainable, check_trainable

OPTIMIZER_FIELDS = {"optimizer", "learning_rate", "momentum", "weight_decay", "damping"}
_log = logging.getLogger(__name__)


class QuantumTrainer:
    """Trains models on data.

    Args:
        config: Settings of the run; None leaves all of them unset.
        backend_manager: The manager that knows the backend ``config.quantum_sdk``; None
            makes one.
        optimizer: An optimizer that is used instead of the one in the configuration.
            Each :meth:`train` begins with a copy of it and an empty state.
        metrics: Scores of the predictions that the history records: a list of names, or
            a dict from names of your own to such names or to functions of (predictions,
            targets). The names are ``"balanced_accuracy"``, ``"f1"``, ``"precision"``,
            ``"recall"`` and ``"matthews"`` for classes, and ``"mae"``, ``"rmse"``,
            ``"max_error"`` and ``"r2"`` for numbers. They are scikit-learn's; f1,
            precision and recall are means over the classes. A function gets the targets
            as the loss prepares them: numbers, one-hot rows for several classes, or 1
            and -1 for ``"hinge"``. If the model has one output, predictions and targets
            have the shape of the given targets, ``(n_samples,)`` or
            ``(n_samples, 1)``. Weights of samples have no influence.
        executor: Where gradients are computed: a :class:`qstore_pl.ThreadExecutor`, a
            :class:`qstore_pl.DaskExecutor`, or one of your own. It cuts every
            mini-batch into a fixed number of shards, whose gradients are summed in a
            fixed order, so that the result does not depend on the number of workers.
            None computes them here, each mini-batch as a whole.

    Attributes:
        config: Settings of the run, which may be changed between runs.
        executor: As the argument.
        optimizer: The optimizer of the last :meth:`train`; None before the first.
        estimator: The gradient estimator of the last :meth:`train`; None before the
            first.
        history: The history of the last :meth:`train`, even if it failed.
        stopped: Why the last :meth:`train` ended before its last epoch; empty if it did
            not.
        spent: What the last :meth:`train` ran and paid for, with the runs that it
            resumed: circuits, shots, and for machines of other packages gates, jobs and
            US dollars.

    Raises:
        ValueError: If the configuration has an unknown name, or a setting that would be
            ignored.

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
        metrics: Iterable[str] | Mapping[str, Any] | None = None,
        executor: Executor | None = None,
    ) -> None:
        if config is not None and not isinstance(config, TrainingConfig):
            raise TypeError(
                "Argument `config` must be a TrainingConfig, but is of type "
                f"{type(config).__name__}. A dict d becomes one by TrainingConfig(**d)."
            )
        if backend_manager is not None and not isinstance(
            backend_manager, BackendManager
        ):
            raise TypeError(
                "Argument `backend_manager` must be a BackendManager, but is "
                f"{backend_manager!r}. Names of backends belong in the configuration: "
                "TrainingConfig(quantum_sdk=...)."
            )
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(
                "Argument `optimizer` must be an Optimizer, but is of type "
                f"{type(optimizer).__name__}. Names belong in the configuration."
            )
        self._given = optimizer
        self.executor = check_executor(executor)
        self._metrics = metrics_of(metrics)
        self.history = History(self._metrics)
        self.stopped, self.spent = "", Bill()
        self._interrupts = Interrupts()
        self.config = TrainingConfig() if config is None else config
        self.backend_manager = backend_manager or BackendManager(self.config)
        self.optimizer: Optimizer | None = None
        self.estimator: GradientEstimator | None = None
        # Unknown names and ignored settings are refused here, before any training.
        natural = isinstance(self._new_optimizer(), NaturalGradient)
        check_settings(self.config, natural=natural)
        get_loss(self.config.resolve("loss"))
        if self.executor is not None:
            check_executed(self.config)
        self._backends()
        self._bound_sdk = self.config.quantum_sdk

    def train(
        self,
        model: Trainable,
        data: Any,
        val_data: Any = None,
        epochs: int | None = None,
        *,
        resume: str | PathLike[str] | None = None,
        overwrite: bool = False,
        callbacks: Callback | Sequence[Callback] = (),
    ) -> History:
        """Fit the trainable parameters of a model to data, in place.

        SIGINT and SIGTERM end the run after the current batch, and a checkpoint is
        written if there is a ``checkpoint_directory``; a second signal ends the run at
        once. By default this method then returns, and :attr:`stopped` names the signal.
        With ``config.on_interrupt="raise"`` the signal ends the program.

        With a vector store in the configuration, the run writes its last and its best
        checkpoint there at its end, and embeddings of the first training samples.

        Args:
            model: The model. If it has no backend of its own it runs on
                ``config.quantum_sdk``.
            data: A tuple ``(X, y)`` of arrays, which are cut into shuffled batches; or
                ``(X, y, weights)`` with a weight >= 0 for each sample, which multiplies
                its loss; or any iterable of batches, which are taken in its order. A
                batch is ``(inputs, targets)`` or a dict with these keys.
            val_data: Validation data in one of these forms. They are measured every
                ``config.validation_interval`` epochs, and after the last one. None
                holds out ``config.validation_split`` of the data, if that is set.
            epochs: Total number of passes over the data, >= 1, including those that a
                resumed run did before; None takes ``config.epochs``.
            resume: Path of a checkpoint from which the run continues; or ``"latest"``,
                the latest one in ``config.checkpoint_directory``; or ``"auto"``, which
                is the latest one if there is any, else a new run. A resumed run ends
                with bit for bit the same result as one that was never stopped. None
                begins a new run at the parameters of the model.
            overwrite: Whether a new run may replace checkpoints of another run in its
                directory, which are an error otherwise.
            callbacks: A callback, or a sequence of them.

        Returns:
            The history, with one row per epoch. Its loss is the mean over all samples
            of the losses of the batches, each before its update.

        Raises:
            ValueError: If the data are empty, of different lengths, or do not fit the
                model; if an iterator cannot be repeated, a setting would be ignored, or
                nothing is trainable; or if the loss becomes NaN or infinite. In the
                last case the parameters are those before that step.
            TypeError: If the data are of another form.
            CheckpointError: If checkpoints cannot be written or read, or belong to
                another run.
            QuantumCircuitError: If a device of another package fails. Checkpoints of
                the state before that step are written as after a signal.
            ExecutorError: If the executor does not reach its workers, or lost them.
                Checkpoints are written as after a QuantumCircuitError.
            BudgetError: If the budget allows no further step, and
                ``config.on_budget="raise"``.
            StoreError: If the vector store of the run cannot be opened, in which case
                nothing was trained, or cannot be written at its end.
            ModuleNotFoundError: If the package of the vector store is not installed.
        """
        config = self.config
        _check_model(model, data)
        self._interrupts = Interrupts()
        self.optimizer = self._new_optimizer()
        check_settings(config, natural=isinstance(self.optimizer, NaturalGradient))
        check_not_frozen(config, model)
        validated = val_data is not None or config.validation_split is not None
        check_run(config, validated=validated)
        epochs = config.resolve("epochs") if epochs is None else epochs
        epochs = integer("epochs", epochs, minimum=1)
        check_schedule(config, epochs)
        callbacks = _checked_callbacks(callbacks)
        places = self._bind(model)
        run_on = [placed.device for placed in places]
        if self.executor is not None:
            check_executed(config, places[0])
        loss, data, sources = self._loss_and_sources(model, data, val_data, epochs)
        history = History(self._metrics)
        check_monitor(config, history, loss, self._metrics, validated=validated)
        history.monitor = monitor_of(config, validated=validated)
        history.mode = direction_of(config, history.monitor, self._metrics)
        parts = Parts(
            model,
            self.optimizer,
            sources,
            self._settings(run_on, epochs),
            shots=shots_of(config),
            run_on=run_on,
        )
        storing = None
        if has_store(config):
            storing = Storing(config, model, data, parts)
            sources[0] = storing.first.watched(sources[0])
        found = found_in(resume, config.checkpoint_directory)
        run_directory = self._run_directory(found and found[0], overwrite=overwrite)
        with ExitStack() as stack:
            if run_directory is not None:
                stack.enter_context(run_directory)
            if storing is not None:
                stack.enter_context(storing)
            if found is None:
                state = state_of(config, model, loss, history, self._metrics, places)
            else:
                state = parts.take_over(found[1], epochs)
                state.history.monitor = history.monitor
                state.history.mode = history.mode
            if storing is not None:
                storing.begin(parts.run_id)
            self.history, self.stopped = state.history, ""
            estimator = gradients_of(model, config, state.method_rng, places)
            if self.executor is not None:
                estimator = stack.enter_context(
                    in_parallel(self.executor, model, config, loss, state.method_rng)
                )
            self.estimator = estimator
            if state.estimator:
                estimator.load_state(state.estimator)
            estimator.limit(purse_of(config, state, estimator))
            stack.callback(estimator.limit, None)
            step = Step(model, loss, self.optimizer, estimator, config)
            schedule = schedule_of(config, self.optimizer.learning_rate, epochs)
            stack.enter_context(self._interrupts)
            loop = Loop(
                step, state, sources, epochs, config, schedule, self._metrics,
                callbacks, self._interrupts,
                guarded=bool(config.set_fields() & LIMITS)
                or self.executor is not None
                or not all(map(devices.is_ours, run_on)),
            )  # fmt: skip
            savers: list[Saver] = []
            if run_directory is not None:
                to_files = FileSaver(
                    run_directory,
                    parts,
                    interval=config.checkpoint_interval,
                    written=lambda path: loop.tell("on_checkpoint", path),
                )
                savers.append(to_files)
            if storing is not None:
                savers.append(storing)
            loop.savers = savers
            shown = config.progress
            if shown is None and config.log_interval is not None:
                shown = False  # its lines say the same
            loop.bar = stack.enter_context(
                bar(epochs, "epoch", done=state.epoch, shown=shown)
            )
            try:
                loop.run()
            except BaseException as error:
                loop.tell("on_exception", error)
                raise
            finally:
                self.spent = spent_in(state, estimator)
            model.trained_with(classes=loss.is_classification)
            self.stopped = state.stopped
            if state.epoch < epochs and not state.stopped:
                self.stopped = self._interrupts.requested
            if storing is not None:
                storing.write()
        if loop.stop is not None:
            self.stopped = "budget"
            if config.resolve("on_budget") == "raise":
                raise loop.stop
            _log.warning("Training was stopped by its budget. %s", loop.stop)
        elif self.stopped and not state.stopped:
            self._tell_of_the_stop(state)
        return state.history

    def _settings(self, run_on: Sequence[Device], epochs: int) -> dict[str, Any]:
        """The settings of a run on some devices, by which a resumed run knows it."""
        assert self.optimizer is not None
        found = settings_of(self.config, self.optimizer, self._metrics, run_on, epochs)
        if self.executor is not None:
            found["executor.n_shards"] = self.executor.n_shards
        return found

    def _loss_and_sources(
        self, model: Trainable, data: Any, val_data: Any, epochs: int
    ) -> tuple[Loss, Any, list[Source]]:
        """The loss, with weights; the training data; and all data in batches."""
        config = self.config
        loss = get_loss(config.resolve("loss"))
        check_metrics(self._metrics, loss)
        share = config.validation_split
        if share is not None:
            if val_data is not None:
                raise ValueError(
                    "Configuration validation_split must be unset where `val_data` is "
                    "given, since it would be ignored."
                )
            data, val_data = split(data, share, config.seed or 0, model, loss)
        if config.class_weight is not None:
            weights = class_weights(config.class_weight, data, model, loss)
            loss = loss.with_class_weight(weights)
        if any(are_arrays(given) and len(given) == 3 for given in (data, val_data)):
            loss = loss.with_sample_weight()
        sources = [source_of(data, "data", model, loss, config, epochs)]
        if val_data is not None:
            held_out = source_of(val_data, "val_data", model, loss, None, epochs)
            sources.append(held_out)
        return loss, data, sources

    def _tell_of_the_stop(self, state: TrainState) -> None:
        """Log that the run ended early, and raise the signal if that is wanted."""
        by_signal = self.stopped in signal.Signals.__members__
        raises = by_signal and self.config.resolve("on_interrupt") == "raise"
        _log.warning(
            "Training was stopped by %s after epoch %d, batch %d%s.",
            self.stopped,
            state.epoch,
            state.step,
            ""
            if raises or not by_signal
            else '; train() returns, and the program goes on (on_interrupt="raise" '
            "would end it)",
        )
        if raises:
            signal.raise_signal(signal.Signals[self.stopped])

    def _run_directory(
        self, resumed: Path | None, *, overwrite: bool
    ) -> RunDirectory | None:
        """The directory for the checkpoints of the run, or None.

        Args:
            resumed: The checkpoint from which the run continues; None for a new run.
            overwrite: Whether checkpoints of another run may be replaced.
        """
        config = self.config
        path = config.checkpoint_directory
        continues = bool(
            path and resumed and resumed.resolve().parent == Path(path).resolve()
        )
        if overwrite and (path is None or continues):
            raise ValueError(
                "Argument `overwrite` must be False "
                + (
                    "for a run that goes on in its directory, and replaces nothing."
                    if continues
                    else "without a checkpoint_directory, since it would be ignored."
                )
            )
        if path is None:
            return None
        return RunDirectory(
            path,
            keep=config.resolve("checkpoint_keep"),
            continues=continues,
            overwrite=overwrite,
        )

    def stop(self) -> None:
        """Ask a run in another thread to end after its current batch."""
        self._interrupts.request("stop()")

    def estimate_cost(
        self,
        model: Trainable,
        data: Any,
        val_data: Any = None,
        epochs: int | None = None,
        *,
        prices: str | PathLike[str] | None = None,
    ) -> CostEstimate:
        """What :meth:`train` would run and cost, without running it.

        A copy of the model is trained in the same way, with the same seed, on backends
        that count circuits instead of running them; our own simulators, which are free,
        run. Circuits, shots, gates and jobs are therefore those of the run, with its
        validation, for every gradient method, encoding, readout and pattern of frozen
        weights. All epochs are counted, also where early stopping may end the run
        before. The model, the optimizer and all random generators stay as they are.

        Args:
            model: The model.
            data: The training data, as for :meth:`train`. An iterable of batches is
                passed over once, and every epoch is taken to have the same batches.
            val_data: The validation data, as for :meth:`train`.
            epochs: Number of epochs, >= 1; None takes ``config.epochs``.
            prices: Path of a TOML file with prices of your own, of the form of
                ``qstore_pl/backends/prices.toml``, for backends that have the option
                ``prices``; None takes the prices that the backend was made with.

        Returns:
            The estimate. ``print(estimate)`` shows it as a table.

        Raises:
            ValueError: As :meth:`train`; or if the data are an iterator, of which
                nothing would be left for the run.
            TypeError: As :meth:`train`.
            DeviceError: If the backend cannot run the circuits.

        Example:
            >>> from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
            >>> config = TrainingConfig(quantum_sdk="cirq", shots=100, seed=0)
            >>> X, y = np.linspace(0.0, 1.0, 8).reshape(4, 2), np.ones(4)
            >>> model = QuantumModel(2, 1, n_layers=1, seed=0)
            >>> estimate = QuantumTrainer(config).estimate_cost(model, (X, y))
            >>> estimate.step.circuits, estimate.total.shots, estimate.total.dollars
            (52, 52000, 0.0)
        """
        _check_model(model, data)
        bound = self._bound_sdk

        def make(config: TrainingConfig, manager: BackendManager) -> QuantumTrainer:
            trainer = QuantumTrainer(config, manager, optimizer=self._given)
            trainer._bound_sdk = bound
            return trainer

        preflight = Preflight(
            model,
            data,
            val_data,
            epochs,
            config=self.config,
            backends=CountingBackends(self.backend_manager, prices=prices),
            make=make,
            prices=price_list(prices),
        )
        return preflight.estimate()

    def _backends(self) -> list[Backend]:
        """The backends that the configuration names."""
        config, manager = self.config, self.backend_manager
        names = list(config.backend_shares or [config.resolve("quantum_sdk")])
        return [manager.get_backend(n, **configured(config, n)) for n in names]

    def _bind(self, model: Trainable) -> list[Placed]:
        """Give the model a backend, and place it on all that it is trained on.

        A model keeps a backend of its own, unless ``config.quantum_sdk`` was assigned
        since the last run.
        """
        check_model(self.config, model)
        chosen, backends = self.config.quantum_sdk, self._backends()
        backend = backends[0]
        if self.config.backend_shares is not None and model.has_own_backend:
            assert model.backend is not None
            raise ValueError(
                "Configuration backend_shares must be unset for a model that has a "
                f"backend of its own, `{model.backend.name}`. Make the model without "
                "backend=, or set model.backend = None."
            )
        if not model.has_own_backend or chosen != self._bound_sdk:
            check_backends(self.config, backends)
            model.fill_backend(backend)
        elif chosen is not None and model.backend != backend:
            assert model.backend is not None
            raise ValueError(
                f'Configuration quantum_sdk="{chosen}" must be unset for a model that '
                f"has a backend of its own, `{model.backend.name}`, since it would be "
                "ignored. Make the model without backend=, or leave quantum_sdk unset."
            )
        else:
            assert model.backend is not None
            backends = [model.backend]
            check_backends(self.config, backends)
        self._bound_sdk = chosen
        return [model.placed, *(model.placed.on(other) for other in backends[1:])]

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

    def __repr__(self) -> str:
        shown: dict[str, Any] = {"config": self.config}
        if self._given is not None:
            shown["optimizer"] = self._given
        if self._metrics:
            shown["metrics"] = list(self._metrics)
        if self.executor is not None:
            shown["executor"] = self.executor
        listed = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"QuantumTrainer({listed})"

    def save_checkpoint(self, checkpoint: Any, path: str | PathLike[str]) -> None:
        """Write numbers, strings and arrays to a file, atomically and with a checksum.

        Args:
            checkpoint: Nested dicts and lists, for example ``{"epoch": 3,
                "model_state": model.get_state(), "optimizer_state":
                trainer.optimizer.state, "loss": 0.1}``.
            path: The file to write; its ending has no meaning.
        """
        files.save(path, checkpoint)

    def load_checkpoint(self, path: str | PathLike[str]) -> Any:
        """Read a file that :meth:`save_checkpoint` wrote.

        Args:
            path: The file to read.

        Raises:
            CheckpointError: If the file is damaged or of another format.
        """
        return files.load(path)


def _check_model(model: Any, data: Any) -> None:
    """Refuse an object that is no model, or exchanged arguments."""
    if isinstance(data, QuantumModel):
        raise TypeError(
            "Argument `model` must be a QuantumModel, but is of type "
            f"{type(model).__name__}. The order is train(model, data)."
        )
    check_trainable(model)


def _checked_callbacks(callbacks: Any) -> Sequence[Callback]:
    if isinstance(callbacks, Callback):
        return [callbacks]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(
                "Argument `callbacks` must hold Callbacks, but has one of type "
                f"{type(callback).__name__}. Inherit from Callback."
            )
    return list(callbacks)
