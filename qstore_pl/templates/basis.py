"""Batched basis states. The template knows no device, and its bits may be traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane import math
from pennylane.operation import Operation, Operator
from pennylane.typing import TensorLike
from pennylane.wires import WiresLike

from qstore_pl.templates import _tensors


class BasisEncoding(Operation):
    r"""The basis state :math:`|b\rangle = \prod_i X_i^{b_i} |0\rangle`, one per sample.

    Unlike :class:`pennylane.BasisEmbedding` it takes a batch of bit strings, and the
    bits are parameters of gates, so that one circuit structure serves all of them:
    :math:`X^b = e^{i \pi b / 2} R_X(\pi b)` for :math:`b \in \{0, 1\}`.

    Args:
        bits: Numbers 0 and 1, shape ``(n_wires,)``, or ``(batch, n_wires)`` for one
            state per row; the first bit is the most significant.
        wires: Wires of the state, at least one.

    Raises:
        ValueError: If ``bits`` has another shape, there are no wires, or a bit is
            neither 0 nor 1 (values traced by ``jax.jit`` cannot be checked).

    **Example**

    >>> @qml.qnode(qml.device("default.qubit"))
    ... def circuit(bits):
    ...     BasisEncoding(bits, wires=[0, 1])
    ...     return qml.probs(wires=[0, 1])
    >>> circuit(np.array([[0, 1], [1, 1]])).argmax(axis=1)
    array([1, 3])
    """

    grad_method = None
    ndim_params = (1,)
    resource_keys = {"num_wires"}  # noqa: RUF012

    def __init__(self, bits: TensorLike, wires: WiresLike) -> None:
        wires = _tensors.named_wires(wires)
        bits = _tensors.tensor("bits", bits, (len(wires),))
        if not math.is_abstract(bits):
            _refuse_other_than_bits(math.unwrap(bits))
        # In torch, pi times an integer or a float32 is a float32. In jax without x64
        # there is no float64, and every cast to it gives a warning.
        if math.get_interface(bits) != "jax":
            bits = math.cast(bits, "float64")
        super().__init__(bits, wires=wires)

    @property
    def resource_params(self) -> dict[str, Any]:
        """What determines the number of gates, for PennyLane's resource estimates."""
        return {"num_wires": len(self.wires)}

    @staticmethod
    def compute_decomposition(bits: Any, wires: Sequence[Any]) -> list[Operator]:
        """The gates in the order in which they act."""
        gates: list[Operator] = [
            qml.RX(np.pi * bits[..., i], wires=[wire]) for i, wire in enumerate(wires)
        ]
        phase = -np.pi / 2 * bits.sum(-1)
        return [*gates, qml.GlobalPhase(phase, wires=wires)]


def _refuse_other_than_bits(bits: Any) -> None:
    wrong = np.argwhere((bits != 0) & (bits != 1))
    if len(wrong):
        where = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"Argument `bits` must hold only 0 and 1, but entry {where} is "
            f"{bits[where]}."
        )


def _resources(num_wires: int) -> dict[Any, int]:
    return {qml.RX: num_wires, qml.GlobalPhase: 1}


@qml.register_resources(_resources)
def _decomposition(bits: Any, wires: Sequence[Any], **_: Any) -> None:
    BasisEncoding.compute_decomposition(bits, wires)


qml.add_decomps(BasisEncoding, _decomposition)
