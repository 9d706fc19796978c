"""Row `lowering`: a Program of a new structure, 1,000 gates on 16 wires."""

from __future__ import annotations

import numpy as np
import pennylane as qml

from qstore_pl import devices
from tests.benchmarks.contender import Function
from tests.benchmarks.race import race

N_WIRES = 16
N_WEIGHTS = 750
TARGET = 1.0
PEER = "PennyLane's tape"
GATES = (qml.RX, qml.RY, qml.RZ)


def gate_by_gate(weights):
    """RX, RY, RZ and a CNOT in turn, around the ring of wires."""
    for i in range(1000):
        layer, kind = divmod(i, 4)
        wire = 7 * i % N_WIRES
        if kind < 3:
            GATES[kind](weights[3 * layer + kind], wires=wire)
        else:
            qml.CNOT([wire, (wire + 1) % N_WIRES])
    return qml.expval(qml.Z(0))


def random_layers(weights):
    """A template that draws its gates: 750 rotations, and a third as many CNOTs."""
    qml.RandomLayers(
        weights.reshape(10, 75), wires=range(N_WIRES), ratio_imprim=0.25, seed=3
    )
    return qml.expval(qml.Z(0))


def preprocessed(circuit, weights, device):
    """The tape as PennyLane makes it and hands it to a device."""
    tape = qml.tape.make_qscript(circuit)(weights)
    (made,), _ = device.preprocess_transforms()([tape])
    return made


def compiled(circuit, weights, device):
    """The function that lowers the tape a device gets, and the weights it then has."""
    tape = preprocessed(circuit, weights, device)
    inputs, first = [], 0
    for value in tape.get_parameters(trainable_only=False):
        inputs.append(devices.symbols("weights", first, np.shape(value)))
        first += np.size(value)

    def lower():
        return devices.compile(tape, inputs, device, n_weights=first, n_features=0)

    numbers = [np.ravel(p) for p in tape.get_parameters(trainable_only=False)]
    return lower, np.concatenate(numbers)


def measured(name, peers, repeats):
    """Time `devices.compile`, and PennyLane's way to a tape that a device takes."""
    weights = np.random.default_rng(0).normal(size=N_WEIGHTS)
    device = qml.device("qstore.mock_ideal", wires=N_WIRES)
    other = qml.device("default.qubit", wires=N_WIRES)
    rows = []
    for kind, circuit in (
        ("gate by gate", gate_by_gate),
        ("RandomLayers", random_layers),
    ):
        lower, numbers = compiled(circuit, weights, device)
        ours = Function(
            "qstore_pl",
            "devices.compile",
            lower,
            lambda made, w=numbers: {"value": made.run(w, np.empty((1, 0)))[0, 0]},
        )
        peer = Function(
            PEER,
            "made and preprocessed for default.qubit",
            lambda c=circuit: preprocessed(c, weights, other),
            lambda tape: {"value": other.execute([tape])[0]},
        )
        targets = {PEER: TARGET}
        rows += race(f"{name}, {kind}", ours, [[peer]], repeats, targets)
    return rows
