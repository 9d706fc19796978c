"""The cost of a training run before it is run.

A copy of the model is trained as the run would train it, by the trainer itself and with
the same seed, on a backend that counts. Nothing is sent or written, and the model, the
optimizer and all random generators stay as they are.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from qstore_pl import devices
from qstore_pl.backends import Backend, BackendManager, Bill, MachineDevice
from qstore_pl.backends.counted import CountingBackends, counting_of
from qstore_pl.backends.kinds import GivenDevice
from qstore_pl.backends.prices import PriceList
from qstore_pl.config import ADAPTIVE, DEFAULTS, TrainingConfig
from qstore_pl.cost import CostEstimate
from qstore_pl.gradients import OPTIONS, GradientEstimator
from qstore_pl.placed import Placed
from qstore_pl.trainer.counts import Counts, Trainer, price_name
from qstore_pl.trainer.data import are_arrays
from qstore_pl.trainer.formula import formula_of
from qstore_pl.trainer.settings import METHOD_FIELDS
from qstore_pl.trainer.trainable import Trainable

COMPARED = ("parameter_shift", "finite_diff", "spsa")
# What a run tells, writes, watches or may stop at; none of it runs a circuit.
NOT_COUNTED = (
    *("patience", "monitor", "monitor_mode", "min_delta", "restore_best"),
    *("checkpoint_directory", "checkpoint_interval", "checkpoint_keep"),
    *("log_interval", "progress"),
    *("max_cost", "max_circuits", "max_shots", "on_budget"),
    *("store_directory", "store_samples"),
    *("pinecone_api_key", "pinecone_environment", "pinecone_index_name"),
)


TrainerFactory = Callable[[TrainingConfig, BackendManager], Trainer]


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
        prices: The list of prices of devices that are no machines.
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
        unfrozen: Bill | None = None
        if config.freeze_schedule is not None or not self._all_trained():
            unfrozen = self._run({"freeze_schedule": None}, unfrozen=True).total
        sources = [self._prices_of(p).source_of(price_name(p)) for p in parts]
        step, epochs = counts.step, tuple(counts.epochs)
        estimate = CostEstimate(
            " and ".join(dict.fromkeys(p.expectations.backend for p in parts)),
            method,
            epochs[0] if step is None else step,
            epochs,
            {name: found.total for name, found in methods.items()},
            unfrozen,
            formula_of(counts, methods.get("parameter_shift"), self._model, config),
            seconds,
            time_source,
            " ".join(dict.fromkeys(sources)),
            self._prices_of(parts[0]).date,
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
        counting = {
            **{"on_interrupt": "raise", "strict_callbacks": True},
            "progress": False,
        }
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

    def _prices_of(self, part: GradientEstimator) -> PriceList:
        """The list of prices of a backend."""
        device = part.expectations.device
        if isinstance(device, MachineDevice):
            return counting_of(device).machine.prices
        return self._prices

    def _time(
        self, parts: Sequence[GradientEstimator]
    ) -> tuple[tuple[float | None, float | None], str]:
        """The bounds of the time of the run just counted, and what they are made of."""
        found = [part.expectations.device for part in parts]
        if all(map(devices.is_ours, found)):
            said = "It was trained once on this computer, which took so long."
            return (self._seconds, self._seconds), said
        times = [self._time_of(part) for part in parts]
        least, most = (
            None if None in bounds else max(bounds)  # backends run at the same time
            for bounds in zip(*((low, high) for low, high, _ in times), strict=True)
        )
        return (least, most), " ".join(dict.fromkeys(said for _, _, said in times))

    def _time_of(
        self, part: GradientEstimator
    ) -> tuple[float | None, float | None, str]:
        """The bounds of the time on one backend, and what they are made of."""
        name, device = price_name(part), part.expectations.device
        if not isinstance(device, MachineDevice):
            return None, None, f"It is not known how long circuits take on {name}."
        counting = counting_of(device)
        if known := counting.machine.job_seconds:
            said = (
                f"{len(known)} jobs on {name} in the ledger took {min(known):.3g} to "
                f"{max(known):.3g} seconds from their sending to their result, and the "
                f"run waits for jobs {counting.submissions} times."
            )
            least, most = (counting.submissions * f(known) for f in (min, max))
            return least, most, said
        price = self._prices_of(part).of(name)
        seconds = None if price is None else price.seconds(*counting.gate_shots)
        if seconds is None:
            return (
                None,
                None,
                f"The list of prices has no durations of gates of {name}.",
            )
        said = (
            "The least is the duration of the gates of all shots, one after the other, "
            "by the list of prices. How long jobs wait is not known."
        )
        return seconds, None, said

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
                f"Weights that are 0 or a multiple of pi/2 now: {int(still.sum())}. "
                "Rotations by exactly 0 are not run and not paid. The first step is "
                "counted with these weights, and later steps as if all trained weights "
                "had moved."
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


def _at_most(estimate: CostEstimate) -> CostEstimate:
    """The estimate of a run whose shots follow what is measured."""
    note = (
        "Shots are adaptive, and follow what is measured: their numbers are about the "
        "most that the budget allows, and the price is not known before the run."
    )

    def without_price(cost: Bill) -> Bill:
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
