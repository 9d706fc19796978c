"""A run of state vectors, small or large: its states and the outcomes read from them.

This module knows arrays, not kernels of gates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.outcomes import of_amplitudes
from qstore_pl.engine.program import Float2D, Pass


class AmplitudePass(Pass):
    """Work arrays of one forward run of state vectors.

    Args: as :class:`Pass`.
    """

    _parts = 2
    _digit_bits = 1
    _tables: Any

    def states(self, *, phase: bool = True) -> NDArray[np.complex128]:
        """The states of the last :meth:`forward`, shape ``(batch, 2**n_wires)``.

        Args:
            phase: Whether the global phase is included.
        """
        if self._values is None:
            raise RuntimeError("Pass.states needs a forward run before it.")
        weights, features, rows = self._values
        states = np.empty((self.batch, self._length), np.complex128)
        for i, (start, end) in enumerate(self._spans):
            re, im = self._state(i, end - start)
            states[start:end].real = re.T
            states[start:end].imag = im.T
        if not phase:
            return states
        turn = self._tables.phase.evaluate(weights, features[rows])
        states *= np.exp(1j * turn)[:, None]
        return states

    def _outcomes(self, i: int, wires: tuple[int, ...], out: Float2D) -> None:
        re, im = self._state(i, out.shape[1])
        of_amplitudes(re, im, self._tables.n_wires, wires, out)
