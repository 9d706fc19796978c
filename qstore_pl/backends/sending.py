"""Sends remote jobs, waits for their results, and never sends one twice.

Every job goes through the ledger. What happens when something fails depends on one
question only: can the service have taken the job? If it surely has not, the job may be
sent again; if it surely has, the result is asked for again; and if nobody knows, the
user decides.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from qstore_pl.backends.ledger import DONE, SENT, UNSURE, Entry, Ledger
from qstore_pl.errors import (
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
    LedgerError,
    LostJobError,
    QuantumCircuitError,
)

_log = logging.getLogger("qstore_pl.backends")
POST_TIMEOUT = 60.0  # seconds to wait for the reply when a job is sent
GET_TIMEOUT = 20.0  # seconds to wait for any other reply
LONGEST_PAUSE = 5.0  # seconds between two questions, if the service names no time
GROWTH = 1.5  # of the pause from question to question
JITTER = 0.25  # the share by which a pause is longer or shorter, at random


class RefusedError(Exception):
    """The service surely did not take a job.

    Args:
        error: What to raise if it is not sent again.
        again: Whether it can be sent again.
        after: Seconds that the service asks to wait; None if it names no time.
    """

    def __init__(
        self, error: QuantumCircuitError, *, again: bool, after: float | None = None
    ) -> None:
        super().__init__(str(error))
        self.error, self.again, self.after = error, again, after


class NoAnswerError(Exception):
    """No usable reply came.

    Args:
        reason: What came instead.
        after: Seconds that the service asks to wait; None if it names no time.
    """

    def __init__(self, reason: str, *, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


class Service(Protocol):
    """What takes jobs and has their results."""

    def submit(self, payload: Any, key: str, *, timeout: float) -> str:
        """Send a job; returns its identifier.

        Raises:
            RefusedError: If the service surely did not take it.
            NoAnswerError: If it may have taken it.
        """

    def result_of(self, entry: Entry, *, timeout: float) -> Any:
        """The result of a job, a tree of JSON; None if it is not ready.

        Raises:
            NoAnswerError: If the question can be asked again.
            JobFailedError, JobCancelledError: If there will be no result.
        """

    def job_named(self, key: str, *, timeout: float) -> str | None:
        """The identifier of the job with this key; None if that cannot be told."""


@final
@dataclass(frozen=True)
class Job:
    """A job that is to be sent.

    Args:
        entry: What the ledger keeps of it.
        payload: What is sent.
    """

    entry: Entry
    payload: Any


@final
@dataclass
class _Waiting:
    """A job whose result is waited for; times are those of the monotonic clock."""

    index: int
    entry: Entry
    until: float
    ask_at: float
    pause: float
    reason: str = ""


@final
class Courier:
    """Sends jobs to a service and brings back their results.

    Args:
        service: The service.
        ledger: Where every job is written down.
        deadline: Seconds to wait for the result of a job.
        poll: Seconds between the first two questions for a result.
        at_once: Most jobs that are out at the same time; None does not limit them.
    """

    def __init__(
        self,
        service: Service,
        ledger: Ledger,
        *,
        deadline: float,
        poll: float,
        at_once: int | None,
    ) -> None:
        self._service, self._ledger = service, ledger
        self._deadline, self._poll, self._at_once = deadline, poll, at_once
        self._rng = np.random.default_rng()  # of pauses: it decides no result

    def results(self, jobs: Sequence[Job]) -> list[Any]:
        """The results of some jobs, each sent now, or found in the ledger.

        Raises:
            QuantumCircuitError: If a job has no result. The others stay in the ledger,
                and their results are there when the same jobs are asked for again.
        """
        # Jobs are sent in a thread of its own, which an interrupt does not reach: what
        # was sent is written down.
        with self._ledger.open(), ThreadPoolExecutor(1) as thread:
            thread.submit(int).result()  # it runs before there is anything to lose
            return self._results(jobs, thread)

    def _results(self, jobs: Sequence[Job], thread: ThreadPoolExecutor) -> list[Any]:
        found: list[Any] = [None] * len(jobs)
        to_send = deque(range(len(jobs)))
        out: list[_Waiting] = []
        while to_send or out:
            while to_send and (self._at_once is None or len(out) < self._at_once):
                index = to_send.popleft()
                entry = self._started(jobs[index], thread)
                if entry.state == DONE:
                    found[index] = entry.result
                    continue
                now = time.monotonic()
                until = now + self._deadline
                out.append(_Waiting(index, entry, until, now, self._poll))
            for one in [one for one in out if one.ask_at <= time.monotonic()]:
                result = self._asked(one)
                if result is not None:
                    self._ledger.done(one.entry.key, result)
                    found[one.index] = result
                    out.remove(one)
            if out and not (to_send and len(out) < (self._at_once or len(jobs))):
                first = min(one.ask_at for one in out)
                time.sleep(max(0.0, first - time.monotonic()))
        return found

    def _started(self, job: Job, thread: ThreadPoolExecutor) -> Entry:
        """A job that the service has: sent now, or before."""
        until = time.monotonic() + self._deadline
        pause = self._poll
        while True:
            try:
                return self._found(thread.submit(self._sent, job).result())
            except RefusedError as refused:
                wait, pause = self._pauses(pause, refused.after)
                if not refused.again or time.monotonic() + wait > until:
                    raise refused.error from None
                refused_by = refused.error.message
            _log.warning("%s It is sent again in %.3g s.", refused_by, wait)
            time.sleep(wait)

    def _sent(self, job: Job) -> Entry:
        """A job that was sent now; or as the ledger has it, if it was sent before."""
        key = job.entry.key
        known = self._ledger.reserve(job.entry)
        if known is not None:
            return known
        timeout = min(POST_TIMEOUT, self._deadline)
        try:
            remote = self._service.submit(job.payload, key, timeout=timeout)
        except RefusedError as refused:
            self._ledger.refused(key, str(refused))
            raise
        except NoAnswerError as lost:
            self._ledger.lost(key, lost.reason)
            raise _lost(job.entry, lost.reason) from None
        try:
            self._ledger.sent(key, remote)
        except LedgerError as error:
            error.add_note(
                f"Job {key} was sent before this: its identifier at the service is "
                f"{remote}. Give it with `qstore jobs resolve {key[:12]} --id {remote}`"
            )
            raise
        return _with_identifier(job.entry, remote)

    def _found(self, entry: Entry) -> Entry:
        """A job that was sent before, as the service has it."""
        if entry.state not in UNSURE:
            return entry
        remote = self._service.job_named(entry.key, timeout=GET_TIMEOUT)
        if remote is None:
            reason = "It was being sent when the program ended, or another sends it now"
            raise _lost(entry, entry.error or reason)
        self._ledger.sent(entry.key, remote)
        return _with_identifier(entry, remote)

    def _asked(self, one: _Waiting) -> Any:
        """The result of a job if it is ready; else the next question is put off."""
        entry, after = one.entry, None
        left = max(self._poll, one.until - time.monotonic())
        try:
            result = self._service.result_of(entry, timeout=min(GET_TIMEOUT, left))
        except NoAnswerError as error:
            result, after, one.reason = None, error.after, f" {error.reason}."
            _log.warning("Job %s: %s. It is asked for again.", entry.job, error.reason)
        except (JobFailedError, JobCancelledError) as error:
            self._ledger.failed(entry.key, error.message)
            raise
        if result is not None:
            return result
        now = time.monotonic()
        if now >= one.until:
            raise JobTimeoutError(
                f"A job has no result after {self._deadline:g} s.{one.reason} It goes "
                "on at the service. Run the program again to pick up its result, or "
                "give the backend a later `deadline`. Its key in the ledger is "
                f"{entry.key}.",
                backend=entry.backend,
                job=entry.job,
            )
        wait, one.pause = self._pauses(one.pause, after)
        one.ask_at = min(now + wait, one.until)
        return None

    def _pauses(self, pause: float, after: float | None) -> tuple[float, float]:
        """How long to wait now, and the pause after that."""
        spread = self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)
        wait = pause * spread if after is None else after
        return wait, min(pause * GROWTH, max(LONGEST_PAUSE, self._poll))


def _with_identifier(entry: Entry, remote: str) -> Entry:
    return dataclasses.replace(entry, state=SENT, job=remote)


def _lost(entry: Entry, reason: str) -> LostJobError:
    return LostJobError(
        f"A job may have reached the service or not: {reason}. It is not sent again, "
        "since it might be paid twice. Look for it at the service: its metadata has "
        f"the key {entry.key}. If it is there, run `qstore jobs resolve "
        f"{entry.key[:12]} --id IDENTIFIER`, else `qstore jobs resolve "
        f"{entry.key[:12]} --resend`; then run the program again.",
        backend=entry.backend,
    )
