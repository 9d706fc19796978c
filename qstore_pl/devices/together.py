"""Tapes of one structure that run as one batch.

The tapes of one call are taken apart, and sorted by structure: operations, wires, what
is measured, and shots. What has different values in tapes of one structure becomes a
feature, as if they were the samples of one batched tape; what is equal in all of them
stays a weight.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pennylane.operation import Operator
from pennylane.ops import MidMeasure, Projector
from pennylane.tape import QuantumScript

from qstore_pl.devices.entries import Parameter
from qstore_pl.devices.lowering import Circuit, Part, take_apart, values_of
from qstore_pl.devices.plans import Plan
from qstore_pl.devices.readings import measured_key
from qstore_pl.engine.gates import FEATURE, WEIGHT

Float = NDArray[np.float64]

CHUNK_BYTES = 1 << 26  # of the states of tapes that run together


class Taken(NamedTuple):
    """A tape whose operations were taken apart.

    Args:
        parts: Its operations.
        key: Its structure, with lengths of batch axes, and what it measures; equal for
            tapes of one call that can run together.
    """

    parts: list[Part]
    key: Hashable


class Taking:
    """Takes the tapes of one call apart. What they share is taken apart once."""

    def __init__(self) -> None:
        # By the identity of operations and measurements, which the tapes keep alive.
        self._parts: dict[int, tuple[Part, int]] = {}
        self._measured: dict[int, Hashable] = {}
        self._structures: dict[Hashable, int] = {}

    def of(self, tape: QuantumScript) -> Taken | None:
        """A tape taken apart, or None if there is a projector or measurement inside.

        Args:
            tape: The tape.
        """
        known, found = self._parts, []
        for op in tape.operations:
            part = known.get(id(op)) or self._new(op)
            if part is None:
                return None
            found.append(part)
        structure = tuple([number for _, number in found])
        parts = [part for part, _ in found]
        return Taken(parts, (structure, self.measured(tape), tape.shots))

    def _new(self, op: Operator) -> tuple[Part, int] | None:
        """An operation that is met for the first time, and its structure's number."""
        if isinstance(op, MidMeasure | Projector):
            return None
        part = Part.of(op)
        kinds = tuple([(value.kind, value.rows.shape) for value in part.values])
        number = self._structures.setdefault((part.key, kinds), len(self._structures))
        self._parts[id(op)] = part, number
        return part, number

    def measured(self, tape: QuantumScript) -> Hashable:
        """What the measurements of a tape are, with every bit of their numbers."""
        keys = []
        for mp in tape.measurements:
            if id(mp) not in self._measured:
                self._measured[id(mp)] = measured_key(mp)
            keys.append(self._measured[id(mp)])
        return tuple(keys)


class Batch:
    """Tapes of one structure.

    Args:
        tape: The first of them.
        parts: Its operations.
        plan: How they are executed.
    """

    def __init__(self, tape: QuantumScript, parts: Sequence[Part], plan: Plan) -> None:
        self.plan, self.parts = plan, parts
        self.circuit = take_apart(tape, plan.words, order=plan.order, parts=parts)
        self.places: list[int] = []
        self.tapes: list[QuantumScript] = []
        self.numbers: list[int] = []
        self._values: list[tuple[Float, Float]] = []

    def add(
        self, place: int, tape: QuantumScript, parts: Sequence[Part], number: int
    ) -> None:
        """Add a tape of this structure.

        Args:
            place: Its place in the call.
            tape: The tape.
            parts: Its operations.
            number: Number of the first circuit that it draws for.
        """
        weights, features, _ = values_of(parts)
        self.places.append(place)
        self.tapes.append(tape)
        self.numbers.append(number)
        self._values.append((weights, features))

    def chunks(self, state_bytes: int) -> list[slice]:
        """Tapes that run together, as many as memory allows.

        Args:
            state_bytes: Memory that a state takes.
        """
        step = max(1, CHUNK_BYTES // ((self.circuit.batch or 1) * state_bytes))
        n = len(self.tapes)
        return [slice(i, min(i + step, n)) for i in range(0, n, step)]

    def stacked(self, chunk: slice) -> Circuit:
        """Some of the tapes as one circuit, the rows of one tape after the other.

        Args:
            chunk: Which tapes.
        """
        values = self._values[chunk]
        weights, features = values[0]
        if len(values) == 1:
            return dataclasses.replace(self.circuit, weights=weights, features=features)
        return stacked(
            self.circuit,
            np.stack([weights for weights, _ in values]),
            np.stack([features for _, features in values]),
        )


def stacked(circuit: Circuit, weights: Float, features: Float) -> Circuit:
    """Circuits of one structure as one with a batch axis.

    Args:
        circuit: One of them, of which the structure counts.
        weights: Weights of each, shape ``(n_circuits, n_weights)``.
        features: Features of each, shape ``(n_circuits, batch, n_features)``.

    Returns:
        The circuit whose samples are those of all circuits. Its key is that of a tape
        in which the parameters that differ have a batch axis.
    """
    batch = features.shape[1]
    differs = (weights != weights[0]).any(axis=0)
    shared: list[NDArray[np.intp]] = []  # columns of the weights
    own: list[Float] = []
    sizes = {WEIGHT: 0, FEATURE: 0}
    parameters: list[tuple[Parameter, ...]] = []
    key = list(circuit.key[:2])
    at = 2
    for params in circuit.parameters:
        key.append(circuit.key[at])
        found = []
        for param, (_, shape, is_complex, wanted) in zip(
            params, circuit.key[at + 1 : at + 1 + len(params)], strict=True
        ):
            columns = param.offset + np.arange(param.size)
            kind = param.kind
            if kind == FEATURE:
                own.append(features[:, :, columns].reshape(-1, param.size))
            elif differs[columns].any():
                kind = FEATURE
                own.append(np.repeat(weights[:, columns], batch, axis=0))
            else:
                shared.append(columns)
            found.append(dataclasses.replace(param, kind=kind, offset=sizes[kind]))
            sizes[kind] += param.size
            key.append((kind == FEATURE, shape, is_complex, wanted))
        at += 1 + len(params)
        parameters.append(tuple(found))
    n_rows = len(weights) * batch
    columns = np.concatenate([np.empty(0, np.intp), *shared])
    return dataclasses.replace(
        circuit,
        parameters=tuple(parameters),
        weights=np.ascontiguousarray(weights[0, columns]),
        features=np.ascontiguousarray(np.concatenate(own, axis=1))
        if own
        else np.empty((n_rows, 0)),
        batch=n_rows,
        key=tuple(key),
    )
