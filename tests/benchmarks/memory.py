"""Peak memory of a training step, in a process of its own; Linux only."""

from __future__ import annotations

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path


def step_memory(make, problem):
    """Bytes of resident memory that a training step needs at its peak.

    That is the peak of a step above the memory before it, in a fresh process that has
    loaded its libraries and kernels with a step of two qubits.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(_step_memory, make, problem).result()


def _step_memory(make, problem):
    make(replace(problem, n_qubits=2, batch=1)).train(1)
    contender = make(problem)
    # Not getrusage: its peak counts the imports, and memory of the parent process.
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = peak()
    contender.train(1)
    return peak() - before


def peak():
    """Bytes of the largest resident memory so far."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
