"""Wires that are measured, and act on a neighbour by the outcome.

The template knows no device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pennylane as qml
from pennylane.typing import TensorLike
from pennylane.wires import WiresLike

from qstore_pl import _checks
from qstore_pl.templates import _tensors


def pool(
    weights: TensorLike,
    wires: WiresLike,
    pool_size: int = 2,
    *,
    gate: Callable[..., Any] | None = None,
    gate_shape: Sequence[int] = (3,),
) -> list[Any]:
    r"""Measure all wires but one of every group, and act on that one by the outcomes.

    Neighbouring wires form groups of ``pool_size``; the last group is smaller if wires
    do not suffice. The first wire of a group is kept. Each of the others is measured,
    and where the outcome is 1 a gate acts on the kept wire. With one measured wire and
    the gate :math:`V`, the state of the kept wire is

    .. math:: \rho' = \mathrm{Tr}_m\big[ P_0 \rho P_0 + V P_1 \rho P_1 V^\dagger \big]

    with the projectors :math:`P_0, P_1` of the measured wire :math:`m`.

    It is a quantum function, to be called inside a circuit, with ``qml.measure`` and
    ``qml.cond``. So PennyLane decides how it runs: by a measurement where a device has
    measurements inside a circuit, else by the gate controlled by the measured wire,
    which nothing must act on afterwards. On ``qstore.mock_noisy`` an outcome that is
    misread decides wrongly.

    Args:
        weights: Weights of the gates, radians where they are angles, shape
            ``(pool_size - 1, *gate_shape)``: row i belongs to the measured wire i of
            every group. A batch axis may come first.
        wires: Wires to pool.
        pool_size: Wires of a group, >= 2.
        gate: The gate, called as ``gate(weights, wires=[wire])`` with weights of shape
            ``gate_shape``; None is ``qml.Rot``, any turn of the wire.
        gate_shape: Shape of the weights of one gate.

    Returns:
        The wires that are kept, as many as there are groups.

    Raises:
        TypeError: If ``pool_size`` is not an integer.
        ValueError: If it is < 2, or ``weights`` has another shape.

    **Example**

    >>> import numpy as np
    >>> @qml.qnode(qml.device("qstore.mock_ideal", wires=4))
    ... def circuit(weights):
    ...     qml.X(1)
    ...     kept = pool(weights, wires=[0, 1, 2, 3])
    ...     return [qml.expval(qml.Z(wire)) for wire in kept]
    >>> [round(float(value), 6) for value in circuit(np.array([[0.0, np.pi, 0.0]]))]
    [-1.0, 1.0]

    References:
        Cong, Choi and Lukin, Quantum convolutional neural networks, Nature Physics 15,
        1273 (2019), arXiv:1810.03787.
    """
    labels = list(_tensors.named_wires(wires))
    shape = pooling_shape(pool_size, gate_shape)
    weights = _tensors.tensor("weights", weights, shape)
    inner = (slice(None),) * (len(shape) - 1)
    kept = labels[::pool_size]
    for group, wire in enumerate(kept):
        others = labels[group * pool_size + 1 : (group + 1) * pool_size]
        for i, other in enumerate(others):
            act = qml.cond(qml.measure(other), _turn if gate is None else gate)
            act(weights[(..., i, *inner)], wires=[wire])
    return kept


def pooling_shape(pool_size: int, gate_shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of the weights of :func:`pool`.

    Args:
        pool_size: Wires of a group, >= 2.
        gate_shape: Shape of the weights of one gate.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is too small.
    """
    pool_size = _checks.integer("pool_size", pool_size, minimum=2)
    gate_shape = tuple(_checks.integer("gate_shape", n, minimum=1) for n in gate_shape)
    return pool_size - 1, *gate_shape


def _turn(weights: Any, wires: Any) -> None:
    qml.Rot(weights[..., 0], weights[..., 1], weights[..., 2], wires=wires)
