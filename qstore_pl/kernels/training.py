"""Training the weights of a kernel so that it fits the labels of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_pl._checks import finite, integer
from qstore_pl.kernels.alignment import ideal, value_and_derivative
from qstore_pl.kernels.kernel import Kernel
from qstore_pl.optimizers import NaturalGradient, Optimizer, get_optimizer

Float1D = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class KernelTraining:
    """What the training of a kernel recorded.

    Args:
        alignments: The mean alignment of the batches of each epoch, each before its
            update, shape ``(epochs,)``. It is NaN for an epoch all of whose batches had
            samples of one label alone.
        before: The alignment of all samples before the training.
        after: The alignment of all samples after it.
    """

    alignments: Float1D
    before: float
    after: float


def train_kernel(
    kernel: Kernel,
    X: Any,
    y: ArrayLike,
    *,
    epochs: int,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    optimizer: str | Optimizer = "adam",
    centered: bool = False,
    seed: Any = None,
) -> KernelTraining:
    """Change the parameters of a kernel so that its alignment with labels rises.

    The gradient is exact: one forward and one backward run of the samples of a batch,
    however many pairs they make. Parameters that are not ``kernel.trainable`` stay as
    they are.

    Args:
        kernel: A :class:`FidelityKernel` or a :class:`ProjectedKernel` with layers that
            have weights, and without shots. Its parameters are changed in place.
        X: Samples, shape ``(n_samples, input_dim)``.
        y: Labels of any kind, shape ``(n_samples,)``, of at least two classes.
        epochs: How often all samples are used, >= 1.
        learning_rate: Step length of the optimizer, > 0; None is 0.1, or what an
            Optimizer has that is given.
        batch_size: Samples in each update, >= 2; None is all of them. A batch whose
            samples all have one label is left out.
        optimizer: A key of :data:`qstore_pl.optimizers.OPTIMIZERS`, but for the natural
            gradient; or an Optimizer.
        centered: Whether the alignment is centered, for labels that are not equally
            frequent; see :func:`alignment`.
        seed: Seed of the order of the samples.

    Raises:
        TypeError: If the kernel has no gradient, or an argument is of the wrong kind.
        ValueError: If the kernel has no trainable parameters or has shots, shapes do
            not fit, or the samples all have one label.
        DeviceError: If the backend has no compiled circuit.

    Example:
        >>> from qstore_pl import AngleEncoding, FidelityKernel, QuantumLayer
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(20, 2))
        >>> layers = [QuantumLayer(), AngleEncoding(), QuantumLayer(), AngleEncoding()]
        >>> kernel = FidelityKernel(2, layers=layers, seed=1)
        >>> found = train_kernel(kernel, X, X[:, 0] > X[:, 1], epochs=10)
        >>> found.after > found.before
        True

    References:
        Hubregtsen et al., Training quantum embedding kernels on near-term quantum
        computers, Physical Review A 106, 042431 (2022), arXiv:2105.02276.
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(
            f"Argument `kernel` must be a Kernel, but is of type "
            f"{type(kernel).__name__}."
        )
    if not kernel.trainable.any():
        raise ValueError(
            "Argument `kernel` must have trainable parameters, but has none. Give it "
            "layers that have some, as [AngleEncoding(), QuantumLayer(), "
            "AngleEncoding()]."
        )
    samples = finite("X", X)
    labels = np.asarray(y)
    target = ideal(labels, len(samples))
    epochs = integer("epochs", epochs, minimum=1)
    n = len(samples)
    size = n if batch_size is None else integer("batch_size", batch_size, minimum=2)
    rule = _optimizer(optimizer, learning_rate)
    rng = np.random.default_rng(seed)

    def aligned() -> float:
        value, _ = value_and_derivative(kernel(samples), target, centered=centered)
        return value

    before = aligned()
    means = np.full(epochs, np.nan)
    for epoch in range(epochs):
        order = rng.permutation(n)
        values: list[float] = []
        for start in range(0, n, size):
            batch = order[start : start + size]
            if len(set(labels[batch].tolist())) < 2:
                continue
            matrix, pull_back = kernel.differentiable(samples[batch])
            value, derivative = value_and_derivative(
                matrix, target[np.ix_(batch, batch)], centered=centered
            )
            rule.step(
                kernel.parameters, -pull_back(derivative), trainable=kernel.trainable
            )
            values.append(value)
        if values:
            means[epoch] = np.mean(values)
    return KernelTraining(means, before, aligned())


def _optimizer(optimizer: str | Optimizer, learning_rate: float | None) -> Optimizer:
    """A new optimizer of a name, or the one that was given."""
    if not isinstance(optimizer, Optimizer):
        found = get_optimizer(
            optimizer, 0.1 if learning_rate is None else learning_rate
        )
    elif learning_rate is None:
        found = optimizer
    else:
        raise ValueError(
            "Argument `learning_rate` must be left out with an Optimizer, which has "
            f"its own, but is {learning_rate}."
        )
    if isinstance(found, NaturalGradient):
        raise TypeError(
            "Argument `optimizer` must need no metric tensor, which the alignment does "
            'not have, but is the natural gradient. Use "adam".'
        )
    return found
