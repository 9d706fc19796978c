"""The pooling layer: qubits are measured, and act on a neighbour by the outcome."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, final

from qstore_pl._checks import integer
from qstore_pl.circuit import Block, Weights
from qstore_pl.layers.layer import Wires
from qstore_pl.layers.standalone import Standalone
from qstore_pl.templates import pool
from qstore_pl.templates.pooling import pooling_shape


@final
class QuantumPoolingLayer(Standalone):
    r"""All qubits but one of every group are measured, and dropped.

    Neighbouring qubits form groups of ``pool_size``. The first qubit of a group is kept
    for the next layer. Each of the others is measured, and where the outcome is 1 a
    gate acts on the qubit that is kept. All groups share the weights of these gates.
    The template is :func:`qstore_pl.templates.pool`, which says what happens where a
    device has no measurements inside a circuit, and with readout error.

    Args:
        pool_size: Qubits of a group, >= 2; the last group is smaller if qubits do not
            suffice.
        n_qubits: Number of qubits, >= 2; None takes the wires that a model gives it.
        backend: Where :attr:`circuit` runs: a name, a Backend or a PennyLane device.
        gate: The gate, called as ``gate(weights, wires=[wire])``; None is ``qml.Rot``,
            any turn of the qubit.
        gate_shape: Shape of the weights of one gate.
        seed: Seed of the first weights, which are normally distributed with mean 0 and
            standard deviation 0.1 radians; None leaves them to the model's seed.

    Raises:
        TypeError: If a number is not an integer, or the gate is not callable.
        ValueError: If a number is too small.

    Example:
        >>> from qstore_pl import AngleEncoding, QuantumConvolutionalLayer, QuantumModel
        >>> layers = [AngleEncoding()]
        >>> for _ in range(3):
        ...     layers += [QuantumConvolutionalLayer(), QuantumPoolingLayer()]
        >>> model = QuantumModel(8, 1, layers=layers, seed=0)
        >>> model.stack.kept, model.count_parameters()
        ((0,), 27)

    References:
        Cong, Choi and Lukin, Quantum convolutional neural networks, Nature Physics 15,
        1273 (2019), arXiv:1810.03787.
    """

    def __init__(
        self,
        pool_size: int = 2,
        *,
        n_qubits: int | None = None,
        backend: Any = None,
        gate: Callable[..., Any] | None = None,
        gate_shape: Sequence[int] = (3,),
        seed: Any = None,
    ) -> None:
        super().__init__(n_qubits, backend, seed)
        self.pool_size = integer("pool_size", pool_size, minimum=2)
        if not (gate is None or callable(gate)):
            raise TypeError(
                "Argument `gate` must be a quantum function or an operation's class, "
                f"but is {gate!r}."
            )
        self.gate = gate
        self.shape = pooling_shape(pool_size, gate_shape)
        if n_qubits == 1:
            raise ValueError("Argument `n_qubits` must be >= 2, but is 1.")

    def blocks(self, wires: Wires) -> Sequence[Block]:
        """The template with all weights, which all groups share."""
        if len(wires) < 2:
            raise ValueError(
                f"{self!r} must have at least 2 qubits, one to keep and one to "
                f"measure, but is given {len(wires)}. Pool less before."
            )
        return [Block(self.operation, wires, [Weights(0, self.shape)])]

    @property
    def operation(self) -> Callable[..., Any]:
        """The template, called with weights of shape ``shape`` and ``wires``."""
        return functools.partial(
            pool, pool_size=self.pool_size, gate=self.gate, gate_shape=self.shape[1:]
        )

    def keeps(self, wires: Wires) -> Wires:
        """The first wire of each group."""
        return wires[:: self.pool_size]

    def options(self) -> dict[str, Any]:
        """What the constructor took; of a gate of the user's its name and shape."""
        found: dict[str, Any] = {"pool_size": self.pool_size}
        if self.gate is None:
            return found
        name = getattr(self.gate, "__name__", type(self.gate).__name__)
        return found | {"gate": name, "gate_shape": [*self.shape[1:]]}
