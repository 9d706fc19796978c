"""Natural gradients do not see how a circuit's weights are written down.

A circuit of weights theta is written again in phi, theta = h(phi), h smooth. Metrics
transform as a metric does, and the paths of undamped steps from one start, in theta and
in phi, come together as the steps become short, at first order; those of plain gradient
descent do not. The layer's metric is singular: theta is not unique, states are.
"""

import itertools

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import NaturalGradientComputer, QuantumNaturalGradientOptimizer
from qstore_pl.gradients import QNodeExpectations, QuantumGradientComputer, metric_of
from qstore_pl.templates import RotationEntanglerLayers

N_QUBITS, N_WEIGHTS = 4, 24
rng = np.random.default_rng(2)
ROTATION = np.linalg.qr(rng.normal(size=(N_WEIGHTS, N_WEIGHTS)))[0]
# Not near a point where the rank drops: there 20 steps would be too long.
PHI = np.random.default_rng(2).uniform(-1, 1, N_WEIGHTS)
DEVICE = qml.device("qstore.mock_ideal", wires=N_QUBITS)


def h(phi):
    """The weights that phi stands for."""
    return ROTATION @ (phi + 0.3 * pnp.sin(phi))


def jacobian(phi):
    return ROTATION * (1 + 0.3 * np.cos(phi))


# Name of the entanglement, number of samples, and the rank of the metric.
CASES = {"circular": ("circular", 1, 20), "batch": ("linear", 3, 22)}
every = pytest.mark.parametrize("case", CASES)


class Circuits:
    """The same circuit of theta and of phi."""

    def __init__(self, case):
        self.entanglement, batch, self.rank = CASES[case]
        self.samples = np.random.default_rng(1).uniform(-1.5, 1.5, (batch, N_QUBITS))
        self.in_theta = qml.QNode(self.of_theta, DEVICE)
        self.in_phi = qml.QNode(self.of_phi, DEVICE)
        self.states = qml.QNode(self.state, DEVICE)

    def layers(self, theta, x):
        qml.AngleEmbedding(x, range(N_QUBITS), rotation="Y")
        weights = qml.math.reshape(theta, (2, N_QUBITS, 3))
        RotationEntanglerLayers(
            weights, range(N_QUBITS), entanglement=self.entanglement
        )

    def of_theta(self, theta, x):
        self.layers(theta, x)
        return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1) @ qml.X(2))]

    def of_phi(self, phi, x):
        return self.of_theta(h(phi), x)

    def state(self, theta, x):
        self.layers(theta, x)
        return qml.state()

    def metric(self, circuit, weights):
        expectations = QNodeExpectations(
            circuit, N_WEIGHTS, lambda at, x: ((at, x), {})
        )
        rows = np.arange(len(self.samples))
        return metric_of(expectations)(weights, self.samples, rows)

    def distance(self, one, other):
        """Of two states of every sample, whatever their phases."""
        left, right = self.states(one, self.samples), self.states(other, self.samples)
        overlaps = np.einsum("bi,bi->b", left.conj(), right)
        phases = overlaps / np.abs(overlaps)
        return np.linalg.norm(right - phases[:, None] * left)


def loss(predictions):
    return pnp.mean((predictions - pnp.array([-0.6, 0.5])) ** 2)


@every
@pytest.mark.parametrize("seed", range(5))
def test_the_metric_transforms_as_a_metric(case, seed):
    circuits = Circuits(case)
    phi = np.random.default_rng(seed).uniform(-3, 3, N_WEIGHTS)
    there, slopes = circuits.metric(circuits.in_theta, np.array(h(phi))), jacobian(phi)
    seen = circuits.metric(circuits.in_phi, phi)
    np.testing.assert_allclose(seen, slopes.T @ there @ slopes, rtol=0, atol=1e-10)
    assert np.abs(seen - there).max() > 0.05
    for one in (seen, there):  # some combinations of weights do not move the states
        values = np.linalg.eigvalsh(one)[::-1]
        assert (
            values[circuits.rank - 1]
            > 1e-8
            > 1e-13
            > abs(values[circuits.rank :]).max()
        )


# ------------------------------------------------------- the paths of steps
TIME = 0.8


def natural(circuits, circuit, at):
    computer = NaturalGradientComputer(damping=0.0)
    return computer.compute_natural_gradient(
        circuit, at, loss, inputs=circuits.samples
    ).gradients


def plain(circuits, circuit, at):
    return (
        QuantumGradientComputer()
        .compute_gradients(circuit, at, loss=loss, inputs=circuits.samples)
        .gradients
    )


def ends(circuits, direction, n_steps):
    """Where both paths are after the same time, as weights theta."""
    theta, phi = np.array(h(PHI)), PHI.copy()
    for _ in range(n_steps):
        theta = theta - TIME / n_steps * direction(circuits, circuits.in_theta, theta)
        phi = phi - TIME / n_steps * direction(circuits, circuits.in_phi, phi)
    return theta, np.array(h(phi))


@every
def test_paths_of_natural_gradients_come_together_at_first_order(case):
    circuits = Circuits(case)
    pairs = [ends(circuits, natural, n) for n in (20, 40, 80)]
    distances = [circuits.distance(*pair) for pair in pairs]
    far = circuits.distance(h(PHI), pairs[-1][0])
    assert far > 0.2  # the way they went
    assert distances[0] < 0.1 * far
    for longer, shorter in itertools.pairwise(distances):
        assert 1.7 < longer / shorter < 2.3


@every
def test_paths_of_plain_gradients_stay_apart(case):
    circuits = Circuits(case)
    distances = [circuits.distance(*ends(circuits, plain, n)) for n in (20, 40, 80)]
    assert distances[0] > 0.01
    for longer, shorter in itertools.pairwise(distances):
        assert 0.9 < shorter / longer < 1.1


@every
def test_the_optimizer_takes_the_same_path(case):
    circuits = Circuits(case)
    optimizer = QuantumNaturalGradientOptimizer(TIME / 20, damping=0.0)

    def cost(phi, x):
        return loss(pnp.stack(circuits.in_phi(phi, x), axis=1))

    phi = pnp.array(PHI, requires_grad=True)
    data = pnp.array(circuits.samples, requires_grad=False)
    for _ in range(20):
        phi, _ = optimizer.step(cost, phi, data, qnode=circuits.in_phi)
    _, expected = ends(circuits, natural, 20)
    np.testing.assert_allclose(h(phi), expected, rtol=0, atol=1e-7)


@every
def test_damped_steps_depend_on_how_weights_are_written(case):
    # What the law above is not: a damping is a length in the weights chosen.
    circuits = Circuits(case)
    theta, slopes = np.array(h(PHI)), jacobian(PHI)
    shape = circuits.metric(circuits.in_theta, theta)  # some directions move nothing

    def gap(damping):
        computer = NaturalGradientComputer(damping=damping)
        one, other = (
            computer.compute_natural_gradient(
                circuit, at, loss, inputs=circuits.samples
            ).gradients
            for circuit, at in ((circuits.in_phi, PHI), (circuits.in_theta, theta))
        )
        difference = slopes @ one - other
        return np.linalg.norm(shape @ difference)

    assert gap(0.05) > 1e-2
    assert gap(0.0) < 1e-10
