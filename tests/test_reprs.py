"""What objects print as: the call that makes them, and no secret."""

import pytest

from qstore_pl import (
    BackendManager,
    FiniteDifferenceGradient,
    NaturalGradientComputer,
    QuantumDataEncoder,
    QuantumGradientComputer,
    SPSAGradient,
    TrainingConfig,
)

SECRET = "sk-1234567890"
SHOWN = [
    "QuantumGradientComputer(method='best')",
    "QuantumGradientComputer(backend='mock_noisy', method='spsa', shots=9)",
    "FiniteDifferenceGradient()",
    "FiniteDifferenceGradient(epsilon=0.1)",
    "SPSAGradient(n_directions=3)",
    "NaturalGradientComputer(damping=0.1, metric='bures', approximation='diag', "
    "method='best')",
    "QuantumDataEncoder(n_qubits=3)",
    "BackendManager(config=TrainingConfig(epochs=3))",
]
NAMES = {
    cls.__name__: cls
    for cls in (
        *(BackendManager, FiniteDifferenceGradient, NaturalGradientComputer),
        *(QuantumDataEncoder, QuantumGradientComputer, SPSAGradient, TrainingConfig),
    )
}


@pytest.mark.parametrize("text", SHOWN)
def test_an_object_prints_as_the_call_that_makes_it(text):
    made = eval(text, dict(NAMES))
    assert repr(made) == text


def test_a_manager_prints_no_secret():
    config = TrainingConfig(quantum_api_key=SECRET)
    assert SECRET not in repr(BackendManager(config))
