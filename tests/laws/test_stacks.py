"""Random stacks of layers: every road gives what PennyLane's simulators give.

Layers, readouts and their classes written as a user would are in `tests.cases`.
"""

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import QuantumPoolingLayer
from qstore_pl.devices import NoiseSpec
from qstore_pl.gradients import ModelExpectations
from qstore_pl.gradients.methods import estimator_of
from tests.cases import READOUTS, random_model, random_samples
from tests.naive import derivatives

NOISE = NoiseSpec(p1=0.01, p2=0.03, dephasing=0.02, readout=(0.02, 0.05))
# PennyLane's channels cannot misread a sum whose terms have no common basis.
WITHOUT_READOUT = NoiseSpec(p1=0.01, p2=0.03, dephasing=0.02)
GATES = {
    *("RX", "RY", "RZ", "CNOT", "Hadamard", "PhaseShift", "CRot", "CRX"),
    *("StatePrep", "AmplitudeEmbedding", "GlobalPhase"),
    *("Rot", "IsingXX", "IsingYY", "IsingZZ", "MidMeasure", "Conditional(Rot)"),
}
N_STACKS = 300
STACKS = [(seed, list(READOUTS)[seed % len(READOUTS)]) for seed in range(N_STACKS)]


def stack(seed, readout):
    """A model, encoded samples, and derivatives of a loss at its outputs."""
    rng = np.random.default_rng([12, seed])
    model = random_model(rng, readout)
    features = model.prepare(random_samples(rng, model, 2))
    return model, features, rng.normal(size=(2, model.output_dim))


def reference(model, noise):
    """The circuit on PennyLane's simulator, gate by gate, with noise if any."""
    name = "default.qubit" if noise is None else "default.mixed"
    qnode = model.on(qml.device(name, wires=model.n_qubits)).qnode
    qnode = qml.transforms.decompose(
        qnode.update(diff_method="backprop"), gate_set=GATES
    )
    if noise is None:
        return qnode
    return qml.noise.add_noise(qnode, noise.to_noise_model())


def measures_inside(model):
    return any(isinstance(layer, QuantumPoolingLayer) for layer in model.layers)


def rows(results, n_samples):
    parts = results if isinstance(results, list | tuple) else [results]
    return qml.math.hstack([qml.math.reshape(p, (n_samples, -1)) for p in parts])


def slopes(total, weights):
    """The gradient of a scalar with respect to the weights."""
    if not len(weights):
        return weights
    try:
        return qml.grad(total)(pnp.array(weights, requires_grad=True))
    except RuntimeWarning:  # default.mixed takes a square root of amplitudes that are 0
        return derivatives(lambda w: np.array(total(w)), weights.copy())


@pytest.mark.parametrize(("seed", "readout"), STACKS)
def test_values_and_gradients(seed, readout):
    model, features, cotangents = stack(seed, readout)
    # PennyLane's noise transforms see no gate under a condition; how noise and outcomes
    # act together is tested in conformance/test_misread_outcomes.py.
    if seed // len(READOUTS) % 2 and not measures_inside(model):
        noise = WITHOUT_READOUT if readout == "sums" else NOISE
        device = qml.device("qstore.mock_noisy", wires=model.n_qubits, noise=noise)
    else:
        noise, device = None, qml.device("qstore.mock_ideal", wires=model.n_qubits)
    model.backend = device
    assert model.placed.program is not None
    n, own = model.n_weights, model.parameters[model.n_weights :]
    circuit = reference(model, noise)

    values = rows(circuit(features, model.weights), 2)
    outputs = model.readout.outputs(values, own)
    by_values, by_own = model.readout.pull_back(cotangents, values, own)

    def total(weights):
        return qml.math.sum(by_values * rows(circuit(features, weights), 2))

    gradient = np.concatenate([slopes(total, model.weights), by_own])

    def close(seen, wanted):
        np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-10)

    close(model.placed.values(features, model.weights), values)
    close(rows(model.qnode(features, model.weights), 2), values)
    estimator = estimator_of(ModelExpectations(model))
    close(estimator.forward(model.parameters, features, np.arange(2)), outputs)
    close(estimator.backward(cotangents), gradient)
    if seed % 10 == 0 and n:

        def by_qnode(weights):
            return qml.math.sum(by_values * rows(model.qnode(features, weights), 2))

        close(slopes(by_qnode, model.weights), gradient[:n])


@pytest.mark.parametrize("seed", range(0, N_STACKS, 5))
def test_shots_have_the_same_mean(seed):
    readout = ("z", "words", "probabilities")[seed % 3]
    model, features, _ = stack(seed, readout)
    shots = 2000
    for name, options in (
        ("qstore.mock_ideal", {}),
        ("qstore.mock_noisy", {"noise": NOISE}),
    ):
        device = qml.device(name, wires=model.n_qubits, seed=seed, **options)
        placed = model.on(device)
        exact = placed.values(features, model.weights)
        qnode = qml.set_shots(placed.qnode, shots)
        seen = rows(qnode(features, model.weights), 2)
        spread = exact * (1 - exact) if readout == "probabilities" else 1 - exact**2
        error = np.sqrt(np.clip(spread, 0, 1) / shots)
        assert (np.abs(seen - exact) <= 5 * error + 1e-9).all()


@pytest.mark.parametrize("readout", READOUTS)
def test_derivatives_of_readouts(readout):
    for seed in range(5):
        model, features, cotangents = stack(seed, readout)
        n = model.n_weights
        own = model.parameters[n:].copy()
        values = model.placed.values(features, model.weights)
        by_values, by_own = model.readout.jacobian(values, own)
        for sample in range(2):
            there = values[sample : sample + 1]
            wanted = derivatives(
                lambda v, own=own, model=model: model.readout.outputs(v[None], own)[0],
                there[0].copy(),
            )
            np.testing.assert_allclose(by_values[sample], wanted.T, rtol=0, atol=1e-8)
            wanted = derivatives(
                lambda p, there=there, model=model: model.readout.outputs(there, p)[0],
                own,
            )
            wanted = wanted.T.reshape(by_own[sample].shape)
            np.testing.assert_allclose(by_own[sample], wanted, rtol=0, atol=1e-8)
        pulled, of_own = model.readout.pull_back(cotangents, values, own)
        wanted = np.einsum("bk,bkv->bv", cotangents, by_values)
        np.testing.assert_allclose(pulled, wanted, rtol=0, atol=1e-12)
        wanted = np.einsum("bk,bkp->p", cotangents, by_own)
        np.testing.assert_allclose(of_own, wanted, rtol=0, atol=1e-12)
