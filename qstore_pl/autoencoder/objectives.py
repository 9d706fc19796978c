"""What the training of an autoencoder minimises: how far the trash is from zero.

Each objective is a list of observables of the trash qubits, the outputs of the model,
and a loss of these outputs. Both are 1 for a trash that is exactly |0...0>. They know
no circuit and no trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.operation import Operator

from qstore_pl._checks import Float2D, finite
from qstore_pl.losses import Loss
from qstore_pl.readout import ExpectationValues, Readout, observable_of


def observables_of(objective: str, trash: Sequence[int]) -> list[Operator]:
    r"""The observables whose expectation values are 1 if the trash is zero.

    Args:
        objective: ``"local"``, :math:`Z` of each trash qubit; or ``"global"``, the
            projector on :math:`|0 \dots 0\rangle` of all of them, as a Pauli sum.
        trash: Positions of the trash qubits.
    """
    if objective == "local":
        return [qml.Z(wire) for wire in trash]
    weight = 0.5 ** len(trash)  # the projector is the product of (1 + Z) / 2
    terms = [
        [weight, "Z" * size, list(chosen)]
        for size in range(len(trash) + 1)
        for chosen in combinations(trash, size)
    ]
    return [observable_of(terms)]


def trash_of(readout: Readout, n_qubits: int) -> tuple[int, str] | None:
    """The number of latent qubits and the objective whose observables a readout has.

    Args:
        readout: How a model of ``n_qubits`` qubits is read out.
        n_qubits: Number of qubits.

    Returns:
        None if they are those of no autoencoder.
    """
    for n_latent in range(1, n_qubits):
        for objective in LOSSES:
            observables = observables_of(objective, range(n_latent, n_qubits))
            wanted = ExpectationValues(observables)
            same = isinstance(readout, ExpectationValues)
            if same and readout.options() == wanted.options():
                return n_latent, objective
    return None


def _wanted(targets: Any, n_outputs: int, n_samples: int) -> Float2D:
    """Targets as the losses take them, if they are what the trash should be."""
    array = finite("targets", targets)
    fits = array.shape == (n_samples, n_outputs) or (
        n_outputs == 1 and array.shape == (n_samples,)
    )
    if not fits or (array != 1.0).any():
        raise ValueError(
            f"Argument `targets` must be ones of shape ({n_samples}, {n_outputs}), "
            "since an autoencoder has no other targets than an empty trash, but has "
            f"shape {array.shape} or other numbers. Take autoencoder.targets(inputs)."
        )
    return array.reshape(n_samples, n_outputs)


def _infidelity(predictions: Float2D, targets: Float2D) -> float:
    return float(np.mean(targets - predictions))


def _infidelity_grad(predictions: Float2D, targets: Float2D) -> NDArray[np.float64]:
    return np.full(predictions.shape, -1.0 / predictions.size)


def _excited(predictions: Float2D, targets: Float2D) -> float:
    return 0.5 * float(np.mean(targets - predictions))


def _excited_grad(predictions: Float2D, targets: Float2D) -> NDArray[np.float64]:
    return np.full(predictions.shape, -0.5 / predictions.size)


LOSSES = {
    "local": Loss(_excited, _excited_grad, name="local", prepare=_wanted),
    "global": Loss(_infidelity, _infidelity_grad, name="global", prepare=_wanted),
}
"""The loss of each objective: 1 minus the fidelity of the trash with zero.

For ``"global"`` that is the probability that some trash qubit is found in 1. For
``"local"`` it is the mean over the trash qubits of the probability that this one is.
"""
