"""``qstore backends``: the places where circuits can run."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from qstore_pl.commands.printing import add_command, show


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "backends",
        "list the backends: what is installed, which keys are set, what they cost",
        description="Lists the names that QuantumModel(backend=...) and the field "
        "quantum_sdk of the configuration take. Nothing is sent anywhere, and keys are "
        "looked for but never shown.",
    )
    parser.set_defaults(run=_backends)


def _backends(options: argparse.Namespace) -> int:
    from qstore_pl.backends import BackendManager

    table = BackendManager().list_backends()
    document = [
        dataclasses.asdict(info)
        | {"install": None if info.installed else info.install, "key": info.key}
        for info in table.values()
    ]
    show(options, {"backends": document}, repr(table).splitlines())
    return 0
