"""What a report says: scores with intervals, differences, and a sentence about them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from qstore_pl._axes import axes_of
from qstore_pl._tables import aligned, html_table, paragraph

Float1D = NDArray[np.float64]

NUMBERS = range(1, 5)  # the columns of numbers


@final
@dataclass(frozen=True)
class ReportRow:
    """The scores of one model.

    Args:
        name: ``"model"``, or the word of a baseline.
        n_parameters: How many numbers it learns, rounded over the splits. Of a quantum
            model they are the trained parameters that an output depends on.
        scores: Its score on the test part of each split: the accuracy, or R2 for
            numbers.
        mean: The mean of the scores.
        half_width: Half the width of the 95 % interval of the mean, by Student's t.
        difference: Mean of the model's scores minus these, split by split.
        difference_half_width: Half the width of its 95 % interval, which takes into
            account that the splits share samples.
        seconds: Median time of its training.
    """

    name: str
    n_parameters: int
    scores: tuple[float, ...]
    mean: float
    half_width: float
    difference: float
    difference_half_width: float
    seconds: float

    @property
    def is_beaten(self) -> bool:
        """Whether the model scores higher, beyond the interval of the difference."""
        return self.difference > self.difference_half_width

    @property
    def beats(self) -> bool:
        """Whether it scores higher than the model, beyond that interval."""
        return -self.difference > self.difference_half_width


@final
@dataclass(frozen=True)
class Report:
    """The results of :func:`qstore_pl.report`; ``print`` shows them as a table.

    Args:
        rows: The scores, those of the model first.
        score: What the scores are, ``"accuracy"`` or ``"R2"``.
        n_train: Samples that each model was trained on.
        n_test: Samples that it was tested on.
        notes: Sentences about what should be known besides.
    """

    rows: tuple[ReportRow, ...]
    score: str
    n_train: int
    n_test: int
    notes: tuple[str, ...]

    @property
    def conclusion(self) -> str:
        """Which baselines the model beats beyond the intervals, and which not."""
        baselines = self.rows[1:]
        beaten = [row.name for row in baselines if row.is_beaten]
        better = [row.name for row in baselines if row.beats]
        open_ = [row.name for row in baselines if not (row.is_beaten or row.beats)]
        parts = [f"the model beats {_listed(beaten)}"]
        if better:
            parts.append(f"it is beaten by {_listed(better)}")
        if open_:
            parts.append(f"it cannot be told from {_listed(open_)}")
        n = len(self.rows[0].scores)
        return f"Beyond the 95 % intervals over {n} splits {'; '.join(parts)}."

    def __str__(self) -> str:
        lines = aligned(self._cells, right=NUMBERS, rules=[1])
        return "\n".join([*lines, *self._below])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table and what it says, for notebooks."""
        below = paragraph("\n".join(self._below))
        return html_table(self._cells, right=NUMBERS) + below

    @property
    def _cells(self) -> list[tuple[str, ...]]:
        """The rows of the table, the head first."""
        head = ("name", "parameters", self.score, "model minus it", "seconds")
        return [head, *map(_cells, self.rows)]

    @property
    def _below(self) -> list[str]:
        size = f"{self.n_train} samples to train on, {self.n_test} to test on"
        return [size, self.conclusion, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Everything as lists, words and numbers."""
        found = asdict(self) | {"conclusion": self.conclusion}
        found["rows"] = [row | {"scores": [*row["scores"]]} for row in found["rows"]]
        found["notes"] = [*self.notes]
        return found

    def plot(self, ax: Any = None) -> Any:
        """Draw the mean scores with their intervals, and the score of each split.

        Args:
            ax: Axes of matplotlib to draw on; None makes a new figure.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
            TypeError: If ``ax`` are not axes of matplotlib.
        """
        ax = axes_of("Report.plot", "ax", ax)
        names = [row.name for row in self.rows]
        for place, row in enumerate(self.rows):
            split = np.full(len(row.scores), place)
            ax.plot(row.scores, split, "|", color="C0", alpha=0.5)
            ax.errorbar(row.mean, place, xerr=row.half_width, fmt="o", color="C0")
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.set(xlabel=f"{self.score} on the test part")
        return ax


def row_of(
    name: str,
    scores: Float1D,
    reference: Float1D,
    *,
    n_parameters: int,
    seconds: float,
    n_train: int,
    n_test: int,
) -> ReportRow:
    """A row from the scores of the splits.

    The splits share training samples, so that their scores are correlated. The interval
    of a difference is that of Nadeau and Bengio, whose variance is larger by the factor
    1 + n_splits n_test / n_train.

    Args:
        name: Name of the row.
        scores: Its scores, shape ``(n_splits,)``.
        reference: Those of the model on the same splits.
        n_parameters: How many numbers it learns.
        seconds: Median time of its training.
        n_train: Training samples of a split.
        n_test: Test samples of a split.

    References:
        Nadeau and Bengio, Inference for the generalization error, Mach. Learn. 52, 239
        (2003).
    """
    n = len(scores)
    quantile = float(stats.t.ppf(0.975, n - 1))
    differences = reference - scores
    inflated = differences.var(ddof=1) * (1 / n + n_test / n_train)
    return ReportRow(
        name=name,
        n_parameters=n_parameters,
        scores=tuple(scores.tolist()),
        mean=float(scores.mean()),
        half_width=quantile * float(scores.std(ddof=1)) / math.sqrt(n),
        difference=float(differences.mean()),
        difference_half_width=quantile * math.sqrt(inflated),
        seconds=seconds,
    )


def _cells(row: ReportRow) -> tuple[str, ...]:
    difference = f"{row.difference:+.3f} ± {row.difference_half_width:.3f}"
    return (
        row.name,
        f"{row.n_parameters:,}",
        f"{row.mean:.3f} ± {row.half_width:.3f}",
        "" if row.name == "model" else difference,
        f"{row.seconds:.2f}",
    )


def _listed(names: list[str]) -> str:
    if not names:
        return "none of the baselines"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
