"""A machine of another package as a PennyLane device.

Every circuit that it is given leaves through :meth:`Machine.run`: those of QNodes and
gradient transforms as tapes, those of models as arrays. It decomposes them into gates
of the machine, runs circuits that are the same once, and reads the values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.devices import ExecutionConfig
from pennylane.devices.preprocess import validate_device_wires
from pennylane.exceptions import DeviceError
from pennylane.measurements import Shots
from pennylane.ops import MidMeasure
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline

from qstore_pl import devices
from qstore_pl.backends.budget import Purse
from qstore_pl.backends.lanes import MachineLanes
from qstore_pl.backends.machine import Batch, Bill, Machine, Outcomes, Ticket

Float2D = NDArray[np.float64]
Int1D = NDArray[np.int64]
Part = tuple[devices.Parametric, Float2D, Int1D | None]
SEED_WORDS = 4  # of 32 bits


@final
class MachineDevice(devices.ResumableDevice):
    """A PennyLane device whose circuits run on a machine of another package.

    It has no gradient of its own: PennyLane differentiates it by parameter shift.

    Args:
        machine: What runs the circuits.
        wires: Number of wires, or their labels.
        shots: Number of shots of circuits that say none; None asks for exact values.
        seed: Seed of the random numbers, an integer >= 0; None takes a fresh one.

    Attributes:
        machine: What runs the circuits.
        spent: All that was run so far, and what was paid for it.
        run_id: Identifier of the training run. Two runs that are the same in everything
            else are not the same submissions.
        purse: What all devices of a training run spend together; None outside of runs
            that have a budget.

    Raises:
        DeviceError: If the machine has fewer qubits, or gives no exact values and there
            are no shots.
    """

    def __init__(
        self,
        machine: Machine,
        wires: Any,
        *,
        shots: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(wires=wires)
        self._shots = Shots(shots)  # the argument of PennyLane is deprecated
        self.machine = machine
        self.spent: Bill = Bill()
        self.run_id = uuid.uuid4().hex
        self.purse: Purse | None = None
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._check_width(len(self.wires))

    @property
    def name(self) -> str:
        """The name of the backend."""
        return self.machine.name

    @property
    def description(self) -> str:
        """A text that says what the device is."""
        return repr(self.machine)

    @property
    def generator_state(self) -> dict[str, Any]:
        """The state of the random generator and machine, the run, and what it spent."""
        spent = dataclasses.asdict(self.spent)
        return self.draws | {"run_id": self.run_id, "spent": spent}

    @generator_state.setter
    def generator_state(self, state: dict[str, Any]) -> None:
        self.draws = state
        self.run_id, self.spent = state["run_id"], Bill(**state["spent"])

    @property
    def draws(self) -> dict[str, Any]:
        """The states of the random generator and of the machine, which may be set."""
        with self._lock:
            generator = dict(self._rng.bit_generator.state)
        return {"generator": generator, "machine": self.machine.state}

    @draws.setter
    def draws(self, state: dict[str, Any]) -> None:
        with self._lock:
            self._rng.bit_generator.state = state["generator"]
        self.machine.load_state(state["machine"])

    def begin_run(self, generator: dict[str, Any] | None) -> None:
        """Begin another training run, in which nothing was spent or measured.

        Args:
            generator: State of the random generator; None goes on with its own.
        """
        if generator is None:
            generator = self.draws["generator"]
        self.draws = {"generator": generator, "machine": {}}
        self.run_id, self.spent = uuid.uuid4().hex, Bill()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"]
        with self._lock:
            # The generator of a copy draws other numbers.
            state["_rng"] = self._rng.spawn(1)[0]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def preprocess(
        self, execution_config: ExecutionConfig | None = None
    ) -> tuple[CompilePipeline, ExecutionConfig]:
        """The transforms of a circuit before it is executed."""
        config = execution_config or ExecutionConfig()
        if config.gradient_method == "best":
            config = dataclasses.replace(config, gradient_method="parameter-shift")
        config = dataclasses.replace(config, use_device_gradient=False)
        pipeline = CompilePipeline()
        pipeline.add_transform(validate_device_wires, wires=self.wires, name=self.name)
        pipeline.add_transform(_without_postselection, name=self.name)
        pipeline.add_transform(qml.defer_measurements)
        pipeline.add_transform(qml.transforms.broadcast_expand)
        return pipeline, config

    def execute(
        self,
        circuits: QuantumScript | Sequence[QuantumScript],
        execution_config: ExecutionConfig | None = None,
    ) -> Any:
        """The results of some circuits, in one submission to the machine."""
        del execution_config
        if isinstance(circuits, QuantumScript):
            return self.execute([circuits])[0]
        circuits = [self._checked(tape) for tape in circuits]
        shots = np.array([tape.shots.total_shots or 0 for tape in circuits])
        tapes = [qml.transforms.convert_to_numpy_parameters(t)[0][0] for t in circuits]
        order = self._order(tapes)
        batches = devices.in_batches(tapes, self.machine.gate_set, order)
        parts: list[Part] = []
        places: list[Int1D] = []
        for one in batches:
            each = shots[one.which]
            for some in (np.flatnonzero(each == 0), np.flatnonzero(each)):
                if len(some):
                    own = each[some] if each[some[0]] else None
                    parts.append((one.parametric, one.angles[some], own))
                    places.append(np.array(one.which)[some])
        results: list[Any] = [None] * len(circuits)
        found = self.run(parts)
        for (parametric, _, _), place, drawn in zip(parts, places, found, strict=True):
            for index, values in zip(place, drawn.values(), strict=True):
                results[index] = _measured(parametric, values)
        return tuple(results)

    def run(self, parts: Sequence[Part]) -> list[devices.Drawn]:
        """Run circuits in one submission.

        Args:
            parts: Circuits, each with its angles of shape ``(n, n_columns)``, and the
                number of shots of each, shape ``(n,)``, or None for exact values.

        Raises:
            DeviceError: If the machine does not give exact values, or allows fewer
                shots.
            BudgetError: If this would exceed the budget.
        """
        batches: list[Batch] = []
        places: list[Int1D] = []
        for circuit, angles, shots in parts:
            self._check_shots(shots)
            for one in circuit.circuits:
                batch, place = _distinct(Batch(one, angles, shots))
                batches.append(batch)
                places.append(place)
        bill = self.machine.bill(batches)
        if self.purse is not None:
            self.purse.pay(bill, backend=self.name)
        with self._seed() as seed:
            found = self.machine.run(batches, Ticket(seed, self.run_id))
        self.spent += bill
        if self.tracker.active:
            counted = {"batches": 1, "executions": bill.circuits, "shots": bill.shots}
            self.tracker.update(**counted)
            self.tracker.record()
        outcomes = [_again(o, p) for o, p in zip(found, places, strict=True)]
        results, start = [], 0
        for circuit, angles, _ in parts:
            end = start + len(circuit.circuits)
            results.append(circuit.drawn(outcomes[start:end], len(angles)))
            start = end
        return results

    def lanes(
        self,
        tape: QuantumScript,
        inputs: Sequence[Any],
        *,
        n_weights: int,
        n_features: int,
        shifted: bool,
    ) -> MachineLanes:
        """A circuit that runs at many weights at once, or with shifted gates.

        Args:
            tape: The circuit of one sample.
            inputs: What each parameter of the tape is, as for
                :func:`qstore_pl.devices.compile`.
            n_weights: Length of the weights.
            n_features: Columns of the features.
            shifted: Whether gates can be shifted.

        Raises:
            DeviceError: If an operation cannot be decomposed into gates of the machine.
        """
        tape, inputs = devices.deferred_bound(tape, inputs)
        pairs = devices.bound_operations(tape, inputs)
        circuit = devices.parametric(
            tape,
            pairs,
            self.machine.gate_set,
            self._order([tape]),
            n_weights=n_weights,
            n_features=n_features,
            shifted=shifted,
        )
        return MachineLanes(self, circuit)

    @contextlib.contextmanager
    def _seed(self) -> Iterator[int]:
        """A seed for a block; if that fails, the next one is the same.

        So a call that is repeated is the same submission, which is not sent again.
        """
        with self._lock:
            before = self._rng.bit_generator.state
            words = self._rng.integers(0, 1 << 32, SEED_WORDS, dtype=np.uint64)
            after = self._rng.bit_generator.state
        done = False
        try:
            yield sum(int(word) << 32 * i for i, word in enumerate(words))
            done = True
        finally:
            with self._lock:
                if not done and self._rng.bit_generator.state == after:
                    self._rng.bit_generator.state = before

    def _check_width(self, n_wires: int) -> None:
        most = self.machine.limits.qubits
        if most is not None and n_wires > most:
            raise DeviceError(
                f"Backend {self.name} has {most} qubits, but {n_wires} are needed. "
                "Take a smaller model, or another backend."
            )

    def _order(self, tapes: Sequence[QuantumScript]) -> tuple[Any, ...]:
        """The wires, and behind them those to which measurements were deferred."""
        order = dict.fromkeys(self.wires)
        for tape in tapes:
            order.update(dict.fromkeys(tape.wires))
        self._check_width(len(order))
        return tuple(order)

    def _checked(self, tape: QuantumScript) -> QuantumScript:
        if not tape.shots and self.shots:
            tape = tape.copy(shots=self.shots)
        if tape.shots.has_partitioned_shots:
            raise DeviceError(
                f"Backend {self.name} takes one number of shots, but the circuit has "
                f"{list(tape.shots)}. Set it with qml.set_shots."
            )
        for mp in tape.measurements:
            if not devices.has_groups(mp):
                raise DeviceError(
                    f"Backend {self.name} measures expectation values, variances and "
                    f"probabilities, but the circuit has {mp}. Make the device of the "
                    "plugin itself for other measurements."
                )
        return tape

    def _check_shots(self, shots: Int1D | None) -> None:
        limits = self.machine.limits
        if shots is None and not limits.exact:
            raise DeviceError(
                f"Backend {self.name} needs a number of shots. Set shots in the "
                "TrainingConfig, or qml.set_shots of a QNode."
            )
        if shots is not None and not limits.sampled:
            raise DeviceError(f"Backend {self.name} runs without shots.")
        most = limits.shots
        if shots is not None and most is not None and shots.max(initial=0) > most:
            raise DeviceError(
                f"Backend {self.name} takes at most {most} shots in a circuit, but "
                f"{shots.max()} are asked for."
            )


@qml.transform
def _without_postselection(
    tape: QuantumScript, *, name: str
) -> tuple[Sequence[QuantumScript], Callable[..., Any]]:
    """Refuse circuits that keep some outcomes only."""
    for op in tape.operations:
        if isinstance(op, MidMeasure) and op.postselect is not None:
            raise DeviceError(
                f"Backend {name} keeps all outcomes of a measurement, but the circuit "
                f"keeps {op.postselect} of wire {op.wires[0]} only. Postselect on "
                "mock_ideal or mock_noisy."
            )
    return (tape,), lambda results: results[0]


def _distinct(batch: Batch) -> tuple[Batch, Int1D]:
    """The circuits of a batch that differ, and where each of the batch is in them."""
    if len(batch) < 2:
        return batch, np.arange(len(batch))
    rows = batch.angles
    if batch.shots is not None:
        rows = np.column_stack([rows, batch.shots])
    if rows.shape[1] == 0:
        return batch.some([0]), np.zeros(len(batch), dtype=np.int64)
    _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(batch):
        return batch, np.arange(len(batch))
    order = np.argsort(first)  # as they came
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return batch.some(first[order]), rank[place.reshape(-1)]


def _again(outcomes: Outcomes, place: Int1D) -> Outcomes:
    """The outcomes of all circuits of a batch, from those that differ."""
    if isinstance(outcomes, list):
        return [outcomes[i] for i in place]
    return outcomes[place]


def _measured(circuit: devices.Parametric, values: NDArray[np.float64]) -> Any:
    """Values as PennyLane wants the results of the measurements of a tape."""
    results = []
    for output in circuit.outputs:
        own = values[output.first : output.end]
        if output.variance:
            results.append(np.array(own[1] - own[0] ** 2))
        else:
            results.append(own.reshape(output.shape))
    return results[0] if len(results) == 1 else tuple(results)
