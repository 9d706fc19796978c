"""Jobs that are sent once, whatever fails: against a service in memory."""

import os
import pickle
import signal
import time

import numpy as np
import pytest

from qstore_pl import errors
from qstore_pl.backends import sending
from qstore_pl.backends.ledger import Ledger
from qstore_pl.backends.machine import Batch, Bill, Limits, Ticket
from qstore_pl.backends.remote import RemoteMachine
from qstore_pl.backends.sending import NoAnswerError, RefusedError
from qstore_pl.devices import Circuit
from qstore_pl.devices.parametric import Gate

TICKET = Ticket(7, "run-1")
WHERE = {"backend": "cloud"}


class Cloud:
    """A service: its result of a circuit is the probability of an outcome 1.

    What it does next is in ``posts`` and ``gets``, an action for each request; then it
    works.
    """

    def __init__(self):
        self.jobs, self.names, self.asked, self.most_out = {}, {}, [], 0
        self.posts, self.gets, self.lists, self.out = [], [], False, set()

    def post(self, payload, key):
        action = self.posts.pop(0) if self.posts else None
        if action is not None and not getattr(action, "taken", False):
            action()
        identifier = f"job-{len(self.jobs)}"
        self.jobs[identifier], self.names[key] = payload, identifier
        self.out.add(identifier)
        self.most_out = max(self.most_out, len(self.out))
        if action is not None and getattr(action, "taken", False):
            action()
        return identifier

    def get(self, identifier):
        self.asked.append(identifier)
        if self.gets and (action := self.gets.pop(0)) is not None:
            return action()
        self.out.discard(identifier)
        return [np.sin(angle / 2) ** 2 for angle in self.jobs[identifier]["angles"]]


class Memory(RemoteMachine):
    """Runs RX on the first of some qubits."""

    name, target, gate_set = "cloud", "cloud.one", frozenset({"RX"})
    limits = Limits(circuits=3, exact=False)

    def __init__(self, cloud, ledger, **options):
        super().__init__(ledger=ledger, **{"poll": 0.001, "deadline": 5.0, **options})
        self.cloud, self.prepared = cloud, 0

    def prepare(self):
        self.prepared += 1

    def payload(self, batches, parcel):
        angles = [float(batches[b].angles[i, 0]) for b, i in parcel.rows]
        return {"shots": parcel.shots, "qubits": parcel.qubits, "angles": angles}

    def submit(self, payload, key, *, timeout):
        return self.cloud.post(payload, key)

    def result_of(self, entry, *, timeout):
        return self.cloud.get(entry.job)

    def job_named(self, key, *, timeout):
        return self.cloud.names.get(key) if self.cloud.lists else None

    def outcomes(self, result, batches, parcel, seed):
        return [np.array([1 - p, p]) for p in result]

    def dollars(self, one, more, shots):
        return float((one * shots).sum())


def raising(error, *, taken=False):
    def action():
        raise error

    action.taken = taken
    return action


def batch(angles, shots, n_wires=1):
    circuit = Circuit(n_wires, (Gate("RX", (0,), column=0),), (0,), 1)
    angles = np.asarray(angles, dtype=float)[:, None]
    return Batch(circuit, angles, np.broadcast_to(shots, len(angles)))


def expected(*batches):
    return [
        np.column_stack([np.cos(b.angles / 2), np.sin(b.angles / 2)]) ** 2
        for b in batches
    ]


ONE = [batch([0.3, 0.5], 10)]


@pytest.fixture
def cloud():
    return Cloud()


@pytest.fixture
def machine(cloud, tmp_path):
    return Memory(cloud, tmp_path / "jobs.db")


def states(machine):
    return [one.state for one in machine.ledger.entries()]


def check(machine, batches=ONE, ticket=TICKET):
    found = machine.run(batches, ticket)
    for one, exact in zip(found, expected(*batches), strict=True):
        np.testing.assert_allclose(one, exact, rtol=0, atol=1e-15)


# --- packing --------------------------------------------------------------------

MANY = [
    batch([0.1, 0.2, 0.3, 0.4, 0.5], [10, 20, 10, 10, 10]),
    batch([0.6], 10, n_wires=2),
    batch([0.7, 0.0], [10, 20]),
    batch([], 10),
]
PACKED = [
    {"shots": 10, "qubits": 1, "angles": [0.1, 0.3, 0.4]},
    {"shots": 10, "qubits": 1, "angles": [0.5, 0.7]},
    {"shots": 20, "qubits": 1, "angles": [0.2, 0.0]},
    {"shots": 10, "qubits": 2, "angles": [0.6]},
]


def test_circuits_with_the_same_shots_and_qubits_share_jobs(machine, cloud):
    check(machine, MANY)
    assert list(cloud.jobs.values()) == PACKED
    # A rotation by 0 is no gate. Here a gate costs a dollar a shot.
    assert machine.bill(MANY) == Bill(8, 100, 7, 0, 4, 80.0)
    entries = machine.ledger.entries()
    assert [one.dollars for one in entries] == [30.0, 20.0, 20.0, 10.0]
    assert [(one.circuits, one.shots, one.qubits) for one in entries] == [
        (len(job["angles"]), job["shots"], job["qubits"]) for job in PACKED
    ]


def test_all_jobs_are_sent_before_the_first_question(machine, cloud):
    cloud.gets = [lambda: None] * 9
    check(machine, MANY)
    assert cloud.most_out == 4


def test_no_more_jobs_are_out_than_asked_for(cloud, tmp_path):
    cloud.gets = [lambda: None] * 5
    check(Memory(cloud, tmp_path / "jobs.db", max_concurrent=2), MANY)
    assert cloud.most_out == 2
    assert list(cloud.jobs.values()) == PACKED


# --- the same submission again --------------------------------------------------


def test_what_was_done_is_not_sent_again(machine, cloud, tmp_path):
    check(machine, MANY)
    asked = len(cloud.asked)
    check(Memory(cloud, tmp_path / "jobs.db"), MANY)
    assert (len(cloud.jobs), len(cloud.asked)) == (4, asked)
    check(machine, MANY, Ticket(8, "run-1"))
    check(machine, MANY, Ticket(7, "run-2"))
    check(machine, ONE)
    assert len(cloud.jobs) == 13


def test_equal_jobs_of_a_submission_are_not_one(machine, cloud):
    check(machine, [batch([0.1] * 6, 10)])
    assert len(cloud.jobs) == 2


def test_a_stuck_job_is_picked_up_later(cloud, tmp_path):
    machine = Memory(cloud, tmp_path / "jobs.db", deadline=0.05)
    cloud.gets = [lambda: None] * 1000
    with pytest.raises(
        errors.JobTimeoutError, match=r"no result after 0\.05 s"
    ) as info:
        machine.run(ONE, TICKET)
    assert (info.value.backend, info.value.job) == ("cloud", "job-0")
    assert states(machine) == ["sent"]
    cloud.gets = []
    check(machine)
    assert len(cloud.jobs) == 1


@pytest.mark.parametrize("kind", ["JobFailedError", "JobCancelledError"])
def test_a_job_that_failed_is_sent_again_by_the_next_run_only(machine, cloud, kind):
    error = getattr(errors, kind)("The ions are gone.", backend="cloud", job="job-0")
    cloud.gets = [raising(error)]
    with pytest.raises(type(error), match="ions are gone") as info:
        machine.run(ONE, TICKET)
    assert info.value.job == "job-0"
    (entry,) = machine.ledger.entries()
    assert (entry.state, entry.error) == ("failed", "The ions are gone.")
    assert len(cloud.jobs) == 1
    check(machine)
    assert len(cloud.jobs) == 2


def test_the_other_jobs_of_a_submission_are_kept(machine, cloud):
    cloud.gets = [None, raising(errors.JobFailedError("No.", **WHERE))]
    with pytest.raises(errors.JobFailedError):
        machine.run(MANY, TICKET)
    assert states(machine) == ["done", "failed", "sent", "sent"]
    check(machine, MANY)
    assert len(cloud.jobs) == 5


# --- nobody knows ---------------------------------------------------------------


@pytest.mark.parametrize("taken", [True, False])
def test_a_lost_reply_is_never_answered_by_sending_again(machine, cloud, taken):
    cloud.posts = [raising(NoAnswerError("the connection broke"), taken=taken)]
    said = r"may have reached.*connection broke.*jobs resolve \w{12} --id.*--resend"
    for _ in range(2):
        with pytest.raises(errors.LostJobError, match=said) as info:
            machine.run(ONE, TICKET)
        assert states(machine) == ["lost"]
        assert len(cloud.jobs) == taken
    (entry,) = machine.ledger.entries()
    assert entry.key in str(info.value)
    machine.ledger.resolve(entry, "job-0" if taken else None)
    check(machine)
    assert len(cloud.jobs) == 1


def test_a_service_that_tells_its_jobs_gives_a_lost_one_back(machine, cloud):
    cloud.posts = [raising(NoAnswerError("the connection broke"), taken=True)]
    with pytest.raises(errors.LostJobError):
        machine.run(ONE, TICKET)
    cloud.lists = True
    check(machine)
    assert (len(cloud.jobs), states(machine)) == (1, ["done"])


def test_a_program_that_ended_between_writing_and_sending(machine, cloud, tmp_path):
    cloud.posts = [raising(MemoryError())]  # as if the process ended there
    with pytest.raises(MemoryError):
        machine.run(ONE, TICKET)
    assert states(machine) == ["sending"]
    with pytest.raises(errors.LostJobError, match="when the program ended"):
        Memory(cloud, tmp_path / "jobs.db").run(ONE, TICKET)
    assert len(cloud.jobs) == 0


# --- interrupts -----------------------------------------------------------------


def test_an_interrupt_while_the_result_is_waited_for(machine, cloud):
    cloud.gets = [lambda: None, raising(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        machine.run(ONE, TICKET)
    assert states(machine) == ["sent"]
    check(machine)
    assert len(cloud.jobs) == 1


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)


def test_an_interrupt_while_a_job_is_sent(machine, cloud):
    cloud.posts = [interrupt]
    with pytest.raises(KeyboardInterrupt):
        machine.run(ONE, TICKET)
    assert states(machine) == ["sent"]  # the job is known all the same
    check(machine)
    assert len(cloud.jobs) == 1


# --- the service is busy --------------------------------------------------------


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sending, "time", clock)
    return clock


def busy(after=None):
    error = errors.JobFailedError("The service did not take a job.", **WHERE)
    return raising(RefusedError(error, again=True, after=after))


def test_a_job_that_was_refused_is_sent_again_after_a_while(cloud, tmp_path, clock):
    machine = Memory(cloud, tmp_path / "jobs.db", poll=0.1, deadline=600.0)
    cloud.posts = [busy()] * 14 + [busy(after=40.0), busy()]
    check(machine)
    pauses = np.minimum(0.1 * 1.5 ** np.arange(16), 5.0)
    pauses[14] = 40.0
    ratio = np.array(clock.slept[:16]) / pauses
    assert ratio[14] == 1.0
    assert (np.abs(ratio - 1) <= 0.25 + 1e-12).all()
    assert len(set(ratio)) == 16  # each at random
    assert len(cloud.jobs) == 1


def test_a_service_that_stays_busy(cloud, tmp_path, clock):
    machine = Memory(cloud, tmp_path / "jobs.db", deadline=60.0)
    cloud.posts = [busy()] * 1000
    with pytest.raises(errors.JobFailedError, match="did not take a job"):
        machine.run(ONE, TICKET)
    assert 50.0 < clock.now <= 60.0
    assert states(machine) == ["refused"]
    cloud.posts = [busy(after=100.0)]
    with pytest.raises(errors.JobFailedError):
        machine.run(ONE, TICKET)
    assert clock.now <= 60.0  # it does not wait for what cannot come in time
    check(machine)
    assert len(cloud.jobs) == 1


def test_questions_are_repeated_with_growing_pauses(cloud, tmp_path, clock):
    machine = Memory(cloud, tmp_path / "jobs.db", poll=0.1, deadline=600.0)
    broken = raising(NoAnswerError("HTTP status 503", after=None))
    waiting = raising(NoAnswerError("HTTP status 429", after=17.0))
    cloud.gets = [lambda: None, broken] * 7 + [waiting]
    check(machine)
    pauses = np.append(np.minimum(0.1 * 1.5 ** np.arange(14), 5.0), 17.0)
    ratio = np.array(clock.slept) / pauses
    assert (np.abs(ratio - 1) <= 0.25 + 1e-12).all()
    assert ratio[14] == pytest.approx(1.0, abs=1e-12)
    assert len(cloud.jobs) == 1


def test_the_deadline_is_kept_whatever_the_service_says(cloud, tmp_path, clock):
    machine = Memory(cloud, tmp_path / "jobs.db", deadline=30.0)
    cloud.gets = [raising(NoAnswerError("HTTP status 503", after=1000.0))] * 9
    with pytest.raises(
        errors.JobTimeoutError, match=r"30 s\. HTTP status 503\. It goes"
    ):
        machine.run(ONE, TICKET)
    assert clock.now == pytest.approx(30.0, abs=1e-9)


def test_what_is_refused_for_good_is_not_sent_again(machine, cloud):
    error = errors.CredentialsError("No such key.", **WHERE)
    cloud.posts = [raising(RefusedError(error, again=False))]
    with pytest.raises(errors.CredentialsError, match="No such key"):
        machine.run(ONE, TICKET)
    assert states(machine) == ["refused"]
    check(machine)
    assert len(cloud.jobs) == 1


# --- the ledger fails -----------------------------------------------------------


def test_nothing_is_sent_that_cannot_be_written_down(cloud, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.LedgerError):
        Memory(cloud, tmp_path / "file" / "jobs.db").run(ONE, TICKET)
    assert cloud.jobs == {}


def test_the_identifier_is_not_lost_with_the_ledger(machine, cloud, monkeypatch):
    def full(*_):
        raise errors.LedgerError("The disk is full.")

    monkeypatch.setattr(Ledger, "sent", full)
    with pytest.raises(errors.LedgerError) as info:
        machine.run(ONE, TICKET)
    assert "--id job-0" in info.value.__notes__[0]


# --- replay ---------------------------------------------------------------------


def test_recorded_results_come_back_in_their_order(machine, cloud, tmp_path):
    for run in ("a", "b"):
        check(machine, MANY, Ticket(1, run))
    for entry in machine.ledger.entries()[4:]:
        machine.ledger.done(entry.key, [0.5] * entry.circuits)
    posts = len(cloud.jobs)
    offline = Memory(cloud, tmp_path / "jobs.db", replay=True)
    check(offline, MANY, Ticket(2, "c"))
    for found in offline.run(MANY, Ticket(3, "c")):
        assert (found == 0.5).all()
    with pytest.raises(
        errors.LedgerError, match="has 2 results of a job of 3 circuits"
    ):
        offline.run(MANY, Ticket(4, "c"))
    assert (len(cloud.jobs), offline.prepared) == (posts, 0)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"deadline": 0}, ValueError, "`deadline` must be > 0.0, but is 0.0"),
        ({"poll": "often"}, TypeError, "`poll` must be a real number"),
        ({"max_concurrent": 0}, ValueError, "`max_concurrent` must be >= 1"),
        ({"replay": "yes"}, TypeError, "`replay` must be True or False"),
    ],
)
def test_options(tmp_path, options, kind, said):
    with pytest.raises(kind, match=said):
        Memory(Cloud(), tmp_path / "jobs.db", **options)


@pytest.mark.parametrize(
    "name",
    [
        *("JobFailedError", "JobCancelledError", "JobTimeoutError", "LostJobError"),
        *("CredentialsError", "WrongResultError"),
    ],
)
def test_errors_can_be_pickled(name):
    error = getattr(errors, name)("It went wrong.", backend="cloud", job="job-3")
    assert isinstance(error, errors.QuantumCircuitError)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.job, again.backend) == (
        type(error),
        "It went wrong. (backend `cloud`, job `job-3`)",
        "job-3",
        "cloud",
    )
