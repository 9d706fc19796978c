"""The quantum autoencoder: states of many qubits on few, and back."""

from __future__ import annotations

from qstore_pl.autoencoder.autoencoder import QuantumAutoencoder
from qstore_pl.autoencoder.report import AutoencoderReport

__all__ = ["AutoencoderReport", "QuantumAutoencoder"]
