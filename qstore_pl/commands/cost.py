"""``qstore cost``: what ``qstore train`` would run and cost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from qstore_pl.commands.printing import add_command, show


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "cost",
        "print what `qstore train` would run and cost",
        description="Reads the same file as `qstore train`, and prints how many "
        "circuits, shots, gates and jobs the run would take, and their price. Nothing "
        "is run but our own simulators, and nothing is written.",
    )
    parser.add_argument("config", type=Path, help="the TOML file")
    parser.add_argument(
        "--prices", type=Path, help="a TOML file with prices of your own"
    )
    parser.set_defaults(run=_cost)


def _cost(options: argparse.Namespace) -> int:
    from qstore_pl.run_file import run_of
    from qstore_pl.trainer import QuantumTrainer

    run = run_of(options.config)
    estimate = QuantumTrainer(run.config).estimate_cost(
        run.model, run.data, run.val_data, prices=options.prices
    )
    show(options, estimate.to_dict(), [str(estimate)])
    return 0
