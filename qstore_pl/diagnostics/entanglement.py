"""How much a circuit entangles its qubits: the measure of Meyer and Wallach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from qstore_pl._axes import axes_of
from qstore_pl._checks import integer
from qstore_pl.diagnostics.circuits import (
    Complex2D,
    Float1D,
    Float2D,
    compiled_pure,
    encoded,
    random_weights,
    states_at,
)
from qstore_pl.model import QuantumModel


@final
@dataclass(frozen=True)
class Entanglement:
    r"""The results of :func:`entanglement`.

    Args:
        values: The measure :math:`Q` of each state, in [0, 1], shape ``(n_states,)``.
        by_qubit: For each qubit the mean of :math:`2 (1 - \mathrm{Tr}\,\rho_k^2)`,
            which is 0 if it is never entangled with the others, and 1 if it always is
            as much as can be; shape ``(n_qubits,)``.
        n_draws: Number of random weights; 0 if the weights were those of the model.
    """

    values: Float1D
    by_qubit: Float1D
    n_draws: int

    @property
    def mean(self) -> float:
        """The mean of the measure over all states."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """The standard error of the mean; 0 for a single state."""
        n = len(self.values)
        return float(self.values.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0

    @property
    def haar(self) -> float:
        """The mean of the measure over all states of so many qubits, by Haar."""
        dim = 2 ** len(self.by_qubit)
        return (dim - 2) / (dim + 1)

    def __repr__(self) -> str:
        of = "random" if self.n_draws else "its own"
        return (
            f"Entanglement(Q = {self.mean:.3f} ± {self.standard_error:.3f}, "
            f"{len(self.values):,} states of {of} weights; Haar {self.haar:.3f})"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw how often each value of the measure occurs.

        Args:
            ax: Axes of matplotlib to draw on; None makes a new figure.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
            TypeError: If ``ax`` are not axes of matplotlib.
        """
        ax = axes_of("Entanglement.plot", "ax", ax)
        ax.hist(self.values, bins=np.linspace(0.0, 1.0, 51))
        ax.axvline(self.mean, color="black", label=f"mean {self.mean:.2f}")
        label = f"random states {self.haar:.2f}"
        ax.axvline(self.haar, color="black", linestyle=":", label=label)
        ax.set(xlabel="Meyer-Wallach measure", ylabel="states", xlim=(0.0, 1.0))
        ax.legend(frameon=False)
        return ax


def entanglement(
    model: QuantumModel,
    inputs: Any = None,
    *,
    samples: int | None = None,
    seed: Any = 0,
) -> Entanglement:
    r"""The Meyer-Wallach measure of the states that a circuit prepares.

    .. math:: Q = 2 \Big(1 - \frac{1}{n} \sum_{k=1}^{n} \mathrm{Tr}\,\rho_k^2\Big)

    with the reduced state :math:`\rho_k` of qubit k. It is 0 for product states alone,
    and 1 if each qubit is maximally entangled with the rest. Its mean over random
    weights is called the entangling capability of a circuit; its values for data tell
    what a trained model does with them.

    Args:
        model: The model, on a device of this package without noise and shots.
        inputs: Samples, shape ``(n_samples, input_dim)``; None is one sample whose
            features are 0, which needs ``samples``.
        samples: Number of random weights, >= 1, uniform in :math:`[0, 2\pi)`; frozen
            weights stay as they are. They take the ``inputs`` in turn. None takes the
            weights of the model on all ``inputs``.
        seed: Seed of the random weights: anything that
            :func:`numpy.random.default_rng` takes.

    Raises:
        ValueError: If neither ``inputs`` nor ``samples`` are given, the states are
            mixed, or the inputs do not fit.
        DeviceError: If the device has shots or trajectories, or the circuit a
            measurement inside.

    Example:
        >>> linear = QuantumModel(3, 1, 2, entanglement="linear")
        >>> entanglement(linear, samples=1000)
        Entanglement(Q = 0.624 ± 0.006, 1,000 states of random weights; Haar 0.667)

    References:
        Meyer and Wallach, Global entanglement in multiparticle systems, J. Math. Phys.
        43, 4273 (2002), arXiv:quant-ph/0108104. Sim, Johnson and Aspuru-Guzik,
        Expressibility and entangling capability of parameterized quantum circuits, Adv.
        Quantum Technol. 2, 1900070 (2019), arXiv:1905.10876.
    """
    if inputs is None and samples is None:
        raise ValueError(
            "Arguments `inputs` or `samples` must be given: samples for the weights of "
            "the model, or a number of random weights, as samples=1000."
        )
    program = compiled_pure(model, "measure of Meyer and Wallach")
    if samples is None:
        features = model.prepare(inputs)
        weights = np.broadcast_to(model.weights, (len(features), model.n_weights))
    else:
        n = integer("samples", samples, minimum=1)
        features = encoded(model, inputs, n)
        weights = random_weights(model, n, np.random.default_rng(seed))
    parts = [linear_entropies(s) for s in states_at(program, weights, features)]
    entropies = np.concatenate(parts)
    return Entanglement(entropies.mean(axis=1), entropies.mean(axis=0), samples or 0)


def linear_entropies(states: Complex2D) -> Float2D:
    r"""For each state and qubit :math:`2 (1 - \mathrm{Tr}\,\rho_k^2)`.

    Args:
        states: State vectors, shape ``(n_states, 2**n)``; qubit 0 is the most
            significant bit.

    Returns:
        Shape ``(n_states, n)``.
    """
    n_states, dim = states.shape
    columns = []
    for k in range(dim.bit_length() - 1):
        parts = states.reshape(n_states, 1 << k, 2, -1)
        zero, one = parts[:, :, 0], parts[:, :, 1]
        first = np.vecdot(zero, zero).real.sum(axis=1)
        second = np.vecdot(one, one).real.sum(axis=1)
        between = np.abs(np.vecdot(one, zero).sum(axis=1))
        columns.append(2.0 * (1.0 - first**2 - second**2 - 2.0 * between**2))
    return np.stack(columns, axis=1)
