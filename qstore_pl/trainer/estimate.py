"""The cost of a training run before it is run.

A copy of the model is trained as the run would train it, by the trainer itself and with
the same seed, on a backend that counts. Nothing is sent or written, and the model, the
optimizer and all random generators stay as they are.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import numpy as np
from pennylane.devices import Device
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.backends import Backend, BackendManager, MachineDevice, NamedDevice
from qstore_pl.backends.counted import CountingDevice, counted, counting_of
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

COMPARED = ("parameter_shift", "finite_diff", "spsa")
# What a run tells, writes, watches or may stop at; none of it runs a circuit.
NOT_COUNTED = (
    *("patience", "monitor", "monitor_mode", "min_delta", "restore_best"),
    *("checkpoint_directory", "checkpoint_interval", "checkpoint_keep"),
    *("log_interval", "progress", "max_cost", "max_circuits", "max_shots"),
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
class OneBackend(BackendManager):
    """A manager that has one backend, whatever the name.

    Args:
        backend: The backend.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def get_backend(self, name: str | None = None, **options: Any) -> Backend:
        """The backend."""
        del name, options
        return self._backend


@final
@dataclass
class Counts(Callback):
    """What was run in the first step and in each epoch.

    Args:
        trainer: The trainer, which is asked after each step.
        price: What circuits cost on a device that does not count its own price.
    """

    trainer: Trainer
    price: Price | None
    device: Any = None
    step: Cost | None = None
    samples: int = 0  # of this step
    epochs: list[Cost] = field(default_factory=list)
    _begin: Cost = field(default_factory=Cost)

    def on_train_begin(self, model: Any, history: History) -> None:
        """Begin to count."""
        self.device = model.placed.device
        self._begin = self._now()

    def on_step_end(self, epoch: int, step: int, loss: float) -> None:
        """Note the first step."""
        if self.step is None:
            assert self.trainer.estimator is not None
            self.step = self._now() - self._begin
            self.samples = self.trainer.estimator.samples

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Note an epoch."""
        now = self._now()
        self.epochs.append(now - self._begin)
        self._begin = now

    @property
    def total(self) -> Cost:
        """The whole run."""
        return sum(self.epochs, Cost())

    def _now(self) -> Cost:
        """All that was run so far."""
        if isinstance(self.device, MachineDevice):
            return Cost(**dataclasses.asdict(self.device.spent))
        estimator = self.trainer.estimator
        assert estimator is not None
        found = Cost(
            estimator.circuits,
            estimator.spent,
            None,
            None,
            None,
            dollars=0.0 if self.price == Price() else None,
        )
        if isinstance(self.device, CountingDevice):
            bill = self.device.spent
            return dataclasses.replace(
                found,
                one_qubit_gates=bill.one_qubit_gates,
                two_qubit_gates=bill.two_qubit_gates,
                jobs=bill.jobs,
            )
        return found


@final
class Preflight:
    """Counts what a training run would run.

    Args:
        model: The model of the run, which is copied.
        data: The training data, as for ``train``.
        val_data: The validation data, as for ``train``.
        epochs: Number of epochs; None takes that of the configuration.
        config: The configuration of the run.
        backend: Where the run would run.
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
        backend: Backend,
        make: TrainerFactory,
        prices: PriceList,
    ) -> None:
        self._model, self._config, self._epochs = model, config, epochs
        self._data = _repeatable("data", data)
        self._val_data = _repeatable("val_data", val_data)
        self._make, self._prices = make, prices
        by_name = isinstance(backend.factory, NamedDevice)
        self._backend = backend if by_name else counted(backend)
        self._seconds = 0.0  # of the run, if it was here
        self._samples = 0  # of its first step

    def estimate(self) -> CostEstimate:
        """The cost of the run, and of the same run with other settings."""
        config, method = self._config, str(self._config.resolve("gradient_method"))
        counts = self._run({})
        runs_here = devices.is_ours(counts.device)
        seconds, time_source = self._time(counts.device)
        methods = {method: counts}
        if not runs_here and config.shots != ADAPTIVE:
            others = [name for name in COMPARED if name != method]
            methods |= {name: self._run(_with_method(name)) for name in others}
        if method == "best" and not runs_here:  # it is parameter shift there
            del methods["best"]
            method = "parameter_shift"
        unfrozen: Cost | None = None
        if config.freeze_schedule is not None or not self._all_trained():
            unfrozen = self._run({"freeze_schedule": None}, unfrozen=True).total
        step, epochs = counts.step, tuple(counts.epochs)
        estimate = CostEstimate(
            self._backend.name,
            method,
            epochs[0] if step is None else step,
            epochs,
            {name: found.total for name, found in methods.items()},
            unfrozen,
            self._formula(methods.get("parameter_shift")),
            seconds,
            time_source,
            self._prices.source_of(self._price_name(counts.device)),
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
        model.fill_backend(self._backend)
        if unfrozen:
            model.trainable[: model.n_weights] = True
        device = model.placed.device
        generator = devices.generator_state(device) if devices.is_ours(device) else None
        trainer = self._make(config, OneBackend(self._backend))
        counts = Counts(trainer, self._prices.of(self._price_name(device)))
        try:
            history = trainer.train(
                model, self._data, self._val_data, self._epochs, callbacks=counts
            )
        finally:  # it may be the user's own device
            devices.set_generator_state(device, generator)
        if not self._samples:
            self._samples, self._seconds = counts.samples, sum(history["time"])
        return counts

    def _all_trained(self) -> bool:
        return bool(self._model.trainable[: self._model.n_weights].all())

    def _price_name(self, device: Device) -> str:
        if isinstance(device, MachineDevice):
            return counting_of(device).machine.price_name
        return self._backend.name.removeprefix("qstore.")

    def _time(self, device: Device) -> tuple[tuple[float | None, float | None], str]:
        """The bounds of the time of the run just counted, and what they are made of."""
        if devices.is_ours(device):
            said = "It was trained once on this computer, which took so long."
            return (self._seconds, self._seconds), said
        if isinstance(device, MachineDevice):
            price = self._prices.of(self._price_name(device))
            one, two = counting_of(device).gate_shots
            least = None if price is None else price.seconds(one, two)
            if least is not None:
                said = (
                    "The least is the duration of the gates of all shots, one after "
                    "the other. How long jobs wait is not known."
                )
                return (least, None), said
        return (None, None), "The list of prices has no durations of its gates."

    def _formula(self, shifted: Counts | None) -> Formula | None:
        """The number of circuits of a step by ``1 + 2P``, and why it is another one.

        Args:
            shifted: What parameter shift runs; None if it was not counted.
        """
        model = _copied(self._model)
        model.fill_backend(self._backend)
        config = self._config
        shots = bool(config.shots or config.shots_per_circuit)
        shots = shots or bool(model.placed.device.shots)
        try:
            lanes = model.placed.lanes(shots=shots, shifted=True)
        except DeviceError:
            return None
        if lanes is None:
            return None
        n = model.n_weights
        trained = model.trainable[:n]
        shifts = lanes.shifts(trained)
        samples = self._samples
        circuits = samples * lanes.n_groups * shifts.n_lanes
        run = circuits
        if shifted is not None and shifted.step is not None:
            run = shifted.step.circuits
        uses = [lanes.uses.uses[u] for u in shifts.which]
        alone = np.eye(n, dtype=bool)
        seen = np.array([bool(lanes.uses.depending(one)) for one in alone])
        reasons = _reasons(
            frozen=int(n - trained.sum()),
            unseen=int((trained & ~seen).sum()),
            repeated=len(uses) - int((trained & seen).sum()),
            longer=sum(len(use.rule) > 2 for use in uses),
            same=circuits - run,
        )
        return Formula(n, samples, lanes.n_groups, shifts.n_lanes, run, reasons)

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
