"""The cost of a training run before it is run.

A copy of the model is trained as the run would train it, by the trainer itself and with
the same seed, on a backend that counts. Nothing is sent or written, and the model, the
optimizer and all random generators stay as they are.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import numpy as np
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.backends import Backend, BackendManager, MachineDevice
from qstore_pl.backends.counted import CountingBackends, CountingDevice, counting_of
from qstore_pl.backends.kinds import GivenDevice
from qstore_pl.backends.prices import Price, PriceList
from qstore_pl.callbacks import Callback
from qstore_pl.config import ADAPTIVE, DEFAULTS, TrainingConfig
from qstore_pl.cost import Cost, CostEstimate, Formula
from qstore_pl.gradients import OPTIONS, GradientEstimator
from qstore_pl.history import History
from qstore_pl.placed import Placed
from qstore_pl.trainer.data import are_arrays
from qstore_pl.trainer.settings import METHOD_FIELDS
from qstore_pl.trainer.trainable import Trainable

GATES = ("one_qubit_gates", "two_qubit_gates", "jobs")
COMPARED = ("parameter_shift", "finite_diff", "spsa")
# What a run tells, writes, watches or may stop at; none of it runs a circuit.
NOT_COUNTED = (
    *("patience", "monitor", "monitor_mode", "min_delta", "restore_best"),
    *("checkpoint_directory", "checkpoint_interval", "checkpoint_keep"),
    *("log_interval", "progress"),
    *("max_cost", "max_circuits", "max_shots", "on_budget"),
    *("pinecone_api_key", "pinecone_environment", "pinecone_index_name"),
)


class Trainer(Protocol):
    """What trains the copy of the model."""

    estimator: GradientEstimator | None

    def train(
        self,
        model: Trainable,
        data: Any,
        val_data: Any = None,
        epochs: int | None = None,
        *,
        callbacks: Callback,
    ) -> History:
        """Train a model."""


TrainerFactory = Callable[[TrainingConfig, BackendManager], Trainer]


@final
@dataclass
class Counts(Callback):
    """What was run in the first step and in each epoch.

    Args:
        trainer: The trainer, which is asked after each step.
        prices: The list of prices.
    """

    trainer: Trainer
    prices: PriceList
    step: Cost | None = None
    samples: int = 0  # of this step
    epochs: list[Cost] = field(default_factory=list)
    _begin: Cost = field(default_factory=Cost)

    def on_train_begin(self, model: Any, history: History) -> None:
        """Begin to count."""
        self._begin = self._now()

    def on_step_end(self, epoch: int, step: int, loss: float) -> None:
        """Note the first step."""
        if self.step is None:
            self.step = self._now() - self._begin
            self.samples = self._estimator.samples

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Note an epoch."""
        now = self._now()
        self.epochs.append(now - self._begin)
        self._begin = now

    @property
    def total(self) -> Cost:
        """The whole run."""
        return sum(self.epochs, Cost())

    @property
    def parts(self) -> Sequence[GradientEstimator]:
        """The estimators that ran circuits, one for each backend."""
        return self._estimator.parts

    @property
    def _estimator(self) -> GradientEstimator:
        assert self.trainer.estimator is not None
        return self.trainer.estimator

    def _now(self) -> Cost:
        """All that was run so far."""
        return sum((self._by(part) for part in self.parts), Cost())

    def _by(self, part: GradientEstimator) -> Cost:
        """All that was run so far on one backend."""
        device = part.expectations.device
        if isinstance(device, MachineDevice):
            return Cost(**dataclasses.asdict(device.spent))
        is_free = self.prices.of(price_name(part)) == Price()
        dollars = 0.0 if is_free or devices.is_ours(device) else None
        gates: dict[str, Any] = dict.fromkeys(GATES)
        if isinstance(device, CountingDevice):
            bill = dataclasses.asdict(device.spent)
            gates = {name: bill[name] for name in GATES}
        return Cost(part.circuits, part.spent, **gates, dollars=dollars)


def price_name(part: GradientEstimator) -> str:
    """The name of a backend in the list of prices.

    Args:
        part: A gradient estimator that runs there.
    """
    device = part.expectations.device
    if isinstance(device, MachineDevice):
        return counting_of(device).machine.price_name
    return part.expectations.backend.removeprefix("qstore.")


@final
class Preflight:
    """Counts what a training run would run.

    Args:
        model: The model of the run, which is copied.
        data: The training data, as for ``train``.
        val_data: The validation data, as for ``train``.
        epochs: Number of epochs; None takes that of the configuration.
        config: The configuration of the run.
        backends: A manager whose backends count.
        make: Function from a configuration and a manager of backends to a trainer.
        prices: The list of prices.
    """

    def __init__(
        self,
        model: Trainable,
        data: Any,
        val_data: Any,
        epochs: int | None,
        *,
        config: TrainingConfig,
        backends: CountingBackends,
        make: TrainerFactory,
        prices: PriceList,
    ) -> None:
        self._model, self._config, self._epochs = model, config, epochs
        self._data = _repeatable("data", data)
        self._val_data = _repeatable("val_data", val_data)
        self._make, self._prices = make, prices
        self._backends = backends
        self._seconds = 0.0  # that the last run took

    def estimate(self) -> CostEstimate:
        """The cost of the run, and of the same run with other settings."""
        config, method = self._config, str(self._config.resolve("gradient_method"))
        counts = self._run({})
        parts = counts.parts
        runs_here = all(devices.is_ours(p.expectations.device) for p in parts)
        seconds, time_source = self._time(parts)
        if method == "best" and not runs_here:
            method = "parameter_shift"  # as it is there
        methods = {method: counts}
        if not runs_here and config.shots != ADAPTIVE:
            others = [name for name in COMPARED if name != method]
            methods |= {name: self._run(_with_method(name)) for name in others}
        unfrozen: Cost | None = None
        if config.freeze_schedule is not None or not self._all_trained():
            unfrozen = self._run({"freeze_schedule": None}, unfrozen=True).total
        names = list(dict.fromkeys(map(price_name, parts)))
        step, epochs = counts.step, tuple(counts.epochs)
        estimate = CostEstimate(
            " and ".join(dict.fromkeys(p.expectations.backend for p in parts)),
            method,
            epochs[0] if step is None else step,
            epochs,
            {name: found.total for name, found in methods.items()},
            unfrozen,
            self._formula(counts, methods.get("parameter_shift")),
            seconds,
            time_source,
            " ".join(map(self._prices.source_of, names)),
            self._prices.date,
            self._notes(),
        )
        return _at_most(estimate) if config.shots == ADAPTIVE else estimate

    def _run(self, changes: Mapping[str, Any], *, unfrozen: bool = False) -> Counts:
        """Train a copy of the model, and count.

        Args:
            changes: Fields of the configuration that differ from those of the run.
            unfrozen: Whether all weights are trained.
        """
        config = copy.copy(self._config)
        unset = {name: None for name in NOT_COUNTED if name in DEFAULTS}
        counting = {"on_interrupt": "raise", "strict_callbacks": True}
        for name, value in (unset | counting | dict(changes)).items():
            setattr(config, name, value)
        model = _copied(self._model)
        if model.backend is not None:
            model.fill_backend(self._backends.counted(model.backend))
        if unfrozen:
            model.trainable[: model.n_weights] = True
        trainer = self._make(config, self._backends)
        counts = Counts(trainer, self._prices)
        try:
            history = trainer.train(
                model, self._data, self._val_data, self._epochs, callbacks=counts
            )
        finally:
            self._backends.restore()
        self._seconds = sum(history["time"])
        return counts

    def _all_trained(self) -> bool:
        return bool(self._model.trainable[: self._model.n_weights].all())

    def _time(
        self, parts: Sequence[GradientEstimator]
    ) -> tuple[tuple[float | None, float | None], str]:
        """The bounds of the time of the run just counted, and what they are made of."""
        found = [part.expectations.device for part in parts]
        if all(map(devices.is_ours, found)):
            said = "It was trained once on this computer, which took so long."
            return (self._seconds, self._seconds), said
        least = 0.0
        for part, device in zip(parts, found, strict=True):
            price = self._prices.of(price_name(part))
            seconds: float | None = None
            if isinstance(device, MachineDevice) and price is not None:
                seconds = price.seconds(*counting_of(device).gate_shots)
            if seconds is None:
                name = price_name(part)
                said = f"The list of prices has no durations of the gates of {name}."
                return (None, None), said
            least = max(least, seconds)  # backends run at the same time
        said = (
            "The least is the duration of the gates of all shots, one after the other, "
            "by the list of prices. How long jobs wait is not known."
        )
        return (least, None), said

    def _formula(self, counts: Counts, shifted: Counts | None) -> Formula | None:
        """The number of circuits of a step by ``1 + 2P``, and why it is another one.

        Args:
            counts: What the run runs.
            shifted: What parameter shift runs; None if it was not counted.
        """
        expectations = counts.parts[0].expectations
        shape = (counts.samples, 0)
        try:
            lanes = expectations.lanes(shape, shifted=True)
        except DeviceError:
            return None
        if lanes is None or not counts.samples:
            return None
        n = self._model.n_weights
        trained = self._model.trainable[:n]
        if self._config.freeze_schedule is not None:
            trained = trained.copy()
            frozen = self._config.freeze_schedule.get(0)
            if frozen is not None:
                trained[:] = True
                trained[list(frozen)] = False
        shifts = lanes.shifts(trained)
        circuits = counts.samples * lanes.n_groups * shifts.n_lanes
        run = circuits
        if shifted is not None and shifted.step is not None:
            run = shifted.step.circuits
        alone = np.eye(n, dtype=bool)
        seen = np.array([bool(lanes.uses.depending(one)) for one in alone], dtype=bool)
        reasons = _reasons(
            frozen=int(n - trained.sum()),
            unseen=int((trained & ~seen).sum()),
            repeated=len(shifts.which) - int((trained & seen).sum()),
            longer=sum(len(lanes.uses.uses[u].rule) > 2 for u in shifts.which),
            same=circuits - run,
        )
        samples, groups = counts.samples, lanes.n_groups
        return Formula(n, samples, groups, shifts.n_lanes, run, reasons)

    def _notes(self) -> tuple[str, ...]:
        """What the numbers do not hold for."""
        notes = []
        config, model = self._config, self._model
        if config.patience is not None:
            notes.append(
                "The run may end before its last epoch, by early stopping; all epochs "
                "are counted."
            )
        weights = model.parameters[: model.n_weights]
        still = model.trainable[: model.n_weights] & (weights % (0.5 * np.pi) == 0.0)
        if still.any():
            notes.append(
                f"{int(still.sum())} weights are 0 or a multiple of pi/2. Rotations by "
                "exactly 0 are not run and not paid: the first step is counted with "
                "these weights, and later steps as if all trained weights had moved."
            )
        if config.seed is None and config.gradient_method == "random_subset":
            notes.append(
                "There is no seed, so that the run draws other weights than these."
            )
        return tuple(notes)


def _repeatable(name: str, data: Any) -> Any:
    """Data that can be passed over several times; batches are taken once."""
    is_used_up = isinstance(data, Iterator)
    if is_used_up:
        raise ValueError(
            f"Argument `{name}` must be an iterable that can start again, but is an "
            "iterator, of which nothing would be left for the run. Pass a list."
        )
    known = data is None or are_arrays(data) or isinstance(data, np.ndarray | str)
    if known or not isinstance(data, Iterable) or isinstance(data, dict | list):
        return data
    return list(data)


def _with_method(name: str) -> dict[str, Any]:
    """The fields of a run with another gradient method."""
    unused = [
        own for own, option in METHOD_FIELDS.items() if option not in OPTIONS[name]
    ]
    return {"gradient_method": name} | dict.fromkeys(unused)


def _copied(model: Trainable) -> Trainable:
    """A copy of a model that shares its devices, of which a copy would draw numbers."""
    shared: list[Any] = [
        part for part in vars(model).values() if isinstance(part, Placed | Backend)
    ]
    if model.backend is not None and isinstance(model.backend.factory, GivenDevice):
        shared.append(model.backend.factory.device)
    return copy.deepcopy(model, {id(part): part for part in shared})


def _reasons(
    *, frozen: int, unseen: int, repeated: int, longer: int, same: int
) -> tuple[str, ...]:
    """Why a step has another number of circuits than ``1 + 2P``.

    Args:
        frozen: Number of frozen weights.
        unseen: Number of trained weights that no measured value depends on.
        repeated: How many more numbers of gates depend on weights than there are
            weights of which values depend.
        longer: Number of gates with a shift rule of more than two terms.
        same: Number of circuits that are the same as others.
    """
    found = []
    if frozen:
        found.append(f"{frozen} weights are frozen, and are not shifted.")
    if unseen:
        found.append(
            f"{unseen} trained weights change nothing that is measured, and are not "
            "shifted."
        )
    if repeated > 0:
        found.append(
            f"Weights enter gates {repeated} times more often than there are weights, "
            "and each gate is shifted by itself."
        )
    if repeated < 0:
        found.append(
            f"{-repeated} gates fewer than weights are shifted, since several weights "
            "enter the same number of a gate."
        )
    if longer:
        found.append(
            f"{longer} gates, such as controlled rotations, have shift rules of more "
            "than two terms."
        )
    if same:
        found.append(
            f"{same} circuits are the same as others of the step, and run once."
        )
    return tuple(found)


def _at_most(estimate: CostEstimate) -> CostEstimate:
    """The estimate of a run whose shots follow what is measured."""
    note = (
        "Shots are adaptive, and follow what is measured: their numbers are about the "
        "most that the budget allows, and the price is not known before the run."
    )

    def without_price(cost: Cost) -> Cost:
        free = cost.dollars == 0.0
        return dataclasses.replace(cost, dollars=0.0 if free else None)

    return dataclasses.replace(
        estimate,
        step=without_price(estimate.step),
        epochs=tuple(map(without_price, estimate.epochs)),
        methods={k: without_price(v) for k, v in estimate.methods.items()},
        unfrozen=estimate.unfrozen and without_price(estimate.unfrozen),
        notes=(*estimate.notes, note),
    )
