"""Train quantum models in PennyLane, and look at what a run has kept."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from qstore_pl import __version__
from qstore_pl.commands import (
    backends,
    bench,
    checkpoints,
    cost,
    devices,
    jobs,
    predict,
    quickstart,
    store,
    train,
)

COMMANDS = (
    *(quickstart, train, predict, cost),  # in the order of a run
    *(checkpoints, store, jobs),
    *(devices, backends, bench),
)
BROKEN_PIPE = 141  # as in shells, 128 + number of the signal
STATUS = """\
exit status:
  0    all went well
  1    an error, which is told on stderr; or damage that `verify` found
  2    the command line was not understood
  130  the run was stopped by Ctrl-C or SIGTERM, after writing its checkpoint
  141  nobody reads the output any more
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Words of the command line after ``qstore``; None takes them from
            ``sys.argv``.

    Returns:
        The exit status: 0, or 1 for an error, whose message goes to stderr; 130 after
        Ctrl-C, and 141 if the reader of a pipe has gone. Words that are not understood
        end the program with status 2.
    """
    try:
        try:
            return _run(_parsed(arguments))
        finally:
            _flush()
    except KeyboardInterrupt:
        status = train.INTERRUPTED
    except BrokenPipeError:
        status = BROKEN_PIPE
    except OSError as error:
        print(f"qstore: {error}", file=sys.stderr)
        status = 1
    try:
        _flush()
    except OSError:  # at exit Python would try again, and print a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _flush() -> None:
    if sys.stdout is not None:  # it is None where a process has no output
        sys.stdout.flush()


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="qstore",
        description=__doc__,
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"%(prog)s {__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="command [options]", title="commands"
    )
    for command in COMMANDS:
        command.add(commands)
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    """Run a command, and print the errors that a user's files can cause."""
    from pennylane.exceptions import DeviceError

    from qstore_pl.errors import QStoreError

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        status: int = options.run(options)
    except (DeviceError, ImportError, QStoreError, TypeError, ValueError) as error:
        print(f"qstore: {error}", file=sys.stderr)
        return 1
    return status
