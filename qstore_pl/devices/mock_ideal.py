"""``qstore.mock_ideal``: exact pure states, batches in one call, its own gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qstore_pl.devices.base import QStoreDevice


class MockIdeal(QStoreDevice):
    r"""A simulator of pure states; a batch and its gradient are one call each.

    The device differentiates expectation values, variances and probabilities with
    respect to weights and inputs, in every interface of PennyLane. For other
    measurements, and with finite shots, PennyLane takes the parameter-shift rule.

    Measurements inside a circuit with shots are deferred, also with
    ``mcm_method="one-shot"``: all shots are drawn from one run, with the distribution
    of circuits that are run shot by shot. Where that needs more memory than there is,
    or the shots are too few for the wires that it adds, the circuit is run shot by
    shot.

    Args:
        wires: Number of wires, or their labels; None takes them from each circuit.
        shots: PennyLane's deprecated default number of shots; prefer ``qml.set_shots``.
        seed: Seed of the samples: anything that :func:`numpy.random.default_rng` takes,
            a key of ``jax.random``, or ``"global"`` for a number that numpy's global
            generator draws, so that ``np.random.seed`` decides as it does for
            PennyLane's devices.
        dtype: Type of the amplitudes: ``"complex128"``, or ``"complex64"`` for states
            in single precision, which take half the memory. What is measured and all
            derivatives have float64 in either case, but their errors are those of the
            states; see below. ``qml.state()`` has this type.

    **Single precision**

    With ``dtype="complex64"`` states, and the matrices that act on them, are rounded to
    single precision; angles, sums over a state and gradients are not. Errors grow with
    the number B of one-qubit gates after neighbours are merged, which is about the
    number of wires times that of layers. In circuits of layers of rotations and CNOTs
    an expectation value is within :math:`2 \cdot 10^{-7} (B + 1)` of that in double
    precision, and a derivative of it, for which states are un-computed, within
    :math:`5 \cdot 10^{-7} (B + 1)`. Errors come so close to this only where the same
    gate is repeated, so that all are rounded alike. With random angles they are random,
    and smaller: at most :math:`3 \cdot 10^{-7} \sqrt{B}` for values and
    :math:`10^{-6} \sqrt{B}` for derivatives in our measurements. Metric tensors are
    always computed in double precision.

    **Example**

    >>> import pennylane as qml
    >>> dev = qml.device("qstore.mock_ideal", wires=2)
    >>> @qml.qnode(dev)
    ... def circuit(x, w):
    ...     qml.AngleEmbedding(x, wires=[0, 1], rotation="Y")
    ...     qml.BasicEntanglerLayers(w, wires=[0, 1])
    ...     return qml.expval(qml.Z(0))
    >>> circuit(np.zeros((3, 2)), np.zeros((1, 2))).shape
    (3,)

    References:
        Jones and Gacon, Efficient calculation of gradients in classical simulations of
        variational quantum algorithms, arXiv:2009.02823.
    """

    config_filepath = str(Path(__file__).with_name("mock_ideal.toml"))

    def __init__(
        self,
        wires: Any = None,
        shots: Any = None,
        *,
        seed: Any = "global",
        dtype: str = "complex128",
    ) -> None:
        super().__init__(wires=wires, shots=shots, seed=seed, dtype=dtype)

    @property
    def name(self) -> str:
        """The name for ``qml.device``."""
        return "qstore.mock_ideal"
