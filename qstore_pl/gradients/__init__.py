"""Gradients of expectation values on devices that have none of their own."""

from qstore_pl.gradients.shift import ShiftedRun

__all__ = ["ShiftedRun"]
