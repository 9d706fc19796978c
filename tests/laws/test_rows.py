"""What must hold of every layer, every encoding and every readout of `tests.cases`."""

import copy
import pickle

import numpy as np
import pytest

from qstore_pl import (
    QuantumGradientComputer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
)
from tests.cases import (
    FIRST_LAYERS,
    LAYERS,
    READOUTS,
    AngleEncoding,
    random_samples,
)
from tests.naive import derivatives

ROWS = [
    *[("layer", name) for name in LAYERS],
    *[("encoding", name) for name in FIRST_LAYERS],
    *[("readout", name) for name in READOUTS],
]


@pytest.fixture(params=ROWS, ids=" ".join)
def row(request):
    """A model with the layer, encoding or readout of a row, and three samples."""
    kind, name = request.param
    rng = np.random.default_rng(ROWS.index(request.param))
    first = FIRST_LAYERS[name](rng) if kind == "encoding" else AngleEncoding()
    after = LAYERS[name](rng) if kind == "layer" else LAYERS["rotations, circular"](rng)
    readout = READOUTS[name](rng, (0, 1), 2) if kind == "readout" else "affine"
    model = QuantumModel(3, 2, layers=[first, after], readout=readout, n_qubits=3)
    model.parameters[:] = rng.uniform(-2, 2, model.parameters.size)
    return model, random_samples(rng, model, 3), rng


def test_a_batch_is_its_samples_one_by_one(row):
    model, samples, _ = row
    singles = [model(sample) for sample in samples]
    np.testing.assert_allclose(model(samples), singles, rtol=0, atol=1e-13)


def test_the_gradient_is_that_of_differences(row):
    model, samples, rng = row
    targets = rng.normal(size=(3, 2))

    def loss(parameters):
        model.parameters[:] = parameters
        return np.array(((model(samples) - targets) ** 2).mean())

    there = model.parameters.copy()
    wanted = derivatives(loss, there.copy())
    model.parameters[:] = there
    seen = QuantumGradientComputer().compute_gradients(
        model, model.parameters, inputs=samples, targets=targets, loss="mse"
    )
    np.testing.assert_allclose(seen.gradients, wanted, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_is_the_same(row, copied):
    model, samples, _ = row
    np.testing.assert_array_equal(copied(model)(samples), model(samples))


def test_a_file_makes_it_again(row, tmp_path):
    model, samples, _ = row
    model.save(tmp_path / "model.qstore")
    twin = QuantumModel.from_checkpoint(
        tmp_path / "model.qstore", layers=model.layers, readout=model.readout
    )
    np.testing.assert_array_equal(twin(samples), model(samples))


def test_frozen_weights_stay_bit_for_bit(row):
    model, samples, _ = row
    model.trainable[::2] = False
    before = model.parameters.copy()
    config = TrainingConfig(epochs=2, learning_rate=0.1, seed=0)
    QuantumTrainer(config).train(model, (samples, np.zeros((3, 2))))
    assert model.parameters[::2].tobytes() == before[::2].tobytes()
    assert (model.parameters[1::2] != before[1::2]).any()


def test_a_summary_adds_up(row):
    model, _, _ = row
    summary = model.summary()
    assert sum(r.n_weights for r in summary.rows) == model.n_weights
    counts = np.array([r.n_gates for r in summary.rows]).sum(axis=0)
    assert tuple(counts) == summary.total.n_gates
    assert summary.total.depth <= sum(r.depth for r in summary.rows)
    assert len(summary.features_seen) == len(summary.weights_seen)
