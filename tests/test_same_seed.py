"""The same seed is the same run: through Python, TOML and the command line.

One case for each place where something is drawn. In each of them everything else is
fixed, so that a draw by another generator would be seen.
"""

import numpy as np
import pytest

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig, cli

RNG = np.random.default_rng(0)
X = RNG.uniform(-1.5, 1.5, (12, 2))
Y = (X[:, 0] > 0).astype(int)

IN_ORDER = {"shuffle": False}
DRAWS = {
    "the first weights": IN_ORDER,
    "the order of the samples": {},
    "directions of SPSA": IN_ORDER | {"gradient_method": "spsa"},
    "a subset of the weights": IN_ORDER
    | {"gradient_method": "random_subset", "gradient_sample_size": 2},
    "shots": IN_ORDER | {"shots": 10},
    "shots with noise": IN_ORDER | {"shots": 10, "quantum_sdk": "mock_noisy"},
    "samples to validate": IN_ORDER | {"validation_split": 0.25},
}


def settings_of(name, seed):
    fixed = {"epochs": 2, "batch_size": 4, "learning_rate": 0.1}
    return fixed | {"loss": "cross_entropy", "seed": seed} | DRAWS[name]


def options_of(name):
    """Of the model: its weights are drawn by a seed of its own but in one case."""
    return {"output_dim": 2, "n_layers": 1} | (
        {} if name == "the first weights" else {"seed": 3}
    )


def by_python(name, seed, config=None):
    config = config or TrainingConfig(**settings_of(name, seed))
    model = QuantumModel(2, **{"seed": config.seed} | options_of(name))
    QuantumTrainer(config).train(model, (X, Y))
    return model.parameters.tobytes()


def by_toml(name, seed):
    text = TrainingConfig(**settings_of(name, seed)).to_toml()
    return by_python(name, seed, TrainingConfig.from_toml(text))


def by_command(name, seed, directory):
    np.savez(directory / "data.npz", X=X, y=Y)
    model = "".join(f"{k} = {v}\n" for k, v in options_of(name).items())
    config = TrainingConfig(**settings_of(name, seed), checkpoint_directory="run")
    (directory / "run.toml").write_text(
        f'[data]\npath = "data.npz"\n[model]\n{model}[training]\n{config.to_toml()}'
    )
    assert cli.main(["train", str(directory / "run.toml")]) == 0
    (last,) = directory.glob("run/epoch000002*")
    return QuantumModel.from_checkpoint(last).parameters.tobytes()


@pytest.mark.parametrize("name", DRAWS)
def test_the_same_seed_is_the_same_run(name, tmp_path):
    found = by_python(name, 0)
    assert by_python(name, 0) == found
    assert by_toml(name, 0) == found
    assert by_command(name, 0, tmp_path) == found
    assert by_python(name, 1) != found
