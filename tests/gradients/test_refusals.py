"""Every error of the gradient computers: its kind, and words of its message.

A row is a call, the exception, and what its message must contain.
"""

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import (
    BackendManager,
    NaturalGradientComputer,
    QuantumGradientComputer,
    QuantumModel,
    SPSAGradient,
)
from qstore_pl.losses import get_loss

RNG = np.random.default_rng(2)
X = RNG.uniform(-1, 1, (12, 4))
Y = np.sign(X[:, :2])
W = np.array([0.3, 0.5])


def qnode(function, device="qstore.mock_ideal", shots=None):
    wires = 3
    return qml.set_shots(qml.QNode(function, qml.device(device, wires=wires)), shots)


def plain(w):
    qml.RX(w[0], 0)
    qml.RY(w[1], 0)
    return qml.expval(qml.Z(0))


def independent(w):
    qml.RX(0.4, 0)
    return qml.expval(qml.Z(0))


def not_batched(w, inputs):
    """Runs, but for one sample whatever it gets; four probabilities, four samples."""
    qml.RX(w[0], 0)
    return qml.probs(wires=[0, 1])


def not_batched_expval(w, inputs):
    qml.RX(w[0], 0)
    return qml.expval(qml.Z(0))


def data_first(x, weights):
    qml.RX(x[..., 0], 0)
    qml.RY(weights[0], 0)
    return qml.expval(qml.Z(0))


def of_three(inputs, w, v):
    return qml.expval(qml.Z(0))


def state(w):
    qml.RX(w[0], 0)
    return qml.state()


def gradients(circuit, parameters=W, *, backend=None, computer=None, **data):
    options = {k: data.pop(k) for k in OPTIONS_OF_COMPUTERS & data.keys()}
    computer = computer or QuantumGradientComputer(backend, **options)
    return computer.compute_gradients(circuit, parameters, **data)


OPTIONS_OF_COMPUTERS = {
    "method",
    "shots",
    "epsilon",
    "n_directions",
    "sample_size",
}


def model(**options):
    return QuantumModel(4, 2, 1, **{"seed": 0, **options})


def of_model(parameters=None, *, of=None, **data):
    of = of or model()
    parameters = of.parameters if parameters is None else parameters
    return gradients(of, parameters, **{"inputs": X, **data})


# name: (call, exception, words of its message)
METHODS = {
    "data but no inputs": (
        lambda: gradients(qnode(data_first)),
        TypeError,
        ("circuit(parameters)", "is circuit(x, weights)", "pass them by inputs=..."),
    ),
    "inputs but no data": (
        lambda: gradients(qnode(plain), inputs=X),
        TypeError,
        ("parameters and `inputs`", "is circuit(w)", "circuit(inputs, weights)"),
    ),
    "data first, of another name": (
        lambda: gradients(qnode(data_first), inputs=X),
        TypeError,
        ("parameters and `inputs`", "is circuit(x, weights)", "of the data `inputs`"),
    ),
    "one argument too many": (
        lambda: gradients(qnode(of_three), inputs=X),
        TypeError,
        ("is circuit(inputs, w, v)", "other arguments need defaults"),
    ),
    "adjoint with shots": (
        lambda: gradients(qnode(plain, shots=10), method="adjoint"),
        ValueError,
        ('"adjoint"', "runs 10 shots", '"best"', '"parameter_shift"'),
    ),
    "adjoint of a model with shots": (
        lambda: of_model(method="adjoint", shots=7),
        ValueError,
        ('"adjoint"', "runs 7 shots"),
    ),
    "adjoint of a device without": (
        lambda: gradients(qnode(plain, "default.mixed"), method="adjoint"),
        ValueError,
        ('"adjoint"', "default.mixed has none", '"parameter_shift"'),
    ),
    "unknown method": (
        lambda: gradients(qnode(plain), method="newton"),
        ValueError,
        ("`method`", '"spsa"', '"random_subset"', "'newton'"),
    ),
    "step of a shift": (
        lambda: gradients(qnode(plain), method="parameter_shift", epsilon=0.1),
        ValueError,
        ("`epsilon`", '"parameter_shift"', "would ignore"),
    ),
    "directions of differences": (
        lambda: gradients(qnode(plain), method="finite_diff", n_directions=2),
        ValueError,
        ("`n_directions`", '"finite_diff"', "would ignore"),
    ),
    "sample size of spsa": (
        lambda: gradients(qnode(plain), method="spsa", sample_size=2),
        ValueError,
        ("`sample_size`", '"spsa"', "would ignore"),
    ),
    "step of the best": (
        lambda: gradients(qnode(plain), epsilon=0.1),
        ValueError,
        ("`epsilon`", '"best"', "would ignore"),
    ),
    "random subset of no size": (
        lambda: gradients(qnode(plain), method="random_subset"),
        ValueError,
        ("`sample_size`", '"random_subset"', "must be given"),
    ),
    "no step": (
        lambda: QuantumGradientComputer(method="spsa", epsilon=0.0),
        ValueError,
        ("`epsilon`", "> 0", "0.0"),
    ),
    "no directions": (
        lambda: SPSAGradient(n_directions=0),
        ValueError,
        ("`n_directions`", ">= 1", "0"),
    ),
    "half a direction": (
        lambda: SPSAGradient(n_directions=0.5),
        TypeError,
        ("`n_directions`", "integer", "0.5"),
    ),
    "no shots": (
        lambda: QuantumGradientComputer(shots=0),
        ValueError,
        ("`shots`", ">= 1", "0"),
    ),
    "negative damping": (
        lambda: NaturalGradientComputer(damping=-1.0),
        ValueError,
        ("`damping`", ">= 0", "-1"),
    ),
    "unknown backend": (
        lambda: QuantumGradientComputer("ibm"),
        ValueError,
        ("`backend`", '"mock_ideal"', "'ibm'"),
    ),
    "unknown metric": (
        lambda: NaturalGradientComputer(metric="euclid").compute_natural_gradient(
            qnode(plain), W
        ),
        ValueError,
        ("`metric`", '"fubini-study"', "'euclid'"),
    ),
}
PARAMETERS = {
    "integers": (
        lambda: gradients(qnode(plain), np.array([1, 2])),
        TypeError,
        ("`parameters`", "floats", "int64"),
    ),
    "complex numbers": (
        lambda: gradients(qnode(plain), W + 0j),
        TypeError,
        ("`parameters`", "floats", "complex128"),
    ),
    "words": (
        lambda: gradients(qnode(plain), ["a", "b"]),
        TypeError,
        ("`parameters`", "floats"),
    ),
    "NaN": (
        lambda: gradients(qnode(plain), np.array([0.1, np.nan])),
        ValueError,
        ("`parameters`", "finite", "(1,)", "nan"),
    ),
    "infinity in a model": (
        lambda: of_model(np.full(12, np.inf)),
        ValueError,
        ("`parameters`", "finite", "(0,)", "inf"),
    ),
    "too few for a model": (
        lambda: of_model(np.zeros(11), of=model(readout="affine")),
        ValueError,
        ("`parameters`", "(16,)", "(12,)", "(11,)"),
    ),
    "two axes for a model": (
        lambda: of_model(np.zeros((4, 3))),
        ValueError,
        ("`parameters`", "(12,)", "(4, 3)"),
    ),
    "mask of another shape": (
        lambda: gradients(qnode(plain), trainable=np.array([True])),
        ValueError,
        ("`trainable`", "(2,)", "(1,)"),
    ),
    "mask of a model of another shape": (
        lambda: of_model(trainable=np.ones(3, dtype=bool)),
        ValueError,
        ("`trainable`", "(12,)", "(3,)"),
    ),
    "mask of integers": (
        lambda: gradients(qnode(plain), trainable=np.array([1, 0])),
        TypeError,
        ("`trainable`", "bools", "int64"),
    ),
}
CIRCUITS = {
    "a function": (
        lambda: gradients(plain),
        TypeError,
        ("`circuit`", "QNode", "QuantumModel", "function"),
    ),
    "no dependence, shifted": (
        lambda: gradients(qnode(independent), method="parameter_shift"),
        ValueError,
        ("depend on the parameters",),
    ),
    "no dependence": (
        lambda: gradients(qnode(independent)),
        ValueError,
        ("depend on the parameters",),
    ),
    "a model's own backend": (
        lambda: of_model(of=model(backend="mock_noisy"), backend="mock_ideal"),
        ValueError,
        ("`backend`", "left out", "mock_noisy", "mock_ideal"),
    ),
    "several numbers of shots": (
        lambda: gradients(qnode(plain, "default.qubit", shots=[10, 20])),
        ValueError,
        ("shots",),
    ),
    "a state": (
        lambda: gradients(qnode(state), method="finite_diff"),
        (TypeError, ValueError),
        ("real",),
    ),
}
DATA = {
    "no inputs": (
        lambda: of_model(inputs=None),
        ValueError,
        ("`inputs`", "must be given", "None"),
    ),
    "inputs of a model of another width": (
        lambda: of_model(inputs=X[:, :3]),
        ValueError,
        ("`inputs`", "(n_samples, 4)", "(12, 3)"),
    ),
    "inputs of a QNode with one axis": (
        lambda: gradients(qnode(not_batched), inputs=X[0]),
        ValueError,
        ("`inputs`", "(n_samples, n_features)", "(4,)"),
    ),
    "no samples": (
        lambda: gradients(qnode(not_batched), inputs=X[:0]),
        ValueError,
        ("`inputs`", "at least one sample", "(0, 4)"),
    ),
    "NaN in the inputs": (
        lambda: gradients(qnode(not_batched), inputs=np.array([[0.1, np.nan]])),
        ValueError,
        ("`inputs`", "finite", "(0, 1)"),
    ),
    "targets without a loss": (
        lambda: of_model(targets=Y),
        ValueError,
        ("`loss`", "`targets`", "ignored"),
    ),
    "loss without targets": (
        lambda: of_model(loss="mse"),
        ValueError,
        ("`targets`", "'mse'", "predictions alone"),
    ),
    "Loss without targets": (
        lambda: of_model(loss=get_loss("mse")),
        ValueError,
        ("`targets`", "Loss('mse')"),
    ),
    "unknown loss": (
        lambda: of_model(loss="mae", targets=Y),
        ValueError,
        ("`loss`", '"cross_entropy"', "'mae'"),
    ),
    "targets of another length": (
        lambda: of_model(loss="mse", targets=Y[:5]),
        ValueError,
        ("`targets`", "(12, 2)", "(5, 2)"),
    ),
    "loss of NaN": (
        lambda: of_model(loss=lambda p: np.nan * pnp.sum(p)),
        ValueError,
        ("loss must be finite", "nan"),
    ),
    "infinite loss": (
        lambda: of_model(loss=lambda p: pnp.sum(p) + np.inf),
        ValueError,
        ("loss must be finite", "inf"),
    ),
    "loss that is no scalar": (
        lambda: of_model(loss=lambda p: p**2),
        TypeError,
        ("real scalar",),
    ),
    "loss in plain numpy": (
        lambda: of_model(loss=lambda p: float(np.asarray(p).sum())),
        TypeError,
        ("autograd", "pennylane.numpy", "Loss(fn, grad)"),
    ),
}
for device in ("qstore.mock_ideal", "default.qubit"):
    for method in ("best", "adjoint", "parameter_shift", "finite_diff", "spsa"):
        for function in (not_batched, not_batched_expval):
            DATA[f"{function.__name__} on {device} by {method}"] = (
                lambda f=function, d=device, m=method: gradients(
                    qnode(f, d), method=m, inputs=X[:4]
                ),
                ValueError,
                ("4 samples", "one batch", "inputs[..., i]"),
            )
ERRORS = METHODS | PARAMETERS | CIRCUITS | DATA


def test_no_row_of_the_table_hides_another():
    assert len(ERRORS) == sum(map(len, (METHODS, PARAMETERS, CIRCUITS, DATA)))


@pytest.mark.parametrize(("call", "exception", "words"), ERRORS.values(), ids=ERRORS)
def test_the_message_says_what_was_needed_and_what_came(call, exception, words):
    with pytest.raises(exception) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_an_error_leaves_the_model_as_it_was():
    mine = model()
    before = mine.parameters.copy()
    with pytest.raises(ValueError, match="must be given"):
        gradients(mine, mine.parameters, method="random_subset", inputs=X)
    assert mine.parameters.tobytes() == before.tobytes()


@pytest.mark.parametrize("same", ["name", "object", "device"])
def test_a_backend_that_is_the_models_own_may_be_given(same):
    device = qml.device("default.qubit", wires=4)
    own = {"name": "mock_ideal", "object": BackendManager().get_backend("mock_ideal")}
    backend = own.get(same, device)
    result = of_model(of=model(backend=backend), backend=backend)
    assert np.abs(result.gradients).max() > 0


def rotated_by_a_sum(w):
    qml.RX(w[0], 0)
    qml.exp(qml.X(0) + qml.Z(1), -1j * w[1])
    return qml.expval(qml.Z(0))


def selected(w):
    qml.RX(w[0], 0)
    qml.CNOT([0, 1])
    qml.Projector([1], 1)
    qml.RY(w[1], 0)
    return qml.expval(qml.Z(0))


@pytest.mark.parametrize(
    ("circuit", "name"), [(rotated_by_a_sum, "Exp"), (selected, "RX before")]
)
def test_a_shift_that_does_not_hold_is_refused(circuit, name):
    computer = QuantumGradientComputer(method="parameter_shift")
    with pytest.raises(DeviceError, match=f"shift does not hold for {name}"):
        computer.compute_gradients(qnode(circuit), W)
