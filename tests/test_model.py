"""QuantumModel: shapes, parameters, states, copies, and how it can be looked at.

That its numbers are right on every device is in `test_roads`; what it refuses is in
`test_errors`.
"""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig, checkpoint
from qstore_pl.layers import BasisEncoding
from qstore_pl.model import ENCODINGS

COPIES = [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
READOUTS = ("affine", "expval")
BITS = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]])


def samples(encoding, n_samples=4):
    """Samples of three features that every model here takes."""
    if encoding == "basis":
        return BITS[:n_samples]
    return np.random.default_rng(1).uniform(-1, 1, (n_samples, 3))


def samples_of(model):
    bits = isinstance(model.layers[0], BasisEncoding)
    return samples("basis" if bits else "angle")


def train(model, epochs=2):
    config = TrainingConfig(epochs=epochs, batch_size=2, learning_rate=0.1, seed=0)
    targets = np.linspace(-1, 1, 4 * model.output_dim).reshape(4, -1)
    return QuantumTrainer(config).train(model, (samples_of(model), targets))


# --- counts and shapes ----------------------------------------------------------


def test_four_qubits_and_two_layers_have_24_weights():
    model = QuantumModel(input_dim=4, output_dim=2, n_layers=2)
    assert model.count_parameters() == model.weights.size == model.parameters.size == 24
    assert model.count_parameters(include_readout=True) == 24


@pytest.mark.parametrize("output_dim", [1, 3])
def test_an_affine_readout_adds_scales_of_1_and_biases_of_0(output_dim):
    model = QuantumModel(4, output_dim, readout="affine", seed=0)
    assert model.count_parameters() == 24
    assert model.count_parameters(include_readout=True) == 24 + 2 * output_dim
    np.testing.assert_array_equal(
        model.parameters[24:], [1] * output_dim + [0] * output_dim
    )
    plain = QuantumModel(4, output_dim, seed=0)
    x = np.random.default_rng(0).uniform(-1, 1, (5, 4))
    np.testing.assert_array_equal(model.forward(x), plain.forward(x))


def test_scales_come_before_biases():
    model = QuantumModel(3, 2, readout="affine", seed=0)
    expectations = QuantumModel(3, 2, seed=0).forward(samples("angle"))
    model.parameters[-4:] = [2.0, 3.0, 10.0, 20.0]
    np.testing.assert_allclose(
        model.forward(samples("angle")),
        expectations * [2.0, 3.0] + [10.0, 20.0],
        rtol=1e-15,
    )


@pytest.mark.parametrize(
    ("input_dim", "n_qubits"),
    [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (64, 6), (65, 7)],
)
def test_amplitude_encoding_takes_the_logarithm_of_the_features(input_dim, n_qubits):
    model = QuantumModel(input_dim, 1, encoding="amplitude")
    assert model.n_qubits == n_qubits
    assert model.n_features == 2**n_qubits
    assert model.count_parameters() == 2 * n_qubits * 3


def test_amplitude_encoding_can_be_given_more_qubits_and_so_more_outputs():
    model = QuantumModel(
        4, 3, n_layers=1, encoding="amplitude", entanglement="linear", n_qubits=3
    )
    model.weights[:] = 0
    x = np.array([[1.0, 2.0, 3.0, 4.0]])
    # The added qubit is the first: the padding leaves it in 0, its CNOT does nothing.
    share = x[0] ** 2 / (x**2).sum()
    second = share[0] + share[1] - share[2] - share[3]
    parity = share[0] - share[1] - share[2] + share[3]  # after CNOT(1, 2)
    np.testing.assert_allclose(model.forward(x), [[1.0, second, parity]], atol=1e-14)


@pytest.mark.parametrize("encoding", [e for e in ENCODINGS if e != "amplitude"])
def test_other_encodings_take_a_qubit_per_feature(encoding):
    model = QuantumModel(3, 1, encoding=encoding)
    assert model.n_qubits == model.n_features == 3
    assert QuantumModel(3, 1, encoding=encoding, n_qubits=3).n_qubits == 3


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("output_dim", [1, 2])
def test_forward_of_one_sample_and_of_a_batch(encoding, readout, output_dim):
    model = QuantumModel(3, output_dim, encoding=encoding, readout=readout, seed=0)
    x = samples(encoding)
    outputs = model.forward(x)
    assert outputs.shape == (4, output_dim)
    assert outputs.dtype == np.float64
    for sample, output in zip(x, outputs, strict=True):
        single = model.forward(sample)
        assert single.shape == (output_dim,)
        np.testing.assert_allclose(single, output, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(model.forward(x.tolist()), outputs)


def test_outputs_belong_to_the_caller():
    model = QuantumModel(3, 2, seed=0)
    first = model.forward(samples("angle"))
    kept = first.copy()
    model.forward(samples("angle") + 1)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("rotation", "XYZ")
def test_axis_and_scale_of_angle_encoding(rotation):
    model = QuantumModel(2, 2, rotation=rotation, scale=0.5, seed=0)

    @qml.qnode(qml.device("default.qubit"))
    def expected(x):
        for i, value in enumerate(x):
            getattr(qml, f"R{rotation}")(0.5 * value, wires=i)
        model.quantum_layer.operation(model.weights.reshape(2, 2, 3), wires=[0, 1])
        return [qml.expval(qml.Z(i)) for i in range(2)]

    x = np.array([0.7, -2.0])
    np.testing.assert_allclose(model.forward(x), expected(x), rtol=0, atol=1e-12)


def test_the_seed_gives_the_first_weights():
    weights = QuantumModel(3, 1, seed=4).parameters
    np.testing.assert_array_equal(weights, QuantumModel(3, 1, seed=4).parameters)
    assert (weights != QuantumModel(3, 1, seed=5).parameters).all()
    assert (QuantumModel(3, 1).parameters != QuantumModel(3, 1).parameters).all()


# --- views ----------------------------------------------------------------------


def assert_views(model):
    """Writing to the model writes to the layer and changes outputs, and back."""
    layer, n = model.quantum_layer, model.n_weights
    x = samples_of(model)
    before = model.forward(x)
    model.parameters[0] += 0.7
    assert layer.parameters[0] == model.weights[0] == model.parameters[0]
    after = model.forward(x)
    assert not np.allclose(after, before, atol=1e-3)
    layer.parameters[0] -= 0.7
    np.testing.assert_allclose(model.forward(x), before, atol=1e-12)
    layer.unfreeze_parameters()
    layer.freeze_parameters([1, n - 1])
    np.testing.assert_array_equal(np.flatnonzero(~model.trainable), [1, n - 1])
    model.trainable[1] = True
    assert layer.trainable[1]
    layer.unfreeze_parameters()
    assert model.trainable.all()


@pytest.mark.parametrize("readout", READOUTS)
def test_the_layer_lives_in_the_models_arrays(readout):
    model = QuantumModel(3, 2, readout=readout, seed=0)
    assert model.quantum_layer.parameters.size == model.n_weights == 18
    assert_views(model)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("copied", COPIES)
def test_also_after_copying(readout, copied):
    model = QuantumModel(3, 2, readout=readout, seed=0)
    parameters = model.parameters.copy()
    assert_views(copied(model))
    assert_views(copied(copied(model)))
    np.testing.assert_array_equal(model.parameters, parameters)
    assert model.trainable.all()


def test_parameters_stay_the_same_array_through_training_and_loading():
    model = QuantumModel(3, 2, seed=0)
    parameters, mask = model.parameters, model.trainable
    state = model.get_state()
    before = parameters.copy()
    train(model)
    assert (parameters != before).any()
    model.load_state(state)
    np.testing.assert_array_equal(parameters, before)
    assert model.parameters is parameters
    assert model.trainable is mask


# --- copies ---------------------------------------------------------------------


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_copy_gives_the_same_outputs_and_trains_on(encoding, copied, used):
    model = QuantumModel(3, 1, encoding=encoding, readout="affine", seed=0)
    if used:
        train(model)
    model.quantum_layer.freeze_parameters([1])
    twin = copied(model)
    x = samples(encoding)
    np.testing.assert_array_equal(twin.forward(x), model.forward(x))
    before = model.parameters.copy()
    assert train(twin)["losses"] == train(copied(model))["losses"]
    np.testing.assert_array_equal(model.parameters, before)
    assert twin.parameters[1] == before[1]
    assert (twin.parameters != before).any()
    train(model)
    np.testing.assert_array_equal(model.parameters, twin.parameters)


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_on_another_device(copied):
    model = QuantumModel(3, 2, backend=qml.device("default.qubit"), seed=0)
    x = samples("angle")
    outputs = model.forward(x)
    np.testing.assert_array_equal(copied(model).forward(x), outputs)


# --- states ---------------------------------------------------------------------


def test_a_state_is_a_copy():
    model = QuantumModel(3, 2, seed=0)
    state = model.get_state()
    model.parameters[:] = 0
    model.quantum_layer.freeze_parameters([0])
    assert state["parameters"].all()
    assert state["trainable"].all()


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_state_comes_back_through_a_file(encoding, readout, tmp_path):
    model = QuantumModel(3, 2, encoding=encoding, readout=readout, seed=0)
    model.quantum_layer.freeze_parameters([3, 4])
    train(model)
    checkpoint.save(tmp_path / "model.npz", model.get_state())
    other = QuantumModel(3, 2, encoding=encoding, readout=readout, seed=1)
    x = samples(encoding)
    assert not np.allclose(other.forward(x), model.forward(x), atol=1e-3)
    other.load_state(checkpoint.load(tmp_path / "model.npz"))
    np.testing.assert_array_equal(other.parameters, model.parameters)
    np.testing.assert_array_equal(other.trainable, model.trainable)
    np.testing.assert_array_equal(other.forward(x), model.forward(x))
    assert_views(other)


MODEL = {"input_dim": 4, "output_dim": 2, "n_layers": 2, "encoding": "angle"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"output_dim": 3}, "output_dim is 2, here 3"),
        ({"input_dim": 5}, "input_dim is 4, here 5; n_qubits is 4, here 5"),
        ({"n_layers": 3}, "n_layers is 2, here 3"),
        ({"encoding": "zz_feature_map"}, "encoding is 'angle', here 'zz_feature_map'"),
        ({"entanglement": "full"}, "entanglement is 'circular', here 'full'"),
        ({"readout": "affine"}, "readout is 'expval', here 'affine'"),
        ({"rotation": "X"}, "rotation is 'Y', here 'X'"),
        ({"scale": 2.0}, "scale is 1.0, here 2.0"),
    ],
)
def test_the_state_of_another_model_is_refused_by_what_differs(changed, words):
    state = QuantumModel(**MODEL, seed=0).get_state()
    other = QuantumModel(**MODEL | changed, seed=1)
    before = other.parameters.copy()
    with pytest.raises(ValueError, match="belongs to another model") as raised:
        other.load_state(state)
    assert words in str(raised.value)
    np.testing.assert_array_equal(other.parameters, before)


# Each would leave another entry half loaded, if it were not looked at first.
BAD_STATES = {
    "no dict": (
        lambda state: [1],
        "entries model, parameters, trainable, but has list",
    ),
    "entry missing": (
        lambda state: {"parameters": state["parameters"]},
        "but has ['parameters']",
    ),
    "entry added": (lambda state: state | {"epoch": 1}, "'epoch'"),
    "too short": (
        lambda state: state | {"parameters": np.zeros(5)},
        "must hold 24 parameters, but holds (5,)",
    ),
    "mask too short": (
        lambda state: state | {"trainable": np.ones(5, bool)},
        "a mask of (5,)",
    ),
    "NaN": (
        lambda state: state | {"parameters": np.full(24, np.nan)},
        "must be finite, but entry (0,) is nan",
    ),
}


@pytest.mark.parametrize(("broken", "words"), BAD_STATES.values(), ids=BAD_STATES)
def test_a_bad_state_changes_nothing(broken, words):
    model = QuantumModel(**MODEL, seed=1)
    before = model.parameters.copy()
    with pytest.raises(ValueError, match="state") as raised:
        model.load_state(broken(QuantumModel(**MODEL, seed=0).get_state()))
    assert words in str(raised.value)
    np.testing.assert_array_equal(model.parameters, before)
    assert model.trainable.all()


# --- looking at it --------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "template"),
    [
        ("angle", "AngleEmbedding"),
        ("amplitude", "|Ψ⟩"),  # PennyLane's sign for a preparation
        ("basis", "BasisEncoding"),
        ("zz_feature_map", "ZZFeatureMap"),
    ],
)
def test_the_qnode_can_be_drawn(encoding, template):
    model = QuantumModel(3, 2, encoding=encoding, seed=0)
    features = model.prepare(samples(encoding))
    drawn = qml.draw(model.qnode, show_matrices=False)(features[0], model.weights)
    assert drawn.count(template) == drawn.count("RotationEntanglerLayers")
    assert drawn.count(template) == model.n_qubits
    assert drawn.count("<Z>") == 2


def test_the_qnode_shows_its_gates():
    model = QuantumModel(3, 1, encoding="zz_feature_map", n_layers=2, seed=0)
    features = model.prepare(samples("zz_feature_map"))
    expanded = qml.transforms.decompose(
        model.qnode, gate_set={"RX", "RY", "RZ", "CNOT", "Hadamard", "PhaseShift"}
    )
    gates = qml.specs(expanded)(features[0], model.weights)["resources"].gate_types
    # Two layers of 3 qubits with 3 CNOTs; two repetitions with 3 pairs.
    assert gates == {
        "RX": 6,
        "RY": 6,
        "RZ": 6,
        "CNOT": 6 + 12,
        "Hadamard": 6,
        "PhaseShift": 6 + 6,
    }


def test_the_qnode_takes_a_sample_or_a_batch():
    model = QuantumModel(3, 2, seed=0)
    x = samples("angle")
    expected = model.forward(x)
    np.testing.assert_allclose(
        np.transpose(model.qnode(x, model.weights)), expected, atol=1e-13
    )
    np.testing.assert_allclose(
        model.qnode(x[0], model.weights), expected[0], atol=1e-13
    )


def test_repr_is_the_call_that_makes_it():
    model = QuantumModel(3, 2, encoding="zz_feature_map", entanglement="full")
    twin = eval(repr(model), {"QuantumModel": QuantumModel})
    assert repr(twin) == repr(model)
    assert "zz_feature_map" in repr(model)
    assert "full" in repr(model)
