"""The commands ``qstore store ...``, which look at a vector store."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qstore_pl.index import CheckpointIndex
    from qstore_pl.store import VectorStore

Lines = Iterator[str]
SHOWN = 5  # entries of the metadata of a record that one line has


def add_store(commands: Any) -> None:
    """Add the words of these commands to the command line.

    Args:
        commands: What ``add_subparsers`` of :mod:`argparse` returned.
    """
    store = commands.add_parser(
        "store",
        help="look at a vector store",
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
        one = what.add_parser(name, help=description, description=description)
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


def run_store(options: argparse.Namespace) -> int:
    """Run one of the commands.

    Args:
        options: The words of the command line.

    Returns:
        The exit status: 1 if ``verify`` found damage, else 0.

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
        match options.what:
            case "verify":
                return _verify(stores)
            case "ls":
                lines = _ls(stores, others)
            case "search" if options.id is not None:
                lines = _near(stores[0], options.id, options.top_k)
            case "search":
                lines = _alike(_checkpoints(stores), options.checkpoint, options.top_k)
            case "export":
                lines = _export(_checkpoints(stores), options.name, options.file)
            case _:
                lines = _gc(stores, options.older_than)
        try:
            for line in lines:
                print(line)
        except KeyError as error:
            raise StoreError(str(error.args[0])) from error
    return 0


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


def _ls(stores: Sequence[VectorStore], others: Sequence[str]) -> Lines:
    from qstore_pl.index import CheckpointIndex
    from qstore_pl.index.blobs import manifests

    for one in stores:
        stats = one.stats()
        yield f"{one.index}  {stats.dimension} numbers, {stats.metric}"
        for namespace, count in sorted(stats.namespaces.items()):
            yield f"  {namespace or '(default)'}  {count:,} records"
            if namespace.endswith(".models"):
                for name, metadata in manifests(one, namespace).items():
                    yield f"    model {name[:16]}  {_told(metadata)}"
        if _holds_checkpoints(one):
            for saved in CheckpointIndex(one).ls():
                yield f"  checkpoint {saved.name}  {_summary(saved.metadata)}"
    if others:
        yield f"other indexes, for --index: {', '.join(others)}"


def _alike(checkpoints: CheckpointIndex, what: str, top_k: int) -> Lines:
    from qstore_pl import QuantumModel

    wanted: Any = what
    if what not in checkpoints.names(what) and Path(what).is_file():
        wanted = QuantumModel.from_checkpoint(what)
    for alike in checkpoints.search(wanted, top_k=top_k):
        yield (
            f"difference {alike.difference:.6f}  {alike.name}  "
            f"{_summary(alike.metadata)}"
        )


def _near(store: VectorStore, record: str, top_k: int) -> Lines:
    """The neighbours of a sample, in each namespace of embeddings that has it."""
    n_found = 0
    for namespace in sorted(store.stats().namespaces):
        if namespace.endswith((".models", ".chunks")):
            continue
        if record not in store.fetch([record], namespace=namespace):
            continue
        n_found += 1
        yield f"namespace {namespace or '(default)'}"
        # The record itself is among those that are found.
        matches = store.query(id=record, top_k=top_k + 1, namespace=namespace)
        others = [match for match in matches if match.id != record]
        for match in others[:top_k]:
            is_state = "qstore_purity" in match.metadata and store.metric == "cosine"
            word = "fidelity" if is_state else store.metric
            yield f"  {word} {match.score:.6f}  {match.id}  {_told(match.metadata)}"
    if not n_found:
        raise KeyError(f"Index `{store.index}` has no record `{record}`.")


def _export(checkpoints: CheckpointIndex, name: str, path: Path) -> Lines:
    checkpoints.export(name, path)
    yield f"{name} written to {path}"


def _gc(stores: Sequence[VectorStore], older_than: float) -> Lines:
    from qstore_pl.index import CheckpointIndex
    from qstore_pl.index.blobs import unused_chunks

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
        yield f"{one.index}  {n_chunks} unused chunks deleted"
        one.optimize()


def _verify(stores: Sequence[VectorStore]) -> int:
    """Print what is damaged, and return 1 if something is."""
    from qstore_pl.index import CheckpointIndex

    n_damaged = 0
    for one in stores:
        damaged = [
            f"record {record} of namespace {namespace or '(default)'}"
            for namespace, records in one.verify().items()
            for record in records
        ]
        if _holds_checkpoints(one):
            damaged += [f"checkpoint {n}" for n in CheckpointIndex(one).verify()]
        for what in damaged:
            print(f"damaged  {one.index}: {what}")
        if not damaged:
            print(f"ok       {one.index}")
        n_damaged += len(damaged)
    return int(n_damaged > 0)


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
    from qstore_pl.index.blobs import without_own_keys

    entries = list(without_own_keys(dict(metadata)).items())
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in entries[:SHOWN]
    )
