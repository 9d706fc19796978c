"""A model on a backend: where its circuit runs, and what it measures there.

On the devices of this package the circuit is compiled once, and runs on arrays; on any
other device it runs as a QNode. It knows no loss and no optimizer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.devices import Device
from pennylane.exceptions import DeviceError
from pennylane.measurements import MeasurementProcess
from pennylane.ops import MidMeasure

from qstore_pl import devices
from qstore_pl._lazy import cached_property
from qstore_pl.backends import Backend, MachineDevice, MachineLanes, wire_labels
from qstore_pl.circuit import Block, Features, Weights

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

STATES_BYTES = 1 << 28  # of the work arrays while states are computed


class Circuit(Protocol):
    """What can be placed: blocks, measurements, and samples to try the blocks with."""

    @property
    def n_qubits(self) -> int:
        """Number of wires."""

    @property
    def n_features(self) -> int:
        """Columns of the encoded data."""

    @property
    def n_weights(self) -> int:
        """Length of the circuit's weights."""

    @property
    def blocks(self) -> Sequence[Block]:
        """The operations, with inputs in the whole rows of features and weights."""

    @property
    def measurements(self) -> Sequence[MeasurementProcess]:
        """What is measured, on positions of wires."""

    def examples(self) -> Float2D:
        """Encoded samples that differ, shape ``(n_samples, n_features)``."""


class Measured:
    """A circuit that measures something else than another one with the same gates.

    Args:
        circuit: The circuit with these gates.
        measurements: PennyLane's measurements on positions of wires.
    """

    def __init__(
        self, circuit: Circuit, measurements: Sequence[MeasurementProcess]
    ) -> None:
        self._circuit, self.measurements = circuit, measurements
        self.n_qubits = circuit.n_qubits
        self.n_features, self.n_weights = circuit.n_features, circuit.n_weights

    @property
    def blocks(self) -> Sequence[Block]:
        """The operations."""
        return self._circuit.blocks

    def examples(self) -> Float2D:
        """Encoded samples that differ."""
        return self._circuit.examples()


def bloch_vectors(n_qubits: int) -> list[MeasurementProcess]:
    """Expectation values of X on all qubits, then of Y, then of Z."""
    wires = range(n_qubits)
    return [qml.expval(pauli(k)) for pauli in (qml.X, qml.Y, qml.Z) for k in wires]


class Placed:
    """A circuit of blocks on a backend.

    Args:
        circuit: The circuit, usually a model.
        backend: Where it runs.

    Example:
        >>> from qstore_pl import QuantumModel
        >>> model = QuantumModel(2, 1, seed=0)
        >>> features = model.prepare([[0.1, 0.2], [0.3, 0.4]])
        >>> model.placed.values(features, model.weights).shape
        (2, 1)
    """

    def __init__(self, circuit: Circuit, backend: Backend) -> None:
        self._circuit, self.backend = circuit, backend
        self._lanes: dict[tuple[bool, bool], devices.Lanes | MachineLanes | None] = {}

    @cached_property
    def device(self) -> Device:
        """The PennyLane device, made when it is first needed."""
        return self.backend.device(self._circuit.n_qubits)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lanes": {}}  # they belong to this device

    def on(self, backend: Backend) -> Placed:
        """The same circuit on another backend."""
        return Placed(self._circuit, backend)

    @property
    def wires(self) -> tuple[Any, ...]:
        """The device's first wire labels, or numbers where it takes any label."""
        return wire_labels(self.device, self._circuit.n_qubits)

    def circuit(self, features: Any, weights: Any) -> list[Any]:
        """The quantum function.

        Args:
            features: Encoded data, shape ``(n_features,)`` or ``(batch, n_features)``.
            weights: Shape ``(n_weights,)``, radians where they are angles.

        Returns:
            PennyLane's measurements.
        """
        labels = self.wires
        for block in self._circuit.blocks:
            block.apply(features, weights, labels)
        return [qml.apply(mp) for mp in _measured(self._circuit, labels)]

    @property
    def qnode(self) -> qml.QNode:
        """The circuit as a QNode of encoded data and flat weights."""
        return qml.QNode(self.circuit, self.device)

    @cached_property
    def program(self) -> devices.Program | None:
        """The circuit compiled for the device.

        It is None on devices of others, with shots, and where noise depends on the
        values of gates: there the circuit runs as a QNode.
        """
        return self.compile(self.device) if devices.is_native(self.device) else None

    def compile(self, device: Device) -> devices.Program | None:
        """The circuit compiled for a device of this package without shots.

        Args:
            device: One for which :func:`qstore_pl.devices.is_native` holds.

        Returns:
            None if its noise depends on the values of gates.
        """
        circuit = self._circuit
        labels = wire_labels(device, circuit.n_qubits)
        tape, inputs = traced(circuit, labels)
        return devices.compile(
            tape,
            inputs,
            device,
            n_weights=circuit.n_weights,
            n_features=circuit.n_features,
        )

    def lanes(
        self, *, shots: bool, shifted: bool
    ) -> devices.Lanes | MachineLanes | None:
        """The circuit compiled to run at many values at once.

        Args:
            shots: Whether values are estimated from shots.
            shifted: Whether gates can be shifted; else every lane has its own weights.

        Returns:
            None on devices of others, where noise depends on the values of gates, and
            where a gate cannot be compiled: there it runs as tapes.

        Raises:
            DeviceError: If a gate has no shift rule.
        """
        key = shots, shifted
        if key not in self._lanes:
            found: devices.Lanes | MachineLanes | None = None
            if isinstance(self.device, MachineDevice):
                found = self._on_machine(self.device, shifted=shifted)
            elif devices.is_ours(self.device):
                circuit = self._circuit
                tape, inputs = traced(circuit, self.wires)
                with contextlib.suppress(devices.CannotCompileError):
                    found = devices.lanes(
                        tape,
                        inputs,
                        self.device,
                        n_weights=circuit.n_weights,
                        n_features=circuit.n_features,
                        shots=shots,
                        shifted=shifted,
                    )
            self._lanes[key] = found
        return self._lanes[key]

    def _on_machine(
        self, device: MachineDevice, *, shifted: bool
    ) -> MachineLanes | None:
        """As :meth:`lanes`, on a machine of another package."""
        circuit = self._circuit
        with contextlib.suppress(devices.CannotCompileError):
            tape, inputs = traced(circuit, self.wires)
            return device.lanes(
                tape,
                inputs,
                n_weights=circuit.n_weights,
                n_features=circuit.n_features,
                shifted=shifted,
            )
        return None

    def values(self, features: Float2D, weights: Float1D) -> Float2D:
        """The measured values of some samples.

        Args:
            features: Encoded data, shape ``(n_samples, n_features)``.
            weights: Shape ``(n_weights,)``.

        Returns:
            Shape ``(n_samples, n_values)``.

        Raises:
            QuantumCircuitError: If a device that is not ours fails.
        """
        if self.program is not None:
            return self.program.run(weights, features)
        n_samples = len(features)
        shots = self.device.shots.total_shots or 0
        lanes = self.lanes(shots=bool(shots), shifted=False)
        with devices.running_on(self.device, self.backend.name):
            if isinstance(lanes, MachineLanes):
                rows = np.arange(n_samples)
                return lanes.at(weights[None], features, rows, shots=shots)[0]
            # Not every device takes a batch of one.
            results = self.qnode(features[0] if n_samples == 1 else features, weights)
        parts = [np.reshape(part, (n_samples, -1)) for part in results]
        return np.concatenate(parts, axis=1).astype(np.float64)

    # --- states -------------------------------------------------------------------

    @property
    def n_qubits(self) -> int:
        """Number of qubits of the circuit."""
        return self._circuit.n_qubits

    @cached_property
    def local(self) -> Placed:
        """The circuit with X, Y and Z of all qubits measured, :func:`bloch_vectors`."""
        measured = bloch_vectors(self._circuit.n_qubits)
        return Placed(Measured(self._circuit, measured), self.backend)

    @cached_property
    def states_program(self) -> devices.Program | None:
        """The circuit without measurements, compiled for its state on all wires.

        It is None on devices of others, and where noise depends on the values of gates.

        Raises:
            DeviceError: If the circuit has no single state: with shots, trajectories,
                or a measurement inside; or if it cannot be compiled.
        """
        circuit, device = self._circuit, self.device
        if device.shots:
            raise DeviceError(
                f"The states of a circuit cannot be estimated from shots, but device "
                f"{device.name} has {device.shots.total_shots}. Take one without shots."
            )
        tape, inputs = traced(circuit, self.wires)
        if any(isinstance(op, MidMeasure) for op in tape.operations):
            raise DeviceError(
                "A circuit with a measurement inside has a state for each outcome. Use "
                "gates that are controlled by the wire instead of its measurement."
            )
        if not devices.is_native(device):
            return None
        # The identity has no gate, but names all wires, in their order.
        named = [qml.Identity(self.wires), *tape.operations]
        n_inputs = sum(len(op.data) for op in named)
        program = devices.compile(
            qml.tape.QuantumScript(named),
            inputs[:n_inputs],
            device,
            n_weights=circuit.n_weights,
            n_features=circuit.n_features,
        )
        if isinstance(program, devices.TrajectoryProgram):
            raise DeviceError(
                "Trajectories estimate expectation values, and have no density matrix. "
                'Use method="density", or expectation values.'
            )
        return program

    @cached_property
    def is_mixed(self) -> bool:
        """Whether :meth:`states` are density matrices, as Pauli vectors."""
        if self.states_program is not None:
            return isinstance(self.states_program, devices.MixedProgram)
        weights = np.zeros(self._circuit.n_weights)
        return self._state_of_qnode(self._circuit.examples()[:1], weights).ndim == 2

    def states(self, features: Float2D, weights: Float1D) -> NDArray[Any]:
        r"""The final states of some samples, on all wires, wire 0 most significant.

        Wires that a layer does not keep belong to the state like all others. Readout
        error acts on what is measured, and therefore not on states.

        Args:
            features: Encoded data, shape ``(n_samples, n_features)``.
            weights: Shape ``(n_weights,)``.

        Returns:
            State vectors, complex128 of shape ``(n_samples, 2**n_qubits)``; or, where
            states are mixed, Pauli vectors, float64 of shape
            ``(n_samples, 4**n_qubits)``, whose entries are :math:`\mathrm{Tr}(P\rho)`,
            with the letters I, X, Y, Z of the word P as the digits 0 to 3 of an index.

        Raises:
            DeviceError: If the circuit has no single state: with shots, trajectories,
                or a measurement inside.
            QuantumCircuitError: If a device that is not ours fails.
        """
        program = self.states_program
        if program is None:
            return self._states_of_qnode(features, weights)
        mixed = isinstance(program, devices.MixedProgram)
        length = 1 << program.n_wires * (1 + mixed)
        states = np.empty((len(features), length), float if mixed else complex)
        at_a_time = max(1, STATES_BYTES // (3 * states.itemsize * length))
        for start in range(0, len(features), at_a_time):
            end = start + at_a_time
            states[start:end] = program.states(weights, features[start:end])
        return states

    def _states_of_qnode(self, features: Float2D, weights: Float1D) -> NDArray[Any]:
        """The states by PennyLane's measurement, in our form."""
        found = self._state_of_qnode(features, weights)
        kept = 1 << self._circuit.n_qubits
        rest = found.shape[-1] // kept  # of wires that only the device has, all in 0
        if self.is_mixed:
            found = found.reshape(-1, kept, rest, kept, rest)[:, :, 0, :, 0]
            found = devices.pauli_vector(found)
        else:
            found = found.reshape(-1, kept, rest)[:, :, 0].astype(np.complex128)
        return np.broadcast_to(found, (len(features), found.shape[1])).copy()

    def _state_of_qnode(self, features: Float2D, weights: Float1D) -> NDArray[Any]:
        """State vectors or density matrices; a single sample has no batch axis."""
        labels = self.wires
        given = features[0] if len(features) == 1 else features

        def function() -> Any:
            for block in self._circuit.blocks:
                block.apply(given, weights, labels)
            for label in labels:
                qml.Identity(label)  # so that the state has all wires
            return qml.state()

        with devices.running_on(self.device, self.backend.name):
            return np.asarray(qml.QNode(function, self.device)())


def traced(
    circuit: Circuit, labels: Sequence[Any]
) -> tuple[qml.tape.QuantumScript, list[devices.Symbols | None]]:
    """The circuit as a tape, and what each of the tape's parameters depends on.

    Args:
        circuit: The circuit.
        labels: What its wires are called.

    Returns:
        The tape, and for each of its parameters a symbol in features and weights, or
        None where the number on the tape is a constant.

    Raises:
        DeviceError: If an operation looks at the values of its inputs and computes with
            them.
    """
    operations: list[Any] = []
    inputs: list[devices.Symbols | None] = []
    for block in circuit.blocks:
        wires = [labels[wire] for wire in block.wires]
        make = qml.tape.make_qscript(block.operation)
        symbols = [_symbols(given) for given in block.inputs]
        try:
            applied = make(*symbols, wires=wires).operations
        except devices.SymbolError as error:
            # It looks at the numbers, to check or normalise them: then they must be
            # the operation's parameters as they are.
            applied = _with_numbers(circuit, block, wires, error)
            inputs += [s if isinstance(s, devices.Symbols) else None for s in symbols]
        else:
            inputs += [devices.symbols_of(datum) for op in applied for datum in op.data]
        operations += applied
    measured = _measured(circuit, labels)
    for mp in measured:  # the numbers of observables are constants
        inputs += [None] * (0 if mp.obs is None else len(mp.obs.data))
    return qml.tape.QuantumScript(operations, measured), inputs


def _measured(circuit: Circuit, labels: Sequence[Any]) -> list[MeasurementProcess]:
    """What is measured, on wires of these labels."""
    names = dict(enumerate(labels))
    with devices.aside():
        return [mp.map_wires(names) for mp in circuit.measurements]


def _symbols(given: Any) -> Any:
    """An input of a block as symbols; a constant as it is."""
    if isinstance(given, Features | Weights):
        source = "features" if isinstance(given, Features) else "weights"
        return devices.symbols(source, given.first, given.shape)
    return given


def _with_numbers(
    circuit: Circuit, block: Block, wires: list[Any], error: devices.SymbolError
) -> list[Any]:
    """The operation of a block, made of numbers, which it must not change."""
    rng = np.random.default_rng(0)
    make = qml.tape.make_qscript(block.operation)
    found: list[Any] = []
    for features in circuit.examples():
        weights = rng.uniform(-3.0, 3.0, circuit.n_weights)
        values = block.values(features, weights)
        try:
            applied = make(*values, wires=wires)
        except ValueError:  # it takes only some numbers, such as bits
            if not found:
                raise
            continue
        data = [datum for op in applied.operations for datum in op.data]
        same = [op.name for op in found] in ([], [op.name for op in applied.operations])
        if (
            len(data) != len(values)
            or not all(map(np.array_equal, data, values))
            or not same
        ):
            raise DeviceError(
                f"{block} cannot be compiled: its operation takes {error} of an input "
                "and computes with it. Inputs whose values are looked at must be the "
                "operation's parameters as they are."
            ) from error
        found = list(applied.operations)
    return found
