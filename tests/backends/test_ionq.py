"""IonQ's machines: what is sent, what is read, what it costs; against a server."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import BackendManager, QuantumGradientComputer, QuantumModel
from qstore_pl.backends.device import MachineDevice
from qstore_pl.backends.ionq import IonQMachine
from qstore_pl.backends.ledger import Ledger
from qstore_pl.backends.machine import Batch, Ticket
from qstore_pl.backends.prices import price_list
from qstore_pl.devices import Circuit
from qstore_pl.devices.parametric import Gate
from qstore_pl.errors import CredentialsError
from tests.servers.ionq_jobs import Price
from tests.servers.ionq_simulator import ERRORS

pytestmark = pytest.mark.timeout(60)
SHOTS = 10_000
ANGLES = np.random.default_rng(3).uniform(-np.pi, np.pi, 8)
TICKET = Ticket(1, "run")


@pytest.fixture(autouse=True)
def _own_ledger(monkeypatch, tmp_path):
    monkeypatch.setenv("QSTORE_JOBS", str(tmp_path / "jobs.db"))


def device(machine, wires=3, **options):
    return MachineDevice(machine, wires, **{"shots": SHOTS, "seed": 0, **options})


def gates(w):
    """Every gate that is sent, and some that are decomposed."""
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.RZ(w[2], 2)
    qml.Hadamard(2)
    qml.IsingXX(w[3], [0, 2])
    qml.IsingYY(w[4], [2, 1])
    qml.IsingZZ(w[5], [1, 0])
    qml.CNOT([2, 0])
    qml.S(0)
    qml.T(1)
    qml.SX(2)
    qml.SWAP([0, 1])
    qml.X(0)
    qml.Y(1)
    qml.Z(2)
    qml.CZ([0, 2])
    qml.adjoint(qml.S(1))
    qml.CRY(w[6], [1, 2])
    qml.Rot(0.1, w[7], 0.2, 0)


def measured(w):
    gates(w)
    return (
        qml.probs(wires=[2, 0]),
        qml.expval(qml.X(0) @ qml.Y(2)),
        qml.expval(qml.Z(1)),
        qml.probs(wires=[1]),
    )


@pytest.mark.parametrize("options", [{}, {"qpu": True}])
def test_values_are_those_of_pennylane(ionq_server, monkeypatch, options):
    monkeypatch.setitem(ERRORS, "aria-1", (0.0, 0.0, 0.0))
    found, exact = (
        np.concatenate([np.ravel(one) for one in qml.QNode(measured, on)(ANGLES)])
        for on in (device(IonQMachine(**options)), qml.device("default.qubit"))
    )
    assert (np.abs(found - exact) <= 5 / np.sqrt(SHOTS)).all()
    assert ionq_server.submissions == 1
    sent = {gate.name for job in ionq_server.jobs for gate in job.payload.circuits[0]}
    assert sent >= {"x", "y", "z", "h", "s", "t", "v", "rx", "ry", "rz", "swap"}
    assert sent >= {"cnot", "xx", "yy", "zz"}


def rotated(angles, shots, measured, n_wires=3):
    """RX on the first qubit, RY on the last one."""
    gates = Gate("RX", (0,), column=0), Gate("RY", (n_wires - 1,), column=1)
    circuit = Circuit(n_wires, (*gates, Gate("CNOT", (0, 1))), measured, 2)
    angles = np.asarray(angles, dtype=float)
    return Batch(circuit, angles, np.full(len(angles), shots))


@pytest.mark.parametrize("name", ["ionq_simulator", "ionq_qpu"])
def test_a_bell_state_is_00_or_11(ionq_server, monkeypatch, name):
    monkeypatch.setitem(ERRORS, "aria-1", (0.0, 0.0, 0.0))
    on = BackendManager().get_backend(name, shots=1000, seed=0).device(2)
    found = qml.QNode(bell, on)()
    assert found[1] == found[2] == 0
    assert abs(found[0] - 0.5) <= 5 * np.sqrt(0.25 / 1000)
    assert ionq_server.jobs[0].payload.circuits[0][1].name == "cnot"


def bell():
    qml.Hadamard(0)
    qml.CNOT([0, 1])
    return qml.probs(wires=[0, 1])


def test_outcomes_of_a_quantum_computer_are_taken_as_they_are(ionq_server):
    batch = rotated([[1.0, 2.0], [0.4, 0.0]], 1000, (2, 1))
    (shares,) = IonQMachine(qpu=True).run([batch], TICKET)
    (job,) = ionq_server.jobs
    for found, histogram in zip(shares, job.results(ionq_server.seed), strict=True):
        by_hand = np.zeros(4)
        for outcome, share in histogram.items():
            bits = [int(outcome) >> qubit & 1 for qubit in range(3)]
            by_hand[2 * bits[2] + bits[1]] += share
        np.testing.assert_allclose(found, by_hand, rtol=0, atol=1e-12)


def test_a_simulator_draws_from_the_ticket_alone(ionq_server, tmp_path):
    batches = [rotated([[1.0, 2.0], [0.4, 0.1]], 100, (0, 2))]

    def found(ticket, path):
        return IonQMachine(ledger=tmp_path / path).run(batches, ticket)[0]

    np.random.seed(0)  # noqa: NPY002 - the plugin draws from this generator
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = found(TICKET, "a")
    assert (first == found(TICKET, "a")).all()
    assert (first == found(TICKET, "b")).all()
    assert (first != found(Ticket(2, "run"), "a")).any()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert ionq_server.submissions == 3


def test_wide_measurements_are_lists_of_outcomes(ionq_server):
    n = 13
    gates = [Gate("RX", (i,), column=0) for i in range(n)]
    circuit = Circuit(n, tuple(gates), tuple(range(n))[::-1], 1)
    angles = np.array([[np.pi], [0.0], [0.5]])
    (found,) = IonQMachine().run([Batch(circuit, angles, np.full(3, 2000))], TICKET)
    assert (found[0] == (1 << n) - 1).all()
    assert (found[1] == 0).all()
    ones = (found[2][:, None] >> np.arange(n)) & 1
    assert ones.shape == (2000, n)
    p = np.sin(0.25) ** 2
    assert abs(ones.mean() - p) <= 5 * np.sqrt(p * (1 - p) / ones.size)


# --- what is sent ---------------------------------------------------------------


def test_a_job_as_it_is_sent(ionq_server):
    machine = IonQMachine(
        noise_model="aria-1",
        noise_seed=7,
        compilation={"opt": 1, "precision": "1E-3"},
        job_name="mine",
    )
    machine.run([rotated([[0.5, 0.0], [0.0, -0.5]], 64, (0,))], TICKET)
    (job,) = ionq_server.jobs
    (entry,) = machine.ledger.entries()
    cnot = {"gate": "cnot", "control": 0, "target": 1}
    assert job.body == {
        "type": "ionq.multi-circuit.v1",
        "backend": "simulator",
        "shots": 64,
        "name": f"mine {entry.key[:12]}",
        "metadata": {"qstore_key": entry.key},
        "noise": {"model": "aria-1", "seed": 7},
        "settings": {"compilation": {"opt": 1, "precision": "1E-3"}},
        "input": {
            "qubits": 3,
            "gateset": "qis",
            "circuits": [
                {"circuit": [{"gate": "rx", "target": 0, "rotation": 0.5}, cnot]},
                {"circuit": [{"gate": "ry", "target": 2, "rotation": -0.5}, cnot]},
            ],
        },
    }
    assert (entry.job, entry.circuits, entry.qubits, entry.shots) == (job.id, 2, 3, 64)


@pytest.mark.parametrize("mitigation", [None, {"debiasing": True}])
def test_a_job_of_a_quantum_computer_says_whether_errors_are_mitigated(
    ionq_server, mitigation
):
    machine = IonQMachine(qpu=True, machine="forte-1", error_mitigation=mitigation)
    machine.run([rotated([[0.5, 0.1]], 500, (0,))], TICKET)
    (job,) = ionq_server.jobs
    assert (job.body["type"], job.body["backend"]) == ("ionq.circuit.v1", "qpu.forte-1")
    assert job.payload.debiasing is (mitigation is not None)


def test_a_circuit_without_gates_gets_one_that_changes_nothing(ionq_server):
    circuit = Circuit(2, (Gate("RX", (0,), column=0),), (0, 1), 1)
    batch = Batch(circuit, np.zeros((1, 1)), np.array([50]))
    machine = IonQMachine()
    (shares,) = machine.run([batch], TICKET)
    assert shares.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert ionq_server.jobs[0].gates == [(1, 0)]
    assert machine.bill([batch]).one_qubit_gates == 1


def test_a_job_has_at_most_500_circuits(ionq_server):
    angles = np.column_stack([np.linspace(0.1, 1, 1001), np.ones(1001)])
    batch = rotated(angles, 10, (0,), n_wires=2)
    machine = IonQMachine()
    machine.run([batch], TICKET)
    assert [job.circuits for job in ionq_server.jobs] == [500, 500, 1]
    assert machine.bill([batch]).jobs == 3


# --- what it costs --------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({}, "simulator"),
        ({"qpu": True}, "qpu.aria-1"),
        ({"qpu": True, "error_mitigation": {"debiasing": True}}, "qpu.aria-1"),
        ({"qpu": True, "machine": "forte-1"}, "qpu.forte-1"),
    ],
)
def test_the_bill_is_what_the_server_counts(ionq_server, options, target):
    ours = price_list().of(f"ionq.{target}")
    ionq_server.prices[target] = Price(
        one=ours.one_qubit_gate,
        two=ours.two_qubit_gate,
        least=ours.minimum,
        least_mitigated=ours.minimum_mitigated,
    )
    name = "ionq_qpu" if options else "ionq_simulator"
    given = {name: value for name, value in options.items() if name != "qpu"}
    backend = BackendManager().get_backend(name, shots=1000, seed=0, **given)
    model = QuantumModel(2, 2, n_layers=2, backend=backend, seed=0)
    model.parameters[3] = 0.0  # a rotation less in most circuits
    X = np.random.default_rng(0).uniform(-1, 1, (3, 2))
    computer = QuantumGradientComputer(method="parameter_shift")
    computer.compute_gradients(
        model, model.parameters, inputs=X, targets=np.zeros((3, 2)), loss="mse"
    )
    jobs, spent = ionq_server.jobs, model.device.spent
    assert (spent.jobs, ionq_server.submissions) == (1, 1)
    assert spent.circuits == jobs[0].circuits == 3 * (1 + 2 * 12)
    assert spent.shots == spent.circuits * jobs[0].shots
    one, two = np.sum(jobs[0].gates, axis=0)
    assert (spent.one_qubit_gates, spent.two_qubit_gates) == (one, two)
    assert spent.dollars == pytest.approx(ionq_server.bill, rel=1e-12)
    assert (spent.dollars > 0) is bool(options)
    (entry,) = Ledger().entries()
    assert entry.dollars == pytest.approx(spent.dollars, rel=1e-12)


def test_a_price_that_is_not_known_and_one_of_the_user(tmp_path):
    batch = rotated([[0.5, 0.1]], 500, (0,))
    machine = IonQMachine(qpu=True, machine="forte-enterprise-1")
    unknown = price_list().of("ionq.qpu.forte-enterprise-1") is None
    assert (machine.bill([batch]).dollars is None) is unknown
    path = tmp_path / "prices.toml"
    path.write_text(
        'version = 1\ndate = 2026-01-01\n[targets."ionq.qpu.forte-enterprise-1"]\n'
        'circuit = 2.5\nshot = 0.01\nsource = "my contract"\nas_of = 2026-01-01\n'
    )
    machine = IonQMachine(qpu=True, machine="forte-enterprise-1", prices=path)
    assert machine.bill([batch]).dollars == pytest.approx(7.5, abs=1e-12)


# --- training -------------------------------------------------------------------


def test_a_gradient_is_that_of_the_exact_circuit_within_shot_noise(ionq_server):
    X = np.random.default_rng(1).uniform(-1, 1, (4, 2))
    y = np.array([[1.0, 0.0]] * 4)
    found = []
    for backend, method in (
        (
            BackendManager().get_backend("ionq_simulator", shots=100_000),
            "parameter_shift",
        ),
        ("mock_ideal", "best"),
    ):
        model = QuantumModel(2, 2, n_layers=1, backend=backend, seed=0)
        result = QuantumGradientComputer(method=method).compute_gradients(
            model, model.parameters, inputs=X, targets=y, loss="mse"
        )
        found.append(result.gradients)
    assert np.abs(found[0] - found[1]).max() <= 5 * 2 / np.sqrt(100_000)
    assert np.abs(found[1]).max() > 0.1
    assert ionq_server.submissions == 1


def test_a_trained_model_runs_offline_from_the_ledger(ionq_server, monkeypatch):
    X = np.random.default_rng(1).uniform(-1, 1, (4, 2))

    def outputs(**options):
        options = {"shots": 200, "seed": 3, "noise_model": "forte-1", **options}
        backend = BackendManager().get_backend("ionq_simulator", **options)
        model = QuantumModel(2, 1, n_layers=1, backend=backend, seed=0)
        return model(X), model(X)

    online = outputs()
    posts = ionq_server.submissions
    monkeypatch.delenv("PENNYLANE_IONQ_API_KEY")  # nothing is asked for
    offline = outputs(replay=True)
    assert posts == ionq_server.submissions == 2
    for first, second in zip(online, offline, strict=True):
        assert (first == second).all()


# --- options --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"machine": "aria-9"}, ValueError, '`machine` must be one of "aria-1"'),
        ({"noise_model": "loud"}, ValueError, '`noise_model` must be one of "aria-1"'),
        ({"noise_seed": 3}, ValueError, "`noise_seed` needs a `noise_model`"),
        (
            {"noise_model": "ideal", "noise_seed": 2**31},
            ValueError,
            "`noise_seed` must be at most 2147483647, but is 2147483648",
        ),
        ({"noise_model": "ideal", "noise_seed": 0}, ValueError, "must be >= 1"),
        ({"error_mitigation": {"zne": True}}, ValueError, "`error_mitigation` must be"),
        ({"error_mitigation": {"debiasing": 1}}, TypeError, "`debiasing` must be True"),
        (
            {"compilation": {"opt": [1]}},
            TypeError,
            "`compilation` must be a dictionary",
        ),
        ({"job_name": 3}, TypeError, "`job_name` must be a word, but is 3"),
        ({"api_key": ""}, ValueError, "secret must not be empty"),
    ],
)
def test_options_that_are_refused(options, kind, said):
    with pytest.raises(kind, match=said):
        IonQMachine(**options)


def test_options_of_the_other_machine_are_refused():
    manager = BackendManager()
    with pytest.raises(TypeError, match="ionq_qpu has no option 'noise_model'"):
        manager.get_backend("ionq_qpu", noise_model="ideal")
    with pytest.raises(TypeError, match="ionq_simulator has no option 'machine'"):
        manager.get_backend("ionq_simulator", machine="aria-1")


@pytest.mark.parametrize(
    ("options", "qubits", "shots"),
    [
        ({}, 29, None),
        ({"noise_model": "harmony"}, 11, None),
        ({"qpu": True}, 25, 10_000),
        ({"qpu": True, "machine": "forte-1"}, 36, 10_000),
    ],
)
def test_limits(options, qubits, shots):
    limits = IonQMachine(**options).limits
    assert (limits.qubits, limits.shots, limits.exact) == (qubits, shots, False)


def test_a_machine_is_copied_and_pickled_without_its_key(ionq_server):
    batch = rotated([[0.5, 0.1]], 100, (0, 1))
    machine = IonQMachine(api_key="env:PENNYLANE_IONQ_API_KEY", job_name="mine")
    expected = machine.run([batch], TICKET)
    for other in (copy.deepcopy(machine), pickle.loads(pickle.dumps(machine))):
        assert (other.run([batch], TICKET)[0] == expected[0]).all()
        assert repr(other) == repr(machine)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(IonQMachine(api_key="canary-key-3f1c"))
    assert ionq_server.submissions == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://api.ionq.co/v0.4", "would be sent to api.ionq.co without encryption"),
        ("http://localhost.evil.org/v0.4", "localhost.evil.org without encryption"),
    ],
)
def test_the_key_does_not_travel_in_clear(ionq_server, monkeypatch, url, said):
    monkeypatch.setattr("pennylane_ionq.api_client.APIClient.BASE_URL", url)
    with pytest.raises(CredentialsError, match=said):
        IonQMachine().run([rotated([[0.5, 0.1]], 100, (0,))], TICKET)
    assert Ledger().entries() == []


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "There is no API key. Set the environment variable PENNYLANE_IONQ_API"),
        ("env:NOT_SET", "the environment has no variable NOT_SET"),
        ("key\n", "characters that no key has"),
    ],
)
def test_without_a_key_nothing_is_written_down(ionq_server, monkeypatch, key, said):
    monkeypatch.delenv("PENNYLANE_IONQ_API_KEY")
    with pytest.raises(CredentialsError, match=said):
        IonQMachine(api_key=key).run([rotated([[0.5, 0.1]], 100, (0,))], TICKET)
    assert Ledger().entries() == []
    monkeypatch.setenv("IONQ_API_KEY", ionq_server.key)
    IonQMachine().run([rotated([[0.5, 0.1]], 100, (0,))], TICKET)
    assert [one.state for one in Ledger().entries()] == ["done"]
