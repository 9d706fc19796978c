"""``qstore quickstart``: a first run, on Iris or on made-up data."""

from __future__ import annotations

import argparse
from typing import Any

from qstore_pl.commands.printing import add_command, show
from qstore_pl.quickstart import CHECKPOINT, PLOT, STORE, quickstart, seed_run


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "quickstart",
        "train a quantum classifier on Iris, and search its states",
        description="Train on scikit-learn's Iris: 4 qubits, 3 classes. Writes "
        f"{CHECKPOINT}, {PLOT}, and a vector store with the states of the flowers, "
        f"{STORE}, into the current directory.",
    )
    parser.add_argument(
        "--seed-run",
        action="store_true",
        help="train on 50 made-up samples instead: 4 qubits, batches of 10, 5 epochs",
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, help="seed of all random draws, >= 0"
    )
    parser.set_defaults(run=_quickstart)


def _seed(word: str) -> int:
    try:
        seed = int(word)
    except ValueError:
        seed = -1
    if seed < 0:
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, but is {word}")
    return seed


def _quickstart(options: argparse.Namespace) -> int:
    train = seed_run if options.seed_run else quickstart
    tell = _nothing if options.json else print
    result = train(seed=options.seed, tell=tell)
    if options.json:
        show(options, result.to_dict(), [])
    return 0


def _nothing(line: str) -> None:
    """Say nothing."""
