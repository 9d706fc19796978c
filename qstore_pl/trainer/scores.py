"""Metrics: scores of predictions that are recorded in every epoch.

A metric is computed from the outputs for all samples, and does not influence training.
Named metrics are those of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl._checks import choice
from qstore_pl.losses import Loss, evaluated
from qstore_pl.trainer.state import Totals

Metrics = Mapping[str, Callable[[Any, Any], float]]


@dataclass(frozen=True)
class NamedScore:
    """A metric of scikit-learn.

    Args:
        function: Name of the function in ``sklearn.metrics``.
        mode: Whether the smallest (``"min"``) or the largest value (``"max"``) is best.
        of_classes: Whether it compares classes; otherwise it compares numbers.
        options: Keyword arguments of the function, as pairs of name and value.
    """

    function: str
    mode: str
    of_classes: bool
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, predictions: NDArray[Any], targets: NDArray[Any]) -> float:
        """The score of all samples.

        Args:
            predictions: Predicted classes, shape ``(n_samples,)``, or outputs.
            targets: Classes or numbers in the shape of the predictions.
        """
        from sklearn import metrics  # takes half a second, so only if needed

        score = getattr(metrics, self.function)
        return float(score(targets, predictions, **dict(self.options)))


_MACRO = (("average", "macro"), ("zero_division", 0.0))
SCORES = {
    "balanced_accuracy": NamedScore("balanced_accuracy_score", "max", of_classes=True),
    "f1": NamedScore("f1_score", "max", of_classes=True, options=_MACRO),
    "precision": NamedScore("precision_score", "max", of_classes=True, options=_MACRO),
    "recall": NamedScore("recall_score", "max", of_classes=True, options=_MACRO),
    "matthews": NamedScore("matthews_corrcoef", "max", of_classes=True),
    "mae": NamedScore("mean_absolute_error", "min", of_classes=False),
    "rmse": NamedScore("root_mean_squared_error", "min", of_classes=False),
    "max_error": NamedScore("max_error", "min", of_classes=False),
    "r2": NamedScore("r2_score", "max", of_classes=False),
}
"""Named metrics. f1, precision and recall are means over the classes."""


def metrics_of(wanted: Any) -> dict[str, Callable[[Any, Any], float]]:
    """The functions of metrics, by the names of their columns in the history.

    Args:
        wanted: None, an iterable of names out of ``SCORES``, or a dict from names of
            the user's to such names or to functions of (predictions, targets).

    Raises:
        TypeError: If ``wanted`` is none of these.
        ValueError: If a name is unknown.
    """
    if wanted is None:
        return {}
    if isinstance(wanted, Mapping):
        named = dict(wanted)
    elif isinstance(wanted, Iterable) and not isinstance(wanted, str):
        names = [choice("metrics", name, {*SCORES, "accuracy"}) for name in wanted]
        # The accuracy is recorded without being asked for.
        named = {name: name for name in names if name != "accuracy"}
    else:
        raise TypeError(
            "Argument `metrics` must be a list of names or a dict from names to "
            f"functions, but is {wanted!r}. Known names are {', '.join(SCORES)}."
        )
    for name, score in named.items():
        if isinstance(score, str):
            named[name] = SCORES[choice(f"metrics[{name!r}]", score, SCORES)]
        elif not callable(score):
            raise TypeError(
                f"Argument `metrics` must hold functions or names, but {name!r} is "
                f"{score!r}."
            )
    return named


def check_metrics(metrics: Metrics, loss: Loss) -> None:
    """Refuse metrics of classes if the targets of the loss are not classes.

    Raises:
        ValueError: If there is such a metric.
    """
    if loss.is_classification:
        return
    for name, score in metrics.items():
        if isinstance(score, NamedScore) and score.of_classes:
            raise ValueError(
                f"Metric `{name}` compares classes, but the targets of loss "
                f"`{loss.name}` are none. Take a loss of classes, as cross_entropy."
            )


def scores_of(
    metrics: Metrics, loss: Loss, totals: Totals, prefix: str
) -> dict[str, float]:
    """The values of all metrics after one pass through the data.

    Args:
        metrics: Functions of (predictions, targets), by name.
        loss: The loss, which knows whether the targets are classes, and which.
        totals: Outputs and prepared targets of all samples. If no outputs were kept,
            no metric is computed.
        prefix: Prefix of every name, empty or ``"val_"``.

    Raises:
        IndexError: If a function indexes an axis that does not exist.
        TypeError: If a function does not return a real number.
    """
    if not totals.outputs:
        return {}
    outputs, targets = map(np.concatenate, (totals.outputs, totals.targets))
    given = _as_given(loss, outputs, loss.bare(targets), one_axis=totals.one_axis)
    scores = {}
    for name, metric in metrics.items():
        arguments = given
        if isinstance(metric, NamedScore) and metric.of_classes:
            arguments = loss.classes(outputs, targets)
        value = evaluated(f"Metric `{name}`", metric, *arguments)
        scores[prefix + name] = _number(name, value)
    if loss.is_classification:
        scores[f"{prefix}accuracy"] = loss.accuracy(outputs, targets)
    return scores


def _as_given(
    loss: Loss, outputs: NDArray[Any], targets: NDArray[Any], *, one_axis: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Predictions and targets; if there is one output, in the shape the user gave."""
    n_samples, n_outputs = outputs.shape
    if n_outputs == 1 and targets.size != n_samples and loss.labels is not None:
        targets = targets.argmax(axis=1)  # "binary" has a column for each class
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
