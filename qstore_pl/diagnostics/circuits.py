"""A model's compiled circuit at many weights, all of them in one run.

Every sample of a batch may have weights of its own, so that a thousand draws of random
weights are one batch of a thousand samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl.model import QuantumModel

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Complex2D = NDArray[np.complex128]

CHUNK = 1 << 22  # amplitudes of the states that are computed at a time
_SHARED = np.empty(0)  # weights that all samples have in common: none


def compiled(model: QuantumModel) -> devices.Program:
    """The compiled circuit of a model, with exact measured values.

    Raises:
        ValueError: If its device has none.
    """
    program = model.placed.program
    if program is None or isinstance(program, devices.TrajectoryProgram):
        raise ValueError(
            "Argument `model` must run on a qstore device without shots and "
            "trajectories, whose noise does not depend on the values of gates, but "
            f"runs on {model.device.name}. Copy it and set its backend: "
            'model.backend = "mock_ideal".'
        )
    return program


def compiled_pure(model: QuantumModel, quantity: str) -> devices.Program:
    """The circuit of a model without measurements, with a state vector on all wires.

    Args:
        model: The model.
        quantity: What is computed of the states, for the message.

    Raises:
        ValueError: If its device is another package's, or its states are mixed.
        DeviceError: If it has shots or trajectories, or a measurement inside.
    """
    program = model.placed.states_program
    if program is None or model.placed.is_mixed:
        raise ValueError(
            "Argument `model` must run on a qstore device without noise, since the "
            f"{quantity} is defined for pure states, but runs on {model.device.name}. "
            'Copy it and set its backend: model.backend = "mock_ideal".'
        )
    return program


def random_weights(model: QuantumModel, n: int, rng: np.random.Generator) -> Float2D:
    """Weights of the circuit, uniform in [0, 2 pi); frozen weights stay as they are.

    Args:
        model: The model.
        n: How many rows of weights are drawn.
        rng: Where they are drawn from.

    Returns:
        Shape ``(n, n_weights)``.
    """
    drawn = rng.uniform(0.0, 2.0 * np.pi, (n, model.n_weights))
    return np.where(model.trainable[: model.n_weights], drawn, model.weights)


def encoded(model: QuantumModel, inputs: Any, n: int) -> Float2D:
    """Samples as the circuit takes them, repeated in turn until there are enough.

    Args:
        model: The model.
        inputs: Samples, shape ``(n_samples, input_dim)``, or None for a single one
            whose features are 0.
        n: How many rows are wanted.

    Returns:
        Shape ``(n, n_features)``.

    Raises:
        ValueError: If the samples do not fit the model, or it takes no sample of zeros
            and none is given.
    """
    if inputs is not None:
        features = model.prepare(inputs)
    else:
        try:
            features = model.prepare(np.zeros((1, model.input_dim)))
        except ValueError as error:
            raise ValueError(
                "Argument `inputs` must be given for this model, whose encoding takes "
                f"no sample of zeros. {error}"
            ) from error
    return features[np.arange(n) % len(features)]


def states_at(
    program: devices.Program, weights: Float2D, features: Float2D
) -> Iterator[Complex2D]:
    """The state vectors of some samples, as many at a time as memory has room for.

    Args:
        program: The compiled circuit, of pure states.
        weights: Weights of each sample, shape ``(n_samples, n_weights)``.
        features: Encoded samples, shape ``(n_samples, n_features)``.

    Returns:
        Arrays of shape ``(n, 2**n_wires)``, in the order of the samples.
    """
    step = max(1, CHUNK >> program.n_wires)
    columns = devices.untied_columns(weights, features)
    for start in range(0, len(columns), step):
        yield program.untied.states(_SHARED, columns[start : start + step])


def values_at(program: devices.Program, weights: Float2D, features: Float2D) -> Float2D:
    """The measured values of some samples, shape ``(n_samples, n_values)``.

    Args:
        program: The compiled circuit.
        weights: Weights of each sample, shape ``(n_samples, n_weights)``.
        features: Encoded samples, shape ``(n_samples, n_features)``.
    """
    return program.untied.run(_SHARED, devices.untied_columns(weights, features))


def gradients_at(
    program: devices.Program, weights: Float2D, features: Float2D, cotangents: Float2D
) -> Float2D:
    """For each sample the derivatives of a sum of its measured values.

    Args:
        program: The compiled circuit.
        weights: Weights of each sample, shape ``(n_samples, n_weights)``.
        features: Encoded samples, shape ``(n_samples, n_features)``.
        cotangents: Factors of the measured values, shape ``(n_samples, n_values)``.

    Returns:
        Derivatives with respect to the weights of the sample, shape
        ``(n_samples, n_weights)``.
    """
    columns = devices.untied_columns(weights, features)
    _, found = program.untied.vjp(_SHARED, columns, cotangents, inputs=True)
    assert found is not None
    return found[:, program.n_features :]
