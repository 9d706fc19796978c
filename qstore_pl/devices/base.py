"""What the two devices have in common: PennyLane's interface of devices.

A tape is preprocessed by PennyLane's transforms and lowered once for each structure; a
batch of samples is executed by one call of the Program, and differentiated by another.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.devices import ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.exceptions import DeviceError
from pennylane.measurements import ProbabilityMP
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline

from qstore_pl.devices.acceptance import collapses, has_native_gradient
from qstore_pl.devices.aside import aside
from qstore_pl.devices.bound import lower_bound
from qstore_pl.devices.collapse import execute_with_collapse, has_collapse
from qstore_pl.devices.deferring import deferred_bound
from qstore_pl.devices.differentiation import (
    JAX,
    NativeGradients,
    is_own,
    refuse_lost_derivatives,
    resolved,
    torch_records,
)
from qstore_pl.devices.framework import (
    as_interface,
    simulate_followed,
    simulated_vjp,
)
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.lowering import (
    Circuit,
    Part,
    take_apart,
    wire_order,
)
from qstore_pl.devices.passes import KeptPasses
from qstore_pl.devices.plans import Plan, ProgramOf, Streams
from qstore_pl.devices.preprocessing import pure_pipeline
from qstore_pl.devices.program_cache import CacheInfo, ProgramCache
from qstore_pl.devices.pullback import SECOND_DERIVATIVE, Gradients, pull_back
from qstore_pl.devices.readings import Readings, Rotation, measured_key
from qstore_pl.devices.readout import Readout, untraced
from qstore_pl.devices.records import postselected
from qstore_pl.devices.resumable import ResumableDevice
from qstore_pl.devices.seeds import as_seed
from qstore_pl.devices.snapshots import take_snapshots
from qstore_pl.devices.states import PureStates, StateKind
from qstore_pl.devices.symbols import Symbols
from qstore_pl.devices.tensors import (
    autograd_traces,
    is_jax,
    is_traced,
    jax_arrays,
    to_numpy,
)
from qstore_pl.devices.together import Batch, Taken, Taking
from qstore_pl.engine.precision import DOUBLE, precision
from qstore_pl.engine.program import Pass, Program

PURE = PureStates()
_NO_ROTATION = Rotation()
_NOT_COPIED = (
    "_rng_lock",
    "_kept_passes",
    "_native_gradients",
    "_readings",
    "_debugger",
)
Lowered = TypeVar("Lowered")


@simulator_tracking
@single_tape_support
class QStoreDevice(ResumableDevice):
    """Base of the devices. See :class:`MockIdeal` for the arguments."""

    def __init__(
        self,
        wires: Any = None,
        shots: Any = None,
        *,
        seed: Any = "global",
        dtype: str = DOUBLE,
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        self._dtype = precision(dtype)
        self._rng = np.random.default_rng(as_seed(seed))
        self._rng_lock = threading.Lock()
        self._cache = ProgramCache()
        self._kept_passes = KeptPasses()
        self._native_gradients = NativeGradients()
        self._readings = Readings()
        # PennyLane leaves snapshots to a device that has this attribute.
        self._debugger: Any = None

    @property
    def dtype(self) -> str:
        """The type of amplitudes, which says the precision of the states."""
        return self._dtype

    @property
    def description(self) -> str:
        """A text that says what the device is; its seed is not part of it."""
        return self.name if self._dtype == DOUBLE else f"{self.name}, {self._dtype}"

    # --- before anything is executed ----------------------------------------------

    def supports_derivatives(
        self,
        execution_config: ExecutionConfig | None = None,
        circuit: QuantumScript | None = None,
    ) -> bool:
        """Whether this device says itself how a gradient is taken."""
        return execution_config is None or is_own(execution_config, circuit)

    def supports_vjp(
        self,
        execution_config: ExecutionConfig | None = None,
        circuit: QuantumScript | None = None,
    ) -> bool:
        """Whether :meth:`compute_vjp` can be used: as :meth:`supports_derivatives`."""
        return self.supports_derivatives(execution_config, circuit)

    def setup_execution_config(
        self,
        config: ExecutionConfig | None = None,
        circuit: QuantumScript | None = None,
    ) -> ExecutionConfig:
        """Fill in what PennyLane leaves open. A second call changes nothing."""
        config = config or ExecutionConfig()
        if config.device_options:
            raise DeviceError(
                f"Device {self.name} has no device options, but was given "
                f"{sorted(config.device_options)}."
            )
        mcm_config = self._mcm_config(config, circuit)
        config = dataclasses.replace(config, mcm_config=mcm_config)
        return resolved(config, circuit, self._is_pure)

    def _mcm_config(
        self, config: ExecutionConfig, circuit: QuantumScript | None
    ) -> Any:
        mcm = config.mcm_config
        method = mcm.mcm_method
        if method is None:
            method = "one-shot" if circuit is not None and circuit.shots else "deferred"
        if method not in ("deferred", "one-shot"):
            raise DeviceError(
                f'mcm_method must be "deferred" or "one-shot" on {self.name}, but is '
                f"{method!r}."
            )
        if mcm.postselect_mode == "fill-shots" and method != "deferred":
            raise DeviceError(
                'postselect_mode "fill-shots" needs mcm_method "deferred", but the '
                f"method is {method!r}."
            )
        return dataclasses.replace(mcm, mcm_method=method)

    def preprocess_transforms(
        self, execution_config: ExecutionConfig | None = None
    ) -> CompilePipeline:
        """PennyLane's transforms that bring a tape to what :meth:`execute` takes."""
        return pure_pipeline(
            execution_config or ExecutionConfig(), self.wires, self.name
        )

    # --- execution ----------------------------------------------------------------

    def execute(
        self, circuits: Any, execution_config: ExecutionConfig | None = None
    ) -> Any:
        """The results of tapes. A batch of parameters is executed in one pass."""
        config = execution_config or ExecutionConfig()
        streams = Streams(self.stream_key)
        if config.use_device_jacobian_product:
            return tuple(
                self._execute(tape, config, streams, keep=True) for tape in circuits
            )
        if len(circuits) == 1:
            return (self._execute(circuits[0], config, streams, keep=False),)
        results: list[Any] = [None] * len(circuits)
        batches: dict[Hashable, Batch] = {}
        taking = Taking()
        for i, tape in enumerate(circuits):
            taken = self._taken(tape, config, taking)
            if taken is not None and taken.key not in batches:
                order, kind = wire_order(tape), self._kind(tape)
                if kind.exact:
                    plan = self._plan(tape, kind, order)
                    batches[taken.key] = Batch(tape, taken.parts, plan)
                else:
                    taken = None  # what is drawn for a tape depends on it alone
            if taken is None:
                results[i] = self._execute(tape, config, streams, keep=False)
                continue
            batch = batches[taken.key]
            number = streams.take(batch.plan.n_circuits(tape.shots))
            batch.add(i, tape, taken.parts, number)
        for batch in batches.values():
            found = self._run_batch(batch, config, streams)
            for i, result in zip(batch.places, found, strict=True):
                results[i] = result
        return tuple(results)

    def compute_vjp(
        self,
        circuits: Any,
        cotangents: Any,
        execution_config: ExecutionConfig | None = None,
    ) -> Any:
        """Vector-Jacobian products: an array for each trainable parameter of a tape."""
        config = execution_config or ExecutionConfig()
        torch = config.interface is qml.math.Interface.TORCH
        if torch and torch_records():
            raise DeviceError(SECOND_DERIVATIVE)
        return tuple(
            self._vjp(tape, dy, conjugate=not torch)
            for tape, dy in zip(circuits, cotangents, strict=True)
        )

    def execute_and_compute_vjp(
        self,
        circuits: Any,
        cotangents: Any,
        execution_config: ExecutionConfig | None = None,
    ) -> Any:
        """Results and vector-Jacobian products."""
        return (
            self.execute(circuits, execution_config),
            self.compute_vjp(circuits, cotangents, execution_config),
        )

    def compile(
        self,
        tape: QuantumScript,
        inputs: Sequence[Symbols | None],
        *,
        n_weights: int,
        n_features: int,
    ) -> Program | None:
        """The Program of a tape whose parameters are functions of weights and features.

        Args:
            tape: The circuit of one sample.
            inputs: What each parameter is: symbols, or None for a constant.
            n_weights: Length of the weights of the Program.
            n_features: Number of columns of its features.
        """
        tape, inputs = deferred_bound(tape, inputs, follows_gates=self.follows_gates)

        def lower(kind: StateKind, noise: SpecNoise | None) -> Program:
            return lower_bound(
                tape,
                inputs,
                noise,
                kind.program,
                dtype=self._dtype,
                n_weights=n_weights,
                n_features=n_features,
            )

        return self.lowered(tape, lower)

    @property
    def follows_gates(self) -> bool:
        """Whether the device has noise that follows gates: only a noisy one can."""
        return False

    def lowered(
        self, tape: QuantumScript, lower: Callable[[StateKind, Any], Lowered]
    ) -> Lowered | None:
        """A circuit that is compiled, lowered with the noise of this device.

        Args:
            tape: The circuit.
            lower: Function of the kind of states and of the noise, which is None for
                pure states.

        Returns:
            What the function returned, or None if the noise depends on the values of
            gates, acts at measurements, or is a model and there are measurements inside
            the circuit.
        """
        return lower(PURE, None)

    def drawn(
        self,
        tape: QuantumScript,
        kind: StateKind,
        order: tuple[Any, ...],
        program_of: ProgramOf,
        values: tuple[NDArray[np.float64], NDArray[np.float64]],
        *,
        batched: bool,
    ) -> Any:
        """Results of a circuit that is compiled, with shots.

        Args:
            tape: The circuit, of which the measurements and the shots count.
            kind: The kind of its states.
            order: Wire labels in the order of the register.
            program_of: Gives the Program of the circuit.
            values: Its weights and features.
            batched: Whether the results have a batch axis.
        """
        (result,) = self._plan(tape, kind, order).drawn(
            [tape.measurements],
            tape.shots,
            values,
            len(values[1]) if batched else None,
            program_of,
            self.stream_key(),
            [0],
            fill=False,
        )
        return result

    def stream_key(self) -> NDArray[np.uint64]:
        """A key of random streams, drawn from the generator of this device."""
        with self._rng_lock:
            return self._rng.integers(0, 1 << 64, 4, dtype=np.uint64)

    def track(self, n_circuits: int, n_shots: int) -> None:
        """Tell the tracker of a submission that was no tape.

        Args:
            n_circuits: Number of circuits that were run.
            n_shots: Number of shots of all of them together; 0 for none.
        """
        if self.tracker.active:
            shots = {"shots": n_shots} if n_shots else {}
            self.tracker.update(batches=1, executions=n_circuits, **shots)
            self.tracker.record()

    def lower(self, tape: QuantumScript, circuit: Circuit) -> Program:
        """The Program of a tape that was taken apart, from the cache if it is there."""
        return self._program(self._kind(tape), circuit)

    def _program(
        self, kind: StateKind, circuit: Circuit, rotation: Rotation = _NO_ROTATION
    ) -> Program:
        """The Program of a circuit, with gates before outcomes are read."""

        def lower(circuit: Circuit) -> Program:
            with aside():
                return kind.lower(circuit, rotation.operations, dtype=self._dtype)

        key = type(kind), self._dtype, rotation.key
        return self._cache.get(circuit, lower, key)

    def _is_pure(self, tape: QuantumScript) -> bool:
        """Whether neither the device nor the circuit has noise."""
        return True

    def _kind(self, tape: QuantumScript) -> StateKind:
        """The kind of states that a tape needs on this device."""
        selected = postselected(tape.operations)
        return PureStates(selected) if selected else PURE

    def _followed(self, tape: QuantumScript, results: Any) -> Any:
        """Results of PennyLane's pure-state simulator in the form of this device."""
        return results

    def _report(
        self,
        readouts: Sequence[Readout],
        circuit: Circuit,
        work: Any,
        states: NDArray[Any] | None,
    ) -> None:
        """Give the tracker more entries than PennyLane does."""

    @property
    def generator_state(self) -> dict[str, Any]:
        """The state of the random generator, which may be set."""
        with self._rng_lock:
            return dict(self._rng.bit_generator.state)

    @generator_state.setter
    def generator_state(self, state: dict[str, Any]) -> None:
        with self._rng_lock:
            self._rng.bit_generator.state = state

    def cache_info(self) -> CacheInfo:
        """How often the structure of a circuit was known or was lowered."""
        return self._cache.info()

    def _execute(
        self,
        tape: QuantumScript,
        config: ExecutionConfig,
        streams: Streams,
        *,
        keep: bool,
    ) -> Any:
        values = tape.get_parameters(trainable_only=False)
        if config.gradient_method == "backprop" and not tape.shots:
            in_jax = any(map(is_jax, values))
            if any(map(is_traced, values)) and (
                not in_jax or self._needs_framework(tape, config)
            ):
                if self._is_pure(tape):
                    results = simulate_followed(tape, config, self.name)
                    return self._followed(tape, results)
                if not in_jax:
                    raise DeviceError(
                        f"{self.name} gives first derivatives of expectation values, "
                        "variances and probabilities of noisy circuits only."
                    )
            if config.interface in JAX and not any(map(collapses, tape.operations)):
                return self._execute_in_jax(tape)
            results = self._execute_untraced(tape, config, streams, keep=False)
            return as_interface(results, config.interface)
        if config.gradient_method is None:
            refuse_lost_derivatives(values)
        if keep and len(autograd_traces(values)) > 1:
            raise DeviceError(SECOND_DERIVATIVE)
        return self._execute_untraced(tape, config, streams, keep=keep)

    def _needs_framework(self, tape: QuantumScript, config: ExecutionConfig) -> bool:
        """Whether a derivative of a tape without shots is none that the engine has."""
        if config.derivative_order > 1:
            return True
        return not self._native_gradients.has(tape, conditions=not self._is_pure(tape))

    def _execute_in_jax(self, tape: QuantumScript) -> Any:
        from qstore_pl.devices.jax_circuit import execute_in_jax, plan

        order = wire_order(tape)
        kind = self._kind(tape)
        if self._debugger is not None and self._debugger.active:
            self._take_snapshots(tape)
        with aside():
            plans = [plan(mp, order, kind) for mp in tape.measurements]
        readouts = [readout for each in plans for readout in each.readouts]
        words = tuple(dict.fromkeys(w for readout in readouts for w in readout.words))
        circuit = take_apart(tape, words, arrays=jax_arrays())
        program = self.lower(tape, circuit)

        def report(work: Any, states: NDArray[Any] | None) -> None:
            self._report(readouts, circuit, work, states)

        results = execute_in_jax(
            program,
            circuit,
            plans,
            self._kept_passes,
            exact=kind.exact,
            report=report,
            refusal=self._refusal(tape, kind),
        )
        return results[0] if len(results) == 1 else tuple(results)

    def _refusal(self, tape: QuantumScript, kind: StateKind) -> str | None:
        """Why a circuit whose values JAX traces has no derivative, or None."""
        return None

    def _execute_untraced(
        self,
        tape: QuantumScript,
        config: ExecutionConfig,
        streams: Streams,
        *,
        keep: bool,
    ) -> Any:
        if has_collapse(tape):
            return self._execute_with_collapse(tape, config)
        if self._debugger is not None and self._debugger.active:
            self._take_snapshots(tape)
        order = wire_order(tape)
        kind = self._kind(tape)
        plan = self._plan(tape, kind, order)
        if tape.shots:
            return self._sample(tape, plan, config, streams)
        circuit, program, work = self._run(
            tape, plan.readouts, order, forward=True, gradient=keep
        )
        states = work.states() if plan.needs_state else None
        (result,) = plan.values(circuit, work, states, 1, circuit.batch)
        self._report(plan.readouts, circuit, work, states)
        if keep:
            self._kept_passes.put(program, circuit.weights, circuit.features, work)
        return result

    def _plan(
        self, tape: QuantumScript, kind: StateKind, order: tuple[Any, ...]
    ) -> Plan:
        """How the circuits with the structure of a tape are executed."""
        if tape.shots:
            key = tuple(map(measured_key, tape.measurements))
            reading = self._readings.get(tape.measurements, key, order, kind.noise)
            return Plan(kind, order, reading=reading)
        with aside():
            readouts = [kind.readout(untraced(mp), order) for mp in tape.measurements]
        return Plan(kind, order, readouts)

    def _run(
        self,
        tape: QuantumScript,
        readouts: Sequence[Readout],
        order: tuple[Any, ...],
        *,
        forward: bool = False,
        gradient: bool = True,
    ) -> tuple[Circuit, Program, Pass]:
        words = dict.fromkeys(word for readout in readouts for word in readout.words)
        circuit = take_apart(tape, tuple(words), order=order)
        kind = self._kind(tape)
        program = self.lower(tape, circuit)
        # A kept pass has the same results as a new one, unless states are drawn.
        reuse = kind.exact or not forward
        values = circuit.weights, circuit.features
        work = self._kept_passes.take(program, *values) if reuse else None
        if work is None:
            work = program.new_pass(len(circuit.features))
            rows = np.arange(work.batch)
            work.forward(circuit.weights, circuit.features, rows, gradient=gradient)
        return circuit, program, work

    def _sample(
        self,
        tape: QuantumScript,
        plan: Plan,
        config: ExecutionConfig,
        streams: Streams,
    ) -> Any:
        number = streams.take(plan.n_circuits(tape.shots))
        batch = Batch(tape, [Part.of(op) for op in tape.operations], plan)
        batch.add(0, tape, batch.parts, number)
        (result,) = self._run_batch(batch, config, streams)
        return result

    def _run_batch(
        self, batch: Batch, config: ExecutionConfig, streams: Streams
    ) -> list[Any]:
        """The results of tapes of one structure."""
        plan, circuit = batch.plan, batch.circuit
        state_bytes = plan.kind.state_bytes(len(plan.order))
        results = []
        for chunk in batch.chunks(state_bytes):
            tapes, stacked = batch.tapes[chunk], batch.stacked(chunk)
            if plan.reading is None:
                program = self._program(plan.kind, stacked)
                work = program.new_pass(len(stacked.features))
                rows = np.arange(work.batch)
                work.forward(stacked.weights, stacked.features, rows, gradient=False)
                states = work.states() if plan.needs_state else None
                results += plan.values(stacked, work, states, len(tapes), circuit.batch)
                continue
            results += plan.drawn(
                [tape.measurements for tape in tapes],
                tapes[0].shots,
                (stacked.weights, stacked.features),
                circuit.batch,
                functools.partial(self._program, plan.kind, stacked),
                streams.key,
                batch.numbers[chunk],
                fill=_fills(config),
            )
        return results

    def _taken(
        self, tape: QuantumScript, config: ExecutionConfig, taking: Taking
    ) -> Taken | None:
        """A tape that can run with others, taken apart, or None."""
        followed = config.gradient_method == "backprop" and not tape.shots
        if followed or (self._debugger is not None and self._debugger.active):
            return None
        if config.gradient_method is None:
            refuse_lost_derivatives(tape.get_parameters(trainable_only=False))
        return taking.of(tape)

    def _execute_with_collapse(
        self, tape: QuantumScript, config: ExecutionConfig
    ) -> Any:
        """Measurements inside the circuit and postselection: PennyLane's simulator."""
        with self._rng_lock:
            return execute_with_collapse(
                tape, config, name=self.name, rng=self._rng, debugger=self._debugger
            )

    def _snapshot_kind(self, tape: QuantumScript) -> StateKind:
        """The kind of states that snapshots show."""
        return self._kind(tape)

    def _take_snapshots(self, tape: QuantumScript) -> None:
        kind = self._snapshot_kind(tape)
        order = wire_order(tape)
        take_snapshots(tape, order, kind, self._debugger, self._rng, self._dtype)

    # --- gradients ----------------------------------------------------------------

    def _vjp(self, tape: QuantumScript, dy: Any, *, conjugate: bool) -> Gradients:
        if self._is_pure(tape) and not has_native_gradient(tape, conditions=False):
            return simulated_vjp(
                tape,
                dy,
                lambda results: self._followed(tape, results),
                name=self.name,
                conjugate=conjugate,
            )
        order = wire_order(tape)
        kind = self._kind(tape)
        with aside():
            readouts = [kind.readout(mp, order) for mp in tape.measurements]
        for readout, mp in zip(readouts, tape.measurements, strict=True):
            if not readout.differentiable:
                raise DeviceError(
                    f"{self.name} gives no gradient of {mp}, only of expectation "
                    "values, variances and probabilities."
                )
        cotangents = (dy,) if len(readouts) == 1 else tuple(dy)
        circuit, _, work = self._run(tape, readouts, order)
        arrays = [np.asarray(to_numpy(c), dtype=np.float64) for c in cotangents]
        extra = [
            array.ndim - (circuit.batch is not None) - isinstance(mp, ProbabilityMP)
            for array, mp in zip(arrays, tape.measurements, strict=True)
        ]

        def back(rows: Sequence[NDArray[np.float64]]) -> Gradients:
            return pull_back(
                tape,
                circuit,
                work,
                readouts,
                rows,
                lambda mp: kind.readout(mp, order),
                conjugate=conjugate,
            )

        if not any(extra):
            return back(arrays)
        # jax.jacobian puts several cotangents on an axis in front.
        rows = []
        for j in range(
            max(len(a) for a, more in zip(arrays, extra, strict=True) if more)
        ):
            picked = [
                a[j] if more else a for a, more in zip(arrays, extra, strict=True)
            ]
            if j:
                work.again()
            rows.append(back(picked))
        return Gradients(np.stack(column) for column in zip(*rows, strict=True))

    # --- copies -------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in _NOT_COPIED:
            del state[name]
        # The generator of a copy is seeded by this one, and draws other numbers.
        with self._rng_lock:
            state["_rng"] = self._rng.spawn(1)[0]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._rng_lock, self._debugger = threading.Lock(), None
        self._kept_passes, self._native_gradients = KeptPasses(), NativeGradients()
        self._readings = Readings()

    def __deepcopy__(self, memo: dict[int, Any]) -> QStoreDevice:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin


def _fills(config: ExecutionConfig) -> bool:
    """Whether postselection keeps every shot."""
    return bool(config.mcm_config.postselect_mode == "fill-shots")
