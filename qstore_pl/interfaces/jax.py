"""Models as functions that JAX transforms: jit, grad, vmap, scan, in any order.

A compiled circuit is such a function itself. This module needs JAX:
``pip install "qstore-pl[jax]"``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from qstore_pl import devices
from qstore_pl.compiled import Compiled
from qstore_pl.model import QuantumModel


def model_function(model: QuantumModel) -> Callable[[Any, Any], Any]:
    """The outputs of a model as a function for JAX.

    It does not read the parameters that the model has, but takes parameters as an
    argument; an optimization would begin with ``jnp.asarray(model.parameters)``.

    Args:
        model: A model on one of this package's devices. The method ``outputs`` of its
            readout is called with arrays of JAX; those of this package's readouts take
            them.

    Returns:
        A function of parameters, shape ``(n_parameters,)``, and of encoded data from
        ``model.prepare``, shape ``(n_samples, n_features)``, to the outputs, shape
        ``(n_samples, n_outputs)``. Both arguments may be differentiated.

    Raises:
        TypeError: If it is no model.
        ValueError: If the model runs on another device.

    Example:
        >>> model = QuantumModel(4, 2, seed=0)
        >>> outputs = model_function(model)
        >>> features = model.prepare([[0.1, 0.2, 0.3, 0.4]])
        >>> cost = lambda parameters: jnp.sum(outputs(parameters, features))
        >>> jax.jit(jax.grad(cost))(jnp.asarray(model.parameters)).shape
        (24,)
    """
    if not isinstance(model, QuantumModel):
        raise TypeError(
            "Argument `model` must be a QuantumModel, but is of type "
            f"{type(model).__name__}. A compiled circuit is a function of JAX itself."
        )
    if not devices.is_native(model.device):
        raise ValueError(
            "Argument `model` must be on a qstore device without shots, but is on "
            f"{model.device.name}. Give it another backend."
        )
    circuit, readout, n_weights = Compiled(model.qnode), model.readout, model.n_weights

    def outputs(parameters: Any, features: Any) -> Any:
        parameters, features = jnp.asarray(parameters), jnp.asarray(features)
        parts = circuit(features, parameters[:n_weights])
        n_samples = len(features)
        values: Any = jnp.hstack([part.reshape(n_samples, -1) for part in parts])
        return readout.outputs(values, parameters[n_weights:])

    return jax.jit(outputs)
