"""What a model measures, and how its outputs are made of that.

A readout is a description: it holds no numbers of its own, and gets its parameters with
every call. It knows no layer, no device and no loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.measurements import (
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
)
from pennylane.operation import Operator

from qstore_pl._checks import integer

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Float3D = NDArray[np.float64]
Wires = tuple[int, ...]

_NO_PARAMETERS = np.empty(0)


class Readout(ABC):
    """From measured values to the outputs of a model.

    The measured values of a sample are the results of :meth:`measurements` in a row:
    one number for an expectation value, :math:`2^k` for the probabilities of k wires.
    A class of your own says what is measured; without more, outputs are the measured
    values. Outputs that are computed from them come with :meth:`outputs` and
    :meth:`jacobian`, and with :meth:`initial` if they have trained parameters.

    Example:
        >>> class Parity(Readout):
        ...     def measurements(self, wires, output_dim):
        ...         return [qml.expval(qml.prod(*map(qml.Z, wires)))]
        >>> Parity().measurements((0, 1), 1)
        [expval(Z(0) @ Z(1))]
    """

    @abstractmethod
    def measurements(
        self, wires: Wires, output_dim: int
    ) -> Sequence[MeasurementProcess]:
        """What is measured: PennyLane's ``expval`` and ``probs``.

        Args:
            wires: Positions of the wires that the last layer keeps.
            output_dim: How many outputs the model is to have.

        Returns:
            Measurements on positions of wires.
        """

    def initial(self, output_dim: int) -> Float1D:
        """First values of the readout's own parameters: none, unless overridden.

        Args:
            output_dim: How many outputs the model has.

        Returns:
            Shape ``(n_parameters,)``.
        """
        del output_dim
        return _NO_PARAMETERS

    def outputs(self, values: Float2D, parameters: Float1D) -> Float2D:
        """The outputs, by default the measured values.

        Args:
            values: Measured values, shape ``(n_samples, n_values)``.
            parameters: The readout's own, shape ``(n_parameters,)``.

        Returns:
            Shape ``(n_samples, n_outputs)``.
        """
        del parameters
        return values

    def jacobian(self, values: Float2D, parameters: Float1D) -> tuple[Float3D, Float3D]:
        """Derivatives of the outputs of each sample.

        Args:
            values: Measured values, shape ``(n_samples, n_values)``.
            parameters: The readout's own, shape ``(n_parameters,)``.

        Returns:
            Derivatives with respect to the measured values, shape
            ``(n_samples, n_outputs, n_values)``, and with respect to the parameters,
            shape ``(n_samples, n_outputs, n_parameters)``.
        """
        n_samples, n_values = values.shape
        shape = (n_samples, n_values, n_values)
        none = np.zeros((n_samples, n_values, len(parameters)))
        return np.broadcast_to(np.eye(n_values), shape), none

    def pull_back(
        self, cotangents: Float2D, values: Float2D, parameters: Float1D
    ) -> tuple[Float2D, Float1D]:
        """The chain rule, by default from :meth:`jacobian`.

        Args:
            cotangents: Derivatives of the loss with respect to the outputs, shape
                ``(n_samples, n_outputs)``.
            values: Measured values, shape ``(n_samples, n_values)``.
            parameters: The readout's own, shape ``(n_parameters,)``.

        Returns:
            Derivatives of the loss with respect to the measured values, shape
            ``(n_samples, n_values)``, and with respect to the parameters, shape
            ``(n_parameters,)``.
        """
        by_values, by_parameters = self.jacobian(values, parameters)
        return (
            np.einsum("bk,bkv->bv", cotangents, by_values),
            np.einsum("bk,bkp->p", cotangents, by_parameters),
        )

    def options(self) -> dict[str, Any]:
        """What tells this readout from others of its class, as words and numbers."""
        return {}

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={value!r}" for key, value in self.options().items())
        return f"{type(self).__name__}({shown})"


class _Measured(Readout):
    """A readout whose outputs are the measured values."""

    def pull_back(
        self, cotangents: Float2D, values: Float2D, parameters: Float1D
    ) -> tuple[Float2D, Float1D]:
        """The cotangents as they are."""
        return cotangents, _NO_PARAMETERS


@final
class ExpectationValues(_Measured):
    r"""Each output is the expectation value of an observable.

    Args:
        observables: PennyLane observables on positions of wires, one for each output,
            as ``qml.Z(0) @ qml.Z(1)`` or a Hamiltonian; None takes
            :math:`\langle Z_i \rangle` of the first wires, as many as there are
            outputs.

    Raises:
        TypeError: If an entry is no observable.

    Example:
        >>> ExpectationValues([qml.X(0), qml.Z(0) @ qml.Z(1)])
        ExpectationValues([X(0), Z(0) @ Z(1)])
    """

    def __init__(self, observables: Sequence[Operator] | None = None) -> None:
        if isinstance(observables, Operator):
            observables = [observables]
        self.observables = None if observables is None else tuple(observables)
        for observable in self.observables or ():
            if (
                not isinstance(observable, Operator)
                or not observable.is_verified_hermitian
            ):
                raise TypeError(
                    "Argument `observables` must hold PennyLane observables, but has "
                    f"{observable!r}."
                )

    def measurements(
        self, wires: Wires, output_dim: int
    ) -> Sequence[MeasurementProcess]:
        """Expectation values."""
        if self.observables is not None:
            return [qml.expval(observable) for observable in self.observables]
        if output_dim > len(wires):
            raise ValueError(
                f"Argument `output_dim` must be <= {len(wires)}, one <Z_i> per qubit, "
                f"but is {output_dim}. Pass n_qubits={output_dim}: the added qubits "
                "begin in 0. Or pass observables=[...]."
            )
        return [qml.expval(qml.Z(wire)) for wire in wires[:output_dim]]

    def options(self) -> dict[str, Any]:
        """Coefficients and Pauli words of each observable."""
        if self.observables is None:
            return {}
        return {"observables": [_terms(observable) for observable in self.observables]}

    def __repr__(self) -> str:
        shown = "" if self.observables is None else repr(list(self.observables))
        return f"ExpectationValues({shown})"


@final
class Probabilities(_Measured):
    r"""The outputs are the probabilities of the outcomes of some wires.

    Args:
        wires: Positions of the wires, the first one most significant: k wires give
            :math:`2^k` outputs. None takes the first wires, as many as the outputs
            need.

    Raises:
        TypeError: If a position is not an integer.
        ValueError: If a position is negative.

    Example:
        >>> from qstore_pl import QuantumModel
        >>> model = QuantumModel(3, 4, readout=Probabilities([0, 1]), seed=0)
        >>> model.forward(np.zeros((2, 3))).sum(axis=1).round(12)
        array([1., 1.])
    """

    def __init__(self, wires: Sequence[int] | None = None) -> None:
        self.wires: Wires | None = None
        if wires is not None:
            self.wires = tuple(integer("wires", wire, minimum=0) for wire in wires)

    def measurements(
        self, wires: Wires, output_dim: int
    ) -> Sequence[MeasurementProcess]:
        """The probabilities."""
        chosen = self.wires
        if chosen is None:
            needed = (output_dim - 1).bit_length()
            if output_dim != 1 << needed or not 1 <= needed <= len(wires):
                raise ValueError(
                    "Argument `output_dim` must be a power of 2, the number of "
                    f"outcomes of at most {len(wires)} wires, for a readout of "
                    f"probabilities, but is {output_dim}."
                )
            chosen = wires[:needed]
        return [qml.probs(wires=list(chosen))]

    def options(self) -> dict[str, Any]:
        """The wires."""
        return {} if self.wires is None else {"wires": list(self.wires)}


@final
class Affine(Readout):
    r"""A trained scale and a trained bias for each output of another readout.

    .. math:: y_k = a_k m_k + b_k

    Parameters are the scales, which begin at 1, then the biases, which begin at 0.

    Args:
        of: The readout that gives :math:`m`; None is :class:`ExpectationValues`. It has
            no parameters of its own.

    Raises:
        TypeError: If it is no readout.

    Example:
        >>> readout = Affine()
        >>> readout.outputs(np.array([[0.5, -1.0]]), np.array([2.0, 3.0, 0.1, 0.2]))
        array([[ 1.1, -2.8]])
    """

    def __init__(self, of: Readout | None = None) -> None:
        self.of = ExpectationValues() if of is None else of
        if not isinstance(self.of, _Measured):
            raise TypeError(
                "Argument `of` must be ExpectationValues or Probabilities, but is "
                f"{of!r}. A readout of your own can scale its outputs itself."
            )

    def measurements(
        self, wires: Wires, output_dim: int
    ) -> Sequence[MeasurementProcess]:
        """Those of the other readout, one value for each output."""
        found = self.of.measurements(wires, output_dim)
        if n_values(found) != output_dim:
            raise ValueError(
                f"Argument `output_dim` must be {n_values(found)}, the values of "
                f"{self.of!r}, but is {output_dim}."
            )
        return found

    def initial(self, output_dim: int) -> Float1D:
        """Scales of 1 and biases of 0."""
        return np.concatenate([np.ones(output_dim), np.zeros(output_dim)])

    def outputs(self, values: Float2D, parameters: Float1D) -> Float2D:
        """Scale times value plus bias."""
        k = values.shape[1]
        return parameters[:k] * values + parameters[k:]

    def jacobian(self, values: Float2D, parameters: Float1D) -> tuple[Float3D, Float3D]:
        """Diagonal in the outputs."""
        n_samples, k = values.shape
        own = np.arange(k)
        by_values = np.broadcast_to(np.diag(parameters[:k]), (n_samples, k, k))
        by_parameters = np.zeros((n_samples, k, 2 * k))
        by_parameters[:, own, own] = values
        by_parameters[:, own, k + own] = 1.0
        return by_values, by_parameters

    def pull_back(
        self, cotangents: Float2D, values: Float2D, parameters: Float1D
    ) -> tuple[Float2D, Float1D]:
        """As the general rule, without the zeros."""
        scales = np.einsum("bk,bk->k", cotangents, values)
        biases = cotangents.sum(axis=0)
        k = values.shape[1]
        return cotangents * parameters[:k], np.concatenate([scales, biases])

    def options(self) -> dict[str, Any]:
        """What the values are."""
        return {"of": [type(self.of).__name__, self.of.options()]}

    def __repr__(self) -> str:
        return f"Affine({self.of!r})"


@final
class _Direct(_Measured):
    """The readout of a circuit that has its own measurements, as a QNode."""

    def measurements(
        self, wires: Wires, output_dim: int
    ) -> Sequence[MeasurementProcess]:
        """None besides the circuit's."""
        return []


DIRECT = _Direct()
"""Outputs are what the circuit itself measures."""

WORDS = ("affine", "expval", "probs")


def readout_of(
    readout: str | Readout, observables: Sequence[Operator] | None
) -> Readout:
    """The readout that the arguments of a model name.

    Args:
        readout: ``"expval"``, ``"probs"``, ``"affine"`` or a readout.
        observables: For the words ``"expval"`` and ``"affine"``.

    Raises:
        TypeError: If ``readout`` is something else.
        ValueError: If the word is unknown, or observables would be ignored.
    """
    if not isinstance(readout, str | Readout):
        raise TypeError(
            "Argument `readout` must be a word or a Readout, but is of type "
            f"{type(readout).__name__}."
        )
    if isinstance(readout, str) and readout not in WORDS:
        listed = ", ".join(f'"{word}"' for word in WORDS)
        raise ValueError(
            f"Argument `readout` must be one of {listed}, or a Readout, but is "
            f"{readout!r}."
        )
    if observables is not None and readout not in ("expval", "affine"):
        raise ValueError(
            f"Argument `observables` must be left out for readout={readout!r}, which "
            "would ignore them. Use ExpectationValues(observables)."
        )
    match readout:
        case "expval":
            return ExpectationValues(observables)
        case "affine":
            return Affine(ExpectationValues(observables))
        case "probs":
            return Probabilities()
    assert isinstance(readout, Readout)
    return readout


def n_values(measurements: Sequence[MeasurementProcess]) -> int:
    """How many numbers some measurements give for a sample.

    Raises:
        TypeError: If one is neither an expectation value nor probabilities.
    """
    total = 0
    for mp in measurements:
        if isinstance(mp, ProbabilityMP) and mp.obs is None and mp.wires:
            total += 1 << len(mp.wires)
        elif isinstance(mp, ExpectationMP):
            total += 1
        else:
            raise TypeError(
                "A readout must measure qml.expval(observable) or qml.probs(wires=...),"
                f" but measures {mp}."
            )
    return total


def _terms(observable: Operator) -> list[list[Any]]:
    """An observable as a list of [coefficient, Pauli letters, wires]."""
    sentence = observable.pauli_rep
    if sentence is None:
        matrix = qml.matrix(observable, wire_order=observable.wires)
        sentence = qml.pauli_decompose(matrix, wire_order=observable.wires, pauli=True)
    return [
        [float(np.real(c)), "".join(word.values()), list(word)]
        for word, c in sentence.items()
    ]


def observable_of(terms: Sequence[Sequence[Any]]) -> Operator:
    """The observable whose options are these terms."""
    words = {
        qml.pauli.PauliWord(dict(zip(wires, letters, strict=True))): coefficient
        for coefficient, letters, wires in terms
    }
    return qml.pauli.PauliSentence(words).operation(wire_order=[0])
