"""Agreement first, then times taken in turn, and the table they end in."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

from tests.benchmarks.problem import Contender

TOLERANCE = 1e-9
PACKAGES = (
    *("qstore-pl", "pennylane", "pennylane-lightning", "numpy", "numba", "autograd"),
    *("torch", "jax", "jaxlib", "qulacs", "qiskit", "qiskit-aer"),
    *("cirq-core", "pennylane-cirq", "pennylane-qiskit", "lancedb", "pyarrow"),
)


class DisagreementError(Exception):
    """Two programs that should compute the same thing do not: nothing is timed."""


@dataclass
class Row:
    """One line of the table.

    Times are medians, in seconds; ``raw`` has every measurement. Memory is in bytes.
    The target is the least ratio, or the most seconds where there is no peer.
    """

    row: str
    ours: float
    peer: str = ""
    setting: str = ""
    peer_time: float | None = None
    target: float | None = None
    raw: dict = field(default_factory=dict)
    compile_seconds: float | None = None
    memory: int | None = None
    peer_memory: int | None = None

    @property
    def ratio(self):
        """How many times longer the peer takes."""
        return None if self.peer_time is None else self.peer_time / self.ours

    @property
    def reached(self):
        """Whether the target is met, None if the row has none."""
        if self.target is None:
            return None
        if self.ratio is None:
            return self.ours < self.target
        return self.ratio >= self.target

    def as_dict(self):
        """The row with its derived values, for the JSON file."""
        return asdict(self) | {"ratio": self.ratio, "reached": self.reached}


def check_agreement(contenders: Sequence[Contender], n_steps=3):
    """Compare every contender with the first one.

    Compared are loss and gradient of the first batch, and weights and mean loss of
    ``n_steps`` whole training steps.

    Raises:
        DisagreementError: If a number differs by more than ``TOLERANCE``.
    """
    wanted = None
    for contender in contenders:
        loss, gradient = contender.loss_and_gradient()
        weights, mean_loss = contender.train(n_steps)
        found = {
            "loss": loss,
            "gradient": gradient,
            "trained weights": weights,
            "mean loss": mean_loss,
        }
        wanted = wanted or found
        for what, value in found.items():
            who = f"{contender.name} ({contender.setting})"
            check_close(f"{what} of {who}", value, wanted[what])


def check_close(what, found, wanted, tolerance=TOLERANCE):
    """Raise a DisagreementError unless two arrays have one shape and near values."""
    if np.shape(found) != np.shape(wanted):
        raise DisagreementError(
            f"{what}: shape {np.shape(found)}, not {np.shape(wanted)}"
        )
    error = np.max(np.abs(np.asarray(found) - np.asarray(wanted)))
    if not error <= tolerance:  # NaN disagrees too
        raise DisagreementError(f"{what}: off by {error:.1e} from the first contender")


def check_mean(who, found, wanted):
    """Compare the mean of independent runs with what it should be.

    Args:
        who: Whose runs they are.
        found: One result for each run, shape ``(n_runs, ...)``.
        wanted: The expected value, shape ``(...)``.

    Raises:
        DisagreementError: If one is more than 5 standard errors off.
    """
    found = np.stack(found)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    off = np.max(np.abs(found.mean(axis=0) - wanted) / error)
    if not off <= 5.0:  # NaN disagrees too
        raise DisagreementError(f"{who}: {off:.1f} standard errors from the exact one")


def in_turn(measures: Mapping[str, Callable[[], float]], repeats):
    """Call the measures A B C A B C ... ; each gives its own list of seconds."""
    times = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            times[name].append(measure())
    return times


def medians(times):
    """The median of each list of times."""
    return {name: statistics.median(values) for name, values in times.items()}


def load_average(allowed):
    """Load of the last minute, printed, with a warning if it is over ``allowed``."""
    load = os.getloadavg()[0]
    print(f"load average {load:.2f}", flush=True)
    if load > allowed:
        print(f"WARNING: over {allowed}; other work on this machine distorts the times")
    return load


def machine():
    """What the times depend on: processor, system, versions, thread settings."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")},
        "versions": versions,
    }


def processor():
    """The processor's own name where Linux tells it."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            names = [line for line in lines if line.startswith("model name")]
    except OSError:
        return platform.processor()
    return names[0].split(":")[1].strip() if names else platform.machine()


def seconds(value):
    """A time in the unit that suits it."""
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"


def megabytes(value):
    """A memory in MB, empty if not measured."""
    return "" if value is None else f"{value / 1e6:.1f} MB"


def cells(row):
    """The texts of one row of the table."""
    alone = row.peer_time is None
    target = ""
    if row.target is not None:
        target = f"< {row.target:g} s" if alone else f"{row.target:g}x"
    return (
        row.row,
        seconds(row.ours),
        row.peer,
        "" if alone else seconds(row.peer_time),
        "" if alone else f"{row.ratio:.1f}x",
        target,
        {None: "", True: "yes", False: "NO"}[row.reached],
        megabytes(row.memory),
        megabytes(row.peer_memory),
    )


def table(rows: Sequence[Row]):
    """The rows as aligned text."""
    head = ("row", "ours", "peer", "its time", "ratio", "target", "reached")
    head += ("peak memory of a step: ours", "the peer's")
    lines = [head, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
