"""What `qml.device` gives: wires, errors, tracking, inspection, transforms."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.devices import ExecutionConfig
from pennylane.exceptions import DeviceError, WireError
from pennylane.tape import QuantumScript

DEVICE = "qstore.mock_ideal"


def circuit(w):
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    return qml.expval(qml.Z(1))


W = np.array([0.4, 1.1])
VALUE = np.cos(0.4) * np.cos(1.1)


# --------------------------------------------------------------------------- wires
@pytest.mark.parametrize("wires", [2, 7, [1, 0], [1, 5, 0], None, range(3)])
def test_any_wires_that_hold_the_circuit_will_do(wires):
    assert qml.QNode(circuit, qml.device(DEVICE, wires=wires))(W) == pytest.approx(
        VALUE
    )


@pytest.mark.parametrize("wires", [["a", "b"], ["b", 3, "a"], None])
def test_wires_have_any_label_and_the_devices_order(wires, agree):
    def labelled(w):
        qml.AngleEmbedding(w, ["a", "b"])
        qml.CNOT(["a", "b"])
        return qml.expval(qml.Z("b")), qml.state(), qml.probs(["b", "a"])

    ours, theirs = (
        qml.QNode(labelled, qml.device(name, wires=wires))(W)
        for name in (DEVICE, "default.qubit")
    )
    agree(ours, theirs)


def test_labelled_wires_have_gradients(agree):
    def labelled(w):
        qml.AngleEmbedding(w, ["a", "b"])
        qml.CNOT(["a", "b"])
        return qml.expval(qml.Z("b"))

    gradient = qml.grad(qml.QNode(labelled, qml.device(DEVICE, wires=["b", "x", "a"])))
    expected = [-np.sin(0.4) * np.cos(1.1), -np.cos(0.4) * np.sin(1.1)]
    agree(gradient(pnp.array(W)), np.array(expected))


def test_a_small_circuit_runs_on_a_huge_device():
    assert qml.QNode(circuit, qml.device(DEVICE, wires=60))(W) == pytest.approx(VALUE)


def test_wires_the_device_lacks_are_named():
    with pytest.raises(WireError, match="1"):
        qml.QNode(circuit, qml.device(DEVICE, wires=1))(W)


# -------------------------------------------------------------------------- errors
class Mystery(qml.operation.Operation):
    """A gate that says nothing about itself."""

    num_wires = 1


@pytest.mark.parametrize(
    "operation",
    [lambda: Mystery(0), lambda: qml.DepolarizingChannel(0.1, 0)],
    ids=["Mystery", "DepolarizingChannel"],
)
def test_unsupported_gates_are_named(operation):
    def unsupported():
        operation()
        return qml.expval(qml.Z(0))

    name = type(operation()).__name__
    with pytest.raises(DeviceError, match=name):
        qml.QNode(unsupported, qml.device(DEVICE, wires=1))()


class Riddle(qml.operation.Operator):
    """An observable that says nothing about itself."""

    num_wires = 1


def test_unsupported_observables_are_named():
    device = qml.device(DEVICE, wires=1)
    with pytest.raises(DeviceError, match="Riddle"):
        qml.execute([QuantumScript([], [qml.expval(Riddle(0))])], device)


@pytest.mark.parametrize(
    "measurement", [qml.state, lambda: qml.expval(qml.Z(0)), qml.probs]
)
def test_too_many_qubits_are_refused_with_the_memory_they_need(measurement):
    def wide():
        for i in range(40):
            qml.Hadamard(i)
        return measurement()

    # 2**40 amplitudes of 16 bytes, or 16 TiB, at least.
    with pytest.raises(DeviceError, match=r"\d.*(bytes|[GT]i?B)"):
        qml.QNode(wide, qml.device(DEVICE, wires=40))()


def test_unknown_arguments_of_the_device_are_refused():
    with pytest.raises(TypeError, match="warp_speed"):
        qml.device(DEVICE, wires=1, warp_speed=9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_not_hidden(bad):
    assert np.isnan(qml.QNode(circuit, qml.device(DEVICE))(np.array([bad, 0.1])))


# ----------------------------------------------------------------------- interface
def test_a_single_tape_gives_a_single_result():
    tape = QuantumScript([qml.RX(0.3, 0)], [qml.expval(qml.Z(0))])
    device = qml.device(DEVICE)
    assert device.execute(tape) == pytest.approx(np.cos(0.3))
    assert device.execute([tape, tape]) == pytest.approx((np.cos(0.3),) * 2)


def test_a_tape_that_was_run_is_unchanged():
    tape = QuantumScript(
        [qml.AngleEmbedding(W, [0, 1])], [qml.expval(qml.Z(0))], trainable_params=[0]
    )
    before = tape.hash
    qml.device(DEVICE).execute(tape)
    assert tape.hash == before


def test_results_are_the_callers_to_change(agree):
    tape = QuantumScript(
        [qml.AngleEmbedding(np.array([W, 2 * W]), [0, 1])],
        [qml.expval(qml.Z(0)), qml.probs([0]), qml.var(qml.X(1))],
        trainable_params=[0],
    )
    device = qml.device(DEVICE)
    config = device.setup_execution_config(
        ExecutionConfig(gradient_method="best"), tape
    )
    results = device.execute(tape, config)
    kept = [np.array(r) for r in results]
    for result in results:
        result[...] = 99
    agree(device.execute(tape, config), kept)


@pytest.mark.parametrize("method", [None, "best", "device", "adjoint"])
@pytest.mark.parametrize("shots", [None, 10])
def test_setting_the_config_up_twice_changes_nothing(method, shots):
    device = qml.device(DEVICE, wires=2)
    tape = QuantumScript([qml.RX(0.3, 0)], [qml.expval(qml.Z(0))], shots=shots)
    once = device.setup_execution_config(ExecutionConfig(gradient_method=method), tape)
    assert device.setup_execution_config(once, tape) == once


def test_preprocessing_keeps_batches_and_templates_whole(rng):
    device = qml.device(DEVICE, wires=3)
    tape = QuantumScript(
        [
            qml.AngleEmbedding(rng.normal(size=(5, 3)), range(3)),
            qml.StronglyEntanglingLayers(rng.normal(size=(2, 3, 3)), range(3)),
        ],
        [qml.expval(qml.Z(0))],
    )
    (processed,), _ = device.preprocess_transforms()([tape])
    names = [op.name for op in processed.operations]
    assert names == ["AngleEmbedding", "StronglyEntanglingLayers"]
    assert processed.batch_size == 5


@pytest.mark.parametrize(
    ("config", "shots", "supported"),
    [
        ({"gradient_method": "best"}, None, True),
        ({"gradient_method": "device"}, None, True),
        ({"gradient_method": "adjoint"}, None, True),
        ({"gradient_method": "adjoint"}, 10, False),
        ({"gradient_method": "adjoint", "derivative_order": 2}, None, False),
        ({"gradient_method": "backprop"}, None, True),
        ({"gradient_method": "backprop", "derivative_order": 2}, None, True),
        ({"gradient_method": "best"}, 10, False),
        ({"gradient_method": "parameter-shift"}, None, False),
    ],
)
def test_supports_derivatives_says_what_the_device_does(config, shots, supported):
    tape = QuantumScript([qml.RX(0.3, 0)], [qml.expval(qml.Z(0))], shots=shots)
    device = qml.device(DEVICE)
    assert device.supports_derivatives(ExecutionConfig(**config), tape) is supported
    assert device.supports_vjp(ExecutionConfig(**config), tape) is supported


# ---------------------------------------------------------------------- inspection
def test_the_tracker_counts_a_batch_as_one_simulation(rng):
    device = qml.device(DEVICE, wires=2)
    with qml.Tracker(device) as tracker:
        qml.QNode(circuit, device)(rng.normal(size=(2, 10)))
    assert tracker.totals["simulations"] == tracker.totals["batches"] == 1
    assert tracker.totals["executions"] == 10  # a device without batches would run ten
    assert tracker.history["resources"][0].num_gates == 3


@pytest.mark.parametrize("level", ["top", "gradient", "device"])
def test_specs_are_those_of_default_qubit(level):
    ours, theirs = (
        qml.specs(qml.QNode(circuit, qml.device(name, wires=2)), level=level)(W)
        for name in (DEVICE, "default.qubit")
    )
    assert ours.resources.gate_types == theirs.resources.gate_types
    assert ours.resources.depth == theirs.resources.depth
    assert ours.device_name == DEVICE


def test_circuits_are_drawn():
    drawn = qml.draw(qml.QNode(circuit, qml.device(DEVICE, wires=2)))(W)
    assert drawn.splitlines() == [
        "0: ──RX(0.40)─╭●─┤     ",
        "1: ──RY(1.10)─╰X─┤  <Z>",
    ]


def test_templates_are_drawn_whole_at_the_level_of_the_device():
    def template(w):
        qml.AngleEmbedding(w, [0, 1])
        return qml.expval(qml.Z(0))

    drawn = qml.draw(qml.QNode(template, qml.device(DEVICE)), level="device")(W)
    assert drawn.count("AngleEmbedding") == 2


# ---------------------------------------------------------------------- transforms
@qml.transform
def without_cnots(tape):
    """Drop every CNOT."""
    operations = [op for op in tape.operations if op.name != "CNOT"]
    return [tape.copy(operations=operations)], lambda results: results[0]


def test_transforms_apply_to_the_device(agree):
    device = without_cnots(qml.device(DEVICE, wires=2))
    qnode = qml.QNode(circuit, device)
    agree(qnode(W), np.cos(1.1))
    agree(qml.grad(qnode)(pnp.array(W)), np.array([0, -np.sin(1.1)]))


def test_transforms_apply_to_qnodes(agree):
    def non_commuting(w):
        qml.RX(w[0], 0)
        return qml.expval(qml.Z(0)), qml.expval(qml.Y(0))

    qnode = qml.transforms.split_non_commuting(
        qml.QNode(non_commuting, qml.device(DEVICE))
    )
    agree(qnode(W), [np.cos(0.4), -np.sin(0.4)])


@pytest.mark.parametrize("approx", [None, "block-diag"])
def test_metric_tensor_agrees_with_default_qubit(approx, agree):
    ours, theirs = (
        qml.metric_tensor(qml.QNode(circuit, qml.device(name)), approx=approx)(
            pnp.array(W)
        )
        for name in (DEVICE, "default.qubit")
    )
    agree(ours, theirs)


@pytest.mark.parametrize("enabled", [False, True])
def test_unknown_templates_are_decomposed_with_and_without_the_graph(
    enabled, rng, reference, agree
):
    def template(first, layers):
        qml.SimplifiedTwoDesign(first, layers, wires=range(3))
        qml.QFT(range(3))
        return qml.expval(qml.Y(0)), qml.state()

    arguments = rng.normal(size=3), rng.normal(size=(1, 2, 2))
    with qml.decomposition.toggle_graph_ctx(enabled):
        ours = qml.QNode(template, qml.device(DEVICE, wires=3))(*arguments)
    agree(ours, reference.qnode(template)(*arguments))
