"""What every layer has: blocks on some wires, weights, and which of them are frozen.

A layer is a description until a model is built of it; then it knows its wires and has
weights. It knows no model, no device, no loss and no optimizer.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl._checks import integer
from qstore_pl.circuit import Block, Features, Weights, extent

INITIAL_SPREAD = 0.1  # radians: near the identity gradients do not vanish

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Wires = tuple[int, ...]


class Layer(ABC):
    """One part of a model's circuit.

    A class of your own says what it applies in :meth:`blocks`, and needs nothing else:
    how many weights it has follows from the blocks.

    A model takes a copy of each layer in its list. A layer object that stands in the
    list twice is applied twice with the same weights.

    Example:
        >>> import pennylane as qml
        >>> class Neighbours(Layer):
        ...     def blocks(self, wires):
        ...         pairs = zip(wires, wires[1:])
        ...         return [
        ...             Block(qml.IsingXX, pair, [Weights(i)])
        ...             for i, pair in enumerate(pairs)
        ...         ]
        >>> Neighbours().blocks((0, 1, 2))
        [Block(IsingXX, wires=(0, 1), inputs=(Weights(0),)), \
Block(IsingXX, wires=(1, 2), inputs=(Weights(1),))]
    """

    _wires: Wires | None = None
    _parameters: Float1D | None = None
    _trainable: NDArray[np.bool_] | None = None

    @abstractmethod
    def blocks(self, wires: Wires) -> Sequence[Block]:
        """The operations, in the order in which they act.

        Args:
            wires: Positions of the wires that the layer is given.

        Returns:
            Blocks, whose ``Weights`` and ``Features`` count from 0 within the layer.
        """

    def keeps(self, wires: Wires) -> Wires:
        """The wires that the next layer is given: all of them, unless overridden.

        Args:
            wires: Positions of the wires that the layer is given.
        """
        return wires

    def initial(self, n_weights: int, rng: np.random.Generator) -> Float1D:
        """The first values of the weights: normal, mean 0, standard deviation 0.1.

        Args:
            n_weights: How many there are.
            rng: Where they are drawn from.

        Returns:
            Shape ``(n_weights,)``; radians where they are angles.
        """
        return INITIAL_SPREAD * rng.standard_normal(n_weights)

    def options(self) -> dict[str, Any]:
        """What tells this layer from others of its class, as words and numbers.

        Files of a model hold it, and it is compared when one is loaded.
        """
        return {}

    # --- after a model is built ---------------------------------------------------

    def built(self, wires: Wires, input_dim: int, rng: np.random.Generator) -> Layer:
        """A copy that knows its wires and has weights.

        Args:
            wires: Positions of the wires that it is given.
            input_dim: Features of a sample of the model.
            rng: Where first weights are drawn from, unless it has some already.
        """
        twin = copy.copy(self)
        twin.__dict__.update(_wires=wires, input_dim=input_dim)
        n_weights = extent(twin.blocks(wires), Weights)
        if twin._parameters is None:
            first = np.array(twin.initial(n_weights, rng), dtype=np.float64)
            mask = np.ones(n_weights, dtype=bool)
            twin.__dict__.update(_parameters=first, _trainable=mask)
        if twin.parameters.shape != (n_weights,):
            raise ValueError(
                f"The first weights of {self!r} must have shape ({n_weights},), but "
                f"have shape {twin.parameters.shape}."
            )
        return twin

    @property
    def n_weights(self) -> int:
        """How many weights the layer has."""
        return self.parameters.size

    @property
    def parameters(self) -> Float1D:
        """The weights, shape ``(n_weights,)``, a live view; radians where angles."""
        if self._parameters is None:
            raise ValueError(
                f"{self!r} has no weights before a model is built of it. Look at "
                "model.layers."
            )
        return self._parameters

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Which weights are trained, shape ``(n_weights,)``, a live view."""
        assert self.parameters is not None  # says what is missing
        assert self._trainable is not None
        return self._trainable

    def freeze_parameters(self, indices: Iterable[int]) -> None:
        """Keep these weights as they are in training.

        Args:
            indices: Positions within this layer, counted from 0.

        Raises:
            TypeError: If an index is not an integer.
            IndexError: If an index is out of range; nothing is frozen then.
        """
        self.trainable[self._checked(indices)] = False

    def unfreeze_parameters(self, indices: Iterable[int] | None = None) -> None:
        """Train these weights again; all of them if None.

        Args:
            indices: Positions within this layer, counted from 0.

        Raises:
            TypeError: If an index is not an integer.
            IndexError: If an index is out of range; nothing is changed then.
        """
        everything = range(self.trainable.size)
        self.trainable[self._checked(everything if indices is None else indices)] = True

    def _checked(self, indices: Iterable[int]) -> list[int]:
        size = self.trainable.size
        checked = [integer("indices", index) for index in indices]
        for index in checked:
            if not 0 <= index < size:
                allowed = f"from 0 to {size - 1}" if size else "left out: it has none"
                raise IndexError(
                    f"Argument `indices` must be {allowed}, but has {index}."
                )
        return checked

    def move_into(self, parameters: Float1D, trainable: NDArray[np.bool_]) -> None:
        """Let the weights and the mask live in these views, with their present values.

        Args:
            parameters: Shape ``(n_weights,)``.
            trainable: Shape ``(n_weights,)``.
        """
        parameters[:], trainable[:] = self.parameters, self.trainable
        self.__dict__.update(_parameters=parameters, _trainable=trainable)

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={value!r}" for key, value in self.options().items())
        return f"{type(self).__name__}({shown})"


class Encoding(Layer):
    """A layer that puts data on its wires.

    A class of your own overrides :meth:`blocks`, whose ``Features`` count the columns
    that :meth:`encode` returns. When ``blocks`` is called, ``self.input_dim`` is the
    number of features of a sample. An encoding may come several times in the list of
    layers, so that the data are uploaded again.

    Example:
        An encoding that writes all features into one qubit, one after the other:

        >>> from qstore_pl import QuantumModel
        >>> from qstore_pl.layers import Features
        >>> class OneQubit(Encoding):
        ...     def blocks(self, wires):
        ...         axes = (qml.RX, qml.RY)
        ...         return [
        ...             Block(axes[i % 2], wires=wires[:1], inputs=(Features(i),))
        ...             for i in range(self.input_dim)
        ...         ]
        >>> model = QuantumModel(3, 1, layers=[OneQubit()], n_qubits=1)
        >>> print(qml.draw(model.qnode)(np.array([0.1, 0.2, 0.3]), model.weights))
        0: ──RX(0.10)──RY(0.20)──RX(0.30)─┤  <Z>
    """

    input_dim: int
    """Features of a sample, known once a model is built."""

    def n_wires(self, input_dim: int) -> int:
        """The fewest wires that hold a sample: one, unless overridden.

        Args:
            input_dim: Features of a sample.
        """
        del input_dim
        return 1

    def encode(self, inputs: Float2D) -> Float2D:
        """What the blocks take of some samples: the samples themselves by default.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``, finite.

        Returns:
            One row for each sample, shape ``(n_samples, n_columns)``.
        """
        return inputs

    def pull_back(self, gradient: Float2D, inputs: Float2D) -> Float2D:
        """The chain rule of :meth:`encode`, for layers before this model.

        Args:
            gradient: Derivatives of a loss with respect to what :meth:`encode` returns,
                shape ``(n_samples, n_columns)``.
            inputs: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            Derivatives with respect to the samples, of their shape.

        Raises:
            NotImplementedError: If :meth:`encode` is overridden and this is not.
        """
        if type(self).encode is not Encoding.encode:
            raise NotImplementedError(
                f"{self!r} has an encode() of its own, but no pull_back() for the "
                "derivatives with respect to its inputs. Define it."
            )
        return gradient

    def sources(self, n_columns: int) -> list[Sequence[int]]:
        """Which features of a sample each column depends on.

        Args:
            n_columns: Columns of what :meth:`encode` returns.

        Returns:
            A sequence of positions in the sample for each column. By default column i
            comes from feature i alone where there are as many of both, else from all.
        """
        everything = range(self.input_dim)
        if n_columns == self.input_dim:
            return [(i,) for i in everything]
        return [everything] * n_columns

    @property
    def n_columns(self) -> int:
        """Columns of what :meth:`encode` returns, known once a model is built."""
        assert self._wires is not None
        return extent(self.blocks(self._wires), Features)
