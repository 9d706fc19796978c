"""The benchmark's own check: it passes programs that agree and stops others."""

import functools
from dataclasses import replace

import jax
import numpy as np
import pennylane as qml
import pytest
import torch

from tests.benchmarks import iris_accuracy, iris_peers, large_n, large_n_peers
from tests.benchmarks import large_n_forward as forward
from tests.benchmarks import sampling as shots
from tests.benchmarks.aer import AerEstimator
from tests.benchmarks.chain import Chain
from tests.benchmarks.compiled import (
    compile_contenders,
    jax_contenders,
    torch_contenders,
)
from tests.benchmarks.contender import Function
from tests.benchmarks.kernel import PAIRS, STATES, check_matrices
from tests.benchmarks.machines import CHECKED, OnMachine, Plugin, check_machine
from tests.benchmarks.machines import ROWS as ON_MACHINES
from tests.benchmarks.memory import step_memory
from tests.benchmarks.metric import (
    Jitted,
    Natural,
    OfQNode,
    OfTape,
    OurMetric,
    check_natural_step,
)
from tests.benchmarks.ours import Ours
from tests.benchmarks.problem import Problem
from tests.benchmarks.race import DisagreementError, check_agreement, check_mean
from tests.benchmarks.shift import MEASURED, check_measured
from tests.benchmarks.shift_peers import ParameterShift
from tests.benchmarks.training_jax import JaxLoop
from tests.benchmarks.training_peers import NOISY, Autograd
from tests.benchmarks.training_step import DEFAULT_NOISE, DEPOLARIZING
from tests.benchmarks.training_torch import Torch
from tests.benchmarks.trajectories import (
    Aer,
    OurTrajectories,
    check_unbiased,
)

PROBLEM = Problem(n_qubits=2, n_layers=1, batch=3)
NOISY_4Q = Problem(n_qubits=4, n_layers=2, batch=2, noise=DEPOLARIZING)


@pytest.fixture(autouse=True)
def restored_precision():
    before = jax.config.jax_enable_x64, torch.get_default_dtype()
    yield
    jax.config.update("jax_enable_x64", before[0])
    torch.set_default_dtype(before[1])


class Wrong(Autograd):
    """A contender whose gradient is scaled."""

    factor = 1.0

    def value_and_grad(self, inputs, targets, weights):
        loss, gradient = super().value_and_grad(inputs, targets, weights)
        return loss, self.factor * gradient


def default_qubit(kind=Autograd):
    return kind(PROBLEM, "default.qubit", diff_method="backprop")


def test_every_peer_and_our_trainer_agree():
    # Not qulacs: what the tests need does not include it.
    lightning = Autograd(PROBLEM, "lightning.qubit", diff_method="adjoint", loop=True)
    jax_loop = JaxLoop(PROBLEM, vmap=False)
    check_agreement(
        [default_qubit(), lightning, Torch(PROBLEM), jax_loop, Ours(PROBLEM)]
    )


@pytest.mark.parametrize(
    ("noise", "columns"), [(DEPOLARIZING, NOISY), (DEFAULT_NOISE, NOISY[:1])]
)
def test_every_peer_and_our_trainer_agree_with_noise(noise, columns):
    problem = replace(PROBLEM, noise=noise)
    peers = [make(problem) for column in columns for make in column]
    check_agreement([*peers, Ours(problem)])


def test_other_noise_stops_the_benchmark():
    problem, stronger = (replace(PROBLEM, noise=DEPOLARIZING.scaled(s)) for s in (1, 2))
    peer = Autograd(problem, "default.mixed", diff_method="backprop")
    with pytest.raises(DisagreementError, match="loss of qstore_pl"):
        check_agreement([peer, Ours(stronger)])


@pytest.mark.parametrize("noise", [DEPOLARIZING, DEFAULT_NOISE])
def test_the_channels_are_those_of_the_noise_model(noise):
    problem = replace(NOISY_4Q, noise=noise)
    inputs = problem.inputs[0], problem.weights
    model = noise.to_noise_model()
    (wanted,), _ = qml.noise.add_noise(
        qml.tape.make_qscript(replace(problem, noise=None).gates)(*inputs), model
    )
    found = qml.tape.make_qscript(problem.gates)(*inputs)
    qml.assert_equal(found, wanted)


@pytest.mark.parametrize("kind", [OurTrajectories, Aer])
def test_trajectories_average_to_the_density_matrix(kind):
    """Seeded; 4 outputs of 20 runs each: a false alarm in 3,000 seeds."""
    check_unbiased(kind(NOISY_4Q), NOISY_4Q)
    stronger = replace(NOISY_4Q, noise=DEPOLARIZING.scaled(3))
    with pytest.raises(DisagreementError, match=kind.__name__):
        check_unbiased(kind(NOISY_4Q), stronger)


@pytest.mark.parametrize("name", MEASURED)
def test_gradients_from_circuits_agree(name):
    """Seeded; of means of 50 runs a false alarm in 2,000 seeds."""
    row = MEASURED[name]
    if row.shots:
        columns = [[column[0], column[-1]] for column in row.columns]
        row = replace(row, shots=100, columns=columns)
    small = replace(PROBLEM, batch=1, noise=row.problem.noise)
    check_measured(replace(row, problem=small))


@pytest.mark.parametrize("name", ["cirq-4q", "cirq-shots-4q", "aer-4q"])
def test_steps_on_machines_agree(name):
    """Seeded; not Aer with shots, whose plugin takes a minute."""
    np.random.seed(0)  # noqa: NPY002, from which PennyLane-Cirq draws
    check_machine(replace(ON_MACHINES[name], problem=CHECKED))


def test_submissions_are_counted():
    row = replace(ON_MACHINES["cirq-4q"], problem=CHECKED)
    assert row.ours().submissions() == 1
    assert row.peer().submissions() == 1 + 2 * CHECKED.weights.size


class Doubled(Plugin):
    """A loop whose gradient is wrong."""

    def value_and_grad(self, inputs, targets, weights):
        loss, gradient = super().value_and_grad(inputs, targets, weights)
        return loss, 2 * gradient


class Misled(OnMachine):
    """A row with that loop."""

    def peer(self):
        return Doubled(self.problem, self.device, self.options, self.shots)


def test_a_wrong_loop_stops_the_benchmark():
    row = Misled("cirq", "cirq.simulator", problem=CHECKED)
    with pytest.raises(DisagreementError, match=r"gradient of cirq\.simulator"):
        check_machine(row)


def test_exact_values_of_the_estimator_agree():
    estimator = AerEstimator(PROBLEM, ParameterShift(), shots=None)
    check_agreement([default_qubit(), estimator])


class Halved(ParameterShift):
    """Parameter shift that forgets a factor."""

    def __call__(self, weights):
        points, matrix = super().__call__(weights)
        return points, matrix / 2


@pytest.mark.parametrize("name", ["shift-4q", "shots-4q"])
def test_a_wrong_shift_rule_stops_the_benchmark(name):
    row = MEASURED[name]
    by_hand = replace(row, rule=Halved, columns=row.columns[1:2], problem=PROBLEM)
    with pytest.raises(DisagreementError, match=r"gradient of default\.qubit"):
        check_measured(by_hand)


def test_a_mean_that_is_off_stops_the_benchmark():
    runs = np.random.default_rng(0).normal(1.0, 0.1, (20, 3))
    check_mean("runs", runs, np.ones(3))
    for wanted in ([1.0, 1.0, 1.2], [1.0, 1.0, np.nan]):
        with pytest.raises(DisagreementError, match=r"runs: .* standard errors"):
            check_mean("runs", runs, np.array(wanted))


class Hungry(Autograd):
    """A contender whose step fills another 64 MB, unless it is only warming up."""

    def train(self, n_steps):
        np.ones(2**23 if self.problem.n_qubits > 2 else 1)
        return super().train(n_steps)


def hungry(problem):
    return Hungry(problem, "default.qubit", diff_method="backprop")


@pytest.mark.slow
def test_memory_of_a_step():
    megabytes = step_memory(hungry, replace(NOISY_4Q, noise=None)) / 1e6
    assert 66 < megabytes < 80


@pytest.mark.parametrize("factor", [1 + 1e-4, -1.0, np.nan])
def test_a_wrong_gradient_stops_the_benchmark(factor):
    wrong = default_qubit(Wrong)
    check_agreement([default_qubit(), wrong])
    wrong.factor = factor
    with pytest.raises(DisagreementError, match=r"gradient of default\.qubit"):
        check_agreement([default_qubit(), wrong])


def test_every_metric_agrees():
    peers = [make(PROBLEM) for make in (OfQNode, OfTape, Jitted)]
    check_agreement([OurMetric(PROBLEM), *peers])
    blocks = OfQNode(PROBLEM, qml.metric_tensor, approx="block-diag")
    check_agreement([OurMetric(PROBLEM, "block-diag"), blocks])
    with pytest.raises(DisagreementError, match=r"metric of qml\.metric_tensor"):
        check_agreement([OurMetric(PROBLEM), blocks])


@pytest.mark.parametrize("factor", [1 + 1e-9, -1.0, np.nan])
def test_a_wrong_metric_stops_the_benchmark(factor, monkeypatch):
    right = OurMetric.run
    monkeypatch.setattr(OurMetric, "run", lambda self: factor * right(self))
    with pytest.raises(DisagreementError, match="metric of qstore_pl"):
        check_agreement([OfTape(PROBLEM), OurMetric(PROBLEM)])


@functools.cache
def compiled_contenders():
    """Those of the QNodes, compiled by JAX once."""
    return compile_contenders(PROBLEM)


@pytest.mark.parametrize("made", [compile_contenders, torch_contenders, jax_contenders])
def test_compiled_circuits_and_every_peer_agree(made):
    shared = made is compile_contenders
    ours, columns = compiled_contenders() if shared else made(PROBLEM)
    check_agreement([ours, *(peer for column in columns for peer in column)])


@pytest.mark.parametrize(("what", "factors"), [("cost", (2, 1)), ("gradient", (1, -1))])
def test_a_wrong_compiled_circuit_stops_the_benchmark(what, factors):
    ours, columns = compiled_contenders()
    wrong = Function(
        "wrong",
        ours.setting,
        ours.run,
        lambda found: {
            name: factor * number
            for factor, (name, number) in zip(
                factors, ours.numbers().items(), strict=True
            )
        },
    )
    with pytest.raises(DisagreementError, match=f"{what} of wrong"):
        check_agreement([columns[0][0], wrong])


class Undamped(Natural):
    """The natural gradient with less damping than the benchmark has."""

    def _run(self, n_samples, epochs, **settings):
        return super()._run(n_samples, epochs, damping=1e-6, **settings)


def test_the_natural_step_is_by_the_metric():
    check_natural_step(Natural(PROBLEM))
    for other in (Undamped, Ours):
        with pytest.raises(DisagreementError, match="natural-gradient step"):
            check_natural_step(other(PROBLEM))


def test_kernel_matrices_agree():
    check_matrices(3, PAIRS | STATES)
    with pytest.raises(DisagreementError, match="kernel matrix by nobody"):
        check_matrices(3, {"nobody": lambda x: 0.9 * np.ones((len(x), len(x)))})


def test_gradients_of_one_sample_agree():
    problem = replace(PROBLEM, n_qubits=3, batch=1)
    peers = [
        large_n_peers.Lightning(problem, device_vjp=True),
        large_n_peers.LightningDirect(problem),
        large_n_peers.Jax(problem),
    ]
    check_agreement([large_n.ours(problem), *peers])
    other = large_n_peers.LightningDirect(replace(problem, n_layers=2))
    with pytest.raises(DisagreementError, match=r"value of lightning\.qubit adjoint"):
        check_agreement([large_n.ours(problem), other])


def test_forward_runs_agree():
    chain = Chain(4)
    peers = [forward.Lightning(chain), forward.Aer(chain, fusion_enable=True)]
    check_agreement([forward.Ours(chain), *peers])
    # The value is not that of an empty circuit.
    assert abs(peers[0].run()) < 0.9


def test_samples_have_the_exact_means():
    """Seeded; 9 numbers of 100,000 shots: a false alarm in two million seeds."""
    chain = Chain(3)
    samplers = [
        shots.QNode(chain, device="qstore.mock_ideal", kind="sample"),
        shots.QNode(chain, device="lightning.qubit", kind="sample"),
        shots.Aer(chain),
    ]
    wanted = shots.exact_means(chain)
    shots.check_samples(samplers, wanted)
    with pytest.raises(DisagreementError, match="samples of qstore_pl"):
        shots.check_samples(samplers, wanted[::-1])


def test_training_runs_on_iris_agree(monkeypatch):
    monkeypatch.setattr(iris_accuracy, "ACCURACY", 0.0)  # one epoch
    monkeypatch.setattr(iris_accuracy, "CHECKED", 1)
    contenders = [iris_accuracy.Ours(), iris_peers.Torch(device="default.qubit")]
    check_agreement(contenders)
    assert contenders[1].epochs == 1
