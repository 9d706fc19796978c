"""What all commands share: the option ``--json``, and printing a result."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any


def add_command(
    commands: Any, name: str, help: str, *, description: str = "", json: bool = True
) -> argparse.ArgumentParser:
    """Add a command to the command line.

    Args:
        commands: What ``add_subparsers`` of :mod:`argparse` returned.
        name: The word that calls it.
        help: What it does, in a line.
        description: The same at length; empty if there is no more to say.
        json: Whether it prints a result, and so has the option ``--json``.
    """
    described = description or f"{help[0].upper()}{help[1:]}."
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=described
    )
    if json:
        parser.add_argument(
            "--json",
            action="store_true",
            help="print the result as one line of JSON, and nothing else, on stdout",
        )
    return parser


def show(options: argparse.Namespace, document: Any, lines: Iterable[str]) -> None:
    """Print a result, as lines of text or, with ``--json``, as a document.

    Args:
        options: The words of the command line.
        document: The result as dicts, lists, words and numbers.
        lines: The result as text.
    """
    if options.json:
        print(json.dumps(_plain(document), allow_nan=False, ensure_ascii=False))
        return
    for line in lines:
        print(line)


def _plain(value: Any) -> Any:
    """A value for strict JSON, where NaN and infinities are strings."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
