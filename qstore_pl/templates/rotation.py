"""Layers of rotations and CNOTs. The template knows no device and no first weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pennylane as qml
from pennylane.operation import Operation, Operator
from pennylane.typing import TensorLike
from pennylane.wires import WiresLike

from qstore_pl import _checks
from qstore_pl.templates import _tensors

ENTANGLEMENTS = ("linear", "circular", "full", "none")


def entangler_pairs(n_wires: int, entanglement: str) -> list[tuple[int, int]]:
    """Positions (control, target) of the CNOTs of one layer, in order.

    Args:
        n_wires: Number of wires, at least 1.
        entanglement: ``"linear"`` joins neighbouring wires; ``"circular"`` does too,
            and joins the last wire with the first if there are more than two;
            ``"full"`` joins every pair; ``"none"`` joins no wires.

    Raises:
        ValueError: If ``entanglement`` is not one of these words.

    >>> entangler_pairs(3, "circular")
    [(0, 1), (1, 2), (2, 0)]
    """
    _checks.choice("entanglement", entanglement, ENTANGLEMENTS)
    if entanglement == "none":
        return []
    if entanglement == "full":
        return [(i, j) for i in range(n_wires) for j in range(i + 1, n_wires)]
    pairs = [(i, i + 1) for i in range(n_wires - 1)]
    if entanglement == "circular" and n_wires > 2:
        pairs.append((n_wires - 1, 0))
    return pairs


class RotationEntanglerLayers(Operation):
    r"""Layers of RX, RY, RZ on every wire, each followed by CNOTs.

    .. math:: U = \prod_{l=L}^{1} \Big[ \prod_{(i, j)} \mathrm{CNOT}_{ij}
        \prod_i R_Z^i(w_{li2})\, R_Y^i(w_{li1})\, R_X^i(w_{li0}) \Big]

    Args:
        weights: Angles in radians, shape ``(n_layers, n_wires, 3)``, or
            ``(batch, n_layers, n_wires, 3)`` for a batch of circuits.
        wires: Wires the layers act on, at least one.
        entanglement: ``"linear"``, ``"circular"``, ``"full"`` or ``"none"``; see
            :func:`entangler_pairs`.

    Raises:
        ValueError: If ``weights`` has another shape, there are no wires, or the
            entanglement is unknown.

    **Example**

    >>> import numpy as np
    >>> weights = np.zeros(RotationEntanglerLayers.shape(n_layers=2, n_wires=3))
    >>> op = RotationEntanglerLayers(weights, wires=range(3))
    >>> [gate.name for gate in op.decomposition()].count("CNOT")
    6
    """

    grad_method = None
    ndim_params = (3,)
    resource_keys = {"n_layers", "n_wires", "entanglement"}  # noqa: RUF012

    def __init__(
        self, weights: TensorLike, wires: WiresLike, entanglement: str = "circular"
    ) -> None:
        wires = _tensors.named_wires(wires)
        weights = _tensors.tensor("weights", weights, ("n_layers", len(wires), 3))
        _checks.choice("entanglement", entanglement, ENTANGLEMENTS)
        self._hyperparameters = {"entanglement": entanglement}
        super().__init__(weights, wires=wires)

    @property
    def resource_params(self) -> dict[str, Any]:
        """What determines the number of gates, for PennyLane's resource estimates."""
        weights: Any = self.data[0]
        return {
            "n_layers": weights.shape[-3],
            "n_wires": len(self.wires),
            "entanglement": self.hyperparameters["entanglement"],
        }

    @staticmethod
    def shape(n_layers: int, n_wires: int) -> tuple[int, int, int]:
        """Shape of the weights.

        Args:
            n_layers: Number of layers, >= 1.
            n_wires: Number of wires, >= 1.

        Raises:
            TypeError: If a number is not an integer.
            ValueError: If a number is less than 1.
        """
        n_layers = _checks.integer("n_layers", n_layers, minimum=1)
        return n_layers, _checks.integer("n_wires", n_wires, minimum=1), 3

    @staticmethod
    def compute_decomposition(
        weights: Any, wires: Sequence[Any], entanglement: str
    ) -> list[Operator]:
        """The gates in the order in which they act."""
        n_wires = len(wires)
        gates: list[Operator] = []
        for layer in range(weights.shape[-3]):
            for i in range(n_wires):
                gates.append(qml.RX(weights[..., layer, i, 0], wires=[wires[i]]))
                gates.append(qml.RY(weights[..., layer, i, 1], wires=[wires[i]]))
                gates.append(qml.RZ(weights[..., layer, i, 2], wires=[wires[i]]))
            for i, j in entangler_pairs(n_wires, entanglement):
                gates.append(qml.CNOT(wires=[wires[i], wires[j]]))
        return gates


def _resources(n_layers: int, n_wires: int, entanglement: str) -> dict[Any, int]:
    return {
        qml.RX: n_layers * n_wires,
        qml.RY: n_layers * n_wires,
        qml.RZ: n_layers * n_wires,
        qml.CNOT: n_layers * len(entangler_pairs(n_wires, entanglement)),
    }


@qml.register_resources(_resources)
def _decomposition(weights: Any, wires: Sequence[Any], entanglement: str) -> None:
    RotationEntanglerLayers.compute_decomposition(weights, wires, entanglement)


qml.add_decomps(RotationEntanglerLayers, _decomposition)
