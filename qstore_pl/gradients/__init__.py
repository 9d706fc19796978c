"""Gradients of circuits by several methods, and metric tensors."""

from __future__ import annotations

from qstore_pl.gradients.adaptive import FEWEST, AdaptiveShift
from qstore_pl.gradients.adjoint import CompiledGradient, DeviceGradient
from qstore_pl.gradients.audit import AuditRow, GradientAudit, audit_gradients
from qstore_pl.gradients.computers import (
    FiniteDifferenceGradient,
    GradientComputer,
    NaturalGradientComputer,
    QuantumGradientComputer,
    SPSAGradient,
)
from qstore_pl.gradients.difference import FiniteDifferences, SimultaneousPerturbation
from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import (
    Expectations,
    ModelExpectations,
    QNodeExpectations,
)
from qstore_pl.gradients.gauss_newton import GaussNewton
from qstore_pl.gradients.methods import OPTIONS, estimator_of
from qstore_pl.gradients.metric import APPROXIMATIONS, METRICS, WeightMetric, metric_of
from qstore_pl.gradients.parallel import ParallelEstimator
from qstore_pl.gradients.qng import QuantumNaturalGradientOptimizer
from qstore_pl.gradients.shard_work import ShardResult, ShardTask, ShardWork
from qstore_pl.gradients.sharded import Shard, ShardedEstimator
from qstore_pl.gradients.shift import ParameterShift
from qstore_pl.gradients.shot_noise import ShotVariances
from qstore_pl.optimizers import GradientResult

__all__ = [
    "APPROXIMATIONS",
    "FEWEST",
    "METRICS",
    "OPTIONS",
    "AdaptiveShift",
    "AuditRow",
    "CompiledGradient",
    "DeviceGradient",
    "Expectations",
    "FiniteDifferenceGradient",
    "FiniteDifferences",
    "GaussNewton",
    "GradientAudit",
    "GradientComputer",
    "GradientEstimator",
    "GradientResult",
    "ModelExpectations",
    "NaturalGradientComputer",
    "ParallelEstimator",
    "ParameterShift",
    "QNodeExpectations",
    "QuantumGradientComputer",
    "QuantumNaturalGradientOptimizer",
    "SPSAGradient",
    "Shard",
    "ShardResult",
    "ShardTask",
    "ShardWork",
    "ShardedEstimator",
    "ShotVariances",
    "SimultaneousPerturbation",
    "WeightMetric",
    "audit_gradients",
    "estimator_of",
    "metric_of",
]
