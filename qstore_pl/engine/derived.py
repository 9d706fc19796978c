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
FunctionOfTwo = Callable[[Any, Any], Any]
SlopeOfTwo = Callable[[Any, Any, Any], Any]

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
    "exp2": (np.exp2, lambda x, y: np.log(2.0) * y),
    "log2": (np.log2, lambda x, y: 1.0 / (np.log(2.0) * x)),
    "log10": (np.log10, lambda x, y: 1.0 / (np.log(10.0) * x)),
    "arcsinh": (np.arcsinh, lambda x, y: 1.0 / np.sqrt(x * x + 1.0)),
    "arccosh": (np.arccosh, lambda x, y: 1.0 / np.sqrt(x * x - 1.0)),
    "arctanh": (np.arctanh, lambda x, y: 1.0 / (1.0 - x * x)),
    "absolute": (np.absolute, lambda x, y: np.sign(x)),
}
"""By name a function of one number, and its derivative."""

FUNCTIONS_OF_TWO: dict[str, tuple[FunctionOfTwo, tuple[SlopeOfTwo, SlopeOfTwo]]] = {
    "power": (
        np.power,
        (
            lambda a, b, y: b * np.power(a, np.where(b == 0.0, 1.0, b - 1.0)),
            lambda a, b, y: np.log(np.where(a == 0.0, 1.0, a)) * y,
        ),
    ),
    "hypot": (np.hypot, (lambda a, b, y: a / y, lambda a, b, y: b / y)),
    "arctan2": (
        np.arctan2,
        (
            lambda a, b, y: b / (a * a + b * b),
            lambda a, b, y: -a / (a * a + b * b),
        ),
    ),
}
"""By name a function of two numbers, and its derivatives with respect to each."""


@dataclass(frozen=True)
class Derived:
    """A function of polynomials in weights, features and other derived values.

    Args:
        function: A name in ``FUNCTIONS`` or ``FUNCTIONS_OF_TWO``.
        arguments: One polynomial or two, as many as the function takes.
    """

    function: str
    arguments: tuple[Angle, ...]

    @classmethod
    def of(cls, function: str, *arguments: Angle) -> Angle:
        """The function as an angle; of constants it is a constant."""
        made = cls(function, arguments)
        if not any(argument.terms for argument in arguments):
            constants = [np.float64(argument.constant) for argument in arguments]
            return Angle(float(made.value(constants)))
        return Angle(0.0, ((1.0, (DERIVED, made), ONE),))

    @property
    def slots(self) -> set[Slot]:
        """The values that the arguments depend on."""
        return set().union(*(argument.slots for argument in self.arguments))

    def renamed(self, rename: Callable[[Slot], Slot]) -> Derived:
        """The same function of values in other slots."""
        arguments = tuple(argument.renamed(rename) for argument in self.arguments)
        return Derived(self.function, arguments)

    def value(self, arguments: Sequence[Any]) -> Any:
        """The function of numbers, or of arrays with the same shape."""
        if len(arguments) == 1:
            return FUNCTIONS[self.function][0](arguments[0])
        one, other = arguments
        return FUNCTIONS_OF_TWO[self.function][0](one, other)

    def slope(self, which: int, arguments: Sequence[Any], value: Any) -> Any:
        """The derivative with respect to one of the arguments.

        Args:
            which: Index of the argument.
            arguments: Numbers, or arrays with the same shape.
            value: The function of them.
        """
        if len(arguments) == 1:
            return FUNCTIONS[self.function][1](arguments[0], value)
        one, other = arguments
        return FUNCTIONS_OF_TWO[self.function][1][which](one, other, value)


def base_slots(angle: Angle) -> set[Slot]:
    """The weights and features that an angle depends on, also through functions."""
    found: set[Slot] = set()
    for kind, index in angle.slots:
        if kind == DERIVED:
            found = found.union(*map(base_slots, index.arguments))
        else:
            found.add((kind, index))
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
        self._arguments: list[list[Float1D]] = []

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
            arguments = [one.evaluate(weights, whole) for one in derived.arguments]
            self._arguments.append(arguments)
            whole[:, n + k] = derived.value(arguments)
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
            derived, arguments = self._derived[k], self._arguments[k]
            value = self._features[:, n + k]
            for which, argument in enumerate(derived.arguments):
                if not argument.terms:
                    continue
                slope = derived.slope(which, arguments, value)
                by_argument = gx[:, n + k] * slope
                for coefficient, a, b in argument.terms:
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
