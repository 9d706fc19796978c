"""A comparison of all gradient methods, with and without shots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from qstore_pl._checks import integer
from qstore_pl._tables import aligned, html_table, paragraph
from qstore_pl.gradients.expectations import Float1D, ModelExpectations
from qstore_pl.gradients.methods import estimator_of
from qstore_pl.gradients.shot_noise import ShotVariances
from qstore_pl.model import QuantumModel

NUMBERS = range(1, 5)  # the columns of numbers


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
        return "\n".join([*aligned(self._cells, right=NUMBERS), self._below])

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        return html_table(self._cells, right=NUMBERS) + paragraph(self._below)

    @property
    def _cells(self) -> list[tuple[str, ...]]:
        """The rows of the table, the head first."""
        cells: list[tuple[str, ...]] = [
            ("method", "circuits", "error", f"{self.shots:,} shots", "/ floor")
        ]
        for row in self.rows:
            sampled: tuple[str, str] = "", ""
            if row.shot_error is not None:
                ratio = row.shot_error / self.shot_noise_floor
                sampled = f"{row.shot_error:.1e}", f"{ratio:.2f}"
            cells.append(
                (row.method, f"{row.circuits:,}", f"{row.error:.1e}", *sampled)
            )
        return cells

    @property
    def _below(self) -> str:
        return (
            f"norm of the gradient {self.norm:.1e}, shot-noise floor of parameter "
            f"shift {self.shot_noise_floor:.1e}"
        )


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
    noise = ShotVariances(model, batch, loss)
    features, trainable = noise.features, noise.exact.trainable
    n_trained = int(trainable.sum())
    half = max(1, n_trained // 2) if sample_size is None else sample_size
    methods: list[tuple[str, str, dict[str, Any]]] = [
        ("adjoint", "adjoint", {}),
        ("parameter shift", "parameter_shift", {}),
        ("finite differences", "finite_diff", {}),
        (f"SPSA, {n_directions} directions", "spsa", {"n_directions": n_directions}),
        (f"random subset, {half} weights", "random_subset", {"sample_size": half}),
    ]

    def gradient(
        method: str, options: dict[str, Any], n_shots: int | None
    ) -> tuple[Float1D, int]:
        expectations = ModelExpectations(model, shots=n_shots)
        rng = np.random.default_rng(seed)
        estimator = estimator_of(expectations, method, rng=rng, **options)
        rows = np.arange(len(features))
        outputs = estimator.forward(model.parameters, features, rows)
        _, cotangents = noise.loss.value_and_grad(outputs, noise.targets)
        found = estimator.backward(cotangents)[: model.n_weights]
        return np.where(trainable, found, 0.0), estimator.circuits

    reference, _ = gradient("adjoint", {}, None)
    rows = []
    for name, method, options in methods:
        found, circuits = gradient(method, options, None)
        shot_error = None
        if method != "adjoint":
            noisy, _ = gradient(method, options, shots)
            shot_error = float(np.linalg.norm(noisy - reference))
        error = float(np.linalg.norm(found - reference))
        rows.append(AuditRow(name, circuits, error, shot_error))
    variances = noise.of_gradient()
    return GradientAudit(
        rows=tuple(rows),
        norm=float(np.linalg.norm(reference)),
        shots=shots,
        shot_noise_floor=float(np.sqrt(variances.sum() / shots)),
    )
