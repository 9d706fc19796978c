"""`QuantumModule`: models and compiled circuits as layers of PyTorch networks."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane.exceptions import DeviceError

from qstore_pl import (
    AmplitudeEncoding,
    AngleEncoding,
    QuantumLayer,
    QuantumModel,
    ZZEncoding,
    compile,
)
from qstore_pl.circuit import Block, Features
from qstore_pl.interfaces.torch import QuantumModule
from qstore_pl.layers import Encoding

SHAPES = {"weights": (2, 3, 3), "phi": 1}
RNG = np.random.default_rng(11)


def circuit(inputs, weights, phi):
    qml.AngleEmbedding(np.pi * inputs, wires=range(3))
    qml.StronglyEntanglingLayers(weights, wires=range(3))
    qml.CRY(qml.math.sin(phi), wires=[0, 2])
    return [qml.expval(qml.Z(0)), qml.expval(qml.X(1) @ qml.Z(2))]


def compiled():
    return compile(qml.QNode(circuit, qml.device("qstore.mock_ideal", wires=3)))


def torch_layer():
    device = qml.device("default.qubit", wires=3)
    return qml.qnn.TorchLayer(qml.QNode(circuit, device), SHAPES)


def hybrid(quantum):
    return torch.nn.Sequential(
        torch.nn.Linear(5, 3), torch.nn.Tanh(), quantum, torch.nn.Linear(2, 1)
    ).double()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_hybrid_network_equals_that_of_torch_layer_step_by_step(optimizer):
    ours, theirs = hybrid(QuantumModule(compiled(), SHAPES)), hybrid(torch_layer())
    theirs.load_state_dict(ours.state_dict())
    X = torch.tensor(RNG.normal(size=(8, 5)))
    y = torch.tensor(RNG.normal(size=(8, 1)))
    steps = {}
    for name, network in (("ours", ours), ("theirs", theirs)):
        steps[name] = []
        step = optimizer(network.parameters(), lr=0.05)
        for _ in range(5):
            step.zero_grad()
            loss = torch.nn.functional.mse_loss(network(X), y)
            loss.backward()
            step.step()
            state = torch.cat([p.detach().ravel() for p in network.parameters()])
            steps[name].append(torch.cat([loss.detach()[None], state]).clone())
    for one, other in zip(steps["ours"], steps["theirs"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


MODELS = {
    "angles": lambda: QuantumModel(3, 2, seed=0),
    "affine": lambda: QuantumModel(3, 2, readout="affine", seed=0),
    "probabilities": lambda: QuantumModel(3, 4, readout="probs", seed=0),
    "again": lambda: QuantumModel(
        3,
        1,
        layers=[
            AngleEncoding("YZ", scale=0.7),
            QuantumLayer(),
            AngleEncoding("X", features=[2, 0]),
            QuantumLayer(n_layers=1),
        ],
        seed=0,
    ),
    "amplitudes": lambda: QuantumModel(
        3, 2, layers=[AmplitudeEncoding(), QuantumLayer()], seed=0
    ),
    "zz": lambda: QuantumModel(
        3, 2, layers=[ZZEncoding(), QuantumLayer(), AngleEncoding()], seed=0
    ),
    "noisy": lambda: QuantumModel(3, 2, seed=0, backend="mock_noisy"),
    "qnode": lambda: QuantumModel.from_qnode(
        compiled(), SHAPES, input_dim=3, affine=True, seed=0
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_gradcheck_of_models(name):
    model = MODELS[name]()
    model.layers[1 % len(model.layers)].freeze_parameters([0, 3])
    module = QuantumModule(model).double()
    X = torch.tensor(RNG.uniform(0.2, 1, (3, 3)), requires_grad=True)
    np.testing.assert_allclose(module(X).detach(), model(X.detach()), atol=1e-14)
    assert torch.autograd.gradcheck(module, X)

    def of_weights(weights):
        return torch.func.functional_call(module, {"weights": weights}, X.detach())

    assert torch.autograd.gradcheck(of_weights, module.weights)
    assert module.weights.numel() == model.trainable.sum()


def test_gradcheck_of_compiled_circuits():
    module = QuantumModule(compiled(), SHAPES).double()
    X = torch.tensor(RNG.normal(size=(3, 3)), requires_grad=True)
    assert torch.autograd.gradcheck(module, X)


def test_frozen_weights_stay_whatever_the_optimizer_does():
    model = QuantumModel(3, 2, readout="affine", seed=0)
    model.layers[1].freeze_parameters([2, 5])
    before = model.parameters.copy()
    module = QuantumModule(model)
    step = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        step.zero_grad()
        module(torch.rand(4, 3)).sum().backward()
        step.step()
    assert np.array_equal(model.parameters, before)
    trained = module.to_model()
    assert trained is model
    frozen = ~model.trainable
    assert np.array_equal(model.parameters[frozen], before[frozen])
    assert np.all(model.parameters[~frozen] != before[~frozen])


def test_precision_and_shapes():
    module = QuantumModule(QuantumModel(3, 2, seed=0))
    assert module.weights.dtype == torch.float64
    for dtype in (torch.float32, torch.float64):
        module = module.to(dtype)
        assert module.weights.dtype == dtype
        found = module(torch.zeros(2, 5, 3, dtype=dtype))
        assert found.dtype == dtype
        assert found.shape == (2, 5, 2)
        assert module(torch.zeros(3, dtype=dtype)).shape == (2,)
        found.sum().backward()
        assert module.weights.grad.dtype == dtype


def test_compiled_circuits_have_the_shapes_of_torch_layer():
    ours, theirs = QuantumModule(compiled(), SHAPES), torch_layer()
    theirs.load_state_dict(ours.state_dict())
    for shape in ((3,), (1, 3), (5, 3), (2, 5, 3)):
        X = torch.rand(shape)
        one, other = ours(X), theirs(X)
        assert one.dtype == other.dtype == torch.float32
        torch.testing.assert_close(one, other)


def test_first_weights_of_compiled_circuits():
    torch.manual_seed(0)
    module = QuantumModule(compiled(), SHAPES)
    assert {n: tuple(p.shape) for n, p in module.named_parameters()} == {
        "weights": (2, 3, 3),
        "phi": (),
    }
    assert module.weights.min() >= 0
    assert 3 < module.weights.max() < 2 * np.pi
    module = QuantumModule(compiled(), SHAPES, init_method=torch.nn.init.zeros_)
    assert not module.weights.any()


def test_copies_and_state():
    module = QuantumModule(QuantumModel(3, 2, seed=0))
    X = torch.rand(4, 3, dtype=torch.float64)
    other = QuantumModule(QuantumModel(3, 2, seed=1))
    assert not torch.equal(other(X), module(X))
    other.load_state_dict(module.state_dict())
    for twin in (other, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(X), module(X))


def test_a_jacobian_and_no_second_derivative():
    module = QuantumModule(QuantumModel(3, 2, seed=0))
    X = torch.rand(2, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(module, X)
    for sample in range(2):
        for output in range(2):
            one = X.clone().requires_grad_()
            module(one)[sample, output].backward()
            torch.testing.assert_close(jacobian[sample, output], one.grad)
    X.requires_grad_()
    (slope,) = torch.autograd.grad(module(X).sum(), X, create_graph=True)
    with pytest.raises(DeviceError, match="second derivative"):
        slope.sum().backward()


def test_functional_gradients():
    module = QuantumModule(QuantumModel(3, 2, seed=0))
    X = torch.rand(4, 3, dtype=torch.float64)

    def cost(weights):
        return torch.func.functional_call(module, {"weights": weights}, X).sum()

    found = torch.func.grad(cost)(module.weights.detach())
    module(X).sum().backward()
    torch.testing.assert_close(found, module.weights.grad)


class Squares(Encoding):
    """An encoding without a chain rule."""

    def blocks(self, wires):
        return [Block(qml.AngleEmbedding, wires, [Features(0, (self.input_dim,))])]

    def n_wires(self, input_dim):
        return input_dim

    def encode(self, inputs):
        return inputs**2


def test_an_encoding_without_a_chain_rule_is_refused_when_it_is_needed():
    model = QuantumModel(2, 1, layers=[Squares(), QuantumLayer()], seed=0)
    module = QuantumModule(model)
    X = torch.rand(3, 2, dtype=torch.float64)
    module(X).sum().backward()  # with respect to the weights
    X.requires_grad_()
    with pytest.raises(NotImplementedError, match=r"pull_back\(\)"):
        module(X).sum().backward()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: QuantumModule(circuit), TypeError, "must be a QuantumModel"),
        (lambda: QuantumModule(compiled()), ValueError, "`inputs`"),
        (lambda: QuantumModule(compiled(), {"phi": 1}), ValueError, "weights"),
        (
            lambda: QuantumModule(QuantumModel(2, 1, seed=0), SHAPES),
            ValueError,
            "left out",
        ),
        (
            lambda: QuantumModule(
                QuantumModel(2, 1, backend=qml.device("default.qubit"), seed=0)
            ),
            ValueError,
            "TorchLayer",
        ),
        (
            lambda: QuantumModule(compiled(), SHAPES).to_model(),
            TypeError,
            "from_qnode",
        ),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
