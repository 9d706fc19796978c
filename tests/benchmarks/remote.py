"""A contender that lives in another Python, and takes its turn all the same.

Run as a program it is the other side: it reads pickled requests from its standard
input, and writes pickled answers to its standard output.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import weakref
from pathlib import Path

from tests.benchmarks.contender import Contender
from tests.benchmarks.peers import Setting, imported

ROOT = Path(__file__).parents[2]


class RemoteError(Exception):
    """The other process has ended."""


class Process:
    """The other Python.

    Args:
        python: Its interpreter.
        **environment: Variables that it has besides ours.
    """

    def __init__(self, python, **environment):
        self._process = subprocess.Popen(
            [python, "-m", "tests.benchmarks.remote"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._close = weakref.finalize(self, _end, self._process)

    def ask(self, *request):
        """What the other side answers.

        Raises:
            RemoteError: If it ended with an error, whose traceback it has printed.
        """
        try:
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            raise RemoteError("The other Python ended: see the error above.") from error


def _end(process):
    process.stdin.close()
    process.stdout.close()
    process.wait()


class Remote(Contender):
    """A contender in a process of another Python.

    Args:
        python: Its interpreter.
        setting: The setting that is made there.
        arguments: What the setting takes.
        **environment: Variables that the process has besides ours.
    """

    def __init__(self, python: str, setting: Setting, arguments: tuple, **environment):
        self._process = Process(python, **environment)
        made = self._process.ask("make", setting, arguments)
        self.name, self.setting, self.compile_seconds, self.tolerance, self.first = made

    def numbers(self):
        return self._process.ask("numbers")

    def seconds(self, n):
        return self._process.ask("seconds", n)


def serve(requests, answers):
    """Answer requests until there are no more."""
    contender = None
    while True:
        try:
            kind, *arguments = pickle.load(requests)
        except EOFError:
            return
        if kind == "make":
            setting, given = arguments
            contender = setting(*given)
            answer = (
                contender.name,
                contender.setting,
                contender.compile_seconds,
                contender.tolerance,
                contender.first,
            )
        elif kind == "call":
            (path,) = arguments
            answer = imported(path)()
        else:
            answer = getattr(contender, kind)(*arguments)
        pickle.dump(answer, answers)
        answers.flush()


def main():
    """Keep the standard output for answers: what is printed goes with the errors."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
