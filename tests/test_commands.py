"""The commands of the console: what each finds, as text and as JSON."""

import json
import re
import subprocess
import sys
from importlib import metadata

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    Adam,
    BackendManager,
    CheckpointIndex,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    cli,
    quickstart,
)
from qstore_pl.backends.ledger import Entry, Ledger
from qstore_pl.commands import bench, contenders

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (12, 2))
Y = (X[:, 0] > 0).astype(int)
SETTINGS = {"epochs": 2, "batch_size": 6, "loss": "cross_entropy", "seed": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a file for `qstore train`, what it trained, and its store."""
    place = tmp_path_factory.mktemp("place")
    np.savez(place / "data.npz", X=X, y=Y)
    (place / "run.toml").write_text(
        '[data]\npath = "data.npz"\n[model]\noutput_dim = 2\nn_layers = 1\n[training]\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in SETTINGS.items())
    )
    config = TrainingConfig(
        **SETTINGS,
        checkpoint_directory=place / "run",
        store_directory=place / "store",
    )
    model = QuantumModel(2, 2, n_layers=1, seed=0)
    QuantumTrainer(config).train(model, (X, Y))
    model.save(place / "model.qstore")
    return place


def printed(capsys, *words, status=0):
    """What a command prints; nothing is on stderr if all went well."""
    assert cli.main([*map(str, words)]) == status
    shown = capsys.readouterr()
    if not status:
        assert shown.err == ""
    return shown.out


def document(capsys, *words, status=0):
    """The document that a command prints, which is all that it prints."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    text = printed(capsys, *words, "--json", status=status)
    return json.loads(text, parse_constant=refuse)


# --- the command line --------------------------------------------------------------

HELP = """
import contextlib, io, sys
from qstore_pl import cli
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
    cli.main(["--help"])
assert "usage: qstore" in out.getvalue()
heavy = {"numba", "numpy", "pennylane", "scipy", "sklearn", "tqdm"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_imports_nothing_that_takes_long(tmp_path):
    command = [sys.executable, "-c", HELP]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_help_names_all_commands_and_each_exit_status(capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["--help"])
    assert raised.value.code == 0
    text = capsys.readouterr().out
    named = set(re.findall(r"^ {4}(\w+) ", text, re.MULTILINE))
    assert named == {
        *("quickstart", "train", "predict", "cost", "checkpoints", "store", "jobs"),
        *("devices", "backends", "bench"),
    }
    statuses = text.partition("exit status:\n")[2]
    assert re.findall(r"^ +(\d+) ", statuses, re.MULTILINE) == [
        *("0", "1", "2", "130", "141")
    ]


GROUPS = {
    "checkpoints": ("ls", "show", "verify"),
    "jobs": ("ls", "show", "fetch", "resolve"),
    "store": ("ls", "search", "export", "gc", "verify"),
}


@pytest.mark.parametrize(
    "words",
    [
        *([one.__name__.rpartition(".")[2]] for one in cli.COMMANDS),
        *([group, what] for group, names in GROUPS.items() for what in names),
    ],
    ids=" ".join,
)
def test_every_command_that_prints_a_result_has_json(words, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main([*words, "--help"])
    assert raised.value.code == 0
    text = capsys.readouterr().out
    assert ("--json" in text) == (words not in [[group] for group in GROUPS])


def test_an_error_leaves_stdout_empty_where_json_is_asked_for(tmp_path, capsys):
    assert cli.main(["cost", str(tmp_path / "no.toml"), "--json"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("qstore: ")


# --- where circuits run ------------------------------------------------------------


def test_devices_are_those_of_pennylane_ours_first(capsys):
    found = document(capsys, "devices")["devices"]
    names = [one["device"] for one in found]
    assert sorted(names) == sorted(qml.plugin_devices)
    assert names[:2] == ["qstore.mock_ideal", "qstore.mock_noisy"]
    known = {one["device"]: one for one in found}
    assert known["qstore.mock_ideal"]["gradients"] == ["backprop", "adjoint", "device"]
    assert known["default.qubit"]["gradients"] == ["backprop", "adjoint"]
    assert known["default.mixed"]["gradients"] == ["backprop"]
    assert known["lightning.qubit"]["gradients"] == ["adjoint"]
    for name in ("qstore.mock_ideal", "qstore.mock_noisy", "lightning.qubit"):
        operations = qml.device(name, wires=1).capabilities.operations
        assert known[name]["gates"] == len(operations)
    asked = {one["package"] for one in found if one["asked"]}
    assert asked == {"qstore-pl", "pennylane", "pennylane-lightning"}
    assert known["default.qubit"]["version"] == metadata.version("pennylane")
    lines = printed(capsys, "devices").splitlines()
    assert [line.split()[0] for line in lines[1 : len(names) + 1]] == names
    told = {line.partition(": ")[0] for line in lines[len(names) + 1 :]}
    assert told == {one["device"] for one in found if one["missing"]}


def test_backends_tell_what_is_missing_and_never_a_key(monkeypatch, capsys):
    monkeypatch.setenv("IONQ_API_KEY", "sk-0123456789")
    monkeypatch.delenv("PENNYLANE_IONQ_API_KEY", raising=False)
    monkeypatch.delenv("QISKIT_IBM_TOKEN", raising=False)
    monkeypatch.setattr("qstore_pl.backends.table.is_installed", lambda _: False)
    text = printed(capsys, "backends")
    found = {one["name"]: one for one in document(capsys, "backends")["backends"]}
    assert set(found) == set(BackendManager().list_backends())
    assert found["ionq_qpu"]["key"] == "IONQ_API_KEY is set"
    assert found["qiskit_remote"]["key"] == "missing"
    assert found["mock_ideal"]["install"] is None
    assert found["cirq"]["install"] == 'pip install "qstore-pl[cirq]"'
    assert 'no: pip install "qstore-pl[cirq]"' in text
    assert "sk-0123456789" not in text + str(found)


# --- runs ----------------------------------------------------------------------------


def test_quickstart_as_a_document(capsys):
    found = document(capsys, "quickstart", "--seed-run")
    wanted = quickstart.seed_run(seed=0, tell=lambda line: None)
    assert found["accuracy"] == wanted.accuracy
    assert [row["loss"] for row in found["history"]] == wanted.history["losses"]
    assert (found["n_parameters"], found["files"]) == (wanted.n_parameters, {})


def test_train_as_a_document(place, capsys):
    found = document(capsys, "train", place / "run.toml")
    model = QuantumModel(2, 2, n_layers=1, seed=0)
    history = QuantumTrainer(TrainingConfig(**SETTINGS)).train(model, (X, Y))
    assert [row["loss"] for row in found["history"]] == history["losses"]
    assert (found["epochs"], found["stopped"]) == (2, None)
    assert found["parameters"] == model.count_parameters(include_readout=True)


@pytest.mark.parametrize(
    ("word", "in_file", "shown"),
    [
        ("--progress", "", True),
        ("--no-progress", "progress = true\n", False),
        (None, "progress = true\n", True),
        (None, "", False),
    ],
)
def test_a_word_about_the_bar_wins_over_the_file(
    word, in_file, shown, place, tmp_path, capsys
):
    (tmp_path / "data.npz").write_bytes((place / "data.npz").read_bytes())
    path = tmp_path / "run.toml"
    path.write_text((place / "run.toml").read_text() + in_file)
    assert cli.main(["train", str(path), *([word] if word else [])]) == 0
    out, err = capsys.readouterr()
    assert ("2/2" in err) == shown
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["epoch", "1"],
        ["epoch", "2"],
    ]


def test_cost_as_a_document(place, capsys):
    found = document(capsys, "cost", place / "run.toml")
    assert found["total"]["circuits"] == 2 * len(X)
    assert found["backend"] == "mock_ideal"


# --- predictions ---------------------------------------------------------------------


def csv_of(path, array, head=""):
    np.savetxt(path, array, delimiter=",", header=head, comments="", fmt="%.17g")
    return path


def test_predictions_are_those_of_the_model(place, tmp_path, capsys):
    model = QuantumModel.from_checkpoint(place / "model.qstore")
    outputs, classes = model.forward(X), model.predict(X)
    samples = csv_of(tmp_path / "new.csv", X, "a,b")
    head, *lines = printed(
        capsys, "predict", place / "model.qstore", samples
    ).splitlines()
    assert head == "class"
    assert [int(line) for line in lines] == classes.tolist()
    csv = printed(capsys, "predict", place / "model.qstore", samples, "--outputs")
    assert csv.startswith("class,output_0,output_1\n")
    table = np.loadtxt(csv.splitlines(), delimiter=",", skiprows=1)
    np.testing.assert_array_equal(table, np.column_stack([classes, outputs]))
    # the directory of a run, an archive, and a file without names
    for checkpoint in (place / "run", place / "run" / "best.qstore"):
        found = document(capsys, "predict", checkpoint, place / "data.npz", "--outputs")
        assert found["samples"] == len(X)
        own = QuantumModel.from_checkpoint(found["checkpoint"])
        assert found["classes"] == own.predict(X).tolist()
        assert found["outputs"] == own.forward(X).tolist()
    found = document(
        capsys, "predict", place / "run", csv_of(tmp_path / "one.csv", X[:1])
    )
    assert (found["classes"], "outputs" in found) == (classes[:1].tolist(), False)
    assert found["checkpoint"].endswith("epoch000002-step000000.qstore")


def test_predictions_of_a_regression_are_outputs(tmp_path, capsys):
    model = QuantumModel(2, 1, n_layers=1, seed=0)
    QuantumTrainer(TrainingConfig(epochs=1, seed=0)).train(model, (X, X[:, 0]))
    model.save(tmp_path / "model")
    samples = csv_of(tmp_path / "new.csv", X)
    words = ("predict", tmp_path / "model", samples, "--backend", "default.qubit")
    found = document(capsys, *words)
    assert "classes" not in found
    np.testing.assert_allclose(found["outputs"], model.forward(X), atol=1e-12)
    assert printed(capsys, *words).startswith("output_0\n")


def test_the_loss_of_a_run_decides_what_its_checkpoints_predict(place):
    """They are written while it trains, when the model does not know it yet."""
    model = QuantumModel.from_checkpoint(place / "run" / "best.qstore")
    np.testing.assert_array_equal(model.predict(X), model.forward(X).argmax(axis=1))


REFUSED = {
    "a column too many": (b"1,2,0\n", "shape (n_samples, 2), with the features"),
    "nothing": (b"", "must have a line for each sample"),
    "names alone": (b"a,b\n\n", "must have a line for each sample"),
    "a word": (b"1,2\n3,x\n", "must have numbers alone"),
    "lines of different lengths": (b"1,2\n3\n", "must have numbers alone"),
    "another encoding": (b"\xff\xfe1\x00", "neither a whole npz archive nor a CSV"),
    "NaN": (b"1,nan\n", "finite"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_other_files_of_samples_are_refused(content, message, place, tmp_path, capsys):
    (tmp_path / "new").write_bytes(content)
    words = ["predict", str(place / "model.qstore"), str(tmp_path / "new")]
    assert cli.main(words) == 1
    shown = capsys.readouterr()
    assert (shown.out, message in shown.err) == ("", True), shown.err


def test_an_archive_without_samples_and_a_model_without_training(
    place, tmp_path, capsys
):
    np.savez(tmp_path / "no.npz", Z=X)
    words = ["predict", str(place / "model.qstore"), str(tmp_path / "no.npz")]
    assert cli.main(words) == 1
    assert "must have an array X, but has Z" in capsys.readouterr().err
    QuantumModel(2, 2, seed=0).save(tmp_path / "new")
    words = ["predict", str(tmp_path / "new"), str(place / "data.npz")]
    assert cli.main(words) == 1
    assert "must hold a trained model" in capsys.readouterr().err


# --- what is kept -------------------------------------------------------------------


def test_checkpoints_as_documents(place, tmp_path, capsys):
    listed = document(capsys, "checkpoints", "ls", place / "run")["checkpoints"]
    names = sorted(path.name for path in (place / "run").glob("*.qstore"))
    assert sorted(one["name"] for one in listed) == names
    for one in listed:
        assert one["bytes"] == (place / "run" / one["name"]).stat().st_size
        assert one["state"] == "ok"
    shown = document(capsys, "checkpoints", "show", place / "run")
    assert (shown["epoch"], shown["batch"]) == (2, 0)
    assert shown["config"]["batch_size"] == 6
    assert shown["model"]["input_dim"] == 2
    QuantumTrainer().save_checkpoint({"a": 1}, tmp_path / "mine")
    shown = document(capsys, "checkpoints", "show", tmp_path / "mine")
    assert (shown["of_a_run"], shown["entries"]) == (False, ["a"])
    whole = (tmp_path / "mine").read_bytes()
    (tmp_path / "half").write_bytes(whole[: len(whole) // 2])
    found = document(capsys, "checkpoints", "verify", tmp_path / "half", status=1)
    assert found["checkpoints"][0]["damage"]


def test_jobs_as_documents(tmp_path, capsys):
    words = ("--ledger", tmp_path / "jobs.db")
    assert document(capsys, "jobs", "ls", *words)["jobs"] == []
    assert printed(capsys, "jobs", "ls", *words).startswith("There are no jobs in")
    ledger = Ledger(tmp_path / "jobs.db")
    of_all = {"run": "r", "backend": "ionq_qpu", "target": "qpu.aria-1", "digest": "0"}
    for letter in "abc":
        sizes = {"circuits": 2, "qubits": 3, "shots": 100, "dollars": 24.5}
        ledger.reserve(Entry(key=64 * letter, **of_all, **sizes))
    ledger.sent(64 * "a", "job-1")
    ledger.done(64 * "a", {"0": 1.0})
    listed = document(capsys, "jobs", "ls", *words)["jobs"]
    told = ("key", "target", "circuits", "dollars", "state", "job")
    wanted = [
        ("qpu.aria-1", 2, 24.5, "done", "job-1"),
        *(2 * [("qpu.aria-1", 2, 24.5, "sending", None)]),
    ]
    assert [tuple(one[name] for name in told) for one in listed] == [
        (64 * letter, *row) for letter, row in zip("abc", wanted, strict=True)
    ]
    head, *rows = printed(capsys, "jobs", "ls", *words).splitlines()
    assert [len(row) >= head.index("state") for row in rows] == 3 * [True]
    assert document(capsys, "jobs", "show", "aa", *words)["result"] == {"0": 1.0}
    fetched = document(capsys, "jobs", "fetch", "aa", *words)
    assert fetched["message"] == "The result of job job-1 is recorded already."
    found = document(capsys, "jobs", "resolve", "bb", "--id", "job-2", *words)
    assert (found["state"], found["job"]) == ("sent", "job-2")
    found = document(capsys, "jobs", "resolve", "cc", "--resend", *words)
    assert found["message"].endswith("is sent again when the program runs again.")
    assert found["state"] == ledger.find("cc").state


def test_a_store_as_documents(place, tmp_path, capsys):
    store = place / "store"
    found = document(capsys, "store", "ls", store)
    assert [one["index"] for one in found["indexes"]] == [
        *("qstore", "qstore-checkpoints")
    ]
    embeddings, checkpoints = found["indexes"]
    assert len(X) in embeddings["namespaces"].values()
    assert len(embeddings["models"]) == 1
    saved = {one.name: one.metadata for one in CheckpointIndex.open(store).ls()}
    assert {one["name"]: one["loss"] for one in checkpoints["checkpoints"]} == {
        name: metadata["loss"] for name, metadata in saved.items()
    }
    near = document(capsys, "store", "search", store, "--id", "000003", "--top-k", 3)
    (matches,) = near["namespaces"].values()
    states = QuantumModel.from_checkpoint(place / "model.qstore").states(X)
    fidelities = np.abs(states.conj() @ states[3]) ** 2
    fidelities[3] = 0
    nearest = np.argsort(-fidelities)[:3]
    assert [int(one["id"]) for one in matches] == nearest.tolist()
    np.testing.assert_allclose(
        [one["fidelity"] for one in matches], fidelities[nearest], atol=1e-6
    )
    name = next(iter(saved))
    alike = document(capsys, "store", "search", store, name)["checkpoints"]
    assert {one["name"] for one in alike} == set(saved) - {name}
    out = tmp_path / "out"
    exported = document(capsys, "store", "export", store, name, out)
    assert exported == {"checkpoint": name, "file": str(out)}
    assert document(capsys, "store", "gc", store)["deleted_chunks"] == {
        "qstore": 0,
        "qstore-checkpoints": 0,
    }
    assert document(capsys, "store", "verify", store)["damaged"] == {}


# --- times --------------------------------------------------------------------------

SMALL = contenders.Problem(3, 1, 3)


@pytest.fixture
def quick(monkeypatch):
    """A measurement that takes no time."""
    monkeypatch.setattr(contenders, "PROBLEMS", (SMALL,))
    monkeypatch.setattr(contenders, "SECONDS", 1e-3)


@pytest.mark.parametrize(
    ("load", "words"), [(0.1, "an idle computer"), (3.0, "are doubtful")]
)
def test_bench_says_how_busy_the_computer_is(load, words, quick, monkeypatch, capsys):
    monkeypatch.setattr(bench.os, "getloadavg", lambda: (load, 0.0, 0.0))
    text = printed(capsys, "bench", "--repeats", 3)
    assert words in text
    rows = [line.split() for line in text.splitlines() if "qubit" in line]
    assert [row[1] for row in rows if row[0] == "3"] == [
        *("default.qubit", "lightning.qubit")
    ]


def test_bench_as_a_document(quick, capsys):
    found = document(capsys, "bench", "--repeats", 3)
    (result,) = found["results"]
    assert (result["qubits"], result["layers"], result["batch"]) == (3, 1, 3)
    assert result["largest_difference"] < 1e-12
    steps = {one["device"]: one for one in result["steps"]}
    assert list(steps) == ["qstore.mock_ideal", "default.qubit", "lightning.qubit"]
    for one in steps.values():
        low, high = one["quartiles"]
        assert low <= one["median"] <= high


def test_bench_times_nothing_that_differs(quick, monkeypatch, capsys):
    right = contenders.Plain.loss_and_gradient
    monkeypatch.setattr(
        contenders.Plain, "loss_and_gradient", lambda self: right(self) + 1e-6
    )
    monkeypatch.setattr(contenders, "timed", None)
    assert cli.main(["bench"]) == 1
    shown = capsys.readouterr()
    assert (shown.out, "differ from ours by 1.0e-06" in shown.err) == ("", True)


def test_the_loops_that_are_timed_train_alike():
    """Five steps of Adam by either loop; only their epsilons are at other places."""
    model, data = SMALL.model(), SMALL.data(5)
    config = TrainingConfig(batch_size=SMALL.batch, shuffle=False, epochs=1, seed=0)
    trainer = QuantumTrainer(config, optimizer=Adam(0.01, epsilon=1e-14))
    trainer.train(model, data)
    plain = contenders.Plain(SMALL, "default.qubit", diff_method="backprop")
    optimizer, weights = (
        qml.AdamOptimizer(0.01, beta2=0.999, eps=1e-14),
        plain._first,
    )
    for batch in zip(*(np.split(array, 5) for array in data), strict=True):
        weights = optimizer.step(plain._cost, weights, *batch)[0]
    unseen = list(model.summary().unseen_weights)  # their gradients are rounding
    found, wanted = (np.delete(one, unseen) for one in (weights, model.parameters))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("word", ["2", "x", "-3"])
def test_bench_takes_three_measurements_at_least(word, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["bench", "--repeats", word])
    assert raised.value.code == 2
    assert "must be a number >= 3" in capsys.readouterr().err
