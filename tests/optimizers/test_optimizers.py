"""Every optimizer: the laws they share, PyTorch's numbers, and the errors."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from qstore_pl.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Optimizer,
    RMSprop,
    clip_gradients,
    get_optimizer,
)

CASES = {
    "adam": (lambda: Adam(0.05), lambda p: torch.optim.Adam(p, lr=0.05)),
    "adam, all options": (
        lambda: Adam(0.05, beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=0.1),
        lambda p: torch.optim.Adam(
            p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1
        ),
    ),
    "adamw": (
        lambda: AdamW(0.05),
        lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.01),
    ),
    "adamw, all options": (
        lambda: AdamW(0.05, beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=0.1),
        lambda p: torch.optim.AdamW(
            p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1
        ),
    ),
    "rmsprop": (lambda: RMSprop(0.05), lambda p: torch.optim.RMSprop(p, lr=0.05)),
    "rmsprop, all options": (
        lambda: RMSprop(0.01, decay=0.9, epsilon=1e-3, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(
            p, lr=0.01, alpha=0.9, eps=1e-3, weight_decay=0.1
        ),
    ),
    "sgd": (lambda: SGD(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "sgd, all options": (
        lambda: SGD(0.05, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    ),
    "nesterov": (
        lambda: SGD(0.05, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    ),
    "nesterov, all options": (
        lambda: SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: torch.optim.SGD(
            p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1
        ),
    ),
}
OURS = [ours for ours, _ in CASES.values()]
every = pytest.mark.parametrize("make", OURS, ids=list(CASES))


def slopes(parameters):
    """Gradient of a smooth bowl with a different curvature in every direction."""
    return np.arange(1, parameters.size + 1) * np.sin(parameters) + 0.1


def start(size=24):
    return np.random.default_rng(7).normal(size=size)


def bits(state):
    return {key: np.asarray(value).tobytes() for key, value in state.items()}


@pytest.mark.parametrize(("make", "make_torch"), CASES.values(), ids=list(CASES))
def test_twenty_steps_equal_torch(make, make_torch):
    parameters, optimizer = start(), make()
    theirs = torch.tensor(parameters, requires_grad=True)
    torch_optimizer = make_torch([theirs])
    for _ in range(20):
        theirs.grad = torch.tensor(slopes(theirs.detach().numpy()))
        torch_optimizer.step()
        optimizer.step(parameters, slopes(parameters))
        np.testing.assert_allclose(parameters, theirs.detach(), rtol=0, atol=1e-13)


def test_without_decay_adam_and_adamw_are_one_bit_for_bit():
    ours, theirs = start(), start()
    adam, adamw = Adam(0.05), AdamW(0.05, weight_decay=0.0)
    for _ in range(20):
        adam.step(ours, slopes(ours))
        adamw.step(theirs, slopes(theirs))
    assert ours.tobytes() == theirs.tobytes()


@every
def test_update_and_step_are_bit_equal_and_update_is_pure(make):
    stepped, optimizer, pure = start(), make(), make()
    parameters, state = start(), pure.init(24)
    trainable = np.arange(24) % 5 != 2
    for _ in range(5):
        gradients = slopes(parameters)
        inputs = [gradients.tobytes(), bits(state), parameters.tobytes()]
        new = pure.update(gradients, state, parameters, trainable=trainable)
        assert inputs == [gradients.tobytes(), bits(state), parameters.tobytes()]
        parameters, state = new
        optimizer.step(stepped, slopes(stepped), trainable=trainable)
        assert stepped.tobytes() == parameters.tobytes()
        assert bits(optimizer.state) == bits(state)
    assert pure.state == {}


@every
def test_frozen_parameters_and_their_moments_stay_bit_equal(make):
    parameters, optimizer = start(), make()
    optimizer.step(parameters, slopes(parameters))
    before, state = parameters.copy(), optimizer.state
    trainable = np.arange(24) >= 4
    for _ in range(3):
        gradients = slopes(parameters)
        gradients[0] = np.nan  # nobody has to compute it
        optimizer.step(parameters, gradients, trainable=trainable)
    assert parameters[:4].tobytes() == before[:4].tobytes()
    assert np.all(parameters[4:] != before[4:])
    for key, value in optimizer.state.items():
        if isinstance(value, np.ndarray):
            assert value[:4].tobytes() == state[key][:4].tobytes()


@every
def test_frozen_parameters_do_not_move_the_others(make):
    trainable = np.arange(24) >= 4
    whole, alone = start(), start()[4:]
    optimizer, lone = make(), make()
    for _ in range(5):
        gradients = slopes(whole)
        optimizer.step(whole, gradients, trainable=trainable)
        lone.step(alone, gradients[4:])
    np.testing.assert_allclose(whole[4:], alone, rtol=1e-14)


@every
def test_it_minimises(make):
    parameters, optimizer = np.array([1.0, -0.8, 0.5]), make()
    for _ in range(500):
        optimizer.step(parameters, slopes(parameters) - 0.1)
    np.testing.assert_allclose(parameters, 0.0, atol=1e-2)


@every
def test_a_run_continues_from_its_state_bit_for_bit(make):
    straight, optimizer = start(), make()
    for _ in range(6):
        optimizer.step(straight, slopes(straight))
    resumed, first, second = start(), make(), make()
    for _ in range(3):
        first.step(resumed, slopes(resumed))
    second.load_state(first.state)
    for _ in range(3):
        second.step(resumed, slopes(resumed))
    assert resumed.tobytes() == straight.tobytes()
    assert bits(second.state) == bits(optimizer.state)


@every
def test_state_is_copied_out_and_in(make):
    parameters, optimizer = start(), make()
    optimizer.step(parameters, slopes(parameters))
    state = optimizer.state
    kept = bits(state)
    other = make()
    other.load_state(state)
    for value in state.values():
        if isinstance(value, np.ndarray):
            value[:] = 99.0
    assert bits(optimizer.state) == bits(other.state) == kept


@every
def test_an_empty_state_begins_afresh(make):
    optimizer = make()
    assert optimizer.state == {}
    optimizer.step(start(), slopes(start()))
    optimizer.load_state({})
    assert optimizer.state == {}
    shorter = start(3)
    optimizer.step(shorter, slopes(shorter))
    wanted, _ = make().update(slopes(start(3)), make().init(3), start(3))
    assert shorter.tobytes() == wanted.tobytes()


@every
def test_copies_and_pickles_continue_alike(make):
    parameters, optimizer = start(), make()
    optimizer.step(parameters, slopes(parameters))
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert repr(twin) == repr(optimizer)
        assert bits(twin.state) == bits(optimizer.state)
        wanted, _ = optimizer.update(slopes(parameters), optimizer.state, parameters)
        moved = parameters.copy()
        twin.step(moved, slopes(moved))
        assert moved.tobytes() == wanted.tobytes()


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_refused_before_anything_changes(make, bad):
    parameters, optimizer = start(), make()
    gradients = slopes(parameters)
    gradients[[3, 5]] = bad
    with pytest.raises(
        ValueError, match=f"`gradients` must be finite, but entry 3 is {bad}"
    ):
        optimizer.step(parameters, gradients)
    assert optimizer.state == {}
    assert parameters.tobytes() == start().tobytes()
    optimizer.step(parameters, slopes(parameters))
    before, state = parameters.tobytes(), bits(optimizer.state)
    with pytest.raises(ValueError, match="entry 3"):
        optimizer.step(parameters, gradients)
    assert parameters.tobytes() == before
    assert bits(optimizer.state) == state


@every
def test_step_writes_through_a_view(make):
    whole = start()
    view = whole[4:10]
    wanted, _ = make().update(slopes(view), make().init(6), view)
    make().step(view, slopes(view))
    assert whole[4:10].tobytes() == wanted.tobytes()
    assert whole[:4].tobytes() == start()[:4].tobytes()
    assert whole[10:].tobytes() == start()[10:].tobytes()


@every
def test_gradients_may_be_lists_integers_and_strided(make):
    strided = np.arange(12.0)[::4]
    results = []
    for gradients in ([0, 4, 8], np.array([0, 4, 8]), strided, strided.astype("f4")):
        parameters = start(3)
        make().step(parameters, gradients)
        results.append(parameters.tobytes())
    assert len(set(results)) == 1


def read_only():
    array = np.zeros(3)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ([0.0, 0.0, 0.0], TypeError, "float64 array.*but is list"),
        (np.zeros(3, "f4"), TypeError, "float64 array.*but is float32"),
        (np.zeros(3, ">f8"), TypeError, "float64 array.*but is >f8"),
        (torch.zeros(3, dtype=torch.float64), TypeError, "but is Tensor"),
        (
            np.zeros((3, 1)),
            ValueError,
            r"shape \(n_parameters,\), but has shape \(3, 1\)",
        ),
        (np.array(0.0), ValueError, r"but has shape \(\)"),
        (np.zeros(6)[::2], TypeError, "writable and contiguous"),
        (read_only(), TypeError, "writable and contiguous"),
    ],
)
def test_parameters_that_cannot_be_written_are_refused(parameters, error, message):
    with pytest.raises(error, match=f"Argument `parameters` must.*{message}"):
        Adam().step(parameters, [0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        (
            np.zeros(2),
            ValueError,
            r"shape \(3,\), as `parameters`, but has shape \(2,\)",
        ),
        (np.zeros((3, 1)), ValueError, r"but has shape \(3, 1\)"),
        (0.0, ValueError, r"but has shape \(\)"),
        (np.zeros(3, complex), TypeError, "real numbers, but has dtype complex128"),
        (["a", "b", "c"], TypeError, "real numbers"),
    ],
)
def test_gradients_of_another_kind_are_refused(gradients, error, message):
    with pytest.raises(error, match=message):
        SGD().step(np.zeros(3), gradients)


@pytest.mark.parametrize(
    ("trainable", "error", "message"),
    [
        ([0, 2], TypeError, "`trainable` must be a mask of bools, but has dtype int64"),
        ([True, False], ValueError, r"`trainable` must have shape \(3,\)"),
        (True, ValueError, r"but has shape \(\)"),
    ],
)
def test_masks_of_another_kind_are_refused(trainable, error, message):
    with pytest.raises(error, match=message):
        SGD().step(np.zeros(3), np.zeros(3), trainable=trainable)


def test_other_parameters_need_a_fresh_state():
    optimizer = Adam()
    optimizer.step(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match=r"must have 3 entries.*but has 4.*load_state"):
        optimizer.step(np.zeros(4), np.ones(4))


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (
            {"velocity": np.zeros(3)},
            ValueError,
            "count, first, second of Adam, but has velocity",
        ),
        ({"count": 1, "first": np.zeros(3)}, ValueError, "but has count, first"),
        ({"count": 0.5, "first": [0.0], "second": [0.0]}, TypeError, "an integer"),
        ({"count": -1, "first": [0.0], "second": [0.0]}, ValueError, "must be >= 0"),
        (
            {"count": 1, "first": [0.0], "second": [np.nan]},
            ValueError,
            r"state\['second'\]",
        ),
        ({"count": 1, "first": [0.0], "second": [0.0, 0.0]}, ValueError, "one length"),
        (
            {"count": 1, "first": [[0.0]], "second": [0.0]},
            ValueError,
            r"shape \(1, 1\)",
        ),
        ({"count": 1, "first": 0.0, "second": 0.0}, ValueError, r"shape \(\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(state, error, message):
    optimizer = Adam()
    optimizer.step(np.zeros(3), np.ones(3))
    before = bits(optimizer.state)
    with pytest.raises(error, match=message):
        optimizer.load_state(state)
    assert bits(optimizer.state) == before


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
@pytest.mark.parametrize(
    ("value", "error"),
    [(0.0, ValueError), (-1.0, ValueError), (np.nan, ValueError), ("1", TypeError)],
)
def test_learning_rate_is_checked_whenever_it_is_set(optimizer, value, error):
    with pytest.raises(error, match="`learning_rate` must be"):
        optimizer(value)
    made = optimizer(0.5)
    with pytest.raises(error, match="`learning_rate` must be"):
        made.learning_rate = value
    assert made.learning_rate == 0.5


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Adam(beta1=1.0), "beta1"),
        (lambda: Adam(beta1=-0.1), "beta1"),
        (lambda: Adam(beta2=1.0), "beta2"),
        (lambda: Adam(epsilon=0.0), "epsilon"),
        (lambda: Adam(weight_decay=-1.0), "weight_decay"),
        (lambda: AdamW(beta1=1.0), "beta1"),
        (lambda: AdamW(beta2=-0.1), "beta2"),
        (lambda: AdamW(epsilon=0.0), "epsilon"),
        (lambda: AdamW(weight_decay=-1.0), "weight_decay"),
        (lambda: RMSprop(decay=1.0), "decay"),
        (lambda: RMSprop(epsilon=0.0), "epsilon"),
        (lambda: RMSprop(weight_decay=-1.0), "weight_decay"),
        (lambda: SGD(momentum=1.0), "momentum"),
        (lambda: SGD(momentum=-0.1), "momentum"),
        (lambda: SGD(weight_decay=-1.0), "weight_decay"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(make, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must be"):
        make()


def test_nesterov_needs_momentum_and_is_a_bool():
    with pytest.raises(ValueError, match="`momentum` must be > 0 with nesterov=True"):
        SGD(nesterov=True)
    with pytest.raises(TypeError, match="`nesterov` must be True or False, but is 1"):
        SGD(momentum=0.9, nesterov=1)


def test_the_learning_rate_may_change_between_steps():
    parameters, optimizer = np.zeros(1), SGD(0.1)
    optimizer.step(parameters, [1.0])
    optimizer.learning_rate = 1
    optimizer.step(parameters, [1.0])
    np.testing.assert_allclose(parameters, [-1.1], rtol=1e-15)


def test_repr_can_be_read():
    assert repr(Adam()) == (
        "Adam(learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-08, "
        "weight_decay=0.0)"
    )
    assert repr(SGD(0.5, momentum=0.9)) == (
        "SGD(learning_rate=0.5, momentum=0.9, nesterov=False, weight_decay=0.0)"
    )


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("adam", {}, Adam(0.1)),
        ("adam", {"weight_decay": 0.2}, Adam(0.1, weight_decay=0.2)),
        ("adamw", {}, AdamW(0.1, weight_decay=0.01)),
        ("adamw", {"weight_decay": 0.2}, AdamW(0.1, weight_decay=0.2)),
        ("rmsprop", {}, RMSprop(0.1)),
        ("sgd", {}, SGD(0.1)),
        (
            "sgd",
            {"momentum": 0.5, "weight_decay": 0.2},
            SGD(0.1, momentum=0.5, weight_decay=0.2),
        ),
        ("momentum", {}, SGD(0.1, momentum=0.9)),
        ("momentum", {"momentum": 0.5}, SGD(0.1, momentum=0.5)),
        ("nesterov", {}, SGD(0.1, momentum=0.9, nesterov=True)),
        ("nesterov", {"momentum": 0.5}, SGD(0.1, momentum=0.5, nesterov=True)),
    ],
)
def test_optimizers_are_made_by_name(name, options, wanted):
    assert repr(get_optimizer(name, 0.1, **options)) == repr(wanted)


def test_names_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match=r'one of "adam", "adamw", .*"sgd", but'):
        get_optimizer("lbfgs", 0.1)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_options_that_an_optimizer_has_not_are_refused(name):
    with pytest.raises(
        ValueError, match=f'`momentum` must be left out for optimizer "{name}"'
    ):
        get_optimizer(name, 0.1, momentum=0.9)


def test_an_optimizer_must_define_its_step():
    with pytest.raises(TypeError, match="abstract"):
        Optimizer(0.1)


def test_clip_gradients_works_in_place_and_returns_the_norm():
    gradients = np.array([3.0, -4.0, 9.0])
    trainable = [True, True, False]
    assert clip_gradients(gradients, trainable=trainable) == 5.0
    assert gradients.tolist() == [3.0, -4.0, 0.0]
    assert clip_gradients(gradients, value=2) == 5.0
    assert gradients.tolist() == [2.0, -2.0, 0.0]
    clip_gradients(gradients, norm=1.0)
    np.testing.assert_allclose(np.linalg.norm(gradients), 1.0, rtol=1e-15)


@pytest.mark.parametrize("option", ["value", "norm"])
@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan])
def test_limits_that_are_not_positive_are_refused(option, limit):
    gradients = np.ones(2)
    with pytest.raises(ValueError, match=f"`{option}` must be > 0"):
        clip_gradients(gradients, **{option: limit})
    assert gradients.tolist() == [1.0, 1.0]


def test_clip_gradients_needs_an_array_to_write_into():
    with pytest.raises(TypeError, match="`gradients` must be a float64 array"):
        clip_gradients([1.0, 2.0])


def test_importing_and_making_optimizers_imports_no_numba():
    script = (
        "import sys, qstore_pl.optimizers as o; o.get_optimizer('adam', 0.1);"
        "sys.exit('numba' in sys.modules or 'pennylane' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
