"""report: splits, scores and intervals against scikit-learn's and scipy's own."""

import json
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pennylane as qml
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from qstore_pl import (
    AngleEncoding,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
)
from qstore_pl.baselines import BASELINES, report
from qstore_pl.baselines.classical import fitted, n_parameters, untrained
from qstore_pl.baselines.comparison import fresh
from qstore_pl.baselines.results import Report, row_of

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (120, 2)) * [1.0, 10.0]
Y = (X[:, 0] * X[:, 1] > 0).astype(int)
NUMBERS = np.stack([X[:, 0] + X[:, 1] / 10, X[:, 0] * X[:, 1] / 10], axis=1)
SETTINGS = {"epochs": 20, "learning_rate": 0.1, "loss": "binary", "batch_size": 30}
SEEDS = [3, 8, 11, 12]


def quantum(**options):
    return QuantumModel(2, 1, 3, **{"readout": "affine", "seed": 0} | options)


@pytest.fixture(scope="module")
def found():
    """Every baseline, on data that no linear model can tell apart."""
    settings = {"config": TrainingConfig(**SETTINGS), "seeds": SEEDS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qstore_pl.baselines.classical.N_EPOCHS", 20)
        return report(quantum(), (X, Y), baselines=BASELINES, **settings)


def split_of(seed, targets=Y, stratify=Y, scaler=StandardScaler):
    rows = train_test_split(
        np.arange(120), test_size=0.25, stratify=stratify, random_state=seed
    )
    scale = scaler().fit(X[rows[0]]).transform
    return [(scale(X[part]), targets[part]) for part in rows]


def test_rows(found):
    assert [row.name for row in found.rows] == ["model", *BASELINES]
    assert (found.score, found.n_train, found.n_test) == ("accuracy", 90, 30)
    assert found.rows[0].difference == found.rows[0].difference_half_width == 0.0
    assert all(len(row.scores) == 4 and row.seconds > 0 for row in found.rows)


def test_the_model_is_trained_on_each_split(found):
    scores = []
    for seed in SEEDS:
        train, (inputs, targets) = split_of(seed)
        own = fresh(quantum(), seed)
        QuantumTrainer(TrainingConfig(seed=seed, **SETTINGS)).train(own, train)
        scores.append(np.mean(own.predict(inputs) == targets))
    assert found.rows[0].scores == pytest.approx(scores)
    assert found.rows[0].mean > 0.8
    # RX, RY, RZ of 3 layers on 2 qubits, but the last RZ of each, scale and bias.
    summary = quantum().summary()
    assert found.rows[0].n_parameters == 20 - len(summary.unseen_weights)


@pytest.mark.parametrize(
    ("word", "made"), [("linear", LogisticRegression), ("svm", SVC)]
)
def test_classical_scores_are_scikit_learns(found, word, made):
    scores = []
    for seed in SEEDS:
        train, test = split_of(seed)
        scores.append(made().fit(*train).score(*test))
    (row,) = (row for row in found.rows if row.name == word)
    assert row.scores == pytest.approx(scores)
    differences = np.array(found.rows[0].scores) - scores
    quantile = stats.t.ppf(0.975, 3)
    assert row.difference == pytest.approx(differences.mean())
    half = quantile * stats.sem(scores)
    assert row.half_width == pytest.approx(half)
    low, high = stats.t.interval(0.95, 3, row.mean, stats.sem(scores))
    assert (high - low) / 2 == pytest.approx(half)
    assert row.difference_half_width == pytest.approx(
        quantile * np.sqrt(differences.var(ddof=1) * (1 / 4 + 30 / 90))
    )


def test_networks_have_about_as_many_parameters(found):
    sizes = {row.name: row.n_parameters for row in found.rows}
    assert sizes["linear"] == 3
    assert abs(sizes["mlp"] - sizes["model"]) <= 2
    assert abs(sizes["cnn"] - sizes["model"]) <= 10


def test_what_it_concludes(found):
    """Products of features are beyond linear models and single qubits."""
    by_name = {row.name: row for row in found.rows}
    assert by_name["linear"].is_beaten
    text = str(found)
    assert repr(found) == text
    assert found.conclusion in text
    assert found.conclusion.startswith(
        "Beyond the 95 % intervals over 4 splits the model beats"
    )
    assert "Without entanglement the outputs depend on 1 of 2 features" in text
    lines = text.splitlines()
    assert len({len(line) for line in lines[:8]}) == 1  # aligned
    assert json.loads(json.dumps(found.to_dict()))["rows"][2]["name"] == "linear"
    assert found.to_dict()["conclusion"] == found.conclusion


def test_it_plots(found):
    ax = found.plot()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [row.name for row in found.rows]
    assert ax.get_xlabel() == "accuracy on the test part"
    plt.close("all")


def test_the_model_stays_and_a_report_can_be_repeated():
    model = quantum()
    before = model.get_state()
    config = TrainingConfig(**SETTINGS | {"epochs": 2})
    settings = {"config": config, "seeds": 2, "baselines": ["mlp"]}
    one, other = (report(model, (X, Y), **settings) for _ in range(2))
    assert [row.scores for row in one.rows] == [row.scores for row in other.rows]
    for key, value in model.get_state().items():
        np.testing.assert_array_equal(value, before[key])
    assert config.seed is None


def test_first_weights_are_fresh_but_frozen_ones_stay():
    model = quantum()
    model.quantum_layer.freeze_parameters([4])
    model.parameters[:] = 7.0
    own, other, again = (fresh(model, seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(own.parameters, again.parameters)
    assert own.parameters[4] == 7.0
    trained = np.delete(np.arange(18), 4)
    assert (own.parameters[trained] != other.parameters[trained]).all()
    np.testing.assert_array_equal(own.parameters[18:], [1.0, 0.0])


@pytest.mark.parametrize("scaler", [MinMaxScaler(), None])
def test_scalers(scaler):
    config = TrainingConfig(**SETTINGS | {"epochs": 1})
    settings = {"config": config, "seeds": 2, "baselines": ["svm"], "scaler": scaler}
    row = report(quantum(), (X, Y), **settings).rows[1]

    class Same:
        fit = staticmethod(lambda _: Same)
        transform = staticmethod(lambda x: x)

    scores = []
    for seed in range(2):
        train, test = split_of(seed, scaler=MinMaxScaler if scaler else Same)
        scores.append(SVC().fit(*train).score(*test))
    assert row.scores == pytest.approx(scores)
    with pytest.raises(AttributeError):
        _ = scaler.scale_  # it was not fitted itself


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_numbers(n_outputs, monkeypatch):
    """The loss "mse" has numbers; ridge regression knows the first exactly."""
    monkeypatch.setattr("qstore_pl.baselines.classical.N_EPOCHS", 5)
    model = QuantumModel(2, n_outputs, 1, readout="affine", seed=0)
    targets = NUMBERS[:, :n_outputs] if n_outputs > 1 else NUMBERS[:, 0]
    config = TrainingConfig(epochs=3)
    words = ["linear", "mlp", "svm", "cnn"][: 3 + (n_outputs > 1)]
    settings = {"config": config, "seeds": 2, "baselines": words}
    found = report(model, (X, targets), **settings)
    assert found.score == "R2"
    if n_outputs == 1:
        assert found.rows[1].mean > 0.99
        assert found.rows[1].difference < 0
    scores = []
    for seed in range(2):
        train, (inputs, y) = split_of(seed, targets, None)
        own = fresh(model, seed)
        QuantumTrainer(TrainingConfig(epochs=3, seed=seed)).train(own, train)
        scores.append(r2_score(y, own(inputs)))
    assert found.rows[0].scores == pytest.approx(scores)


@pytest.mark.parametrize("loss", ["hinge", "cross_entropy"])
def test_targets_as_the_loss_takes_them(loss):
    outputs = 2 if loss == "cross_entropy" else 1
    targets = Y if loss == "cross_entropy" else 2 * Y - 1
    model = QuantumModel(2, outputs, 1, seed=0)
    config = TrainingConfig(epochs=1, loss=loss)
    settings = {"config": config, "seeds": 2, "baselines": ["linear"]}
    scores = report(model, (X, targets), **settings).rows[1].scores
    for seed, score in enumerate(scores):
        train, test = split_of(seed)
        assert score == LogisticRegression().fit(*train).score(*test)


def test_default_baselines_are_those_that_there_are():
    config = TrainingConfig(epochs=1, loss="binary")
    settings = {"config": config, "seeds": 2, "scaler": None}
    plain = ["model", "linear", "mlp", "svm"]
    amplitudes = QuantumModel(2, 1, encoding="amplitude", n_qubits=2, seed=0)
    found = report(amplitudes, (X, Y), **settings)
    assert [row.name for row in found.rows] == plain
    assert "cannot be made with AmplitudeEncoding" in found.notes[0]
    found = report(quantum(entanglement="none"), (X, Y), **settings)
    assert [row.name for row in found.rows] == plain
    assert found.notes == ("The model has no entangling gate to be left out.",)
    found = report(quantum(), (X, Y), **settings)
    assert [row.name for row in found.rows] == ["model", "no_entanglement", *plain[1:]]
    with pytest.raises(ValueError, match="cannot be made with AmplitudeEncoding"):
        report(amplitudes, (X, Y), baselines=["no_entanglement"], **settings)


def row(name, scores, reference):
    numbers = {"n_parameters": 1234, "seconds": 0.1, "n_train": 30, "n_test": 10}
    return row_of(name, np.array(scores), np.array(reference), **numbers)


def test_conclusions():
    model = [0.8, 0.82, 0.81, 0.8]
    rows = [
        row("model", model, model),
        row("a", [0.5, 0.52, 0.5, 0.51], model),
        row("b", [0.9, 0.92, 0.91, 0.9], model),
        row("c", model, model),
        row("d", [0.7, 0.9, 0.8, 0.81], model),
    ]
    found = Report(tuple(rows), "accuracy", 30, 10, ("A note.",))
    assert found.conclusion == (
        "Beyond the 95 % intervals over 4 splits the model beats a; it is beaten by b; "
        "it cannot be told from c and d."
    )
    lines = str(found).splitlines()
    assert lines[0].split() == [
        *("name", "parameters", "accuracy", "model", "minus", "it", "seconds")
    ]
    assert lines[2].split() == ["model", "1,234", "0.808", "±", "0.015", "0.10"]
    assert lines[-1] == "A note."
    alone = Report((rows[0], rows[3]), "accuracy", 30, 10, ())
    assert "the model beats none of the baselines; it cannot be told from c." in (
        alone.conclusion
    )


def test_classical_models_count_their_parameters():
    y = np.repeat([0, 1, 2], 40)
    sizes = {"linear": 9, "mlp": 6 * 6 + 3}
    for word, size in sizes.items():
        made = untrained(word, X, y, classes=True, n_wanted=39, seed=0)
        fitted(made, X, y)
        assert n_parameters(made) == size
    made = untrained("svm", X, y, classes=True, n_wanted=1, seed=0)
    fitted(made, X, y)
    assert n_parameters(made) == made.dual_coef_.size + 3
    network = untrained("cnn", X, y, classes=True, n_wanted=60, seed=0)
    built = network._network()
    assert network.n_parameters == sum(p.numel() for p in built.parameters())
    assert abs(network.n_parameters - 60) < 15


def test_a_convolutional_network_learns_and_leaves_torch_alone():
    import torch

    before = torch.random.get_rng_state(), torch.get_num_threads()
    inputs = np.random.default_rng(1).normal(size=(40, 6))
    labels = np.where(inputs[:, 1] * inputs[:, 2] + inputs[:, 3] > 0, 5, 2)
    made = [
        untrained("cnn", inputs, labels, classes=True, n_wanted=200, seed=seed)
        for seed in (0, 0, 1)
    ]
    for network in made:
        assert fitted(network, inputs, labels)
    predictions = [network.predict(inputs) for network in made]
    assert np.mean(predictions[0] == labels) > 0.8
    np.testing.assert_array_equal(*predictions[:2])
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == torch.get_num_threads()


def test_fits_that_do_not_converge_are_told():
    hard = MLPClassifier((5,), solver="lbfgs", max_iter=2, random_state=0)
    assert not fitted(hard, X, Y)
    assert fitted(LogisticRegression(), X, Y)


class Warns:
    def fit(self, X, y):
        warnings.warn("something else", RuntimeWarning, stacklevel=1)


def test_other_warnings_are_passed_on():
    with pytest.warns(RuntimeWarning, match="something else"):
        assert fitted(Warns(), X, Y)


FEW = {"seeds": 2, "baselines": ["linear"]}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"model": "qcnn"}, TypeError, "must be a QuantumModel, but is of type str"),
        ({"seeds": 1}, ValueError, "`seeds` must be >= 2"),
        ({"seeds": [3]}, ValueError, r"at least two different seeds.*\[3\]"),
        ({"seeds": [3, 3]}, ValueError, "two different seeds"),
        ({"seeds": [0.5, 1]}, TypeError, "`seeds` must be an integer"),
        ({"test_size": 1.0}, ValueError, "`test_size` must be < 1"),
        ({"baselines": ["forest"]}, ValueError, '"cnn", "linear", "mlp", "no_entangl'),
        ({"baselines": []}, ValueError, "must name one"),
        ({"baselines": "svm"}, TypeError, "list of words, but is the word 'svm'"),
        ({"scaler": "minmax"}, ValueError, '`scaler` must be one of "standard"'),
        ({"data": (X[:, :1], Y)}, ValueError, r"\(n_samples, 2\), but.*\(120, 1\)"),
        ({"data": (X, Y[:-1])}, ValueError, "`targets` must have shape"),
        ({"data": (X * np.nan, Y)}, ValueError, "`X` must be finite"),
        ({"config": TrainingConfig(seed=1)}, ValueError, "seed must be unset"),
        (
            {"config": TrainingConfig(checkpoint_directory="here")},
            ValueError,
            "checkpoint_directory must be unset",
        ),
    ],
)  # fmt: skip
def test_bad_input(changed, error, message):
    given = {"model": quantum(), "data": (X, Y)} | FEW
    given["config"] = TrainingConfig(epochs=1, loss="binary")
    with pytest.raises(error, match=message):
        report(**given | changed)


def test_any_device_and_any_circuit():
    """On a device of another package, with one more upload."""
    layer = QuantumLayer(n_layers=1)
    layers = [AngleEncoding(), layer, AngleEncoding(features=[0])]
    device = qml.device("default.qubit", wires=2)
    model = QuantumModel(2, 1, layers=layers, seed=0, backend=device)
    config = TrainingConfig(epochs=1, loss="binary", batch_size=90)
    settings = {"config": config, "seeds": 2, "baselines": ["no_entanglement"]}
    found = report(model, (X[:24], Y[:24]), **settings)
    assert [row.name for row in found.rows] == ["model", "no_entanglement"]
