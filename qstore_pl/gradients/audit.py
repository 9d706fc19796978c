"""A comparison of all gradient methods, with and without shots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl._checks import integer
from qstore_pl.gradients.expectations import (
    Float1D,
    Float2D,
    ModelExpectations,
)
from qstore_pl.gradients.methods import estimator_of
from qstore_pl.losses import get_loss
from qstore_pl.model import QuantumModel
from qstore_pl.readout import DIRECT


@final
@dataclass(frozen=True)
class AuditRow:
    """The result for one gradient method.

    Args:
        method: Name of the method, and its setting.
        circuits: Number of circuits run for one gradient of the batch, including those
            for its value.
        error: Norm of the difference from the adjoint gradient, with exact expectation
            values.
        shot_error: The same for one gradient with shots; None for the adjoint method,
            which has no shots.
    """

    method: str
    circuits: int
    error: float
    shot_error: float | None


@final
@dataclass(frozen=True)
class GradientAudit:
    """The results of :func:`audit_gradients`; ``print`` shows them as a table.

    Args:
        rows: The result for each gradient method.
        norm: Norm of the adjoint gradient.
        shots: Measurements per circuit.
        shot_noise_floor: Root mean square, over all outcomes, of the norm of the error
            that the parameter-shift gradient has with these shots. It is computed to
            first order, and covers the errors of the shifted circuits and of the
            measured values at which the loss is differentiated.
    """

    rows: tuple[AuditRow, ...]
    norm: float
    shots: int
    shot_noise_floor: float

    def __str__(self) -> str:
        wide = max(len(row.method) for row in self.rows)
        shots = f"{self.shots:,} shots"
        lines = [f"{'method':<{wide}}  circuits     error  {shots:>14}  / floor"]
        for row in self.rows:
            line = f"{row.method:<{wide}}  {row.circuits:>8,}  {row.error:8.1e}"
            if row.shot_error is not None:
                ratio = row.shot_error / self.shot_noise_floor
                line += f"  {row.shot_error:14.1e}  {ratio:7.2f}"
            lines.append(line)
        lines.append(
            f"norm of the gradient {self.norm:.1e}, shot-noise floor of parameter "
            f"shift {self.shot_noise_floor:.1e}"
        )
        return "\n".join(lines)


def audit_gradients(
    model: QuantumModel,
    batch: tuple[Any, Any],
    *,
    loss: Any = "mse",
    shots: int = 1000,
    n_directions: int = 10,
    sample_size: int | None = None,
    seed: Any = 0,
) -> GradientAudit:
    """Compare all gradient methods with the adjoint gradient, on the model's device.

    Gradients are taken at the present parameters of the model, with respect to the
    trained weights of its circuit. The parameters of its readout are left out.

    Args:
        model: The model, on a device of this package without shots.
        batch: Inputs and targets, as for training.
        loss: Name of a loss, a Loss, or a function of (predictions, targets).
        shots: Measurements per circuit, >= 1, in the gradients with shots.
        n_directions: Number of directions, >= 1, that SPSA averages over.
        sample_size: Number of weights, >= 1, that a random subset has; None takes half
            of the trained weights.
        seed: Seed of the random draws of the gradient methods, but not of the device:
            anything that :func:`numpy.random.default_rng` takes.

    Returns:
        One row for each gradient method.

    Raises:
        ValueError: If the model runs on another device, no weight is trained, or the
            data do not fit.

    Example:
        >>> model = QuantumModel(2, 1, seed=0)
        >>> X, y = np.array([[0.1, 0.7], [0.9, -0.4]]), np.array([1.0, -1.0])
        >>> audit = audit_gradients(model, (X, y))
        >>> [row.circuits for row in audit.rows]
        [2, 50, 50, 42, 26]
    """
    integer("shots", shots, minimum=1)
    integer("n_directions", n_directions, minimum=1)
    if sample_size is not None:
        integer("sample_size", sample_size, minimum=1)
    exact = ModelExpectations(model, readout=DIRECT)
    if not exact.is_exact_here:
        raise ValueError(
            "Argument `model` must run on a qstore device without shots, which has the "
            f"adjoint gradient to compare with, but runs on {model.device.name}. Copy "
            'it and set its backend: model.backend = "mock_ideal".'
        )
    n_trained = int(exact.trainable.sum())
    if n_trained == 0:
        raise ValueError("Argument `model` must have a trainable circuit weight.")
    inputs, targets = batch
    features = model.prepare(inputs)
    known = get_loss(loss)
    prepared = known.prepare_targets(targets, model.output_dim, len(features))
    half = max(1, n_trained // 2) if sample_size is None else sample_size
    methods: list[tuple[str, str, dict[str, Any]]] = [
        ("adjoint", "adjoint", {}),
        ("parameter shift", "parameter_shift", {}),
        ("finite differences", "finite_diff", {}),
        (f"SPSA, {n_directions} directions", "spsa", {"n_directions": n_directions}),
        (f"random subset, {half} weights", "random_subset", {"sample_size": half}),
    ]

    weights, own = model.weights, model.parameters[model.n_weights :]

    def pulled(values: Float2D) -> Float2D:
        """The derivative of the loss with respect to the measured values."""
        outputs = model.readout.outputs(values, own)
        _, cotangents = known.value_and_grad(outputs, prepared)
        return model.readout.pull_back(cotangents, values, own)[0]

    def gradient(
        method: str, options: dict[str, Any], n_shots: int | None
    ) -> tuple[Float1D, int]:
        expectations = ModelExpectations(model, shots=n_shots)
        rng = np.random.default_rng(seed)
        estimator = estimator_of(expectations, method, rng=rng, **options)
        rows = np.arange(len(features))
        outputs = estimator.forward(model.parameters, features, rows)
        _, cotangents = known.value_and_grad(outputs, prepared)
        found = estimator.backward(cotangents)[: model.n_weights]
        return np.where(exact.trainable, found, 0.0), estimator.circuits

    reference, _ = gradient("adjoint", {}, None)
    cotangents = pulled(model.placed.values(features, weights))
    rows = []
    for name, method, options in methods:
        found, circuits = gradient(method, options, None)
        shot_error = None
        if method != "adjoint":
            noisy, _ = gradient(method, options, shots)
            shot_error = float(np.linalg.norm(noisy - reference))
        error = float(np.linalg.norm(found - reference))
        rows.append(AuditRow(name, circuits, error, shot_error))
    sampled = ModelExpectations(model, shots=shots)
    variances = _of_shifts(sampled, weights, features, cotangents)
    variances += _of_values(exact, sampled, weights, features, pulled)
    return GradientAudit(
        rows=tuple(rows),
        norm=float(np.linalg.norm(reference)),
        shots=shots,
        shot_noise_floor=float(np.sqrt(variances.sum() / shots)),
    )


def _of_shifts(
    sampled: ModelExpectations,
    weights: Float1D,
    features: Float2D,
    cotangents: Float2D,
) -> Float1D:
    """Variance of the gradient due to the shifted circuits, with one shot for each.

    The gradient is a linear function of their results, which are independent. The
    result of one circuit is the sum over its observables, measured together, of
    cotangent times outcome.

    Args:
        sampled: The circuit of the model, with shots.
        weights: Shape ``(n_weights,)``.
        features: Encoded data, shape ``(batch, n_features)``.
        cotangents: Derivatives of the loss with respect to the measured values, shape
            ``(batch, n_values)``.

    Returns:
        Shape ``(n_weights,)``.
    """
    lanes, shifts = _shifts(sampled, sampled.trainable)
    rows = np.arange(len(features))
    spread = lanes.spread(shifts, weights, features, rows, cotangents)
    total = shifts.variance(spread, weights, features)
    return np.where(sampled.trainable, total, 0.0)


def _shifts(
    sampled: ModelExpectations, wanted: NDArray[np.bool_]
) -> tuple[devices.Lanes, devices.Shifts]:
    """The circuit with shifted gates, and lanes for the gradient of some weights."""
    lanes = sampled.lanes((), shifted=True)
    if lanes is None:
        raise ValueError(
            "Argument `model` must have a circuit that can be compiled with shifts, "
            "but it has a measurement inside, a gate without a shift rule, or noise "
            "that depends on the values of gates. Use other gates, and a NoiseSpec."
        )
    return lanes, lanes.shifts(wanted)


def _of_values(
    exact: ModelExpectations,
    sampled: ModelExpectations,
    weights: Float1D,
    features: Float2D,
    pulled: Callable[[Float2D], Float2D],
) -> Float1D:
    """Variance of the gradient due to the measured values, with one shot for each.

    The derivatives of the loss are taken at the measured values, so that their errors
    enter the gradient. They are propagated to first order.

    Args:
        exact: The circuit of the model, without shots.
        sampled: The circuit of the model, with shots.
        weights: Shape ``(n_weights,)``.
        features: Encoded data, shape ``(batch, n_features)``.
        pulled: Function from measured values to the derivatives of the loss with
            respect to them, both of shape ``(batch, n_values)``.

    Returns:
        Shape ``(n_weights,)``.
    """
    estimator = estimator_of(exact, "adjoint")
    rows = np.arange(len(features))
    trainable = exact.trainable
    values = estimator.forward(weights, features, rows).copy()
    batch, n_values = values.shape
    slopes = np.zeros((batch, n_values, len(weights)))
    for unit in np.eye(values.size).reshape(-1, batch, n_values):
        moved = (pulled(values + _STEP * unit) - pulled(values - _STEP * unit)) / (
            2 * _STEP
        )
        estimator.forward(weights, features, rows)
        slopes[unit == 1.0] = np.where(trainable, estimator.backward(moved), 0.0)
    lanes, alone = _shifts(sampled, np.zeros_like(trainable))
    return np.array(
        [
            lanes.spread(alone, weights, features, rows, slopes[:, :, i]).sum()
            for i in range(len(weights))
        ]
    )


_STEP = 1e-5  # of measured values, for differences of the derivatives of the loss
