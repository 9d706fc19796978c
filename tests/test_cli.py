"""The console command, as a user runs it: in a process and a directory of its own."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import qstore_pl
from qstore_pl import (
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    cli,
    quickstart,
    run_file,
)
from qstore_pl.trainer.state import history_of
from tests import processes
from tests.processes import Forked

SCRIPT = [str(Path(sysconfig.get_path("scripts")) / "qstore")]
MODULE = [sys.executable, "-m", "qstore_pl"]
COMMAND = "import sys; from qstore_pl import cli; sys.exit(cli.main())"
TIMEOUT = 120  # seconds: kernels may have to be compiled first


def run(command, directory):
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT
    )


def match(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    assert found, text
    return found


# The script, ``python -m qstore_pl`` and `COMMAND` call one function: some of the tests
# that start a process use the one, some the other.
def test_quickstart(tmp_path):
    seed = 3
    done = run([*SCRIPT, "quickstart", "--seed", str(seed)], tmp_path)
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
    store = Path(match(r"^store: (.+)$", done.stdout).group(1))
    assert store == tmp_path.resolve() / "quickstart.lance"
    assert sorted(tmp_path.iterdir()) == [store, saved, plot]
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")

    loaded = QuantumTrainer().load_checkpoint(saved)
    assert loaded["epoch"] == len(epochs)
    assert f"{loaded['loss']:.4f}" == epochs[-1][1]
    model = QuantumModel(4, 3, n_layers=3, readout="affine")
    model.load_state(loaded["model_state"])
    iris = load_iris()
    X, y, rows = iris.data, iris.target, np.arange(150)
    X_train, X_test, y_train, y_test, rows_train, _ = train_test_split(
        X, y, rows, test_size=0.2, stratify=y, random_state=seed
    )
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    accuracy = np.mean(model.forward(X_test).argmax(axis=1) == y_test)
    assert f"{accuracy:.2f}" == printed

    # the nearest states, by overlaps of state vectors
    fidelities = np.abs(model.states(X_test) @ model.states(X_train).conj().T) ** 2
    nearest = np.argsort(-fidelities, axis=1)[:, :5]
    shown = re.findall(
        r"^  fidelity (\d\.\d{3})  (\w+) +row +(\d+)$", done.stdout, re.MULTILINE
    )
    assert shown == [
        (f"{fidelities[0, i]:.3f}", iris.target_names[y_train[i]], str(rows_train[i]))
        for i in nearest[0]
    ]
    votes = [Counter(y_train[row]).most_common(1)[0][0] for row in nearest]
    by_states = np.mean(votes == y_test)
    assert f"by the 5 nearest states: {by_states:.2f}\n" in done.stdout


def test_seed_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["quickstart", "--seed-run"]) == 0
    out = capsys.readouterr().out
    losses = re.findall(r"^Epoch (\d)/5: Loss = (\d\.\d{4})$", out, re.MULTILINE)
    assert [int(number) for number, _ in losses] == [1, 2, 3, 4, 5]
    assert losses[-1][1] == match(r"^Final loss: (.+)$", out).group(1)
    assert float(match(r"^Training time: (\d+\.\d+) s", out).group(1)) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_labels_of_the_seed_run_can_be_learnt(seed, capsys):
    assert quickstart.seed_run(seed=seed).accuracy > 0.9
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
    # The store has the flowers of the last run, and no others.
    stats = qstore_pl.open_store(quickstart.STORE).stats()
    n_flowers = [n for name, n in stats.namespaces.items() if "models" not in name]
    assert n_flowers == [120]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["slowstart"], "invalid choice: 'slowstart' (choose from"),
        ([], "required: command"),
        (["quickstart", "--sed", "1"], "unrecognized arguments: --sed"),
        (["quickstart", "--seed", "x"], "must be an integer >= 0, but is x"),
        (["quickstart", "--seed", "-1"], "must be an integer >= 0, but is -1"),
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
        (["quickstart", "--help"], ["--seed-run", "quickstart.png", ".lance"]),
    ):
        with pytest.raises(SystemExit) as raised:
            cli.main(arguments)
        assert raised.value.code == 0
        text = capsys.readouterr().out
        assert all(word in text for word in words)


@pytest.mark.parametrize(
    ("modules", "extra"),
    [(("matplotlib", "matplotlib.figure"), "viz"), (("lancedb",), "lance")],
)
def test_without_an_extra_it_says_what_to_install_and_trains_nothing(
    modules, extra, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in modules:  # each may have been imported
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["quickstart"]) == 1
    shown = capsys.readouterr()
    assert f'pip install "qstore-pl[{extra}]"' in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("obstacle", ["quickstart.npz", "quickstart.png", "."])
def test_what_cannot_be_written_is_found_before_training(
    obstacle, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    if obstacle == ".":  # a directory that is gone: root may write into any other

        def refuse(*, dir):
            raise PermissionError(13, "Permission denied", str(dir))

        monkeypatch.setattr(quickstart.tempfile, "TemporaryFile", refuse)
    else:
        Path(obstacle).mkdir()
    assert cli.main(["quickstart"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "cannot write quickstart.npz" in shown.err


def test_a_file_in_the_place_of_the_store_is_found_before_training(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("quickstart.lance").write_text("mine")
    assert cli.main(["quickstart"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "quickstart.lance" in shown.err.splitlines()[-1]
    assert [one.read_text() for one in tmp_path.iterdir()] == ["mine"]


# --- train ------------------------------------------------------------------------

RNG = np.random.default_rng(0)
X, X_VAL = RNG.uniform(-1, 1, (20, 2)), RNG.uniform(-1, 1, (6, 2))
Y, Y_VAL = (X[:, 0] > 0).astype(int), (X_VAL[:, 0] > 0).astype(int)
TRAINING = {
    "epochs": 4,
    "batch_size": 6,
    "learning_rate": 0.1,
    "loss": '"cross_entropy"',
    "seed": 0,
    "schedule": '"cosine"',
    "checkpoint_directory": '"run"',
    "checkpoint_keep": 9,
    "checkpoint_interval": 1,
}


def write(
    directory, *, data='path = "data.npz"', model="", arrays=None, raw=None, **changed
):
    """A configuration and its data; the path of the first."""
    directory.mkdir(exist_ok=True)
    if arrays is None:
        arrays = {"X": X, "y": Y, "X_val": X_VAL, "y_val": Y_VAL}
    if raw is None:
        np.savez(directory / "data.npz", **arrays)
    else:
        (directory / "data.npz").write_bytes(raw)
    training = "".join(f"{k} = {v}\n" for k, v in (TRAINING | changed).items())
    path = directory / "config.toml"
    path.write_text(
        f"[data]\n{data}\n[model]\noutput_dim = 2\nn_layers = 1\nseed = 0\n{model}\n"
        f"[training]\n{training}"
    )
    return path


def by_hand(directory, epochs=4):
    """What the file says, written in Python."""
    config = TrainingConfig(
        epochs=epochs,
        batch_size=6,
        learning_rate=0.1,
        loss="cross_entropy",
        seed=0,
        schedule="cosine",
        checkpoint_directory=directory,
        checkpoint_keep=9,
        checkpoint_interval=1,
    )
    model = QuantumModel(2, 2, n_layers=1, seed=0)
    history = QuantumTrainer(config).train(model, (X, Y), (X_VAL, Y_VAL))
    return model, history


def parameters_of(path):
    tree = QuantumTrainer().load_checkpoint(path)
    model = QuantumModel(2, 2, n_layers=1, seed=0)
    model.load_state(tree["model"])
    return model.parameters, history_of(tree["run"]["history"])


@pytest.mark.timeout(TIMEOUT)
def test_train_does_what_the_file_says(tmp_path):
    model, history = by_hand(tmp_path / "by hand")
    write(tmp_path / "here")
    done = run([*MODULE, "train", "here/config.toml"], tmp_path)  # another directory
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"epoch {row['epoch'] + 1}  loss {row['loss']:.4f}  "
        f"accuracy {row['accuracy']:.4f}  val_loss {row['val_loss']:.4f}  "
        f"val_accuracy {row['val_accuracy']:.4f}"
        for row in history
    ]
    names = sorted(path.name for path in (tmp_path / "here" / "run").iterdir())
    assert names == [
        "best.qstore",
        *(f"epoch00000{epoch}-step000000.qstore" for epoch in (1, 2, 3, 4)),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["by hand", "here"]
    parameters, found = parameters_of(tmp_path / "here" / "run" / names[-1])
    assert parameters.tobytes() == model.parameters.tobytes()
    assert found["val_losses"] == history["val_losses"]


DRAWS = {
    "weights and order": {},
    "a model's seed": {"model": "seed = 5"},
    "shots with noise": {
        "model": 'backend = "mock_noisy"',
        "shots": 10,
        "gradient_method": '"spsa"',
    },
    "a subset, chosen by the settings": {
        "quantum_sdk": '"mock_noisy"',
        "shots": 10,
        "gradient_method": '"random_subset"',
        "gradient_sample_size": 2,
    },
}


def seeded(directory, seed, drawn):
    """A configuration whose only seed is that of the settings."""
    path = write(directory, **{"epochs": 1, "seed": seed, **DRAWS[drawn]})
    path.write_text(path.read_text().replace("n_layers = 1\nseed = 0", "n_layers = 1"))
    return path


def trained_parameters(path):
    last = path.parent / "run" / "epoch000001-step000000.qstore"
    return parameters_of(last)[0].tobytes()


COMMANDS = """
import sys
from qstore_pl import cli
sys.exit(max(cli.main(["train", path]) for path in sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The parameters that another process finds, for each of `DRAWS` with seed 0."""
    place = tmp_path_factory.mktemp("elsewhere")
    paths = [seeded(place / f"{i}", 0, drawn) for i, drawn in enumerate(DRAWS)]
    status, _, errors = processes.run(COMMANDS, *paths, cwd=place)
    assert status == 0, errors
    return dict(zip(DRAWS, map(trained_parameters, paths), strict=True))


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("drawn", DRAWS)
def test_one_seed_is_that_of_every_draw(drawn, elsewhere, tmp_path):
    """Parameters of three runs of the command, and of one with another seed."""

    def parameters(name, seed):
        path = seeded(tmp_path / name, seed, drawn)
        assert cli.main(["train", str(path)]) == 0
        return trained_parameters(path)

    first = parameters("here", 0)
    assert parameters("again", 0) == first
    assert elsewhere[drawn] == first
    assert parameters("other", 1) != first


def test_the_seed_of_the_model_is_its_own(tmp_path):
    def first_weights(name, **options):
        """One step of a learning rate that changes nothing leads away from them."""
        path = write(tmp_path / name, epochs=1, learning_rate=1e-300, **options)
        assert cli.main(["train", str(path)]) == 0
        return parameters_of(path.parent / "run" / "epoch000001-step000000.qstore")[0]

    wanted = QuantumModel(2, 2, n_layers=1, seed=0).parameters
    for seed in (0, 7):
        np.testing.assert_array_equal(first_weights(f"{seed}", seed=seed), wanted)


def test_train_without_validation_or_checkpoints(tmp_path, capsys):
    text = write(tmp_path, arrays={"X": X, "y": Y}).read_text()
    path = tmp_path / "config.toml"
    path.write_text(
        re.sub(r"checkpoint_\w+ = .*\n", "", text)  # and so writes no files
    )
    assert cli.main(["train", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(re.fullmatch(r"epoch \d  loss \S+  accuracy \S+", x) for x in lines)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.toml", "data.npz"]


@pytest.mark.timeout(TIMEOUT)
def test_resume_gives_the_bits_of_a_run_without_a_break(tmp_path, capsys):
    path = write(tmp_path / "whole")
    assert cli.main(["train", str(path)]) == 0
    whole = capsys.readouterr().out
    folder = tmp_path / "broken"
    write(folder)
    shutil.copytree(tmp_path / "whole" / "run", folder / "run")
    for late in (folder / "run").glob("epoch00000[34]*"):
        late.unlink()
    status, out, errors = processes.run(
        COMMAND, "train", "config.toml", "--resume", cwd=folder
    )
    assert status == 0, errors
    assert out.splitlines() == whole.splitlines()[2:]
    last = "epoch000004-step000000.qstore"
    ours, history = parameters_of(folder / "run" / last)
    wanted, uninterrupted = parameters_of(tmp_path / "whole" / "run" / last)
    assert ours.tobytes() == wanted.tobytes()
    for name in ("losses", "val_losses", "accuracies", "gradient_norms"):
        assert history[name] == uninterrupted[name]


def test_another_run_is_replaced_only_if_told_so(tmp_path, capsys):
    path = write(tmp_path)
    assert cli.main(["train", str(path)]) == 0
    best = (tmp_path / "run" / "best.qstore").read_bytes()
    assert cli.main(["train", str(write(tmp_path, epochs=1))]) == 1
    assert "`qstore train` has --resume and --overwrite" in capsys.readouterr().err
    assert (tmp_path / "run" / "best.qstore").read_bytes() == best
    assert cli.main(["train", str(path), "--overwrite"]) == 0
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "best.qstore",
        "epoch000001-step000000.qstore",
    ]


def test_resume_with_other_settings_is_refused(tmp_path, capsys):
    assert cli.main(["train", str(write(tmp_path))]) == 0
    capsys.readouterr()
    assert cli.main(["train", str(write(tmp_path, batch_size=5)), "--resume"]) == 1
    assert "batch_size was 6, is 5" in capsys.readouterr().err


def test_early_stopping_is_said(tmp_path, capsys):
    path = write(tmp_path, patience=1, min_delta=100.0)
    assert cli.main(["train", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "stopped: early stopping"


@pytest.mark.timeout(TIMEOUT)
def test_a_signal_ends_it_with_status_130_and_a_checkpoint(tmp_path):
    write(tmp_path, epochs=10**6, checkpoint_interval=10**6)
    with Forked(COMMAND, "train", "config.toml", cwd=tmp_path) as process:
        assert process.stdout.readline().startswith("epoch 1 ")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.splitlines()[-1] == "stopped: SIGINT"
    assert len(list((tmp_path / "run").glob("epoch*"))) == 1


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


WHOLE = npz(X=X, y=Y)
WRONG = {
    "no X": ({"arrays": {"y": Y}}, "or none of them, but has y"),
    "no y": ({"arrays": {"X": X}}, "or none of them, but has X"),
    "no y_val": ({"arrays": {"X": X, "y": Y, "X_val": X_VAL}}, "y_val"),
    "no X_val": ({"arrays": {"X": X, "y": Y, "y_val": Y_VAL}}, "X_val"),
    "X of one axis": ({"arrays": {"X": X[:, 0], "y": Y}}, "shape"),
    "lengths": ({"arrays": {"X": X, "y": Y[:3]}}, "20 samples and 3 targets"),
    "NaN": ({"arrays": {"X": X * np.nan, "y": Y}}, "must be finite"),
    "objects": ({"arrays": {"X": np.array([[None]]), "y": Y}}, "X of `"),
    "more qubits than memory": (
        {"arrays": {"X": np.zeros((2, 60)), "y": Y[:2]}},
        "60 wires",
    ),
    "no archive": ({"raw": b"1, 2, 3"}, "data.npz"),
    "an empty file": ({"raw": b""}, "data.npz"),
    "a truncated archive": ({"raw": WHOLE[: len(WHOLE) // 2]}, "data.npz"),
    "a missing file": ({"data": 'path = "nothing.npz"'}, "nothing.npz"),
    "a path that is none": ({"data": "path = 3"}, "path"),
    "no path": ({"data": ""}, "must have a `path`"),
    "more than a path": ({"data": 'path = "data.npz"\nsize = 3'}, "It may have path."),
    "unknown field": ({"epoch": 3}, "`epoch`. Did you mean `epochs`?"),
    "a field out of range": ({"epochs": 0}, "`epochs` must be >= 1"),
    "an ignored field": ({"schedule_every": 3}, "schedule_every must be unset"),
    "unknown word": ({"optimizer": '"lbfgs"'}, "'lbfgs'"),
    "unknown argument of the model": ({"model": "depth = 3"}, "`depth`. It may"),
    "input_dim": ({"model": "input_dim = 2"}, "it is the number of columns of"),
    "input_dim elsewhere": ({"input_dim": 2}, "`input_dim`, which belongs in [model]"),
    "a field of training": ({"model": "epochs = 2"}, "which belongs in [training]"),
    "an argument of the model": ({"output_dim": 2}, "which belongs in [model]"),
    "no TOML": ({"model": "= 3"}, "Invalid"),
}


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_on_stderr_with_status_1(given, words, tmp_path, capsys):
    assert cli.main(["train", str(write(tmp_path, **given))]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("qstore: ")
    assert words in shown.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "but has none"),
        ('[data]\npath = "data.npz"\n', "data, model and training, but has data"),
        (
            "[data]\n[model]\n[training]\n[more]\n",
            "but has data, model, training, more",
        ),
        ('data = 1\nmodel = 2\ntraining = "x"\n', "data"),
        (
            'training = 3\n[data]\npath = "data.npz"\n[model]\noutput_dim=1',
            "must be a table",
        ),
    ],
)
def test_a_file_with_other_tables_is_refused(text, words, tmp_path, capsys):
    path = write(tmp_path)
    path.write_text(text)
    assert cli.main(["train", str(path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err


def test_errors_in_a_process_have_no_traceback(tmp_path):
    status, out, errors = processes.run(COMMAND, "train", "nothing.toml", cwd=tmp_path)
    assert (status, out) == (1, "")
    assert errors.startswith("qstore: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "raw",
    [b"x1,x2,y\n1,2,0\n", b"\x80\x04N.", b"\x93NUMPY", WHOLE[:-4], b"", npz(a=X)],
    ids=["CSV", "a pickle", "one array", "truncated", "empty", "other arrays"],
)
def test_other_data_is_told_what_is_expected(raw, tmp_path, capsys):
    assert cli.main(["train", str(write(tmp_path, raw=raw))]) == 1
    message = capsys.readouterr().err
    assert "arrays X and y" in message
    assert "data.npz" in message
    assert "pickle" not in message
    assert "unsafe" not in message


def test_the_way_from_csv_to_an_archive_that_is_told_works(tmp_path, monkeypatch):
    path = write(tmp_path)
    monkeypatch.chdir(tmp_path)
    rows = np.column_stack([X, Y])
    np.savetxt("data.csv", rows, delimiter=",", header="a,b,label", comments="")
    Path("data.npz").unlink()
    exec(run_file.FROM_CSV, {})
    assert cli.main(["train", str(path)]) == 0


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = write(tmp_path, epochs=1)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert cli.main(["train", str(path)]) == 0


def test_a_file_in_another_encoding_is_refused(tmp_path, capsys):
    path = write(tmp_path)
    path.write_text(path.read_text(), encoding="utf-16")
    assert cli.main(["train", str(path)]) == 1
    assert "config.toml` is not TOML in UTF-8" in capsys.readouterr().err


def test_a_field_above_the_tables_is_told_its_table(tmp_path, capsys):
    path = write(tmp_path)
    path.write_text("epochs = 3\n" + path.read_text())
    assert cli.main(["train", str(path)]) == 1
    assert "`epochs`, which belongs in [training]" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"qstore {qstore_pl.__version__}\n"


# --- output that goes nowhere -----------------------------------------------------

STOPPED = re.compile(r"Training was stopped by stop\(\) after epoch \d+, batch 0\.\n")


@pytest.mark.timeout(TIMEOUT)
def test_training_stops_when_nobody_reads_any_more(tmp_path):
    write(tmp_path, epochs=10**6, checkpoint_interval=10**6)
    with Forked(COMMAND, "train", "config.toml", cwd=tmp_path) as process:
        process.stdout.readline()
        process.stdout.close()  # as `head -1` does
        assert process.wait(timeout=60) == 141
        assert STOPPED.fullmatch(process.errors)
    assert len(list((tmp_path / "run").glob("epoch*"))) == 1


def ended(arguments, output, directory):
    """Status and standard error of the command, whose output is a file."""
    # argparse passes over what goes wrong when it writes; at the end it is noticed
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [*MODULE, *arguments],
        cwd=directory,
        env=buffered,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
    )
    return done.returncode, done.stderr


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_ends_a_command_without_a_traceback(tmp_path):
    write(tmp_path, epochs=10**6)
    full = "qstore: [Errno 28] No space left on device\n"
    with Path("/dev/full").open("wb") as output:
        status, message = ended(["train", "config.toml"], output, tmp_path)
        assert ended(["--help"], output, tmp_path) == (status, full)
    assert status == 1
    assert message.endswith(full)
    assert STOPPED.fullmatch(message.removesuffix(full))
    assert len(list((tmp_path / "run").glob("epoch*"))) == 1
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        assert ended(["--version"], output, tmp_path) == (141, "")


# --- checkpoints ------------------------------------------------------------------


@pytest.mark.parametrize("what", ["ls", "show", "verify"])
def test_checkpoints_that_are_not_there(what, tmp_path, capsys):
    assert cli.main(["checkpoints", what, str(tmp_path / "nothing")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("qstore: ")
    assert "nothing" in shown.err


@pytest.fixture
def run_directory(tmp_path):
    by_hand(tmp_path / "run")
    return tmp_path / "run"


def flip(path):
    """Damage a file as a disk would: its time stays."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_checkpoints_are_listed_oldest_first(run_directory, capsys):
    _, history = parameters_of(run_directory / "epoch000004-step000000.qstore")
    (run_directory / "notes.txt").write_text("not a checkpoint")
    assert cli.main(["checkpoints", "ls", str(run_directory)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert re.split(" {2,}", head) == [
        *("checkpoint", "bytes", "epoch", "batch", "last loss", "state")
    ]
    names = [f"epoch00000{epoch}-step000000.qstore" for epoch in (1, 2, 3, 4)]
    assert [line.split()[0] for line in lines] == [*names, "best.qstore"]
    for epoch, (name, line) in enumerate(zip(names, lines, strict=False), start=1):
        size = (run_directory / name).stat().st_size
        loss = f"{history['losses'][epoch - 1]:.6g}"
        assert re.split(" {2,}", line) == [
            *(name, f"{size:,}", f"{epoch}", "0", loss, "ok")
        ]


def test_damaged_checkpoints_are_listed_as_such(run_directory, capsys):
    flip(run_directory / "epoch000002-step000000.qstore")
    assert cli.main(["checkpoints", "ls", str(run_directory)]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert ["damaged: " in line for line in lines] == [False, True, False, False, False]


def test_show_says_what_a_checkpoint_holds(run_directory, capsys):
    path = run_directory / "epoch000004-step000000.qstore"
    assert cli.main(["checkpoints", "show", str(path)]) == 0
    text = capsys.readouterr().out
    for words in (
        f"{path}: epoch 4, batch 0, last loss",
        "  learning_rate = 0.1\n",
        "  schedule = cosine\n",
        f"  checkpoint_directory = {run_directory}\n",
        "  numpy = ",
        "'input_dim': 2",
    ):
        assert words in text


def test_show_and_verify_take_the_directory_of_a_run(run_directory, capsys):
    def shown(what, status=0):
        assert cli.main(["checkpoints", what, str(run_directory)]) == status
        return capsys.readouterr()

    assert f"{run_directory}/epoch000004-step000000.qstore: epo" in shown("show").out
    for path in run_directory.glob("epoch*"):
        path.unlink()
    assert f"{run_directory}/best.qstore: epoch" in shown("show").out
    (run_directory / "best.qstore").unlink()
    for what in ("show", "verify"):
        assert "Give the checkpoint_directory of" in shown(what, status=1).err


@pytest.mark.parametrize("tree", [{"a": 1, "b": [2]}, [1, 2], 3, {"run": 1}, "word"])
def test_show_takes_checkpoints_of_users(tree, tmp_path, capsys):
    QuantumTrainer().save_checkpoint(tree, tmp_path / "mine")
    assert cli.main(["checkpoints", "show", str(tmp_path / "mine")]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "not of a training run" in shown.out
    assert cli.main(["checkpoints", "verify", str(tmp_path / "mine")]) == 0


def test_verify_finds_the_damaged_ones(run_directory, capsys):
    arguments = ["checkpoints", "verify", str(run_directory)]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("ok       ") for line in lines)
    flip(run_directory / "epoch000003-step000000.qstore")
    flip(run_directory / "best.qstore")
    assert cli.main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("ok", "ok", "damaged", "ok", "damaged")
    ]
    one = str(run_directory / "epoch000003-step000000.qstore")
    assert cli.main(["checkpoints", "verify", one]) == 1
    assert cli.main(["checkpoints", "show", one]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("damaged  epoch000003")
    assert shown.err.startswith("qstore: ")


def test_verify_reads_to_the_end_of_a_file(run_directory, monkeypatch, capsys):
    path = run_directory / "best.qstore"
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.chdir(run_directory)
    assert cli.main(["checkpoints", "verify", "best.qstore"]) == 1
    assert capsys.readouterr().out.startswith("damaged  best.qstore: ")
