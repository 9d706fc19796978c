"""Classes by the nearest neighbours: a vote, and when it is too weak to decide."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.index.neighbours import Neighbour


@final
@dataclass(frozen=True, slots=True)
class Classified:
    """The classes of samples, by their nearest neighbours.

    Attributes:
        labels: The label with the most votes, an array of objects of shape
            ``(n_samples,)``; None where the vote was too weak.
        agreement: The share of the neighbours that have the label with the most votes,
            shape ``(n_samples,)``.
        neighbours: The neighbours of each sample, the nearest first.
    """

    labels: NDArray[Any]
    agreement: NDArray[np.float64]
    neighbours: list[list[Neighbour]]


def voted(
    neighbours: list[list[Neighbour]],
    *,
    label: str,
    min_fidelity: float | None,
    min_agreement: float,
) -> Classified:
    """The vote of the neighbours of each sample, each of which counts the same.

    If several labels have the most votes, that of the nearest of them is taken.

    Args:
        neighbours: The neighbours of each sample, the nearest first, at least one.
        label: The key of the metadata whose value is a label.
        min_fidelity: Fidelity that the nearest neighbour must have; None asks for none.
        min_agreement: Share of the neighbours that must have the label.

    Raises:
        TypeError: If a label is a list.
    """
    labels = np.full(len(neighbours), None, dtype=object)
    agreement = np.zeros(len(neighbours))
    for row, nearest in enumerate(neighbours):
        votes = [_label(label, one.metadata[label]) for one in nearest]
        # Counter keeps the order of first votes among equals, and with it the nearest.
        (winner, count), *_ = Counter(votes).most_common(1)
        agreement[row] = count / len(votes)
        fidelity = nearest[0].fidelity
        near = min_fidelity is None or (
            fidelity is not None and fidelity >= min_fidelity
        )
        if near and agreement[row] >= min_agreement:
            labels[row] = winner
    return Classified(labels, agreement, neighbours)


def _label(label: str, value: Any) -> str | int | float | bool:
    """A label as it was given: stores keep whole numbers as floats."""
    if isinstance(value, list):
        raise TypeError(
            f"Argument `label` must name a key with a string, a number or a bool in "
            f"every record, but {label!r} is {value!r}."
        )
    if isinstance(value, float) and value.is_integer():
        return int(value)
    found: str | float | bool = value
    return found
