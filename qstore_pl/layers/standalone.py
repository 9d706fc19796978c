"""Layers that are circuits of their own too, without a model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray

from qstore_pl._checks import integer
from qstore_pl.backends.manager import as_backend, wire_labels
from qstore_pl.circuit import Weights, extent
from qstore_pl.layers.layer import Layer, Wires


class LayerCircuit(qml.QNode):
    """The QNode of a layer, which knows which of its weights are frozen.

    Attributes:
        trainable: Which weights are trained, shape ``(n_weights,)``; a view of the
            layer's own mask.
    """

    trainable: NDArray[np.bool_]


class Standalone(Layer):
    """A trained layer whose number of qubits may be given, so that it runs by itself.

    Args:
        n_qubits: Number of qubits, >= 1; None takes the wires that a model gives it.
        backend: Where :attr:`circuit` runs: a name, a Backend or a PennyLane device.
        seed: Seed of the first weights; None leaves them to the model's seed.
    """

    def __init__(self, n_qubits: int | None, backend: Any, seed: Any) -> None:
        self._n_qubits = (
            None if n_qubits is None else integer("n_qubits", n_qubits, minimum=1)
        )
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
            name = type(self).__name__
            raise ValueError(
                f"Argument `n_qubits` must be given for a {name} on its own, but "
                "is None. The layer of a model is in model.layers."
            )
        return self._n_qubits

    @property
    def is_sized(self) -> bool:
        """Whether its number of qubits was given."""
        return self._n_qubits is not None

    def built(self, wires: Wires, input_dim: int, rng: np.random.Generator) -> Layer:
        """A copy that knows its wires and has weights; its own seed comes first."""
        if self._n_qubits not in (None, len(wires)):
            raise ValueError(
                f"Argument `n_qubits` of a {type(self).__name__} must be {len(wires)}, "
                f"the wires it is given, but is {self._n_qubits}. Leave it out."
            )
        if self._seed is not None:
            rng = np.random.default_rng(self._seed)
        return super().built(wires, input_dim, rng)

    @property
    def parameters(self) -> NDArray[np.float64]:
        """The weights in C order, shape ``(n_weights,)``, a live view; radians."""
        if self._parameters is None:
            rng = np.random.default_rng(self._seed)
            n_weights = extent(self.blocks(tuple(range(self.n_qubits))), Weights)
            self._parameters = self.initial(n_weights, rng)
            self._trainable = np.ones(n_weights, dtype=bool)
        return self._parameters

    @property
    def circuit(self) -> LayerCircuit:
        """The layer alone as a QNode, on ``|0...0>``.

        It takes flat weights, and returns <Z_i> of every wire that the layer keeps.
        """
        device = self.backend.device(self.n_qubits)
        wires = wire_labels(device, self.n_qubits)
        circuit = LayerCircuit(functools.partial(self._circuit, wires=wires), device)
        circuit.trainable = self.trainable
        return circuit

    def _circuit(self, parameters: Any, *, wires: Sequence[Any]) -> list[Any]:
        own = tuple(range(self.n_qubits))
        for block in self.blocks(own):
            block.apply(None, parameters, wires)
        return [qml.expval(qml.Z(wires[i])) for i in self.keeps(own)]

    def __repr__(self) -> str:
        known = self._n_qubits if self._wires is None else len(self._wires)
        options = {} if known is None else {"n_qubits": known}
        shown = {**options, **self.options()}
        listed = ", ".join(f"{key}={value!r}" for key, value in shown.items())
        return f"{type(self).__name__}({listed})"
