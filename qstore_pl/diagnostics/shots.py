"""How many shots a loss and its gradient need, from exact variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from qstore_pl._axes import axes_of
from qstore_pl._checks import integer, real
from qstore_pl.diagnostics.circuits import Float1D
from qstore_pl.gradients import ShotVariances
from qstore_pl.model import QuantumModel


@final
@dataclass(frozen=True)
class ShotNoise:
    """The results of :func:`shot_noise`, all for the same number of shots.

    Args:
        shots: Measurements per circuit.
        loss: The exact loss.
        loss_error: Standard error of the loss.
        gradient: The exact gradient with respect to the weights of the circuit, shape
            ``(n_weights,)``.
        gradient_errors: Standard error of each of its entries, by parameter shift.
        norm_error: Standard error of the gradient along the exact one: that of its norm
            as far as the errors are small.
        relative_error: The relative error that was asked for.
    """

    shots: int
    loss: float
    loss_error: float
    gradient: Float1D
    gradient_errors: Float1D
    norm_error: float
    relative_error: float

    @property
    def norm(self) -> float:
        """Norm of the exact gradient."""
        return float(np.linalg.norm(self.gradient))

    @property
    def gradient_error(self) -> float:
        """Root mean square of the norm of the gradient's error."""
        return float(np.linalg.norm(self.gradient_errors))

    @property
    def signal_to_noise(self) -> float:
        """Norm of the exact gradient, divided by :attr:`gradient_error`."""
        return self.norm / self.gradient_error if self.gradient_error else float("inf")

    @property
    def suggested_shots(self) -> int:
        """Shots per circuit with which the gradient has the wanted relative error.

        With them :attr:`gradient_error` is ``relative_error`` times :attr:`norm`.

        Raises:
            ValueError: If the gradient is 0: then no number of shots suffices.
        """
        if self.norm == 0.0:
            raise ValueError(
                "A gradient of 0 has no relative error. Look at gradient_error."
            )
        one_shot = self.shots * self.gradient_error**2
        return max(1, int(np.ceil(one_shot / (self.relative_error * self.norm) ** 2)))

    def __repr__(self) -> str:
        return (
            f"ShotNoise({self.shots:,} shots: loss {self.loss:.4f} ± "
            f"{self.loss_error:.4f}, gradient of norm {self.norm:.2e} with an error of "
            f"{self.gradient_error:.2e}, signal to noise {self.signal_to_noise:.2g})"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the entries of the gradient with their standard errors.

        Args:
            ax: Axes of matplotlib to draw on; None makes a new figure.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
            TypeError: If ``ax`` are not axes of matplotlib.
        """
        ax = axes_of("ShotNoise.plot", "ax", ax)
        entries = np.arange(len(self.gradient))
        ax.errorbar(entries, self.gradient, self.gradient_errors, fmt="o", capsize=2)
        ax.axhline(0.0, color="black", linewidth=0.5)
        title = f"{self.shots:,} shots in each circuit"
        ax.set(xlabel="weight", ylabel="derivative of the loss", title=title)
        return ax


def shot_noise(
    model: QuantumModel,
    data: tuple[Any, Any],
    *,
    loss: Any = "mse",
    shots: int = 1000,
    relative_error: float = 0.1,
) -> ShotNoise:
    r"""The errors that a number of shots gives the loss and its gradient.

    No outcome is drawn: the variances of single outcomes are computed from their exact
    probabilities, as :math:`1 - \langle P \rangle^2` for one Pauli word, and propagated
    to the loss and to the gradient by parameter shift. They are exact for what enters
    linearly, and of first order for what enters through a curved loss.

    Args:
        model: The model, on a device of this package without shots, at the parameters
            in question. Noise of the device is taken into account.
        data: Inputs and targets, as for training: one batch.
        loss: Name of a loss, a Loss, or a function of (predictions, targets).
        shots: Measurements per circuit, >= 1.
        relative_error: Wanted error of the gradient relative to its norm, > 0, for
            :attr:`ShotNoise.suggested_shots`.

    Raises:
        ValueError: If the model runs elsewhere, no weight is trained, its circuit
            cannot be shifted, or the data do not fit.

    Example:
        >>> model = QuantumModel(2, 1, seed=0)
        >>> X, y = np.array([[0.1, 0.7], [0.9, -0.4]]), np.array([1.0, -1.0])
        >>> found = shot_noise(model, (X, y), shots=500, relative_error=0.2)
        >>> again = shot_noise(model, (X, y), shots=found.suggested_shots)
        >>> 1 / again.signal_to_noise < 0.2
        True
    """
    integer("shots", shots, minimum=1)
    relative_error = real("relative_error", relative_error, above=0.0)
    variances = ShotVariances(model, data, loss)
    gradient = variances.gradient
    norm = float(np.linalg.norm(gradient))
    along = gradient / norm if norm else gradient
    directions = np.vstack([np.eye(len(gradient)), along])
    *entries, of_norm = variances.of_gradient(directions) / shots
    return ShotNoise(
        shots=shots,
        loss=variances.value,
        loss_error=float(np.sqrt(variances.of_loss() / shots)),
        gradient=gradient,
        gradient_errors=np.sqrt(np.array(entries)),
        norm_error=float(np.sqrt(of_norm)),
        relative_error=relative_error,
    )
