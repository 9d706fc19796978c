"""What a training run ran in its first step and in each epoch, on every backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, final

from qstore_pl import devices
from qstore_pl.backends import Bill, MachineDevice
from qstore_pl.backends.counted import CountingDevice, counting_of
from qstore_pl.backends.prices import Price, PriceList
from qstore_pl.callbacks import Callback
from qstore_pl.gradients import GradientEstimator
from qstore_pl.history import History
from qstore_pl.trainer.trainable import Trainable

GATES = ("one_qubit_gates", "two_qubit_gates", "jobs")


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


@final
@dataclass
class Counts(Callback):
    """What was run in the first step and in each epoch.

    Args:
        trainer: The trainer, which is asked after each step.
        prices: The list of prices of devices that are no machines.
    """

    trainer: Trainer
    prices: PriceList
    step: Bill | None = None
    samples: int = 0  # of this step
    epochs: list[Bill] = field(default_factory=list)
    _begin: Bill = field(default_factory=Bill)

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
    def total(self) -> Bill:
        """The whole run."""
        return sum(self.epochs, Bill())

    @property
    def parts(self) -> Sequence[GradientEstimator]:
        """The estimators that ran circuits, one for each backend."""
        return self._estimator.parts

    @property
    def _estimator(self) -> GradientEstimator:
        assert self.trainer.estimator is not None
        return self.trainer.estimator

    def _now(self) -> Bill:
        """All that was run so far."""
        return sum((self._by(part) for part in self.parts), Bill())

    def _by(self, part: GradientEstimator) -> Bill:
        """All that was run so far on one backend."""
        device = part.expectations.device
        if isinstance(device, MachineDevice):
            return device.spent
        is_free = self.prices.of(price_name(part)) == Price()
        dollars = 0.0 if is_free or devices.is_ours(device) else None
        gates: dict[str, Any] = dict.fromkeys(GATES)
        if isinstance(device, CountingDevice):
            bill = dataclasses.asdict(device.spent)
            gates = {name: bill[name] for name in GATES}
        return Bill(part.circuits, part.spent, **gates, dollars=dollars)


def price_name(part: GradientEstimator) -> str:
    """The name of a backend in the list of prices.

    Args:
        part: A gradient estimator that runs there.
    """
    device = part.expectations.device
    if isinstance(device, MachineDevice):
        return counting_of(device).machine.price_name
    return part.expectations.backend.removeprefix("qstore.")
