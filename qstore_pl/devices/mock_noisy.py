"""``qstore.mock_noisy``: noise after gates, batches in one call, its own gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.devices import ExecutionConfig
from pennylane.exceptions import DeviceError
from pennylane.measurements import StateMP
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline

from qstore_pl._checks import choice, integer, real
from qstore_pl.devices.base import PURE, Lowered, QStoreDevice
from qstore_pl.devices.bound import NO_STRENGTHS, NeedsMixedStatesError
from qstore_pl.devices.gate_noise import ModelNoise, ReadsValuesError, SpecNoise
from qstore_pl.devices.lowering import Circuit, wire_order
from qstore_pl.devices.memory import fits
from qstore_pl.devices.noise import NoiseSpec
from qstore_pl.devices.preprocessing import noisy_pipeline
from qstore_pl.devices.presets import DEFAULT_PRESET, as_noise
from qstore_pl.devices.propagation import Propagated
from qstore_pl.devices.pullback import Gradients
from qstore_pl.devices.readout import Readout
from qstore_pl.devices.records import postselected, records_of
from qstore_pl.devices.states import MixedStates, StateKind
from qstore_pl.devices.tensors import is_traced
from qstore_pl.devices.trajectories import TrajectoryStates, precision
from qstore_pl.engine.precision import DOUBLE
from qstore_pl.engine.propagation import MAX_WORDS
from qstore_pl.engine.trajectories import TrajectoryPass

Noisy = MixedStates | TrajectoryStates | Propagated  # what noise is simulated by

METHODS = ("density", "trajectories", "pauli_propagation", "auto")
PROPAGATING = ("pauli_propagation", "auto")
POSTSELECTED = '{} no postselected outcomes. Use method="density".'


class MockNoisy(QStoreDevice):
    """A simulator of density matrices with the noise of a machine.

    Noise follows each gate on one or two wires, as PennyLane writes the gates after it
    has decomposed templates; gates on more wires are decomposed first. Batches,
    gradients, interfaces, shots and seeds are as for :class:`MockIdeal`. Channels in
    the circuit itself are executed and differentiated. ``qml.state()`` is the density
    matrix, or the state vector where there is neither noise nor a channel;
    ``qml.density_matrix`` is the density matrix in both cases.

    Args:
        wires: Number of wires, or their labels; None takes them from each circuit.
        shots: PennyLane's deprecated default number of shots; prefer ``qml.set_shots``.
        noise: The name of a preset, a :class:`NoiseSpec`, a `qml.NoiseModel`, or None
            for no noise.
        noise_scale: Factor of the strengths of the noise, >= 0, as in
            :meth:`NoiseSpec.scaled`; 0 or 1 for a `qml.NoiseModel`.
        method: ``"density"`` simulates density matrices, exactly. ``"trajectories"``
            averages over state vectors, for more wires than density matrices have
            memory for: the one of the circuit without errors has its exact weight, and
            those of circuits with errors are drawn at random. It gives unbiased
            estimates of expectation values, probabilities and their gradients with
            respect to weights and inputs. A ``qml.Tracker`` records their standard
            errors in ``history["standard_errors"]``, the two ends of their 95 %
            intervals in ``history["intervals"]``, and the weight of the circuit without
            errors in ``history["no_error_weights"]``. With shots, outcomes are drawn
            from the average over trajectories. Where noise is not unital, as damping,
            that is not normalised, and estimates have a bias of the order of one over
            the number of trajectories.
            ``"pauli_propagation"`` computes expectation values exactly, and their
            gradients, from the Pauli words on which they depend, for circuits on many
            wires whose entanglement is local; it has no states. ``"auto"`` is
            ``"density"`` where density matrices have memory, and else
            ``"pauli_propagation"``; it never draws at random.
        trajectories: Number of state vectors with errors that are drawn for each
            sample, >= 1; equal ones are computed once. None unless the method is
            ``"trajectories"``.
        max_words: How many Pauli words Pauli propagation may compute for a sample,
            those after each gate counted again, >= 1. A circuit that needs more is
            refused. None, the only choice for the other methods, is 3 million.
        seed: Seed of samples and trajectories, as for :class:`MockIdeal`.
        dtype: Type of the amplitudes, ``"complex128"`` or ``"complex64"``, as for
            :class:`MockIdeal`, with the same bounds on errors. Density matrices are
            kept as real numbers of half this size. Noise is undone as well when a
            gradient is computed; where that would make errors of single precision more
            than 10 times larger, a state is kept instead, so that more are kept than in
            double precision. Pauli propagation is in double precision only.

    Raises:
        ValueError: If the preset or the method is unknown, the scale is negative or not
            allowed, or ``trajectories`` or ``max_words`` is missing or has no use.
        TypeError: If ``noise`` is something else.

    **Example**

    >>> import pennylane as qml
    >>> dev = qml.device("qstore.mock_noisy", wires=1, noise=NoiseSpec(p1=0.03))
    >>> @qml.qnode(dev)
    ... def circuit(x):
    ...     qml.RX(x, wires=0)
    ...     return qml.expval(qml.Z(0))
    >>> print(f"{circuit(0.0):.2f}")
    0.96
    """

    config_filepath = str(Path(__file__).with_name("mock_noisy.toml"))

    def __init__(
        self,
        wires: Any = None,
        shots: Any = None,
        *,
        noise: Any = DEFAULT_PRESET,
        noise_scale: float = 1.0,
        method: str = "density",
        trajectories: int | None = None,
        max_words: int | None = None,
        seed: Any = "global",
        dtype: str = "complex128",
    ) -> None:
        super().__init__(wires=wires, shots=shots, seed=seed, dtype=dtype)
        noise = as_noise(noise)
        scale = real("noise_scale", noise_scale, minimum=0.0)
        self._model: qml.NoiseModel | None = None
        if isinstance(noise, qml.NoiseModel):
            if scale not in (0.0, 1.0):
                raise ValueError(
                    "Argument `noise_scale` must be 0 or 1 for a qml.NoiseModel, whose "
                    f"strengths are not known, but is {scale}. Use a NoiseSpec."
                )
            self._model = noise if scale else None
            noise = NoiseSpec()
        self._noise = SpecNoise(noise.scaled(scale))
        choice("method", method, METHODS)
        if (method == "trajectories") != (trajectories is not None):
            raise ValueError(
                'Argument `trajectories` must be given for method="trajectories", and '
                f"only there, but is {trajectories} for method={method!r}."
            )
        if trajectories is not None:
            integer("trajectories", trajectories, minimum=1)
        self._trajectories = trajectories
        if max_words is not None:
            integer("max_words", max_words, minimum=1)
            if method not in PROPAGATING:
                raise ValueError(
                    "Argument `max_words` must be None unless the method is "
                    '"pauli_propagation" or "auto", but is '
                    f"{max_words} for method={method!r}."
                )
        if method in PROPAGATING and dtype != DOUBLE:
            raise ValueError(
                f'Argument `dtype` must be "complex128" for method={method!r}, which '
                f"computes Pauli words in double precision, but is {dtype!r}."
            )
        self._method, self._max_words = method, max_words or MAX_WORDS

    @property
    def name(self) -> str:
        """The name for ``qml.device``."""
        return "qstore.mock_noisy"

    @property
    def description(self) -> str:
        """A text that says what the device is; its seed is not part of it."""
        drawn = "" if self._trajectories is None else f", {self._trajectories} drawn"
        return f"{super().description}, noise={self.noise!r}{drawn}"

    @property
    def functions(self) -> list[Callable[..., Any]]:
        """The functions in a `qml.NoiseModel`: its conditions and what they insert."""
        if self._model is None:
            return []
        pairs = [*self._model.model_map.items(), *self._model.meas_map.items()]
        return [f for condition, noise in pairs for f in (*_inside(condition), noise)]

    @property
    def noise(self) -> NoiseSpec | qml.NoiseModel:
        """The noise of the device, scaled."""
        return self._noise.spec if self._model is None else self._model

    def preprocess_transforms(
        self, execution_config: ExecutionConfig | None = None
    ) -> CompilePipeline:
        """PennyLane's transforms that bring a tape to what :meth:`execute` takes."""
        config = execution_config or ExecutionConfig()
        return noisy_pipeline(
            config, self.wires, self.name, self._noise.spec, self._model
        )

    @property
    def follows_gates(self) -> bool:
        """Whether the noise has channels or over-rotations of gates."""
        return self._noise.follows_gates

    def lowered(
        self, tape: QuantumScript, lower: Callable[[StateKind, Any], Lowered]
    ) -> Lowered | None:
        """As :meth:`QStoreDevice.lowered`, with the noise of this device."""
        kind = self._kind(tape)
        if self._model is not None:
            kind = self._mixed(tape)
            assert isinstance(kind, Noisy)
            if self._model.meas_map or kind.noise.records:
                return None
        try:
            if kind is PURE:
                try:
                    return lower(kind, None)
                except NeedsMixedStatesError:  # a channel inside another operation
                    kind = self._mixed(tape)
            assert isinstance(kind, Noisy)
            if self._model is not None:
                return lower(kind, ModelNoise(self._model))
            return lower(kind, kind.noise)
        except ReadsValuesError:
            return None

    def _mcm_config(
        self, config: ExecutionConfig, circuit: QuantumScript | None
    ) -> Any:
        # Both methods have the same distribution of results, and are executed in the
        # same way: outcomes are drawn from the circuit with deferred measurements.
        return super()._mcm_config(config, circuit)

    def _mixed(self, tape: QuantumScript) -> StateKind:
        records = records_of(tape.operations)
        noise = self._noise.knowing([record.wires[0] for record in records])
        selected = postselected(tape.operations)
        propagated = self._propagates(tape, mixed=True)
        if propagated:
            if selected:
                raise DeviceError(POSTSELECTED.format("Pauli propagation takes"))
            return Propagated(noise, self._max_words)
        if self._trajectories is None:
            return MixedStates(noise, selected)
        if selected:
            raise DeviceError(POSTSELECTED.format("Trajectories take"))
        return TrajectoryStates(noise, self._trajectories, self._uniform)

    def _propagates(self, tape: QuantumScript, *, mixed: bool) -> bool:
        """Whether a circuit runs by Pauli propagation.

        Args:
            tape: The circuit.
            mixed: Whether its states are density matrices.
        """
        if self._method == "auto":
            return not fits(len(wire_order(tape)), mixed=mixed)
        return self._method == "pauli_propagation"

    def _uniform(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        with self._rng_lock:
            return self._rng.random(shape)

    def _report(
        self,
        readouts: Sequence[Readout],
        circuit: Circuit,
        work: Any,
        states: NDArray[Any] | None,
    ) -> None:
        if self.tracker.active and isinstance(work, TrajectoryPass):
            found = precision(readouts, circuit, work, states)
            self.tracker.update(
                standard_errors=found.standard_errors,
                intervals=found.intervals,
                no_error_weights=found.no_error_weights,
            )

    def _refusal(self, tape: QuantumScript, kind: StateKind) -> str | None:
        if isinstance(kind, TrajectoryStates):
            for op in tape.operations:
                channel = isinstance(op, qml.operation.Channel)
                if channel and any(map(is_traced, op.data)):
                    return NO_STRENGTHS.format(op.name)
        return None

    def _vjp(self, tape: QuantumScript, dy: Any, *, conjugate: bool) -> Gradients:
        if isinstance(self._kind(tape), TrajectoryStates):
            trainable, index = set(tape.trainable_params), 0
            for op in tape.operations:
                end = index + op.num_params
                own = trainable.intersection(range(index, end))
                if own and isinstance(op, qml.operation.Channel):
                    raise DeviceError(NO_STRENGTHS.format(op.name))
                index = end
        return super()._vjp(tape, dy, conjugate=conjugate)

    def _execute_with_collapse(
        self, tape: QuantumScript, config: ExecutionConfig
    ) -> Any:
        if not self._is_pure(tape):
            raise DeviceError(
                f"Measurements inside a circuit must be deferred on {self.name}, and "
                "projectors be postselected measurements. Execute the circuit through "
                "a QNode, and use qml.measure(wire, postselect=...)."
            )
        results = super()._execute_with_collapse(tape, config)
        return results if tape.shots else self._followed(tape, results)

    def _snapshot_kind(self, tape: QuantumScript) -> StateKind:
        return self._mixed(tape)

    def _take_snapshots(self, tape: QuantumScript) -> None:
        if isinstance(self._kind(tape), TrajectoryStates | Propagated) and any(
            isinstance(op, qml.Snapshot) for op in tape.operations
        ):
            raise DeviceError(
                "Trajectories and Pauli propagation have no density matrix to take "
                'snapshots of. Use method="density".'
            )
        super()._take_snapshots(tape)

    def _is_pure(self, tape: QuantumScript) -> bool:
        """Whether states are vectors: neither the device nor the circuit has noise."""
        if self._propagates(tape, mixed=False):
            return False
        spec = self._noise.spec
        mixed = (qml.operation.Channel, qml.QubitDensityMatrix)
        return not (
            spec.has_gate_noise
            or spec.has_readout_error
            or any(isinstance(op, mixed) for op in tape.operations)
        )

    def _kind(self, tape: QuantumScript) -> StateKind:
        """The kind of states: pure without noise, unless the tape returns a state."""
        if not self._is_pure(tape):
            return self._mixed(tape)
        if any(type(mp) is StateMP for mp in tape.measurements):
            return MixedStates(self._noise)
        return PURE

    def _followed(self, tape: QuantumScript, results: Any) -> Any:
        several = len(tape.measurements) > 1
        pairs = zip(tape.measurements, results if several else (results,), strict=True)
        found = tuple(_outer(r) if type(mp) is StateMP else r for mp, r in pairs)
        return found if several else found[0]


def _outer(state: Any) -> Any:
    """The density matrix of a state vector, in its own framework."""
    return state[..., :, None] * qml.math.conj(state)[..., None, :]


def _inside(condition: qml.BooleanFn) -> Iterator[Callable[..., Any]]:
    """The functions that a condition on gates consists of."""
    yield condition.fn
    for operand in vars(condition).get("operands", ()):
        yield from _inside(operand)
