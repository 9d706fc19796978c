"""Processes of their own that begin with PennyLane and this package imported.

Python takes seconds to import them. Here a server process of the standard library does
it once, and each program runs in a fork of it. Nothing else is shared: the server has
neither run a circuit nor loaded a kernel. Tests of what an import does, or of variables
that are read as Python starts, need an interpreter of their own.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

# A test process has one such server, which must know from the first what to import.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        *("pennylane", "qstore_pl.cli", "qstore_pl.compiled"),
        *("qstore_pl.trainer.trainer", "lancedb"),
    ]
)
# Its socket has a short path, also if a test has another temporary directory by then.
multiprocessing.util.get_temp_dir()


class Forked:
    """A process that runs a program, with the parts of ``Popen`` that tests use.

    Warnings of the program are errors.

    Args:
        program: Its source.
        arguments: What it finds in ``sys.argv`` behind the first entry.
        cwd: The directory in which it runs; the root of the tests by default.
        env: All of its environment; that of this process by default.
    """

    def __init__(
        self,
        program: str,
        *arguments: object,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> None:
        theirs, self.stdin = _to_write()
        self.stdout, out = _to_read()
        # A file, as nobody reads it meanwhile.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        errors = Connection(os.dup(self._errors.fileno()), readable=False)
        self._process = context.Process(
            target=_run,
            args=(program, [str(each) for each in arguments], str(cwd)),
            kwargs={
                "environment": dict(os.environ if env is None else env),
                "streams": [theirs, out, errors],
            },
        )
        self._process.start()
        for each in (theirs, out, errors):
            each.close()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended: with a status, by minus a signal, or None if it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once, if it runs."""
        self._process.kill()

    def wait(self, timeout: float = 60.0) -> int:
        """Its status, once it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self._process.exitcode

    def communicate(self, timeout: float = 60.0) -> tuple[str, str]:
        """The rest of its output, and all of its errors, once it has ended."""
        self.stdin.close()
        out = "" if self.stdout.closed else self.stdout.read()
        self.wait(timeout)
        return out, self.errors

    @property
    def errors(self) -> str:
        """What it has written to its standard error so far."""
        self._errors.seek(0)
        return self._errors.read()

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self.wait()
        for file in (self.stdin, self.stdout, self._errors):
            file.close()


def run(program: str, *arguments: object, **options: Any) -> tuple[int, str, str]:
    """Status, output and errors of a program, with the arguments of `Forked`."""
    with Forked(program, *arguments, **options) as process:
        out, errors = process.communicate(timeout=120.0)
        return process.wait(), out, errors


def _to_read() -> tuple[Any, Connection]:
    reading, writing = os.pipe()
    return os.fdopen(reading), Connection(writing, readable=False)


def _to_write() -> tuple[Connection, Any]:
    reading, writing = os.pipe()
    return Connection(reading, writable=False), os.fdopen(writing, "w")


def _run(
    program: str,
    arguments: list[str],
    directory: str,
    *,
    environment: dict[str, str],
    streams: list[Connection],
) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.path.insert(0, directory)
    sys.argv = ["-c", *arguments]
    warnings.simplefilter("error")
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
    except KeyboardInterrupt:  # as Python itself ends then
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
