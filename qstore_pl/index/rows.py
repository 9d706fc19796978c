"""Records of an embedding index: samples, fingerprints and purities as metadata."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.errors import ProvenanceError
from qstore_pl.index.neighbours import PURITY
from qstore_pl.model import QuantumModel
from qstore_pl.store import Metadata, Record

Float2D = NDArray[np.float64]

MODEL: Final = "qstore_model"  # the fingerprint of the model that made the record
INPUT: Final = "qstore_input"  # the sample, the base64 of its float64 numbers
NO_DIRECTION: Final = 1e-9  # lengths below it are rounding errors
SHORTEST: Final = 1e-15
MAX_FEATURES: Final = 3_000  # which leaves 8 kB of metadata for what users give


def embedded(
    model: QuantumModel, samples: Float2D, *, kind: str, metric: str
) -> Float2D:
    """The embeddings of samples, as a store takes them.

    No store takes a vector of zeros, as the local one of a Bell state. Where it has no
    direction to compare, it is refused; else it is moved by 1e-15, which is nothing in
    single precision.

    Args:
        model: The model.
        samples: Shape ``(n_samples, input_dim)``.
        kind: Kind of the embeddings.
        metric: The metric of the store.

    Returns:
        Shape ``(n_samples, dimension)``.

    Raises:
        ValueError: If an embedding is zero and the metric the cosine; or as
            :meth:`QuantumModel.embed`.
    """
    vectors = model.embed(samples, kind)
    lengths = np.linalg.norm(vectors, axis=1)
    if metric == "cosine" and (lengths < NO_DIRECTION).any():
        raise ValueError(
            f"Argument `X` must have samples whose {kind!r} embedding is not zero, but "
            f"sample {int(np.argmin(lengths))} has a zero one, which has no cosine. "
            'Take a store with metric="euclidean", or kind="pauli".'
        )
    vectors[lengths < SHORTEST, 0] = SHORTEST
    return vectors


def metadata_of(
    fingerprint: str,
    samples: Float2D,
    vectors: Float2D,
    given: Sequence[Mapping[str, Any]],
    *,
    kind: str,
) -> list[Metadata]:
    """The metadata of records, with ours.

    Args:
        fingerprint: Of the model that makes the records.
        samples: Shape ``(n_samples, input_dim)``.
        vectors: Their embeddings, shape ``(n_samples, dimension)``.
        given: What the user gave for each sample.
        kind: Kind of the embeddings.
    """
    rows = samples.astype("<f8")
    found: list[Metadata] = [
        {**one, MODEL: fingerprint, INPUT: base64.b64encode(row.tobytes()).decode()}
        for one, row in zip(given, rows, strict=True)
    ]
    if kind == "pauli":
        purities = np.einsum("ij,ij->i", vectors, vectors).tolist()
        for one, purity in zip(found, purities, strict=True):
            one[PURITY] = purity
    return found


def rows_of(records: Sequence[Record], input_dim: int) -> Float2D:
    """The samples of records.

    Args:
        records: The records, at least one.
        input_dim: Number of features of a sample.

    Returns:
        Shape ``(n_records, input_dim)``.

    Raises:
        ProvenanceError: If a record has no sample, or one of another length.
    """
    return np.stack([_row(record, input_dim) for record in records])


def _row(record: Record, input_dim: int) -> NDArray[np.float64]:
    try:
        data = base64.b64decode(record.metadata[INPUT], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ProvenanceError(
            f"Record `{record.id}` does not hold its sample: it was not written by an "
            "EmbeddingIndex, or its metadata were changed."
        ) from error
    if len(data) != 8 * input_dim:
        raise ProvenanceError(
            f"Record `{record.id}` must hold a sample of {input_dim} features, but "
            f"holds {len(data)} bytes, which are {len(data) / 8:g} numbers."
        )
    return np.frombuffer(data, "<f8").astype(np.float64)
