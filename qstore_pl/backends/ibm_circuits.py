"""Circuits in the gates of a Qiskit backend, and what its sampler measured.

A circuit is translated once, with parameters in the places of its angles, and runs at
many angles. This module knows no service and no jobs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import _checks
from qstore_pl.backends.machine import Batch
from qstore_pl.backends.qiskit import as_quantum_circuit
from qstore_pl.devices import Circuit, Gate

Float2D = NDArray[np.float64]
Int1D = NDArray[np.int64]
MOST = 3  # optimisation
KEPT = 64  # translated circuits
SEED = 0  # of the translation, which tries places on the chip at random
ISING = frozenset(("IsingXX", "IsingYY", "IsingZZ"))  # no chip of IBM has them
FREE = ("measure", "barrier", "delay")  # instructions that are no gates


class Translated(NamedTuple):
    """A circuit in the gates of a backend, on the qubits that were chosen for it.

    Args:
        circuit: The ``qiskit.QuantumCircuit``.
        columns: The columns of the angles that its parameters are, in their order.
        one: Number of gates on one qubit.
        more: Number of gates on more qubits.
    """

    circuit: Any
    columns: tuple[int, ...]
    one: int
    more: int


@final
class Translator:
    """Translates circuits into the gates of a backend, each of them once.

    Args:
        backend: The Qiskit backend.
        level: How much Qiskit optimises, from 0 to 3.

    Raises:
        TypeError: If ``level`` is no integer.
        ValueError: If it is out of range.
    """

    def __init__(self, backend: Any, level: int) -> None:
        self.level = _checks.integer("optimization_level", level, minimum=0)
        if level > MOST:
            raise ValueError(
                f"Argument `optimization_level` must be <= {MOST}, but is {level}."
            )
        self.backend = backend
        self._kept: OrderedDict[Circuit, Translated] = OrderedDict()
        self._passes: Any = None
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return Translator, (self.backend, self.level)

    def __call__(self, circuit: Circuit) -> Translated:
        """The circuit in the gates of the backend."""
        with self._lock:
            if circuit not in self._kept:
                while len(self._kept) >= KEPT:
                    self._kept.popitem(last=False)
                self._kept[circuit] = self._translated(circuit)
            self._kept.move_to_end(circuit)
            return self._kept[circuit]

    def gates(self, batch: Batch) -> tuple[Int1D, Int1D]:
        """Numbers of gates on one qubit, and on more, of each circuit of a batch."""
        own, ones = self(batch.circuit), np.ones(len(batch), dtype=np.int64)
        return own.one * ones, own.more * ones

    def _translated(self, circuit: Circuit) -> Translated:
        from qiskit.transpiler import generate_preset_pass_manager

        if self._passes is None:
            self._passes = generate_preset_pass_manager(
                optimization_level=self.level,
                backend=self.backend,
                seed_transpiler=SEED,
            )
        k = len(circuit.measured)
        made, parameters = as_quantum_circuit(circuit, n_bits=k)
        # Qiskit's first bit is the least significant one.
        made.measure(list(circuit.measured[::-1]), range(k))
        own = self._passes.run(made)
        column = {parameter: i for i, parameter in enumerate(parameters)}
        sizes = [len(one.qubits) for one in own.data if one.operation.name not in FREE]
        return Translated(
            own,
            tuple(column[parameter] for parameter in own.parameters),
            sum(size == 1 for size in sizes),
            sum(size > 1 for size in sizes),
        )

    def pub(self, circuit: Circuit, angles: Float2D, shots: int) -> tuple[Any, ...]:
        """What the sampler takes of one circuit at many angles.

        Args:
            circuit: The circuit.
            angles: Shape ``(n, n_columns)``, radians.
            shots: Number of shots at each of the angles.
        """
        own = self(circuit)
        return own.circuit, angles[:, list(own.columns)], shots


def counted(result: Any) -> list[tuple[Int1D, Int1D]]:
    """The different outcomes of each circuit, and how often each was measured.

    Args:
        result: What the sampler measured of one circuit at n angles. The first measured
            wire is the most significant bit of an outcome.
    """
    (bits,) = result.data.values()
    n_bytes = bits.array.shape[-1]
    values = np.int64(1) << 8 * np.arange(n_bytes, dtype=np.int64)[::-1]
    rows = bits.array.astype(np.int64) @ values  # (n, shots)
    return [np.unique(row, return_counts=True) for row in rows]


def as_tree(circuit: Circuit) -> dict[str, Any]:
    """A circuit as a tree of JSON."""
    return {
        "wires": circuit.n_wires,
        "gates": [
            [gate.name, [int(wire) for wire in gate.wires], gate.angle, gate.column]
            for gate in circuit.gates
        ],
        "measured": [int(wire) for wire in circuit.measured],
        "columns": circuit.n_columns,
    }


def of_tree(tree: dict[str, Any]) -> Circuit:
    """The circuit that :func:`as_tree` wrote."""
    gates: Sequence[Any] = tree["gates"]
    return Circuit(
        tree["wires"],
        tuple(Gate(name, tuple(wires), *angle) for name, wires, *angle in gates),
        tuple(tree["measured"]),
        tree["columns"],
    )
