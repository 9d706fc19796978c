"""Executors: where the calls of a function run that do not depend on each other.

They know neither models nor gradients. :class:`qstore_pl.QuantumTrainer` gives them the
shards of a mini-batch, and :func:`qstore_pl.sweep` whole training runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, final

from qstore_pl._checks import integer
from qstore_pl._computer import processors

SHARDS = 8  # of a mini-batch, where the user does not say otherwise

Function = Callable[[Any], Any]
Run = Callable[[Sequence[Any]], list[Any]]


class Executor(ABC):
    """The base class of executors.

    An executor of your own has two methods. :meth:`crew` is for many rounds of short
    calls, :meth:`map` for one round of long ones. Functions, arguments and results can
    be pickled, at least by cloudpickle. Calls have no effect besides their result, so
    that a call may be repeated, on another worker, if the first one was lost.

    Args:
        n_shards: Number of shards, >= 1, into which the trainer cuts a mini-batch. At
            most so many workers have something to do at the same time. Results depend
            on it, in their last bits or in what is drawn at random; they do not depend
            on the number of workers.

    Attributes:
        n_shards: As the argument.

    Example:
        An executor that calls everything where it is:

        >>> class Here(Executor):
        ...     @contextmanager
        ...     def crew(self, function):
        ...         yield lambda items: [function(item) for item in items]
        ...     def map(self, function, items):
        ...         return [function(item) for item in items]
        >>> Here().map(abs, [-1, 2])
        [1, 2]
    """

    def __init__(self, *, n_shards: int = SHARDS) -> None:
        self.n_shards = integer("n_shards", n_shards, minimum=1)

    @abstractmethod
    def crew(self, function: Function) -> AbstractContextManager[Run]:
        """A context in which the workers have a function.

        Args:
            function: A function of one argument.

        Returns:
            A context manager. It gives a function from a sequence of arguments to the
            list of results, in the order of the arguments. An error of a call is raised
            by it.
        """

    @abstractmethod
    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """Call a function for every argument.

        Args:
            function: A function of one argument that raises no error.
            items: The arguments.

        Returns:
            The results in the order of the arguments. Where a call was lost with its
            worker again and again, an :class:`~qstore_pl.errors.ExecutorError` is in
            the place of its result.
        """


@final
class ThreadExecutor(Executor):
    """An executor whose calls run in threads of this process.

    The kernels of this package use all processors without it, and do not hold Python's
    lock. So threads pay where circuits run on a device of another package that lets go
    of the lock, and for sweeps over small models.

    Args:
        n_workers: Number of threads, >= 1; None takes the number of processors that
            this process may use.
        n_shards: Number of shards, >= 1, into which the trainer cuts a mini-batch.

    Example:
        >>> with ThreadExecutor(2).crew(abs) as run:
        ...     run([-1, 2, -3])
        [1, 2, 3]
    """

    def __init__(self, n_workers: int | None = None, *, n_shards: int = SHARDS) -> None:
        super().__init__(n_shards=n_shards)
        if n_workers is None:
            n_workers = processors()
        self.n_workers = integer("n_workers", n_workers, minimum=1)

    def __repr__(self) -> str:
        return f"ThreadExecutor({self.n_workers}, n_shards={self.n_shards})"

    @contextmanager
    def crew(self, function: Function) -> Iterator[Run]:
        """A context in which threads call a function, as in the base class."""
        name = "qstore-executor"
        with ThreadPoolExecutor(self.n_workers, thread_name_prefix=name) as pool:
            yield lambda items: list(pool.map(function, items))

    def map(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """Call a function for every argument, in threads."""
        with self.crew(function) as run:
            return run(items)


def check_executor(executor: Any) -> Executor | None:
    """Refuse what is no executor.

    Raises:
        TypeError: If it is neither None nor an :class:`Executor`.
    """
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            "Argument `executor` must be an Executor or None, but is of type "
            f"{type(executor).__name__}. ThreadExecutor(n_workers) and "
            "DaskExecutor(client) are executors."
        )
    return executor
