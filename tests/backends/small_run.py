"""A training loop of a few lines, which may be killed at any moment and begun again.

After each step it writes a checkpoint: weights, the number of the step, and the state
of the device, which names the submissions.
"""

import json
import os
from pathlib import Path

import numpy as np
import pennylane_ionq.api_client as plugin

from qstore_pl import BackendManager, QuantumGradientComputer, QuantumModel
from qstore_pl._files import replace_file
from tests.servers.ionq import KEY

X = np.array([[0.3, -0.7]])
Y = np.array([[0.5, -0.5]])


def made(folder: Path) -> QuantumModel:
    """The model at the beginning."""
    options = {"shots": 50, "seed": 4, "poll": 0.01, "ledger": folder / "jobs.db"}
    backend = BackendManager().get_backend("ionq_simulator", **options)
    return QuantumModel(2, 2, n_layers=1, backend=backend, seed=1)


def save(folder: Path, model: QuantumModel, step: int) -> None:
    tree = {
        "weights": model.parameters.tolist(),
        "step": step,
        "device": model.device.generator_state,
    }
    replace_file(folder / "checkpoint", json.dumps(tree).encode(), prefix=".new")


def train(folder: Path, url: str, steps: int) -> list[float]:
    """Train from the last checkpoint to the last step; returns the weights."""
    plugin.APIClient.BASE_URL = url
    os.environ["PENNYLANE_IONQ_API_KEY"] = KEY
    model = made(folder)
    tree = json.loads((folder / "checkpoint").read_text())
    model.parameters[:] = tree["weights"]
    model.device.generator_state = tree["device"]
    computer = QuantumGradientComputer(method="parameter_shift")
    for step in range(tree["step"], steps):
        result = computer.compute_gradients(
            model, model.parameters, inputs=X, targets=Y, loss="mse"
        )
        model.parameters[:] -= 0.2 * result.gradients
        save(folder, model, step + 1)
    return model.parameters.tolist()
