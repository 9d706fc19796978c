"""What a checkpoint of a run needs to know of a device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from pennylane.devices import Device


class ResumableDevice(Device):
    """A device whose random draws go on where those of a checkpoint ended."""

    @property
    def description(self) -> str:
        """A text that says what the device is; its seed is not part of it."""
        return str(self.name)

    @property
    def functions(self) -> list[Callable[..., Any]]:
        """The user's own functions that results depend on, always in the same order."""
        return []

    @property
    def draws(self) -> dict[str, Any]:
        """What later results are drawn from, without all else that a run changes."""
        return self.generator_state

    @draws.setter
    def draws(self, state: dict[str, Any]) -> None:
        self.generator_state = state

    @property
    @abstractmethod
    def generator_state(self) -> dict[str, Any]:
        """The state of the random generator, as numbers and words."""

    @generator_state.setter
    @abstractmethod
    def generator_state(self, state: dict[str, Any]) -> None: ...
