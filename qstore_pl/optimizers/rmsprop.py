"""RMSprop. It knows no model and no loss."""

from __future__ import annotations

from typing import final

import numpy as np

from qstore_pl._checks import Float1D, integer, real
from qstore_pl.optimizers.optimizer import Bool1D, Optimizer, State, compiled


@final
class RMSprop(Optimizer):
    r"""Gradient descent whose step is divided by the root of a mean squared gradient.

    .. math::

        v_t = \rho v_{t-1} + (1 - \rho) g_t^2, \qquad
        \theta_t = \theta_{t-1} - \eta \, \frac{g_t}{\sqrt{v_t} + \epsilon}

    with :math:`g_t` the gradient plus ``weight_decay`` times the parameters, and the
    square, the root and the quotient taken entry by entry. This is the convention of
    PyTorch, whose ``alpha`` is the ``decay`` here.

    Args:
        learning_rate: Step length :math:`\eta`, > 0.
        decay: Decay :math:`\rho` of the running mean, in [0, 1).
        epsilon: Number :math:`\epsilon` that is added to :math:`\sqrt{v_t}`, > 0.
        weight_decay: Multiple of the parameters that is added to the gradient, >= 0.

    Raises:
        TypeError: If an argument is not a real number.
        ValueError: If an argument is out of its range.

    Example:
        >>> parameters = np.array([1.0, -2.0])
        >>> rmsprop = RMSprop(0.1, decay=0.75)
        >>> rmsprop.step(parameters, [1.0, 0.0])
        >>> parameters.round(6)
        array([ 0.8, -2. ])

    References:
        Tieleman and Hinton, "Lecture 6.5 - RMSprop", COURSERA: Neural Networks for
        Machine Learning (2012).
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self.decay = real("decay", decay, minimum=0.0, below=1.0)
        self.epsilon = real("epsilon", epsilon, above=0.0)
        self.weight_decay = real("weight_decay", weight_decay, minimum=0.0)

    def init(self, n_parameters: int) -> State:
        """The state before the first step: a running mean of zeros.

        Args:
            n_parameters: Length of the parameter vector.
        """
        size = integer("n_parameters", n_parameters, minimum=0)
        return {"second": np.zeros(size)}

    def _advance(
        self, parameters: Float1D, gradients: Float1D, trainable: Bool1D, state: State
    ) -> int:
        return compiled("rmsprop")(
            parameters,
            gradients,
            state["second"],
            trainable,
            self._learning_rate,
            self.decay,
            self.epsilon,
            self.weight_decay,
        )
