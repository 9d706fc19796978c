"""Layers: the parts a model's circuit is made of."""

from __future__ import annotations

from qstore_pl.circuit import Block, Features, Weights
from qstore_pl.layers.convolution import QuantumConvolutionalLayer
from qstore_pl.layers.encodings import (
    AmplitudeEncoding,
    AngleEncoding,
    BasisEncoding,
    ZZEncoding,
)
from qstore_pl.layers.layer import INITIAL_SPREAD, Encoding, Layer
from qstore_pl.layers.pooling import QuantumPoolingLayer
from qstore_pl.layers.qnode import QNodeLayer
from qstore_pl.layers.rotation import QuantumLayer
from qstore_pl.layers.standalone import LayerCircuit, Standalone

__all__ = [
    "INITIAL_SPREAD",
    "AmplitudeEncoding",
    "AngleEncoding",
    "BasisEncoding",
    "Block",
    "Encoding",
    "Features",
    "Layer",
    "LayerCircuit",
    "QNodeLayer",
    "QuantumConvolutionalLayer",
    "QuantumLayer",
    "QuantumPoolingLayer",
    "Standalone",
    "Weights",
    "ZZEncoding",
]
