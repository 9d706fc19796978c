"""The settings in a checkpoint: all that a run depends on besides model and data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pennylane.devices import Device

from qstore_pl import devices
from qstore_pl.config import TrainingConfig
from qstore_pl.losses import LOSSES, get_loss
from qstore_pl.optimizers import Optimizer, Schedule
from qstore_pl.trainer.fingerprint import fingerprint
from qstore_pl.trainer.scores import Metrics
from qstore_pl.trainer.settings import schedule_length


def settings_of(
    config: TrainingConfig,
    optimizer: Optimizer,
    metrics: Metrics,
    run_on: Sequence[Device],
    epochs: int,
) -> dict[str, Any]:
    """The settings of a run by name, as strings, numbers and dicts of these.

    Args:
        config: The configuration.
        optimizer: The optimizer, with its hyperparameters.
        metrics: Functions of (predictions, targets) that are recorded, by name.
        run_on: The devices of the run, whose noise may be defined by functions.
        epochs: Total number of epochs of the run.
    """
    found = config.to_dict() | {"optimizer": repr(optimizer)}
    if metrics:
        found["metrics"] = ", ".join(metrics)
    if isinstance(config.schedule, Schedule):
        found["schedule"] = repr(config.schedule)
    length = schedule_length(config, epochs)
    if length is not None:
        found["schedule_epochs"] = length
    functions = _functions(config, metrics, run_on)
    if functions:
        found["functions"] = {
            name: fingerprint(function) for name, function in functions.items()
        }
    return found


def _functions(
    config: TrainingConfig, metrics: Metrics, run_on: Sequence[Device]
) -> dict[str, Any]:
    """The user's own functions, by their purpose."""
    found: dict[str, Any] = {f"metrics[{name!r}]": fn for name, fn in metrics.items()}
    schedule = config.schedule
    if callable(schedule) and not isinstance(schedule, Schedule):
        found["the schedule"] = schedule
    loss = get_loss(config.resolve("loss"))
    if loss not in LOSSES.values():
        found |= {f"the loss ({part})": fn for part, fn in loss.functions.items()}
    noise = [function for device in run_on for function in devices.functions(device)]
    for i, function in enumerate(noise):
        found[f"the noise ({i})"] = function
    return found
