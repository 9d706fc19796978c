"""Trains on the loopback server, and is killed again and again; then it finishes.

``python -m tests.faults.remote_run URL LOG FOLDER KILLS``. One process is forked for
each attempt, so that the packages are imported, and kernels loaded, once. Where it is
not known whether a job was taken, this program does what the error says: it looks at
the service.
"""

import os
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from qstore_pl import BackendManager, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.backends.ledger import UNSURE, Ledger
from qstore_pl.errors import LostJobError
from tests.servers.ionq import read_log

LOST = 3  # exit status of an attempt that does not know what became of a job

X = np.random.default_rng(0).uniform(-1, 1, (6, 2))
Y = np.sign(X[:, 0])


def train(folder):
    """Train, from the latest checkpoint if there is any, and write what came of it."""
    backend = BackendManager().get_backend(
        "ionq_simulator", shots=100, ledger=folder / "jobs.db", poll=0.01
    )
    config = TrainingConfig(
        epochs=2,
        batch_size=2,
        seed=1,
        learning_rate=0.1,
        checkpoint_directory=folder / "run",
        checkpoint_interval=1,
    )
    model = QuantumModel(2, 1, n_layers=2, seed=2, backend=backend)
    QuantumTrainer(config).train(model, (X, Y), resume="auto")
    np.save(folder / "parameters.npy", model.parameters)


def prepare():
    """Load the kernels of a training run with shots, which all attempts inherit."""
    config = TrainingConfig(
        epochs=1, batch_size=2, shots=100, gradient_method="parameter_shift"
    )
    QuantumTrainer(config).train(QuantumModel(2, 1, n_layers=2), (X, Y))


def attempt(folder, seconds=None):
    """One process that trains; it is killed after some seconds. Returns its status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            train(folder)
            status = 0
        except LostJobError:
            status = LOST
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def resolve(folder, log):
    """Say of each job that may be lost whether the service has it."""
    ledger = Ledger(folder / "jobs.db")
    there = {job.body["metadata"]["qstore_key"]: job.id for job in read_log(log)}
    for entry in ledger.entries():
        if entry.state in UNSURE:
            ledger.resolve(entry, there.get(entry.key))


def main():
    from pennylane_ionq.api_client import APIClient

    url, log, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    kills = int(sys.argv[4])
    APIClient.BASE_URL = url
    prepare()
    whole = folder / "whole"
    whole.mkdir()
    attempt(whole)
    other = folder / "timed"
    other.mkdir()
    begin = time.monotonic()
    assert attempt(other) == 0
    length = time.monotonic() - begin
    rng = np.random.default_rng(3)
    n_killed, n_runs = 0, 0
    status = 0
    while n_killed < kills or status != 0:
        if status == 0:  # the last run has ended: another one
            n_runs += 1
            killed = folder / f"killed{n_runs}"
            killed.mkdir()
        seconds = rng.uniform(0.0, length) if n_killed < kills else None
        status = attempt(killed, seconds)
        n_killed += os.WIFSIGNALED(status)
        if os.WIFEXITED(status) and status != 0:
            assert os.WEXITSTATUS(status) == LOST
            resolve(killed, log)
    print(n_killed, n_runs)


if __name__ == "__main__":
    main()
