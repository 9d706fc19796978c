"""What the commands ``qstore store ...`` find: as a document, and as lines of text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qstore_pl.index import CheckpointIndex
    from qstore_pl.store import VectorStore

Found = tuple[dict[str, Any], list[str]]
DEFAULT = "(default)"  # what the namespace without a name is called
SHOWN = 5  # entries of the metadata of a record that one line has


def holds_checkpoints(store: VectorStore) -> bool:
    """Whether an index is one of checkpoints.

    Args:
        store: The index.
    """
    from qstore_pl.index.behaviour import DIMENSION
    from qstore_pl.index.checkpoints import METRIC, SUFFIX

    suited = (store.dimension, store.metric) == (DIMENSION, METRIC)
    return suited and store.index.endswith(SUFFIX)


def contents(stores: Sequence[VectorStore], others: Sequence[str]) -> Found:
    """The indexes of a store, with their models and checkpoints.

    Args:
        stores: The indexes that are looked at.
        others: Names of the others.
    """
    from qstore_pl.index import CheckpointIndex
    from qstore_pl.index.blobs import manifests

    indexes, lines = [], []
    for one in stores:
        stats = one.stats()
        lines.append(f"{one.index}  {stats.dimension} numbers, {stats.metric}")
        models, checkpoints = [], []
        for namespace, count in sorted(stats.namespaces.items()):
            lines.append(f"  {namespace or DEFAULT}  {count:,} records")
            if namespace.endswith(".models"):
                for name, metadata in manifests(one, namespace).items():
                    own = _own(metadata)
                    models.append({"fingerprint": name, "metadata": own})
                    lines.append(f"    model {name[:16]}  {_told(metadata)}")
        if holds_checkpoints(one):
            for saved in CheckpointIndex(one).ls():
                checkpoints.append(_as_dict(saved.name, saved.metadata))
                lines.append(f"  checkpoint {saved.name}  {_summary(saved.metadata)}")
        indexes.append(
            {
                "index": one.index,
                "dimension": stats.dimension,
                "metric": stats.metric,
                "namespaces": dict(sorted(stats.namespaces.items())),
                "models": models,
                "checkpoints": checkpoints,
            }
        )
    if others:
        lines.append(f"other indexes, for --index: {', '.join(others)}")
    return {"indexes": indexes, "other_indexes": list(others)}, lines


def alike_checkpoints(checkpoints: CheckpointIndex, what: str, top_k: int) -> Found:
    """Which checkpoints behave like one of them, or like the model in a file.

    Args:
        checkpoints: The checkpoints in the store.
        what: Name of one of them, or a file.
        top_k: How many to find.

    Raises:
        KeyError: If there is no such checkpoint.
    """
    from qstore_pl import QuantumModel

    wanted: Any = what
    if what not in checkpoints.names(what) and Path(what).is_file():
        wanted = QuantumModel.from_checkpoint(what)
    found, lines = [], []
    for alike in checkpoints.search(wanted, top_k=top_k):
        known = _as_dict(alike.name, alike.metadata)
        found.append({"difference": alike.difference} | known)
        lines.append(
            f"difference {alike.difference:.6f}  {alike.name}  "
            f"{_summary(alike.metadata)}"
        )
    return {"checkpoints": found}, lines


def near_samples(store: VectorStore, record: str, top_k: int) -> Found:
    """The neighbours of a sample, in each namespace of embeddings that has it.

    Args:
        store: The index of the embeddings.
        record: Identifier of the sample.
        top_k: How many to find in each namespace.

    Raises:
        KeyError: If no namespace has it.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    lines = []
    for namespace in sorted(store.stats().namespaces):
        if namespace.endswith((".models", ".chunks")):
            continue
        if record not in store.fetch([record], namespace=namespace):
            continue
        found[namespace] = []
        lines.append(f"namespace {namespace or DEFAULT}")
        # The record itself is among those that are found.
        matches = store.query(id=record, top_k=top_k + 1, namespace=namespace)
        others = [match for match in matches if match.id != record]
        for match in others[:top_k]:
            is_state = "qstore_purity" in match.metadata and store.metric == "cosine"
            word = "fidelity" if is_state else store.metric
            own = _own(match.metadata)
            found[namespace].append(
                {"id": match.id, word: match.score, "metadata": own}
            )
            told = _told(match.metadata)
            lines.append(f"  {word} {match.score:.6f}  {match.id}  {told}")
    if not found:
        raise KeyError(f"Index `{store.index}` has no record `{record}`.")
    return {"id": record, "namespaces": found}, lines


def exported(checkpoints: CheckpointIndex, name: str, path: Path) -> Found:
    """Write a checkpoint to a file.

    Args:
        checkpoints: The checkpoints in the store.
        name: Name of the checkpoint.
        path: The file.

    Raises:
        KeyError: If there is no such checkpoint.
    """
    checkpoints.export(name, path)
    return {"checkpoint": name, "file": str(path)}, [f"{name} written to {path}"]


def collected(stores: Sequence[VectorStore], older_than: float) -> Found:
    """Delete what deleted and interrupted checkpoints have left.

    Args:
        stores: The indexes.
        older_than: Age in seconds of what is deleted.
    """
    from qstore_pl.index import CheckpointIndex
    from qstore_pl.index.blobs import unused_chunks

    deleted = {}
    for one in stores:
        n_chunks = 0
        if holds_checkpoints(one):
            n_chunks = CheckpointIndex(one).gc(older_than=older_than)
        for namespace in one.stats().namespaces:
            models = namespace.removesuffix(".chunks")
            if models != namespace and models.endswith(".models"):
                unused = unused_chunks(one, models, older_than=older_than)
                if unused:
                    one.delete(unused, namespace=namespace)
                n_chunks += len(unused)
        deleted[one.index] = n_chunks
        one.optimize()
    lines = [f"{index}  {n} unused chunks deleted" for index, n in deleted.items()]
    return {"deleted_chunks": deleted}, lines


def damage(stores: Sequence[VectorStore]) -> Found:
    """Which records and checkpoints are damaged, by the name of the index.

    Args:
        stores: The indexes.
    """
    from qstore_pl.index import CheckpointIndex

    damaged, lines = {}, []
    for one in stores:
        found = [
            f"record {record} of namespace {namespace or DEFAULT}"
            for namespace, records in one.verify().items()
            for record in records
        ]
        if holds_checkpoints(one):
            found += [f"checkpoint {n}" for n in CheckpointIndex(one).verify()]
        lines += [f"damaged  {one.index}: {what}" for what in found]
        if found:
            damaged[one.index] = found
        else:
            lines.append(f"ok       {one.index}")
    return {"indexes": [one.index for one in stores], "damaged": damaged}, lines


def _as_dict(name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint, with what of its metadata a summary tells."""
    keys = ("epoch", "step", "loss", "model", "time")
    return {"name": name} | {key: metadata[key] for key in keys if key in metadata}


def _own(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a record without those of this package."""
    from qstore_pl.index.blobs import without_own_keys

    return dict(without_own_keys(dict(metadata)))


def _summary(metadata: Mapping[str, Any]) -> str:
    """A checkpoint in a few words."""
    parts = []
    if "epoch" in metadata:
        step = int(metadata.get("step", 0))
        batch = f", batch {step}" if step else ""
        parts.append(f"epoch {int(metadata['epoch'])}{batch}")
    if "loss" in metadata:
        parts.append(f"loss {metadata['loss']:.6g}")
    if "model" in metadata:
        parts.append(str(metadata["model"]))
    if "time" in metadata:
        moment = time.gmtime(metadata["time"])
        parts.append(time.strftime("%Y-%m-%d %H:%M:%S UTC", moment))
    return ", ".join(parts)


def _told(metadata: Mapping[str, Any]) -> str:
    """The metadata of a record in one line, without those of this package."""
    entries = list(_own(metadata).items())
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in entries[:SHOWN]
    )
