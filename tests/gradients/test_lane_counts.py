"""What lanes count is what a tape for each circuit would have cost.

The other road is the same model on default.qubit, through PennyLane's transforms. The
tracker there counts each sum and each matrix of several measurements alone, although
they may share outcomes: it is compared where nothing is of these kinds.

For a template without a rule PennyLane takes a finite difference, of one circuit, where
lanes shift the gates that it is made of. Its count is tested apart, and that of pooling
in tests/test_qcnn.py.
"""

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import QuantumGradientComputer, QuantumModel, QuantumPoolingLayer
from qstore_pl.devices import NoiseSpec
from qstore_pl.gradients import ModelExpectations, estimator_of
from qstore_pl.readout import Affine, ExpectationValues, Probabilities
from tests.cases import (
    FIRST_LAYERS,
    LAYERS,
    READOUTS,
    AngleEncoding,
    Trained,
    random_model,
    random_samples,
)

DEVICES = {
    "ideal": ("qstore.mock_ideal", {}),
    "noisy": ("qstore.mock_noisy", {"noise": "mild"}),
    "readout": ("qstore.mock_noisy", {"noise": NoiseSpec(readout=(0.1, 0.2))}),
}
METHODS = {
    "parameter_shift": {},
    "finite_diff": {},
    "spsa": {"n_directions": 3},
    "random_subset": {"sample_size": 2},
}
X, Y, Z = qml.X, qml.Y, qml.Z
HERMITIAN = np.array([[1.0, 0.5j], [-0.5j, -2.0]])
MEASURED = {
    "z": ExpectationValues(),
    "three bases": ExpectationValues(
        [
            qml.Hamiltonian([0.5, 1.0, -0.3], [X(0) @ X(1), Z(0), Y(1)]),
            qml.Hamiltonian([1.5, 0.2], [Z(0) @ Z(1), X(0)]),
        ]
    ),
    "with an identity": ExpectationValues(
        [qml.Hamiltonian([0.5, 2.0], [Z(0), qml.I(1)]), Y(1)]
    ),
    "probabilities": Probabilities(),
    "matrices": ExpectationValues(
        [qml.Hermitian(HERMITIAN, 0), qml.Hermitian(HERMITIAN, 1)]
    ),
    "a matrix times a word": ExpectationValues(
        [qml.Hermitian(HERMITIAN, 0) @ X(1), X(0) @ X(1)]
    ),
    "projectors": ExpectationValues(
        [qml.Projector([0, 1], [0, 1]), qml.Projector([1], [0])]
    ),
    "affine": Affine(ExpectationValues([X(0), Z(1)])),
    "affine probabilities": Affine(Probabilities()),
}
SAMPLES = 2
APART = Trained, QuantumPoolingLayer  # counted by tests of their own
KINDS = [*LAYERS, *FIRST_LAYERS]


def model_with(readout, seed, layers=None):
    rng = np.random.default_rng([4, seed])
    layers = layers or [AngleEncoding(), LAYERS["rotations, linear"](rng)]
    model = QuantumModel(2, 2, layers=layers, readout=readout, n_qubits=3)
    model.parameters[:] = rng.uniform(-1, 1, model.parameters.size)
    return model


def counted(model, device, method, shots, samples, mask):
    """Circuits and shots by the result and by the tracker of the device."""
    name, options = device
    model.backend = qml.device(name, wires=model.n_qubits, seed=1, **options)
    computer = QuantumGradientComputer(
        method=method, shots=shots, seed=5, **METHODS[method]
    )
    with qml.Tracker(model.placed.device) as tracker:
        result = computer.compute_gradients(
            model, model.parameters, inputs=samples, trainable=mask
        )
    totals = tracker.totals
    return (
        result.n_circuit_executions,
        result.n_shots,
        totals["executions"],
        totals.get("shots", 0),
    )


def is_word(obs):
    """Whether it is a Pauli word, other than the identity."""
    words = obs.pauli_rep
    return words is not None and len(words) == 1 and all(len(word) for word in words)


def agree(model, samples, seed, shares=(0.5,)):
    rng = np.random.default_rng([5, seed])
    measured = model.readout.measurements(range(model.n_qubits), model.output_dim)
    of_words = all(mp.obs is None or is_word(mp.obs) for mp in measured)
    shots = (None, 6)[seed % 2]
    seen = set()
    for share in shares:
        mask = rng.random(model.parameters.size) < share
        for method in METHODS:
            given = method, shots, samples, mask
            wanted = counted(model, ("default.qubit", {}), *given)
            if of_words:
                assert wanted[:2] == wanted[2:], "the other road disagrees with itself"
            wanted = 2 * wanted[:2]
            kind = list(DEVICES.values())[(seed + len(seen)) % len(DEVICES)]
            assert counted(model, kind, *given) == wanted, (given, kind)
            seen.add(wanted)
    return seen


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("shots", [0, 1], ids=["exact", "shots"])
@pytest.mark.parametrize("name", MEASURED)
def test_a_readout_takes_as_many_circuits_as_tapes(name, shots):
    model = model_with(MEASURED[name], 2 * list(MEASURED).index(name))
    samples = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, 2))
    seed, shares = 2 * list(MEASURED).index(name) + shots, (1.0, 0.5, 0.0)
    assert len(agree(model, samples, seed, shares)) > 3


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("trained", "pooling")])
def test_a_layer_takes_as_many_circuits_as_tapes(kind):
    rng = np.random.default_rng(3)
    if kind in LAYERS:
        layers = [AngleEncoding(), LAYERS[kind](rng)]
    else:
        layers = [FIRST_LAYERS[kind](rng), LAYERS["couplings"](rng)]
    seed = KINDS.index(kind)
    model = model_with(MEASURED["three bases"], seed, layers)
    agree(model, random_samples(rng, model, SAMPLES), seed)


def random_models(n):
    """Seeds and models without templates that have no rule, and without pooling."""
    found, seed = [], 0
    while len(found) < n:
        rng = np.random.default_rng([6, seed])
        model = random_model(rng, list(READOUTS)[seed % len(READOUTS)])
        if not any(isinstance(layer, APART) for layer in model.layers):
            found.append((seed, model, rng))
        seed += 1
    return found


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("index", range(14))
def test_a_random_model_takes_as_many_circuits_as_tapes(index):
    seed, model, rng = random_models(index + 1)[-1]
    agree(model, random_samples(rng, model, SAMPLES), seed)


@pytest.mark.parametrize("device", DEVICES)
def test_a_template_of_rotations_takes_two_circuits_for_each(device):
    """Three rotations by one weight, of which an output on wire 0 sees two."""
    layers = [Trained()]
    readout = ExpectationValues([Z(0)])
    model = QuantumModel(4, 1, layers=layers, readout=readout, n_qubits=3)
    samples = np.ones((SAMPLES, 4))
    for shots in (None, 3):
        found = counted(model, DEVICES[device], "parameter_shift", shots, samples, None)
        circuits = SAMPLES * (1 + 2 * 2)
        assert found == 2 * (circuits, circuits * (shots or 0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("device", DEVICES)
def test_circuits_add_up_over_steps_and_evaluations(device, method):
    """Outputs alone take one circuit for each sample and group."""
    name, options = DEVICES[device]
    model = model_with(MEASURED["three bases"], 0)
    model.backend = qml.device(name, wires=3, seed=1, **options)
    expectations = ModelExpectations(model, shots=5)
    rng = np.random.default_rng(0)
    estimator = estimator_of(expectations, method, rng=rng, **METHODS[method])
    features = model.prepare(rng.uniform(-1, 1, (4, 2)))
    with qml.Tracker(model.placed.device) as tracker:
        estimator.forward(model.parameters, features, np.arange(4), gradient=False)
        assert expectations.circuits == 3 * 4
        estimator.forward(model.parameters, features, np.array([1, 3]))
        estimator.backward(np.ones((2, 2)))
        once = expectations.circuits - 3 * 4
        estimator.forward(model.parameters, features, np.array([1, 3]))
        estimator.backward(np.ones((2, 2)))
    assert expectations.circuits == 3 * 4 + 2 * once
    assert once > 3 * 2 * 2
    assert tracker.totals["executions"] == expectations.circuits
    assert tracker.totals["shots"] == 5 * expectations.circuits
    assert tracker.totals["batches"] == 3
