"""Agreement first, then times taken in turn: what every comparison has in common."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from tests.benchmarks.contender import Contender

TOLERANCE = 1e-9
SECONDS_A_MEASUREMENT = 0.5


class DisagreementError(Exception):
    """Two programs that should compute the same thing do not: nothing is timed."""


@dataclass
class Row:
    """One line of the table.

    Times are medians, in seconds; ``raw`` has every measurement. Memory is in bytes.

    Args:
        row: Its name; that of the case comes first.
        ours: Our time.
        peer: Name of the peer.
        setting: How the peer was set.
        peer_time: Its time.
        target: The least ratio of the peer's time to ours; where there is no peer the
            most that ours may be.
        at_most: Whether the target is the largest ratio instead.
        kind: What the peer is: see :class:`~tests.benchmarks.contender.Contender`.
        unit: What the times are measured in.
        raw: Every measurement of ``"ours"`` and of ``"peer"``, the rough times of other
            settings as ``"tried"``, and what else was counted.
        compile_seconds: How long the peer compiled before.
        memory: Peak memory of ours.
        peer_memory: That of the peer.
        work: What else a plot needs.
    """

    row: str
    ours: float
    peer: str = ""
    setting: str = ""
    peer_time: float | None = None
    target: float | None = None
    at_most: bool = False
    kind: str = "peer"
    unit: str = "s"
    raw: dict = field(default_factory=dict)
    compile_seconds: float | None = None
    memory: int | None = None
    peer_memory: int | None = None
    work: dict = field(default_factory=dict)

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
        if self.at_most:
            return self.ratio <= self.target
        return self.ratio >= self.target

    def as_dict(self):
        """The row with its derived values, for the JSON file."""
        derived = {"ratio": self.ratio, "reached": self.reached}
        return asdict(self) | derived | {"spread": self.spread}

    @property
    def spread(self):
        """The quartiles of each list of measurements that has at least three."""
        return {
            who: np.percentile(times, [25, 75]).tolist()
            for who, times in self.raw.items()
            if isinstance(times, list) and len(times) > 2
        }


# --- agreement --------------------------------------------------------------------


def check_agreement(contenders: Sequence[Contender]):
    """Compare the numbers of every contender with those of the first.

    Raises:
        DisagreementError: If a number differs by more than a contender's tolerance.
    """
    wanted = None
    for contender in contenders:
        found = contender.numbers()
        wanted = found if wanted is None else wanted
        who = f"{contender.name} ({contender.setting})"
        for what, value in found.items():
            check_close(f"{what} of {who}", value, wanted[what], contender.tolerance)


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


# --- times ------------------------------------------------------------------------


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


def measure(contender: Contender, units):
    """A measurement: seconds of a unit of work, as the mean of so many, at least 1."""
    units = max(1, round(units))
    return lambda: contender.seconds(units)


def rough_times(contenders: Sequence[Contender]):
    """Seconds of a unit of work of each: enough to choose settings by.

    The least of three measurements after a warm-up; where a unit takes a second, the
    warm-up itself.
    """
    warm = {c: c.seconds(c.first) for c in contenders}
    measures = {c: measure(c, 0.1 / warm[c]) for c in contenders if warm[c] < 1.0}
    return warm | {c: min(times) for c, times in in_turn(measures, 3).items()}


def timed(
    row: str,
    ours: Contender,
    columns: Sequence[Sequence[Contender]],
    repeats: int,
    targets: Mapping[str, float] | None = None,
    *,
    at_most: bool = False,
    scale: float = 1.0,
    unit: str = "s",
):
    """Time ours and the quickest setting of each peer in turn.

    Args:
        row: Name of the rows.
        ours: Our contender.
        columns: The settings of each peer.
        repeats: Measurements of each.
        targets: The targets of some of the peers, by name.
        at_most: Whether targets are largest ratios.
        scale: What all times are multiplied with.
        unit: The unit that they have then.

    Returns:
        One row for each peer.
    """
    rough = rough_times([ours, *(peer for column in columns for peer in column)])
    peers = [min(column, key=rough.get) for column in columns]
    print(f"{row}: timing {1 + len(peers)} contenders in turn", flush=True)
    measures = {c: measure(c, SECONDS_A_MEASUREMENT / rough[c]) for c in (ours, *peers)}
    raw = {
        contender: [scale * one for one in times]
        for contender, times in in_turn(measures, repeats).items()
    }
    times = medians(raw)
    return [
        Row(
            row=row,
            ours=times[ours],
            peer=peer.name,
            setting=peer.setting,
            peer_time=times[peer],
            target=(targets or {}).get(peer.name),
            at_most=at_most,
            kind=peer.kind,
            unit=unit,
            raw={
                "ours": raw[ours],
                "peer": raw[peer],
                "tried": {c.setting: scale * rough[c] for c in column},
            },
            compile_seconds=peer.compile_seconds,
        )
        for peer, column in zip(peers, columns, strict=True)
    ]


def race(row, ours, columns, repeats, targets=None, **options):
    """Compare everybody with ours, and time them then: see :func:`timed`.

    Raises:
        DisagreementError: If two do not agree.
    """
    print(f"{row}: checking that all agree", flush=True)
    peers = [peer for column in columns for peer in column]
    check_agreement([ours, *peers])
    return timed(row, ours, columns, repeats, targets, **options)
