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


def test_a_bound_tape_gives_the_qnodes_numbers():
    device = qml.device("qstore.mock_ideal", wires=3)
    tape = qml.tape.make_qscript(circuit)(np.zeros(3), np.zeros((2, 3, 3)))
    binding = [devices.Binding("features", 1), devices.Binding("weights", 2)]
    program = devices.compile(tape, binding, device)
    # The offsets leave room in front; what stands there has no influence.
    weights = np.concatenate([[7.0, 7.0], WEIGHTS.ravel()])
    features = np.concatenate([np.full((4, 1), 7.0), INPUTS], axis=1)
    expected = np.stack(qml.QNode(circuit, device)(INPUTS, WEIGHTS), axis=1)
    np.testing.assert_allclose(
        program.run(weights, features), expected, rtol=0, atol=1e-14
    )


def test_other_devices_have_no_programs():
    tape = qml.tape.make_qscript(circuit)(np.zeros(3), np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match=r"`device` must be a qstore device.*default"):
        devices.compile(tape, [], qml.device("default.qubit", wires=3))


def test_programs_measure_expectation_values_only():
    tape = qml.tape.QuantumScript([qml.RX(0.1, 0)], [qml.probs(wires=0)])
    with pytest.raises(ValueError, match="must measure expectation values"):
        devices.compile(
            tape, [devices.Binding("weights", 0)], qml.device("qstore.mock_ideal")
        )


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


@pytest.mark.parametrize(
    "op", [qml.AmplitudeDamping(0.1, 0), qml.QubitUnitary(np.eye(2), 0)]
)
def test_numbers_that_are_computed_cannot_be_bound(op):
    tape = qml.tape.QuantumScript([op], [qml.expval(qml.Z(0))])
    device = qml.device("qstore.mock_noisy", wires=1, noise=None)
    with pytest.raises(DeviceError, match=f"Parameters of {op.name} cannot be bound"):
        devices.compile(tape, [devices.Binding("weights", 0)], device)
