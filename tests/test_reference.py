"""The API reference: every public name once, with an example, and in the table."""

import doctest
import importlib
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

import qstore_pl

DOCS = Path(__file__).parents[1] / "docs"
ENTRY = re.compile(r"^\.\. auto(?:class|function|exception):: (\S+)$", re.M)
NAMES = [
    name
    for page in sorted((DOCS / "api").glob("*.md"))
    for name in ENTRY.findall(page.read_text())
]
PARSER = doctest.DocTestParser()

# Names that a package shares with the other parts of qstore_pl, not with users.
SHARED = {
    "backends": (
        *("MachineFactory", "MachineLanes", "NamedDevice", "Purse", "as_backend"),
        *("configured", "wire_labels"),
    ),
    "compiled": ("plain_qnode",),
    "devices": (
        *("Call", "CannotCompileError", "Drawn", "Executable", "IdlePasses", "Lanes"),
        *("Parametric", "Recorded", "Shifts", "SymbolError", "TorchSymbols", "Uses"),
        *("alike", "aside", "bound_operations", "check_alike", "check_memory"),
        *("deferred_bound", "density_matrix", "executable", "functions"),
        *("generator_state", "has_groups", "in_batches", "in_threads", "lanes"),
        *("lanes_of_weights", "needs_value", "of_first_sample", "parametric"),
        *("parts_of", "pauli_vector", "recorded", "rules_of_conditions"),
        *("running_on", "set_generator_state", "shift_fails", "symbols_of"),
        *("tape_metric", "traced", "twice", "untied_columns"),
    ),
    "gradients": (
        *("ParallelEstimator", "Shard", "ShardResult", "ShardTask", "ShardWork"),
        *("ShardedEstimator", "ShotVariances"),
    ),
}

# What another name makes, takes or stands for, whose example shows it.
SHOWN_BY = {
    "autoencoder.AutoencoderReport": "QuantumAutoencoder.report",
    "backends.BackendInfo": "backends.BackendTable",
    "backends.Batch": "backends.Machine",
    "backends.Limits": "backends.Machine",
    "backends.MachineDevice": "backends.Machine",
    "backends.Ticket": "backends.Machine",
    "backends.ledger.Entry": "backends.ledger.Ledger",
    "backends.remote.Parcel": "backends.ionq.IonQMachine",
    "backends.remote.RemoteMachine": "backends.ionq.IonQMachine",
    "baselines.Report": "report",
    "baselines.ReportRow": "report",
    "checkpoint.load": "checkpoint.save",
    "compiled.Compiled": "compile",
    "cost.Formula": "QuantumTrainer.estimate_cost",
    "devices.FubiniStudy": "devices.metric",
    "devices.Gate": "backends.Machine",
    "devices.LightCones": "devices.light_cones",
    "devices.Metric": "devices.metric",
    "devices.MixedProgram": "devices.compile",
    "devices.Program": "devices.compile",
    "devices.ResumableDevice": "devices.MockIdeal",
    "devices.Symbols": "devices.symbols",
    "devices.TrajectoryProgram": "devices.compile",
    "diagnostics.Entanglement": "diagnostics.entanglement",
    "diagnostics.Expressibility": "diagnostics.expressibility",
    "diagnostics.FourierSpectrum": "diagnostics.fourier_spectrum",
    "diagnostics.GradientVariance": "diagnostics.gradient_variance",
    "diagnostics.ShotNoise": "diagnostics.shot_noise",
    "embedding.exact_values": "QuantumModel.embed",
    "embedding.local": "QuantumModel.embed",
    "embedding.pauli": "QuantumModel.embed",
    "gradients.AuditRow": "audit_gradients",
    "gradients.CompiledGradient": "gradients.estimator_of",
    "gradients.DeviceGradient": "gradients.estimator_of",
    "gradients.Expectations": "gradients.estimator_of",
    "gradients.FiniteDifferences": "gradients.estimator_of",
    "gradients.GradientAudit": "audit_gradients",
    "gradients.GradientComputer": "QuantumGradientComputer",
    "gradients.GradientEstimator": "gradients.estimator_of",
    "gradients.ModelExpectations": "gradients.estimator_of",
    "gradients.ParameterShift": "gradients.estimator_of",
    "gradients.QNodeExpectations": "gradients.estimator_of",
    "gradients.SimultaneousPerturbation": "gradients.estimator_of",
    "gradients.WeightMetric": "gradients.metric_of",
    "index.Alike": "CheckpointIndex",
    "index.Classified": "EmbeddingIndex",
    "index.Neighbour": "EmbeddingIndex",
    "index.Provenance": "EmbeddingIndex",
    "index.Saved": "CheckpointIndex",
    "kernels.Kernel": "FidelityKernel",
    "kernels.KernelTraining": "kernels.train_kernel",
    "layers.Features": "layers.Block",
    "layers.LayerCircuit": "QuantumLayer",
    "layers.QNodeLayer": "QuantumModel.from_qnode",
    "layers.Standalone": "QuantumLayer",
    "layers.Weights": "layers.Block",
    "losses.binary": "losses.get_loss",
    "losses.cross_entropy": "losses.get_loss",
    "losses.hinge": "losses.get_loss",
    "losses.mean_squared_error": "losses.get_loss",
    "store.Match": "VectorStore",
    "store.Record": "VectorStore",
    "store.Stats": "VectorStore",
    "summary.LayerRow": "QuantumModel.summary",
    "summary.ModelSummary": "QuantumModel.summary",
    "trainer.SweepRow": "sweep",
    "trainer.Trainable": "QuantumTrainer",
}

# Their examples are not run: they need a key, or packages that the tests do without.
NOT_RUN = {
    "callbacks.MLflowLogger",
    "callbacks.TensorBoardLogger",
    "store.PineconeStore",
}


def found(name):
    """The object of a documented name, whose module is the longest that there is."""
    module, _, last = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), last)
    except ModuleNotFoundError:
        return getattr(found(module), last)


def texts(public):
    """The docstring, and for a class those of its own methods."""
    members = vars(public).values() if inspect.isclass(public) else ()
    documented = (getattr(member, "__func__", member) for member in members)
    return [
        inspect.getdoc(public) or "",
        *filter(None, map(inspect.getdoc, documented)),
    ]


def public_names():
    """The names that ``__all__`` has, of the package and of its modules."""
    names = {name: f"qstore_pl.{name}" for name in qstore_pl.__all__}
    for module in set(qstore_pl._MODULES) - {"aio"}:  # which has the same names again
        exported = importlib.import_module(f"qstore_pl.{module}")
        for name in getattr(exported, "__all__", ()):
            if name not in SHARED.get(module, ()):
                names[f"{module}.{name}"] = f"qstore_pl.{module}.{name}"
    kinds = {path: found(path) for path in names.values()}
    return {
        path: kind
        for path, kind in kinds.items()
        if inspect.isclass(kind) or inspect.isfunction(kind)
        if kind.__module__.startswith("qstore_pl")
    }


def test_every_public_name_is_documented_once():
    documented = Counter(id(found(name)) for name in NAMES)
    assert set(documented.values()) == {1}
    missing = {p for p, kind in public_names().items() if id(kind) not in documented}
    assert not missing


def test_names_of_the_package_are_documented_as_such():
    first = {id(getattr(qstore_pl, name)): name for name in qstore_pl.__all__}
    for name in NAMES:
        short = first.get(id(found(name)))
        assert short is None or name == f"qstore_pl.{short}"


def test_shared_names_are_neither_documented_nor_unknown():
    documented = {id(found(name)) for name in NAMES}
    for module, names in SHARED.items():
        for name in names:
            assert id(found(f"qstore_pl.{module}.{name}")) not in documented


def test_the_table_has_all_names_of_the_pages_in_their_order():
    table = (DOCS / "api.md").read_text()
    pages = re.findall(r"^\[.*\]\((api/[\w-]+\.md)\)$", table, re.M)
    assert sorted(pages) == sorted(f"api/{p.name}" for p in (DOCS / "api").iterdir())
    names = [name for p in pages for name in ENTRY.findall((DOCS / p).read_text())]
    assert re.findall(r"^   (qstore_pl\.[\w.]+)$", table, re.M) == names


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_docstring_and_an_example(name):
    public, short = found(name), name.removeprefix("qstore_pl.")
    text, *members = texts(public)
    assert text.splitlines()[0].endswith((".", ":"))
    if short in NOT_RUN:
        assert "Example:\n" in text
        return
    if inspect.isclass(public) and issubclass(public, Exception):
        return  # what raises it is said in one line, and there is nothing to show
    shows = [text, *members]
    if not any(map(PARSER.get_examples, shows)):
        shows = texts(found(f"qstore_pl.{SHOWN_BY[short]}"))
    else:
        assert short not in SHOWN_BY
    assert any(map(PARSER.get_examples, shows))
