"""TrainingConfig: unset fields, checks on every assignment, defaults, TOML."""

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qstore_pl._secrets import Secret
from qstore_pl.config import CHOICES, DEFAULTS, TrainingConfig
from qstore_pl.gradients import APPROXIMATIONS, METRICS, OPTIONS
from qstore_pl.losses import LOSSES, get_loss
from qstore_pl.optimizers import OPTIMIZERS
from qstore_pl.templates import ENTANGLEMENTS

GOOD = {
    "learning_rate": 0.1,
    "epochs": 3,
    "batch_size": 5,
    "loss": "cross_entropy",
    "class_weight": {0: 1.0, 3: 0.1},
    "shuffle": False,
    "accumulation_steps": 2,
    "seed": 0,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "damping": 0.0,
    "metric_tensor": "bures",
    "metric_tensor_approximation": "diag",
    "schedule": "step",
    "schedule_epochs": 40,
    "schedule_every": 4,
    "schedule_factor": 0.5,
    "schedule_final": 0.0,
    "warmup_epochs": 2,
    "freeze_schedule": {0: [0, 1], 10: []},
    "gradient_method": "spsa",
    "gradient_epsilon": 0.1,
    "gradient_directions": 2,
    "gradient_sample_size": 3,
    "gradient_clip_value": 1.0,
    "gradient_clip_norm": 2.0,
    "use_gradient_clipping": True,
    "track_gradients": False,
    "on_nan": "rollback",
    "validation_split": 0.25,
    "validation_interval": 2,
    "monitor": "val_accuracy",
    "monitor_mode": "max",
    "min_delta": 1e-05,
    "patience": 7,
    "restore_best": False,
    "n_qubits": 4,
    "circuit_depth": 2,
    "entanglement": "circular",
    "quantum_sdk": "mock_noisy",
    "backend_shares": {"cirq": 1.0, "qiskit": 3.0},
    "quantum_target": "forte",
    "quantum_api_key": Secret("env:IONQ_API_KEY"),
    "max_concurrent_circuits": 8,
    "shots": 1000,
    "shots_budget": 10**6,
    "shots_per_circuit": 1000,
    "max_cost": 12.5,
    "max_circuits": 10**5,
    "max_shots": 10**8,
    "on_budget": "raise",
    "checkpoint_directory": 'runs/"first" \\ no. 1',
    "checkpoint_interval": 5,
    "checkpoint_keep": 2,
    "on_interrupt": "raise",
    "log_interval": 10,
    "progress": True,
    "strict_callbacks": True,
    "store_directory": "states.db",
    "store_samples": 50,
    "pinecone_api_key": Secret("env:PINECONE_API_KEY"),
    "pinecone_environment": "eu-west-1",
    "pinecone_index_name": "states",
}
TEXT_FIELDS = (
    *("monitor", "quantum_target", "checkpoint_directory", "store_directory"),
)


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
        "loss": "mse",
        "shuffle": True,
        "accumulation_steps": 1,
        "optimizer": "adam",
        "metric_tensor": "fubini-study",
        "metric_tensor_approximation": "full",
        "schedule": "constant",
        "schedule_every": 10,
        "schedule_factor": 0.1,
        "schedule_final": 0.0,
        "gradient_method": "best",
        "track_gradients": True,
        "on_nan": "raise",
        "validation_interval": 1,
        "min_delta": 0.0,
        "restore_best": True,
        "quantum_sdk": "mock_ideal",
        "checkpoint_keep": 3,
        "on_budget": "return",
        "on_interrupt": "return",
        "strict_callbacks": False,
        "store_samples": 1000,
    }


def test_the_words_of_a_field_are_those_that_exist():
    """The configuration imports nothing that knows them."""
    known = {
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
        "metric_tensor": {*METRICS, "gauss-newton"},
        "metric_tensor_approximation": APPROXIMATIONS,
        "gradient_method": OPTIONS,
        "entanglement": ENTANGLEMENTS,
    }
    for name, words in known.items():
        assert set(CHOICES[name]) == set(words), name


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
    assert TrainingConfig(quantum_target="mock").quantum_target == "mock"


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
        ("accumulation_steps", 0, ValueError),
        ("schedule", "linear", ValueError),
        ("schedule_every", 0, ValueError),
        ("schedule_epochs", 0, ValueError),
        ("schedule_factor", 1.0, ValueError),
        ("schedule_factor", 0.0, ValueError),
        ("schedule_final", -0.1, ValueError),
        ("warmup_epochs", 0, ValueError),
        ("use_gradient_clipping", 1, TypeError),
        ("track_gradients", "no", TypeError),
        ("on_nan", "ignore", ValueError),
        ("validation_interval", 0, ValueError),
        ("monitor", 3, TypeError),
        ("monitor_mode", "auto", ValueError),
        ("min_delta", -1e-9, ValueError),
        ("patience", 0, ValueError),
        ("restore_best", 0, TypeError),
        ("circuit_depth", 0, ValueError),
        ("entanglement", 3, TypeError),
        ("max_concurrent_circuits", 0, ValueError),
        ("checkpoint_interval", 0, ValueError),
        ("checkpoint_keep", 0, ValueError),
        ("log_interval", 0, ValueError),
        ("strict_callbacks", 1, TypeError),
        ("class_weight", "equal", TypeError),
        ("class_weight", {0: 0.0}, ValueError),
        ("class_weight", {0: "1"}, TypeError),
        ("class_weight", {-1: 1.0}, ValueError),
        ("class_weight", {0.5: 1.0}, TypeError),
        ("class_weight", {"a": 1.0}, TypeError),
        ("freeze_schedule", [0, 1], TypeError),
        ("freeze_schedule", {0: [-1]}, ValueError),
        ("freeze_schedule", {0: [0.5]}, TypeError),
        ("freeze_schedule", {-1: [0]}, ValueError),
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


# --- TOML and dict --------------------------------------------------------------


def test_every_field_comes_back_from_toml():
    config = TrainingConfig(**GOOD)
    again = TrainingConfig.from_toml(config.to_toml())
    assert again == config
    assert again.set_fields() == frozenset(GOOD)
    for name, value in GOOD.items():
        assert type(getattr(again, name)) is type(value), name


@pytest.mark.parametrize("name", DEFAULTS)
def test_each_field_alone_comes_back_from_toml(name):
    config = TrainingConfig(**{name: GOOD[name]})
    assert TrainingConfig.from_toml(config.to_toml()) == config


def test_the_toml_of_a_configuration():
    config = TrainingConfig(
        learning_rate=1e-05,
        loss="hinge",
        class_weight={0: 1, 2: 0.5},
        shuffle=False,
        freeze_schedule={3: (0, 1)},
        pinecone_api_key="env:KEY",
        checkpoint_directory=Path("runs"),
    )
    assert config.to_toml() == (
        "learning_rate = 1e-05\n"
        'loss = "hinge"\n'
        'class_weight = {"0" = 1.0, "2" = 0.5}\n'
        "shuffle = false\n"
        'freeze_schedule = {"3" = [0, 1]}\n'
        'checkpoint_directory = "runs"\n'
        'pinecone_api_key = "env:KEY"\n'
    )
    assert TrainingConfig().to_toml() == ""
    assert TrainingConfig.from_toml("") == TrainingConfig()


@pytest.mark.parametrize("loss", [*LOSSES])
def test_every_named_loss_can_be_written(loss):
    config = TrainingConfig(loss=loss)
    assert TrainingConfig.from_toml(config.to_toml()).loss == loss


def test_a_loss_that_is_a_function_cannot_be_written_to_a_file():
    for loss in (get_loss("mse"), lambda p, t: 0.0):
        with pytest.raises(ValueError, match="`loss` must be a name to be written"):
            TrainingConfig(loss=loss).to_toml()


@given(
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    weights=st.dictionaries(
        st.integers(0, 10**6),
        st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    ),
    frozen=st.dictionaries(
        st.integers(0, 10**6), st.lists(st.integers(0, 10**6), max_size=3)
    ),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_numbers_come_back_from_toml_bit_for_bit(rate, weights, frozen):
    config = TrainingConfig(
        learning_rate=rate, class_weight=weights, freeze_schedule=frozen
    )
    assert TrainingConfig.from_toml(config.to_toml()) == config


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@example("a\x7fb")
@example('line\nline\t"\\')
@example("ü中")
@example("\U0001f600")
@settings(max_examples=100, deadline=None, derandomize=True)
def test_words_come_back_from_toml(text):
    config = TrainingConfig(**dict.fromkeys(TEXT_FIELDS, text))
    assert TrainingConfig.from_toml(config.to_toml()) == config


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("lr = 0.1", TypeError, "unexpected keyword argument 'lr'"),
        ("epochs = 0", ValueError, "`epochs` must be >= 1"),
        ('epochs = "3"', TypeError, "`epochs` must be an integer"),
        ("epochs = 1\nepochs = 2", ValueError, "overwrite"),
        ("epochs: 1", ValueError, "Expected"),
        ('class_weight = {"x" = 1.0}', TypeError, "`class_weight` must be an integer"),
        ("[model]\nepochs = 1", TypeError, "unexpected keyword argument 'model'"),
    ],
)
def test_toml_that_is_no_configuration_is_refused(text, error, words):
    with pytest.raises(error, match=words):
        TrainingConfig.from_toml(text)


def test_to_dict_has_words_and_numbers_only():
    found = TrainingConfig(**GOOD).to_dict()
    assert list(found) == list(DEFAULTS)
    assert json.loads(json.dumps(found)) == found
    assert found["class_weight"] == {"0": 1.0, "3": 0.1}
    assert found["freeze_schedule"] == {"0": [0, 1], "10": []}
    assert found["pinecone_api_key"] == "env:PINECONE_API_KEY"
    assert TrainingConfig(**found) == TrainingConfig(**GOOD)
    assert TrainingConfig().to_dict() == {}


def test_to_dict_has_the_name_of_a_function():
    def mine(predictions, targets):
        return 0.0

    assert TrainingConfig(loss=mine).to_dict() == {"loss": "function mine"}
    assert TrainingConfig(loss="mse").to_dict() == {"loss": "mse"}


def test_dicts_and_lists_are_the_configurations_own():
    weights, frozen = {0: 1.0}, [1]
    config = TrainingConfig(class_weight=weights, freeze_schedule={0: frozen})
    weights[0], frozen[0] = 9.0, 9
    assert config.class_weight == {0: 1.0}
    assert config.freeze_schedule == {0: [1]}
    assert TrainingConfig(class_weight="balanced").class_weight == "balanced"


def test_importing_it_imports_nothing_heavy():
    script = (
        "import sys, qstore_pl.config, qstore_pl.history, qstore_pl.losses;"
        "sys.exit(bool({'numba', 'pennylane', 'autograd'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == 0
