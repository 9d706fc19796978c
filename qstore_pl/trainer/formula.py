"""The number of circuits of a training step by ``1 + 2P``, and why it is another one.

The formula counts the value of a circuit and two shifts of each of its P weights.
"""

from __future__ import annotations

import numpy as np
from pennylane.exceptions import DeviceError

from qstore_pl.config import TrainingConfig
from qstore_pl.cost import Formula
from qstore_pl.trainer.counts import Counts
from qstore_pl.trainer.trainable import Trainable


def formula_of(
    counts: Counts,
    shifted: Counts | None,
    model: Trainable,
    config: TrainingConfig,
) -> Formula | None:
    """The number of circuits of a step by ``1 + 2P``, and why it is another one.

    Args:
        counts: What the run runs.
        shifted: What parameter shift runs; None if it was not counted.
        model: The model.
        config: The configuration of the run.
    """
    expectations = counts.parts[0].expectations
    shape = (counts.samples, 0)
    try:
        lanes = expectations.lanes(shape, shifted=True)
    except DeviceError:
        return None
    if lanes is None or not counts.samples:
        return None
    n = model.n_weights
    trained = model.trainable[:n]
    if config.freeze_schedule is not None:
        trained = trained.copy()
        frozen = config.freeze_schedule.get(0)
        if frozen is not None:
            trained[:] = True
            trained[list(frozen)] = False
    shifts = lanes.shifts(trained)
    circuits = counts.samples * lanes.n_groups * shifts.n_lanes
    run = circuits
    if shifted is not None and shifted.step is not None:
        run = shifted.step.circuits
    alone = np.eye(n, dtype=bool)
    seen = np.array([bool(lanes.uses.depending(one)) for one in alone], dtype=bool)
    reasons = _reasons(
        frozen=int(n - trained.sum()),
        unseen=int((trained & ~seen).sum()),
        repeated=len(shifts.which) - int((trained & seen).sum()),
        longer=sum(len(lanes.uses.uses[u].rule) > 2 for u in shifts.which),
        same=circuits - run,
    )
    samples, groups = counts.samples, lanes.n_groups
    return Formula(n, samples, groups, shifts.n_lanes, run, reasons)


def _reasons(
    *, frozen: int, unseen: int, repeated: int, longer: int, same: int
) -> tuple[str, ...]:
    """Why a step has another number of circuits than ``1 + 2P``.

    Args:
        frozen: Number of frozen weights.
        unseen: Number of trained weights that no measured value depends on.
        repeated: How many more numbers of gates depend on weights than there are
            weights of which values depend.
        longer: Number of gates with a shift rule of more than two terms.
        same: Number of circuits that are the same as others.
    """
    found = []
    if frozen:
        found.append(f"Frozen weights, which are not shifted: {frozen}.")
    if unseen:
        found.append(
            "Trained weights that change nothing that is measured, and are not "
            f"shifted: {unseen}."
        )
    if repeated > 0:
        found.append(
            "Gates more than weights are shifted, since weights enter several gates: "
            f"{repeated}."
        )
    if repeated < 0:
        found.append(
            "Gates fewer than weights are shifted, since several weights enter a gate "
            f"together: {-repeated}."
        )
    if longer:
        found.append(
            "Gates with a shift rule of more than two terms, such as controlled "
            f"rotations: {longer}."
        )
    if same:
        found.append(
            f"Circuits that are the same as others of the step, and run once: {same}."
        )
    return tuple(found)
