"""PennyLane operations that encode data or apply trainable rotations."""

from qstore_pl.templates.basis import BasisEncoding
from qstore_pl.templates.convolution import ConvolutionLayers
from qstore_pl.templates.pooling import pool
from qstore_pl.templates.rotation import (
    ENTANGLEMENTS,
    RotationEntanglerLayers,
    entangler_pairs,
)
from qstore_pl.templates.zz import ZZFeatureMap

__all__ = [
    "ENTANGLEMENTS",
    "BasisEncoding",
    "ConvolutionLayers",
    "RotationEntanglerLayers",
    "ZZFeatureMap",
    "entangler_pairs",
    "pool",
]
