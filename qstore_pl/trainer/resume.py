"""Resuming: what a checkpoint of a run holds, and how a run continues from it."""

from __future__ import annotations

import functools
import platform
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any

from pennylane.devices import Device

from qstore_pl import checkpoint, devices
from qstore_pl._lazy import cached_property
from qstore_pl.config import DEFAULTS
from qstore_pl.errors import CheckpointError
from qstore_pl.optimizers import Optimizer
from qstore_pl.trainer.data import Source
from qstore_pl.trainer.run_directory import files_in, latest_in
from qstore_pl.trainer.state import EARLY, TrainState
from qstore_pl.trainer.trainable import Trainable

RUN_VERSION = 4
# In version 1 the history was a JSON document; version 3 counts the shots of an epoch.
# Before version 4, what an epoch had counted was kept until the next one began.
READABLE = (1, 2, 3, 4)
RUN_KEYS = {
    *("version", "model", "optimizer", "run", "device", "device_generator"),
    *("data", "config", "environment"),
}
RESUMABLE = {  # settings that may change between a run and its continuation
    *("epochs", "patience", "restore_best"),
    *("progress", "log_interval", "strict_callbacks", "on_interrupt"),
    *("max_cost", "max_circuits", "max_shots", "on_budget"),
    *("quantum_api_key", "max_concurrent_circuits"),
    *("checkpoint_directory", "checkpoint_interval", "checkpoint_keep"),
    *("store_directory", "store_samples"),
    *("pinecone_api_key", "pinecone_environment", "pinecone_index_name"),
}
RENAMED = {  # settings that had another name in earlier versions
    "metric": "metric_tensor",
    "metric_approximation": "metric_tensor_approximation",
}
RECORDED_LATER = {  # settings that checkpoints of earlier versions do not have
    "schedule_epochs": "the length of its schedule was not recorded",
    "functions": "what its functions do was not recorded",
}


_FUNCTION = "the function of "  # is followed by its purpose
_SAME_FUNCTION = (
    " A function is the same if its name, its code, its defaults and the values it "
    "closes over are."
)
_KEEP_LENGTH = (
    " A cosine takes its length from epochs unless schedule_epochs is set: keep "
    "epochs={0}, or set schedule_epochs={0}."
)


@dataclass
class Parts:
    """All that belongs to a run besides its state.

    Args:
        model: The model that is trained.
        optimizer: The optimizer that trains it.
        sources: The training data, followed by the validation data if there are any.
        settings: All other settings on which the result depends, by name.
        shots: Measurements per circuit, >= 1; None leaves them to the device.
        run_on: The devices of the run; the first one is that of the model.
        run_id: Name of the run in a vector store; empty if it was never in one.
    """

    model: Trainable
    optimizer: Optimizer
    sources: Sequence[Source]
    settings: dict[str, Any]
    shots: int | None
    run_on: Sequence[Device]
    run_id: str = ""

    def tree(self, state: TrainState) -> dict[str, Any]:
        """The contents of a checkpoint of the run, without its history."""
        first, *others = map(devices.generator_state, self.run_on)
        found: dict[str, Any] = {
            "model": self.model.get_state(),
            "optimizer": self.optimizer.state,
            "run": state.to_tree(),
            "device_generator": first,
        }
        if others:
            found["other_generators"] = others
        if self.run_id:
            found["run_id"] = self.run_id
        return self._fixed | found

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        """The part of a checkpoint that does not change during the run."""
        return {
            "version": RUN_VERSION,
            "device": self._device,
            "data": self.data,
            "config": self.settings,
            "environment": environment(),
        }

    @property
    def _device(self) -> str:
        """What the devices of the run are, in words."""
        return " and ".join(map(devices.description, self.run_on))

    @cached_property
    def data(self) -> list[str]:
        """Digests of the training data and of the validation data."""
        return [source.digest for source in self.sources]

    def take_over(self, found: Any, epochs: int) -> TrainState:
        """Continue from a checkpoint, after checking that it belongs to this run.

        The model and the optimizer take over their states in place.

        Args:
            found: Contents of the checkpoint.
            epochs: Total number of epochs of the run.

        Returns:
            The state of the run.

        Raises:
            CheckpointError: If it is no checkpoint of a run, or one of another run.
            ValueError: If the run in the checkpoint has done more epochs.
        """
        self._check(found)
        done = found["run"]["epoch"]
        if done > epochs:
            raise ValueError(
                f"Argument `epochs` must be >= {done}, those that the resumed run has "
                f"done, but is {epochs}. It is the total."
            )
        try:
            self.model.load_state(found["model"])
            self.optimizer.load_state(found["optimizer"])
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"A resumed run must have the model it began with. {error}"
            ) from error
        state = TrainState.from_tree(found["run"])
        self.run_id = found.get("run_id", self.run_id)
        if found["version"] < 3:
            state.shots = (self.shots or 0) * state.circuits
        if found["version"] < 4 and state.step == 0:
            state.circuits, state.shots, state.seconds = 0, 0, 0.0
        patience = self.settings.get("patience")
        if state.stopped == EARLY and (patience is None or state.waited < patience):
            state.stopped = ""  # patience is longer now than it was
        self._warn_of(found, state, epochs)
        generators = [found["device_generator"], *found.get("other_generators", [])]
        for device, generator in zip(self.run_on, generators, strict=True):
            devices.set_generator_state(device, generator)
        return state

    def _check(self, found: Any) -> None:
        if not isinstance(found, dict) or not found.keys() >= RUN_KEYS:
            raise CheckpointError(
                "The checkpoint was not written by a training run, and none can be "
                "resumed from it. Read it with load_checkpoint."
            )
        if found["version"] not in READABLE:
            raise CheckpointError(
                f"The checkpoint has version {found['version']}, but this release of "
                f"qstore-pl resumes runs up to version {RUN_VERSION}. Use the release "
                "that wrote it."
            )
        unknown = self._incomparable(found).keys()
        before, now = (
            _flat(
                DEFAULTS | {RENAMED.get(key, key): v for key, v in c.items()}, unknown
            )
            for c in (found["config"], self.settings)
        )
        different = {
            key: (before.get(key), now.get(key))
            for key in sorted({*before, *now} - RESUMABLE)
            if before.get(key) != now.get(key)
        }
        here = self._device
        if found["device"] != here:
            different["device"] = (found["device"], here)
        if different:
            listed = "; ".join(
                f"{key} was {was!r}, is {now!r}"
                for key, (was, now) in different.items()
            )
            advice = ""
            length = different.get("schedule_epochs", (None, None))[0]
            if length is not None:
                advice = _KEEP_LENGTH.format(length)
            elif any(key.startswith(_FUNCTION) for key in different):
                advice = _SAME_FUNCTION
            raise CheckpointError(
                f"A resumed run must have the settings it began with, but {listed}. To "
                f"go on with others, load the model's state and train without resume."
                f"{advice}"
            )
        if found["data"] != self.data:
            raise CheckpointError(
                "A resumed run must have the data it began with, but its training or "
                "validation data are others. To go on with them, load the model's "
                "state and train without resume."
            )

    def _incomparable(self, found: dict[str, Any]) -> dict[str, str]:
        """Settings that cannot be compared with those of the checkpoint, and why."""
        reasons = {
            key: reason
            for key, reason in RECORDED_LATER.items()
            if key in self.settings and key not in found["config"]
        }
        there, here = (e["python"] for e in (found["environment"], environment()))
        if "functions" in self.settings and _minor(there) != _minor(here):
            reasons["functions"] = (
                f"functions cannot be compared between Python {there} and {here}"
            )
        return reasons

    def _warn_of(self, found: dict[str, Any], state: TrainState, epochs: int) -> None:
        """Warn of what keeps a resumed run from being the same bit for bit."""
        there, here = found["environment"], environment()
        reasons = [f"{key} changed" for key in here if there.get(key) != here[key]]
        reasons += self._incomparable(found).values()
        interval, validated = self.settings.get("validation_interval", 1), [None]
        validated += state.history["val_losses"]
        if (
            epochs > state.epoch
            and state.epoch % interval
            and validated[-1] is not None
        ):
            reasons.append(f"epoch {state.epoch} was validated because it was the last")
        reasons += [
            f"{device.name} does not tell where its draws are"
            for device in self.run_on
            if devices.generator_state(device) is None and (self.shots or device.shots)
        ]
        if reasons:
            warnings.warn(
                "The run is resumed approximately, not bit for bit: "
                f"{', '.join(reasons)}.",
                stacklevel=4,
            )


def _flat(settings: dict[str, Any], without: Collection[str]) -> dict[str, Any]:
    """The settings without some of them, with an entry of its own for each function."""
    known = {k: v for k, v in settings.items() if k not in without}
    functions = known.pop("functions", {})
    return known | {f"{_FUNCTION}{name}": word for name, word in functions.items()}


def _minor(version: str) -> str:
    """The "3.12" of "3.12.4", within which Python's bytecode does not change."""
    return version.rpartition(".")[0]


def found_in(
    resume: str | PathLike[str] | None, directory: str | PathLike[str] | None
) -> tuple[Path, Any] | None:
    """The checkpoint from which a run continues.

    Args:
        resume: Path of the checkpoint; or ``"latest"``, the latest one in the
            directory; or ``"auto"``, the latest one if there is any. None begins a new
            run.
        directory: Directory of the run's checkpoints; None if it has none.

    Returns:
        The path of the checkpoint and its contents, or None to begin a new run.

    Raises:
        ValueError: If the latest checkpoint is wanted, but there is no directory.
        CheckpointError: If no checkpoint can be read.
    """
    if resume is None:
        return None
    if resume not in ("latest", "auto"):
        return Path(resume), checkpoint.load(resume)
    if directory is None:
        raise ValueError(
            f'Argument `resume` may be "{resume}" only with a checkpoint_directory in '
            "the configuration, but there is none. Give a path."
        )
    if resume == "auto" and not (Path(directory).is_dir() and files_in(directory)):
        return None
    return latest_in(directory)


@functools.cache
def _processor() -> str:
    """The name of the processor, as precise as it can be found out."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def environment() -> dict[str, str]:
    """The machine and the versions, on which the last bits of results depend."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("numpy", "numba", "scipy")},
        **{name: metadata.version(name) for name in ("pennylane", "qstore-pl")},
    }
