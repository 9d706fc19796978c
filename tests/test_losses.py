"""Losses: gradients against autograd and PyTorch, targets, users' functions, errors."""

import copy
import pickle
import warnings

import autograd
import numpy as np
import pytest
import torch
from autograd import numpy as anp
from pennylane import numpy as pnp

from qstore_pl.losses import LOSSES, Loss, accuracy, get_loss

SHAPES = [(1, 2), (10, 2), (7, 5), (32, 3)]


def anp_mse(predictions, targets):
    return anp.mean((predictions - targets) ** 2)


def anp_cross_entropy(predictions, labels):
    shifted = predictions - anp.max(predictions, axis=1, keepdims=True)
    log_softmax = shifted - anp.log(anp.sum(anp.exp(shifted), axis=1, keepdims=True))
    return -anp.mean(log_softmax[anp.arange(len(labels)), labels])


def draw(shape):
    rng = np.random.default_rng(shape[0])
    predictions = 3 * rng.normal(size=shape)
    return predictions, rng.normal(size=shape), rng.integers(shape[1], size=shape[0])


def check(ours, value, gradient):
    assert type(ours[0]) is float
    assert ours[1].dtype == np.float64
    assert ours[1].flags.c_contiguous
    np.testing.assert_allclose(ours[0], value, rtol=1e-12)
    np.testing.assert_allclose(ours[1], gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [*SHAPES, (10, 1), (1, 1)])
def test_mse_equals_autograd_and_torch(shape):
    predictions, targets, _ = draw(shape)
    loss = get_loss("mse")
    prepared = loss.prepare_targets(targets, shape[1], shape[0])
    ours = loss.value_and_grad(predictions, prepared)
    check(ours, *autograd.value_and_grad(anp_mse)(predictions, targets))
    leaf = torch.tensor(predictions, requires_grad=True)
    theirs = torch.nn.functional.mse_loss(leaf, torch.tensor(targets))
    theirs.backward()
    check(ours, theirs.item(), leaf.grad)
    assert loss(predictions, targets) == ours[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_equals_autograd_and_torch(shape):
    predictions, _, labels = draw(shape)
    loss = get_loss("cross_entropy")
    prepared = loss.prepare_targets(labels, shape[1], shape[0])
    ours = loss.value_and_grad(predictions, prepared)
    check(ours, *autograd.value_and_grad(anp_cross_entropy)(predictions, labels))
    leaf = torch.tensor(predictions, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels))
    theirs.backward()
    check(ours, theirs.item(), leaf.grad)
    assert loss(predictions, labels) == ours[0]


def test_cross_entropy_is_stable_for_large_logits():
    loss = get_loss("cross_entropy")
    predictions = np.array([[1e4, 0.0], [-1e4, 1e4], [1e308, -1e307]])
    value, gradient = loss.value_and_grad(
        predictions, loss.prepare_targets([0, 0, 0], 2, 3)
    )
    assert value == pytest.approx(2e4 / 3, rel=1e-12)
    np.testing.assert_allclose(gradient, [[0, 0], [-1 / 3, 1 / 3], [0, 0]], atol=1e-15)


def test_labels_and_one_hot_targets_are_the_same():
    loss = get_loss("cross_entropy")
    labels = np.array([2, 0, 1, 1])
    wanted = np.eye(3)[labels]
    same = [labels.tolist(), labels.astype("u1"), wanted, wanted.astype(bool)]
    for targets in (*same, wanted.astype(int).tolist(), wanted.astype("f4")):
        prepared = loss.prepare_targets(targets, 3, 4)
        assert prepared.dtype == np.float64
        assert prepared.tobytes() == wanted.tobytes()
    assert loss.prepare_targets([True, False], 2, 2).tolist() == [[0, 1], [1, 0]]


def test_one_output_takes_a_vector_of_targets():
    loss = get_loss("mse")
    prepared = loss.prepare_targets([1, 0, 1], 1, 3)
    assert prepared.shape == (3, 1)
    assert prepared.dtype == np.float64
    assert loss([[1.0], [0.0], [0.0]], [1, 0, 1]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", ["mse", "cross_entropy", "hinge"])
def test_preparing_twice_changes_nothing(name):
    loss = get_loss(name)
    once = loss.prepare_targets(np.eye(3), 3, 3)
    assert loss.prepare_targets(once, 3, 3).tobytes() == once.tobytes()


@pytest.mark.parametrize("name", ["binary", "hinge"])
@pytest.mark.parametrize("labels", [[0, 1, 1], [0, 0], [1, 1], [0], [1]])
def test_preparing_labels_of_one_output_twice_changes_nothing(name, labels):
    loss, n = get_loss(name), len(labels)
    once = loss.prepare_targets(labels, 1, n)
    assert loss.prepare_targets(once, 1, n).tobytes() == once.tobytes()
    assert loss(np.ones((n, 1)), once) == loss(np.ones((n, 1)), labels)


@pytest.mark.parametrize(
    ("targets", "n_outputs", "error", "message"),
    [
        (
            np.zeros(4),
            2,
            ValueError,
            r"shape \(4, 2\), a number.*has shape \(4,\).*cross_",
        ),
        (np.zeros((4, 3)), 2, ValueError, r"but has shape \(4, 3\)"),
        (np.zeros((3, 2)), 2, ValueError, r"but has shape \(3, 2\)"),
        (np.zeros((1, 4)), 1, ValueError, r"shape \(4, 1\) or \(4,\)"),
        (0.0, 1, ValueError, r"but has shape"),
        ([[0.0], [np.nan], [0.0], [0.0]], 1, ValueError, "finite, but entry"),
        (["a", "b", "c", "d"], 1, TypeError, "must hold real numbers"),
        (np.zeros((4, 1), complex), 1, TypeError, "must hold real numbers"),
    ],
)
def test_mse_targets_that_do_not_fit_are_refused(targets, n_outputs, error, message):
    with pytest.raises(error, match=f"Argument `targets`.*{message}"):
        get_loss("mse").prepare_targets(targets, n_outputs, 4)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([0, 1, 2, 3], ValueError, "labels from 0 to 2.*but entry 3 is 3"),
        ([0, -1, 2, 0], ValueError, "but entry 1 is -1"),
        ([0.0, 1.0, 2.0, 0.0], TypeError, "integer labels, but has dtype float64"),
        (["a", "b", "c", "a"], TypeError, "integer labels, but has dtype <U1"),
        ([0, 1, 2], ValueError, r"shape \(4,\) of labels or \(4, 3\) one-hot.*\(3,\)"),
        ([[0], [1], [2], [0]], ValueError, r"but has shape \(4, 1\)"),
        (np.zeros((4, 3)), ValueError, "must be one-hot"),
        (np.full((4, 3), 1 / 3), ValueError, "must be one-hot"),
        (np.ones((4, 3)), ValueError, "must be one-hot"),
        (np.full((4, 3), np.nan), ValueError, "must be one-hot"),
        ([[2, -1, 0]] * 4, ValueError, "must be one-hot"),
    ],
)
def test_class_targets_that_do_not_fit_are_refused(targets, error, message):
    with pytest.raises(error, match=f"Argument `targets`.*{message}"):
        get_loss("cross_entropy").prepare_targets(targets, 3, 4)


def test_cross_entropy_needs_two_outputs():
    with pytest.raises(ValueError, match=r"at least 2, but has 1.*mse"):
        get_loss("cross_entropy").prepare_targets([0, 0], 1, 2)


def user_mse(predictions, targets):
    return pnp.mean((predictions - targets) ** 2)


def user_cross_entropy(predictions, targets):
    weights = pnp.exp(predictions)
    chosen = pnp.sum(weights * targets, axis=1) / pnp.sum(weights, axis=1)
    return -pnp.mean(pnp.log(chosen))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_users_function_is_differentiated_by_autograd(shape):
    predictions, targets, labels = draw(shape)
    for fn, name, wanted in (
        (user_mse, "mse", targets),
        (user_cross_entropy, "cross_entropy", np.eye(shape[1])[labels]),
    ):
        loss = get_loss(fn)
        assert loss.name == fn.__name__
        prepared = loss.prepare_targets(wanted.tolist(), shape[1], shape[0])
        check(
            loss.value_and_grad(predictions, prepared),
            *get_loss(name).value_and_grad(predictions, wanted),
        )


def test_a_users_gradient_is_taken_as_it_is():
    predictions, targets, _ = draw((7, 5))
    loss = Loss(
        lambda p, t: np.abs(p - t).sum(),
        lambda p, t: np.sign(p - t).T.copy().T.tolist(),
    )
    check(
        loss.value_and_grad(predictions, targets),
        np.abs(predictions - targets).sum(),
        np.sign(predictions - targets),
    )


NOT_DIFFERENTIABLE = {
    "ufunc": lambda p, t: np.exp(p - t).mean(),
    "np.mean": lambda p, t: np.mean((p - t) ** 2),
    "np.vdot": lambda p, t: np.vdot(p - t, p - t),
    "np.linalg": lambda p, t: np.linalg.norm(p - t),
    "np.square": lambda p, t: np.square(p - t).mean(),
    "float": lambda p, t: float((p - t).sum()),
    "constant": lambda p, t: 0.5,
    "argmax": lambda p, t: pnp.mean(pnp.argmax(p, axis=1) == 0),
    "no derivative": lambda p, t: pnp.sum(pnp.nextafter(p, t)),
}


@pytest.mark.parametrize("fn", NOT_DIFFERENTIABLE.values(), ids=NOT_DIFFERENTIABLE)
def test_functions_autograd_cannot_differentiate_name_both_ways_out(fn):
    predictions, targets, _ = draw((10, 2))
    assert np.ndim(fn(predictions, targets)) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            TypeError,
            match=r"differentiated by autograd.*pennylane\.numpy.*Loss\(fn, grad\)",
        ):
            get_loss(fn).value_and_grad(predictions, targets)


def test_plain_numpy_that_autograd_can_follow_has_the_right_gradient():
    predictions, targets, _ = draw((10, 2))
    wanted = get_loss("mse").value_and_grad(predictions, targets)
    for fn in (
        lambda p, t: ((p - t) ** 2).mean(),
        lambda p, t: np.dot((p - t).ravel(), (p - t).ravel()) / 20,
        lambda p, t: np.einsum("ij,ij", p - t, p - t) / 20,
        lambda p, t: np.sum(np.asarray(p - t) ** 2) / 20,
    ):
        check(get_loss(fn).value_and_grad(predictions, targets), *wanted)


def test_an_error_in_the_loss_itself_comes_out_as_it_is():
    def broken(predictions, targets):
        return pnp.mean(predictions.nothing)

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        get_loss(broken).value_and_grad(np.zeros((2, 2)), np.zeros((2, 2)))


@pytest.mark.parametrize(
    "fn",
    [
        lambda p, t: p - t,
        lambda p, t: pnp.mean(p, axis=1),
        lambda p, t: pnp.reshape(pnp.mean(p), (1,)),
        lambda p, t: pnp.mean(p) * 1j,
    ],
)
@pytest.mark.parametrize("grad", [None, lambda p, t: p])
def test_losses_that_are_not_real_scalars_are_refused(fn, grad):
    predictions, targets, _ = draw((10, 2))
    with pytest.raises(
        TypeError, match="must return a real scalar, but returned dtype"
    ):
        Loss(fn, grad, name="odd").value_and_grad(predictions, targets)
    with pytest.raises(TypeError, match="Loss `odd` must return a real scalar"):
        Loss(fn, grad, name="odd")(predictions, targets)


@pytest.mark.parametrize(
    "grad",
    [lambda p, t: p[:, 0], lambda p, t: p.T, lambda p, t: 0.0, lambda p, t: p * 1j],
)
def test_gradients_of_another_shape_are_refused(grad):
    predictions, targets, _ = draw((10, 2))
    with pytest.raises(ValueError, match=r"gradient of loss `odd` has .*\(10, 2\)"):
        Loss(lambda p, t: 0.0, grad, name="odd").value_and_grad(predictions, targets)


# --- predictions have the shape of the targets ----------------------------------------

OWN_MSE = {
    "function": user_mse,
    "Loss": Loss(user_mse),
    "Loss with gradient": Loss(user_mse, lambda p, t: 2 * (p - t) / p.size),
    "mse": "mse",
}


@pytest.mark.parametrize("spec", OWN_MSE.values(), ids=OWN_MSE)
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_one_output_never_broadcasts_against_targets_of_one_axis(spec, shape):
    predictions, targets, _ = draw((6, 1))
    tensor = torch.tensor(predictions, requires_grad=True)
    wanted = torch.nn.functional.mse_loss(tensor, torch.tensor(targets))
    wanted.backward()
    loss = get_loss(spec)
    prepared = loss.prepare_targets(targets.reshape(shape), 1, 6)
    value, gradient = loss.value_and_grad(predictions, prepared)
    check((value, gradient), wanted.item(), tensor.grad.numpy())
    assert loss.value(predictions, prepared) == value
    assert loss(predictions.tolist(), targets.reshape(shape)) == value


def shapes_seen(n_outputs, targets):
    """The shapes that a user's loss, its gradient and its second derivative get."""
    seen = []

    def note(result):
        def function(predictions, targets):
            seen.append((predictions.shape, targets.shape))
            return result(predictions)

        return function

    loss = Loss(
        note(lambda p: 0.0),
        note(np.zeros_like),
        hessian=note(lambda p: np.zeros((4, n_outputs, n_outputs))),
    )
    prepared = loss.prepare_targets(targets, n_outputs, 4)
    predictions = np.zeros((4, n_outputs))
    loss.value_and_grad(predictions, prepared)
    loss.value(predictions, prepared)
    loss.second_derivative(predictions, prepared)
    return set(seen)


@pytest.mark.parametrize(
    ("n_outputs", "targets", "shapes"),
    [
        (1, np.zeros(4), ((4,), (4,))),
        (1, np.zeros(4, dtype=int), ((4,), (4,))),
        (1, np.zeros((4, 1)), ((4, 1), (4, 1))),
        (3, np.zeros((4, 3)), ((4, 3), (4, 3))),
        (4, np.zeros(4, dtype=int), ((4, 4), (4,))),
        (4, np.zeros(4, dtype=bool), ((4, 4), (4,))),
    ],
)
def test_a_users_loss_gets_the_shapes_it_was_promised(n_outputs, targets, shapes):
    assert shapes_seen(n_outputs, targets) == {shapes}


@pytest.mark.parametrize(
    ("n_outputs", "targets", "words"),
    [
        (4, np.zeros(4), r"\(4, 4\).*\(4,\) of integer labels, but .*\(4,\) .*float64"),
        (2, np.zeros((4, 1)), r"\(4, 2\).*, but has shape \(4, 1\)"),
        (1, np.zeros((4, 2)), r"\(4, 1\).* or \(4,\), but has shape \(4, 2\)"),
        (2, np.zeros((4, 2, 2)), r"\(4, 2\).*, but has shape \(4, 2, 2\)"),
    ],
)
def test_targets_that_would_broadcast_are_refused(n_outputs, targets, words):
    with pytest.raises(ValueError, match=words) as raised:
        get_loss(user_mse).prepare_targets(targets, n_outputs, 4)
    assert "Loss(fn, prepare=...)" in str(raised.value)
    own = Loss(user_mse, prepare=lambda targets, n_outputs, n_samples: targets)
    assert own.prepare_targets(targets, n_outputs, 4) is targets


@pytest.mark.parametrize(
    "loss",
    [
        Loss(lambda p, t: pnp.mean((p[:, 0] - t) ** 2), name="odd"),
        Loss(lambda p, t: pnp.mean(pnp.sum(p, axis=1) - t), name="odd"),
        Loss(lambda p, t: 0.0, lambda p, t: p[:, 0] - t, name="odd"),
    ],
    ids=["column", "axis", "gradient"],
)
def test_an_axis_that_is_not_there_is_an_error_that_names_the_shapes(loss):
    words = (
        r"Loss `odd` failed on predictions of shape \(4,\) and targets of shape \(4,\)"
    )
    with pytest.raises(IndexError, match=words):
        loss.value_and_grad(np.zeros((4, 1)), np.zeros(4))


def test_second_derivatives_of_another_shape_are_refused():
    loss = Loss(user_mse, hessian=lambda p, t: np.full(p.shape, 2 / p.size), name="odd")
    with pytest.raises(ValueError, match=r"`odd` has shape .* instead of \(4, 1, 1\)"):
        loss.second_derivative(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(ValueError, match="`user_mse` has no second"):
        Loss(user_mse).second_derivative(np.zeros((4, 1)), np.zeros(4))


@pytest.mark.parametrize("spec", [*LOSSES, user_mse])
def test_a_loss_that_is_nan_is_returned(spec):
    predictions = np.array([[np.nan, 0.0], [1.0, 2.0]])
    if spec == "binary":
        predictions = predictions[:, :1]
    value, gradient = get_loss(spec).value_and_grad(predictions, np.eye(2))
    assert np.isnan(value)
    assert np.isnan(gradient[0, 0])
    assert np.isfinite(gradient[1]).all()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.zeros(3), r"per sample, here 4, but has shape \(3,\)"),
        (1.0, r"has shape \(\)"),
    ],
)
def test_a_users_loss_asks_for_one_target_per_sample(targets, message):
    with pytest.raises(ValueError, match=message):
        get_loss(user_mse).prepare_targets(targets, 2, 4)


def test_a_users_loss_may_prepare_its_targets():
    def prepare(targets, n_outputs, n_samples):
        return np.broadcast_to(np.asarray(targets, dtype=float), (n_samples, n_outputs))

    loss = Loss(user_mse, prepare=prepare)
    assert not loss.is_classification
    assert loss([[1.0, 2.0]], 0.0) == 2.5


def test_a_users_loss_may_say_which_classes_its_targets_are():
    loss = Loss(user_mse, labels=lambda targets: (targets[:, 0] > 5).astype(int))
    assert loss.is_classification
    assert loss.accuracy(
        np.array([[1.0], [-1.0], [2.0]]), np.array([[9], [9], [0]])
    ) == (pytest.approx(1 / 3))
    with pytest.raises(ValueError, match=r"Loss `user_mse` must be one of classes"):
        loss.with_class_weight({0: 2.0})


def test_get_loss_takes_names_losses_and_functions():
    assert get_loss("mse") is LOSSES["mse"]
    assert get_loss(LOSSES["mse"]) is LOSSES["mse"]
    assert repr(get_loss("cross_entropy")) == "Loss('cross_entropy')"
    for unknown in ("huber", 3, None):
        with pytest.raises(
            ValueError,
            match='`loss` must be one of "binary", "cross_entropy", "hinge", "mse"',
        ):
            get_loss(unknown)


def test_only_classification_has_an_accuracy():
    flags = {name: loss.is_classification for name, loss in LOSSES.items()}
    assert flags == {
        "mse": False,
        "cross_entropy": True,
        "binary": True,
        "hinge": True,
    }
    assert not get_loss(user_mse).is_classification
    for loss in (get_loss("mse"), get_loss(user_mse)):
        with pytest.raises(ValueError, match=f"`{loss.name}` are not classes"):
            loss.accuracy(np.zeros((1, 1)), np.zeros((1, 1)))
        with pytest.raises(ValueError, match='"cross_entropy", "hinge" or "binary"'):
            loss.with_class_weight({0: 2.0})


@pytest.mark.parametrize("argument", ["fn", "grad", "hessian", "prepare", "labels"])
def test_parts_of_a_loss_must_be_callable(argument):
    parts = {"fn": user_mse} | {argument: 3}
    with pytest.raises(TypeError, match=f"Argument `{argument}` must be callable"):
        Loss(**parts)


def test_predictions_need_two_axes():
    with pytest.raises(ValueError, match=r"shape \(n_samples, n_outputs\)"):
        get_loss("mse")([1.0, 2.0], [1.0, 2.0])


@pytest.mark.parametrize("spec", [*LOSSES, user_mse])
def test_losses_pickle_and_copy(spec):
    predictions, targets = np.array([[0.3, -0.2], [1.0, 2.0]]), np.eye(2)
    if spec == "binary":
        predictions, targets = predictions[:, :1], [0, 1]
    loss = get_loss(spec)
    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert twin(predictions, targets) == loss(predictions, targets)
        assert twin.name == loss.name
        assert twin.is_classification == loss.is_classification


def test_accuracy_is_the_share_of_right_classes():
    predictions = np.array(
        [[0.1, 0.9, 0.2], [0.8, 0.3, 0.7], [0.4, 0.6, 0.5], [0, 0, 1]]
    )
    labels = np.array([1, 2, 1, 0])
    assert accuracy(predictions, labels) == 0.5
    assert accuracy(predictions, np.eye(3)[labels]) == 0.5
    assert accuracy(predictions, [1, 0, 1, 2]) == 1.0


def test_accuracy_needs_classes():
    with pytest.raises(ValueError, match="at least 2, but has 1"):
        accuracy([[0.1], [0.9]], [0, 1])
    with pytest.raises(TypeError, match="integer labels"):
        accuracy([[0.1, 0.9]], [1.0])
    with pytest.raises(ValueError, match=r"shape \(2,\) of labels"):
        accuracy([[0.1, 0.9], [0.2, 0.3]], [1])


# --- binary and hinge ------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 33])
def test_binary_equals_torch(n):
    predictions, _, labels = draw((n, 2))
    predictions = predictions[:, :1].copy()
    loss = get_loss("binary")
    ours = loss.value_and_grad(predictions, loss.prepare_targets(labels, 1, n))
    leaf = torch.tensor(predictions[:, 0], requires_grad=True)
    theirs = torch.nn.BCEWithLogitsLoss()(leaf, torch.tensor(labels, dtype=leaf.dtype))
    theirs.backward()
    check(ours, theirs.item(), leaf.grad[:, None])
    assert loss(predictions, labels) == ours[0]


def test_binary_is_cross_entropy_of_two_logits_of_which_one_is_0():
    predictions, _, labels = draw((10, 2))
    logit = predictions[:, 1:] - predictions[:, :1]
    wanted = get_loss("cross_entropy")(predictions, labels)
    assert get_loss("binary")(logit, labels) == pytest.approx(wanted, rel=1e-13)


def test_binary_is_stable_for_large_logits():
    loss = get_loss("binary")
    predictions = np.array([[1e4], [-1e4], [1e308], [-1e4]])
    targets = loss.prepare_targets([0, 0, 1, 1], 1, 4)
    value, gradient = loss.value_and_grad(predictions, targets)
    assert value == pytest.approx(2e4 / 4, rel=1e-12)
    np.testing.assert_allclose(gradient, [[0.25], [0], [0], [-0.25]], atol=1e-15)
    assert np.isfinite(loss.hessian(predictions, targets)).all()


@pytest.mark.parametrize("shape", [(1, 1), (9, 1), (7, 3)])
def test_hinge_is_its_closed_form_and_has_torchs_gradient(shape):
    predictions, _, _ = draw((shape[0], shape[1] + 1))
    predictions = predictions[:, : shape[1]].copy()
    labels = np.random.default_rng(1).integers(max(2, shape[1]), size=shape[0])
    signs = (
        2.0 * np.eye(shape[1])[labels] - 1
        if shape[1] > 1
        else 2.0 * labels[:, None] - 1
    )
    loss = get_loss("hinge")
    ours = loss.value_and_grad(predictions, loss.prepare_targets(labels, *shape[::-1]))
    total = 0.0
    for output, sign in zip(predictions.ravel(), signs.ravel(), strict=True):
        total += max(0.0, 1.0 - sign * output)
    leaf = torch.tensor(predictions, requires_grad=True)
    torch.clamp(1 - torch.tensor(signs) * leaf, min=0).mean().backward()
    check(ours, total / predictions.size, leaf.grad)


def test_hinge_is_flat_outside_the_margin_and_at_it():
    loss = get_loss("hinge")
    predictions = np.array([[1.0], [2.0], [0.999], [-1.0]])
    value, gradient = loss.value_and_grad(predictions, np.array([[1.0]] * 3 + [[-1.0]]))
    assert value == pytest.approx(0.001 / 4)
    assert gradient.tolist() == [[0.0], [0.0], [-0.25], [0.0]]


ONE_OUTPUT = [0, 1, 1, 0]
FORMS = {
    "labels": ONE_OUTPUT,
    "bytes": np.array(ONE_OUTPUT, "u1"),
    "bools": np.array(ONE_OUTPUT, bool),
    "column": np.array(ONE_OUTPUT)[:, None],
}
SIGNED = {
    "signs": [-1, 1, 1, -1],
    "floats": [-1.0, 1.0, 1.0, -1.0],
    "column of signs": [[-1], [1], [1], [-1]],
}


@pytest.mark.parametrize("name", ["binary", "hinge"])
@pytest.mark.parametrize("targets", FORMS.values(), ids=FORMS)
def test_every_form_of_two_labels_is_the_same(name, targets):
    loss = get_loss(name)
    wanted = loss.prepare_targets(ONE_OUTPUT, 1, 4)
    assert loss.prepare_targets(targets, 1, 4).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("targets", SIGNED.values(), ids=SIGNED)
def test_hinge_takes_signs(targets):
    prepared = get_loss("hinge").prepare_targets(targets, 1, 4)
    assert prepared.dtype == np.float64
    assert prepared.tolist() == [[-1.0], [1.0], [1.0], [-1.0]]


def test_hinge_takes_labels_one_hot_rows_and_signs_of_classes():
    loss, labels = get_loss("hinge"), [2, 0, 1, 1]
    wanted = 2.0 * np.eye(3)[labels] - 1.0
    for targets in (labels, np.eye(3)[labels], np.eye(3, dtype=bool)[labels], wanted):
        assert loss.prepare_targets(targets, 3, 4).tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("name", "targets", "n_outputs", "error", "message"),
    [
        ("binary", [0, 1, 1, 0], 2, ValueError, "one output, but has 2.*cross_entropy"),
        ("binary", [0, 1, 2, 0], 1, ValueError, "labels from 0 to 1.*entry 2 is 2"),
        ("binary", [0, -1, 1, 0], 1, ValueError, "labels from 0 to 1.*entry 1 is -1"),
        ("binary", [0.0, 0.3, 1.0, 0], 1, TypeError, "integer labels.*float64"),
        ("binary", [0, 1, 1], 1, ValueError, r"has shape \(3,\)"),
        ("hinge", [0, 1, 2, 0], 1, ValueError, "labels from 0 to 1.*entry 2 is 2"),
        ("hinge", [-1, 0, 1, 1], 1, ValueError, "entry 0 is -1"),
        ("hinge", [0, 1, 2, 3], 3, ValueError, "labels from 0 to 2.*entry 3 is 3"),
        ("hinge", [-1, 1, 1, -1], 2, ValueError, "entry 0 is -1"),
        ("hinge", [0.5, 1.0, 1.0, 1.0], 1, TypeError, "integer labels"),
        ("hinge", [1, -1], 1, ValueError, r"has shape \(2,\)"),
    ],
)
def test_targets_of_two_classes_that_do_not_fit_are_refused(
    name, targets, n_outputs, error, message
):
    with pytest.raises(error, match=message):
        get_loss(name).prepare_targets(targets, n_outputs, 4)


# --- second derivatives and weights ----------------------------------------------

CLASSES = {"cross_entropy": 3, "binary": 1, "hinge": 1, "hinge of 3": 3}


def classified(case):
    """A loss of classes, predictions, and labels of all classes."""
    n_outputs = CLASSES[case]
    rng = np.random.default_rng(5)
    labels = np.array(
        [0, 1, 1, 0, 1, 1, 0] if n_outputs == 1 else [0, 1, 2, 0, 1, 1, 2]
    )
    loss = get_loss(case.removesuffix(" of 3"))
    return loss, rng.normal(size=(7, n_outputs)), labels


@pytest.mark.parametrize("case", ["mse", *CLASSES])
@pytest.mark.parametrize("weights", [{}, {0: 2.0, 1: 0.3}])
def test_gradients_are_those_of_finite_differences(case, weights):
    if case == "mse":
        predictions, targets, _ = draw((7, 3))
        loss = get_loss("mse")
    else:
        loss, predictions, targets = classified(case)
        loss = loss.with_class_weight(weights)
    prepared = loss.prepare_targets(targets, predictions.shape[1], 7)
    _, gradient = loss.value_and_grad(predictions, prepared)
    for where in np.ndindex(predictions.shape):
        moved = np.zeros(predictions.shape)
        moved[where] = 1e-6
        up = loss.value(predictions + moved, prepared)
        down = loss.value(predictions - moved, prepared)
        assert gradient[where] == pytest.approx((up - down) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("case", ["mse", "cross_entropy", "binary"])
@pytest.mark.parametrize("weights", [{}, {0: 2.0, 1: 0.3}])
def test_hessians_are_differences_of_gradients(case, weights):
    if case == "mse":
        predictions, targets, _ = draw((7, 3))
        loss = get_loss("mse")
    else:
        loss, predictions, targets = classified(case)
        loss = loss.with_class_weight(weights)
    n_outputs = predictions.shape[1]
    prepared = loss.prepare_targets(targets, n_outputs, 7)
    hessian = np.asarray(loss.hessian(predictions, prepared))
    assert hessian.shape == (7, n_outputs, n_outputs)
    for k in range(n_outputs):
        moved = np.zeros(predictions.shape)
        moved[:, k] = 1e-6
        up = loss.value_and_grad(predictions + moved, prepared)[1]
        down = loss.value_and_grad(predictions - moved, prepared)[1]
        np.testing.assert_allclose(hessian[:, :, k], (up - down) / 2e-6, atol=1e-9)


def test_only_some_losses_have_a_hessian():
    found = {name for name, loss in LOSSES.items() if loss.hessian is not None}
    assert found == {"mse", "cross_entropy", "binary"}


@pytest.mark.parametrize("case", CLASSES)
def test_weights_multiply_the_loss_of_each_sample(case):
    loss, predictions, labels = classified(case)
    weights = {0: 2.0, 2: 0.25}  # class 1 has weight 1
    weighted = loss.with_class_weight(weights)
    total, gradients = 0.0, []
    for row, label in zip(predictions, labels, strict=True):
        one = loss.prepare_targets([label], len(row), 1)
        value, gradient = loss.value_and_grad(row[None], one)
        total += weights.get(label, 1.0) * value / 7
        gradients.append(weights.get(label, 1.0) * gradient[0] / 7)
    prepared = weighted.prepare_targets(labels, predictions.shape[1], 7)
    check(weighted.value_and_grad(predictions, prepared), total, gradients)
    assert weighted(predictions, labels) == pytest.approx(total, rel=1e-12)
    plain = loss.prepare_targets(labels, predictions.shape[1], 7)
    assert weighted.accuracy(predictions, prepared) == loss.accuracy(predictions, plain)
    assert weighted.is_classification
    assert loss(predictions, labels) == loss.value(predictions, plain)


def test_weighted_losses_equal_torchs():
    loss, predictions, labels = classified("cross_entropy")
    weights = [2.0, 0.5, 3.0]
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(predictions),
        torch.tensor(labels),
        weight=torch.tensor(weights, dtype=torch.float64),
        reduction="none",
    ).mean()  # of samples, as ours; torch's own mean divides by the weights
    ours = loss.with_class_weight(dict(enumerate(weights)))(predictions, labels)
    assert ours == pytest.approx(theirs.item(), rel=1e-12)
    loss, predictions, labels = classified("binary")
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(predictions[:, 0]),
        torch.tensor(labels, dtype=torch.float64),
        pos_weight=torch.tensor(3.0),
    )
    ours = loss.with_class_weight({1: 3.0})(predictions, labels)
    assert ours == pytest.approx(theirs.item(), rel=1e-12)


@pytest.mark.parametrize("name", ["binary", "hinge"])
def test_the_sign_of_one_output_is_its_class(name):
    loss = get_loss(name)
    predictions = np.array([[0.2], [-0.1], [0.0], [3.0]])
    for labels, share in (([1, 0, 0, 1], 1.0), ([0, 0, 0, 1], 0.75), ([0, 1, 1, 0], 0)):
        prepared = loss.prepare_targets(labels, 1, 4)
        assert loss.accuracy(predictions, prepared) == share


@pytest.mark.parametrize("name", ["cross_entropy", "hinge"])
def test_the_largest_of_several_outputs_is_the_class(name):
    loss = get_loss(name)
    predictions = np.array([[-0.1, -0.9, -0.2], [0.8, 0.3, 0.7], [0.4, 0.6, 0.5]])
    prepared = loss.prepare_targets([0, 2, 1], 3, 3)
    assert loss.accuracy(predictions, prepared) == pytest.approx(2 / 3)
