"""The gradient of a mini-batch as the sum over shards that are computed elsewhere.

A mini-batch is cut into a fixed number of shards, and the results are summed in their
order. So the gradient does not depend, bit for bit, on who computes them, on how many
workers there are, or on which of them is ready first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import Expectations, Float1D, Float2D
from qstore_pl.gradients.shard_work import ShardResult, ShardTask
from qstore_pl.gradients.sharded import divided
from qstore_pl.losses import Loss

Run = Callable[[Sequence[ShardTask]], list[ShardResult]]


@final
class ParallelEstimator(GradientEstimator):
    r"""Outputs and gradients of a circuit whose mini-batches are computed in shards.

    The gradient with respect to the weights is the sum
    :math:`\sum_s \sum_{b \in s} \sum_k dm_{bk}\, \partial m_{bk} / \partial w` over
    shards :math:`s`, samples :math:`b` and measured values :math:`k`. The derivatives
    :math:`dm` are those of the loss of the whole mini-batch. A loss that is a mean over
    samples has the same derivatives in a shard of :math:`B_s` of the :math:`B` samples,
    times :math:`B_s / B`. They are computed there, and one round suffices. Every other
    loss may mix the samples: a first round gives the measured values, and a second one,
    which runs the circuits again, the gradient.

    With shots, noise that is drawn, or a random gradient method, the draws of a shard
    are those of generators of its own. Their seeds are the number of the shard and
    numbers that the run draws for each step.

    Args:
        expectations: The circuit, and the device that it runs on.
        run: Function from shards to their results, in their order.
        n_shards: Number of shards of a mini-batch, >= 1. A mini-batch with fewer
            samples has a shard for each.
        rng: The generator of the run, from which the seeds of each step are drawn.
        loss: The loss, if it is a mean over samples; None takes two rounds.
    """

    def __init__(
        self,
        expectations: Expectations,
        run: Run,
        *,
        n_shards: int,
        rng: np.random.Generator,
        loss: Loss | None,
    ) -> None:
        super().__init__(expectations)
        self._run, self._n_shards = run, n_shards
        self._rng, self._loss = rng, loss
        self._targets: NDArray[Any] | None = None
        self._all = self._parameters
        self._cotangents = np.empty((0, 0))
        self._tasks: list[ShardTask] = []  # of the last forward run
        self._ready: Float1D | None = None  # the gradient that it gave
        self._is_checked = loss is None

    def forward(
        self,
        parameters: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool = True,
        targets: NDArray[Any] | None = None,
    ) -> Float2D:
        """The outputs for some samples, as in the base class.

        Args:
            parameters: Shape ``(n_parameters,)``.
            features: Encoded data, shape ``(n_samples, n_features)``.
            rows: Indices of the samples, shape ``(batch,)``.
            gradient: Whether :meth:`backward` may follow.
            targets: Prepared targets of these samples. With them, and a loss that is a
                mean over samples, the gradient is computed in the same round.

        Returns:
            Shape ``(batch, n_outputs)``.
        """
        one_round = gradient and self._loss is not None
        self._targets = targets if one_round else None
        self._all = parameters
        return super().forward(parameters, features, rows, gradient=gradient)

    def backward(self, cotangents: Float2D) -> Float1D:
        """The gradient for the samples of the last :meth:`forward`.

        Raises:
            ValueError: If the loss was said to be a mean over samples, and is not.
        """
        if not self._is_checked and self._ready is not None:
            self._check_mean(cotangents)
        self._cotangents = cotangents
        return super().backward(cotangents)

    def _measure(
        self,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool,
    ) -> Float2D:
        """The measured values of some samples, shape ``(batch, n_values)``."""
        del weights  # they are among the parameters
        keys = self._words(self._rng), self._key_of_device()
        # With shots both rounds run the same circuits, and so draw the same outcomes.
        with_gradient = gradient and (self._targets is not None or self.shots > 0)
        trainable = self.expectations.trainable
        batch, targets = len(rows), self._targets
        self._tasks, start = [], 0
        for i, size in enumerate(divided(batch, [1] * self._n_shards)):
            span = slice(start, start + size)
            start += size
            if size:
                task = ShardTask(
                    self._all,
                    trainable,
                    features[rows[span]],
                    keys,
                    i,
                    with_gradient,
                    None if targets is None else targets[span],
                    size / batch,
                )
                self._tasks.append(task)
        results = self._run(self._tasks)
        self._ready = None if targets is None else _summed(results)
        self._count(results)
        return np.concatenate([found.values for found in results])

    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``."""
        del cotangents  # with respect to the measured values; shards make their own
        if self._ready is None:
            tasks, start = [], 0
            for task in self._tasks:
                end = start + len(task.features)
                own = self._cotangents[start:end]
                tasks.append(task._replace(cotangents=own, gradient=True))
                start = end
            results = self._run(tasks)
            self._count(results)
            self._ready = _summed(results)
        return self._ready

    def _key_of_device(self) -> list[int]:
        """Numbers drawn from the generator of the device, if it is ours."""
        device = self.expectations.device
        return device.stream_key().tolist() if devices.is_ours(device) else []

    @staticmethod
    def _words(rng: np.random.Generator) -> list[int]:
        found: list[int] = rng.integers(0, 1 << 64, 4, dtype=np.uint64).tolist()
        return found

    def _count(self, results: Sequence[ShardResult]) -> None:
        circuits = sum(found.circuits for found in results)
        self.expectations.spend(circuits, sum(found.shots for found in results))

    def _check_mean(self, cotangents: Float2D) -> None:
        """Compare the derivatives that the shards had with those of all samples."""
        loss, start = self._loss, 0
        assert loss is not None
        outputs = self._readout.outputs(self._values, self._own)
        for task in self._tasks:
            assert task.targets is not None
            end = start + len(task.features)
            found = loss.value_and_grad(outputs[start:end], task.targets)[1]
            if not np.allclose(task.share * found, cotangents[start:end], atol=1e-12):
                raise ValueError(
                    f"Loss `{loss.name}` must be a mean over samples, as is_mean=True "
                    "says, but its derivatives with respect to the outputs of some "
                    "samples depend on the others. Leave is_mean=False."
                )
            start = end
        self._is_checked = True


def _summed(results: Sequence[ShardResult]) -> Float1D:
    """The sum of the gradients of all shards, in their order."""
    first, *others = (found.gradient for found in results)
    assert first is not None
    total = first.copy()
    for gradient in others:
        assert gradient is not None
        total += gradient
    return total
