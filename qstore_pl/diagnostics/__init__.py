"""What can be known of a model before, or besides, its training.

Each diagnostic is a function of a model, and returns a frozen record of arrays that
prints as a sentence and plots itself. All circuits of a diagnostic run as one batch of
the compiled circuit, also where each of them has weights of its own.
"""

from __future__ import annotations

from qstore_pl.diagnostics.entanglement import Entanglement, entanglement
from qstore_pl.diagnostics.expressibility import (
    Expressibility,
    divergence_from_haar,
    expressibility,
)
from qstore_pl.diagnostics.fourier import FourierSpectrum, fourier_spectrum
from qstore_pl.diagnostics.gradients import GradientVariance, gradient_variance
from qstore_pl.diagnostics.shots import ShotNoise, shot_noise

__all__ = [
    "Entanglement",
    "Expressibility",
    "FourierSpectrum",
    "GradientVariance",
    "ShotNoise",
    "divergence_from_haar",
    "entanglement",
    "expressibility",
    "fourier_spectrum",
    "gradient_variance",
    "shot_noise",
]
