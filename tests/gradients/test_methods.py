"""Adjoint, parameter shift and finite differences of models agree with default.qubit.

The oracle is that of `test_roads`: plain gates of PennyLane on default.qubit, or on
default.mixed with noise, one sample at a time, differentiated by autograd, and so is
the loss.
"""

import dataclasses
import gc
import itertools
import weakref

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import Loss, QuantumGradientComputer, QuantumModel
from qstore_pl.gradients import ModelExpectations
from qstore_pl.gradients.adjoint import MOST_PASSES, CompiledGradient
from qstore_pl.model import ENCODINGS
from qstore_pl.templates import ENTANGLEMENTS
from tests.test_roads import READS_VALUES, SPEC, build, noisy_oracle, oracle

# default.qubit casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

READOUTS = ("affine", "expval")
ENTANGLED = [word for word in ENTANGLEMENTS if word != "none"]
SIZE = (3, 2, 2, 2)  # qubits, layers, outputs, samples
FROZEN = [0, 4, 11, 17]
LABELS = np.array([1, 0])
TOLERANCE = {"adjoint": 1e-10, "parameter_shift": 1e-10, "finite_diff": 1e-8}


def squares(predictions, targets):
    return pnp.mean((predictions - targets) ** 2)


def cross_entropy(predictions, targets):
    logs = pnp.log(pnp.sum(pnp.exp(predictions), axis=1))
    return pnp.mean(logs - predictions[np.arange(len(targets)), targets])


def mixing(predictions, targets):
    """Of one's own, not a sum over samples."""
    return pnp.sum(pnp.sin(2 * predictions) * targets) * pnp.mean(predictions**2)


def cubes(predictions, targets):
    return pnp.sum((predictions - targets) ** 3)


CUBES = Loss(
    lambda predictions, targets: float(((predictions - targets) ** 3).sum()),
    lambda predictions, targets: 3 * (predictions - targets) ** 2,
)
# name: (what is passed as the loss, the same for the oracle)
LOSSES = {
    "mse": ("mse", squares),
    "cross_entropy": ("cross_entropy", cross_entropy),
    "function": (mixing, mixing),
    "Loss": (CUBES, cubes),
}


def targets_of(loss, cotangents):
    return LABELS if loss == "cross_entropy" else cotangents


def frozen(model):
    """The model with some weights, and of a read-out the last bias, frozen."""
    model.quantum_layer.freeze_parameters(FROZEN)
    if model.readout == "affine":
        model.trainable[-1] = False
    return model


def of_loss(function, targets, outputs):
    """Value and derivative by the outputs."""
    value = function(outputs, targets)
    slope = qml.grad(lambda at: function(at, targets))(pnp.array(outputs))
    return float(value), np.asarray(slope)


def agrees(result, value, gradient, trainable, tolerance):
    assert result.function_value == pytest.approx(value, rel=0, abs=1e-10)
    expected = np.where(trainable, gradient, 0.0)
    np.testing.assert_allclose(result.gradients, expected, rtol=0, atol=tolerance)
    assert not result.gradients[~trainable].any()
    np.testing.assert_array_equal(result.trainable, trainable)


@pytest.mark.parametrize(
    ("encoding", "entanglement", "readout"),
    [*itertools.product(ENCODINGS, ENTANGLED, READOUTS)],
)
def test_methods_agree_for_every_model_and_loss(encoding, entanglement, readout):
    case = (encoding, entanglement, readout, SIZE)
    model, inputs, cotangents = build(*case)
    parameters = frozen(model).parameters
    outputs, _ = oracle(*case, inputs, parameters, cotangents)
    for name, (loss, function) in LOSSES.items():
        targets = targets_of(name, cotangents)
        value, slopes = of_loss(function, targets, outputs)
        _, gradient = oracle(*case, inputs, parameters, slopes)
        assert (np.abs(gradient) > 1e-3).sum() > 6
        for method, tolerance in TOLERANCE.items():
            result = QuantumGradientComputer(method=method).compute_gradients(
                model, parameters, inputs=inputs, targets=targets, loss=loss
            )
            agrees(result, value, gradient, model.trainable, tolerance)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_methods_agree_on_other_devices(encoding, device):
    case = (encoding, "circular", "affine", SIZE)
    backend = qml.device(device, wires=3)
    model, inputs, cotangents = build(*case, backend=backend)
    parameters = frozen(model).parameters
    assert model.placed.program is None
    outputs, _ = oracle(*case, inputs, parameters, cotangents)
    value, slopes = of_loss(cross_entropy, LABELS, outputs)
    _, gradient = oracle(*case, inputs, parameters, slopes)
    for method in ("best", *TOLERANCE):
        result = QuantumGradientComputer(method=method).compute_gradients(
            model, parameters, inputs=inputs, targets=LABELS, loss="cross_entropy"
        )
        tolerance = TOLERANCE.get(method, 1e-10)
        agrees(result, value, gradient, model.trainable, tolerance)


PAULI_AND_DAMPING = dataclasses.replace(SPEC, over_rotation=0.0)
NOISE = {
    # name: (noise, encodings, whether a parameter shift shifts nothing but the gate)
    "spec": (PAULI_AND_DAMPING, ENCODINGS, True),
    "over-rotation": (SPEC, ENCODINGS, False),
    "reads values": (READS_VALUES, ("angle",), False),
}


@pytest.mark.parametrize(
    ("noise", "encoding"),
    [(name, encoding) for name, row in NOISE.items() for encoding in row[1]],
)
def test_methods_agree_with_noise(noise, encoding):
    noise, _, can_shift = NOISE[noise]
    case = (encoding, "circular", "expval", (3, 1, 2, 2))
    device = qml.device("qstore.mock_noisy", wires=3, noise=noise)
    model, inputs, cotangents = build(*case, backend=device)
    model.quantum_layer.freeze_parameters([0, 4])
    parameters = model.parameters
    oracle_noise = noise if noise is READS_VALUES else noise.to_noise_model()
    setting = (case, oracle_noise, inputs, parameters)
    outputs, _ = noisy_oracle(*setting, cotangents)
    value, slopes = of_loss(squares, cotangents, outputs)
    _, gradient = noisy_oracle(*setting, slopes)
    for method in ("best", *TOLERANCE):
        if method == "parameter_shift" and not can_shift:
            continue
        result = QuantumGradientComputer(method=method).compute_gradients(
            model, parameters, inputs=inputs, targets=cotangents, loss="mse"
        )
        tolerance = TOLERANCE.get(method, 1e-10)
        agrees(result, value, gradient, model.trainable, tolerance)


@pytest.mark.parametrize("method", TOLERANCE)
def test_the_models_own_parameters_are_not_what_counts(method):
    """Gradients are at the parameters that are given, with or without the read-out."""
    case = ("angle", "linear", "affine", SIZE)
    model, inputs, targets = build(*case)
    before = model.parameters.copy()
    elsewhere = np.random.default_rng(1).uniform(-2, 2, model.parameters.size)
    computer = QuantumGradientComputer(method=method)

    def compared_at(parameters, given):
        outputs, _ = oracle(*case, inputs, parameters, targets)
        value, slopes = of_loss(squares, targets, outputs)
        _, gradient = oracle(*case, inputs, parameters, slopes)
        everything = np.ones(given.size, dtype=bool)
        result = computer.compute_gradients(
            model, given, inputs=inputs, targets=targets, loss="mse"
        )
        expected = gradient[: given.size]
        agrees(result, value, expected, everything, TOLERANCE[method])

    compared_at(elsewhere, elsewhere)
    n = model.n_weights
    with_own_readout = np.concatenate([elsewhere[:n], before[n:]])
    compared_at(with_own_readout, elsewhere[:n])
    np.testing.assert_array_equal(model.parameters, before)


@pytest.mark.parametrize("method", TOLERANCE)
@pytest.mark.parametrize("readout", READOUTS)
def test_without_a_loss_it_is_the_gradient_of_the_summed_outputs(method, readout):
    case = ("zz_feature_map", "full", readout, SIZE)
    model, inputs, cotangents = build(*case)
    outputs, gradient = oracle(
        *case, inputs, model.parameters, np.ones_like(cotangents)
    )
    result = QuantumGradientComputer(method=method).compute_gradients(
        model, model.parameters, inputs=inputs
    )
    agrees(result, outputs.sum(), gradient, model.trainable, TOLERANCE[method])


@pytest.mark.parametrize("method", TOLERANCE)
def test_a_loss_of_predictions_alone_needs_no_targets(method):
    case = ("angle", "linear", "expval", SIZE)
    model, inputs, cotangents = build(*case)
    outputs, _ = oracle(*case, inputs, model.parameters, cotangents)
    value, slopes = of_loss(lambda p, _: mixing(p, p), None, outputs)
    _, gradient = oracle(*case, inputs, model.parameters, slopes)
    result = QuantumGradientComputer(method=method).compute_gradients(
        model, model.parameters, inputs=inputs, loss=lambda p: mixing(p, p)
    )
    agrees(result, value, gradient, model.trainable, TOLERANCE[method])


def test_a_mask_that_is_given_comes_before_the_models():
    case = ("angle", "linear", "affine", SIZE)
    model, inputs, targets = build(*case)
    frozen(model)
    given = np.zeros(model.parameters.size, dtype=bool)
    given[[0, 3, -1]] = True
    for backend in (None, qml.device("default.qubit")):
        model.backend = backend
        outputs, _ = oracle(*case, inputs, model.parameters, targets)
        value, slopes = of_loss(squares, targets, outputs)
        _, gradient = oracle(*case, inputs, model.parameters, slopes)
        result = QuantumGradientComputer().compute_gradients(
            model,
            model.parameters,
            inputs=inputs,
            targets=targets,
            loss="mse",
            trainable=given,
        )
        agrees(result, value, gradient, given, 1e-10)
        assert np.abs(result.gradients[[0, 3, -1]]).min() > 1e-3


@pytest.mark.parametrize("method", TOLERANCE)
@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
def test_with_everything_frozen_the_gradient_is_zero(device, method):
    case = ("angle", "linear", "affine", SIZE)
    model, inputs, targets = build(*case, backend=qml.device(device, wires=3))
    model.trainable[:] = False
    result = QuantumGradientComputer(method=method).compute_gradients(
        model, model.parameters, inputs=inputs, targets=targets, loss="mse"
    )
    assert not result.gradients.any()
    assert result.n_circuit_executions == len(inputs)


def test_work_arrays_are_kept_for_the_last_batch_sizes_only(monkeypatch):
    model = QuantumModel(2, 1, n_layers=1, seed=0)
    program, made = model.placed.program, []
    new_pass = program.new_pass

    def recorded(batch):
        work = new_pass(batch)
        made.append(weakref.ref(work))
        return work

    monkeypatch.setattr(program, "new_pass", recorded)
    run = CompiledGradient(ModelExpectations(model), program)
    features = model.prepare(np.random.default_rng(0).uniform(-1, 1, (20, 2)))

    def values(batch):
        return run.forward(model.weights.reshape(-1), features, np.arange(batch)).copy()

    first = values(1)
    for batch in range(2, 21):
        values(batch)
    gc.collect()
    assert sum(work() is not None for work in made) == MOST_PASSES
    np.testing.assert_array_equal(values(1), first)
    assert len(made) == 21
