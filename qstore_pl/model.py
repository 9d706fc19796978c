"""The model: an ordered list of blocks, seen as one QNode and as one Program.

The list is the single description of the circuit. The QNode runs on any PennyLane
device; the Program is that QNode's tape, lowered with symbols made of the same list.
The model knows no loss, no optimizer and no data set.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.devices import Device

from qstore_pl import checkpoint, devices
from qstore_pl._checks import choice, finite, integer, plain, real
from qstore_pl._lazy import cached_property
from qstore_pl.backends.manager import Backend, as_backend, wire_labels
from qstore_pl.encoding import QuantumDataEncoder
from qstore_pl.errors import CheckpointError
from qstore_pl.layers import QuantumLayer
from qstore_pl.templates import BasisEncoding, ZZFeatureMap

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

ENCODINGS = ("amplitude", "angle", "basis", "zz_feature_map")
READOUTS = ("affine", "expval")


@dataclass(frozen=True)
class Block:
    """One operation of the circuit and where its numbers come from.

    Args:
        operation: From values and ``wires`` to an operation.
        source: ``"features"`` or ``"weights"``.
        offset: First index in the source.
        shape: Shape of the values of one sample.
    """

    operation: Callable[..., qml.operation.Operator]
    source: str
    offset: int
    shape: tuple[int, ...]


class QuantumModel:
    """A variational circuit: encoding, rotation-entangler layers, every <Z_i>.

    Args:
        input_dim: Features of a sample, >= 1.
        output_dim: Outputs, from 1 to the number of qubits.
        n_layers: Repetitions of the trainable layer, >= 1.
        backend: A name, a Backend or a PennyLane device; None leaves the choice to the
            trainer and is ``mock_ideal`` without one.
        encoding: ``"angle"``, ``"amplitude"``, ``"basis"`` or ``"zz_feature_map"``.
        entanglement: Of the layer: ``"linear"``, ``"circular"`` or ``"full"``.
        n_qubits: Number of qubits; None takes ``input_dim``, or for amplitude
            ``max(1, ceil(log2(input_dim)))``.
        readout: ``"expval"``: outputs in [-1, 1]; ``"affine"``: scale times output plus
            bias, both trained, after the circuit's weights in :attr:`parameters`.
        rotation: Axis of angle encoding, ``"X"``, ``"Y"`` or ``"Z"``.
        scale: Factor of the features in angle encoding, radians per unit.
        seed: Seed of the first weights.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a word is unknown, an option would be ignored, or the outputs or
            features do not fit the qubits.

    Example:
        >>> model = QuantumModel(input_dim=4, output_dim=2, n_layers=2, seed=0)
        >>> model.count_parameters()
        24
        >>> model.forward(np.zeros((3, 4))).shape
        (3, 2)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        n_layers: int = 2,
        backend: Any = None,
        *,
        encoding: str = "angle",
        entanglement: str = "linear",
        n_qubits: int | None = None,
        readout: str = "expval",
        rotation: str = "Y",
        scale: float = 1.0,
        seed: Any = None,
    ) -> None:
        self.input_dim = integer("input_dim", input_dim, minimum=1)
        self.encoding = choice("encoding", encoding, ENCODINGS)
        self.readout = choice("readout", readout, READOUTS)
        self.rotation = choice("rotation", rotation, "XYZ")
        self.scale = real("scale", scale)
        if encoding != "angle" and (rotation, scale) != ("Y", 1.0):
            raise ValueError(
                "Arguments `rotation` and `scale` must be left out unless the encoding "
                f'is "angle", but it is {encoding!r}.'
            )
        self.n_qubits = self._fitting_qubits(n_qubits)
        self.output_dim = integer("output_dim", output_dim, minimum=1)
        if self.output_dim > self.n_qubits:
            way_out = (
                f"Pass n_qubits={output_dim}: amplitudes leave the added qubits in 0."
                if encoding == "amplitude"
                else "Add features (zeros will do), or take fewer outputs."
            )
            raise ValueError(
                f"Argument `output_dim` must be <= {self.n_qubits}, one <Z_i> per "
                f"qubit, but is {output_dim}. {way_out}"
            )
        self.quantum_layer = QuantumLayer(
            self.n_qubits, n_layers, entanglement=entanglement, seed=seed
        )
        self.blocks = (
            Block(self._encoding_operation(), "features", 0, (self.n_features,)),
            Block(self.quantum_layer.operation, "weights", 0, self.quantum_layer.shape),
        )
        self.n_weights = self.quantum_layer.parameters.size
        n_readout = 2 * self.output_dim if readout == "affine" else 0
        self._parameters = np.zeros(self.n_weights + n_readout)
        if n_readout:
            self._parameters[self.n_weights : self.n_weights + self.output_dim] = 1.0
        self._trainable = np.ones(self._parameters.size, dtype=bool)
        self._share_views()
        self._backend: Backend | None = None
        self.backend = backend

    def _fitting_qubits(self, n_qubits: int | None) -> int:
        amplitude = self.encoding == "amplitude"
        needed = (
            max(1, (self.input_dim - 1).bit_length()) if amplitude else self.input_dim
        )
        if n_qubits is None:
            return needed
        integer("n_qubits", n_qubits, minimum=1)
        if n_qubits < needed or (n_qubits > needed and not amplitude):
            wanted = f">= {needed}" if amplitude else f"{needed}, one per feature"
            raise ValueError(
                f"Argument `n_qubits` must be {wanted}, for {self.input_dim} features "
                f"by {self.encoding} encoding, but is {n_qubits}."
            )
        return n_qubits

    @property
    def n_features(self) -> int:
        """Columns of the prepared features."""
        return 1 << self.n_qubits if self.encoding == "amplitude" else self.n_qubits

    def _encoding_operation(self) -> Callable[..., qml.operation.Operator]:
        match self.encoding:
            case "amplitude":
                return functools.partial(
                    qml.AmplitudeEmbedding, normalize=True, pad_with=0.0
                )
            case "angle":
                return functools.partial(qml.AngleEmbedding, rotation=self.rotation)
            case "basis":
                return BasisEncoding
            case _:
                return ZZFeatureMap

    # --- parameters ---------------------------------------------------------------

    @property
    def parameters(self) -> Float1D:
        """A live view: the layer's weights in C order, then scales, then biases."""
        return self._parameters

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Which parameters are trained; a live view of the same length."""
        return self._trainable

    @property
    def weights(self) -> Float1D:
        """The circuit's part of :attr:`parameters`, a live view; radians."""
        return self._parameters[: self.n_weights]

    def count_parameters(self, *, include_readout: bool = False) -> int:
        """Number of circuit weights, or of all parameters."""
        return self._parameters.size if include_readout else self.n_weights

    def get_state(self) -> dict[str, Any]:
        """A copy of all that training changes, as numbers, words and arrays."""
        return {
            "model": self._description(),
            "parameters": self._parameters.copy(),
            "trainable": self._trainable.copy(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`get_state` of a model of the same kind returned.

        Raises:
            ValueError: If it is not such a state; the message names what differs, and
                nothing is changed.
        """
        wanted = {"model", "parameters", "trainable"}
        if not isinstance(state, dict) or set(state) != wanted:
            found = sorted(state) if isinstance(state, dict) else type(state).__name__
            raise ValueError(
                f"Argument `state` must have the entries {', '.join(sorted(wanted))}, "
                f"but has {found}."
            )
        mine, theirs = self._description(), state["model"]
        if not isinstance(theirs, dict):
            raise TypeError(
                "Argument `state` must describe its model by a dict, but has "
                f"{theirs!r} there."
            )
        different = [key for key in mine if mine[key] != theirs.get(key)]
        if different:
            listed = "; ".join(
                f"{key} is {theirs.get(key)!r}, here {mine[key]!r}" for key in different
            )
            raise ValueError(f"Argument `state` belongs to another model: {listed}.")
        parameters = finite("state['parameters']", state["parameters"])
        trainable = np.asarray(state["trainable"], dtype=bool)
        if parameters.shape != trainable.shape or parameters.shape != (
            self._parameters.size,
        ):
            raise ValueError(
                f"Argument `state` must hold {self._parameters.size} parameters, but "
                f"holds {parameters.shape} and a mask of {trainable.shape}."
            )
        self._parameters[:], self._trainable[:] = parameters, trainable

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a file, from which :meth:`from_checkpoint` makes it again.

        The backend is not in it. The file is written as a whole or not at all.

        Args:
            path: The file; one that is there is replaced.

        Raises:
            OSError: If it cannot be written.
        """
        checkpoint.save(path, self.get_state())

    @classmethod
    def from_checkpoint(
        cls, path: str | PathLike[str], *, backend: Any = None
    ) -> QuantumModel:
        """The model that a file holds, with its parameters and what is trainable.

        Args:
            path: A file that :meth:`save` wrote, or a checkpoint of a training run:
                ``best.qstore`` in its directory is its best epoch.
            backend: Where the model runs: a name, a Backend or a PennyLane device.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it is damaged, or holds no model.

        Example:
            >>> model = QuantumModel(2, 1, seed=0)
            >>> model.save("model.qstore")
            >>> twin = QuantumModel.from_checkpoint("model.qstore")
            >>> np.array_equal(twin.parameters, model.parameters)
            True
        """
        found = checkpoint.load(path)
        try:
            state = found["model"] if "run" in found else found
            model = cls(**state["model"])
            model.load_state(state)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The file `{path}` must hold a model, but does not: {error}. Use "
                "QuantumModel.save, or a checkpoint that training wrote."
            ) from error
        if backend is not None:
            model.backend = backend
        return model

    def _description(self) -> dict[str, Any]:
        return {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "n_qubits": self.n_qubits,
            "n_layers": self.quantum_layer.n_layers,
            "encoding": self.encoding,
            "entanglement": self.quantum_layer.entanglement,
            "readout": self.readout,
            "rotation": self.rotation,
            "scale": self.scale,
        }

    # --- running ------------------------------------------------------------------

    @property
    def backend(self) -> Backend | None:
        """Where the model runs; None is not chosen yet."""
        return self._backend

    @backend.setter
    def backend(self, backend: Any) -> None:
        self._has_own_backend = backend is not None
        self._run_on(None if backend is None else as_backend(backend))

    @property
    def has_own_backend(self) -> bool:
        """Whether the backend was chosen for this model, not filled in by a trainer."""
        return self._has_own_backend

    def fill_backend(self, backend: Backend) -> None:
        """Run here from now on, without making it the model's own choice."""
        self._run_on(backend)

    def on(self, backend: Any) -> QuantumModel:
        """The same model on another backend; this one stays where it is.

        Args:
            backend: A name, a Backend or a PennyLane device.

        Returns:
            A model that shares the parameters of this one, and what is trainable.
        """
        twin = copy.copy(self)
        twin.quantum_layer = copy.copy(self.quantum_layer)
        twin.backend = backend
        return twin

    def _run_on(self, backend: Backend | None) -> None:
        self._backend = backend
        self.quantum_layer.backend = self._backend or as_backend("mock_ideal")
        self.__dict__.pop("device", None)
        self.__dict__.pop("program", None)

    @cached_property
    def device(self) -> Device:
        """The PennyLane device of the backend."""
        return self.quantum_layer.backend.device(self.n_qubits)

    @property
    def wires(self) -> tuple[Any, ...]:
        """The device's first wire labels, or numbers where it has none."""
        return wire_labels(self.device, self.n_qubits)

    @property
    def qnode(self) -> qml.QNode:
        """The circuit as a QNode of prepared features and flat weights: every <Z_i>."""
        return qml.QNode(self.circuit, self.device)

    def circuit(self, features: Any, weights: Any) -> list[Any]:
        """The quantum function.

        Args:
            features: From :meth:`prepare`, shape ``(n_features,)`` or a batch of it.
            weights: Shape ``(n_weights,)``, radians.
        """
        wires = self.wires
        for block in self.blocks:
            if block.source == "features":
                values = features
            else:
                end = block.offset + int(np.prod(block.shape))
                values = qml.math.reshape(weights[block.offset : end], block.shape)
            block.operation(values, wires=wires)
        return [qml.expval(qml.Z(wire)) for wire in wires[: self.output_dim]]

    @cached_property
    def program(self) -> devices.Program | None:
        """The circuit compiled for the backend's device, or None if it has none.

        So it is on devices of others, with shots, and with noise that reads values.
        """
        return self.compile(self.device) if devices.is_native(self.device) else None

    def compile(self, device: Device) -> devices.Program | None:
        """The circuit compiled for a device of ours without shots.

        Returns:
            None if its noise depends on the values of gates.
        """
        features = np.zeros(self.n_features)
        features[0] = 1.0  # amplitudes must not all be zero
        tape = qml.tape.make_qscript(self.circuit)(features, np.zeros(self.n_weights))
        return devices.compile(
            tape,
            [devices.symbols(b.source, b.offset, b.shape) for b in self.blocks],
            device,
            n_weights=self.n_weights,
            n_features=self.n_features,
        )

    def prepare(self, inputs: Any) -> Float2D:
        """Samples as the circuit takes them; amplitudes are padded and normalised.

        Args:
            inputs: Shape ``(n_samples, input_dim)``.

        Returns:
            Shape ``(n_samples, n_features)``.

        Raises:
            ValueError: If the shape differs, an entry is NaN or infinite, a vector of
                amplitudes is zero, or bits are not 0 or 1.
            TypeError: If it is not real.
            DeviceError: If there is no memory for so many amplitudes.
        """
        array = plain("inputs", inputs)
        if array.ndim != 2 or array.shape[1] != self.input_dim or len(array) == 0:
            raise ValueError(
                f"Argument `inputs` must have shape (n_samples, {self.input_dim}) and "
                f"at least one sample, but has shape {array.shape}. The model has "
                f"input_dim={self.input_dim}."
            )
        if self.encoding == "amplitude":
            devices.check_memory(self.n_qubits)
        encoder = QuantumDataEncoder(self.n_qubits)
        if self.encoding == "angle":
            return encoder.encode(array, "angle", scale=self.scale)
        return encoder.encode(array, self.encoding)

    def forward(self, inputs: Any) -> NDArray[np.float64]:
        """Outputs of the model.

        Args:
            inputs: Shape ``(n_samples, input_dim)``; ``(input_dim,)`` for one sample.

        Returns:
            Shape ``(n_samples, output_dim)``, or ``(output_dim,)``.

        Raises:
            ValueError: As :meth:`prepare`.
            QuantumCircuitError: If a device that is not ours fails.
        """
        array = plain("inputs", inputs)
        samples = array[None] if array.ndim == 1 else array
        outputs = self.read_out(self.expectations(self.prepare(samples)))
        return outputs[0] if array.ndim == 1 else outputs

    def expectations(self, features: Float2D) -> Float2D:
        """Expectation values of prepared features, ``(n_samples, output_dim)``."""
        if self.program is not None:
            return self.program.run(self.weights, features)
        with devices.running_on(self.device, self.quantum_layer.backend.name):
            results = self.qnode(features, self.weights)
        return np.stack(results, axis=1).astype(np.float64)

    def read_out(
        self, expectations: Float2D, parameters: Float1D | None = None
    ) -> Float2D:
        """Outputs for expectation values; both of shape ``(n_samples, output_dim)``.

        Args:
            expectations: From the circuit.
            parameters: Shape ``(n_parameters,)``; None takes the model's own.
        """
        if self.readout == "expval":
            return expectations
        k = self.output_dim
        parameters = self._parameters if parameters is None else parameters
        scale, bias = parameters[-2 * k : -k], parameters[-k:]
        return scale * expectations + bias

    def pull_back(
        self,
        cotangents: Float2D,
        expectations: Float2D,
        gradients: Float1D,
        parameters: Float1D | None = None,
    ) -> Float2D:
        """The chain rule of the read-out.

        Args:
            cotangents: Derivative of the loss by the outputs,
                ``(n_samples, output_dim)``.
            expectations: Of the same samples, same shape.
            gradients: Shape ``(n_parameters,)``; the read-out's entries are written.
            parameters: Shape ``(n_parameters,)``; None takes the model's own.

        Returns:
            Derivative of the loss by the expectation values, same shape.
        """
        if self.readout == "expval":
            return cotangents
        k = self.output_dim
        parameters = self._parameters if parameters is None else parameters
        gradients[-2 * k : -k] = np.einsum("bk,bk->k", cotangents, expectations)
        gradients[-k:] = cotangents.sum(axis=0)
        return cotangents * parameters[-2 * k : -k]

    # --- copies -------------------------------------------------------------------

    def _share_views(self) -> None:
        self.quantum_layer.move_into(
            self._parameters[: self.n_weights], self._trainable[: self.n_weights]
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Copied apart, the layer's arrays become views of the model's again.
        self._share_views()

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self._description().items())
        return f"QuantumModel({shown})"
