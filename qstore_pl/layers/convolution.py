"""The convolutional layer: one circuit with shared weights on windows of wires."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, final

from pennylane.operation import Operator

from qstore_pl._checks import boolean, integer
from qstore_pl.circuit import Block, Weights
from qstore_pl.layers.layer import Wires
from qstore_pl.layers.standalone import Standalone
from qstore_pl.templates import ConvolutionLayers
from qstore_pl.templates.convolution import Kernel


@final
class QuantumConvolutionalLayer(Standalone):
    r"""A kernel circuit with the same weights on every window of neighbouring qubits.

    How many weights it has depends on the kernel and on ``n_layers`` alone, not on the
    number of qubits. In the list of layers of a model ``n_qubits`` may be left out.
    With it the layer also has a circuit of its own, :attr:`circuit`.

    Args:
        n_qubits: Number of qubits, >= ``kernel_size``; None takes the wires that a
            model gives it.
        n_layers: How many times the kernel slides over all windows, each time with
            weights of its own, >= 1.
        backend: Where :attr:`circuit` runs: a name, a Backend or a PennyLane device.
        kernel_size: Qubits of a window, >= 1.
        stride: Steps from one window to the next, >= 1.
        wrap: Whether windows go on from the last qubit to the first, as on a ring.
        kernel: What acts on a window. ``"rotation"``: RX, RY, RZ on each qubit, then
            CNOTs of neighbours, 3 weights for each qubit of the window. ``"su4"``: any
            unitary of two qubits, 15 weights. Or a quantum function or template of your
            own, called as ``kernel(weights, wires=wires)``.
        kernel_shape: Shape of the weights of a window, for a kernel of your own.
        seed: Seed of the first weights, which are normally distributed with mean 0 and
            standard deviation 0.1 radians; None leaves them to the model's seed.

    Attributes:
        shape: ``n_layers``, followed by the shape of the weights of a window.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is out of its range, the kernel is unknown or does not
            fit the window, or its shape is missing.

    Example:
        >>> layer = QuantumConvolutionalLayer(n_qubits=8, kernel="su4", seed=0)
        >>> layer.parameters.shape, len(layer.circuit(layer.parameters))
        ((15,), 8)

    References:
        Cong, Choi and Lukin, Quantum convolutional neural networks, Nature Physics 15,
        1273 (2019), arXiv:1810.03787.
    """

    def __init__(
        self,
        n_qubits: int | None = None,
        n_layers: int = 1,
        backend: Any = None,
        kernel_size: int = 2,
        stride: int = 1,
        *,
        wrap: bool = False,
        kernel: Kernel = "rotation",
        kernel_shape: Sequence[int] | None = None,
        seed: Any = None,
    ) -> None:
        super().__init__(n_qubits, backend, seed)
        self.kernel_size = integer("kernel_size", kernel_size, minimum=1)
        self.stride = integer("stride", stride, minimum=1)
        self.wrap = boolean("wrap", wrap)
        self.kernel = kernel
        self._kernel_shape = None if kernel_shape is None else tuple(kernel_shape)
        self.n_layers = integer("n_layers", n_layers, minimum=1)
        self.shape = ConvolutionLayers.shape(
            self.n_layers,
            self.kernel_size,
            kernel=kernel,
            kernel_shape=self._kernel_shape,
        )
        if n_qubits is not None and n_qubits < self.kernel_size:
            raise ValueError(
                f"Argument `n_qubits` must be >= {kernel_size}, the qubits of a "
                f"window, but is {n_qubits}."
            )

    def blocks(self, wires: Wires) -> Sequence[Block]:
        """The template with all weights."""
        if len(wires) < self.kernel_size:
            raise ValueError(
                f"{self!r} must have at least {self.kernel_size} qubits, those of a "
                f"window, but is given {len(wires)}. Use a smaller `kernel_size`, or "
                "pool less before."
            )
        return [Block(self.operation, wires, [Weights(0, self.shape)])]

    @property
    def operation(self) -> Callable[..., Operator]:
        """The template, from weights of :attr:`shape` and ``wires`` to an operation."""
        return functools.partial(
            ConvolutionLayers,
            kernel_size=self.kernel_size,
            stride=self.stride,
            wrap=self.wrap,
            kernel=self.kernel,
            kernel_shape=self._kernel_shape,
        )

    def options(self) -> dict[str, Any]:
        """The windows and the kernel; of one of the user's the name and the shape."""
        found: dict[str, Any] = {"n_layers": self.n_layers}
        if self.kernel_size != 2:
            found["kernel_size"] = self.kernel_size
        if self.stride != 1:
            found["stride"] = self.stride
        if self.wrap:
            found["wrap"] = True
        if isinstance(self.kernel, str):
            return found | {"kernel": self.kernel}
        name = getattr(self.kernel, "__name__", type(self.kernel).__name__)
        return found | {"kernel": name, "kernel_shape": [*self.shape[1:]]}
