"""The pool of threads: its size, its errors, and that no result depends on it."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from qstore_pl.engine import program as program_module
from qstore_pl.engine import pure as pure_module
from qstore_pl.engine import threads
from tests.engine.test_gates import random_circuit

SUMS = (
    ((1.0, "Z", (0,)),),
    ((0.5, "XY", (2, 1)), (2.0, "ZZ", (0, 3))),
)
COUNTS = ["1", "2", "4"]


@pytest.fixture(autouse=True)
def fresh_pool(monkeypatch):
    """No pool at the start, so that it is made with the size the test asks for."""
    monkeypatch.setattr(threads, "_pool", None)
    yield
    if threads._pool is not None:
        threads._pool.shutdown()


# ------------------------------------------------------- the pool
@pytest.mark.parametrize("named", ["1", "2", "13"])
def test_the_number_of_threads_is_the_one_named(named, monkeypatch):
    monkeypatch.setenv("QSTORE_NUM_THREADS", named)
    assert threads.count() == int(named)


def test_else_it_is_the_number_of_processors_this_process_may_use(monkeypatch):
    monkeypatch.delenv("QSTORE_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6}, raising=False)
    assert threads.count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert threads.count() == 7


@pytest.mark.parametrize("named", ["0", "-1", "two", "1.5", "", " 2"])
def test_a_number_of_threads_that_is_none_is_an_error(named, monkeypatch):
    monkeypatch.setenv("QSTORE_NUM_THREADS", named)
    with pytest.raises(ValueError, match="QSTORE_NUM_THREADS must be an integer >= 1"):
        threads.count()
    with pytest.raises(ValueError, match="QSTORE_NUM_THREADS must be an integer >= 1"):
        threads.run(lambda _: None, range(2))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("count", [2, 4])
def test_as_many_tasks_run_at_once_as_there_are_threads(count, monkeypatch):
    monkeypatch.setenv("QSTORE_NUM_THREADS", str(count))
    together = threading.Barrier(count, timeout=30)
    done = []

    def task(index):
        together.wait()
        done.append((index, threading.current_thread().name))

    threads.run(task, range(2 * count))
    assert sorted(index for index, _ in done) == list(range(2 * count))
    assert {name for _, name in done} == {f"qstore_{i}" for i in range(count)}


def test_one_thread_is_the_calling_one_and_makes_no_pool(monkeypatch):
    monkeypatch.setenv("QSTORE_NUM_THREADS", "1")
    done = []
    threads.run(lambda i: done.append((i, threading.get_ident())), range(5))
    assert done == [(i, threading.get_ident()) for i in range(5)]
    assert threads._pool is None


@pytest.mark.parametrize("count", COUNTS)
def test_an_error_in_a_task_reaches_the_caller(count, monkeypatch):
    monkeypatch.setenv("QSTORE_NUM_THREADS", count)

    def task(index):
        if index == 2:
            raise ArithmeticError("index 2")

    with pytest.raises(ArithmeticError, match="index 2"):
        threads.run(task, range(4))


# ------------------------------------------------------- results
def drawn(seed, batch):
    rng = np.random.default_rng(seed)
    return replace(random_circuit(rng, 4, 15, batch=batch), observables=SUMS)


def numbers(program, weights, features):
    """Outputs, states and gradients."""
    dy = np.random.default_rng(len(features)).normal(size=(len(features), len(SUMS)))
    arguments = weights, features
    out, states = program.run(*arguments), program.states(*arguments)
    return out, states, *program.vjp(*arguments, dy, inputs=True)


def same_bits(results, expected):
    for one, other in zip(results, expected, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("seed", range(6))
def test_no_bit_depends_on_the_number_of_threads(seed, monkeypatch):
    circuit = drawn(seed, batch=50)
    monkeypatch.setattr(pure_module, "CHUNK", 4 << circuit.n)
    serial = numbers(circuit.program(), circuit.weights, circuit.features)
    assert threads._pool is None  # too small for threads
    monkeypatch.setattr(program_module, "PARALLEL", 0)
    for count in COUNTS:
        monkeypatch.setattr(threads, "_pool", None)
        monkeypatch.setenv("QSTORE_NUM_THREADS", count)
        results = numbers(circuit.program(), circuit.weights, circuit.features)
        same_bits(results, serial)
        assert (threads._pool is not None) is (count != "1")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("work", [0, program_module.PARALLEL])
def test_eight_threads_on_one_program_give_the_serial_results(work, monkeypatch):
    monkeypatch.setenv("QSTORE_NUM_THREADS", "2")
    circuit = drawn(2, batch=40)
    monkeypatch.setattr(pure_module, "CHUNK", 4 << circuit.n)
    monkeypatch.setattr(program_module, "PARALLEL", work)
    rng = np.random.default_rng(0)
    tasks = []
    for batch in rng.integers(1, 40, 64):
        rows = rng.integers(0, 40, batch)
        scale = rng.uniform(0.5, 1.5)
        tasks.append((scale * circuit.weights, circuit.features[rows]))
    serial = [numbers(circuit.program(), *task) for task in tasks]
    shared, start = circuit.program(), threading.Barrier(8, timeout=30)
    with ThreadPoolExecutor(8, initializer=start.wait) as pool:
        threaded = list(pool.map(lambda task: numbers(shared, *task), tasks))
    for one, other in zip(threaded, serial, strict=True):
        same_bits(one, other)


FORK = """
import os, signal
import numpy as np
from qstore_pl.engine import program, pure, threads
from qstore_pl.engine.gates import FEATURE, WEIGHT, PauliRotation, slot_angles

pure.CHUNK, program.PARALLEL = 8, 0
w, x = slot_angles(WEIGHT, 0, (1,)), slot_angles(FEATURE, 0, (1,))
gates = [PauliRotation("X", (0,), w[0]), PauliRotation("Y", (1,), x[0] * w[0])]
outputs = [((1.0, "Z", (wire,)),) for wire in range(2)]
circuit = pure.PureProgram(2, gates, outputs, n_weights=1, n_features=1)

def numbers():
    values = np.array([0.3]), np.linspace(0, 1, 9)[:, None]
    gw, gx = circuit.vjp(*values, np.ones((9, 2)), inputs=True)
    return circuit.run(*values).tobytes() + gw.tobytes() + gx.tobytes()

before = numbers()
assert threads._pool is not None
child = os.fork()
if child == 0:
    signal.alarm(60)  # a child that hangs is killed
    assert threads._pool is None
    os._exit(0 if numbers() == before else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), numbers() == before)
"""


@pytest.mark.timeout(120)
def test_a_forked_process_makes_a_pool_of_its_own():
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        env={**os.environ, "QSTORE_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.stdout.split() == ["0", "True"], run.stderr
