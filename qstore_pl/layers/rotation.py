"""The layer of rotations and CNOTs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, final

from pennylane.operation import Operator

from qstore_pl._checks import choice, integer
from qstore_pl.circuit import Block, Weights
from qstore_pl.layers.layer import Wires
from qstore_pl.layers.standalone import Standalone
from qstore_pl.templates import ENTANGLEMENTS, RotationEntanglerLayers


@final
class QuantumLayer(Standalone):
    r"""Rotations RX, RY, RZ on every qubit, then CNOTs, repeated.

    In the list of layers of a model ``n_qubits`` may be left out. With it the layer
    also has a circuit of its own, :attr:`circuit`.

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
        super().__init__(n_qubits, backend, seed)
        self.n_layers = integer("n_layers", n_layers, minimum=1)
        self.entanglement = choice("entanglement", entanglement, ENTANGLEMENTS)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the template's weights, (n_layers, n_qubits, 3)."""
        return RotationEntanglerLayers.shape(self.n_layers, self.n_qubits)

    def blocks(self, wires: Wires) -> Sequence[Block]:
        """The template with all weights, in C order of (layer, qubit, gate)."""
        shape = RotationEntanglerLayers.shape(self.n_layers, len(wires))
        return [Block(self.operation, wires, [Weights(0, shape)])]

    @property
    def operation(self) -> Callable[..., Operator]:
        """The template, from weights of :attr:`shape` and ``wires`` to an operation."""
        return functools.partial(
            RotationEntanglerLayers, entanglement=self.entanglement
        )

    def options(self) -> dict[str, Any]:
        """Repetitions and entanglement."""
        return {"n_layers": self.n_layers, "entanglement": self.entanglement}
