"""The cost of a run: what is counted before it is what the run takes."""

import copy
import json

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    BackendManager,
    NaturalGradient,
    QuantumConvolutionalLayer,
    QuantumLayer,
    QuantumModel,
    QuantumPoolingLayer,
    QuantumTrainer,
    TrainingConfig,
)
from qstore_pl.backends import Backend, Bill, Limits, Machine, MachineDevice
from qstore_pl.backends.prices import price_list
from qstore_pl.callbacks import Callback
from qstore_pl.cli import main
from qstore_pl.cost import CostEstimate
from qstore_pl.layers import AngleEncoding
from tests.servers.ionq import KEY, IonQServer
from tests.servers.ionq_jobs import Price

RNG = np.random.default_rng(0)
X, Y = RNG.uniform(0.2, 1.3, (7, 2)), np.array([0, 1, 0, 1, 1, 0, 1])
DOLLARS = 0.25  # of each circuit of the machine below


class Random(Machine):
    """Its outcomes are random; what leaves is counted one circuit at a time."""

    name = "random"
    gate_set = frozenset({"RX", "RY", "RZ", "CNOT", "Hadamard", "PauliX", "S"})
    limits = Limits(circuits=20)

    def __init__(self, dollars=DOLLARS):
        self.dollars, self.ran = dollars, Bill()

    def bill(self, batches):
        n = sum(len(batch) for batch in batches)
        shots, one, two = 0, 0, 0
        for batch in batches:
            shots += 0 if batch.shots is None else int(sum(batch.shots))
            for row in batch.angles:
                for gate in batch.circuit.gates:
                    angle = gate.angle if gate.column is None else row[gate.column]
                    if angle != 0.0:
                        one += len(gate.wires) == 1
                        two += len(gate.wires) == 2
        dollars = None if self.dollars is None else n * self.dollars
        return Bill(n, shots, one, two, -(-n // 20), dollars)

    def run(self, batches, ticket):
        self.ran += self.bill(batches)
        rng = np.random.default_rng(ticket.seed)
        sizes = [(len(b), 1 << len(b.circuit.measured)) for b in batches]
        return [rng.dirichlet(np.ones(size), n) for n, size in sizes]


def backend_of(machine, shots=None):
    return Backend("random", lambda n: MachineDevice(machine, n, shots=shots, seed=1))


class Steps(Callback):
    """Notes what was spent after the first step."""

    def __init__(self, device):
        self.device, self.first = device, None

    def on_step_end(self, epoch, step, loss):
        self.first = self.first or self.device.spent


def both(model, config, data, val_data=None, **options):
    """The estimate, and what the run takes by three who count; they must agree."""
    trainer = QuantumTrainer(config, **options)
    estimate = trainer.estimate_cost(model, data, val_data)
    device = model.placed.device
    assert device.machine.ran == Bill()  # nothing was run
    steps = Steps(device)
    with qml.Tracker(device) as tracker:
        history = trainer.train(model, data, val_data, callbacks=steps)
    assert device.machine.ran == device.spent
    assert estimate.total == device.spent
    assert estimate.total.circuits == tracker.totals["executions"]
    assert estimate.total.shots == tracker.totals.get("shots", 0)
    assert estimate.step == steps.first
    if "circuits" in history.columns and not isinstance(
        trainer.optimizer, NaturalGradient
    ):
        counted = [epoch.circuits for epoch in estimate.epochs]
        assert counted == history["circuits"]
    return estimate


# --- every method, encoding, readout and pattern of frozen weights ----------------

METHODS = {
    "best": {},
    "finite_diff": {},
    "spsa": {"gradient_directions": 2},
    "random_subset": {"gradient_sample_size": 2},
}
ENCODINGS = {
    "angle": X,
    "amplitude": np.c_[X, X[:, ::-1]],
    "basis": (X > 0.7).astype(int),
    "zz_feature_map": X,
}
READOUTS = {
    "values": {"output_dim": 2},
    "probabilities": {"output_dim": 2, "readout": "probs"},
    "groups": {
        "output_dim": 2,
        "observables": [qml.X(0) @ qml.Z(1), qml.Z(0)],
    },
}
FROZEN = {
    "none": (),
    "some": (0, 3),
    "by epoch": {0: [1, 2, 3], 1: []},
}
CASES = [
    (method, encoding, readout, list(FROZEN)[i % 3], (None, 50)[i % 2])
    for i, (method, encoding, readout) in enumerate(
        (m, e, r) for m in METHODS for e in ENCODINGS for r in READOUTS
    )
]


@pytest.mark.parametrize(("method", "encoding", "readout", "frozen", "shots"), CASES)
def test_counts_are_those_of_the_run(method, encoding, readout, frozen, shots):
    data = ENCODINGS[encoding]
    if encoding == "amplitude":
        data = data / np.linalg.norm(data, axis=1, keepdims=True)
    model = QuantumModel(
        data.shape[1],
        n_layers=1,
        encoding=encoding,
        backend=backend_of(Random()),
        seed=2,
        **READOUTS[readout],
    )
    config = TrainingConfig(
        epochs=2,
        batch_size=3,
        loss="cross_entropy",
        learning_rate=0.05,
        gradient_method=method,
        shots=shots,
        seed=3,
        **METHODS[method],
    )
    if frozen == "by epoch":
        config.freeze_schedule = FROZEN[frozen]
    else:
        model.trainable[list(FROZEN[frozen])] = False
    estimate = both(model, config, (data, Y), (data[:2], Y[:2]))
    assert estimate.unfrozen is None or estimate.saved.circuits >= 0
    assert (estimate.unfrozen is None) == (frozen == "none")


def angle_model(*, backend=None, **options):
    options = {"n_layers": 1, "seed": 2} | options
    return QuantumModel(2, 1, backend=backend, **options)


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"validation_split": 0.3, "validation_interval": 2, "epochs": 3}, {}),
        ({"accumulation_steps": 2, "optimizer": "adamw", "weight_decay": 0.1}, {}),
        ({"batch_size": None}, {"optimizer": NaturalGradient(0.1, damping=0.1)}),
        (
            {
                "optimizer": "natural_gradient",
                "metric_tensor_approximation": "block-diag",
                "damping": 0.5,
            },
            {},
        ),
        ({"optimizer": "natural_gradient", "metric_tensor": "noiseless"}, {}),
    ],
)
def test_counts_with_other_settings(settings, options):
    config = TrainingConfig(**{"epochs": 2, "batch_size": 3, "seed": 3} | settings)
    model = angle_model(backend=wide(Random()))
    both(model, config, (X, Y), **options)


def wide(machine):
    """A backend with a wire to spare, which the whole metric tensor needs."""
    return Backend("random", lambda n: MachineDevice(machine, n + 1, seed=1))


def test_counts_where_weights_are_shared():
    layers = [AngleEncoding(), QuantumConvolutionalLayer(), QuantumPoolingLayer()]
    model = QuantumModel(4, 2, layers=layers, backend=backend_of(Random()), seed=0)
    config = TrainingConfig(epochs=1, batch_size=7, loss="cross_entropy")
    estimate = both(model, config, (np.c_[X, X], Y))
    assert estimate.formula.run == estimate.step.circuits > estimate.formula.circuits
    (reason,) = estimate.formula.reasons
    assert reason.startswith("Gates more than weights are shifted")


def test_counts_where_a_rotation_is_controlled():
    def circuit(inputs, weights):
        qml.RY(inputs[..., 0], 0)
        qml.Hadamard(1)
        qml.CRX(weights[0], [0, 1])
        qml.RY(weights[1], 1)
        qml.RZ(weights[2], 0)
        return qml.expval(qml.Z(1))

    qnode = qml.QNode(circuit, qml.device("default.qubit", wires=2))
    model = QuantumModel.from_qnode(
        qnode,
        weight_shapes={"weights": 3},
        input_dim=2,
        backend=backend_of(Random()),
        seed=0,
    )
    config = TrainingConfig(epochs=1, batch_size=7)
    estimate = both(model, config, (X, Y))
    assert estimate.formula.circuits == 7 * (1 + 2 * 3)
    assert estimate.formula.run == 7 * (1 + 4 + 2)
    assert estimate.formula.reasons == (
        "Trained weights that change nothing that is measured, and are not shifted: 1.",
        "Gates with a shift rule of more than two terms, such as controlled rotations: "
        "1.",
    )


def test_counts_of_batches_and_of_circuits_that_are_the_same():
    batches = [
        {"inputs": X[:2], "targets": Y[:2]},
        {"inputs": X[[3, 3, 4]], "targets": Y[[3, 3, 4]]},
    ]
    estimate = both(
        angle_model(backend=backend_of(Random(), shots=10)),
        TrainingConfig(epochs=2, seed=0),
        batches,
    )
    assert estimate.epochs[0].circuits == 13 * (2 + 2)


def test_counts_with_error_mitigation():
    backend = BackendManager().get_backend(
        "cirq", readout_mitigation={"every": 2}, zero_noise=(1, 3)
    )
    config = TrainingConfig(epochs=2, batch_size=2, shots=50, seed=0)
    for where in (backend, backend.device(2)):
        model, trainer = angle_model(backend=where), QuantumTrainer(config)
        estimate = trainer.estimate_cost(model, (X[:3], Y[:3]))
        trainer.train(model, (X[:3], Y[:3]))
        assert estimate.total == model.placed.device.spent
        # Two scale factors, and twice the two circuits that measure the readout.
        assert estimate.total.circuits == 2 * (2 * 3 * 13) + 2 * 2


@pytest.mark.parametrize(("name", "shots"), [("cirq", 20), ("qiskit", None)])
def test_counts_on_real_simulators(name, shots):
    config = TrainingConfig(epochs=2, batch_size=4, shots=shots, seed=0)
    config.quantum_sdk = name
    model, trainer = angle_model(), QuantumTrainer(config)
    estimate = trainer.estimate_cost(model, (X, Y), (X[:1], Y[:1]))
    trainer.train(model, (X, Y), (X[:1], Y[:1]))
    assert estimate.total == model.placed.device.spent
    assert estimate.backend == name
    assert estimate.total.dollars == 0.0


def test_counts_on_several_backends():
    config = TrainingConfig(epochs=2, batch_size=4, shots=20, seed=0)
    config.backend_shares = {"cirq": 1, "qiskit": 3}
    model, trainer = angle_model(), QuantumTrainer(config)
    estimate = trainer.estimate_cost(model, (X, Y))
    trainer.train(model, (X, Y))
    parts = [part.expectations.device.spent for part in trainer.estimator.parts]
    assert [part.circuits for part in parts] == [2 * 26, 5 * 26]
    assert estimate.total == parts[0] + parts[1]
    assert estimate.backend == "cirq and qiskit"


@pytest.mark.parametrize(
    ("device", "settings"),
    [
        ("default.qubit", {"gradient_method": "parameter_shift", "shots": 10}),
        ("default.qubit", {"gradient_method": "adjoint"}),
        ("lightning.qubit", {"gradient_method": "adjoint"}),
        ("lightning.qubit", {"gradient_method": "spsa"}),
    ],
)
def test_other_devices_are_counted_and_not_run(monkeypatch, device, settings):
    config = TrainingConfig(epochs=2, batch_size=4, seed=0, **settings)
    device = qml.device(device, wires=2)
    model, trainer = angle_model(backend=device), QuantumTrainer(config)
    with monkeypatch.context() as patch:
        for name in ("execute", "execute_and_compute_vjp"):
            patch.setattr(type(device), name, lambda *_: pytest.fail("it ran"))
        estimate = trainer.estimate_cost(model, (X, Y))
    history = trainer.train(model, (X, Y))
    assert [epoch.circuits for epoch in estimate.epochs] == history["circuits"]
    assert [epoch.shots for epoch in estimate.epochs] == history["shots"]
    assert estimate.total.dollars == 0.0
    gates = estimate.total.one_qubit_gates / estimate.total.two_qubit_gates
    assert gates == 8 / 1  # two RY of the encoding, and a Rot of each wire


# --- adaptive shots ---------------------------------------------------------------


def test_adaptive_shots_are_at_most_the_budget():
    config = TrainingConfig(epochs=2, batch_size=7, shots="adaptive", seed=0)
    config.shots_budget = 2000
    model, trainer = angle_model(backend=backend_of(Random())), QuantumTrainer(config)
    estimate = trainer.estimate_cost(model, (X, Y))
    trainer.train(model, (X, Y))
    spent = model.placed.device.spent
    assert estimate.total.circuits == spent.circuits
    assert spent.shots <= 2 * 2000
    assert estimate.total.shots <= 2 * 2000
    assert estimate.total.dollars is None
    assert "Shots are adaptive" in str(estimate)


# --- nothing changes --------------------------------------------------------------


def all_of(model, trainer, device):
    """All that a run would change."""
    seeds = device._rng.bit_generator.seed_seq.n_children_spawned
    return (
        model.parameters.tobytes(),
        model.trainable.tobytes(),
        copy.deepcopy(device._rng.bit_generator.state),
        seeds,
        repr(np.random.get_state()),  # noqa: NPY002
        trainer._given.state,
        trainer.optimizer,
        trainer.history.columns,
        len(trainer.history["losses"]),
        trainer.config.to_dict(),
    )


@pytest.mark.parametrize("kind", ["ours", "machine"])
def test_nothing_is_changed(kind, tmp_path):
    device = MachineDevice(Random(), 2, seed=4)
    if kind == "ours":
        device = qml.device("qstore.mock_noisy", wires=2, seed=4)
    config = TrainingConfig(
        epochs=3,
        batch_size=4,
        shots=20,
        seed=0,
        checkpoint_directory=tmp_path / "run",
        patience=1,
        log_interval=1,
    )
    model = angle_model(backend=device)
    placed = model.placed
    trainer = QuantumTrainer(config, optimizer=NaturalGradient(0.1, damping=1.0))
    config.metric_tensor = "noiseless"
    before = all_of(model, trainer, device)
    data = X.copy(), Y.copy()
    estimate = trainer.estimate_cost(model, data)
    assert all_of(model, trainer, device) == before
    assert model.placed is placed
    assert placed.device is device
    assert not (tmp_path / "run").exists()
    assert len(estimate.epochs) == 3
    assert "early stopping" in " ".join(estimate.notes)
    np.testing.assert_array_equal(data[0], X)
    # The run is the one that it would have been.
    history = trainer.train(model, data)
    other = angle_model(backend=copy_of(device, kind))
    again = QuantumTrainer(config, optimizer=NaturalGradient(0.1, damping=1.0))
    config.checkpoint_directory = tmp_path / "again"
    assert again.train(other, data)["losses"] == history["losses"]


def copy_of(device, kind):
    if kind == "machine":
        return MachineDevice(Random(), 2, seed=4)
    return qml.device("qstore.mock_noisy", wires=2, seed=4)


def test_our_own_simulators_run():
    config = TrainingConfig(epochs=2, batch_size=4, seed=0)
    model, trainer = angle_model(), QuantumTrainer(config)
    estimate = trainer.estimate_cost(model, (X, Y))
    history = trainer.train(model, (X, Y))
    assert [epoch.circuits for epoch in estimate.epochs] == history["circuits"]
    assert estimate.total.dollars == 0.0
    assert estimate.total.one_qubit_gates is None
    assert estimate.seconds[0] == estimate.seconds[1] > 0.0
    assert "not counted" in str(estimate)


def test_an_iterator_is_refused():
    batches = iter([(X, Y)])
    with pytest.raises(ValueError, match="nothing would be left for the run"):
        QuantumTrainer().estimate_cost(angle_model(), batches)
    assert len(list(batches)) == 1


# --- the page's formula, and freezing ---------------------------------------------


def test_the_formula_of_the_page():
    model = QuantumModel(4, 4, n_layers=2, backend=backend_of(Random()), seed=0)
    config = TrainingConfig(epochs=1, batch_size=1)
    data = RNG.uniform(0.2, 1.3, (1, 4)), RNG.uniform(-1, 1, (1, 4))
    estimate = QuantumTrainer(config).estimate_cost(model, data)
    n_params = model.count_parameters()
    circuits_per_step = 1 + (2 * n_params)
    assert circuits_per_step == 49
    assert estimate.formula.circuits == 49
    assert estimate.step.circuits == estimate.formula.run == 49
    assert estimate.formula.reasons == ()


def test_the_saving_by_freezing():
    layers = [AngleEncoding(), QuantumLayer(n_layers=2)]
    model = QuantumModel(2, 2, layers=layers, backend=backend_of(Random()), seed=0)
    layer = model.layers[1]
    layer.freeze_parameters([0, 5])
    config = TrainingConfig(epochs=3, batch_size=7, shots=10)
    targets = np.column_stack([Y, 1 - Y])
    estimate = QuantumTrainer(config).estimate_cost(model, (X, targets))
    assert estimate.saved.circuits == 3 * 7 * 2 * 2
    assert estimate.saved.dollars == pytest.approx(3 * 7 * 2 * 2 * DOLLARS)
    assert estimate.unfrozen.shots == 3 * 7 * 25 * 10
    assert estimate.formula.reasons == ("Frozen weights, which are not shifted: 2.",)


def test_methods_are_compared():
    model = angle_model(backend=backend_of(Random()))
    config = TrainingConfig(epochs=1, batch_size=7, gradient_method="random_subset")
    config.gradient_sample_size, config.seed = 2, 0
    config.max_circuits = 1  # of the run, not of the estimate
    estimate = QuantumTrainer(config).estimate_cost(model, (X, Y))
    circuits = {name: cost.circuits for name, cost in estimate.methods.items()}
    assert circuits == {
        "random_subset": 7 * 5,
        "parameter_shift": 7 * 13,
        "finite_diff": 7 * 13,
        "spsa": 7 * 3,
    }


def test_weights_that_rotate_by_nothing_are_told_of():
    model = angle_model(backend=backend_of(Random()))
    model.parameters[0] = 0.0
    config = TrainingConfig(epochs=2, batch_size=7, seed=0)
    estimate = both(model, config, (X, Y))
    assert "Weights that are 0 or a multiple of pi/2 now: 1." in estimate.notes[0]
    assert estimate.epochs[0].one_qubit_gates < estimate.epochs[1].one_qubit_gates


# --- prices -----------------------------------------------------------------------


def test_an_unknown_price_is_not_0():
    model = angle_model(backend=backend_of(Random(dollars=None)))
    config = TrainingConfig(epochs=1, batch_size=7)
    estimate = QuantumTrainer(config).estimate_cost(model, (X, Y))
    assert estimate.total.dollars is None
    assert "$" not in str(estimate)
    assert "Price: unknown. The list of prices has no entry for random." in str(
        estimate
    )
    assert json.loads(json.dumps(estimate.to_dict()))["total"]["dollars"] is None


def of_server(name):
    price = price_list().of(f"ionq.{name}")
    return Price(
        one=price.one_qubit_gate,
        two=price.two_qubit_gate,
        least=price.minimum,
        least_mitigated=price.minimum_mitigated,
    )


@pytest.mark.timeout(60)
def test_the_bill_of_ionq(monkeypatch, tmp_path):
    for name in ("PENNYLANE_IONQ_API_KEY", "IONQ_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def model():
        backend = BackendManager().get_backend(
            "ionq_qpu",
            machine="forte-1",
            error_mitigation={"debiasing": True},
            ledger=tmp_path / "jobs.db",
            poll=0.01,
        )
        return angle_model(backend=backend)

    config = TrainingConfig(epochs=2, batch_size=4, shots=10_000, seed=0)
    trainer, ours = QuantumTrainer(config), model()
    estimate = trainer.estimate_cost(ours, (X, Y), (X[:2], Y[:2]))  # without a key
    assert not (tmp_path / "jobs.db").exists()
    monkeypatch.setenv("PENNYLANE_IONQ_API_KEY", KEY)
    with IonQServer(prices={"qpu.forte-1": of_server("qpu.forte-1")}) as server:
        monkeypatch.setattr("pennylane_ionq.api_client.APIClient.BASE_URL", server.url)
        trainer.train(ours, (X, Y), (X[:2], Y[:2]))
    gates = [pair for job in server.jobs for pair in job.gates]
    total = estimate.total
    assert total.circuits == len(gates)
    assert total.one_qubit_gates == sum(one for one, _ in gates)
    assert total.two_qubit_gates == sum(two for _, two in gates)
    assert total.jobs == server.submissions
    assert total.shots == 10_000 * len(gates)
    assert total.dollars == pytest.approx(server.bill, rel=1e-12)
    assert total.dollars > 168.0 * len(gates)
    assert KEY not in repr(estimate) + str(estimate)
    # The next estimate knows how long these jobs took.
    again = trainer.estimate_cost(model(), (X, Y), (X[:2], Y[:2]))
    least, most = again.seconds
    assert 0.0 < least <= most < 6 * 60.0
    assert f"{server.submissions} jobs on ionq.qpu.forte-1" in again.time_source
    assert "waits for jobs 6 times" in again.time_source  # 2 steps and validation


def test_the_least_time_is_that_of_the_gates():
    backend = BackendManager().get_backend("ionq_qpu", machine="aria-1")
    config = TrainingConfig(epochs=1, batch_size=7, shots=100, seed=0)
    estimate = QuantumTrainer(config).estimate_cost(
        angle_model(backend=backend), (X, Y)
    )
    total = estimate.total
    gates = 135e-6 * total.one_qubit_gates + 600e-6 * total.two_qubit_gates
    assert estimate.seconds[0] == pytest.approx(100 * gates, rel=1e-12)
    assert estimate.seconds[1] is None
    assert "at most unknown" in str(estimate)


# --- qstore cost ------------------------------------------------------------------


def run_file(directory, sdk):
    np.savez(directory / "data.npz", X=X, y=Y)
    path = directory / "run.toml"
    path.write_text(
        '[data]\npath = "data.npz"\n[model]\noutput_dim = 1\nn_layers = 1\n'
        f'[training]\nepochs = 2\nbatch_size = 7\nquantum_sdk = "{sdk}"\n'
        "shots = 10\nseed = 0\n"
    )
    return path


def test_the_command(tmp_path, capsys):
    path = run_file(tmp_path, "ionq_qpu")
    assert main(["cost", str(path)]) == 0
    told = capsys.readouterr().out
    assert "Cost of training on ionq_qpu with parameter_shift" in told
    assert f"${2 * 7 * 13 * 12.4166:,.2f}" in told  # the least of each circuit
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'version = 1\ndate = 2030-01-02\n[targets."ionq.qpu.aria-1"]\ncircuit = 0.3\n'
        'shot = 0.03\nsource = "our contract"\nas_of = 2030-01-01\n'
    )
    assert main(["cost", str(path), "--prices", str(prices)]) == 0
    told = capsys.readouterr().out
    assert f"${2 * 7 * 13 * 0.6:,.2f}" in told
    assert "our contract (2030-01-01) List of 2030-01-02." in told
    prices.write_text("version = 2")
    assert main(["cost", str(path), "--prices", str(prices)]) == 1
    assert f"`{prices}` must have version, date" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "data.npz",
        "prices.toml",
        "run.toml",
    ]


def test_the_table_of_an_estimate():
    one = Bill(10, 0, 40, 10, 1, 5.0)
    estimate = CostEstimate("b", "spsa", one, (one, one + one), seconds=(7300.0, None))
    assert estimate.total == Bill(30, 0, 120, 30, 3, 15.0)
    lines = [line.split("  ") for line in str(estimate).splitlines()[2:6]]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["circuits", "shots", "1-qubit gates", "2-qubit gates", "jobs", "price"],
        ["first step", "10", "0", "40", "10", "1", "$5.00"],
        ["first epoch", "10", "0", "40", "10", "1", "$5.00"],
        ["epoch 2, the largest", "20", "0", "80", "20", "2", "$10.00"],
    ]
    assert len({len(line) for line in str(estimate).splitlines()[2:6]}) == 1
    assert "Time: at least 2.0 h, at most unknown." in str(estimate)
