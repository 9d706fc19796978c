"""The machine: what it is, how busy it is, and two rates that bound every kernel."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.peers import Peers, versions
from tests.benchmarks.remote import Process

IDLE, ALONE = 0.5, 1.5  # load averages: of an idle machine, and of the suite itself
DGEMM_SIDE = 1024
COPY_BYTES = 1 << 27  # of the source, far more than any cache
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


class BusyMachineError(Exception):
    """Other work on this machine would distort the times."""


def load_average(allowed, *, strict=False):
    """Load of the last minute, printed, with a warning if it is over ``allowed``.

    Raises:
        BusyMachineError: If it is over ``allowed`` and `strict` is set.
    """
    load = os.getloadavg()[0]
    print(f"load average {load:.2f}", flush=True)
    if load > allowed:
        found = f"load average {load:.2f} is over {allowed}"
        if strict:
            raise BusyMachineError(
                f"{found}: wait until the machine is idle, or pass --busy"
            )
        print(f"WARNING: {found}; other work on this machine distorts the times")
    return load


def best_rate(amount, run, repeats=5):
    """The amount per second in the quickest of some runs, after one that warms up."""
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return amount / min(seconds[1:])


def dgemm_rate():
    """Operations per second of a product of two matrices in double precision."""
    x, y = np.random.default_rng(0).normal(size=(2, DGEMM_SIDE, DGEMM_SIDE))
    out = np.empty_like(x)
    return best_rate(2 * DGEMM_SIDE**3, lambda: np.matmul(x, y, out=out))


def copy_rate(n_bytes=COPY_BYTES):
    """Bytes read and written per second while one array is copied to another."""
    source = np.ones(n_bytes // 8)
    target = np.zeros_like(source)
    return best_rate(2 * n_bytes, lambda: np.copyto(target, source))


def machine(peers: Peers | None = None):
    """What the times depend on: processor, rates, system, versions, threads."""
    peers = Peers() if peers is None else peers
    found = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "caches": caches(),
        "dgemm": dgemm_rate(),
        "copy": copy_rate(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")},
        "versions": versions(),
        "peers": peers.found,
    }
    if peers.python is not None:
        other = Process(peers.python).ask("call", "tests.benchmarks.peers:versions")
        found["versions of the other Python"] = other
    return found


def processor():
    """The processor's own name where Linux tells it."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            names = [line for line in lines if line.startswith("model name")]
    except OSError:
        return platform.processor()
    return names[0].split(":")[1].strip() if names else platform.machine()


def caches():
    """The size of each cache of the first core where Linux tells it, as "L2: 1024K"."""
    found = []
    for one in sorted(CACHES.glob("index*")):
        level, kind, size = (
            (one / name).read_text().strip() for name in ("level", "type", "size")
        )
        suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
        found.append(f"L{level}{suffix}: {size}")
    return found
