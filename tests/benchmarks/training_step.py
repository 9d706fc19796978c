"""Rows `training-4q` and `training-8q`: a whole training step against every peer."""

from __future__ import annotations

from tests.benchmarks.ours import Ours
from tests.benchmarks.peers import candidates
from tests.benchmarks.problem import STEPS_PER_EPOCH, Problem
from tests.benchmarks.timing import Row, check_agreement, in_turn, medians

SECONDS_A_MEASUREMENT = 0.5
TARGETS = {
    "training-4q": {"lightning.qubit adjoint": 600, "jax.jit default.qubit": 6},
    "training-8q": {"lightning.qubit adjoint": 350, "jax.jit default.qubit": 18},
}
PROBLEMS = {
    "training-4q": Problem(n_qubits=4, n_layers=2, batch=10),
    "training-8q": Problem(n_qubits=8, n_layers=4, batch=32),
}


def training_step(name, repeats):
    """Time a training step of everybody, each peer in the quickest of its settings."""
    problem = PROBLEMS[name]
    print(f"{name}: compiling and checking that all agree", flush=True)
    columns = list(candidates(problem))
    everybody = [contender for column in columns for contender in column]
    check_agreement([*everybody, Ours(problem)])

    rough = quick_times(everybody, repeats=3)
    contenders = [Ours(problem), *(min(column, key=rough.get) for column in columns)]
    rough[contenders[0]] = contenders[0].seconds_per_step(10 * STEPS_PER_EPOCH)
    print(f"{name}: timing {len(contenders)} contenders in turn", flush=True)
    measures = {c: of_steps(c, SECONDS_A_MEASUREMENT / rough[c]) for c in contenders}
    raw = in_turn(measures, repeats)
    times = medians(raw)
    ours, *peers = contenders
    settings = {
        column[0].name: {c.setting: rough[c] for c in column} for column in columns
    }
    return [
        Row(
            row=name,
            ours=times[ours],
            peer=peer.name,
            setting=peer.setting,
            peer_time=times[peer],
            target=TARGETS[name].get(peer.name),
            raw={"ours": raw[ours], "peer": raw[peer], "tried": settings[peer.name]},
            compile_seconds=peer.compile_seconds,
        )
        for peer in peers
    ]


def quick_times(contenders, repeats):
    """Least seconds per step of each, after a warm-up: enough to choose settings by."""
    warm = {c: c.seconds_per_step(3) for c in contenders}
    measures = {c: of_steps(c, 0.1 / warm[c]) for c in contenders}
    return {c: min(times) for c, times in in_turn(measures, repeats).items()}


def of_steps(contender, steps):
    """A measurement: seconds per step of a training of ``steps`` steps, at least 3."""
    return lambda: contender.seconds_per_step(max(3, round(steps)))
