"""Symbols compute in the place of torch's tensors as these do."""

import re
import subprocess
import sys

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.devices.symbols import SOURCES, SymbolError
from qstore_pl.devices.torch_symbols import TorchSymbols
from qstore_pl.engine.gates import FEATURE, WEIGHT
from qstore_pl.templates import ZZFeatureMap
from tests.symbol_values import gradients
from tests.symbol_values import values as numbers

F = torch.nn.functional
RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0.2, 0.9, 6)


def torch_symbols(source, offset, shape, dtype=torch.float64):
    """Symbols in the place of a tensor of this type."""
    made = TorchSymbols.consecutive((SOURCES[source], offset), shape)
    return made.to(dtype)


FUNCTIONS = (
    *("sin", "cos", "tan", "asin", "acos", "atan", "arcsin", "arctan", "sinh", "cosh"),
    *("tanh", "asinh", "atanh", "exp", "exp2", "expm1", "log", "log1p", "log2"),
    *("log10", "sqrt", "rsqrt", "square", "reciprocal", "abs", "neg", "sigmoid"),
    *("deg2rad", "rad2deg"),
)


def ones(*shape):
    return torch.ones(shape, dtype=torch.float64)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


MASK = torch.tensor([True, False, True])
LAWS = {
    **{name: lambda x, name=name: getattr(torch, name)(x) for name in FUNCTIONS},
    **{f"x.{name}": lambda x, name=name: getattr(x, name)() for name in FUNCTIONS},
    # entries
    "operators": lambda x: 2 * x - x / 3 + x**2.5 + 2**x - (-x) * torch.pi,
    "tensors first": lambda x: tensor(2.0) * x + ones(3) * x - (tensor(1.0) - x),
    "tensors first in quotients": lambda x: tensor(1.0) / x + tensor(2.0) ** x,
    "tensors last": lambda x: x * ones(3) - x / tensor([1.0, 2.0, 4.0]),
    "arithmetic": lambda x: torch.add(x, x, alpha=2) + torch.sub(1.0 * x, 1.0, alpha=3),
    "arithmetic reversed": lambda x: torch.sub(tensor(1.0), x) + torch.rsub(x, 1.0),
    "products": lambda x: torch.mul(x, x) + x.mul(2) + torch.div(x, 3) + x.div(x),
    "powers": lambda x: torch.pow(x, 3) + x.pow(-1.5) + torch.pow(2.0, x) + x.square(),
    "two arguments": lambda x: torch.atan2(x[0], x[1]) + torch.hypot(x[0], x[1]),
    "acosh": lambda x: torch.acosh(1 + x),
    "functional": lambda x: F.sigmoid(x) + F.tanh(x) + torch.special.expit(x),
    "where": lambda x: torch.where(MASK, x, 2 * x) + torch.where(MASK, x, 0.0),
    # sums of products
    "sum": lambda x: torch.sum(x, dim=0) + x.sum() + x.sum(0, True) + x.sum(axis=0),
    "sum of axes": lambda x: torch.sum(x, dim=(0, 1)) + x.sum(-1, keepdim=True),
    "mean": lambda x: x.mean(0) + torch.mean(x) + x.mean(dim=0, keepdim=True),
    "prod": lambda x: x.prod(1) + torch.prod(x) + torch.prod(x, dim=1),
    "cumulative": lambda x: x.cumsum(1) + torch.cumprod(x, dim=1) + x.cumsum(dim=0),
    "diff": lambda x: torch.diff(x) + x.diff(dim=0)[:, :2],
    "matmul": lambda x: x @ x.T + torch.matmul(x, x.t()) + torch.mm(x, x.mT),
    "matmul with tensors": lambda x: (
        (ones(2) @ x) @ ones(3) + ones(1, 2).matmul(x).sum()
    ),
    "matrix and vector": lambda x: torch.mv(x, x[0]) + x.matmul(x[1]),
    "batches of matrices": lambda x: torch.bmm(x[None], x.T[None]),
    "dot": lambda x: torch.dot(x[0], x[1]) + x[0].dot(x[1]) + torch.inner(x[0], x[1]),
    "outer": lambda x: torch.outer(x[0], x[1]) + torch.kron(x[0], x[1]).reshape(3, 3),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x) + torch.einsum("ij->i", [x]),
    "tensordot": lambda x: torch.tensordot(x, x, dims=([1], [1])),
    "trace": lambda x: torch.trace(x) + x.diagonal().sum() + torch.diag(x[0]).sum(),
    "cross": lambda x: torch.cross(x[0], x[1], dim=0) + torch.linalg.cross(x[0], x[1]),
    "norm": lambda x: torch.norm(x) + x.norm(dim=1, keepdim=True),
    "linalg": lambda x: torch.linalg.norm(x) + torch.linalg.vector_norm(x, dim=0),
    "linear": lambda x: F.linear(x, ones(4, 3), ones(4)),
    # places
    "reshape": lambda x: torch.reshape(x, (3, 2)) + x.reshape(3, 2) + x.view(3, -1),
    "view": lambda x: x.view(-1) + x.view((6,)) + x.reshape_as(ones(6)) + x.ravel(),
    "unsqueeze": lambda x: x.unsqueeze(0) + torch.unsqueeze(x, 0) + x[None],
    "squeeze": lambda x: x[:1].squeeze(0) + torch.squeeze(x[:1]) + x.squeeze(0),
    "permute": lambda x: x.permute(1, 0) + torch.permute(x, (1, 0)) + x.t() + x.T,
    "transpose": lambda x: x.transpose(0, 1) + torch.transpose(x, 1, 0),
    "moved": lambda x: torch.movedim(x, 0, 1) + x.swapaxes(0, 1) + x.swapdims(0, 1),
    "flatten": lambda x: torch.flatten(x) + x[None].flatten(1, 2) + x.flatten(),
    "flatten from": lambda x: torch.flatten(x[None], start_dim=1),
    "unflatten": lambda x: x.unflatten(1, (3, 1)),
    "flip": lambda x: torch.flip(x, dims=(0,)) + x.flip(0, 1) + torch.fliplr(x),
    "roll": lambda x: torch.roll(x, 1, 0) + torch.roll(x, shifts=1) + x.roll(1, 1),
    "roll twice": lambda x: torch.roll(x, shifts=(1, 1), dims=(0, 1)),
    "cat": lambda x: torch.cat([x, ones(1, 3)], dim=0) + torch.cat((x, x[:1])),
    "concat": lambda x: torch.concat([x, x], -1) + torch.hstack([x, x]),
    "stack": lambda x: torch.stack([x[0], x[1]], dim=1) + torch.column_stack([*x]),
    "stack with numbers": lambda x: torch.stack([x[0, 0], tensor(0.5), x[1, 1]]),
    "vstack": lambda x: torch.vstack([x, x]) + x.repeat(2, 1) + torch.tile(x, (2, 1)),
    "unbind": lambda x: torch.unbind(x)[1] + x.unbind(1)[2].sum(),
    "split": lambda x: x.split(2, dim=1)[1] + torch.split(x, [1, 2], dim=1)[0],
    "chunk": lambda x: x.chunk(2, dim=1)[0] + torch.tensor_split(x, 2, dim=1)[0],
    "select": lambda x: x.select(1, 2) + x.narrow(1, 2, 1).squeeze(),
    "indices": lambda x: torch.index_select(x, 1, torch.tensor([0, 2])),
    "indices of tensors": lambda x: x[:, torch.tensor([0, 2])] + x[torch.tensor(1), :2],
    "a mask": lambda x: x[:, MASK],
    "repeat": lambda x: x.repeat_interleave(2) + torch.repeat_interleave(x, 2),
    "repeat an axis": lambda x: torch.repeat_interleave(x, 2, dim=0),
    "expand": lambda x: x[:1].expand(4, -1) + torch.broadcast_to(x[0], (4, 3)),
    "expand as": lambda x: x[0].expand_as(x) + torch.broadcast_tensors(x, x[0])[1],
    "iteration": lambda x: sum(row[0] for row in x) * len(x),
    "like": lambda x: torch.zeros_like(x) + x * torch.ones_like(x),
    "filled": lambda x: torch.full_like(x, 2.0) * x,
    "types": lambda x: x.clone().to(torch.float64).double().contiguous().cpu(),
    "sizes": lambda x: x * x.numel() * torch.numel(x) * x.size(0) * x.dim() * x.ndim,
    # numpy and qml.math
    "qml.math": lambda x: qml.math.sin(x) + qml.math.stack([x[0], x[1]]),
    "qml.math sums": lambda x: qml.math.sum(x, axis=0) + qml.math.mean(x),
    "qml.math places": lambda x: qml.math.reshape(x, (3, 2)) + qml.math.T(x),
    "qml.math axes": lambda x: qml.math.transpose(x) + qml.math.flatten(x)[0],
    "qml.math parts": lambda x: qml.math.take(x, [0, 2], axis=1) * qml.math.size(x),
    "qml.math numbers": lambda x: qml.math.cast(x, "float64") * qml.math.ndim(x),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_symbols_compute_as_tensors_do(law):
    expected = law(torch.tensor(WEIGHTS.reshape(2, 3)))
    found = law(torch_symbols("weights", 0, (2, 3)))
    assert type(found) is TorchSymbols
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(numbers(found, WEIGHTS), expected, rtol=0, atol=1e-13)


REFUSALS = {
    "torch.softmax": lambda x: torch.softmax(x, 0),
    "torch.relu": lambda x: torch.relu(x),
    "torch.clamp": lambda x: torch.clamp(x, 0, 1),
    "torch.max": lambda x: torch.max(x),
    "torch.lt": lambda x: torch.lt(x, 0),
    "torch.isnan": lambda x: torch.isnan(x),
    "torch.allclose": lambda x: torch.allclose(x, x),
    "torch.bernoulli": lambda x: torch.bernoulli(x),
    "torch.dropout": lambda x: F.dropout(x, 0.5, training=True),
    "greater": lambda x: x > 0,
    "less": lambda x: torch.tensor(0.0) > x,
    "a decision": lambda x: bool(x[0, 0]),
    "torch.Tensor.detach": lambda x: x.detach(),
    "torch.Tensor.item": lambda x: x[0, 0].item(),
    "torch.Tensor.numpy": lambda x: x.numpy(),
    "torch.Tensor.tolist": lambda x: x.tolist(),
    "attribute max": lambda x: x.max(),
    "attribute backward": lambda x: x.sum().backward(),
    "attribute add_": lambda x: x.add_(1),
    "assignment in place": lambda x: x.__iadd__(1.0),
    "torch.mul_": lambda x: torch.ones(3).mul_(x[0]),
    "an assignment to an entry": lambda x: torch.ones(3).__setitem__(0, x[0, 0]),
    "a conversion to a tensor": lambda x: torch.tensor([x[0, 0], x[0, 1]]),
    "or a conversion to a tensor": lambda x: torch.as_tensor(x),
    "a conversion to torch.int64": lambda x: x.to(torch.int64),
    "a conversion to torch.complex128": lambda x: x.to(torch.complex128),
    "sum with numbers of type torch.int64": lambda x: torch.sum(x, dtype=torch.int64),
    "a tensor that requires its gradient": lambda x: x * ones(3).requires_grad_(),
    "requires its gradient": lambda x: ones(3).requires_grad_() * x,
    "requires its": lambda x: torch.nn.Linear(3, 1)(x),
    "rounding_mode": lambda x: torch.div(x, 2, rounding_mode="floor"),
    "for the result": lambda x: torch.sin(x, out=torch.ones(2, 3)),
    "complex number": lambda x: x * torch.ones(3, dtype=torch.complex64),
    "a view": lambda x: x.view(torch.int64),
    "torch.norm with p=1": lambda x: torch.norm(x, p=1),
    "torch.linalg.norm with ord=2": lambda x: torch.linalg.norm(x, 2),
    "torch.linalg.vector_norm with ord=3": lambda x: torch.linalg.vector_norm(x, 3),
    "take": lambda x: torch.take(x, x),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_needs_a_value_is_refused_by_name(name):
    with pytest.raises(SymbolError, match=re.escape(name)):
        REFUSALS[name](torch_symbols("weights", 0, (2, 3)))


def test_symbols_have_the_attributes_of_tensors():
    symbols = torch_symbols("weights", 2, (2, 3))
    assert (symbols.shape, symbols.size(), symbols.size(1)) == ((2, 3), (2, 3), 3)
    assert symbols.dtype == torch.float64
    assert symbols.float()[0].sin().dtype == torch.float32
    assert torch_symbols("weights", 0, (), torch.float32).dtype == torch.float32
    assert symbols.float().slot == (WEIGHT, 2)
    assert symbols.device == torch.device("cpu")
    assert not symbols.requires_grad
    assert torch.is_floating_point(symbols)
    assert torch.zeros_like(symbols.float()).dtype == torch.float32
    assert qml.math.get_interface(symbols) == "numpy"
    assert repr(symbols) == "TorchSymbols(shape=(2, 3))"


def test_moved_features_are_still_indices():
    batch = torch_symbols("features", 0, (1000, 8))
    found = torch.stack([batch[:, i] for i in range(8)]).permute(1, 0).reshape(8000)
    assert found.kind == FEATURE
    np.testing.assert_array_equal(found.indices, np.arange(8000))
    assert found.slot == (FEATURE, 0)


STEPS = (  # functions of tensors of shape (2, 3)
    lambda a, b: a + 0.7 * b,
    lambda a, b: a * b - torch.pi,
    lambda a, b: torch.sin(a) / (1.5 + b.square()),
    lambda a, b: torch.sigmoid(a) * b.tanh(),
    lambda a, b: (1.1 + a.pow(2)).pow(-1.3) + torch.pow(b, 3),
    lambda a, b: (1.1 + a * a) ** (0.2 * b),
    lambda a, b: torch.atan2(a, 1.1 + b * b) + a.abs(),
    lambda a, b: torch.rsqrt(1.0 + a**2) + torch.exp(0.3 * b),
    lambda a, b: torch.cat([a[:1], b[1:]]).view(3, 2).t() + b,
    lambda a, b: torch.stack(a.unbind(1), dim=1) - b.flip(0),
    lambda a, b: torch.where(MASK, a, b.roll(1, 1)),
    lambda a, b: torch.einsum("ij,kj->ik", a, b) @ b / 4.0,
    lambda a, b: torch.outer(a.sum(dim=1), b.mean(0)) / 2.0,
    lambda a, b: a.cumsum(dim=1) * b.prod(dim=0, keepdim=True),
    lambda a, b: ones(2, 2) @ a / 2.0 + b / (1.0 + torch.linalg.norm(b)),
)


def expression(rng, depth):
    """A random function of weights and features, tensors of shape (2, 3)."""
    if not depth:
        which = rng.integers(2)
        return lambda *given: given[which]
    step = STEPS[rng.integers(len(STEPS))]
    one, other = expression(rng, depth - 1), expression(rng, rng.integers(depth))
    return lambda *given: step(one(*given), other(*given))


@pytest.mark.parametrize("seed", range(30))
def test_random_expressions_have_the_values_and_gradients_of_tensors(seed):
    rng = np.random.default_rng(seed)
    function = expression(rng, 3)
    w, x = rng.uniform(-1, 1, 6), rng.uniform(-1, 1, (3, 6))
    dy = rng.normal(size=(3, 2, 3))
    found = function(*(torch_symbols(s, 0, (2, 3)) for s in ("weights", "features")))
    weights, features = (torch.tensor(a, requires_grad=True) for a in (w, x))
    rows = [function(weights.reshape(2, 3), row.reshape(2, 3)) for row in features]
    wanted = torch.stack(rows)
    np.testing.assert_allclose(
        numbers(found, w, x), wanted.detach(), rtol=1e-13, atol=1e-13
    )
    (torch.tensor(dy) * wanted).sum().backward()
    gw, gx = gradients(found, w, x, dy)
    for ours, theirs in ((gw, weights.grad), (gx, features.grad)):
        expected = np.zeros_like(ours) if theirs is None else theirs
        np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)


TEMPLATES = {
    "RX": (lambda x: [qml.RX(x[i], i) for i in range(3)], (3,)),
    "RX of a function": (lambda x: qml.RX(torch.sin(x[0]) * x[1], 0), (3,)),
    "AngleEmbedding": (lambda x: qml.AngleEmbedding(x, range(3)), (3,)),
    "IQPEmbedding": (lambda x: qml.IQPEmbedding(x, range(3), n_repeats=2), (3,)),
    "StronglyEntanglingLayers": (
        lambda x: qml.StronglyEntanglingLayers(x, range(3)),
        (2, 3, 3),
    ),
    "RandomLayers": (lambda x: qml.RandomLayers(x, range(3), seed=1), (2, 3)),
    "SimplifiedTwoDesign": (
        lambda x: qml.SimplifiedTwoDesign(x[0, 0, :1].repeat(3), x, range(3)),
        (2, 2, 2),
    ),
    "ZZFeatureMap": (lambda x: ZZFeatureMap(x, range(3)), (3,)),
    "QAOAEmbedding": (lambda x: qml.QAOAEmbedding(x[0, :3], x, range(3)), (2, 6)),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_take_symbols_for_tensors(name):
    function, shape = TEMPLATES[name]
    size = int(np.prod(shape))
    weights = RNG.uniform(-1, 1, size)
    device = qml.device("qstore.mock_ideal", wires=3)

    def circuit(x):
        for i in range(3):
            qml.Hadamard(i)
        function(x)
        return [qml.expval(qml.X(0)), qml.expval(qml.Y(1) @ qml.Z(2))]

    tape = qml.tape.make_qscript(circuit)(torch_symbols("weights", 0, shape))
    inputs = [value for op in tape.operations for value in op.data]
    program = devices.compile(tape, inputs, device, n_weights=size, n_features=0)
    expected = qml.QNode(circuit, qml.device("default.qubit", wires=3))(
        torch.tensor(weights.reshape(shape))
    )
    found = program.run(weights, np.zeros((1, 0)))[0]
    np.testing.assert_allclose(found, torch.stack(expected), rtol=0, atol=1e-10)


class Mine(qml.operation.Operation):
    """A user's own, with functions of torch in its decomposition."""

    num_wires = 1

    def __init__(self, angle, wires):
        super().__init__(angle, wires=wires)

    @staticmethod
    def compute_decomposition(angle, wires):
        return [qml.RX(torch.sin(angle), wires), qml.RY(torch.relu(angle), wires)]


def test_a_function_that_is_refused_inside_a_decomposition_is_named():
    tape = qml.tape.QuantumScript([Mine(0.3, wires=0)], [qml.expval(qml.Z(0))])
    device = qml.device("qstore.mock_ideal", wires=1)
    with pytest.raises(DeviceError, match=r"for torch\.relu\."):
        devices.compile(
            tape, [torch_symbols("weights", 0, ())], device, n_weights=1, n_features=0
        )


def test_the_module_is_imported_without_torch():
    code = (
        "import sys; from qstore_pl.devices.torch_symbols import TorchSymbols; "
        "print(TorchSymbols.consecutive((1, 0), (2, 3)), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "TorchSymbols(shape=(2, 3)) False\n", done.stderr
