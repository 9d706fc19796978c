"""How evenly a circuit covers the space of states: expressibility against Haar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from qstore_pl._axes import axes_of
from qstore_pl._checks import finite, integer
from qstore_pl.diagnostics.circuits import (
    Float1D,
    compiled_pure,
    encoded,
    random_weights,
    states_at,
)
from qstore_pl.model import QuantumModel

N_RESAMPLED = 1000  # histograms of the bootstrap


@final
@dataclass(frozen=True)
class Expressibility:
    """The results of :func:`expressibility`.

    Args:
        divergence: The Kullback-Leibler divergence of the histogram of fidelities from
            that of random states, in nats. 0 is as random as can be.
        bias: What the divergence of finitely many fidelities is too large by, to first
            order: (occupied bins - 1) / (2 samples).
        interval: A 95 % interval of the divergence by a bootstrap of the histogram,
            from which the bias is removed; not below 0.
        fidelities: The fidelities of pairs of states, shape ``(samples,)``.
        probabilities: The share of the fidelities in each bin, shape ``(bins,)``.
        haar: The logarithms of the probabilities of the bins for random states.
    """

    divergence: float
    bias: float
    interval: tuple[float, float]
    fidelities: Float1D
    probabilities: Float1D
    haar: Float1D

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"Expressibility(divergence = {self.divergence:.4f}, of which the finite "
            f"number of {len(self.fidelities):,} pairs brings about {self.bias:.4f}; "
            f"95 % interval {low:.4f} to {high:.4f})"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the histogram of the fidelities beside that of random states.

        Args:
            ax: Axes of matplotlib to draw on; None makes a new figure.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
            TypeError: If ``ax`` are not axes of matplotlib.
        """
        ax = axes_of("Expressibility.plot", "ax", ax)
        edges = np.linspace(0.0, 1.0, len(self.haar) + 1)
        ax.stairs(self.probabilities, edges, fill=True, alpha=0.5, label="circuit")
        label = "random states"
        ax.stairs(np.exp(self.haar), edges, color="black", label=label)
        ax.set(xlabel="fidelity of two states", ylabel="share of pairs", xlim=(0, 1))
        ax.legend(frameon=False)
        return ax


def expressibility(
    model: QuantumModel,
    inputs: Any = None,
    *,
    samples: int = 5000,
    bins: int = 75,
    seed: Any = 0,
) -> Expressibility:
    r"""How far the states of random weights are from being uniformly random.

    The fidelities of pairs of states, each at random weights of its own, are counted in
    bins of equal width. Their histogram is compared with the exact one of states that
    are random by Haar's measure, whose density is
    :math:`(N - 1)(1 - F)^{N - 2}` for the dimension :math:`N = 2^n`. A small divergence
    means an expressive circuit.

    A histogram of finitely many pairs diverges even if the states are random, by about
    (occupied bins - 1) / (2 samples): the result says so, and its interval is corrected
    for it. Circuits can be told apart only as far as their intervals do not overlap.

    Args:
        model: The model, on a device of this package without noise and shots.
        inputs: Samples, shape ``(n_samples, input_dim)``, which the pairs take in turn;
            None is one sample whose features are 0.
        samples: Number of pairs of states, >= 2. Weights are uniform in
            :math:`[0, 2\pi)`; frozen weights stay as they are.
        bins: Number of bins, >= 2.
        seed: Seed of the weights and of the bootstrap: anything that
            :func:`numpy.random.default_rng` takes.

    Raises:
        ValueError: If a number is too small, the states are mixed, or the inputs do not
            fit.
        DeviceError: If the device has shots or trajectories, or the circuit a
            measurement inside.

    Example:
        >>> shallow, deep = (QuantumModel(2, 1, n_layers=depth) for depth in (1, 3))
        >>> far, near = expressibility(shallow), expressibility(deep)
        >>> near.interval[1] < far.interval[0]
        True

    References:
        Sim, Johnson and Aspuru-Guzik, Expressibility and entangling capability of
        parameterized quantum circuits, Adv. Quantum Technol. 2, 1900070 (2019),
        arXiv:1905.10876. Zyczkowski and Sommers, Average fidelity between random
        quantum states, Phys. Rev. A 71, 032313 (2005), arXiv:quant-ph/0311117.
    """
    integer("samples", samples, minimum=2)
    integer("bins", bins, minimum=2)
    program = compiled_pure(model, "expressibility")
    rng = np.random.default_rng(seed)
    features = np.repeat(encoded(model, inputs, samples), 2, axis=0)
    weights = random_weights(model, 2 * samples, rng)
    found = [
        np.abs(np.vecdot(states[::2], states[1::2])) ** 2
        for states in states_at(program, weights, features)
    ]
    fidelities = np.concatenate(found)
    return divergence_from_haar(fidelities, model.n_qubits, bins=bins, seed=rng)


def divergence_from_haar(
    fidelities: Any, n_qubits: int, *, bins: int = 75, seed: Any = 0
) -> Expressibility:
    """The divergence of some fidelities from those of random states.

    Args:
        fidelities: Fidelities of independent pairs of states, in [0, 1], shape
            ``(samples,)``.
        n_qubits: Number of qubits of the states.
        bins: Number of bins, >= 2.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If there are fewer than two fidelities, or one is not in [0, 1].

    Example:
        >>> found = divergence_from_haar(np.ones(100), n_qubits=1, bins=75)
        >>> round(found.divergence, 4), round(float(np.log(75)), 4)
        (4.3175, 4.3175)
    """
    values = finite("fidelities", fidelities)
    integer("n_qubits", n_qubits, minimum=1)
    integer("bins", bins, minimum=2)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            "Argument `fidelities` must have shape (samples,) with at least 2 samples, "
            f"but has shape {values.shape}."
        )
    if values.min() < -1e-9 or values.max() > 1.0 + 1e-9:
        raise ValueError(
            "Argument `fidelities` must be from 0 to 1, but has "
            f"{values.min()} to {values.max()}."
        )
    counts, _ = np.histogram(np.clip(values, 0.0, 1.0), bins, (0.0, 1.0))
    haar = _log_haar(n_qubits, bins)
    share = counts / len(values)
    found = _divergence(share, haar)
    rng = np.random.default_rng(seed)
    again = rng.multinomial(len(values), share, size=N_RESAMPLED) / len(values)
    low, high = np.quantile(_divergence(again, haar), (0.025, 0.975))
    # What resampling adds to the divergence, sampling has added to it before.
    interval = max(0.0, float(2 * found - high)), max(0.0, float(2 * found - low))
    bias = (np.count_nonzero(counts) - 1) / (2 * len(values))
    return Expressibility(float(found), bias, interval, values, share, haar)


def _log_haar(n_qubits: int, bins: int) -> Float1D:
    r"""Logarithms of the probabilities of the bins for random states.

    That of a bin is :math:`(1 - l)^{N-1} - (1 - u)^{N-1}`, with its lower end l and its
    upper end u. For many qubits it is too small for a float64; its logarithm is not.
    """
    power = 2.0**n_qubits - 1.0
    lower = 1.0 - np.arange(bins) / bins
    upper = 1.0 - np.arange(1, bins + 1) / bins
    return power * np.log(lower) + np.log1p(-((upper / lower) ** power))


def _divergence(share: NDArray[np.float64], log_haar: Float1D) -> NDArray[np.float64]:
    """The divergence of histograms in the last axis."""
    return np.asarray((xlogy(share, share) - share * log_haar).sum(axis=-1))
