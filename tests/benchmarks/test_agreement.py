"""The benchmark's own check: it passes programs that agree and stops others."""

import jax
import numpy as np
import pytest

from tests.benchmarks.ours import Ours
from tests.benchmarks.peers import Autograd, JaxLoop, Torch
from tests.benchmarks.problem import Problem
from tests.benchmarks.timing import DisagreementError, Row, check_agreement

PROBLEM = Problem(n_qubits=2, n_layers=1, batch=3)


@pytest.fixture(autouse=True)
def restored_precision():
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


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


@pytest.mark.parametrize("factor", [1 + 1e-4, -1.0, np.nan])
def test_a_wrong_gradient_stops_the_benchmark(factor):
    wrong = default_qubit(Wrong)
    check_agreement([default_qubit(), wrong])
    wrong.factor = factor
    with pytest.raises(DisagreementError, match=r"gradient of default\.qubit"):
        check_agreement([default_qubit(), wrong])


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        (Row("r", ours=1.0, peer_time=6.0, target=6), True),
        (Row("r", ours=1.0, peer_time=5.9, target=6), False),
        (Row("r", ours=0.1, target=0.15), True),
        (Row("r", ours=0.2, target=0.15), False),
        (Row("r", ours=1.0, peer_time=2.0), None),
    ],
)
def test_what_reaching_a_target_means(row, reached):
    assert row.reached is reached
