"""The code of the page this project comes from, about training, with another import.

Every block is as it is printed there, but for the import line. What the page leaves to
its reader (data, a loss, an optimizer, a logger) is defined here before the block runs,
inside an async function. Hardware has tests of its own.
"""

import ast
import asyncio
import functools
import logging

import numpy as np
import pytest
from pennylane import numpy as pnp

import qstore_pl
from qstore_pl import aio
from qstore_pl.losses import get_loss
from tests.servers.pinecone import serving

pytestmark = pytest.mark.timeout(120)

RNG = np.random.default_rng(0)


def awaited(test):
    """The test in an event loop of its own."""

    @functools.wraps(test)
    def run_test(*arguments, **named):
        asyncio.run(test(*arguments, **named))

    return run_test


def batches(n_features, n_outputs, *, seed=0, n=20, size=5):
    """A list of batches; dicts with the page's keys."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, n_features))
    Y = np.sign(X[:, :n_outputs]) * 0.5
    return [
        {"inputs": X[i : i + size], "targets": Y[i : i + size]}
        for i in range(0, n, size)
    ]


async def run(block, **names):
    """Run a block with these names; all names after it."""
    code = compile(block, "<page>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if result is not None:
        await result
    return names


BASIC = """
from qstore_pl.aio import (
    QuantumTrainer,
    QuantumModel,
    TrainingConfig,
    BackendManager
)
from qstore_pl.aio import QuantumDataEncoder

# Configure training
config = TrainingConfig(
    pinecone_api_key="your-api-key",
    quantum_sdk="mock",  # or "cirq", "qiskit", "ionq"
    learning_rate=0.01,
    epochs=10,
    batch_size=5,
    n_qubits=4
)

# Initialize backend
backend_manager = BackendManager(config)
backend = backend_manager.get_backend("mock_ideal")

# Create model
model = QuantumModel(
    input_dim=4,
    output_dim=2,
    n_layers=2,
    backend=backend
)

# Prepare data
encoder = QuantumDataEncoder(n_qubits=4)
encoded_data = await encoder.encode_batch(training_data, method="amplitude")

# Train
trainer = QuantumTrainer(config, backend_manager)
history = await trainer.train(model, data_loader)

print(f"Final loss: {history['losses'][-1]:.4f}")
"""


async def basic():
    """All names after the basic example."""
    return await run(
        BASIC,
        training_data=RNG.uniform(-1, 1, (20, 16)),
        data_loader=batches(4, 2),
    )


@pytest.fixture
def service(monkeypatch):
    """A server that takes the key on the page, in the place of Pinecone."""
    with serving(monkeypatch, key="your-api-key") as server:
        yield server


async def started(**settings):
    """A trainer, a model and data for the blocks that go on from there."""
    config = aio.TrainingConfig(
        **{"learning_rate": 0.05, "epochs": 3, "seed": 0, **settings}
    )
    manager = aio.BackendManager(config)
    return {
        "config": config,
        "backend_manager": manager,
        "backend": manager.get_backend("mock_ideal"),
        "trainer": aio.QuantumTrainer(config, manager),
        "model": aio.QuantumModel(4, 2, 2, seed=0),
        "QuantumModel": aio.QuantumModel,
        "data_loader": batches(4, 2),
        "train_loader": batches(4, 2),
    }


@awaited
async def test_basic_training_example(capsys, service):
    names = await basic()
    assert len(names["history"]) == 10
    assert names["history"]["losses"][-1] < names["history"]["losses"][0]
    assert names["encoded_data"].shape == (20, 16)
    np.testing.assert_allclose((names["encoded_data"] ** 2).sum(axis=1), 1, rtol=1e-12)
    final = names["history"]["losses"][-1]
    assert capsys.readouterr().out == f"Final loss: {final:.4f}\n"
    assert names["model"].count_parameters() == 24
    # The run is in the store that the key stands for.
    config, model = names["config"], names["model"]
    runs = await aio.CheckpointIndex.open(config)
    best, last = await runs.ls()
    assert best.name.endswith("/best")
    assert last.metadata["loss"] == final
    again = await runs.model(last.name)
    assert again.parameters.tobytes() == model.parameters.tobytes()
    states = await aio.EmbeddingIndex.open(model, config)
    (nearest,) = await states.search(names["data_loader"][1]["inputs"][2], top_k=1)
    assert nearest.id == "000007"
    assert nearest.fidelity == pytest.approx(1.0, abs=1e-5)
    assert sorted(service.indexes) == ["qstore", "qstore-checkpoints"]


HARDWARE = """
# Train on simulator
config.quantum_sdk = "mock"
await trainer.train(model, train_loader)
"""


@awaited
async def test_hardware_abstraction_up_to_the_hardware():
    names = await started()
    before = names["model"].parameters.copy()
    names = await run(HARDWARE, **names)
    assert names["model"].device.name == "qstore.mock_ideal"
    assert (names["model"].parameters != before).any()
    names["config"].quantum_sdk = "mock_noisy"
    names = await run(HARDWARE.replace('"mock"', '"mock_noisy"'), **names)
    assert names["model"].device.name == "qstore.mock_noisy"


TRANSFER = """
# Pre-train on task A
await trainer.train(model, task_a_loader)

# Freeze early layers
model.quantum_layer.freeze_parameters([0, 1, 2, 3])

# Fine-tune on task B
config.learning_rate = 0.001
await trainer.train(model, task_b_loader)
"""


@awaited
async def test_transfer_learning():
    tasks = {"task_a_loader": batches(4, 2), "task_b_loader": batches(4, 2, seed=1)}
    names = await run(TRANSFER, **await started(), **tasks)
    alone = await run(TRANSFER.split("\n\n")[0], **await started(), **tasks)
    after, pretrained = names["model"].parameters, alone["model"].parameters
    assert after[:4].tobytes() == pretrained[:4].tobytes()
    moved = after != pretrained
    assert moved[4:].sum() > 10
    assert np.abs(after - pretrained).max() < 0.05  # at the new learning rate
    assert names["trainer"].history["learning_rates"] == [0.001] * 3


ENCODINGS = """
# Amplitude encoding (exponential compression)
encoded = await encoder.encode(data, method="amplitude")
# 64-dim data → 6 qubits

# Angle encoding (direct feature mapping)
encoded = await encoder.encode(data, method="angle")

# ZZ Feature Map (second-order interactions)
encoded = await encoder.encode(data, method="zz_feature_map")
"""


@awaited
async def test_multiple_encoding_strategies():
    data = RNG.uniform(-1, 1, (3, 64))
    names = await run(ENCODINGS, encoder=aio.QuantumDataEncoder(), data=data)
    np.testing.assert_array_equal(names["encoded"], data)
    first = await run(
        ENCODINGS.split("\n\n")[0], encoder=aio.QuantumDataEncoder(6), data=data
    )
    assert first["encoded"].shape == (3, 2**6)


GRADIENTS = """
from qstore_pl.aio import (
    QuantumGradientComputer,
    NaturalGradientComputer
)

# Standard parameter shift
grad_computer = QuantumGradientComputer(backend)
gradients = await grad_computer.compute_gradients(circuit, params)

# Natural gradients (faster convergence)
nat_grad = NaturalGradientComputer(backend)
gradients = await nat_grad.compute_natural_gradient(circuit, params, loss)
"""


@awaited
async def test_advanced_gradient_methods():
    names = await started()
    layer = qstore_pl.QuantumLayer(3, 1, seed=0)
    names |= {"circuit": layer.circuit, "params": layer.parameters}
    names["loss"] = lambda predictions: pnp.mean(predictions**2)
    first = await run(GRADIENTS.split("# Natural")[0], **names)
    wanted = qstore_pl.QuantumGradientComputer(method="parameter_shift")
    np.testing.assert_allclose(
        first["gradients"].gradients,
        wanted.compute_gradients(layer.circuit, layer.parameters).gradients,
        rtol=0,
        atol=1e-12,
    )
    names = await run(GRADIENTS, **names)
    plain = qstore_pl.NaturalGradientComputer().compute_natural_gradient(
        layer.circuit, layer.parameters, names["loss"]
    )
    np.testing.assert_array_equal(names["gradients"].gradients, plain.gradients)
    assert plain.gradients.any()


EXAMPLE_1 = """
# Simple QNN on synthetic data
model = QuantumModel(input_dim=4, output_dim=2, n_layers=2)
await trainer.train(model, data_loader)
"""
EXAMPLE_2 = """
# Dimensionality reduction
model = QuantumModel(
    input_dim=8,
    output_dim=4,  # Compress to 4 dimensions
    n_layers=3
)
reconstructed = await model.forward(input_data)
"""
EXAMPLE_3 = """
# Train classifier
config.n_qubits = 8
model = QuantumModel(input_dim=8, output_dim=3, n_layers=4)
await trainer.train(model, pattern_data)

# Predict
predictions = await model.forward(test_patterns)
"""


@awaited
async def test_example_1_a_basic_network():
    names = await run(EXAMPLE_1, **await started())
    losses = names["trainer"].history["losses"]
    assert losses[-1] < losses[0]


@awaited
async def test_example_2_an_autoencoder():
    names = await run(
        EXAMPLE_2, QuantumModel=aio.QuantumModel, input_data=RNG.uniform(-1, 1, (5, 8))
    )
    assert names["reconstructed"].shape == (5, 4)
    assert np.abs(names["reconstructed"]).max() <= 1
    assert names["model"].count_parameters() == 72


@awaited
async def test_example_3_patterns():
    names = await run(
        EXAMPLE_3,
        **await started(),
        pattern_data=batches(8, 3, n=10),
        test_patterns=RNG.uniform(-1, 1, (4, 8)),
    )
    assert names["predictions"].shape == (4, 3)
    assert len(names["trainer"].history) == 3
    with pytest.raises(ValueError, match="must equal the model's 4, but is 8"):
        await run(EXAMPLE_1, **names)


CHECKPOINTS = """
# Save checkpoint
checkpoint = {
    'epoch': epoch,
    'model_state': model.get_state(),
    'optimizer_state': optimizer.state,
    'loss': current_loss
}
trainer.save_checkpoint(checkpoint, f"checkpoint_epoch_{epoch}.pkl")

# Load checkpoint
checkpoint = trainer.load_checkpoint("checkpoint_epoch_5.pkl")
model.load_state(checkpoint['model_state'])
"""


@awaited
async def test_checkpoint_management(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = await run(EXAMPLE_1, **await started())
    parameters = names["model"].parameters.copy()
    names |= {"optimizer": names["trainer"].optimizer, "epoch": 5}
    names["current_loss"] = names["trainer"].history["losses"][-1]
    save, load = CHECKPOINTS.split("\n\n")
    names = await run(save, **names)
    names["model"].parameters[:] = 0.0
    names = await run(load, **names)
    assert names["model"].parameters.tobytes() == parameters.tobytes()
    assert names["checkpoint"]["epoch"] == 5
    assert names["checkpoint"]["loss"] == names["current_loss"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_epoch_5.pkl"]
    head = (tmp_path / "checkpoint_epoch_5.pkl").read_bytes()
    assert not head.startswith(b"\x80")  # the name on the page, but no pickle
    await run(CHECKPOINTS, **names)


LOOP = """
for epoch in range(config.epochs):
    epoch_loss = 0.0

    for batch in data_loader:
        # Forward pass
        predictions = await model.forward(batch['inputs'])

        # Compute loss
        loss = loss_function(predictions, batch['targets'])

        # Compute gradients
        gradients = await grad_computer.compute_gradients(
            model.quantum_layer.circuit,
            model.quantum_layer.parameters
        )

        # Update parameters
        optimizer.step(model.quantum_layer.parameters, gradients)

        epoch_loss += loss

    print(f"Epoch {epoch}: Loss = {epoch_loss:.4f}")
"""


@awaited
async def test_custom_training_loop(capsys):
    names = await started()
    names |= {
        "loss_function": get_loss("mse"),
        "grad_computer": aio.QuantumGradientComputer(),
        "optimizer": aio.SGD(0.1),
    }
    layer = names["model"].quantum_layer
    plain = qstore_pl.QuantumGradientComputer()
    wanted = layer.parameters.copy()
    lines = []
    twin = qstore_pl.QuantumModel(4, 2, 2, seed=0)
    for epoch in range(3):
        total = 0.0
        for batch in names["data_loader"]:
            outputs = twin.forward(batch["inputs"])
            total += ((outputs - batch["targets"]) ** 2).mean()
            at = twin.parameters.reshape(layer.parameters.shape)
            found = plain.compute_gradients(twin.quantum_layer.circuit, at)
            twin.parameters[:] -= 0.1 * found.gradients.ravel()
        lines.append(f"Epoch {epoch}: Loss = {total:.4f}")
    await run(LOOP, **names)
    assert capsys.readouterr().out.splitlines() == lines
    np.testing.assert_allclose(
        names["model"].parameters, twin.parameters, rtol=0, atol=1e-13
    )
    assert (names["model"].parameters != wanted.ravel()).any()


CLIPPING = """
config = TrainingConfig(
    learning_rate=0.01,
    gradient_clip_value=1.0,  # Clip gradients to [-1, 1]
    gradient_clip_norm=2.0     # Clip gradient norm
)
"""


@awaited
async def test_gradient_clipping():
    names = await run(CLIPPING, TrainingConfig=aio.TrainingConfig)
    config = names["config"]
    assert config.set_fields() == {
        *("learning_rate", "gradient_clip_value", "gradient_clip_norm")
    }
    history = await aio.QuantumTrainer(config).train(
        aio.QuantumModel(4, 2, seed=0), batches(4, 2), epochs=2
    )
    assert len(history) == 2


ERRORS = """
try:
    history = await trainer.train(model, data_loader)
except QuantumCircuitError as e:
    logger.error(f"Circuit execution failed: {e}")
    # Fallback to simulator
    backend = backend_manager.get_backend("mock_ideal")
    history = await trainer.train(model, data_loader)
"""


class Failing:
    """Batches that fail once as a circuit would."""

    def __init__(self):
        self.failed = False

    def __iter__(self):
        if not self.failed:
            self.failed = True
            raise qstore_pl.QuantumCircuitError("The job failed.", backend="ionq_qpu")
        return iter(batches(4, 2))


@awaited
async def test_error_handling(caplog):
    names = await started()
    names |= {"QuantumCircuitError": aio.QuantumCircuitError}
    names["logger"] = logging.getLogger("page")
    good = await run(ERRORS, **names)
    assert len(good["history"]) == 3
    assert caplog.records == []
    names["data_loader"] = Failing()
    saved = await run(ERRORS, **names)
    assert len(saved["history"]) == 3
    (record,) = caplog.records
    assert record.getMessage() == (
        "Circuit execution failed: The job failed. (backend `ionq_qpu`)"
    )
