"""States in single precision: errors within the stated bounds, memory, dtypes.

The bounds are those of the docstrings of the devices. B is the number of one-qubit
blocks: wires times layers here.
"""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    FidelityKernel,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    _computer,
)
from qstore_pl import compile as compiled
from qstore_pl.devices import check_memory
from qstore_pl.engine.metric import FubiniStudy

VALUE, GRADIENT = 3e-7, 1e-6  # times the square root of B, with random angles
WORST_VALUE, WORST_GRADIENT = 2e-7, 5e-7  # times B + 1, with any angles
DEVICES = ("qstore.mock_ideal", "qstore.mock_noisy")


def device(name, dtype="complex64", **options):
    return qml.device(name, dtype=dtype, **options)


# --- bounds ---------------------------------------------------------------------


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize(("n_wires", "n_layers"), [(2, 2), (3, 24), (5, 4)])
def test_values_and_gradients_are_within_the_stated_bounds(name, n_wires, n_layers):
    rng = np.random.default_rng(n_wires)
    model = QuantumModel(n_wires, n_wires, n_layers, backend=device(name))
    single = model.placed.program
    double = single.with_dtype("complex128")
    assert single.dtype == "complex64"
    weights = rng.uniform(-np.pi, np.pi, single.n_weights)
    features = rng.uniform(-np.pi, np.pi, (8, single.n_features))
    cotangents = np.eye(n_wires)[rng.integers(n_wires, size=8)]
    root = np.sqrt(n_wires * n_layers)
    found, exact = (one.run(weights, features) for one in (single, double))
    assert found.dtype == np.float64
    assert 0 < np.abs(found - exact).max() < VALUE * root
    found, exact = (
        one.vjp(weights, features, cotangents, inputs=True, reduce="none")
        for one in (single, double)
    )
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == np.float64
        assert 0 < np.abs(one - other).max() < GRADIENT * root


@pytest.mark.parametrize("name", DEVICES)
def test_repeated_gates_are_within_the_bounds_of_any_circuit(name):
    n_wires, n_layers = 2, 40
    model = QuantumModel(n_wires, n_wires, n_layers, backend=device(name))
    single = model.placed.program
    double = single.with_dtype("complex128")
    blocks, features = n_wires * n_layers + 1, np.ones((1, n_wires))
    worst = 0.0
    for angle in np.linspace(-3, 3, 20):
        weights = np.full(single.n_weights, angle)
        found, exact = (one.run(weights, features) for one in (single, double))
        error = np.abs(found - exact).max()
        assert error < WORST_VALUE * blocks
        worst = max(worst, error)
        found, exact = (
            one.vjp(weights, features, np.eye(n_wires)[:1])[0]
            for one in (single, double)
        )
        assert np.abs(found - exact).max() < WORST_GRADIENT * blocks
    assert worst > 1e-7 * np.sqrt(blocks)


def every_kind_of_gate(x, w, amplitudes, n_wires):
    """Gates that the kernels of usual models do not have."""
    last = n_wires - 1
    qml.AmplitudeEmbedding(amplitudes, wires=(0, last), normalize=True)
    for wire in range(n_wires):
        qml.Rot(*w[0], wires=wire)
    qml.RY(x, wires=1)
    qml.MultiRZ(w[1, 0], wires=(0, 1, last))
    qml.PauliRot(w[1, 1], "XY", wires=(1, last))
    qml.CRX(w[1, 2], wires=(0, last))
    qml.Toffoli(wires=(0, 1, last))
    qml.T(wires=last)
    qml.IsingXY(w[2, 0], wires=(last, 1))
    qml.QubitUnitary(qml.QFT(wires=(0, 1)).matrix(), wires=(last, 0))
    qml.ctrl(qml.RZ(w[2, 1], wires=0), control=(1, last), control_values=(0, 1))
    qml.Rot(*w[2], wires=last)
    return (
        qml.expval(qml.Z(0) @ qml.Y(last)),
        qml.expval(qml.X(1)),
        qml.probs(wires=(last, 1)),
    )


@pytest.mark.parametrize(
    ("name", "n_wires"), [*((d, 3) for d in DEVICES), (DEVICES[0], 13)]
)
def test_all_kinds_of_gates_are_within_the_bounds(name, n_wires):
    rng = np.random.default_rng(1)
    x = qml.numpy.array(rng.uniform(size=3))
    w = qml.numpy.array(rng.uniform(-np.pi, np.pi, (3, 3)))
    amplitudes = qml.numpy.array(rng.normal(size=4), requires_grad=False)
    options, exact = {}, qml.device("default.qubit")
    if name == DEVICES[1]:
        options = {"noise": "ibm"}
        exact = device(name, "complex128", **options)
    circuits = [
        qml.QNode(every_kind_of_gate, one) for one in (device(name, **options), exact)
    ]

    def loss(x, w, circuit):
        a, b, p = circuit(x, w, amplitudes, n_wires)
        return qml.math.sum(a * b) + qml.math.sum(p**2)

    bound = np.sqrt(2 * n_wires + 10)
    found, expected = (one(x, w, amplitudes, n_wires) for one in circuits)
    for value, exact in zip(found, expected, strict=True):
        assert value.dtype == np.float64
        assert np.abs(value - exact).max() < VALUE * bound
    found, expected = (qml.grad(loss, argnums=(0, 1))(x, w, one) for one in circuits)
    for gradient, exact in zip(found, expected, strict=True):
        assert np.abs(gradient - exact).max() < 4 * GRADIENT * bound


def test_trajectories_are_those_of_double_precision():
    def outputs(dtype):
        options = {"method": "trajectories", "trajectories": 50, "seed": 3}
        backend = device(DEVICES[1], dtype, noise="ibm", **options)
        program = QuantumModel(3, 3, 2, backend=backend).placed.program
        weights, features = np.linspace(-2, 2, program.n_weights), np.ones((2, 3))
        run = program.new_pass(2)
        values = run.forward(weights, features, np.arange(2)).copy()
        return values, run.backward(np.ones((2, 3)))[0].copy()

    for one, other in zip(outputs("complex64"), outputs("complex128"), strict=True):
        assert 0 < np.abs(one - other).max() < 1e-5


def test_a_large_model_is_within_the_stated_bounds():
    rng = np.random.default_rng(0)
    single = QuantumModel(13, 2, 2, backend=device(DEVICES[0])).placed.program
    double = single.with_dtype("complex128")
    weights = rng.uniform(-np.pi, np.pi, single.n_weights)
    features = rng.uniform(-np.pi, np.pi, (2, 13))
    values = [one.run(weights, features) for one in (single, double)]
    assert 0 < np.abs(values[0] - values[1]).max() < VALUE * np.sqrt(26)
    cotangents = np.ones((2, 2))
    gradients = [
        one.vjp(weights, features, cotangents, inputs=True) for one in (single, double)
    ]
    for one, other in zip(*gradients, strict=True):
        assert 0 < np.abs(one - other).max() < 2 * GRADIENT * np.sqrt(26)


# --- what is single, and what is not ----------------------------------------------


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_states_have_the_type_that_was_asked_for(name, dtype):
    @qml.qnode(device(name, dtype, wires=2))
    def circuit(x):
        qml.RX(x, wires=0)
        qml.CNOT(wires=(0, 1))
        return qml.state(), qml.probs(wires=0), qml.purity(wires=0)

    for x in (0.3, np.array([0.3, 0.4])):
        state, probabilities, purity = circuit(x)
        assert state.dtype == dtype
        assert probabilities.dtype == purity.dtype == np.float64


@pytest.mark.parametrize(("name", "n_wires"), [(DEVICES[0], 10), (DEVICES[1], 5)])
def test_work_arrays_take_half_the_memory(name, n_wires):
    program = QuantumModel(n_wires, 1, 1, backend=device(name)).placed.program
    double = program.with_dtype("complex128")
    single_bytes, double_bytes = (one.new_pass(4).nbytes for one in (program, double))
    assert 0.5 <= single_bytes / double_bytes < 0.6
    assert program.tables is double.tables


@pytest.mark.parametrize(("mixed", "n_bytes"), [(False, 24 << 20), (True, 12 << 20)])
def test_the_memory_that_is_asked_for_is_half(mixed, n_bytes, monkeypatch):
    n_wires = 10 if mixed else 20
    monkeypatch.setattr(_computer, "memory", lambda: n_bytes)
    check_memory(n_wires, mixed=mixed, dtype="complex64")
    with pytest.raises(
        qml.exceptions.DeviceError, match=f"needs {2 * n_bytes:,} bytes"
    ):
        check_memory(n_wires, mixed=mixed)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "complex", np.complex64, None])
def test_another_type_is_an_error_that_lists_both(name, dtype):
    with pytest.raises(
        (ValueError, TypeError), match=r"`dtype`.*complex128.*complex64"
    ):
        device(name, dtype)


def test_metric_tensors_are_computed_in_double_precision():
    program = QuantumModel(3, 1, 1, backend=device(DEVICES[0])).placed.program
    values = np.ones(program.n_weights), np.ones((1, 3)), np.arange(1)
    found, expected = (
        FubiniStudy(one, np.ones(program.n_weights, bool))(*values)
        for one in (program, program.with_dtype("complex128"))
    )
    np.testing.assert_array_equal(found, expected)


def test_a_device_says_its_type_and_copies_keep_it():
    for name in DEVICES:
        single, double = device(name), device(name, "complex128")
        assert "complex64" in single.description != double.description
        assert "complex" not in double.description
        for twin in (copy.deepcopy(single), pickle.loads(pickle.dumps(single))):
            assert twin.dtype == "complex64"


# --- above the devices ------------------------------------------------------------


def test_training_follows_that_in_double_precision():
    X = np.random.default_rng(0).uniform(size=(12, 3))
    y = np.sin(X.sum(axis=1))
    losses = {}
    for dtype in ("complex64", "complex128"):
        model = QuantumModel(3, 1, 1, backend=device(DEVICES[0], dtype), seed=1)
        config = TrainingConfig(epochs=3, batch_size=12, seed=0)
        history = QuantumTrainer(config).train(model, (X, y))
        losses[dtype] = np.array(history["losses"])
        assert model.parameters.dtype == np.float64
    difference = np.abs(losses["complex64"] - losses["complex128"])
    assert 0 < difference.max() < 1e-6


def test_compiled_circuits_and_kernels_are_those_of_double_precision():
    def circuit(x, w):
        qml.AngleEmbedding(x, wires=(0, 1, 2))
        qml.StronglyEntanglingLayers(w, wires=(0, 1, 2))
        return qml.expval(qml.Z(0) @ qml.X(1))

    x, w = np.linspace(0, 1, 6).reshape(2, 3), np.ones((1, 3, 3))
    a, b = (
        compiled(qml.QNode(circuit, device(DEVICES[0], dtype)))(x, w)
        for dtype in ("complex64", "complex128")
    )
    assert 0 < np.abs(a - b).max() < 1e-6
    a, b = (
        FidelityKernel(3, backend=device(DEVICES[0], dtype))(x)
        for dtype in ("complex64", "complex128")
    )
    assert 0 < np.abs(a - b).max() < 1e-6
