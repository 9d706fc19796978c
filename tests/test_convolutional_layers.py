"""Convolution and pooling as layers: alone, in files, in summaries, and refused."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    AngleEncoding,
    CheckpointError,
    NoiseSpec,
    QuantumConvolutionalLayer,
    QuantumGradientComputer,
    QuantumLayer,
    QuantumModel,
    QuantumPoolingLayer,
)
from qstore_pl.layers import INITIAL_SPREAD
from qstore_pl.readout import ExpectationValues
from qstore_pl.templates import ConvolutionLayers, pool

C, P = QuantumConvolutionalLayer, QuantumPoolingLayer


def couplings(weights, wires):
    qml.CRX(weights[..., 0], wires)
    qml.RY(weights[..., 1], wires[1])


def turns(weights, wires):
    qml.RX(weights[..., 0], wires)
    qml.RZ(weights[..., 1], wires)


# A layer with its qubits, the shape of its weights, its circuit and what that keeps.
ALONE = {
    "rotations": (
        lambda **b: C(4, n_layers=2, wrap=True, seed=1, **b),
        (2, 2, 3),
        lambda w: ConvolutionLayers(w, range(4), wrap=True),
        range(4),
    ),
    "su4": (
        lambda **b: C(3, kernel="su4", seed=1, **b),
        (1, 15),
        lambda w: ConvolutionLayers(w, range(3), kernel="su4"),
        range(3),
    ),
    "stride": (
        lambda **b: C(5, kernel_size=3, stride=2, seed=1, **b),
        (1, 3, 3),
        lambda w: ConvolutionLayers(w, range(5), 3, 2),
        range(5),
    ),
    "own kernel": (
        lambda **b: C(4, kernel=couplings, kernel_shape=[2], seed=1, **b),
        (1, 2),
        lambda w: [couplings(w[0], [i, j]) for i, j in ((0, 1), (2, 3), (1, 2))],
        range(4),
    ),
    "pool": (
        lambda **b: P(n_qubits=5, seed=1, **b),
        (1, 3),
        lambda w: pool(w, range(5)),
        (0, 2, 4),
    ),
    "own gate": (
        lambda **b: P(3, n_qubits=4, gate=turns, gate_shape=(2,), seed=1, **b),
        (2, 2),
        lambda w: pool(w, range(4), 3, gate=turns, gate_shape=(2,)),
        (0, 3),
    ),
}
alone = pytest.mark.parametrize("name", ALONE)


def close(seen, expected, atol=1e-12):
    np.testing.assert_allclose(seen, expected, rtol=0, atol=atol)


@alone
def test_its_circuit_gives_every_z_that_it_keeps(name):
    make, shape, function, kept = ALONE[name]
    layer = make()
    assert layer.shape == shape
    assert layer.parameters.shape == layer.trainable.shape == (np.prod(shape),)

    @qml.qnode(qml.device("default.qubit"))
    def expected(w):
        function(w)
        return [qml.expval(qml.Z(i)) for i in kept]

    weights = np.random.default_rng(2).uniform(-3, 3, layer.parameters.size)
    for backend in (None, "default.qubit", "mock_noisy"):
        if backend == "mock_noisy":
            backend = qml.device("qstore.mock_noisy", wires=layer.n_qubits, noise=None)
        seen = make(backend=backend).circuit(weights)
        close(seen, expected(weights.reshape(shape)))


@alone
def test_frozen_weights_have_no_gradient(name):
    layer = ALONE[name][0](backend="mock_noisy")
    layer.parameters[:] = np.random.default_rng(3).uniform(-2, 2, layer.n_weights)
    layer.freeze_parameters([0])
    shift, adjoint = (
        QuantumGradientComputer(method=method).compute_gradients(
            layer.circuit, layer.parameters
        )
        for method in ("parameter_shift", "adjoint")
    )
    close(shift.gradients, adjoint.gradients, 1e-10)
    assert shift.gradients[0] == 0.0
    assert shift.n_circuit_executions > 1


def test_a_pool_alone_misreads():
    """Wire 1 is 0, and read as 1 with the probability 0.2: X then acts on wire 0."""
    noise = NoiseSpec(readout={1: (0.2, 0.0)})
    device = qml.device("qstore.mock_noisy", wires=2, noise=noise)
    layer = P(n_qubits=2, backend=device, gate=qml.RX, gate_shape=())
    close(layer.circuit(np.array([np.pi])), [1 - 2 * 0.2])


def test_first_values_follow_from_the_seed():
    values = C(8, n_layers=60, kernel="su4", seed=3).parameters
    np.testing.assert_array_equal(values, C(8, 60, kernel="su4", seed=3).parameters)
    assert abs(values.std() / INITIAL_SPREAD - 1) < 4 / np.sqrt(2 * values.size)
    assert (P(n_qubits=2, seed=3).parameters != P(n_qubits=4, seed=4).parameters).all()


@alone
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
def test_a_copy_has_a_life_of_its_own(name, copied):
    layer = ALONE[name][0]()
    layer.freeze_parameters([1])
    twin = copied(layer)
    np.testing.assert_array_equal(twin.parameters, layer.parameters)
    close(twin.circuit(twin.parameters), layer.circuit(layer.parameters), 0.0)
    twin.parameters[0] = 9.0
    twin.unfreeze_parameters()
    assert layer.parameters[0] != 9.0
    assert not layer.trainable[1]


SHOWN = {
    "QuantumConvolutionalLayer(n_layers=1, kernel='rotation')": C(),
    "QuantumConvolutionalLayer(n_qubits=4, n_layers=2, kernel_size=3, stride=2, "
    "wrap=True, kernel='rotation')": C(4, 2, kernel_size=3, stride=2, wrap=True),
    "QuantumConvolutionalLayer(n_layers=1, kernel='couplings', kernel_shape=[2])": C(
        kernel=couplings, kernel_shape=(2,)
    ),
    "QuantumPoolingLayer(pool_size=2)": P(),
    "QuantumPoolingLayer(n_qubits=6, pool_size=3, gate='turns', gate_shape=[2])": P(
        3, n_qubits=6, gate=turns, gate_shape=(2,)
    ),
}


@pytest.mark.parametrize("text", SHOWN)
def test_repr_names_what_it_is(text):
    assert repr(SHOWN[text]) == text


# ---------------------------------------------------------------------------- models
def model_of(*layers, n=4, **options):
    return QuantumModel(n, 1, layers=[AngleEncoding(), *layers], seed=0, **options)


@pytest.mark.parametrize(
    "layers",
    [
        [C(2 * 2, 2, kernel="su4", stride=2), P(), QuantumLayer(n_layers=1)],
        [C(kernel_size=3, wrap=True), P(3)],
        [shared := C(), P(), shared, P(n_qubits=2)],
    ],
    ids=["su4", "three", "shared"],
)
def test_a_file_makes_the_model_again(layers, tmp_path):
    model = model_of(*layers)
    model.layers[1].freeze_parameters([2])
    model.save(tmp_path / "model.qstore")
    twin = QuantumModel.from_checkpoint(tmp_path / "model.qstore")
    X = np.random.default_rng(0).uniform(-1, 1, (3, 4))
    np.testing.assert_array_equal(twin(X), model(X))
    np.testing.assert_array_equal(twin.trainable, model.trainable)
    assert [repr(x) for x in twin.layers] == [repr(x) for x in model.layers]
    assert twin.stack.kept == model.stack.kept
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copied(X), model(X))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (
            [C(kernel=couplings, kernel_shape=(2,)), P()],
            r"its QuantumConvolutionalLayer has a kernel of your own, pass",
        ),
        (
            [C(), P(gate=turns, gate_shape=(2,))],
            r"its QuantumPoolingLayer has a gate of your own, pass layers=",
        ),
    ],
    ids=["kernel", "gate"],
)
def test_a_file_of_a_users_kernel_needs_it(layers, words, tmp_path):
    model = model_of(*layers)
    path = tmp_path / "model.qstore"
    model.save(path)
    with pytest.raises(CheckpointError, match=words):
        QuantumModel.from_checkpoint(path)
    given = [AngleEncoding(), *layers]
    twin = QuantumModel.from_checkpoint(path, layers=given)
    X = np.random.default_rng(0).uniform(-1, 1, (3, 4))
    np.testing.assert_array_equal(twin(X), model(X))
    with pytest.raises(CheckpointError, match="belongs to another model"):
        QuantumModel.from_checkpoint(path, layers=[AngleEncoding(), C(), P()])


def test_a_summary_counts_gates_and_what_is_not_seen():
    # Two windows, two gates that outcomes decide, a last turn of one wire.
    model = model_of(C(kernel="su4", stride=2), P(), QuantumLayer(n_layers=1))
    summary = model.summary()
    rows = [(row.n_weights, row.n_gates, row.depth) for row in summary.rows]
    assert rows == [
        *[(0, (4, 0), 1), (15, (8, 6), 5)],
        *[(3, (0, 2), 1), (6, (6, 1), 4)],
    ]
    assert summary.rows[3].wires == (0, 2)
    assert summary.total.n_gates == (18, 9)
    # The last RZ of a wire that is measured, whether inside or at the end, changes
    # nothing, nor do turns of wire 2, whose CNOT does not act on its control.
    unseen = [14, 20, 21, 22, 23]
    assert summary.unseen_weights == tuple(unseen)
    program = model.placed.program
    weights = np.random.default_rng(1).uniform(-2, 2, model.n_weights)
    features = model.prepare(np.array([[0.4, -0.8, 1.1, 0.3]]))
    slopes, _ = program.vjp(weights, features, np.ones((1, 1)))
    close(slopes[unseen], 0.0)
    assert (np.abs(np.delete(slopes, unseen)) > 1e-6).all()


def test_moving_a_model_moves_its_layers():
    model = model_of(C(), P())
    model.backend = "mock_noisy"
    names = {layer.backend.name for layer in model.layers[1:]}
    assert names == {"mock_noisy"}
    assert model.layers[2].circuit.device.name == "qstore.mock_noisy"


WRONG = {
    "no qubits": (
        lambda: C().circuit, ValueError, "must be given for a QuantumConvolutionalLayer"
    ),
    "no qubits of a pool": (
        lambda: P().parameters, ValueError, "given for a QuantumPoolingLayer on its own"
    ),
    "fewer qubits than a window": (
        lambda: C(2, kernel_size=3), ValueError, "`n_qubits` must be >= 3.*but is 2"
    ),
    "a pool of one qubit": (
        lambda: P(n_qubits=1), ValueError, "`n_qubits` must be >= 2, but is 1"
    ),
    "half a qubit": (lambda: C(2.5), TypeError, "`n_qubits` must be an integer"),
    "no layers": (lambda: C(n_layers=0), ValueError, "`n_layers` must be >= 1"),
    "no kernel size": (lambda: C(kernel_size=0), ValueError, "`kernel_size` must be"),
    "no stride": (lambda: C(stride=0), ValueError, "`stride` must be >= 1, but is 0"),
    "a wrap of numbers": (
        lambda: C(wrap=1), TypeError, "`wrap` must be True or False, but is 1"
    ),
    "an unknown kernel": (
        lambda: C(kernel="ising"), ValueError, '"rotation", "su4", but is \'ising\''
    ),
    "a kernel without a shape": (
        lambda: C(kernel=couplings), ValueError, "`kernel_shape` must be the shape"
    ),
    "su4 of three": (
        lambda: C(kernel_size=3, kernel="su4"), ValueError, "must be 2 for the kernel"
    ),
    "a pool size of one": (
        lambda: P(1), ValueError, "`pool_size` must be >= 2, but is 1"
    ),
    "no gate": (
        lambda: P(gate="RX"), TypeError, "`gate` must be a quantum function.*is 'RX'"
    ),
    "a broken shape": (
        lambda: P(gate=turns, gate_shape=(-1,)), ValueError, "`gate_shape` must be"
    ),
    "a window after too much pooling": (
        lambda: model_of(P(), C(kernel_size=3)),
        ValueError,
        "must have at least 3 qubits, those of a window, but is given 2.*pool less",
    ),
    "a pool after too much pooling": (
        lambda: model_of(P(4), P()),
        ValueError,
        "at least 2 qubits, one to keep and one to measure, but is given 1. Pool less",
    ),
    "other qubits": (
        lambda: model_of(C(), P(), C(4)),
        ValueError,
        "`n_qubits` of a QuantumConvolutionalLayer must be 2, the wires it is given, "
        "but is 4",
    ),
    "other qubits of a pool": (
        lambda: model_of(P(n_qubits=6), n_qubits=4), ValueError, "Layer must be 4"
    ),
    "a dropped wire is measured": (
        lambda: model_of(P(), readout=ExpectationValues([qml.Z(1)])),
        ValueError,
        r"wires out of \[0, 2\].*measures \[1\]",
    ),
    "more outputs than wires": (
        lambda: QuantumModel(4, 3, layers=[AngleEncoding(), P()]), ValueError, "output"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "error", "words"), WRONG.values(), ids=WRONG)
def test_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
