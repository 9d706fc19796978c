"""Gradients of a model or a QNode, with or without a loss.

The classes check what a user passes, and leave the work to gradient estimators.
"""

from __future__ import annotations

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray

from qstore_pl._checks import choice, finite, integer, plain, real
from qstore_pl.backends import as_backend, wire_labels
from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import (
    Call,
    Expectations,
    Float1D,
    Float2D,
    ModelExpectations,
    QNodeExpectations,
)
from qstore_pl.gradients.methods import estimator_of
from qstore_pl.gradients.metric import metric_of
from qstore_pl.layers import LayerCircuit
from qstore_pl.losses import Loss, get_loss
from qstore_pl.model import QuantumModel
from qstore_pl.optimizers import GradientResult, NaturalGradient
from qstore_pl.placed import Placed

EXACT_METHODS = ("best", "adjoint", "parameter_shift", "finite_diff")


class GradientComputer(ABC):
    """The base class of gradient computers: a gradient method on a backend.

    Args:
        backend: Where circuits run: a name, a Backend or a PennyLane device. None takes
            the device of the QNode, or the backend of the model. The backend of the
            model itself does not change.
        shots: Measurements per circuit, >= 1. None takes the shots of the circuit or
            the device; without any, values are exact.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range.
    """

    def __init__(self, backend: Any = None, *, shots: int | None = None) -> None:
        self.backend = None if backend is None else as_backend(backend)
        self.shots = None if shots is None else integer("shots", shots, minimum=1)
        self._moved: tuple[QuantumModel, Placed] | None = None
        self._shown: dict[str, Any] = {}  # further arguments, for __repr__

    def __repr__(self) -> str:
        given = {
            "backend": None if self.backend is None else self.backend.name,
            **self._shown,
            "shots": self.shots,
        }
        shown = (f"{k}={v!r}" for k, v in given.items() if v is not None)
        return f"{type(self).__name__}({', '.join(shown)})"

    @abstractmethod
    def _estimator(self, expectations: Expectations) -> GradientEstimator:
        """The gradient estimator of a circuit."""

    def compute_gradients(
        self,
        circuit: Any,
        parameters: Any,
        *,
        inputs: Any = None,
        targets: Any = None,
        loss: str | Loss | Callable[..., Any] | None = None,
        trainable: Any = None,
    ) -> GradientResult:
        """The gradient of a loss, or of the sum of all outputs if there is no loss.

        The gradient method is applied to the expectation values. The derivative of the
        loss is exact, and enters by the chain rule.

        Args:
            circuit: A QNode, such as the circuit of a layer, or a model.
            parameters: Where the gradient is taken: for a QNode an array of any shape,
                for a model its ``parameters``, or only the weights of its circuit.
                They are floats, in radians where they are angles.
            inputs: Samples, shape ``(n_samples, n_features)``. A QNode with inputs must
                broadcast over them: it is called with all samples at once, as
                ``circuit(parameters, inputs)``, or by name if it has an argument
                ``inputs``. A QNode without inputs counts as one sample.
            targets: Targets of the samples, in the form that the loss requires.
            loss: Name of a loss, a Loss, or a function of (predictions, targets).
                Without targets, a function of the predictions alone that is written
                with ``pennylane.numpy``. Predictions have shape
                ``(n_samples, n_outputs)``.
            trainable: Mask of bools in the shape of ``parameters``. Parameters where it
                is False have the gradient 0, and no circuit is run for them. None
                takes the mask of the model or the layer.

        Returns:
            The gradient in the shape of the parameters, with the mask and the number of
            circuits.

        Raises:
            ValueError: If a shape does not fit, an argument would be ignored, the
                method is not possible on the device, or the loss is not finite.
            TypeError: If the parameters are not floats, or the circuit is neither a
                model nor a QNode that can be called like this.
            QuantumCircuitError: If a device of another package fails.
        """
        start = time.perf_counter()
        problem = self._problem(circuit, parameters, inputs, trainable)
        estimator = self._estimator(problem.expectations)
        value, gradient = problem.value_and_grad(estimator, _objective(loss, targets))
        return self._result(start, problem, value, gradient)

    def _problem(
        self, circuit: Any, parameters: Any, inputs: Any, trainable: Any
    ) -> _Problem:
        placed = self._placed(circuit) if isinstance(circuit, QuantumModel) else None
        return _problem(
            circuit, placed, parameters, inputs, trainable, self.backend, self.shots
        )

    def _placed(self, model: QuantumModel) -> Placed:
        """The circuit of the model on this backend, compiled once."""
        if self.backend is None or self.backend == model.backend:
            return model.placed
        if model.has_own_backend:
            raise ValueError(
                f"Argument `backend` must be left out for a model that has its own, "
                f"{model.backend}, but is {self.backend}."
            )
        if self._moved is None or self._moved[0] is not model:
            self._moved = model, model.on(self.backend)
        return self._moved[1]

    def _result(
        self, start: float, problem: _Problem, value: float, gradient: Float1D
    ) -> GradientResult:
        shape = problem.shape
        circuits = problem.expectations.circuits
        return GradientResult(
            gradients=np.where(problem.mask, gradient, 0.0).reshape(shape),
            function_value=value,
            n_circuit_executions=circuits,
            n_shots=circuits * problem.expectations.shots,
            computation_time_ms=1e3 * (time.perf_counter() - start),
            trainable=problem.mask.reshape(shape),
        )


@final
class QuantumGradientComputer(GradientComputer):
    """Gradients by any of the gradient methods.

    Args:
        backend: Where circuits run: a name, a Backend or a PennyLane device. None takes
            the device of the QNode, or the backend of the model.
        method: ``"adjoint"``, ``"parameter_shift"``, ``"finite_diff"``, ``"spsa"``,
            ``"random_subset"`` (parameter shift of randomly drawn weights), or
            ``"best"``: adjoint on the devices of this package without shots, else
            parameter shift.
        shots: Measurements per circuit, >= 1. None takes the shots of the circuit or
            the device; without any, values are exact.
        epsilon: Step of ``"finite_diff"`` and ``"spsa"`` in radians, > 0. None chooses
            it for the number of shots.
        n_directions: Number of random directions, >= 1, that ``"spsa"`` averages over.
        sample_size: Number of weights, >= 1, that ``"random_subset"`` draws.
        seed: Seed of the random draws of ``"spsa"`` and ``"random_subset"``: anything
            that :func:`numpy.random.default_rng` takes.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range. The name of the method is
            checked by :meth:`compute_gradients`.

    Example:
        >>> from qstore_pl import QuantumLayer
        >>> layer = QuantumLayer(n_qubits=4, n_layers=2, seed=0)
        >>> shift = QuantumGradientComputer(method="parameter_shift")
        >>> result = shift.compute_gradients(layer.circuit, layer.parameters)
        >>> result.gradients.shape, result.n_circuit_executions
        ((24,), 49)
    """

    def __init__(
        self,
        backend: Any = None,
        *,
        method: str = "best",
        shots: int | None = None,
        epsilon: float | None = None,
        n_directions: int | None = None,
        sample_size: int | None = None,
        seed: Any = None,
    ) -> None:
        super().__init__(backend, shots=shots)
        self._method = method
        self._options = _checked(epsilon, n_directions, sample_size)
        self._shown = {"method": method, **self._options}
        self._rng = np.random.default_rng(seed)

    def _estimator(self, expectations: Expectations) -> GradientEstimator:
        return estimator_of(expectations, self._method, rng=self._rng, **self._options)


@final
class FiniteDifferenceGradient(GradientComputer):
    """Gradients by central finite differences of expectation values.

    Args:
        backend: Where circuits run: a name, a Backend or a PennyLane device. None takes
            the device of the QNode, or the backend of the model.
        epsilon: Step in radians, > 0; None chooses it for the number of shots.
        shots: Measurements per circuit, >= 1. None takes the shots of the circuit or
            the device; without any, values are exact.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range.

    Example:
        >>> @qml.qnode(qml.device("qstore.mock_ideal", wires=1))
        ... def circuit(angle):
        ...     qml.RX(angle, wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> result = FiniteDifferenceGradient().compute_gradients(circuit, 0.5)
        >>> print(f"{result.gradients:.6f}")
        -0.479426
    """

    def __init__(
        self,
        backend: Any = None,
        epsilon: float | None = None,
        *,
        shots: int | None = None,
    ) -> None:
        super().__init__(backend, shots=shots)
        self._shown = self._options = _checked(epsilon)

    def _estimator(self, expectations: Expectations) -> GradientEstimator:
        return estimator_of(expectations, "finite_diff", **self._options)


@final
class SPSAGradient(GradientComputer):
    """Gradients by simultaneous perturbation (SPSA): two circuits for each direction.

    Args:
        backend: Where circuits run: a name, a Backend or a PennyLane device. None takes
            the device of the QNode, or the backend of the model.
        epsilon: Step in radians, > 0; None chooses it for the number of shots.
        n_directions: Number of random directions to average over, >= 1.
        shots: Measurements per circuit, >= 1. None takes the shots of the circuit or
            the device; without any, values are exact.
        seed: Seed of the random directions: anything that
            :func:`numpy.random.default_rng` takes.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range.

    Example:
        >>> from qstore_pl import QuantumLayer
        >>> layer = QuantumLayer(n_qubits=4, n_layers=2, seed=0)
        >>> result = SPSAGradient(seed=0).compute_gradients(
        ...     layer.circuit, layer.parameters
        ... )
        >>> result.n_circuit_executions
        3

    References:
        Spall, Multivariate stochastic approximation using a simultaneous perturbation
        gradient approximation (1992), doi:10.1109/9.119632.
    """

    def __init__(
        self,
        backend: Any = None,
        epsilon: float | None = None,
        *,
        n_directions: int = 1,
        shots: int | None = None,
        seed: Any = None,
    ) -> None:
        super().__init__(backend, shots=shots)
        self._shown = self._options = _checked(epsilon, n_directions)
        self._rng = np.random.default_rng(seed)

    def _estimator(self, expectations: Expectations) -> GradientEstimator:
        return estimator_of(expectations, "spsa", rng=self._rng, **self._options)


@final
class NaturalGradientComputer(GradientComputer):
    r"""Natural gradients :math:`(F + \lambda I)^{-1} g`.

    Here :math:`g` is the gradient and :math:`\lambda` the damping. :math:`F` is the
    metric tensor of the circuit, averaged over the samples; it does not depend on the
    loss. For the parameters of a classical readout it is the identity, without damping.

    Args:
        backend: Where circuits run: a name, a Backend or a PennyLane device. None takes
            the device of the QNode, or the backend of the model.
        damping: Multiple :math:`\lambda` of the identity that is added to the metric
            tensor, >= 0; 0 takes a pseudo-inverse.
        metric: Kind of the metric tensor: ``"fubini-study"``, ``"bures"`` or
            ``"noiseless"``; see :func:`qstore_pl.gradients.metric_of`.
        approximation: ``"full"``, ``"block-diag"``, ``"diag"`` or ``"matrix-free"``;
            see :func:`qstore_pl.gradients.metric_of`.
        method: Gradient method for :math:`g`: ``"best"``, ``"adjoint"``,
            ``"parameter_shift"`` or ``"finite_diff"``.
        shots: Measurements per circuit, >= 1. None takes the shots of the circuit or
            the device; without any, values are exact.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range.

    Example:
        >>> from pennylane import numpy as np
        >>> from qstore_pl import QuantumLayer
        >>> layer = QuantumLayer(n_qubits=2, n_layers=1, seed=0)
        >>> natural = NaturalGradientComputer(damping=1e-3)
        >>> result = natural.compute_natural_gradient(
        ...     layer.circuit, layer.parameters, lambda outputs: np.sum(outputs**2)
        ... )
        >>> result.gradients.shape
        (6,)

    References:
        Stokes, Izaac, Killoran and Carleo, Quantum Natural Gradient, Quantum 4, 269
        (2020), arXiv:1909.02108.
    """

    def __init__(
        self,
        backend: Any = None,
        *,
        damping: float = 1e-3,
        metric: str = "fubini-study",
        approximation: str = "full",
        method: str = "best",
        shots: int | None = None,
    ) -> None:
        super().__init__(backend, shots=shots)
        self._optimizer = NaturalGradient(1.0, damping=damping)
        self._metric: dict[str, str] = {
            "metric": metric,
            "approximation": approximation,
        }
        self._method = choice("method", method, EXACT_METHODS)
        self._shown = {"damping": damping, **self._metric, "method": method}

    def _estimator(self, expectations: Expectations) -> GradientEstimator:
        return estimator_of(expectations, self._method)

    def compute_natural_gradient(
        self,
        circuit: Any,
        parameters: Any,
        loss: str | Loss | Callable[..., Any] | None = None,
        *,
        inputs: Any = None,
        targets: Any = None,
        trainable: Any = None,
    ) -> GradientResult:
        """The natural gradient of a loss, or of the sum of all outputs without one.

        Args:
            circuit: As in :meth:`compute_gradients`.
            parameters: As in :meth:`compute_gradients`.
            loss: As in :meth:`compute_gradients`.
            inputs: As in :meth:`compute_gradients`.
            targets: As in :meth:`compute_gradients`.
            trainable: As in :meth:`compute_gradients`.

        Returns:
            The natural gradient in the shape of the parameters, with the mask and the
            number of circuits.

        Raises:
            ValueError: As in :meth:`compute_gradients`, or if the metric tensor or its
                approximation is not available.
            TypeError: As in :meth:`compute_gradients`.
            DeviceError: If the device has no such metric tensor.
        """
        start = time.perf_counter()
        problem = self._problem(circuit, parameters, inputs, trainable)
        metric_at = metric_of(problem.expectations, **self._metric)
        estimator = self._estimator(problem.expectations)
        value, gradient = problem.value_and_grad(estimator, _objective(loss, targets))
        metric = metric_at(problem.weights, problem.features, problem.rows)
        n = problem.mask.size
        moved, _ = self._optimizer.update(
            gradient,
            self._optimizer.init(n),
            np.zeros(n),
            trainable=problem.mask,
            metric=metric,
        )
        return self._result(start, problem, value, -moved)


def _checked(
    epsilon: Any = None, n_directions: Any = None, sample_size: Any = None
) -> dict[str, Any]:
    """The options of gradient methods that were given, after checking them.

    Raises:
        TypeError: If an option is of the wrong kind.
        ValueError: If an option is out of its range.
    """
    options: dict[str, Any] = {}
    if epsilon is not None:
        options["epsilon"] = real("epsilon", epsilon, above=0.0)
    if n_directions is not None:
        options["n_directions"] = integer("n_directions", n_directions, minimum=1)
    if sample_size is not None:
        options["sample_size"] = integer("sample_size", sample_size, minimum=1)
    return options


Objective = Callable[[Float2D], tuple[float, Float2D]]


@dataclass(frozen=True)
class _Problem:
    """What is to be differentiated: a circuit, its parameters and samples, as arrays.

    Attributes:
        shape: Shape in which the user gave the parameters.
        mask: Mask of the trained ones among these parameters, flattened.
    """

    expectations: Expectations
    parameters: Float1D
    features: Float2D
    shape: tuple[int, ...]
    mask: NDArray[np.bool_]

    @property
    def weights(self) -> Float1D:
        """The parameters that are weights of the circuit."""
        return self.parameters[: self.expectations.n_weights]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Indices of all samples."""
        return np.arange(len(self.features))

    def value_and_grad(
        self, estimator: GradientEstimator, objective: Objective
    ) -> tuple[float, Float1D]:
        """The objective and its gradient, in the shape of the mask."""
        outputs = estimator.forward(self.parameters, self.features, self.rows)
        value, cotangents = objective(outputs)
        if not np.isfinite(value):
            raise ValueError(
                f"The loss must be finite, but is {value}. Look at the parameters and "
                "the targets."
            )
        return value, estimator.backward(cotangents)[: self.mask.size].copy()


def _problem(
    circuit: Any,
    placed: Placed | None,
    parameters: Any,
    inputs: Any,
    trainable: Any,
    backend: Any,
    shots: int | None,
) -> _Problem:
    array = plain("parameters", parameters)
    if array.dtype.kind != "f":
        raise TypeError(
            "Argument `parameters` must hold floats to be differentiated, but has "
            f"dtype {array.dtype}."
        )
    values = finite("parameters", array).reshape(-1).copy()
    mask = None if trainable is None else _mask(trainable, array.shape)
    if placed is not None:
        return _of_model(circuit, placed, values, array.shape, inputs, mask, shots)
    if not isinstance(circuit, qml.QNode):
        raise TypeError(
            "Argument `circuit` must be a QNode or a QuantumModel, but is of type "
            f"{type(circuit).__name__}."
        )
    if mask is None and isinstance(circuit, LayerCircuit):
        mask = _mask(circuit.trainable, array.shape)
    features = np.empty((1, 0)) if inputs is None else finite("inputs", inputs)
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(
            "Argument `inputs` must have shape (n_samples, n_features) and at least "
            f"one sample, but has shape {features.shape}."
        )
    call = _call(circuit, array.shape, has_inputs=inputs is not None)
    if backend is not None:
        args, kwargs = call(values, features)
        tape = qml.workflow.construct_tape(circuit, level="top")(*args, **kwargs)
        own = tape.wires if circuit.device.wires is None else circuit.device.wires
        device = backend.device(len(own))
        circuit = circuit.update(device=device)
        if device.wires is not None and not device.wires.contains_wires(own):
            labels = wire_labels(device, len(own))
            circuit = qml.map_wires(circuit, dict(zip(own, labels, strict=True)))
    expectations = QNodeExpectations(
        circuit,
        values.size,
        call,
        shots=shots,
        trainable=mask,
        backend=None if backend is None else backend.name,
    )
    return _Problem(expectations, values, features, array.shape, expectations.trainable)


def _call(circuit: qml.QNode, shape: tuple[int, ...], *, has_inputs: bool) -> Call:
    """The function from parameters and inputs to the arguments of the QNode."""
    signature = inspect.signature(circuit.func)
    names = list(signature.parameters)
    first = next((name for name in names if name != "inputs"), "")

    def call(weights: Any, features: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        parameters = qml.math.reshape(weights, shape)
        if not has_inputs:
            return (parameters,), {}
        if "inputs" in names:
            return (), {first: parameters, "inputs": features}
        return (parameters, features), {}

    args, kwargs = call(np.zeros(shape), None)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(_UNFIT[has_inputs].format(signature)) from error
    if has_inputs and args and names[1:2] and names[1] in _NAMES_OF_WEIGHTS:
        raise TypeError(_UNFIT[has_inputs].format(signature))
    return call


# A second argument with one of these names is not meant for data.
_NAMES_OF_WEIGHTS = ("parameters", "params", "weights")
_UNFIT = {
    False: "Argument `circuit` must take its parameters alone, circuit(parameters), if "
    "no `inputs` are given, but is circuit{}. Call the argument of the data `inputs`, "
    "as in circuit(inputs, weights), and pass them by inputs=...; other arguments need "
    "defaults.",
    True: "Argument `circuit` must take parameters and `inputs`, but is circuit{}. "
    "Call the argument of the data `inputs`, as in circuit(inputs, weights); other "
    "arguments need defaults.",
}


def _of_model(
    model: QuantumModel,
    placed: Placed,
    values: Float1D,
    shape: tuple[int, ...],
    inputs: Any,
    mask: NDArray[np.bool_] | None,
    shots: int | None,
) -> _Problem:
    sizes = (model.n_weights, model.parameters.size)
    if values.size not in sizes or len(shape) != 1:
        raise ValueError(
            f"Argument `parameters` must have shape ({sizes[1]},) of the model, or "
            f"({sizes[0]},) of its circuit, but has shape {shape}."
        )
    if inputs is None:
        raise ValueError("Argument `inputs` must be given for a model, but is None.")
    if mask is None:
        mask = model.trainable[: values.size].copy()
    parameters = model.parameters.copy()
    parameters[: values.size] = values
    expectations = ModelExpectations(
        model, placed, shots=shots, trainable=mask[: model.n_weights]
    )
    return _Problem(expectations, parameters, model.prepare(inputs), shape, mask)


def _mask(trainable: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = plain("trainable", trainable)
    if mask.dtype.kind != "b":
        raise TypeError(
            f"Argument `trainable` must be a mask of bools, but has dtype {mask.dtype}."
        )
    if mask.shape != shape:
        raise ValueError(
            f"Argument `trainable` must have shape {shape}, as `parameters`, but has "
            f"shape {mask.shape}."
        )
    return mask.reshape(-1).copy()


def _objective(loss: Any, targets: Any) -> Objective:
    """The function from outputs to a scalar and its derivative with respect to them."""
    if loss is None:
        if targets is not None:
            raise ValueError(
                "Argument `loss` must be given with `targets`, which would be ignored "
                "otherwise."
            )
        return lambda outputs: (float(outputs.sum()), np.ones_like(outputs))
    if targets is None:
        if not callable(loss) or isinstance(loss, Loss):
            raise ValueError(
                f"Argument `targets` must be given for the loss {loss!r}. Without "
                "them a loss is a function of the predictions alone."
            )
        alone = Loss(lambda outputs, _: loss(outputs), name=_name(loss))
        return lambda outputs: alone.value_and_grad(outputs, outputs)
    known = get_loss(loss)

    def objective(outputs: Float2D) -> tuple[float, Float2D]:
        prepared = known.prepare_targets(targets, outputs.shape[1], len(outputs))
        return known.value_and_grad(outputs, prepared)

    return objective


def _name(loss: Callable[..., Any]) -> str:
    return getattr(loss, "__name__", "custom")
