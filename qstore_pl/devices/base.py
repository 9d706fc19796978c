"""What the qstore devices share: PennyLane's device interface round Programs.

Glue only. Preprocessing is PennyLane's own transforms; a tape is lowered once per
structure; the whole batch of a tape and its gradient run in one call each.
"""

from __future__ import annotations

import copy
import dataclasses
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from autograd.tracer import isbox
from numpy.typing import NDArray
from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.devices.preprocess import (
    decompose,
    device_resolve_dynamic_wires,
    no_sampling,
    validate_device_wires,
    validate_measurements,
)
from pennylane.exceptions import DeviceError
from pennylane.measurements import ProbabilityMP
from pennylane.ops import MidMeasure
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline

from qstore_pl.devices.acceptance import (
    accepted_analytic,
    accepted_sampled,
    collapses,
    expand_shadows,
    has_native_gradient,
    runs_in_pieces,
    runs_whole,
    runs_whole_or_measures,
)
from qstore_pl.devices.bound import lower_bound
from qstore_pl.devices.framework import (
    as_interface,
    simulate_followed,
    simulated_vjp,
)
from qstore_pl.devices.lowering import (
    Circuit,
    take_apart,
    wire_order,
)
from qstore_pl.devices.preparation import (
    as_numbers,
    finish,
    interface_of_lists,
    tidy,
)
from qstore_pl.devices.program_cache import CacheInfo, ProgramCache
from qstore_pl.devices.pullback import SECOND_DERIVATIVE, Gradients, pull_back
from qstore_pl.devices.readout import Readout, check_hermitian, untraced
from qstore_pl.devices.registry import REGISTRY
from qstore_pl.devices.runs import Runs
from qstore_pl.devices.seeds import as_seed
from qstore_pl.devices.shift_rules import checked
from qstore_pl.devices.snapshots import take_snapshots
from qstore_pl.devices.states import PureStates, States
from qstore_pl.devices.symbols import Symbols
from qstore_pl.devices.tensors import (
    autograd_traces,
    is_jax,
    is_traced,
    jax_arrays,
    to_numpy,
)
from qstore_pl.engine.program import Pass, Program

PURE = PureStates()
JAX = (qml.math.Interface.JAX, qml.math.Interface.JAX_JIT)
FOLLOWED_METHODS = ("best", "backprop")  # a framework may differentiate a simulation
OWN_METHODS = (*FOLLOWED_METHODS, "device", "adjoint")


@simulator_tracking
@single_tape_support
class QStoreDevice(Device):
    """Base of the devices. See :class:`MockIdeal` for the arguments."""

    def __init__(
        self, wires: Any = None, shots: Any = None, *, seed: Any = "global"
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        self._rng = np.random.default_rng(as_seed(seed))
        self._rng_lock = threading.Lock()
        self._cache = ProgramCache()
        self._runs = Runs()
        self._last_asked: tuple[Any, bool] = (None, False)
        # Its presence tells PennyLane that this device takes snapshots itself.
        self._debugger: Any = None

    # --- what PennyLane asks before it runs anything ------------------------------

    def supports_derivatives(
        self,
        execution_config: ExecutionConfig | None = None,
        circuit: QuantumScript | None = None,
    ) -> bool:
        """Whether this device says itself how a gradient is taken.

        ``"backprop"`` is taken for ``"best"``: what the engine differentiates need not
        be differentiated by the framework.
        """
        if execution_config is None:
            return True
        method = execution_config.gradient_method
        if method not in OWN_METHODS or (circuit is not None and circuit.shots):
            return False
        return execution_config.derivative_order == 1 or method in FOLLOWED_METHODS

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
        """Resolve what PennyLane leaves open; calling it again changes nothing."""
        config = config or ExecutionConfig()
        if config.device_options:
            raise DeviceError(
                f"Device {self.name} has no device options, but was given "
                f"{sorted(config.device_options)}."
            )
        changes: dict[str, Any] = {
            "mcm_config": self._mcm_config(config, circuit),
            # PennyLane's own conversion loses the control values of some gates, but
            # jax.jit needs it where the device gives no gradient.
            "convert_to_numpy": config.interface is qml.math.Interface.JAX_JIT,
        }
        if config.interface is qml.math.Interface.NUMPY and circuit is not None:
            changes["interface"] = interface_of_lists(circuit)
            config = dataclasses.replace(config, interface=changes["interface"])
        exact = circuit is None or not circuit.shots
        own = config.gradient_method in OWN_METHODS
        in_jax = exact and config.interface in JAX
        if own or (in_jax and config.gradient_method is None):
            twice = config.derivative_order > 1
            if twice and circuit is not None and not self._is_pure(circuit):
                shift = dataclasses.replace(
                    config, gradient_method=qml.gradients.param_shift
                )
                changes["gradient_method"] = checked(shift, circuit)
            else:
                # JAX transforms the device's own primitive, a framework the simulation;
                # else PennyLane asks for the vector-Jacobian product.
                followed = in_jax or twice
                changes |= {
                    "gradient_method": "backprop" if followed else "adjoint",
                    "use_device_gradient": True,
                    "use_device_jacobian_product": not followed,
                    "grad_on_execution": False,
                    # A second derivative by autograd could not be told from a first.
                    "convert_to_numpy": False,
                }
        elif circuit is not None and callable(config.gradient_method):
            changes["gradient_method"] = checked(config, circuit)
        return dataclasses.replace(config, **changes)

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
        config = execution_config or ExecutionConfig()
        deferred = config.mcm_config.mcm_method != "one-shot"
        pipeline = CompilePipeline()
        pipeline.add_transform(tidy, keep=config.gradient_method == "adjoint")
        if deferred:
            pipeline.add_transform(
                qml.defer_measurements, allow_postselect=True, num_wires=None
            )
        pipeline.add_transform(
            decompose,
            stopping_condition=runs_whole if deferred else runs_whole_or_measures,
            skip_initial_state_prep=True,
            device_wires=self.wires,
            target_gates=set(REGISTRY),
            name=self.name,
        )
        pipeline.add_transform(
            device_resolve_dynamic_wires, wires=self.wires, allow_resets=not deferred
        )
        pipeline.add_transform(validate_device_wires, self.wires, name=self.name)
        pipeline.add_transform(
            validate_measurements,
            analytic_measurements=accepted_analytic,
            sample_measurements=accepted_sampled,
            name=self.name,
        )
        pipeline.add_transform(expand_shadows)
        if not deferred:
            pipeline.add_transform(
                qml.dynamic_one_shot, postselect_mode=config.mcm_config.postselect_mode
            )
        if config.gradient_method in ("adjoint", "backprop"):
            pipeline.add_transform(no_sampling, name=f"adjoint + {self.name}")
        pipeline.add_transform(finish)
        return pipeline

    # --- running ------------------------------------------------------------------

    def execute(
        self, circuits: Any, execution_config: ExecutionConfig | None = None
    ) -> Any:
        """Run tapes; a batch of parameters is one run."""
        config = execution_config or ExecutionConfig()
        keep = bool(config.use_device_jacobian_product)
        return tuple(self._execute(tape, config, keep=keep) for tape in circuits)

    def compute_vjp(
        self,
        circuits: Any,
        cotangents: Any,
        execution_config: ExecutionConfig | None = None,
    ) -> Any:
        """Vector-Jacobian products, one array per trainable parameter of each tape."""
        config = execution_config or ExecutionConfig()
        torch = config.interface is qml.math.Interface.TORCH
        if torch and _torch_records():
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
        """The Program of a tape whose parameters depend on weights and features."""
        return lower_bound(tape, inputs, n_weights=n_weights, n_features=n_features)

    def lower(self, tape: QuantumScript, circuit: Circuit) -> Program:
        """The Program of a tape that was taken apart."""
        kind = self._kind(tape)
        return self._cache.get(circuit, kind.lower, type(kind))

    def _is_pure(self, tape: QuantumScript) -> bool:
        """Whether neither the device nor the circuit has noise."""
        return True

    def _kind(self, tape: QuantumScript) -> States:
        """The kind of states a tape needs here."""
        return PURE

    def _followed(self, tape: QuantumScript, results: Any) -> Any:
        """Results of PennyLane's simulator of pure states as this device has them."""
        return results

    def _report(
        self,
        readouts: Sequence[Readout],
        circuit: Circuit,
        run: Any,
        states: NDArray[Any] | None,
    ) -> None:
        """Tell the tracker more than PennyLane does."""

    @property
    def description(self) -> str:
        """What the device is, without its seed."""
        return str(self.name)

    @property
    def functions(self) -> list[Callable[..., Any]]:
        """The user's own functions that results depend on, in a fixed order."""
        return []

    @property
    def generator_state(self) -> dict[str, Any]:
        """Where the device's random draws are; may be set to go on from there."""
        with self._rng_lock:
            return dict(self._rng.bit_generator.state)

    @generator_state.setter
    def generator_state(self, state: dict[str, Any]) -> None:
        with self._rng_lock:
            self._rng.bit_generator.state = state

    def cache_info(self) -> CacheInfo:
        """How many circuit structures were lowered, and how often one was known."""
        return self._cache.info()

    def _execute(
        self, tape: QuantumScript, config: ExecutionConfig, *, keep: bool
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
            results = self._execute_untraced(tape, config, keep=False)
            return as_interface(results, config.interface)
        if config.gradient_method is None and any(map(_would_be_lost, values)):
            raise DeviceError(
                "Values that are being differentiated were given to a device that is "
                "not asked for a gradient, which would be 0 without a word. Execute "
                "the tape through a QNode or qml.execute, with a diff_method."
            )
        if keep and len(autograd_traces(values)) > 1:
            raise DeviceError(SECOND_DERIVATIVE)
        return self._execute_untraced(tape, config, keep=keep)

    def _needs_framework(self, tape: QuantumScript, config: ExecutionConfig) -> bool:
        """Whether a derivative of an exact tape is none of the engine's."""
        if config.derivative_order > 1:
            return True
        asked, native = self._last_asked  # PennyLane asks of a circuit several times
        if asked is None or asked() is not tape:
            conditions = not self._is_pure(tape)
            native = has_native_gradient(tape, conditions=conditions)
            self._last_asked = weakref.ref(tape), native
        return not native

    def _execute_in_jax(self, tape: QuantumScript) -> Any:
        from qstore_pl.devices.jax_circuit import execute_in_jax, plan

        order = wire_order(tape)
        kind = self._kind(tape)
        if self._debugger is not None and self._debugger.active:
            self._take_snapshots(tape)
        plans = [plan(mp, order, kind) for mp in tape.measurements]
        readouts = [readout for each in plans for readout in each.readouts]
        words = tuple(dict.fromkeys(w for readout in readouts for w in readout.words))
        circuit = take_apart(tape, words, arrays=jax_arrays())
        program = self.lower(tape, circuit)

        def report(run: Any, states: NDArray[Any] | None) -> None:
            self._report(readouts, circuit, run, states)

        results = execute_in_jax(
            program,
            circuit,
            plans,
            self._runs,
            exact=kind.exact,
            report=report,
            refusal=self._refusal(tape, kind),
        )
        return results[0] if len(results) == 1 else tuple(results)

    def _refusal(self, tape: QuantumScript, kind: States) -> str | None:
        """Why a circuit whose values JAX follows has no derivative, or None."""
        return None

    def _execute_untraced(
        self, tape: QuantumScript, config: ExecutionConfig, *, keep: bool
    ) -> Any:
        if any(isinstance(op, MidMeasure | qml.Projector) for op in tape.operations):
            return self._execute_with_collapse(tape, config)
        if self._debugger is not None and self._debugger.active:
            self._take_snapshots(tape)
        order = wire_order(tape)
        if tape.shots:
            return self._sample(tape, order)
        kind = self._kind(tape)
        readouts = [kind.readout(untraced(mp), order) for mp in tape.measurements]
        circuit, program, run = self._run(
            tape, readouts, order, forward=True, gradient=keep
        )
        needs_state = any(readout.needs_state for readout in readouts)
        states = run.states() if needs_state else None
        results = [_value(readout, circuit, run, states) for readout in readouts]
        self._report(readouts, circuit, run, states)
        if keep:
            self._runs.put(program, circuit.weights, circuit.features, run)
        return results[0] if len(results) == 1 else tuple(results)

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
        # A kept run stands for a new one, unless states are drawn at random.
        reuse = kind.exact or not forward
        values = circuit.weights, circuit.features
        run = self._runs.take(program, *values) if reuse else None
        if run is None:
            run = program.new_pass(len(circuit.features))
            rows = np.arange(run.batch)
            run.forward(circuit.weights, circuit.features, rows, gradient=gradient)
        return circuit, program, run

    def _states(
        self, tape: QuantumScript, order: tuple[Any, ...]
    ) -> tuple[Circuit, NDArray[Any]]:
        """A tape taken apart, and its states as PennyLane takes them, with a batch."""
        kind = self._kind(tape)
        circuit = take_apart(tape, order=order)
        program = self.lower(tape, circuit)
        states = kind.tensor(program.states(circuit.weights, circuit.features))
        return circuit, states

    def _sample(self, tape: QuantumScript, order: tuple[Any, ...]) -> Any:
        for mp in tape.measurements:
            if mp.obs is not None:
                check_hermitian(mp.obs)
        circuit, states = self._states(tape, order)
        with self._rng_lock:
            results = self._kind(tape).sample(
                tape.measurements,
                states,
                order,
                tape.shots,
                self._rng,
                batched=circuit.batch is not None,
            )
        if len(tape.measurements) > 1:
            return results
        if tape.shots.has_partitioned_shots:
            return tuple(result[0] for result in results)
        return results[0]

    def _execute_with_collapse(
        self, tape: QuantumScript, config: ExecutionConfig
    ) -> Any:
        """Measurements inside the circuit and postselection: PennyLane's simulator."""
        tape = as_numbers(tape)
        (tape,), _ = decompose(tape, stopping_condition=runs_in_pieces, name=self.name)
        if not tape.shots:
            return self._read_collapsed(tape.map_to_standard_wires())
        with self._rng_lock:
            return qml.devices.qubit.simulate(
                tape.map_to_standard_wires(),
                rng=self._rng,
                debugger=self._debugger,
                mcm_method=config.mcm_config.mcm_method,
                postselect_mode=config.mcm_config.postselect_mode,
            )

    def _read_collapsed(self, tape: QuantumScript) -> Any:
        """The measurements of the state that PennyLane's simulator comes to."""
        state, batched = qml.devices.qubit.get_final_state(
            tape, debugger=self._debugger
        )
        order = tuple(range(tape.num_wires))
        states = np.asarray(state).reshape(-1, 1 << len(order))
        results = []
        for mp in tape.measurements:
            readout = PURE.readout(mp, order)
            if batched or readout.per_sample:
                result = readout.of_states(states)
                results.append(result if batched else result[0])
            else:
                results.append(readout.value(np.empty(0), states[0]))
        return results[0] if len(results) == 1 else tuple(results)

    def _snapshot_kind(self, tape: QuantumScript) -> States:
        """The kind of states that snapshots show."""
        return self._kind(tape)

    def _take_snapshots(self, tape: QuantumScript) -> None:
        kind = self._snapshot_kind(tape)
        take_snapshots(tape, wire_order(tape), kind, self._debugger, self._rng)

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
        readouts = [kind.readout(mp, order) for mp in tape.measurements]
        for readout, mp in zip(readouts, tape.measurements, strict=True):
            if not readout.differentiable:
                raise DeviceError(
                    f"{self.name} gives no gradient of {mp}, only of expectation "
                    "values, variances and probabilities."
                )
        cotangents = (dy,) if len(readouts) == 1 else tuple(dy)
        circuit, _, run = self._run(tape, readouts, order)
        arrays = [np.asarray(to_numpy(c), dtype=np.float64) for c in cotangents]
        extra = [
            array.ndim - (circuit.batch is not None) - isinstance(mp, ProbabilityMP)
            for array, mp in zip(arrays, tape.measurements, strict=True)
        ]

        def back(rows: Sequence[NDArray[np.float64]]) -> Gradients:
            return pull_back(
                tape,
                circuit,
                run,
                readouts,
                rows,
                lambda mp: kind.readout(mp, order),
                conjugate=conjugate,
            )

        if not any(extra):
            return back(arrays)
        # jax.jacobian stacks cotangents on a leading axis.
        rows = []
        for j in range(
            max(len(a) for a, more in zip(arrays, extra, strict=True) if more)
        ):
            picked = [
                a[j] if more else a for a, more in zip(arrays, extra, strict=True)
            ]
            if j:
                run.again()
            rows.append(back(picked))
        return Gradients(np.stack(column) for column in zip(*rows, strict=True))

    # --- copies -------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_rng_lock", "_runs", "_last_asked", "_debugger"):
            del state[name]
        # A copy draws a stream of its own, which follows from this device's seed.
        with self._rng_lock:
            state["_rng"] = self._rng.spawn(1)[0]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._rng_lock, self._runs, self._debugger = threading.Lock(), Runs(), None
        self._last_asked = (None, False)

    def __deepcopy__(self, memo: dict[int, Any]) -> QStoreDevice:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin


def _value(
    readout: Readout, circuit: Circuit, run: Pass, states: NDArray[np.complex128] | None
) -> Any:
    columns = [circuit.words.index(word) for word in readout.words]
    words = run.out[:, columns]
    if circuit.batch is not None:
        return readout.value(words, states)
    if readout.per_sample:
        return readout.value(words, states)[0]
    assert states is not None
    return readout.value(words, states[0])


def _would_be_lost(value: Any) -> bool:
    """Whether a derivative that autograd or JAX is taking would not be noticed."""
    return isbox(value) or (is_jax(value) and is_traced(value))


def _torch_records() -> bool:
    """Whether torch records a backward pass: it does so to differentiate it."""
    import torch  # loaded already: its tensors are being differentiated

    return torch.is_grad_enabled()
