"""The Gauss-Newton matrix: J^T H J, with J and H by autograd on default.qubit."""

import autograd
import autograd.numpy as anp
import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import Loss, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.devices import NoiseSpec
from qstore_pl.gradients import GaussNewton, ModelExpectations
from qstore_pl.losses import get_loss
from qstore_pl.optimizers import NaturalGradient
from tests.naive import derivatives

# default.qubit casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

rng = np.random.default_rng(3)
X = rng.uniform(-1.5, 1.5, (5, 3))
TARGETS = {
    "mse": rng.uniform(-1, 1, (5, 2)),
    "cross_entropy": np.array([0, 1, 1, 0, 1]),
}
NOISE = NoiseSpec(p1=0.02, p2=0.05)


def build(readout="affine", backend=None):
    model = QuantumModel(3, 2, 2, backend, readout=readout, seed=0)
    model.parameters[:] = np.random.default_rng(5).uniform(-2, 2, model.parameters.size)
    return model


def mse(outputs, targets):
    return anp.mean((outputs - targets) ** 2)


def cross_entropy(outputs, targets):
    logs = outputs - anp.log(anp.sum(anp.exp(outputs), axis=1, keepdims=True))
    return -anp.sum(anp.eye(2)[targets] * logs) / len(targets)


WRITTEN = {"mse": mse, "cross_entropy": cross_entropy}


def outputs_of(model, device):
    """Outputs as a function of all parameters, through the model's circuit there."""
    circuit = qml.QNode(model.on(device).circuit, device, diff_method="backprop")
    features, n, k = model.prepare(X), model.n_weights, model.output_dim

    def outputs(parameters):
        values = pnp.stack(circuit(features, parameters[:n]), axis=1)
        if model.parameters.size == n:
            return values
        return parameters[n : n + k] * values + parameters[n + k :]

    return outputs


def expected(model, loss, device):
    outputs = outputs_of(model, device)
    parameters = pnp.array(model.parameters, requires_grad=True)
    jacobian = qml.jacobian(outputs)(parameters).reshape(10, -1)
    there = np.array(outputs(parameters))
    hessian = autograd.hessian(WRITTEN[loss])(there, TARGETS[loss]).reshape(10, 10)
    return jacobian.T @ hessian @ jacobian


def seen(model, loss, rows=None):
    rows = np.arange(5) if rows is None else np.array(rows)
    known = get_loss(loss)
    targets = known.prepare_targets(TARGETS[loss], 2, 5)[rows]
    outputs = model.forward(X[rows])
    gauss_newton = GaussNewton(ModelExpectations(model), known)
    return gauss_newton(model.parameters, model.prepare(X), rows, outputs, targets)


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("readout", ["expval", "affine"])
def test_it_is_the_product_of_derivatives(loss, readout):
    model = build(readout)
    matrix = seen(model, loss)
    wanted = expected(model, loss, qml.device("default.qubit", wires=3))
    np.testing.assert_allclose(matrix, wanted, rtol=0, atol=1e-10)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-15)
    assert np.linalg.eigvalsh(matrix).min() > -1e-14
    assert np.abs(wanted).max() > 0.05


@pytest.mark.parametrize("loss", TARGETS)
def test_with_noise_it_is_that_of_the_noisy_outputs(loss):
    model = build(backend=qml.device("qstore.mock_noisy", wires=3, noise=NOISE))
    features = model.prepare(X)

    def outputs(parameters):
        values = model.placed.program.run(parameters[: model.n_weights], features)
        return model.readout.outputs(values, parameters[model.n_weights :]).ravel()

    jacobian = derivatives(outputs, model.parameters.copy())
    there = outputs(model.parameters).reshape(5, 2)
    hessian = autograd.hessian(WRITTEN[loss])(there, TARGETS[loss]).reshape(10, 10)
    wanted = jacobian @ hessian @ jacobian.T
    np.testing.assert_allclose(seen(model, loss), wanted, rtol=0, atol=1e-10)
    assert np.abs(wanted - seen(build(), loss)).max() > 1e-3


@pytest.mark.parametrize("loss", TARGETS)
def test_rows_choose_samples_with_repetition(loss):
    model = build()
    rows = [4, 0, 4]
    singles = [seen(model, loss, [row]) for row in rows]
    np.testing.assert_allclose(
        seen(model, loss, rows), np.mean(singles, axis=0), rtol=0, atol=1e-14
    )


def test_for_a_linear_output_it_is_the_hessian_of_the_loss():
    # The affine read-out's own block, with the circuit's values as they are.
    model = build()
    n = model.n_weights
    values = model.placed.values(model.prepare(X), model.weights)

    def loss(readout):
        return mse(readout[:2] * values + readout[2:], TARGETS["mse"])

    hessian = autograd.hessian(loss)(model.parameters[n:])
    np.testing.assert_allclose(seen(model, "mse")[n:, n:], hessian, rtol=0, atol=1e-13)


def test_frozen_parameters_have_their_rows():
    model = build()
    whole = seen(model, "mse")
    model.quantum_layer.freeze_parameters([0, 5])
    np.testing.assert_array_equal(seen(model, "mse"), whole)
    assert np.abs(whole[5]).max() > 1e-3


def test_a_loss_may_bring_its_own_second_derivative():
    model = build()
    targets = TARGETS["mse"]
    quartic = Loss(
        lambda p, t: np.mean((p - t) ** 4),
        lambda p, t: 4 * (p - t) ** 3 / p.size,
        hessian=lambda p, t: 12 * np.eye(2) * ((p - t) ** 2)[:, None] / p.size,
    )
    outputs = model.forward(X)
    matrix = GaussNewton(ModelExpectations(model), quartic)(
        model.parameters, model.prepare(X), np.arange(5), outputs, targets
    )
    device = qml.device("default.qubit", wires=3)
    jacobian = qml.jacobian(outputs_of(model, device))(
        pnp.array(model.parameters, requires_grad=True)
    ).reshape(10, -1)
    curvature = 12 * (outputs - targets).ravel() ** 2 / 10
    wanted = jacobian.T @ (curvature[:, None] * jacobian)
    np.testing.assert_allclose(matrix, wanted, rtol=0, atol=1e-10)


# ------------------------------------------------------- training
def settings(**changed):
    defaults = {"epochs": 15, "batch_size": 5, "shuffle": False, "seed": 0}
    return TrainingConfig(**defaults | changed)


class Listening(NaturalGradient):
    """Notes its damping after every step."""

    def adapt(self, before, after):
        super().adapt(before, after)
        self.seen = [*getattr(self, "seen", []), self.state["damping"]]


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("adapt_damping", [False, True])
def test_it_trains(loss, adapt_damping):
    model = build()
    optimizer = Listening(1.0, damping=0.1, adapt_damping=adapt_damping)
    config = settings(metric_tensor="gauss-newton", loss=loss)
    made = QuantumTrainer(config, optimizer=optimizer)
    losses = made.train(model, (X, TARGETS[loss]))["losses"]
    assert losses[-1] < 0.5 * losses[0]
    if adapt_damping:
        assert len(made.optimizer.seen) == 15
        assert len(set(made.optimizer.seen)) > 1
    else:
        assert made.optimizer.state["damping"] == 0.1


def test_one_step_of_training_is_the_damped_solution():
    model = build()
    model.quantum_layer.freeze_parameters([3])
    before, matrix = model.parameters.copy(), seen(model, "mse")
    outputs = outputs_of(model, qml.device("default.qubit", wires=3))
    gradient = qml.grad(lambda p: pnp.mean((outputs(p) - TARGETS["mse"]) ** 2))(
        pnp.array(before, requires_grad=True)
    )
    config = settings(
        optimizer="natural_gradient", learning_rate=0.5, damping=0.1,
        metric_tensor="gauss-newton", epochs=1,
    )  # fmt: skip
    QuantumTrainer(config).train(model, (X, TARGETS["mse"]))
    kept = np.arange(model.parameters.size) != 3
    wanted = before.copy()
    # The read-out is part of the matrix: it is damped too.
    block = matrix[np.ix_(kept, kept)] + 0.1 * np.eye(kept.sum())
    wanted[kept] -= 0.5 * np.linalg.solve(block, gradient[kept])
    np.testing.assert_allclose(model.parameters, wanted, rtol=0, atol=1e-10)


# ------------------------------------------------------- refusals
def test_a_loss_without_second_derivative_is_refused():
    with pytest.raises(ValueError, match=r"second derivative.*Loss\('absolute'\) has"):
        GaussNewton(build(), Loss(lambda p, t: abs(p - t).mean(), name="absolute"))


def test_a_model_that_is_not_compiled_is_refused():
    model = build(backend=qml.device("default.qubit", wires=3))
    with pytest.raises(ValueError, match=r"on default.qubit it is not. Take a qstore"):
        GaussNewton(ModelExpectations(model), get_loss("mse"))


def test_the_trainer_refuses_what_it_would_ignore():
    config = settings(
        optimizer="natural_gradient",
        metric_tensor="gauss-newton",
        metric_tensor_approximation="diag",
    )
    with pytest.raises(ValueError, match="metric_tensor_approximation must be"):
        QuantumTrainer(config).train(build(), (X, TARGETS["mse"]))


def test_the_trainer_refuses_it_with_shots():
    config = settings(
        optimizer="natural_gradient", metric_tensor="gauss-newton", shots=100
    )
    with pytest.raises(ValueError, match="Gauss-Newton"):
        QuantumTrainer(config).train(build(), (X, TARGETS["mse"]))
