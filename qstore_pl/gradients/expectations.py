"""The measured values of a circuit as a function of its weights and a mini-batch.

The classes here hide whether a circuit is a model or a QNode: gradient estimators see
flat arrays only. For devices of other packages a mini-batch is split into one tape per
sample, since PennyLane's transforms cannot differentiate circuits with broadcast
features.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, final

import numpy as np
import pennylane as qml
from autograd import make_vjp
from autograd.tracer import isbox
from numpy.typing import NDArray
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP, ProbabilityMP
from pennylane.tape import QuantumScript

from qstore_pl import devices
from qstore_pl.backends import Bill, MachineDevice, MachineLanes, Purse
from qstore_pl.placed import Placed
from qstore_pl.readout import DIRECT, Readout

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Float3D = NDArray[np.float64]
Bool1D = NDArray[np.bool_]


class Model(Protocol):
    """What gradients need to know of a model."""

    @property
    def n_weights(self) -> int:
        """Number of weights of the circuit."""

    @property
    def trainable(self) -> Bool1D:
        """Mask of the trained parameters: weights first, then those of the readout."""

    @property
    def readout(self) -> Readout:
        """How outputs are computed from the measured values."""

    @property
    def placed(self) -> Placed:
        """The circuit of the model, placed on its backend."""


class Expectations(ABC):
    """A circuit on a device, and the expectation values or probabilities it measures.

    Attributes:
        device: The PennyLane device.
        backend: Name of the backend, as the user knows it.
        shots: Measurements per circuit; 0 if values are exact.
        n_weights: Number of weights.
        circuits: Number of circuits run so far. A circuit has one sample, and measures
            one group of observables that can be measured together.
        measured: Number of shots of all these circuits.
    """

    def __init__(
        self, device: Any, shots: int, n_weights: int, *, backend: str
    ) -> None:
        self.device, self.shots, self.n_weights = device, shots, n_weights
        self.backend = backend
        self.circuits = self.measured = 0
        self._purse: Purse | None = None
        self._groups: dict[Hashable, int] = {}  # measurements -> number of groups
        self._is_batched = False  # whether check_batch() has succeeded

    @property
    @abstractmethod
    def trainable(self) -> Bool1D:
        """Mask of the trained weights, shape ``(n_weights,)``."""

    @property
    def program(self) -> devices.Program | None:
        """The compiled circuit, or None if it cannot be compiled."""
        return None

    @property
    def readout(self) -> Readout:
        """How outputs are computed from the measured values."""
        return DIRECT

    @property
    @abstractmethod
    def qnode(self) -> qml.QNode:
        """The circuit as a QNode with these shots."""

    @abstractmethod
    def arguments(
        self, weights: Any, features: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments of the QNode for a mini-batch.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Encoded data, shape ``(batch, n_features)``.
        """

    def tape(self, weights: Any, features: Any, *, level: str = "user") -> Any:
        """One tape for all samples of a mini-batch.

        Args:
            weights: Shape ``(n_weights,)``; they may be traced by autograd.
            features: Encoded data, shape ``(batch, n_features)``.
            level: ``"user"`` applies the transforms of the QNode, ``"device"`` also
                those of the device.
        """
        args, kwargs = self.arguments(weights, features)
        return qml.workflow.construct_tape(self.qnode, level=level)(*args, **kwargs)

    def outputs(self, weights: Any, features: Any) -> Any:
        """The measured values, from the QNode, which autograd can differentiate.

        Its derivative is the device's own gradient.

        Args:
            weights: Shape ``(n_weights,)``; they may be traced by autograd.
            features: Encoded data, shape ``(batch, n_features)``.

        Returns:
            Shape ``(batch, n_values)``.
        """
        self.spend(len(features))
        args, kwargs = self.arguments(weights, features)
        qnode = self.qnode.update(diff_method="adjoint")
        with self.running():
            results = qnode(*args, **kwargs)
        parts = results if isinstance(results, tuple | list) else (results,)
        columns = [qml.math.reshape(part, (len(features), -1)) for part in parts]
        return qml.math.concatenate(columns, axis=1)

    @property
    def is_exact_here(self) -> bool:
        """Whether the device is one of this package and there are no shots."""
        return not self.shots and devices.is_native(self.device)

    @abstractmethod
    def lanes(
        self, shape: tuple[int, ...], *, shifted: bool
    ) -> devices.Lanes | MachineLanes | None:
        """The circuit compiled to run at many values at once.

        Args:
            shape: Shape of the encoded data of a mini-batch.
            shifted: Whether gates can be shifted; else every lane has its own weights.

        Returns:
            The lanes, or None on devices of other packages, and where the circuit
            cannot be compiled: there it runs as tapes.
        """

    def values(
        self,
        points: Sequence[Float1D],
        features: Float2D,
        rows: NDArray[np.int64],
    ) -> Float3D:
        """The measured values at several weights, in one submission to the device.

        Args:
            points: Sequence of weights, each of shape ``(n_weights,)``.
            features: Encoded data, shape ``(batch, n_features)``.
            rows: Index of each of these samples in the data, shape ``(batch,)``.

        Returns:
            Shape ``(n_points, batch, n_values)``.
        """
        batch = len(features)
        lanes = self.lanes(features.shape, shifted=False)
        if lanes is not None:
            features = lanes.features_of(features)
            with self.counting(len(points) * batch * lanes.n_groups):
                return lanes.at(np.stack(points), features, rows, shots=self.shots)
        tapes = [
            one
            for point in points
            for one in one_per_sample(self.tape(point, features), batch)
        ]
        values = as_values(self.execute(tapes))
        return values.reshape(len(points), batch, -1)

    def execute(self, tapes: Sequence[QuantumScript]) -> Any:
        """The results of tapes of one sample each, in one submission to the device.

        Raises:
            QuantumCircuitError: If a device of another package fails.
        """
        before = self._spent_there
        if before is None:
            self.spend(sum(map(self._n_groups, tapes)))
        with self.running():
            results = qml.execute(tapes, self.device, diff_method=None)
        self._add_spent_there(before)
        return results

    def limit(self, purse: Purse | None) -> None:
        """Let circuits be run within a budget only.

        Args:
            purse: What may be spent, and was spent; None does not limit it.
        """
        if isinstance(self.device, MachineDevice):
            self.device.purse = purse
        else:
            self._purse = purse

    def spend(self, n_circuits: int, n_shots: int | None = None) -> None:
        """Count circuits that are about to run.

        Args:
            n_circuits: Their number.
            n_shots: Number of shots of all of them; None takes those of every circuit.

        Raises:
            BudgetError: If they would exceed the budget; then none is counted.
        """
        n_shots = n_circuits * self.shots if n_shots is None else n_shots
        if self._purse is not None:
            self._purse.pay(Bill(n_circuits, n_shots), backend=self.backend)
        self.circuits += n_circuits
        self.measured += n_shots

    @contextmanager
    def counting(self, n_circuits: int, n_shots: int | None = None) -> Iterator[None]:
        """A context in which circuits run in lanes, and are counted.

        Args:
            n_circuits: Number of circuits. A machine of another package runs fewer of
                them where some are the same, and more for the mitigation of errors.
            n_shots: Number of shots of all of them; None takes those of every circuit.

        Raises:
            BudgetError: If they would exceed the budget.
            QuantumCircuitError: If a device of another package fails.
        """
        before = self._spent_there
        if before is None:
            self.spend(n_circuits, n_shots)
        with self.running():
            yield
        self._add_spent_there(before)

    @property
    def _spent_there(self) -> Bill | None:
        """What the device counted itself, if it is one of a machine."""
        return self.device.spent if isinstance(self.device, MachineDevice) else None

    def _add_spent_there(self, before: Bill | None) -> None:
        now = self._spent_there
        if before is not None and now is not None:
            self.circuits += now.circuits - before.circuits
            self.measured += now.shots - before.shots

    def running(self) -> AbstractContextManager[None]:
        """A context manager for running circuits; see :func:`devices.running_on`."""
        return devices.running_on(self.device, self.backend)

    def _n_groups(self, tape: QuantumScript) -> int:
        """Number of circuits that a tape takes, as PennyLane's devices count them.

        Expectation values of observables that PennyLane can measure together share a
        circuit; every other measurement needs a circuit of its own.
        """
        measured = tuple(map(repr, tape.measurements))
        if measured not in self._groups:
            kind = qml.measurements.ExpectationMP
            values = [mp for mp in tape.measurements if isinstance(mp, kind)]
            n_groups = len(tape.measurements) - len(values)
            if values:
                alone = tape.copy(measurements=values)
                n_groups += len(qml.transforms.split_non_commuting(alone)[0])
            self._groups[measured] = n_groups
        return self._groups[measured]

    def check_batch(self, weights: Float1D, features: Float2D) -> None:
        """Refuse a circuit that does not broadcast over the samples.

        It also raises any error in the circuit's function, before circuits run.

        Raises:
            ValueError: If the batch size of the circuit is not the number of samples.
        """
        if self._is_batched:
            return
        tape = self.tape(weights, features)
        if features.shape[1]:
            one_per_sample(tape, len(features))
        self._is_batched = True


@final
class ModelExpectations(Expectations):
    """The circuit of a model.

    Args:
        model: The model.
        placed: The circuit on another backend; None takes the model's own.
        shots: Measurements per circuit, >= 1; None takes the shots of the device, and
            a device without shots is exact.
        trainable: Mask of the trained weights, shape ``(n_weights,)``. None is the mask
            of the model, and follows its changes.
        readout: How outputs are computed from the measured values; None takes the
            readout of the model.
    """

    def __init__(
        self,
        model: Model,
        placed: Placed | None = None,
        *,
        shots: int | None = None,
        trainable: Bool1D | None = None,
        readout: Readout | None = None,
    ) -> None:
        placed = model.placed if placed is None else placed
        device = placed.device
        given = device.shots  # deprecated in PennyLane, but some devices have shots
        super().__init__(
            device,
            shots or given.total_shots or 0,
            model.n_weights,
            backend=placed.backend.name,
        )
        self.placed = placed
        self._readout = model.readout if readout is None else readout
        mask = model.trainable[: model.n_weights]  # a view, which follows changes
        self._trainable = mask if trainable is None else trainable

    @property
    def trainable(self) -> Bool1D:
        """Mask of the trained weights, shape ``(n_weights,)``."""
        return self._trainable

    @property
    def program(self) -> devices.Program | None:
        """The compiled circuit, or None if it cannot be compiled."""
        return None if self.shots else self.placed.program

    def lanes(
        self, shape: tuple[int, ...], *, shifted: bool
    ) -> devices.Lanes | MachineLanes | None:
        """The circuit compiled to run at many values at once, or None."""
        del shape  # it makes no difference
        return self.placed.lanes(shots=bool(self.shots), shifted=shifted)

    @property
    def readout(self) -> Readout:
        """How outputs are computed from the measured values."""
        return self._readout

    @property
    def qnode(self) -> qml.QNode:
        """The circuit as a QNode with these shots."""
        return qml.set_shots(self.placed.qnode, self.shots or None)

    def arguments(
        self, weights: Any, features: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments of the QNode for a mini-batch."""
        return (features, weights), {}


Call = Callable[[Any, Any], tuple[tuple[Any, ...], dict[str, Any]]]
"""From flat weights and features to the arguments of a QNode."""


@final
class QNodeExpectations(Expectations):
    """The circuit of a QNode.

    Args:
        qnode: The QNode.
        n_weights: Number of weights.
        call: Function from flat weights and features to the arguments of the QNode.
        shots: Measurements per circuit, >= 1; None takes the shots of the QNode.
        trainable: Mask of the trained weights, shape ``(n_weights,)``; None trains all.
        backend: Name of the backend; None takes the name of the device.
    """

    def __init__(
        self,
        qnode: qml.QNode,
        n_weights: int,
        call: Call,
        *,
        shots: int | None = None,
        trainable: Bool1D | None = None,
        backend: str | None = None,
    ) -> None:
        if shots is not None:
            qnode = qml.set_shots(qnode, shots)
        if qnode.shots.has_partitioned_shots:
            raise ValueError(
                f"The circuit has several numbers of shots, {list(qnode.shots)}, but "
                "a gradient takes one. Set it with qml.set_shots."
            )
        self._qnode, self._call = qnode, call
        self._lanes: dict[tuple[tuple[int, ...], bool], devices.Lanes | None] = {}
        super().__init__(
            qnode.device,
            qnode.shots.total_shots or 0,
            n_weights,
            backend=backend or qnode.device.name,
        )
        everything = np.ones(n_weights, dtype=bool)
        self._trainable = everything if trainable is None else trainable

    @property
    def trainable(self) -> Bool1D:
        """Mask of the trained weights, shape ``(n_weights,)``."""
        return self._trainable

    @property
    def qnode(self) -> qml.QNode:
        """The circuit as a QNode with these shots."""
        return self._qnode

    def lanes(self, shape: tuple[int, ...], *, shifted: bool) -> devices.Lanes | None:
        """The circuit compiled to run at many values at once, or None.

        It is None where the QNode cannot be compiled, and runs as tapes.
        """
        key = shape, shifted
        if key not in self._lanes:
            self._lanes[key] = None
            with contextlib.suppress(DeviceError, devices.SymbolError):
                self._lanes[key] = self._traced(shape, shifted=shifted)
        return self._lanes[key]

    def _traced(self, shape: tuple[int, ...], *, shifted: bool) -> devices.Lanes | None:
        qnode = self._qnode
        if not devices.is_ours(qnode.device) or len(qnode.compile_pipeline):
            return None
        shapes = [(self.n_weights,), shape]
        found = devices.traced(
            qnode.func,
            lambda symbols: self._call(*symbols),
            shapes,
            [devices.Symbols] * 2,
        )
        kinds = (ExpectationMP, ProbabilityMP)
        if not all(isinstance(mp, kinds) for mp in found.tape.measurements):
            return None
        device: Any = qnode.device
        return devices.lanes_of_weights(
            found.tape, device, shapes, qnode.shots, shifted=shifted
        )

    def noiseless(self) -> QNodeExpectations:
        """The same circuit on ``qstore.mock_ideal``, without noise and shots."""
        device = devices.MockIdeal(wires=self.device.wires, seed=None)
        qnode = self._qnode.update(device=device, diff_method="best")
        qnode = qml.set_shots(qnode, None)
        return QNodeExpectations(
            qnode, self.n_weights, self._call, trainable=self._trainable
        )

    def arguments(
        self, weights: Any, features: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments of the QNode for a mini-batch."""
        return self._call(weights, features)


class NoDependenceError(ValueError):
    """No parameter of a tape depends on the weights."""


class Traced:
    """A tape, and the derivatives of its parameters with respect to the weights.

    The parameters of a tape, the arguments of its gates, are functions of the weights
    that the user trains. This class applies the chain rule of these functions.

    Args:
        make: Function from weights, which may be traced by autograd, to the tape of all
            samples.
        weights: Values of the weights, shape ``(n_weights,)``.
        wanted: Mask of the weights of interest, shape ``(n_weights,)``.

    Attributes:
        tape: The tape with numbers as parameters. Its trainable parameters are those
            that depend on a weight of interest.

    Raises:
        NoDependenceError: If no parameter depends on the weights.
    """

    def __init__(
        self, make: Callable[[Any], QuantumScript], weights: Float1D, wanted: Bool1D
    ) -> None:
        made: list[Any] = []

        def parameters(at: Any) -> Any:
            tape = make(at)
            values = tape.get_parameters(trainable_only=False)
            traced = _boxed(values)
            if not traced:
                raise NoDependenceError(NO_DEPENDENCE)
            made.append((tape, [qml.math.unwrap(value) for value in values]))
            return _joined([values[i] for i in traced])

        # pnp.array: its product with data that are marked as constant stays trainable.
        self._pull_back, _ = make_vjp(parameters)(pnp.array(weights))
        tape, here = made[0]
        traced = _boxed(tape.get_parameters(trainable_only=False))
        kept = traced
        if not wanted.all():
            # A parameter depends on the wanted weights if it changes when they do. They
            # change by random numbers, which do not cancel in sums of weights.
            step = np.random.default_rng(0).normal(size=len(weights))
            moved = weights + np.where(wanted, step, 0.0)
            make_vjp(parameters)(pnp.array(moved))
            kept = [i for i in traced if np.any(here[i] != made[1][1][i])]
        (self.tape,), _ = qml.transforms.convert_to_numpy_parameters(tape)
        self.tape.trainable_params = kept
        self._shapes = [np.shape(here[i]) for i in traced]
        self._kept = [k for k, i in enumerate(traced) if i in kept]
        self._batched = [_is_batched(self.tape, i) for i in traced]

    def pull_back(self, gradients: Sequence[Float1D]) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``.

        Args:
            gradients: For each sample, the gradient with respect to the trainable
                parameters of its tape.
        """
        totals = [np.zeros(shape) for shape in self._shapes]
        for sample, gradient in enumerate(gradients):
            for k, value in zip(self._kept, gradient, strict=True):
                if self._batched[k]:
                    totals[k][sample] += value
                else:
                    totals[k] += value
        return np.asarray(self._pull_back(_joined(totals)), dtype=np.float64)

    def jacobian(self) -> Float2D:
        """Derivatives of the tape's trainable parameters with respect to the weights.

        Returns:
            Shape ``(n_entries, n_weights)``. The rows are the entries of all trainable
            parameters, flattened one after the other.
        """
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        starts = np.cumsum([0, *sizes])
        kept = [np.arange(starts[k], starts[k + 1]) for k in self._kept]
        rows = np.concatenate(kept) if kept else np.empty(0, dtype=np.intp)
        whole = self._one_to_one(starts[-1])
        if whole is None:
            return np.stack([self._pulled(np.arange(starts[-1]) == i) for i in rows])
        return whole[rows]

    def _one_to_one(self, n: int) -> Float2D | None:
        """The Jacobian if it has at most one entry in each column, else None.

        It takes three vector-Jacobian products instead of one for each of n rows. The
        product with ones gives the entries. The product with 0, 1, 2, ... gives the
        entries times their row numbers, hence the rows. The product with random numbers
        is compared, to see whether the assumption holds.
        """
        slopes, numbered = self._pulled(np.ones(n)), self._pulled(np.arange(n))
        enters = np.flatnonzero(slopes)
        place = np.rint(numbered[enters] / slopes[enters]).astype(np.intp)
        if np.any(place < 0) or np.any(place >= n):
            return None
        jacobian = np.zeros((n, len(slopes)))
        jacobian[place, enters] = slopes[enters]
        test = np.random.default_rng(0).normal(size=n)
        agrees = np.allclose(test @ jacobian, self._pulled(test), rtol=1e-12, atol=0.0)
        return jacobian if agrees else None

    def _pulled(self, gradients: NDArray[Any]) -> Float1D:
        pulled = self._pull_back(gradients.astype(np.float64))
        return np.asarray(pulled, dtype=np.float64)

    def where(self, sample: int) -> list[int]:
        """Rows of :meth:`jacobian` that belong to the tape of this sample."""
        found, start = [], 0
        for k in self._kept:
            found.append(start + sample * self._batched[k])
            start += int(np.prod(self._shapes[k]))
        return found


NO_DEPENDENCE = (
    "The circuit has no gates that depend on the parameters, or none that can be "
    "differentiated."
)


def one_per_sample(tape: QuantumScript, batch: int) -> list[QuantumScript]:
    """Split a tape of several samples into one tape for each.

    Args:
        tape: Tape whose operations broadcast over the samples.
        batch: Number of samples.

    Raises:
        ValueError: If the tape has another number of samples.
    """
    if tape.batch_size is None and batch == 1:
        return [tape]
    if tape.batch_size != batch:
        raise ValueError(
            f"The circuit was given {batch} samples as one batch, but has batch size "
            f"{tape.batch_size}. Write it for inputs of shape (n_samples, n_features): "
            "inputs[..., i]."
        )
    tapes, _ = qml.transforms.broadcast_expand(tape)
    for one in tapes:
        one.trainable_params = tape.trainable_params
    return list(tapes)


def _is_batched(tape: QuantumScript, index: int) -> bool:
    info = tape.par_info[index]
    op, position = info["op"], info["p_idx"]
    if op.batch_size is None:
        return False
    return int(np.ndim(op.data[position])) > op.ndim_params[position]


def _boxed(values: Sequence[Any]) -> list[int]:
    """Indices of the values that autograd traces."""
    return [i for i, value in enumerate(values) if isbox(value)]


def _joined(parts: Sequence[Any]) -> Any:
    return qml.math.concatenate([qml.math.reshape(part, (-1,)) for part in parts])


def as_values(results: Sequence[Any]) -> Float2D:
    """Results of tapes of one sample each, as rows of measured values."""
    return np.array([_flat(result) for result in results])


def _flat(result: Any) -> Float1D:
    """The results of one tape's measurements as one vector."""
    parts = result if isinstance(result, tuple | list) else (result,)
    flat = np.concatenate([np.reshape(part, -1) for part in parts])
    if flat.dtype.kind not in "fiub":
        raise TypeError(
            f"The results of the circuit have dtype {flat.dtype}. Gradients need real "
            "numbers: expectation values or probabilities."
        )
    return flat.astype(np.float64)
