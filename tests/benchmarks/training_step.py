"""Rows `training-*` and `noisy-*`: a whole training step against every peer."""

from __future__ import annotations

from dataclasses import replace

from qstore_pl import NoiseSpec
from qstore_pl.devices.presets import preset
from tests.benchmarks.memory import step_memory
from tests.benchmarks.ours import Ours
from tests.benchmarks.problem import Problem
from tests.benchmarks.race import race
from tests.benchmarks.training_peers import candidates

DEPOLARIZING = NoiseSpec(p1=0.001, p2=0.01)
DEFAULT_NOISE = replace(preset("default"), readout=(0.0, 0.0))
PROBLEMS = {
    "training-4q": Problem(n_qubits=4, n_layers=2, batch=10),
    "training-8q": Problem(n_qubits=8, n_layers=4, batch=32),
    "noisy-4q": Problem(n_qubits=4, n_layers=2, batch=10, noise=DEPOLARIZING),
    "noisy-4q-default": Problem(n_qubits=4, n_layers=2, batch=10, noise=DEFAULT_NOISE),
    "noisy-6q": Problem(n_qubits=6, n_layers=2, batch=16, noise=DEPOLARIZING),
    "noisy-8q": Problem(n_qubits=8, n_layers=2, batch=8, noise=DEPOLARIZING),
}
TARGETS = {
    "training-4q": {"lightning.qubit adjoint": 600, "jax.jit default.qubit": 6},
    "training-8q": {"lightning.qubit adjoint": 350, "jax.jit default.qubit": 18},
    "noisy-4q": {"default.mixed backprop": 500},
}


def measured(name, peers, repeats):
    """Time a training step of everybody, each peer in the quickest of its settings."""
    problem = PROBLEMS[name]
    columns = peers.columns(name, candidates(problem), problem)
    rows = race(name, Ours(problem), columns, repeats, TARGETS.get(name))
    if problem.noise:
        print(f"{name}: memory of each in a fresh process", flush=True)
        memory = step_memory(Ours, problem)
        for row in rows:
            row.memory = memory
            row.peer_memory = step_memory(_setting(row, columns), problem)
    return rows


def _setting(row, columns):
    """What makes the contender of a row."""
    for contender in (c for column in columns for c in column):
        if (contender.name, contender.setting) == (row.peer, row.setting):
            return contender.made_by
    raise LookupError(f"no contender of row {row.row} is called {row.peer}")
