"""Kernels: compiled when first called, kept where the cache cannot go stale."""

import copy
import importlib.util
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from qstore_pl.engine import compile as compilation
from qstore_pl.engine import statevector, updates
from qstore_pl.engine.compile import F1, F1_IN, F8, I8, Kernel, inner, kernel

ENGINE = Path(compilation.__file__).parent


@inner
def product(x, factor):
    return x * factor


@kernel(F1, F1_IN, F8)
def scale(out, x, factor):
    for i in range(x.shape[0]):
        out[i] = product(x[i], factor)


@kernel(F1_IN, I8)
def count_nan(x, zero):
    count = 0
    for i in range(x.shape[0]):
        if np.isnan(x[i] / zero):
            count += 1
    return count


def again(original):
    """The same kernel as a process sees it that has not called it yet."""
    return Kernel(original.function, original.signature)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Three places to cache in, by preference, that no other process knows."""
    named, home, temporary = (
        tmp_path / name for name in ("named", "home", "temporary")
    )
    monkeypatch.setenv("QSTORE_CACHE_DIR", str(named))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    temporary.mkdir()
    compilation.cache_directory.cache_clear()
    yield [named, home, temporary]
    compilation.cache_directory.cache_clear()


# ------------------------------------------------------- kernels
def test_a_kernel_does_what_its_body_does():
    x, compiled, interpreted = np.linspace(-1, 1, 7), np.empty(7), np.empty(7)
    scale(compiled, x, 0.3)
    scale.function(interpreted, x, 0.3)
    np.testing.assert_array_equal(compiled, interpreted)
    assert scale.compiled is scale.compiled


def test_flags_keep_nan_and_division_by_zero():
    assert count_nan(np.array([1.0, np.nan, 0.0, -2.0]), 0) == 2  # 0 / 0 and nan / 0
    assert count_nan(np.array([1.0, np.nan, 0.0, -2.0]), 2) == 1


def read_only(array):
    array.flags.writeable = False
    return array


def test_only_arrays_marked_as_input_may_be_read_only():
    out = np.empty(3)
    scale(out, read_only(np.ones(3)), 2.0)
    assert out.tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(TypeError, match="No matching definition"):
        scale(read_only(np.empty(3)), np.ones(3), 2.0)


@pytest.mark.parametrize(
    "x", [np.ones(3, np.float32), np.ones(3, int), np.ones((3, 1)), np.ones(6)[::2]]
)
def test_other_types_are_an_error_and_no_new_compilation(x):
    with pytest.raises(TypeError, match="No matching definition"):
        scale(np.empty(3), x, 2.0)


@pytest.mark.parametrize(
    "original",
    [scale, statevector.forward_core, statevector.backward_general, updates.adam],
)
def test_kernels_are_copied_by_name(original):
    assert pickle.loads(pickle.dumps(original)) is original
    assert copy.deepcopy(original) is original


# ------------------------------------------------------- places
def cannot_be_made(place, monkeypatch):
    if place.exists():
        place.rmdir()
    place.write_text("a file where a directory is wanted")


def cannot_be_written(place, monkeypatch):
    """As permissions would do it, which do not bind a superuser."""
    original = tempfile.TemporaryFile

    def refuse(*args, dir, **kwargs):
        if Path(dir).is_relative_to(place):
            raise PermissionError(13, "Permission denied", str(dir))
        return original(*args, dir=dir, **kwargs)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


def belongs_to_somebody_else(place, monkeypatch):
    original = Path.stat

    def stat(self, **kwargs):
        result = original(self, **kwargs)
        if self.is_relative_to(place):
            result = os.stat_result([*result[:4], result.st_uid + 1, *result[5:]])
        return result

    monkeypatch.setattr(Path, "stat", stat)


OBSTACLES = [cannot_be_made, cannot_be_written, belongs_to_somebody_else]


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("n_blocked", [0, 1, 2])
def test_the_first_place_of_ones_own_that_can_be_written(
    places, obstacle, n_blocked, monkeypatch
):
    for place in places[:n_blocked]:
        obstacle(place, monkeypatch)
    directory = compilation.cache_directory()
    assert directory.is_relative_to(places[n_blocked])
    assert directory.name == compilation.source_hash()
    assert directory.stat().st_mode & 0o777 == 0o700


def test_without_names_it_is_the_users_cache(places, monkeypatch):
    monkeypatch.delenv("QSTORE_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(places[1]))
    wanted = places[1] / ".cache" / "qstore_pl" / compilation.source_hash()
    assert compilation.cache_directory() == wanted


def test_without_a_home_it_is_a_temporary_place_of_this_user(places, monkeypatch):
    monkeypatch.delenv("QSTORE_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it cannot find
    directory = compilation.cache_directory()
    assert directory.parent == places[2] / f"qstore_pl-{os.getuid()}"


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_without_a_place_kernels_work_and_say_so_once(
    places, obstacle, monkeypatch, caplog
):
    for place in places:
        obstacle(place, monkeypatch)
    assert compilation.cache_directory() is None
    caplog.set_level(logging.INFO, logger="qstore_pl")
    fresh, out = again(scale), np.empty(2)
    for _ in range(3):
        fresh(out, np.ones(2), 3.0)
    assert out.tolist() == [3.0, 3.0]
    assert caplog.messages == ["compiling scale (no writable cache directory)"]
    assert not [path for place in places for path in place.rglob("*.nb?")]


def test_without_a_temporary_directory_kernels_work_too(places, monkeypatch):
    for place in places:
        cannot_be_made(place, monkeypatch)

    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert compilation.cache_directory() is None


# ------------------------------------------------------- the cache
def test_a_kernel_is_compiled_once_and_then_loaded(places, caplog):
    caplog.set_level(logging.INFO, logger="qstore_pl")
    out = np.empty(1)
    for factor in (1.0, 2.0, 3.0):
        again(scale)(out, np.ones(1), factor)
        assert out[0] == factor
    assert caplog.messages == [
        f"compiled scale once, kept in {places[0] / compilation.source_hash()}"
    ]
    assert list(places[0].rglob("scale-*.nbc"))


def copy_of(module, directory):
    """The module, read from a copy of the engine's sources in ``directory``."""
    spec = importlib.util.spec_from_file_location("copied", directory / module)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def sources(tmp_path):
    """A copy of the engine's directory."""
    return Path(shutil.copytree(ENGINE, tmp_path / "engine"))


def test_a_copy_has_the_same_hash(sources):
    assert copy_of("compile.py", sources).source_hash() == compilation.source_hash()


@pytest.mark.parametrize("name", sorted(path.name for path in ENGINE.glob("*.py")))
def test_an_edit_of_any_source_changes_the_hash(sources, name):
    with (sources / name).open("a") as file:
        file.write("# edited\n")
    assert copy_of("compile.py", sources).source_hash() != compilation.source_hash()


def test_so_does_a_new_or_renamed_source_but_no_page(sources):
    (sources / "adjoint.md").write_text("edited")
    assert copy_of("compile.py", sources).source_hash() == compilation.source_hash()
    (sources / "threads.py").rename(sources / "threads_.py")
    renamed = copy_of("compile.py", sources).source_hash()
    (sources / "new.py").touch()
    added = copy_of("compile.py", sources).source_hash()
    assert len({compilation.source_hash(), renamed, added}) == 3


# ------------------------------------------------------- processes
INNER = """
from qstore_pl.engine.compile import inner
@inner
def answer():
    return {}
"""
CALLER = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
from qstore_pl.engine.compile import F1, kernel
from qstore_pl.engine.answers import answer
@kernel(F1)
def fill(x):
    x[0] = answer()
import numpy as np
x = np.empty(1)
fill(x)
print(int(x[0]))
"""


def run(directory, code, **environment):
    """What a new process prints, and what it logs."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.run(
        [sys.executable, *code],
        cwd=directory,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip(), process.stderr.splitlines()


@pytest.mark.timeout(200)
def test_an_edited_function_of_another_file_is_seen(tmp_path):
    engine = tmp_path / "qstore_pl" / "engine"
    engine.mkdir(parents=True)
    for package in (engine.parent, engine):
        (package / "__init__.py").touch()
    shutil.copy(ENGINE / "compile.py", engine)
    (engine / "caller.py").write_text(CALLER)
    seen = []
    for number in (1, 1, 2):
        (engine / "answers.py").write_text(INNER.format(number))
        printed, log = run(
            tmp_path,
            ["-m", "qstore_pl.engine.caller"],
            PYTHONPATH=str(tmp_path),
            PYTHONDONTWRITEBYTECODE="1",
            QSTORE_CACHE_DIR=str(tmp_path / "cache"),
        )
        seen.append((printed, len(log)))
    assert seen == [("1", 1), ("1", 0), ("2", 1)]
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.timeout(100)
def test_importing_the_engine_compiles_nothing(tmp_path):
    modules = ", ".join(
        f"qstore_pl.engine.{path.stem}" for path in sorted(ENGINE.glob("[a-z]*.py"))
    )
    _, log = run(
        tmp_path, ["-c", f"import {modules}"], QSTORE_CACHE_DIR=str(tmp_path / "cache")
    )
    assert not log
    assert not (tmp_path / "cache").exists()
