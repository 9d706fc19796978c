"""Functions of weights and features that a circuit's angles depend on.

An angle is a polynomial. What it needs besides, as the square root of a weight, is
computed before the circuit runs, once for each sample, and stands in columns behind the
features. This module knows arrays and angles, not circuits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.gates import DERIVED, FEATURE, ONE, WEIGHT, Angle, Slot

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Function = Callable[[Any], Any]
Slope = Callable[[Any, Any], Any]  # from an argument and the value there

FUNCTIONS: dict[str, tuple[Function, Slope]] = {
    "value": (lambda x: x, lambda x, y: np.ones_like(x)),
    "sqrt": (np.sqrt, lambda x, y: 0.5 / y),
    "reciprocal": (lambda x: 1.0 / x, lambda x, y: -y * y),
    "exp": (np.exp, lambda x, y: y),
    "expm1": (np.expm1, lambda x, y: y + 1.0),
    "log": (np.log, lambda x, y: 1.0 / x),
    "log1p": (np.log1p, lambda x, y: 1.0 / (1.0 + x)),
    "sin": (np.sin, lambda x, y: np.cos(x)),
    "cos": (np.cos, lambda x, y: -np.sin(x)),
    "tan": (np.tan, lambda x, y: 1.0 + y * y),
    "arcsin": (np.arcsin, lambda x, y: 1.0 / np.sqrt(1.0 - x * x)),
    "arccos": (np.arccos, lambda x, y: -1.0 / np.sqrt(1.0 - x * x)),
    "arctan": (np.arctan, lambda x, y: 1.0 / (1.0 + x * x)),
    "sinh": (np.sinh, lambda x, y: np.cosh(x)),
    "cosh": (np.cosh, lambda x, y: np.sinh(x)),
    "tanh": (np.tanh, lambda x, y: 1.0 - y * y),
}
"""By name a function of one number, and its derivative."""


@dataclass(frozen=True)
class Derived:
    """A function of a polynomial in weights, features and other derived values.

    Args:
        function: A name in ``FUNCTIONS``.
        argument: The polynomial.
    """

    function: str
    argument: Angle

    @classmethod
    def of(cls, function: str, argument: Angle) -> Angle:
        """The function as an angle; of a constant it is a constant."""
        if not argument.terms:
            return Angle(float(FUNCTIONS[function][0](np.float64(argument.constant))))
        return Angle(0.0, ((1.0, (DERIVED, cls(function, argument)), ONE),))


def base_slots(angle: Angle) -> set[Slot]:
    """The weights and features that an angle depends on, also through functions."""
    found: set[Slot] = set()
    for kind, index in angle.slots:
        found |= base_slots(index.argument) if kind == DERIVED else {(kind, index)}
    return found


class Columns:
    """The derived values of a circuit, as columns behind its features.

    Args:
        derived: In an order in which each needs only earlier ones; these are features
            from ``n_features`` on.
        n_features: Columns of the features.
    """

    def __init__(self, derived: Sequence[Derived], n_features: int) -> None:
        self._derived, self._n_features = derived, n_features
        self._weights = np.empty(0)
        self._features = np.empty((0, 0))
        self._arguments: list[Float1D] = []

    def forward(self, weights: Float1D, features: Float2D) -> Float2D:
        """The features and the derived values of some samples.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.

        Returns:
            Shape ``(batch, n_features + n_derived)``.
        """
        n = self._n_features
        whole = np.empty((len(features), n + len(self._derived)))
        whole[:, :n] = features
        self._arguments = []
        for k, derived in enumerate(self._derived):
            argument = derived.argument.evaluate(weights, whole)
            self._arguments.append(argument)
            whole[:, n + k] = FUNCTIONS[derived.function][0](argument)
        self._weights, self._features = weights, whole
        return whole

    def backward(self, gw: Float1D, gx: Float2D) -> tuple[Float1D, Float2D]:
        """The chain rule after :meth:`forward`.

        Args:
            gw: Gradient with respect to the weights, shape ``(n_weights,)``.
            gx: Gradient with respect to features and derived values of each sample,
                shape ``(batch, n_features + n_derived)``.

        Returns:
            Gradients with respect to the weights and to the features.
        """
        gw, gx, n = gw.copy(), gx.copy(), self._n_features
        for k in reversed(range(len(self._derived))):
            derived, argument = self._derived[k], self._arguments[k]
            value = self._features[:, n + k]
            slope = FUNCTIONS[derived.function][1](argument, value)
            by_argument = gx[:, n + k] * slope
            for coefficient, a, b in derived.argument.terms:
                for slot, other in ((a, b), (b, a)):
                    part = coefficient * by_argument * self._value(other)
                    if slot[0] == WEIGHT:
                        gw[slot[1]] += part.sum()
                    elif slot[0] == FEATURE:
                        gx[:, slot[1]] += part
        return gw, gx[:, :n]

    def _value(self, slot: Slot) -> Any:
        kind, index = slot
        if kind == WEIGHT:
            return self._weights[index]
        return self._features[:, index] if kind == FEATURE else 1.0
