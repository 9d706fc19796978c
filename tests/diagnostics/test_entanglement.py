"""entanglement: states whose measure is known, and reduced states of PennyLane."""

import matplotlib.pyplot as plt
import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from qstore_pl import QuantumModel
from qstore_pl.diagnostics import entanglement
from qstore_pl.diagnostics.circuits import random_weights
from qstore_pl.diagnostics.entanglement import linear_entropies


def random_states(n_states, n, rng):
    """By Haar's measure."""
    states = rng.normal(size=(n_states, 2**n, 2)) @ [1, 1j]
    return states / np.linalg.norm(states, axis=1, keepdims=True)


def basis(n, *indices):
    """The even superposition of some basis states, as one row."""
    state = np.zeros((1, 2**n), dtype=complex)
    state[0, list(indices)] = 1 / np.sqrt(len(indices))
    return state


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_known_states(n):
    product = np.ones((1, 1))
    for k in range(n):
        product = np.kron(product, [[np.cos(k + 0.3), 1j * np.sin(k + 0.3)]])
    np.testing.assert_allclose(linear_entropies(product), 0, atol=1e-14)
    if n > 1:
        ghz = basis(n, 0, 2**n - 1)
        np.testing.assert_allclose(linear_entropies(ghz), 1, atol=1e-14)
        w = basis(n, *(1 << k for k in range(n)))
        expected = 2 * (1 - ((n - 1) ** 2 + 1) / n**2)
        np.testing.assert_allclose(linear_entropies(w), expected, atol=1e-14)


def test_qubits_are_in_order():
    """Qubits 0 and 2 are entangled, 1 is not; wire 0 is the most significant bit."""
    found = linear_entropies(basis(3, 0b000, 0b101))
    np.testing.assert_allclose(found, [[1, 0, 1]], atol=1e-14)


def test_random_states_have_the_purities_of_pennylane():
    states = random_states(4, 4, np.random.default_rng(0))
    found = linear_entropies(states)
    for k in range(4):
        purity = qml.math.purity(qml.math.dm_from_state_vector(states), [k])
        np.testing.assert_allclose(found[:, k], 2 * (1 - purity), atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
def test_the_mean_of_random_states(n):
    each = linear_entropies(random_states(4000, n, np.random.default_rng(1)))
    q = each.mean(axis=1)
    model = QuantumModel(n, 1, seed=0)
    haar = entanglement(model, samples=2).haar
    assert abs(q.mean() - haar) < 5 * q.std() / np.sqrt(len(q))


def states_of(model, features, weights):
    """On default.qubit, on all wires."""

    @qml.qnode(qml.device("default.qubit", wires=model.n_qubits))
    def circuit():
        for block in model.blocks:
            block.apply(features, weights, range(model.n_qubits))
        return qml.state()

    return circuit()


@pytest.mark.parametrize("encoding", ["angle", "amplitude", "zz_feature_map"])
def test_of_its_own_weights(encoding):
    rng = np.random.default_rng(2)
    model = QuantumModel(3, 1, 2, encoding=encoding, n_qubits=4, seed=3)
    model.parameters[:] = rng.uniform(-3, 3, model.parameters.size)
    inputs = rng.uniform(0.1, 2, (3, 3))
    found = entanglement(model, inputs)
    states = [states_of(model, f, model.weights) for f in model.prepare(inputs)]
    each = linear_entropies(np.array(states))
    np.testing.assert_allclose(found.values, each.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(found.by_qubit, each.mean(axis=0), atol=1e-12)
    assert found.n_draws == 0
    assert found.mean == pytest.approx(each.mean())
    assert found.standard_error == pytest.approx(found.values.std(ddof=1) / 3**0.5)


@pytest.mark.parametrize("given", [True, False])
def test_of_random_weights(given):
    model = QuantumModel(3, 1, 2, seed=0)
    model.quantum_layer.freeze_parameters([0])
    inputs = np.random.default_rng(1).uniform(-1, 1, (2, 3)) if given else None
    found = entanglement(model, inputs, samples=5, seed=7)
    weights = random_weights(model, 5, np.random.default_rng(7))
    features = np.zeros((2, 3)) if inputs is None else inputs
    states = [states_of(model, features[i % 2], w) for i, w in enumerate(weights)]
    expected = linear_entropies(np.array(states)).mean(axis=1)
    np.testing.assert_allclose(found.values, expected, atol=1e-12)
    assert found.n_draws == 5
    assert (weights[:, 0] == model.weights[0]).all()
    assert weights[:, 1:].min() >= 0
    assert weights.max() < 2 * np.pi


def test_chunks_change_nothing(monkeypatch):
    model = QuantumModel(3, 1, 2, seed=0)
    whole = entanglement(model, samples=20)
    monkeypatch.setattr("qstore_pl.diagnostics.circuits.CHUNK", 24)
    np.testing.assert_allclose(entanglement(model, samples=20).values, whole.values)


def test_a_model_can_prepare_ghz_or_a_product():
    ghz = QuantumModel(4, 1, 1, entanglement="linear", seed=0)
    ghz.parameters[:] = 0
    ghz.parameters[1] = np.pi / 2
    found = entanglement(ghz, np.zeros((1, 4)))
    assert found.mean == pytest.approx(1, abs=1e-12)
    assert found.standard_error == 0.0
    apart = QuantumModel(4, 1, 3, entanglement="none")
    assert entanglement(apart, samples=10).mean == pytest.approx(0, abs=1e-12)


def noisy(**options):
    return qml.device("qstore.mock_noisy", wires=2, noise="ibm", seed=0, **options)


@pytest.mark.parametrize(
    ("backend", "options", "error", "message"),
    [
        (None, {}, ValueError, "`inputs` or `samples` must be given"),
        (None, {"samples": 0}, ValueError, "`samples` must be >= 1"),
        (None, {"samples": 2.5}, TypeError, "`samples` must be an integer"),
        (None, {"inputs": np.ones((2, 3))}, ValueError, "`inputs` must have shape"),
        (noisy(), {"samples": 3}, ValueError, "without noise.*Meyer and Wallach"),
        (
            noisy(method="trajectories", trajectories=2),
            {"samples": 3},
            DeviceError,
            "Trajectories",
        ),
        (
            qml.device("default.qubit", wires=2),
            {"samples": 3},
            ValueError,
            "must run on a qstore device without noise.*default.qubit",
        ),
    ],
)
def test_bad_input(backend, options, error, message):
    with pytest.raises(error, match=message):
        entanglement(QuantumModel(2, 1, seed=0, backend=backend), **options)


def test_it_prints_and_plots():
    found = entanglement(QuantumModel(2, 1, seed=0), samples=30)
    assert repr(found).endswith("30 states of random weights; Haar 0.400)")
    assert "of its own weights" in repr(
        entanglement(QuantumModel(2, 1, seed=0), np.zeros((1, 2)))
    )
    ax = found.plot()
    assert [*ax.lines[0].get_xdata()] == [found.mean] * 2
    assert sum(patch.get_height() for patch in ax.patches) == 30
    with pytest.raises(TypeError, match="`ax` must be axes of matplotlib"):
        found.plot("Q")
    plt.close("all")
