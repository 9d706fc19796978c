"""Learning-rate schedules: PyTorch's numbers where it has the same, and the errors."""

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from qstore_pl.optimizers import SGD, Constant, Cosine, Schedule, StepDecay, WarmUp

RATE = 0.3


def sequence(then):
    """Seven steps of linear warm-up, then another schedule of PyTorch."""

    def make(optimizer):
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / 8, total_iters=7)
        return lr_scheduler.SequentialLR(optimizer, [rise, then(optimizer)], [7])

    return make


def stairs(optimizer):
    return lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.6)


def falling(optimizer):
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.02)


# Ours, PyTorch's, and how many steps are compared: its cosine rises again after T_max.
CASES = {
    "constant": (
        Constant(RATE),
        lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=1.0),
        30,
    ),
    "step decay": (StepDecay(RATE, every=5, factor=0.6), stairs, 30),
    "cosine": (Cosine(RATE, n_steps=20, final=0.02), falling, 21),
    "cosine to zero": (
        Cosine(RATE, n_steps=20),
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=20),
        21,
    ),
    "warm-up": (
        WarmUp(Constant(RATE), n_steps=7),
        lambda optimizer: lr_scheduler.LinearLR(
            optimizer, start_factor=1 / 8, total_iters=7
        ),
        30,
    ),
    "warm-up, step decay": (
        WarmUp(StepDecay(RATE, every=5, factor=0.6), n_steps=7),
        sequence(stairs),
        30,
    ),
    "warm-up, cosine": (
        WarmUp(Cosine(RATE, n_steps=20, final=0.02), n_steps=7),
        sequence(falling),
        28,
    ),
}
SCHEDULES = [ours for ours, _, _ in CASES.values()]
every = pytest.mark.parametrize("schedule", SCHEDULES, ids=list(CASES))


def torch_rates(make, n_steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = make(optimizer)
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "make_torch", "n_steps"), CASES.values(), ids=list(CASES)
)
def test_rates_equal_torch(schedule, make_torch, n_steps):
    ours = [schedule(step) for step in range(n_steps)]
    # PyTorch multiplies from step to step, and so gathers rounding.
    np.testing.assert_allclose(
        ours, torch_rates(make_torch, n_steps), rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize("final", [0.0, 0.1])
@pytest.mark.parametrize("n_steps", [1, 3, 10**6])
def test_cosine_ends_at_its_final_rate_and_stays(final, n_steps):
    schedule = Cosine(RATE, n_steps=n_steps, final=final)
    assert schedule(0) == RATE
    assert schedule(n_steps - 1) > final
    assert [schedule(n_steps), schedule(n_steps + 1), schedule(10**9)] == [final] * 3


@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_warm_up_rises_evenly_to_the_first_rate_and_hands_over(n_steps):
    after = StepDecay(RATE, every=2, factor=0.5)
    schedule = WarmUp(after, n_steps=n_steps)
    rises = np.diff([0.0, *map(schedule, range(n_steps + 1))])
    np.testing.assert_allclose(rises, RATE / (n_steps + 1), rtol=1e-14)
    assert [schedule(n_steps + t) for t in range(9)] == [after(t) for t in range(9)]


def test_warm_ups_may_be_wrapped():
    inner = WarmUp(Constant(RATE), n_steps=3)
    schedule = WarmUp(inner, n_steps=1)
    assert schedule(0) == inner(0) / 2
    assert [schedule(t + 1) for t in range(5)] == [inner(t) for t in range(5)]


def test_an_optimizer_follows_a_schedule_and_refuses_the_rate_zero():
    schedule, optimizer = Cosine(RATE, n_steps=6), SGD()
    parameters = np.zeros(1)
    for step in range(6):
        optimizer.learning_rate = schedule(step)
        optimizer.step(parameters, [1.0])
    # the cosines of step t and 6 - t cancel, but for that of step 0
    assert parameters[0] == pytest.approx(-RATE * (6 + 1) / 2, rel=1e-14)
    with pytest.raises(ValueError, match="`learning_rate` must be > 0"):
        optimizer.learning_rate = schedule(6)


@every
def test_schedules_are_values(schedule):
    for twin in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert twin == schedule
        assert hash(twin) == hash(schedule)
    assert eval(repr(schedule)) == schedule
    first = dataclasses.fields(schedule)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, first, getattr(schedule, first))


@every
@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (-1, ValueError, "must be >= 0, but is -1"),
        (1.0, TypeError, "must be an integer, but is 1.0"),
        (True, TypeError, "must be an integer, but is True"),
    ],
)
def test_steps_that_are_no_count_are_refused(schedule, step, error, message):
    with pytest.raises(error, match=f"Argument `step` {message}"):
        schedule(step)


@pytest.mark.parametrize(
    "make",
    [
        Constant,
        lambda rate: StepDecay(rate, every=2, factor=0.5),
        lambda rate: Cosine(rate, n_steps=2),
    ],
)
@pytest.mark.parametrize(
    ("rate", "error"),
    [(0.0, ValueError), (-1.0, ValueError), (math.nan, ValueError), ("1", TypeError)],
)
def test_rates_are_checked(make, rate, error):
    with pytest.raises(error, match="Argument `rate` must be"):
        make(rate)


@pytest.mark.parametrize(
    ("make", "error", "name"),
    [
        (lambda: StepDecay(0.1, every=0, factor=0.5), ValueError, "every"),
        (lambda: StepDecay(0.1, every=2.0, factor=0.5), TypeError, "every"),
        (lambda: StepDecay(0.1, every=2, factor=0.0), ValueError, "factor"),
        (lambda: StepDecay(0.1, every=2, factor=1.0), ValueError, "factor"),
        (lambda: Cosine(0.1, n_steps=0), ValueError, "n_steps"),
        (lambda: Cosine(0.1, n_steps=1.5), TypeError, "n_steps"),
        (lambda: Cosine(0.1, n_steps=2, final=-0.1), ValueError, "final"),
        (lambda: Cosine(0.1, n_steps=2, final=math.inf), ValueError, "final"),
        (lambda: WarmUp(Constant(0.1), n_steps=0), ValueError, "n_steps"),
        (lambda: WarmUp(Constant(0.1), n_steps="3"), TypeError, "n_steps"),
        (lambda: WarmUp(0.1, n_steps=3), TypeError, "after"),
    ],
)
def test_fields_are_checked(make, error, name):
    with pytest.raises(error, match=f"Argument `{name}` must be"):
        make()


def test_a_schedule_must_define_its_rate():
    with pytest.raises(TypeError, match="abstract"):
        Schedule()
