"""The metric tensor of a circuit with respect to its weights, over a mini-batch.

It is a quarter of the quantum Fisher information, averaged over the samples. It depends
on the states of the circuit alone, not on what is measured or on the loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np
import pennylane as qml
from autograd.tracer import isbox
from numpy.typing import NDArray
from pennylane.wires import WireError
from scipy.sparse.linalg import LinearOperator

from qstore_pl import devices
from qstore_pl._blas import one_blas_thread
from qstore_pl._checks import choice
from qstore_pl.gradients.expectations import (
    Expectations,
    Float1D,
    Float2D,
    ModelExpectations,
    NoDependenceError,
    QNodeExpectations,
    Traced,
    one_per_sample,
)

METRICS = (*devices.METRICS, "noiseless")
APPROXIMATIONS = ("full", "block-diag", "diag", "matrix-free")

Rows = NDArray[np.int64]


class WeightMetric(ABC):
    """The metric tensor as a function of the weights and a mini-batch.

    Attributes:
        enters: Mask of the weights on which the circuit depended in the last call,
            shape ``(n_weights,)``.
    """

    enters: NDArray[np.bool_]

    @abstractmethod
    def __call__(self, weights: Float1D, features: Float2D, rows: Rows) -> Any:
        """The metric tensor, averaged over some samples.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Encoded data, shape ``(n_samples, n_features)``.
            rows: Indices of the samples, shape ``(batch,)``.

        Returns:
            An array of shape ``(n_weights, n_weights)``, or a
            :class:`scipy.sparse.linalg.LinearOperator` of this shape. Rows and columns
            of frozen weights are 0.
        """


def metric_of(
    expectations: Expectations,
    *,
    metric: str = "fubini-study",
    approximation: str = "full",
) -> WeightMetric:
    """The metric tensor of a circuit, computed in the way that suits its device.

    Args:
        expectations: The circuit, and the device that it runs on.
        metric: ``"fubini-study"`` is the metric tensor of pure states. On devices of
            other packages and with shots it is measured, by
            :func:`pennylane.metric_tensor`. ``"bures"`` is that of the density matrices
            of ``qstore.mock_noisy``, for few wires. ``"noiseless"`` is the Fubini-Study
            metric tensor of the same circuit simulated without noise and shots,
            whatever the device.
        approximation: ``"full"`` computes all entries. ``"block-diag"`` sets those
            between different layers of gates to 0, ``"diag"`` those between different
            gates. ``"matrix-free"`` computes products with vectors instead of entries,
            for many weights; it needs a model, and ``qstore.mock_ideal`` or
            ``"noiseless"``.

    Raises:
        ValueError: If a word is unknown, or this approximation is not available.
        DeviceError: If the device has no such metric tensor.

    Example:
        >>> from qstore_pl import QuantumModel
        >>> model = QuantumModel(2, 1, seed=0)
        >>> metric = metric_of(ModelExpectations(model))
        >>> features = model.prepare([[0.1, 0.2], [0.3, 0.4]])
        >>> metric(model.weights, features, np.arange(2)).shape
        (12, 12)
    """
    choice("metric", metric, METRICS)
    choice("approximation", approximation, APPROXIMATIONS)
    native = expectations.is_exact_here
    if metric == "bures" and approximation == "matrix-free":
        raise ValueError(
            'The approximation "matrix-free" is not available for the metric tensor '
            '"bures". Take "full".'
        )
    if metric == "bures" and not native:
        raise ValueError(
            'The metric tensor "bures" needs a qstore device without shots, but '
            f"{expectations.device.name} is another or has shots. Take "
            '"fubini-study" or "noiseless".'
        )
    if metric == "noiseless":
        kind, program = "fubini-study", _noiseless_program(expectations)
        native = True
    else:
        kind, program = metric, expectations.program
    if native and program is not None:
        return CompiledMetric(expectations, program, kind, approximation)
    if approximation == "matrix-free":
        raise ValueError(
            'The approximation "matrix-free" needs a compiled model, but this circuit '
            "is not one. Take a QuantumModel on qstore.mock_ideal, or "
            'metric="noiseless".'
        )
    if native:
        ideal = metric == "noiseless"
        return TapeMetric(expectations, kind, approximation, noiseless=ideal)
    return CircuitMetric(expectations, approximation)


def _noiseless_program(expectations: Expectations) -> devices.Program | None:
    if isinstance(expectations, ModelExpectations):
        return expectations.placed.compile(devices.MockIdeal(seed=None))
    return None


@final
class CompiledMetric(WeightMetric):
    """The metric tensor of a compiled circuit, from the derivatives of its state.

    Args:
        expectations: The circuit; its mask of trained weights may change.
        program: The compiled circuit.
        kind: ``"fubini-study"`` or ``"bures"``.
        approximation: As in :func:`metric_of`.
    """

    def __init__(
        self,
        expectations: Expectations,
        program: devices.Program,
        kind: str,
        approximation: str,
    ) -> None:
        self._expectations, self._program = expectations, program
        self._kind, self._approximation = kind, approximation
        self._made_for = b""
        self._of_mask(expectations.trainable)  # so that errors are raised here

    def __call__(self, weights: Float1D, features: Float2D, rows: Rows) -> Any:
        """The metric tensor, averaged over some samples."""
        trainable = self.enters = self._expectations.trainable
        metric = self._of_mask(trainable)
        n = len(weights)
        if self._approximation == "matrix-free":
            return _operator(metric, trainable, weights, features, rows)
        with one_blas_thread():
            mean = metric.mean(weights, features, rows)
        if metric.size == n:
            return mean
        whole = np.zeros((n, n))
        whole[np.ix_(trainable, trainable)] = mean
        return whole

    def _of_mask(self, trainable: NDArray[np.bool_]) -> devices.Metric:
        mask = trainable.tobytes()
        if mask != self._made_for:
            full = self._approximation == "matrix-free"
            self._metric = devices.metric(
                self._program,
                trainable.copy(),
                kind=self._kind,
                approximation="full" if full else self._approximation,
            )
            self._made_for = mask
        return self._metric


def _operator(
    metric: devices.Metric,
    trainable: NDArray[np.bool_],
    weights: Float1D,
    features: Float2D,
    rows: Rows,
) -> Any:
    assert isinstance(metric, devices.FubiniStudy)
    product = metric.product(weights, features, rows)

    def matvec(vector: Float1D) -> Float1D:
        result = np.zeros(len(weights))
        result[trainable] = product(np.ravel(vector)[trainable])
        return result

    n = len(weights)
    return LinearOperator((n, n), matvec=matvec, rmatvec=matvec, dtype=np.float64)


@final
class TapeMetric(WeightMetric):
    """The metric tensor of a QNode on a device of this package.

    It is computed with respect to the parameters of the tape, and then turned into that
    with respect to the weights by the chain rule.

    Args:
        expectations: The circuit.
        kind: ``"fubini-study"`` or ``"bures"``.
        approximation: As in :func:`metric_of`.
        noiseless: Whether to run the circuit on ``qstore.mock_ideal`` instead of its
            own device.
    """

    def __init__(
        self,
        expectations: Expectations,
        kind: str,
        approximation: str,
        *,
        noiseless: bool,
    ) -> None:
        if noiseless:
            assert isinstance(expectations, QNodeExpectations)
            expectations = expectations.noiseless()
        self._expectations = expectations
        self._kind, self._approximation = kind, approximation

    def __call__(self, weights: Float1D, features: Float2D, rows: Rows) -> Any:
        """The metric tensor, averaged over some samples."""
        part = features[rows]

        def make(at: Any) -> Any:
            tape = self._expectations.tape(at, part, level="device")
            return tape.copy(measurements=[])

        try:
            traced = Traced(make, weights, self._expectations.trainable)
        except NoDependenceError:
            self.enters = np.zeros(len(weights), dtype=bool)
            return np.zeros((len(weights), len(weights)))
        by_parameter, where = devices.tape_metric(
            traced.tape,
            self._expectations.device,
            kind=self._kind,
            approximation=self._approximation,
        )
        jacobian = traced.jacobian() * self._expectations.trainable
        self.enters = np.any(jacobian != 0.0, axis=0)
        return _average(by_parameter, where, jacobian)


@final
class CircuitMetric(WeightMetric):
    """The metric tensor measured on any device, by :func:`pennylane.metric_tensor`.

    The circuits of all samples go to the device in one submission. The approximation
    ``"full"`` needs a wire that the circuit does not use.

    Args:
        expectations: The circuit, and the device that it runs on.
        approximation: As in :func:`metric_of`, but not ``"matrix-free"``.
    """

    def __init__(self, expectations: Expectations, approximation: str) -> None:
        self._expectations = expectations
        # For gates like CRX, whose generators are not unitary, PennyLane 0.45 is wrong.
        self._options: dict[str, Any] = {"allow_nonunitary": False}
        if approximation == "full":
            self._options["device_wires"] = expectations.device.wires
        else:
            self._options["approx"] = approximation

    def __call__(self, weights: Float1D, features: Float2D, rows: Rows) -> Any:
        """The metric tensor, averaged over some samples."""
        part = features[rows]

        def make(at: Any) -> Any:
            tape = self._expectations.tape(at, part)
            (expanded,), _ = qml.transforms.decompose(
                tape,
                gate_set=qml.gate_sets.ROTATIONS_PLUS_CNOT,
                stopping_condition=_is_turned_or_fixed,
                strict=False,
            )
            moving = [
                op for op in expanded.operations if not isinstance(op, qml.GlobalPhase)
            ]
            return expanded.copy(operations=moving, measurements=[])

        try:
            traced = Traced(make, weights, self._expectations.trainable)
        except NoDependenceError:
            self.enters = np.zeros(len(weights), dtype=bool)
            return np.zeros((len(weights), len(weights)))
        circuits: list[Any] = []
        spans = []
        for tape in one_per_sample(traced.tape, len(part)):
            try:
                tapes, combine = qml.metric_tensor.tape_transform(tape, **self._options)
            except WireError as error:
                raise ValueError(
                    "The full metric tensor needs a device with one wire more than the "
                    f"circuit, but {self._expectations.device.name} has none left. "
                    'Take more wires, approximation="block-diag", or '
                    'metric="noiseless".'
                ) from error
            spans.append((len(circuits), len(circuits) + len(tapes), combine))
            circuits += tapes
        results = self._expectations.execute(circuits)
        by_parameter = [
            np.asarray(combine(results[start:end]), dtype=np.float64)
            for start, end, combine in spans
        ]
        where = [traced.where(sample) for sample in range(len(part))]
        jacobian = traced.jacobian() * self._expectations.trainable
        self.enters = np.any(jacobian != 0.0, axis=0)
        return _average(by_parameter, where, jacobian)


def _is_turned_or_fixed(op: qml.operation.Operator) -> bool:
    """Whether a gate is RX, RY or RZ, or depends on no weight."""
    return op.name in ("RX", "RY", "RZ") or not any(isbox(value) for value in op.data)


def _average(by_parameter: Any, where: Any, jacobian: Float2D) -> Float2D:
    r"""The mean over samples of :math:`J^T F J`.

    Args:
        by_parameter: Metric tensor :math:`F` of each sample, with respect to the
            trainable parameters of its tape.
        where: For each sample, the rows of ``jacobian`` that belong to its tape.
        jacobian: Derivatives of the parameters of all tapes with respect to the
            weights, shape ``(n_entries, n_weights)``.
    """
    total: Any = 0.0
    for metric, rows in zip(by_parameter, where, strict=True):
        own = jacobian[rows]
        total = total + own.T @ metric @ own
    return np.asarray(total / len(where))
