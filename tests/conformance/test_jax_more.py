"""JAX beside the matrix: arguments, noise, costs, second derivatives, refusals."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from numpy.exceptions import ComplexWarning
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl.engine.program import Pass

ATOL = 1e-8
TIMEOUT = 120  # seconds
SECOND = "A second derivative was asked of the device"


def ideal(circuit, **options):
    return qml.QNode(circuit, qml.device("qstore.mock_ideal", wires=2), **options)


def noisy(circuit, **options):
    return qml.QNode(circuit, qml.device("qstore.mock_noisy", wires=2, **options))


def exact(circuit, name="default.qubit"):
    return qml.QNode(circuit, qml.device(name, wires=2), diff_method="backprop")


def same(actual, wanted, atol=ATOL):
    ours, theirs = map(jax.tree_util.tree_flatten, (actual, wanted))
    assert ours[1] == theirs[1]
    for one, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def model(w, x):
    """Its value is cos(w) cos(x)."""
    qml.RX(w, 0)
    qml.RX(x, 1)
    return qml.expval(qml.Z(0) @ qml.Z(1))


def layered(w, x):
    qml.AngleEmbedding(x, range(2))
    qml.StronglyEntanglingLayers(w, range(2))
    return qml.expval(qml.Z(0) @ qml.X(1))


@pytest.fixture
def w(rng):
    return jnp.asarray(rng.uniform(-1, 1, (1, 2, 3)))


@pytest.fixture
def xs(rng):
    return jnp.asarray(rng.uniform(-1, 1, (3, 2)))


# ----------------------------------------------------------------------- arguments
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_numbers_of_python(jit):
    value, slope = jit(jax.value_and_grad(ideal(model)))(0.7, 0.2)
    same((value, slope), (np.cos(0.7) * np.cos(0.2), -np.sin(0.7) * np.cos(0.2)))


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_integers(jit):
    slopes = jit(jax.vmap(jax.grad(ideal(model)), (None, 0)))(0.7, jnp.arange(3))
    same(slopes, -np.sin(0.7) * np.cos(np.arange(3)))


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_gradients_have_the_precision_of_the_arguments(jit):
    w, xs = jnp.float32(0.7), jnp.asarray([0.1, 0.2, 0.3], jnp.float32)
    by_w, by_x = jit(jax.vmap(jax.grad(ideal(model), (0, 1)), (None, 0)))(w, xs)
    assert by_w.dtype == by_x.dtype == jnp.float32
    expected = -np.sin(0.7) * np.cos(xs), -np.cos(0.7) * np.sin(xs)
    same((by_w, by_x), expected, atol=1e-5)


def run(program):
    """What a program prints in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    return [float(number) for number in done.stdout.split()]


SINGLE = """
import jax, jax.numpy as jnp, pennylane as qml

@qml.qnode(qml.device("qstore.mock_ideal", wires=2))
def model(w, x):
    qml.RX(w, 0)
    qml.RX(x, 1)
    return qml.expval(qml.Z(0) @ qml.Z(1))

xs = jnp.array([0.1, 0.2])
for jit in (lambda f: f, jax.jit):
    values = jit(jax.vmap(model, (None, 0)))(0.7, xs)
    slopes = jit(jax.grad(lambda w: jax.vmap(model, (None, 0))(w, xs).sum()))(0.7)
    assert values.dtype == slopes.dtype == jnp.float32
    print(*values, slopes)
"""


def test_single_precision_where_jax_has_no_other():
    xs = np.array([0.1, 0.2])
    expected = [*np.cos(0.7) * np.cos(xs), -np.sin(0.7) * np.cos(xs).sum()]
    same(run(SINGLE), 2 * expected, atol=1e-5)


def test_trees_of_weights(w, xs):
    def tree(weights, x):
        qml.RY(weights["scale"] * x[0], 0)
        qml.StronglyEntanglingLayers(weights["layers"][0], range(2))
        return qml.expval(qml.Z(0) @ qml.X(1)), qml.probs(wires=0)

    def loss(qnode):
        def of(weights):
            means, probs = jax.vmap(qnode, (None, 0))(weights, xs)
            return jnp.sum(means**2) + jnp.sum(jnp.sin(probs[:, 1]))

        return jax.jit(jax.value_and_grad(of))

    weights = {"scale": jnp.asarray(0.3), "layers": [w]}
    same(loss(ideal(tree))(weights), loss(exact(tree))(weights))


def test_static_shapes(xs):
    def sized(x, n):
        for _ in range(n):
            qml.RX(x[0], 0)
        return qml.expval(qml.Z(0))

    slope = jax.jit(jax.grad(ideal(sized)), static_argnums=1)
    for n in (1, 3):
        same(slope(xs[0], n)[0], -n * np.sin(n * xs[0, 0]))


def test_a_qnode_that_broadcasts_under_vmap_over_data(rng):
    x = jnp.asarray(rng.uniform(-1, 1, (2, 3)))  # two QNodes of three samples each
    qnode = ideal(model)
    same(jax.vmap(qnode, (None, 0))(0.7, x), np.cos(0.7) * np.cos(x))
    slopes = jax.jit(jax.vmap(jax.jacobian(qnode)))(jnp.array([0.7, 0.4]), x)
    same(slopes, -np.sin([[0.7], [0.4]]) * np.cos(x))


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_qnode_that_broadcasts_under_vmap_over_as_many_weights(jit, rng):
    w, x = jnp.asarray(rng.uniform(-1, 1, (2, 3)))
    outer = jax.vmap(ideal(model), (0, None))
    same(jit(outer)(w, x), np.outer(np.cos(w), np.cos(x)))
    dw, dx = jit(jax.grad(lambda w, x: jnp.sum(outer(w, x)), (0, 1)))(w, x)
    same(dw, -np.sin(w) * np.sum(np.cos(x)))
    same(dx, -np.sin(x) * np.sum(np.cos(w)))


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_kernel_matrix_and_its_gradient(jit, rng):
    def kernel(a, b, scale):
        qml.RX(scale * a, 0)
        qml.RX(-scale * b, 0)
        return qml.probs(wires=0)

    def matrix(scale):
        f = ideal(kernel)
        row = jax.vmap(lambda a, b: f(a, b, scale)[0], (None, 0))
        return jax.vmap(row, (0, None))(data, data)

    data = jnp.asarray(rng.uniform(-1, 1, 3))
    gap = np.subtract.outer(data, data)
    same(jit(matrix)(0.8), np.cos(0.4 * gap) ** 2)
    same(jit(jax.jacobian(matrix))(0.8), -gap * np.sin(0.8 * gap) / 2)


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_exponential_of_a_matrix(jit):
    def rotated(angle):
        generator = angle * jnp.array([[0, -0.5j], [-0.5j, 0]])
        qml.QubitUnitary(jax.scipy.linalg.expm(generator), 0)
        return qml.expval(qml.Z(0))

    same(jit(jax.value_and_grad(ideal(rotated)))(0.7), (np.cos(0.7), -np.sin(0.7)))


def entangled(w):
    qml.RX(w, 0)
    qml.CNOT([0, 1])
    return qml.state()


def fidelity(state):
    return jnp.abs(jnp.sum(state * jnp.array([0.6, 0.0, 0.0, 0.8]))) ** 2


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_gradient_of_a_state(jit):
    # |0.6 cos(w/2) - 0.8 i sin(w/2)|^2 = 0.5 - 0.14 cos w
    qnode = ideal(entangled)
    ws = jnp.array([0.3, 0.7])
    values, slopes = jit(jax.vmap(jax.value_and_grad(lambda w: fidelity(qnode(w)))))(ws)
    same((values, slopes), (0.5 - 0.14 * np.cos(ws), 0.14 * np.sin(ws)))


# --------------------------------------------------------------------------- noise
def channels(strength, angle, x):
    qml.RX(angle, 0)
    qml.AmplitudeDamping(strength, 0)
    qml.RY(x, 1)
    qml.CNOT([0, 1])
    qml.DepolarizingChannel(strength**2, 1)
    qml.RX(angle * x, 0)
    return qml.expval(qml.Z(0) @ qml.X(1)), qml.probs(wires=[1, 0])


@pytest.fixture(scope="module")
def mixed():
    """What default.mixed gives of the channels, sample by sample."""
    qnode = exact(channels, "default.mixed")
    value = jax.jit(lambda *a: (qnode(*a), jax.jacobian(qnode, (0, 1, 2))(*a)))
    with warnings.catch_warnings():
        # default.mixed casts complex to real on its way back.
        warnings.simplefilter("ignore", ComplexWarning)
        samples = [value(0.3, 0.5, x) for x in CHANNEL_DATA]
    return jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *samples)


CHANNEL_DATA = jnp.array([0.4, -0.8])


@pytest.mark.parametrize(
    ("jacobian", "jit"), [(jax.jacrev, lambda f: f), (jax.jacfwd, jax.jit)]
)
def test_strengths_and_angles_of_channels(jacobian, jit, mixed):
    qnode = noisy(channels, noise=None)

    def both(*arguments):
        return qnode(*arguments), jacobian(qnode, (0, 1, 2))(*arguments)

    same(jit(jax.vmap(both, (None, None, 0)))(0.3, 0.5, CHANNEL_DATA), mixed)


NOISY_FORMS = {
    "grad": lambda g: lambda w, xs: jnp.stack([g(w, x) for x in xs]),
    "jit of grad": lambda g: lambda w, xs: jnp.stack([jax.jit(g)(w, x) for x in xs]),
    "vmap of grad": lambda g: jax.vmap(g, (None, 0)),
    "jit of vmap of grad": lambda g: jax.jit(jax.vmap(g, (None, 0))),
    "ensemble": lambda g: lambda w, xs: jax.vmap(g)(jnp.stack([w] * len(xs)), xs),
}


@pytest.mark.parametrize("form", NOISY_FORMS)
def test_noise_as_autograd_differentiates_it(form, w, xs):
    qnode = noisy(layered, noise="ibm")
    features = pnp.array(xs, requires_grad=False)
    weights = pnp.array(w, requires_grad=True)
    expected = [qml.grad(qnode)(weights, x) for x in features]
    same(NOISY_FORMS[form](jax.grad(qnode))(w, xs), jnp.stack(expected))


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_noisy_batch_is_the_loop(jit, w, xs):
    qnode = noisy(layered, noise="ibm")
    loop = jnp.stack([qnode(w, x) for x in xs])
    same(jit(jax.vmap(qnode, (None, 0)))(w, xs), loop)
    slope = jit(jax.grad(lambda w: jnp.sum(jax.vmap(qnode, (None, 0))(w, xs))))(w)
    same(slope, sum(jax.grad(qnode)(w, x) for x in xs))


# --------------------------------------------------------------------------- costs
def test_one_structure_is_lowered_once_for_all_transforms(w, xs):
    qnode = ideal(layered)
    one = jax.grad(qnode)
    qnode(w, xs[0])
    one(w, xs[0])
    jax.jit(one)(w, xs[1])
    jax.vmap(one, (None, 0))(w, xs)
    jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(jnp.stack([w, -w]), xs)
    jax.jacfwd(qnode)(w, xs[2])
    assert qnode.device.cache_info().misses == 1


@pytest.fixture
def forward_runs(monkeypatch):
    """The batch sizes of the forward runs of kernels so far."""
    sizes = []
    forward = Pass.forward

    def counted(self, *args, **options):
        sizes.append(self.batch)
        return forward(self, *args, **options)

    monkeypatch.setattr(Pass, "forward", counted)
    return sizes


def test_vmap_costs_the_kernel_runs_of_broadcasting(w, xs, forward_runs):
    qnode = ideal(layered)
    jax.grad(lambda w: jnp.sum(qnode(w, xs)))(w)
    broadcast = list(forward_runs)
    forward_runs.clear()
    jax.grad(lambda w: jnp.sum(jax.vmap(qnode, (None, 0))(w, xs)))(w)
    assert forward_runs == broadcast
    assert set(broadcast) == {len(xs)}


def test_compiled_vmap_costs_the_kernel_calls_of_broadcasting(w, xs):
    def calls(f):
        """What XLA calls, and how many samples the features have."""
        slope = jax.jit(jax.grad(lambda w: jnp.sum(f(w, xs))))
        text = slope.lower(w).as_text()
        return re.findall(
            r"custom_call @qstore_pl_(\w+)_.* : \(.*, .*, tensor<(\d+)x\d+xf64>, ", text
        )

    qnode = ideal(layered)
    # The values of a sum do not enter its gradient, so there is no run for them.
    assert calls(qnode) == [("xla_backward_general", str(len(xs)))]
    assert calls(jax.vmap(qnode, (None, 0))) == calls(qnode)


def test_jit_of_vmap_traces_once_for_all_values(w, xs):
    traced = []

    def counted(w, x):
        traced.append(w)
        return layered(w, x)

    slope = jax.jit(jax.vmap(jax.grad(ideal(counted)), (None, 0)))
    slopes = [slope(w * k, xs - k) for k in range(4)]
    assert len(traced) == 1
    assert len({float(s[0, 0, 0, 0]) for s in slopes}) == 4


ABORT = """
import jax, jax.numpy as jnp, pennylane as qml
jax.config.update("jax_enable_x64", True)
device = qml.device("qstore.mock_ideal", wires=2)

@qml.qnode(device)
def prepared(w, psi):
    qml.StatePrep(psi, [0, 1])
    qml.RY(w, 0)
    return qml.expval(qml.Z(0))

@qml.qnode(device)
def gates(w, x):
    for k in range(6):
        qml.RX(w[2 * k], 0)
        qml.RX(w[2 * k + 1], 1)
    qml.RX(x, 0)
    return qml.expval(qml.Z(0) @ qml.Z(1))

psi = jnp.array([[1, 0, 0, 0], [0, 0, 0.6j, 0.8]])
print(*jax.jit(jax.vmap(prepared, (None, 0)))(0.3, psi))
w, xs = jnp.arange(12) / 10, jnp.array([0.1, 0.2])
print(*jax.jit(jax.vmap(gates, (None, 0)))(w, xs))
print(*jax.jit(jax.vmap(jax.grad(gates, 1), (None, 0)))(w, xs))
"""


def test_xla_does_not_abort_the_process():
    angles = 3.0 + np.array([0.1, 0.2])
    gates = [*np.cos(3.6) * np.cos(angles), *-np.cos(3.6) * np.sin(angles)]
    same(run(ABORT), [np.cos(0.3), -np.cos(0.3), *gates])


# -------------------------------------------------------------- second derivatives
def curved(w):
    qml.RX(w[0], 0)
    qml.CNOT([0, 1])
    qml.RY(w[0] * w[1], 1)
    return qml.expval(qml.Z(1))


def curvature(w):
    """The Hessian of cos(w0) cos(w0 w1)."""
    a, b = w
    ca, sa, cb, sb = np.cos(a), np.sin(a), np.cos(a * b), np.sin(a * b)
    mixed = a * sa * sb - ca * sb - a * b * ca * cb
    return np.array(
        [
            [-ca * cb + 2 * b * sa * sb - b * b * ca * cb, mixed],
            [mixed, -a * a * ca * cb],
        ]
    )


def along(f):
    """Second derivatives in the first direction."""
    first = jnp.array([1.0, 0.0])
    return jax.grad(lambda w: jax.jvp(f, (w,), (first,))[1])


TWICE = {
    "hessian": jax.hessian,
    "jacfwd of jacrev": lambda f: jax.jacfwd(jax.jacrev(f)),
    "jacrev of jacrev": lambda f: jax.jacrev(jax.jacrev(f)),
    "jacfwd of jacfwd": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "jacrev of jacfwd": lambda f: jax.jacrev(jax.jacfwd(f)),
    "grad of jvp": along,
}
MODES = {
    "eager": lambda f, w: f(w),
    "jit": lambda f, w: jax.jit(f)(w),
    "vmap": lambda f, w: jax.vmap(f)(w[None])[0],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("twice", TWICE)
def test_second_derivatives_are_refused_under_max_diff_1(twice, mode):
    with pytest.raises(DeviceError, match=f"{SECOND}.*max_diff=2"):
        MODES[mode](TWICE[twice](ideal(curved)), jnp.array([0.3, 0.7]))


@pytest.mark.parametrize(
    ("twice", "mode"),
    [("hessian", "jit"), ("hessian", "vmap"), ("grad of jvp", "eager")],
)
def test_second_derivatives_are_right_under_max_diff_2(twice, mode):
    w = jnp.array([0.3, 0.7])
    found = MODES[mode](TWICE[twice](ideal(curved, max_diff=2)), w)
    same(found, curvature(w) if twice == "hessian" else curvature(w)[0])


# ------------------------------------------------------------------------- refused
def probs_of_traced(w):
    return qml.probs(op=qml.Hermitian(jnp.array([[w, 0], [0, -w]]), 0))


def wide_traced(w):
    return qml.expval(qml.Hermitian(w * jnp.eye(32), range(5)))


def misread_traced(w):
    return qml.expval(qml.Hermitian(jnp.array([[w, 0], [0, -w]]), 0))


def seeded(key):
    device = qml.device("qstore.mock_ideal", wires=1, seed=key)
    return qml.QNode(lambda: qml.expval(qml.Z(0)), device)()


def on(circuit, name="qstore.mock_ideal", **options):
    return jax.grad(
        lambda w: jnp.sum(qml.QNode(circuit, qml.device(name, wires=5, **options))(w))
    )


REFUSED = {
    "probabilities in the eigenbasis of a traced matrix": (
        *(on(probs_of_traced), 0.4, DeviceError),
        "of which the device has no derivative",
    ),
    "a traced matrix on five wires": (
        *(on(wide_traced), 0.4, DeviceError),
        "has a derivative on up to 4 wires",
    ),
    "a traced matrix whose outcomes are misread": (
        *(on(misread_traced, "qstore.mock_noisy"), 0.4, DeviceError),
        "without readout error",
    ),
    "a traced seed of a device": (
        *(seeded, jax.random.PRNGKey(0), TypeError),
        "Make the device outside of the compiled function",
    ),
}


# PennyLane warns whenever a Hermitian matrix is the eigenbasis of probabilities.
@pytest.mark.filterwarnings("ignore:Using qp.probs with a Hermitian")
@pytest.mark.parametrize("mode", ["eager", "jit"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_stays_refused_says_so(name, mode):
    function, argument, error, text = REFUSED[name]
    if mode == "jit":
        function = jax.jit(function)
    elif function is seeded:  # eagerly a key is a number
        same(function(argument), 1.0)
        return
    with pytest.raises(error, match=text):
        function(argument)
