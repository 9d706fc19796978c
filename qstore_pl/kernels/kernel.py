"""What all kernels have in common: a feature map, a backend, shots and weights.

A kernel is called with samples and gives a matrix. It knows no estimator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl._checks import choice, integer
from qstore_pl.backends import Backend, NamedDevice, as_backend
from qstore_pl.kernels.feature_map import DEFAULT_ENCODING, FeatureMap
from qstore_pl.layers import Layer
from qstore_pl.model import QuantumModel
from qstore_pl.placed import Circuit, Placed

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
PullBack = Callable[[Float2D], Float1D]

REGULARIZE: dict[str, Callable[[Float2D], Float2D]] = {
    "displace": qml.kernels.displace_matrix,
    "flip": qml.kernels.flip_matrix,
    "threshold": qml.kernels.threshold_matrix,
}


class Kernel(ABC):
    """A similarity of samples, computed from the states of a circuit.

    ``kernel(X)`` is the matrix of all pairs of samples, and ``kernel(X, Z)`` the matrix
    of the samples ``X`` with the samples ``Z``. A kernel is therefore what
    scikit-learn's estimators take as ``kernel=``.

    Args:
        input_dim: Number of features of a sample, >= 1.
        encoding: The circuit as the word for an encoding: ``"zz_feature_map"``,
            ``"angle"``, ``"amplitude"`` or ``"basis"``.
        layers: The circuit as a list of layers, in the words of
            :class:`~qstore_pl.QuantumModel`; the encoding is then left out.
        n_qubits: Number of qubits; None takes as many as the layers need.
        backend: Where circuits run: a name, a Backend or a PennyLane device; None is
            ``"mock_ideal"``.
        scale: Factor of the features before they are encoded, not for amplitudes and
            bits. It is the bandwidth of the kernel: with a smaller scale, samples are
            more alike.
        shots: Measurements for each entry, >= 1; None is exact.
        regularize: What makes a matrix ``kernel(X)`` positive semi-definite, as
            estimates need not be: ``"threshold"``, ``"displace"`` or ``"flip"`` call
            the function of ``qml.kernels`` of that name. ``kernel(X, Z)`` stays as it
            is. None changes nothing.
        seed: Seed of the first weights of the layers, and of what is drawn with shots.
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
        regularize: str | None = None,
        seed: Any = None,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._feature_map = FeatureMap.of_layers(
            integer("input_dim", input_dim, minimum=1),
            encoding=encoding,
            layers=layers,
            n_qubits=n_qubits,
            scale=scale,
            seed=self._rng,
        )
        self._set_up(backend, shots, regularize, is_seeded=seed is not None)

    @classmethod
    def _of(
        cls,
        model: QuantumModel,
        *,
        backend: Any,
        shots: int | None,
        regularize: str | None,
        seed: Any,
    ) -> Self:
        """The kernel of a model's circuit, without the options of a final class."""
        made = cls.__new__(cls)
        made._rng = np.random.default_rng(seed)
        made._feature_map = FeatureMap.of_model(model)
        backend = model.backend if backend is None else backend
        made._set_up(backend, shots, regularize, is_seeded=seed is not None)
        return made

    def _set_up(
        self,
        backend: Any,
        shots: int | None,
        regularize: str | None,
        *,
        is_seeded: bool,
    ) -> None:
        self._backend = as_backend("mock_ideal" if backend is None else backend)
        self._shots = None if shots is None else integer("shots", shots, minimum=1)
        if regularize is not None:
            choice("regularize", regularize, REGULARIZE)
        self.regularize = regularize
        self._placed = Placed(self._circuit(), self._backend)
        by_name = isinstance(self._backend.factory, NamedDevice)
        if is_seeded and by_name:  # not a device the user made
            (drawn,) = self._rng.spawn(1)
            state = dict(drawn.bit_generator.state)
            devices.set_generator_state(self._placed.device, state)

    @abstractmethod
    def _circuit(self) -> Circuit:
        """The circuit that is run, made of the feature map."""

    @abstractmethod
    def _matrix(self, rows: Float2D, columns: Float2D | None) -> Float2D:
        """The matrix of encoded samples; None columns are the rows."""

    @property
    def input_dim(self) -> int:
        """Number of features of a sample."""
        return self._feature_map.input_dim

    @property
    def n_qubits(self) -> int:
        """Number of qubits of the feature map."""
        return self._feature_map.n_qubits

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the feature map in the order in which they act."""
        return tuple(part.layer for part in self._feature_map.stack.parts)

    @property
    def parameters(self) -> Float1D:
        """The weights of the layers, a live view; radians where they are angles."""
        return self._feature_map.weights

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Which of the parameters are trained; a live view of the same length."""
        return self._feature_map.trainable

    @property
    def backend(self) -> Backend:
        """Where circuits run."""
        return self._backend

    @property
    def shots(self) -> int | None:
        """Measurements for each entry; None is exact."""
        return self._shots

    def __call__(self, X: Any, Z: Any = None) -> Float2D:
        """The kernel matrix.

        Args:
            X: Samples, shape ``(n_samples, input_dim)``.
            Z: Other samples, shape ``(n_others, input_dim)``; None, or the same array,
                is ``X``.

        Returns:
            Shape ``(n_samples, n_others)``. With ``X`` alone it is exactly symmetric,
            unless it is regularized, which rounds.

        Raises:
            ValueError: If the shape differs, an entry is NaN or infinite, or the
                encoding does not take it.
            TypeError: If the samples are not real.
            DeviceError: If the backend cannot run what the kernel needs.
            QuantumCircuitError: If a device that is not ours fails.
        """
        rows = self._feature_map.prepare("X", X)
        is_other = Z is not None and Z is not X
        columns = self._feature_map.prepare("Z", Z) if is_other else None
        found = self._matrix(rows, columns)
        if self.regularize is None or is_other:
            return found
        return np.asarray(REGULARIZE[self.regularize](found), dtype=np.float64)

    def differentiable(self, X: Any) -> tuple[Float2D, PullBack]:
        """The matrix ``kernel(X)``, and its vector-Jacobian product.

        Args:
            X: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            The matrix, shape ``(n_samples, n_samples)``; and a function of the
            derivatives of a loss with respect to its entries, of the same shape, which
            gives those with respect to the parameters, shape ``(n_parameters,)``. It
            can be called once.

        Raises:
            ValueError: If the kernel has shots, or as :meth:`__call__`.
            TypeError: If this kind of kernel has no gradient.
            DeviceError: If the backend has no compiled circuit.
        """
        if self._shots is not None:
            raise ValueError(
                "A kernel must be exact to be differentiated, but this one has "
                f"shots={self._shots}. Train a kernel without shots, and copy its "
                "parameters."
            )
        return self._differentiable(self._feature_map.prepare("X", X))

    def _differentiable(self, rows: Float2D) -> tuple[Float2D, PullBack]:
        """As :meth:`differentiable`, of encoded samples."""
        raise TypeError(
            f"{type(self).__name__} has no gradient. Train a FidelityKernel or a "
            "ProjectedKernel."
        )

    def _options(self) -> dict[str, Any]:
        """The options of a final class, for the representation."""
        return {}

    def __repr__(self) -> str:
        given = self._options() | {"shots": self._shots, "regularize": self.regularize}
        shown = "".join(f", {k}={v!r}" for k, v in given.items() if v is not None)
        name = f", backend={self._backend.name!r}"
        return f"{type(self).__name__}({self._feature_map!r}{name}{shown})"


def compiled(program: devices.Program | None) -> devices.Program:
    """The Program of a circuit that is to be differentiated.

    Args:
        program: What :class:`~qstore_pl.placed.Placed` gives.

    Raises:
        DeviceError: If there is none.
    """
    if program is None:
        raise DeviceError(
            "A kernel is differentiated by a compiled circuit, and has none on devices "
            "of other packages, with shots, and where noise depends on the values of "
            'gates. Use backend="mock_ideal" or "mock_noisy".'
        )
    return program
