"""A shared circuit that slides over the wires. The template knows no device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.operation import Operation, Operator
from pennylane.typing import TensorLike
from pennylane.wires import WiresLike

from qstore_pl import _checks
from qstore_pl.templates import _tensors
from qstore_pl.templates.rotation import entangler_pairs

Kernel = str | Callable[..., Any]
KERNELS = ("rotation", "su4")


def windows(
    n_wires: int, kernel_size: int, stride: int = 1, *, wrap: bool = False
) -> list[tuple[int, ...]]:
    """Positions of the wires of each window, in the order in which the kernel acts.

    Windows that share no wire come together, so that the circuit is as shallow as it
    can be: for pairs of neighbours first every second pair, then the pairs between.

    Args:
        n_wires: Number of wires, >= 1.
        kernel_size: Wires of a window, from 1 to ``n_wires``.
        stride: Steps from one window to the next, >= 1.
        wrap: Whether windows go on from the last wire to the first, as on a ring. If
            one window holds all wires there is only this one.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is out of its range.

    >>> windows(5, 2)
    [(0, 1), (2, 3), (1, 2), (3, 4)]
    >>> windows(4, 2, wrap=True)
    [(0, 1), (2, 3), (1, 2), (3, 0)]
    """
    kernel_size = _checks.integer("kernel_size", kernel_size, minimum=1)
    stride = _checks.integer("stride", stride, minimum=1)
    if kernel_size > n_wires:
        raise ValueError(
            f"Argument `kernel_size` must be at most {n_wires}, the number of wires, "
            f"but is {kernel_size}."
        )
    last = n_wires if wrap and n_wires > kernel_size else n_wires - kernel_size + 1
    starts = range(0, last, stride)
    apart = -(-kernel_size // stride)  # windows this far from each other are disjoint
    return [
        tuple((start + i) % n_wires for i in range(kernel_size))
        for first in range(apart)
        for start in starts[first::apart]
    ]


class ConvolutionLayers(Operation):
    r"""One circuit with the same weights on every window of neighbouring wires.

    The weights of a layer are those of its kernel, so that their number does not
    depend on the number of wires.

    Args:
        weights: Angles in radians, shape ``(n_layers, *kernel)`` where ``kernel`` is
            the shape of the weights of one window, see :meth:`shape`; or with a batch
            axis in front, for a batch of circuits.
        wires: Wires that the windows are taken from.
        kernel_size: Wires of a window.
        stride: Steps from one window to the next.
        wrap: Whether windows go on from the last wire to the first.
        kernel: What acts on a window. ``"rotation"``: RX, RY and RZ on each wire, then
            a CNOT on each pair of neighbours, weights of shape ``(kernel_size, 3)``.
            ``"su4"``: any unitary of two wires, 15 weights: a Rot on each wire,
            IsingXX, IsingYY and IsingZZ, and a Rot on each wire. Or a quantum function
            or template of your own, called as ``kernel(weights, wires=wires)``.
        kernel_shape: Shape of the weights of a window, for a kernel of your own.

    Raises:
        ValueError: If ``weights`` has another shape, the windows do not fit the wires,
            the kernel is unknown or does not fit the window, or its shape is missing.
        TypeError: If a number is not an integer.

    **Example**

    >>> import numpy as np
    >>> weights = np.zeros(ConvolutionLayers.shape(1, kernel="su4"))
    >>> op = ConvolutionLayers(weights, wires=range(4), kernel="su4")
    >>> len([gate for gate in op.decomposition() if gate.name == "IsingXX"])
    3

    References:
        Cong, Choi and Lukin, Quantum convolutional neural networks, Nature Physics 15,
        1273 (2019), arXiv:1810.03787; Hur, Kim and Park, Quantum convolutional neural
        network for classical data classification (2022), arXiv:2108.00661.
    """

    grad_method = None
    resource_keys = {  # noqa: RUF012
        *("n_layers", "n_wires"),
        *("kernel_size", "stride", "wrap", "kernel", "kernel_shape"),
    }

    def __init__(
        self,
        weights: TensorLike,
        wires: WiresLike,
        kernel_size: int = 2,
        stride: int = 1,
        *,
        wrap: bool = False,
        kernel: Kernel = "rotation",
        kernel_shape: Sequence[int] | None = None,
    ) -> None:
        wires = _tensors.named_wires(wires)
        shape = window_shape(kernel, kernel_size, kernel_shape)
        weights = _tensors.tensor("weights", weights, ("n_layers", *shape))
        windows(len(wires), kernel_size, stride, wrap=wrap)
        self._hyperparameters = {
            "kernel_size": kernel_size,
            "stride": stride,
            "wrap": wrap,
            "kernel": kernel,
            "kernel_shape": shape,
        }
        super().__init__(weights, wires=wires)

    @property
    def ndim_params(self) -> tuple[int, ...]:
        """One axis for the layers, and those of the kernel's weights."""
        return (1 + len(self.hyperparameters["kernel_shape"]),)

    @property
    def resource_params(self) -> dict[str, Any]:
        """What determines the number of gates, for PennyLane's resource estimates."""
        weights: Any = self.data[0]
        n_layers = weights.shape[-self.ndim_params[0]]
        return {
            "n_layers": n_layers,
            "n_wires": len(self.wires),
            **self.hyperparameters,
        }

    @staticmethod
    def shape(
        n_layers: int,
        kernel_size: int = 2,
        *,
        kernel: Kernel = "rotation",
        kernel_shape: Sequence[int] | None = None,
    ) -> tuple[int, ...]:
        """Shape of the weights.

        Args:
            n_layers: Number of layers, >= 1.
            kernel_size: Wires of a window, >= 1.
            kernel: What acts on a window.
            kernel_shape: Shape of the weights of a window, for a kernel of your own.

        Raises:
            TypeError: If a number is not an integer.
            ValueError: If a number is less than 1, or the kernel is unknown or does not
                fit the window.
        """
        n_layers = _checks.integer("n_layers", n_layers, minimum=1)
        return (n_layers, *window_shape(kernel, kernel_size, kernel_shape))

    @staticmethod
    def compute_decomposition(
        weights: Any,
        wires: Sequence[Any],
        kernel_size: int,
        stride: int,
        wrap: bool,  # noqa: FBT001 (PennyLane passes hyperparameters by name)
        kernel: Kernel,
        kernel_shape: tuple[int, ...],
    ) -> list[Operator]:
        """The gates in the order in which they act."""
        act = _KERNELS[kernel] if isinstance(kernel, str) else kernel
        inner = (slice(None),) * len(kernel_shape)
        gates: list[Operator] = []
        for layer in range(weights.shape[-1 - len(kernel_shape)]):
            own = weights[(..., layer, *inner)]
            for window in windows(len(wires), kernel_size, stride, wrap=wrap):
                script = qml.tape.make_qscript(act)(
                    own, wires=[wires[i] for i in window]
                )
                gates += script.operations
        if qml.QueuingManager.recording():
            for gate in gates:
                qml.apply(gate)
        return gates


def _resources(
    n_layers: int, n_wires: int, kernel_shape: tuple[int, ...], **options: Any
) -> dict[Any, int]:
    weights = np.zeros((n_layers, *kernel_shape))
    gates = qml.tape.make_qscript(ConvolutionLayers.compute_decomposition)(
        weights, range(n_wires), kernel_shape=kernel_shape, **options
    )
    kinds = (qml.resource_rep(type(g), **g.resource_params) for g in gates.operations)
    return dict(Counter(kinds))


@qml.register_resources(_resources)
def _decomposition(weights: Any, wires: Sequence[Any], **options: Any) -> None:
    ConvolutionLayers.compute_decomposition(weights, wires, **options)


qml.add_decomps(ConvolutionLayers, _decomposition)


def window_shape(
    kernel: Kernel, kernel_size: int, kernel_shape: Sequence[int] | None
) -> tuple[int, ...]:
    """Shape of the weights of one window.

    Args:
        kernel: What acts on a window.
        kernel_size: Wires of a window.
        kernel_shape: The shape, for a kernel of your own; else None, or the shape that
            the kernel has.

    Raises:
        TypeError: If the kernel is neither a word nor callable, or a number is not an
            integer.
        ValueError: If the kernel is unknown, does not fit the window, or the shape is
            missing or another one.
    """
    kernel_size = _checks.integer("kernel_size", kernel_size, minimum=1)
    given = None
    if kernel_shape is not None:
        given = tuple(
            _checks.integer("kernel_shape", n, minimum=1) for n in kernel_shape
        )
    if callable(kernel):
        if given is None:
            raise ValueError(
                "Argument `kernel_shape` must be the shape of the weights that a "
                "kernel of your own takes, as (15,), but is None."
            )
        return given
    if not isinstance(kernel, str):
        raise TypeError(
            "Argument `kernel` must be a word, a quantum function or an operation's "
            f"class, but is of type {type(kernel).__name__}."
        )
    _checks.choice("kernel", kernel, KERNELS)
    if kernel == "su4" and kernel_size != 2:
        raise ValueError(
            'Argument `kernel_size` must be 2 for the kernel "su4", a unitary of two '
            f"wires, but is {kernel_size}."
        )
    shape = (15,) if kernel == "su4" else (kernel_size, 3)
    if given not in (None, shape):
        raise ValueError(
            f"Argument `kernel_shape` must be left out for the kernel {kernel!r}, "
            f"which takes {shape}, but is {given}."
        )
    return shape


def _rotation(weights: Any, wires: Sequence[Any]) -> None:
    for i, wire in enumerate(wires):
        qml.RX(weights[..., i, 0], wires=wire)
        qml.RY(weights[..., i, 1], wires=wire)
        qml.RZ(weights[..., i, 2], wires=wire)
    for i, j in entangler_pairs(len(wires), "linear"):
        qml.CNOT([wires[i], wires[j]])


def _su4(weights: Any, wires: Sequence[Any]) -> None:
    w = [weights[..., i] for i in range(15)]
    qml.Rot(*w[0:3], wires=wires[0])
    qml.Rot(*w[3:6], wires=wires[1])
    qml.IsingXX(w[6], wires=wires)
    qml.IsingYY(w[7], wires=wires)
    qml.IsingZZ(w[8], wires=wires)
    qml.Rot(*w[9:12], wires=wires[0])
    qml.Rot(*w[12:15], wires=wires[1])


_KERNELS: dict[str, Callable[..., Any]] = {"rotation": _rotation, "su4": _su4}
