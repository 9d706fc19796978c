"""The fidelity kernel: products of states, all of them computed in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._blas import one_blas_thread
from qstore_pl.kernels.feature_map import DEFAULT_ENCODING
from qstore_pl.kernels.kernel import Float1D, Float2D, Kernel, PullBack, compiled
from qstore_pl.kernels.products import inner_products, overlaps
from qstore_pl.layers import Layer
from qstore_pl.model import QuantumModel
from qstore_pl.placed import Circuit

STATES_BYTES = 1 << 30  # most memory of the states of each side

Bras = Callable[[Float2D], NDArray[Any]]


@final
class FidelityKernel(Kernel):
    r"""A similarity of samples: how well their states overlap.

    For pure states the kernel is the fidelity
    :math:`|\langle\psi(x)|\psi(y)\rangle|^2`. For mixed states it is
    :math:`\mathrm{Tr}\,\rho(x)\rho(y)`, divided by
    :math:`\sqrt{\mathrm{Tr}\,\rho(x)^2\,\mathrm{Tr}\,\rho(y)^2}` unless ``normalize``
    is False, so that every sample has a similarity of 1 with itself. Exact matrices
    ``kernel(X)`` are symmetric and positive semi-definite, and have ones on the
    diagonal. All states are computed in one run; no circuit of a pair is needed.

    With ``shots``, entries are drawn from the distributions that measurements have. For
    pure states it is the inversion test: in the state
    :math:`U(x)^\dagger U(y)|0\dots0\rangle` the number of outcomes 0...0 among all
    shots is binomial, with the fidelity as its probability. For mixed states it is the
    SWAP test, whose outcome 0 has the probability
    :math:`p = (1 + \mathrm{Tr}\,\rho(x)\rho(y))/2`; noise of the test itself is not
    simulated. Purities are estimated in the same way. Each pair of ``kernel(X)`` is
    drawn once, so that the matrix is symmetric; it need not be positive semi-definite
    (see ``regularize``).

    Args:
        input_dim: Number of features of a sample, >= 1.
        encoding: The circuit as the word for an encoding: ``"zz_feature_map"``,
            ``"angle"``, ``"amplitude"`` or ``"basis"``.
        layers: The circuit as a list of layers, in the words of
            :class:`~qstore_pl.QuantumModel`; the encoding is then left out.
        n_qubits: Number of qubits; None takes as many as the layers need.
        backend: Where circuits run: a name, a Backend or a PennyLane device without
            shots; None is ``"mock_ideal"``.
        scale: Factor of the features before they are encoded, not for amplitudes and
            bits. It is the bandwidth of the kernel: with a smaller scale, samples are
            more alike.
        shots: Measurements for each entry, >= 1; None is exact.
        normalize: Whether products of mixed states are divided by the square roots of
            their purities. For pure states it makes no difference.
        regularize: What makes a matrix ``kernel(X)`` positive semi-definite, as
            estimates need not be: ``"threshold"``, ``"displace"`` or ``"flip"`` call
            the function of ``qml.kernels`` of that name. ``kernel(X, Z)`` stays as it
            is. None changes nothing.
        seed: Seed of the first weights of the layers, and of what is drawn with shots.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a word is unknown, or an option would be ignored.

    Example:
        >>> kernel = FidelityKernel(2, encoding="angle")
        >>> X = np.array([[0.0, 0.0], [np.pi / 2, 0.0], [np.pi, 0.0]])
        >>> print(kernel(X).round(3))
        [[1.  0.5 0. ]
         [0.5 1.  0.5]
         [0.  0.5 1. ]]

    References:
        Havlicek et al., Supervised learning with quantum-enhanced feature spaces,
        Nature 567, 209 (2019), arXiv:1804.11326. Schuld and Killoran, Quantum machine
        learning in feature Hilbert spaces, arXiv:1803.07128.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        encoding: str = DEFAULT_ENCODING,
        layers: Sequence[Layer] | None = None,
        n_qubits: int | None = None,
        backend: Any = None,
        scale: float = 1.0,
        shots: int | None = None,
        normalize: bool = True,
        regularize: str | None = None,
        seed: Any = None,
    ) -> None:
        self.normalize = normalize
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

    @classmethod
    def of(
        cls,
        model: QuantumModel,
        *,
        backend: Any = None,
        shots: int | None = None,
        normalize: bool = True,
        regularize: str | None = None,
        seed: Any = None,
    ) -> Self:
        """The kernel of a model's circuit before it is measured, with its weights.

        Args:
            model: The model; the kernel has a copy of its layers and weights.
            backend: Where circuits run; None is the model's own backend.
            shots: Measurements for each entry, >= 1; None is exact.
            normalize: Whether products of mixed states are divided by the square roots
                of their purities.
            regularize: What makes a matrix positive semi-definite; None is nothing.
            seed: Seed of what is drawn with shots.

        Raises:
            TypeError: If it is no model.

        Example:
            >>> model = QuantumModel(2, 1, seed=0)
            >>> FidelityKernel.of(model).parameters.shape
            (12,)
        """
        made = cls._of(
            model, backend=backend, shots=shots, regularize=regularize, seed=seed
        )
        made.normalize = normalize
        return made

    def _circuit(self) -> Circuit:
        return self._feature_map

    def _options(self) -> dict[str, Any]:
        return {} if self.normalize else {"normalize": False}

    # --- matrices -----------------------------------------------------------------

    def _matrix(self, rows: Float2D, columns: Float2D | None) -> Float2D:
        if self._placed.is_mixed:
            return self._of_mixed_states(rows, columns)
        found = self._products(rows, columns)
        if columns is None:
            np.fill_diagonal(found, 1.0)
        return self._drawn(found, symmetric=columns is None) if self._shots else found

    def _of_mixed_states(self, rows: Float2D, columns: Float2D | None) -> Float2D:
        found = self._products(rows, columns)
        if self._shots:
            p = (1.0 + found) / 2.0
            found = 2.0 * self._drawn(p, symmetric=columns is None) - 1.0
        if not self.normalize:
            return found
        if columns is None:
            of_rows = of_columns = found.diagonal().copy()
        else:
            of_rows, of_columns = self._purities(rows), self._purities(columns)
        if min(of_rows.min(), of_columns.min()) <= 0.0:
            raise ValueError(
                f"{self._shots} shots are too few to estimate all purities, of which "
                "one is estimated as no more than 0. Use more shots, or "
                "normalize=False."
            )
        found /= np.sqrt(of_rows)[:, None] * np.sqrt(of_columns)
        if columns is None:
            np.fill_diagonal(found, 1.0)
        return found

    def _products(self, rows: Float2D, columns: Float2D | None) -> Float2D:
        """The exact products of all pairs of states, not normalised."""
        spans = list(self._spans(len(rows)))
        others = spans if columns is None else list(self._spans(len(columns)))
        if len(spans) == len(others) == 1:
            states = self._states(rows)
            if columns is None:
                return self._product(states, None)
            return self._product(states, self._states(columns))
        found = np.empty((len(rows), len(rows if columns is None else columns)))
        for i, span in enumerate(spans):
            states = self._states(rows[span])
            for j, other in enumerate(others):
                if columns is not None:
                    part = self._product(states, self._states(columns[other]))
                elif j == i:
                    part = self._product(states, None)
                elif j > i:
                    part = self._product(states, self._states(rows[other]))
                    found[other, span] = part.T
                else:
                    continue
                found[span, other] = part
        return found

    def _product(self, a: NDArray[Any], b: NDArray[Any] | None) -> Float2D:
        if np.iscomplexobj(a):
            return overlaps(a, b)
        return inner_products(a, b) / (1 << self.n_qubits)

    def _states(self, rows: Float2D) -> NDArray[Any]:
        return self._placed.states(rows, self.parameters)

    def _purities(self, rows: Float2D) -> Float1D:
        """The purities of mixed states, estimated if there are shots."""
        found = np.empty(len(rows))
        for span in self._spans(len(rows)):
            states = self._states(rows[span])
            found[span] = np.einsum("ij,ij->i", states, states) / (1 << self.n_qubits)
        if self._shots:
            p = np.clip((1.0 + found) / 2.0, 0.0, 1.0)
            found = 2.0 * self._rng.binomial(self._shots, p) / self._shots - 1.0
        return found

    def _spans(self, n_samples: int) -> Iterator[slice]:
        """Ranges of samples whose states fit into memory together."""
        mixed = self._placed.is_mixed
        state_bytes = 8 << 2 * self.n_qubits if mixed else 16 << self.n_qubits
        size = max(1, STATES_BYTES // state_bytes)
        for start in range(0, n_samples, size):
            yield slice(start, min(start + size, n_samples))

    def _drawn(self, p: Float2D, *, symmetric: bool) -> Float2D:
        """Relative frequencies of outcomes with some probabilities."""
        assert self._shots is not None
        p = np.clip(p, 0.0, 1.0)
        if not symmetric:
            return self._rng.binomial(self._shots, p) / self._shots
        upper = np.triu_indices(len(p))
        found = np.zeros(p.shape)
        found[upper] = self._rng.binomial(self._shots, p[upper]) / self._shots
        return found + np.triu(found, 1).T

    # --- gradients ----------------------------------------------------------------

    def _differentiable(self, rows: Float2D) -> tuple[Float2D, PullBack]:
        program = compiled(self._placed.states_program)
        n_samples = len(rows)
        work = program.new_pass(n_samples, keep=True)
        work.forward(self.parameters.copy(), rows, np.arange(n_samples))
        states = work.states(phase=False)
        of = self._of_pauli_vectors if self._placed.is_mixed else self._of_vectors
        with one_blas_thread():
            found, bras = of(states)

        def pull_back(derivatives: Float2D) -> Float1D:
            with one_blas_thread():
                bra = bras(derivatives + derivatives.T)
            gradient, _ = work.backward(np.empty((n_samples, 0)), bra=bra)
            return gradient.copy()

        return found, pull_back

    def _of_vectors(self, states: NDArray[np.complex128]) -> tuple[Float2D, Bras]:
        r"""The matrix; as bras, :math:`\sum_j g_{ij} \langle j|i\rangle |j\rangle`."""
        products = states.conj() @ states.T
        found = products.real**2 + products.imag**2
        np.fill_diagonal(found, 1.0)
        return found, lambda both: (both * products.conj()) @ states

    def _of_pauli_vectors(self, states: Float2D) -> tuple[Float2D, Bras]:
        """The matrix, and the derivatives with respect to the components of states."""
        if not self.normalize:
            side = 1 << self.n_qubits
            return states @ states.T / side, lambda both: both @ states / side
        norms = np.linalg.norm(states, axis=1, keepdims=True)
        units = states / norms
        found = units @ units.T
        np.fill_diagonal(found, 1.0)

        def bras(both: Float2D) -> Float2D:
            along = (both * found).sum(axis=1, keepdims=True)
            return (both @ units - along * units) / norms

        return found, bras
