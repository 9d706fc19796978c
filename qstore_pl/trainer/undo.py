"""What a training step changes, kept until the step has succeeded.

A step may fail in its middle: a budget is at its end, or a machine does not answer.
Then all is set back to what it was before the step, so that the run can be resumed from
there, with the same random numbers.
"""

from __future__ import annotations

from typing import final

from qstore_pl.backends import MachineDevice
from qstore_pl.devices import ResumableDevice
from qstore_pl.trainer.state import Gathered, TrainState
from qstore_pl.trainer.step import Step


@final
class Undo:
    """The state of a run before a step.

    Args:
        step: What does the step.
        state: The state of the run.
    """

    def __init__(self, step: Step, state: TrainState) -> None:
        self._step, self._state = step, state
        self._parameters = step.model.parameters.copy()
        self._optimizer = step.optimizer.state
        self._gathered = state.gathered.to_tree()
        self._method = state.method_rng.bit_generator.state
        self._estimator = step.estimator.state
        self._draws = [
            (device, device.draws)
            for device in step.estimator.devices
            if isinstance(device, ResumableDevice)
        ]

    def __call__(self) -> None:
        """Set everything back; what was spent stays spent."""
        step, state = self._step, self._state
        step.model.parameters[:] = self._parameters
        step.optimizer.load_state(self._optimizer)
        state.gathered = Gathered(**self._gathered)
        state.method_rng.bit_generator.state = self._method
        machines = [one for one, _ in self._draws if isinstance(one, MachineDevice)]
        spent = [device.spent for device in machines]
        step.estimator.load_state(self._estimator)
        for device, before in self._draws:
            device.draws = before
        for machine, bill in zip(machines, spent, strict=True):
            machine.spent = bill
