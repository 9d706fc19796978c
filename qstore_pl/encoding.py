"""Turn samples into the arguments of the encoding templates. It builds no circuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl import _checks

FloatArray = NDArray[np.float64]

METHODS = ("amplitude", "angle", "basis", "zz_feature_map")
_SCALED = ("angle", "zz_feature_map")


@dataclass(frozen=True)
class QuantumDataEncoder:
    """Turns samples into the arguments of PennyLane's encoding templates.

    Args:
        n_qubits: Number of qubits of the circuit, >= 1; None takes as many as the data
            need.

    Raises:
        TypeError: If ``n_qubits`` is not an integer.
        ValueError: If ``n_qubits`` is less than 1.

    **Example**

    >>> QuantumDataEncoder(n_qubits=2).encode([3.0, 0.0, 4.0], method="amplitude")
    array([0.6, 0. , 0.8, 0. ])
    >>> QuantumDataEncoder(n_qubits=3).encode([[5], [2]], method="basis")
    array([[1., 0., 1.],
           [0., 1., 0.]])
    """

    n_qubits: int | None = None

    def __post_init__(self) -> None:
        if self.n_qubits is not None:
            _checks.integer("n_qubits", self.n_qubits, minimum=1)

    def encode(
        self, data: Any, method: str = "angle", *, scale: float = 1.0
    ) -> FloatArray:
        r"""Encode one sample or a batch of samples.

        On n qubits a sample becomes a row of numbers:

        - ``"amplitude"``: :math:`2^n` amplitudes, the features padded with zeros and
          divided by their norm. Without ``n_qubits``, n is
          ``max(1, ceil(log2(n_features)))``.
        - ``"angle"``: n angles in radians, ``scale`` times the features.
        - ``"basis"``: n bits. If a sample has several features, they must be bits. If
          it has one, that is a whole number, which is written in binary with the most
          significant bit first. Without ``n_qubits``, n is the number of bits of the
          largest one.
        - ``"zz_feature_map"``: n numbers, ``scale`` times the features.

        Args:
            data: Real numbers, shape ``(n_samples, n_features)``, or ``(n_features,)``
                for one sample; for ``"basis"`` also a single whole number.
            method: One of the four methods above.
            scale: Factor of the features, for the methods ``"angle"`` (radians per
                unit) and ``"zz_feature_map"``.

        Returns:
            The rows, shape ``(n_samples, n)``, or ``(n_samples, 2**n)`` for amplitudes,
            as a new array. One sample gives one row, without the first axis.

        Raises:
            TypeError: If ``data`` is complex or not numeric.
            ValueError: If the method is unknown or has no ``scale``, if ``data`` is
                empty, has another shape or entries that are not finite, or a number of
                features that does not fit ``n_qubits``; if a sample is a zero vector
                (amplitude), or an entry is not a bit or whole number (basis).
        """
        _checks.choice("method", method, METHODS)
        scale = _checks.real("scale", scale)
        if scale != 1 and method not in _SCALED:
            raise ValueError(
                f'Argument `scale` must be left out for method "{method}", which would '
                f"ignore it, but is {scale}."
            )
        array = _checks.plain("data", data)
        if method == "basis" and array.ndim == 0:
            array = array.reshape(1)
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(
                "Argument `data` must have shape (n_samples, n_features) or "
                f"(n_features,) and not be empty, but has shape {array.shape}."
            )
        samples = _checks.finite("data", array)
        if method == "amplitude":
            return self._amplitudes(samples)
        if method == "basis" and samples.shape[-1] == 1:
            return self._digits(samples)
        if self.n_qubits not in (None, samples.shape[-1]):
            raise ValueError(
                f"Argument `data` must have {self.n_qubits} features, one per qubit, "
                f'for method "{method}", but has shape {samples.shape}.'
            )
        if method == "basis":
            return self._bits(samples)
        return scale * samples

    encode_batch = encode

    def _amplitudes(self, samples: FloatArray) -> FloatArray:
        n_features = samples.shape[-1]
        needed = max(1, (n_features - 1).bit_length())
        n_qubits = self._at_least(needed, f"{n_features} features as amplitudes")
        # Divided by the largest entry first, the squares neither over- nor underflow.
        peak = np.abs(samples).max(axis=-1, keepdims=True)
        if not peak.all():
            raise ValueError(
                'Argument `data` must have no zero vector for method "amplitude", but '
                f"row {np.flatnonzero(peak == 0)[0]} is one."
            )
        padded = np.zeros((*samples.shape[:-1], 2**n_qubits))
        padded[..., :n_features] = samples / peak
        return padded / np.linalg.norm(padded, axis=-1, keepdims=True)

    def _bits(self, samples: FloatArray) -> FloatArray:
        needed = "bits 0 and 1 (whole numbers come one per row, shape (n_samples, 1))"
        _refuse(samples, (samples != 0) & (samples != 1), needed)
        return samples.copy()

    def _digits(self, samples: FloatArray) -> FloatArray:
        # From 2**53 on, a float64 may not be the whole number that was given.
        wrong = (samples != np.floor(samples)) | (samples < 0) | (samples >= 2**53)
        _refuse(samples, wrong, "whole numbers from 0 to 2**53 - 1")
        numbers = samples.astype(np.int64)
        largest = int(numbers.max())
        n_qubits = self._at_least(max(1, largest.bit_length()), f"the number {largest}")
        return (numbers >> np.arange(n_qubits)[::-1] & 1).astype(np.float64)

    def _at_least(self, needed: int, what: str) -> int:
        if self.n_qubits is not None and self.n_qubits < needed:
            raise ValueError(
                f"Argument `n_qubits` must be >= {needed} to hold {what}, but is "
                f"{self.n_qubits}."
            )
        return self.n_qubits or needed


def _refuse(samples: FloatArray, wrong: NDArray[np.bool_], needed: str) -> None:
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"Argument `data` must hold {needed}, but entry {where} is "
            f"{samples[where]}."
        )
