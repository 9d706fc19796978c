"""Metric tensors of circuits, with respect to weights or parameters of a tape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.tape import QuantumScript

from qstore_pl._checks import choice
from qstore_pl.devices.base import QStoreDevice
from qstore_pl.devices.lowering import take_apart
from qstore_pl.devices.registry import entry_of
from qstore_pl.engine.gates import FEATURE, WEIGHT
from qstore_pl.engine.metric import Bures, FubiniStudy, Metric
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.program import Program
from qstore_pl.engine.pure import PureProgram

METRICS = {"fubini-study": FubiniStudy, "bures": Bures}

Bool1D = NDArray[np.bool_]


def metric(
    program: Program,
    weights: Bool1D,
    features: Bool1D | None = None,
    *,
    kind: str = "fubini-study",
    approximation: str = "full",
) -> Metric:
    """The metric tensor of a compiled circuit.

    Args:
        program: A Program, from :func:`compile`.
        weights: Mask of the weights that count, a boolean array of shape
            ``(n_weights,)``.
        features: Mask of the features that count, a boolean array of shape
            ``(n_features,)``; None for no features.
        kind: ``"fubini-study"`` for pure states, ``"bures"`` for density matrices.
        approximation: ``"full"``, ``"block-diag"`` or ``"diag"``.

    Raises:
        DeviceError: If the states are of the other kind, or too large.
        ValueError: If a weight or feature that counts is in no angle.

    Example:
        The metric tensor of RX is 1/4, whatever the angle:

        >>> from qstore_pl.devices import compile, symbols
        >>> tape = qml.tape.QuantumScript([qml.RX(0.0, 0)], [qml.expval(qml.Z(0))])
        >>> device = qml.device("qstore.mock_ideal", wires=1)
        >>> angle = symbols("weights", 0, ())
        >>> program = compile(tape, [angle], device, n_weights=1, n_features=0)
        >>> tensor = metric(program, np.array([True]))
        >>> print(tensor(np.array([0.4]), np.empty((1, 0)), np.arange(1)).round(12))
        [[[0.25]]]
    """
    choice("metric", kind, METRICS)
    if kind == "fubini-study" and not isinstance(program, PureProgram):
        raise DeviceError(
            "The Fubini-Study metric must be that of pure states, but the device is "
            'noisy. Take metric="noiseless", that of the circuit without noise, or '
            'metric="bures", that of density matrices, for few wires.'
        )
    if kind == "bures" and not isinstance(program, MixedProgram):
        raise DeviceError(
            "The Bures metric must be that of density matrices, but the device has "
            'none. Take metric="fubini-study" for pure states, or metric="noiseless".'
        )
    return METRICS[kind](program, weights, features, approximation=approximation)


def tape_metric(
    tape: QuantumScript,
    device: QStoreDevice,
    *,
    kind: str = "fubini-study",
    approximation: str = "full",
) -> tuple[NDArray[np.float64], list[NDArray[np.intp]]]:
    """The metric tensor of a tape with respect to its trainable parameters.

    Args:
        tape: A tape, as the device executes it.
        device: The device.
        kind: ``"fubini-study"`` for pure states, ``"bures"`` for density matrices.
        approximation: ``"full"``, ``"block-diag"`` or ``"diag"``.

    Returns:
        The metric tensor of each sample, shape ``(batch, n, n)``, and for each sample
        the indices of its n rows among all numbers of the trainable parameters, which
        are flattened one after the other.

    Raises:
        DeviceError: As :func:`metric`, or if a trainable parameter is no angle.
    """
    circuit = take_apart(tape)
    program = device.lower(tape, circuit)
    masks = {
        WEIGHT: np.zeros(len(circuit.weights), dtype=bool),
        FEATURE: np.zeros(circuit.features.shape[1], dtype=bool),
    }
    batch = len(circuit.features)
    places: list[Any] = []
    for op, parameters in zip(tape.operations, circuit.parameters, strict=True):
        entry = entry_of(op)
        assert entry is not None
        if entry.jacobian is not None or not entry.differentiable:
            places += [op.name] * op.num_params
        else:
            places += parameters
    chosen, start = [], 0
    for index, value in zip(tape.trainable_params, tape.get_parameters(), strict=True):
        place = places[index] if index < len(places) else "an observable"
        if isinstance(place, str):
            raise DeviceError(
                f"There is no metric by parameters of {place}. Mark them as not "
                "trainable."
            )
        size = math.prod(place.shape)
        masks[place.kind][place.offset : place.offset + size] = True
        chosen.append((place, start, size))
        start += int(np.size(value))
    chosen.sort(key=lambda item: (item[0].kind, item[0].offset))
    where = []
    for sample in range(batch):
        parts = [
            np.arange(first, first + size) + (sample * size) * (place.kind == FEATURE)
            for place, first, size in chosen
        ]
        where.append(np.concatenate(parts) if parts else np.empty(0, dtype=np.intp))
    found = metric(
        program,
        masks[WEIGHT],
        masks[FEATURE],
        kind=kind,
        approximation=approximation,
    )
    values = found(circuit.weights, circuit.features, np.arange(batch))
    return values, where
