"""Gradients of expectation values, by every method, and metrics."""

from __future__ import annotations

from qstore_pl.gradients.adjoint import CompiledRun, DeviceRun
from qstore_pl.gradients.audit import AuditRow, GradientAudit, audit_gradients
from qstore_pl.gradients.computers import (
    FiniteDifferenceGradient,
    GradientComputer,
    NaturalGradientComputer,
    QuantumGradientComputer,
    SPSAGradient,
)
from qstore_pl.gradients.difference import DifferenceRun, SPSARun
from qstore_pl.gradients.expectations import (
    Expectations,
    ModelExpectations,
    QNodeExpectations,
)
from qstore_pl.gradients.gauss_newton import GaussNewton
from qstore_pl.gradients.methods import OPTIONS, run_of
from qstore_pl.gradients.metric import APPROXIMATIONS, METRICS, WeightMetric, metric_of
from qstore_pl.gradients.qng import QuantumNaturalGradientOptimizer
from qstore_pl.gradients.run import Run
from qstore_pl.gradients.shift import ShiftedRun
from qstore_pl.optimizers import GradientResult

__all__ = [
    "APPROXIMATIONS",
    "METRICS",
    "OPTIONS",
    "AuditRow",
    "CompiledRun",
    "DeviceRun",
    "DifferenceRun",
    "Expectations",
    "FiniteDifferenceGradient",
    "GaussNewton",
    "GradientAudit",
    "GradientComputer",
    "GradientResult",
    "ModelExpectations",
    "NaturalGradientComputer",
    "QNodeExpectations",
    "QuantumGradientComputer",
    "QuantumNaturalGradientOptimizer",
    "Run",
    "SPSAGradient",
    "SPSARun",
    "ShiftedRun",
    "WeightMetric",
    "audit_gradients",
    "metric_of",
    "run_of",
]
