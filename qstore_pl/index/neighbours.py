"""Neighbours of a sample: records of an index, and how near their states are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from qstore_pl.index.blobs import without_own_keys
from qstore_pl.store import Match, Metadata

PURITY: Final = "qstore_purity"  # a key of the metadata


@final
@dataclass(frozen=True, slots=True)
class Neighbour:
    r"""A record near a sample.

    With the state :math:`\rho` of the sample and the state :math:`\sigma` of the record
    the fidelity and the overlap are as follows; embeddings that are not of the kind
    ``"pauli"`` have none of them.

    Attributes:
        id: Identifier of the record.
        score: What the store says, by its metric: a cosine or a dot product, which are
            the higher the nearer; or a squared distance, which is the lower the nearer.
        fidelity: For pure states their fidelity :math:`|\langle\psi|\varphi\rangle|^2`,
            and in general
            :math:`\mathrm{Tr}(\rho\sigma)/\sqrt{\mathrm{Tr}\rho^2\,\mathrm{Tr}\sigma^2}`.
        overlap: :math:`\mathrm{Tr}(\rho\sigma)`.
        metadata: What was given for the record.
    """

    id: str
    score: float
    fidelity: float | None
    overlap: float | None
    metadata: Metadata


def neighbours_of(
    vector: Any, matches: Sequence[Match], *, metric: str, kind: str
) -> list[Neighbour]:
    """The records that a store found, as neighbours of a sample.

    Args:
        vector: The embedding of the sample, shape ``(dimension,)``.
        matches: What the store found.
        metric: The metric of the store.
        kind: Kind of the embeddings.
    """
    own = float(np.dot(vector, vector))
    found: list[Neighbour] = []
    for match in matches:
        fidelity, overlap = None, None
        if kind == "pauli":
            other = float(match.metadata[PURITY])
            fidelity, overlap = _nearness(match.score, metric, own, other)
        metadata = without_own_keys(match.metadata)
        found.append(Neighbour(match.id, match.score, fidelity, overlap, metadata))
    return found


def _nearness(
    score: float, metric: str, own: float, other: float
) -> tuple[float, float]:
    """Fidelity and overlap of two states, from a score and their purities."""
    scale = float(np.sqrt(own * other))
    if metric == "cosine":
        return score, score * scale
    overlap = score if metric == "dotproduct" else (own + other - score) / 2.0
    return overlap / scale, overlap
