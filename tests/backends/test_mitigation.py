"""Error mitigation by machines that wrap a machine, against a dense noisy one."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    BackendManager,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    checkpoint,
)
from qstore_pl.backends import (
    Batch,
    Bill,
    Limits,
    Machine,
    MachineDevice,
    ReadoutMitigation,
    Ticket,
    ZeroNoise,
)
from qstore_pl.devices import Circuit, Gate
from qstore_pl.errors import QuantumCircuitError

PAULIS = {"RX": "PauliX", "RY": "PauliY", "RZ": "PauliZ"}
RATES = ((0.03, 0.11), (0.2, 0.05), (0.0, 0.3))  # read 1 for 0, and 0 for 1
TICKET = Ticket(17, "run")


class Dense(Machine):
    """Density matrices, depolarised after each gate on its wires, then misread.

    It counts what it runs, and has a state of its own: the number of submissions.
    """

    name = "dense"
    gate_set = frozenset(
        {"PauliX", "Hadamard", "S", "T", "SX", "RX", "RY", "RZ", "CNOT"}
    )

    def __init__(self, *, strength=0.0, rates=((0.0, 0.0),) * 3, limits=None):
        self.strength, self.rates = strength, rates
        self.limits = limits or Limits(verbatim=True)
        self.ran = Bill()
        self.submissions = []  # circuits of each

    def __repr__(self):
        return "Dense()"

    @property
    def state(self):
        return {"submissions": len(self.submissions)}

    def load_state(self, state):
        self.loaded = dict(state)

    def bill(self, batches):
        found = Bill(jobs=1)
        for batch in batches:
            for row in range(len(batch)):
                gates = [g for g in batch.circuit.gates if angle_of(g, batch, row) != 0]
                shots = 0 if batch.shots is None else int(batch.shots[row])
                one = sum(len(gate.wires) == 1 for gate in gates)
                found += Bill(1, shots, one, len(gates) - one)
        return found

    def run(self, batches, ticket):
        self.ran += self.bill(batches)
        self.submissions.append(sum(map(len, batches)))
        rng = np.random.default_rng(ticket.seed)
        results = []
        for batch in batches:
            exact = np.array([self.read(batch, row) for row in range(len(batch))])
            if batch.shots is not None:
                drawn = rng.multinomial(
                    batch.shots, exact / exact.sum(1, keepdims=True)
                )
                exact = drawn / batch.shots[:, None]
            results.append(exact)
        return results

    def read(self, batch, row):
        """The probabilities of what is read of the measured wires."""
        circuit = batch.circuit
        n = circuit.n_wires
        rho = np.zeros((1 << n, 1 << n), complex)
        rho[0, 0] = 1
        for gate in circuit.gates:
            unitary = unitary_of(gate, angle_of(gate, batch, row), n)
            rho = unitary @ rho @ unitary.conj().T
            for wire in gate.wires if self.strength else ():
                errors = [fixed(name, (wire,), n) for name in PAULIS.values()]
                flipped = sum(error @ rho @ error for error in errors)
                rho = (1 - self.strength) * rho + self.strength / 3 * flipped
        tensor = rho.diagonal().real.reshape((2,) * n)
        rest = tuple(w for w in range(n) if w not in circuit.measured)
        tensor = tensor.transpose(*circuit.measured, *rest)
        exact = tensor.reshape(1 << len(circuit.measured), -1).sum(1)
        confusion = np.eye(1)
        for wire in circuit.measured:
            p10, p01 = self.rates[wire]
            confusion = np.kron(confusion, [[1 - p10, p01], [p10, 1 - p01]])
        return confusion @ exact


def angle_of(gate, batch, row):
    """The angle of a gate; None if it has none."""
    return gate.angle if gate.column is None else batch.angles[row, gate.column]


@functools.cache
def fixed(name, wires, n):
    matrix = qml.matrix(getattr(qml, name)(range(len(wires))))
    return qml.math.expand_matrix(matrix, list(wires), range(n))


def unitary_of(gate, angle, n):
    if angle is None:
        return fixed(gate.name, gate.wires, n)
    pauli = fixed(PAULIS[gate.name], gate.wires, n)
    return np.cos(angle / 2) * np.eye(1 << n) - 1j * np.sin(angle / 2) * pauli


def matrix_of(gate, batch, row):
    """The matrix of any gate of PennyLane's on its own wires."""
    angle = angle_of(gate, batch, row)
    params = [] if angle is None else [angle]
    if gate.name.startswith("Adjoint("):
        return matrix_of(gate._replace(name=gate.name[8:-1]), batch, row).conj().T
    op = getattr(qml, gate.name)(*params, wires=range(len(gate.wires)))
    return qml.matrix(op)


def circuit():
    """Every gate of the dense machine but SX, whose inverse is three in PennyLane."""
    qml.RX(0.3, 0)
    qml.RY(0.7, 1)
    qml.T(1)
    qml.Hadamard(2)
    qml.CNOT([1, 2])
    qml.S(2)
    qml.RX(1.1, 1)
    qml.CNOT([0, 2])
    qml.RX(0.8, 2)
    qml.PauliX(1)
    qml.RZ(0.4, 0)
    qml.RX(0.9, 0)
    return [qml.expval(op) for op in OBSERVABLES]


OBSERVABLES = (qml.Z(0), qml.Z(1), qml.Z(2) @ qml.Z(0), qml.Z(0) @ qml.Z(1) @ qml.Z(2))


def on(machine, **options):
    return qml.QNode(circuit, MachineDevice(machine, 3, seed=0), **options)


IDEAL = np.array(qml.QNode(circuit, qml.device("default.qubit", wires=3))())


def depolarized(strength):
    """PennyLane's simulator with depolarising noise after each gate."""

    def noise(op, **options):
        for wire in op.wires:
            qml.DepolarizingChannel(strength, wire)

    model = qml.NoiseModel({qml.noise.wires_in(range(3)): noise})
    device = qml.noise.add_noise(qml.device("default.mixed", wires=3), model)
    return qml.QNode(circuit, device)


# --- readout --------------------------------------------------------------------


def test_misread_wires_are_corrected_exactly():
    machine = Dense(rates=RATES)
    assert np.abs(np.array(on(machine)()) - IDEAL).max() > 1e-2
    found = on(ReadoutMitigation(machine))()
    np.testing.assert_allclose(found, IDEAL, rtol=0, atol=1e-10)


@pytest.mark.parametrize("measured", [(2,), (2, 0), (0, 1, 2), (1, 2, 0)])
def test_outcomes_of_some_wires_in_any_order(measured):
    made = Circuit(3, (Gate("RX", (0,), column=0), Gate("CNOT", (0, 2))), measured, 1)
    batch = Batch(made, np.array([[0.3], [0.0], [2.0]]))
    (expected,) = Dense().run([batch], TICKET)
    (found,) = ReadoutMitigation(Dense(rates=RATES)).run([batch], TICKET)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_shots_are_corrected_on_average():
    """Of 200 submissions, each with rates of its own."""
    machine = ReadoutMitigation(Dense(rates=RATES), every=1, shots=20_000)
    made = Circuit(2, (Gate("RY", (0,), angle=1.0), Gate("CNOT", (0, 1))), (0, 1))
    batch = Batch(made, np.empty((1, 0)), np.array([100]))
    expected = np.array([np.cos(0.5) ** 2, 0, 0, np.sin(0.5) ** 2])
    drawn = np.array([machine.run([batch], Ticket(i, "run"))[0][0] for i in range(200)])
    np.testing.assert_allclose(drawn.sum(axis=1), 1, rtol=0, atol=1e-12)
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    assert error.max() < 5e-3
    assert (np.abs(drawn.mean(axis=0) - expected) < 5 * error).all()
    assert drawn.min() < 0  # a frequency that is no probability


def test_aer_with_misread_wires():
    noise = pytest.importorskip("qiskit_aer.noise")
    model = noise.NoiseModel()
    for wire, (p10, p01) in enumerate(RATES):
        error = noise.ReadoutError([[1 - p10, p10], [p01, 1 - p01]])
        model.add_readout_error(error, [wire])
    manager, n_shots = BackendManager(), 100_000
    values = {}
    for chosen in (None, True):
        backend = manager.get_backend(
            "qiskit", noise_model=model, readout_mitigation=chosen, seed=3
        )
        device = backend.device(3)
        values[chosen] = np.array(qml.QNode(circuit, device, shots=n_shots)())
    contrast = np.array([1 - p10 - p01 for p10, p01 in RATES])
    growth = np.array([contrast[op.wires.tolist()].prod() for op in OBSERVABLES])
    error = np.sqrt(2 / n_shots) / growth  # of the circuits and of the rates
    assert (np.abs(values[True] - IDEAL) < 5 * error).all()
    assert (np.abs(values[None] - IDEAL) > 5 * error).any()


def test_thirteen_wires_are_calibrated_by_their_lists():
    class Listed(Dense):
        def run(self, batches, ticket):
            rng = np.random.default_rng(0)
            found = []
            for batch in batches:
                k = len(batch.circuit.measured)
                ones = bool(batch.circuit.gates)
                p = 0.25 * (np.array(batch.circuit.measured) == 4)  # wire 4 is misread
                bits = ones ^ (rng.random((batch.shots[0], k)) < p)
                listed = bits @ (1 << np.arange(k)[::-1])
                share = np.bincount(listed, minlength=1 << k)[None] / len(listed)
                found.append([listed] if k > 12 else share)
            return found

    machine = ReadoutMitigation(Listed())
    batch = Batch(Circuit(13, (), (4, 5)), np.empty((1, 0)), np.array([20_000]))
    (found,) = machine.run([batch], TICKET)
    np.testing.assert_allclose(found, [[1, 0, 0, 0]], rtol=0, atol=0.03)
    rates = machine.state["rates"]
    assert rates.shape == (13, 2)
    assert np.abs(rates[4] - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 20_000)
    assert not np.delete(rates, 4, axis=0).any()


# --- noise of gates -------------------------------------------------------------


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
        noise = pytest.importorskip("qiskit_aer.noise")
        model = noise.NoiseModel(basis_gates=["rx", "ry", "cx"])
        error = noise.depolarizing_error(4 * strength / 3, 1)
        model.add_all_qubit_quantum_error(error, ["rx", "ry"])
        model.add_all_qubit_quantum_error(error.tensor(error), ["cx"])
        options = {"noise_model": model}
    else:
        options = {"noise": pytest.importorskip("cirq").depolarize(strength)}

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
    simulator = pytest.importorskip("qiskit_aer").AerSimulator()
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


# --- both, and what they cost ---------------------------------------------------

WRAPPED = {
    "readout": lambda m: ReadoutMitigation(m),
    "every": lambda m: ReadoutMitigation(m, every=2, shots=50),
    "zero noise": lambda m: ZeroNoise(m),
    "both": lambda m: ZeroNoise(ReadoutMitigation(m, every=3), scale_factors=(1, 3)),
}


@pytest.mark.parametrize("shots", [None, 100])
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_the_bill_is_what_is_run(wrap, shots):
    machine = Dense(strength=0.01, rates=RATES)
    wrapped = wrap(machine)
    qnode = on(wrapped, shots=shots)
    assert (wrapped.name, wrapped.gate_set) == ("dense", Dense.gate_set)
    assert wrapped.bill([]) == machine.bill([])
    for _ in range(4):
        with qml.Tracker(qnode.device) as tracker:
            before = machine.ran
            qnode()
        assert qnode.device.spent == machine.ran
        assert tracker.totals["executions"] == machine.ran.circuits - before.circuits
    assert machine.ran.jobs == 4


def test_circuits_are_added_when_the_rates_are_measured():
    machine = Dense(rates=RATES)
    qnode = on(ReadoutMitigation(machine, every=3))
    for _ in range(7):
        qnode()
    # The observables share one circuit.
    assert machine.submissions == [3, 1, 1, 3, 1, 1, 3]
    machine = Dense(rates=RATES)
    once = ReadoutMitigation(machine)
    for n_wires in (1, 1, 2, 1, 3, 2):
        once.run([Batch(Circuit(n_wires, (), (0,)), np.empty((1, 0)))], TICKET)
    assert machine.submissions == [3, 1, 3, 1, 3, 1]
    once.run([], TICKET)
    assert machine.submissions[-1] == 0


def test_both_leave_little_of_both_errors():
    machine = Dense(strength=0.003, rates=RATES)
    both = ZeroNoise(ReadoutMitigation(machine))
    assert np.abs(np.array(on(machine)()) - IDEAL).max() > 0.04
    assert np.abs(np.array(on(both)()) - IDEAL).max() < 5e-3  # noise of PauliX
    assert repr(both) == (
        "ZeroNoise(ReadoutMitigation(Dense(), every=None, shots=None), "
        "scale_factors=(1, 3, 5), extrapolate='richardson')"
    )


# --- states ---------------------------------------------------------------------


def test_the_same_ticket_gives_the_same():
    made = Circuit(2, (Gate("RY", (0,), angle=1.0),), (0, 1))
    batch = Batch(made, np.empty((1, 0)), np.array([100]))
    machines = [ZeroNoise(ReadoutMitigation(Dense(rates=RATES))) for _ in range(2)]
    one, other = (machine.run([batch], TICKET)[0] for machine in machines)
    np.testing.assert_array_equal(one, other)
    assert (one != machines[0].run([batch], Ticket(18, "run"))[0]).any()


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_goes_on_with_the_rates(copied):
    machine = ZeroNoise(ReadoutMitigation(Dense(rates=RATES), every=5))
    on(machine, shots=100)()
    twin = copied(machine)
    np.testing.assert_array_equal(twin.state["rates"], machine.state["rates"])
    assert twin.state["used"] == 1
    found = [on(each, shots=100)() for each in (machine, twin)]
    np.testing.assert_array_equal(*found)
    assert twin.machine.machine.submissions == [3 + 2, 3]


def test_a_run_goes_on_from_a_checkpoint_of_its_device(tmp_path):
    def made():
        return on(ZeroNoise(ReadoutMitigation(Dense(rates=RATES), every=3)), shots=200)

    whole, first, second = made(), made(), made()
    for qnode in (whole, first):
        qnode.device.begin_run(np.random.default_rng(5).bit_generator.state)
    expected = [whole() for _ in range(6)]
    for _ in range(2):
        first()
    checkpoint.save(tmp_path / "state", first.device.generator_state)
    second()  # rates that are to be forgotten
    second.device.generator_state = checkpoint.load(tmp_path / "state")
    np.testing.assert_array_equal([second() for _ in range(4)], expected[2:])
    assert second.device.spent == whole.device.spent
    inner = second.device.machine.machine.machine
    assert inner.loaded == {"submissions": 2}
    second.device.begin_run(None)
    assert second.device.machine.state["rates"] is None


def test_a_training_run_comes_nearer_to_the_one_without_noise():
    X = np.random.default_rng(0).uniform(-1, 1, (4, 2))
    y = np.sin(X[:, :1])

    def final_loss(machine):
        model = QuantumModel(2, 1, 1, backend=MachineDevice(machine, 2), seed=1)
        config = TrainingConfig(
            epochs=5, learning_rate=0.2, seed=0, gradient_method="parameter_shift"
        )
        return QuantumTrainer(config).train(model, (X, y))["losses"][-1]

    noisy = Dense(strength=0.003, rates=((0.1, 0.15), (0.2, 0.05)))
    ideal, raw = final_loss(Dense()), final_loss(noisy)
    both = final_loss(ZeroNoise(ReadoutMitigation(noisy)))
    assert abs(both - ideal) < 0.1 * abs(raw - ideal)


@pytest.mark.parametrize("own", [True, False])
def test_the_estimated_cost_is_that_of_the_run(own):
    """Of a device of the user's, which has run before, and of a backend by its name."""
    every = {"every": 2}
    if own:
        machine = ReadoutMitigation(Dense(rates=RATES), **every)
        backend = MachineDevice(ZeroNoise(machine, scale_factors=(1, 3)), 2)
    else:
        backend = BackendManager().get_backend(
            "cirq", readout_mitigation=every, zero_noise=(1, 3)
        )
    model = QuantumModel(2, 1, 1, backend=backend, seed=1)
    if own:
        model.forward(np.zeros((1, 2)))
        backend.begin_run(None)
    config = TrainingConfig(
        epochs=3, shots=50, seed=0, gradient_method="parameter_shift", batch_size=2
    )
    trainer, data = QuantumTrainer(config), (np.ones((3, 2)) / 4, np.ones((3, 1)))
    total = trainer.estimate_cost(model, data).total
    trainer.train(model, data)
    spent = model.placed.device.spent
    assert total.circuits == spent.circuits
    assert (total.shots, total.jobs, total.dollars) == (spent.shots, 6, 0.0)
    assert total.one_qubit_gates == spent.one_qubit_gates


@pytest.mark.timeout(30)
def test_rates_are_sent_to_a_service_once(ionq_server, tmp_path):
    """An interrupted run takes them from the ledger, or from its checkpoint."""
    backend = BackendManager().get_backend(
        "ionq_simulator",
        ledger=tmp_path / "jobs.db",
        poll=0.01,
        readout_mitigation=True,
    )
    device = backend.device(3)
    qnode = qml.QNode(circuit, device, shots=100)
    states, values = [], []
    for _ in range(2):
        states.append(copy.deepcopy(device.generator_state))
        values.append(np.array(qnode()))
    sent = ionq_server.submissions
    assert device.spent.jobs == sent == 2
    assert device.spent.circuits == (1 + 2) + 1
    for state, value in zip(states, values, strict=True):
        device.generator_state = state
        np.testing.assert_array_equal(qnode(), value)
    assert ionq_server.submissions == sent


# --- options and refusals -------------------------------------------------------


def test_options_of_a_backend():
    get = BackendManager().get_backend
    chosen = {"readout_mitigation": {"every": 4, "shots": 7}, "zero_noise": [1, 3]}
    backend = get("cirq", **chosen)
    machine = pickle.loads(pickle.dumps(backend)).device(2).machine
    assert repr(machine) == (
        "ZeroNoise(ReadoutMitigation(CirqMachine(mixed=False, noise=None), "
        "every=4, shots=7), scale_factors=(1, 3), extrapolate='richardson')"
    )
    options = {"scale_factors": (1, 3, 5), "extrapolate": "linear"}
    machine = get("cirq", zero_noise=options).device(2).machine
    assert repr(machine).endswith("extrapolate='linear')")
    plain = get("cirq", zero_noise=None, readout_mitigation=False).device(2).machine
    assert repr(plain) == "CirqMachine(mixed=False, noise=None)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zero_nose": True}, "no option 'zero_nose'.*zero_noise"),
        ({"zero_noise": 3}, "`scale_factors` must be a sequence of odd integers"),
        ({"zero_noise": {"factors": (1, 3)}}, "no part 'factors'; its parts are \"sca"),
        ({"zero_noise": {"scale_factors": 3}}, "`scale_factors` must be a sequence"),
        ({"zero_noise": (1, 2.5)}, "`scale_factors` must be an integer"),
        ({"zero_noise": (1, 2, 3)}, "different odd integers, but is"),
        ({"zero_noise": (1, 1, 3)}, "different odd integers, but is"),
        ({"zero_noise": (3,)}, "different odd integers, but is"),
        ({"zero_noise": {"extrapolate": "cubic"}}, '"linear", "richardson", but is'),
        ({"zero_noise": {"extrapolate": 3}}, "must be below 3, the number of scale"),
        ({"zero_noise": {"extrapolate": 0}}, "`extrapolate` must be >= 1"),
        ({"readout_mitigation": 5}, "`readout_mitigation` must be True, or a dict"),
        ({"readout_mitigation": {"each": 5}}, "no part 'each'"),
        ({"readout_mitigation": {"every": 0}}, "`every` must be >= 1"),
        ({"readout_mitigation": {"shots": 1.5}}, "`shots` must be an integer"),
    ],
)
def test_wrong_options_are_refused_before_a_device_is_made(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        BackendManager().get_backend("cirq", **options)


@pytest.mark.parametrize(
    ("wrap", "limits", "gates", "message"),
    [
        (ZeroNoise, Limits(), "RX RY CNOT", "may cancel gates with their inverses"),
        (ZeroNoise, Limits(verbatim=True), "RX GPI", "not know the inverse of GPI, a"),
        (ReadoutMitigation, Limits(), "RY CNOT", "neither of the gates PauliX and RX"),
        (
            lambda m: ReadoutMitigation(m, shots=9),
            Limits(shots=8),
            "RX",
            "`shots` of the readout mitigation must be <= 8",
        ),
        (
            lambda m: ReadoutMitigation(m, shots=9),
            Limits(sampled=False),
            "RX",
            "runs without shots",
        ),
    ],
)
def test_machines_that_cannot_be_mitigated_are_refused(wrap, limits, gates, message):
    machine = Dense(limits=limits)
    machine.gate_set = frozenset(gates.split())
    with pytest.raises(ValueError, match=message):
        wrap(machine)


def test_a_compiler_that_is_not_ours_is_refused(tmp_path):
    options = {"ledger": tmp_path / "jobs.db", "api_key": "canary-key-3f1c"}
    get = BackendManager().get_backend
    backend = get("ionq_simulator", zero_noise=True, **options)
    with pytest.raises(ValueError, match=r"Backend ionq_simulator may cancel gates"):
        backend.device(2)
    backend = get("ionq_simulator", readout_mitigation=True, **options)
    assert "ReadoutMitigation(IonQMachine" in repr(backend.device(2).machine)


@pytest.mark.parametrize("wrap", [ReadoutMitigation, ZeroNoise])
def test_lists_of_outcomes_are_refused_before_they_are_run(wrap):
    machine = Dense()
    batch = Batch(Circuit(13, (), tuple(range(13))), np.empty((1, 0)), np.array([5]))
    for method in ("bill", "run"):
        arguments = ([batch],) if method == "bill" else ([batch], TICKET)
        with pytest.raises(QuantumCircuitError, match=r"12 measured wires, but 13"):
            getattr(wrap(machine), method)(*arguments)
    assert machine.submissions == []


def test_a_wire_that_tells_nothing_is_refused():
    machine = ReadoutMitigation(Dense(rates=((0.0, 0.0), (0.4, 0.55), (0.0, 0.0))))
    message = r"Wire 1 is read as 1 in 40\.0% .* 0 in 55\.0% .*\(backend `dense`\)"
    with pytest.raises(QuantumCircuitError, match=message):
        on(machine)()
    assert machine.state["rates"] is None


def test_adaptive_shots_are_refused():
    """Their rule needs variances, which corrected frequencies do not give."""
    device = MachineDevice(ReadoutMitigation(Dense()), 2)
    model = QuantumModel(2, 1, 1, backend=device, seed=1)
    config = TrainingConfig(epochs=1, shots="adaptive", shots_budget=10_000, seed=0)
    with pytest.raises(QuantumCircuitError, match="Adaptive shots need the var"):
        QuantumTrainer(config).train(model, (np.zeros((2, 2)), np.zeros((2, 1))))
    assert device.machine.machine.submissions == []
