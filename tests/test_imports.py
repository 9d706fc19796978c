"""Imports point down: which module may import which, read from the source with ast."""

import ast
import graphlib
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import qstore_pl

ROOT = "qstore_pl"
# From the ground up. A part imports its own group and the ones before it.
FLOORS = (
    ("errors", "_axes", "_blas", "_checks", "_computer", "_curves", "_files", "_lazy"),
    ("_progress", "_secrets", "_tables"),
    ("config",),
    ("engine", "templates", "optimizers", "losses", "history", "store"),
    ("checkpoint", "circuit", "readout"),
    ("devices",),
    ("compiled",),
    ("backends",),
    ("encoding", "placed", "embedding"),
    ("layers",),
    ("stack",),
    ("description", "summary"),
    ("model",),
    ("gradients", "kernels", "index"),
    ("cost", "callbacks", "diagnostics"),
    ("trainer", "interfaces"),
    ("autoencoder", "sklearn"),
    ("quickstart", "run_file", "baselines"),
    ("commands",),
    ("cli",),
)
FLOOR = {part: height for height, parts in enumerate(FLOORS) for part in parts}
# The lazy public names, their awaitable twins, and `python -m`.
ROOF = (ROOT, f"{ROOT}.aio", f"{ROOT}.__main__")


def part(module):
    """The ``engine`` of ``qstore_pl.engine.fusion``."""
    return module.split(".")[1]


def is_ours(name):
    return name.split(".")[0] == ROOT


# --- reading ---------------------------------------------------------------------


def imported_names(source, module, *, is_package):
    """Absolute dotted names of what ``source`` imports, wherever in it that is."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                anchor = parents[: len(parents) - node.level + 1]
                base = ".".join([*anchor, base] if base else anchor)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def package_imports(directory, lazy):
    """Module -> names it imports; a name inside one of our modules is that module.

    ``lazy`` is where the root finds its public names: name -> part.
    """
    files = {}
    for file in sorted(directory.rglob("*.py")):
        parts = (directory.name, *file.relative_to(directory).with_suffix("").parts)
        files[".".join(parts).removesuffix(".__init__")] = file
    public = {f"{ROOT}.{name}": f"{ROOT}.{home}" for name, home in lazy.items()}

    def home(name):
        name = public.get(name, name)
        while is_ours(name) and name not in files and "." in name:
            name = name.rpartition(".")[0]
        return name

    return {
        module: {
            home(name)
            for name in imported_names(
                file.read_text(), module, is_package=file.name == "__init__.py"
            )
            if name != f"{ROOT}.__version__"
        }
        for module, file in files.items()
    }


# --- checking --------------------------------------------------------------------


def problems(imports):
    """What is wrong with ``imports``, a dict from module to the names it imports."""
    found = []
    for module, names in imports.items():
        if module in ROOF:
            continue
        if part(module) not in FLOOR:
            found.append(f"{module} is on no floor: add it to FLOORS")
            continue
        for name in sorted(names):
            found += [f"{module} {wrong}" for wrong in wrong_with(part(module), name)]
    inside = {m: names for m, names in imports.items() if m not in ROOF}
    by_part = {}
    for module, names in inside.items():
        by_part.setdefault(part(module), set()).update(names)
    for own, names in by_part.items():
        tops = {name.split(".")[0] for name in names}
        uses_engine = any(
            is_ours(n) and n != ROOT and part(n) == "engine" for n in names
        )
        if own not in ("engine", "devices") and "pennylane" in tops and uses_engine:
            found.append(f"{own} imports both pennylane and the engine")
    found += circles(inside)
    found += circles(
        {
            own: {part(n) for n in names if is_ours(n) and n != ROOT} - {own}
            for own, names in by_part.items()
        }
    )
    return found


def wrong_with(own, name):
    """Why part ``own`` may not import ``name``: none or more sentences."""
    top = name.split(".")[0]
    if top in ("numba", "llvmlite") and own != "engine":
        yield f"imports {name}: only the engine may"
    if top == "pennylane" and own == "engine":
        yield f"imports {name}: the engine knows no PennyLane"
    if name in ROOF:
        yield f"imports {name}: name the module it comes from"
    elif is_ours(name):
        if part(name) not in FLOOR or FLOOR[part(name)] > FLOOR[own]:
            yield f"imports {name} from a floor above"
        if part(name) == "engine" and FLOOR[own] > FLOOR["devices"]:
            yield f"imports {name}: above devices nobody knows the engine"


def circles(graph):
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ["a circle: " + " <- ".join(error.args[1])]
    return []


# --- the package -----------------------------------------------------------------


def test_imports_point_down():
    imports = package_imports(Path(qstore_pl.__file__).parent, qstore_pl._HOME)
    assert f"{ROOT}.engine.compile" in imports
    assert "numba" in imports[f"{ROOT}.engine.compile"]
    assert f"{ROOT}.errors" in imports[f"{ROOT}.checkpoint"]
    assert problems(imports) == []


@pytest.mark.parametrize("name", qstore_pl.__all__)
def test_public_names_are_there(name):
    assert getattr(qstore_pl, name) is not None
    assert name in dir(qstore_pl)


def test_unknown_public_name():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = qstore_pl.Nothing
    with pytest.raises(ImportError):
        importlib.import_module("qstore_pl.nothing")


IMPORT_AND_LOOK = """
import sys, threading
import qstore_pl
heavy = {"numba", "sklearn", "pennylane", "matplotlib", "torch", "jax", "scipy"}
loaded = heavy & set(sys.modules)
assert not loaded, loaded
assert threading.active_count() == 1, threading.enumerate()
"""


def test_importing_the_package_does_nothing():
    command = [sys.executable, "-W", "error", "-c", IMPORT_AND_LOOK]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


@pytest.mark.parametrize("name", qstore_pl._MODULES)
def test_public_modules_are_there_after_importing_the_package(name, monkeypatch):
    module = importlib.import_module(f"{ROOT}.{name}")
    monkeypatch.delattr(qstore_pl, name)  # as if nobody had imported it
    assert getattr(qstore_pl, name) is module
    assert name in dir(qstore_pl)


# --- type checkers ---------------------------------------------------------------


def test_type_checkers_see_the_names_that_there_are():
    """The lazy names, what is imported for type checkers, and ``__all__`` agree."""
    body = ast.parse(Path(qstore_pl.__file__).read_text()).body
    (block,) = [node for node in body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {}
    for node in block.body:
        for alias in node.names:
            assert alias.asname == alias.name  # what makes it public to them
            seen[alias.name] = node.module
    modules = dict.fromkeys(qstore_pl._MODULES, ROOT)
    assert seen == modules | {n: f"{ROOT}.{h}" for n, h in qstore_pl._HOME.items()}
    assert set(qstore_pl.__all__) == {*qstore_pl._HOME, "__version__"}


RIGHT = """
import asyncio
import numpy as np
import qstore_pl
from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig, aio

X, y = np.zeros((4, 2)), np.zeros(4)
config = TrainingConfig(epochs=1)
model = QuantumModel(2, 1)
reveal_type(QuantumTrainer(config).train(model, (X, y)))
reveal_type(model.forward(X))
reveal_type(qstore_pl.NoiseSpec())
reveal_type(qstore_pl.checkpoint.save)


async def main() -> None:
    reveal_type(await aio.QuantumTrainer(config).train(model, (X, y)))


asyncio.run(main())
"""
STARRED = """
from qstore_pl import *

reveal_type(QuantumTrainer())
"""
WRONG = """
import qstore_pl
from qstore_pl import QuantumTrainer, TrainingConfig, aio

TrainingConfig(epoch=3)
QuantumTrainer().trian
qstore_pl.Nothing
aio.Nothing
aio.QuantumTrainer().train(3, None)
"""
# What is not looked into, as it has nothing to do with it and takes long.
SETTINGS = """
[mypy]
strict = True
follow_imports = silent
[mypy-qstore_pl.engine.*,autograd.*,jax.*,matplotlib.*,numba.*,pennylane.*,scipy.*,\
sklearn.*,threadpoolctl.*,torch.*,tqdm.*]
follow_imports = skip
ignore_missing_imports = True
"""


@pytest.mark.timeout(120)
def test_a_type_checker_takes_a_right_script_and_finds_what_is_wrong(tmp_path):
    scripts = {"right": RIGHT, "starred": STARRED, "wrong": WRONG}
    for name, source in scripts.items():
        (tmp_path / f"{name}.py").write_text(source)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    home = Path(qstore_pl.__file__).parents[1]  # mypy finds what is installed itself
    path = "" if home.name == "site-packages" else str(home)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *(f"{name}.py" for name in scripts)],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    found = {
        name: re.findall(rf"^{name}.py:\d+: (?:error|note): (.*)$", done.stdout, re.M)
        for name in scripts
    }
    revealed = [re.sub('Revealed type is "(.*)"', r"\1", x) for x in found["right"]]
    assert revealed[0] == revealed[4] == "qstore_pl.history.History"
    assert revealed[1].startswith("numpy.ndarray")
    assert revealed[2] == "qstore_pl.devices.noise.NoiseSpec"
    assert revealed[3].startswith("def (path: str | os.PathLike[str], tree")
    assert len(revealed) == 5
    assert found["starred"] == [
        'Revealed type is "qstore_pl.trainer.trainer.QuantumTrainer"'
    ]
    for words in (
        'Unexpected keyword argument "epoch" for "TrainingConfig"',
        '"QuantumTrainer" has no attribute "trian"',
        'Module has no attribute "Nothing"',
        'Argument 1 has incompatible type "int"; expected "Trainable"',
    ):
        assert any(words in message for message in found["wrong"]), done.stdout


# --- the checker itself ----------------------------------------------------------

GOOD = {
    "qstore_pl": {"qstore_pl.cli", "importlib"},
    "qstore_pl.__main__": {"qstore_pl.cli"},
    "qstore_pl.errors": set(),
    "qstore_pl.engine": {"qstore_pl.engine.updates"},
    "qstore_pl.engine.updates": {"numba", "qstore_pl.engine.compile"},
    "qstore_pl.engine.compile": {"numba.core", "qstore_pl.errors"},
    "qstore_pl.optimizers.adam": {"qstore_pl.engine.updates", "numpy"},
    "qstore_pl.templates.rotation": {"pennylane"},
    "qstore_pl.devices.lowering": {"pennylane", "qstore_pl.engine"},
    "qstore_pl.model": {"pennylane", "qstore_pl.devices.lowering"},
    "qstore_pl.cli": {"qstore_pl.model", "qstore_pl.errors"},
}


def test_a_good_graph_has_no_problems():
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("qstore_pl.errors", "qstore_pl.model", "imports qstore_pl.model from a floor"),
        (
            "qstore_pl.model",
            "qstore_pl.cli",
            "imports qstore_pl.cli from a floor above",
        ),
        ("qstore_pl.model", "numba", "imports numba: only the engine may"),
        ("qstore_pl.model", "llvmlite.ir", "imports llvmlite.ir: only the engine may"),
        ("qstore_pl.engine.compile", "pennylane.math", "the engine knows no PennyLane"),
        (
            "qstore_pl.model",
            "qstore_pl.engine",
            "above devices nobody knows the engine",
        ),
        ("qstore_pl.optimizers.adam", "pennylane", "optimizers imports both pennylane"),
        (
            "qstore_pl.templates.zz",
            "qstore_pl.engine.compile",
            "templates imports both",
        ),
        ("qstore_pl.engine.compile", "qstore_pl.engine.updates", "a circle: "),
        ("qstore_pl.engine.gates", "qstore_pl.optimizers.adam", "a circle: "),
        ("qstore_pl.engine.compile", "qstore_pl.optimizers.sgd", "a circle: "),
        ("qstore_pl.model", "qstore_pl", "name the module it comes from"),
        ("qstore_pl.cli", "qstore_pl.__main__", "name the module it comes from"),
        (
            "qstore_pl.model",
            "qstore_pl.helpers",
            "qstore_pl.helpers from a floor above",
        ),
        ("qstore_pl.helpers", "numpy", "qstore_pl.helpers is on no floor"),
    ],
)
def test_a_bad_import_is_found(module, name, message):
    bad = GOOD | {module: GOOD.get(module, set()) | {name}}
    found = problems(bad)
    assert len(found) >= 1
    assert any(message in problem for problem in found), found


def test_imports_are_read_wherever_they_are(tmp_path):
    package = tmp_path / ROOT
    (package / "engine").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "errors.py").write_text("class QStoreError(Exception): ...")
    (package / "model.py").write_text("class QuantumModel: ...")
    (package / "engine" / "__init__.py").write_text("from .program import Program")
    (package / "engine" / "compile.py").write_text("import numba.core as core, os")
    (package / "engine" / "program.py").write_text(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "from . import compile as c\n"
        "from ..errors import QStoreError\n"
        "from qstore_pl import __version__\n"
        "if TYPE_CHECKING:\n"
        "    from pennylane.tape import QuantumScript\n"
        "def f():\n"
        "    import qstore_pl.engine.compile\n"
        "    from qstore_pl import QuantumModel, QuantumOther\n"
    )
    assert package_imports(package, {"QuantumModel": "model"}) == {
        "qstore_pl": set(),
        "qstore_pl.model": set(),
        "qstore_pl.errors": set(),
        "qstore_pl.engine": {"qstore_pl.engine.program"},
        "qstore_pl.engine.compile": {"numba.core", "os"},
        "qstore_pl.engine.program": {
            "__future__.annotations",
            "typing.TYPE_CHECKING",
            "qstore_pl.engine.compile",
            "qstore_pl.errors",
            "pennylane.tape.QuantumScript",
            "qstore_pl.model",
            "qstore_pl",
        },
    }
