"""Zero-noise extrapolation against PennyLane's, and inverses against their matrices."""

from __future__ import annotations

import cirq
import numpy as np
import pennylane as qml
import pytest
from qiskit_aer import AerSimulator, noise

from qstore_pl import BackendManager
from qstore_pl.backends import Batch, ZeroNoise
from qstore_pl.devices import Circuit, Gate
from tests.noisy_machine import Dense, depolarized, matrix_of, on


@pytest.mark.parametrize("factors", [(1, 3), (1, 3, 5), (7, 3, 1, 5)])
@pytest.mark.parametrize("extrapolate", ["richardson", "linear", 2])
def test_extrapolation_is_that_of_pennylane(factors, extrapolate):
    if extrapolate == 2 and len(factors) == 2:
        with pytest.raises(ValueError, match="`extrapolate` must be below 2"):
            ZeroNoise(Dense(), scale_factors=factors, extrapolate=extrapolate)
        return
    order = {"richardson": len(factors) - 1, "linear": 1}.get(extrapolate, extrapolate)
    reference = qml.noise.mitigate_with_zne(
        depolarized(0.01),
        list(map(float, factors)),
        qml.noise.fold_global,
        qml.noise.poly_extrapolate,
        extrapolate_kwargs={"order": order},
    )
    machine = ZeroNoise(
        Dense(strength=0.01), scale_factors=factors, extrapolate=extrapolate
    )
    np.testing.assert_allclose(on(machine)(), reference(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["qiskit", "cirq_mixed"])
def test_simulators_run_folded_gates_as_they_are(name):
    """In a circuit without idle wires, to which cirq would give noise too."""
    strength = 0.01
    if name == "qiskit":
        model = noise.NoiseModel(basis_gates=["rx", "ry", "cx"])
        error = noise.depolarizing_error(4 * strength / 3, 1)
        model.add_all_qubit_quantum_error(error, ["rx", "ry"])
        model.add_all_qubit_quantum_error(error.tensor(error), ["cx"])
        options = {"noise_model": model}
    else:
        options = {"noise": cirq.depolarize(strength)}

    def turned():
        qml.RX(0.4, 0)
        qml.RY(1.2, 1)
        qml.CNOT([0, 1])
        qml.RX(0.9, 0)
        qml.RY(0.3, 1)
        qml.CNOT([0, 1])  # which its inverse follows
        return qml.expval(qml.Z(1)), qml.expval(qml.Z(0) @ qml.Z(1))

    noisy = qml.noise.mitigate_with_zne(
        qml.QNode(turned, depolarized(strength).device),
        [1.0, 3.0, 5.0],
        qml.noise.fold_global,
        qml.noise.richardson_extrapolate,
    )
    backend = BackendManager().get_backend(name, zero_noise=(1, 3, 5), **options)
    found = qml.QNode(turned, backend.device(2))()
    np.testing.assert_allclose(found, noisy(), rtol=0, atol=1e-8)


def test_no_compiler_cancels_folded_gates():
    """Qiskit's translation for a chip optimises, but not past a barrier."""
    simulator = AerSimulator()
    gates = (Gate("RX", (0,), column=0), Gate("CZ", (0, 1)), Gate("CNOT", (1, 0)))
    batch = Batch(
        Circuit(2, gates, (1, 0), 1), np.array([[0.4], [0.9]]), np.array([9, 9])
    )
    bills = [
        BackendManager()
        .get_backend("qiskit_remote", backend=simulator, zero_noise=chosen)
        .device(2)
        .machine.bill([batch])
        for chosen in (None, (1, 3, 5))
    ]
    assert bills[0].two_qubit_gates == 2 * 2
    assert bills[1].two_qubit_gates == (1 + 3 + 5) * bills[0].two_qubit_gates
    assert bills[1].one_qubit_gates == (1 + 3 + 5) * bills[0].one_qubit_gates
    assert bills[1].shots == 3 * bills[0].shots


GATES = sorted(
    {"Identity", "PauliX", "PauliY", "PauliZ", "Hadamard", "CNOT", "CY", "CZ", "CH"}
    | {"SWAP", "Toffoli", "CCZ", "CSWAP", "S", "T", "SX"}
    | {"RX", "RY", "RZ", "PhaseShift", "CRX", "CRY", "CRZ", "ControlledPhaseShift"}
    | {"IsingXX", "IsingYY", "IsingZZ", "IsingXY"}
    | {"Adjoint(S)", "Adjoint(T)", "Adjoint(SX)"}
)


@pytest.mark.parametrize(
    "others", [(), ("RX", "RZ"), ("S", "Adjoint(S)", "Adjoint(T)")]
)
@pytest.mark.parametrize("name", GATES)
def test_the_inverse_of_a_gate_undoes_it(name, others):
    """In gate sets with rotations, with adjoints, and with the gate alone."""
    machine = Dense()
    machine.gate_set = frozenset({name, *others})
    op = getattr(qml, name.removeprefix("Adjoint(").removesuffix(")"))
    wires = tuple(range(op.num_wires or 1))
    for column, angle in ((0, None), (None, 0.7)) if op.num_params else ((None, None),):
        gate = Gate(name, wires, angle=angle, column=column)
        batch = Batch(Circuit(3, (gate,), (0,), 1), np.array([[1.3]]))
        _, folded = ZeroNoise(machine, scale_factors=(1, 3))._folded([batch])
        assert {one.name for one in folded.circuit.gates} <= machine.gate_set
        first, *inverse, last = folded.circuit.gates
        assert first == last == gate
        product = np.eye(8)
        for one in (first, *inverse):
            matrix = matrix_of(one, folded, 0)
            product = qml.math.expand_matrix(matrix, one.wires, range(3)) @ product
        np.testing.assert_allclose(abs(product[0, 0]), 1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            product, product[0, 0] * np.eye(8), rtol=0, atol=1e-12
        )


def test_angles_that_are_0_stay_0():
    made = Circuit(
        1, (Gate("RX", (0,), column=0), Gate("RY", (0,), angle=0.0)), (0,), 1
    )
    machine = ZeroNoise(Dense(), scale_factors=(1, 3))
    bill = machine.bill([Batch(made, np.array([[0.0], [0.2]]))])
    assert (bill.circuits, bill.one_qubit_gates) == (4, 1 + 3)
    _, folded = machine._folded([Batch(made, np.array([[0.0]]))])
    assert not np.signbit(folded.angles).any()
