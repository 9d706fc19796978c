"""Every framework gets its own types, the right values, and every diff_method."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

DEVICE = "qstore.mock_ideal"
WIRES = range(3)
TYPES = {
    "autograd": np.ndarray,
    "torch": torch.Tensor,
    "jax": jax.Array,
    "jax-jit": jax.Array,
}


def circuit(x, w):
    qml.AngleEmbedding(x, WIRES)
    qml.StronglyEntanglingLayers(w, WIRES)
    return qml.expval(qml.Z(0)), qml.probs([1, 2]), qml.var(qml.X(1))


def scalar(w):
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    qml.RX(w[2], 1)
    return qml.expval(qml.Z(1))


def ours(function, **options):
    return qml.QNode(function, qml.device(DEVICE, wires=3), **options)


@pytest.fixture
def arguments(rng):
    """Features (4, 3) and weights (2, 3, 3)."""
    return rng.uniform(-3, 3, (4, 3)), rng.uniform(-3, 3, (2, 3, 3))


def test_results_have_the_type_and_values_of_the_framework(
    framework, reference, arguments, agree
):
    results = framework.value(ours(circuit), *arguments)
    assert all(isinstance(r, TYPES[framework.name]) for r in results)
    values = [np.asarray(qml.math.unwrap([r])[0]) for r in results]
    assert {v.dtype for v in values} == {np.dtype("float64")}
    agree(values, reference.qnode(circuit)(*arguments))


@pytest.mark.parametrize("interface", ["numpy", None, "auto"])
def test_plain_numpy_goes_in_and_comes_out(interface, reference, arguments, agree):
    results = ours(circuit, interface=interface)(*arguments)
    assert not any(isinstance(r, pnp.tensor) for r in results)
    agree(results, reference.qnode(circuit)(*arguments))


def test_lists_and_numbers_are_accepted(reference, agree):
    agree(ours(scalar)([0.1, 0.2, 3]), reference.qnode(scalar)([0.1, 0.2, 3]))


def test_states_are_complex_in_every_framework(framework, reference, agree):
    def state(w):
        qml.RX(w[0], 0)
        qml.CRY(w[1], [0, 1])
        return qml.state()

    actual = framework.value(qml.QNode(state, qml.device(DEVICE)), np.array([0.4, 2]))
    assert qml.math.get_dtype_name(actual) == "complex128"
    agree(actual, reference.qnode(state)(np.array([0.4, 2])))


# ------------------------------------------------------------------------ torch
@pytest.fixture
def layers(arguments):
    """A TorchLayer on our device and on default.qubit, with the same weights."""

    def model(inputs, weights):
        qml.AngleEmbedding(inputs, WIRES)
        qml.StronglyEntanglingLayers(weights, WIRES)
        return [qml.expval(qml.Z(i)) for i in WIRES]

    def layer(device, **options):
        qnode = qml.QNode(model, device, **options)
        module = qml.qnn.TorchLayer(qnode, {"weights": (2, 3, 3)}).double()
        module.weights.data = torch.tensor(arguments[1])
        return module

    return (
        layer(qml.device(DEVICE, wires=3)),
        layer(qml.device("default.qubit", wires=3), diff_method="backprop"),
    )


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 5, 3)])
def test_torch_layer_agrees_with_default_qubit(layers, shape, rng, agree):
    features = rng.normal(size=shape)
    gradients = []
    for layer in layers:
        x = torch.tensor(features, requires_grad=True)
        y = torch.nn.Sequential(layer, torch.nn.Tanh())(x)
        y.square().sum().backward()
        gradients.append(
            [y.detach().numpy(), x.grad.numpy(), layer.weights.grad.numpy()]
        )
    agree(*gradients)


def test_torch_layer_takes_a_batch_in_one_simulation(layers, rng):
    layer, _ = layers
    with qml.Tracker(layer.qnode.device) as tracker:
        layer(torch.tensor(rng.normal(size=(2, 5, 3)))).sum().backward()
    assert tracker.totals["simulations"] == tracker.totals["vjps"] == 1


def test_torch_layer_of_float32_returns_float32(layers):
    layer = layers[0].float()
    y = layer(torch.zeros((2, 3)))
    y.sum().backward()
    assert y.dtype == layer.weights.grad.dtype == torch.float32


# -------------------------------------------------------------------------- jax
def test_jit_compiles_once_for_all_values(rng):
    traces = []

    def counted(w):
        traces.append(w)
        return scalar(w)

    gradient = jax.jit(jax.value_and_grad(ours(counted)))
    values = [gradient(jnp.asarray(w))[0] for w in rng.uniform(-3, 3, (4, 3))]
    assert len(traces) == 1
    assert len(set(map(float, values))) == 4


def test_jit_of_a_training_loop_descends(agree):
    qnode = ours(scalar)

    @jax.jit
    def descend(w):
        step = jax.grad(qnode)
        return jax.lax.fori_loop(0, 100, lambda _, v: v - 0.2 * step(v), w)

    agree(qnode(descend(jnp.array([0.3, 0.4, 0.5]))), -1.0, atol=1e-3)


@pytest.mark.parametrize("in_axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_is_the_loop(in_axes, rng, agree):
    def model(x, w):
        qml.AngleEmbedding(x, WIRES)
        qml.StronglyEntanglingLayers(w, WIRES)
        return qml.expval(qml.Z(0))

    qnode = ours(model)
    xs, ws = map(jnp.asarray, (rng.normal(size=(2, 3)), rng.normal(size=(2, 2, 3, 3))))
    pairs = [
        (xs[i if in_axes[0] == 0 else 0], ws[i if in_axes[1] == 0 else 0])
        for i in range(2)
    ]
    mapped = [
        a if axis == 0 else a[0] for a, axis in zip((xs, ws), in_axes, strict=True)
    ]
    agree(jax.vmap(qnode, in_axes)(*mapped), jnp.stack([qnode(*p) for p in pairs]))


# ------------------------------------------------------------------ diff_method
@pytest.mark.parametrize(
    ("diff_method", "atol"),
    [
        ("best", 1e-10),
        ("device", 1e-10),
        ("adjoint", 1e-10),
        ("parameter-shift", 1e-10),
        ("hadamard", 1e-10),
        ("finite-diff", 1e-6),
    ],
)
def test_diff_methods_give_the_same_gradient(
    diff_method, atol, framework, reference, rng, agree
):
    w = rng.uniform(-3, 3, 3)
    options = {"aux_wire": "spare"} if diff_method == "hadamard" else {}
    qnode = qml.QNode(
        scalar, qml.device(DEVICE), diff_method=diff_method, gradient_kwargs=options
    )
    (exact,) = reference.jacobian(scalar, w)
    agree(framework.jacobian(qnode, w), (exact[0],), atol)


def test_spsa_of_one_parameter_is_the_central_difference(framework, agree):
    def cosine(w):
        qml.RX(w, 0)
        return qml.expval(qml.Z(0))

    qnode = ours(cosine, diff_method="spsa", gradient_kwargs={"h": 1e-4})
    agree(framework.jacobian(qnode, 0.3), (-np.sin(0.3),), atol=1e-7)


def test_diff_method_none_gives_values(rng, reference, agree):
    w = rng.uniform(-3, 3, 3)
    agree(ours(scalar, diff_method=None)(w), reference.qnode(scalar)(w))


def test_backprop_written_out_is_the_gradient_of_the_device(framework, rng, agree):
    w = rng.uniform(-3, 3, 3)
    qnode = ours(scalar, diff_method="backprop")
    with qml.Tracker(qnode.device) as tracker:
        gradient = framework.jacobian(qnode, w)
    agree(gradient, framework.jacobian(ours(scalar), w))
    assert tracker.totals["simulations"] == 1


def test_unknown_device_options_are_refused():
    config = qml.devices.ExecutionConfig(device_options={"warp_speed": 9})
    with pytest.raises(DeviceError, match="warp_speed"):
        qml.device(DEVICE, wires=1).setup_execution_config(config)
