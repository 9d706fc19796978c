"""Sweeps: the runs that a trainer would do one by one; a failure is a row."""

from __future__ import annotations

import asyncio
import functools
import math

import numpy as np
import pytest

from qstore_pl import (
    QuantumModel,
    QuantumTrainer,
    ThreadExecutor,
    TrainingConfig,
    aio,
    sweep,
)
from qstore_pl.errors import ExecutorError
from qstore_pl.trainer import Executor

RNG = np.random.default_rng(5)
X = RNG.uniform(-1, 1, (12, 2))
Y = np.sign(X[:, :1]) * 0.5
MAKE = functools.partial(QuantumModel, 2, 1, readout="affine")
CONFIG = TrainingConfig(epochs=2, batch_size=6)
SETTINGS = [{"learning_rate": 0.1, "n_layers": 1}, {"n_layers": 2, "shots": 5}]


@pytest.mark.parametrize("executor", [None, ThreadExecutor(3)])
def test_every_row_is_the_run_of_a_trainer(executor):
    rows = sweep(MAKE, (X, Y), SETTINGS, seeds=[2, 7], config=CONFIG, executor=executor)
    assert [row.seed for row in rows] == [2, 7, 2, 7]
    assert [row.settings for row in rows] == [SETTINGS[0]] * 2 + [SETTINGS[1]] * 2
    for row in rows:
        settings = dict(row.settings)
        model = MAKE(n_layers=settings.pop("n_layers"), seed=row.seed)
        config = TrainingConfig(epochs=2, batch_size=6, seed=row.seed, **settings)
        history = QuantumTrainer(config).train(model, (X, Y))
        assert row.history["losses"] == history["losses"]
        assert row.best == min(history["losses"])
        again = MAKE(n_layers=row.settings["n_layers"])
        again.load_state(row.state)
        np.testing.assert_array_equal(again.parameters, model.parameters)
        assert row.as_dict()["last_loss"] == history["losses"][-1]
        assert row.error == row.as_dict()["error"] == ""


def test_a_run_that_fails_is_a_row(caplog):
    settings = [{"loss": "hinge"}, {}]
    rows = sweep(MAKE, (X, Y), settings, config=CONFIG, executor=ThreadExecutor(1))
    failed, done = rows
    assert "Traceback" in failed.error
    assert "must hold integer labels" in failed.as_dict()["error"]
    assert math.isnan(failed.best)
    assert failed.history is None is failed.state
    assert done.history is not None
    assert "Run 0 of the sweep failed" in caplog.text


def test_a_run_that_is_lost_is_a_row():
    class Losing(Executor):
        def crew(self, function):
            raise NotImplementedError

        def map(self, function, items):
            return [ExecutorError("workers were lost"), function(items[1])]

    rows = sweep(MAKE, (X, Y), [{}, {}], config=CONFIG, executor=Losing())
    assert [row.error for row in rows] == ["workers were lost", ""]


def test_runs_have_directories_and_are_resumed(tmp_path, monkeypatch):
    config = TrainingConfig(epochs=1, checkpoint_directory=tmp_path)
    first = sweep(MAKE, (X, Y), [{}], seeds=[0, 1], config=config)
    assert [row.checkpoint_directory for row in first] == [
        str(tmp_path / "run0000"),
        str(tmp_path / "run0001"),
    ]
    config.epochs = 3
    rest = sweep(MAKE, (X, Y), [{}], seeds=[0, 1], config=config)
    whole = sweep(MAKE, (X, Y), [{"epochs": 3}], seeds=[0, 1])
    assert [r.history["losses"] for r in rest] == [r.history["losses"] for r in whole]


def test_the_twin_to_be_awaited():
    (row,) = asyncio.run(aio.sweep(MAKE, (X, Y), [{}], config=CONFIG))
    (wanted,) = sweep(MAKE, (X, Y), [{}], config=CONFIG)
    assert row.history["losses"] == wanted.history["losses"]


def without_seed(n_layers):
    return MAKE(n_layers=n_layers)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"settings": [{"n_layer": 2}]}, ValueError, "but names n_layer"),
        ({"settings": [{"seed": 2}]}, ValueError, "must be in `seeds`"),
        ({"config": TrainingConfig(seed=2)}, ValueError, "must be in `seeds`"),
        ({"settings": [{"epochs": 0}]}, ValueError, "`epochs` must be >= 1"),
        ({"settings": []}, ValueError, "at least one entry each, but have 0 and 1"),
        ({"seeds": []}, ValueError, "but have 1 and 0"),
        ({"seeds": [-1]}, ValueError, "`seeds` must be >= 0"),
        ({"make_model": 3}, TypeError, "must be a function that makes"),
        ({"make_model": without_seed}, TypeError, "must take an argument `seed`"),
        ({"data": iter([(X, Y)])}, TypeError, "but is an iterator"),
        ({"executor": 2}, TypeError, "`executor` must be an Executor"),
    ],
)
def test_refused_at_the_door(change, error, message):
    arguments = {"make_model": MAKE, "data": (X, Y), "settings": [{}]}
    with pytest.raises(error, match=message):
        sweep(**(arguments | change))
