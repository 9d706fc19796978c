"""Layers: the shape of some weights, their first values, what is frozen, a template.

A layer owns no circuit of data; a model strings layers together. It knows templates and
backends, no loss and no optimizer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray

from qstore_pl._checks import choice, integer
from qstore_pl.backends.manager import as_backend, wire_labels
from qstore_pl.templates import ENTANGLEMENTS, RotationEntanglerLayers

INITIAL_SPREAD = 0.1  # radians: near the identity gradients do not vanish


class LayerCircuit(qml.QNode):
    """A layer's circuit, which knows what is frozen.

    Attributes:
        trainable: Which weights are trained; the layer's own view.
    """

    trainable: NDArray[np.bool_]


class QuantumLayer:
    r"""Rotations RX, RY, RZ on every qubit, then CNOTs, repeated.

    Args:
        n_qubits: Number of qubits, >= 1.
        n_layers: Number of repetitions, >= 1.
        backend: Where :attr:`circuit` runs: a name, a Backend or a PennyLane device.
        entanglement: ``"linear"``: CNOT(i, i+1); ``"circular"`` adds CNOT(n-1, 0) for
            more than two qubits; ``"full"``: every pair i < j.
        seed: Seed of the first values, normal with mean 0 and 0.1 radians of spread.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is < 1 or the entanglement is unknown.

    Example:
        >>> layer = QuantumLayer(n_qubits=4, n_layers=2, seed=0)
        >>> layer.parameters.shape
        (24,)
        >>> layer.freeze_parameters([0, 1, 2, 3])
        >>> int(layer.trainable.sum())
        20
    """

    def __init__(
        self,
        n_qubits: int,
        n_layers: int = 2,
        backend: Any = None,
        *,
        entanglement: str = "linear",
        seed: Any = None,
    ) -> None:
        self.n_qubits = integer("n_qubits", n_qubits, minimum=1)
        self.n_layers = integer("n_layers", n_layers, minimum=1)
        self.entanglement = choice("entanglement", entanglement, ENTANGLEMENTS)
        self.backend = as_backend("mock_ideal" if backend is None else backend)
        self.shape = RotationEntanglerLayers.shape(self.n_layers, self.n_qubits)
        rng = np.random.default_rng(seed)
        size = int(np.prod(self.shape))
        self._parameters = INITIAL_SPREAD * rng.standard_normal(size)
        self._trainable = np.ones(size, dtype=bool)

    @property
    def parameters(self) -> NDArray[np.float64]:
        """The weights in C order of (layer, qubit, gate), a live view; radians."""
        return self._parameters

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Which weights are trained; a live view of the same length."""
        return self._trainable

    @property
    def operation(self) -> Callable[..., qml.operation.Operator]:
        """The template, from weights of :attr:`shape` and ``wires`` to an operation."""
        return functools.partial(
            RotationEntanglerLayers, entanglement=self.entanglement
        )

    @property
    def circuit(self) -> LayerCircuit:
        """The layer alone as a QNode, on ``|0...0>``: flat weights to every <Z_i>."""
        device = self.backend.device(self.n_qubits)
        wires = wire_labels(device, self.n_qubits)
        circuit = LayerCircuit(functools.partial(self._circuit, wires=wires), device)
        circuit.trainable = self._trainable
        return circuit

    def _circuit(self, parameters: Any, *, wires: Sequence[Any]) -> list[Any]:
        self.operation(qml.math.reshape(parameters, self.shape), wires=wires)
        return [qml.expval(qml.Z(wire)) for wire in wires]

    def freeze_parameters(self, indices: Iterable[int]) -> None:
        """Keep these weights as they are in training.

        Args:
            indices: Flat indices within this layer.

        Raises:
            TypeError: If an index is not an integer.
            IndexError: If an index is out of range; nothing is frozen then.
        """
        self._trainable[self._checked(indices)] = False

    def unfreeze_parameters(self, indices: Iterable[int] | None = None) -> None:
        """Train these weights again; all of them if None.

        Raises:
            TypeError: If an index is not an integer.
            IndexError: If an index is out of range; nothing is changed then.
        """
        everything = range(self._trainable.size)
        self._trainable[self._checked(everything if indices is None else indices)] = (
            True
        )

    def _checked(self, indices: Iterable[int]) -> list[int]:
        size = self._trainable.size
        checked = [integer("indices", index) for index in indices]
        for index in checked:
            if not 0 <= index < size:
                raise IndexError(
                    f"Argument `indices` must be from 0 to {size - 1}, but has {index}."
                )
        return checked

    def move_into(
        self, parameters: NDArray[np.float64], trainable: NDArray[np.bool_]
    ) -> None:
        """Let the weights and the mask live in these views, with their present values.

        Args:
            parameters: Shape ``(n_parameters,)``.
            trainable: The same shape.
        """
        parameters[:], trainable[:] = self._parameters, self._trainable
        self._parameters, self._trainable = parameters, trainable

    def __repr__(self) -> str:
        return (
            f"QuantumLayer(n_qubits={self.n_qubits}, n_layers={self.n_layers}, "
            f"entanglement={self.entanglement!r})"
        )
