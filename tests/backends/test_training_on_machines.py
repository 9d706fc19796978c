"""Training on machines of other packages: as on ours, and resumed bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qstore_pl import BackendManager, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.callbacks import Callback

pytestmark = pytest.mark.timeout(60)

FAST = "cirq", "qiskit"
X = np.random.default_rng(3).uniform(-1.5, 1.5, (7, 2))
Y = np.random.default_rng(4).uniform(-1, 1, (7, 1))
BATCH = 3  # the last batch has one sample


class StopAfter(Callback):
    """Asks the trainer to stop after a number of batches."""

    def __init__(self, trainer, n_batches):
        self._trainer, self._left = trainer, n_batches

    def on_step_end(self, epoch, step, loss):
        self._left -= 1
        if self._left == 0:
            self._trainer.stop()


def run(
    name,
    *,
    wires=None,
    directory=None,
    stop_after=None,
    resume=None,
    seed=0,
    **settings,
):
    """A new model after training, and its trainer."""
    backend = BackendManager().get_backend(name)
    backend = backend.device(wires) if wires else backend
    model = QuantumModel(2, 1, n_layers=1, backend=backend, seed=0)
    kept = {"checkpoint_directory": directory, "checkpoint_interval": 1}
    config = {"epochs": 2, "seed": seed, "learning_rate": 0.1, "batch_size": BATCH}
    config |= (kept if directory else {}) | settings
    trainer = QuantumTrainer(TrainingConfig(**config))
    callbacks = [StopAfter(trainer, stop_after)] if stop_after else []
    trainer.train(model, (X, Y), resume=resume, callbacks=callbacks)
    return model, trainer


def ending(model, trainer):
    """All that must be the same: parameters, and the history without times."""
    rows = [{k: v for k, v in row.items() if k != "time"} for row in trainer.history]
    return model.parameters.tobytes().hex(), json.dumps(rows)


NATURAL = {"optimizer": "natural_gradient", "epochs": 1}
SETTINGS = {
    "adam": {},
    "natural, in blocks": NATURAL | {"metric_tensor_approximation": "block-diag"},
    "natural, noiseless": NATURAL | {"metric_tensor": "noiseless"},
    "natural, with another wire": NATURAL | {"wires": 3},
}


@pytest.mark.parametrize("name", [*FAST, "cirq_mixed"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_training_is_that_on_mock_ideal(name, kind):
    settings = SETTINGS[kind] | {"gradient_method": "parameter_shift"}
    ours, _ = run("mock_ideal", **settings)
    model, trainer = run(name, **settings)
    assert (
        np.abs(model.parameters - QuantumModel(2, 1, 1, seed=0).parameters).max() > 0.1
    )
    np.testing.assert_allclose(model.parameters, ours.parameters, rtol=0, atol=1e-8)
    assert len(trainer.history) == settings.get("epochs", 2)


def test_a_step_is_one_submission():
    model, _ = run("cirq", gradient_method="parameter_shift")
    spent = model.device.spent
    assert spent.jobs == 2 * 3  # epochs and batches
    # Each sample as it is, and with each of the 6 rotations shifted both ways.
    assert spent.circuits == 2 * len(X) * (1 + 2 * 6)
    assert spent.one_qubit_gates == (2 + 6) * spent.circuits
    assert spent.two_qubit_gates == spent.circuits


@pytest.mark.parametrize("name", FAST)
def test_runs_with_shots_have_seeds(name):
    first, again, other = (
        ending(*run(name, shots=50, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


METHODS = {
    "parameter_shift": {"shots": 20},
    "spsa": {"shots": 20},
    "finite_diff": {"shots": 20},
    "random_subset": {"shots": 20, "gradient_sample_size": 2},
    "adaptive": {"shots": "adaptive", "shots_budget": 5000},
    "exact": {"gradient_method": "parameter_shift"},
}


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_resumed_run_is_the_same_bit_for_bit(name, method, stop_after, tmp_path):
    settings = METHODS[method]
    if method not in ("adaptive", "exact"):
        settings = {"gradient_method": method, **settings}
    wanted = run(name, directory=tmp_path / "whole", **settings)
    part = tmp_path / "part"
    run(name, directory=part, stop_after=stop_after, **settings)
    found = run(name, directory=part, resume="latest", **settings)
    assert ending(*found) == ending(*wanted)
    assert found[0].device.spent == wanted[0].device.spent
    assert found[0].device.spent.shots > 0 or method == "exact"
