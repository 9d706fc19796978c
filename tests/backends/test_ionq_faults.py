"""Everything that can go wrong between a program and IonQ: errors, jobs, and time.

A row of ``FAULTS`` is what the server does wrong, the error, what it says, how many
jobs the server has accepted then, and the state of the job in the ledger. After each of
them the program runs again, and the server is well again.
"""

import contextlib
import copy
import os
import signal
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pennylane as qml
import pytest
import requests
from urllib3.exceptions import (
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from qstore_pl import BackendManager, cli, errors
from qstore_pl.backends.device import MachineDevice
from qstore_pl.backends.ionq import IonQMachine
from qstore_pl.backends.ledger import Ledger
from qstore_pl.backends.machine import Batch, Ticket
from qstore_pl.devices import Circuit
from qstore_pl.devices.parametric import Gate
from tests.servers.ionq_jobs import Fault

pytestmark = pytest.mark.timeout(30)
TICKET = Ticket(5, "run")
CIRCUIT = Circuit(2, (Gate("RX", (0,), column=0), Gate("CNOT", (0, 1))), (0, 1), 1)
BATCH = Batch(CIRCUIT, np.array([[0.4], [1.1]]), np.array([100, 100]))
URL = "pennylane_ionq.api_client.APIClient.BASE_URL"


@pytest.fixture(autouse=True)
def _own_ledger(monkeypatch, tmp_path):
    monkeypatch.setenv("QSTORE_JOBS", str(tmp_path / "jobs.db"))


def machine(**options):
    return IonQMachine(**{"poll": 0.005, "deadline": 5.0, **options})


def run(ticket=TICKET, **options):
    return machine(**options).run([BATCH], ticket)[0]


def entry():
    (found,) = Ledger().entries()
    return found


def resolve(server):
    """What a user does who looks for a lost job at the service."""
    key = entry().key
    at_the_service = [job.id for job in server.jobs if job.key == key]
    how = ["--id", at_the_service[0]] if at_the_service else ["--resend"]
    assert cli.main(["jobs", "resolve", key[:12], *how]) == 0


@pytest.fixture
def expected(ionq_server, tmp_path):
    """The outcomes of a run in which nothing goes wrong."""
    found = run(ledger=tmp_path / "well.db")
    ionq_server.jobs.clear()
    return found


# --- what mends itself ----------------------------------------------------------

PASSING = {
    "post 429": [Fault("post", 429, times=3)],
    "post 503": [Fault("post", 503, times=3)],
    "post slow": [Fault("post", "slow", seconds=0.2)],
    "get 429": [Fault("get", 429, times=3)],
    "get 500": [Fault("get", 500, times=3)],
    "get 503": [Fault("get", 503, times=3)],
    "get 524": [Fault("get", 524, times=3)],
    "get dropped": [Fault("get", "drop", times=3)],
    "get slow": [Fault("get", "slow", seconds=0.2)],
    "results 503": [Fault("results", 503, times=3)],
    "results dropped": [Fault("results", "drop", times=3)],
    "results lost": [Fault("results", "lost", times=3)],
    "everything": [
        Fault("post", 503, times=2),
        Fault("get", 502, probability=0.5, times=5, seed=1),
        Fault("get", "drop", probability=0.5, times=5, seed=2),
        Fault("results", 504, times=2),
    ],
}


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_changes_nothing(ionq_server, expected, name):
    ionq_server.faults += [copy.copy(fault) for fault in PASSING[name]]
    begun = time.monotonic()
    assert (run() == expected).all()
    assert time.monotonic() - begun < 10.0
    assert (ionq_server.submissions, entry().state) == (1, "done")
    assert all(fault.struck for fault in ionq_server.faults)


@pytest.mark.parametrize("where", ["post", "get"])
def test_it_waits_as_long_as_the_service_says(ionq_server, expected, where):
    ionq_server.faults.append(Fault(where, 429, retry_after=1))
    begun = time.monotonic()
    assert (run() == expected).all()
    assert 1.0 <= time.monotonic() - begun < 10.0
    assert ionq_server.submissions == 1


# --- what does not --------------------------------------------------------------

REFUSED, UNKNOWN, FOR_EVER = "JobFailedError", "LostJobError", None
FAULTS = {
    "post 400": (Fault("post", 400), REFUSED, "status 400", 0, "refused"),
    "post 401": (
        Fault("post", 401),
        "CredentialsError",
        "PENNYLANE_IONQ",
        0,
        "refused",
    ),
    "post 403": (Fault("post", 403), "CredentialsError", "api_key", 0, "refused"),
    "post 429": (*(Fault("post", 429, FOR_EVER), REFUSED, "status 429", 0, "refused"),),
    "post 500": (Fault("post", 500), UNKNOWN, "status 500", 0, "lost"),
    "post 502": (Fault("post", 502), UNKNOWN, "status 502", 0, "lost"),
    "post dropped": (Fault("post", "drop"), UNKNOWN, "connection broke", 0, "lost"),
    "post lost": (Fault("post", "lost"), UNKNOWN, "connection broke", 1, "lost"),
    "post garbage": (Fault("post", "garbage"), UNKNOWN, "no identifier", 1, "lost"),
    "post slow": (
        *(Fault("post", "slow", seconds=1.0), UNKNOWN, "no reply came", None, "lost"),
    ),
    "failed": (
        *(Fault("post", "failed"), "JobFailedError", "CompilationError", 1, "failed"),
    ),
    "failed later": (
        *(Fault("get", "failed"), "JobFailedError", "could not be run", 1, "failed"),
    ),
    "cancelled": (
        *(Fault("get", "canceled"), "JobCancelledError", "was cancelled", 1, "failed"),
    ),
    "stuck": (
        *(Fault("get", "stuck"), "JobTimeoutError", "no result after 0.6 s", 1, "sent"),
    ),
    "get 401": (Fault("get", 401), "CredentialsError", "status 401", 1, "sent"),
    "get 404": (Fault("get", 404), "LostJobError", "has no job", 1, "sent"),
    "get 400": (Fault("get", 400), "WrongResultError", "status 400", 1, "sent"),
    "get 503": (
        *(Fault("get", 503, FOR_EVER), "JobTimeoutError", "status 503", 1, "sent"),
    ),
    "get dropped": (
        *(Fault("get", "drop", FOR_EVER), "JobTimeoutError", "broke", 1, "sent"),
    ),
    "get slow": (
        Fault("get", "slow", FOR_EVER, seconds=30.0),
        *("JobTimeoutError", "no reply came in time", 1, "sent"),
    ),
    "get garbage": (
        *(Fault("get", "garbage"), "WrongResultError", "cannot be read", 1, "sent"),
    ),
    "results 403": (
        *(Fault("results", 403), "CredentialsError", "status 403", 1, "sent"),
    ),
    "results slow": (
        Fault("results", "slow", FOR_EVER, seconds=30.0),
        *("JobTimeoutError", "no reply came in time", 1, "sent"),
    ),
    "results garbage": (
        *(Fault("results", "garbage"), "WrongResultError", "cannot be read", 1, "sent"),
    ),
    "wrong shots": (
        *(Fault("results", "wrong_shots"), "WrongResultError", "sum to 0.9", 1, "sent"),
    ),
    "missing register": (
        Fault("results", "missing_register"),
        *("WrongResultError", "has 1 circuits, but 2 were sent", 1, "sent"),
    ),
    "extra key": (
        Fault("results", "extra_key"),
        *("WrongResultError", "2 qubits has the outcome 4", 1, "sent"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_an_error_of_its_own_kind(ionq_server, expected, name):
    fault, kind, said, accepted, state = FAULTS[name]
    if kind == "JobTimeoutError":  # what was left for the last question may be short
        said += "|no reply came in time"
    ionq_server.faults[:] = [fault]
    begun = time.monotonic()
    with pytest.raises(errors.QuantumCircuitError, match=said) as info:
        run(deadline=0.6)
    assert time.monotonic() - begun < 10.0
    assert type(info.value) is getattr(errors, kind)
    assert info.value.backend == "ionq_simulator"
    if accepted is None:  # the server is still at it
        time.sleep(1.0)
        accepted = 1
    assert (ionq_server.submissions, entry().state) == (accepted, state)
    if state in ("sent", "failed"):
        assert info.value.job == entry().job == ionq_server.jobs[0].id
    # The next run, of a service that is well again.
    ionq_server.faults.clear()
    for job in ionq_server.jobs:
        job.fate = None if job.fate == "stuck" else job.fate
    if state == "lost":
        with pytest.raises(errors.LostJobError, match=entry().key):
            run()
        assert ionq_server.submissions == accepted
        resolve(ionq_server)
    assert (run() == expected).all()
    paid = [job for job in ionq_server.jobs if job.fate is None]
    assert len(paid) == 1


@pytest.mark.parametrize("kind", ["lost", "garbage", 500])
def test_a_lost_job_is_found_where_the_service_tells_its_jobs(
    ionq_server, expected, kind
):
    ionq_server.lists = True
    ionq_server.faults.append(Fault("post", kind))
    with pytest.raises(errors.LostJobError):
        run()
    if kind == 500:  # it is not there, which proves nothing
        with pytest.raises(errors.LostJobError):
            run()
        resolve(ionq_server)
    assert (run() == expected).all()
    assert ionq_server.submissions == 1


def test_nobody_listens(ionq_server, expected, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # it does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v0.4"
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(URL, url)
            with pytest.raises(errors.JobFailedError, match="cannot be reached"):
                run(deadline=0.3)
            assert entry().state == "refused"
    assert (run() == expected).all()
    assert ionq_server.submissions == 1


NEW = NewConnectionError(None, "refused")
BROKEN = {
    "certificate": (
        requests.exceptions.SSLError,
        SSLError(ssl.SSLCertVerificationError("self-signed")),
        "refused",
    ),
    "handshake": (requests.exceptions.SSLError, SSLError(ssl.SSLEOFError()), "lost"),
    "proxy": (requests.exceptions.ProxyError, ProxyError("no", NEW), "refused"),
    "proxy later": (
        requests.exceptions.ProxyError,
        ProxyError("no", ConnectionResetError()),
        "lost",
    ),
    "name": (
        requests.exceptions.ConnectionError,
        NameResolutionError("api.ionq.co", None, socket.gaierror()),
        "refused",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_connections_that_are_not_made(ionq_server, expected, monkeypatch, name):
    kind, reason, state = BROKEN[name]

    def post(**_):
        raise kind(MaxRetryError(None, "/jobs", reason))

    with monkeypatch.context() as broken:
        broken.setattr("pennylane_ionq.api_client.requests.post", post)
        with pytest.raises(errors.QuantumCircuitError) as info:
            run(deadline=0.1)
    assert entry().state == state
    assert isinstance(info.value, errors.LostJobError) is (state == "lost")


def test_the_service_is_gone_while_the_result_is_waited_for(
    ionq_server, expected, monkeypatch
):
    ionq_server.faults.append(Fault("get", "stuck"))
    with pytest.raises(errors.JobTimeoutError):
        run(deadline=0.1)
    ionq_server.jobs[0].fate = None
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(URL, "http://127.0.0.1:9/v0.4")
        with pytest.raises(errors.JobTimeoutError, match="cannot be reached"):
            run(deadline=0.1)
    assert (run() == expected).all()
    assert ionq_server.submissions == 1


def test_a_result_elsewhere_is_not_sent_the_key(ionq_server, monkeypatch):
    monkeypatch.setattr(
        "qstore_pl.backends.ionq.address_of", lambda *_: "http://127.0.0.2:1/results"
    )
    with pytest.raises(errors.CredentialsError, match="which is not the service"):
        run()


QPU = {
    "no whole number of shots": ({"0": 0.5005, "3": 0.4995}, "not those of 100 shots"),
    "negative": ({"0": 1.01, "3": -0.01}, "probability is"),
    "too much": ({"0": 0.6, "3": 0.6}, "sum to 1.2"),
    "no number": ({"0": "all"}, "is no number"),
    "true": ({"0": True}, "is no number"),
    "not finite": ({"0": float("nan")}, "probability is nan"),
    "no outcome": ({"+1": 1.0}, "has the outcome '\\+1'"),
    "no dictionary": ([1.0], "no dictionary"),
    "nothing": ({}, "sum to 0"),
}


@pytest.mark.parametrize("name", QPU)
def test_results_that_cannot_be(ionq_server, monkeypatch, name):
    wrong, said = QPU[name]
    reply = "tests.servers.ionq_jobs.Job.reply"
    with monkeypatch.context() as spoilt:
        spoilt.setattr(reply, lambda *_: {"a": {"0": 1.0}, "b": wrong})
        with pytest.raises(errors.WrongResultError, match=said) as info:
            run(qpu=True)
    assert (info.value.job, entry().state) == (ionq_server.jobs[0].id, "sent")
    assert run(qpu=True).shape == (2, 4)
    assert ionq_server.submissions == 1


# --- through the doors of users -------------------------------------------------


def test_a_qnode_raises_the_same_errors(ionq_server):
    ionq_server.faults.append(Fault("post", "failed"))

    @qml.qnode(MachineDevice(machine(), 2, shots=100, seed=0))
    def circuit():
        qml.Hadamard(0)
        return qml.expval(qml.Z(0))

    with pytest.raises(errors.JobFailedError, match="CompilationError") as info:
        circuit()
    assert info.value.job == ionq_server.jobs[0].id


@pytest.mark.parametrize("repeated", [True, False])
def test_a_call_that_is_repeated_picks_up_its_job(ionq_server, repeated):
    device = MachineDevice(machine(deadline=0.1), 2, shots=100, seed=0)

    @qml.qnode(device)
    def circuit(angle):
        qml.RX(angle, 0)
        return qml.expval(qml.Z(0))

    ionq_server.faults.append(Fault("post", "stuck"))
    with pytest.raises(errors.JobTimeoutError):
        circuit(0.5)
    ionq_server.jobs[0].fate = None
    values = circuit(0.5 if repeated else 0.6), circuit(0.5)
    assert ionq_server.submissions == (2 if repeated else 3)
    assert values[0] != values[1]  # two submissions, each with its own outcomes


def test_without_the_plugin_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pennylane_ionq", None)
    backend = BackendManager().get_backend("ionq_simulator")
    with pytest.raises(ImportError, match=r'pip install "qstore-pl\[ionq\]"'):
        backend.device(2)


# --- interrupts and other processes ---------------------------------------------


def test_ctrl_c_while_waiting(ionq_server, expected):
    ionq_server.faults.append(Fault("get", "slow", times=2, seconds=0.5))
    timer = threading.Timer(0.25, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run()
    timer.join()
    assert entry().state == "sent"
    assert (run() == expected).all()
    assert ionq_server.submissions == 1


def test_two_programs_at_once_send_a_job_once(ionq_server, expected):
    ionq_server.faults.append(Fault("post", "slow", seconds=0.2))
    found = []

    def program(_):
        with contextlib.suppress(errors.LostJobError):
            found.append(run())

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(program, range(4)))
    # Those that came while it was being sent could not know what became of it.
    assert len(found) >= 1
    assert (run() == expected).all()
    assert ionq_server.submissions == 1


# --- the command line -----------------------------------------------------------


def command(capsys, *words):
    status = cli.main(["jobs", *words])
    said = capsys.readouterr()
    return status, said.out if status == 0 else said.err


def test_the_jobs_of_the_ledger(ionq_server, capsys, tmp_path):
    assert "There are no jobs in" in command(capsys, "ls")[1]
    run(qpu=True)
    key, identifier = entry().key, ionq_server.jobs[0].id
    status, table = command(capsys, "ls")
    header, row = table.splitlines()
    names = "key sent target circuits shots dollars state job".split()  # noqa: SIM905
    assert header.split() == names
    assert row.split()[0] == key[:12]
    assert row.split()[3:] == ["qpu.aria-1", "2", "100", "24.83", "done", identifier]
    status, shown = command(capsys, "show", key[:6])
    assert status == 0
    for line in (f"key = {key}", "run = run", f"job = {identifier}", 'result = [{"0":'):
        assert line in shown
    status, said = command(capsys, "show", "nothing")
    assert (status, "no job whose key begins with" in said) == (1, True)
    other = ["--ledger", str(tmp_path / "other.db")]
    assert "There are no jobs" in command(capsys, "ls", *other)[1]


def test_a_result_that_is_fetched_later(ionq_server, expected, capsys):
    ionq_server.faults.append(Fault("get", "stuck"))
    with pytest.raises(errors.JobTimeoutError):
        run(deadline=0.1)
    key, job = entry().key[:12], ionq_server.jobs[0]
    assert command(capsys, "fetch", key) == (0, f"Job {job.id} has no result yet.\n")
    ionq_server.faults[:] = [Fault("get", 503)]
    assert "status 503" in command(capsys, "fetch", key)[1]
    job.fate = None
    recorded = f"The result of job {job.id} is recorded"
    assert command(capsys, "fetch", key) == (0, f"{recorded}.\n")
    assert command(capsys, "fetch", key) == (0, f"{recorded} already.\n")
    polls = ionq_server.polls_seen
    assert (run() == expected).all()
    assert (ionq_server.polls_seen, ionq_server.submissions) == (polls, 1)


def test_jobs_that_cannot_be_fetched_or_resolved(ionq_server, capsys):
    ionq_server.faults.append(Fault("post", "lost"))
    with pytest.raises(errors.LostJobError):
        run()
    key = entry().key[:12]
    status, said = command(capsys, "fetch", key)
    assert (status, "is lost: the service has given it no identifier" in said) == (
        1,
        True,
    )
    resolve(ionq_server)
    run()
    for how in (["--resend"], ["--id", "x"]):
        status, said = command(capsys, "resolve", key, *how)
        assert (status, "is done with the identifier" in said) == (1, True)
