"""Reads and checks what IonQ returns: probabilities of the outcomes of all qubits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qstore_pl.backends.ledger import Entry
from qstore_pl.backends.machine import shares_of
from qstore_pl.errors import WrongResultError

TOLERANCE = 1e-3  # of the sum of probabilities
ROUNDING = 1e-6  # of a share of shots, which is a number of shots
Histogram = dict[str, float]


def address_of(job: Mapping[str, Any], entry: Entry) -> str:
    """Where the service has the probabilities of a finished job."""
    found: Any = job
    for name in ("results", "probabilities", "url"):
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, str) or not found:
        raise _wrong("The service gives no address of the result", entry)
    return found


def histograms(found: Any, entry: Entry) -> list[Any]:
    """The result of each circuit, in the order in which they were sent."""
    if not isinstance(found, Mapping):
        raise _wrong("The result is no dictionary", entry)
    if entry.circuits == 1 and not any(isinstance(v, Mapping) for v in found.values()):
        return [found]
    if len(found) != entry.circuits:
        raise _wrong(
            f"The result has {len(found)} circuits, but {entry.circuits} were sent",
            entry,
        )
    return list(found.values())


def checked(found: Sequence[Any], entry: Entry, *, counts: bool) -> list[Histogram]:
    """The probabilities of the outcomes of each circuit, if they can be that.

    Args:
        found: What the service returned for each circuit.
        entry: The job.
        counts: Whether each probability is a share of the shots.

    Returns:
        For each circuit a dictionary from outcomes, numbers whose least significant bit
        is the first qubit, to probabilities.

    Raises:
        WrongResultError: If they are not probabilities of the job's outcomes.
    """
    return [_checked(one, entry, counts=counts) for one in found]


def _checked(one: Any, entry: Entry, *, counts: bool) -> Histogram:
    if not isinstance(one, Mapping):
        raise _wrong("The result of a circuit is no dictionary", entry)
    for outcome, share in one.items():
        if not outcome.isascii() or not outcome.isdigit():
            raise _wrong(f"A result has the outcome {outcome[:40]!r}", entry)
        if int(outcome) >= 1 << entry.qubits:
            raise _wrong(
                f"A result of {entry.qubits} qubits has the outcome {outcome[:40]}",
                entry,
            )
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise _wrong("A probability is no number", entry)
        if not -1e-9 <= share <= 1.0 + TOLERANCE:  # also if it is not finite
            raise _wrong(f"A probability is {share}", entry)
    total = sum(one.values())
    if abs(total - 1.0) > TOLERANCE:
        raise _wrong(f"The probabilities of a circuit sum to {total:.6g}", entry)
    if counts:
        times = np.array(list(one.values())) * entry.shots
        whole = np.rint(times)
        far = np.abs(times - whole).max() > ROUNDING * entry.shots
        if far or int(whole.sum()) != entry.shots:
            raise _wrong(
                f"The outcomes of a circuit are not those of {entry.shots} shots", entry
            )
    return {str(int(k)): float(one[k]) for k in sorted(one, key=int)}


def measured(
    histogram: Histogram,
    wires: Sequence[int],
    shots: int,
    rng: np.random.Generator | None,
) -> Any:
    """What was measured in a circuit, in the form of :func:`shares_of`.

    Args:
        histogram: Probabilities of outcomes; their least significant bit is qubit 0.
        wires: The measured qubits, the first of them the most significant bit of the
            outcome that is returned.
        shots: Number of shots.
        rng: From which the outcomes are drawn; None takes the probabilities for shares
            of the shots.
    """
    outcomes = np.array([int(k) for k in sorted(histogram, key=int)], dtype=np.int64)
    exact = np.array([histogram[str(k)] for k in outcomes.tolist()]).clip(0.0)
    if rng is None:
        times = np.rint(exact * shots).astype(np.int64)
    else:
        times = rng.multinomial(shots, exact / exact.sum())
    found = np.zeros_like(outcomes)
    for wire in wires:
        found = (found << 1) | ((outcomes >> wire) & 1)
    return shares_of(found, times, len(wires))


def _wrong(what: str, entry: Entry) -> WrongResultError:
    return WrongResultError(
        f"{what}. The result is not used; run the program again to ask for it again.",
        backend=entry.backend,
        job=entry.job,
    )
