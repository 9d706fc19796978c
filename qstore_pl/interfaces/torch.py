"""Quantum layers of PyTorch networks: models and compiled circuits as modules.

This module needs PyTorch: ``pip install "qstore-pl[torch]"``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl.compiled import Compiled
from qstore_pl.compiled.in_torch import Run, applied
from qstore_pl.layers.qnode import INPUTS, shapes_of
from qstore_pl.model import QuantumModel

Float2D = NDArray[np.float64]


@final
class QuantumModule(torch.nn.Module):
    """A model or a compiled circuit as a layer of a PyTorch network.

    Its weights are parameters of the network, and gradients with respect to its inputs
    are there too, so that other layers may stand before it. The simulation is in double
    precision; outputs have the precision of the inputs, as with ``qml.qnn.TorchLayer``.

    The parameters of a model are one vector, ``weights``, without those that were
    frozen when the module was made. :meth:`to_model` gives the model back, with the
    parameters of the module.

    Args:
        circuit: A :class:`~qstore_pl.QuantumModel` on one of this package's devices, or
            a circuit from :func:`~qstore_pl.compile`, which takes the inputs as its
            argument ``inputs``.
        weight_shapes: The shapes of the arguments of a compiled circuit, ``inputs``
            excepted, by their names, as in ``qml.qnn.TorchLayer``; None for a model.
        init_method: Function of ``torch.nn.init`` that draws the first weights of a
            compiled circuit; None draws them from [0, 2 pi), as TorchLayer does.

    Raises:
        TypeError: If ``circuit`` is something else.
        ValueError: If shapes are missing or have no use, or the model runs elsewhere.

    Example:
        >>> model = QuantumModel(4, 2, seed=0)
        >>> network = torch.nn.Sequential(torch.nn.Linear(8, 4), QuantumModule(model))
        >>> network(torch.zeros(5, 8)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        circuit: QuantumModel | Compiled,
        weight_shapes: Mapping[str, int | Sequence[int]] | None = None,
        *,
        init_method: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.frozen: torch.Tensor
        self.places: torch.Tensor
        self.weights: torch.nn.Parameter
        self._circuit: _Model | _Compiled
        if isinstance(circuit, QuantumModel):
            if weight_shapes is not None or init_method is not None:
                raise ValueError(
                    "Arguments `weight_shapes` and `init_method` must be left out for "
                    "a model, which has its own weights."
                )
            self._circuit = _Model(circuit)
            kept = torch.as_tensor(circuit.trainable)
            whole = torch.as_tensor(circuit.parameters.copy())
            self.weights = torch.nn.Parameter(whole[kept])
            self.register_buffer("frozen", torch.where(kept, 0.0, whole))
            self.register_buffer("places", torch.nonzero(kept).ravel())
        elif isinstance(circuit, Compiled):
            if weight_shapes is None:
                raise ValueError(
                    "Argument `weight_shapes` must have the shape of each argument of "
                    f"a compiled circuit but `{INPUTS}`, but is None."
                )
            self._circuit = _Compiled(circuit)
            init = init_method or functools.partial(
                torch.nn.init.uniform_, a=0.0, b=2.0 * math.pi
            )
            shapes = shapes_of(circuit.qnode, weight_shapes)
            for name, shape in shapes.items():
                self.register_parameter(
                    name, torch.nn.Parameter(init(torch.empty(shape)))
                )
        else:
            raise TypeError(
                "Argument `circuit` must be a QuantumModel or a compiled circuit, but "
                f"is of type {type(circuit).__name__}. qstore_pl.compile makes one of "
                "a QNode."
            )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The outputs.

        Args:
            inputs: Shape ``(..., n_features)``.

        Returns:
            Shape ``(..., n_outputs)``, of the precision of the inputs.
        """
        samples = inputs.reshape(-1, inputs.shape[-1])
        if isinstance(self._circuit, _Model):
            whole = self.frozen.index_copy(0, self.places, self.weights)
            found = self._circuit(samples, whole)
        else:
            found = self._circuit(samples, dict(self.named_parameters()))
        return found.to(inputs.dtype).reshape(*inputs.shape[:-1], -1)

    def to_model(self) -> QuantumModel:
        """The model that the module was made of, with the weights of the module.

        Raises:
            TypeError: If it was made of a compiled circuit.
        """
        if not isinstance(self._circuit, _Model):
            raise TypeError(
                "The module was made of a compiled circuit, not of a model. Make one "
                "with QuantumModel.from_qnode."
            )
        whole = self.frozen.index_copy(0, self.places, self.weights.detach())
        model = self._circuit.model
        model.parameters[:] = whole.detach().cpu().numpy()
        return model


class _Compiled:
    """A compiled circuit as a function of samples and weights."""

    def __init__(self, circuit: Compiled) -> None:
        self._circuit = circuit

    def __call__(
        self, samples: torch.Tensor, weights: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        found = self._circuit(**{INPUTS: samples}, **weights)
        parts = list(found.values()) if isinstance(found, dict) else found
        if isinstance(parts, torch.Tensor):
            parts = [parts]
        return torch.hstack([part.reshape(len(samples), -1) for part in parts])


class _Model:
    """A model as a function of samples and parameters."""

    def __init__(self, model: QuantumModel) -> None:
        program = model.placed.program
        if program is None:
            raise ValueError(
                "Argument `circuit` must be a model on a qstore device without shots, "
                f"but is on {model.placed.backend.name}. Use "
                "qml.qnn.TorchLayer with its QNode there."
            )
        self.model, self.passes = model, devices.IdlePasses(program)

    def __call__(self, samples: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        double = torch.float64
        (found,) = applied(_Run(self), [samples.to(double), parameters.to(double)])
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["model"])  # type: ignore[misc]


@final
class _Run(Run):
    """One call of a model."""

    def __init__(self, circuit: _Model) -> None:
        self._circuit = circuit
        self._work: Any = None

    def again(self) -> _Run:
        """Another call of the same model."""
        return _Run(self._circuit)

    def values(self, arrays: Sequence[NDArray[np.float64]]) -> Sequence[Float2D]:
        """The outputs, from samples and parameters."""
        samples, parameters = arrays
        model = self._circuit.model
        self._samples, self._features = samples, model.prepare(samples)
        self._weights = parameters[: model.n_weights].copy()
        self._own = parameters[model.n_weights :].copy()
        self._values = self._forward().copy()
        return [model.readout.outputs(self._values, self._own)]

    def _forward(self) -> Float2D:
        self._work = self._circuit.passes.take(len(self._features))
        rows = np.arange(len(self._features))
        found: Float2D = self._work.forward(self._weights, self._features, rows)
        return found

    def pull(
        self, cotangents: Sequence[NDArray[np.float64]], wanted: Sequence[int]
    ) -> Sequence[NDArray[np.float64] | None]:
        """Gradients with respect to samples and parameters."""
        model = self._circuit.model
        if self._work is None:  # asked once more, as for a Jacobian
            self._forward()
        pulled, own = model.readout.pull_back(cotangents[0], self._values, self._own)
        pulled = np.ascontiguousarray(pulled)
        gw, gx = self._work.backward(pulled, inputs=0 in wanted)
        by_samples = None
        if gx is not None:
            by_samples = model.stack.pull_back(gx.copy(), self._samples)
        found = by_samples, np.concatenate([gw, own])
        self._circuit.passes.give_back(self._work)
        self._work = None
        return found
