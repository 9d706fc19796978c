"""What is computed for one shard of a mini-batch, wherever that is.

A shard is some samples of a mini-batch. All that its result depends on is sent with it,
so that it can be computed again after a failure, on any computer.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl.gradients.expectations import Bool1D, Float1D, Float2D, ModelExpectations
from qstore_pl.gradients.methods import estimator_of
from qstore_pl.losses import Loss


class ShardTask(NamedTuple):
    """A shard, and what is wanted of it.

    Args:
        parameters: All parameters of the model, shape ``(n_parameters,)``.
        trainable: Mask of the trained weights, shape ``(n_weights,)``.
        features: Encoded data of the samples, shape ``(n_samples, n_features)``.
        keys: Numbers from which the generator of the gradient method, and then that of
            the device, are made, together with ``number``.
        number: Number of the shard in its mini-batch, counted from 0.
        gradient: Whether the circuits that a gradient takes are run.
        targets: Prepared targets of the samples, if the derivatives of the loss are to
            be computed here.
        share: Number of samples of the shard, divided by that of the mini-batch.
        cotangents: Derivatives of the loss of the mini-batch with respect to the
            outputs of these samples, if they are known, shape
            ``(n_samples, n_outputs)``.
    """

    parameters: Float1D
    trainable: Bool1D
    features: Float2D
    keys: tuple[list[int], list[int]]
    number: int
    gradient: bool
    targets: NDArray[Any] | None = None
    share: float = 1.0
    cotangents: Float2D | None = None


class ShardResult(NamedTuple):
    """What was found for a shard.

    Args:
        values: Measured values, shape ``(n_samples, n_values)``.
        gradient: The shard's part of the gradient with respect to the weights, shape
            ``(n_weights,)``; None if the derivatives of the loss were not known.
        circuits: Number of circuits that were run.
        shots: Number of shots of all these circuits.
    """

    values: Float2D
    gradient: Float1D | None
    circuits: int
    shots: int


@final
class ShardWork:
    """A function from a shard to its measured values and its part of the gradient.

    It can be pickled. Several threads may call it: each has a copy of the circuit and
    of its device.

    Args:
        expectations: The circuit of a model, and the device that it runs on.
        method: Name of the gradient method, as for :func:`estimator_of`.
        options: The options of the method.
        loss: The loss, if it is a mean over samples and its derivatives are computed
            here; else None.
    """

    def __init__(
        self,
        expectations: ModelExpectations,
        method: str,
        options: Mapping[str, Any],
        loss: Loss | None,
    ) -> None:
        self._expectations, self._loss = expectations, loss
        self._method, self._options = method, dict(options)
        self._idle: deque[_Site] = deque()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_idle": deque()}

    def __call__(self, task: ShardTask) -> ShardResult:
        """The result for a shard; it depends on nothing but the shard."""
        try:
            site = self._idle.pop()
        except IndexError:
            site = _Site(self._expectations, self._method, self._options)
        found = site.run(task, self._loss)
        self._idle.append(site)
        return found


class _Site:
    """A copy of a circuit and its device, which one thread uses at a time."""

    def __init__(
        self, expectations: ModelExpectations, method: str, options: Mapping[str, Any]
    ) -> None:
        self._expectations = copy.deepcopy(expectations)
        self._expectations.limit(None)
        self._rng = np.random.default_rng()
        self._estimator = estimator_of(
            self._expectations, method, rng=self._rng, **options
        )

    def run(self, task: ShardTask, loss: Loss | None) -> ShardResult:
        expectations, estimator = self._expectations, self._estimator
        expectations.trainable[:] = task.trainable
        of_method, of_device = task.keys
        self._rng.bit_generator.state = _generator(of_method, task.number)
        device = expectations.device
        devices.set_generator_state(device, _generator(of_device, task.number))
        circuits, shots = estimator.circuits, estimator.spent
        rows = np.arange(len(task.features))
        outputs = estimator.forward(
            task.parameters, task.features, rows, gradient=task.gradient
        )
        values = np.array(estimator.values)
        cotangents, gradient = task.cotangents, None
        if task.targets is not None:
            assert loss is not None
            cotangents = task.share * loss.value_and_grad(outputs, task.targets)[1]
        if cotangents is not None:
            n_weights = expectations.n_weights
            gradient = np.array(estimator.backward(cotangents)[:n_weights])
        return ShardResult(
            values, gradient, estimator.circuits - circuits, estimator.spent - shots
        )


def _generator(words: list[int], number: int) -> dict[str, Any]:
    """The first state of the generator of a shard."""
    seed = np.random.SeedSequence(words, spawn_key=(number,))
    return dict(np.random.PCG64(seed).state)
