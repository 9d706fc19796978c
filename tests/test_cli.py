"""The console command, as a user runs it: in a process and a directory of its own."""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from qstore_pl import QuantumModel, QuantumTrainer, cli

SCRIPT = [str(Path(sysconfig.get_path("scripts")) / "qstore")]
MODULE = [sys.executable, "-m", "qstore_pl"]
TIMEOUT = 120  # seconds: kernels may have to be compiled first


def run(command, directory):
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT
    )


def match(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    assert found, text
    return found


@pytest.mark.parametrize(
    ("command", "seed"), [(SCRIPT, 0), (MODULE, 3)], ids=["script", "module"]
)
def test_quickstart(command, seed, tmp_path):
    done = run([*command, "quickstart", "--seed", str(seed)], tmp_path)
    assert done.returncode == 0, done.stderr

    epochs = re.findall(
        r"^epoch +(\d+)  loss (\d+\.\d{4})  accuracy \d\.\d\d$",
        done.stdout,
        re.MULTILINE,
    )
    assert [int(number) for number, _ in epochs] == list(range(1, len(epochs) + 1))
    assert len(epochs) > 1
    losses = [float(loss) for _, loss in epochs]
    assert losses[-1] < 0.5 * losses[0]
    printed = match(r"^test accuracy: (\d\.\d\d)$", done.stdout).group(1)
    assert float(printed) >= 0.9

    saved = Path(match(r"^checkpoint: (.+)$", done.stdout).group(1))
    plot = Path(match(r"^plot: (.+)$", done.stdout).group(1))
    assert saved == tmp_path.resolve() / "quickstart.npz"
    assert plot == tmp_path.resolve() / "quickstart.png"
    assert sorted(tmp_path.iterdir()) == [saved, plot]
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")

    loaded = QuantumTrainer().load_checkpoint(saved)
    assert loaded["epoch"] == len(epochs)
    assert f"{loaded['loss']:.4f}" == epochs[-1][1]
    model = QuantumModel(4, 3, n_layers=3, readout="affine")
    model.load_state(loaded["model_state"])
    X, y = load_iris(return_X_y=True)
    X_train, X_test, _, y_test = train_test_split(
        X, y, test_size=0.2, stratify=y, random_state=seed
    )
    X_test = StandardScaler().fit(X_train).transform(X_test)
    accuracy = np.mean(model.forward(X_test).argmax(axis=1) == y_test)
    assert f"{accuracy:.2f}" == printed


def test_seed_run(tmp_path):
    done = run([*SCRIPT, "quickstart", "--seed-run"], tmp_path)
    assert done.returncode == 0, done.stderr
    losses = re.findall(
        r"^Epoch (\d)/5: Loss = (\d\.\d{4})$", done.stdout, re.MULTILINE
    )
    assert [int(number) for number, _ in losses] == [1, 2, 3, 4, 5]
    assert losses[-1][1] == match(r"^Final loss: (.+)$", done.stdout).group(1)
    assert float(match(r"^Training time: (\d+\.\d+) s", done.stdout).group(1)) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_labels_of_the_seed_run_can_be_learnt(seed, capsys):
    assert cli.seed_run(seed=seed) > 0.9
    losses = [float(x) for x in re.findall(r"Loss = (.+)", capsys.readouterr().out)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_same_seed_prints_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def printed(seed):
        assert cli.main(["quickstart", "--seed", seed]) == 0
        return re.sub(r" in \d+\.\d\d s", "", capsys.readouterr().out)

    first = printed("1")
    assert printed("1") == first
    assert printed("2") != first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["slowstart"], "invalid choice: 'slowstart' (choose from"),
        ([], "required: command"),
        (["quickstart", "--sed", "1"], "unrecognized arguments: --sed"),
        (["quickstart", "--seed", "x"], "invalid int value: 'x'"),
        (["quickstart", "--seed", "-1"], "must be >= 0, but is -1"),
    ],
)
def test_what_it_does_not_know_ends_it_with_status_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    assert raised.value.code == 2
    assert words in capsys.readouterr().err


def test_an_unknown_command_in_a_process(tmp_path):
    done = run([*MODULE, "slowstart"], tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "quickstart" in done.stderr


def test_help_names_the_command_and_what_it_writes(capsys):
    for arguments, words in (
        (["--help"], ["quickstart"]),
        (["quickstart", "--help"], ["--seed-run", "quickstart.npz", "quickstart.png"]),
    ):
        with pytest.raises(SystemExit) as raised:
            cli.main(arguments)
        assert raised.value.code == 0
        text = capsys.readouterr().out
        assert all(word in text for word in words)


def test_without_matplotlib_it_says_what_to_install_and_trains_nothing(tmp_path):
    blocked = (
        "import sys; sys.modules['matplotlib'] = None; "
        "from qstore_pl.cli import main; sys.exit(main(['quickstart']))"
    )
    done = run([sys.executable, "-c", blocked], tmp_path)
    assert done.returncode != 0
    assert 'pip install "qstore-pl[viz]"' in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
