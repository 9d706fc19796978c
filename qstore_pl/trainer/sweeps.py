"""Many training runs: every one of some settings with every one of some seeds."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

from qstore_pl._checks import integer
from qstore_pl._progress import bar
from qstore_pl.config import DEFAULTS, TrainingConfig
from qstore_pl.history import History
from qstore_pl.trainer.executor import Executor, check_executor
from qstore_pl.trainer.trainable import Trainable
from qstore_pl.trainer.trainer import QuantumTrainer

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class SweepRow:
    """One training run of a sweep.

    Attributes:
        settings: The settings of this run that differ from those of the sweep.
        seed: Seed of the run and of the first weights.
        history: The history of the run; None if it failed.
        state: The trained model as ``model.get_state()`` gives it, which
            ``load_state`` takes; None if the run failed.
        checkpoint_directory: Directory of its checkpoints, on the computer where it
            ran; None if there are none.
        seconds: How long the run took.
        error: Why it failed, with the traceback; empty if it did not.
    """

    settings: Mapping[str, Any]
    seed: int
    history: History | None = None
    state: dict[str, Any] | None = field(default=None, repr=False)
    checkpoint_directory: str | None = None
    seconds: float = math.nan
    error: str = ""

    @property
    def best(self) -> float:
        """The best value of the monitored column; NaN if there is none."""
        history = self.history
        if history is None or history.best_epoch is None:
            return math.nan
        epochs = history["epochs"]
        value = history[history.monitor][epochs.index(history.best_epoch)]
        return math.nan if value is None else float(value)

    def as_dict(self) -> dict[str, Any]:
        """The row as numbers and words, for ``pandas.DataFrame``."""
        last = {} if self.history is None else dict(self.history[-1])
        return {
            **self.settings,
            "seed": self.seed,
            "best": self.best,
            **{f"last_{name}": last.get(name) for name in ("loss", "val_loss")},
            "seconds": self.seconds,
            "error": self.error.strip().rpartition("\n")[2],
        }


class _Run(NamedTuple):
    """One run: its number, and what distinguishes it from the others."""

    number: int
    settings: Mapping[str, Any]
    seed: int


def sweep(
    make_model: Callable[..., Trainable],
    data: Any,
    settings: Iterable[Mapping[str, Any]],
    *,
    seeds: Sequence[int] = (0,),
    config: TrainingConfig | None = None,
    val_data: Any = None,
    metrics: Iterable[str] | Mapping[str, Any] | None = None,
    executor: Executor | None = None,
) -> list[SweepRow]:
    """Train a model with each of some settings and each of some seeds.

    Each run is that of ``QuantumTrainer(TrainingConfig(...)).train(...)`` with the same
    settings, whatever the executor. A run that fails is a row with an error.

    Args:
        make_model: ``make_model(seed=seed, ...)`` makes the model of a run. A class
            with arguments, ``functools.partial(QuantumModel, 4, 3)``, is such a
            function.
        data: Training data, as for :meth:`QuantumTrainer.train`. They are sent to the
            workers, so that iterators are refused.
        settings: A dict for each setting to be tried. Its keys are fields of
            :class:`TrainingConfig`, or arguments of ``make_model``; what is both is
            given to both. ``sklearn.model_selection.ParameterGrid`` lists all
            combinations of some values.
        seeds: Seeds of the runs and of the first weights, each >= 0.
        config: Settings of all runs. With a ``checkpoint_directory``, each run has a
            directory of its own in it, ``run0000`` and so on, and continues from there
            if the sweep is called again.
        val_data: Validation data, as for :meth:`QuantumTrainer.train`.
        metrics: Metrics, as for :class:`QuantumTrainer`.
        executor: Where runs are done, each as a whole; None does one after the other
            here.

    Returns:
        A row for each run, all seeds of the first settings before those of the next.

    Raises:
        ValueError: If there is nothing to do, or a setting is neither a field of the
            configuration nor an argument of ``make_model``; or a value of the
            configuration is wrong.
        TypeError: If ``make_model`` takes no seed, or the data are an iterator.
        ExecutorError: If the executor does not reach its workers.

    Example:
        >>> import functools
        >>> from qstore_pl import QuantumModel, TrainingConfig
        >>> X = np.linspace(-1.0, 1.0, 20)[:, None]
        >>> rows = sweep(
        ...     functools.partial(QuantumModel, 1, 1),
        ...     (X, np.sign(X)),
        ...     [{"learning_rate": 0.01}, {"learning_rate": 0.1, "n_layers": 1}],
        ...     seeds=[0, 1],
        ...     config=TrainingConfig(epochs=5),
        ... )
        >>> [(row.settings["learning_rate"], row.seed) for row in rows]
        [(0.01, 0), (0.01, 1), (0.1, 0), (0.1, 1)]
        >>> min(rows, key=lambda row: row.best).settings
        {'learning_rate': 0.1, 'n_layers': 1}
    """
    check_executor(executor)
    config = TrainingConfig() if config is None else config
    arguments = _arguments_of(make_model)
    listed = [dict(one) for one in settings]
    seeds = [integer("seeds", seed, minimum=0) for seed in seeds]
    if not listed or not seeds:
        raise ValueError(
            "Arguments `settings` and `seeds` must have at least one entry each, but "
            f"have {len(listed)} and {len(seeds)}. [{{}}] are the settings of `config`."
        )
    for one in listed:
        _check(one, config, arguments)
    for name, given in (("data", data), ("val_data", val_data)):
        if isinstance(given, Iterator):
            raise TypeError(
                f"Argument `{name}` must be something that can start again for every "
                "run, but is an iterator. Pass arrays or a list."
            )
    pairs = [(one, seed) for one in listed for seed in seeds]
    runs = [_Run(i, one, seed) for i, (one, seed) in enumerate(pairs)]
    work = functools.partial(
        _row, make_model, data, val_data, config, metrics, arguments
    )
    if executor is None:
        rows = []
        with bar(len(runs), "run", shown=False if config.progress else None) as shown:
            for run in runs:
                rows.append(work(run))
                if shown is not None:
                    shown.update()
        return rows
    return [
        found
        if isinstance(found, SweepRow)
        else SweepRow(run.settings, run.seed, error=str(found))
        for run, found in zip(runs, executor.map(work, runs), strict=True)
    ]


def _row(
    make_model: Callable[..., Trainable],
    data: Any,
    val_data: Any,
    config: TrainingConfig,
    metrics: Any,
    arguments: frozenset[str],
    run: _Run,
) -> SweepRow:
    """Do one run; an error is written into its row."""
    own = _config_of(config, run)
    directory = own.checkpoint_directory
    row = SweepRow(
        run.settings,
        run.seed,
        checkpoint_directory=None if directory is None else str(directory),
    )
    start = time.perf_counter()
    try:
        of_model = {k: v for k, v in run.settings.items() if k in arguments}
        model = make_model(seed=run.seed, **of_model)
        trainer = QuantumTrainer(own, metrics=metrics)
        resume = "auto" if directory else None
        history = trainer.train(model, data, val_data, resume=resume)
        row = dataclasses.replace(row, history=history, state=model.get_state())
    except Exception:  # noqa: BLE001 - a run that fails is a row, not the end
        _log.exception("Run %d of the sweep failed.", run.number)
        row = dataclasses.replace(row, error=traceback.format_exc())
    return dataclasses.replace(row, seconds=time.perf_counter() - start)


def _config_of(config: TrainingConfig, run: _Run) -> TrainingConfig:
    """The configuration of a run."""
    changes = {k: v for k, v in run.settings.items() if k in DEFAULTS}
    own = dataclasses.replace(config, **changes, seed=run.seed)
    if own.progress is None:
        own.progress = False  # the sweep has a bar of its own
    if own.checkpoint_directory is not None:
        parent = Path(own.checkpoint_directory)
        own.checkpoint_directory = str(parent / f"run{run.number:04d}")
    return own


def _arguments_of(make_model: Callable[..., Trainable]) -> frozenset[str]:
    """The names by which arguments can be given to a function that makes models."""
    if not callable(make_model):
        raise TypeError(
            "Argument `make_model` must be a function that makes a model, but is of "
            f"type {type(make_model).__name__}. functools.partial(QuantumModel, 4, 3) "
            "is one."
        )
    parameters = inspect.signature(make_model).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = frozenset(one.name for one in parameters if one.kind in named)
    if "seed" not in found:
        raise TypeError(
            "Argument `make_model` must take an argument `seed`, with which the first "
            f"weights are drawn, but takes {', '.join(sorted(found)) or 'none'}."
        )
    return found


def _check(
    settings: Mapping[str, Any], config: TrainingConfig, arguments: frozenset[str]
) -> None:
    """Refuse settings that no run can have."""
    unknown = settings.keys() - DEFAULTS.keys() - arguments
    if unknown:
        raise ValueError(
            "Argument `settings` must name fields of TrainingConfig or arguments of "
            f"`make_model`, {', '.join(sorted(arguments - {'seed'}))}, but names "
            f"{', '.join(sorted(unknown))}."
        )
    if "seed" in settings or config.seed is not None:
        raise ValueError(
            "The seed of a run must be in `seeds`, and neither in `settings` nor in "
            "`config`, but is there."
        )
    dataclasses.replace(config, **{k: v for k, v in settings.items() if k in DEFAULTS})
