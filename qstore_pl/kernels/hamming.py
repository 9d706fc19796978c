"""The Hamming kernel: all outcomes of the inversion test, not only 0...0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import ArrayLike

from qstore_pl import devices
from qstore_pl._checks import finite
from qstore_pl.kernels.feature_map import DEFAULT_ENCODING, InversionTest
from qstore_pl.kernels.kernel import Float1D, Float2D, Kernel
from qstore_pl.layers import AmplitudeEncoding, Layer
from qstore_pl.model import QuantumModel
from qstore_pl.placed import Circuit

PAIRS_BYTES = 1 << 26  # of the states of the pairs that run together


@final
class HammingKernel(Kernel):
    r"""A similarity of samples: how many bits of the inversion test are 0.

    The inversion test measures all qubits of the state
    :math:`U(x)^\dagger U(y)|0\dots0\rangle`. Its outcomes b have the probabilities
    :math:`p_{xy}(b)` and the Hamming weights :math:`|b|`, the number of ones. The
    fidelity counts the outcome 0...0 alone, and vanishes exponentially with the number
    of qubits n. The Hamming kernel counts every outcome, by a similarity
    :math:`s(|b|)`:

    .. math:: K(x, y) = \sum_b s(|b|)\,\frac{p_{xy}(b) + p_{yx}(b)}{2},
              \qquad s(w) = 1 - \frac{w}{n}.

    This s is a choice of this package; ``similarities`` gives another one. Both
    orders are averaged, since only the probability of 0...0 is the same in both. The
    matrix need not be positive semi-definite (see ``regularize``). With noise, it
    is that of the whole test, readout error included, so that the diagonal is less than
    1. With ``shots``, each of them is taken in one of the two orders, chosen at random.

    The circuit is inverted gate by gate. Amplitude encoding is therefore refused: it
    says which state is prepared, but not by which gates, on which all outcomes but
    0...0 depend.

    Args:
        input_dim: Number of features of a sample, >= 1.
        encoding: The circuit as the word for an encoding: ``"zz_feature_map"``,
            ``"angle"`` or ``"basis"``.
        layers: The circuit as a list of layers, in the words of
            :class:`~qstore_pl.QuantumModel`; the encoding is then left out.
        similarities: The similarity of an outcome by its number of ones, from 0 to n,
            shape ``(n_qubits + 1,)``; None is 1 - w / n. ``[1, 0, ..., 0]`` is the
            fidelity as the inversion test measures it, with the noise of the whole
            test.
        n_qubits: Number of qubits; None takes as many as the layers need.
        backend: Where circuits run: a name, a Backend or a PennyLane device without
            shots; None is ``"mock_ideal"``.
        scale: Factor of the features before they are encoded, not for bits.
        shots: Measurements for each entry, >= 1; None is exact.
        regularize: What makes a matrix ``kernel(X)`` positive semi-definite, as it need
            not be: ``"threshold"``, ``"displace"`` or ``"flip"`` call the function of
            ``qml.kernels`` of that name. None changes nothing.
        seed: Seed of the first weights of the layers, and of what is drawn with shots.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a word is unknown, an option would be ignored, or the circuit has
            an amplitude encoding.

    Example:
        >>> kernel = HammingKernel(2, encoding="angle")
        >>> X = np.array([[0.0, 0.0], [np.pi, 0.0], [np.pi, np.pi]])
        >>> print(kernel(X).round(3) + 0.0)
        [[1.  0.5 0. ]
         [0.5 1.  0.5]
         [0.  0.5 1. ]]

    References:
        Agnihotri et al., Support vector machine with a scalable quantum kernel (2026),
        arXiv:2605.31449, for kernels from all outcomes of the inversion test.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        encoding: str = DEFAULT_ENCODING,
        layers: Sequence[Layer] | None = None,
        similarities: ArrayLike | None = None,
        n_qubits: int | None = None,
        backend: Any = None,
        scale: float = 1.0,
        shots: int | None = None,
        regularize: str | None = None,
        seed: Any = None,
    ) -> None:
        super().__init__(
            input_dim,
            encoding=encoding,
            layers=layers,
            n_qubits=n_qubits,
            backend=backend,
            scale=scale,
            shots=shots,
            regularize=regularize,
            seed=seed,
        )
        self.similarities = self._similarities(similarities)

    @classmethod
    def of(
        cls,
        model: QuantumModel,
        *,
        similarities: ArrayLike | None = None,
        backend: Any = None,
        shots: int | None = None,
        regularize: str | None = None,
        seed: Any = None,
    ) -> Self:
        """The kernel of a model's circuit before it is measured, with its weights.

        Args:
            model: The model; the kernel has a copy of its layers and weights.
            similarities: The similarity of an outcome by its number of ones, shape
                ``(n_qubits + 1,)``; None is 1 - w / n.
            backend: Where circuits run; None is the model's own backend.
            shots: Measurements for each entry, >= 1; None is exact.
            regularize: What makes a matrix positive semi-definite; None is nothing.
            seed: Seed of what is drawn with shots.

        Raises:
            TypeError: If it is no model.
            ValueError: If there is not one similarity for each number of ones.
        """
        made = cls._of(
            model, backend=backend, shots=shots, regularize=regularize, seed=seed
        )
        made.similarities = made._similarities(similarities)
        return made

    def _similarities(self, given: ArrayLike | None) -> Float1D:
        n = self.n_qubits
        if given is None:
            return 1.0 - np.arange(n + 1) / n
        found = finite("similarities", given)
        if found.shape != (n + 1,):
            raise ValueError(
                f"Argument `similarities` must have shape ({n + 1},), one for each "
                f"number of ones on {n} qubits, but has shape {found.shape}."
            )
        return found

    def _circuit(self) -> Circuit:
        if any(isinstance(layer, AmplitudeEncoding) for layer in self.layers):
            raise ValueError(
                "A HammingKernel must have gates that can be inverted, but amplitude "
                "encoding prepares a state. Use another encoding, or a FidelityKernel."
            )
        return InversionTest(self._feature_map)

    def _options(self) -> dict[str, Any]:
        if np.array_equal(self.similarities, self._similarities(None)):
            return {}
        return {"similarities": self.similarities.tolist()}

    def _matrix(self, rows: Float2D, columns: Float2D | None) -> Float2D:
        p = self._weights(rows, rows if columns is None else columns)
        if columns is None:
            p = (p + p.transpose(1, 0, 2)) / 2.0
        else:
            p = (p + self._weights(columns, rows).transpose(1, 0, 2)) / 2.0
        if self._shots:
            p = self._drawn(p, symmetric=columns is None)
        return p @ self.similarities

    def _weights(self, rows: Float2D, columns: Float2D) -> Float2D:
        """The distribution of the number of ones, shape ``(rows, columns, n + 1)``."""
        n, n_pairs = self.n_qubits, len(rows) * len(columns)
        ones = np.bitwise_count(np.arange(1 << n))
        by_weight = (ones[:, None] == np.arange(n + 1)).astype(np.float64)
        found = np.empty((n_pairs, n + 1))
        state_bytes = 8 << 2 * n if self._placed.is_mixed else 16 << n
        size = max(1, PAIRS_BYTES // (3 * state_bytes))
        for start in range(0, n_pairs, size):
            pairs = np.arange(start, min(start + size, n_pairs))
            i, j = np.divmod(pairs, len(columns))
            features = np.concatenate([rows[i], columns[j]], axis=1)
            found[pairs] = self._outcomes(features) @ by_weight
        return found.reshape(len(rows), len(columns), n + 1)

    def _outcomes(self, features: Float2D) -> Float2D:
        """The probabilities of all outcomes of some pairs, shape ``(pairs, 2**n)``."""
        placed = self._placed
        with devices.running_on(placed.device, self._backend.name):
            (found,) = placed.qnode(features, self.parameters)
        return np.reshape(found, (len(features), -1))

    def _drawn(self, p: Float2D, *, symmetric: bool) -> Float2D:
        """Relative frequencies of the numbers of ones."""
        p = np.clip(p, 0.0, None)
        p /= p.sum(axis=-1, keepdims=True)
        assert self._shots is not None
        if not symmetric:
            return self._rng.multinomial(self._shots, p) / self._shots
        upper = np.triu_indices(len(p))
        found = np.empty(p.shape)
        found[upper] = self._rng.multinomial(self._shots, p[upper]) / self._shots
        found[upper[::-1]] = found[upper]
        return found
