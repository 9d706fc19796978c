"""Losses: their values and their gradients, in closed form or by autograd.

A loss is a function of the outputs of a model and the targets; it knows no circuit.
Finite differences are never taken: a loss that cannot be differentiated is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_pl._checks import Float2D, boolean, choice, finite, plain

Targets = NDArray[Any]


@final
class Loss:
    """A scalar function of predictions and targets, with its gradient.

    Args:
        fn: ``fn(predictions, targets)`` returns the loss, a real scalar. Predictions
            have shape ``(n_samples, n_outputs)``. If the model has one output and the
            prepared targets have shape ``(n_samples,)``, the predictions have that
            shape too, so that ``predictions - targets`` never broadcasts. Without
            ``grad``, ``fn`` must be written with ``pennylane.numpy``, so that autograd
            can differentiate it.
        grad: ``grad(predictions, targets)`` returns the derivative of ``fn`` with
            respect to the predictions, in the shape of the predictions.
        hessian: ``hessian(predictions, targets)`` returns the second derivative of
            ``fn`` with respect to the outputs of each sample, shape
            ``(n_samples, n_outputs, n_outputs)``, which Gauss-Newton needs. ``fn`` must
            then be a sum of one term per sample.
        name: Name of the loss in messages; None takes the name of ``fn``.
        prepare: ``prepare(targets, n_outputs, n_samples)`` checks the targets as the
            user gave them, and returns the array that is passed to ``fn`` and ``grad``.
            It must leave prepared targets unchanged. None takes targets as they are, in
            the shape of the predictions, or of shape ``(n_samples,)`` for one output or
            integer labels.
        labels: ``labels(targets)`` returns the class of each sample from the prepared
            targets, shape ``(n_samples,)``. None for a loss whose targets are not
            classes.
        is_mean: Whether ``fn`` is the mean over the samples of a number for each that
            depends on the predictions and targets of this sample alone. Executors then
            compute a gradient in one round instead of two.

    Attributes:
        functions: The functions that were given, by argument name.
        is_mean: As the argument.

    Raises:
        TypeError: If an argument is not callable.

    Example:
        >>> mae = Loss(
        ...     lambda p, t: abs(p - t).mean(), lambda p, t: np.sign(p - t) / p.size
        ... )
        >>> mae([[0.5], [-1.0]], [[0.0], [0.0]])
        0.75
    """

    def __init__(
        self,
        fn: Callable[[Any, Any], Any],
        grad: Callable[[Any, Any], Any] | None = None,
        *,
        hessian: Callable[[Any, Any], Any] | None = None,
        name: str | None = None,
        prepare: Callable[[Any, int, int], Targets] | None = None,
        labels: Callable[[Any], NDArray[Any]] | None = None,
        is_mean: bool = False,
    ) -> None:
        functions = {
            "fn": fn,
            "grad": grad,
            "hessian": hessian,
            "prepare": prepare,
            "labels": labels,
        }
        for argument, value in functions.items():
            if not callable(value) and (value is not None or argument == "fn"):
                raise TypeError(
                    f"Argument `{argument}` must be callable, but is {value!r}."
                )
        self.functions = {k: v for k, v in functions.items() if v is not None}
        self.fn = fn
        self.grad = grad
        self.hessian = hessian
        self.prepare = _any_targets if prepare is None else prepare
        self.name = getattr(fn, "__name__", "custom") if name is None else name
        self.labels = labels
        self.is_mean = boolean("is_mean", is_mean)
        self._weighed = False

    def prepare_targets(self, targets: Any, n_outputs: int, n_samples: int) -> Targets:
        """Check targets and convert them, once, before training.

        Args:
            targets: One entry for each sample, in the form that the loss requires.
            n_outputs: Number of outputs of the model.
            n_samples: Number of samples.

        Returns:
            Prepared targets, an array whose first axis has length ``n_samples``.
            :meth:`value_and_grad` takes it, or the rows of a mini-batch.

        Raises:
            ValueError: If the shape or an entry of the targets does not fit.
            TypeError: If the targets are of the wrong kind.
        """
        return self.prepare(targets, n_outputs, n_samples)

    def value_and_grad(
        self, predictions: Float2D, targets: Targets
    ) -> tuple[float, Float2D]:
        """The loss and its derivative with respect to the predictions.

        Args:
            predictions: Shape ``(n_samples, n_outputs)``.
            targets: Prepared targets of the same samples.

        Returns:
            The loss, which may be NaN, and its gradient, shape
            ``(n_samples, n_outputs)``.

        Raises:
            TypeError: If the loss is not a real scalar or autograd cannot
                differentiate it.
            ValueError: If the gradient does not have the shape of the predictions.
        """
        given = _shaped_as(targets, predictions)
        if self.grad is None:
            value, gradient = self._differentiated(given, targets)
        else:
            value = self._evaluated(given, targets)
            gradient = evaluated(self._title, self.grad, given, targets)
        gradient = np.asarray(gradient)
        if gradient.shape != given.shape or gradient.dtype.kind not in "fiu":
            raise ValueError(
                f"The gradient of loss `{self.name}` has dtype {gradient.dtype} and "
                f"shape {gradient.shape}. It should be real and have shape "
                f"{given.shape}, that of the predictions."
            )
        gradient = np.ascontiguousarray(gradient, dtype=np.float64)
        return value, gradient.reshape(predictions.shape)

    def value(self, predictions: Float2D, targets: Targets) -> float:
        """The loss, without its gradient, for prepared targets."""
        return self._evaluated(_shaped_as(targets, predictions), targets)

    def second_derivative(
        self, predictions: Float2D, targets: Targets
    ) -> NDArray[np.float64]:
        """The second derivative of the loss with respect to the outputs of each sample.

        Args:
            predictions: Shape ``(n_samples, n_outputs)``.
            targets: Prepared targets of the same samples.

        Returns:
            Matrices, shape ``(n_samples, n_outputs, n_outputs)``.

        Raises:
            ValueError: If the loss has no ``hessian``, or it returned another shape.
        """
        if self.hessian is None:
            raise ValueError(
                f"Loss `{self.name}` has no second derivative. Give one: "
                "Loss(fn, grad, hessian=...)."
            )
        given = _shaped_as(targets, predictions)
        hessian = np.asarray(evaluated(self._title, self.hessian, given, targets))
        wanted = (*predictions.shape, predictions.shape[1])
        if hessian.shape != wanted:
            raise ValueError(
                f"The second derivative of loss `{self.name}` has shape "
                f"{hessian.shape} instead of {wanted}."
            )
        return hessian

    @property
    def is_classification(self) -> bool:
        """Whether the targets are classes, so that :meth:`accuracy` has a meaning."""
        return self.labels is not None

    def accuracy(self, predictions: Float2D, targets: Targets) -> float:
        """Share of the samples whose predicted class is right.

        The predicted class is the index of the largest output; where there is one
        output, it is 1 if the output is positive, else 0.

        Args:
            predictions: Shape ``(n_samples, n_outputs)``.
            targets: Prepared targets of the same samples.

        Raises:
            ValueError: If the targets of the loss are not classes.
        """
        decided, labels = self.classes(predictions, targets)
        return float(np.mean(decided == labels))

    def classes(
        self, predictions: Float2D, targets: Targets
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """The predicted and the right class of each sample, shapes ``(n_samples,)``.

        Args:
            predictions: Shape ``(n_samples, n_outputs)``.
            targets: Prepared targets of the same samples.

        Raises:
            ValueError: If the targets of the loss are not classes.
        """
        if self.labels is None:
            raise ValueError(f"The targets of loss `{self.name}` are not classes.")
        return decided(predictions), self.labels(targets)

    def with_class_weight(self, weights: Mapping[int, float]) -> Loss:
        """The same loss, with the term of each sample multiplied by its class's weight.

        The sum is still divided by the number of samples, not by the sum of the
        weights, so that the losses of batches average to that of all data. The targets
        that its :meth:`prepare_targets` returns contain the weights.

        Args:
            weights: Dict from label to weight, > 0; a label left out has weight 1.

        Raises:
            ValueError: If the targets are not classes, or the loss is not one of this
                package.
        """
        labels = self.labels
        if labels is None or self.name not in LOSSES:
            raise ValueError(
                f"Loss `{self.name}` must be one of classes to be weighted, as "
                '"cross_entropy", "hinge" or "binary", but is not.'
            )

        def prepare(targets: Any, n_outputs: int, n_samples: int) -> Targets:
            prepared = self.prepare(targets, n_outputs, n_samples)
            factors = [weights.get(int(label), 1.0) for label in labels(prepared)]
            return np.asarray(prepared * np.array(factors)[:, None])

        return Loss(
            self.fn,
            self.grad,
            hessian=self.hessian,
            name=self.name,
            prepare=prepare,
            labels=labels,
            is_mean=self.is_mean,
        )

    def with_sample_weight(self) -> Loss:
        """The same loss, with the term of each sample multiplied by a weight.

        It takes the targets that :func:`weighed` makes, which contain the weights. The
        sum is still divided by the number of samples, not by the sum of the weights.

        Raises:
            ValueError: If the loss is not one of this package. A user's function gives
                one number for all samples, which cannot be split into terms.
        """
        if self.name not in _SCALED or self.grad is None:
            raise ValueError(
                f"Loss `{self.name}` must be one of {', '.join(_SCALED)} to take the "
                "weights of samples. Put them into the targets of a loss of your own: "
                "Loss(fn, prepare=...)."
            )
        fn, grad, hessian, labels = self.fn, self.grad, self.hessian, self.labels
        scaled = _SCALED[self.name]

        def weighed_fn(predictions: Float2D, targets: Targets) -> Any:
            bare, weight = bare_and_weight(targets)
            return fn(*scaled(predictions, bare, weight))

        def weighed_grad(predictions: Float2D, targets: Targets) -> Any:
            bare, weight = bare_and_weight(targets)
            return weight * grad(predictions, bare)

        def weighed_hessian(predictions: Float2D, targets: Targets) -> Any:
            assert hessian is not None
            bare, weight = bare_and_weight(targets)
            return weight[:, :, None] * hessian(predictions, bare)

        def weighed_labels(targets: Targets) -> NDArray[Any]:
            assert labels is not None
            return labels(bare_and_weight(targets)[0])

        loss = Loss(
            weighed_fn,
            weighed_grad,
            hessian=None if hessian is None else weighed_hessian,
            name=self.name,
            prepare=self.prepare,
            labels=None if labels is None else weighed_labels,
            is_mean=self.is_mean,
        )
        loss._weighed = True
        return loss

    @property
    def is_weighed(self) -> bool:
        """Whether it takes targets with weights, as :func:`weighed` makes them."""
        return self._weighed

    def bare(self, targets: Targets) -> Targets:
        """Prepared targets without the weights of the samples."""
        return bare_and_weight(targets)[0] if self._weighed else targets

    def __call__(self, predictions: ArrayLike, targets: Any) -> float:
        """The loss, without its gradient.

        Args:
            predictions: Shape ``(n_samples, n_outputs)``.
            targets: Targets of the same samples, prepared or as the user has them.

        Raises:
            ValueError: If the shapes do not fit together.
            TypeError: If the targets are of the wrong kind, or the loss is not a real
                scalar.
        """
        outputs = _outputs(predictions)
        return self.value(
            outputs, self.prepare(targets, outputs.shape[1], outputs.shape[0])
        )

    @property
    def _title(self) -> str:
        return f"Loss `{self.name}`"

    def _evaluated(self, predictions: NDArray[Any], targets: Targets) -> float:
        return self._scalar(evaluated(self._title, self.fn, predictions, targets))

    def _scalar(self, value: Any) -> float:
        array = np.asarray(value)
        if array.shape or array.dtype.kind not in "fiu":
            raise TypeError(
                f"Loss `{self.name}` must return a real scalar, but returned dtype "
                f"{array.dtype} and shape {array.shape}. Take the mean over samples "
                "and outputs."
            )
        return float(array)

    def _differentiated(
        self, predictions: NDArray[Any], targets: Targets
    ) -> tuple[float, Any]:
        # Imported here, as the built-in losses do not need autograd.
        from autograd import value_and_grad
        from autograd.extend import Box

        def traced(boxed: Any) -> Any:
            value = evaluated(self._title, self.fn, boxed, targets)
            if not isinstance(value, Box):
                raise TypeError("autograd sees no dependence on the predictions")
            return value

        differentiate: Any = value_and_grad  # autograd has no annotations
        try:
            value, gradient = differentiate(traced)(predictions)
        except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
            # If the loss itself fails, its own error is raised here instead.
            self._evaluated(predictions, targets)
            raise TypeError(
                f"Loss `{self.name}` cannot be differentiated by autograd ({error}). "
                "Write it with pennylane.numpy, `from pennylane import numpy as np`, "
                "or give its gradient: Loss(fn, grad)."
            ) from error
        return self._scalar(value), gradient

    def __repr__(self) -> str:
        return f"Loss({self.name!r})"


def evaluated(
    title: str, function: Callable[[Any, Any], Any], predictions: Any, targets: Any
) -> Any:
    """The value of a user's function of predictions and targets.

    Args:
        title: Name of the function in messages.
        function: A loss, its derivative, or a metric.
        predictions: Predictions in the shape that the function expects.
        targets: Prepared targets of the same samples.

    Raises:
        IndexError: If the function indexes an axis that does not exist; the message
            names the shapes.
    """
    try:
        return function(predictions, targets)
    except IndexError as error:
        raise IndexError(
            f"{title} failed on predictions of shape {np.shape(predictions)} and "
            f"targets of shape {np.shape(targets)}: {error}. With one output the "
            "predictions have the shape of the targets; targets of shape "
            "(n_samples, 1) keep the second axis."
        ) from error
    except Exception as error:
        # The user's own error is raised as it is, with a note about its origin.
        error.add_note(
            f"{title} raised this, for predictions of shape {np.shape(predictions)} "
            f"and targets of shape {np.shape(targets)}."
        )
        raise


def weighed(targets: Targets, weights: Any) -> Float2D:
    """Prepared targets with the weights of the samples as an additional last column.

    Args:
        targets: Prepared targets, shape ``(n_samples, k)``.
        weights: One weight for each sample, shape ``(n_samples,)``, >= 0; None is 1 for
            every sample.

    Raises:
        ValueError: If the weights have another shape, or one is negative or not finite.
        TypeError: If the weights are not real numbers.
    """
    n_samples = len(targets)
    factors = np.ones(n_samples) if weights is None else finite("weights", weights)
    if factors.shape != (n_samples,):
        raise ValueError(
            f"Argument `weights` must have shape ({n_samples},), one weight for each "
            f"sample, but has shape {factors.shape}."
        )
    if (factors < 0.0).any():
        raise ValueError(
            f"Argument `weights` must be >= 0, but has {factors.min()} in it."
        )
    return np.column_stack([targets, factors])


def bare_and_weight(targets: Float2D) -> tuple[Float2D, Float2D]:
    """Undo :func:`weighed`: targets ``(n_samples, k)``, weights ``(n_samples, 1)``."""
    return targets[:, :-1], targets[:, -1:]


def _shaped_as(targets: Targets, predictions: Float2D) -> NDArray[Any]:
    """Predictions with one axis if there is one output and targets have one axis."""
    if predictions.shape[1] == 1 and np.ndim(targets) == 1:
        return predictions[:, 0]
    return predictions


def mean_squared_error(predictions: Float2D, targets: Float2D) -> float:
    r""":math:`\frac{1}{BK} \sum_{bk} (p_{bk} - t_{bk})^2`, arrays ``(B, K)``."""
    difference = predictions - targets
    return float(np.vdot(difference, difference)) / difference.size


def _mean_squared_error_grad(predictions: Float2D, targets: Float2D) -> Float2D:
    return (predictions - targets) * (2.0 / predictions.size)


def _mean_squared_error_hessian(predictions: Float2D, targets: Float2D) -> Any:
    n_samples, n_outputs = predictions.shape
    return np.tile(np.eye(n_outputs) * (2.0 / predictions.size), (n_samples, 1, 1))


def cross_entropy(predictions: Float2D, targets: Float2D) -> float:
    r""":math:`-\frac{1}{B} \sum_{bk} t_{bk} \log \mathrm{softmax}(p_b)_k`.

    Args:
        predictions: Logits, shape ``(B, K)``.
        targets: One-hot rows times the weight of the class, shape ``(B, K)``.
    """
    shifted = predictions - np.maximum.reduce(predictions, axis=1, keepdims=True)
    partition = np.add.reduce(np.exp(shifted), axis=1)  # >= 1: no overflow, no log 0
    weights = np.add.reduce(targets, axis=1)
    entropy = np.vdot(weights, np.log(partition)) - np.vdot(targets, shifted)
    return float(entropy) / predictions.shape[0]


def _softmax(predictions: Float2D) -> Float2D:
    weights = np.exp(
        predictions - np.maximum.reduce(predictions, axis=1, keepdims=True)
    )
    return weights / np.add.reduce(weights, axis=1, keepdims=True)


def _cross_entropy_grad(predictions: Float2D, targets: Float2D) -> Float2D:
    weights = np.add.reduce(targets, axis=1, keepdims=True)
    return (weights * _softmax(predictions) - targets) / predictions.shape[0]


def _cross_entropy_hessian(predictions: Float2D, targets: Float2D) -> Any:
    softmax = _softmax(predictions)
    diagonal = softmax[:, :, None] * np.eye(predictions.shape[1])
    crossed = softmax[:, :, None] * softmax[:, None, :]
    weights = targets.sum(axis=1)[:, None, None]
    return weights * (diagonal - crossed) / predictions.shape[0]


def binary(predictions: Float2D, targets: Float2D) -> float:
    r""":math:`-\frac{1}{B} \sum_b t_{b1} \log \sigma(p_b) + t_{b0} \log \sigma(-p_b)`.

    Args:
        predictions: One logit for each sample, shape ``(B, 1)``.
        targets: One-hot rows of the classes 0 and 1, times the weight of the class,
            shape ``(B, 2)``.
    """
    logits = predictions[:, 0]
    entropy = targets[:, 1] * _softplus(-logits)
    entropy += targets[:, 0] * _softplus(logits)
    return float(entropy.mean())


def _binary_grad(predictions: Float2D, targets: Float2D) -> Float2D:
    weights = targets.sum(axis=1, keepdims=True)
    return (weights * _sigmoid(predictions) - targets[:, 1:]) / predictions.shape[0]


def _binary_hessian(predictions: Float2D, targets: Float2D) -> Any:
    chance = _sigmoid(predictions)
    weights = targets.sum(axis=1, keepdims=True)
    return (weights * chance * (1.0 - chance))[:, :, None] / predictions.shape[0]


def _softplus(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """``log(1 + exp(x))``, computed without overflow."""
    return np.maximum(logits, 0.0) + np.log1p(np.exp(-np.abs(logits)))


def _sigmoid(predictions: Float2D) -> Float2D:
    return np.exp(-_softplus(-predictions))


def hinge(predictions: Float2D, targets: Float2D) -> float:
    r""":math:`\frac{1}{BK} \sum_{bk} \max(0, |t_{bk}| - t_{bk}\, p_{bk})`.

    Args:
        predictions: Shape ``(B, K)``.
        targets: 1 in the column of the class and -1 in all others, times the weight of
            the class, shape ``(B, K)``.
    """
    return float(np.maximum(np.abs(targets) - targets * predictions, 0.0).mean())


def _hinge_grad(predictions: Float2D, targets: Float2D) -> Float2D:
    outside = targets * predictions >= np.abs(targets)
    # The last term is 0, or NaN where the output is NaN.
    return np.where(outside, 0.0, -targets) / predictions.size + 0.0 * predictions


def _any_targets(targets: Any, n_outputs: int, n_samples: int) -> Targets:
    array = plain("targets", targets)
    if array.shape[:1] != (n_samples,):
        raise ValueError(
            f"Argument `targets` must have one entry per sample, here {n_samples}, but "
            f"has shape {array.shape}."
        )
    column = array.ndim == 1 and (n_outputs == 1 or array.dtype.kind in "iub")
    if array.shape != (n_samples, n_outputs) and not column:
        alone = "" if n_outputs == 1 else " of integer labels"
        raise ValueError(
            f"Argument `targets` must have shape ({n_samples}, {n_outputs}), as the "
            f"predictions, or ({n_samples},){alone}, but has shape {array.shape} and "
            f"dtype {array.dtype}. A loss of targets of another form must say how it "
            "takes them: Loss(fn, prepare=...)."
        )
    return array


def _number_targets(targets: Any, n_outputs: int, n_samples: int) -> Float2D:
    array = finite("targets", targets)
    if n_outputs == 1 and array.shape == (n_samples,):
        array = array.reshape(n_samples, 1)
    if array.shape != (n_samples, n_outputs):
        short = f" or ({n_samples},)" if n_outputs == 1 else ""
        raise ValueError(
            f"Argument `targets` must have shape ({n_samples}, {n_outputs}){short}, "
            f"a number per sample and output, but has shape {array.shape}. For class "
            'labels take the loss "cross_entropy".'
        )
    return array


def _class_targets(targets: Any, n_outputs: int, n_samples: int) -> Float2D:
    """One-hot rows, shape ``(n_samples, n_outputs)``."""
    if n_outputs < 2:
        raise ValueError(
            'Loss "cross_entropy" must have one output per class, at least 2, but has '
            f'{n_outputs}. Take more outputs, or the loss "mse".'
        )
    array = plain("targets", targets)
    if array.shape == (n_samples, n_outputs):
        if not (((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all()):
            raise ValueError(
                f"Argument `targets` of shape ({n_samples}, {n_outputs}) must be "
                "one-hot, one 1 and else 0 in every row, but is not. Give labels "
                "instead: targets.argmax(axis=1)."
            )
        return np.ascontiguousarray(array, dtype=np.float64)
    if array.shape != (n_samples,):
        raise ValueError(
            f"Argument `targets` must have shape ({n_samples},) of labels or "
            f"({n_samples}, {n_outputs}) one-hot, but has shape {array.shape}."
        )
    if array.dtype.kind not in "iub":
        raise TypeError(
            "Argument `targets` must hold integer labels, but has dtype "
            f"{array.dtype}. Convert them: np.unique(targets, return_inverse=True)[1]."
        )
    labels = array.astype(np.intp)
    outside = np.flatnonzero((labels < 0) | (labels >= n_outputs))
    if outside.size:
        first = int(outside[0])
        found = np.unique(labels)
        advice = "Take as many outputs as there are classes."
        if found.size <= n_outputs:
            advice = (
                "Labels start at 0: y = np.unique(y, return_inverse=True)[1] numbers "
                "the classes in their order."
            )
            if set(found.tolist()) == {-1, 1}:
                advice += ' The loss "hinge" takes -1 and 1 as they are.'
        raise ValueError(
            f"Argument `targets` must hold labels from 0 to {n_outputs - 1}, one per "
            f"output, but entry {first} is {array[first]}. {advice}"
        )
    return np.eye(n_outputs)[labels]


def _binary_targets(targets: Any, n_outputs: int, n_samples: int) -> Float2D:
    """One-hot rows of the classes 0 and 1, shape ``(n_samples, 2)``."""
    if n_outputs != 1:
        raise ValueError(
            f'Loss "binary" must have one output, but has {n_outputs}. Take '
            'output_dim=1, or the loss "cross_entropy".'
        )
    array = plain("targets", targets)
    if array.shape == (n_samples, 1) and n_samples > 0:
        array = array[:, 0]
    return _class_targets(array, 2, n_samples)


def _signs(targets: Any, n_outputs: int, n_samples: int) -> Float2D:
    """1 for the class of a sample, else -1, shape ``(n_samples, n_outputs)``."""
    array = plain("targets", targets)
    if array.shape == (n_samples, n_outputs) and np.isin(array, (-1, 1)).all():
        return np.ascontiguousarray(array, dtype=np.float64)
    if n_outputs > 1:
        return 2.0 * _class_targets(array, n_outputs, n_samples) - 1.0
    if array.shape == (n_samples,) and np.isin(array, (-1, 1)).all():
        return np.ascontiguousarray(array[:, None], dtype=np.float64)
    return 2.0 * _binary_targets(array, 1, n_samples)[:, 1:] - 1.0


def decided(outputs: Float2D) -> NDArray[np.intp]:
    """The class of each row: the largest output, or 1 if a single output is > 0."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0.0).astype(np.intp)
    return outputs.argmax(axis=1)


def _largest(targets: Targets) -> NDArray[Any]:
    return np.asarray(targets.argmax(axis=1))


def accuracy(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Share of the samples whose largest output is that of their class.

    Args:
        predictions: Shape ``(n_samples, n_outputs)``, with at least two outputs.
        targets: Integer labels, shape ``(n_samples,)``, or one-hot rows, shape
            ``(n_samples, n_outputs)``.

    Raises:
        ValueError: If the shapes do not fit together, or there is only one output.
        TypeError: If labels are not integers.

    Example:
        >>> accuracy([[0.1, 0.9], [0.8, 0.3], [0.4, 0.6]], [1, 0, 0])
        0.6666666666666666
    """
    outputs = _outputs(predictions)
    classes = _class_targets(targets, outputs.shape[1], outputs.shape[0])
    return float(np.mean(outputs.argmax(axis=1) == classes.argmax(axis=1)))


def _outputs(predictions: ArrayLike) -> Float2D:
    array = plain("predictions", predictions).astype(np.float64, copy=False)
    if array.ndim != 2:
        raise ValueError(
            "Argument `predictions` must have shape (n_samples, n_outputs), but has "
            f"shape {array.shape}."
        )
    return array


def _scaled_targets(p: Float2D, t: Float2D, w: Float2D) -> tuple[Float2D, Float2D]:
    return p, w * t  # the term of a sample is proportional to its targets


def _scaled_difference(p: Float2D, t: Float2D, w: Float2D) -> tuple[Float2D, Float2D]:
    return np.sqrt(w) * p, np.sqrt(w) * t


# By loss: predictions and targets whose loss is that with a weight for each sample.
_SCALED = {
    "mse": _scaled_difference,
    "cross_entropy": _scaled_targets,
    "binary": _scaled_targets,
    "hinge": _scaled_targets,
}

LOSSES = {
    "mse": Loss(
        mean_squared_error,
        _mean_squared_error_grad,
        hessian=_mean_squared_error_hessian,
        name="mse",
        prepare=_number_targets,
        is_mean=True,
    ),
    "cross_entropy": Loss(
        cross_entropy,
        _cross_entropy_grad,
        hessian=_cross_entropy_hessian,
        name="cross_entropy",
        prepare=_class_targets,
        labels=_largest,
        is_mean=True,
    ),
    "binary": Loss(
        binary,
        _binary_grad,
        hessian=_binary_hessian,
        name="binary",
        prepare=_binary_targets,
        labels=_largest,
        is_mean=True,
    ),
    "hinge": Loss(
        hinge,
        _hinge_grad,
        name="hinge",
        prepare=_signs,
        labels=decided,
        is_mean=True,
    ),
}


def get_loss(spec: str | Loss | Callable[[Any, Any], Any]) -> Loss:
    """The loss that ``spec`` names or is.

    Args:
        spec: One of four names, a :class:`Loss`, or a function. ``"mse"`` is the mean
            squared error over samples and outputs. ``"cross_entropy"`` is the mean over
            samples, for one logit per class. ``"binary"`` is the same for the classes 0
            and 1 of a single logit. ``"hinge"`` is the mean over samples and outputs,
            for classes. A function of (predictions, targets) must be written with
            ``pennylane.numpy``; its predictions of one output have the shape of the
            targets, ``(n_samples,)`` or ``(n_samples, 1)``.

    Raises:
        ValueError: If ``spec`` is none of these.

    Example:
        >>> get_loss("mse")([[1.0, 0.0]], [[0.0, 0.0]])
        0.5
    """
    if isinstance(spec, Loss):
        return spec
    if callable(spec):
        return Loss(spec)
    return LOSSES[choice("loss", spec, LOSSES)]
