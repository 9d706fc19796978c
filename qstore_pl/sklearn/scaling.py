"""Features as a circuit takes them: standardised, and multiplied by a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from qstore_pl._checks import boolean, choice, real
from qstore_pl.layers import AmplitudeEncoding, BasisEncoding, Layer
from qstore_pl.layers.encodings import BY_WORD

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

AUTO = "auto"
ANGLES = ("angle", "zz_feature_map")  # encodings by angles


@final
class Scaling:
    r"""What is done to features before a circuit encodes them.

    Angles wrap around at :math:`2\pi`, so features of any unit are standardised first:
    each has mean 0 and standard deviation 1 in the training data. They are then
    multiplied by ``scale``. The more features there are, the smaller it should be,
    since the overlap of two encoded samples falls with every feature in which they
    differ; this is the bandwidth of a quantum kernel.

    Args:
        n_features: Features of a sample.
        encoding: Word for the encoding.
        layers: Layers that are used in place of the encoding, or None.
        standardize: Whether features are standardised. ``"auto"`` does so unless
            amplitudes or bits are encoded.
        scale: Radians per unit of the (standardised) feature. ``"auto"`` is
            :math:`\min(1, \sqrt{2 / n})` for n standardised features, and 1 for
            features that are not standardised, for amplitudes and bits, and with
            ``layers``, which have scales of their own.

    Attributes:
        scaler: The fitted StandardScaler, or None.
        factor: The number by which features are multiplied.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the encoding is unknown, or a scale is given that the encoding
            cannot use.

    References:
        Shaydulin and Wild, Importance of kernel bandwidth in quantum machine learning,
        Phys. Rev. A 106, 042407 (2022), arXiv:2111.05451.

    Example:
        >>> scaling = Scaling(8, encoding="angle")
        >>> scaling.factor
        0.5
    """

    def __init__(
        self,
        n_features: int,
        *,
        encoding: str,
        layers: Sequence[Layer] | None = None,
        standardize: bool | str = AUTO,
        scale: float | str = AUTO,
    ) -> None:
        choice("encoding", encoding, BY_WORD)
        by_angles = encoding in ANGLES
        if layers is not None:
            others = AmplitudeEncoding | BasisEncoding
            by_angles = not any(isinstance(layer, others) for layer in layers)
        if isinstance(standardize, str):
            choice("standardize", standardize, [AUTO])
            standardize = by_angles
        standardize = boolean("standardize", standardize)
        self.scaler = StandardScaler() if standardize else None
        if isinstance(scale, str):
            choice("scale", scale, [AUTO])
            narrow = standardize and by_angles and layers is None
            self.factor = min(1.0, (2.0 / n_features) ** 0.5) if narrow else 1.0
        else:
            self.factor = real("scale", scale, above=0.0)
            if not by_angles:
                raise ValueError(
                    'Argument `scale` must be "auto" for amplitudes and bits, which it '
                    f"would not change or would spoil, but is {scale}."
                )

    def learn(
        self, inputs: Float2D, weights: Float1D | None = None, *, more: bool = False
    ) -> None:
        """Take means and standard deviations from samples.

        Args:
            inputs: Shape ``(n_samples, n_features)``.
            weights: Weight of each sample, shape ``(n_samples,)``.
            more: Whether the samples are added to those that came before.
        """
        if self.scaler is not None:
            fit = self.scaler.partial_fit if more else self.scaler.fit
            fit(inputs, sample_weight=weights)

    def __call__(self, inputs: Float2D) -> Any:
        """The features as the circuit takes them, in the same shape."""
        if self.scaler is not None:
            inputs = self.scaler.transform(inputs)
        return inputs if self.factor == 1.0 else self.factor * inputs
