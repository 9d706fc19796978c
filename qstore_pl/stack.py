"""Layers on their wires, one after the other: a circuit that measures nothing yet.

It gives every layer its wires and its place among the weights and the features. It
knows no readout, no parameters' values but the first ones, and no device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from qstore_pl._checks import finite, integer
from qstore_pl.circuit import Block, Features, Weights, extent
from qstore_pl.layers import Encoding, Layer, QuantumLayer

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Wires = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A layer where it stands in the list.

    Args:
        layer: The layer, which knows its wires and has weights. One that stands in the
            list several times is the same object in several parts.
        wires: Positions of the wires that it is given here.
        blocks: Its operations, with positions in the whole rows of features and
            weights.
        first_weight: Position of its first weight among those of the model.
        is_again: Whether the layer stands earlier in the list too.
    """

    layer: Layer
    wires: Wires
    blocks: tuple[Block, ...]
    first_weight: int
    is_again: bool


class Stack:
    """A list of layers on wires.

    Args:
        layers: Layers, at least one of them an encoding; they are copied.
        input_dim: Number of features of a sample.
        n_qubits: Number of wires; None takes as many as the layers need.
        seed: Seed of the first weights that layers do not bring.

    Raises:
        TypeError: If an entry is no layer.
        ValueError: If there is no encoding, or features, wires or weights do not fit.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_dim: int,
        n_qubits: int | None,
        seed: Any,
    ) -> None:
        if isinstance(layers, Layer):
            raise TypeError(
                f"Argument `layers` must be a list of layers, but is {layers!r} alone."
            )
        layers = list(layers)
        encodings = _checked(layers)
        self.input_dim = input_dim
        self.n_qubits = _n_qubits(layers, encodings, input_dim, n_qubits)
        wires: Wires = tuple(range(self.n_qubits))
        rng = np.random.default_rng(seed)
        parts: list[Part] = []
        first: dict[int, tuple[Layer, int, int]] = {}
        self.n_features = self.n_weights = 0
        for layer in layers:
            is_again = id(layer) in first
            if not is_again:
                own = layer.built(wires, input_dim, rng)
                first[id(layer)] = own, self.n_features, self.n_weights
                self.n_features += n_columns(own)
                self.n_weights += own.n_weights
            own, at_feature, at_weight = first[id(layer)]
            blocks = tuple(
                block.moved(features=at_feature, weights=at_weight)
                for block in _checked_blocks(own, wires)
            )
            parts.append(Part(own, wires, blocks, at_weight, is_again))
            wires = tuple(own.keeps(wires))
        self.parts, self.kept = tuple(parts), wires

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All operations, in the order in which they act."""
        return tuple(block for part in self.parts for block in part.blocks)

    @property
    def distinct(self) -> list[Part]:
        """The parts, each layer once."""
        return [part for part in self.parts if not part.is_again]

    def move_into(self, parameters: Float1D, trainable: NDArray[np.bool_]) -> None:
        """Let the weights of all layers live in these views, as they are now.

        Args:
            parameters: Shape ``(n_weights,)``, or longer.
            trainable: The same shape.
        """
        for part in self.distinct:
            first, end = part.first_weight, part.first_weight + part.layer.n_weights
            part.layer.move_into(parameters[first:end], trainable[first:end])

    def encode(self, samples: Float2D) -> Float2D:
        """What the blocks take of some samples: the columns of every encoding.

        Args:
            samples: Shape ``(n_samples, input_dim)``, finite.

        Returns:
            Shape ``(n_samples, n_features)``.
        """
        columns = [
            _encoded(part.layer, samples)
            for part in self.distinct
            if isinstance(part.layer, Encoding)
        ]
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    def examples(self) -> Float2D:
        """Encoded samples that differ: the first feature is 1, or the last, or 1/2."""
        samples = np.zeros((2, self.input_dim))
        samples[0, 0] = samples[1, -1] = 1.0
        try:  # what normalises its inputs is found out by a sample that is not
            return self.encode(np.concatenate([samples, 0.5 * samples]))
        except ValueError:  # an encoding of bits
            return self.encode(samples)

    def pull_back(self, gradient: Float2D, samples: Float2D) -> Float2D:
        """The chain rule of :meth:`encode`.

        Args:
            gradient: Derivatives of a loss with respect to the encoded data, shape
                ``(n_samples, n_features)``.
            samples: Shape ``(n_samples, input_dim)``.

        Returns:
            Derivatives with respect to the samples, of their shape.
        """
        total = np.zeros(samples.shape)
        start = 0
        for part in self.distinct:
            if isinstance(part.layer, Encoding):
                end = start + part.layer.n_columns
                total += part.layer.pull_back(gradient[:, start:end], samples)
                start = end
        return total

    def sources(self, columns: Iterable[int]) -> set[int]:
        """The features of a sample that some columns of the encoded data depend on.

        Args:
            columns: Positions in an encoded sample.
        """
        by_column = [
            source
            for part in self.distinct
            if isinstance(part.layer, Encoding)
            for source in part.layer.sources(part.layer.n_columns)
        ]
        distinct = {id(by_column[column]): by_column[column] for column in columns}
        return {feature for source in distinct.values() for feature in source}


def n_columns(layer: Layer) -> int:
    """Columns that a layer adds to the encoded data."""
    return layer.n_columns if isinstance(layer, Encoding) else 0


def _checked(layers: list[Layer]) -> list[Encoding]:
    """The encodings of a list that holds nothing but layers."""
    for layer in layers:
        if isinstance(layer, type):
            raise TypeError(
                f"Argument `layers` must hold layers, but has the class "
                f"{layer.__name__}. A layer is an object, as AngleEncoding(); a "
                "template goes into the blocks of a layer of your own."
            )
        if not isinstance(layer, Layer):
            raise TypeError(
                "Argument `layers` must hold layers, but has one of type "
                f"{type(layer).__name__}. Inherit from qstore_pl.layers.Layer."
            )
    encodings = [layer for layer in layers if isinstance(layer, Encoding)]
    if not encodings:
        raise ValueError(
            "Argument `layers` must have an encoding, which puts the data on the "
            "wires, but has none. Begin with AngleEncoding()."
        )
    return encodings


def _n_qubits(
    layers: list[Layer],
    encodings: list[Encoding],
    input_dim: int,
    n_qubits: int | None,
) -> int:
    needed = max(encoding.n_wires(input_dim) for encoding in encodings)
    if n_qubits is None:
        sizes = [layer.n_qubits for layer in layers if _is_sized(layer)]
        return max(1, needed, *sizes)
    n_qubits = integer("n_qubits", n_qubits, minimum=1)
    if needed > n_qubits:
        largest = max(encodings, key=lambda encoding: encoding.n_wires(input_dim))
        raise ValueError(
            f"Argument `n_qubits` must be >= {needed}, for {input_dim} features by "
            f"{largest!r}, but is {n_qubits}. Fewer hold them by angles about several "
            'axes, as AngleEncoding("YZ"), or in two uploads: '
            f"AngleEncoding(features=range({n_qubits})), a layer, and the rest."
        )
    return n_qubits


def _is_sized(layer: Layer) -> TypeGuard[QuantumLayer]:
    return isinstance(layer, QuantumLayer) and layer.is_sized


def _checked_blocks(layer: Layer, wires: Wires) -> Sequence[Block]:
    """The blocks of a built layer, if they fit its wires and numbers."""
    blocks = list(layer.blocks(wires))
    sizes = {"weights": layer.n_weights, "features": n_columns(layer)}
    for name, kind in (("weights", Weights), ("features", Features)):
        if extent(blocks, kind) > sizes[name]:
            raise ValueError(
                f"{layer!r} must have the same {name} wherever it stands in the list "
                f"of layers, but has {sizes[name]}, and {extent(blocks, kind)} on the "
                f"wires {list(wires)}. Use another layer there."
            )
    for block in blocks:
        if not set(block.wires) <= set(wires):
            raise ValueError(
                f"{layer!r} must act on the wires it is given, {list(wires)}, but has "
                f"{block}."
            )
    return blocks


def _encoded(layer: Encoding, samples: Float2D) -> Float2D:
    """The rows that an encoding makes of samples, checked."""
    rows = finite("encode()", layer.encode(samples))
    if rows.shape != (len(samples), layer.n_columns):
        raise ValueError(
            f"{layer!r} must encode {len(samples)} samples as shape "
            f"({len(samples)}, {layer.n_columns}), but gives shape {rows.shape}."
        )
    return rows
