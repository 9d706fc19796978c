"""The trainer trains whatever has the members of a Trainable, not only QuantumModel."""

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.backends import as_backend
from qstore_pl.circuit import Block, Features, Weights
from qstore_pl.placed import Placed
from qstore_pl.readout import ExpectationValues
from qstore_pl.trainer import Trainable
from qstore_pl.trainer.trainable import MEMBERS

X = np.random.default_rng(0).uniform(3.0, 5.0, (12, 2))
Y = np.sign(X[:, :1] - 4.0)


class OneWire:
    """A circuit of one wire, written without layers or QuantumModel.

    It centres its samples itself, and has one weight for each of two features.
    """

    n_qubits, n_features, n_weights, output_dim = 1, 2, 4, 1
    readout = ExpectationValues()
    measurements = (qml.expval(qml.Z(0)),)
    blocks = (
        Block(qml.RY, [0], [Features(0)]),
        Block(qml.Rot, [0], [Weights(0), Weights(1), 0.25]),
        Block(qml.RY, [0], [Features(1)]),
        Block(qml.Rot, [0], [0.5, Weights(2), Weights(3)]),
    )

    def __init__(self):
        self.parameters = np.array([0.1, 0.2, -0.1, 0.3])
        self.trainable = np.ones(4, dtype=bool)
        self.backend, self.has_own_backend = None, False
        self.classes = None

    def fill_backend(self, backend):
        self.backend = backend
        self.__dict__.pop("_placed", None)

    @property
    def placed(self):
        if "_placed" not in self.__dict__:
            self._placed = Placed(self, self.backend or as_backend("mock_ideal"))
        return self._placed

    def prepare(self, inputs):
        return np.asarray(inputs, dtype=float) - 4.0

    def examples(self):
        return np.eye(2)

    def get_state(self):
        return {"parameters": self.parameters.copy()}

    def load_state(self, state):
        self.parameters[:] = state["parameters"]

    def trained_with(self, *, classes):
        self.classes = classes


def train(model, **settings):
    options = {"epochs": 20, "learning_rate": 0.2, "batch_size": 4, "seed": 0}
    return QuantumTrainer(TrainingConfig(**options | settings)).train(model, (X, Y))


def test_it_has_the_members_that_are_named():
    assert set(MEMBERS) == {
        name
        for cls in Trainable.__mro__[:-1]
        for name in vars(cls)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"quantum_sdk": "mock_noisy"},
        {"gradient_method": "parameter_shift", "epochs": 5},
        {"quantum_sdk": "default.qubit", "epochs": 3},
        {"optimizer": "natural_gradient", "epochs": 5},
        {"optimizer": "natural_gradient", "metric_tensor": "gauss-newton", "epochs": 5},
        {"loss": "hinge", "accumulation_steps": 2},
    ],
    ids=str,
)
def test_it_is_trained(settings):
    model = OneWire()
    losses = train(model, **settings)["losses"]
    assert losses[-1] < 0.95 * losses[0]
    assert model.classes is (settings.get("loss") == "hinge")


def test_every_device_gives_the_same():
    losses = [train(OneWire(), quantum_sdk=name, epochs=3)["losses"] for name in
              ("mock_ideal", "default.qubit")]  # fmt: skip
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-12)


def test_its_runs_go_on_bit_for_bit(tmp_path):
    whole = OneWire()
    train(whole)
    half = OneWire()
    train(half, epochs=9, checkpoint_directory=str(tmp_path))
    again = OneWire()
    config = TrainingConfig(
        epochs=20, learning_rate=0.2, batch_size=4, seed=0,
        checkpoint_directory=str(tmp_path),
    )  # fmt: skip
    QuantumTrainer(config).train(again, (X, Y), resume="latest")
    assert again.parameters.tobytes() == whole.parameters.tobytes()


def test_what_is_missing_is_named():
    class Half:
        parameters = np.zeros(2)

        def prepare(self, inputs):
            return inputs

    with pytest.raises(TypeError, match=r"type Half, without n_weights, trainable, re"):
        train(Half())
    with pytest.raises(TypeError, match=r"The order is train\(model, data\)"):
        QuantumTrainer().train((X, Y), QuantumModel(2, 1))


def test_settings_of_a_quantum_model_are_refused():
    with pytest.raises(ValueError, match="must equal the model's none, but is 1"):
        train(OneWire(), n_qubits=1)
