"""The registry, the cache of structures and the door to Programs."""

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.devices.registry import REGISTRY
from qstore_pl.templates import RotationEntanglerLayers
from tests.cases import GATES, TEMPLATES

ROWS = GATES | TEMPLATES
WEIGHTS = np.random.default_rng(5).normal(size=(2, 3, 3))
INPUTS = np.random.default_rng(6).normal(size=(4, 3))


def circuit(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(3), rotation="Y")
    RotationEntanglerLayers(weights, wires=range(3))
    return [qml.expval(qml.Z(0)), qml.expval(0.5 * qml.X(1) @ qml.Y(2))]


def has_room_on_two_wires(name):
    """Whether PennyLane lets the operation act on at most two wires."""
    n_wires = getattr(qml, name).num_wires
    return not isinstance(n_wires, int) or n_wires <= 2


# Pure states run everything but channels; mixed ones take templates apart and have
# noise after gates on at most two wires.
TAKEN = {
    devices.MockIdeal: {name for name, e in REGISTRY.items() if not e.channel},
    devices.MockNoisy: {
        name
        for name, entry in REGISTRY.items()
        if entry.parts is None and has_room_on_two_wires(name)
    },
}


@pytest.mark.parametrize("device", TAKEN)
def test_the_capabilities_file_is_the_registry(device):
    gates = device.capabilities.operations
    assert gates.keys() == TAKEN[device]
    for name in TAKEN[device]:
        entry = REGISTRY[name]
        assert gates[name].differentiable == entry.differentiable, name
        assert gates[name].invertible == entry.controllable, name
        assert gates[name].controllable == entry.controllable, name


@pytest.mark.parametrize(
    "label",
    [label for label, row in ROWS.items() if row.operation.__name__ in REGISTRY],
)
def test_what_the_noisy_device_takes_is_not_decomposed(label):
    op = ROWS[label].random(np.random.default_rng(0), range(ROWS[label].n_wires))
    tape = qml.tape.QuantumScript([op], [qml.expval(qml.Z(0))])
    pipeline = qml.device("qstore.mock_noisy", wires=8).preprocess_transforms()
    if op.name in ("DoubleExcitationPlus", "DoubleExcitationMinus"):
        with pytest.raises(DeviceError, match="does not provide a decomposition"):
            pipeline([tape])
        return
    (processed,), _ = pipeline([tape])
    taken = op.name in TAKEN[devices.MockNoisy] and len(op.wires) <= 2
    free = op.name in ("Identity", "GlobalPhase")  # no noise, so any number of wires
    assert (processed.operations == [op]) == (taken or free)


def test_ways_of_mid_circuit_measurement():
    methods = {device: device.capabilities.supported_mcm_methods for device in TAKEN}
    assert methods == {
        devices.MockIdeal: ["deferred", "one-shot"],
        devices.MockNoisy: ["deferred"],
    }


def test_a_structure_is_lowered_once_whatever_its_values():
    device = qml.device("qstore.mock_ideal", wires=3)
    qnode = qml.QNode(circuit, device)
    assert device.cache_info() == (0, 0, 0)
    qnode(INPUTS, WEIGHTS)
    assert device.cache_info() == (0, 1, 1)
    qnode(INPUTS[:2] + 1, WEIGHTS - 1)
    assert device.cache_info() == (1, 1, 1)
    qnode(INPUTS, WEIGHTS[:1])  # fewer layers are another structure
    assert device.cache_info() == (1, 2, 2)


@pytest.mark.parametrize(
    "other",
    [
        lambda x: qml.RX(x, 1),
        lambda x: qml.RY(x, 0),
        lambda x: qml.adjoint(qml.RX(x, 0), lazy=True),
        lambda x: qml.ctrl(qml.RX(x, 0), 1),
        lambda x: qml.ctrl(qml.RX(x, 0), 1, control_values=[0]),
        lambda x: qml.PauliRot(x, "XY", wires=[0, 1]),
        lambda x: qml.PauliRot(x, "YX", wires=[0, 1]),
        lambda x: qml.AngleEmbedding([x, x], wires=[0, 1], rotation="X"),
        lambda x: qml.AngleEmbedding([x, x], wires=[0, 1], rotation="Z"),
    ],
)
def test_structures_that_differ_are_told_apart(other):
    """One device after the other circuit gives what a fresh device gives."""

    def run(device, gate):
        @qml.qnode(device)
        def measured(x):
            qml.Hadamard(0)
            qml.Hadamard(1)
            gate(x)
            return qml.state()

        return measured(0.4)

    used = qml.device("qstore.mock_ideal", wires=2)
    run(used, lambda x: qml.RX(x, 0))
    fresh = run(qml.device("qstore.mock_ideal", wires=2), other)
    np.testing.assert_array_equal(run(used, other), fresh)
    assert used.cache_info().misses == 2


class ZZFeatureMap(qml.operation.Operation):
    """Somebody's own template, by chance of the same name as ours."""

    num_params = 1
    ndim_params = (1,)

    @staticmethod
    def compute_decomposition(features, wires):
        return [qml.RX(features[..., 0], wires=wires[0])]


def test_an_operation_of_the_same_name_is_not_taken_for_ours():
    @qml.qnode(qml.device("qstore.mock_ideal", wires=2))
    def own(x):
        ZZFeatureMap(x, wires=[0, 1])
        return qml.expval(qml.Z(0))

    np.testing.assert_allclose(own(np.array([0.3, 0.4])), np.cos(0.3), atol=1e-15)


ROTATED = [
    devices.symbols("features", 1, (3,)),
    devices.symbols("weights", 2, (2, 3, 3)),
]
SIZES = {"n_weights": 20, "n_features": 4}


def test_a_bound_tape_gives_the_qnodes_numbers():
    device = qml.device("qstore.mock_ideal", wires=3)
    tape = qml.tape.make_qscript(circuit)(np.zeros(3), np.zeros((2, 3, 3)))
    program = devices.compile(tape, [*ROTATED, None], device, **SIZES)
    # The offsets leave room in front; what stands there has no influence.
    weights = np.concatenate([[7.0, 7.0], WEIGHTS.ravel()])
    features = np.concatenate([np.full((4, 1), 7.0), INPUTS], axis=1)
    expected = np.stack(qml.QNode(circuit, device)(INPUTS, WEIGHTS), axis=1)
    np.testing.assert_allclose(
        program.run(weights, features), expected, rtol=0, atol=1e-14
    )


def test_parameters_may_be_functions_of_weights_and_features_or_constants():
    """Each parameter of its own kind: a product, a sum, a number on the tape."""

    def function(x, w):
        return [w[0] * x[1] - 0.5, w[1:] + x[0], 0.7, [1, 0]]

    def tape_of(product, sums, constant, bits):
        ops = [
            qml.BasisState(bits, wires=[0, 1]),
            qml.RX(product, 0),
            qml.AngleEmbedding(sums, wires=[0, 1], rotation="Y"),
            qml.IsingXX(constant, wires=[0, 1]),
        ]
        return qml.tape.QuantumScript(ops, [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))])

    x, w = np.array([0.3, -0.8]), np.array([1.1, 0.2, -0.4])
    of = devices.symbols("features", 0, (2,)), devices.symbols("weights", 0, (3,))
    product, sums, *_ = function(*of)
    device = qml.device("qstore.mock_ideal", wires=2)
    tape = tape_of(*function(x, w))
    inputs = [None, product, sums, None]
    program = devices.compile(tape, inputs, device, n_weights=3, n_features=2)
    (expected,) = qml.execute([tape], qml.device("default.qubit", wires=2))
    np.testing.assert_allclose(program.run(w, x[None])[0], expected, rtol=0, atol=1e-14)


def test_a_constant_may_be_read_by_a_decomposition():
    """A constant reaches a template as the number it is."""
    tape = qml.tape.QuantumScript(
        [qml.RY(0.3, 0), qml.QROM(["1", "0"], [0], [1], None)],
        [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))],
    )
    device = qml.device("qstore.mock_ideal", wires=2)
    inputs = [devices.symbols("weights", 0, ()), None]
    program = devices.compile(tape, inputs, device, n_weights=1, n_features=0)
    (expected,) = qml.execute([tape], qml.device("default.qubit", wires=2))
    found = program.run(np.array([0.3]), NO_FEATURES)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_other_devices_have_no_programs():
    tape = qml.tape.make_qscript(circuit)(np.zeros(3), np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match=r"`device` must be a qstore device.*default"):
        devices.compile(tape, [], qml.device("default.qubit", wires=3), **SIZES)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "for each parameter"),
        ([*ROTATED], "for each parameter"),
        ([ROTATED[1], ROTATED[0], None], "of its shape"),
        ([devices.symbols("features", 2, (3,)), ROTATED[1], None], "< 4 of the feat"),
        ([ROTATED[0], devices.symbols("weights", 3, (2, 3, 3)), None], "< 20 of the w"),
    ],
)
def test_inputs_must_fit_the_tape(inputs, words):
    tape = qml.tape.make_qscript(circuit)(np.zeros(3), np.zeros((2, 3, 3)))
    device = qml.device("qstore.mock_ideal", wires=3)
    with pytest.raises(ValueError, match=words):
        devices.compile(tape, inputs, device, **SIZES)


def test_observables_have_constant_coefficients():
    tape = qml.tape.make_qscript(circuit)(np.zeros(3), np.zeros((2, 3, 3)))
    device = qml.device("qstore.mock_ideal", wires=3)
    inputs = [*ROTATED, devices.symbols("weights", 0, ())]
    with pytest.raises(DeviceError, match="Parameters of observables must be const"):
        devices.compile(tape, inputs, device, **SIZES)


def test_amplitudes_are_features_or_computed_from_them():

    def tape_of(amplitudes):
        prepared = qml.StatePrep(amplitudes, wires=[0, 1])
        return qml.tape.QuantumScript([prepared], [qml.expval(qml.Z(1))])

    tape = tape_of(np.full(4, 0.5))
    device = qml.device("qstore.mock_ideal", wires=2)
    x = devices.symbols("features", 0, (5,))
    program = devices.compile(tape, [x[1:]], device, n_weights=0, n_features=5)
    features = np.array([[7.0, 0.1, 0.7, -0.5, 0.5]])
    reference = qml.device("default.qubit", wires=2)
    (expected,) = qml.execute([tape_of(features[0, 1:])], reference)
    np.testing.assert_allclose(program.run([], features), [[expected]], atol=1e-14)
    normalised = x[1:] * x[0] / np.linalg.norm(x[1:] * x[0])
    for other, numbers in (
        (x[:0:-1], features[0, :0:-1]),
        (normalised, features[0, 1:]),
    ):
        program = devices.compile(tape, [other], device, n_weights=0, n_features=5)
        (expected,) = qml.execute([tape_of(numbers)], reference)
        np.testing.assert_allclose(program.run([], features), [[expected]], atol=1e-14)
    _, slope = program.vjp([], features, [[1.0]], inputs=True)
    step = 1e-6 * np.eye(5)
    rows = np.concatenate([features + step, features - step])
    after, before = program.run([], rows).reshape(2, 5)
    np.testing.assert_allclose(slope[0], (after - before) / 2e-6, atol=1e-8)


# --- what is measured ------------------------------------------------------------

RNG = np.random.default_rng(7)
HERMITIAN = RNG.normal(size=(4, 4)) + 1j * RNG.normal(size=(4, 4))
HERMITIAN = HERMITIAN + HERMITIAN.conj().T
NO_FEATURES = np.zeros((1, 0))
MEASURED = {
    "a word": qml.expval(qml.X(0) @ qml.Y(2)),
    "a sum": qml.expval(qml.Hamiltonian([0.3, -2.0], [qml.Z(0) @ qml.Z(1), qml.X(2)])),
    "the identity": qml.expval(qml.Identity(1)),
    "Hermitian": qml.expval(qml.Hermitian(HERMITIAN, wires=[2, 0])),
    "a product": qml.expval(qml.Hermitian(HERMITIAN, wires=[0, 1]) @ qml.Y(2)),
    "a sum with a matrix": qml.expval(
        qml.sum(qml.Hermitian(HERMITIAN, wires=[0, 1]), 0.5 * qml.X(2))
    ),
    "Projector": qml.expval(qml.Projector([1, 0], wires=[0, 2])),
    "a projector on a state": qml.expval(qml.Projector([0.6, 0.8], wires=[1])),
    "Hadamard": qml.expval(qml.Hadamard(1)),
    "probabilities": qml.probs(wires=[2, 0]),
    "all probabilities": qml.probs(),
    "sparse": qml.expval(
        qml.SparseHamiltonian(
            qml.Hamiltonian([0.5, 0.25], [qml.X(0), qml.Z(1) @ qml.Y(0)]).sparse_matrix(
                wire_order=[0, 1]
            ),
            wires=[0, 1],
        )
    ),
}
READOUT = devices.NoiseSpec(
    p1=0.02, readout={0: (0.02, 0.1), 1: (0.05, 0.0), 2: (0.1, 0.2)}
)


@pytest.mark.parametrize("noise", [None, READOUT], ids=["pure", "misread"])
@pytest.mark.parametrize("name", MEASURED)
def test_a_program_measures_what_the_qnode_measures(name, noise):
    ops = [qml.RX(0.4, 0), qml.RY(1.1, 1), qml.CNOT([0, 1]), qml.IsingXY(0.8, [1, 2])]
    tape = qml.tape.QuantumScript(ops, [MEASURED[name], qml.expval(qml.Z(1))])
    device = qml.device("qstore.mock_noisy", wires=3, noise=noise)
    inputs = [devices.symbols("weights", i, ()) for i in range(3)]
    inputs += [None] * (len(tape.par_info) - 3)
    sizes = {"n_weights": 3, "n_features": 0}
    if name == "sparse" and noise is not None:
        with pytest.raises(DeviceError, match="no outcomes that could be misread"):
            devices.compile(tape, inputs, device, **sizes)
        return
    program = devices.compile(tape, inputs, device, **sizes)
    (expected,) = qml.execute([tape], device)
    found = program.run(np.array([0.4, 1.1, 0.8]), NO_FEATURES)[0]
    np.testing.assert_allclose(found, np.hstack(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "mp",
    [
        qml.var(qml.Z(0)),
        qml.state(),
        qml.probs(op=qml.X(0)),
        qml.probs(wires=range(9)),
        qml.expval(qml.Projector([0] * 9, wires=range(9))),
    ],
    ids=str,
)
def test_programs_measure_expectation_values_and_probabilities(mp):
    tape = qml.tape.QuantumScript([qml.RX(0.1, 0)], [mp])
    inputs = [devices.symbols("weights", 0, ()), *[None] * (len(tape.par_info) - 1)]
    device = qml.device("qstore.mock_ideal")
    with pytest.raises(ValueError, match=r"must measure expectation values.* 8 wires"):
        devices.compile(tape, inputs, device, n_weights=1, n_features=0)


@pytest.mark.parametrize(
    "obs",
    [
        qml.prod(qml.X(0), qml.Z(0)),
        qml.prod(qml.Hermitian(HERMITIAN, [0, 1]), qml.X(0)),
    ],
    ids=["words", "matrix"],
)
def test_observables_must_be_hermitian(obs):
    tape = qml.tape.QuantumScript([qml.RX(0.1, 0)], [qml.expval(obs)])
    inputs = [devices.symbols("weights", 0, ()), *[None] * (len(tape.par_info) - 1)]
    device = qml.device("qstore.mock_ideal")
    with pytest.raises(DeviceError, match="An observable must be Hermitian"):
        devices.compile(tape, inputs, device, n_weights=1, n_features=0)


def test_complex_angles_are_refused():
    @qml.qnode(qml.device("qstore.mock_ideal", wires=1))
    def turned(x):
        qml.RX(x, 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match="Parameters of RX must be real"):
        turned(1j)


def test_a_batch_without_samples_is_refused():
    @qml.qnode(qml.device("qstore.mock_ideal", wires=1))
    def turned(x):
        qml.RX(x, 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(ValueError, match="at least one, but have 0"):
        turned(np.zeros(0))
