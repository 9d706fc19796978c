"""Pauli propagation under PennyLane: the results of density matrices, and refusals.

The oracles are default.mixed, closed forms, and this device's own density matrices,
which other tests hold equal to default.mixed.
"""

import functools
import pickle

import jax
import numpy as np
import pennylane as qml
import pytest
import torch
from jax.experimental import enable_x64
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

import qstore_pl
from qstore_pl import NoiseSpec, QuantumModel, QuantumTrainer, TrainingConfig, _computer
from qstore_pl.devices import memory
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.propagation import PropagationProgram
from tests.cases import GATES, PREPARATIONS, TEMPLATES
from tests.devices.test_channels import CHANNELS

pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

NOISE = NoiseSpec(
    p1=2e-3, p2=1e-2, t1=80e-6, t2=60e-6, gate_time_1=5e-7, gate_time_2=2e-6,
    over_rotation=0.02, readout={0: (0.02, 0.1), 2: (0.05, 0.0)},
)  # fmt: skip
N = 4


def device(method="pauli_propagation", wires=N, noise=NOISE, **options):
    return qml.device(
        "qstore.mock_noisy", wires=wires, noise=noise, method=method, **options
    )


def results(circuit, *arguments, method="pauli_propagation", noise=NOISE, wires=N):
    """The results in one vector, and its Jacobian with respect to each argument."""
    node = qml.QNode(circuit, device(method, wires, noise))

    def joined(*values):
        found = node(*values)
        return qml.math.concatenate([qml.math.reshape(f, (-1,)) for f in found])

    jacobian = qml.jacobian(joined)(*arguments) if arguments else ()
    return joined(*arguments), *(jacobian if len(arguments) > 1 else [jacobian])


def agree(found, wanted, tolerance=1e-10):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.0, atol=tolerance)


def measured():
    return (
        qml.expval(qml.Z(0)),
        qml.expval(0.5 * qml.X(1) @ qml.Y(2) - 2.0 * qml.Z(2) @ qml.Z(0)),
        qml.probs(wires=[2, 0]),
    )


def entangled(angles):
    for wire in range(N):
        qml.RY(angles[wire], wire)
        qml.RX(angles[wire] + 0.4, wire)
    qml.CNOT([0, 1])
    qml.CNOT([2, 1])
    qml.IsingXX(angles[0] * angles[1], wires=[2, 3])


# ------------------------------------------------------------- every gate and channel
# PennyLane has no decomposition of these into gates that noise may follow.
UNDEFINED = {"DoubleExcitationMinus", "DoubleExcitationPlus"}
ROWS = {
    name: row
    for name, row in {**GATES, **TEMPLATES}.items()
    if row.n_wires <= N and name not in UNDEFINED
}


@pytest.mark.parametrize("name", ROWS)
def test_every_gate_is_that_of_density_matrices(name):
    row = ROWS[name]
    rng = np.random.default_rng(list(name.encode()))
    parameters = row.parameters(rng)
    differentiated = row.oracle == "autograd"
    angles = pnp.array(rng.uniform(-2, 2, N), requires_grad=differentiated)

    def circuit(angles, *values):
        entangled(angles)
        row.build(values, [3, 1, 0, 2][: row.n_wires], np.random.default_rng(0))
        qml.RY(0.3, 1)
        return measured()

    values = [pnp.array(p, requires_grad=differentiated) for p in parameters]
    arguments = [angles, *values] if differentiated else []
    both = []
    for method in ("density", "pauli_propagation"):
        made = functools.partial(
            circuit, *([] if differentiated else [angles, *values])
        )
        both.append(results(made, *arguments, method=method))
    agree(*both)


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_is_that_of_default_mixed(name):
    row = CHANNELS[name]

    def circuit():
        entangled(np.linspace(-1, 1, N))
        row.build(row.numbers, [2, 0, 1][: row.n_wires])
        qml.RX(0.7, 0)
        return qml.expval(qml.Z(0)), qml.expval(qml.X(2) @ qml.Y(1)), qml.probs([2, 0])

    peer = qml.QNode(circuit, qml.device("default.mixed", wires=N))()
    ours = qml.QNode(circuit, device(noise=None))()
    agree(ours, peer)


@pytest.mark.parametrize("name", PREPARATIONS)
def test_every_preparation_is_that_of_density_matrices(name):
    row = PREPARATIONS[name]
    rng = np.random.default_rng(3)
    parameters = row.parameters(rng)

    def circuit():
        row.build(parameters, [1, 3, 0][: row.n_wires], rng)
        entangled(np.linspace(-1, 1, N))
        return measured()

    agree(results(circuit)[:1], results(circuit, method="density")[:1])


def test_strengths_of_channels_and_batches_have_gradients():
    def circuit(theta, strengths, x):
        qml.AngleEmbedding(x, wires=range(N))
        entangled(theta)
        qml.AmplitudeDamping(strengths[0], wires=1)
        qml.DepolarizingChannel(strengths[1], wires=2)
        qml.PhaseDamping(strengths[2], wires=0)
        return measured()

    rng = np.random.default_rng(0)
    arguments = [
        pnp.array(rng.uniform(-1, 1, N), requires_grad=True),
        pnp.array([0.2, 0.1, 0.3], requires_grad=True),
        pnp.array(rng.uniform(-1, 1, (3, N)), requires_grad=True),
    ]
    agree(results(circuit, *arguments), results(circuit, *arguments, method="density"))


# ------------------------------------------------------------- 30 wires
def brickwork(weights, wires):
    """RX, RY and RZ on every wire, then CNOT on every other pair, in turn."""
    for layer, rows in enumerate(weights):
        for wire in wires:
            for gate, angle in zip((qml.RX, qml.RY, qml.RZ), rows[wire], strict=True):
                gate(angle, wire)
        for wire in range(layer % 2, 29, 2):
            if wire in wires and wire + 1 in wires:
                qml.CNOT([wire, wire + 1])


def test_thirty_wires_are_those_of_their_light_cones():
    weights = np.random.default_rng(1).uniform(-np.pi, np.pi, (4, 30, 3))

    def whole(weights):
        brickwork(weights, range(30))
        return [qml.expval(qml.Z(wire)) for wire in range(30)]

    found = qstore_pl.compile(qml.QNode(whole, device(wires=30)))
    ours = np.array(found(weights))

    def cone(wires, wire):
        brickwork(weights, wires)
        return qml.expval(qml.Z(wire))

    # An output sees two wires of the last layer, and two more of each one before.
    for wires, wire in ((range(5), 0), (range(12, 20), 15)):
        if len(wires) > 5:
            peer = qml.QNode(cone, device("density", list(wires)))
        else:
            peer = qml.noise.add_noise(
                qml.QNode(cone, qml.device("default.mixed", wires=wires)),
                NOISE.to_noise_model(),
                level="device",
            )
        agree([ours[wire]], [peer(wires, wire)])

    exact = pnp.array(weights, requires_grad=True)
    gradient = qml.grad(lambda w: sum(found(w)))(exact)
    step = 1e-5 * np.random.default_rng(2).normal(size=weights.shape)
    slope = np.sum(found(weights + step)) - np.sum(found(weights - step))
    np.testing.assert_allclose(2 * np.sum(gradient * step), slope, rtol=1e-7)


# ------------------------------------------------------------- which method
def names(kind):
    return {"density": MixedProgram, "propagation": PropagationProgram}[kind]


def chain(n):
    def circuit(x):
        qml.RX(x, 0)
        for wire in range(n - 1):
            qml.CNOT([wire, wire + 1])
        return qml.expval(qml.Z(n - 1))

    return circuit


@pytest.mark.parametrize(
    ("n", "noise", "kind"),
    [(5, NOISE, "density"), (20, NOISE, "propagation"), (40, None, "propagation")],
)
def test_auto_takes_density_matrices_where_they_fit(n, noise, kind):
    auto = device("auto", n, noise)
    model = qstore_pl.compile(qml.QNode(chain(n), auto))
    value = model(0.3)
    peer = qml.QNode(chain(n), device("pauli_propagation", n, noise))(0.3)
    agree([value], [peer])
    tape = qml.workflow.construct_tape(qml.QNode(chain(n), auto))(0.3)
    program = auto.compile(tape, [None], n_weights=0, n_features=0)
    assert type(program) is names(kind)
    if noise is None:
        agree([value], [np.cos(0.3)], 1e-14)


def ring(weights):
    for rows in weights:
        for wire, angles in enumerate(rows):
            qml.Rot(*angles, wires=wire)
        for wire in range(16):
            qml.CNOT([wire, (wire + 1) % 16])
    return [qml.expval(qml.Z(wire)) for wire in range(16)]


@pytest.mark.parametrize("method", ["auto", "pauli_propagation"])
def test_too_many_words_are_refused_with_the_count_and_the_way_out(method):
    node = qml.QNode(ring, device(method, 16, max_words=30_000))
    with pytest.raises(DeviceError) as info:
        node(np.ones((2, 16, 3)))
    message = str(info.value)
    for part in ("16 wires", "30,000 Pauli words", "gates", "a larger `max_words`"):
        assert part in message
    assert 'method="trajectories"' in message


def test_more_words_than_memory_are_refused(monkeypatch):
    monkeypatch.setattr(_computer, "memory", lambda: 1 << 20)
    with pytest.raises(DeviceError, match=r"8,192 Pauli words.*more memory"):
        qml.QNode(ring, device(wires=16))(np.ones((2, 16, 3)))


@pytest.mark.parametrize("method", ["pauli_propagation", "auto"])
def test_single_precision_is_refused(method):
    with pytest.raises(ValueError, match=f'"complex128" for method={method!r}'):
        qml.device("qstore.mock_noisy", method=method, dtype="complex64")


@pytest.mark.parametrize("method", ["density", "trajectories"])
def test_max_words_has_no_use_elsewhere(method):
    drawn = {"trajectories": 3} if method == "trajectories" else {}
    with pytest.raises(ValueError, match="`max_words` must be None unless"):
        device(method, max_words=10, **drawn)


@pytest.mark.parametrize("method", ["auto", "pauli_propagation"])
def test_options_are_checked(method):
    with pytest.raises(ValueError, match="`max_words` must be"):
        device(method, max_words=0)
    with pytest.raises(ValueError, match="`trajectories` must be given for"):
        device(method, trajectories=10)


# ------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    "ask",
    [
        qml.state,
        lambda: qml.purity(0),
        lambda: qml.var(qml.Z(0)),
        lambda: qml.probs(op=qml.X(0)),
        lambda: qml.probs(wires=range(9)),
        lambda: qml.expval(qml.Hermitian(np.eye(2), 0)),
        lambda: qml.density_matrix(0),
    ],
)
def test_other_measurements_are_refused_by_name(ask):
    def circuit():
        qml.RX(0.1, 0)
        return ask()

    node = qml.QNode(circuit, device(wires=9))
    with pytest.raises(DeviceError, match=r"Pauli propagation (computes|needs)"):
        node()


def test_shots_snapshots_and_postselection_are_refused():
    @qml.set_shots(10)
    @qml.qnode(device())
    def sampled():
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match="without shots"):
        sampled()

    @qml.qnode(device())
    def seen():
        qml.Snapshot("here")
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match="no density matrix to take snapshots of"):
        qml.snapshots(seen)()

    @qml.qnode(device())
    def selected():
        qml.measure(1, postselect=1)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match="Pauli propagation takes no postselected"):
        selected()


def test_gates_on_many_wires_are_refused():
    def circuit():
        qml.QubitUnitary(np.eye(16), wires=range(4))
        return qml.expval(qml.Z(0))

    node = qml.QNode(circuit, device(noise=None))
    with pytest.raises(DeviceError, match="cannot take a matrix on 4 wires"):
        node()


def test_a_model_has_no_states():
    model = QuantumModel(2, 1, seed=0, backend=device(wires=2))
    with pytest.raises(DeviceError, match="not the state or its outcomes"):
        model.states(np.zeros((1, 2)))


# ------------------------------------------------------------- roads
def test_measurements_inside_are_those_of_density_matrices():
    def circuit(x):
        qml.RX(x, 0)
        seen = qml.measure(0)
        qml.cond(seen, qml.RY)(0.4, 1)
        qml.CNOT([1, 2])
        return qml.expval(qml.Z(2)), qml.expval(qml.Z(1))

    x = pnp.array(0.7, requires_grad=True)
    agree(results(circuit, x), results(circuit, x, method="density"))


def test_a_noise_model_is_that_of_density_matrices():
    condition = qml.noise.op_in([qml.RX, qml.CNOT])

    def insert(op, **_):
        for wire in op.wires:
            qml.AmplitudeDamping(0.1, wires=wire)

    model = qml.NoiseModel({condition: insert})
    x = pnp.array(0.7, requires_grad=True)

    def circuit(x):
        return chain(N)(x), qml.expval(qml.Z(0))

    for compiled in (False, True):
        found = []
        for method in ("density", "pauli_propagation"):
            node = qml.QNode(circuit, device(method, noise=model))
            found.append((qstore_pl.compile(node) if compiled else node)(x))
        agree(*found)


def test_torch_and_jax():
    weights = np.random.default_rng(4).uniform(-1, 1, N)

    def circuit(angles):
        entangled(angles)
        return qml.expval(qml.Z(0) @ qml.X(1)), qml.probs(wires=[0])

    def loss(node, angles):
        value, probabilities = node(angles)
        return value * value + probabilities[1]

    wanted = qml.grad(functools.partial(loss, qml.QNode(circuit, device("density"))))(
        pnp.array(weights, requires_grad=True)
    )
    node = qml.QNode(circuit, device())
    leaf = torch.tensor(weights, requires_grad=True)
    loss(node, leaf).backward()
    agree([leaf.grad], [wanted])
    with enable_x64():
        for found in (node, qstore_pl.compile(node)):
            gradient = jax.jit(jax.grad(functools.partial(loss, found)))
            agree([gradient(jax.numpy.array(weights))], [wanted])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(6)
    return rng.uniform(-1, 1, (8, 3)), rng.integers(0, 2, 8)


@pytest.mark.parametrize("method", ["best", "parameter_shift", "spsa"])
def test_training_is_that_of_density_matrices(method, data):
    config = TrainingConfig(
        epochs=2, batch_size=4, learning_rate=0.1, loss="cross_entropy", seed=0,
        gradient_method=method,
    )  # fmt: skip
    noise = NoiseSpec(p1=2e-3, p2=1e-2, t1=80e-6, t2=60e-6, readout=(0.01, 0.03))
    weights = []
    for name in ("density", "pauli_propagation"):
        backend = device(name, 3, noise)
        model = QuantumModel(3, 2, seed=0, readout="probs", backend=backend)
        QuantumTrainer(config).train(model, data)
        weights.append(model.parameters.copy())
    agree(weights[:1], weights[1:])


def test_tapes_run_together_and_copies_of_the_device_work():
    dev = pickle.loads(pickle.dumps(device(max_words=4000)))
    tapes = [
        qml.tape.QuantumScript(
            [qml.RX(x, 0), qml.CNOT([0, 1])], [qml.expval(qml.Z(1)), qml.probs([0])]
        )
        for x in (0.1, 0.2)
    ]
    peer = qml.execute(tapes, device("density"), diff_method=None)
    for one, other in zip(qml.execute(tapes, dev, diff_method=None), peer, strict=True):
        agree(one, other)
    with pytest.raises(DeviceError, match="4,000 Pauli words"):
        qml.QNode(ring, pickle.loads(pickle.dumps(device(wires=16, max_words=4000))))(
            np.ones((2, 16, 3))
        )


def test_density_matrices_are_still_refused_where_they_do_not_fit():
    assert not memory.fits(20, mixed=True)
    with pytest.raises(DeviceError, match=r"needs .* bytes for its density matrices"):
        qml.QNode(chain(20), device("density", 20))(0.1)
