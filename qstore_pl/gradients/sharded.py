"""One gradient on several backends: each of them runs a part of the mini-batch.

The samples of a mini-batch are divided in fixed proportions. Every backend runs the
same circuit for its samples, by a gradient estimator of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.gradients.adaptive import AdaptiveShift
from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import Float1D, Float2D
from qstore_pl.gradients.shift import ParameterShift


@final
@dataclass(frozen=True, eq=False)
class Shard:
    """The part of one backend.

    Args:
        estimator: The gradient estimator of the circuit on this backend.
        share: Its share of the samples, > 0, in proportion to those of the others.
        rng: The generator from which the estimator draws, which no other shard has.
        remote: Whether its circuits leave this computer.
    """

    estimator: GradientEstimator
    share: float
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    remote: bool = False


@final
class ShardedEstimator(GradientEstimator):
    """Outputs and gradients of a circuit that runs on several backends at once.

    The first backend runs the first samples of every mini-batch, the second one the
    next samples, and so on; :func:`divided` says how many. The gradient of a mini-batch
    is the sum of those of its samples, so on exact backends it is the one that a single
    backend would give. Backends that are not on this computer run at the same time; the
    result does not depend on which of them is ready first.

    Random gradient methods draw the same directions or weights on all backends.

    Args:
        shards: The backends, of which the first one is also that of
            :attr:`expectations`.
        rng: The generator of the run. All shards draw what the next draws from it are.

    Raises:
        ValueError: If there is no shard.
    """

    def __init__(self, shards: Sequence[Shard], rng: np.random.Generator) -> None:
        if not shards:
            raise ValueError("Argument `shards` must have at least one, but has none.")
        super().__init__(shards[0].estimator.expectations)
        self._shards, self._rng = tuple(shards), rng
        self._shares = [shard.share for shard in shards]
        self._spans: list[tuple[Shard, slice]] = []  # of the last mini-batch

    @property
    def parts(self) -> Sequence[GradientEstimator]:
        """The estimators of all shards."""
        return [shard.estimator for shard in self._shards]

    @property
    def spent(self) -> int:
        """Number of shots measured so far, on all backends."""
        return sum(part.spent for part in self.parts)

    @property
    def circuits(self) -> int:
        """Number of circuits run so far, on all backends."""
        return sum(part.circuits for part in self.parts)

    @property
    def state(self) -> dict[str, Any]:
        """The states of all estimators, for a checkpoint."""
        states = [part.state for part in self.parts]
        return {"parts": states} if any(states) else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :attr:`state` returned."""
        for part, own in zip(self.parts, state.get("parts", []), strict=False):
            part.load_state(own)

    def _measure(
        self,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool,
    ) -> Float2D:
        """The measured values of some samples, shape ``(batch, n_values)``."""
        ends = np.cumsum(divided(len(rows), self._shares)).tolist()
        self._spans, start = [], 0
        for shard, end in zip(self._shards, ends, strict=True):
            if end > start:
                self._spans.append((shard, slice(start, end)))
            start = end
        drawn = self._rng.bit_generator.state
        calls: list[Callable[[], Float2D]] = []
        alone: list[bool] = []
        for shard, span in self._spans:
            shard.rng.bit_generator.state = drawn

            def call(shard: Shard = shard, span: slice = span) -> Float2D:
                own, part = shard.estimator, rows[span]
                return own._measure(weights, features, part, gradient=gradient).copy()

            shape = (span.stop - span.start, features.shape[1])
            calls.append(call)
            alone.append(_runs_alone(shard, shape, gradient=gradient))
        values = _at_once(calls, alone)
        if self._spans:
            self._rng.bit_generator.state = self._spans[0][0].rng.bit_generator.state
        return np.concatenate(values)

    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``."""
        total = np.zeros(self._n_weights)
        for shard, span in self._spans:
            total += shard.estimator._gradient(cotangents[span])
        return total


def divided(n: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers in given proportions, by the method of the largest remainder.

    Every part gets its quota without the fraction. What is left goes, one each, to the
    parts with the largest fractions; the first of them where fractions are equal.

    Args:
        n: The sum of the numbers, >= 0.
        shares: The proportions, each > 0.

    Returns:
        One number for each share.

    Example:
        >>> divided(10, [1, 3])
        [3, 7]
        >>> divided(10, [1, 1, 1])
        [4, 3, 3]
    """
    exact = [Fraction(share) for share in shares]
    total = sum(exact)
    quotas = [n * share / total for share in exact]
    found = [int(quota) for quota in quotas]
    order = sorted(range(len(quotas)), key=lambda i: found[i] - quotas[i])
    for i in order[: n - sum(found)]:
        found[i] += 1
    return found


def _runs_alone(shard: Shard, shape: tuple[int, ...], *, gradient: bool) -> bool:
    """Whether a shard waits for another computer, and needs no PennyLane for it.

    PennyLane builds circuits in one thread at a time. The circuit is therefore
    compiled here, before any thread begins.
    """
    if not shard.remote:
        return False
    shifted = gradient and isinstance(shard.estimator, ParameterShift | AdaptiveShift)
    lanes = shard.estimator.expectations.lanes(shape, shifted=shifted)
    return lanes is not None


def _at_once(
    calls: Sequence[Callable[[], Float2D]], alone: Sequence[bool]
) -> list[Float2D]:
    """The results of some calls, in their order.

    Args:
        calls: The calls.
        alone: Whether each has a thread of its own; the others run one after the other.
    """
    if len(calls) == 1 or not any(alone):
        return [call() for call in calls]
    rest = [call for call, own in zip(calls, alone, strict=True) if not own]
    pool = ThreadPoolExecutor(max_workers=len(calls))
    try:
        together = pool.submit(lambda: [call() for call in rest])
        others = [
            pool.submit(call) for call, own in zip(calls, alone, strict=True) if own
        ]
        # An error waits for all, so that none is still at work when it is seen.
        wait(others)
        wait([together])
        here, there = iter(together.result()), iter(others)
        return [next(there).result() if own else next(here) for own in alone]
    finally:
        pool.shutdown(wait=False)  # a signal does not wait for other computers
