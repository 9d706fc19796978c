"""Chooses the fastest backend for a circuit among those that can run it."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import pennylane as qml

from qstore_pl._checks import integer
from qstore_pl.backends.table import BackendInfo, least, target_of

QPUS = ("ionq_qpu", "qiskit_remote")
FASTEST = (
    *("mock_ideal", "mock_noisy", "lightning", "default.qubit"),
    *("qiskit", "cirq", "cirq_mixed", "ionq_simulator", *QPUS),
)
"""The backends that may be chosen, by the time of a training step of a small model
(``tests/benchmarks``). Backends elsewhere come last: jobs wait there."""
NOISY = ("mock_noisy", *QPUS)  # without an option that gives them noise


@runtime_checkable
class HasQubits(Protocol):
    """What has a number of qubits, as a model does."""

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""


def qubits_of(circuit: Any) -> int:
    """The number of qubits of a circuit.

    Args:
        circuit: A model, a QNode whose device has wires, or the number itself, >= 1.

    Raises:
        ValueError: If the number is less than 1, or the device of a QNode has no wires.
        TypeError: If it is none of these.
    """
    if isinstance(circuit, qml.QNode):
        if circuit.device.wires is None:
            raise ValueError(
                "Argument `circuit` must be a QNode on a device with wires, but "
                f"{circuit.device.name} takes any. Give the number of qubits."
            )
        return len(circuit.device.wires)
    if isinstance(circuit, HasQubits):
        return circuit.n_qubits
    if isinstance(circuit, bool) or not isinstance(circuit, Integral):
        raise TypeError(
            "Argument `circuit` must be a model, a QNode or a number of qubits, but is "
            f"{circuit!r}."
        )
    return integer("circuit", circuit, minimum=1)


def best(
    backends: Mapping[str, BackendInfo],
    given: Mapping[str, Mapping[str, Any]],
    n_qubits: int,
    *,
    shots: int | None,
    noisy: bool,
    remote: bool,
    prefer_qpu: bool,
    max_cost: float | None,
) -> str:
    """The name of the first backend that can run a circuit.

    The arguments are those of :meth:`BackendManager.find_best_backend`.

    Args:
        backends: What is known of each backend.
        given: The options of each that the configuration sets.
        n_qubits: Number of qubits of the circuit.
        shots: Number of shots; None asks for exact values.
        noisy: Whether it must have noise; else it must have none.
        remote: Whether circuits may leave this computer.
        prefer_qpu: Whether quantum computers come first.
        max_cost: Most US dollars that the cheapest circuit may cost; None is any.

    Raises:
        ValueError: If there is none; the message says what excludes each.
    """
    order = [name for name in FASTEST if name in backends]
    if prefer_qpu:
        order.sort(key=lambda name: name not in QPUS)
    excluded = []
    for name in order:
        info = backends[name]
        is_wanted_qpu = prefer_qpu and name in QPUS
        reason = ""
        if info.remote and not (remote or prefer_qpu):
            reason = "is remote, and `remote` is False"
        elif (name in NOISY) != noisy and not is_wanted_qpu:
            reason = "has noise" if name in NOISY else "has no noise by itself"
        elif info.required:
            reason = f"must be given the option {info.required[0]!r}"
        elif shots is None and not info.exact:
            reason = "gives no exact values: give a number of shots"
        elif shots is not None and not info.shots:
            reason = "runs without shots"
        elif info.qubits is not None and info.qubits < n_qubits:
            reason = f"has {info.qubits} qubits"
        elif max_cost is not None:
            target = target_of(name, given.get(name, {}))
            reason = _too_dear(target, shots or 0, max_cost)
        if not reason and not info.installed:
            reason = f"is not installed: {info.install}"
        if not reason and info.keys and info.key_found is None:
            reason = f"has no key: set {info.keys[0]}"
        if not reason:
            return name
        excluded.append(f"{name} {reason}")
    values = "exactly" if shots is None else f"with {shots} shots"
    raise ValueError(
        f"No backend runs {n_qubits} qubits {values}{' with noise' if noisy else ''}: "
        f"{'; '.join(excluded)}."
    )


def _too_dear(target: str, shots: int, max_cost: float) -> str:
    """Why a target is dearer than this; empty if it is not."""
    dollars = least(target, shots)
    if dollars is None:
        return "has an unknown price"
    return f"takes at least {dollars:g} dollars a circuit" if dollars > max_cost else ""
