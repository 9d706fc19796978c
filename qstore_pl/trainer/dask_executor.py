"""Calls on the workers of a Dask cluster.

A training step takes milliseconds, about as long as Dask's scheduler takes for a few
tasks. So each worker gets an *actor*, which has the function, and is called once for
every step without the scheduler's planning. Sweeps are ordinary tasks. Whatever a lost
worker had is done again by another one, which changes nothing: results depend on
nothing but the arguments.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, final

from qstore_pl._checks import real
from qstore_pl.errors import ExecutorError
from qstore_pl.trainer.executor import SHARDS, Executor, Function, Run

CONNECTION_SECONDS = 10.0  # within which a scheduler answers
LOOK_SECONDS = 0.5  # from one look at whether a worker is still there to the next
MOST_LOSSES = 3  # workers that the same call may lose
SAME_VERSION = ("qstore_pl", "pennylane", "numpy", "numba")
# What Dask raises for a worker that is gone, or does not know what was sent to it.
LOST = (OSError, RuntimeError, KeyError)


@final
class DaskExecutor(Executor):
    """An executor whose calls run on the workers of a Dask cluster.

    Workers have the versions of this package, of PennyLane, numpy and numba that this
    process has. Start them with one thread each, and ``QSTORE_NUM_THREADS=1`` in their
    environment where several share a computer.

    Workers are looked for when a run begins, and again when one is lost. Those that
    join in the meantime are used from then on.

    Args:
        client: A ``distributed.Client``, or the address of a scheduler, as
            ``"tcp://10.0.0.1:8786"``. With an address, each run connects to it, and
            disconnects at its end.
        n_shards: Number of shards, >= 1, into which the trainer cuts a mini-batch.
        timeout: Seconds, > 0, within which a worker computes its part of a training
            step; one that takes longer counts as lost. Also how long a run waits for a
            first worker. Sweeps are not limited.

    Raises:
        ModuleNotFoundError: If ``distributed`` is not installed.
        TypeError: If ``client`` is neither of the two.

    Example:
        >>> from qstore_pl import QuantumTrainer, TrainingConfig
        >>> executor = DaskExecutor("tcp://10.0.0.1:8786")
        >>> trainer = QuantumTrainer(TrainingConfig(epochs=20), executor=executor)
    """

    def __init__(
        self, client: Any, *, n_shards: int = SHARDS, timeout: float = 60.0
    ) -> None:
        super().__init__(n_shards=n_shards)
        self.timeout = real("timeout", timeout, above=0.0)
        distributed = _distributed()
        if not isinstance(client, str | distributed.Client):
            raise TypeError(
                "Argument `client` must be a distributed.Client or the address of a "
                f"scheduler, but is of type {type(client).__name__}. The client of a "
                "cluster is distributed.Client(cluster)."
            )
        if not isinstance(client, str) and client.asynchronous:
            raise TypeError(
                "Argument `client` must not be asynchronous, but is. Make it with "
                "distributed.Client(..., asynchronous=False), or give the address."
            )
        self._client = client

    def __repr__(self) -> str:
        where = self._client
        if not isinstance(where, str):
            where = where.scheduler.address if where.scheduler else "closed"
        return f"DaskExecutor({where!r}, n_shards={self.n_shards})"

    @contextmanager
    def crew(self, function: Function) -> Iterator[Run]:
        """A context in which all workers have a function, as in the base class.

        Raises:
            ExecutorError: If there is no scheduler or no worker, or a worker has other
                versions of packages.
        """
        with self._connected() as client:
            crew = _Crew(client, function, self.timeout)
            try:
                yield crew.run
            finally:
                crew.dismiss()

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """Call a function for every argument, each call a task of its own.

        Raises:
            ExecutorError: As :meth:`crew`.
        """
        with self._connected() as client:
            # A task, not scattered data: Dask makes it again if its worker is lost.
            held = client.submit(_same, function, pure=False)
            tasks = client.map(_called, list(items), function=held, pure=False)
            return [_result(task) for task in tasks]

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A client that reaches a scheduler with workers of the right versions."""
        distributed, client = _distributed(), self._client
        if isinstance(client, str):
            try:
                client = distributed.Client(
                    client, timeout=CONNECTION_SECONDS, set_as_default=False
                )
            except (OSError, ValueError) as error:
                raise ExecutorError(
                    f"No Dask scheduler answers at {self._client}: {error} Start one "
                    "with `dask scheduler`, or give the address that it prints."
                ) from error
        elif client.status != "running":
            raise ExecutorError(
                f"The Dask client is {client.status}. Make a new one, with "
                "distributed.Client(address)."
            )
        try:
            _check_workers(client, self.timeout)
            yield client
        finally:
            if isinstance(self._client, str):
                client.close()


class _Outcome(NamedTuple):
    """Results of calls, or the error that one of them raised."""

    results: list[Any]
    error: Exception | None = None


class _Hand:
    """What a worker keeps during a run: the function.

    Args:
        function: A function of one argument.
    """

    def __init__(self, function: Function) -> None:
        self._function = function

    def run(self, items: Sequence[Any]) -> _Outcome:
        """The results for some arguments.

        Errors of the function are told from those of Dask, which raises OSError,
        RuntimeError and others when a worker is lost.
        """
        try:
            return _Outcome([self._function(item) for item in items])
        except Exception as error:  # noqa: BLE001 - raised again by _Crew.run
            return _Outcome([], error)


class _Crew:
    """Actors on all workers, which have a function.

    Args:
        client: A connected client.
        function: The function.
        timeout: Seconds within which a worker answers.
    """

    def __init__(self, client: Any, function: Function, timeout: float) -> None:
        self._client, self._function, self._timeout = client, function, timeout
        self._hands: dict[str, Any] = {}  # by address of the worker
        self._gone: set[str] = set()
        self._hire()

    def run(self, items: Sequence[Any]) -> list[Any]:
        """The results for all arguments, in their order.

        Raises:
            ExecutorError: If no worker is left, or the same arguments lose one after
                the other.
        """
        results: list[Any] = [None] * len(items)
        waiting = list(range(len(items)))
        for _ in range(MOST_LOSSES):
            waiting = self._round(items, waiting, results)
            if not waiting:
                return results
            self._hire()
        raise ExecutorError(
            f"{MOST_LOSSES} workers of Dask were lost in the same step, or did not "
            f"answer in {self._timeout:g} s. Look at their logs: memory may not "
            "suffice. A longer time is DaskExecutor(..., timeout=...)."
        )

    def dismiss(self) -> None:
        """Let the workers forget the function."""
        self._hands = {}  # Dask releases an actor when nobody refers to it

    def _round(
        self, items: Sequence[Any], waiting: Sequence[int], results: list[Any]
    ) -> list[int]:
        """Call all workers once; return the indices for which there is no result."""
        hands = list(self._hands.items())
        share = -(-len(waiting) // len(hands))
        calls, lost = [], list[int]()
        for k, (address, hand) in enumerate(hands):
            part = waiting[k * share : (k + 1) * share]
            if part:
                calls.append((address, part, _begun(hand, [items[i] for i in part])))
        error: Exception | None = None
        until = time.monotonic() + self._timeout
        for address, part, future in calls:
            try:
                if future is None:
                    raise RuntimeError("the actor is lost")
                outcome = self._waited(address, future, until)
            except LOST:
                lost += part
                del self._hands[address]
                self._gone.add(address)
                continue
            error = error or outcome.error
            for i, result in zip(part, outcome.results, strict=False):
                results[i] = result
        if error is not None:
            raise error
        return lost

    def _waited(self, address: str, future: Any, until: float) -> _Outcome:
        """What a call gives.

        Raises:
            OSError: If its worker is gone, or did not answer until this time.
            RuntimeError: If its actor is lost.
        """
        while True:
            left = max(until - time.monotonic(), 0.001)
            try:
                found: _Outcome = future.result(timeout=min(left, LOOK_SECONDS))
            except TimeoutError:
                # Dask may wait for the actor of a dead worker for ever.
                late = time.monotonic() > until or future.done()
                if late or address not in _workers(self._client):
                    raise
            else:
                return found

    def _hire(self) -> None:
        """Make an actor on every worker that has none."""
        until = time.monotonic() + self._timeout
        while not self._hired() and not self._hands:
            if time.monotonic() > until:
                raise ExecutorError(
                    "The Dask cluster has no worker left. Start some with `dask worker "
                    "ADDRESS`, and resume the run from its checkpoint."
                )
            time.sleep(0.05)

    def _hired(self) -> bool:
        """Make actors on the workers that there are; return whether any was made."""
        there = set(_workers(self._client)) - self._gone
        made = {
            address: self._client.submit(
                _Hand,
                self._function,
                actor=True,
                pure=False,
                workers=[address],
                allow_other_workers=False,
            )
            for address in sorted(there - self._hands.keys())
        }
        actor = _distributed().Actor
        found = {}
        for address, future in made.items():
            try:
                error = future.exception(timeout=self._timeout)
            except LOST as lost:
                error = lost
            if error is None:
                with self._client.as_current():  # which the actor takes for its own
                    found[address] = actor(_Hand, address, future.key)
            elif isinstance(error, LOST) or address not in _workers(self._client):
                self._gone.add(address)
            else:
                raise ExecutorError(
                    f"Worker {address} of Dask cannot load what was sent to it: "
                    f"{error!r}. Modules of your own must be there, too."
                ) from error
        self._hands |= found
        return bool(found)


def _begun(hand: Any, items: list[Any]) -> Any:
    """The call of an actor, or None if the actor is lost."""
    try:
        return hand.run(items)
    except RuntimeError:
        return None


def _workers(client: Any) -> Mapping[str, Any]:
    """The workers that the scheduler has now, by address."""
    found: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return found


def _check_workers(client: Any, timeout: float) -> None:
    """Refuse a cluster without workers, or with workers of other versions.

    Raises:
        ExecutorError: If it is one.
    """
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        raise ExecutorError(
            f"The Dask scheduler had no worker for {timeout:g} s. Start some with "
            "`dask worker ADDRESS`."
        ) from error
    found = client.get_versions(packages=SAME_VERSION)
    ours = found["client"]["packages"]
    for address, told in found["workers"].items():
        theirs = told["packages"]
        wrong = [name for name in SAME_VERSION if theirs[name] != ours[name]]
        if wrong:
            listed = ", ".join(
                f"{name} {theirs[name]}" if theirs[name] else f"no {name}"
                for name in wrong
            )
            wanted = ", ".join(f"{name} {ours[name]}" for name in wrong)
            raise ExecutorError(
                f"Worker {address} of Dask has {listed}, but this process has "
                f"{wanted}. Install the same versions there."
            )


def _same(value: Any) -> Any:
    return value


def _called(item: Any, function: Function) -> Any:
    return function(item)


def _result(task: Any) -> Any:
    """The result of a task, or an ExecutorError in its place."""
    distributed = _distributed()
    try:
        return task.result()
    except (distributed.KilledWorker, distributed.CancelledError) as error:
        return ExecutorError(f"The workers that did it were lost: {error}")


def _distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "DaskExecutor needs distributed, which is not installed. Install it with "
            'pip install "qstore-pl[dask]".'
        ) from error
    return distributed
