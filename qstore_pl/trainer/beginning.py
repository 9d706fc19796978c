"""What a run begins with: its state, its gradient estimator, and what it may spend."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from qstore_pl import devices
from qstore_pl.backends import (
    Bill,
    Budget,
    MachineDevice,
    MachineFactory,
    NamedDevice,
    Purse,
)
from qstore_pl.config import ADAPTIVE, TrainingConfig
from qstore_pl.gradients import (
    FEWEST,
    AdaptiveShift,
    GradientEstimator,
    ModelExpectations,
    ParallelEstimator,
    Shard,
    ShardedEstimator,
    ShardWork,
    estimator_of,
)
from qstore_pl.history import History
from qstore_pl.losses import Loss
from qstore_pl.placed import Placed
from qstore_pl.trainer.executor import Executor
from qstore_pl.trainer.scores import Metrics
from qstore_pl.trainer.settings import LIMITS, METHOD_FIELDS
from qstore_pl.trainer.state import Gathered, Totals, TrainState
from qstore_pl.trainer.trainable import Trainable

FREE = ("default.", "lightning.")  # PennyLane's own simulators


def shots_of(config: TrainingConfig) -> int | None:
    """Measurements per circuit, at least; None leaves them to the device."""
    if isinstance(config.shots, str):
        return FEWEST
    return config.shots or config.shots_per_circuit


def gradients_of(
    model: Trainable,
    config: TrainingConfig,
    rng: np.random.Generator,
    places: Sequence[Placed] = (),
) -> GradientEstimator:
    """The gradient estimator of a model that the configuration asks for.

    Args:
        model: The model, which runs on the first backend.
        config: The configuration.
        rng: Generator from which random gradient methods draw.
        places: The model on all backends of the run, those of ``backend_shares`` in
            their order. It may be left out for the model's own.
    """
    if config.backend_shares is None:
        return _estimator(ModelExpectations(model, shots=shots_of(config)), config, rng)
    shares = list(config.backend_shares.values())
    shards = []
    for placed, share in zip(places, shares, strict=True):
        expectations = ModelExpectations(model, placed, shots=shots_of(config))
        own = np.random.default_rng()  # takes over the state of the run's generator
        estimator = _estimator(expectations, config, own, share=share / sum(shares))
        shards.append(Shard(estimator, share, own, placed.backend.is_remote))
    return ShardedEstimator(shards, rng)


@contextmanager
def in_parallel(
    executor: Executor,
    model: Trainable,
    config: TrainingConfig,
    loss: Loss,
    rng: np.random.Generator,
) -> Iterator[GradientEstimator]:
    """A context in which workers of an executor compute the gradients of a model.

    Args:
        executor: The executor.
        model: The model, for which :func:`gradients_of` has made an estimator, so that
            its circuit is compiled.
        config: The configuration, which :func:`check_executed` has seen.
        loss: The loss of the run.
        rng: Generator from which the seeds of all random draws are drawn.

    Raises:
        ExecutorError: If the executor does not reach its workers.
    """
    expectations = ModelExpectations(model, shots=shots_of(config))
    mean = loss if loss.is_mean else None
    method = config.resolve("gradient_method")
    work = ShardWork(expectations, method, _options_of(config), mean)
    with executor.crew(work) as run:
        yield ParallelEstimator(
            expectations, run, n_shards=executor.n_shards, rng=rng, loss=mean
        )


def _options_of(config: TrainingConfig) -> dict[str, Any]:
    """The options of the gradient method."""
    return {option: getattr(config, field) for field, option in METHOD_FIELDS.items()}


def _begin_run(placed: Placed, rng: np.random.Generator, *, seeded: bool) -> None:
    """Begin a run on a device.

    Args:
        placed: The model on its backend.
        rng: Generator whose numbers the device draws, if it was made by its name alone,
            without a seed of the user's.
        seeded: Whether the run has a seed.
    """
    backend, device, drawn = placed.backend, placed.device, None
    by_name = isinstance(backend.factory, NamedDevice) or (
        isinstance(backend.factory, MachineFactory) and "seed" not in backend.options
    )
    if seeded and by_name:
        drawn = dict(rng.bit_generator.state)
    if isinstance(device, MachineDevice):
        device.begin_run(drawn)
    else:
        devices.set_generator_state(device, drawn)


def _estimator(
    expectations: ModelExpectations,
    config: TrainingConfig,
    rng: np.random.Generator,
    *,
    share: float = 1.0,
) -> GradientEstimator:
    """The gradient estimator of a circuit that is given a share of all samples."""
    if config.shots == ADAPTIVE:
        assert config.shots_budget is not None  # `check_settings` has asked for it
        budget = int(share * config.shots_budget)
        return AdaptiveShift(expectations, budget=budget, share=share)
    return estimator_of(
        expectations,
        config.resolve("gradient_method"),
        rng=rng,
        **_options_of(config),
    )


def purse_of(
    config: TrainingConfig, state: TrainState, estimator: GradientEstimator
) -> Purse | None:
    """What a run may spend, and has spent before it was resumed.

    Args:
        config: The configuration.
        state: The state of the run.
        estimator: The gradient estimator, for its devices.

    Returns:
        None if nothing is limited.

    Raises:
        ValueError: If a limit of the cost is set, and the price of a device is not
            known.
    """
    if not config.set_fields() & LIMITS:
        return None
    for device in estimator.devices if config.max_cost is not None else ():
        known = isinstance(device, MachineDevice) or devices.is_ours(device)
        if not known and not device.name.startswith(FREE):
            raise ValueError(
                "Configuration max_cost must be unset on a backend whose price is not "
                f"known, but circuits run on {device.name}. Limit max_circuits or "
                "max_shots."
            )
    budget = Budget(config.max_cost, config.max_circuits, config.max_shots)
    return Purse(budget, spent_in(state, estimator))


def spent_in(state: TrainState, estimator: GradientEstimator) -> Bill:
    """What a run has spent so far.

    Args:
        state: The state of the run, which counts circuits and shots.
        estimator: The gradient estimator. Devices of machines count all else.
    """
    machines = [one for one in estimator.devices if isinstance(one, MachineDevice)]
    known = sum((device.spent for device in machines), Bill())
    circuits, shots = state.counted
    return dataclasses.replace(known, circuits=circuits, shots=shots)


def state_of(
    config: TrainingConfig,
    model: Trainable,
    loss: Loss,
    history: History,
    metrics: Metrics,
    places: Sequence[Placed] = (),
) -> TrainState:
    """The state in which a new run begins.

    Args:
        config: The configuration.
        model: The model, which has a backend.
        loss: The loss.
        history: Where the epochs of the run are recorded.
        metrics: The metrics of the run, by name.
        places: The model on all backends of the run. It may be left out for the model's
            own.
    """
    rng = np.random.default_rng(config.seed)
    places = places or [model.placed]
    of_method, *of_devices = rng.spawn(1 + len(places))
    for placed, own in zip(places, of_devices, strict=True):
        _begin_run(placed, own, seeded=config.seed is not None)
    return TrainState(
        rng=rng,
        method_rng=of_method,
        totals=Totals(loss.is_classification or bool(metrics)),
        gathered=Gathered(np.zeros(model.parameters.size)),
        history=history,
    )
