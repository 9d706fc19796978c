"""The metric of a circuit by its weights, averaged over a mini-batch.

It is a quarter of the quantum Fisher information of states labelled by their sample: it
does not depend on outputs or loss.
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
    """From weights and a mini-batch to the metric.

    Attributes:
        enters: Which weights the circuit depended on when it was last called, shape
            ``(n_weights,)``.
    """

    enters: NDArray[np.bool_]

    @abstractmethod
    def __call__(self, weights: Float1D, features: Float2D, rows: Rows) -> Any:
        """The average metric, shape ``(n_weights, n_weights)``; 0 for frozen weights.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(n_samples, n_features)``.
            rows: Which samples, shape ``(batch,)``.

        Returns:
            An array, or a :class:`scipy.sparse.linalg.LinearOperator`.
        """


def metric_of(
    expectations: Expectations,
    *,
    metric: str = "fubini-study",
    approximation: str = "full",
) -> WeightMetric:
    """The metric of a circuit, on the road its device takes.

    Args:
        expectations: The circuit.
        metric: ``"fubini-study"`` of the device's pure states; on other devices and
            with shots from circuits, by :func:`pennylane.metric_tensor`.
            ``"bures"`` of the density matrices of ``qstore.mock_noisy``, for few wires.
            ``"noiseless"`` is the Fubini-Study metric of the same circuit simulated
            without noise and shots, whatever the device.
        approximation: ``"full"``; ``"block-diag"`` or ``"diag"`` drops what is between
            layers of gates, or between gates; ``"matrix-free"`` gives products with
            vectors instead, for many weights, of a model on ``qstore.mock_ideal`` or
            noiseless.

    Raises:
        ValueError: If a word is unknown, or the approximation is not to be had.
        DeviceError: If the device has no such metric.
    """
    choice("metric", metric, METRICS)
    choice("approximation", approximation, APPROXIMATIONS)
    native = expectations.is_exact_here
    if metric == "bures" and approximation == "matrix-free":
        raise ValueError(
            'The approximation "matrix-free" must be of the Fubini-Study metric, but '
            'the metric is "bures". Take "full".'
        )
    if metric == "bures" and not native:
        raise ValueError(
            'The metric "bures" must be that of a qstore device without shots, but '
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
            'The approximation "matrix-free" must be of a compiled model, but the '
            "circuit is another. Take a QuantumModel on qstore.mock_ideal, or "
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
    """By tangent states, in one compiled run.

    Args:
        expectations: The circuit; its mask may change.
        program: The same, compiled.
        kind: As :func:`qstore_pl.devices.metric`.
        approximation: As :func:`metric_of`.
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
        self._of_mask(expectations.trainable)  # errors now, not in the first step

    def __call__(self, weights: Float1D, features: Float2D, rows: Rows) -> Any:
        """The average metric."""
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
    """Of a QNode on our devices: by the parameters of its tape, then the chain rule.

    Args:
        expectations: The circuit.
        kind: As :func:`qstore_pl.devices.metric`.
        approximation: As :func:`metric_of`.
        noiseless: Whether to run it on ``qstore.mock_ideal`` instead.
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
        """The average metric."""
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
    """From circuits on any device, by :func:`pennylane.metric_tensor`.

    Those of all samples are submitted together. The full metric needs a wire that the
    circuit does not use.

    Args:
        expectations: The circuit.
        approximation: As :func:`metric_of`.
    """

    def __init__(self, expectations: Expectations, approximation: str) -> None:
        self._expectations = expectations
        # Of gates like CRX, whose generators are not unitary, PennyLane 0.45 is wrong.
        self._options: dict[str, Any] = {"allow_nonunitary": False}
        if approximation == "full":
            self._options["device_wires"] = expectations.device.wires
        else:
            self._options["approx"] = approximation

    def __call__(self, weights: Float1D, features: Float2D, rows: Rows) -> Any:
        """The average metric."""
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
                    "The full metric must have a device with one wire more than the "
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
    """Whether a gate is one that PennyLane's metric knows, or depends on no weight."""
    return op.name in ("RX", "RY", "RZ") or not any(isbox(value) for value in op.data)


def _average(by_parameter: Any, where: Any, jacobian: Float2D) -> Float2D:
    total: Any = 0.0
    for metric, rows in zip(by_parameter, where, strict=True):
        own = jacobian[rows]
        total = total + own.T @ metric @ own
    return np.asarray(total / len(where))
