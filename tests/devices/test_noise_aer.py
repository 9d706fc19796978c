"""The noise model for Qiskit Aer against the channels PennyLane is given."""

import dataclasses
import math
import sys

import numpy as np
import pennylane as qml
import pytest
from pennylane.operation import Channel
from qiskit import QuantumCircuit
from qiskit.quantum_info import SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, QuantumError, ReadoutError
from scipy.stats import chi2

from qstore_pl.devices.noise import AER_GATES, NoiseSpec
from qstore_pl.devices.presets import PRESETS, preset

pytestmark = pytest.mark.timeout(120)

FULL = NoiseSpec(
    p1=0.02,
    p2=0.05,
    t1=50e-6,
    t2=70e-6,
    gate_time_1=2e-6,
    gate_time_2=9e-6,
    excited=0.15,
    dephasing=0.03,
    readout={0: (0.03, 0.08), 2: (0.1, 0.02)},
)
SPECS = {
    "depolarizing": NoiseSpec(p1=0.1, p2=0.2),
    "largest": NoiseSpec(p1=0.75, p2=15 / 16),
    "dephasing": NoiseSpec(dephasing=0.2),
    "relaxation, t2 < t1": NoiseSpec(
        t1=1.0, t2=0.6, gate_time_1=0.3, gate_time_2=0.7, excited=0.1
    ),
    "relaxation, t2 = 2 t1": NoiseSpec(
        t1=1.0, t2=2.0, gate_time_1=0.3, gate_time_2=0.7
    ),
    "no relaxation, t2": NoiseSpec(t2=2.0, gate_time_1=0.3, gate_time_2=0.7),
    "all": FULL,
} | {name: preset(name) for name in PRESETS}


def superoperator(operations, n):
    """Superoperator in Qiskit's order: columns stacked, wire 0 least significant."""
    total = np.eye(4**n)
    for op in operations:
        kraus = op.kraus_matrices() if isinstance(op, Channel) else [qml.matrix(op)]
        expanded = [qml.math.expand_matrix(k, op.wires, range(n)[::-1]) for k in kraus]
        total = sum(np.kron(k.conj(), k) for k in expanded) @ total
    return total


def error_after(model, gate, n):
    """What Aer does after a gate, from the noise model; drops nothing that is small."""
    errors = [
        SuperOp(QuantumError.from_dict(error)).data
        for error in model.to_dict()["errors"]
        if error["type"] == "qerror" and gate in error["operations"]
    ]
    assert len(errors) <= 1
    return errors[0] if errors else np.eye(4**n)


def aer_superoperator(model, circuit):
    circuit = circuit.copy()
    circuit.save_superop()
    simulator = AerSimulator(method="superop", noise_model=model)
    return simulator.run(circuit).result().data()["superop"].data


@pytest.mark.parametrize("name", SPECS)
def test_the_same_channels(name):
    spec = SPECS[name]
    model = spec.to_aer()
    for gate, op in [("rx", qml.RX(0.7, 0)), ("cx", qml.CNOT([1, 0]))]:
        n = len(op.wires)
        expected = superoperator(spec.operations_after(op), n)
        np.testing.assert_allclose(error_after(model, gate, n), expected, atol=1e-12)


def test_the_same_noisy_gates():
    """Angles, order of the wires, and noise after the gate, not before it."""
    circuit = QuantumCircuit(2)
    circuit.rx(0.7, 0)
    circuit.cx(1, 0)
    circuit.h(1)
    gates = [qml.RX(0.7, 0), qml.CNOT([1, 0]), qml.H(1)]
    noisy = [op for gate in gates for op in (gate, *FULL.operations_after(gate))]
    found = aer_superoperator(FULL.to_aer(), circuit)
    np.testing.assert_allclose(found, superoperator(noisy, 2), atol=1e-12)


def test_every_gate_of_the_basis_is_noisy():
    model = NoiseSpec(p1=0.1, p2=0.1).to_aer()
    assert set(AER_GATES) <= set(model.basis_gates)
    assert set(model.noise_instructions) == set(AER_GATES)
    few = NoiseSpec(p1=0.1, p2=0.1).to_aer(basis_gates=["rz", "sx", "cz"])
    assert set(few.noise_instructions) == {"rz", "sx", "cz"}
    one, two = NoiseSpec(p1=0.1).to_aer(), NoiseSpec(p2=0.1).to_aer()
    assert {"u", "rz"} <= set(one.noise_instructions)
    assert {"swap", "rzz"} <= set(two.noise_instructions)
    assert not set(one.noise_instructions) & set(two.noise_instructions)


def test_every_gate_of_the_basis_runs_on_mixed_states():
    simulator = AerSimulator(method="density_matrix")
    assert set(AER_GATES) <= set(simulator.configuration().basis_gates)


def readout_errors(model):
    return {
        tuple(error.get("gate_qubits", [()])[0]): ReadoutError(error["probabilities"])
        for error in model.to_dict()["errors"]
        if error["type"] == "roerror"
    }


def test_the_same_readout():
    assert readout_errors(FULL.to_aer()) == {
        (0,): ReadoutError([[0.97, 0.03], [0.08, 0.92]]),
        (2,): ReadoutError([[0.9, 0.1], [0.02, 0.98]]),
    }
    everywhere = NoiseSpec(readout=(0.03, 0.08)).to_aer()
    assert list(readout_errors(everywhere).values()) == [
        ReadoutError([[0.97, 0.03], [0.08, 0.92]])
    ]


def test_no_noise_is_ideal():
    assert NoiseSpec(t1=1.0, t2=1.0).to_aer() == NoiseModel(basis_gates=AER_GATES)


def test_what_aer_cannot_express():
    with pytest.raises(ValueError, match="`over_rotation` must be 0 for Aer"):
        dataclasses.replace(FULL, over_rotation=0.1).to_aer()
    with pytest.raises(TypeError, match=r"must name qubits by number .* names 'b'"):
        NoiseSpec(readout={"b": (0.1, 0.2)}).to_aer()
    with pytest.raises(ValueError, match="`basis_gates` must be one of"):
        FULL.to_aer(basis_gates=["cnot"])
    with pytest.raises(ValueError, match="on 1 or 2 qubits, but ccx acts on 3"):
        FULL.to_aer(basis_gates=["rx", "ccx"])


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "qiskit_aer.noise", None)
    with pytest.raises(ImportError, match=r'pip install "qstore-pl\[qiskit\]"'):
        FULL.to_aer()


N_WIRES, N_GATES, SHOTS, SEED = 3, 25, 40_000, 20
FALSE_ALARM = 1e-3


def gates(rng):
    """(Qiskit name, PennyLane class, angles, wires) of a random circuit."""
    table = [("rx", qml.RX), ("ry", qml.RY), ("rz", qml.RZ), ("h", qml.H)]
    table += [("cx", qml.CNOT), ("rxx", qml.IsingXX), ("swap", qml.SWAP), ("t", qml.T)]
    for _ in range(N_GATES):
        name, gate = table[rng.integers(len(table))]
        wires = [int(w) for w in rng.permutation(N_WIRES)[: gate.num_wires]]
        yield name, gate, rng.uniform(-3, 3, size=gate.num_params).tolist(), wires


def exact_probabilities(circuit, spec):
    @qml.noise.add_noise(noise_model=spec.to_noise_model())
    @qml.qnode(qml.device("default.mixed", wires=N_WIRES))
    def run():
        for _, gate, angles, wires in circuit:
            gate(*angles, wires=wires)
        return qml.probs(wires=range(N_WIRES))

    return run()


def aer_counts(circuit, spec):
    """Counts by outcome, the first wire being the most significant bit."""
    quantum = QuantumCircuit(N_WIRES)
    for name, _, angles, wires in circuit:
        getattr(quantum, name)(*angles, *wires)
    quantum.measure_all()
    simulator = AerSimulator(
        noise_model=spec.to_aer(), method="density_matrix", seed_simulator=SEED
    )
    counts = simulator.run(quantum, shots=SHOTS).result().get_counts()
    found = np.zeros(2**N_WIRES)
    for bits, count in counts.items():
        found[int(bits[::-1], 2)] = count
    return found


def test_aer_draws_from_the_same_distribution():
    """Chi-square; with the right noise it fails for one seed in a thousand."""
    circuit = list(gates(np.random.default_rng(SEED)))
    probabilities = exact_probabilities(circuit, FULL)
    counts = aer_counts(circuit, FULL)
    limit = chi2.ppf(1 - FALSE_ALARM, df=len(counts) - 1)

    def statistic(p):
        return ((counts - SHOTS * p) ** 2 / (SHOTS * p)).sum()

    assert math.isclose(probabilities.sum(), 1.0, abs_tol=1e-12)
    assert statistic(probabilities) < limit
    # It can tell: noise a quarter stronger is far outside.
    assert statistic(exact_probabilities(circuit, FULL.scaled(1.25))) > 2 * limit
