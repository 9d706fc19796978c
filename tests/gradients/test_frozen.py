"""Frozen weights stay bit for bit, under every optimizer and every gradient method."""

import itertools

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import QuantumGradientComputer, QuantumTrainer, TrainingConfig
from qstore_pl.gradients import OPTIONS
from qstore_pl.optimizers import OPTIMIZERS, NaturalGradient
from tests.test_roads import build, oracle

# default.qubit casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

CASE = ("angle", "linear", "affine", (2, 1, 2, 5))
FROZEN = [0, 4, 7]  # two weights and a scale of the read-out
SETTINGS = {
    "spsa": {"gradient_directions": 2},
    "random_subset": {"gradient_sample_size": 2},
}
METHODS = [*OPTIONS]


def freeze(model):
    model.quantum_layer.freeze_parameters([0, 4])
    model.trainable[7] = False


def settings(optimizer, method="best", **changed):
    if optimizer != "natural_gradient":
        changed = {"weight_decay": 0.1, **changed}
    return TrainingConfig(
        optimizer=optimizer,
        gradient_method=method,
        seed=0,
        **{"epochs": 2, "learning_rate": 0.1} | SETTINGS.get(method, {}) | changed,
    )


def vectors(state):
    """The entries of an optimizer's state with one number per parameter."""
    return {k: v for k, v in state.items() if np.ndim(v) == 1}


def same_bits(first, second, where):
    return first[where].tobytes() == second[where].tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_leaves_them_and_their_moments_alone(optimizer, method):
    model, inputs, targets = build(*CASE)
    freeze(model)
    before = model.parameters.copy()
    trainer = QuantumTrainer(settings(optimizer, method, batch_size=2))
    trainer.train(model, (inputs, targets))
    assert same_bits(model.parameters, before, FROZEN)
    moments = vectors(trainer.optimizer.state)
    assert moments
    for name, values in moments.items():
        assert same_bits(values, np.zeros_like(values), FROZEN), name
    moved = model.parameters != before
    assert moved[[6, 8, 9]].all()  # the rest of the read-out
    if method == "random_subset":
        assert moved[:6].any()
    else:
        assert moved[[1, 3]].all()


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_they_stay_on_other_devices_and_cost_no_circuit(optimizer, device):
    # One wire more than the circuit: the full metric needs it.
    model, inputs, targets = build(*CASE, backend=qml.device(device, wires=3))
    freeze(model)
    before = model.parameters.copy()
    config = settings(optimizer, batch_size=5, epochs=1)
    history = QuantumTrainer(config).train(model, (inputs, targets))
    assert same_bits(model.parameters, before, FROZEN)
    assert (model.parameters != before)[[1, 3, 6, 8, 9]].all()
    if optimizer != "natural_gradient":  # whose metric has circuits of its own
        assert history["circuits"] == [5 * (1 + 2 * 4)]


class FreezesInTheMiddle:
    """Batches; after two of them weights are frozen, and what is then is kept."""

    def __init__(self, model, trainer, batches):
        self.model, self.trainer, self.batches = model, trainer, batches

    def __iter__(self):
        for i, batch in enumerate(self.batches):
            if i == 2:
                freeze(self.model)
                self.parameters = self.model.parameters.copy()
                self.moments = vectors(self.trainer.optimizer.state)
            yield batch


@pytest.mark.parametrize("method", ["best", "parameter_shift", "spsa"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weights_frozen_in_the_middle_of_training_stop_there(optimizer, method):
    """Those with moments too, which would carry them on."""
    model, inputs, targets = build(*CASE)
    changed = {"momentum": 0.9} if optimizer in ("sgd", "natural_gradient") else {}
    config = settings(optimizer, method, epochs=1)
    trainer = QuantumTrainer(config)
    if optimizer == "natural_gradient":  # with a velocity, which its name has not
        given = NaturalGradient(0.1, **changed)
        config = TrainingConfig(
            gradient_method=method, epochs=1, seed=0, **SETTINGS.get(method, {})
        )
        trainer = QuantumTrainer(config, optimizer=given)
    data = FreezesInTheMiddle(model, trainer, [(inputs, targets)] * 5)
    trainer.train(model, data)
    assert same_bits(model.parameters, data.parameters, FROZEN)
    after = vectors(trainer.optimizer.state)
    for name, values in data.moments.items():
        assert same_bits(after[name], values, FROZEN), name
    if optimizer != "sgd":
        assert any(values[FROZEN].all() for values in data.moments.values())
    assert (model.parameters != data.parameters)[[1, 3, 6, 8, 9]].all()


@pytest.mark.parametrize("method", ["best", "parameter_shift", "finite_diff"])
@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
def test_the_clipped_norm_is_that_of_the_others(device, method):
    """One step of length 1 is minus the clipped gradient."""
    model, inputs, targets = build(*CASE, backend=qml.device(device, wires=2))
    freeze(model)
    before = model.parameters.copy()
    outputs, _ = oracle(*CASE, inputs, before, targets)
    slopes = 2 * (outputs - targets) / targets.size
    _, gradient = oracle(*CASE, inputs, before, slopes)
    free = np.where(model.trainable, gradient, 0.0)
    assert np.linalg.norm(free) < 0.9 * np.linalg.norm(gradient)
    config = TrainingConfig(
        optimizer="sgd",
        learning_rate=1.0,
        epochs=1,
        batch_size=5,
        gradient_clip_norm=0.01,
        gradient_method=method,
        seed=0,
    )
    history = QuantumTrainer(config).train(model, (inputs, targets))
    norm = np.linalg.norm(free)
    assert history["gradient_norms"] == pytest.approx([norm], rel=1e-7)
    moved = model.parameters - before
    np.testing.assert_allclose(moved, -0.01 * free / norm, rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", ["best", "parameter_shift", "finite_diff", "spsa"])
@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n != "natural_gradient"])
def test_the_custom_loop_freezes_by_the_mask_in_the_result(name, method):
    """`step` is told nothing of the mask: a layer's circuit brings it along."""
    model, _, _ = build(*CASE)
    layer = model.quantum_layer
    optimizer = OPTIMIZERS[name](0.1)
    computer = QuantumGradientComputer(method=method, seed=0)

    def loop(n_steps):
        for _ in range(n_steps):
            result = computer.compute_gradients(layer.circuit, layer.parameters)
            optimizer.step(layer.parameters, result)
        return layer.parameters.copy(), vectors(optimizer.state)

    start = layer.parameters.copy()
    layer.freeze_parameters([1])
    first, moments = loop(3)
    assert same_bits(first, start, [1])
    for values in moments.values():
        assert values[1] == 0.0
    layer.freeze_parameters([0])  # which has moments by now
    second, later = loop(3)
    assert same_bits(second, first, [0, 1])
    for key, values in moments.items():
        assert same_bits(later[key], values, [0, 1])
    assert (second != first)[[3, 4]].all()
    layer.unfreeze_parameters()
    third, _ = loop(2)
    assert (third != second)[[0, 1, 3, 4]].all()
    assert same_bits(model.parameters, third, slice(0, 6))


@pytest.mark.parametrize(
    ("name", "frozen"), [*itertools.product(["adam", "momentum"], [[0], [0, 4, 7]])]
)
def test_the_custom_loop_of_a_model_freezes_too(name, frozen):
    model, inputs, targets = build(*CASE)
    optimizer = OPTIMIZERS[name](0.1)
    computer = QuantumGradientComputer()
    data = {"inputs": inputs, "targets": targets, "loss": "mse"}

    def loop():
        for _ in range(3):
            result = computer.compute_gradients(model, model.parameters, **data)
            optimizer.step(model.parameters, result)
        return model.parameters.copy(), vectors(optimizer.state)

    first, moments = loop()
    model.trainable[frozen] = False
    second, later = loop()
    assert same_bits(second, first, frozen)
    for key, values in moments.items():
        assert same_bits(later[key], values, frozen)
        assert values[frozen].all()
    assert (second != first)[[1, 3, 6, 8, 9]].all()
