"""``qstore store``: look at a vector store."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qstore_pl.commands.printing import add_command, show

if TYPE_CHECKING:
    from qstore_pl.index import CheckpointIndex
    from qstore_pl.store import VectorStore

Found = tuple[dict[str, Any], list[str]]  # a result as a document, and as text
DEFAULT = "(default)"  # what the namespace without a name is called
SHOWN = 5  # entries of the metadata of a record that one line has


def add(commands: Any) -> None:
    """Add the commands to the command line."""
    store = add_command(
        commands,
        "store",
        "look at a vector store",
        json=False,
        description="STORE is a directory with LanceDB, or the word pinecone, with the "
        "key in the environment variable PINECONE_API_KEY.",
    )
    what = store.add_subparsers(dest="what", required=True)
    for name, description in (
        ("ls", "print the indexes, the models and the checkpoints of a store"),
        ("search", "print which checkpoints, or which samples, are alike"),
        ("export", "write a checkpoint to a file, from which a run is resumed"),
        ("gc", "delete what deleted and interrupted checkpoints have left"),
        ("verify", "read everything; fail if something is damaged"),
    ):
        one = add_command(what, name, description)
        one.add_argument("store", metavar="STORE")
        one.add_argument(
            "--index",
            default="qstore",
            help="name of the index of the embeddings; that of the checkpoints is the "
            "one beside it",
        )
        if name == "search":
            how = one.add_mutually_exclusive_group(required=True)
            how.add_argument(
                "checkpoint",
                nargs="?",
                help="name of a checkpoint in the store, or a checkpoint file: which "
                "others behave like it?",
            )
            how.add_argument("--id", help="identifier of a sample: which are near it?")
            one.add_argument("--top-k", type=int, default=10, help="how many to find")
        if name == "export":
            one.add_argument("name", help="name of the checkpoint")
            one.add_argument("file", type=Path)
        if name == "gc":
            one.add_argument(
                "--older-than",
                type=float,
                default=3600.0,
                metavar="SECONDS",
                help="leave what is younger, which may still be being written",
            )
    store.set_defaults(run=_store)


def _store(options: argparse.Namespace) -> int:
    """Run one of the commands; return 1 if ``verify`` found damage, else 0.

    Raises:
        StoreError: If the store cannot be opened or read, or has no such thing.
        ValueError: If a number is out of its range.
    """
    from qstore_pl._checks import integer, real
    from qstore_pl.errors import StoreError

    if options.what == "search":
        integer("top-k", options.top_k, minimum=1)
    if options.what == "gc":
        real("older-than", options.older_than, minimum=0.0)
    with ExitStack() as opened:
        stores, others = _opened(options.store, options.index, opened)
        try:
            document, lines = _found(options, stores, others)
        except KeyError as error:
            raise StoreError(str(error.args[0])) from error
    show(options, document, lines)
    return int(bool(document.get("damaged")))


def _found(
    options: argparse.Namespace, stores: Sequence[VectorStore], others: Sequence[str]
) -> Found:
    """What a command finds.

    Raises:
        KeyError: If there is no record or checkpoint of that name.
    """
    match options.what:
        case "verify":
            return _verify(stores)
        case "ls":
            return _ls(stores, others)
        case "search" if options.id is not None:
            return _near(stores[0], options.id, options.top_k)
        case "search":
            return _alike(_checkpoints(stores), options.checkpoint, options.top_k)
        case "export":
            return _export(_checkpoints(stores), options.name, options.file)
        case _:
            return _gc(stores, options.older_than)


def _opened(
    where: str, index: str, opened: ExitStack
) -> tuple[list[VectorStore], list[str]]:
    """The index of the embeddings and that of the checkpoints, as far as they exist.

    Returns:
        The indexes, and the names of all others at the place.
    """
    from qstore_pl.errors import StoreError
    from qstore_pl.index.checkpoints import SUFFIX
    from qstore_pl.store import PINECONE, indexes_at, open_store

    if where != PINECONE and not Path(where).expanduser().is_dir():
        raise StoreError(
            f"There is no directory `{where}`. Give the store_directory of a run, or "
            f"the word {PINECONE}."
        )
    there = indexes_at(where)
    names = [name for name in (index, f"{index}{SUFFIX}") if name in there]
    if not names:
        raise StoreError(
            f"There is no index `{index}` in `{where}`, which has "
            f"{', '.join(there) or 'none'}. Choose one by --index."
        )
    stores = [opened.enter_context(open_store(where, index=name)) for name in names]
    return stores, [name for name in there if name not in names]


def _checkpoints(stores: Sequence[VectorStore]) -> CheckpointIndex:
    from qstore_pl.errors import StoreError
    from qstore_pl.index import CheckpointIndex

    if not _holds_checkpoints(stores[-1]):
        raise StoreError(f"Index `{stores[0].index}` has no checkpoints beside it.")
    return CheckpointIndex(stores[-1])


def _holds_checkpoints(store: VectorStore) -> bool:
    from qstore_pl.index.behaviour import DIMENSION
    from qstore_pl.index.checkpoints import METRIC, SUFFIX

    suited = (store.dimension, store.metric) == (DIMENSION, METRIC)
    return suited and store.index.endswith(SUFFIX)


def _ls(stores: Sequence[VectorStore], others: Sequence[str]) -> Found:
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
        if _holds_checkpoints(one):
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


def _alike(checkpoints: CheckpointIndex, what: str, top_k: int) -> Found:
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


def _near(store: VectorStore, record: str, top_k: int) -> Found:
    """The neighbours of a sample, in each namespace of embeddings that has it."""
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


def _export(checkpoints: CheckpointIndex, name: str, path: Path) -> Found:
    checkpoints.export(name, path)
    return {"checkpoint": name, "file": str(path)}, [f"{name} written to {path}"]


def _gc(stores: Sequence[VectorStore], older_than: float) -> Found:
    from qstore_pl.index import CheckpointIndex
    from qstore_pl.index.blobs import unused_chunks

    deleted = {}
    for one in stores:
        n_chunks = 0
        if _holds_checkpoints(one):
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


def _verify(stores: Sequence[VectorStore]) -> Found:
    """Which records and checkpoints are damaged, by the name of the index."""
    from qstore_pl.index import CheckpointIndex

    damaged, lines = {}, []
    for one in stores:
        found = [
            f"record {record} of namespace {namespace or DEFAULT}"
            for namespace, records in one.verify().items()
            for record in records
        ]
        if _holds_checkpoints(one):
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
