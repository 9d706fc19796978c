"""The IonQ server of the tests, which PennyLane's own plugin talks to."""

import json

import numpy as np
import pennylane as qml
import pytest
import requests

from tests.servers.ionq import KEY, IonQServer
from tests.servers.ionq_jobs import Fault, Price
from tests.servers.ionq_payload import BadRequest, read
from tests.servers.ionq_process import in_another_process
from tests.servers.ionq_simulator import exact

pytestmark = pytest.mark.timeout(60)
SHOTS = 4000
WEIGHTS = np.random.default_rng(3).uniform(-np.pi, np.pi, 12)


def gates(w):
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
    qml.RY(w[6], 0)
    qml.RX(w[7], 2)


def outcomes(w):
    gates(w)
    return qml.probs(wires=[0, 1, 2])


def value(w):
    gates(w)
    return qml.expval(qml.Z(0))


def plugin(name="ionq.simulator", **options):
    return qml.device(name, wires=3, **options)


def sampled(function, device, shots=SHOTS):
    return qml.set_shots(qml.QNode(function, device), shots)


def true(function, *args):
    return qml.QNode(function, qml.device("default.qubit"))(*args)


def test_the_simulator_gives_the_probabilities_of_default_qubit(ionq_server):
    found = sampled(outcomes, plugin())(WEIGHTS)
    np.testing.assert_allclose(found, true(outcomes, WEIGHTS), rtol=0, atol=1e-12)
    (job,) = ionq_server.jobs
    assert job.gates == [(12, 5)]
    assert (job.circuits, job.shots, job.payload.n_qubits) == (1, SHOTS, 3)
    assert ionq_server.bill == 0.0


def test_expectation_values_and_their_shifts_come_in_one_job_each(ionq_server):
    np.random.seed(11)  # noqa: NPY002 - by which the plugin samples
    node = sampled(value, plugin())
    w = qml.numpy.array(WEIGHTS, requires_grad=True)
    gradient = qml.grad(node)(w)
    reference = qml.QNode(value, qml.device("default.qubit"))
    np.testing.assert_allclose(
        gradient, qml.grad(reference)(w), rtol=0, atol=5 / np.sqrt(2 * SHOTS)
    )
    first, second = ionq_server.jobs
    assert (first.circuits, second.circuits) == (1, 14)  # the last gate is not seen
    assert second.payload.multi
    assert not first.payload.multi


def test_a_qpu_measures_shots_with_noise(ionq_server):
    first, second = (
        sampled(outcomes, plugin("ionq.qpu", backend="aria-1"), 1000)(WEIGHTS)
        for _ in range(2)
    )
    for found in (first, second):
        np.testing.assert_allclose(1000 * found, np.rint(1000 * found), atol=1e-9)
        np.testing.assert_allclose(found, true(outcomes, WEIGHTS), rtol=0, atol=0.08)
    assert (first != second).any()
    (histogram,) = ionq_server.jobs[0].results(0)
    assert sum(histogram.values()) == pytest.approx(1.0, abs=1e-12)


def test_noise_with_a_seed_is_the_same_again(ionq_server):
    options = {"noise_model": "harmony", "noise_seed": 7}
    first, second = (sampled(outcomes, plugin(**options))(WEIGHTS) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - true(outcomes, WEIGHTS)).max() > 0.005


def test_bit_q_of_a_key_is_qubit_q():
    body = {
        "type": "ionq.circuit.v1",
        "input": {
            "qubits": 3,
            "gateset": "qis",
            "circuit": [{"gate": "x", "target": 2}],
        },
        "backend": "simulator",
    }
    payload = read(json.dumps(body).encode())
    assert np.flatnonzero(exact(payload.circuits[0], 3)).tolist() == [4]


def circuit(*gates):
    return {
        "type": "ionq.circuit.v1",
        "input": {"qubits": 2, "gateset": "qis", "circuit": list(gates)},
        "backend": "simulator",
        "shots": 100,
    }


GOOD = circuit({"gate": "rx", "target": 0, "rotation": 0.5})
MULTI = {
    **GOOD,
    "type": "ionq.multi-circuit.v1",
    "input": {"qubits": 2, "gateset": "qis", "circuits": []},
}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not JSON"),
        (circuit({"gate": "rx", "target": 0, "rotation": float("nan")}), "NaN"),
        (circuit({"gate": "cz", "control": 0, "target": 1}), "must be one of"),
        (circuit({"gate": "rx", "target": 0}), "'rotation'"),
        (circuit({"gate": "h", "target": 2}), "from 0 to 1, not 2"),
        (circuit({"gate": "h", "target": 0, "rotation": 1.0}), "unknown field"),
        (circuit({"gate": "swap", "targets": [1, 1]}), "must differ"),
        (circuit({"gate": "h", "target": True}), "must be an integer"),
        (circuit({"gate": "rx", "target": 0, "rotation": "1"}), "must be a number"),
        (GOOD | {"shots": 0}, "from 1 to 1000000"),
        (GOOD | {"shots": 10.0}, "must be an integer"),
        (GOOD | {"backend": "qpu.aria-9"}, "must be one of"),
        (GOOD | {"backend": "qpu.aria-1", "shots": 20_000}, "from 1 to 10000"),
        (GOOD | {"backend": "qpu.aria-1", "noise": {"model": "ideal"}}, "simulator"),
        (GOOD | {"noise": {"model": "aria-1", "seed": 0}}, "from 1 to 2147483647"),
        (GOOD | {"metadata": {"a": 1}}, "must be a string"),
        (GOOD | {"more": 1}, "unknown field 'more'"),
        (MULTI, "at least one circuit"),
    ],
)
def test_a_payload_that_is_not_as_it_must_be_is_refused(body, message):
    given = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BadRequest, match=message):
        read(given)


def post(server, body=GOOD, key=KEY):
    headers = {"Authorization": f"apiKey {key}"}
    return requests.post(f"{server.url}/jobs", json=body, headers=headers, timeout=10)


def get(server, path):
    headers = {"Authorization": f"apiKey {KEY}"}
    return requests.get(f"{server.url}/{path}", headers=headers, timeout=10)


def test_a_wrong_key_and_a_wrong_payload_are_no_jobs(ionq_server):
    assert post(ionq_server, key="other").status_code == 401
    refused = post(ionq_server, GOOD | {"shots": 0})
    assert refused.status_code == 400
    assert "shots must be" in refused.json()["message"]
    assert ionq_server.submissions == 0
    with pytest.raises(Exception, match="Invalid key provided"):
        sampled(outcomes, plugin(api_key="other"))(WEIGHTS)


def test_states_follow_polls_and_results_come_last():
    with IonQServer(polls=3) as server:
        job = post(server).json()["id"]
        states = [get(server, f"jobs/{job}").json()["status"] for _ in range(5)]
        assert states == ["submitted", "ready", "running", "completed", "completed"]
        assert server.polls_seen == 5
        server.delay, server.polls = 0.2, 0
        later = post(server).json()["id"]
        assert get(server, f"jobs/{later}").json()["status"] == "submitted"
        assert get(server, f"jobs/{later}/results/probabilities").status_code == 404


def test_a_circuit_without_gates_fails_as_the_plugin_says(ionq_server):
    job = post(ionq_server, circuit()).json()["id"]
    assert get(ionq_server, f"jobs/{job}").json()["status"] == "failed"


def test_the_bill_is_by_the_price_list():
    price = Price(one=1e-4, two=1e-3, least=1.0)
    with IonQServer(prices={"qpu.aria-1": price}) as server:
        many = [{"gate": "h", "target": 0}] * 30
        many += [{"gate": "cnot", "control": 0, "target": 1}] * 20
        post(server, circuit(*many) | {"backend": "qpu.aria-1", "shots": 1000})
        assert server.bill == pytest.approx(1000 * (30e-4 + 20e-3), rel=1e-12)
        post(server, GOOD | {"backend": "qpu.aria-1"})
        assert server.jobs[1].dollars == 1.0
        server.faults.append(Fault("post", "failed"))
        post(server, GOOD | {"backend": "qpu.aria-1"})
        assert server.bill == pytest.approx(24.0, rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "status", "submissions"),
    [(429, 429, 0), (503, 503, 0), ("drop", None, 0), ("lost", None, 1)],
)
def test_faults_of_submissions(kind, status, submissions):
    with IonQServer(faults=[Fault("post", kind, after=1, retry_after=2)]) as server:
        assert post(server).status_code == 201
        if status is None:
            with pytest.raises(requests.ConnectionError):
                post(server)
        else:
            reply = post(server)
            assert reply.status_code == status
            assert reply.headers["Retry-After"] == "2"
        assert server.submissions == 1 + submissions
        assert post(server).status_code == 201


def test_faults_of_results_and_states():
    two = {"circuit": GOOD["input"]["circuit"]}
    body = MULTI | {"input": {"qubits": 2, "gateset": "qis", "circuits": [two, two]}}
    with IonQServer() as server:
        job = post(server, body).json()["id"]
        path = f"jobs/{job}/results/probabilities"
        good = get(server, path).json()
        assert len(good) == 2
        for kind in ("wrong_shots", "missing_register", "extra_key", "garbage"):
            server.faults.append(Fault("results", kind))
        spoilt = [get(server, path) for _ in range(4)]
        first = list(spoilt[0].json().values())
        assert sum(first[0].values()) == pytest.approx(0.9, abs=1e-12)
        assert len(spoilt[1].json()) == 1
        assert "4" in next(iter(spoilt[2].json().values()))
        assert not spoilt[3].text.startswith("{")
        assert get(server, path).json() == good
        server.faults.append(Fault("get", "canceled"))
        assert get(server, f"jobs/{job}").json()["status"] == "canceled"
        assert get(server, f"jobs/{job}").json()["status"] == "canceled"


def test_jobs_are_listed_newest_first_and_in_pages():
    with IonQServer(listing=True) as server:
        body = GOOD | {"metadata": {"qstore_key": "a"}}
        jobs = [post(server, body).json()["id"] for _ in range(5)]
        listed, path = [], "jobs?limit=2"
        while path is not None:
            page = get(server, path).json()
            assert len(page["jobs"]) <= 2
            listed += page["jobs"]
            path = f"jobs?limit=2&next={page['next']}" if page["next"] else None
        assert [job["id"] for job in listed] == jobs[::-1]
        assert listed[0]["metadata"] == {"qstore_key": "a"}


def test_a_fault_strikes_by_chance_with_a_seed():
    fault = Fault("get", 503, times=None, probability=0.3, seed=5)
    struck = [fault.strikes("get") for _ in range(400)]
    again = Fault("get", 503, times=None, probability=0.3, seed=5)
    assert struck == [again.strikes("get") for _ in range(400)]
    assert abs(np.mean(struck) - 0.3) < 5 * np.sqrt(0.21 / 400)


def test_a_server_in_another_process_keeps_its_jobs(tmp_path):
    with in_another_process(tmp_path, faults=[Fault("post", "failed")]) as server:
        failed, good = (post(server).json()["id"] for _ in range(2))
        assert [job.id for job in server.jobs] == [failed, good]
        assert get(server, f"jobs/{good}").json()["status"] == "completed"
    with IonQServer(log=tmp_path / "jobs.log") as server:
        assert server.submissions == 2
        assert get(server, f"jobs/{failed}").json()["status"] == "failed"
        path = f"jobs/{good}/results/probabilities"
        assert get(server, path).json() == pytest.approx(server.jobs[1].results(0)[0])
