"""The model: layers and a readout become one circuit and one array of parameters.

The circuit is a list of blocks, the single description of which QNodes and compiled
Programs are made. The model owns no device: to run, it is placed on a backend. It knows
no loss, no optimizer and no data set.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.devices import Device
from pennylane.exceptions import DeviceError
from pennylane.measurements import MeasurementProcess
from pennylane.operation import Operator

from qstore_pl import checkpoint, embedding
from qstore_pl._checks import choice, finite, integer, plain
from qstore_pl._lazy import cached_property
from qstore_pl._tables import paragraph
from qstore_pl.backends.manager import Backend, as_backend
from qstore_pl.compiled import Compiled
from qstore_pl.config import DEFAULTS
from qstore_pl.description import (
    arguments_of,
    layers_described,
    listed,
    readout_described,
)
from qstore_pl.errors import CheckpointError
from qstore_pl.layers import (
    AngleEncoding,
    Encoding,
    Layer,
    QNodeLayer,
    QuantumLayer,
    Standalone,
)
from qstore_pl.layers.encodings import BY_WORD
from qstore_pl.losses import LOSSES, decided
from qstore_pl.placed import Placed
from qstore_pl.readout import Affine, Readout, n_values, readout_of
from qstore_pl.stack import Stack
from qstore_pl.summary import (
    MOST_COLUMNS,
    ModelSummary,
    summary_of,
    warn_of_unseen,
)

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

ENCODINGS = tuple(BY_WORD)


class QuantumModel:
    r"""A trainable quantum circuit: encoded data and weights in, outputs out.

    With words alone, as in ``QuantumModel(4, 2, encoding="angle")``, the circuit is an
    encoding and one :class:`QuantumLayer`. With ``layers`` it is any list of layers, of
    this package or your own; encodings may come several times, which uploads the data
    again.

    Args:
        input_dim: Number of features of a sample, >= 1.
        output_dim: Number of outputs, >= 1.
        n_layers: Repetitions of the trainable layer, >= 1.
        backend: Where the model runs: a name, a Backend or a PennyLane device. None
            leaves the choice to the trainer; without one it is ``"mock_ideal"``.
        layers: The layers in the order in which they act; at least one is an encoding.
            None means an encoding and a layer, as the words below say.
        observables: PennyLane observables on positions of wires, one for each output,
            as ``[qml.Z(0) @ qml.Z(1)]``; None is :math:`\langle Z_i \rangle` of the
            first wires.
        readout: How outputs are made of what is measured. ``"expval"``: they are the
            expectation values; ``"affine"``: a trained scale times each of them, plus a
            trained bias; ``"probs"``: probabilities of the outcomes of as many wires
            as the outputs need; or a :class:`~qstore_pl.readout.Readout`.
        encoding: ``"angle"``, ``"amplitude"``, ``"basis"`` or ``"zz_feature_map"``.
        entanglement: Which CNOTs the trainable layer has: ``"linear"``,
            ``"circular"``, ``"full"`` or ``"none"``; see :class:`QuantumLayer`.
        n_qubits: Number of qubits; None takes as many as the encodings need.
        rotation: Axis of angle encoding, ``"X"``, ``"Y"`` or ``"Z"``, or several, as
            ``"YZ"``, for more features than qubits.
        scale: Factor of the features in angle encoding, radians per unit.
        seed: Seed of the first weights.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a word is unknown, an option would be ignored, or the outputs or
            features do not fit the qubits.

    Example:
        >>> model = QuantumModel(input_dim=4, output_dim=2, n_layers=2, seed=0)
        >>> model.count_parameters()
        24
        >>> model(np.zeros((3, 4))).shape
        (3, 2)
        >>> layers = [AngleEncoding(), QuantumLayer(), AngleEncoding(), QuantumLayer()]
        >>> observables = [qml.Z(0) @ qml.Z(1), qml.X(2)]
        >>> model = QuantumModel(3, 2, layers=layers, observables=observables, seed=0)
        >>> model.count_parameters()
        36
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        n_layers: int = 2,
        backend: Any = None,
        *,
        layers: Sequence[Layer] | None = None,
        observables: Sequence[Operator] | None = None,
        readout: str | Readout = "expval",
        encoding: str = "angle",
        entanglement: str = "circular",
        n_qubits: int | None = None,
        rotation: str = "Y",
        scale: float = 1.0,
        seed: Any = None,
    ) -> None:
        self.input_dim = integer("input_dim", input_dim, minimum=1)
        self.output_dim = integer("output_dim", output_dim, minimum=1)
        self.readout = readout_of(readout, observables)
        self._words: dict[str, Any] | None = None
        given: dict[str, Any] = {
            "n_layers": n_layers,
            "encoding": encoding,
            "entanglement": entanglement,
            "rotation": rotation,
            "scale": scale,
        }
        if layers is None:
            layers = _layers_of(**given)
            self._words = {**given, "scale": float(scale)}
        else:
            _check_left_out(given)
        self.stack = Stack(layers, self.input_dim, n_qubits, seed)
        self.measurements = self._checked_measurements()
        self.blocks = self.stack.blocks
        own = self._checked_readout()
        self._parameters = np.concatenate([np.zeros(self.n_weights), own])
        self._trainable = np.ones(self._parameters.size, dtype=bool)
        self.stack.move_into(self._parameters, self._trainable)
        self._predicts = ""
        self._backend: Backend | None = None
        self.backend = backend
        warn_of_unseen(self, stacklevel=2)

    @classmethod
    def from_qnode(
        cls,
        qnode: qml.QNode | Compiled,
        weight_shapes: Mapping[str, int | Sequence[int]],
        *,
        input_dim: int,
        affine: bool = False,
        backend: Any = None,
        seed: Any = None,
    ) -> Self:
        """A model whose circuit and outputs are those of a QNode.

        It is trained like every model. On the devices of this package the QNode's
        Python runs once, when the circuit is compiled; on any other device it is
        called for each mini-batch.

        Args:
            qnode: A QNode, or one that was compiled. It takes the samples as its
                argument ``inputs`` and broadcasts over them, as ``inputs[..., i]``
                does. It returns expectation values, or the probabilities of some wires,
                each of which is an output.
            weight_shapes: The shapes of the arguments of the QNode, ``inputs``
                excepted, by their names, as in ``qml.qnn.TorchLayer``. The weights of
                the model are these arguments, one after the other.
            input_dim: Number of features of a sample, >= 1.
            affine: Whether each output is a measured value times a trained scale, plus
                a trained bias; otherwise it is the measured value.
            backend: Where the model runs; None is the device of the QNode.
            seed: Seed of the first weights, normal with standard deviation 0.1.

        Raises:
            TypeError: If it is no QNode.
            ValueError: If names or shapes do not fit the QNode, it has shots or
                transforms, it measures something else, or it does not broadcast.

        Example:
            >>> @qml.qnode(qml.device("qstore.mock_ideal", wires=2))
            ... def circuit(inputs, weights):
            ...     qml.AngleEmbedding(inputs, wires=[0, 1])
            ...     qml.StronglyEntanglingLayers(weights, wires=[0, 1])
            ...     return qml.expval(qml.Z(0))
            >>> model = QuantumModel.from_qnode(
            ...     circuit, {"weights": (3, 2, 3)}, input_dim=2, seed=0
            ... )
            >>> model.count_parameters(), model(np.zeros((5, 2))).shape
            (18, (5, 1))
        """
        if isinstance(qnode, Compiled):
            qnode = qnode.qnode
        layer = QNodeLayer(qnode, weight_shapes)
        n_qubits = layer.n_wires(integer("input_dim", input_dim, minimum=1))
        measured = layer.readout()
        count = n_values(measured.measurements(tuple(range(n_qubits)), 0))
        return cls(
            input_dim,
            count,
            backend=qnode.device if backend is None else backend,
            layers=[layer],
            readout=Affine(measured) if affine else measured,
            n_qubits=n_qubits,
            seed=seed,
        )

    def _checked_measurements(self) -> Sequence[MeasurementProcess]:
        kept = self.stack.kept
        found = list(self.readout.measurements(kept, self.output_dim))
        n_values(found)
        measured = {wire for mp in found for wire in mp.wires}
        if unknown := sorted(measured - set(kept), key=str):
            raise ValueError(
                f"Argument `readout` must measure wires out of {list(kept)}, those the "
                f"last layer keeps, but {self.readout!r} measures {unknown}."
            )
        return found

    def _checked_readout(self) -> Float1D:
        """The readout's first parameters, if it gives the outputs that were asked."""
        own = np.asarray(self.readout.initial(self.output_dim), dtype=np.float64)
        count = n_values(self.measurements)
        trial = np.full((1, count), 1.0 / count)
        count = np.shape(self.readout.outputs(trial, own))[-1]
        if count != self.output_dim:
            raise ValueError(
                f"Argument `output_dim` must be {count}, the outputs of "
                f"{self.readout!r}, but is {self.output_dim}."
            )
        return own

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return self.stack.n_qubits

    @property
    def n_weights(self) -> int:
        """Number of weights of the circuit."""
        return self.stack.n_weights

    @property
    def n_features(self) -> int:
        """Columns of the encoded data that :meth:`prepare` returns."""
        return self.stack.n_features

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order in which they act, with their weights."""
        return tuple(part.layer for part in self.stack.parts)

    @property
    def quantum_layer(self) -> QuantumLayer:
        """The QuantumLayer of a model that has one.

        Raises:
            ValueError: If it has none, or several.
        """
        layers = [part.layer for part in self.stack.distinct]
        found = [layer for layer in layers if isinstance(layer, QuantumLayer)]
        if len(found) != 1:
            raise ValueError(
                f"A model must have one QuantumLayer for `quantum_layer`, but has "
                f"{len(found)}. Take model.layers[i]."
            )
        return found[0]

    def summary(self) -> ModelSummary:
        """The layers with their wires, weights, gates and depth; print it.

        Gates are counted once templates are taken apart, without state preparations.

        Raises:
            DeviceError: If an operation has no decomposition that can be compiled.

        Example:
            >>> summary = QuantumModel(4, 2, seed=0).summary()
            >>> summary.total.n_gates, summary.total.depth, summary.unseen_weights
            ((28, 8), 15, (14, 17, 20, 23))
        """
        return summary_of(self)

    # --- parameters ---------------------------------------------------------------

    @property
    def parameters(self) -> Float1D:
        """All parameters, a live view: weights of the layers in order, then readout."""
        return self._parameters

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Which parameters are trained; a live view of the same length."""
        return self._trainable

    @property
    def weights(self) -> Float1D:
        """The circuit's part of :attr:`parameters`, a live view; radians for angles."""
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
            "predicts": self._predicts,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`get_state` of a model of the same kind returned.

        Raises:
            ValueError: If it is not such a state; the message names what differs, and
                nothing is changed.
        """
        wanted = {"model", "parameters", "trainable"}
        if not isinstance(state, dict) or set(state) - {"predicts"} != wanted:
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
        keys = list(dict.fromkeys([*mine, *theirs]))
        different = [key for key in keys if mine.get(key) != theirs.get(key)]
        if different:
            listed = "; ".join(
                f"{key} is {theirs.get(key)!r}, here {mine.get(key)!r}"
                for key in different
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
        self._predicts = state.get("predicts", "")

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
        cls,
        path: str | PathLike[str],
        *,
        backend: Any = None,
        layers: Sequence[Layer] | None = None,
        readout: Readout | None = None,
        qnode: qml.QNode | None = None,
    ) -> QuantumModel:
        """The model that a file holds, with its parameters and what is trainable.

        Args:
            path: A file that :meth:`save` wrote, or a checkpoint of a training run:
                ``best.qstore`` in its directory is its best epoch.
            backend: Where the model runs: a name, a Backend or a PennyLane device.
            layers: The layers of the model, needed if some are classes of your own,
                whose code a file does not hold.
            readout: The readout, needed if it is of a class of your own.
            qnode: The QNode, needed if the model was made of one. Without a
                ``backend`` the model runs on its device.

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
        return cls.from_tree(
            checkpoint.load(path),
            f"The file `{path}`",
            backend=backend,
            layers=layers,
            readout=readout,
            qnode=qnode,
        )

    @classmethod
    def from_tree(
        cls,
        tree: Any,
        source: str,
        *,
        backend: Any = None,
        layers: Sequence[Layer] | None = None,
        readout: Readout | None = None,
        qnode: qml.QNode | None = None,
    ) -> QuantumModel:
        """The model that the contents of a checkpoint describe.

        Args:
            tree: What :meth:`get_state` returned, or a checkpoint of a training run.
            source: Where it comes from, for errors.
            backend: As for :meth:`from_checkpoint`.
            layers: As for :meth:`from_checkpoint`.
            readout: As for :meth:`from_checkpoint`.
            qnode: As for :meth:`from_checkpoint`.

        Raises:
            CheckpointError: If it holds no model.
        """
        try:
            state = tree["model"] if "run" in tree else tree
            model = cls(**arguments_of(state["model"], layers, readout, qnode))
            model.load_state(state)
            if "run" in tree and not state.get("predicts"):
                # It was written before the end of the training, where this is set.
                loss = LOSSES.get(tree["config"].get("loss", DEFAULTS["loss"]))
                if loss is not None:
                    model.trained_with(classes=loss.is_classification)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{source} must hold a model, but does not: {error}. Use "
                "QuantumModel.save, or a checkpoint that training wrote."
            ) from error
        if backend is None and qnode is not None:
            backend = qnode.device
        if backend is not None:
            model.backend = backend
        return model

    def _description(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "n_qubits": self.n_qubits,
        }
        if self._words is not None:
            found |= self._words
        else:
            found["layers"] = layers_described(self.stack)
        found["readout"] = readout_described(self.readout)
        return found

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

    def _run_on(self, backend: Backend | None) -> None:
        self._backend = backend
        for part in self.stack.distinct:
            if isinstance(part.layer, Standalone):
                part.layer.backend = backend or as_backend("mock_ideal")
        self.__dict__.pop("placed", None)

    @cached_property
    def placed(self) -> Placed:
        """The model on its backend."""
        return self.on(self._backend or "mock_ideal")

    def on(self, backend: Any) -> Placed:
        """The model on some backend; its own backend stays.

        Args:
            backend: A name, a Backend or a PennyLane device.
        """
        return Placed(self, as_backend(backend))

    @property
    def device(self) -> Device:
        """The PennyLane device of the backend."""
        return self.placed.device

    @property
    def qnode(self) -> qml.QNode:
        """The circuit as a QNode of encoded data and flat weights, to draw or to run.

        Encoded data come from :meth:`prepare`.
        """
        return self.placed.qnode

    def circuit(self, features: Any, weights: Any) -> list[MeasurementProcess]:
        """The circuit as a quantum function, for a QNode on a device of your own.

        Args:
            features: Encoded data from :meth:`prepare`, shape ``(n_features,)`` or
                ``(n_samples, n_features)``.
            weights: Shape ``(n_weights,)``.

        Returns:
            PennyLane's measurements.
        """
        return self.placed.circuit(features, weights)

    def prepare(self, inputs: Any) -> Float2D:
        """Samples as the circuit takes them: encoded.

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
        return self.stack.encode(finite("inputs", array))

    def examples(self) -> Float2D:
        """Encoded samples that differ: the first feature is 1, or the last, or 1/2."""
        return self.stack.examples()

    def forward(self, inputs: Any) -> NDArray[np.float64]:
        """Outputs of the model; calling the model is the same.

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
        values = self.placed.values(self.prepare(samples), self.weights)
        outputs = self.readout.outputs(values, self._parameters[self.n_weights :])
        return outputs[0] if array.ndim == 1 else outputs

    def __call__(self, inputs: Any) -> Any:
        """Outputs of the model: :meth:`forward`."""
        return self.forward(inputs)

    def states(self, inputs: Any) -> NDArray[Any]:
        r"""The final states of the circuit on all qubits, qubit 0 most significant.

        Args:
            inputs: Shape ``(n_samples, input_dim)``.

        Returns:
            State vectors, complex128 of shape ``(n_samples, 2**n_qubits)``; or, with
            noise, Pauli vectors, float64 of shape ``(n_samples, 4**n_qubits)``, whose
            entries are :math:`\mathrm{Tr}(P\rho)`. Readout error acts on what is
            measured, and therefore not on states.

        Raises:
            ValueError: As :meth:`prepare`.
            DeviceError: If the circuit has no single state: with shots, trajectories,
                or a measurement inside.
            QuantumCircuitError: If a device that is not ours fails.

        Example:
            >>> model = QuantumModel(2, 1, seed=0)
            >>> model.states(np.zeros((3, 2))).shape
            (3, 4)
        """
        return self.placed.states(self.prepare(inputs), self.weights)

    def embed(self, inputs: Any, kind: str = "pauli") -> Float2D:
        r"""Samples as vectors that say what state the circuit makes of each.

        Embeddings are exact, and made by the backend of the model.

        Args:
            inputs: Shape ``(n_samples, input_dim)``.
            kind: ``"pauli"``: the whole state of up to 7 qubits, such that the dot
                product of two vectors is :math:`\mathrm{Tr}(\rho\sigma)`, and their
                cosine the fidelity where states are pure; with noise it is that of the
                noisy states. ``"local"``: the expectation values of X on all qubits,
                then of Y, then of Z, for any number of qubits. ``"outputs"``: the
                outputs of the model.

        Returns:
            Shape ``(n_samples, dimension)``, with the :meth:`embedding_dimension` of
            this kind.

        Raises:
            ValueError: If the kind is unknown, there are too many qubits for it, or as
                :meth:`prepare`.
            DeviceError: If the backend has shots or trajectories, or the circuit has a
                measurement inside and therefore no single state for ``"pauli"``.
            QuantumCircuitError: If a device that is not ours fails.

        Example:
            >>> model = QuantumModel(2, 1, seed=0)
            >>> vectors = model.embed([[0.1, 0.2], [0.1, 0.2], [2.0, 0.3]])
            >>> vectors.shape
            (3, 16)
            >>> print((vectors @ vectors[0]).round(2))
            [1.   1.   0.34]
        """
        self.embedding_dimension(kind)  # which knows the kinds
        features = self.prepare(inputs)
        if kind == "pauli":
            return embedding.pauli(self.placed, features, self.weights)
        if kind == "local":
            return embedding.local(self.placed, features, self.weights)
        values = embedding.exact_values(self.placed, features, self.weights)
        return self.readout.outputs(values, self._parameters[self.n_weights :])

    def embedding_dimension(self, kind: str = "pauli") -> int:
        """Length of the vectors that :meth:`embed` returns.

        Args:
            kind: ``"pauli"``: 4 to the power of the number of qubits; ``"local"``: 3
                times that number; ``"outputs"``: the number of outputs.

        Raises:
            ValueError: If the kind is unknown, or there are too many qubits for it.
        """
        return embedding.dimension(kind, self.n_qubits, self.output_dim)

    def predict(self, inputs: Any) -> NDArray[Any]:
        """The class of each sample, or its outputs, by the loss of the last training.

        After training with a loss of classes (``"cross_entropy"``, ``"binary"``,
        ``"hinge"``) it is the position of the largest output; with one output it is 1
        where the output is positive, else 0. After training with any other loss it is
        :meth:`forward`.

        Args:
            inputs: Shape ``(n_samples, input_dim)``; ``(input_dim,)`` for one sample.

        Returns:
            Classes, integers of shape ``(n_samples,)``, or outputs of shape
            ``(n_samples, output_dim)``; without the first axis for one sample.

        Raises:
            ValueError: If the model was not trained, or as :meth:`prepare`.
        """
        if not self._predicts:
            raise ValueError(
                "A model must be trained before it can predict, since the loss decides "
                "whether that is a class or a value, but this one is not. Use "
                "model.forward for its outputs."
            )
        outputs = QuantumModel.forward(self, inputs)  # that of aio would be awaited
        if self._predicts == "values":
            return outputs
        classes = decided(np.atleast_2d(outputs))
        return classes[0] if outputs.ndim == 1 else classes

    def trained_with(self, *, classes: bool) -> None:
        """Remember what :meth:`predict` gives; a trainer calls this.

        Args:
            classes: Whether the loss is one of classes.
        """
        self._predicts = "classes" if classes else "values"

    # --- copies -------------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Copied apart, the layers' arrays become views of the model's again. These are
        # copied since joblib loads arrays of a file as read-only where asked to.
        self._parameters = np.array(self._parameters)
        self._trainable = np.array(self._trainable)
        self.stack.move_into(self._parameters, self._trainable)

    def __repr__(self) -> str:
        shown = {k: repr(v) for k, v in self._description().items()}
        if self._words is None:
            shown["layers"] = listed(self.layers)
        if not isinstance(readout_described(self.readout), str):
            shown["readout"] = repr(self.readout)
        return f"QuantumModel({', '.join(f'{k}={v}' for k, v in shown.items())})"

    def _repr_html_(self) -> str:
        """The model and its :meth:`summary`, for notebooks.

        A model with very many encoded features is shown without it, as it takes long.
        """
        if self.n_features > MOST_COLUMNS:
            return paragraph(repr(self))
        try:
            below = self.summary()._repr_html_()
        except (DeviceError, ValueError) as error:
            below = paragraph(f"It has no summary: {error}")
        return paragraph(repr(self)) + below


def _layers_of(
    *, n_layers: int, encoding: str, entanglement: str, rotation: str, scale: float
) -> list[Layer]:
    """The list of layers that the words of a model mean."""
    choice("encoding", encoding, ENCODINGS)
    if encoding != "angle" and (rotation, scale) != ("Y", 1.0):
        raise ValueError(
            "Arguments `rotation` and `scale` must be left out unless the encoding "
            f'is "angle", but it is {encoding!r}.'
        )
    first: Encoding
    if encoding == "angle":
        first = AngleEncoding(rotation, scale)
    else:
        first = BY_WORD[encoding]()
    return [first, QuantumLayer(n_layers=n_layers, entanglement=entanglement)]


def _check_left_out(given: dict[str, Any]) -> None:
    """Refuse words that a list of layers would make meaningless."""
    defaults = inspect.signature(QuantumModel).parameters
    ignored = [name for name in given if given[name] != defaults[name].default]
    if ignored:
        raise ValueError(
            f"Arguments {', '.join(f'`{name}`' for name in ignored)} must be left out "
            "with `layers`, which would ignore them. Give them to the layers."
        )
