"""Noise of Cirq and of Aer: channels after gates, as default.mixed has them."""

from __future__ import annotations

import cirq
import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error, pauli_error

from qstore_pl import BackendManager, QuantumModel
from qstore_pl.backends.cirq import CirqMachine
from qstore_pl.errors import QuantumCircuitError
from qstore_pl.gradients import ModelExpectations
from qstore_pl.gradients.methods import estimator_of

pytestmark = pytest.mark.timeout(60)

# name -> (noise of cirq, the same channel of PennyLane)
CHANNELS = {
    "depolarize": (cirq.depolarize(0.04), lambda w: qml.DepolarizingChannel(0.04, w)),
    "bit flip": (cirq.bit_flip(0.1), lambda w: qml.BitFlip(0.1, w)),
    "damping": (cirq.amplitude_damp(0.2), lambda w: qml.AmplitudeDamping(0.2, w)),
    "dephasing": (cirq.phase_damp(0.3), lambda w: qml.PhaseDamping(0.3, w)),
}


def device(name, n_wires, **options):
    return BackendManager().get_backend(name, **options).device(n_wires)


def gates(x):
    """Gates that every machine has, each made when it is asked for."""
    yield qml.RX(x, 0)
    yield qml.RY(0.8, 1)
    yield qml.CNOT([0, 1])
    yield qml.RZ(-x, 1)
    yield qml.RX(0.4, 1)
    yield qml.CNOT([1, 0])
    yield qml.RY(2 * x, 0)


def turns(x):
    """Gates of one wire, of which two cancel in the end."""
    yield qml.RX(x, 0)
    yield qml.RY(0.3, 0)
    yield qml.RX(0.5, 0)
    yield qml.RX(-0.5, 0)


def by_default_mixed(channel, made=gates):
    """The probabilities with a channel on every wire of each gate."""
    with qml.queuing.AnnotatedQueue() as queue:
        for op in made(0.7):
            for wire in op.wires:
                channel(wire)
    operations = qml.tape.QuantumScript.from_queue(queue).operations
    n_wires = 1 if made is turns else 2
    tape = qml.tape.QuantumScript(operations, [qml.probs(wires=range(n_wires)[::-1])])
    return qml.device("default.mixed", wires=n_wires).execute([tape])[0]


def run(noisy, shots=None, made=gates):
    wires = noisy.wires.labels[::-1]
    tape = qml.tape.QuantumScript(list(made(0.7)), [qml.probs(wires=wires)], shots)
    return noisy.execute([tape])[0]


def close(seen, wanted, atol=1e-10):
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=atol)


def within(seen, wanted, shots):
    assert np.all(abs(seen - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / shots))


# --- Cirq --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_of_cirq_follows_every_gate(name):
    noise, channel = CHANNELS[name]
    wanted = by_default_mixed(channel)
    noisy = device("cirq_mixed", 2, noise=noise, seed=0)
    close(run(noisy), wanted)
    assert np.abs(run(device("cirq_mixed", 2)) - wanted).max() > 0.02
    within(run(noisy, 5000), wanted, 5000)


def test_a_noise_model_of_cirq():
    """Cirq puts its noise behind moments: of one qubit, these are gates."""
    noise, channel = CHANNELS["damping"]
    noisy = device("cirq_mixed", 1, noise=cirq.ConstantQubitNoiseModel(noise), seed=0)
    wanted = by_default_mixed(channel, turns)
    close(run(noisy, made=turns), wanted)
    within(run(noisy, 5000, turns), wanted, 5000)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"noise": cirq.depolarize(0.1)}, ValueError, "cirq_mixed"),
        ({"noise": 0.1, "mixed": True}, TypeError, r"but is 0\.1"),
        ({"noise": cirq.depolarize(0.1, 2), "mixed": True}, TypeError, "one qubit"),
    ],
)
def test_noise_that_cirq_cannot_take_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        CirqMachine(**options)


# --- Aer ---------------------------------------------------------------------------


def flip(wire):
    return qml.BitFlip(0.1, wire)


def flips(p=0.1):
    """A bit flip behind rotations, and one on each qubit behind a CNOT."""
    model = NoiseModel(basis_gates=["rx", "ry", "rz", "cx"])
    error = pauli_error([("X", p), ("I", 1 - p)])
    model.add_all_qubit_quantum_error(error, ["rx", "ry", "rz"])
    model.add_all_qubit_quantum_error(error.tensor(error), ["cx"])
    return model


def test_a_noise_model_of_aer_has_an_effect():
    wanted = by_default_mixed(flip)
    noisy = device("qiskit", 2, noise_model=flips(), seed=0)
    close(run(noisy), wanted)
    within(run(noisy, 5000), wanted, 5000)


def test_gates_that_cancel_keep_their_noise():
    """As folded circuits of zero-noise extrapolation need it."""
    noisy = device("qiskit", 1, noise_model=flips())
    close(run(noisy, made=turns), by_default_mixed(flip, turns))


def test_exact_values_with_noise_are_no_averages_over_trajectories():
    """Ten qubits and Clifford gates: Aer's automatic method would take shots."""
    noisy = device("qiskit", 10, noise_model=flips(0.05))
    gates = [qml.RX(np.pi, 0), *(qml.CNOT([w, w + 1]) for w in range(9))]
    tape = qml.tape.QuantumScript(gates, [qml.expval(qml.Z(9))])
    # A flip of one CNOT's target, or of the wire before it, is a factor 0.9 each.
    close(noisy.execute([tape])[0], -(0.9**10))


def test_readout_errors_need_shots():
    misreading = flips()
    misreading.add_all_qubit_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]))
    for options in (
        {"noise_model": misreading},
        {"noise_model": flips(), "method": "statevector"},
    ):
        noisy = device("qiskit", 2, **options)
        with pytest.raises(DeviceError, match="qiskit needs a number of shots"):
            run(noisy)
    noisy = device("qiskit", 2, noise_model=misreading, seed=1)
    misread = np.array([[0.9, 0.2], [0.1, 0.8]])
    within(run(noisy, 5000), np.kron(misread, misread) @ by_default_mixed(flip), 5000)


def test_what_aer_cannot_take_is_refused():
    with pytest.raises(TypeError, match=r"`noise_model` must be .*, but is 0\.1"):
        device("qiskit", 2, noise_model=0.1)
    with pytest.raises(ValueError, match='`method` must be one of "automatic"'):
        device("qiskit", 2, method="stabilizer")
    wide = device("qiskit", 29, noise_model=flips())
    ladder = [qml.CNOT([w, w + 1]) for w in range(28)]
    tape = qml.tape.QuantumScript(ladder, [qml.expval(qml.Z(28))])
    with pytest.raises(QuantumCircuitError, match=r"Aer failed: .*backend `qiskit`"):
        wide.execute([tape])


# --- training ----------------------------------------------------------------------

NAMES = ["RX", "RY", "RZ", "CNOT"]


def after_each(p):
    """Depolarizing noise on each wire of a gate, for both machines and PennyLane."""
    error = depolarizing_error(4 * p / 3, 1)
    model = NoiseModel(basis_gates=["rx", "ry", "rz", "cx"])
    model.add_all_qubit_quantum_error(error, ["rx", "ry", "rz"])
    model.add_all_qubit_quantum_error(error.tensor(error), ["cx"])

    def channels(op, **_):
        for wire in op.wires:
            qml.DepolarizingChannel(p, wire)

    noise = qml.NoiseModel({qml.noise.op_in(NAMES): channels})
    options = {"noise": cirq.depolarize(p)}, {"noise_model": model}
    return noise, dict(zip(("cirq_mixed", "qiskit"), options, strict=True))


def test_gradients_with_noise():
    noise, backends = after_each(0.02)
    model = QuantumModel(2, 1, n_layers=1, seed=0)
    X, cotangents = np.array([[0.3, -0.8], [1.1, 0.4]]), np.array([0.7, -0.4])
    plain = model.on(qml.device("default.mixed", wires=2)).qnode
    gates = qml.transforms.decompose(plain, gate_set=set(NAMES))
    noisy = qml.noise.add_noise(gates, noise)
    wanted = qml.grad(lambda w: cotangents @ noisy(X, w)[0])(
        qml.numpy.array(model.weights)
    )
    assert np.abs(wanted).max() > 0.1
    for name, options in backends.items():
        model.backend = BackendManager().get_backend(name, **options)
        estimator = estimator_of(ModelExpectations(model), "parameter_shift")
        estimator.forward(model.parameters, X, np.arange(2))
        close(estimator.backward(cotangents[:, None]), wanted)
