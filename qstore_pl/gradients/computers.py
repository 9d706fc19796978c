"""Gradients of a model or a QNode, with or without a loss, and what they took."""

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
    """One gradient method on one backend.

    Args:
        backend: Where circuits run: a name, a Backend or a PennyLane device. None is
            the QNode's device, or the model's backend. The model itself is not moved.
        shots: Measurements per circuit; None takes the circuit's own, or is exact.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """

    def __init__(self, backend: Any = None, *, shots: int | None = None) -> None:
        self.backend = None if backend is None else as_backend(backend)
        self.shots = None if shots is None else integer("shots", shots, minimum=1)
        self._moved: tuple[QuantumModel, Placed] | None = None
        self._shown: dict[str, Any] = {}  # arguments of its own

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
        """The method on a circuit."""

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
        """The gradient of a loss, or without one of the sum of all outputs.

        The method differentiates expectation values; the chain rule of the loss is
        exact.

        Args:
            circuit: A QNode, such as a layer's circuit, or a model.
            parameters: Of a QNode, any shape; of a model its ``parameters``, or only
                the circuit's part. Floats, in radians where they are angles.
            inputs: Shape ``(n_samples, n_features)``. A QNode without inputs is one
                sample; one with inputs is called with all samples as
                ``circuit(parameters, inputs)``, by name if it has an argument
                ``inputs``, and must broadcast over them.
            targets: What the loss compares the outputs with, one per sample.
            loss: A name, a Loss or a function of (predictions, targets); without
                targets a function of the predictions alone, written with
                ``pennylane.numpy``. Predictions have shape ``(n_samples, n_outputs)``.
            trainable: Mask of the shape of ``parameters``; False costs no circuit.
                None takes what the model or the layer has frozen.

        Returns:
            The gradient with the shape of the parameters, and the mask.

        Raises:
            ValueError: If a shape does not fit, an argument would be ignored, the
                method does not suit the device, or the loss is not finite.
            TypeError: If parameters cannot be differentiated, or the circuit is
                neither a QNode nor a model, or a QNode of other arguments.
            QuantumCircuitError: If a device that is not ours fails.
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
        """The model on this backend, compiled once; its own backend stays."""
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
    """Gradients by any method, by default the best the device has.

    Args:
        backend: Where circuits run: a name, a Backend or a PennyLane device. None is
            the QNode's device, or the model's backend.
        method: ``"best"`` (adjoint on our devices without shots, else parameter shift),
            ``"adjoint"``, ``"parameter_shift"``, ``"finite_diff"``, ``"spsa"`` or
            ``"random_subset"``.
        shots: Measurements per circuit; None takes the circuit's own, or is exact.
        epsilon: Step of ``"finite_diff"`` and ``"spsa"``, in radians, > 0.
        n_directions: Directions that ``"spsa"`` averages, >= 1.
        sample_size: Parameters that ``"random_subset"`` draws, >= 1.
        seed: Of what random methods draw: anything :func:`numpy.random.default_rng`
            takes.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range; the method is looked at with a circuit.

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
        backend: As :class:`GradientComputer`.
        epsilon: Step in radians, > 0; None chooses it by the shots.
        shots: As :class:`GradientComputer`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.

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
    """Gradients by simultaneous perturbation: two circuits for each direction.

    Args:
        backend: As :class:`GradientComputer`.
        epsilon: Step in radians, > 0; None chooses it by the shots.
        n_directions: Random directions to average, >= 1.
        shots: As :class:`GradientComputer`.
        seed: Of the directions.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.

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

    :math:`F` is averaged over the samples and independent of outputs and loss; for
    classical read-out weights it is the identity, undamped.

    Args:
        backend: As :class:`GradientComputer`.
        damping: :math:`\lambda`, >= 0; 0 takes a pseudo-inverse.
        metric: ``"fubini-study"``, ``"bures"`` or ``"noiseless"``, as
            :func:`qstore_pl.gradients.metric_of` says.
        approximation: ``"full"``, ``"block-diag"``, ``"diag"`` or ``"matrix-free"``.
        method: Of the gradient: ``"best"``, ``"adjoint"`` or ``"parameter_shift"``, or
            ``"finite_diff"``.
        shots: As :class:`GradientComputer`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.

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
        """The natural gradient of a loss, or without one of the sum of all outputs.

        Args: as :meth:`compute_gradients`.

        Returns:
            The natural gradient with the shape of the parameters, and the mask.

        Raises:
            ValueError: As :meth:`compute_gradients`, or if the device has no such
                metric.
            TypeError: As :meth:`compute_gradients`.
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
    """Options of the gradient methods, those given, checked.

    Raises:
        TypeError: If one is of the wrong kind.
        ValueError: If one is out of its range.
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
    """A circuit at some parameters on some samples; arrays only."""

    expectations: Expectations
    parameters: Float1D
    features: Float2D
    shape: tuple[int, ...]
    mask: NDArray[np.bool_]

    @property
    def weights(self) -> Float1D:
        """The circuit's part of the parameters."""
        return self.parameters[: self.expectations.n_weights]

    @property
    def rows(self) -> NDArray[np.int64]:
        """All samples."""
        return np.arange(len(self.features))

    def value_and_grad(
        self, estimator: GradientEstimator, objective: Objective
    ) -> tuple[float, Float1D]:
        """The objective and its gradient, shape ``(size of mask,)``."""
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
    """How a QNode of parameters, and of inputs if there are any, is called."""
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


_NAMES_OF_WEIGHTS = ("parameters", "params", "weights")  # a second one is no data
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
    """What is differentiated, as a function of outputs that gives its derivative."""
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
