"""Embedding records anew after their model has changed, so that it can be interrupted.

The new model is written first, marked as incomplete, then its records, and then it is
marked as complete. Only then the earlier model is marked as incomplete, and its records
and itself are deleted. Every step can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qstore_pl.errors import ProvenanceError
from qstore_pl.index.blobs import chunks_space, unused_chunks, without_own_keys
from qstore_pl.index.provenance import (
    Provenance,
    listed,
    marked,
    models_space,
    one_of,
    records_space,
)
from qstore_pl.index.rows import embedded, metadata_of, rows_of
from qstore_pl.model import QuantumModel
from qstore_pl.store import Vectors, VectorStore


def sources_of(
    name: str,
    mine: str,
    models: Sequence[Provenance],
    *,
    wanted: str | None,
    last: str,
) -> list[Provenance]:
    """The models whose records are to be embedded anew, the latest first.

    Args:
        name: Name of the index.
        mine: Fingerprint of the model as it is now.
        models: The models that are there.
        wanted: First characters of a fingerprint that the user gave, or None.
        last: Fingerprint with which the index was used last, or the empty string.

    Returns:
        One model; several if the first of them was itself being embedded anew when
        that was interrupted; none if there is nothing left to do.

    Raises:
        ProvenanceError: If it is not clear which model is meant, or it is not there.
    """
    others = {x.fingerprint: x for x in models if x.fingerprint != mine}
    own = next((x for x in models if x.fingerprint == mine), None)
    if wanted is not None:
        first = one_of(name, list(others.values()), wanted)
    elif own is not None and own.source in others:
        first = others[own.source]
    elif own is not None and not own.complete:
        raise ProvenanceError(
            f"The records of index `{name}` that were being embedded anew are gone, "
            f"with their model {own.source[:16]}. {listed(models)}"
        )
    elif last in others:
        first = others[last]
    elif own is not None and not others:
        return []
    else:
        first = one_of(name, list(others.values()), None)
    found = [first]
    while not found[-1].complete and found[-1].source in others:
        earlier = others[found[-1].source]
        if earlier in found or (own is not None and own.complete):
            break  # all its records are in the new namespace already
        found.append(earlier)
    return found


def embed_anew(
    store: VectorStore,
    name: str,
    model: QuantumModel,
    mine: Provenance,
    sources: Sequence[Provenance],
    *,
    keep: bool,
    batch: int,
) -> int:
    """Embed the records of earlier models with the present weights.

    Identifiers that the present model has already are left as they are: they were
    written before an interruption, or are newer.

    Args:
        store: The store.
        name: Name of the index.
        model: The model as it is now.
        mine: What is known of it.
        sources: The earlier models, the latest first, from :func:`sources_of`.
        keep: Whether the earlier records are kept.
        batch: Number of records that are embedded at a time.

    Returns:
        Number of records that were embedded.

    Raises:
        ProvenanceError: If samples have another number of features.
        StoreError: If the store cannot be read or written.
    """
    if not sources:
        return 0
    for source in sources:
        if source.input_dim != model.input_dim:
            raise ProvenanceError(
                f"The records of index `{name}` have samples of {source.input_dim} "
                f"features, but the model takes {model.input_dim}."
            )
    began = replace(mine, source=sources[0].fingerprint, complete=False)
    began.write(store, name, model)
    space = records_space(name, mine.fingerprint)
    done = set(store.list(namespace=space))
    before = len(done)
    for source in sources:
        theirs = records_space(name, source.fingerprint)
        ids = [one for one in store.list(namespace=theirs) if one not in done]
        for start in range(0, len(ids), batch):
            found = store.fetch(ids[start : start + batch], namespace=theirs)
            records = list(found.values())
            if not records:
                continue
            samples = rows_of(records, model.input_dim)
            vectors = embedded(model, samples, kind=mine.kind, metric=store.metric)
            given = [without_own_keys(record.metadata) for record in records]
            kept = metadata_of(
                mine.fingerprint, samples, vectors, given, kind=mine.kind
            )
            store.upsert(Vectors(list(found), vectors, kept), namespace=space)
            done.update(found)
    marked(store, name, mine.fingerprint, complete=True)
    if not keep:
        for source in sources:
            _delete(store, name, source.fingerprint)
    return len(done) - before


def _delete(store: VectorStore, name: str, fingerprint: str) -> None:
    """Delete the records of a model, then the model, so that none is ever left over."""
    marked(store, name, fingerprint, complete=False)
    store.delete(delete_all=True, namespace=records_space(name, fingerprint))
    space = models_space(name)
    store.delete([fingerprint], namespace=space)
    if unused := unused_chunks(store, space):
        store.delete(unused, namespace=chunks_space(space))
