"""Models of any layers: what they are made of, what they see, and what is refused.

That their numbers are right is in `tests/laws/test_stacks.py`.
"""

import copy
import pickle
import warnings

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    AmplitudeEncoding,
    AngleEncoding,
    BasisEncoding,
    CheckpointError,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    UnseenWarning,
    ZZEncoding,
    devices,
)
from qstore_pl.circuit import Block, Features, Weights
from qstore_pl.layers import Encoding, Layer
from qstore_pl.placed import traced
from qstore_pl.readout import Affine, ExpectationValues, Probabilities, Readout
from qstore_pl.summary import listed
from tests.cases import READOUTS, Couplings, Squares, Trained, random_model

X = np.random.default_rng(0).uniform(-1, 1, (6, 4))


def model_of(*layers, input_dim=4, output_dim=2, **options):
    return QuantumModel(input_dim, output_dim, layers=layers, seed=0, **options)


# --- what the words mean --------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ({}, AngleEncoding()),
        ({"rotation": "ZX", "scale": 2.0}, AngleEncoding("ZX", 2.0)),
        ({"encoding": "amplitude"}, AmplitudeEncoding()),
        ({"encoding": "basis"}, BasisEncoding()),
        ({"encoding": "zz_feature_map"}, ZZEncoding()),
    ],
)
def test_words_are_a_list_of_two_layers(words, first):
    of_words = QuantumModel(4, 2, 3, entanglement="full", seed=1, **words)
    layers = [first, QuantumLayer(n_layers=3, entanglement="full")]
    of_layers = QuantumModel(4, 2, layers=layers, seed=1)
    np.testing.assert_array_equal(of_words.parameters, of_layers.parameters)
    samples = np.eye(4)
    np.testing.assert_array_equal(of_words(samples), of_layers(samples))
    assert of_words.layers[0].options() == first.options()


def test_parameters_come_layer_by_layer_and_the_readout_last():
    layers = [AngleEncoding(), QuantumLayer(n_layers=1), Couplings(), QuantumLayer()]
    model = model_of(*layers, readout="affine")
    assert [layer.n_weights for layer in model.layers] == [0, 12, 6, 24]
    assert (model.n_weights, model.parameters.size) == (42, 46)
    for layer, first in zip(model.layers[1:], (0, 12, 18), strict=True):
        end = first + layer.n_weights
        assert np.shares_memory(layer.parameters, model.parameters[first:end])
        np.testing.assert_array_equal(layer.parameters, model.parameters[first:end])
    model.layers[2].freeze_parameters([1])
    assert np.flatnonzero(~model.trainable).tolist() == [13]


def test_the_models_seed_draws_what_layers_leave_open():
    own = QuantumLayer(n_layers=1, seed=3)
    models = [
        model_of(AngleEncoding(), QuantumLayer(n_layers=1), own) for _ in range(2)
    ]
    np.testing.assert_array_equal(models[0].parameters, models[1].parameters)
    drawn = 0.1 * np.random.default_rng(3).standard_normal(12)
    np.testing.assert_array_equal(models[0].parameters[12:], drawn)


def test_a_layer_brings_the_weights_it_has():
    layer = QuantumLayer(4, 1, seed=0)
    layer.parameters[2] = 0.7
    layer.freeze_parameters([2])
    model = model_of(AngleEncoding(), layer)
    np.testing.assert_array_equal(model.parameters, layer.parameters)
    assert np.flatnonzero(~model.trainable).tolist() == [2]
    model.parameters[2] = 0.0  # the model has a copy
    assert layer.parameters[2] == 0.7


def test_a_layer_that_comes_twice_shares_its_weights():
    layer = QuantumLayer(n_layers=1)
    shared = model_of(AngleEncoding(), layer, layer)
    assert shared.n_weights == 12
    assert shared.layers[1] is shared.layers[2]
    apart = model_of(
        AngleEncoding(), QuantumLayer(n_layers=1), QuantumLayer(n_layers=1)
    )
    apart.parameters[:] = np.tile(shared.parameters, 2)
    np.testing.assert_allclose(shared(X), apart(X), rtol=0, atol=1e-14)
    for twin in (copy.deepcopy(shared), pickle.loads(pickle.dumps(shared))):
        assert twin.layers[1] is twin.layers[2]
        twin.parameters[0] = 2.0
        assert twin.layers[2].parameters[0] == 2.0


# --- features and qubits --------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "input_dim", "n_qubits"),
    [
        (AngleEncoding(), 3, 3),
        (AngleEncoding("XY"), 3, 2),
        (AngleEncoding("XYZ"), 7, 3),
        (AngleEncoding(features=[4, 0]), 5, 2),
        (AmplitudeEncoding(), 5, 3),
        (ZZEncoding(), 2, 2),
    ],
)
def test_as_many_qubits_as_the_encoding_needs(encoding, input_dim, n_qubits):
    layers = [encoding, QuantumLayer()]
    assert QuantumModel(input_dim, 1, layers=layers).n_qubits == n_qubits


def test_several_axes_on_a_wire():
    model = model_of(AngleEncoding("YZ"), input_dim=3, observables=[qml.X(0), qml.Z(1)])

    @qml.qnode(qml.device("default.qubit", wires=2))
    def circuit(x):
        qml.RY(x[0], 0)
        qml.RY(x[1], 1)
        qml.RZ(x[2], 0)
        return qml.expval(qml.X(0)), qml.expval(qml.Z(1))

    x = np.array([0.3, 0.7, -1.1])
    np.testing.assert_allclose(model(x), circuit(x), rtol=0, atol=1e-12)


def test_features_can_be_uploaded_in_turn():
    layers = [
        AngleEncoding(features=range(2)),
        QuantumLayer(n_layers=1),
        AngleEncoding(features=range(2, 4)),
        QuantumLayer(n_layers=1),
    ]
    model = model_of(*layers)
    assert model.n_qubits == 2
    np.testing.assert_array_equal(model.prepare(X), X)
    assert model.summary().unseen_features == ()


def test_fewer_features_than_qubits_leave_the_others_in_0():
    model = QuantumModel(2, 4, n_qubits=4, n_layers=1, seed=0)
    model.weights[:] = 0.0
    outputs = model(np.array([0.4, 1.3]))
    a, b = np.cos([0.4, 1.3])  # CNOTs in a ring add up
    np.testing.assert_allclose(outputs, [b, a * b, a * b, a * b], rtol=0, atol=1e-12)


# --- what is seen ---------------------------------------------------------------


UNSEEN = [
    # The cases that were found in use, with the numbers that were measured there.
    ((10, 2, 2), {"entanglement": "linear"}, "features 3-9", 47),
    ((4, 2, 2), {"entanglement": "linear"}, "feature 3 ", 11),
    ((8, 1, 1), {"entanglement": "full"}, "features 1-7", 22),
]


@pytest.mark.parametrize(("sizes", "words", "features", "n_weights"), UNSEEN)
def test_what_no_output_sees_is_said_once(sizes, words, features, n_weights):
    with pytest.warns(UnseenWarning, match=f"the {features}") as said:
        model = QuantumModel(*sizes, **words)
    assert len(said) == 1
    assert "model.summary()" in str(said[0].message)
    assert said[0].filename == __file__
    assert len(model.summary().unseen_weights) == n_weights


def test_the_default_sees_all_features_from_two_layers_on():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(1, 8):
            for n_outputs in range(1, n + 1):
                model = QuantumModel(n, n_outputs)
                assert model.summary().unseen_features == ()


def test_a_weight_that_changes_nothing_is_said():
    # Before the last CNOT Z Z is Z on wire 1, so an RZ one CNOT earlier may commute
    # with all that is measured.
    with pytest.warns(UnseenWarning, match="on the weights 14, 18-20, 23, whatever"):
        QuantumModel(2, 1, n_layers=4, observables=[qml.Z(0) @ qml.Z(1)])


@pytest.mark.parametrize("seed", range(40))
def test_nothing_outside_the_light_cone_has_a_gradient(seed):
    rng = np.random.default_rng([3, seed])
    model = random_model(rng, list(READOUTS)[seed % len(READOUTS)])
    summary = model.summary()
    features = model.prepare(np.eye(model.input_dim)[[0]])
    features[:] = rng.uniform(-1, 1, features.shape)
    program = model.placed.program
    cones = devices.light_cones(
        *traced(model, range(model.n_qubits)),
        n_weights=model.n_weights,
        n_features=model.n_features,
    )
    seen_x = np.zeros(model.n_features, bool)
    seen_w = np.zeros(model.n_weights, bool)
    for k in range(program.n_outputs):
        weights = rng.uniform(-3, 3, model.n_weights)
        unit = np.eye(program.n_outputs)[[k]]
        by_w, by_x = program.vjp(weights, features, unit, inputs=True)
        cone_x = np.flatnonzero(np.abs(by_x[0]) > 1e-12)
        cone_w = np.flatnonzero(np.abs(by_w) > 1e-12)
        assert set(cone_x) <= cones.features[k]
        assert set(cone_w) <= cones.weights[k]
        seen_x[cone_x] = seen_w[cone_w] = True
    assert not seen_w[list(summary.unseen_weights)].any()


def test_a_summary_counts():
    layer = QuantumLayer(n_layers=1)
    layers = [AngleEncoding(), layer, ZZEncoding(), layer]
    model = model_of(*layers, input_dim=3, readout="affine")
    model.layers[1].freeze_parameters([0, 1])
    summary = model.summary()
    assert [row.n_weights for row in summary.rows] == [0, 9, 0, 0]
    assert [row.n_trainable for row in summary.rows] == [0, 7, 0, 0]
    # PhaseShifts and Hadamards; pairs of CNOTs.
    assert [row.n_gates for row in summary.rows] == [(3, 0), (9, 3), (18, 12), (9, 3)]
    assert summary.total.n_gates == (39, 18)
    assert (summary.n_readout, summary.n_readout_trainable) == (4, 4)
    gates = qml.transforms.decompose(
        model.qnode, gate_set={"RX", "RY", "RZ", "CNOT", "Hadamard", "PhaseShift"}
    )
    specs = qml.specs(gates)(model.prepare(X[:1, :3])[0], model.weights)["resources"]
    assert sum(specs.gate_types.values()) == 57
    assert specs.depth == summary.total.depth
    text = str(summary)
    assert "ZZEncoding()" in text
    assert "39 + 18" in text
    assert "each output can depend on 3 features" in text
    assert repr(summary) == text


def test_positions_are_listed_by_their_ends():
    assert listed([]) == ""
    assert listed([3]) == "3"
    assert listed([0, 1, 4, 5, 6, 9]) == "0, 1, 4-6, 9"


# --- readouts -------------------------------------------------------------------


def test_probabilities_sum_to_1_and_train():
    model = QuantumModel(4, 4, readout="probs", seed=0)
    outputs = model(X)
    np.testing.assert_allclose(outputs.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    labels = np.array([0, 1, 2, 3, 0, 1])
    config = TrainingConfig(
        epochs=30, learning_rate=0.1, loss="cross_entropy", batch_size=6, seed=0
    )
    history = QuantumTrainer(config).train(model, (X, labels))
    assert history["losses"][-1] < history["losses"][0]


def test_what_is_not_compiled_runs_elsewhere():
    model = QuantumModel(9, 512, n_layers=1, readout="probs", backend="default.qubit")
    outputs = model(np.zeros((2, 9)))
    np.testing.assert_allclose(outputs.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    model.backend = "mock_ideal"
    with pytest.raises(ValueError, match="probabilities of at most 8 wires"):
        model(np.zeros((2, 9)))


@pytest.mark.parametrize("method", ["parameter_shift", "finite_diff"])
@pytest.mark.parametrize("readout", [Probabilities(), Affine(Probabilities())])
def test_every_gradient_method_takes_probabilities(method, readout):
    from qstore_pl import QuantumGradientComputer

    model = QuantumModel(2, 2, readout=readout, seed=0)
    targets = np.array([[0.2, 0.8], [0.6, 0.4]])
    seen = [
        QuantumGradientComputer(method=name).compute_gradients(
            model, model.parameters, inputs=X[:2, :2], targets=targets, loss="mse"
        )
        for name in ("adjoint", method)
    ]
    np.testing.assert_allclose(seen[1].gradients, seen[0].gradients, rtol=0, atol=1e-8)


def test_predict_gives_classes_or_values_by_the_loss(tmp_path):
    X2 = X[:, :2]
    model = QuantumModel(2, 2, seed=0)
    with pytest.raises(ValueError, match="trained before it can predict"):
        model.predict(X2)
    config = TrainingConfig(epochs=1, loss="cross_entropy", seed=0)
    QuantumTrainer(config).train(model, (X2, [0, 1, 0, 1, 0, 1]))
    classes = model.predict(X2)
    assert classes.dtype.kind == "i"
    np.testing.assert_array_equal(classes, model(X2).argmax(axis=1))
    assert model.predict(X2[0]) == classes[0]
    model.save(tmp_path / "model.qstore")
    twin = QuantumModel.from_checkpoint(tmp_path / "model.qstore")
    np.testing.assert_array_equal(twin.predict(X2), classes)
    values = QuantumModel(2, 2, seed=0)
    QuantumTrainer(TrainingConfig(epochs=1)).train(values, (X2, X2))
    np.testing.assert_array_equal(values.predict(X2), values(X2))


def test_one_output_is_class_1_where_it_is_positive():
    model = QuantumModel(2, 1, seed=0)
    config = TrainingConfig(epochs=1, loss="hinge", seed=0)
    QuantumTrainer(config).train(model, (X[:, :2], [1, -1, 1, -1, 1, -1]))
    outputs = model(X[:, :2])[:, 0]
    np.testing.assert_array_equal(model.predict(X[:, :2]), (outputs > 0).astype(int))


# --- files ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "readout",
    [
        "affine",
        "probs",
        Probabilities([1]),
        Affine(ExpectationValues([qml.Z(0) @ qml.X(1), 0.5 * qml.Z(1) + qml.I(0)])),
        ExpectationValues(
            [qml.Hermitian(np.array([[1.0, 2j], [-2j, 0]]), 1), qml.Y(0)]
        ),
    ],
    ids=str,
)
def test_a_file_makes_the_model_again(readout, tmp_path):
    layer = QuantumLayer(n_layers=1)
    layers = [AngleEncoding("YZ", 0.5), layer, AngleEncoding(features=[1]), layer]
    model = model_of(*layers, input_dim=3, readout=readout)
    model.layers[1].freeze_parameters([3])
    model.save(tmp_path / "model.qstore")
    twin = QuantumModel.from_checkpoint(tmp_path / "model.qstore")
    np.testing.assert_array_equal(twin.parameters, model.parameters)
    np.testing.assert_array_equal(twin.trainable, model.trainable)
    np.testing.assert_allclose(twin(X[:, :3]), model(X[:, :3]), rtol=0, atol=1e-14)
    assert twin.layers[1] is twin.layers[3]
    twin.save(tmp_path / "twin.qstore")
    files = [(tmp_path / name).read_bytes() for name in ("model.qstore", "twin.qstore")]
    assert files[0] == files[1]


def test_a_file_of_users_classes_needs_them(tmp_path):
    layers = [Trained(), Couplings()]
    model = model_of(*layers, input_dim=3, readout=Squares())
    model.save(tmp_path / "model.qstore")
    path = tmp_path / "model.qstore"
    with pytest.raises(CheckpointError, match=r"Trained is none .* pass layers="):
        QuantumModel.from_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"Squares is none .* pass readout="):
        QuantumModel.from_checkpoint(path, layers=layers)
    twin = QuantumModel.from_checkpoint(path, layers=layers, readout=Squares())
    np.testing.assert_array_equal(twin(X[:, :3]), model(X[:, :3]))
    with pytest.raises(CheckpointError, match="belongs to another model"):
        QuantumModel.from_checkpoint(path, layers=[Trained()], readout=Squares())


# --- what a user writes ---------------------------------------------------------


@pytest.mark.parametrize("backend", ["mock_ideal", "mock_noisy"])
def test_a_layer_an_encoding_a_template_and_a_readout_of_a_user_train(backend):
    model = model_of(
        Trained(), Couplings(), QuantumLayer(n_layers=1), input_dim=3,
        readout=Squares(), backend=backend,
    )  # fmt: skip
    assert model.placed.program is not None
    config = TrainingConfig(epochs=20, learning_rate=0.1, batch_size=6, seed=0)
    history = QuantumTrainer(config).train(model, (X[:, :3], X[:, :2] ** 2))
    assert history["losses"][-1] < 0.7 * history["losses"][0]


def test_a_quantum_function_can_be_a_block():
    def both(feature, weight, wires):
        qml.RY(weight * feature, wires=wires[0])
        qml.RZ(feature - weight, wires=wires[0])
        qml.Hadamard(wires[0])

    class Scaled(Encoding):
        def blocks(self, wires):
            return [Block(both, wires[:1], [Features(0), Weights(0)])]

    model = model_of(Scaled(), input_dim=1, output_dim=1)
    expected = model([[0.4], [1.1]])
    model.backend = "default.qubit"
    np.testing.assert_allclose(model([[0.4], [1.1]]), expected, rtol=0, atol=1e-12)


# --- what is refused ------------------------------------------------------------


class Wild(Layer):
    def blocks(self, wires):
        return [
            Block(lambda w, wires: qml.RX(np.sign(w), wires), wires[:1], [Weights()])
        ]


class Elsewhere(Layer):
    def blocks(self, wires):
        return [Block(qml.RX, [7], [Weights()])]


class Growing(Layer):
    """Another number of weights on other wires."""

    def blocks(self, wires):
        return [Block(qml.RX, [w], [Weights(w)]) for w in wires]

    def keeps(self, wires):
        return wires[1:]


class WrongRows(Encoding):
    def blocks(self, wires):
        return [Block(qml.RX, wires[:1], [Features(2)])]


class OnDroppedWires(Readout):
    def measurements(self, wires, output_dim):
        return [qml.expval(qml.Z(0))]


class MeasuresVariance(Readout):
    def measurements(self, wires, output_dim):
        return [qml.var(qml.Z(0))]


A, L = AngleEncoding, QuantumLayer
REFUSED = {
    "no layers": (lambda: model_of(), ValueError, "must have an encoding"),
    "no encoding": (lambda: model_of(L()), ValueError, r"Begin with AngleEncoding\(\)"),
    "no layer": (lambda: model_of(A(), qml.X(0)), TypeError, "qstore_pl.layers.Layer"),
    "a class": (lambda: model_of(A, L()), TypeError, r"the class AngleEncoding"),
    "no list": (lambda: QuantumModel(2, 1, layers=A()), TypeError, "a list of layers"),
    "ignored words": (
        lambda: model_of(A(), n_layers=3, rotation="X"),
        ValueError,
        "`n_layers`, `rotation` must be left out with `layers`",
    ),
    "ignored observables": (
        lambda: QuantumModel(2, 2, readout="probs", observables=[qml.Z(0)]),
        ValueError,
        r"left out for readout='probs'",
    ),
    "an unknown readout": (
        lambda: QuantumModel(2, 1, readout="softmax"),
        ValueError,
        'one of "affine", "expval", "probs", or a Readout',
    ),
    "no readout": (lambda: QuantumModel(2, 1, readout=3), TypeError, "a word or a"),
    "no observable": (
        lambda: QuantumModel(2, 1, observables=[qml.RX(0.1, 0)]),
        TypeError,
        "must hold PennyLane observables, but has RX",
    ),
    "observables for other outputs": (
        lambda: QuantumModel(2, 2, observables=[qml.Z(0)]),
        ValueError,
        r"`output_dim` must be 1, the outputs of ExpectationValues\(\[Z\(0\)\]\)",
    ),
    "an observable on another wire": (
        lambda: QuantumModel(2, 1, observables=[qml.Z(5)]),
        ValueError,
        r"wires out of \[0, 1\].*measures \[5\]",
    ),
    "outcomes that are no power of 2": (
        lambda: QuantumModel(3, 3, readout="probs"),
        ValueError,
        "power of 2",
    ),
    "scales for other values": (
        lambda: QuantumModel(3, 2, readout=Affine(Probabilities([0, 1]))),
        ValueError,
        "`output_dim` must be 4",
    ),
    "a readout within a readout of a user": (
        lambda: Affine(Squares()), TypeError, "ExpectationValues or Probabilities",
    ),
    "a wire that was given away": (
        lambda: model_of(A(), Growing(), readout=OnDroppedWires(), output_dim=1),
        ValueError,
        r"wires out of \[1, 2, 3\]",
    ),
    "a variance": (
        lambda: model_of(A(), readout=MeasuresVariance(), output_dim=1),
        TypeError,
        r"qml.expval\(observable\) or qml.probs",
    ),
    "blocks on wires that are not given": (
        lambda: model_of(A(), Elsewhere()), ValueError, r"wires it is given, \[0, 1, 2",
    ),
    "other weights the second time": (
        lambda: model_of(A(), *[Growing()] * 2, n_qubits=4, output_dim=1)
        and model_of(A(), *[Wider()] * 2, n_qubits=4, output_dim=1),
        ValueError,
        "the same weights wherever it stands",
    ),
    "rows of another width": (
        lambda: model_of(WrongRows(), input_dim=2, output_dim=1)(X[:, :2]),
        ValueError,
        r"as shape \(6, 3\), but gives shape \(6, 2\)",
    ),
    "a sign": (
        lambda: model_of(A(), Wild()).placed.program,
        qml.exceptions.DeviceError,
        "takes sign of an input",
    ),
    "a layer of other qubits": (
        lambda: model_of(A(), L(3), n_qubits=4), ValueError, "must be 4, the wires it",
    ),
    "features that are not there": (
        lambda: model_of(A(features=[4])), ValueError, "from 0 to 3, but has 4",
    ),
    "no features": (lambda: A(features=[]), ValueError, "must name a feature"),
    "no axis": (lambda: A("W"), ValueError, "`rotation` must be one of"),
    "more features than fit": (
        lambda: QuantumModel(5, 1, n_qubits=4),
        ValueError,
        r'several axes, as AngleEncoding\("YZ"\), or in two uploads',
    ),
    "layers without weights": (
        lambda: Couplings().parameters, ValueError, "before a model is built of it",
    ),
    "a layer without qubits": (
        lambda: L().circuit, ValueError, "must be given for a QuantumLayer on its own",
    ),
    "several layers": (
        lambda: model_of(A(), L(), L()).quantum_layer, ValueError, r"model.layers\[i\]",
    ),
    "an operation that is none": (lambda: Block("RX", [0]), TypeError, "operation's"),
    "a negative weight": (lambda: Weights(-1), ValueError, "`first` must be >= 0"),
}  # fmt: skip


class Wider(Layer):
    """Has more weights on later wires."""

    def blocks(self, wires):
        return [
            Block(qml.RX, [w], [Weights(4 - len(wires) + i)])
            for i, w in enumerate(wires)
        ] + [Block(qml.RY, wires[:1], [Weights(8 - len(wires))])]

    def keeps(self, wires):
        return wires[1:]


@pytest.mark.parametrize(("make", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
