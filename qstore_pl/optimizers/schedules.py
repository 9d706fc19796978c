"""Learning rates that change from step to step. They know no optimizer and no model.

A schedule is an immutable value; whoever runs the loop sets the rate::

    optimizer.learning_rate = schedule(step)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import final

from qstore_pl._checks import integer, real


class Schedule(ABC):
    """A learning rate for every step.

    To add one: inherit as a frozen dataclass, check the fields in ``__post_init__`` and
    define :meth:`_rate`.
    """

    def __call__(self, step: int) -> float:
        """The learning rate of a step.

        Args:
            step: Number of the step, from 0.

        Raises:
            TypeError: If it is not an integer.
            ValueError: If it is negative.
        """
        return self._rate(integer("step", step, minimum=0))

    @abstractmethod
    def _rate(self, step: int) -> float:
        """The learning rate of a step that was checked."""


@final
@dataclass(frozen=True)
class Constant(Schedule):
    r"""The same rate at every step, :math:`\eta_t = \eta`.

    Args:
        rate: :math:`\eta`, > 0.

    Raises:
        TypeError: If it is not a real number.
        ValueError: If it is not > 0.

    Example:
        >>> Constant(0.1)(7)
        0.1
    """

    rate: float

    def __post_init__(self) -> None:
        """Check the rate."""
        real("rate", self.rate, above=0.0)

    def _rate(self, step: int) -> float:
        return self.rate


@final
@dataclass(frozen=True)
class StepDecay(Schedule):
    r"""A rate that falls by a factor every so many steps.

    .. math:: \eta_t = \eta \, \gamma^{\lfloor t / k \rfloor}

    Args:
        rate: :math:`\eta`, > 0.
        every: Steps :math:`k` at one rate, >= 1.
        factor: :math:`\gamma`, in (0, 1).

    Raises:
        TypeError: If an argument is not a number of its kind.
        ValueError: If one is out of its range.

    Example:
        >>> schedule = StepDecay(0.8, every=10, factor=0.5)
        >>> [schedule(step) for step in (0, 9, 10, 20)]
        [0.8, 0.8, 0.4, 0.2]
    """

    rate: float
    _: KW_ONLY
    every: int
    factor: float

    def __post_init__(self) -> None:
        """Check every field."""
        real("rate", self.rate, above=0.0)
        integer("every", self.every, minimum=1)
        real("factor", self.factor, above=0.0, below=1.0)

    def _rate(self, step: int) -> float:
        return self.rate * self.factor ** (step // self.every)


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    r"""A rate that follows half a cosine from ``rate`` to ``final``, and stays there.

    .. math::

        \eta_t = w_t \, \eta + (1 - w_t) \, \eta_\mathrm{final}, \qquad
        w_t = \tfrac12 \left(1 + \cos \frac{\pi \min(t, T)}{T}\right)

    As in PyTorch, ``final`` is reached at step :math:`T`, the first one after the
    :math:`T` steps 0 to :math:`T - 1`, whose rates are all > 0. From there on a
    ``final`` of 0 is a rate that every optimizer refuses: a run of more steps needs a
    larger ``n_steps``, or a ``final`` > 0 to continue with.

    Args:
        rate: :math:`\eta` of step 0, > 0.
        n_steps: :math:`T`, >= 1.
        final: :math:`\eta_\mathrm{final}` of step ``n_steps`` and all later ones, >= 0.

    Raises:
        TypeError: If an argument is not a number of its kind.
        ValueError: If one is out of its range.

    Example:
        >>> schedule = Cosine(0.1, n_steps=4, final=0.02)
        >>> [round(schedule(step), 4) for step in range(6)]
        [0.1, 0.0883, 0.06, 0.0317, 0.02, 0.02]

    References:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
        arXiv:1608.03983 (without the restarts).
    """

    rate: float
    _: KW_ONLY
    n_steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        """Check every field."""
        real("rate", self.rate, above=0.0)
        integer("n_steps", self.n_steps, minimum=1)
        real("final", self.final, minimum=0.0)

    def _rate(self, step: int) -> float:
        done = min(step, self.n_steps) / self.n_steps
        weight = 0.5 * (1.0 + math.cos(math.pi * done))
        return weight * self.rate + (1.0 - weight) * self.final


@final
@dataclass(frozen=True)
class ByFunction(Schedule):
    """The rates that a function gives.

    Args:
        function: From the number of the step, counted from 0, to its rate, > 0.

    Raises:
        TypeError: If it is not callable.

    Example:
        >>> ByFunction(lambda step: 0.1 / (1 + step))(4)
        0.02
    """

    function: Callable[[int], float]

    def __post_init__(self) -> None:
        """Check that there is a function."""
        if not callable(self.function):
            raise TypeError(
                f"Argument `function` must be callable, but is {self.function!r}."
            )

    def _rate(self, step: int) -> float:
        return real(f"schedule({step})", self.function(step), above=0.0)


@final
@dataclass(frozen=True)
class WarmUp(Schedule):
    r"""A linear rise to the first rate of another schedule, and then that schedule.

    With :math:`\alpha` the rates of the other schedule,

    .. math::

        \eta_t = \begin{cases} \alpha_0 \, (t + 1) / (T + 1) & t < T \\
            \alpha_{t - T} & t \geq T \end{cases}

    so the rates 0 to :math:`T` are evenly spaced and none is 0.

    Args:
        after: The schedule that follows.
        n_steps: :math:`T`, steps below the full rate, >= 1.

    Raises:
        TypeError: If ``after`` is no schedule, or ``n_steps`` no integer.
        ValueError: If ``n_steps`` is less than 1.

    Example:
        >>> schedule = WarmUp(StepDecay(0.8, every=2, factor=0.5), n_steps=3)
        >>> [round(schedule(step), 4) for step in range(7)]
        [0.2, 0.4, 0.6, 0.8, 0.8, 0.4, 0.4]
    """

    after: Schedule
    _: KW_ONLY
    n_steps: int

    def __post_init__(self) -> None:
        """Check every field."""
        if not isinstance(self.after, Schedule):
            raise TypeError(
                f"Argument `after` must be a schedule, but is {self.after!r}. A rate "
                "that stays is Constant(rate)."
            )
        integer("n_steps", self.n_steps, minimum=1)

    def _rate(self, step: int) -> float:
        if step < self.n_steps:
            return self.after(0) * (step + 1) / (self.n_steps + 1)
        return self.after(step - self.n_steps)
