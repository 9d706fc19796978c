"""What a model does: its outputs on a probe set, as a vector that a store can search.

The outputs are exact, without noise and without shots, whatever backend the model has:
they depend on the model and its parameters alone, and nothing is sent to a machine.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
import pennylane as qml

from qstore_pl._checks import Float1D, Float2D, finite
from qstore_pl.model import QuantumModel

DIMENSION: Final = 256  # of all vectors; the first entry is 1, so that none is zero
MOST_OUTPUTS: Final = DIMENSION - 1


def outputs_on(
    model: QuantumModel, probe: Float2D, parameters: Float1D | None = None
) -> Float2D:
    """The exact outputs of a model without noise.

    Args:
        model: The model.
        probe: The probe set, shape ``(n_probe, input_dim)``.
        parameters: Weights of its circuit, then those of its readout, shape
            ``(n_parameters,)``; None takes those that it has.

    Returns:
        Shape ``(n_probe, output_dim)``.

    Raises:
        ValueError: If the probe set does not fit the model.
        DeviceError: If there is no memory for the states of so many qubits.
    """
    # Without noise it is the ideal device, which has channels of a circuit as well.
    exact = qml.device("qstore.mock_noisy", noise=None, seed=0)
    numbers = model.parameters if parameters is None else parameters
    weights, rest = np.split(numbers, [model.n_weights])
    values = model.on(exact).values(model.prepare(probe), weights)
    return model.readout.outputs(values, rest)


def vector_of(outputs: Float2D | None) -> Float2D:
    """The vector of a checkpoint: 1, the outputs row by row, and zeros.

    Args:
        outputs: Outputs on a probe set, shape ``(n_probe, n_outputs)``; None if they
            are not known.

    Returns:
        Shape ``(256,)``.
    """
    vector = np.zeros(DIMENSION)
    vector[0] = 1.0
    if outputs is not None:
        vector[1 : 1 + outputs.size] = outputs.ravel()
    return vector


def checked_probe(probe: Any) -> Float2D:
    """A probe set as an array of samples.

    Raises:
        ValueError: If it has not the shape ``(n_probe, input_dim)`` or no sample, or an
            entry is NaN or infinite.
        TypeError: If it is not of real numbers.
    """
    array = finite("probe", probe)
    if array.ndim != 2 or not array.size:
        raise ValueError(
            "Argument `probe` must have shape (n_probe, input_dim), but has shape "
            f"{array.shape}."
        )
    return array


def checked_outputs(outputs: Any, n_probe: int) -> Float2D:
    """Outputs on a probe set, which must fit into a vector.

    Args:
        outputs: Shape ``(n_probe, n_outputs)``.
        n_probe: Number of samples of the probe set.

    Raises:
        ValueError: If there are not as many rows as samples, or too many outputs.
        TypeError: If they are not real numbers.
    """
    array = finite("outputs", outputs)
    if array.ndim != 2 or len(array) != n_probe:
        raise ValueError(
            f"Argument `outputs` must have shape ({n_probe}, n_outputs), a row for "
            f"each sample of the probe set, but has shape {array.shape}."
        )
    if array.size > MOST_OUTPUTS:
        raise ValueError(
            f"Argument `probe` must have at most {MOST_OUTPUTS // array.shape[1]} "
            f"samples for {array.shape[1]} outputs, {MOST_OUTPUTS} numbers in all, but "
            f"has {n_probe}."
        )
    return array


def digest_of(probe: Float2D) -> str:
    """The digest of a probe set, by which the same one is recognised."""
    found = hashlib.sha256(f"{probe.shape}".encode())
    found.update(np.ascontiguousarray(probe).data)
    return found.hexdigest()
