"""IBM's machines behind a stub of their service: no job is sent twice."""

import pickle
import traceback

import numpy as np
import pytest
import qiskit_ibm_runtime
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime import SamplerV2
from qiskit_ibm_runtime.accounts.exceptions import AccountNotFoundError
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import (
    IBMInputValueError,
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RuntimeJobNotFound,
)

from qstore_pl import BackendManager
from qstore_pl._secrets import Secret
from qstore_pl.backends import Batch, Ticket
from qstore_pl.backends.ibm import EXECUTIONS, IBMMachine
from qstore_pl.devices import Circuit, Gate
from qstore_pl.errors import (
    CredentialsError,
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
    LostJobError,
    WrongResultError,
)

pytestmark = pytest.mark.timeout(60)
KEY = "canary-key-3f1c"
CHIP = AerSimulator(max_parallel_threads=1)
TICKET = Ticket(seed=7, run="a")
CIRCUIT = Circuit(2, (Gate("RX", (1,), column=0), Gate("CNOT", (1, 0))), (0, 1), 1)
ANGLES = np.array([[0.0], [np.pi], [0.0], [1.3]])
BATCH = Batch(CIRCUIT, ANGLES, np.array([100, 100, 50, 100]))


def failing(status):
    """The error of the client where the service has replied with this status."""
    try:
        try:
            raise RequestsApiError(f"{status} Error, key {KEY}", status)
        except RequestsApiError as error:
            raise IBMRuntimeError(f"Failed to run program: {error}") from None
    except IBMRuntimeError as error:
        return error


class Job:
    """A job of the stub, which a simulator ran at once."""

    def __init__(self, service, job, tags):
        self.service, self.job, self.tags = service, job, tags

    def job_id(self):
        return self.job.job_id()

    def status(self):
        if self.service.asked:
            answer = self.service.asked.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return "DONE"

    def result(self):
        return self.service.spoilt(self.job.result())

    def error_message(self):
        return f"calibration failed, key {KEY}"


class Service:
    """A stub of ``QiskitRuntimeService`` that has one machine."""

    def __init__(self):
        self.jobs_taken, self.given = [], []
        self.before, self.after, self.asked = [], [], []  # what goes wrong
        self.spoilt = lambda result: result

    def __call__(self, **options):
        self.given.append(options)
        return self

    def backend(self, name):
        if name != "ibm_test":
            raise QiskitBackendNotFoundError(name)
        return CHIP

    def job(self, identifier):
        found = [job for job in self.jobs_taken if job.job_id() == identifier]
        if not found:
            raise RuntimeJobNotFound(identifier)
        return found[0]

    def jobs(self, *, limit, job_tags):
        return [job for job in self.jobs_taken if job.tags == job_tags][:limit]


@pytest.fixture
def service(monkeypatch):
    stub, run = Service(), SamplerV2.run

    def taken(self, pubs):
        if stub.before:
            raise stub.before.pop(0)
        tags = self.options.environment.job_tags
        stub.jobs_taken.append(Job(stub, run(self, pubs), tags))
        if stub.after:
            raise stub.after.pop(0)
        return stub.jobs_taken[-1]

    monkeypatch.setattr(SamplerV2, "run", taken)
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", stub)
    return stub


@pytest.fixture
def machine(service, tmp_path):
    return made(tmp_path)


def made(folder, **options):
    options = {"poll": 0.001, "token": Secret(KEY)} | options
    return IBMMachine(machine="ibm_test", ledger=folder / "jobs.db", **options)


def assert_right(found):
    """Turned by 0 and by pi two wires are 00 and 11, and by 1.3 sometimes each."""
    np.testing.assert_array_equal(found[:3], np.eye(4)[[0, 3, 0]])
    assert found[3, [1, 2]].sum() == 0.0
    assert abs(found[3, 3] - np.sin(0.65) ** 2) < 5 * 0.5 / np.sqrt(100)


def test_a_submission_is_a_job_for_each_number_of_shots(service, machine):
    service.asked = ["QUEUED", "RUNNING"]
    (found,) = machine.run([BATCH], TICKET)
    assert_right(found)
    assert len(service.jobs_taken) == 2
    assert machine.bill([BATCH]).jobs == 2
    assert machine.bill([BATCH]).dollars is None
    first, second = (job.tags[0] for job in service.jobs_taken)
    assert first != second
    assert first.startswith("qstore-")
    assert len(first) == 39


def test_the_same_ticket_sends_nothing_again(service, machine, tmp_path):
    (found,) = machine.run([BATCH], TICKET)
    (again,) = made(tmp_path).run([BATCH], TICKET)
    np.testing.assert_array_equal(found, again)
    assert len(service.jobs_taken) == 2
    machine.run([BATCH], Ticket(8, "a"))
    assert len(service.jobs_taken) == 4


def test_replay_asks_no_service(service, machine, tmp_path):
    (found,) = machine.run([BATCH], TICKET)
    service.given.clear()
    replayed = made(tmp_path, replay=True, token=None)
    (again,) = replayed.run([BATCH], Ticket(9, "b"))
    np.testing.assert_array_equal(found, again)
    assert replayed.bill([BATCH]).two_qubit_gates == 4
    assert service.given == []


def test_jobs_are_as_large_as_the_service_allows(machine):
    shots = np.full(5, EXECUTIONS // 2)
    batch = Batch(CIRCUIT, np.arange(5.0)[:, None], shots)
    assert [len(parcel.rows) for parcel in machine.parcels([batch])] == [2, 2, 1]


@pytest.mark.parametrize(
    ("error", "raised", "taken"),
    [
        (failing(429), None, 2),
        (failing(400), JobFailedError, 0),
        (IBMInputValueError("no such gate"), JobFailedError, 0),
        (IBMNotAuthorizedError("401"), CredentialsError, 0),
        (failing(500), LostJobError, 0),
    ],
)
def test_errors_before_a_job_is_taken(service, machine, error, raised, taken):
    service.before = [error]
    if raised is None:
        assert_right(machine.run([BATCH], TICKET)[0])
    else:
        with pytest.raises(raised):
            machine.run([BATCH], TICKET)
    assert len(service.jobs_taken) == taken


def test_a_lost_reply_is_found_by_its_tag(service, machine):
    service.after = [failing(-1)]
    with pytest.raises(LostJobError, match="may have reached the service"):
        machine.run([BATCH], TICKET)
    assert len(service.jobs_taken) == 1
    assert_right(machine.run([BATCH], TICKET)[0])
    assert len(service.jobs_taken) == 2


@pytest.mark.parametrize(
    ("answer", "raised", "message"),
    [
        ("ERROR", JobFailedError, "calibration failed"),
        ("CANCELLED", JobCancelledError, "cancelled"),
        (RuntimeJobNotFound("no"), JobFailedError, "no such job"),
        (IBMNotAuthorizedError("401"), CredentialsError, "QISKIT_IBM_TOKEN"),
    ],
)
def test_jobs_that_end_without_a_result(service, machine, answer, raised, message):
    service.asked = [answer]
    with pytest.raises(raised, match=message) as caught:
        machine.run([BATCH], TICKET)
    assert caught.value.backend == "qiskit_remote"
    if raised is not CredentialsError:
        assert caught.value.job in [job.job_id() for job in service.jobs_taken]


def test_a_job_that_hangs_is_picked_up_later(service, machine, tmp_path):
    service.asked = ["RUNNING"] * 10_000
    with pytest.raises(JobTimeoutError, match="no result after"):
        made(tmp_path, deadline=0.05).run([BATCH], TICKET)
    service.asked = [failing(503), "RUNNING"]
    assert_right(machine.run([BATCH], TICKET)[0])
    assert len(service.jobs_taken) == 2


def test_results_of_other_circuits_are_refused(service, machine):
    service.spoilt = lambda result: [*result, *result]
    with pytest.raises(WrongResultError, match=r"6 circuits.* had 3 circuits"):
        machine.run([BATCH], TICKET)
    service.spoilt = lambda result: service.jobs_taken[0].job.result()
    with pytest.raises(WrongResultError, match="100 shots of a circuit"):
        machine.run([BATCH.some([2])], Ticket(9, "a"))


def test_no_account_and_no_such_machine(service, monkeypatch):
    backend = BackendManager().get_backend("qiskit_remote", backend="ibm_none")
    with pytest.raises(ValueError, match="may use, but is 'ibm_none'"):
        backend.device(2)

    def no_account(**_):
        raise AccountNotFoundError("Unable to find account.")

    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", no_account)
    with pytest.raises(CredentialsError, match="Unable to find account"):
        backend.device(2)


def test_the_key_shows_up_nowhere(service, machine, tmp_path, caplog):
    caplog.set_level("DEBUG")
    seen = [repr(machine)]
    for before, asked in (([failing(400)], []), ([], ["ERROR"])):
        service.before, service.asked = list(before), list(asked)
        try:
            machine.run([BATCH], TICKET)
        except JobFailedError as failed:
            error = failed
            told = traceback.TracebackException.from_exception(
                error, capture_locals=True
            )
            del told.stack[0]  # of this test
            seen += [repr(error), *told.format(), repr(pickle.dumps(error))]
            while error is not None:  # all that Dask would pickle with it
                seen.append(repr(error))
                error = error.__cause__ or error.__context__
    assert "***" in "".join(seen)
    seen += [caplog.text, repr((tmp_path / "jobs.db").read_bytes())]
    assert service.given == [{"token": KEY, "instance": None}]
    assert not [text for text in seen if KEY in text]
    with pytest.raises(TypeError, match="secret cannot be pickled"):
        pickle.dumps(machine)


def test_a_machine_without_its_key_can_be_pickled(service, tmp_path, monkeypatch):
    monkeypatch.setenv("IBM_OF_TEST", KEY)
    machine = made(tmp_path, token=Secret("env:IBM_OF_TEST"))
    written = pickle.dumps(machine)
    assert KEY.encode() not in written
    assert_right(pickle.loads(written).run([BATCH], TICKET)[0])
