"""Compiled circuits in PyTorch: gradients as PyTorch means them."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane.exceptions import DeviceError

from qstore_pl import compile

DEVICE = qml.device("qstore.mock_ideal", wires=2)
X, W = np.array([0.4, 0.9]), np.array([0.3, -0.4, 0.5])
KINDS = {
    "one": lambda: qml.expval(qml.Z(1)),
    "probs": lambda: qml.probs(wires=[0, 1]),
    "several": lambda: (qml.expval(qml.Z(1)), qml.probs(wires=[0]), qml.var(qml.X(0))),
    "hermitian": lambda: qml.expval(qml.Hermitian(np.array([[1, 2j], [-2j, 0.5]]), 0)),
}


def made(kind="one", *, device=DEVICE):
    def circuit(x, w):
        qml.AngleEmbedding(x, wires=[0, 1])
        qml.Rot(w[0], torch.sin(w[1]), w[2] * w[0], wires=1)
        qml.CNOT([0, 1])
        return KINDS[kind]()

    return compile(qml.QNode(circuit, device))


def tensors(*, grad=True, dtype=torch.float64, batch=None):
    x = X if batch is None else np.linspace(-1, 1, 2 * batch).reshape(batch, 2)
    return [torch.tensor(v, dtype=dtype, requires_grad=grad) for v in (x, W)]


def total(results):
    results = results if isinstance(results, tuple) else (results,)
    return sum(torch.cos(value).sum() for value in results)


@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("kind", list(KINDS))
def test_gradcheck(kind, batch):
    assert torch.autograd.gradcheck(made(kind), tensors(batch=batch))


def test_gradcheck_with_noise():
    device = qml.device("qstore.mock_noisy", wires=2)
    assert torch.autograd.gradcheck(made("several", device=device), tensors(batch=2))


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (False, False)])
def test_gradients_of_some_arguments(wanted):
    compiled = made("several")
    x, w = tensors(grad=False, batch=3)
    expected = tensors(batch=3)
    total(compiled(*expected)).backward()
    for tensor, want in zip((x, w), wanted, strict=True):
        tensor.requires_grad_(want)
    loss = total(compiled(x, w))
    assert loss.requires_grad == any(wanted)
    if any(wanted):
        loss.backward()
    for tensor, want, other in zip((x, w), wanted, expected, strict=True):
        assert (tensor.grad is not None) == want
        if want:
            torch.testing.assert_close(tensor.grad, other.grad)


def test_no_grad():
    compiled = made("several")
    with torch.no_grad():
        assert not any(value.requires_grad for value in compiled(*tensors()))
    with torch.inference_mode():
        assert not any(value.requires_grad for value in compiled(*tensors()))
    assert not any(v.requires_grad for v in compiled(*tensors(grad=False)))
    assert all(value.requires_grad for value in compiled(*tensors()))


def test_inside_a_network():
    """What comes before and after is differentiated too."""
    compiled, qnode = made("several"), made("several").qnode
    torch.manual_seed(0)
    before, after = torch.nn.Linear(4, 2), torch.nn.Linear(2, 1)
    before, after = before.double(), after.double()
    data = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    w = torch.tensor(W, requires_grad=True)
    parameters = [data, w, *before.parameters(), *after.parameters()]
    found = [
        torch.autograd.grad(
            total(after(function(before(data), w)[1]).tanh()), parameters
        )
        for function in (compiled, qnode)
    ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_float32():
    compiled = made("several")
    one, other = tensors(dtype=torch.float32), tensors()
    total(compiled(*one)).backward()
    total(compiled(*other)).backward()
    for a, b in zip(one, other, strict=True):
        assert a.grad.dtype == torch.float32
        torch.testing.assert_close(a.grad.double(), b.grad, rtol=0, atol=1e-6)
    assert compiled.retrace_count == 1


def test_views_and_tensors_in_any_order_of_memory():
    compiled = made("probs")
    base = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 6)
    base.requires_grad_()
    w = torch.tensor(W, requires_grad=True)
    x = base.T[::2]
    total(compiled(x, w.flip(0))).backward()
    expected = torch.autograd.grad(
        total(compiled.qnode(base.T[::2], w.flip(0))), [base, w]
    )
    torch.testing.assert_close(base.grad, expected[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(w.grad, expected[1], rtol=0, atol=1e-10)


def test_one_tensor_twice():
    compiled = made("one")
    w = torch.tensor(W, requires_grad=True)
    compiled(w[:2], w).backward()
    other = torch.tensor(W, requires_grad=True)
    compiled.qnode(other[:2], other).backward()
    torch.testing.assert_close(w.grad, other.grad, rtol=0, atol=1e-10)


def test_backward_twice_and_interleaved():
    compiled = made("several")
    one, other = tensors(batch=2), tensors(batch=2)
    with torch.no_grad():
        other[0] *= 2
    expected = [torch.autograd.grad(total(compiled(*v)), v) for v in (one, other)]
    losses = [total(compiled(*one)), total(compiled(*other))]
    for loss, arguments, gradients in zip(losses, (one, other), expected, strict=True):
        for _ in range(2):
            found = torch.autograd.grad(loss, arguments, retain_graph=True)
            for a, b in zip(found, gradients, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_arguments_that_change_between_forward_and_backward():
    """PyTorch refuses that, or the gradient is that of the call."""
    compiled = made("one")
    x, w = tensors()
    expected = torch.autograd.grad(compiled(x, w), [x, w])
    loss = compiled(x, w)
    with torch.no_grad():
        x.add_(1.0)
    try:
        found = torch.autograd.grad(loss, [x, w])
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)  # noqa: PT017
        return
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_one_of_several_results():
    compiled = made("several")
    for i in range(3):
        one, other = tensors(), tensors()
        compiled(*one)[i].sum().backward()
        compiled.qnode(*other)[i].sum().backward()
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("first", [False, True])
def test_functions_of_torch_func(first):
    compiled = made("several")
    x, w = tensors(grad=False, batch=2)
    if not first:
        compiled(x, w)

    def loss(x, w):
        return total(compiled(x, w))

    again = tensors(batch=2)
    expected = torch.autograd.grad(total(compiled.qnode(*again)), again)
    found = torch.func.grad(loss, argnums=(0, 1))(x, w)
    value, pull = torch.func.vjp(loss, x, w)
    pulled = pull(torch.ones((), dtype=torch.float64))
    both = torch.func.grad_and_value(loss, argnums=(0, 1))(x, w)
    torch.testing.assert_close(both[1], value)
    for gradients in (found, pulled, both[0]):
        for one, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_jacobians():
    compiled = made("probs")
    x, w = tensors(grad=False)
    expected = torch.autograd.functional.jacobian(compiled.qnode, (x, w))
    found = torch.autograd.functional.jacobian(compiled, (x, w))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    for transform in (torch.func.jacrev,):
        for one, other in zip(
            transform(compiled, argnums=(0, 1))(x, w), expected, strict=True
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_vmap():
    compiled = made("several")
    x, w = tensors(grad=False, batch=3)
    expected = compiled.qnode(x, w)
    found = torch.func.vmap(compiled, in_dims=(0, None))(x, w)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    ws = torch.stack([w, 2 * w, -w])
    found = torch.func.vmap(compiled)(x, ws)
    for i in range(3):
        for one, other in zip(found, compiled.qnode(x[i], ws[i]), strict=True):
            torch.testing.assert_close(one[i], other, rtol=0, atol=1e-10)


def test_second_derivatives_are_refused():
    compiled = made("one")
    x, w = tensors()
    (gradient,) = torch.autograd.grad(compiled(x, w), w, create_graph=True)
    with pytest.raises((DeviceError, RuntimeError), match=r"econd|once_differentiable"):
        torch.autograd.grad(gradient.square().sum(), w)
    inner = torch.func.grad(compiled, argnums=1)
    with pytest.raises((DeviceError, RuntimeError)):
        torch.func.grad(lambda w: inner(x.detach(), w).sum())(w.detach())
    with pytest.raises((DeviceError, RuntimeError)):
        torch.autograd.gradgradcheck(compiled, (x, w))


def test_training():
    """A step of an optimizer changes tensors in place: the next call sees it."""
    compiled = made("one")
    before, losses = compiled(*tensors(grad=False)), []
    for function in (compiled, compiled.qnode):
        x, w = tensors()
        optimizer = torch.optim.Adam([x, w], lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            loss = function(x, w)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    assert losses[0] < before - 0.5
    assert compiled.retrace_count == 0
