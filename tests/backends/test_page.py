"""The seed page's code about hardware, on simulators and on IonQ's interface here."""

import numpy as np
import pytest

from qstore_pl import BackendManager, QuantumModel, QuantumTrainer, TrainingConfig, aio
from qstore_pl.backends.qiskit import AerMachine
from qstore_pl.errors import QuantumCircuitError
from tests.servers.ionq import IonQServer
from tests.test_seed_page import awaited, batches, run, started

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _own_ledger(monkeypatch, tmp_path):
    """Jobs are written down in a file of the test."""
    monkeypatch.setenv("QSTORE_JOBS", str(tmp_path / "jobs.db"))


COMPARISON = """
# Compare performance across backends
backends = ["mock_ideal", "mock_noisy", "cirq"]
results = {}

for backend_name in backends:
    backend = backend_manager.get_backend(backend_name)
    model = QuantumModel(4, 2, 2, backend)
    history = await trainer.train(model, data_loader)
    results[backend_name] = history
"""


@awaited
async def test_multi_backend_training():
    names = await started(epochs=2)
    names["data_loader"] = batches(4, 2, n=8, size=4)
    names["QuantumModel"] = lambda *given: aio.QuantumModel(*given, seed=0)
    results = (await run(COMPARISON, **names))["results"]
    assert list(results) == ["mock_ideal", "mock_noisy", "cirq"]
    losses = {name: history["losses"] for name, history in results.items()}
    # Without noise the same circuits of the same model have the same values.
    np.testing.assert_allclose(losses["cirq"], losses["mock_ideal"], rtol=0, atol=1e-6)
    gap = np.abs(np.subtract(losses["mock_noisy"], losses["mock_ideal"]))
    assert (gap > 1e-3).all()


HARDWARE = """
# Train on simulator
config.quantum_sdk = "mock"
await trainer.train(model, train_loader)

# Fine-tune on real quantum hardware
config.quantum_sdk = "ionq"
await trainer.train(model, train_loader, epochs=5)
"""


@awaited
async def test_hardware_abstraction(ionq_server):
    names = await started(epochs=20, shots=200, gradient_method="spsa")
    names["train_loader"] = batches(4, 2, n=8, size=4)
    model, trainer = names["model"], names["trainer"]
    first, second = HARDWARE.split("\n\n")
    names = await run(first, **names)
    assert model.device.name == "qstore.mock_ideal"
    trained, before = model.parameters.copy(), trainer.history["losses"]
    assert ionq_server.submissions == 0
    await run(second, **names)
    assert model.device.name == "ionq_simulator"
    # One job for each of five times two steps, with all values and steps of SPSA.
    assert ionq_server.submissions == 10
    assert {job.payload.backend for job in ionq_server.jobs} == {"simulator"}
    assert ionq_server.bill == 0.0
    # It went on with the weights that it had.
    assert trainer.history["losses"][0] < before[0]
    moved = np.abs(model.parameters - trained)
    assert 0 < moved.max() < 1.0
    assert len(trainer.history) == 5


SELECTION = """
# Development: Use mock backend (free, fast)
config.quantum_sdk = "mock"

# Testing: Use noisy simulator (realistic)
backend = backend_manager.get_backend("mock_noisy")

# Production: Use quantum hardware (when needed)
config.quantum_sdk = "ionq"
backend = backend_manager.get_backend("ionq_qpu")
"""


@awaited
async def test_hardware_selection(ionq_server):
    names = await run(SELECTION, **await started())
    assert names["backend"] == BackendManager().get_backend("ionq_qpu")
    assert names["config"].quantum_sdk == "ionq"
    assert names["backend_manager"].get_backend().name == "ionq_simulator"
    assert ionq_server.requests == []  # a choice alone sends nothing


# --- other ways to go from a simulator to hardware --------------------------------

X = np.random.default_rng(1).uniform(-1, 1, (8, 2))
Y = np.sign(X[:, :1]) * 0.5


def test_the_same_weights_give_the_same_circuit_elsewhere(ionq_server):
    """A trained model is moved, and its values are those it had, within shot noise."""
    model = QuantumModel(2, 1, n_layers=2, seed=0)
    QuantumTrainer(TrainingConfig(epochs=20, learning_rate=0.1, seed=0)).train(
        model, (X, Y)
    )
    exact, shots = model(X), 4000
    errors = np.sqrt((1 - exact**2) / shots)
    for name in ("qiskit", "cirq", "ionq_simulator", "ionq_qpu"):
        model.backend = BackendManager().get_backend(name, shots=shots, seed=3)
        assert (np.abs(model(X) - exact) < 5 * errors).all(), name
    assert [job.payload.backend for job in ionq_server.jobs] == [
        *("simulator", "qpu.aria-1")
    ]


def test_fine_tuning_with_shots_keeps_what_was_learnt():
    """A noisy start on Aer ends where the exact training led, and not at random."""
    model = QuantumModel(2, 1, n_layers=2, readout="affine", seed=0)
    config = TrainingConfig(epochs=60, learning_rate=0.1, seed=0)
    trainer = QuantumTrainer(config)
    trainer.train(model, (X, Y))
    loss, config.quantum_sdk = trainer.history["losses"][-1], "qiskit"
    config.shots, config.learning_rate = 500, 0.01
    again = trainer.train(model, (X, Y), epochs=3)
    assert model.device.name == "qiskit"
    assert again["losses"][0] < loss + 0.1
    assert again["shots"] == [500 * n for n in again["circuits"]]


def test_several_backends_one_of_them_remote(monkeypatch, ionq_server):
    """The result does not depend on how long the service takes."""
    found = []
    for seconds in (0.0, 0.05):
        with IonQServer(delay=seconds) as server:
            url = "pennylane_ionq.api_client.APIClient.BASE_URL"
            monkeypatch.setattr(url, server.url)
            config = TrainingConfig(
                backend_shares={"ionq_simulator": 1, "qiskit": 1, "mock_ideal": 2},
                epochs=2,
                batch_size=4,
                shots=50,
                gradient_method="spsa",
                seed=0,
            )
            model = QuantumModel(2, 1, n_layers=1, seed=0)
            trainer = QuantumTrainer(config)
            history = trainer.train(model, (X, Y))
            assert server.submissions == 4  # one in each step
            assert trainer.spent.jobs == 8
            assert history["circuits"] == [24, 24]
            found.append(model.parameters.copy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("first", ["ionq_simulator", "qiskit"])
def test_a_step_that_failed_on_one_backend_is_not_sent_again_to_another(
    monkeypatch, ionq_server, tmp_path, first
):
    second = {"ionq_simulator": "qiskit", "qiskit": "ionq_simulator"}[first]
    settings = {
        "backend_shares": {first: 1, second: 1},
        "epochs": 2,
        "batch_size": 4,
        "shots": 50,
        "gradient_method": "spsa",
        "seed": 0,
    }

    def train(*, fails, resume=None, **options):
        model = QuantumModel(2, 1, n_layers=1, seed=0)
        trainer = QuantumTrainer(TrainingConfig(**settings, **options))
        run, calls = AerMachine.run, []

        def failing(*given):
            calls.append(given)
            if fails and len(calls) == 3:
                raise RuntimeError("It is switched off.")
            return run(*given)

        with monkeypatch.context() as patch:
            patch.setattr(AerMachine, "run", failing)
            if fails:
                with pytest.raises(QuantumCircuitError, match="switched off"):
                    trainer.train(model, (X, Y))
            else:
                trainer.train(model, (X, Y), resume=resume)
        return model, trainer

    whole, _ = train(fails=False)
    before = ionq_server.submissions
    assert before == 4
    files = {"checkpoint_directory": str(tmp_path / "run")}
    train(fails=True, quantum_api_key="env:PENNYLANE_IONQ_API_KEY", **files)
    assert ionq_server.submissions == before + 3  # that of the failed step as well
    # Where the key is, and how many jobs wait at once, changes no result.
    files["max_concurrent_circuits"] = 1
    model, trainer = train(fails=False, resume="latest", **files)
    assert ionq_server.submissions == before + 4
    assert model.parameters.tobytes() == whole.parameters.tobytes()
    assert len(trainer.history) == 2
