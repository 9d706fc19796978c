"""Layers that encode data: angles, amplitudes, bits, the ZZ feature map."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import numpy as np
import pennylane as qml

from qstore_pl import devices
from qstore_pl._checks import choice, integer, real
from qstore_pl.circuit import Block, Features
from qstore_pl.encoding import QuantumDataEncoder
from qstore_pl.layers.layer import Encoding, Float2D, Wires
from qstore_pl.templates import BasisEncoding as BasisTemplate
from qstore_pl.templates import ZZFeatureMap


@final
class AngleEncoding(Encoding):
    r"""One rotation for each feature, by the angle ``scale`` times the feature.

    With several axes the first features turn all wires about the first axis, the next
    ones about the second, so that up to three features share a wire. Wires without a
    feature stay as they are.

    Args:
        rotation: The axis, ``"X"``, ``"Y"`` or ``"Z"``, or several of them in the order
            in which they act, as ``"YZ"``.
        scale: Factor of the features, radians per unit.
        features: Positions of the features that are encoded; None is all of them. Two
            encodings can so share out the features of a sample.

    Raises:
        TypeError: If a number is of the wrong kind.
        ValueError: If an axis is unknown, or there are no features.

    Example:
        >>> from qstore_pl import QuantumLayer, QuantumModel
        >>> layers = [AngleEncoding("YZ"), QuantumLayer(), AngleEncoding("YZ")]
        >>> QuantumModel(8, 2, layers=[*layers, QuantumLayer()]).n_qubits
        4
    """

    def __init__(
        self,
        rotation: str = "Y",
        scale: float = 1.0,
        *,
        features: Iterable[int] | None = None,
    ) -> None:
        if not isinstance(rotation, str) or not rotation or set(rotation) - set("XYZ"):
            choice("rotation", rotation, "XYZ")
        self.rotation = rotation
        self.scale = real("scale", scale)
        self.features: tuple[int, ...] | None = None
        if features is not None:
            self.features = tuple(integer("features", i, minimum=0) for i in features)
            if not self.features:
                raise ValueError(
                    "Argument `features` must name a feature, but is empty."
                )

    def n_wires(self, input_dim: int) -> int:
        """As many as hold the features, one for each axis on a wire."""
        return -(-len(self._chosen(input_dim)) // len(self.rotation))

    def blocks(self, wires: Wires) -> Sequence[Block]:
        """A template for each axis, on as many wires as there are features left."""
        n_features = len(self._chosen(self.input_dim))
        if n_features > len(wires) * len(self.rotation):
            raise ValueError(
                f"{self!r} must have at most {len(wires) * len(self.rotation)} "
                f"features on {len(wires)} wires, but has {n_features}. Use more "
                "wires, more axes, or two encodings of some `features` each."
            )
        return [
            Block(
                functools.partial(qml.AngleEmbedding, rotation=axis),
                wires,
                [Features(first, (min(len(wires), n_features - first),))],
            )
            for axis, first in zip(
                self.rotation, range(0, n_features, len(wires)), strict=False
            )
        ]

    def encode(self, inputs: Float2D) -> Float2D:
        """The angles, in radians."""
        chosen = inputs if self.features is None else inputs[:, list(self.features)]
        return QuantumDataEncoder().encode(chosen, "angle", scale=self.scale)

    def pull_back(self, gradient: Float2D, inputs: Float2D) -> Float2D:
        """The derivatives times the scale, 0 for features that are not encoded."""
        found = np.zeros(inputs.shape)
        for column, feature in enumerate(self._chosen(self.input_dim)):
            found[:, feature] += self.scale * gradient[:, column]
        return found

    def sources(self, n_columns: int) -> list[Sequence[int]]:
        """One feature for each angle."""
        del n_columns
        return [(i,) for i in self._chosen(self.input_dim)]

    def options(self) -> dict[str, Any]:
        """Axes, scale and features."""
        found: dict[str, Any] = {"rotation": self.rotation, "scale": self.scale}
        return (
            found if self.features is None else found | {"features": [*self.features]}
        )

    def _chosen(self, input_dim: int) -> Sequence[int]:
        chosen = range(input_dim) if self.features is None else self.features
        if chosen and max(chosen) >= input_dim:
            raise ValueError(
                f"Argument `features` of {self!r} must be from 0 to {input_dim - 1}, "
                f"but has {max(chosen)}: a sample has {input_dim} features."
            )
        return chosen


@final
class AmplitudeEncoding(Encoding):
    r"""The state whose amplitudes are the features, normalised and padded with zeros.

    :math:`\sum_k x_k |k\rangle / \lVert x \rVert` on ``max(1, ceil(log2(n)))`` wires or
    more for n features. It prepares the state from :math:`|0\rangle`, so it can only be
    the first layer.

    Example:
        >>> from qstore_pl import QuantumLayer, QuantumModel
        >>> QuantumModel(64, 2, layers=[AmplitudeEncoding(), QuantumLayer()]).n_qubits
        6
    """

    def n_wires(self, input_dim: int) -> int:
        """The logarithm to the base 2 of the number of features, rounded up."""
        return max(1, (input_dim - 1).bit_length())

    def blocks(self, wires: Wires) -> Sequence[Block]:
        """One state preparation."""
        if self.n_wires(self.input_dim) > len(wires):
            raise ValueError(
                f"{self!r} must have {self.n_wires(self.input_dim)} wires for "
                f"{self.input_dim} features, but has {len(wires)}."
            )
        prepare = functools.partial(
            qml.AmplitudeEmbedding, normalize=True, pad_with=0.0
        )
        return [Block(prepare, wires, [Features(0, (1 << len(wires),))])]

    def encode(self, inputs: Float2D) -> Float2D:
        """The amplitudes."""
        assert self._wires is not None
        devices.check_memory(len(self._wires))
        return QuantumDataEncoder(len(self._wires)).encode(inputs, "amplitude")

    def pull_back(self, gradient: Float2D, inputs: Float2D) -> Float2D:
        r"""The part of the derivatives across :math:`x`, divided by its norm."""
        norm = np.linalg.norm(inputs, axis=1, keepdims=True)
        unit = inputs / norm
        own = gradient[:, : inputs.shape[1]]
        return (own - np.sum(own * unit, axis=1, keepdims=True) * unit) / norm

    def sources(self, n_columns: int) -> list[Sequence[int]]:
        """Every amplitude depends on all features, through the norm."""
        return [range(self.input_dim)] * n_columns


class _OnEachWire(Encoding):
    """An encoding with at most one feature for each wire."""

    _method: str
    _template: Callable[..., Any]

    def n_wires(self, input_dim: int) -> int:
        """As many as there are features."""
        return input_dim

    def blocks(self, wires: Wires) -> Sequence[Block]:
        """The template, on as many wires as there are features."""
        if self.input_dim > len(wires):
            raise ValueError(
                f"{self!r} must have a wire for each of {self.input_dim} features, but "
                f"has {len(wires)} wires. Use more."
            )
        inputs = [Features(0, (self.input_dim,))]
        return [Block(type(self)._template, wires[: self.input_dim], inputs)]

    def encode(self, inputs: Float2D) -> Float2D:
        """The features, checked."""
        return QuantumDataEncoder(self.input_dim).encode(inputs, self._method)

    def pull_back(self, gradient: Float2D, inputs: Float2D) -> Float2D:
        """The derivatives as they are."""
        return gradient


@final
class BasisEncoding(_OnEachWire):
    """A bit flip on each wire whose feature is 1; features are 0 and 1.

    A single whole number instead of bits is written in binary by
    :class:`~qstore_pl.QuantumDataEncoder`.

    Example:
        >>> from qstore_pl import QuantumLayer, QuantumModel
        >>> model = QuantumModel(3, 1, layers=[BasisEncoding(), QuantumLayer()])
        >>> model.prepare([[1, 0, 1]])
        array([[1., 0., 1.]])
    """

    _method = "basis"
    _template = BasisTemplate

    def pull_back(self, gradient: Float2D, inputs: Float2D) -> Float2D:
        """Zeros: bits are discrete."""
        return np.zeros(inputs.shape)


@final
class ZZEncoding(_OnEachWire):
    """The ZZ feature map: see :class:`qstore_pl.templates.ZZFeatureMap`.

    Example:
        >>> from qstore_pl import QuantumLayer, QuantumModel
        >>> QuantumModel(3, 1, layers=[ZZEncoding(), QuantumLayer()]).n_qubits
        3

    References:
        Havlicek et al., Supervised learning with quantum-enhanced feature spaces,
        Nature 567, 209 (2019), arXiv:1804.11326.
    """

    _method = "zz_feature_map"
    _template = ZZFeatureMap


BY_WORD: dict[str, type[Encoding]] = {
    "amplitude": AmplitudeEncoding,
    "angle": AngleEncoding,
    "basis": BasisEncoding,
    "zz_feature_map": ZZEncoding,
}
