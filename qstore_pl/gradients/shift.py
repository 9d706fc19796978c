r"""Parameter shift on tapes, for every device that is not ours.

A mini-batch is expanded into one tape per sample before PennyLane's transform, which
cannot differentiate features that are broadcast; all shifts of all samples go to the
device in one submission. Shifts act on expectation values, never on the loss: the chain
rule :math:`\partial L/\partial w = \sum_{bk} dy_{bk}\, \partial\langle O_k\rangle_b/
\partial w` is applied here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray

from qstore_pl.model import QuantumModel

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]


class ShiftedRun:
    """Expectation values of a model and their gradient on any PennyLane device.

    Args:
        model: Its blocks give the tapes, its device runs them.
        shots: Measurements per circuit; None takes the device's own, or is exact.
    """

    def __init__(self, model: QuantumModel, *, shots: int | None = None) -> None:
        self._model = model
        given = model.device.shots  # deprecated in PennyLane, but some devices have it
        self.shots = shots or given.total_shots or 0
        self._features = np.empty((0, 0))
        self.circuits = 0  # tapes sent to the device so far

    def forward(self, features: Float2D) -> Float2D:
        """Expectation values, shape ``(batch, n_outputs)``.

        Args:
            features: Prepared features, shape ``(batch, n_features)``.
        """
        self._features = features
        results = self._execute([self._tape(row) for row in features])
        return np.array(results, dtype=np.float64).reshape(len(features), -1)

    def backward(self, cotangents: Float2D) -> Float1D:
        """Gradient with respect to the weights, for the samples of :meth:`forward`.

        Args:
            cotangents: Shape ``(batch, n_outputs)``.

        Returns:
            Shape ``(n_weights,)``.
        """
        shifted: list[Any] = []
        spans = []
        for row in self._features:
            tape, slots = self._gates(row)
            tapes, combine = qml.gradients.param_shift(tape)
            spans.append((len(shifted), len(shifted) + len(tapes), combine, slots))
            shifted += tapes
        results = self._execute(shifted)
        gradient = np.zeros(self._model.n_weights)
        n_outputs = self._model.output_dim
        for dy, (start, end, combine, slots) in zip(cotangents, spans, strict=True):
            jacobian = np.array(combine(results[start:end]), dtype=np.float64)
            np.add.at(gradient, slots, dy @ jacobian.reshape(n_outputs, len(slots)))
        return gradient

    def _tape(self, row: Float1D) -> qml.tape.QuantumScript:
        make = qml.tape.make_qscript(self._model.circuit, shots=self.shots or None)
        return make(row, self._model.weights)

    def _gates(self, row: Float1D) -> tuple[qml.tape.QuantumScript, list[int]]:
        """One sample's tape in gates that can be shifted, and the weight of each."""
        tape = self._tape(row)
        operations: list[Any] = []
        trainable: list[int] = []
        slots: list[int] = []
        n_parameters = 0
        for block, op in zip(self._model.blocks, tape.operations, strict=True):
            if block.source == "features":
                operations.append(op)
                n_parameters += op.num_params
                continue
            # The same template on the indices of its weights says which gate has which.
            size = int(np.prod(block.shape))
            indices = np.arange(block.offset, block.offset + size, dtype=float)
            numbered = block.operation(indices.reshape(block.shape), wires=op.wires)
            for gate, number in zip(
                op.decomposition(), numbered.decomposition(), strict=True
            ):
                operations.append(gate)
                for value in number.data:
                    slots.append(int(value))
                    trainable.append(n_parameters)
                    n_parameters += 1
        return (
            qml.tape.QuantumScript(
                operations,
                tape.measurements,
                shots=tape.shots,
                trainable_params=trainable,
            ),
            slots,
        )

    def _execute(self, tapes: list[Any]) -> Any:
        self.circuits += len(tapes)
        return qml.execute(tapes, self._model.device, diff_method=None)
