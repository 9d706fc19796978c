"""A model without its entangling gates, to see whether entanglement is of any use."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import numpy as np
import pennylane as qml
from pennylane.operation import Operator, StatePrepBase

from qstore_pl import devices
from qstore_pl.circuit import Block
from qstore_pl.errors import UnseenWarning
from qstore_pl.layers import AmplitudeEncoding, Encoding, Layer, QuantumLayer
from qstore_pl.layers.layer import Float1D, Float2D, Wires
from qstore_pl.model import QuantumModel


def without_entanglement(model: QuantumModel) -> QuantumModel:
    """The same model without any gate that acts on two or more qubits.

    A :class:`~qstore_pl.QuantumLayer` becomes one with the entanglement ``"none"``. Of
    every other layer the gates on single qubits stay, once its templates are taken
    apart, and so do measurements inside the circuit and gates on single qubits that
    depend on their outcomes. Readout, backend, parameters and what is frozen are those
    of the model; a weight of a gate that is left out stays a parameter, which changes
    nothing.

    The qubits stay apart, so that an output depends on no feature but those on the
    qubits that it measures.

    Args:
        model: The model.

    Raises:
        ValueError: If a layer prepares its state as a whole, as amplitude encoding
            does.

    Example:
        >>> twin = without_entanglement(QuantumModel(4, 2, n_layers=2, seed=0))
        >>> twin.summary().total.n_gates, twin.count_parameters()
        ((28, 0), 24)
    """
    twins: dict[int, Layer] = {}
    for layer in model.layers:
        twins.setdefault(id(layer), _twin_of(layer))
    with warnings.catch_warnings():
        # Outputs that see less are what this model is for.
        warnings.simplefilter("ignore", UnseenWarning)
        twin = QuantumModel(
            model.input_dim,
            model.output_dim,
            layers=[twins[id(layer)] for layer in model.layers],
            readout=model.readout,
            n_qubits=model.n_qubits,
            backend=model.backend if model.has_own_backend else None,
        )
    twin.parameters[:], twin.trainable[:] = model.parameters, model.trainable
    return twin


def _twin_of(layer: Layer) -> Layer:
    if isinstance(layer, QuantumLayer):
        return QuantumLayer(n_layers=layer.n_layers, entanglement="none")
    if isinstance(layer, AmplitudeEncoding):
        raise _prepares(layer)
    if isinstance(layer, Encoding):
        return _EncodingApart(layer)
    return _LayerApart(layer)


class _LayerApart(Layer):
    """The gates on single qubits of a layer that a model has been built of."""

    def __init__(self, of: Layer) -> None:
        self.of = of

    def blocks(self, wires: Wires) -> Sequence[Block]:
        """Its blocks, without gates on several qubits."""
        return _apart(self.of, wires)

    def keeps(self, wires: Wires) -> Wires:
        """The wires that it keeps."""
        return self.of.keeps(wires)

    def initial(self, n_weights: int, rng: np.random.Generator) -> Float1D:
        """Its first weights."""
        return self.of.initial(n_weights, rng)

    def options(self) -> dict[str, Any]:
        """The layer."""
        return {"of": repr(self.of)}

    def __repr__(self) -> str:
        return f"unentangled({self.of!r})"


@final
class _EncodingApart(_LayerApart, Encoding):
    """The gates on single qubits of an encoding that a model has been built of."""

    of: Encoding

    def n_wires(self, input_dim: int) -> int:
        """The fewest wires that hold a sample."""
        return self.of.n_wires(input_dim)

    def encode(self, inputs: Float2D) -> Float2D:
        """What it makes of samples."""
        return self.of.encode(inputs)

    def pull_back(self, gradient: Float2D, inputs: Float2D) -> Float2D:
        """The chain rule of its encoding."""
        return self.of.pull_back(gradient, inputs)

    def sources(self, n_columns: int) -> list[Sequence[int]]:
        """Which features each of its columns depends on."""
        return self.of.sources(n_columns)


def _apart(layer: Layer, wires: Wires) -> Sequence[Block]:
    return [
        Block(
            functools.partial(_on_single_wires, layer, block.operation),
            block.wires,
            block.inputs,
        )
        for block in layer.blocks(wires)
    ]


def _on_single_wires(
    layer: Layer, operation: Callable[..., Any], *values: Any, wires: Sequence[Any]
) -> None:
    """Apply the gates on single wires of an operation, as a quantum function."""
    applied = qml.tape.make_qscript(operation)(*values, wires=wires).operations
    for op in applied:
        for gate in _single(layer, op):
            qml.apply(gate)


def _single(layer: Layer, op: Operator) -> Iterable[Operator]:
    if len(op.wires) < 2 or isinstance(op, qml.BasisState):
        yield op
        return
    if isinstance(op, StatePrepBase):
        raise _prepares(layer)
    for gate in devices.parts_of(op):
        if isinstance(gate, StatePrepBase) and not isinstance(gate, qml.BasisState):
            raise _prepares(layer)
        if len(gate.wires) < 2 or isinstance(gate, qml.BasisState):
            yield gate


def _prepares(layer: Layer) -> ValueError:
    return ValueError(
        f"A model without entanglement cannot be made with {layer!r}, which prepares "
        "its state as a whole. Encode features by angles, or leave this baseline out: "
        'baselines=["linear", "mlp", "svm"].'
    )
