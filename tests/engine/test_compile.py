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
from tests import processes

ENGINE = Path(compilation.__file__).parent
# Where the kernels of all other tests are.
WARM = {
    name: os.environ.get(name, "") for name in ("QSTORE_CACHE_DIR", "XDG_CACHE_HOME")
}


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
    assert not [path for place in places for path in place.rglob("*.kernel")]


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
    assert list(places[0].rglob("scale-*.kernel"))


def kept(original):
    """The file of a kernel, which this process has compiled."""
    again(original)(*ARGUMENTS[original])
    (path,) = compilation.cache_directory().glob(f"{original.__name__}-*.kernel")
    return path


ARGUMENTS = {
    scale: (np.empty(2), np.ones(2), 3.0),
    count_nan: (np.ones(2), 0),
}


def flipped(data, rng):
    """One bit turned."""
    changed = bytearray(data)
    changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(changed)


def cut(data, rng):
    return data[: rng.integers(len(data))]


def foreign(data, rng):
    """A sound file of another kernel."""
    return kept(count_nan).read_bytes()


@pytest.mark.parametrize("damage", [flipped, cut, foreign])
def test_a_damaged_file_is_said_once_and_made_again(places, damage, caplog):
    path = kept(scale)
    sound = path.read_bytes()
    path.write_bytes(damage(sound, np.random.default_rng(0)))
    caplog.clear()
    out = np.empty(2)
    for _ in range(2):
        again(scale)(out, np.ones(2), 3.0)
        assert out.tolist() == [3.0, 3.0]
    (warning,) = caplog.messages
    assert "damaged or foreign" in warning
    assert str(path) in warning
    # It is the same machine code; only the names in it count what was compiled.
    assert len(path.read_bytes()) > 1000


def test_two_hundred_damaged_files_are_all_refused(places):
    path, rng = kept(scale), np.random.default_rng(1)
    sound = path.read_bytes()
    file = compilation._KernelFile(path.parent, scale)
    target = compilation.registry.cpu_target.target_context
    for damage in [flipped, cut] * 100:
        path.write_bytes(damage(sound, rng))
        assert file.load_overload(scale.signature, target) is None
    path.write_bytes(sound)
    assert file.load_overload(scale.signature, target) is not None


def test_on_a_full_disk_kernels_work_and_say_so(places, monkeypatch, caplog):
    def full(path, data, *, prefix):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(compilation, "replace_file", full)
    out = np.empty(2)
    again(scale)(out, np.ones(2), 3.0)
    assert out.tolist() == [3.0, 3.0]
    (warning,) = caplog.messages
    assert "cannot be kept" in warning
    assert "No space left" in warning


def test_what_cannot_be_read_is_compiled(places, caplog):
    path = kept(scale)
    path.unlink()
    path.mkdir()  # an OSError to the superuser too
    out = np.empty(2)
    again(scale)(out, np.ones(2), 3.0)
    assert out.tolist() == [3.0, 3.0]
    assert [message.split(" ")[0] for message in caplog.messages] == ["A", "compiled"]


def test_what_a_killed_process_left_goes_when_it_is_old(places):
    path = kept(scale)
    old, new = (path.with_name(f".tmp-kernel-{name}") for name in ("old", "new"))
    for left in (old, new):
        left.touch()
    os.utime(old, (0, 0))
    kept(count_nan)
    assert not old.exists()
    assert new.exists()


def test_without_compiling_a_kernel_is_its_body(monkeypatch):
    monkeypatch.setattr(compilation.numba.config, "DISABLE_JIT", 1)
    assert again(scale).compiled is scale.function


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
    """What a new process prints, and what it logs; it imports this checkout."""
    kept = {**os.environ, "PYTHONPATH": str(ENGINE.parents[1])}
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
    shutil.copy(ENGINE.parent / "_files.py", engine.parent)
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


TRAIN = """
import hashlib, os, signal, sys
import numpy as np
from qstore_pl import Callback, QuantumModel, QuantumTrainer, TrainingConfig

class Die(Callback):
    def on_step_end(self, epoch, step, loss):
        if (epoch, step) == (2, 1):
            os.kill(os.getpid(), signal.SIGKILL)

rng = np.random.default_rng(0)
X = rng.uniform(-1.5, 1.5, (24, 4))
y = (X[:, 0] * X[:, 1] > 0).astype(int)
model = QuantumModel(4, 2, readout="affine", seed=0)
settings = {"loss": "cross_entropy", "batch_size": 8, "seed": 1}
if sys.argv[1:]:
    settings |= {"checkpoint_directory": sys.argv[1], "checkpoint_interval": 1}
config = TrainingConfig(epochs=6, **settings)
die = [Die()] if sys.argv[2:] == ["die"] else []
resume = "latest" if sys.argv[2:] == ["resume"] else None
history = QuantumTrainer(config).train(model, (X, y), resume=resume, callbacks=die)
print(hashlib.sha256(model.parameters.tobytes()).hexdigest(), history["losses"])
"""


@pytest.mark.slow
@pytest.mark.timeout(250)
def test_a_first_run_that_dies_ends_as_one_on_a_warm_machine(tmp_path):
    cache = {**os.environ, "QSTORE_CACHE_DIR": str(tmp_path / "cache")}
    directory = tmp_path / "run"
    first = processes.run(TRAIN, directory, "die", env=cache)
    assert first == (-9, "", "")  # with the kernels it had just compiled
    resumed = processes.run(TRAIN, directory, "resume", env=cache)
    assert resumed[0] == 0, resumed[2]
    assert processes.run(TRAIN, env=cache) == resumed
    assert "epoch" not in resumed[1]


FORK = """
import os, threading
import numpy as np
from qstore_pl._lazy import cached_property
from qstore_pl.engine import updates
from qstore_pl.engine.compile import _lock

held = threading.Barrier(3)

class Slow:
    @cached_property
    def value(self):
        if threading.current_thread() is not threading.main_thread():
            held.wait()
            threading.Event().wait(0.5)
        return 1

def compile_for_a_while():
    with _lock:
        held.wait()
        threading.Event().wait(0.5)

tasks = (compile_for_a_while, lambda: Slow().value)
running = [threading.Thread(target=task) for task in tasks]
for thread in running:
    thread.start()
held.wait()
child = os.fork()
if child == 0:  # with every lock that was held
    updates.clip(np.ones(2), np.ones(2, bool), 1.0, 1.0)
    os._exit(Slow().value - 1)
for thread in running:
    thread.join()
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_while_threads_compile_and_train_does_not_hang(tmp_path):
    printed, _ = run(tmp_path, ["-c", FORK])
    assert printed == "0"


NO_JIT = """
import numpy as np
from qstore_pl import QuantumModel
for backend, n in (("mock_ideal", 3), ("mock_noisy", 2)):
    model = QuantumModel(n, 2, backend=backend, seed=0)
    features = np.linspace(0.1, 1.0, 2 * n).reshape(2, n)
    outputs = model.forward(features)
    slopes, _ = model.placed.program.vjp(model.weights, features, np.ones((2, 2)))
    print(*outputs.ravel(), *slopes)
"""


@pytest.mark.timeout(120)
def test_without_compiling_the_numbers_are_the_same(tmp_path):
    seen = []
    for off in ("0", "1"):
        printed, _ = run(tmp_path, ["-c", NO_JIT], NUMBA_DISABLE_JIT=off, **WARM)
        seen.append(np.array(printed.split(), float))
    np.testing.assert_allclose(*seen, rtol=0, atol=1e-13)
