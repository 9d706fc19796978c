"""A run on a remote machine that is killed sends no job twice, and ends the same."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.servers.ionq import KEY
from tests.servers.ionq_jobs import Fault
from tests.servers.ionq_process import ROOT, in_another_process

KILLS = 20
SLOW = Fault("post", "slow", None, seconds=0.02)  # so that some are killed meanwhile


@pytest.mark.timeout(120)
def test_a_run_that_is_killed_again_and_again_pays_nothing_twice(tmp_path):
    environment = os.environ | {"IONQ_API_KEY": KEY, "NUMBA_NUM_THREADS": "1"}
    environment.pop("PENNYLANE_IONQ_API_KEY", None)
    folder = tmp_path / "runs"
    folder.mkdir()
    with in_another_process(tmp_path, delay=0.03, faults=[SLOW]) as server:
        command = [sys.executable, "-m", "tests.faults.remote_run"]
        command += [server.url, str(server.log), str(folder), str(KILLS)]
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        jobs = server.jobs
    n_killed, n_runs = map(int, run.stdout.split())
    assert n_killed == KILLS
    names = ["whole", "timed", *(f"killed{i + 1}" for i in range(n_runs))]
    parameters = [np.load(folder / name / "parameters.npy") for name in names]
    assert np.array_equal(parameters, [parameters[0]] * len(names))
    keys = [job.body["metadata"]["qstore_key"] for job in jobs]
    assert len(set(keys)) == len(keys)  # nothing was sent twice
    assert len(keys) == 6 * len(names)  # two epochs of three batches
    assert KEY.encode() not in b"".join(
        path.read_bytes() for path in folder.rglob("*") if path.is_file()
    )
