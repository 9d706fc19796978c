"""What a circuit is before it runs: its gates, and what each output can depend on."""

from __future__ import annotations

from collections.abc import Sequence

from pennylane.operation import Operator
from pennylane.tape import QuantumScript

from qstore_pl.devices.gate_noise import gates_of
from qstore_pl.devices.lowering import bound_operations
from qstore_pl.devices.noise import is_gate
from qstore_pl.devices.symbols import Symbols


def gates(tape: QuantumScript, inputs: Sequence[Symbols | None]) -> list[Operator]:
    """The gates of a circuit, templates and gates on more than two wires taken apart.

    They are those that noise follows; state preparations are not among them. Their
    numbers mean nothing.

    Args:
        tape: The circuit.
        inputs: As :func:`qstore_pl.devices.compile`.
    """
    return [
        part
        for op, params in bound_operations(tape, inputs)
        for part, _ in gates_of(op, params)
        if is_gate(part)
    ]


def depth(operations: Sequence[Operator]) -> int:
    """Layers of gates that act at the same time, each gate as early as it can."""
    busy: dict[object, int] = {}
    for op in operations:
        layer = 1 + max(busy.get(wire, 0) for wire in op.wires)
        busy |= dict.fromkeys(op.wires, layer)
    return max(busy.values(), default=0)
