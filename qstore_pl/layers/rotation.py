"""The layer of rotations and CNOTs, which is also a circuit of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray

from qstore_pl._checks import choice, integer
from qstore_pl.backends.manager import as_backend, wire_labels
from qstore_pl.circuit import Block, Weights
from qstore_pl.layers.layer import Layer, Wires
from qstore_pl.templates import ENTANGLEMENTS, RotationEntanglerLayers


class LayerCircuit(qml.QNode):
    """The QNode of a layer, which knows which of its weights are frozen.

    Attributes:
        trainable: Which weights are trained, shape ``(n_weights,)``; a view of the
            layer's own mask.
    """

    trainable: NDArray[np.bool_]


@final
class QuantumLayer(Layer):
    r"""Rotations RX, RY, RZ on every qubit, then CNOTs, repeated.

    In the list of layers of a model ``n_qubits`` may be left out. With it the layer is
    a circuit of its own too: :attr:`circuit`.

    Args:
        n_qubits: Number of qubits, >= 1; None takes as many as the model has.
        n_layers: Number of repetitions, >= 1.
        backend: Where :attr:`circuit` runs: a name, a Backend or a PennyLane device.
        entanglement: Which CNOTs follow the rotations. ``"linear"``: CNOT(i, i+1);
            ``"circular"`` adds CNOT(n-1, 0) for more than two qubits; ``"full"``: every
            pair i < j; ``"none"``: no CNOTs, so that the qubits stay apart.
        seed: Seed of the first weights, which are normally distributed with mean 0 and
            standard deviation 0.1 radians; None leaves them to the model's seed.

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
        n_qubits: int | None = None,
        n_layers: int = 2,
        backend: Any = None,
        *,
        entanglement: str = "circular",
        seed: Any = None,
    ) -> None:
        self._n_qubits = (
            None if n_qubits is None else integer("n_qubits", n_qubits, minimum=1)
        )
        self.n_layers = integer("n_layers", n_layers, minimum=1)
        self.entanglement = choice("entanglement", entanglement, ENTANGLEMENTS)
        self.backend = as_backend("mock_ideal" if backend is None else backend)
        self._seed = seed

    @property
    def n_qubits(self) -> int:
        """Number of qubits.

        Raises:
            ValueError: If it was left out and no model has been built.
        """
        if self._wires is not None:
            return len(self._wires)
        if self._n_qubits is None:
            raise ValueError(
                "Argument `n_qubits` must be given for a QuantumLayer on its own, but "
                "is None. The layer of a model is in model.layers."
            )
        return self._n_qubits

    @property
    def is_sized(self) -> bool:
        """Whether its number of qubits was given."""
        return self._n_qubits is not None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the template's weights, (n_layers, n_qubits, 3)."""
        return RotationEntanglerLayers.shape(self.n_layers, self.n_qubits)

    def blocks(self, wires: Wires) -> Sequence[Block]:
        """The template with all weights."""
        if self._n_qubits not in (None, len(wires)):
            raise ValueError(
                f"Argument `n_qubits` of a QuantumLayer must be {len(wires)}, the "
                f"wires it is given, but is {self._n_qubits}. Leave it out."
            )
        shape = RotationEntanglerLayers.shape(self.n_layers, len(wires))
        return [Block(self.operation, wires, [Weights(0, shape)])]

    def built(self, wires: Wires, input_dim: int, rng: np.random.Generator) -> Layer:
        """A copy that knows its wires and has weights; its own seed comes first."""
        if self._seed is not None:
            rng = np.random.default_rng(self._seed)
        return super().built(wires, input_dim, rng)

    @property
    def parameters(self) -> NDArray[np.float64]:
        """The weights in C order of (layer, qubit, gate), a live view; radians."""
        if self._parameters is None:
            rng = np.random.default_rng(self._seed)
            n_weights = int(np.prod(self.shape))
            self._parameters = self.initial(n_weights, rng)
            self._trainable = np.ones(n_weights, dtype=bool)
        return self._parameters

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
        circuit.trainable = self.trainable
        return circuit

    def _circuit(self, parameters: Any, *, wires: Sequence[Any]) -> list[Any]:
        self.operation(qml.math.reshape(parameters, self.shape), wires=wires)
        return [qml.expval(qml.Z(wire)) for wire in wires]

    def options(self) -> dict[str, Any]:
        """Repetitions and entanglement."""
        return {"n_layers": self.n_layers, "entanglement": self.entanglement}

    def __repr__(self) -> str:
        known = self._n_qubits if self._wires is None else len(self._wires)
        n_qubits = "" if known is None else f"n_qubits={known}, "
        return (
            f"QuantumLayer({n_qubits}n_layers={self.n_layers}, "
            f"entanglement={self.entanglement!r})"
        )
