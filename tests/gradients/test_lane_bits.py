"""The same seed gives the same bits, however lanes are cut, ordered and threaded.

Exact values of a sample differ in the last bits with its place in a vector register, so
that they are equal to rounding where the batch is another one. What is drawn from them
has the same bits.
"""

import sys

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import QuantumModel
from qstore_pl.devices import NoiseSpec, Shifts
from qstore_pl.engine import lanes as lanes_module
from qstore_pl.engine import mixed as mixed_module
from qstore_pl.engine import program as program_module
from qstore_pl.engine import pure as pure_module
from qstore_pl.engine import readings, sampling, threads
from qstore_pl.gradients import ModelExpectations, estimator_of
from qstore_pl.layers import AngleEncoding
from qstore_pl.readout import Affine, ExpectationValues, Probabilities
from tests.cases import LAYERS

RUNS = sys.modules["qstore_pl.devices.lanes"]  # a function has the name there
NOISE = NoiseSpec(p1=0.01, p2=0.03, dephasing=0.02, readout=(0.02, 0.05))
DRAWN = {"noise": NOISE, "method": "trajectories", "trajectories": 7}
DEVICES = {
    "ideal": ("qstore.mock_ideal", {}),
    "noisy": ("qstore.mock_noisy", {"noise": NOISE}),
    "trajectories": ("qstore.mock_noisy", DRAWN),
}
METHODS = {
    "parameter_shift": {},
    "finite_diff": {},
    "spsa": {"n_directions": 3},
    "random_subset": {"sample_size": 4},
}
X, Y, Z = qml.X, qml.Y, qml.Z
HAMILTONIANS = [
    qml.Hamiltonian([0.5, 1.0, -0.3], [X(0) @ X(1), Z(0), Y(1)]),
    qml.Hamiltonian([1.5, 0.2, 0.7], [Z(0) @ Z(1), X(0), qml.I(0)]),
]
MATRIX = np.array([[1.0, 0.5j], [-0.5j, -2.0]])
READOUTS = {
    "z": ExpectationValues(),
    "three bases": ExpectationValues(HAMILTONIANS),
    "probabilities": Affine(Probabilities()),
    "matrices": ExpectationValues([qml.Hermitian(MATRIX, 0), qml.Hermitian(MATRIX, 1)]),
}
ROWS = np.array([7, 2, 9, 0, 4, 1, 3, 8, 6, 5])
SHOTS = [0, 30, 3000]  # exact; listed one by one; by binomial numbers


def model_on(device, readout, seed=1):
    name, options = DEVICES[device]
    layers = [AngleEncoding("YZX"), LAYERS["rotations, linear"](None)]
    model = QuantumModel(3, 2, layers=layers, readout=READOUTS[readout], n_qubits=3)
    rng = np.random.default_rng(0)
    model.parameters[:] = rng.uniform(-2, 2, model.parameters.size)
    model.backend = qml.device(name, wires=3, seed=seed, **options)
    features = model.prepare(rng.uniform(-1, 1, (10, 3)))
    return model, features


def numbers(device, readout, method, n_shots, seed=1):
    """Outputs and gradients of two mini-batches, one after the other."""
    model, features = model_on(device, readout, seed)
    expectations = ModelExpectations(model, shots=n_shots or None)
    rng = np.random.default_rng(3)
    estimator = estimator_of(expectations, method, rng=rng, **METHODS[method])
    cotangents = np.random.default_rng(4).normal(size=(10, 2))
    found = []
    for rows in (ROWS, ROWS[:3]):
        outputs = estimator.forward(model.parameters, features, rows)
        found += [outputs.copy(), estimator.backward(cotangents[: len(rows)]).copy()]
    return found


def same_values(seen, wanted, n_shots):
    """Of other batches: bit for bit with shots, and to rounding without."""
    if n_shots:
        same_bits(seen, wanted)
        return
    for one, other in zip(seen, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def same_bits(seen, wanted):
    for one, other in zip(seen, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.tobytes() == other.tobytes()


CASES = [
    (device, readout, method, SHOTS[(i + j + k) % 3])
    for i, device in enumerate(DEVICES)
    for j, readout in enumerate(READOUTS)
    for k, method in enumerate(METHODS)
    if (i + j + k) % 2 == 0
]
every = pytest.mark.parametrize(("device", "readout", "method", "n_shots"), CASES)


@every
def test_a_seed_gives_the_same_bits(device, readout, method, n_shots):
    found = numbers(device, readout, method, n_shots)
    same_bits(numbers(device, readout, method, n_shots), found)
    if n_shots or device == "trajectories":
        other = numbers(device, readout, method, n_shots, seed=2)
        changed = [np.any(a != b) for a, b in zip(found, other, strict=True)]
        assert all(changed)


@every
@pytest.mark.parametrize("chunks", [10, 10**6], ids=["10", "one by one"])
def test_no_bit_depends_on_the_chunks(
    device, readout, method, n_shots, chunks, monkeypatch
):
    found = numbers(device, readout, method, n_shots)
    run, cut = lanes_module.in_chunks, []

    def in_chunks(n_lanes, rows, lane_bytes, function, **options):
        size = max(1, n_lanes * len(rows) // chunks)
        monkeypatch.setattr(lanes_module, "CHUNK_BYTES", size * lane_bytes)
        cut.append(0)

        def counted(*args):
            cut[-1] += 1
            return function(*args)

        return run(n_lanes, rows, lane_bytes, counted, **options)

    monkeypatch.setattr(RUNS, "in_chunks", in_chunks)
    seen = numbers(device, readout, method, n_shots)
    assert min(cut) >= 10
    same_values(seen, found, n_shots)


@pytest.fixture
def fresh_pool(monkeypatch):
    """No pool at the start, so that it is made with the size the test asks for."""
    monkeypatch.setattr(threads, "_pool", None)
    yield
    if threads._pool is not None:
        threads._pool.shutdown()


@every
def test_no_bit_depends_on_the_threads(
    device, readout, method, n_shots, monkeypatch, fresh_pool
):
    for module in (pure_module, mixed_module):
        monkeypatch.setattr(module, "CHUNK", 256)
    serial = numbers(device, readout, method, n_shots)
    assert threads._pool is None  # too small for threads
    monkeypatch.setattr(program_module, "PARALLEL", 0)
    monkeypatch.setattr(sampling, "PARALLEL", 0)
    for count in ("1", "2"):
        monkeypatch.setenv("QSTORE_NUM_THREADS", count)
        same_bits(numbers(device, readout, method, n_shots), serial)
    assert threads._pool is not None


@pytest.mark.parametrize("most", [12, 1], ids=["counted", "listed"])
@pytest.mark.parametrize("n_shots", SHOTS)
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_row_is_the_same_in_any_batch(device, readout, n_shots, most, monkeypatch):
    """Lanes of one sample depend on its row in the data, not on its neighbours."""
    monkeypatch.setattr(readings, "MOST_COUNTED", most)

    def values(rows, shifted):
        model, features = model_on(device, readout)
        lanes = model.placed.lanes(shots=n_shots > 0, shifted=shifted)
        given = features[rows], rows
        if shifted:
            shifts = Shifts(lanes.uses, range(len(lanes.uses.uses))[-5:])
            return lanes.shifted(shifts, model.weights, *given, shots=n_shots)
        points = model.weights + np.arange(3)[:, None]
        return lanes.at(points, *given, shots=n_shots)

    for shifted in (True, False):
        found = values(ROWS, shifted)
        order = np.random.default_rng(0).permutation(10)
        same_values(values(ROWS[order], shifted), found[:, order], n_shots)
        same_values(values(ROWS[2:4], shifted), found[:, 2:4], n_shots)
        twice = np.array([5, 5, 2])
        seen = values(twice, shifted)
        same_values(seen[:, 0], seen[:, 1], n_shots)
        if n_shots or device == "trajectories":
            model, features = model_on(device, readout)
            lanes = model.placed.lanes(shots=n_shots > 0, shifted=False)
            same = np.tile(features[:1], (10, 1))
            each = lanes.at(model.weights[None], same, ROWS, shots=n_shots)[0]
            assert len(np.unique(each, axis=0)) > 3  # rows have streams of their own


@pytest.mark.parametrize("device", DEVICES)
def test_all_lanes_of_a_row_have_streams_of_their_own(device):
    """Only the trajectories are shared: shots of equal circuits differ."""
    model, features = model_on(device, "z")
    points = np.tile(model.weights, (20, 1))
    lanes = model.placed.lanes(shots=True, shifted=False)
    each = lanes.at(points, features[:1], ROWS[:1], shots=1000)[:, 0]
    assert len(np.unique(each, axis=0)) > 10
    exact = model.placed.lanes(shots=False, shifted=False)
    each = exact.at(points, features[:1], ROWS[:1])[:, 0]
    assert len(np.unique(each.round(12), axis=0)) == 1


@pytest.mark.parametrize("device", ["ideal", "noisy"])
def test_only_what_is_drawn_moves_the_generator(device):
    model, features = model_on(device, "z")
    placed, before = model.placed, model.placed.device.generator_state
    placed.lanes(shots=False, shifted=False).at(
        model.weights[None], features[:2], ROWS[:2]
    )
    assert placed.device.generator_state == before
    lanes = placed.lanes(shots=True, shifted=False)
    states = [before]
    for n_rows in (1, 10):
        lanes.at(model.weights[None], features[ROWS[:n_rows]], ROWS[:n_rows], shots=5)
        states.append(placed.device.generator_state)
    assert states[0] != states[1] != states[2]
    # However large a submission is, it takes one key.
    placed.device.generator_state = before
    lanes.at(np.tile(model.weights, (9, 1)), features, np.arange(10), shots=50)
    assert placed.device.generator_state == states[1]
