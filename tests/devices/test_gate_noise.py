"""What is noisy and what is not: scales, models, presets, templates, add_noise.

The oracle is default.mixed with the noise inserted by PennyLane.
"""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.devices import NoiseSpec, symbols
from qstore_pl.devices.presets import PRESETS
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.templates import BasisEncoding, RotationEntanglerLayers, ZZFeatureMap

# default.mixed casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

WIRES = range(3)
FULL = NoiseSpec(
    p1=0.02,
    p2=0.05,
    t1=50e-6,
    t2=70e-6,
    gate_time_1=2e-6,
    gate_time_2=9e-6,
    excited=0.15,
    dephasing=0.03,
    over_rotation=0.04,
    readout={0: (0.03, 0.08), 2: (0.1, 0.02)},
)
HERMITIAN = np.array([[1, 2j], [-2j, 0.5]])


def gates(x, w):
    for i in WIRES:
        qml.RY(x[..., i], i)
    qml.IsingXY(w[0, 0, 0], [0, 1])
    qml.CRX(w[0, 1, 0], [1, 2])
    qml.Rot(w[0, 0, 1], w[0, 0, 2], w[0, 2, 0], 2)
    qml.CNOT([2, 0])
    qml.T(1)


def strongly(x, w):
    qml.AngleEmbedding(x, WIRES, rotation="Y")
    qml.StronglyEntanglingLayers(w, WIRES)


def basic(x, w):
    qml.AngleEmbedding(x, WIRES, rotation="X")
    qml.BasicEntanglerLayers(w[..., 0], WIRES)


def ours(x, w):
    ZZFeatureMap(x, WIRES, entanglement="linear")
    RotationEntanglerLayers(w, WIRES, entanglement="circular")


def bits(x, w):
    BasisEncoding((x > 0).astype(int), WIRES)
    RotationEntanglerLayers(w, WIRES, entanglement="full")


def amplitudes(x, w):
    vector = qml.math.concatenate([x, x**2, x[..., :2] + 1.0], axis=-1)
    qml.AmplitudeEmbedding(vector, WIRES, normalize=True)
    RotationEntanglerLayers(w, WIRES)


BODIES = [gates, strongly, basic, ours, bits, amplitudes]
EXACT = (
    lambda: qml.expval(qml.Z(0) @ qml.X(1)),
    lambda: qml.expval(qml.Hermitian(HERMITIAN, 1)),
    lambda: qml.var(qml.Y(2)),
    lambda: qml.probs([2, 0]),
)
STATES = (
    qml.state,
    lambda: qml.density_matrix([2, 0]),
    lambda: qml.purity([1]),
    lambda: qml.vn_entropy([0]),
    lambda: qml.mutual_info([0], [1]),
)


def measured(body, *measurements):
    def circuit(x, w):
        body(x, w)
        return tuple(measurement() for measurement in measurements)

    return circuit


def noisy(circuit, noise, **options):
    return qml.QNode(
        circuit, qml.device("qstore.mock_noisy", wires=3, noise=noise, **options)
    )


def written_out(tape):
    """A tape with its templates taken apart, down to gates on one and two wires."""
    templates = ("Embedding", "Layers", "FeatureMap", "Encoding")
    (tape,), _ = qml.devices.preprocess.decompose(
        tape,
        stopping_condition=lambda op: not op.name.endswith(templates),
        skip_initial_state_prep=True,
    )
    return tape


@qml.transform
def templates_apart(tape):
    """Only the first, a preparation, is left whole."""
    return (written_out(tape),), lambda results: results[0]


def mixed(circuit, model=None):
    """default.mixed, with a model's noise after each gate of the templates."""
    qnode = qml.QNode(circuit, qml.device("default.mixed", wires=3))
    if model is None:
        return qnode
    return qml.noise.add_noise(templates_apart(qnode), model, level="user")


def flat(qnode):
    return lambda *a: qml.math.concatenate(
        [qml.math.reshape(r, (-1,)) for r in qnode(*a)]
    )


def jacobians(qnode, x, w):
    return qml.jacobian(flat(qnode), [0, 1])(x, w)


def close(actual, expected, atol=1e-10):
    for one, other in zip(actual, expected, strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


@pytest.fixture
def arguments():
    """Features (3,) and weights (1, 3, 3)."""
    rng = np.random.default_rng(4)
    x, w = rng.uniform(-3, 3, 3), rng.uniform(-3, 3, (1, 3, 3))
    return pnp.array(x, requires_grad=True), pnp.array(w, requires_grad=True)


# -------------------------------------------------------------------- NoiseSpec
@pytest.mark.parametrize(
    ("body", "scale"), [*zip(BODIES, 2 * [1.0, 0.5, 3.0], strict=True)]
)
def test_noise_follows_each_gate_of_the_templates(body, scale, arguments):
    scaled = FULL.scaled(scale)
    circuit = measured(body, *EXACT)
    qnode = noisy(circuit, FULL, noise_scale=scale)
    reference = mixed(circuit, scaled.to_noise_model())
    close(qnode(*arguments), reference(*arguments))
    if body is not bits:  # PennyLane's comparison of bits is not differentiated
        close(jacobians(qnode, *arguments), jacobians(reference, *arguments))
    assert qnode.device.noise == scaled


@pytest.mark.parametrize("name", PRESETS)
def test_presets_by_name(name, arguments):
    circuit = measured(strongly, *EXACT)
    model = devices.presets.preset(name).to_noise_model()
    close(noisy(circuit, name)(*arguments), mixed(circuit, model)(*arguments))


def test_the_default_noise_is_the_default_preset(arguments):
    circuit = measured(strongly, *EXACT)
    device = qml.device("qstore.mock_noisy", wires=3)
    default = qml.QNode(circuit, device)(*arguments)
    close(default, noisy(circuit, "default")(*arguments), atol=0)
    assert device.noise.has_gate_noise
    assert device.noise.has_readout_error


def test_a_state_preparation_has_no_noise(arguments):
    def prepared(x, w):
        qml.StatePrep(np.array([0.6, 0, 0, 0.8]), [0, 1])
        qml.Barrier(WIRES)
        qml.GlobalPhase(0.3)
        qml.Identity(0)
        return qml.purity([0, 1])

    assert noisy(prepared, NoiseSpec(p1=0.1, p2=0.2))(*arguments) == pytest.approx(1.0)


def test_wide_gates_are_decomposed_first():
    def wide():
        qml.Hadamard(0)
        qml.Toffoli([0, 1, 2])
        return qml.purity(WIRES)

    @qml.transform
    def decomposed(tape):
        toffoli = qml.Toffoli([0, 1, 2]).decomposition()
        return (tape.copy(operations=[qml.Hadamard(0), *toffoli]),), lambda r: r[0]

    spec = NoiseSpec(p1=0.01, p2=0.03)
    reference = qml.QNode(wide, qml.device("default.mixed", wires=3))
    reference = qml.noise.add_noise(decomposed(reference), spec.to_noise_model())
    np.testing.assert_allclose(noisy(wide, spec)(), reference(), rtol=0, atol=1e-10)


# ------------------------------------------------------------------------ scale
@pytest.mark.parametrize("noise", ["default", FULL, None, FULL.to_noise_model()])
@pytest.mark.parametrize("body", BODIES)
def test_a_scale_of_zero_is_the_ideal_device(noise, body, arguments):
    circuit = measured(body, *EXACT, *STATES)
    qnode = noisy(circuit, noise, noise_scale=0)
    ideal = qml.QNode(circuit, qml.device("qstore.mock_ideal", wires=3))
    expected = list(ideal(*arguments))
    vector = expected[len(EXACT)]  # a density matrix here whatever the noise
    expected[len(EXACT)] = vector[:, None] * vector.conj()
    close(qnode(*arguments), expected, atol=1e-12)
    if body is not bits:
        qnode, ideal = (
            qml.QNode(measured(body, *EXACT), q.device) for q in (qnode, ideal)
        )
        close(jacobians(qnode, *arguments), jacobians(ideal, *arguments), atol=1e-12)


def test_hardly_any_noise_is_close_to_the_ideal_device(arguments):
    circuit = measured(strongly, *EXACT)
    qnode = noisy(circuit, FULL, noise_scale=1e-9)
    ideal = qml.QNode(circuit, qml.device("qstore.mock_ideal", wires=3))
    close(qnode(*arguments), ideal(*arguments), atol=1e-7)
    close(jacobians(qnode, *arguments), jacobians(ideal, *arguments), atol=1e-7)
    difference = flat(qnode)(*arguments) - flat(ideal)(*arguments)
    assert np.abs(difference).max() > 1e-11


def test_the_state_is_a_density_matrix_whatever_the_noise():
    def circuit():
        qml.Hadamard(0)
        return qml.state()

    def channel():
        qml.BitFlip(0.1, 0)
        return qml.state()

    assert noisy(circuit, None)().shape == (8, 8)
    assert noisy(circuit, FULL, noise_scale=0)().shape == (8, 8)
    assert noisy(circuit, FULL)().shape == (8, 8)
    assert noisy(channel, None)().shape == (8, 8)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"noise": "mars"}, ValueError, "`noise` must be one of .*default.*mars"),
        ({"noise": 3}, TypeError, "`noise` must be the name of a preset"),
        ({"noise_scale": -1}, ValueError, "`noise_scale` must be >= 0"),
        ({"noise_scale": np.nan}, ValueError, "`noise_scale` must be finite"),
        ({"noise_scale": "a"}, TypeError, "`noise_scale` must be a real number"),
        (
            {"noise": FULL.to_noise_model(), "noise_scale": 0.5},
            ValueError,
            "`noise_scale` must be 0 or 1 for a qml.NoiseModel",
        ),
        ({"loudness": 2}, TypeError, "loudness"),
        ({"method": "guess"}, (TypeError, ValueError), "method"),
    ],
)
def test_arguments_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        qml.device("qstore.mock_noisy", wires=1, **options)


# ------------------------------------------------------------------- NoiseModel
@qml.BooleanFn
def is_rotation(op, **_):
    return op.name in ("RX", "RY", "RZ", "Rot")


@qml.BooleanFn
def is_large(op, **_):
    return op.name == "RY" and bool(qml.math.all(qml.math.unwrap(op.data)[0] > 0.5))


@qml.BooleanFn
def is_entangling(op, **_):
    return op.name in ("CNOT", "CRX", "IsingXY")


def damp(op, **_):
    qml.AmplitudeDamping(0.07, wires=op.wires[0])


def correlate(op, **_):
    qml.PauliError("XZ", 0.05, wires=op.wires)
    qml.PhaseDamping(0.1, wires=op.wires[1])


def before(op, **_):
    qml.BitFlip(0.04, wires=op.wires[0])
    qml.apply(op)
    qml.PhaseFlip(0.06, wires=op.wires[0])


def by_angle(op, **_):
    qml.DepolarizingChannel(qml.math.abs(qml.math.sin(op.data[0])) / 5, op.wires)


MODELS = {
    "after": qml.NoiseModel({is_rotation: damp, is_entangling: correlate}),
    "before": qml.NoiseModel({is_rotation: before}),
    "spec": FULL.to_noise_model(),
    "partial": qml.NoiseModel(
        {qml.noise.op_eq(qml.RZ): qml.noise.partial_wires(qml.PhaseFlip, 0.1)}
    ),
}
READS = {
    "angle": qml.NoiseModel({qml.noise.op_eq(qml.RY): by_angle}),
    "condition": qml.NoiseModel({is_large: damp}),
}


def misread(mp, **_):
    for wire in mp.wires:
        qml.BitFlip(0.1, wires=wire)


MEASURED = {
    "meas_map": qml.NoiseModel(
        {is_rotation: damp},
        meas_map={qml.noise.meas_eq(qml.expval(qml.Z(0) @ qml.X(1))): misread},
    ),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", MODELS | READS)
def test_a_noise_model_is_the_same_on_default_mixed(name, body, arguments):
    model = (MODELS | READS)[name]
    circuit = measured(body, *EXACT)
    qnode, reference = noisy(circuit, model), mixed(circuit, model)
    close(qnode(*arguments), reference(*arguments))
    if body is not bits:
        close(jacobians(qnode, *arguments), jacobians(reference, *arguments))
    assert qnode.device.noise is model


def test_a_model_with_noise_at_measurements(arguments):
    model = MEASURED["meas_map"]
    circuit = measured(gates, EXACT[0])
    qnode, reference = noisy(circuit, model), mixed(circuit, model)
    close(qnode(*arguments), reference(*arguments))
    perfect = noisy(circuit, qml.NoiseModel({is_rotation: damp}))
    assert abs(qnode(*arguments)[0] - perfect(*arguments)[0]) > 1e-3


def test_a_model_that_reads_values_is_applied_anew_to_each_tape():
    def circuit(x):
        qml.RY(x, 0)
        return qml.purity([0])

    qnode = noisy(circuit, READS["condition"])
    assert qnode(0.3) == pytest.approx(1.0)
    assert qnode(0.9) < 0.999
    assert qnode(0.4) == pytest.approx(1.0)


# --------------------------------------------------------------- compiled road
def compiled(noise, body, **options):
    tape = qml.tape.make_qscript(measured(body, *EXACT[:1]))(
        np.full(3, 0.1), np.full((1, 3, 3), 0.1)
    )
    inputs = [symbols("features", 0, (3,)), symbols("weights", 0, (1, 3, 3))]
    device = qml.device("qstore.mock_noisy", wires=3, noise=noise, **options)
    return devices.compile(tape, inputs, device, n_weights=9, n_features=3)


TEMPLATES = [strongly, ours]


@pytest.mark.parametrize("body", TEMPLATES)
@pytest.mark.parametrize("name", ["NoiseSpec", *MODELS])
def test_the_compiled_road_is_the_qnode_road(name, body, arguments):
    noise = FULL if name == "NoiseSpec" else MODELS[name]
    if name == "spec":
        noise = NoiseSpec(**NOT_ROTATED).to_noise_model()
    x, w = (np.asarray(a) for a in arguments)
    program = compiled(noise, body)
    assert isinstance(program, MixedProgram)
    weights, features = w.reshape(-1), np.stack([x, 2 * x])
    out = program.run(weights, features)
    circuit = measured(body, *EXACT[:1])
    reference = mixed(circuit, noise if name != "NoiseSpec" else FULL.to_noise_model())
    for row, sample in zip(out, features, strict=True):
        close(noisy(circuit, noise)(sample, w), row)
        close(reference(sample, w), row)
    gw, gx = program.vjp(weights, features[:1], np.ones((1, 1)), inputs=True)
    by_x, by_w = jacobians(reference, *arguments)
    close([gx[0], gw], [by_x[0], by_w[0].reshape(-1)])


NOT_ROTATED = {"p1": 0.02, "p2": 0.05, "dephasing": 0.03}


@pytest.mark.parametrize("name", READS | MEASURED)
def test_noise_that_reads_values_or_measurements_is_not_compiled(name):
    def rotations(x, w):
        qml.AngleEmbedding(x, WIRES, rotation="Y")
        qml.StronglyEntanglingLayers(w, WIRES)

    assert compiled((READS | MEASURED)[name], rotations) is None


def test_without_noise_the_program_is_that_of_pure_states():
    program = compiled(FULL, strongly, noise_scale=0)
    assert program is not None
    assert not isinstance(program, MixedProgram)


# ------------------------------------------------------------ add_noise by hand
LEVELS = ["top", "user", "gradient", "device", 0, 5]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("body", [gates, strongly, basic, ours])
def test_add_noise_on_a_device_without_noise(body, level, arguments):
    """On the device templates are written out; before that add_noise has its ways."""
    model = MODELS["after"] + qml.NoiseModel({is_template: damp})
    circuit = measured(body, *EXACT)
    qnode = qml.noise.add_noise(noisy(circuit, None), model, level=level)
    reference = mixed(circuit)
    if level in ("device", 5):  # the fifth transform is past the decomposition
        reference, level = templates_apart(reference), "user"
    reference = qml.noise.add_noise(reference, model, level=level)
    close(qnode(*arguments), reference(*arguments))
    close(jacobians(qnode, *arguments), jacobians(reference, *arguments))


@qml.BooleanFn
def is_template(op, **_):
    return op.name.endswith(("Embedding", "Layers", "FeatureMap"))


@pytest.mark.parametrize("body", [strongly, basic, ours])
def test_noise_at_the_level_of_the_device_is_never_silent(body, arguments):
    model = NoiseSpec(p1=0.03, p2=0.1).to_noise_model()
    circuit = measured(body, lambda: qml.purity(WIRES))
    qnode = qml.noise.add_noise(noisy(circuit, None), model, level="device")
    assert qnode(*arguments)[0] < 0.9


def test_noise_of_the_device_comes_on_top_of_noise_by_hand():
    def circuit():
        qml.X(0)
        return qml.expval(qml.Z(0))

    flips = qml.NoiseModel(
        {qml.noise.op_eq(qml.X): qml.noise.partial_wires(qml.BitFlip, 0.1)}
    )
    twice = qml.noise.add_noise(noisy(circuit, NoiseSpec(p1=0.03)), flips)
    # Depolarizing keeps 1 - 4p/3 of <Z>, a flip of probability p keeps 1 - 2p.
    assert twice() == pytest.approx(-(1 - 4 * 0.03 / 3) * (1 - 2 * 0.1))


def test_a_model_on_a_wire_the_circuit_lacks_is_refused_when_compiled():
    model = qml.NoiseModel({is_rotation: lambda op, **_: qml.BitFlip(0.1, wires="z")})
    with pytest.raises(DeviceError, match="wire 'z', which the circuit does not have"):
        compiled(model, strongly)


READING = {
    "a sign": lambda op: bool(op.data[0] < 0),
    "a number": lambda op: float(np.asarray(op.data[0])) < 2,
    "a function": lambda op: qml.math.cos(op.data[0]) > 0.5,
    "a matrix": lambda op: op.matrix()[0, 0].real > 0.5,
    "an equality": lambda op: op.data[0] == 1.25,
}


@pytest.mark.parametrize("name", READING)
def test_however_a_condition_reads_values_it_is_not_compiled(name):
    reads = READING[name]
    condition = qml.BooleanFn(lambda op, **_: op.name == "RX" and reads(op))
    model = qml.NoiseModel({condition: lambda op, **_: qml.BitFlip(0.2, op.wires)})
    device = qml.device("qstore.mock_noisy", wires=1, noise=model)
    tape = qml.tape.QuantumScript([qml.RX(0.7, 0)], [qml.expval(qml.Z(0))])
    inputs = [symbols("weights", 0, ())]
    assert devices.compile(tape, inputs, device, n_weights=1, n_features=0) is None


def test_another_gate_of_the_same_name_beside_a_gate_is_not_compiled():
    # add_noise takes the one that is equal for the gate itself.
    model = qml.NoiseModel({qml.noise.op_eq(qml.RX): lambda op, **_: qml.RX(0.1, 0)})
    device = qml.device("qstore.mock_noisy", wires=1, noise=model)
    tape = qml.tape.QuantumScript([qml.RX(0.7, 0)], [qml.expval(qml.Z(0))])
    inputs = [symbols("weights", 0, ())]
    assert devices.compile(tape, inputs, device, n_weights=1, n_features=0) is None


@pytest.mark.parametrize("scale", [1, 3, 5])
def test_folded_gates_have_the_noise_of_the_gates(scale):
    """PennyLane writes adjoint(RX(a)) as RX(-a), and noise follows it as any RX."""
    model = qml.NoiseModel(
        {
            qml.noise.op_eq(qml.RX): lambda op, **_: qml.DepolarizingChannel(
                0.05, op.wires
            ),
            qml.noise.op_eq(qml.CNOT): lambda op, **_: qml.BitFlip(0.05, op.wires[0]),
        }
    )

    def circuit():
        qml.RX(0.3, 0)
        qml.CNOT([0, 1])
        return qml.density_matrix([0, 1])

    theirs = qml.noise.add_noise(qml.device("default.mixed", wires=2), model)
    ours = qml.device("qstore.mock_noisy", wires=2, noise=model)
    folded = [
        qml.noise.fold_global(qml.QNode(circuit, device), scale)()
        for device in (ours, theirs)
    ]
    close(*folded)


@pytest.mark.parametrize("gate", [qml.ECR, qml.SISWAP, qml.PSWAP])
def test_two_wire_gates_are_one_gate_each(gate, arguments):
    def circuit():
        qml.RX(0.4, 0)
        qml.RY(0.9, 1)
        gate(*[0.3] * gate.num_params, wires=[0, 1])
        return qml.density_matrix([0, 1])

    spec = NoiseSpec(p1=0.02, p2=0.1, over_rotation=0.1)
    theirs = qml.noise.add_noise(
        qml.QNode(circuit, qml.device("default.mixed", wires=2)), spec.to_noise_model()
    )
    ours = qml.QNode(circuit, qml.device("qstore.mock_noisy", wires=2, noise=spec))
    close(ours(), theirs())
    with qml.Tracker(ours.device) as tracker:
        ours()
    assert tracker.totals["executions"] == 1
