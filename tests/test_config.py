"""TrainingConfig: unset fields, checks on every assignment, defaults."""

import copy
import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

from qstore_pl.config import DEFAULTS, TrainingConfig
from qstore_pl.losses import get_loss

GOOD = {
    "learning_rate": 0.1,
    "epochs": 3,
    "batch_size": 5,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "damping": 0.0,
    "metric": "bures",
    "metric_approximation": "diag",
    "gradient_method": "spsa",
    "gradient_epsilon": 0.1,
    "gradient_directions": 2,
    "gradient_sample_size": 3,
    "loss": "cross_entropy",
    "n_qubits": 4,
    "quantum_sdk": "mock_noisy",
    "gradient_clip_value": 1.0,
    "gradient_clip_norm": 2.0,
    "shuffle": False,
    "shots": 1000,
    "seed": 0,
    "progress": True,
}


def test_every_field_is_unset_at_first_and_resolves_to_its_default():
    config = TrainingConfig()
    assert config.set_fields() == frozenset()
    names = [field.name for field in dataclasses.fields(config)]
    assert names == list(DEFAULTS)
    for name in names:
        assert getattr(config, name) is None
        assert config.resolve(name) == DEFAULTS[name]
    assert repr(config) == "TrainingConfig()"


def test_the_defaults():
    assert {name: value for name, value in DEFAULTS.items() if value is not None} == {
        "learning_rate": 0.01,
        "epochs": 10,
        "batch_size": 32,
        "optimizer": "adam",
        "metric": "fubini-study",
        "metric_approximation": "full",
        "gradient_method": "best",
        "loss": "mse",
        "quantum_sdk": "mock_ideal",
        "shuffle": True,
        "progress": False,
    }


def test_every_field_can_be_set_in_the_constructor_and_by_assignment():
    assert GOOD.keys() == DEFAULTS.keys()
    config, assigned = TrainingConfig(**GOOD), TrainingConfig()
    for name, value in GOOD.items():
        setattr(assigned, name, value)
        assert getattr(config, name) == config.resolve(name) == value
    assert config.set_fields() == frozenset(GOOD)
    assert config == assigned


def test_false_and_zero_are_set_and_none_unsets():
    config = TrainingConfig(shuffle=False, weight_decay=0, seed=0)
    assert config.set_fields() == {"shuffle", "weight_decay", "seed"}
    assert config.resolve("shuffle") is False
    config.shuffle = None
    assert config.set_fields() == {"weight_decay", "seed"}
    assert config.resolve("shuffle") is True


def test_values_become_plain_python_values():
    config = TrainingConfig(
        learning_rate=np.float32(0.5), epochs=np.int64(3), shuffle=np.True_
    )
    assert type(config.learning_rate) is float
    assert type(config.epochs) is int
    assert config.shuffle is True


def test_mock_is_the_word_for_mock_ideal():
    config = TrainingConfig(quantum_sdk="mock")
    assert config.quantum_sdk == "mock_ideal"
    config.quantum_sdk = "cirq"
    assert config.quantum_sdk == "cirq"
    assert TrainingConfig(optimizer="mock").optimizer == "mock"


def test_the_loss_may_be_a_name_a_loss_or_a_function():
    for loss in ("mse", get_loss("mse"), lambda p, t: 0.0):
        assert TrainingConfig(loss=loss).loss is loss


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("learning_rate", 0.0, ValueError),
        ("learning_rate", np.nan, ValueError),
        ("learning_rate", "0.1", TypeError),
        ("epochs", 0, ValueError),
        ("epochs", 1.0, TypeError),
        ("batch_size", 0, ValueError),
        ("batch_size", True, TypeError),
        ("optimizer", 3, TypeError),
        ("momentum", 1.0, ValueError),
        ("momentum", -0.1, ValueError),
        ("weight_decay", -0.1, ValueError),
        ("loss", 3, TypeError),
        ("n_qubits", 0, ValueError),
        ("quantum_sdk", 3, TypeError),
        ("gradient_clip_value", 0.0, ValueError),
        ("gradient_clip_norm", -1.0, ValueError),
        ("shuffle", 1, TypeError),
        ("shots", 0, ValueError),
        ("shots", 10.5, TypeError),
        ("seed", -1, ValueError),
        ("progress", "yes", TypeError),
    ],
)
def test_values_out_of_range_are_refused_and_change_nothing(name, value, error):
    with pytest.raises(error, match=f"Argument `{name}` must be"):
        TrainingConfig(**{name: value})
    config = TrainingConfig(**GOOD)
    with pytest.raises(error, match=f"Argument `{name}` must be"):
        setattr(config, name, value)
    assert config == TrainingConfig(**GOOD)


def test_unknown_fields_are_refused():
    config = TrainingConfig()
    with pytest.raises(
        AttributeError, match="no field 'lr'; its fields are learning_rate"
    ):
        config.lr = 0.1
    with pytest.raises(AttributeError, match="no field 'lr'"):
        config.resolve("lr")
    with pytest.raises(TypeError, match="unexpected keyword argument 'lr'"):
        TrainingConfig(lr=0.1)
    with pytest.raises(TypeError, match="positional"):
        TrainingConfig(0.1)


def test_repr_shows_the_set_fields_in_order():
    config = TrainingConfig(epochs=3, learning_rate=0.5, optimizer="sgd")
    shown = "TrainingConfig(learning_rate=0.5, epochs=3, optimizer='sgd')"
    assert repr(config) == shown
    assert eval(shown) == config


def test_copies_and_pickles_are_equal_and_apart():
    config = TrainingConfig(**GOOD)
    for twin in (
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        dataclasses.replace(config),
    ):
        assert twin == config
        twin.epochs = 99
        assert config.epochs == GOOD["epochs"]
        with pytest.raises(ValueError, match="`epochs`"):
            twin.epochs = 0


def test_importing_it_imports_nothing_heavy():
    script = (
        "import sys, qstore_pl.config, qstore_pl.history, qstore_pl.losses;"
        "sys.exit(bool({'numba', 'pennylane', 'autograd'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
