"""Scores of predictions: those the user wants recorded, and the share of right classes.

A score looks at the outputs of all samples of an epoch and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.losses import Loss, evaluated
from qstore_pl.trainer.state import Totals

Metrics = Mapping[str, Callable[[Any, Any], float]]


def scores_of(
    metrics: Metrics, loss: Loss, totals: Totals, prefix: str
) -> dict[str, float]:
    """The scores of one pass through data; none if no outputs were kept.

    Args:
        metrics: Functions of predictions and targets, by name.
        loss: Says whether there are classes, and which.
        totals: Outputs and prepared targets of the pass.
        prefix: Stands before every name: empty, or ``"val_"``.

    Raises:
        IndexError: If a function looks for an axis that is not there.
        TypeError: If a function returns something else than a real number.
    """
    if not totals.outputs:
        return {}
    outputs, targets = map(np.concatenate, (totals.outputs, totals.targets))
    given = _as_given(loss, outputs, targets, one_axis=totals.one_axis)
    scores = {
        prefix + name: _number(name, evaluated(f"Metric `{name}`", metric, *given))
        for name, metric in metrics.items()
    }
    if loss.is_classification:
        scores[f"{prefix}accuracy"] = loss.accuracy(outputs, targets)
    return scores


def _as_given(
    loss: Loss, outputs: NDArray[Any], targets: NDArray[Any], *, one_axis: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Predictions and targets of one output in the shape that targets were given in."""
    n_samples, n_outputs = outputs.shape
    if n_outputs == 1 and targets.size != n_samples and loss.labels is not None:
        targets = loss.labels(targets)  # "binary" has a column for each class
    if n_outputs > 1 or targets.size != n_samples:
        return outputs, targets
    shape = (n_samples,) if one_axis else (n_samples, 1)
    return outputs.reshape(shape), targets.reshape(shape)


def _number(name: str, value: Any) -> float:
    array = np.asarray(value)
    if array.shape or array.dtype.kind not in "fiub":
        raise TypeError(
            f"Metric `{name}` must return a real number, but returned dtype "
            f"{array.dtype} and shape {array.shape}."
        )
    return float(array)
