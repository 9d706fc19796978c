"""The IonQ server as a process of its own, which outlives clients that are killed.

``in_another_process`` starts one for a test. By hand:
``python -m tests.servers.ionq_process --port-file PORT --log LOG``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.servers.ionq import KEY, IonQServer, read_log
from tests.servers.ionq_jobs import Fault, Job, Price

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class ServerProcess:
    """A server that runs in another process.

    Attributes:
        url: What ``APIClient.BASE_URL`` must be.
        log: The file to which it appends its jobs.
        pid: Identifier of its process.
    """

    url: str
    log: Path
    pid: int

    @property
    def jobs(self) -> list[Job]:
        """The jobs that it has accepted so far."""
        return read_log(self.log) if self.log.exists() else []

    @property
    def submissions(self) -> int:
        """Number of jobs that it has accepted so far."""
        return len(self.jobs)


@contextlib.contextmanager
def in_another_process(
    folder: Path,
    *,
    delay: float = 0.0,
    polls: int = 0,
    seed: int = 0,
    faults: Sequence[Fault] = (),
    prices: Mapping[str, Price] | None = None,
) -> Iterator[ServerProcess]:
    """A server in a process that is ended afterwards.

    Args:
        folder: Where its files are, which are ``port`` and ``jobs.log``.
        delay: As of :class:`IonQServer`, as are those that follow.
    """
    port, log = folder / "port", folder / "jobs.log"
    port.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.servers.ionq_process"]
    command += ["--port-file", str(port), "--log", str(log), "--seed", str(seed)]
    command += ["--delay", str(delay), "--polls", str(polls)]
    command += ["--script", _script(faults, prices or {})]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        end = time.monotonic() + 30.0
        while not port.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("The server did not start.")
            time.sleep(0.01)
        yield ServerProcess(port.read_text(), log, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _script(faults: Sequence[Fault], prices: Mapping[str, Price]) -> str:
    """Faults and prices as JSON."""
    fields = [asdict(fault) for fault in faults]
    for one in fields:
        del one["seen"], one["struck"]
    return json.dumps(
        {"faults": fields, "prices": {k: asdict(v) for k, v in prices.items()}}
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the process that started it ends."""
    parser = argparse.ArgumentParser(description="IonQ's interface on loopback")
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--polls", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--script", type=json.loads, default={})
    given = parser.parse_args(arguments)
    parent = os.getppid()
    with IonQServer(
        key=given.key,
        delay=given.delay,
        polls=given.polls,
        seed=given.seed,
        log=given.log,
        faults=[Fault(**one) for one in given.script.get("faults", ())],
        prices={
            name: Price(**one) for name, one in given.script.get("prices", {}).items()
        },
    ) as server:
        written = given.port_file.with_suffix(".new")
        written.write_text(server.url)
        written.replace(given.port_file)
        while os.getppid() == parent:
            time.sleep(0.2)


if __name__ == "__main__":
    main()
