"""Quantum kernels: matrices of similarities between the states of samples."""

from __future__ import annotations

from qstore_pl.kernels.alignment import alignment, geometric_difference
from qstore_pl.kernels.fidelity import FidelityKernel
from qstore_pl.kernels.hamming import HammingKernel
from qstore_pl.kernels.kernel import Kernel
from qstore_pl.kernels.projected import ProjectedKernel
from qstore_pl.kernels.training import KernelTraining, train_kernel

__all__ = [
    "FidelityKernel",
    "HammingKernel",
    "Kernel",
    "KernelTraining",
    "ProjectedKernel",
    "alignment",
    "geometric_difference",
    "train_kernel",
]
