"""Case `propagation-30q`: a noisy circuit on 30 wires by Pauli propagation, exactly.

Four layers of RX, RY and RZ on every wire and CNOTs between neighbours, with noise
after each gate: all 30 <Z> and their vector-Jacobian product with respect to the 360
angles. One output is checked against density matrices of its light cone before.
"""

from __future__ import annotations

import time

import numpy as np
import pennylane as qml

from qstore_pl import NoiseSpec
from qstore_pl.devices.symbols import Symbols
from qstore_pl.engine.gates import WEIGHT, slot_angles
from tests.benchmarks.race import DisagreementError, Row, in_turn, medians

N_WIRES, N_LAYERS = 30, 4
TARGET = 1.0  # seconds
NOISE = {
    "depolarizing": NoiseSpec(p1=1e-3, p2=1e-2),
    "relaxation": NoiseSpec(
        p1=5e-4, p2=5e-3, t1=80e-6, t2=60e-6, gate_time_1=30e-9, gate_time_2=70e-9
    ),
}


def brickwork(weights, wires):
    """The operations on some of the wires, in order."""
    for layer, rows in enumerate(weights):
        for wire in wires:
            for gate, angle in zip((qml.RX, qml.RY, qml.RZ), rows[wire], strict=True):
                gate(angle, wire)
        for wire in range(layer % 2, N_WIRES - 1, 2):
            if wire in wires and wire + 1 in wires:
                qml.CNOT([wire, wire + 1])


def program_of(noise):
    """The Program, whose weights are the angles, and the seconds it took to make."""
    angles = slot_angles(WEIGHT, 0, (N_LAYERS, N_WIRES, 3))
    with qml.queuing.AnnotatedQueue() as queue:
        brickwork(np.zeros(angles.shape), range(N_WIRES))
    measurements = [qml.expval(qml.Z(wire)) for wire in range(N_WIRES)]
    tape = qml.tape.QuantumScript(queue.queue, measurements)
    device = qml.device(
        "qstore.mock_noisy", wires=N_WIRES, noise=noise, method="pauli_propagation"
    )
    symbols = [Symbols(angle.reshape(())) for angle in angles.reshape(-1, 1)]
    start = time.perf_counter()
    program = device.compile(tape, symbols, n_weights=angles.size, n_features=0)
    return program, time.perf_counter() - start


def check(program, noise, weights):
    """Compare an output with density matrices of the 8 wires that it sees.

    Raises:
        DisagreementError: If they differ by more than 1e-10.
    """
    found = program.run(weights.reshape(-1), np.empty((1, 0)))[0, 15]
    device = qml.device("qstore.mock_noisy", wires=range(12, 20), noise=noise)

    @qml.qnode(device)
    def cone():
        brickwork(weights, range(12, 20))
        return qml.expval(qml.Z(15))

    if abs(found - cone()) > 1e-10:
        raise DisagreementError(f"<Z_15> is {found}, but {cone()} by density matrices")


def measured(name, peers, repeats):
    """Seconds for all expectation values and their vector-Jacobian product."""
    weights = np.random.default_rng(0).uniform(-np.pi, np.pi, (N_LAYERS, N_WIRES, 3))
    values = weights.reshape(-1), np.empty((1, 0)), np.ones((1, N_WIRES))
    del name, peers
    rows = []
    for noise_name, noise in NOISE.items():
        program, seconds = program_of(noise)
        check(program, noise, weights)

        def measure(program=program):
            start = time.perf_counter()
            program.vjp(*values)
            return time.perf_counter() - start

        measure()  # with the backward kernel loaded
        raw = in_turn({noise_name: measure}, repeats)
        rows.append(
            Row(
                f"propagation-30q {noise_name}",
                medians(raw)[noise_name],
                setting=f"{program.n_words:,} words, found in {seconds:.2f} s",
                target=TARGET,
                raw={"ours": raw[noise_name]},
                memory=program.nbytes + program.new_pass(1).nbytes,
            )
        )
    return rows
