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


@pytest.mark.parametrize("name", LOSSES)
def test_preparing_twice_changes_nothing(name):
    loss = get_loss(name)
    once = loss.prepare_targets(np.eye(3), 3, 3)
    assert loss.prepare_targets(once, 3, 3).tobytes() == once.tobytes()


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
            match=r"differentiable by autograd.*pennylane\.numpy.*Loss\(fn, grad\)",
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
    with pytest.raises(ValueError, match=r"gradient of loss `odd` must .*\(10, 2\)"):
        Loss(lambda p, t: 0.0, grad, name="odd").value_and_grad(predictions, targets)


def test_targets_that_broadcast_by_accident_are_refused():
    with pytest.raises(ValueError, match=r"shape \(4, 1\), as the predictions"):
        get_loss("mse").value_and_grad(np.zeros((4, 1)), np.zeros(4))


@pytest.mark.parametrize("spec", [*LOSSES, user_mse])
def test_a_loss_that_is_nan_is_returned(spec):
    predictions = np.array([[np.nan, 0.0], [1.0, 2.0]])
    value, gradient = get_loss(spec).value_and_grad(predictions, np.eye(2))
    assert np.isnan(value)
    assert np.isnan(gradient[0, 0])


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

    loss = Loss(user_mse, prepare=prepare, is_classification=True)
    assert loss.is_classification
    assert loss([[1.0, 2.0]], 0.0) == 2.5


def test_get_loss_takes_names_losses_and_functions():
    assert get_loss("mse") is LOSSES["mse"]
    assert get_loss(LOSSES["mse"]) is LOSSES["mse"]
    assert repr(get_loss("cross_entropy")) == "Loss('cross_entropy')"
    for unknown in ("hinge", 3, None):
        with pytest.raises(
            ValueError, match='`loss` must be one of "cross_entropy", "mse"'
        ):
            get_loss(unknown)


def test_only_classification_has_an_accuracy():
    flags = {name: loss.is_classification for name, loss in LOSSES.items()}
    assert flags == {"mse": False, "cross_entropy": True}
    assert not get_loss(user_mse).is_classification


@pytest.mark.parametrize("argument", ["fn", "grad", "prepare"])
def test_parts_of_a_loss_must_be_callable(argument):
    parts = {"fn": user_mse} | {argument: 3}
    with pytest.raises(TypeError, match=f"Argument `{argument}` must be callable"):
        Loss(**parts)


def test_predictions_need_two_axes():
    with pytest.raises(ValueError, match=r"shape \(n_samples, n_outputs\)"):
        get_loss("mse")([1.0, 2.0], [1.0, 2.0])


@pytest.mark.parametrize("spec", [*LOSSES, user_mse])
def test_losses_pickle_and_copy(spec):
    predictions = np.array([[0.3, -0.2], [1.0, 2.0]])
    loss = get_loss(spec)
    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert twin(predictions, np.eye(2)) == loss(predictions, np.eye(2))
        assert twin.name == loss.name


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
