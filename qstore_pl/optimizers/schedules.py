"""Learning rates that change from step to step. They know no optimizer and no model.

A schedule is an immutable function of the step. The training loop sets the rate::

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
    """A learning rate for every step; in a training run a step is an epoch.

    To write a schedule of your own, inherit from this class as a frozen dataclass,
    check the fields in ``__post_init__``, and define :meth:`_rate`.

    Example:
        >>> @dataclass(frozen=True)
        ... class Inverse(Schedule):
        ...     rate: float
        ...     def _rate(self, step):
        ...         return self.rate / (1 + step)
        >>> Inverse(0.1)(4)
        0.02
    """

    def __call__(self, step: int) -> float:
        """The learning rate of a step.

        Args:
            step: Number of the step, counted from 0.

        Raises:
            TypeError: If the step is not an integer.
            ValueError: If the step is negative.
        """
        return self._rate(integer("step", step, minimum=0))

    @abstractmethod
    def _rate(self, step: int) -> float:
        """The learning rate of a step, an integer >= 0."""


@final
@dataclass(frozen=True)
class Constant(Schedule):
    r"""The same rate at every step, :math:`\eta_t = \eta`.

    Args:
        rate: Learning rate :math:`\eta`, > 0.

    Raises:
        TypeError: If the rate is not a real number.
        ValueError: If the rate is not > 0.

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
    r"""A rate that is multiplied by a factor after every k steps.

    .. math:: \eta_t = \eta \, \gamma^{\lfloor t / k \rfloor}

    Args:
        rate: First learning rate :math:`\eta`, > 0.
        every: Number :math:`k` of steps with the same rate, >= 1.
        factor: Factor :math:`\gamma` between successive rates, in (0, 1).

    Raises:
        TypeError: If an argument is not a number of the right kind.
        ValueError: If an argument is out of its range.

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
    r"""A rate that falls along half a cosine from ``rate`` to ``final``, and stays.

    .. math::

        \eta_t = w_t \, \eta + (1 - w_t) \, \eta_\mathrm{final}, \qquad
        w_t = \tfrac12 \left(1 + \cos \frac{\pi \min(t, T)}{T}\right)

    As in PyTorch, the rates of the :math:`T` steps 0 to :math:`T - 1` are all > 0, and
    ``final`` is first reached at step :math:`T`. Optimizers refuse a rate of 0: with
    ``final=0`` a run can have at most :math:`T` steps.

    Args:
        rate: Learning rate :math:`\eta` of step 0, > 0.
        n_steps: Number :math:`T` of steps, >= 1.
        final: Learning rate :math:`\eta_\mathrm{final}` of step :math:`T` and all later
            ones, >= 0.

    Raises:
        TypeError: If an argument is not a number of the right kind.
        ValueError: If an argument is out of its range.

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
    """A rate that is computed by a function.

    Args:
        function: Function from the number of the step, counted from 0, to the learning
            rate, > 0.

    Raises:
        TypeError: If ``function`` is not callable.

    Example:
        >>> ByFunction(lambda step: 0.1 / (1 + step))(4)
        0.02
    """

    function: Callable[[int], float]

    def __post_init__(self) -> None:
        """Check that the function is callable."""
        if not callable(self.function):
            raise TypeError(
                f"Argument `function` must be callable, but is {self.function!r}."
            )

    def _rate(self, step: int) -> float:
        return real(f"schedule({step})", self.function(step), above=0.0)


@final
@dataclass(frozen=True)
class WarmUp(Schedule):
    r"""A linear rise to the first rate of another schedule, followed by that schedule.

    With :math:`\alpha_t` the rates of the other schedule,

    .. math::

        \eta_t = \begin{cases} \alpha_0 \, (t + 1) / (T + 1) & t < T \\
            \alpha_{t - T} & t \geq T \end{cases}

    so that the rates of steps 0 to :math:`T` are evenly spaced and none is 0.

    Args:
        after: The schedule that follows the rise.
        n_steps: Number :math:`T` of steps of the rise, >= 1.

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
