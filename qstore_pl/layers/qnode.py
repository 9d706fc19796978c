"""The circuit of a QNode as a layer: its gates, its inputs and its weights."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import pennylane as qml
from pennylane.measurements import ExpectationMP, ProbabilityMP
from pennylane.operation import Operator

from qstore_pl import devices
from qstore_pl._checks import integer
from qstore_pl._lazy import cached_property
from qstore_pl.circuit import Block, Features, Weights
from qstore_pl.compiled import plain_qnode
from qstore_pl.layers.layer import Encoding, Float2D, Wires
from qstore_pl.readout import ExpectationValues, Probabilities, Readout

INPUTS = "inputs"  # the name of the argument for the data, as in qml.qnn.TorchLayer


@final
class QNodeLayer(Encoding):
    """The gates of a QNode, which :meth:`QuantumModel.from_qnode` trains.

    Args:
        qnode: The QNode. Its argument ``inputs`` takes the samples, of shape
            ``(n_samples, input_dim)``; a circuit without data has no such argument.
        weight_shapes: The shapes of the arguments of the QNode, ``inputs`` excepted, by
            their names, as in ``qml.qnn.TorchLayer``; ``()`` or 1 is a single number.

    Raises:
        TypeError: If it is no QNode, or a size is no integer.
        ValueError: If the names are not those of the QNode's arguments, or it has shots
            or transforms.
    """

    def __init__(
        self, qnode: qml.QNode, weight_shapes: Mapping[str, int | Sequence[int]]
    ) -> None:
        self.qnode = _checked(qnode)
        self.weight_shapes = shapes_of(qnode, weight_shapes)
        self._takes_inputs = INPUTS in inspect.signature(qnode.func).parameters

    def blocks(self, wires: Wires) -> Sequence[Block]:
        """All gates as one block."""
        places: list[Any] = []
        if self._takes_inputs:
            places.append(Features(0, (self.input_dim,)))
        first = 0
        for shape in self.weight_shapes.values():
            place = Weights(first, shape)
            places.append(place)
            first = place.end
        return [Block(self.gates, wires, places)]

    def gates(self, *values: Any, wires: Sequence[Any]) -> None:
        """Apply the gates of the QNode, as a quantum function.

        Args:
            values: The inputs, of shape ``(input_dim,)`` or ``(batch, input_dim)``, if
                the QNode takes some, and each of the weights.
            wires: What its wires are called.
        """
        with devices.aside():
            tape = qml.tape.QuantumScript(self._operations(values))
            names = dict(zip(self.labels, wires, strict=False))
            (tape,), _ = qml.map_wires(tape, names)
        for op in tape.operations:
            qml.apply(op)

    def _operations(self, values: Sequence[Any]) -> Sequence[Operator]:
        """The gates for some inputs and weights."""
        if not (self._takes_inputs and self._needs_batch and values[0].ndim == 1):
            return self._recorded(*values).operations
        one = qml.math.reshape(values[0], (1, -1))
        found = self._recorded(one, *values[1:]).operations
        return [devices.of_first_sample(op) for op in found]

    def n_wires(self, input_dim: int) -> int:
        """As many wires as the QNode has."""
        self.input_dim = input_dim
        self._check_broadcasts()
        return len(self.labels)

    def encode(self, inputs: Float2D) -> Float2D:
        """The samples themselves, if the QNode takes them."""
        return inputs if self._takes_inputs else inputs[:, :0]

    def pull_back(self, gradient: Float2D, inputs: Float2D) -> Float2D:
        """The derivatives as they are, or zeros if the QNode takes no samples."""
        return gradient if self._takes_inputs else np.zeros(inputs.shape)

    @property
    def name(self) -> str:
        """The name of the QNode; empty if it has none, as a partial function."""
        return getattr(self.qnode.func, "__name__", "")

    def options(self) -> dict[str, Any]:
        """The name of the QNode, its weights, and a digest of its gates."""
        shapes = {name: list(shape) for name, shape in self.weight_shapes.items()}
        return {"qnode": self.name, "weight_shapes": shapes, "gates": self._digest}

    def readout(self) -> Readout:
        """What the QNode measures, on positions of wires.

        Raises:
            ValueError: If it measures anything else than expectation values, or the
                probabilities of some wires.
        """
        position = {label: i for i, label in enumerate(self.labels)}
        measured = [mp.map_wires(position) for mp in self._example.measurements]
        if all(isinstance(mp, ExpectationMP) and mp.obs is not None for mp in measured):
            return ExpectationValues([mp.obs for mp in measured])
        (first, *rest) = measured
        if isinstance(first, ProbabilityMP) and first.obs is None and not rest:
            return Probabilities(list(first.wires) or range(len(self.labels)))
        raise ValueError(
            "Argument `qnode` must measure expectation values, or the probabilities of "
            f"some wires, to be trained, but measures {self._example.measurements}."
        )

    # --- the quantum function -----------------------------------------------------

    @cached_property
    def labels(self) -> tuple[Any, ...]:
        """What the wires of the QNode are called, in the order of positions."""
        wires = self.qnode.device.wires
        return tuple(self._example.wires if wires is None else wires)

    @cached_property
    def _example(self) -> qml.tape.QuantumScript:
        """The circuit for some sample and some weights, the same at every call."""
        shape = (1, self.input_dim) if self._needs_batch else (self.input_dim,)
        function = self.qnode.func
        one, other = devices.twice(function, lambda: self._example_of(shape))
        same = devices.alike(one.circuit, other.circuit)
        devices.check_alike(self.name, same)
        return one

    @cached_property
    def _needs_batch(self) -> bool:
        """Whether the QNode takes a batch only, as one with ``inputs[:, i]`` does."""
        try:
            self._example_of((self.input_dim,))
        except IndexError:
            return True
        return False

    def _example_of(self, shape: tuple[int, ...]) -> qml.tape.QuantumScript:
        """The circuit for inputs of a shape."""
        rng = np.random.default_rng(0)
        weights = [rng.normal(size=size) for size in self.weight_shapes.values()]
        inputs = np.zeros(shape)
        inputs[..., 0] = 1.0  # bits, and amplitudes of norm 1
        return self._recorded(*([inputs] if self._takes_inputs else []), *weights)

    def _check_broadcasts(self) -> None:
        """Refuse a QNode that takes one sample only."""
        n_samples = self.input_dim + 1
        batch = self._example_of((n_samples, self.input_dim)).batch_size
        if self._takes_inputs and batch not in (None, n_samples):
            raise ValueError(
                f"The circuit was given {n_samples} samples as one batch, but has "
                f"batch size {batch}. Write it for inputs of shape (n_samples, "
                "n_features): inputs[..., i]."
            )

    @cached_property
    def _digest(self) -> str:
        """A short text that is another for another circuit."""
        gates = [
            (op.name, op.wires.tolist(), [np.round(v, 9).tolist() for v in op.data])
            for op in self._example.operations
        ]
        return hashlib.sha256(repr(gates).encode()).hexdigest()[:12]

    def _recorded(self, *values: Any) -> qml.tape.QuantumScript:
        """The circuit for these inputs and weights."""
        names: Iterable[str] = self.weight_shapes
        if self._takes_inputs:
            names = (INPUTS, *names)
        given = dict(zip(names, values, strict=True))
        try:
            return devices.recorded(self.qnode.func, (), given).tape
        except devices.SymbolError as error:
            raise devices.needs_value(self.name, error) from error


def _checked(qnode: Any) -> qml.QNode:
    qnode = plain_qnode(qnode)
    if qnode.shots:
        raise ValueError(
            "Argument `qnode` must have no shots, but has "
            f"{qnode.shots.total_shots}. Give them to TrainingConfig(shots=...)."
        )
    return qnode


def shapes_of(
    qnode: qml.QNode, weight_shapes: Mapping[str, int | Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights of a QNode, checked.

    Args:
        qnode: The QNode.
        weight_shapes: The shape of each argument but ``inputs`` by its name; ``()`` or
            1 is a single number.

    Raises:
        TypeError: If a size is no integer.
        ValueError: If the names are not those of the QNode's arguments.
    """
    shapes = {name: _shape(name, shape) for name, shape in weight_shapes.items()}
    needed = {
        name
        for name, parameter in inspect.signature(qnode.func).parameters.items()
        if parameter.default is parameter.empty or name in shapes
    } - {INPUTS}
    if needed != set(shapes):
        raise ValueError(
            "Argument `weight_shapes` must have the shape of each argument of the "
            f"QNode but `{INPUTS}`, {sorted(needed)}, but has {sorted(shapes)}."
        )
    return shapes


def _shape(name: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """A shape as a tuple; 1 is a single number, as in TorchLayer."""
    sizes = [shape] if isinstance(shape, int | np.integer) else list(shape)
    checked = tuple(
        integer(f"weight_shapes[{name!r}]", size, minimum=1) for size in sizes
    )
    return () if isinstance(shape, int) and checked == (1,) else checked
