"""The documentation's snippets, what a result says, gradients that are not finite."""

import time

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import (
    Adam,
    BackendManager,
    FiniteDifferenceGradient,
    GradientResult,
    Loss,
    NaturalGradientComputer,
    QuantumGradientComputer,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    SPSAGradient,
    TrainingConfig,
)
from qstore_pl.losses import get_loss
from qstore_pl.optimizers import OPTIMIZERS

RNG = np.random.default_rng(2)
X = RNG.uniform(-1, 1, (12, 4))
Y = np.sign(X[:, :2])


# --- the snippets of the documentation ------------------------------------------


def losses_of_the_custom_loop(targets, compute):
    """The loop as the documentation has it; one loss an epoch."""
    config = TrainingConfig(epochs=15)
    model = QuantumModel(
        4, targets.shape[1], backend="mock_ideal", entanglement="linear", seed=1
    )
    data_loader = [
        {"inputs": X[i : i + 4], "targets": targets[i : i + 4]} for i in (0, 4, 8)
    ]
    loss_function = get_loss("mse")
    optimizer = Adam(0.05)
    losses = []
    for _ in range(config.epochs):
        epoch_loss = 0.0
        for batch in data_loader:
            predictions = model.forward(batch["inputs"])
            loss = loss_function(predictions, batch["targets"])
            gradients = compute(model, batch)
            optimizer.step(model.quantum_layer.parameters, gradients)
            epoch_loss += loss
        losses.append(epoch_loss)
    return losses


@pytest.mark.parametrize("method", ["best", "parameter_shift", "spsa"])
def test_the_custom_loop_as_documented_lowers_the_loss(method):
    """It follows the outputs on |0>, downwards: targets of -1 come nearer."""
    grad_computer = QuantumGradientComputer("mock_ideal", method=method, seed=0)
    losses = losses_of_the_custom_loop(
        -np.ones((12, 4)),
        lambda model, _: grad_computer.compute_gradients(
            model.quantum_layer.circuit, model.quantum_layer.parameters
        ),
    )
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("targets", [Y, -Y], ids=["labels", "labels turned round"])
def test_the_custom_loop_with_the_loss_lowers_it_for_any_targets(targets):
    grad_computer = QuantumGradientComputer("mock_ideal")
    losses = losses_of_the_custom_loop(
        targets,
        lambda model, batch: grad_computer.compute_gradients(
            model, model.parameters, **batch, loss="mse"
        ),
    )
    assert losses[-1] < 0.5 * losses[0]


def gates_of(layer, weights):
    """The layer in gates of PennyLane."""
    index = 0
    for _ in range(layer.n_layers):
        for wire in range(layer.n_qubits):
            for gate in (qml.RX, qml.RY, qml.RZ):
                gate(weights[index], wire)
                index += 1
        for wire in range(layer.n_qubits - 1):
            qml.CNOT([wire, wire + 1])


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize(
    "backend",
    [
        "mock_ideal",
        BackendManager().get_backend("mock_ideal"),
        qml.device("default.qubit"),
    ],
    ids=["name", "Backend", "device"],
)
def test_the_block_on_advanced_gradient_methods(backend):
    layer = QuantumLayer(2, 1, seed=0)
    layer.parameters[:] = np.random.default_rng(1).uniform(-1, 1, 6)
    circuit, params = layer.circuit, layer.parameters

    def loss(predictions):
        return pnp.sum((predictions - 0.5) ** 2)

    grad_computer = QuantumGradientComputer(backend)
    gradients = grad_computer.compute_gradients(circuit, params)
    nat_grad = NaturalGradientComputer(backend, damping=0.1, metric="noiseless")
    natural = nat_grad.compute_natural_gradient(circuit, params, loss)

    @qml.qnode(qml.device("default.qubit", wires=2))
    def oracle(weights):
        gates_of(layer, weights)
        return [qml.expval(qml.Z(i)) for i in range(2)]

    @qml.qnode(qml.device("default.qubit", wires=2))
    def state(weights):
        gates_of(layer, weights)
        return qml.expval(qml.Z(0))

    at = pnp.array(params, requires_grad=True)
    summed = qml.grad(lambda w: pnp.sum(pnp.stack(oracle(w))))(at)
    np.testing.assert_allclose(gradients.gradients, summed, rtol=0, atol=1e-10)
    slope = qml.grad(lambda w: loss(pnp.stack(oracle(w))))(at)
    metric = qml.adjoint_metric_tensor(state)(at)
    expected = np.linalg.solve(metric + 0.1 * np.eye(6), slope)
    np.testing.assert_allclose(natural.gradients, expected, rtol=0, atol=1e-9)
    value = float(loss(np.stack(oracle(params))))
    assert natural.function_value == pytest.approx(value, rel=1e-12)


# --- results --------------------------------------------------------------------


def test_a_result_says_what_it_took():
    layer = QuantumLayer(4, 2, seed=0)
    start = time.perf_counter()
    result = QuantumGradientComputer(
        method="parameter_shift", shots=20
    ).compute_gradients(layer.circuit, layer.parameters)
    elapsed = 1e3 * (time.perf_counter() - start)
    assert isinstance(result, GradientResult)
    assert result.gradients.shape == (24,)
    assert (result.n_circuit_executions, result.n_shots) == (49, 980)
    assert 0 < result.computation_time_ms <= elapsed
    assert isinstance(result.function_value, float)
    # Four outputs of 20 shots each are multiples of 1/10.
    assert 10 * result.function_value == pytest.approx(
        round(10 * result.function_value), abs=1e-9
    )
    np.testing.assert_array_equal(np.asarray(result), result.gradients)


def test_the_results_mask_is_a_copy():
    layer = QuantumLayer(2, 1, seed=0)
    model = QuantumModel(2, 1, 1, seed=0)
    computer = QuantumGradientComputer()
    results = [
        computer.compute_gradients(layer.circuit, layer.parameters),
        computer.compute_gradients(model, model.parameters, inputs=X[:, :2]),
    ]
    layer.freeze_parameters([0])
    model.trainable[0] = False
    for result in results:
        assert result.trainable.all()


@pytest.mark.parametrize(
    ("computer", "method", "options"),
    [
        (FiniteDifferenceGradient(epsilon=0.1), "finite_diff", {"epsilon": 0.1}),
        (FiniteDifferenceGradient(), "finite_diff", {}),
        (SPSAGradient(seed=1), "spsa", {"seed": 1}),
        (
            SPSAGradient(epsilon=0.2, n_directions=3, seed=1),
            "spsa",
            {"epsilon": 0.2, "n_directions": 3, "seed": 1},
        ),
        (NaturalGradientComputer(), "best", {}),
        (
            NaturalGradientComputer(method="parameter_shift"),
            "parameter_shift",
            {},
        ),
    ],
)
def test_every_computer_is_one_method(computer, method, options):
    model = QuantumModel(4, 2, 1, readout="affine", seed=0)
    data = {"inputs": X, "targets": Y, "loss": "mse"}
    seen = computer.compute_gradients(model, model.parameters, **data)
    wanted = QuantumGradientComputer(method=method, **options).compute_gradients(
        model, model.parameters, **data
    )
    assert seen.gradients.tobytes() == wanted.gradients.tobytes()
    assert seen.n_circuit_executions == wanted.n_circuit_executions


def test_a_step_of_finite_differences_is_the_one_given():
    """By the definition, with a step that shows."""

    @qml.qnode(qml.device("qstore.mock_ideal", wires=1))
    def circuit(w):
        qml.RX(w, 0)
        return qml.expval(qml.Z(0))

    result = FiniteDifferenceGradient(epsilon=0.4).compute_gradients(circuit, 0.3)
    expected = (np.cos(0.7) - np.cos(-0.1)) / 0.8
    np.testing.assert_allclose(result.gradients, expected, rtol=0, atol=1e-14)
    with_shots = FiniteDifferenceGradient(shots=64).compute_gradients(circuit, 0.3)
    step = (9 / 64) ** (1 / 6)
    # Differences of two means of 64 outcomes are multiples of 2/64.
    multiple = with_shots.gradients * 2 * step / (2 / 64)
    assert multiple == pytest.approx(round(float(multiple)), abs=1e-9)


# --- gradients that are not finite ----------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_that_is_not_finite_changes_nothing(name):
    """A finite loss whose derivative is not: the optimizer refuses the result."""
    spoilt = Loss(lambda p, t: 1.0, lambda p, t: np.full_like(p, np.nan), name="spoilt")
    model = QuantumModel(4, 2, 1, seed=0)
    computer, optimizer = QuantumGradientComputer(), OPTIMIZERS[name](0.1)
    metric = {"metric": np.eye(12)} if name == "natural_gradient" else {}

    def step(loss):
        result = computer.compute_gradients(
            model, model.parameters, inputs=X, targets=Y, loss=loss
        )
        optimizer.step(model.parameters, result, **metric)

    step("mse")
    before, state = model.parameters.copy(), optimizer.state
    with pytest.raises(ValueError, match="must be finite, but entry 0 is nan"):
        step(spoilt)
    assert model.parameters.tobytes() == before.tobytes()
    for key, value in optimizer.state.items():
        assert np.asarray(value).tobytes() == np.asarray(state[key]).tobytes()
    step("mse")
    assert (model.parameters != before).any()


COMPUTERS = {
    "by any method": QuantumGradientComputer,
    "finite differences": FiniteDifferenceGradient,
    "spsa": lambda backend=None: SPSAGradient(backend, seed=0),
    "natural": NaturalGradientComputer,
}


@pytest.mark.parametrize("computer", COMPUTERS.values(), ids=COMPUTERS)
@pytest.mark.parametrize("readout", ["expval", "affine"])
def test_a_gradient_elsewhere_leaves_the_model_where_it_is(computer, readout):
    def made(**options):
        made = QuantumModel(4, 2, 1, readout=readout, seed=0, **options)
        made.quantum_layer.freeze_parameters([1])
        return made

    model, there = made(), made(backend="mock_noisy")
    outputs = model.forward(X)
    elsewhere, at_home = computer("mock_noisy"), computer()
    for shift in (0.0, 0.3):
        model.parameters[:] += shift
        there.parameters[:] += shift
        found, wanted = (
            one.compute_gradients(
                of, of.parameters, inputs=X, targets=Y, loss="mse"
            ).gradients
            for one, of in ((elsewhere, model), (at_home, there))
        )
        assert found.tobytes() == wanted.tobytes()
        assert found[1] == 0.0
    model.parameters[:] -= 0.3
    assert (model.backend, model.has_own_backend) == (None, False)
    assert model.device.name == "qstore.mock_ideal"
    assert model.quantum_layer.circuit.device.name == "qstore.mock_ideal"
    np.testing.assert_allclose(model.forward(X), outputs, rtol=0, atol=1e-14)


def test_a_natural_gradient_elsewhere_leaves_the_model_where_it_is():
    model = QuantumModel(4, 2, 1, seed=0)
    computer = NaturalGradientComputer(qml.device("default.qubit"))
    found = computer.compute_natural_gradient(model, model.parameters, inputs=X)
    wanted = NaturalGradientComputer().compute_natural_gradient(
        model, model.parameters, inputs=X
    )
    np.testing.assert_allclose(found.gradients, wanted.gradients, rtol=0, atol=1e-9)
    assert (model.backend, model.device.name) == (None, "qstore.mock_ideal")


def test_a_computer_may_look_at_several_models_and_a_model_be_moved():
    computer = QuantumGradientComputer("mock_noisy")

    def gradient(model):
        return computer.compute_gradients(model, model.parameters, inputs=X).gradients

    one, other = (QuantumModel(4, 2, 1, seed=seed) for seed in (0, 1))
    wanted = [
        gradient(QuantumModel(4, 2, 1, seed=seed, backend="mock_noisy"))
        for seed in (0, 1)
    ]
    for _ in range(2):
        for model, expected in zip((one, other), wanted, strict=True):
            assert gradient(model).tobytes() == expected.tobytes()
    one.backend = "mock_ideal"
    with pytest.raises(ValueError, match="must be left out for a model that has its"):
        gradient(one)


def test_a_model_on_another_backend_shares_its_parameters():
    model = QuantumModel(4, 2, 1, seed=0)
    twin = model.on("mock_noisy")
    assert (model.device.name, twin.device.name) == (
        "qstore.mock_ideal",
        "qstore.mock_noisy",
    )
    features = model.prepare(X)
    before = twin.values(features, model.weights)
    model.parameters[0] = 0.5
    assert (twin.values(features, model.weights) != before).any()


@pytest.mark.parametrize("method", ["best", "parameter_shift"])
def test_training_stops_before_a_gradient_that_is_not_finite(method):
    spoilt = Loss(lambda p, t: 1.0, lambda p, t: np.full_like(p, np.nan), name="spoilt")
    model = QuantumModel(4, 2, 1, seed=0)
    before = model.parameters.copy()
    config = TrainingConfig(loss=spoilt, gradient_method=method, epochs=1)
    trainer = QuantumTrainer(config)
    with pytest.raises(ValueError, match="must be finite, but its norm is nan"):
        trainer.train(model, (X, Y))
    assert model.parameters.tobytes() == before.tobytes()
    assert trainer.optimizer.state == {}
