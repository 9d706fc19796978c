"""The training loop: batches, losses, gradients, updates, and what was recorded.

Everything a run draws comes from one seed. On our own devices a step is two kernel
calls on arrays; on any other device it is tapes through PennyLane. The trainer knows no
store and prints nothing but a progress bar, if asked.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl import checkpoint as files
from qstore_pl._checks import choice, integer
from qstore_pl.backends import BackendManager
from qstore_pl.config import TrainingConfig
from qstore_pl.gradients import (
    APPROXIMATIONS,
    METRICS,
    OPTIONS,
    GaussNewton,
    ModelExpectations,
    Run,
    WeightMetric,
    metric_of,
    run_of,
)
from qstore_pl.history import History
from qstore_pl.losses import Loss, accuracy, get_loss
from qstore_pl.model import QuantumModel
from qstore_pl.optimizers import (
    NaturalGradient,
    Optimizer,
    clip_gradients,
    get_optimizer,
)

Float2D = NDArray[np.float64]
OPTIMIZER_FIELDS = {"optimizer", "learning_rate", "momentum", "weight_decay", "damping"}
METHOD_FIELDS = {  # of the configuration, and what gradient methods call them
    "gradient_epsilon": "epsilon",
    "gradient_directions": "n_directions",
    "gradient_sample_size": "sample_size",
}
Batch = tuple[Float2D, NDArray[Any], NDArray[np.int64]]  # features, targets, rows


class QuantumTrainer:
    """Trains models on data.

    Args:
        config: Settings of the run; unset fields take their defaults.
        backend_manager: Where ``config.quantum_sdk`` is looked up.
        optimizer: Instead of the configuration's; each :meth:`train` begins afresh with
            a copy of it.

    Attributes:
        optimizer: The optimizer of the last :meth:`train`, None before.

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
    ) -> None:
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(
                "Argument `optimizer` must be an Optimizer, but is of type "
                f"{type(optimizer).__name__}. Names belong in the configuration."
            )
        self._given = optimizer
        self.config = TrainingConfig() if config is None else config
        self.backend_manager = backend_manager or BackendManager(self.config)
        self.optimizer: Optimizer | None = None
        # Unknown names and ignored settings are errors now, not after hours.
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
    ) -> History:
        """Fit the model's trainable parameters, in place, to data.

        Args:
            model: The model. One without a backend takes ``config.quantum_sdk``.
            data: A tuple ``(X, y)`` of arrays, cut into shuffled batches; or any
                iterable of batches, each ``(inputs, targets)`` or a dict with these
                keys, taken in its own order.
            val_data: In the same forms; measured after every epoch.
            epochs: Passes over the data; None takes the configuration's.

        Returns:
            One row per epoch. A loss is the mean over samples of the batch losses
            before each update.

        Raises:
            ValueError: If data are empty, of different lengths or do not fit the model,
                an iterator cannot be repeated, a setting would be ignored, or the loss
                becomes NaN or infinite: then the parameters are those before that step.
            TypeError: If data are of another form.
        """
        config = self.config
        epochs = config.resolve("epochs") if epochs is None else epochs
        epochs = integer("epochs", epochs, minimum=1)
        self._bind(model)
        rng = np.random.default_rng(config.seed)
        loss = get_loss(config.resolve("loss"))
        source = _source(data, "data", model, loss, config, epochs)
        validation = None
        if val_data is not None:
            validation = _source(val_data, "val_data", model, loss, None, epochs)
        self.optimizer = self._new_optimizer()
        run = self._run(model, rng)
        step = _Step(model, loss, self.optimizer, run, config)
        history = History()
        for epoch in _counted(epochs, show=config.resolve("progress")):
            history.append(self._epoch(epoch, source, validation, step, rng))
        return history

    def _epoch(
        self,
        epoch: int,
        source: _Arrays | _Batches,
        validation: _Arrays | _Batches | None,
        step: _Step,
        rng: np.random.Generator,
    ) -> dict[str, Any]:
        assert self.optimizer is not None
        start = time.perf_counter()
        circuits = step.run.circuits
        totals = _Totals(step.loss)
        norms = 0.0
        n_steps = 0
        for features, targets, rows in source.batches(rng):
            value, norm, outputs = step(features, targets, rows)
            totals.add(value, outputs, targets)
            norms += norm
            n_steps += 1
        row: dict[str, Any] = {
            "epoch": epoch,
            "loss": totals.loss,
            "accuracy": totals.accuracy(),
            "gradient_norm": norms / n_steps,
            "learning_rate": self.optimizer.learning_rate,
        }
        if validation is not None:
            held_out = _Totals(step.loss)
            for features, targets, rows in validation.batches(None):
                outputs = step.outputs(features, rows)
                value = step.loss(outputs, targets)
                held_out.add(value, outputs, targets)
            row |= {"val_loss": held_out.loss, "val_accuracy": held_out.accuracy()}
        row["circuits"] = step.run.circuits - circuits
        row["shots"] = step.run.shots * row["circuits"]
        row["time"] = time.perf_counter() - start
        return row

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

    def _run(self, model: QuantumModel, rng: np.random.Generator) -> Run:
        """The gradient method on the model."""
        config = self.config
        options = {
            option: getattr(config, field) for field, option in METHOD_FIELDS.items()
        }
        return run_of(
            ModelExpectations(model, shots=config.shots),
            config.resolve("gradient_method"),
            rng=rng.spawn(1)[0],
            **options,
        )

    def _bind(self, model: QuantumModel) -> None:
        """Give the model its backend: its own wins, unless another was just chosen."""
        wanted = self.config.n_qubits
        if wanted is not None and wanted != model.n_qubits:
            raise ValueError(
                f"Argument `n_qubits` of the configuration must equal the model's "
                f"{model.n_qubits}, but is {wanted}."
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


def _counted(epochs: int, *, show: bool) -> Iterable[int]:
    """The epochs, with a progress bar if it is to be shown."""
    if not show:
        return range(epochs)
    from tqdm.auto import tqdm  # here: in a notebook without widgets it warns

    bar: Iterable[int] = tqdm(range(epochs), unit="epoch")
    return bar


class _Step:
    """One update: outputs, loss, gradient, clipping, metric, optimizer."""

    def __init__(
        self,
        model: QuantumModel,
        loss: Loss,
        optimizer: Optimizer,
        run: Run,
        config: TrainingConfig,
    ) -> None:
        self.model, self.loss, self.run = model, loss, run
        self._optimizer = optimizer
        self._clip = {
            "value": config.gradient_clip_value,
            "norm": config.gradient_clip_norm,
        }
        self._weights = model.weights
        self._gradients = np.zeros(model.parameters.size)
        self._natural: _Natural | None = None
        if isinstance(optimizer, NaturalGradient):
            self._natural = _Natural(self, optimizer, config)

    def outputs(self, features: Float2D, rows: NDArray[np.int64]) -> Float2D:
        return self.model.read_out(self.run.forward(self._weights, features, rows))

    def __call__(
        self, features: Float2D, targets: NDArray[Any], rows: NDArray[np.int64]
    ) -> tuple[float, float, Float2D]:
        model, gradients = self.model, self._gradients
        expectations = self.run.forward(self._weights, features, rows)
        outputs = model.read_out(expectations)
        value, cotangents = self.loss.value_and_grad(outputs, targets)
        if not abs(value) < np.inf:
            raise ValueError(
                f"The loss must be finite, but is {value}. The parameters are those "
                "before this step; look at the data and the learning rate."
            )
        cotangents = model.pull_back(cotangents, expectations, gradients)
        gradients[: model.n_weights] = self.run.backward(cotangents)
        norm = clip_gradients(gradients, trainable=model.trainable, **self._clip)
        if self._natural is not None:
            outputs = outputs.copy()  # the next run would overwrite them
            self._natural.step(gradients, features, targets, rows, value, outputs)
        else:
            self._optimizer.step(model.parameters, gradients, trainable=model.trainable)
        return value, norm, outputs


class _Natural:
    """The update by a metric, which is taken where the gradient was."""

    def __init__(
        self, step: _Step, optimizer: NaturalGradient, config: TrainingConfig
    ) -> None:
        self._step, self._optimizer = step, optimizer
        self._metric: WeightMetric | None = None
        self._gauss_newton: GaussNewton | None = None
        kind = config.resolve("metric")
        if kind == "gauss-newton":
            if config.metric_approximation is not None:
                raise ValueError(
                    "Configuration metric_approximation must be unset for "
                    'metric="gauss-newton", which has none.'
                )
            if step.run.shots:
                raise ValueError(
                    'Configuration metric="gauss-newton" must come without shots: '
                    "Gauss-Newton is made of exact derivatives, but circuits run "
                    f"{step.run.shots}."
                )
            self._gauss_newton = GaussNewton(step.model, step.loss)
        else:
            approximation = config.resolve("metric_approximation")
            self._metric = metric_of(
                step.run.expectations, metric=kind, approximation=approximation
            )

    def step(
        self,
        gradients: NDArray[np.float64],
        features: Float2D,
        targets: NDArray[Any],
        rows: NDArray[np.int64],
        value: float,
        outputs: Float2D,
    ) -> None:
        model, metric = self._step.model, None
        if self._optimizer.wants_metric:
            if self._gauss_newton is not None:
                metric = self._gauss_newton(features, rows, outputs, targets)
            elif self._metric is not None:
                metric = self._metric(model.weights, features, rows)
        self._optimizer.step(
            model.parameters, gradients, trainable=model.trainable, metric=metric
        )
        if self._optimizer.adapt_damping:
            moved = self._step.outputs(features, rows)
            after, _ = self._step.loss.value_and_grad(moved, targets)
            self._optimizer.adapt(value, after)


class _Totals:
    """Sums over the batches of one pass through the data."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._sum = 0.0
        self._n_samples = 0
        self._parts: list[tuple[Float2D, NDArray[Any]]] = []

    def add(self, value: float, outputs: Float2D, targets: NDArray[Any]) -> None:
        n = outputs.shape[0]
        self._sum += value * n
        self._n_samples += n
        if self._loss.is_classification:
            self._parts.append((outputs.copy(), targets))

    @property
    def loss(self) -> float:
        """The mean over samples."""
        return self._sum / self._n_samples

    def accuracy(self) -> float | None:
        """Share of the right classes, where there are classes."""
        if not self._loss.is_classification:
            return None
        outputs, targets = zip(*self._parts, strict=True)
        return accuracy(np.concatenate(outputs), np.concatenate(targets))


@dataclass(frozen=True)
class _Arrays:
    """Samples in memory, checked and prepared once."""

    features: Float2D
    targets: NDArray[Any]
    batch_size: int
    shuffle: bool

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        n = len(self.features)
        order = np.arange(n)
        if self.shuffle and rng is not None:
            rng.shuffle(order)
        targets = self.targets[order]
        for start in range(0, n, self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self.features, targets[part], order[part]


@dataclass(frozen=True)
class _Batches:
    """An iterable of batches, checked and prepared one by one."""

    data: Iterable[Any]
    name: str
    model: QuantumModel
    loss: Loss

    def batches(self, rng: np.random.Generator | None) -> Iterator[Batch]:
        del rng  # the iterable has its own order
        empty = True
        for batch in self.data:
            empty = False
            inputs, targets = _pair(batch, self.name)
            features, prepared = _prepared(
                inputs, targets, self.name, self.model, self.loss
            )
            yield features, prepared, np.arange(len(features))
        if empty:
            raise ValueError(f"Argument `{self.name}` must have a batch, but is empty.")


def _source(
    data: Any,
    name: str,
    model: QuantumModel,
    loss: Loss,
    config: TrainingConfig | None,
    epochs: int,
) -> _Arrays | _Batches:
    """Data of either form; without a configuration in one batch and in order."""
    if isinstance(data, tuple) and len(data) == 2:
        features, targets = _prepared(*data, name, model, loss)
        if config is None:
            return _Arrays(features, targets, len(features), shuffle=False)
        batch_size, shuffle = config.resolve("batch_size"), config.resolve("shuffle")
        return _Arrays(features, targets, batch_size, shuffle)
    if not isinstance(data, Iterable) or isinstance(data, np.ndarray | str | dict):
        raise TypeError(
            f"Argument `{name}` must be a tuple (X, y) or an iterable of batches, but "
            f"is of type {type(data).__name__}."
        )
    if isinstance(data, Iterator) and epochs > 1:
        raise ValueError(
            f"Argument `{name}` must be an iterable that can start again, for {epochs} "
            "epochs, but is an iterator that is used up after one. Pass a list."
        )
    if config is not None:
        ignored = config.set_fields() & {"batch_size", "shuffle"}
        if ignored:
            raise ValueError(
                f"Configuration {', '.join(sorted(ignored))} must be unset for data "
                "that come in batches, which have their own size and order."
            )
    return _Batches(data, name, model, loss)


def _pair(batch: Any, name: str) -> tuple[Any, Any]:
    if isinstance(batch, dict):
        if set(batch) != {"inputs", "targets"}:
            raise ValueError(
                f"A batch of `{name}` must have the keys inputs and targets, but has "
                f"{sorted(batch)}."
            )
        return batch["inputs"], batch["targets"]
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise TypeError(
            f"A batch of `{name}` must be (inputs, targets) or a dict with these keys, "
            f"but is of type {type(batch).__name__}."
        )
    return batch[0], batch[1]


def _prepared(
    inputs: Any, targets: Any, name: str, model: QuantumModel, loss: Loss
) -> tuple[Float2D, NDArray[Any]]:
    lengths = [np.shape(part)[:1] for part in (inputs, targets)]
    if () in lengths or lengths[0] != lengths[1]:
        counts = [f"{length[0]}" if length else "no axis of" for length in lengths]
        raise ValueError(
            f"Argument `{name}` must have as many targets as samples, but has "
            f"{counts[0]} samples and {counts[1]} targets."
        )
    features = model.prepare(inputs)
    return features, loss.prepare_targets(targets, model.output_dim, len(features))
