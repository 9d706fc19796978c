"""What the qstore devices share: PennyLane's device interface round Programs.

Glue only. Preprocessing is PennyLane's own transforms; a tape is lowered once per
structure; the whole batch of a tape and its gradient run in one call each.
"""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pennylane as qml
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
from pennylane.measurements import (
    ClassicalShadowMP,
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    SampleMeasurement,
    ShadowExpvalMP,
    StateMeasurement,
    VarianceMP,
)
from pennylane.ops import MidMeasure
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline

from qstore_pl.devices.lowering import (
    CacheInfo,
    Circuit,
    ProgramCache,
    take_apart,
    to_numpy,
    wire_order,
)
from qstore_pl.devices.readout import PauliSumValue, Readout, readout_of
from qstore_pl.devices.registry import REGISTRY, entry_of
from qstore_pl.engine.gates import FEATURE, WEIGHT
from qstore_pl.engine.program import Pass, Program

Tapes = Sequence[QuantumScript]
KEPT_RUNS = 8  # forward runs kept for a backward call
KEPT_BYTES = 1 << 28


class Gradients(tuple[Any, ...]):
    """Gradients of one tape. The torch interface squeezes them, whatever their shapes."""

    def squeeze(self, axis: Any = None) -> NDArray[np.float64]:
        """An array that is not empty, which is all the interface looks at."""
        del axis
        return np.empty(len(self) + 1)


@simulator_tracking
@single_tape_support
class QStoreDevice(Device):
    """Base of the devices. See :class:`MockIdeal` for the arguments."""

    def __init__(
        self, wires: Any = None, shots: Any = None, *, seed: Any = None
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        self._rng = np.random.default_rng(seed)
        self._rng_lock = threading.Lock()
        self._cache = ProgramCache()
        self._runs = _Runs()
        # Its presence tells PennyLane that this device takes snapshots itself.
        self._debugger: Any = None

    # --- what PennyLane asks before it runs anything -----------------------------------

    def supports_derivatives(
        self,
        execution_config: ExecutionConfig | None = None,
        circuit: QuantumScript | None = None,
    ) -> bool:
        """Whether this device gives the gradient itself."""
        if execution_config is None:
            return True
        if execution_config.gradient_method not in ("best", "device", "adjoint"):
            return False
        if execution_config.derivative_order > 1:
            return False
        return circuit is None or (
            not circuit.shots
            and all(map(_differentiable, circuit.measurements))
            and _trainable_operations_have_gradients(circuit)
        )

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
        changes: dict[str, Any] = {"mcm_config": self._mcm_config(config, circuit)}
        if config.gradient_method in ("best", "device", "adjoint"):
            changes |= {
                "gradient_method": "adjoint",
                "use_device_gradient": True,
                "use_device_jacobian_product": True,
                "grad_on_execution": False,
                # jax.jit would take the route of full Jacobians otherwise, and a second
                # derivative by autograd could not be told from a first one.
                "convert_to_numpy": False,
            }
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
        if deferred:
            pipeline.add_transform(
                qml.defer_measurements, allow_postselect=True, num_wires=None
            )
        pipeline.add_transform(
            decompose,
            stopping_condition=runs_whole if deferred else _runs_whole_or_measures,
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
            analytic_measurements=_analytic,
            sample_measurements=_sampled,
            name=self.name,
        )
        pipeline.add_transform(_expand_shadows)
        if not deferred:
            pipeline.add_transform(
                qml.dynamic_one_shot, postselect_mode=config.mcm_config.postselect_mode
            )
        if config.gradient_method == "adjoint":
            pipeline.add_transform(no_sampling, name=f"adjoint + {self.name}")
        return pipeline

    # --- running -----------------------------------------------------------------------

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
        return tuple(
            self._vjp(tape, dy) for tape, dy in zip(circuits, cotangents, strict=True)
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

    def cache_info(self) -> CacheInfo:
        """How many circuit structures were lowered, and how often one was known."""
        return self._cache.info()

    def _execute(
        self, tape: QuantumScript, config: ExecutionConfig, *, keep: bool
    ) -> Any:
        if any(isinstance(op, MidMeasure | qml.Projector) for op in tape.operations):
            return self._execute_with_collapse(tape, config)
        if self._debugger is not None and self._debugger.active:
            self._take_snapshots(tape)
        order = wire_order(tape)
        if tape.shots:
            return self._sample(tape, order)
        readouts = [readout_of(mp, order) for mp in tape.measurements]
        circuit, program, run = self._run(tape, readouts)
        needs_state = any(readout.needs_state for readout in readouts)
        states = run.states() if needs_state else None
        results = [_value(readout, circuit, run, states) for readout in readouts]
        if keep:
            self._runs.put(program, circuit, run)
        return results[0] if len(results) == 1 else tuple(results)

    def _run(
        self, tape: QuantumScript, readouts: Sequence[Readout]
    ) -> tuple[Circuit, Program, Pass]:
        words = dict.fromkeys(word for readout in readouts for word in readout.words)
        circuit = take_apart(tape, tuple(words))
        program = self._cache.get(circuit)
        run = self._runs.take(program, circuit)
        if run is None:
            run = Pass(program, len(circuit.features))
            run.forward(circuit.weights, circuit.features, np.arange(run.batch))
        return circuit, program, run

    def _states(self, tape: QuantumScript, order: tuple[Any, ...]) -> NDArray[Any]:
        """States shaped (batch, 2, ..., 2), or (2, ..., 2) for a tape without a batch."""
        circuit = take_apart(tape, order=order)
        program = self._cache.get(circuit)
        states = program.states(circuit.weights, circuit.features)
        batch = () if circuit.batch is None else (circuit.batch,)
        return states.reshape(*batch, *[2] * len(order))

    def _sample(self, tape: QuantumScript, order: tuple[Any, ...]) -> Any:
        state = self._states(tape, order)
        positions = {label: i for i, label in enumerate(order)}
        with self._rng_lock:
            results = qml.devices.qubit.measure_with_samples(
                [mp.map_wires(positions) for mp in tape.measurements],
                state,
                shots=tape.shots,
                is_state_batched=state.ndim > len(order),
                rng=self._rng,
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
        (tape,), _ = decompose(tape, stopping_condition=_runs_in_pieces, name=self.name)
        with self._rng_lock:
            return qml.devices.qubit.simulate(
                tape.map_to_standard_wires(),
                rng=self._rng,
                debugger=self._debugger,
                mcm_method=config.mcm_config.mcm_method,
                postselect_mode=config.mcm_config.postselect_mode,
            )

    def _take_snapshots(self, tape: QuantumScript) -> None:
        order = wire_order(tape)
        positions = {label: i for i, label in enumerate(order)}
        for i, op in enumerate(tape.operations):
            if not isinstance(op, qml.Snapshot):
                continue
            before = QuantumScript(tape.operations[:i])
            shape = self._states(before, order)
            snapshot = op.map_wires(positions)
            qml.devices.qubit.apply_operation(
                snapshot,
                shape,
                is_state_batched=shape.ndim > len(order),
                debugger=self._debugger,
                rng=self._rng,
                tape_shots=tape.shots,
            )

    # --- gradients ---------------------------------------------------------------------

    def _vjp(self, tape: QuantumScript, dy: Any) -> Gradients:
        order = wire_order(tape)
        readouts = [readout_of(mp, order) for mp in tape.measurements]
        for readout, mp in zip(readouts, tape.measurements, strict=True):
            if not readout.differentiable:
                raise DeviceError(f"{self.name} has no gradient of {mp}.")
        cotangents = (dy,) if len(readouts) == 1 else tuple(dy)
        circuit, _, run = self._run(tape, readouts)
        arrays = [np.asarray(to_numpy(c), dtype=np.float64) for c in cotangents]
        extra = [
            array.ndim - (circuit.batch is not None) - isinstance(mp, ProbabilityMP)
            for array, mp in zip(arrays, tape.measurements, strict=True)
        ]
        if not any(extra):
            return self._pull_back(tape, circuit, run, readouts, arrays)
        # jax.jacobian stacks cotangents on a leading axis.
        rows = []
        for j in range(
            max(len(a) for a, more in zip(arrays, extra, strict=True) if more)
        ):
            picked = [
                a[j] if more else a for a, more in zip(arrays, extra, strict=True)
            ]
            _, _, run = self._run(tape, readouts) if j else (None, None, run)
            rows.append(self._pull_back(tape, circuit, run, readouts, picked))
        return Gradients(np.stack(column) for column in zip(*rows, strict=True))

    def _pull_back(
        self,
        tape: QuantumScript,
        circuit: Circuit,
        run: Pass,
        readouts: Sequence[Readout],
        cotangents: Sequence[NDArray[np.float64]],
    ) -> Gradients:
        batch = run.batch
        wanted = _wanted(tape, circuit)
        inputs = any(p is not None and p.kind == FEATURE for p in wanted)
        rows = [dy if circuit.batch is not None else dy[None] for dy in cotangents]
        coefficients = _coefficient_gradients(tape, circuit, run, rows)
        if any(readout.needs_state for readout in readouts):
            states = run.states(phase=False)
            bra = np.zeros_like(states)
            for readout, dy in zip(readouts, rows, strict=True):
                bra += readout.bra(dy, states)
            gw, gx = run.backward(np.empty((0, 0)), inputs=inputs, bra=bra)
        else:
            dwords = np.zeros((batch, len(circuit.words)))
            columns = {word: i for i, word in enumerate(circuit.words)}
            for readout, dy in zip(readouts, rows, strict=True):
                assert isinstance(readout, PauliSumValue)
                for word, c in zip(readout.words, readout.coefficients, strict=True):
                    dwords[:, columns[word]] += c * dy
            gw, gx = run.backward(dwords, inputs=inputs)
        gradients = []
        for index, parameter in zip(tape.trainable_params, wanted, strict=True):
            if parameter is None:
                gradients.append(coefficients[index])
                continue
            source = gw if parameter.kind == WEIGHT else gx
            assert source is not None
            end = parameter.offset + int(np.prod(parameter.shape))
            part = source[..., parameter.offset : end]
            gradients.append(part.reshape(part.shape[:-1] + parameter.shape).copy())
        return Gradients(gradients)

    # --- copies ------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_rng_lock", "_runs", "_debugger"):
            del state[name]
        # A copy draws a stream of its own, which follows from this device's seed.
        with self._rng_lock:
            state["_rng"] = self._rng.spawn(1)[0]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._rng_lock, self._runs, self._debugger = threading.Lock(), _Runs(), None

    def __deepcopy__(self, memo: dict[int, Any]) -> QStoreDevice:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin


class _Runs:
    """Forward runs waiting for their backward call: few, bounded, locked."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, bytes, bytes], tuple[Program, Pass]]
        self._kept = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def _key(program: Program, circuit: Circuit) -> tuple[int, bytes, bytes]:
        return id(program), circuit.weights.tobytes(), circuit.features.tobytes()

    def put(self, program: Program, circuit: Circuit, run: Pass) -> None:
        with self._lock:
            self._kept[self._key(program, circuit)] = (program, run)
            while len(self._kept) > KEPT_RUNS or (
                len(self._kept) > 1
                and sum(kept.nbytes for _, kept in self._kept.values()) > KEPT_BYTES
            ):
                self._kept.popitem(last=False)

    def take(self, program: Program, circuit: Circuit) -> Pass | None:
        with self._lock:
            kept = self._kept.pop(self._key(program, circuit), None)
        return None if kept is None else kept[1]


def runs_whole(op: Any) -> bool:
    """Whether the engine runs an operation, not the first, without decomposing it."""
    entry = entry_of(op)
    if entry is None:  # postselection becomes a projector
        return isinstance(op, qml.Projector)
    return not entry.initial


def _runs_whole_or_measures(op: Any) -> bool:
    return isinstance(op, MidMeasure | qml.ops.Conditional) or runs_whole(op)


def _runs_in_pieces(op: Any) -> bool:
    """Whether PennyLane's own simulator runs an operation."""
    if isinstance(op, MidMeasure | qml.ops.Conditional | qml.operation.StatePrepBase):
        return True
    return op.has_matrix and len(op.wires) < 8 or isinstance(op, qml.Snapshot)


def _differentiable(mp: MeasurementProcess) -> bool:
    if mp.mv is not None:
        return False
    return isinstance(mp, ExpectationMP | VarianceMP | ProbabilityMP)


def _trainable_operations_have_gradients(tape: QuantumScript) -> bool:
    trainable = None
    index = 0
    for op in tape.operations:
        end = index + op.num_params
        if isinstance(op, MidMeasure):
            if op.postselect is not None:
                return False
        elif end > index:
            entry = entry_of(op)
            if entry is not None and not entry.differentiable or _complex(op):
                trainable = trainable or set(tape.trainable_params)
                if not trainable.isdisjoint(range(index, end)):
                    return False
        index = end
    return True


def _complex(op: Any) -> bool:
    """Whether the amplitudes an operation prepares are complex."""
    if not isinstance(op, qml.operation.StatePrepBase):
        return False
    return "complex" in str(qml.math.get_dtype_name(op.data[0]))


def _analytic(mp: MeasurementProcess) -> bool:
    if not isinstance(mp, StateMeasurement):
        return False
    obs = mp.obs
    if obs is None or obs.pauli_rep is not None or obs.has_matrix:
        return True
    return isinstance(mp, ExpectationMP) and isinstance(obs, qml.SparseHamiltonian)


def _sampled(mp: MeasurementProcess) -> bool:
    if not isinstance(mp, SampleMeasurement | ClassicalShadowMP | ShadowExpvalMP):
        return False
    return mp.obs is None or _can_be_sampled(mp.obs)


def _can_be_sampled(obs: Any) -> bool:
    if isinstance(obs, qml.ops.Sum | qml.ops.Prod):
        return all(_can_be_sampled(operand) for operand in obs.operands)
    if isinstance(obs, qml.ops.SProd):
        return _can_be_sampled(obs.base)
    return obs.has_diagonalizing_gates


@qml.transform
def _expand_shadows(tape: QuantumScript) -> tuple[Any, Any]:
    """PennyLane's classical shadows know no batch axis."""
    shadows = (ClassicalShadowMP, ShadowExpvalMP)
    if any(isinstance(mp, shadows) for mp in tape.measurements):
        return qml.transforms.broadcast_expand(tape)
    return (tape,), lambda results: results[0]


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


def _wanted(tape: QuantumScript, circuit: Circuit) -> list[Any]:
    """The place of each trainable parameter; None for a coefficient of an observable."""
    places: list[Any] = []
    for op, parameters in zip(tape.operations, circuit.parameters, strict=True):
        entry = entry_of(op)
        assert entry is not None
        differentiable = entry.differentiable and not any(p.complex for p in parameters)
        places += parameters if differentiable else [op.name] * op.num_params
    wanted = [places[i] if i < len(places) else None for i in tape.trainable_params]
    for place in wanted:
        if isinstance(place, str):
            raise DeviceError(
                f"There is no device gradient with respect to the parameters of {place}. "
                'Use diff_method="parameter-shift", or mark them as not trainable.'
            )
    return wanted


def _coefficient_gradients(
    tape: QuantumScript,
    circuit: Circuit,
    run: Pass,
    rows: Sequence[NDArray[np.float64]],
) -> dict[int, NDArray[np.float64]]:
    """Gradients with respect to trainable coefficients of observables."""
    index = sum(op.num_params for op in tape.operations)
    gradients: dict[int, NDArray[np.float64]] = {}
    trainable = {i for i in tape.trainable_params if i >= index}
    if not trainable:
        return gradients
    columns = {word: i for i, word in enumerate(circuit.words)}
    for mp, dy in zip(tape.measurements, rows, strict=True):
        data = [
            to_numpy(value) for value in (mp.obs.data if mp.obs is not None else ())
        ]
        for k in range(len(data)):
            if index + k not in trainable:
                continue
            if not isinstance(mp, ExpectationMP) or mp.obs.pauli_rep is None:
                raise DeviceError(
                    f"There is no device gradient with respect to the parameters of {mp}. "
                    "Mark them as not trainable."
                )
            # An observable is affine in each of its coefficients.
            total = np.zeros(run.batch)
            for sign, step in ((1.0, 1.0), (-1.0, 0.0)):
                changed = [value + step * (i == k) for i, value in enumerate(data)]
                sentence = qml.ops.functions.bind_new_parameters(
                    mp.obs, changed
                ).pauli_rep
                for word, c in sentence.items():
                    total += sign * np.real(c) * run.out[:, columns[word]]
            gradients[index + k] = np.asarray(dy @ total)
        index += len(data)
    return gradients
