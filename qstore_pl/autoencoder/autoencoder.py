"""The quantum autoencoder: a model whose circuit empties some of its qubits.

Its encoder is an ordinary :class:`~qstore_pl.QuantumModel`, so that everything that
trains models trains it. What it keeps of data is computed from the exact states of
encoder and decoder. It knows no kernels and no optimizer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl._blas import one_blas_thread
from qstore_pl._checks import choice, integer, plain
from qstore_pl._lazy import cached_property
from qstore_pl.autoencoder.decoder import decoder_of
from qstore_pl.autoencoder.encoder import (
    ENTANGLEMENT,
    N_LAYERS,
    check_left_out,
    checked_encoding,
    checked_layers,
    irreversible,
)
from qstore_pl.autoencoder.objectives import LOSSES, observables_of, trash_of
from qstore_pl.autoencoder.report import AutoencoderReport, largest_fidelity
from qstore_pl.autoencoder.states import (
    checked_latent,
    latent_states,
    zero_trash,
)
from qstore_pl.backends.manager import as_backend
from qstore_pl.callbacks import Callback
from qstore_pl.config import TrainingConfig
from qstore_pl.errors import CheckpointError
from qstore_pl.history import History
from qstore_pl.layers import AmplitudeEncoding, Encoding, Layer, QuantumLayer
from qstore_pl.losses import Loss
from qstore_pl.model import QuantumModel
from qstore_pl.placed import Placed
from qstore_pl.readout import ExpectationValues
from qstore_pl.summary import Excerpt
from qstore_pl.trainer import QuantumTrainer

Complex2D = NDArray[np.complex128]
Complex3D = NDArray[np.complex128]
Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

LEARNING_RATE, EPOCHS = 0.15, 150  # states of rank 2 come from 3 qubits to 1


class QuantumAutoencoder:
    r"""Compresses states of ``n_qubits`` qubits to ``n_latent`` qubits.

    An encoding prepares the state :math:`|\psi\rangle` of a sample. Then the encoder, a
    trained circuit :math:`U`, brings the last ``n_qubits - n_latent`` qubits, the
    *trash*, to :math:`|0 \dots 0\rangle`, as nearly as it can. Where it does so for all
    samples, the trash holds no information, and the first ``n_latent`` qubits hold it
    all. The decoder is :math:`U^\dagger`, with fresh qubits in :math:`|0\rangle` in
    place of the trash.

    On a backend with noise every gate of the encoder and of the decoder has it. Latent
    and decoded states are density matrices, and exact. Readout errors act on what is
    measured in training, and not on states.

    Args:
        n_qubits: Number of qubits of the encoded data, >= 2.
        n_latent: Number of latent qubits, from 1 to ``n_qubits - 1``.
        n_layers: Repetitions of the encoder's :class:`QuantumLayer`, >= 1.
        backend: Where it runs: a name, a Backend or a PennyLane device. None leaves the
            choice to the trainer; without one it is ``"mock_ideal"``.
        input_dim: Number of features of a sample. None is ``2**n_qubits`` for amplitude
            encoding, one for each qubit for any other encoding.
        encoding: How data become states: ``"angle"``, ``"amplitude"``, ``"basis"``,
            ``"zz_feature_map"``, or an encoding layer.
        layers: The layers of the encoder, of this package or your own, without an
            encoding. They are unitary, keep all qubits and do not depend on the data.
            None is one QuantumLayer, as the words say.
        entanglement: Of the encoder's QuantumLayer: ``"linear"``, ``"circular"`` or
            ``"full"``. With ``"full"`` the trash does not depend on all weights, of
            which there is an :class:`~qstore_pl.UnseenWarning`.
        objective: What training minimises. ``"local"``: the probability that a trash
            qubit is found in 1, averaged over the trash qubits; its gradients do not
            vanish as qubits are added to a shallow circuit. ``"global"``: the
            probability that not all trash qubits are found in 0, which is 1 minus the
            trash fidelity itself.
        seed: Seed of the first weights, and of :meth:`fit` without a configuration.

    Attributes:
        model: The encoder as a :class:`QuantumModel` that measures the trash, for the
            trainer, gradients, checkpoints and ``freeze_parameters``.
        n_qubits: Number of qubits of the encoded data.
        n_latent: Number of latent qubits.
        objective: What training minimises, as a word.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a number or a word is out of range, an option would be ignored,
            or a layer cannot be undone.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> a, b = np.eye(8)[[1, 6]]
        >>> t = rng.uniform(0, np.pi, (50, 1))
        >>> X = np.cos(t) * a + np.sin(t) * b
        >>> autoencoder = QuantumAutoencoder(n_qubits=3, n_latent=1, seed=0)
        >>> history = autoencoder.fit(X)
        >>> autoencoder.encode(X).shape, autoencoder.latent_features(X).shape
        ((50, 2, 2), (50, 3))
        >>> bool(autoencoder.reconstruction_fidelity(X).min() > 0.99)
        True

    References:
        Romero, Olson and Aspuru-Guzik, Quantum autoencoders for efficient compression
        of quantum data, Quantum Sci. Technol. 2, 045001 (2017), arXiv:1612.02806.

        Cerezo et al., Cost function dependent barren plateaus in shallow parametrized
        quantum circuits, Nat. Commun. 12, 1791 (2021), arXiv:2001.00550.
    """

    def __init__(
        self,
        n_qubits: int,
        n_latent: int,
        n_layers: int = N_LAYERS,
        backend: Any = None,
        *,
        input_dim: int | None = None,
        encoding: str | Encoding = "amplitude",
        layers: Sequence[Layer] | None = None,
        entanglement: str = ENTANGLEMENT,
        objective: str = "local",
        seed: int | None = None,
    ) -> None:
        self.n_qubits = integer("n_qubits", n_qubits, minimum=2)
        self.n_latent = integer("n_latent", n_latent, minimum=1)
        if self.n_latent >= self.n_qubits:
            raise ValueError(
                f"Argument `n_latent` must be < {self.n_qubits}, the number of qubits, "
                f"so that at least one of them is trash, but is {self.n_latent}."
            )
        self.objective = choice("objective", objective, LOSSES)
        self._seed = None if seed is None else integer("seed", seed, minimum=0)
        first = checked_encoding(encoding)
        if input_dim is None:
            is_amplitude = isinstance(first, AmplitudeEncoding)
            input_dim = 1 << self.n_qubits if is_amplitude else self.n_qubits
        self._words = {"n_layers": n_layers, "entanglement": entanglement}
        if layers is None:
            layers = [QuantumLayer(n_layers=n_layers, entanglement=entanglement)]
        else:
            check_left_out(n_layers, entanglement)
            layers, self._words = checked_layers(layers), {}
        self.model = QuantumModel(
            input_dim,
            1 if objective == "global" else len(self.trash),
            backend=backend,
            layers=[first, *layers],
            readout=ExpectationValues(observables_of(objective, self.trash)),
            n_qubits=self.n_qubits,
            seed=seed,
        )
        self._check_layers()

    def _check_layers(self) -> None:
        """Refuse layers of the encoder that cannot be undone."""
        for part in self.model.stack.parts[1:]:
            reason = irreversible(part.blocks, self.model.weights)
            if not reason and tuple(part.layer.keeps(part.wires)) != part.wires:
                reason = "does not keep all qubits, in their order"
            if reason:
                raise ValueError(
                    "Argument `layers` must hold layers that the decoder can undo, but "
                    f"{part.layer!r} {reason}."
                )

    # --- training -----------------------------------------------------------------

    @property
    def trash(self) -> tuple[int, ...]:
        """Positions of the trash qubits, the last ones."""
        return tuple(range(self.n_latent, self.n_qubits))

    @property
    def loss(self) -> Loss:
        """The loss of the objective, for a trainer or gradient computer of your own.

        It takes the outputs of :attr:`model` and the :meth:`targets`.
        """
        return LOSSES[self.objective]

    def targets(self, inputs: Any) -> Float2D:
        """The targets of some samples for :attr:`loss`: ones, those of an empty trash.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            Shape ``(n_samples, n_outputs)``.
        """
        return np.ones((len(plain("inputs", inputs)), self.model.output_dim))

    def fit(
        self,
        inputs: Any,
        config: TrainingConfig | None = None,
        *,
        val_inputs: Any = None,
        resume: str | PathLike[str] | None = None,
        overwrite: bool = False,
        callbacks: Callback | Sequence[Callback] = (),
    ) -> History:
        """Train the encoder on some samples, in place.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``.
            config: Settings of the run, without a loss. None is 150 epochs with a
                learning rate of 0.15, and the seed of the autoencoder.
            val_inputs: Samples for validation, shape ``(n_samples, input_dim)``, or
                None.
            resume: As for :meth:`QuantumTrainer.train`.
            overwrite: As for :meth:`QuantumTrainer.train`.
            callbacks: A callback, or a sequence of them.

        Returns:
            The history, with one row for each epoch; the loss is the objective.

        Raises:
            TypeError: If the samples or the configuration are of the wrong kind.
            ValueError: If the configuration has a loss or a setting that would be
                ignored, or the samples do not fit.
            CheckpointError: If checkpoints cannot be written or read.
        """
        if config is None:
            config = TrainingConfig(
                learning_rate=LEARNING_RATE, epochs=EPOCHS, seed=self._seed
            )
        elif isinstance(config, TrainingConfig) and config.loss is not None:
            raise ValueError(
                "Configuration loss must be unset for an autoencoder, whose objective "
                f'is its loss, but is {config.loss!r}. Choose objective="local" or '
                '"global" when you make the autoencoder.'
            )
        trainer = QuantumTrainer(config)  # which refuses what is no configuration
        trainer.config = dataclasses.replace(config, loss=self.loss)
        val_data = None
        if val_inputs is not None:
            val_data = (val_inputs, self.targets(val_inputs))
        return trainer.train(
            self.model,
            (inputs, self.targets(inputs)),
            val_data,
            resume=resume,
            overwrite=overwrite,
            callbacks=callbacks,
        )

    # --- states -------------------------------------------------------------------

    def encode(self, inputs: Any) -> Complex3D:
        """The latent states of some samples: the encoder, then the trash left out.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            Density matrices, shape ``(n_samples, 2**n_latent, 2**n_latent)``.

        Raises:
            ValueError: If the samples do not fit, as :meth:`QuantumModel.prepare`.
            DeviceError: If the backend has no exact states, as with shots.
        """
        return latent_states(self.model.states(inputs), self.n_latent)

    def decode(self, latent: Any) -> Complex3D:
        """States of all qubits, made of latent states and fresh qubits in zero.

        Args:
            latent: Density matrices, shape
                ``(n_samples, 2**n_latent, 2**n_latent)``, of any origin.

        Returns:
            Density matrices, shape ``(n_samples, 2**n_qubits, 2**n_qubits)``.

        Raises:
            TypeError: If the entries are not numbers.
            ValueError: If the shape differs, or a matrix is no density matrix.
            DeviceError: If the backend has no exact states, as with shots.
        """
        return self._all_of(checked_latent(latent, self.n_latent))

    def reconstruct(self, inputs: Any) -> Complex3D:
        """Encode and decode.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            Density matrices, shape ``(n_samples, 2**n_qubits, 2**n_qubits)``.
        """
        return self._all_of(self.encode(inputs))

    def reconstruction_fidelity(self, inputs: Any) -> Float1D:
        r"""How near the reconstructed states are to the encoded data.

        .. math:: F = \langle\psi|\rho|\psi\rangle

        Here :math:`|\psi\rangle` is the state that the encoding prepares without noise,
        and :math:`\rho` the reconstructed state.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            Shape ``(n_samples,)``, from 0 to 1.
        """
        return self._fidelities(inputs, self.encode(inputs))

    def trash_fidelity(self, inputs: Any) -> Float1D:
        """The probability that the trash of a sample is in zero, without readout error.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            Shape ``(n_samples,)``, from 0 to 1.
        """
        return zero_trash(self.model.states(inputs), self.n_latent)

    def latent_features(self, inputs: Any) -> Float2D:
        r"""The latent states as real numbers, for a model that is not quantum.

        They are the expectation values :math:`\mathrm{Tr}\,P\rho` of the Pauli words on
        the latent qubits, without the identity.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            Shape ``(n_samples, 4**n_latent - 1)``, each from -1 to 1. The letters I, X,
            Y, Z of a word are the digits 0 to 3 of its index, which counts from 1.
        """
        return devices.pauli_vector(self.encode(inputs))[:, 1:]

    def report(self, inputs: Any) -> AutoencoderReport:
        """What is kept of some samples, beside the most that could be; print it.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``.

        Example:
            >>> autoencoder = QuantumAutoencoder(2, 1, seed=0)
            >>> history = autoencoder.fit(np.eye(4)[:2])
            >>> print(autoencoder.report(np.eye(4)[:2]))
            2 qubits to 1, compression 2, 18 parameters, 2 samples
            reconstruction fidelity: mean 1.0000, worst 1.0000
            of 90 % of the samples:  from 1.0000 to 1.0000
            trash fidelity:          mean 1.0000
            largest possible mean:   1.0000, by the rank of the data
        """
        states = self.model.states(inputs)
        fidelities = self._fidelities(inputs, latent_states(states, self.n_latent))
        low, high = np.quantile(fidelities, [0.05, 0.95])
        with one_blas_thread():
            bound = largest_fidelity(self.input_states(inputs), self.n_latent)
        return AutoencoderReport(
            n_qubits=self.n_qubits,
            n_latent=self.n_latent,
            n_parameters=self.model.count_parameters(),
            n_samples=len(fidelities),
            mean_fidelity=float(fidelities.mean()),
            worst_fidelity=float(fidelities.min()),
            fidelity_interval=(float(low), float(high)),
            mean_trash_fidelity=float(zero_trash(states, self.n_latent).mean()),
            bound=bound,
        )

    def input_states(self, inputs: Any) -> Complex2D:
        """The states that the encoding prepares of some samples, without noise.

        Args:
            inputs: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            State vectors, shape ``(n_samples, 2**n_qubits)``, qubit 0 most significant.
        """
        return self._encoding.states(self.model.prepare(inputs), self.model.weights)

    @cached_property
    def _encoding(self) -> Placed:
        """The encoding alone, without noise."""
        blocks = self.model.stack.parts[0].blocks
        return Placed(Excerpt(self.model, blocks), as_backend("mock_ideal"))

    def _all_of(self, latent: Complex3D) -> Complex3D:
        """Latent states, decoded."""
        with one_blas_thread():
            return decoder_of(self.model, self.n_latent).decoded(latent)

    def _fidelities(self, inputs: Any, latent: Complex3D) -> Float1D:
        """Fidelities of decoded latent states with those of the inputs."""
        vectors = self.input_states(inputs)
        with one_blas_thread():
            return decoder_of(self.model, self.n_latent).fidelities(latent, vectors)

    # --- files --------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write the autoencoder to a file, for :meth:`from_checkpoint`.

        It is a file of :attr:`model`, which :meth:`QuantumModel.from_checkpoint` reads
        too. The backend is not in it.

        Args:
            path: The file; one that is there is replaced.

        Raises:
            OSError: If it cannot be written.
        """
        self.model.save(path)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | PathLike[str],
        *,
        backend: Any = None,
        layers: Sequence[Layer] | None = None,
    ) -> Self:
        """The autoencoder that a file holds.

        Args:
            path: A file that :meth:`save` wrote, or a checkpoint of a training run.
            backend: Where it runs: a name, a Backend or a PennyLane device.
            layers: The encoding and the layers of the encoder, needed if some are
                classes of your own, whose code a file does not hold.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it is damaged, or holds no autoencoder.

        Example:
            >>> autoencoder = QuantumAutoencoder(3, 1, objective="global", seed=0)
            >>> autoencoder.save("autoencoder.qstore")
            >>> twin = QuantumAutoencoder.from_checkpoint("autoencoder.qstore")
            >>> twin.objective, np.array_equal(twin.encode(np.eye(8)), \
autoencoder.encode(np.eye(8)))
            ('global', True)
        """
        model = QuantumModel.from_checkpoint(path, layers=layers)
        first, *rest = model.layers
        found = trash_of(model.readout, model.n_qubits)
        if found and isinstance(first, Encoding):
            n_latent, objective = found
            autoencoder = cls(
                model.n_qubits,
                n_latent,
                backend=backend,
                input_dim=model.input_dim,
                encoding=first,
                layers=rest,
                objective=objective,
            )
            autoencoder.model.load_state(model.get_state())
            return autoencoder
        raise CheckpointError(
            f"The file `{path}` must hold an autoencoder, a model that measures Z of "
            f"its last qubits, but holds {model!r}. Use QuantumModel.from_checkpoint."
        )

    def __repr__(self) -> str:
        first, *rest = self.model.layers
        words = ", ".join(f"{name}={value!r}" for name, value in self._words.items())
        return (
            f"QuantumAutoencoder(n_qubits={self.n_qubits}, n_latent={self.n_latent}, "
            f"{words or f'layers={rest!r}'}, input_dim={self.model.input_dim}, "
            f"encoding={first!r}, objective={self.objective!r})"
        )
