"""``qstore store``: look at a vector store."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qstore_pl.commands.printing import add_command, show
from qstore_pl.commands.store_contents import (
    Found,
    alike_checkpoints,
    collected,
    contents,
    damage,
    exported,
    holds_checkpoints,
    near_samples,
)

if TYPE_CHECKING:
    from qstore_pl.index import CheckpointIndex
    from qstore_pl.store import VectorStore


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
            return damage(stores)
        case "ls":
            return contents(stores, others)
        case "search" if options.id is not None:
            return near_samples(stores[0], options.id, options.top_k)
        case "search":
            return alike_checkpoints(
                _checkpoints(stores), options.checkpoint, options.top_k
            )
        case "export":
            return exported(_checkpoints(stores), options.name, options.file)
        case _:
            return collected(stores, options.older_than)


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

    if not holds_checkpoints(stores[-1]):
        raise StoreError(f"Index `{stores[0].index}` has no checkpoints beside it.")
    return CheckpointIndex(stores[-1])
