"""Rows `training-*` and `noisy-*`: a whole training step against every peer."""

from __future__ import annotations

from dataclasses import replace

from qstore_pl import NoiseSpec
from qstore_pl.devices.presets import preset
from tests.benchmarks.memory import step_memory
from tests.benchmarks.ours import Ours
from tests.benchmarks.peers import candidates
from tests.benchmarks.problem import Problem
from tests.benchmarks.timing import Row, check_agreement, in_turn, medians

SECONDS_A_MEASUREMENT = 0.5
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


def training_step(name, repeats):
    """Time a training step of everybody, each peer in the quickest of its settings."""
    problem = PROBLEMS[name]
    print(f"{name}: compiling and checking that all agree", flush=True)
    columns = [
        {make(problem): make for make in column} for column in candidates(problem)
    ]
    everybody = [contender for column in columns for contender in column]
    # A step of default.mixed under autograd takes half a minute on 8 qubits.
    check_agreement([*everybody, Ours(problem)], n_steps=1 if problem.noise else 3)

    rows = timed(name, Ours(problem), columns, repeats, TARGETS.get(name, {}))
    if problem.noise:
        print(f"{name}: memory of each in a fresh process", flush=True)
        made = {(c.name, c.setting): column[c] for column in columns for c in column}
        memory = step_memory(Ours, problem)
        for row in rows:
            row.memory = memory
            row.peer_memory = step_memory(made[row.peer, row.setting], problem)
    return rows


def timed(name, ours, columns, repeats, targets):
    """Time a training step of ours and of the quickest setting of each peer.

    Args:
        name: Name of the row.
        ours: Our contender.
        columns: One collection of contenders for each peer: its settings.
        repeats: Measurements of each.
        targets: The least ratio for some of the peers, by name.
    """
    rough = quick_times([ours, *(peer for column in columns for peer in column)])
    peers = [min(column, key=rough.get) for column in columns]
    print(f"{name}: timing {1 + len(peers)} contenders in turn", flush=True)
    measures = {
        c: of_steps(c, SECONDS_A_MEASUREMENT / rough[c]) for c in (ours, *peers)
    }
    raw = in_turn(measures, repeats)
    times = medians(raw)
    return [
        Row(
            row=name,
            ours=times[ours],
            peer=peer.name,
            setting=peer.setting,
            peer_time=times[peer],
            target=targets.get(peer.name),
            raw={
                "ours": raw[ours],
                "peer": raw[peer],
                "tried": {c.setting: rough[c] for c in column},
            },
            compile_seconds=peer.compile_seconds,
        )
        for peer, column in zip(peers, columns, strict=True)
    ]


def quick_times(contenders):
    """Rough seconds per step of each, after a warm-up: enough to choose settings by.

    The least of three measurements; of a step that takes seconds, the warm-up itself.
    """
    warm = {c: c.seconds_per_step(c.first_steps) for c in contenders}
    measures = {c: of_steps(c, 0.1 / warm[c]) for c in contenders if warm[c] < 1.0}
    return warm | {c: min(times) for c, times in in_turn(measures, 3).items()}


def of_steps(contender, steps):
    """A measurement: seconds per step of a training of ``steps`` steps, at least 1."""
    return lambda: contender.seconds_per_step(max(1, round(steps)))
