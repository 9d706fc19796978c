"""The ZZ feature map of Havlicek et al. The template knows no device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.operation import Operation, Operator
from pennylane.typing import TensorLike
from pennylane.wires import WiresLike

from qstore_pl import _checks
from qstore_pl.templates import _tensors
from qstore_pl.templates.rotation import entangler_pairs

_ENTANGLEMENTS = ("full", "linear")


class ZZFeatureMap(Operation):
    r"""The ZZ feature map: Hadamards and a Pauli-Z evolution of second order, repeated.

    .. math:: |\phi(x)\rangle = \big( D(x)\, H^{\otimes n} \big)^{r} |0\rangle, \quad
        D(x) = \sum_b \exp\Big( i \sum_i 2 x_i b_i
        + i \sum_{(i, j)} 2 (\pi - x_i)(\pi - x_j)\, (b_i \oplus b_j) \Big)
        |b\rangle\langle b|

    This is the state of Qiskit's ``ZZFeatureMap`` and, up to a global phase, the
    complex conjugate of the paper's, so that overlaps of states are the same. Angles
    are not reduced modulo :math:`2 \pi`: adding :math:`2 \pi` to a feature gives
    another state.

    Args:
        features: Features :math:`x_i` in radians, shape ``(n_wires,)``, or
            ``(batch, n_wires)`` for one state per row.
        wires: Wires of the map, at least one.
        reps: Number of repetitions :math:`r`, at least 1.
        entanglement: The pairs :math:`(i, j)`: all pairs of wires (``"full"``), or
            neighbours (``"linear"``).

    Raises:
        ValueError: If ``features`` has another shape, there are no wires, ``reps`` is
            less than 1, or the entanglement is unknown.
        TypeError: If ``reps`` is not an integer.

    **Example**

    >>> op = ZZFeatureMap(np.array([0.1, 0.2]), wires=[0, 1], reps=1)
    >>> [gate.name for gate in op.decomposition()][-3:]
    ['CNOT', 'PhaseShift', 'CNOT']

    References:
        Havlicek et al., Nature 567, 209 (2019), arXiv:1804.11326.
    """

    grad_method = None
    ndim_params = (1,)
    resource_keys = {"n_wires", "reps", "entanglement"}  # noqa: RUF012

    def __init__(
        self,
        features: TensorLike,
        wires: WiresLike,
        reps: int = 2,
        entanglement: str = "full",
    ) -> None:
        wires = _tensors.named_wires(wires)
        features = _tensors.tensor("features", features, (len(wires),))
        self._hyperparameters = {
            "reps": _checks.integer("reps", reps, minimum=1),
            "entanglement": _checks.choice(
                "entanglement", entanglement, _ENTANGLEMENTS
            ),
        }
        super().__init__(features, wires=wires)

    @property
    def resource_params(self) -> dict[str, Any]:
        """What determines the number of gates, for PennyLane's resource estimates."""
        return {"n_wires": len(self.wires), **self.hyperparameters}

    @staticmethod
    def compute_decomposition(
        features: Any, wires: Sequence[Any], reps: int, entanglement: str
    ) -> list[Operator]:
        """The gates in the order in which they act."""
        gates: list[Operator] = []
        for _ in range(reps):
            gates += [qml.Hadamard(wires=[wire]) for wire in wires]
            gates += [
                qml.PhaseShift(2 * features[..., i], wires=[wire])
                for i, wire in enumerate(wires)
            ]
            for i, j in entangler_pairs(len(wires), entanglement):
                angle = 2 * (np.pi - features[..., i]) * (np.pi - features[..., j])
                gates.append(qml.CNOT(wires=[wires[i], wires[j]]))
                gates.append(qml.PhaseShift(angle, wires=[wires[j]]))
                gates.append(qml.CNOT(wires=[wires[i], wires[j]]))
        return gates


def _resources(n_wires: int, reps: int, entanglement: str) -> dict[Any, int]:
    n_pairs = len(entangler_pairs(n_wires, entanglement))
    return {
        qml.Hadamard: reps * n_wires,
        qml.PhaseShift: reps * (n_wires + n_pairs),
        qml.CNOT: reps * 2 * n_pairs,
    }


@qml.register_resources(_resources)
def _decomposition(
    features: Any, wires: Sequence[Any], reps: int, entanglement: str
) -> None:
    ZZFeatureMap.compute_decomposition(features, wires, reps, entanglement)


qml.add_decomps(ZZFeatureMap, _decomposition)
