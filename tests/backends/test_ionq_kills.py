"""A program that is killed at 20 moments pays nothing twice, and learns the same."""

import json
import multiprocessing
import signal
import time
from collections import Counter

import numpy as np
import pytest

from qstore_pl import cli
from qstore_pl.backends.ledger import UNSURE, Ledger
from tests.backends import small_run
from tests.servers.ionq_jobs import Fault
from tests.servers.ionq_process import in_another_process

KILLS, ENDLESS = 20, 1_000_000
SLOW = Fault("post", "slow", None, seconds=0.02)  # so that some are killed meanwhile


@pytest.fixture(scope="module")
def processes():
    """New processes that have imported everything already."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.backends.small_run_ready"])
    first = processes.Process(target=int)  # it waits for the imports
    first.start()
    first.join()
    return processes


def resolve(ledger, server):
    """What a user does who looks for lost jobs at the service."""
    unsure = [one for one in ledger.entries() if one.state in UNSURE]
    for one in unsure:
        found = [job.id for job in server.jobs if job.key == one.key]
        how = ["--id", found[0]] if found else ["--resend"]
        at = ["--ledger", str(ledger.path)]
        assert cli.main(["jobs", "resolve", one.key[:16], *how, *at]) == 0


@pytest.mark.timeout(120)
def test_20_kills(processes, tmp_path, monkeypatch, capsys):
    moments = np.random.default_rng(8).uniform(0.02, 0.3, KILLS)
    killed, never = tmp_path / "killed", tmp_path / "never killed"
    for folder in (killed, never, tmp_path / "server"):
        folder.mkdir()
    for folder in (killed, never):
        small_run.save(folder, small_run.made(folder), 0)
    ledger = Ledger(killed / "jobs.db")
    monkeypatch.setenv("PENNYLANE_IONQ_API_KEY", "")
    base = "pennylane_ionq.api_client.APIClient.BASE_URL"
    with in_another_process(tmp_path / "server", delay=0.02, faults=[SLOW]) as server:
        monkeypatch.setattr(base, server.url)
        for moment in moments:
            program = processes.Process(
                target=small_run.train, args=(killed, server.url, ENDLESS)
            )
            program.start()
            time.sleep(moment)
            program.kill()
            program.join()
            assert program.exitcode == -signal.SIGKILL
            time.sleep(0.05)  # a job that was being sent arrives
            resolve(ledger, server)
        steps = json.loads((killed / "checkpoint").read_text())["step"] + 2
        weights = small_run.train(killed, server.url, steps)
        assert small_run.train(never, server.url, steps) == weights
        sent = Counter(job.key for job in server.jobs)
    assert set(sent.values()) == {1}
    assert len(sent) == 2 * steps
    assert Counter(one.state for one in ledger.entries()) == {"done": steps}
    assert np.abs(np.subtract(weights, small_run.made(never).parameters)).max() > 0.1
