"""A circuit as an ordered list of blocks, each an operation and its inputs.

The list is the only description of a model's circuit: applied to numbers it is a
quantum function for any PennyLane device, traced with symbols it is what the compiler
lowers. It knows no layer, no model and no device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pennylane as qml

from qstore_pl._checks import integer


@dataclass(frozen=True)
class _Place:
    """Consecutive numbers of a row, in the shape of an operation's argument."""

    first: int = 0
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        integer("first", self.first, minimum=0)
        shape = tuple(integer("shape", size, minimum=1) for size in self.shape)
        object.__setattr__(self, "shape", shape)

    @property
    def end(self) -> int:
        """Position after the last number."""
        return self.first + math.prod(self.shape)


@dataclass(frozen=True)
class Features(_Place):
    """An input of a block that differs between samples: numbers of the encoded data.

    Args:
        first: Position of the first number in the row that the encoding layer makes of
            a sample, >= 0.
        shape: Shape of the operation's argument; ``()`` is a single number. Its entries
            are consecutive in the row, in C order.
    """


@dataclass(frozen=True)
class Weights(_Place):
    """An input of a block that all samples share: trainable weights of the layer.

    Args:
        first: Position of the first number among the layer's weights, >= 0. Blocks
            that name the same position share the weight.
        shape: Shape of the operation's argument; ``()`` is a single number. Its entries
            are consecutive weights, in C order.
    """


Input: TypeAlias = Any
"""``Features``, ``Weights``, or a constant: a number or an array."""


@dataclass(frozen=True)
class Block:
    """One step of a circuit.

    Args:
        operation: A PennyLane operation or template, or a quantum function that applies
            several. It is called as ``operation(*values, wires=[...])``, one value for
            each input; values may have a batch axis in front of the input's shape.
        wires: Positions of its wires in the register, counted from 0.
        inputs: Where each value comes from: ``Features``, ``Weights``, or a constant.

    Example:
        >>> Block(qml.CRot, wires=(0, 1), inputs=(Weights(0), 0.5, Features(1)))
        Block(CRot, wires=(0, 1), inputs=(Weights(0), 0.5, Features(1)))
    """

    operation: Callable[..., Any]
    wires: Sequence[int]
    inputs: Sequence[Input] = ()

    def __post_init__(self) -> None:
        if not callable(self.operation):
            raise TypeError(
                "Argument `operation` must be an operation's class or a quantum "
                f"function, but is {self.operation!r}."
            )
        wires = tuple(integer("wires", wire, minimum=0) for wire in self.wires)
        object.__setattr__(self, "wires", wires)
        object.__setattr__(self, "inputs", tuple(self.inputs))

    def moved(self, *, features: int, weights: int) -> Block:
        """The same block, its inputs counted from elsewhere.

        Args:
            features: Added to the position of every ``Features``.
            weights: Added to the position of every ``Weights``.
        """
        by = {Features: features, Weights: weights}
        inputs = tuple(
            replace(given, first=given.first + by[type(given)])
            if type(given) in by
            else given
            for given in self.inputs
        )
        return replace(self, inputs=inputs)

    def values(self, features: Any, weights: Any) -> list[Any]:
        """The values of the inputs.

        Args:
            features: Encoded data, shape ``(n_features,)`` or ``(batch, n_features)``.
            weights: Shape ``(n_weights,)``.
        """
        return [_value(given, features, weights) for given in self.inputs]

    def apply(self, features: Any, weights: Any, labels: Sequence[Any]) -> None:
        """Apply the operation, inside a quantum function.

        Args:
            features: Encoded data, shape ``(n_features,)`` or ``(batch, n_features)``.
            weights: Shape ``(n_weights,)``.
            labels: What the wires of the register are called.
        """
        wires = [labels[wire] for wire in self.wires]
        self.operation(*self.values(features, weights), wires=wires)

    def __repr__(self) -> str:
        name = getattr(self.operation, "__name__", repr(self.operation))
        inputs = ", ".join(map(_shown, self.inputs))
        comma = "," if len(self.inputs) == 1 else ""
        return f"Block({name}, wires={self.wires}, inputs=({inputs}{comma}))"


def _shown(given: Input) -> str:
    if not isinstance(given, Features | Weights):
        return repr(given)
    shape = f", shape={given.shape}" if given.shape else ""
    return f"{type(given).__name__}({given.first}{shape})"


def _value(given: Input, features: Any, weights: Any) -> Any:
    match given:
        case Weights(first, ()):
            return weights[first]
        case Weights(first, shape):
            return qml.math.reshape(weights[first : given.end], shape)
        case Features(first, ()):
            return features[..., first]
        case Features(first, (size,)):
            whole = first == 0 and size == features.shape[-1]
            return features if whole else features[..., first : given.end]
        case Features(first, shape):
            front = tuple(features.shape[:-1])
            return qml.math.reshape(features[..., first : given.end], (*front, *shape))
        case _:
            return given


def extent(blocks: Sequence[Block], kind: type[Features] | type[Weights]) -> int:
    """How many features or weights some blocks take: the largest position, plus one."""
    ends = [
        given.end
        for block in blocks
        for given in block.inputs
        if isinstance(given, kind)
    ]
    return max(ends, default=0)
