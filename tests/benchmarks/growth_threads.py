"""Case `growth-threads`: two threads in one state, beside two processes of their own.

Two processes that share nothing but the machine show what its second core is worth.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.growth import work_of
from tests.benchmarks.peers import Setting
from tests.benchmarks.problem import Problem
from tests.benchmarks.race import Row, in_turn, medians
from tests.benchmarks.remote import Remote

SIZES = (18, 20, 22)
SPEED_UP, PROCESSES = 1.6, 1.9  # of threads, where processes reach as much
MOST_REPEATS = 5
OURS = Setting("qstore_pl", "tests.benchmarks.growth:gradient")


def speed_ups(problem, repeats):
    """Seconds of a gradient: one thread, two threads, and two processes at a time."""

    def process(n_threads):
        threads = {"QSTORE_NUM_THREADS": str(n_threads)}
        return Remote(sys.executable, OURS, (problem,), **threads)

    one, other, two = process(1), process(1), process(2)
    units = max(1, round(0.3 / max(c.seconds(1) for c in (one, other, two))))
    with ThreadPoolExecutor(2) as pool:

        def both():
            """Each makes as many; the machine has made twice as many then."""
            seconds = pool.map(lambda c: c.seconds(units), (one, other))
            return max(seconds) / 2

        return in_turn(
            {
                "one": lambda: one.seconds(units),
                "threads": lambda: two.seconds(units),
                "processes": both,
            },
            repeats,
        )


def measured(name, peers, repeats):
    """The speed-up by two threads and by two processes, for each size."""
    if len(os.sched_getaffinity(0)) < 2:
        print(f"{name}: not measured, this process may use one core")
        return []
    rows = []
    for n in SIZES:
        problem = Problem(n_qubits=n, n_layers=4, batch=1)
        print(f"{name}: timing {n} qubits in turn", flush=True)
        raw = speed_ups(problem, min(repeats, MOST_REPEATS))
        times = medians(raw)
        idle = times["one"] / times["processes"] >= PROCESSES
        for who, target in (("processes", None), ("threads", SPEED_UP)):
            rows.append(
                Row(
                    row=f"{name}, {n} qubits, two {who}",
                    ours=times[who],
                    peer="one thread",
                    setting=f"QSTORE_NUM_THREADS={1 if who == 'processes' else 2}",
                    peer_time=times["one"],
                    kind="ours",
                    target=target if idle else None,
                    raw={"ours": raw[who], "peer": raw["one"]},
                    work=work_of(problem) | {"kind": who},
                )
            )
    return rows
