"""The natural gradient with the interface of PennyLane's optimizers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane import numpy as pnp

from qstore_pl._checks import real
from qstore_pl.compiled import Compiled
from qstore_pl.gradients.expectations import Float2D, QNodeExpectations
from qstore_pl.gradients.metric import metric_of
from qstore_pl.optimizers import NaturalGradient

_OneOrMore: TypeAlias = qml.QNode | Compiled | Sequence[qml.QNode | Compiled] | None


@final
class QuantumNaturalGradientOptimizer:
    r"""Quantum natural gradient descent for any cost that is a function of QNodes.

    .. math:: \theta' = \theta - \eta\, (F + \lambda I)^{-1} \nabla C(\theta)

    :math:`F` is the Fubini-Study metric tensor, a quarter of the quantum Fisher
    information, with respect to all trainable arguments together. It is averaged over
    the samples of a batch and summed over the QNodes. An argument on which no circuit
    depends takes a plain gradient step.

    PennyLane's ``QNGOptimizer``, in contrast, needs a cost that is a QNode with one
    output and no batch, ignores the blocks of the metric tensor between different
    arguments, and has no damping by default.

    Args:
        stepsize: Step length :math:`\eta`, > 0. The attribute may be changed between
            steps.
        damping: Multiple :math:`\lambda` of the identity that is added to the metric
            tensor, >= 0; 0 takes a pseudo-inverse.
        metric: Kind of the metric tensor: ``"fubini-study"``, ``"bures"`` or
            ``"noiseless"``; see :func:`qstore_pl.gradients.metric_of`.
        approximation: ``"full"``, ``"block-diag"`` or ``"diag"``; see
            :func:`qstore_pl.gradients.metric_of`.

    Attributes:
        metric_tensor: Metric tensor of the last step, with respect to all trainable
            arguments, flattened one after the other; None before the first step.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range.

    Example:
        >>> from pennylane import numpy as np
        >>> dev = qml.device("qstore.mock_ideal", wires=2)
        >>> @qml.qnode(dev)
        ... def circuit(weights, x):
        ...     qml.AngleEmbedding(x, wires=[0, 1])
        ...     qml.BasicEntanglerLayers(weights, wires=[0, 1])
        ...     return qml.expval(qml.Z(1))
        >>> def cost(weights, x, y):
        ...     return np.mean((circuit(weights, x) - y) ** 2)
        >>> x = np.array([[0.1, 0.5], [1.2, -0.3], [0.4, 0.4]], requires_grad=False)
        >>> y = np.array([1.0, -1.0, 1.0], requires_grad=False)
        >>> weights = np.array([[0.3, 0.2], [0.1, 0.7]], requires_grad=True)
        >>> opt = QuantumNaturalGradientOptimizer(0.1)
        >>> before = cost(weights, x, y)
        >>> for _ in range(20):
        ...     weights, *_ = opt.step(cost, weights, x, y, qnode=circuit)
        >>> bool(cost(weights, x, y) < before)
        True

    References:
        Stokes, Izaac, Killoran and Carleo, Quantum Natural Gradient, Quantum 4, 269
        (2020), arXiv:1909.02108.
    """

    def __init__(
        self,
        stepsize: float = 0.01,
        *,
        damping: float = 1e-3,
        metric: str = "fubini-study",
        approximation: str = "full",
    ) -> None:
        self.stepsize = real("stepsize", stepsize, above=0.0)
        self.damping = real("damping", damping, minimum=0.0)
        self._options = {"metric": metric, "approximation": approximation}
        self.metric_tensor: Float2D | None = None

    def step(
        self,
        cost: Callable[..., Any],
        *args: Any,
        qnode: _OneOrMore = None,
        **kwargs: Any,
    ) -> Any:
        """One step of all trainable arguments.

        Args:
            cost: The function to minimise, which returns a scalar: a QNode, compiled
                or not, or a function that calls QNodes.
            *args: Arguments of the cost. Those made with ``requires_grad=True`` are
                trained.
            qnode: The QNode that the cost calls, compiled or not, or a list of all of
                them, if the cost is not a QNode. An argument of a QNode takes the value
                of the argument of the cost that has the same name.
            **kwargs: Keyword arguments of the cost, which are not trained.

        Returns:
            The list of new arguments, or the new argument if there is one.

        Raises:
            ValueError: If no argument is trainable, the cost is not a finite scalar, a
                QNode is not given, or a QNode has an argument that the cost lacks.
            TypeError: If ``qnode`` is not a QNode or a list of QNodes.
            DeviceError: If the device has no such metric tensor.
        """
        return self.step_and_cost(cost, *args, qnode=qnode, **kwargs)[0]

    def step_and_cost(
        self,
        cost: Callable[..., Any],
        *args: Any,
        qnode: _OneOrMore = None,
        **kwargs: Any,
    ) -> tuple[Any, Any]:
        """One step of all trainable arguments, and the cost before it.

        Args:
            cost: As in :meth:`step`.
            *args: As in :meth:`step`.
            qnode: As in :meth:`step`.
            **kwargs: As in :meth:`step`.

        Returns:
            The list of new arguments, or the new argument if there is one, and the
            cost.
        """
        trained = [i for i, arg in enumerate(args) if _is_trained(arg)]
        if not trained:
            raise ValueError(
                "No argument of the cost is trainable. Make one with "
                "pennylane.numpy.array(..., requires_grad=True), of floats."
            )
        qnodes = _qnodes(cost, qnode)
        bound = [_bind(one, cost, args, kwargs) for one in qnodes]
        value, parts = _differentiated(cost, trained, args, kwargs)
        gradient = np.concatenate([np.ravel(part) for part in parts]).astype(float)
        flat = np.concatenate([np.ravel(args[i]) for i in trained]).astype(float)
        if not np.isfinite(value):
            raise ValueError(f"The cost must be finite, but is {value}.")
        split = _Split(args, trained)
        metric = np.zeros((flat.size, flat.size))
        enters = np.zeros(flat.size, dtype=bool)
        for one, call in bound:
            found, among = self._metric(call, one, flat, split)
            metric += found
            enters |= among
        self.metric_tensor = metric
        moved = self._moved(flat, gradient, metric, enters)
        new = list(args)
        for i, part in zip(trained, split.parts(moved), strict=True):
            new[i] = pnp.array(part, requires_grad=True)
        return (new[0] if len(new) == 1 else new), value

    def _metric(
        self, call: _BoundCall, qnode: qml.QNode, flat: Any, split: _Split
    ) -> tuple[Float2D, NDArray[np.bool_]]:
        """The metric tensor of one QNode, and a mask of the entries it depends on."""
        expectations = QNodeExpectations(
            qnode, flat.size, lambda weights, _: call(split.arguments(weights))
        )
        metric = metric_of(expectations, **self._options)
        tape = expectations.tape(flat, None)
        features = np.empty((tape.batch_size or 1, 0))
        return metric(flat, features, np.arange(len(features))), metric.enters

    def _moved(
        self, flat: Any, gradient: Any, metric: Float2D, enters: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """The new values of all trainable entries."""
        # NaturalGradient expects the entries on which a circuit depends to come first.
        order = np.argsort(~enters, kind="stable")
        n = int(enters.sum())
        optimizer = NaturalGradient(self.stepsize, damping=self.damping)
        block = metric[np.ix_(order[:n], order[:n])]
        state = optimizer.init(flat.size)
        stepped, _ = optimizer.update(gradient[order], state, flat[order], metric=block)
        moved = np.empty_like(flat)
        moved[order] = stepped
        return moved


_BoundCall = Callable[[Sequence[Any]], tuple[tuple[Any, ...], dict[str, Any]]]


class _Split:
    """Converts between the arguments and a flat vector of those that are trained."""

    def __init__(self, args: Sequence[Any], trained: Sequence[int]) -> None:
        self._args, self._trained = args, trained
        self._shapes = [np.shape(args[i]) for i in trained]
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        self._ends = np.cumsum(sizes)

    def parts(self, flat: Any) -> list[Any]:
        """The trained arguments in their shapes."""
        starts = [0, *self._ends]
        return [
            qml.math.reshape(flat[start:end], shape)
            for start, end, shape in zip(starts, self._ends, self._shapes, strict=False)
        ]

    def arguments(self, flat: Any) -> list[Any]:
        """All positional arguments, with the trained ones taken from the vector."""
        args = list(self._args)
        for i, part in zip(self._trained, self.parts(flat), strict=True):
            args[i] = part
        return args


def _is_trained(arg: Any) -> bool:
    return isinstance(arg, pnp.tensor) and bool(arg.requires_grad)


def _differentiated(
    cost: Callable[..., Any],
    trained: list[int],
    args: Sequence[Any],
    kwargs: dict[str, Any],
) -> tuple[Any, Any]:
    """The cost, and its gradient with respect to the trained arguments."""
    gradient_of = qml.grad(cost, argnums=trained)
    try:
        parts = gradient_of(*args, **kwargs)
    except TypeError as error:
        shape = np.shape(cost(*args, **kwargs))  # raises the cost's own error, if any
        if shape == ():
            raise
        raise ValueError(
            f"The cost must be a real scalar, but has shape {shape}. Take the mean "
            "over samples and outputs, and pass the QNode as `qnode`."
        ) from error
    return gradient_of.forward, parts


def _qnodes(cost: Any, qnode: Any) -> list[qml.QNode]:
    if qnode is None:
        if isinstance(cost, qml.QNode):
            return [cost]
        if isinstance(cost, Compiled):
            return [cost.qnode]
        raise ValueError(
            "Argument `qnode` must be given for a cost that is not a QNode: the QNode "
            "that the cost calls, or a list of all of them."
        )
    given = list(qnode) if isinstance(qnode, Sequence) else [qnode]
    qnodes = [one.qnode if isinstance(one, Compiled) else one for one in given]
    if not qnodes:
        raise ValueError("Argument `qnode` must have a QNode, but is an empty list.")
    for one in qnodes:
        if not isinstance(one, qml.QNode):
            raise TypeError(
                "Argument `qnode` must be a QNode or a list of them, but has one of "
                f"type {type(one).__name__}."
            )
    return qnodes


def _bind(
    qnode: qml.QNode, cost: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[qml.QNode, _BoundCall]:
    """A QNode, and the function from the cost's arguments to those of the QNode."""
    if qnode is cost:
        return qnode, lambda new: (tuple(new), kwargs)
    signature = inspect.signature(cost)
    known = _named(signature.bind(*args, **kwargs))
    wanted = []
    for parameter in inspect.signature(qnode.func).parameters.values():
        if parameter.name in known:
            wanted.append(parameter.name)
        elif parameter.default is inspect.Parameter.empty:
            raise ValueError(
                f"Argument `{parameter.name}` of the QNode must be one of the cost's, "
                f"{', '.join(known)}, but is not. Name them alike."
            )

    def call(new: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        values = _named(signature.bind(*new, **kwargs))
        return (), {name: values[name] for name in wanted}

    return qnode, call


def _named(bound: inspect.BoundArguments) -> dict[str, Any]:
    bound.apply_defaults()
    return dict(bound.arguments)
