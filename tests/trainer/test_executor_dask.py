"""Gradients on the workers of a Dask cluster, some of which are killed."""

from __future__ import annotations

import functools
import os
import signal
import time
from multiprocessing import forkserver

import dask
import distributed
import numpy as np
import pytest
from distributed import LocalCluster

from qstore_pl import (
    DaskExecutor,
    QuantumModel,
    QuantumTrainer,
    ThreadExecutor,
    TrainingConfig,
    sweep,
)
from qstore_pl.callbacks import Callback
from qstore_pl.errors import ExecutorError
from qstore_pl.trainer import dask_executor
from tests import processes

pytestmark = pytest.mark.timeout(60)

RNG = np.random.default_rng(3)
X = RNG.uniform(-1, 1, (23, 2))
Y = np.sign(X[:, :1]) * 0.5
# The workers are forks of a process that has imported PennyLane.
FORKED = {
    "distributed.worker.multiprocessing-method": processes.context.get_start_method()
}

HERE = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes on this computer, which are started again if they die."""
    forkserver.ensure_running()  # with our imports, before Dask says what to import
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with dask.config.set(FORKED), LocalCluster(**options, **HERE) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster, set_as_default=False) as made:
        yield made


def trained(executor, callbacks=(), **options):
    settings = {"epochs": 2, "batch_size": 10, "learning_rate": 0.2, "seed": 4}
    model = QuantumModel(2, 1, n_layers=1, readout="affine", seed=0)
    config = TrainingConfig(**(settings | {"optimizer": "sgd"} | options))
    trainer = QuantumTrainer(config, executor=executor)
    history = trainer.train(model, (X, Y), callbacks=callbacks)
    return model.parameters.copy(), history["losses"]


def mixes(p, t):
    return ((p - t) ** 2).mean() + 3.0 * (p - t).mean() ** 2


@pytest.mark.parametrize(
    "options",
    [{}, {"loss": mixes}, {"shots": 20}, {"gradient_method": "spsa"}],
    ids=["mse", "two rounds", "shots", "spsa"],
)
def test_two_workers_give_the_bits_of_one_thread(client, options):
    wanted, losses = trained(ThreadExecutor(1), **options)
    found, ours = trained(DaskExecutor(client), **options)
    assert found.tobytes() == wanted.tobytes()
    assert ours == losses


def test_the_weights_of_the_serial_run(cluster):
    wanted, _ = trained(None)
    found, _ = trained(DaskExecutor(cluster.scheduler_address))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


class Kill(Callback):
    """Kills a worker, or all of them, after the second step."""

    def __init__(self, client, n_killed):
        self.client, self.n_killed, self.killed = client, n_killed, []

    def on_step_end(self, epoch, step, loss):
        if (epoch, step) == (0, 1):
            pids = list(self.client.run(os.getpid).values())
            for pid in pids[: self.n_killed]:
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)


@pytest.mark.parametrize(
    ("n_killed", "options"), [(1, {}), (2, {"shots": 20, "loss": mixes})]
)
def test_a_killed_worker_changes_nothing(client, n_killed, options):
    client.wait_for_workers(2, timeout=30)
    wanted, losses = trained(ThreadExecutor(2), **options)
    kill = Kill(client, n_killed)
    found, ours = trained(DaskExecutor(client), callbacks=kill, **options)
    assert len(kill.killed) == n_killed
    assert found.tobytes() == wanted.tobytes()
    assert ours == losses


# --- sweeps -----------------------------------------------------------------------


def test_a_sweep_gives_the_rows_of_a_serial_one(client):
    client.wait_for_workers(2, timeout=30)
    make = functools.partial(QuantumModel, 2, 1, readout="affine")
    settings = [{"n_layers": 1}, {"n_layers": 1, "shots": 5}, {"loss": "hinge"}]
    config = TrainingConfig(epochs=1, batch_size=10)
    arguments = {"seeds": [0, 3], "config": config}
    serial = sweep(make, (X, Y), settings, **arguments)
    rows = sweep(make, (X, Y), settings, executor=DaskExecutor(client), **arguments)
    assert [row.error != "" for row in rows] == [False] * 4 + [True] * 2
    for row, wanted in zip(rows[:4], serial, strict=False):
        assert row.settings == wanted.settings
        assert row.history["losses"] == wanted.history["losses"]
        np.testing.assert_array_equal(
            row.state["parameters"], wanted.state["parameters"]
        )


def dies_once(seed, path):
    """A model whose process is killed the first time."""
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return QuantumModel(2, 1, n_layers=1, seed=seed)


def dies(seed):
    os.kill(os.getpid(), signal.SIGKILL)


def test_runs_of_killed_workers_are_done_again(client, tmp_path):
    client.wait_for_workers(2, timeout=30)
    make = functools.partial(dies_once, path=tmp_path / "died")
    config, executor = TrainingConfig(epochs=1), DaskExecutor(client)
    (row,) = sweep(make, (X, Y), [{}], config=config, executor=executor)
    assert (tmp_path / "died").exists()
    (wanted,) = sweep(make, (X, Y), [{}], config=config)
    assert row.history["losses"] == wanted.history["losses"]


def test_a_run_that_kills_its_workers_is_a_row(client, monkeypatch):
    monkeypatch.setattr(client.cluster.scheduler, "allowed_failures", 0)
    (row,) = sweep(dies, (X, Y), [{}], executor=DaskExecutor(client))
    assert "were lost" in row.error
    assert row.history is None


# --- refused at the door ----------------------------------------------------------


def test_no_scheduler(monkeypatch):
    monkeypatch.setattr(dask_executor, "CONNECTION_SECONDS", 0.3)
    with pytest.raises(ExecutorError, match=r"No Dask scheduler answers at tcp://127"):
        trained(DaskExecutor("tcp://127.0.0.1:9"))


def test_a_closed_client(cluster):
    client = distributed.Client(cluster, set_as_default=False)
    client.close()
    with pytest.raises(ExecutorError, match="The Dask client is closed"):
        trained(DaskExecutor(client))


def test_no_worker():
    with (
        LocalCluster(n_workers=0, processes=True, **HERE) as empty,
        distributed.Client(empty, set_as_default=False) as client,
        pytest.raises(ExecutorError, match=r"had no worker for 0\.1 s"),
    ):
        trained(DaskExecutor(client, timeout=0.1))


@pytest.mark.parametrize(
    ("theirs", "said"), [("0.0.1", "has qstore_pl 0.0.1"), (None, "has no qstore_pl")]
)
def test_a_worker_with_other_versions(client, monkeypatch, theirs, said):
    def told(packages):
        ours = dict.fromkeys(packages, "1.0")
        workers = {"tcp://there:1": {"packages": ours | {"qstore_pl": theirs}}}
        return {"client": {"packages": ours}, "workers": workers}

    monkeypatch.setattr(client, "get_versions", told)
    with pytest.raises(ExecutorError, match=said):
        trained(DaskExecutor(client))


def test_a_worker_that_hangs_is_lost(client):
    client.wait_for_workers(2, timeout=30)
    began = time.monotonic()
    with (
        DaskExecutor(client, timeout=0.2).crew(time.sleep) as run,
        pytest.raises(ExecutorError, match=r"lost|no worker left"),
    ):
        run([1.0])
    assert time.monotonic() - began < 10.0


class Asynchronous(distributed.Client):
    """A client for the event loop, which was never connected."""

    asynchronous = True

    def __init__(self):
        pass

    def __del__(self):
        pass


@pytest.mark.parametrize("given", [3, None, "asynchronous"])
def test_what_is_no_client(given):
    if given == "asynchronous":
        given = Asynchronous()
    with pytest.raises(TypeError, match="Argument `client` must"):
        DaskExecutor(given)
