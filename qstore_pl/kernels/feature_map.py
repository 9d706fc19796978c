"""Feature maps: circuits that turn samples into states, and those made of two of them.

They are circuits that can be placed on a backend. This module knows layers, but no
device and no kernel.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.measurements import MeasurementProcess

from qstore_pl._checks import choice, finite, plain, real
from qstore_pl.circuit import Block
from qstore_pl.description import listed
from qstore_pl.layers import AmplitudeEncoding, BasisEncoding, Encoding, Layer
from qstore_pl.layers.encodings import BY_WORD
from qstore_pl.model import QuantumModel
from qstore_pl.stack import Stack

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

DEFAULT_ENCODING = "zz_feature_map"


class FeatureMap:
    """A circuit without measurements: layers on wires, and their weights.

    Args:
        stack: The layers. Their weights move into arrays of the feature map.
        scale: Factor of the samples before they are encoded.
        words: How it was made, for its representation.
    """

    measurements: Sequence[MeasurementProcess] = ()

    def __init__(self, stack: Stack, *, scale: float = 1.0, words: str = "") -> None:
        self.stack, self.scale, self.words = stack, scale, words
        self.weights = np.zeros(stack.n_weights)
        self.trainable = np.ones(stack.n_weights, dtype=bool)
        stack.move_into(self.weights, self.trainable)

    @classmethod
    def of_layers(
        cls,
        input_dim: int,
        *,
        encoding: str,
        layers: Sequence[Layer] | None,
        n_qubits: int | None,
        scale: float,
        seed: Any,
    ) -> Self:
        """The feature map that the arguments of a kernel mean.

        Args:
            input_dim: Number of features of a sample, >= 1.
            encoding: The word for an encoding, if there are no layers.
            layers: The layers; None is the encoding alone.
            n_qubits: Number of qubits; None takes as many as the layers need.
            scale: Factor of the samples before they are encoded, not 0.
            seed: Seed of the first weights of the layers.

        Raises:
            TypeError: If an argument is of the wrong kind.
            ValueError: If the encoding is unknown, or an option would be ignored.
        """
        scale = real("scale", scale)
        if layers is None:
            layers = [BY_WORD[choice("encoding", encoding, BY_WORD)]()]
            words = f"encoding={encoding!r}"
        elif encoding != DEFAULT_ENCODING:
            raise ValueError(
                "Argument `encoding` must be left out with `layers`, which would "
                f"ignore it, but is {encoding!r}. Put the encoding among the layers."
            )
        else:
            words = ""
        stack = Stack(layers, input_dim, n_qubits, seed)
        kinds = {type(p.layer) for p in stack.parts if isinstance(p.layer, Encoding)}
        if scale != 1.0 and kinds <= {AmplitudeEncoding, BasisEncoding}:
            raise ValueError(
                "Argument `scale` must be left out where samples are encoded as "
                f"amplitudes or bits, which have no scale, but is {scale}."
            )
        return cls(stack, scale=scale, words=words)

    @classmethod
    def of_model(cls, model: QuantumModel) -> Self:
        """The circuit of a model without what it measures, with a copy of its weights.

        Args:
            model: The model.

        Raises:
            TypeError: If it is no model.
        """
        if not isinstance(model, QuantumModel):
            raise TypeError(
                "Argument `model` must be a QuantumModel, but is of type "
                f"{type(model).__name__}. QuantumModel.from_qnode makes one of a QNode."
            )
        made = cls(copy.deepcopy(model.stack))
        made.weights[:] = model.weights
        made.trainable[:] = model.trainable[: model.n_weights]
        return made

    @property
    def input_dim(self) -> int:
        """Number of features of a sample."""
        return self.stack.input_dim

    @property
    def n_qubits(self) -> int:
        """Number of wires."""
        return self.stack.n_qubits

    @property
    def n_features(self) -> int:
        """Columns of the encoded data."""
        return self.stack.n_features

    @property
    def n_weights(self) -> int:
        """Length of the weights."""
        return self.stack.n_weights

    @property
    def blocks(self) -> Sequence[Block]:
        """The operations, with inputs in the whole rows of features and weights."""
        return self.stack.blocks

    def prepare(self, name: str, samples: Any) -> Float2D:
        """Samples as the circuit takes them: encoded.

        Args:
            name: The name of the argument, for errors.
            samples: Shape ``(n_samples, input_dim)``.

        Returns:
            Shape ``(n_samples, n_features)``.

        Raises:
            ValueError: If the shape differs, an entry is NaN or infinite, or the
                encoding does not take it.
            TypeError: If it is not real.
        """
        array = plain(name, samples)
        if array.ndim != 2 or array.shape[1] != self.input_dim or len(array) == 0:
            raise ValueError(
                f"Argument `{name}` must have shape (n_samples, {self.input_dim}) and "
                f"at least one sample, but has shape {array.shape}. The kernel has "
                f"input_dim={self.input_dim}."
            )
        return self.stack.encode(self.scale * finite(name, array))

    def examples(self) -> Float2D:
        """Encoded samples that differ."""
        return self.stack.examples()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Copied apart, the layers' arrays become views of these again. These are copied
        # since joblib loads arrays of a file as read-only where asked to.
        self.weights, self.trainable = np.array(self.weights), np.array(self.trainable)
        self.stack.move_into(self.weights, self.trainable)

    def __repr__(self) -> str:
        words = self.words or f"layers={listed([p.layer for p in self.stack.parts])}"
        scale = f", scale={self.scale}" if self.scale != 1.0 else ""
        return f"input_dim={self.input_dim}, {words}, n_qubits={self.n_qubits}{scale}"


class InversionTest:
    r"""The circuit :math:`U(x)^\dagger U(y)` of pairs of samples, and its outcomes.

    An encoded pair is the row of x, followed by the row of y.

    Args:
        feature_map: The feature map U.
    """

    def __init__(self, feature_map: FeatureMap) -> None:
        self._map = feature_map
        self.n_qubits, self.n_weights = feature_map.n_qubits, feature_map.n_weights
        self.n_features = 2 * feature_map.n_features
        self.measurements = [qml.probs(wires=range(self.n_qubits))]

    @property
    def blocks(self) -> Sequence[Block]:
        """The operations of y, then those of x inverted, from the last to the first."""
        own, n = self._map.blocks, self._map.n_features
        first = [block.moved(features=n, weights=0) for block in own]
        return (*first, *map(_inverted, reversed(own)))

    def examples(self) -> Float2D:
        """Encoded pairs that differ."""
        found = self._map.examples()
        return np.concatenate([found, found[::-1]], axis=1)


def _inverted(block: Block) -> Block:
    """The block whose operation undoes that of another one."""
    return replace(block, operation=qml.adjoint(block.operation))
