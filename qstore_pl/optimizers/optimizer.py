"""The base class of all optimizers, and the clipping of gradients.

This module knows arrays only, no model and no loss. The arithmetic is in the kernels of
:mod:`qstore_pl.engine.updates`. They are loaded at the first step, so that importing
this package does not import numba.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_pl._checks import Float1D, finite, integer, plain, real
from qstore_pl.optimizers.gradient import GradientResult

Bool1D = NDArray[np.bool_]
State = dict[str, Any]  # arrays and numbers by name

Advance = Callable[[Float1D, Float1D, Bool1D, State], int]

_FLOAT64 = np.dtype(np.float64)
_BOOL = np.dtype(np.bool_)


class Optimizer(ABC):
    """A rule that turns gradients into new parameters.

    To write an optimizer of your own, inherit from this class, check the
    hyperparameters in ``__init__``, store them as attributes with the names of the
    arguments, and define :meth:`init` and :meth:`_advance`.

    Args:
        learning_rate: Step length, > 0. The attribute may be changed between steps.

    Example:
        An optimizer that looks at nothing but the signs of the derivatives:

        >>> class SignDescent(Optimizer):
        ...     def init(self, n_parameters):
        ...         return {"steps": 0}
        ...     def _advance(self, parameters, gradients, trainable, state):
        ...         bad = np.flatnonzero(trainable & ~np.isfinite(gradients))
        ...         if bad.size:
        ...             return int(bad[0])
        ...         parameters -= self.learning_rate * np.sign(gradients) * trainable
        ...         state["steps"] += 1
        ...         return -1
        >>> parameters = np.array([1.0, -2.0])
        >>> SignDescent(0.1).step(parameters, [3.0, -0.2])
        >>> parameters
        array([ 0.9, -1.9])
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._state: State = {}
        self._n_parameters = 0

    @property
    def learning_rate(self) -> float:
        """Step length, > 0."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = real("learning_rate", value, above=0.0)

    @property
    def state(self) -> State:
        """A copy of the state; empty before the first :meth:`step`."""
        return {
            key: value.copy() if isinstance(value, np.ndarray) else value
            for key, value in self._state.items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a copy of ``state``.

        Args:
            state: What :attr:`state` or :meth:`init` of an optimizer of the same class
                returned. An empty dict resets the optimizer.

        Raises:
            ValueError: If the state has other entries, or arrays of lengths that do not
                fit together.
            TypeError: If an entry is of the wrong kind.
        """
        self._state, self._n_parameters = self._copied(state) if state else ({}, 0)

    @abstractmethod
    def init(self, n_parameters: int) -> State:
        """The state before the first step.

        Args:
            n_parameters: Length of the parameter vector.
        """

    @abstractmethod
    def _advance(
        self, parameters: Float1D, gradients: Float1D, trainable: Bool1D, state: State
    ) -> int:
        """One step in place on arrays that were checked before.

        Args:
            parameters: Shape ``(n_parameters,)``; changed in place.
            gradients: Shape ``(n_parameters,)``.
            trainable: Mask of bools, shape ``(n_parameters,)``; False is frozen.
            state: State of the optimizer; changed in place.

        Returns:
            -1, or the first index of a trained parameter whose gradient is not finite.
            In that case nothing was changed.
        """

    def update(
        self,
        gradients: ArrayLike | GradientResult,
        state: Mapping[str, Any],
        parameters: ArrayLike,
        *,
        trainable: ArrayLike | None = None,
    ) -> tuple[Float1D, State]:
        """One step that changes neither its arguments nor this object.

        Args:
            gradients: Derivatives of the loss, shape ``(n_parameters,)``.
            state: The state that :meth:`init` or the previous update returned.
            parameters: Shape ``(n_parameters,)``.
            trainable: Mask of bools, shape ``(n_parameters,)``; False is frozen. None
                takes the mask of a :class:`GradientResult`, or trains all parameters.

        Returns:
            The new parameters, shape ``(n_parameters,)``, and the new state. They are
            bit for bit those of :meth:`step`.

        Raises:
            ValueError: As in :meth:`step` and :meth:`load_state`.
            TypeError: As in :meth:`step` and :meth:`load_state`.
        """
        return self._updated(gradients, state, parameters, trainable, self._advance)

    def step(
        self,
        parameters: Float1D,
        gradients: ArrayLike | GradientResult,
        *,
        trainable: ArrayLike | None = None,
    ) -> None:
        """One step, which changes ``parameters`` and the state of this object in place.

        Args:
            parameters: A writable, contiguous float64 array of shape
                ``(n_parameters,)``.
            gradients: Derivatives of the loss, shape ``(n_parameters,)``. Entries of
                frozen parameters are ignored.
            trainable: Mask of bools, shape ``(n_parameters,)``; False is frozen. None
                takes the mask of a :class:`GradientResult`, or trains all parameters.

        Raises:
            TypeError: If an argument is not an array of the right kind.
            ValueError: If shapes differ, the state belongs to another number of
                parameters, or the gradient of a trained parameter is NaN or infinite.
                In these cases nothing was changed.
        """
        self._step(parameters, gradients, trainable, self._advance)

    def _updated(
        self,
        gradients: ArrayLike | GradientResult,
        state: Mapping[str, Any],
        parameters: ArrayLike,
        trainable: ArrayLike | None,
        advance: Advance,
    ) -> tuple[Float1D, State]:
        moved = _vector("parameters", finite("parameters", parameters).copy())
        copied, n_parameters = self._copied(state)
        self._checked_step(moved, gradients, trainable, copied, n_parameters, advance)
        return moved, copied

    def _step(
        self,
        parameters: Float1D,
        gradients: ArrayLike | GradientResult,
        trainable: ArrayLike | None,
        advance: Advance,
    ) -> None:
        size = _vector("parameters", parameters).size
        state, n_parameters = self._state, self._n_parameters
        if not state:
            state, n_parameters = self.init(size), size
        self._checked_step(
            np.asarray(parameters), gradients, trainable, state, n_parameters, advance
        )
        self._state, self._n_parameters = state, n_parameters

    def _checked_step(
        self,
        parameters: Float1D,
        gradients: ArrayLike | GradientResult,
        trainable: ArrayLike | None,
        state: State,
        n_parameters: int,
        advance: Advance,
    ) -> None:
        size = parameters.size
        if size != n_parameters:
            raise ValueError(
                f"Argument `parameters` must have {n_parameters} entries, as the state "
                f"of the optimizer, but has {size}. Use a new optimizer, or "
                "load_state({}), for other parameters."
            )
        if isinstance(gradients, GradientResult) and trainable is None:
            trainable = gradients.trainable
        slopes = plain("gradients", gradients)
        if slopes.dtype.kind not in "fiu":
            raise TypeError(
                f"Argument `gradients` must hold real numbers, but has dtype "
                f"{slopes.dtype}."
            )
        if slopes.shape != (size,):
            raise ValueError(
                f"Argument `gradients` must have shape ({size},), as `parameters`, but "
                f"has shape {slopes.shape}."
            )
        slopes = np.ascontiguousarray(slopes, dtype=np.float64)
        mask = _mask(trainable, size)
        bad = advance(parameters, slopes, mask, state)
        if bad >= 0:
            raise ValueError(
                f"Argument `gradients` must be finite, but entry {bad} is "
                f"{slopes[bad]}. Nothing was changed; lower the learning rate or "
                "look at the loss."
            )

    def _copied(self, state: Mapping[str, Any]) -> tuple[State, int]:
        """A checked copy of ``state``, and the number of parameters it is for."""
        wanted = self.init(0)
        if state.keys() != wanted.keys():
            raise ValueError(
                f"Argument `state` must have the entries {', '.join(wanted)} of "
                f"{type(self).__name__}, but has {', '.join(state) or 'none'}."
            )
        copy: State = {}
        sizes = set()
        for key, kind in wanted.items():
            name = f"state[{key!r}]"
            if isinstance(kind, int):
                copy[key] = integer(name, state[key], minimum=0)
                continue
            if isinstance(kind, float):
                copy[key] = real(name, state[key], minimum=0.0)
                continue
            array = finite(name, state[key]).copy()
            if np.ndim(state[key]) != kind.ndim:
                shape = "(n, n)" if kind.ndim == 2 else "(n_parameters,)"
                raise ValueError(
                    f"Argument `{name}` must have shape {shape}, but has shape "
                    f"{np.shape(state[key])}."
                )
            copy[key] = array
            if kind.ndim == 1:
                sizes.add(array.size)
        if len(sizes) > 1:
            raise ValueError(
                f"Argument `state` must hold arrays of one length, but has {sizes}."
            )
        n_parameters = sizes.pop()
        for key, kind in wanted.items():
            if isinstance(kind, np.ndarray) and kind.ndim == 2:
                rows, columns = copy[key].shape
                if rows != columns or rows > n_parameters:
                    raise ValueError(
                        f"Argument `state[{key!r}]` must have shape (n, n), n <= "
                        f"{n_parameters} parameters, but has shape {copy[key].shape}."
                    )
        return copy, n_parameters

    def __repr__(self) -> str:
        shown = {"learning_rate": self.learning_rate} | {
            name: value for name, value in vars(self).items() if name[0] != "_"
        }
        listed = ", ".join(f"{name}={value}" for name, value in shown.items())
        return f"{type(self).__name__}({listed})"


def clip_gradients(
    gradients: Float1D,
    *,
    trainable: ArrayLike | None = None,
    value: float | None = None,
    norm: float | None = None,
) -> float:
    """Clip a gradient in place: first each entry, then the norm of the whole.

    Args:
        gradients: A writable, contiguous float64 array of shape ``(n_parameters,)``.
            Entries of frozen parameters become 0.
        trainable: Mask of bools, shape ``(n_parameters,)``; False is frozen, and left
            out of the norm. None trains all parameters.
        value: Largest absolute value of an entry, > 0; None does not clip entries.
        norm: Largest Euclidean norm, > 0; None does not clip the norm.

    Returns:
        The norm before clipping. If an entry is not finite, the norm is NaN or infinite
        and ``gradients`` are unchanged; the optimizer then refuses them.

    Raises:
        TypeError: If an array is not of the right kind.
        ValueError: If shapes differ, or a limit is not > 0.

    Example:
        >>> gradients = np.array([3.0, -4.0])
        >>> clip_gradients(gradients, norm=1.0)
        5.0
        >>> gradients
        array([ 0.6, -0.8])
    """
    size = _vector("gradients", gradients).size
    return compiled("clip")(
        np.asarray(gradients),
        _mask(trainable, size),
        _limit("value", value),
        _limit("norm", norm),
    )


@functools.cache
def compiled(name: str) -> Callable[..., Any]:
    """The compiled kernel of this name, loaded at the first call."""
    # Imported here, as importing an optimizer must not import numba.
    from qstore_pl.engine import updates

    return getattr(updates, name).compiled


def _limit(name: str, value: float | None) -> float:
    if value is None:
        return np.inf
    if not value > 0.0:
        raise ValueError(f"Argument `{name}` must be > 0, but is {value}.")
    return value


def _vector(name: str, value: Any) -> Float1D:
    """Return ``value`` if a kernel can write into it.

    Raises:
        TypeError: If it is not a writable, contiguous float64 array.
        ValueError: If it does not have exactly one axis.
    """
    if not isinstance(value, np.ndarray) or value.dtype != _FLOAT64:
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(
            f"Argument `{name}` must be a float64 array, because it is changed in "
            f"place, but is {kind}. Convert it once, before the loop, with "
            "np.array(..., dtype=float)."
        )
    if value.ndim != 1:
        raise ValueError(
            f"Argument `{name}` must have shape (n_parameters,), but has shape "
            f"{value.shape}. Pass a view: array.reshape(-1)."
        )
    if not value.flags.carray:
        raise TypeError(
            f"Argument `{name}` must be writable and contiguous, because it is changed "
            "in place. Pass an array of its own: array.copy()."
        )
    return value


def _mask(trainable: ArrayLike | None, size: int) -> Bool1D:
    """Return ``trainable`` as a mask; None gives a mask that trains all parameters.

    Raises:
        TypeError: If it holds anything but bools.
        ValueError: If its shape is not ``(size,)``.
    """
    if trainable is None:
        return _all(size)
    mask = plain("trainable", trainable)
    if mask.dtype != _BOOL:
        raise TypeError(
            f"Argument `trainable` must be a mask of bools, but has dtype {mask.dtype}."
        )
    if mask.shape != (size,):
        raise ValueError(
            f"Argument `trainable` must have shape ({size},), but has shape "
            f"{mask.shape}."
        )
    return np.ascontiguousarray(mask)


@functools.lru_cache(maxsize=16)
def _all(size: int) -> Bool1D:
    mask = np.ones(size, dtype=np.bool_)
    mask.flags.writeable = False  # all callers get the same array
    return mask
