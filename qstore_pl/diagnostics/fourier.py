"""The outputs of a model as Fourier series of one of its features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._axes import axes_of
from qstore_pl._checks import finite, integer, real
from qstore_pl.diagnostics.circuits import Float1D, Float2D, compiled
from qstore_pl.layers import AngleEncoding, Encoding
from qstore_pl.model import QuantumModel

TOLERANCE = 1e-9  # of coefficients beyond the largest frequency


@final
@dataclass(frozen=True)
class FourierSpectrum:
    r"""The results of :func:`fourier_spectrum`.

    Args:
        frequencies: Angular frequencies, in radians per unit of the feature, from the
            smallest negative one to the largest, shape ``(2 K + 1,)``.
        coefficients: Complex coefficients :math:`c_k` of each output in
            :math:`\sum_k c_k e^{i \omega_k x}`, shape ``(n_outputs, 2 K + 1)``.
        feature: Position of the feature in a sample.
        period: Period in the feature.
    """

    frequencies: Float1D
    coefficients: NDArray[np.complex128]
    feature: int
    period: float

    def __call__(self, x: Any) -> Float2D:
        """The outputs for some values of the feature, by the series.

        Args:
            x: Values of the feature, shape ``(n,)``.

        Returns:
            Shape ``(n, n_outputs)``.
        """
        waves = np.exp(1j * np.multiply.outer(finite("x", x), self.frequencies))
        return (waves @ self.coefficients.T).real

    def __repr__(self) -> str:
        half = len(self.frequencies) // 2
        sizes = np.abs(self.coefficients[:, half:]).max(axis=0)
        listed = ", ".join(
            f"{size:.3f} at {frequency:g}"
            for size, frequency in zip(sizes, self.frequencies[half:], strict=True)
        )
        of = "output" if len(self.coefficients) == 1 else "any output"
        return (
            f"FourierSpectrum(feature {self.feature}: largest |c| of {of} {listed} "
            "radians per unit)"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the sizes of the coefficients of all outputs.

        Args:
            ax: Axes of matplotlib to draw on; None makes a new figure.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
            TypeError: If ``ax`` are not axes of matplotlib.
        """
        ax = axes_of("FourierSpectrum.plot", "ax", ax)
        n = len(self.coefficients)
        width = 0.8 * 2.0 * np.pi / self.period / n
        for k, row in enumerate(np.abs(self.coefficients)):
            places = self.frequencies + (k - (n - 1) / 2) * width
            ax.bar(places, row, width, label=f"output {k}")
        label = f"frequency in feature {self.feature}"
        ax.set(xlabel=label, ylabel="size of the coefficient")
        ax.legend(frameon=False)
        return ax


def fourier_spectrum(
    model: QuantumModel,
    feature: int = 0,
    *,
    at: Any = None,
    max_frequency: int | None = None,
    period: float | None = None,
) -> FourierSpectrum:
    r"""The exact Fourier coefficients of the outputs as functions of one feature.

    A model whose feature enters by L rotations is a trigonometric polynomial of degree
    L in it, however many weights it has: which frequencies it can learn is decided by
    its encoding, and how strong they are by its weights. The coefficients are computed
    from twice as many equidistant points as the degree needs, all in one batch; what
    lies beyond the degree must vanish, or the call is refused.

    Args:
        model: The model, on a device of this package without shots.
        feature: Position of the feature in a sample.
        at: The sample that holds the other features, shape ``(input_dim,)``; None is a
            sample of zeros.
        max_frequency: Largest frequency K, >= 0, in multiples of
            :math:`2\pi / \mathrm{period}`. None counts how often an
            :class:`~qstore_pl.AngleEncoding` uploads the feature, and must be given if
            another encoding does.
        period: Period of the outputs in the feature, > 0; None is
            :math:`2\pi / |\mathrm{scale}|` of the angle encodings, and must be given if
            their scales differ.

    Raises:
        ValueError: If there is no such feature, the largest frequency or the period are
            needed and not given, or the outputs have other frequencies.

    Example:
        >>> from qstore_pl import AngleEncoding, QuantumLayer
        >>> layers = [AngleEncoding(), QuantumLayer(n_layers=1)] * 3
        >>> found = fourier_spectrum(QuantumModel(1, 1, layers=layers, seed=0))
        >>> found.frequencies
        array([-3., -2., -1.,  0.,  1.,  2.,  3.])

    References:
        Schuld, Sweke and Meyer, Effect of data encoding on the expressive power of
        variational quantum machine learning models, Phys. Rev. A 103, 032430 (2021),
        arXiv:2008.08605.
    """
    compiled(model)
    integer("feature", feature, minimum=0)
    if feature >= model.input_dim:
        raise ValueError(
            f"Argument `feature` must be < {model.input_dim}, the number of features "
            f"of the model, but is {feature}."
        )
    sample = np.zeros(model.input_dim) if at is None else finite("at", at)
    if sample.shape != (model.input_dim,):
        raise ValueError(
            f"Argument `at` must have shape ({model.input_dim},), but has shape "
            f"{sample.shape}."
        )
    if max_frequency is None or period is None:
        uploads, own_period = _of_angles(model, feature)
        max_frequency = uploads if max_frequency is None else max_frequency
        period = own_period if period is None else period
    n = integer("max_frequency", max_frequency, minimum=0)
    period = real("period", period, above=0.0)
    points = np.tile(sample, (2 * (2 * n + 1), 1))
    points[:, feature] = period * np.arange(len(points)) / len(points)
    outputs = QuantumModel.forward(model, points)  # that of aio would be awaited
    found = np.fft.fft(outputs, axis=0, norm="forward")
    multiples = np.fft.fftfreq(len(points), 1 / len(points))
    beyond = np.abs(found[np.abs(multiples) > n]).max()
    if beyond > TOLERANCE * max(1.0, np.abs(found).max()):
        raise ValueError(
            "Arguments `max_frequency` and `period` must be those of the model, but "
            f"its outputs have coefficients of {beyond:.1e} beyond the frequency {n} "
            f"for the period {period:g}: they have other frequencies, or are not "
            "periodic in this feature."
        )
    wanted = np.arange(-n, n + 1)
    return FourierSpectrum(
        frequencies=np.asarray(2.0 * np.pi / period * wanted, dtype=np.float64),
        coefficients=np.ascontiguousarray(found[wanted].T),
        feature=feature,
        period=period,
    )


def _of_angles(model: QuantumModel, feature: int) -> tuple[int, float]:
    """How often angle encodings upload a feature, and the period that they give it."""
    uploads, scales = 0, set[float]()
    for part in model.stack.parts:
        layer = part.layer
        if not isinstance(layer, Encoding):
            continue
        sources = layer.sources(layer.n_columns)
        times = sum(feature in columns for columns in sources)
        if times and not isinstance(layer, AngleEncoding):
            raise ValueError(
                "Arguments `max_frequency` and `period` must be given for "
                f"{layer!r}, whose frequencies are not known."
            )
        if times and isinstance(layer, AngleEncoding):
            uploads += times
            scales.add(abs(layer.scale))
    if len(scales) > 1 or 0.0 in scales:
        raise ValueError(
            "Arguments `max_frequency` and `period` must be given for angle encodings "
            f"of scales {sorted(scales)}, which have no period in common that is known."
        )
    scale = scales.pop() if scales else 1.0
    return uploads, 2.0 * np.pi / scale
