"""The quantum autoencoder, against circuits on default.qubit and default.mixed."""

import asyncio
import copy
import itertools
import pickle

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import (
    AmplitudeEncoding,
    AngleEncoding,
    CheckpointError,
    QuantumAutoencoder,
    QuantumGradientComputer,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    aio,
)
from qstore_pl.autoencoder import AutoencoderReport
from qstore_pl.circuit import Block, Features, Weights
from qstore_pl.devices import NoiseSpec
from qstore_pl.layers import Layer
from tests.naive import pauli_components

NOISE = NoiseSpec(
    p1=0.02, p2=0.05, t1=50e-6, t2=40e-6, over_rotation=0.03, readout=(0.02, 0.03)
)
N, LATENT = 3, 1
EXACT = {"atol": 1e-10, "rtol": 0}
OBJECTIVES = ("local", "global")


def rank_two(seed, n_samples=100):
    """States cos(t) a + sin(t) b of three qubits, for random orthonormal a and b."""
    rng = np.random.default_rng(seed)
    a, b = np.linalg.qr(rng.standard_normal((8, 2)))[0].T
    t = rng.uniform(0, 2 * np.pi, (n_samples, 1))
    return np.cos(t) * a + np.sin(t) * b


def turned(backend=None, n_latent=LATENT, **options):
    """An autoencoder away from special values, and two samples of rank two."""
    made = QuantumAutoencoder(N, n_latent, 2, backend, seed=1, **options)
    made.model.weights[:] = np.random.default_rng(5).uniform(-3, 3, 18)
    return made, rank_two(0, 2)


def encoder(weights):
    """Two repetitions of the default layer, written out."""
    for angles in weights.reshape(2, N, 3):
        for wire in range(N):
            for gate, angle in zip((qml.RX, qml.RY, qml.RZ), angles[wire], strict=True):
                gate(angle, wires=wire)
        for wire in range(N):
            qml.CNOT([wire, (wire + 1) % N])


def decoder(weights):
    """The same gates backwards, with opposite angles."""
    for angles in weights.reshape(2, N, 3)[::-1]:
        for wire in reversed(range(N)):
            qml.CNOT([wire, (wire + 1) % N])
        for wire in range(N):
            for gate, i in ((qml.RZ, 2), (qml.RY, 1), (qml.RX, 0)):
                gate(-angles[wire, i], wires=wire)


def matrix_of(weights):
    """The encoder as a dense matrix."""
    return qml.matrix(encoder, wire_order=range(N))(weights)


def traced_out(density, n_latent):
    """The partial trace over the last qubits, and the weight of their zeros."""
    side = 1 << n_latent
    split = density.reshape(side, len(density) // side, side, len(density) // side)
    return np.einsum("atbt->ab", split), np.einsum("aa->", split[:, 0, :, 0]).real


# --- training ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_states_of_rank_two_fit_into_one_qubit(seed):
    X = rank_two(seed)
    autoencoder = QuantumAutoencoder(N, LATENT, seed=seed)
    history = autoencoder.fit(X)
    assert history["losses"][-1] < 0.01
    assert autoencoder.reconstruction_fidelity(X).mean() >= 0.99


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("noisy", [False, True])
def test_gradients_are_those_of_pennylane(objective, noisy):
    """The loss of outcomes of the trash, differentiated by autograd."""
    backend = qml.device("qstore.mock_noisy", wires=N, noise=NOISE) if noisy else None
    autoencoder, X = turned(backend, objective=objective)
    exact = qml.device("default.mixed" if noisy else "default.qubit", wires=N)

    def circuit(row, weights):
        qml.StatePrep(row, wires=range(N))
        encoder(weights)
        return qml.probs(wires=autoencoder.trash)

    qnode = qml.QNode(circuit, exact)
    if noisy:
        qnode = qml.noise.add_noise(qnode, NOISE.to_noise_model(), level="user")

    def loss(weights):
        total = 0.0
        for row in X:
            p = qnode(pnp.array(row, requires_grad=False), weights)
            ones = p[2] + p[3] + p[1] + p[3]  # those of the first and of the second
            total = total + (1 - p[0] if objective == "global" else ones / 2)
        return total / len(X)

    weights = pnp.array(autoencoder.model.weights, requires_grad=True)
    found = QuantumGradientComputer().compute_gradients(
        autoencoder.model,
        autoencoder.model.parameters,
        inputs=X,
        targets=autoencoder.targets(X),
        loss=autoencoder.loss,
    )
    np.testing.assert_allclose(found.gradients, qml.grad(loss)(weights), **EXACT)
    value = autoencoder.loss(autoencoder.model(X), autoencoder.targets(X))
    np.testing.assert_allclose(value, loss(weights), **EXACT)


def test_fit_is_the_trainer_on_the_model():
    X = rank_two(3, 20)
    config = TrainingConfig(epochs=3, learning_rate=0.1, batch_size=8, seed=4)
    ours, theirs, awaited = (QuantumAutoencoder(N, LATENT, seed=2) for _ in range(3))
    history = ours.fit(X, config, val_inputs=X[:5])
    assert config.loss is None
    given = TrainingConfig(**config.to_dict(), loss=theirs.loss)
    data = X, theirs.targets(X)
    wanted = QuantumTrainer(given).train(theirs.model, data, (X[:5], np.ones((5, 2))))
    assert ours.model.weights.tobytes() == theirs.model.weights.tobytes()
    assert history["val_losses"] == wanted["val_losses"]
    awaited = aio.QuantumAutoencoder(N, LATENT, seed=2)
    asyncio.run(awaited.fit(X, config))
    assert awaited.model.weights.tobytes() == ours.model.weights.tobytes()


def test_frozen_weights_stay_and_shots_train():
    X = rank_two(3, 8)
    autoencoder = QuantumAutoencoder(N, LATENT, seed=2)
    autoencoder.model.layers[1].freeze_parameters(range(9))
    before = autoencoder.model.weights.copy()
    autoencoder.fit(X, TrainingConfig(epochs=2, shots=50, seed=0))
    changed = autoencoder.model.weights != before
    assert not changed[:9].any()
    assert changed[9:].any()


def test_a_run_is_resumed_bit_for_bit(tmp_path):
    X = rank_two(3, 20)
    whole, part = (QuantumAutoencoder(N, LATENT, seed=2) for _ in range(2))
    config = {"learning_rate": 0.1, "seed": 0}
    whole.fit(X, TrainingConfig(epochs=4, **config))
    config["checkpoint_directory"] = tmp_path
    part.fit(X, TrainingConfig(epochs=2, **config))
    again = QuantumAutoencoder(N, LATENT)
    again.fit(X, TrainingConfig(epochs=4, **config), resume="latest")
    assert again.model.weights.tobytes() == whole.model.weights.tobytes()
    best = QuantumAutoencoder.from_checkpoint(tmp_path / "best.qstore")
    np.testing.assert_array_equal(best.encode(X), again.encode(X))


# --- states --------------------------------------------------------------------------


BACKENDS = {
    "mock_ideal": None,
    "default.qubit": qml.device("default.qubit", wires=N),
    "a wire more": qml.device("default.qubit", wires=N + 1),
    "default.mixed": qml.device("default.mixed", wires=N),
    "a wire more, mixed": qml.device("default.mixed", wires=N + 1),
    "without noise": qml.device("qstore.mock_noisy", wires=N, noise=NoiseSpec()),
}


@pytest.mark.parametrize("n_latent", [1, 2])
@pytest.mark.parametrize("name", BACKENDS)
def test_states_without_noise_are_those_of_dense_matrices(name, n_latent):
    autoencoder, X = turned(BACKENDS[name], n_latent)
    U = matrix_of(autoencoder.model.weights)
    zeros = np.zeros((1 << N - n_latent,) * 2)
    zeros[0, 0] = 1.0
    latent = autoencoder.encode(X)
    decoded = autoencoder.decode(latent)
    np.testing.assert_allclose(autoencoder.reconstruct(X), decoded, atol=1e-15)
    for i, row in enumerate(X):
        expected, zero = traced_out(U @ np.outer(row, row) @ U.conj().T, n_latent)
        back = U.conj().T @ np.kron(expected, zeros) @ U
        fidelity = (row @ back @ row).real
        words = pauli_components(expected)[1:]
        for found, wanted in (
            (latent, expected),
            (decoded, back),
            (autoencoder.trash_fidelity(X), zero),
            (autoencoder.reconstruction_fidelity(X), fidelity),
            (autoencoder.latent_features(X), words),
        ):
            np.testing.assert_allclose(found[i], wanted, **EXACT)


@pytest.mark.parametrize("n_latent", [1, 2])
def test_states_with_noise_are_those_of_default_mixed(n_latent):
    noisy = qml.device("qstore.mock_noisy", wires=N, noise=NOISE)
    autoencoder, X = turned(noisy, n_latent)
    weights, exact = autoencoder.model.weights, qml.device("default.mixed", wires=N)

    def states(gates, density):
        def circuit():
            qml.QubitDensityMatrix(density, wires=range(N))
            gates(weights)
            return qml.density_matrix(range(N))

        qnode = qml.QNode(circuit, exact)
        return qml.noise.add_noise(qnode, NOISE.to_noise_model(), level="user")()

    zeros = np.zeros((1 << N - n_latent,) * 2)
    zeros[0, 0] = 1.0
    latent, decoded = autoencoder.encode(X), autoencoder.reconstruct(X)
    for i, row in enumerate(X):
        expected, zero = traced_out(states(encoder, np.outer(row, row)), n_latent)
        back = states(decoder, np.kron(expected, zeros))
        fidelity = (row @ back @ row).real
        for found, wanted in (
            (latent, expected),
            (decoded, back),
            (autoencoder.trash_fidelity(X), zero),
            (autoencoder.reconstruction_fidelity(X), fidelity),
        ):
            np.testing.assert_allclose(found[i], wanted, **EXACT)
    report = autoencoder.report(X)
    assert report.mean_fidelity == autoencoder.reconstruction_fidelity(X).mean()
    assert report.mean_trash_fidelity == autoencoder.trash_fidelity(X).mean()


def test_fidelities_in_chunks_are_the_same(monkeypatch):
    autoencoder, X = turned("mock_noisy")
    X = np.repeat(X, 3, axis=0)
    whole = autoencoder.reconstruction_fidelity(X)
    monkeypatch.setattr("qstore_pl.autoencoder.decoder.BYTES", 16 * 64 * 4)
    found = autoencoder.reconstruction_fidelity(X)
    np.testing.assert_allclose(found, whole, atol=1e-14)


class Couplings(Layer):
    """A layer of a user's own, whose gates are not those of QuantumLayer."""

    def blocks(self, wires):
        turns = [
            Block(qml.Rot, [w], [Weights(3 * w + i) for i in range(3)]) for w in wires
        ]
        last = Weights(3 * len(wires))
        pairs = itertools.pairwise(wires)
        return [*turns, *[Block(qml.IsingXY, pair, [last]) for pair in pairs]]


class Fixed(Layer):
    """A matrix that is not trained."""

    def __init__(self, matrix):
        self.matrix = matrix

    def blocks(self, wires):
        return [Block(qml.QubitUnitary, wires, [self.matrix])]


def test_layers_and_encodings_of_a_users_own():
    """Angles, encoded with noise; the states to be reconstructed have none."""
    layers = [Couplings(), QuantumLayer(n_layers=1), Couplings()]
    noisy = qml.device("qstore.mock_noisy", wires=N, noise=NOISE)
    autoencoder = QuantumAutoencoder(
        N, 1, backend=noisy, encoding=AngleEncoding("YZ"), input_dim=5, layers=layers
    )
    assert autoencoder.model.n_weights == 29
    inputs = np.random.default_rng(0).uniform(-2, 2, (3, 5))
    vectors = autoencoder.input_states(inputs)

    @qml.qnode(qml.device("default.qubit", wires=N))
    def encoded(row):
        qml.AngleEmbedding(row[:3], wires=range(N), rotation="Y")
        qml.AngleEmbedding(row[3:], wires=range(N), rotation="Z")
        return qml.state()

    np.testing.assert_allclose(vectors, [encoded(row) for row in inputs], **EXACT)
    found = autoencoder.reconstruct(inputs)
    expected = np.einsum("bi,bij,bj->b", vectors.conj(), found, vectors).real
    fidelities = autoencoder.reconstruction_fidelity(inputs)
    np.testing.assert_allclose(fidelities, expected, **EXACT)
    np.testing.assert_allclose(np.trace(found, axis1=1, axis2=2), 1.0, **EXACT)


def test_the_bound_is_reached_by_the_principal_components():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((40, 8)) * 0.5 ** np.arange(8)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(unit.T @ unit / len(X))
    # The two largest components become the states 000 and 100, where the trash is zero.
    U = vectors.T[[7, 0, 1, 2, 6, 3, 4, 5]]
    best = QuantumAutoencoder(N, 1, layers=[Fixed(U)]).report(X)
    np.testing.assert_allclose(best.bound, values[-2:].sum(), **EXACT)
    np.testing.assert_allclose(best.mean_trash_fidelity, best.bound, **EXACT)
    trained = QuantumAutoencoder(N, 1, n_layers=5, seed=0)
    trained.fit(X)
    report = trained.report(X)
    assert best.bound - 0.05 < report.mean_trash_fidelity <= best.bound
    assert report.mean_fidelity <= report.mean_trash_fidelity


# --- reports, files, copies ----------------------------------------------------------


def test_a_report_prints_what_it_says():
    report = AutoencoderReport(6, 4, 90, 50, 0.91234, 0.5, (0.6, 0.99), 0.95, 0.98765)
    assert report.compression == 1.5
    assert str(report) == repr(report)
    assert str(report).splitlines() == [
        "6 qubits to 4, compression 1.5, 90 parameters, 50 samples",
        "reconstruction fidelity: mean 0.9123, worst 0.5000",
        "of 90 % of the samples:  from 0.6000 to 0.9900",
        "trash fidelity:          mean 0.9500",
        "largest possible mean:   0.9877, by the rank of the data",
    ]
    autoencoder, _ = turned()
    X = rank_two(1, 21)
    found, fidelities = autoencoder.report(X), autoencoder.reconstruction_fidelity(X)
    assert found.worst_fidelity == fidelities.min()
    in_order = np.sort(fidelities)
    assert found.fidelity_interval == (in_order[1], in_order[19])
    assert (found.n_samples, found.n_parameters) == (21, 18)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("n_latent", [1, 2])
def test_files_hold_the_autoencoder(objective, n_latent, tmp_path):
    made, X = turned(n_latent=n_latent, objective=objective)
    made.model.layers[1].freeze_parameters([3])
    made.save(tmp_path / "made.qstore")
    twin = QuantumAutoencoder.from_checkpoint(tmp_path / "made.qstore")
    assert (twin.n_latent, twin.objective) == (n_latent, objective)
    np.testing.assert_array_equal(twin.model.trainable, made.model.trainable)
    np.testing.assert_array_equal(twin.encode(X), made.encode(X))


def test_files_of_other_models_and_layers(tmp_path):
    path = tmp_path / "model.qstore"
    QuantumModel(3, 2, seed=0).save(path)
    with pytest.raises(CheckpointError, match=r"must hold an autoencoder, .* Z of its"):
        QuantumAutoencoder.from_checkpoint(path)
    made = QuantumAutoencoder(N, 1, encoding="angle", layers=[Couplings()], seed=0)
    made.save(path)
    with pytest.raises(CheckpointError, match=r"Couplings is none of qstore_pl's"):
        QuantumAutoencoder.from_checkpoint(path)
    twin = QuantumAutoencoder.from_checkpoint(
        path, layers=[AngleEncoding(), Couplings()], backend="default.qubit"
    )
    X = np.ones((2, 3))
    np.testing.assert_allclose(twin.encode(X), made.encode(X), **EXACT)


def test_copies_are_apart():
    made, X = turned("mock_noisy")
    wanted = made.encode(X)
    for twin in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        np.testing.assert_array_equal(twin.encode(X), wanted)
        twin.fit(X, TrainingConfig(epochs=1, learning_rate=0.5))
        assert not np.allclose(twin.encode(X), wanted)
    np.testing.assert_array_equal(made.encode(X), wanted)


def test_it_prints_as_the_call_that_makes_it():
    made = QuantumAutoencoder(3, 2, 4, input_dim=7, objective="global")
    names = {
        kind.__name__: kind
        for kind in (AmplitudeEncoding, QuantumAutoencoder, QuantumLayer)
    }
    assert repr(eval(repr(made), names)) == repr(made)
    assert "n_layers=4, entanglement='circular', input_dim=7" in repr(made)
    layers = [QuantumLayer(n_layers=1)]
    made = QuantumAutoencoder(3, 2, layers=layers)
    assert "layers=[QuantumLayer(n_qubits=3, n_layers=1, " in repr(made)
    assert repr(eval(repr(made), names)) == repr(made)


# --- what is refused -----------------------------------------------------------------


class Uploading(Layer):
    """Takes data, which a decoder does not have."""

    def blocks(self, wires):
        return [Block(qml.RX, wires[:1], [Features(0)])]


class Damping(Layer):
    def blocks(self, wires):
        return [Block(qml.AmplitudeDamping, wires[:1], [0.1])]


class Measuring(Layer):
    def blocks(self, wires):
        return [Block(lambda wires: qml.measure(wires[0]), wires[:1])]


class Forgetting(Layer):
    def blocks(self, wires):
        return [Block(qml.CZ, wires[:2])]

    def keeps(self, wires):
        return wires[1:]


REFUSED = {
    "all qubits": ({"n_latent": 3}, r"`n_latent` must be < 3, .* but is 3"),
    "no qubit": ({"n_latent": 0}, r"`n_latent` must be >= 1"),
    "one qubit": ({"n_qubits": 1}, r"`n_qubits` must be >= 2"),
    "too wide": ({"input_dim": 9}, r"`n_qubits` must be >= 4, for 9 features"),
    "objective": (
        {"objective": "mse"},
        r"`objective` must be one of .global., ",
    ),
    "encoding": ({"encoding": "phase"}, r"`encoding` must be one of"),
    "kind": ({"encoding": 3}, r"`encoding` must be a word or an encoding layer"),
    "alone": ({"layers": Couplings()}, r"must be a list of layers, .* alone"),
    "empty": ({"layers": []}, r"`layers` must have a layer"),
    "words": ({"layers": [Couplings()], "n_layers": 2}, r"must be left out with `lay"),
    "data": ({"layers": [AngleEncoding()], "input_dim": 3}, r"depends on the data"),
    "channel": ({"layers": [Damping()]}, r"applies AmplitudeDamping, which is not un"),
    "measured": ({"layers": [Measuring()]}, r"applies MidMeasure.*, which is not un"),
    "pooling": ({"layers": [Forgetting()]}, r"does not keep all qubits"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_autoencoder(case):
    options, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        QuantumAutoencoder(**{"n_qubits": N, "n_latent": 1} | options)


def test_inputs_that_do_not_fit():
    made, X = turned()
    with pytest.raises(ValueError, match=r"`inputs` must have shape \(n_samples, 8\)"):
        made.encode(X[:, :7])
    with pytest.raises(ValueError, match="must have no zero vector"):
        made.report(0 * X)
    with pytest.raises(ValueError, match=r"Configuration loss must be unset"):
        made.fit(X, TrainingConfig(loss="mse"))
    with pytest.raises(TypeError, match="`config` must be a TrainingConfig"):
        made.fit(X, {"epochs": 3})
    given = TrainingConfig(loss=made.loss, epochs=1)
    with pytest.raises(ValueError, match=r"`targets` must be ones of shape \(2, 2\)"):
        QuantumTrainer(given).train(made.model, (X, np.zeros((2, 2))))
    made.model.backend = qml.device(
        "qstore.mock_noisy", wires=N, noise=NOISE, method="trajectories", trajectories=9
    )
    with pytest.raises(DeviceError, match=r"Trajectories .* have no density matrix"):
        made.encode(X)


LATENT_STATE = np.diag([0.25, 0.75])[None]
WRONG = {
    "shape": (
        np.eye(4)[None] / 4,
        r"shape \(n_samples, 2, 2\).* has shape \(1, 4",
    ),
    "alone": (LATENT_STATE[0], r"at least one sample, but has shape \(2, 2\)"),
    "none": (LATENT_STATE[:0], r"at least one sample"),
    "words": (np.full((1, 2, 2), "a"), r"must hold numbers, but has dtype <U1"),
    "trace": (2 * LATENT_STATE, r"matrix 0 is none: its trace is 2"),
    "negative": (np.diag([1.5, -0.5])[None], r"without negative eigenvalues"),
    "not Hermitian": (LATENT_STATE + np.eye(2, k=1) / 9, r"Hermitian, of trace 1"),
    "not finite": (np.full((1, 2, 2), np.nan), r"must hold density matrices"),
}


@pytest.mark.parametrize("case", WRONG)
def test_latent_states_that_are_none(case):
    latent, message = WRONG[case]
    with pytest.raises((TypeError, ValueError), match=message):
        turned()[0].decode(latent)
