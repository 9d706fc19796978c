"""Rows `shift-4q`, `shots-*`, `spsa-8q` and `audit-4q`: gradients from circuits run.

All but the last are whole training steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from qstore_pl import audit_gradients
from qstore_pl.devices.presets import preset
from tests.benchmarks.aer import AerCounts, AerEstimator, AerSampler
from tests.benchmarks.ours import OursByAdjoint, OursMeasured, our_model
from tests.benchmarks.problem import Problem
from tests.benchmarks.race import (
    Row,
    check_agreement,
    check_close,
    check_mean,
    in_turn,
    medians,
    timed,
)
from tests.benchmarks.shift_peers import (
    BroadcastTape,
    ParameterShift,
    Spsa,
    Tapes,
    Transform,
)
from tests.benchmarks.training_step import PROBLEMS

SHOTS = 1000
EPSILON = 0.05  # of SPSA, in radians
CHECKED_RUNS, CHECKED_BATCH = 50, 2  # of gradients with shots
AUDIT_SECONDS = 0.5
TARGETS = {
    "shift-4q": {"lightning.qubit parameter shift": 100},
    "shots-4q": {
        "lightning.qubit parameter shift": 100,
        "qiskit-aer statevector": 100,
        "qiskit-aer EstimatorV2 statevector": 100,
    },
}

LIGHTNING = [
    Transform,
    *(partial(Tapes, direct=direct) for direct in (False, True)),
]
BROADCAST = [partial(BroadcastTape, direct=direct) for direct in (False, True)]
PENNYLANE = [[*LIGHTNING, partial(Transform, broadcast=True)], BROADCAST]
AER = [
    *(
        partial(AerCounts, fusion_enable=fusion, runtime_parameter_bind_enable=bind)
        for fusion, bind in product((True, False), (False, True))
    ),
    AerSampler,
]
ESTIMATOR = [
    partial(AerEstimator, runtime_parameter_bind_enable=bind) for bind in (False, True)
]


@dataclass(frozen=True)
class Measured:
    """A row whose gradients come from circuits.

    Args:
        problem: What is trained.
        rule: Makes the rule by which the peers measure.
        settings: The fields of our TrainingConfig that say the same.
        columns: One list of settings for each peer: functions from a problem, a rule
            and the number of shots to a contender.
        shots: Measurements per circuit; None is exact.
    """

    problem: Problem
    rule: Callable[[], ParameterShift | Spsa]
    settings: dict
    columns: list
    shots: int | None = SHOTS

    def ours(self):
        """Our trainer."""
        return OursMeasured(self.problem, shots=self.shots, **self.settings)

    def peers(self):
        """One list of contenders for each peer."""
        return [
            [make(self.problem, self.rule(), self.shots) for make in column]
            for column in self.columns
        ]


SMALL, LARGE = PROBLEMS["training-4q"], PROBLEMS["training-8q"]
NOISY = replace(SMALL, noise=preset("default"))
SHIFT = ParameterShift, {"gradient_method": "parameter_shift"}
SPSA = (
    partial(Spsa, EPSILON),
    {"gradient_method": "spsa", "gradient_epsilon": EPSILON},
)
MEASURED = {
    "shift-4q": Measured(SMALL, *SHIFT, PENNYLANE, shots=None),
    "shots-4q": Measured(SMALL, *SHIFT, [*PENNYLANE, AER, ESTIMATOR]),
    "shots-noisy-4q": Measured(NOISY, *SHIFT, [AER]),
    "spsa-8q": Measured(LARGE, *SPSA, [LIGHTNING, BROADCAST]),
}


def check_measured(row: Measured):
    """Compare the gradients of everybody: with shots, the means of several runs.

    Exact gradients by SPSA are compared too, along one direction.

    Raises:
        DisagreementError: If two do not agree.
    """
    if row.rule is SPSA[0]:
        check_along_one_direction(replace(row, shots=None))
    everybody = [row.ours(), *(peer for column in row.peers() for peer in column)]
    adjoint = OursByAdjoint(row.problem)
    if row.shots is None:
        check_agreement([adjoint, *everybody])
        return
    _, exact = adjoint.loss_and_gradient()
    for contender in everybody:
        found = [contender.loss_and_gradient()[1] for _ in range(CHECKED_RUNS)]
        check_mean(f"gradient of {contender.name} ({contender.setting})", found, exact)


class Along(Spsa):
    """SPSA along a direction that is given."""

    def __init__(self, direction):
        super().__init__(EPSILON)
        self._direction = direction

    def direction(self, n_weights):
        return self._direction


def check_along_one_direction(row: Measured):
    """Compare exact SPSA of every peer with ours, along the direction ours has drawn.

    Raises:
        DisagreementError: If two do not agree.
    """
    loss, gradient = row.ours().loss_and_gradient()
    # The opposite direction would give the same.
    along = replace(row, rule=partial(Along, np.sign(gradient.ravel())))
    for peer in (peer for column in along.peers() for peer in column):
        found_loss, found = peer.loss_and_gradient()
        who = f"{peer.name} ({peer.setting})"
        check_close(f"loss of {who}", found_loss, loss)
        check_close(f"gradient of {who}", found, gradient)


def measured(name, peers, repeats):
    """The rows of a case; its peers are those it needs."""
    return audit(repeats) if name == "audit-4q" else training(name, repeats)


def training(name, repeats):
    """Time a training step, each peer in the quickest of its settings."""
    row = MEASURED[name]
    print(f"{name}: checking that all agree", flush=True)
    few = replace(row.problem, batch=CHECKED_BATCH) if row.shots else row.problem
    check_measured(replace(row, problem=few))
    columns = row.peers()
    if row.shots is None:
        columns.append([OursByAdjoint(row.problem)])
    return timed(name, row.ours(), columns, repeats, TARGETS.get(name))


def audit(repeats):
    """Time `audit_gradients`, after a first call."""
    model, rows = our_model(SMALL), SMALL.batches[0]
    batch = SMALL.inputs[rows], SMALL.targets[rows]

    def run():
        start = time.perf_counter()
        found = audit_gradients(model, batch, shots=SHOTS)
        return found, time.perf_counter() - start

    print("audit-4q: checking and timing", flush=True)
    errors = {row.method: row.error for row in run()[0].rows}
    check_close("audited parameter shift", errors["parameter shift"], 0.0)
    raw = in_turn({"ours": lambda: run()[1]}, repeats)
    times = medians(raw)
    return [Row(row="audit-4q", ours=times["ours"], target=AUDIT_SECONDS, raw=raw)]
