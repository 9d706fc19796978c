"""Barren plateaus: how derivatives shrink with the number of qubits and with depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._axes import axes_of
from qstore_pl._checks import integer
from qstore_pl.diagnostics.circuits import (
    Float1D,
    Float2D,
    compiled,
    encoded,
    gradients_at,
    random_weights,
    values_at,
)
from qstore_pl.model import QuantumModel

NO_INFLUENCE = 1e-12  # a weight whose derivatives are all smaller changes nothing


@final
@dataclass(frozen=True)
class GradientVariance:
    r"""The results of :func:`gradient_variance`.

    Args:
        widths: Numbers of qubits, shape ``(n_widths,)``.
        depths: Numbers of layers, shape ``(n_depths,)``.
        variances: Variance of the derivatives over random weights, averaged over the
            weights that change the output, shape ``(n_depths, n_widths)``.
        standard_errors: Standard errors of the variances, of the same shape.
        rates: For each depth the rate :math:`b` of the fit
            :math:`\mathrm{Var} = a\,e^{-b n}` over the numbers n of qubits, shape
            ``(n_depths,)``.
        rate_errors: Standard errors of the rates.
        intercepts: Logarithms of :math:`a`, shape ``(n_depths,)``.
        samples: Number of random weights that were drawn for each variance.
    """

    widths: NDArray[np.int64]
    depths: NDArray[np.int64]
    variances: Float2D
    standard_errors: Float2D
    rates: Float1D
    rate_errors: Float1D
    intercepts: Float1D
    samples: int

    def __repr__(self) -> str:
        rows = [
            f"depth {depth}: variance {first:.1e} at {self.widths[0]} qubits, "
            f"{last:.1e} at {self.widths[-1]}; it falls as exp(-b n) with "
            f"b = {rate:.3f} ± {error:.3f}"
            for depth, first, last, rate, error in zip(
                self.depths,
                self.variances[:, 0],
                self.variances[:, -1],
                self.rates,
                self.rate_errors,
                strict=True,
            )
        ]
        return "\n".join([f"GradientVariance of {self.samples:,} draws", *rows])

    def plot(self, ax: Any = None) -> Any:
        """Draw the variances against the number of qubits, with the fits.

        Args:
            ax: Axes of matplotlib to draw on; None makes a new figure.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
            TypeError: If ``ax`` are not axes of matplotlib.
        """
        ax = axes_of("GradientVariance.plot", "ax", ax)
        for i, depth in enumerate(self.depths):
            points = ax.errorbar(
                self.widths, self.variances[i], self.standard_errors[i], fmt="o"
            )
            color = points[0].get_color()
            fit = np.exp(self.intercepts[i] - self.rates[i] * self.widths)
            label = f"depth {depth}, b = {self.rates[i]:.2f}"
            ax.plot(self.widths, fit, color=color, label=label)
        ax.set(xlabel="qubits", ylabel="variance of a derivative", yscale="log")
        ax.legend(frameon=False)
        return ax


def gradient_variance(
    make_model: Callable[[int, int], QuantumModel],
    *,
    widths: Sequence[int],
    depths: Sequence[int],
    samples: int = 200,
    output: int = 0,
    inputs: Callable[[QuantumModel], Any] | None = None,
    seed: Any = 0,
) -> GradientVariance:
    r"""The variance of the derivatives of an output over random weights.

    Where it falls exponentially with the number of qubits, the landscape is flat almost
    everywhere: a barren plateau. A circuit so random that it is a 2-design has a
    variance of a local Pauli observable proportional to :math:`2^{-n}`, a rate of
    :math:`\ln 2 \approx 0.69`.

    Weights are drawn uniformly from :math:`[0, 2\pi)`; frozen weights stay as they are.
    Derivatives are exact. All draws of one width and depth are one batch of the
    compiled circuit.

    Args:
        make_model: Function from the number of qubits and the number of layers to a
            model, on a device of this package without shots.
        widths: Numbers of qubits, at least two different ones.
        depths: Numbers of layers.
        samples: Number of random weights, >= 2, for each width and depth.
        output: Index of the output that is differentiated.
        inputs: Function from a model to the samples on which it is evaluated, shape
            ``(n_samples, input_dim)``, which the draws take in turn. None takes one
            sample whose features are 0.
        seed: Seed of the weights: anything that :func:`numpy.random.default_rng` takes.

    Returns:
        The variances with their standard errors, and the rate of each depth by a
        weighted fit of their logarithms.

    Raises:
        ValueError: If there are fewer than two widths, a model has no such output, runs
            elsewhere, or its output depends on no weight.
        TypeError: If a number is not an integer, or ``make_model`` makes no model.

    Example:
        >>> found = gradient_variance(
        ...     lambda n, depth: QuantumModel(n, 1, depth), widths=[2, 4], depths=[3]
        ... )
        >>> found.variances.shape, bool(found.variances[0, 1] < found.variances[0, 0])
        ((1, 2), True)

    References:
        McClean, Boixo, Smelyanskiy, Babbush and Neven, Barren plateaus in quantum
        neural network training landscapes, Nat. Commun. 9, 4812 (2018),
        arXiv:1803.11173.
    """
    wide = [integer("widths", width, minimum=1) for width in widths]
    deep = [integer("depths", depth, minimum=1) for depth in depths]
    integer("samples", samples, minimum=2)
    integer("output", output, minimum=0)
    if len(set(wide)) < 2 or not deep:
        raise ValueError(
            "Arguments `widths` and `depths` must have at least two different numbers "
            f"of qubits and one number of layers, but are {wide} and {deep}."
        )
    rng = np.random.default_rng(seed)
    shape = len(deep), len(wide)
    variances, errors = np.empty(shape), np.empty(shape)
    for i, depth in enumerate(deep):
        for j, width in enumerate(wide):
            model = make_model(width, depth)
            if not isinstance(model, QuantumModel):
                raise TypeError(
                    "Argument `make_model` must return a QuantumModel, but returned "
                    f"one of type {type(model).__name__}."
                )
            given = None if inputs is None else inputs(model)
            found = derivatives(
                model, random_weights(model, samples, rng), given, output
            )
            variances[i, j], errors[i, j] = _variance(found, width, depth)
    fits = [_rate(wide, *pair) for pair in zip(variances, errors, strict=True)]
    rates, intercepts, rate_errors = np.array(fits).T
    return GradientVariance(
        np.array(wide), np.array(deep), variances, errors, rates, rate_errors,
        intercepts, samples,
    )  # fmt: skip


def derivatives(
    model: QuantumModel, weights: Float2D, inputs: Any, output: int
) -> Float2D:
    """Derivatives of an output with respect to the trained weights of the circuit.

    Args:
        model: The model.
        weights: Weights for each draw, shape ``(n, n_weights)``.
        inputs: Samples, which the draws take in turn, or None for one of zeros.
        output: Index of the output.

    Returns:
        Shape ``(n, n_trained)``.

    Raises:
        ValueError: If the model has no such output, or cannot be compiled.
    """
    program = compiled(model)
    if output >= model.output_dim:
        raise ValueError(
            f"Argument `output` must be < {model.output_dim}, the number of outputs of "
            f"the model, but is {output}."
        )
    features = encoded(model, inputs, len(weights))
    values = values_at(program, weights, features)
    unit = np.zeros((len(weights), model.output_dim))
    unit[:, output] = 1.0
    own = model.parameters[model.n_weights :]
    cotangents, _ = model.readout.pull_back(unit, values, own)
    found = gradients_at(program, weights, features, cotangents)
    return found[:, model.trainable[: model.n_weights]]


def _variance(found: Float2D, width: int, depth: int) -> tuple[float, float]:
    """The mean variance of some derivatives, and its standard error.

    Derivatives of one draw are not independent of each other, but draws are.
    """
    moving = found[:, (np.abs(found) > NO_INFLUENCE).any(axis=0)]
    if moving.size == 0:
        raise ValueError(
            "Argument `make_model` must return models whose output depends on a "
            f"trained weight, but that of {width} qubits and {depth} layers does not."
        )
    n = len(moving)
    each = np.mean((moving - moving.mean(axis=0)) ** 2, axis=1) * n / (n - 1)
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(n))


def _rate(
    widths: list[int], variances: Float1D, errors: Float1D
) -> tuple[float, float, float]:
    """Rate of the exponential fit, logarithm of its factor, and the rate's error."""
    (slope, intercept), covariance = np.polyfit(
        widths, np.log(variances), 1, w=variances / errors, cov="unscaled"
    )
    return -slope, intercept, float(np.sqrt(covariance[0, 0]))
