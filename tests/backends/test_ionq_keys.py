"""The API key is in nothing that a program leaves behind, whatever goes wrong."""

import logging
import os
import pickle
import signal
import threading
import traceback

import numpy as np
import pytest

from qstore_pl import BackendManager, QuantumModel, errors
from qstore_pl.backends.ionq import IonQMachine
from qstore_pl.backends.ledger import Ledger
from qstore_pl.backends.machine import Batch, Ticket
from qstore_pl.devices import Circuit
from qstore_pl.devices.parametric import Gate
from tests.servers.ionq import KEY
from tests.servers.ionq_jobs import Fault

pytestmark = pytest.mark.timeout(60)
CIRCUIT = Circuit(2, (Gate("RX", (0,), column=0),), (0, 1), 1)
BATCH = Batch(CIRCUIT, np.array([[0.4], [1.1]]), np.array([100, 100]))
SAID = f"Your key {KEY} is tired."
FAULTS = [
    None,
    *(Fault("post", status, message=SAID) for status in (400, 401, 403, 500)),
    *(Fault("post", kind) for kind in ("drop", "lost", "garbage", "failed")),
    Fault("post", 429, None, message=SAID),
    Fault("post", "slow", seconds=0.4),
    *(Fault("get", status, None, message=SAID) for status in (400, 401, 404, 503)),
    *(Fault("get", kind, None) for kind in ("drop", "garbage", "canceled", "stuck")),
    Fault("get", "slow", None, seconds=0.4),
    *(Fault("results", kind, None) for kind in ("wrong_shots", "extra_key")),
    Fault("results", 503, None, message=SAID),
]


def left_behind(error):
    """The texts of an error: with the variables of every frame, and pickled."""
    yield "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    yield repr(error)
    while error is not None:
        yield repr(vars(error))
        yield pickle.dumps(error).decode("latin-1")
        error = error.__cause__ or error.__context__


def failing(machine, seed):
    """The error of a run, if there is one."""
    try:
        machine.run([BATCH], Ticket(seed, "run"))
    except errors.QuantumCircuitError as error:
        return error
    return None


@pytest.mark.parametrize("given", ["option", "environment"])
def test_the_key_is_nowhere(ionq_server, monkeypatch, tmp_path, caplog, capfd, given):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("IONQ_DEBUG", "true")  # the plugin keeps what it sends
    path = tmp_path / "jobs.db"
    options = {"ledger": path, "poll": 0.005, "deadline": 0.2}
    if given == "option":
        monkeypatch.delenv("PENNYLANE_IONQ_API_KEY")
        options["api_key"] = KEY
    backend = BackendManager().get_backend("ionq_simulator", shots=100, **options)
    model = QuantumModel(2, 1, n_layers=1, backend=backend, seed=0)
    model(np.ones((1, 2)))
    texts = [repr(x) for x in (backend, model, model.device, model.device.machine)]
    texts += [repr(vars(model.device.machine)), repr(vars(model.device))]
    if given == "environment":
        texts.append(pickle.dumps(model).decode("latin-1"))
    kinds = set()
    machine = IonQMachine(**options)
    for seed, fault in enumerate(FAULTS):
        ionq_server.faults[:] = [] if fault is None else [fault]
        if (error := failing(machine, seed)) is not None:
            kinds.add(type(error).__name__)
            texts += left_behind(error)
    texts += [repr(entry) for entry in Ledger(path).entries()]
    texts += [caplog.text, *capfd.readouterr()]
    texts += [file.read_bytes().decode("latin-1") for file in tmp_path.glob("jobs.db*")]
    for text in texts:
        assert KEY not in text
    assert kinds == {
        *("JobFailedError", "JobCancelledError", "JobTimeoutError", "LostJobError"),
        *("CredentialsError", "WrongResultError"),
    }
    assert "***" in "".join(texts)
    assert "POST /v0.4/jobs" in caplog.text  # the library does log
    assert all(KEY not in str(job.body) for job in ionq_server.jobs)


@pytest.mark.parametrize("where", ["post", "get"])
def test_the_key_is_in_no_traceback_of_an_interrupt(ionq_server, tmp_path, where):
    ionq_server.faults.append(Fault(where, "slow", seconds=0.4))
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    machine = IonQMachine(ledger=tmp_path / "jobs.db", api_key=KEY)
    with pytest.raises(KeyboardInterrupt) as info:
        failing(machine, 0)
    timer.join()
    texts = list(left_behind(info.value))
    assert "Batch(circuit=" in texts[0]  # variables are there
    for text in texts:
        assert KEY not in text
