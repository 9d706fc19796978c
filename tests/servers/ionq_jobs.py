"""The jobs of the IonQ server: their fate, their price, and faults on the way."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.servers.ionq_payload import Payload
from tests.servers.ionq_simulator import counted, histograms

PATH = ("submitted", "ready", "running")
FATES = ("failed", "canceled", "stuck")
SPOILT = ("wrong_shots", "missing_register", "extra_key")
REPLIES = ("drop", "lost", "slow", "garbage")
WHERE = ("post", "get", "results")


@dataclass
class Fault:
    """Something that goes wrong with some of the requests.

    Args:
        where: The requests: "post" (submissions), "get" (status), "results".
        kind: A status code; "drop" (the connection is closed, nothing was done), "lost"
            (the request is done, and the connection closed without a reply), "slow"
            (the reply waits for ``seconds``), "garbage" (done, but the reply is not
            JSON); "failed", "canceled" or "stuck", which a job is from then on, of a
            submission or of a status request; "wrong_shots", "missing_register" or
            "extra_key", which spoils one reply with results, or, of a submission, all
            results of the job.
        times: How many requests it strikes; None strikes for ever.
        after: How many of these requests it leaves alone first.
        probability: With which it strikes a request.
        seed: Of the random numbers for that.
        seconds: How long "slow" waits.
        retry_after: The header of a status code, in seconds.
        message: The text in the reply with a status code.
    """

    where: str
    kind: int | str
    times: int | None = 1
    after: int = 0
    probability: float = 1.0
    seed: int = 0
    seconds: float = 0.5
    retry_after: float | None = None
    message: str = "A fault that the test asked for."
    seen: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.where not in WHERE:
            raise ValueError(f"where must be one of {WHERE}, not {self.where!r}")
        known = REPLIES
        if self.where != "results":
            known += FATES
        if self.where != "get":
            known += SPOILT
        if not isinstance(self.kind, int) and self.kind not in known:
            raise ValueError(f"kind must be a number or one of {known}")
        self._rng = np.random.default_rng(self.seed)

    def strikes(self, where: str) -> bool:
        """Whether it strikes this request, which it counts."""
        if where != self.where:
            return False
        self.seen += 1
        if self.seen <= self.after:
            return False
        if self.times is not None and self.struck >= self.times:
            return False
        if self.probability < 1.0 and self._rng.random() >= self.probability:
            return False
        self.struck += 1
        return True


@dataclass(frozen=True)
class Price:
    """Dollars of a circuit: at least ``least``, else ``base`` and so much a gate shot.

    Args:
        one: Of a gate on one qubit, for each shot.
        two: Of a gate on two qubits, for each shot.
        least: The least price of a circuit.
        base: What is added for each circuit.
        least_mitigated: The least price with error mitigation; None takes ``least``.
        base_mitigated: What is added with error mitigation; None takes ``base``.
    """

    one: float = 0.0
    two: float = 0.0
    least: float = 0.0
    base: float = 0.0
    least_mitigated: float | None = None
    base_mitigated: float | None = None

    def dollars(self, one: int, two: int, shots: int, *, mitigated: bool) -> float:
        """The price of a circuit with so many gates."""
        least, base = self.least, self.base
        if mitigated and self.least_mitigated is not None:
            least = self.least_mitigated
        if mitigated and self.base_mitigated is not None:
            base = self.base_mitigated
        return max(least, base + shots * (one * self.one + two * self.two))


FREE = Price()


@dataclass
class Job:
    """A job that the server has accepted.

    Attributes:
        id: Its identifier.
        number: How many were accepted before it.
        body: The payload as it was sent, from JSON.
        payload: The payload as it was read.
        gates: Numbers of gates on one and on two qubits of each circuit.
        dollars: What it costs if it does not fail.
        created: When it was accepted, by ``time.time()``.
        delay: Seconds until it is completed.
        polls: How many status requests are answered before it is completed.
        fate: What becomes of it; None is completed.
        spoilt: What is wrong with all its results; None is nothing.
    """

    id: str
    number: int
    body: dict[str, Any]
    payload: Payload
    gates: list[tuple[int, int]]
    dollars: float
    created: float
    delay: float = 0.0
    polls: int = 0
    fate: str | None = None
    spoilt: str | None = None
    polled: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _histograms: list[dict[str, float]] | None = field(default=None, repr=False)

    @property
    def circuits(self) -> int:
        """Number of circuits."""
        return len(self.payload.circuits)

    @property
    def shots(self) -> int:
        """Shots of each circuit."""
        return self.payload.shots

    @property
    def key(self) -> str | None:
        """The key that the client has put into the metadata."""
        return (self.payload.metadata or {}).get("qstore_key")

    @property
    def paid(self) -> float:
        """What it has cost, in dollars."""
        free = self.payload.dry_run or self.fate in ("failed", "canceled")
        return 0.0 if free else self.dollars

    def status(self, now: float) -> str:
        """Its state at a time, after so many status requests."""
        if self.fate in ("failed", "canceled"):
            return self.fate
        done = 1.0
        if self.delay > 0.0:
            done = min(done, (now - self.created) / self.delay)
        if self.polls > 0:
            done = min(done, (self.polled - 1) / self.polls)
        if done >= 1.0:
            return "running" if self.fate == "stuck" else "completed"
        return PATH[max(int(done * len(PATH)), 0)]

    def results(self, seed: int) -> list[dict[str, float]]:
        """The histogram of each circuit, which is the same each time."""
        with self._lock:
            if self._histograms is None:
                self._histograms = histograms(self.payload, (seed, self.number))
            return [dict(one) for one in self._histograms]

    def reply(self, seed: int, spoilt: str | None) -> Any:
        """The results as the interface gives them, or spoilt."""
        found = self.results(seed)
        spoilt = spoilt or self.spoilt
        if spoilt == "wrong_shots":
            found[0] = {key: 0.9 * share for key, share in found[0].items()}
        elif spoilt == "extra_key":
            first = next(iter(found[0]))
            beyond = str(1 << self.payload.n_qubits)
            found[0] = {beyond: found[0].pop(first), **found[0]}
        elif spoilt == "missing_register":
            found.pop()
        if not self.payload.multi:
            return found[0] if found else {}
        return {f"{self.id}-{i:05d}": one for i, one in enumerate(found)}


def gates_of(payload: Payload) -> list[tuple[int, int]]:
    """Numbers of gates on one and on two qubits of each circuit."""
    return [counted(circuit) for circuit in payload.circuits]


def dollars_of(payload: Payload, price: Price) -> float:
    """What a job costs."""
    mitigated = bool(payload.debiasing)
    return sum(
        price.dollars(one, two, payload.shots, mitigated=mitigated)
        for one, two in gates_of(payload)
    )
