"""`qstore.mock_noisy` as a device: interfaces, shots, copies, threads, inspection.

Values are held to default.mixed with the same noise inserted by PennyLane. Where
PennyLane's tables of circuits are used again, the device runs mixed states without any
noise, and the oracle is default.qubit.
"""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.devices import ExecutionConfig
from pennylane.exceptions import DeviceError

from qstore_pl.devices import NoiseSpec
from tests.conformance.conftest import Framework, flattened
from tests.conformance.test_broadcasting import ENCODINGS
from tests.conformance.test_hessian import gates as twice_differentiable
from tests.conformance.test_measurements import MEASUREMENTS, photographed, prepare
from tests.conformance.test_vjp import CASES, exact_jacobian

# default.mixed casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

DEVICE = "qstore.mock_noisy"
WIRES = range(3)
SPEC = NoiseSpec(
    p1=0.01,
    p2=0.04,
    t1=50e-6,
    t2=70e-6,
    gate_time_1=1e-6,
    gate_time_2=5e-6,
    over_rotation=0.02,
    readout=(0.02, 0.05),
)
# Only a wire that no circuit has is misread: mixed states, and nothing is noisy.
NOTHING = NoiseSpec(readout={"nowhere": (0.1, 0.2)})


def device(noise=SPEC, wires=3, **options):
    return qml.device(DEVICE, wires=wires, noise=noise, **options)


def model(x, p, w):
    for i in WIRES:
        qml.RY(x[..., i], i)
    qml.Rot(w[0], w[1], w[2], 0)
    qml.CNOT([0, 1])
    qml.AmplitudeDamping(p[0], 1)
    qml.CRX(w[3], [1, 2])
    qml.PauliError("XY", p[1], wires=[2, 0])
    return qml.expval(qml.Z(0) @ qml.X(1)), qml.probs([2, 0]), qml.var(qml.Y(1))


@pytest.fixture(scope="module")
def arguments():
    """Features (3, 3), strengths (2,) and weights (4,)."""
    rng = np.random.default_rng(2024)
    return rng.uniform(-3, 3, (3, 3)), rng.uniform(0.1, 0.3, 2), rng.uniform(-3, 3, 4)


def reference(circuit, noise=SPEC):
    qnode = qml.QNode(circuit, qml.device("default.mixed", wires=3))
    return qml.noise.add_noise(qnode, noise.to_noise_model())


def loop(qnode, x, *others):
    """The samples one after the other."""
    rows = [qnode(one, *others) for one in x]
    return [qml.math.stack(column) for column in zip(*rows, strict=True)]


@pytest.fixture(scope="module")
def mixed_results(arguments):
    """Values and derivatives of the model on default.mixed, sample by sample."""

    def function(*arguments):
        return loop(reference(model), *arguments)

    tensors = [pnp.array(a, requires_grad=True) for a in arguments]
    slopes = qml.jacobian(lambda *a: flattened(function(*a)), argnums=[0, 1, 2])
    return function(*arguments), slopes(*tensors)


# ------------------------------------------------------------------- interfaces
def test_values_and_gradients_in_every_framework(
    framework, arguments, mixed_results, flat, agree
):
    qnode = qml.QNode(model, device())
    expected_values, expected = mixed_results
    values = framework.value(qnode, *arguments)
    agree([np.asarray(qml.math.unwrap([v])[0]) for v in values], expected_values)
    agree(framework.jacobian(flat(qnode), *arguments), expected)


@pytest.mark.parametrize("diff_method", ["best", "device", "adjoint", "finite-diff"])
def test_diff_methods_give_the_same_gradient(diff_method, arguments, agree):
    x, p, w = (pnp.array(a) for a in arguments)

    def value(qnode):
        return qml.grad(lambda w: qnode(x[0], p, w)[0])(w)

    ours = value(qml.QNode(model, device(), diff_method=diff_method))
    atol = 1e-6 if diff_method == "finite-diff" else 1e-10
    agree(ours, value(reference(model)), atol)


def test_parameter_shift_gives_the_gradient_of_rotations(agree):
    def rotations(w):
        for i in WIRES:
            qml.RX(w[i], i)
            qml.CNOT([i, (i + 1) % 3])
        return qml.expval(qml.Z(0) @ qml.Y(1))

    # An over-rotated angle is no parameter of two eigenvalues 1 apart.
    spec = NoiseSpec(p1=0.02, p2=0.05, readout=(0.02, 0.05))
    w = pnp.array([0.3, 1.1, -0.8], requires_grad=True)
    gradients = [
        qml.grad(qml.QNode(rotations, device(spec), diff_method=method))(w)
        for method in ("adjoint", "parameter-shift")
    ]
    agree(*gradients)
    agree(gradients[0], qml.grad(reference(rotations, spec))(w))


def test_one_simulation_and_one_vjp_make_a_gradient(arguments, flat):
    qnode = qml.QNode(model, device())
    tensors = [pnp.array(a, requires_grad=True) for a in arguments]
    with qml.Tracker(qnode.device) as tracker:
        qml.grad(lambda *a: pnp.sum(flat(qnode)(*a)), argnums=[0, 1, 2])(*tensors)
    assert tracker.totals["simulations"] == 1
    assert tracker.totals["vjps"] == 1


def test_a_second_derivative_is_refused_or_right(framework, agree):
    w = np.array([0.3, 0.7])
    spec = NoiseSpec(p1=0.02, p2=0.05)
    hessian = framework.hessian(
        qml.QNode(twice_differentiable, device(spec), max_diff=2), w
    )
    tensor = pnp.array(w, requires_grad=True)
    mixed = reference(twice_differentiable, spec)
    expected = qml.jacobian(qml.grad(mixed))(tensor)
    agree(hessian, np.asarray(qml.math.unwrap([expected])[0]))
    with pytest.raises((DeviceError, ValueError), match=r"max_diff=2|Pure callbacks"):
        framework.hessian(qml.QNode(twice_differentiable, device(spec)), w)


# ------------------------------------------- mixed states where nothing is noisy
# Eager JAX makes the same calls as under jit.
@pytest.mark.parametrize("framework", ["autograd", "torch", "jax-jit"])
@pytest.mark.parametrize("name", CASES)
def test_jacobians_without_noise_are_those_of_default_qubit(
    name, framework, flat, agree
):
    circuit, values, expected = exact_jacobian(name)
    qnode = qml.QNode(circuit, device(NOTHING))
    agree(Framework(framework).jacobian(flat(qnode), *values), expected)


VECTORS = {"state"}  # a density matrix on mixed states


@pytest.mark.parametrize("batched", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("name", sorted(MEASUREMENTS.keys() - VECTORS))
def test_measurements_without_noise_are_those_of_default_qubit(
    name, batched, rng, agree
):
    x, w = rng.uniform(-3, 3, (4, 3)), rng.uniform(-3, 3, (2, 3, 3))

    def circuit(x, w):
        prepare(x, w)
        return MEASUREMENTS[name]()

    arguments = (x if batched else x[0], w)
    actual = qml.QNode(circuit, device(NOTHING))(*arguments)
    agree(actual, qml.QNode(circuit, qml.device("default.qubit", wires=3))(*arguments))


def test_the_state_without_noise_is_that_of_default_qubit(reference, agree):
    def circuit():
        qml.RX(0.3, 0)
        qml.CNOT([0, 2])
        return qml.state()

    vector = qml.QNode(circuit, qml.device("default.qubit", wires=3))()
    agree(qml.QNode(circuit, device(NOTHING))(), np.outer(vector, np.conj(vector)))


# ---------------------------------------------------------------------- batches
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("batched", ["features", "weights", "both"])
def test_a_batch_is_the_loop_in_one_simulation(encoding, batched, rng, agree):
    x, w = rng.uniform(-3, 3, (4, 3)), rng.uniform(-3, 3, (4, 2, 3, 3))

    def circuit(x, w):
        encoding(x, w)
        return qml.expval(qml.Z(0) @ qml.X(1)), qml.density_matrix([0, 2])

    qnode = qml.QNode(circuit, device())
    rows = [
        (x[b if batched != "weights" else 0], w[b if batched != "features" else 0])
        for b in range(4)
    ]
    expected = [np.array(c) for c in zip(*(qnode(*row) for row in rows), strict=True)]
    whole = x if batched != "weights" else x[0], w if batched != "features" else w[0]
    with qml.Tracker(qnode.device) as tracker:
        agree(qnode(*whole), tuple(expected))
    assert tracker.totals["simulations"] == tracker.totals["batches"] == 1


# ------------------------------------------------------------------------ wires
LABELLED = NoiseSpec(p1=0.02, p2=0.05, readout={"b": (0.1, 0.3), 7: (0.05, 0.0)})


@pytest.mark.parametrize("wires", [["a", "b", 7], [7, "b", "spare", "a"], None])
def test_wires_have_any_label_and_are_misread_by_it(wires, agree):
    def labelled(w):
        for i, label in enumerate(("a", "b", 7)):
            qml.RY(w[i], label)
        qml.CNOT(["a", "b"])
        qml.IsingXX(w[0], ["b", 7])
        return qml.probs(["b", 7]), qml.expval(qml.X(7)), qml.expval(qml.Z("a"))

    w = np.array([0.4, 1.1, 2.0])
    mixed = qml.QNode(labelled, qml.device("default.mixed", wires=["a", "b", 7]))
    mixed = qml.noise.add_noise(mixed, LABELLED.to_noise_model())
    actual = qml.QNode(labelled, device(LABELLED, wires))(w)
    agree(actual, mixed(w))


def test_too_many_wires_are_refused_with_the_memory_they_need():
    def wide():
        for i in range(18):
            qml.Hadamard(i)
        return qml.expval(qml.Z(0))

    # Three vectors of 4**18 numbers of 8 bytes.
    with pytest.raises(DeviceError, match=rf"{3 * 8 * 4**18:,} bytes"):
        qml.QNode(wide, device(wires=18))()


# ------------------------------------------------------------------------ shots
SHOTS = 20_000


def sampled(*measurements, seed=5, shots=SHOTS, noise=SPEC):
    def circuit(x, p, w):
        model(x, p, w)
        for mp in qml.QueuingManager.active_context().queue[:]:
            if isinstance(mp, qml.measurements.MeasurementProcess):
                qml.QueuingManager.remove(mp)
        results = [m() for m in measurements]
        return results[0] if len(results) == 1 else tuple(results)

    qnode = qml.QNode(circuit, device(noise, seed=seed))
    return qml.set_shots(qnode, shots=shots)


@pytest.mark.parametrize("measurement", [qml.sample, qml.counts, qml.probs])
def test_the_seed_fixes_the_samples(measurement, arguments, agree):
    x, p, w = arguments
    one, other, third = (sampled(measurement, seed=s, shots=500) for s in (5, 5, 6))
    first = one(x[0], p, w)
    agree([first, one(x[0], p, w)], [other(x[0], p, w) for _ in range(2)], atol=0)
    assert str(first) != str(third(x[0], p, w))


def test_means_are_within_five_standard_errors(arguments):
    x, p, w = arguments
    observables = [qml.Z(0) @ qml.Y(2), qml.X(1), 0.5 * qml.X(0) - qml.Z(1) @ qml.Z(2)]
    means = sampled(*[lambda o=o: qml.expval(o) for o in observables])(x, p, w)
    exact = sampled(*[lambda o=o: qml.expval(o) for o in observables], shots=None)(
        x, p, w
    )
    for mean, value, bound in zip(means, exact, (1.0, 1.0, 1.5), strict=True):
        assert np.all(np.abs(mean - value) < 5 * bound / np.sqrt(SHOTS))
        assert np.all(mean != value)


def test_probabilities_of_a_batch_are_within_five_standard_errors(arguments):
    x, p, w = arguments
    exact = sampled(lambda: qml.probs([2, 0]), shots=None)(x, p, w)
    seen = sampled(lambda: qml.probs([2, 0]))(x, p, w)
    assert seen.shape == exact.shape == (3, 4)
    assert np.all(np.abs(seen - exact) < 5 * np.sqrt(exact * (1 - exact) / SHOTS))


def test_gradients_with_shots_are_by_parameter_shift(framework):
    def rotations(w):
        qml.RX(w[0], 0)
        qml.RY(w[1], 1)
        qml.CNOT([0, 1])
        return qml.expval(qml.Z(1))

    spec, w = NoiseSpec(p1=0.02, p2=0.05, readout=(0.02, 0.05)), np.array([0.4, 1.1])
    qnode = qml.QNode(rotations, device(spec, seed=3), shots=SHOTS)
    with qml.Tracker(qnode.device) as tracker:
        (gradient,) = framework.jacobian(qnode, w)
    assert "vjps" not in tracker.totals
    exact = qml.grad(reference(rotations, spec))(pnp.array(w, requires_grad=True))
    # Half the difference of two means, each with at most 1 of variance.
    assert np.all(np.abs(gradient - exact) < 5 * np.sqrt(0.5 / SHOTS))
    assert np.all(gradient != exact)


@pytest.mark.parametrize("shots", [[10, 20], (10, 10, 30), [(5, 3), 7]])
def test_shot_vectors_nest_as_on_default_mixed(shots):
    def circuit():
        qml.Hadamard(0)
        qml.CNOT([0, 1])
        return qml.expval(qml.Z(0)), qml.probs([0, 1]), qml.sample(wires=[0, 1])

    ours, theirs = (
        qml.QNode(circuit, d, shots=shots)()
        for d in (device(wires=2), qml.device("default.mixed", wires=2))
    )
    assert [[np.shape(r) for r in row] for row in ours] == [
        [np.shape(r) for r in row] for row in theirs
    ]


@pytest.mark.parametrize("measurement", [lambda: qml.classical_shadow([0, 1])])
def test_shadows_of_noisy_states_without_readout_error(measurement):
    def circuit():
        qml.RY(0.7, 0)
        qml.CNOT([0, 1])
        return measurement()

    spec = NoiseSpec(p1=0.05, p2=0.1)
    bits, recipes = qml.QNode(circuit, device(spec, 2, seed=1), shots=SHOTS)()

    def exact():
        qml.RY(0.7, 0)
        qml.CNOT([0, 1])
        return qml.expval(qml.Z(0) @ qml.Z(1))

    estimate = qml.ClassicalShadow(bits, recipes).expval(qml.Z(0) @ qml.Z(1))
    assert abs(estimate - reference(exact, spec)()) < 5 * 3 / np.sqrt(SHOTS)


# ---------------------------------------------------------- copies and threads
COPIES = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_compute_the_same_and_draw_other_samples(how, arguments, agree):
    x, p, w = arguments
    original = device(seed=7)
    twin, again = COPIES[how](original), COPIES[how](device(seed=7))
    agree(qml.QNode(model, twin)(x, p, w), qml.QNode(model, original)(x, p, w), atol=0)
    assert twin.noise == SPEC

    def bits(d):
        return qml.QNode(
            lambda: (qml.Hadamard(0), qml.sample(wires=0))[1], d, shots=200
        )

    draws = [bits(d)().tolist() for d in (original, twin, again)]
    assert draws[0] != draws[1]
    assert draws[1] == draws[2]


def test_eight_threads_give_what_one_gives(rng):
    # Of tapes that are there: while PennyLane records one, other threads disturb it.
    noisy = device()
    make = qml.workflow.construct_tape(qml.QNode(model, noisy), level="device")
    tapes = []
    for batch in rng.integers(1, 20, size=16).tolist():
        shapes = (batch, 3), (4,)
        x, w = (pnp.array(rng.normal(size=s), requires_grad=True) for s in shapes)
        strengths = pnp.array(rng.uniform(0.1, 0.4, 2), requires_grad=True)
        tapes.append(make(x, strengths, w))
    config = noisy.setup_execution_config(circuit=tapes[0])

    def run(tape):
        (values,) = noisy.execute((tape,), config)
        cotangents = tuple(2.0 * np.asarray(value) for value in values)
        (gradients,) = noisy.compute_vjp((tape,), (cotangents,), config)
        return [*values, *gradients]

    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(run, tapes))
    for actual, tape in zip(threaded, tapes, strict=True):
        for one, other in zip(actual, run(tape), strict=True):
            np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------- inspection
@pytest.mark.parametrize("x", [0.3, np.array([0.3, 0.7])], ids=["single", "batch"])
def test_snapshots_agree_with_default_mixed(x, agree):
    # Readout of measurements inside the circuit is the device's too.
    spec = NoiseSpec(p1=0.05, p2=0.1)
    ours = qml.snapshots(qml.QNode(photographed, device(spec, 2)))(x)
    theirs = []
    for one in np.atleast_1d(x):
        mixed = qml.QNode(photographed, qml.device("default.mixed", wires=2))
        mixed = qml.noise.add_noise(mixed, spec.to_noise_model())
        theirs.append(qml.snapshots(mixed)(one))
    for key, value in ours.items():
        expected = np.stack([np.asarray(t[key]) for t in theirs])
        agree(np.asarray(value), expected if np.ndim(x) else expected[0])


def test_the_tracker_counts_batches_and_shots(arguments):
    qnode = sampled(lambda: qml.expval(qml.Z(0)), shots=None)
    with qml.Tracker(qnode.device) as tracker:
        qnode(*arguments)
        qml.set_shots(qnode, 50)(*arguments)
    assert tracker.totals["batches"] == 2
    assert tracker.totals["simulations"] == 2
    assert tracker.totals["shots"] == 150  # of three samples


# ------------------------------------------------------- measurements inside
def measured_inside(w):
    qml.RX(w[0], 0)
    outcome = qml.measure(0)
    qml.cond(outcome, qml.RY)(w[1], 1)
    return qml.expval(qml.Z(1)), qml.expval(outcome)


def test_measurements_inside_are_deferred(flat, agree):
    # Copying an outcome is no gate, and its record is no wire of the machine: what is
    # conditional on it is followed by the noise of a gate on the other wires.
    def deferred(w):
        qml.RX(w[0], 0)
        qml.DepolarizingChannel(0.02, 0)
        qml.CNOT([0, 2])
        qml.CRY(w[1], [2, 1])
        qml.DepolarizingChannel(0.02, 1)
        return qml.expval(qml.Z(1)), qml.expval(qml.Projector([1], 2))

    spec, w = NoiseSpec(p1=0.02, p2=0.05), pnp.array([1.4, 1.1], requires_grad=True)
    qnode = qml.QNode(measured_inside, device(spec, None))
    default = qml.device("default.mixed", wires=3)
    mixed = qml.QNode(deferred, default, diff_method="parameter-shift")
    agree(qnode(w), mixed(w))
    agree(qml.jacobian(flat(qnode))(w), qml.jacobian(flat(mixed))(w))


def test_measurements_inside_are_deferred_with_shots():
    spec, w = NoiseSpec(p1=0.02, p2=0.05), np.array([1.4, 1.1])
    qnode = qml.QNode(measured_inside, device(spec, None, seed=2))
    exact = qnode(w)
    for one, other in zip(qml.set_shots(qnode, SHOTS)(w), exact, strict=True):
        assert 0 < abs(one - other) < 5 / np.sqrt(SHOTS)


def test_other_ways_to_measure_inside_are_refused():
    options = {"shots": 20, "mcm_method": "tree-traversal"}
    qnode = qml.QNode(measured_inside, device(wires=None), **options)
    with pytest.raises(DeviceError, match=r'must be "deferred".*tree-traversal'):
        qnode(np.array([1.4, 1.1]))


def test_projectors_of_noisy_states_are_refused():
    def projected():
        qml.Hadamard(0)
        qml.Projector([1], 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match="postselect"):
        qml.QNode(projected, device(wires=None))()


@pytest.mark.parametrize("method", [None, "best", "device", "adjoint"])
@pytest.mark.parametrize("shots", [None, 10])
def test_setting_the_config_up_twice_changes_nothing(method, shots):
    tape = qml.tape.QuantumScript([qml.RX(0.3, 0)], [qml.expval(qml.Z(0))], shots=shots)
    config = ExecutionConfig(gradient_method=method)
    once = device().setup_execution_config(config, tape)
    assert device().setup_execution_config(once, tape) == once
