"""Gradient descent, with and without momentum. It knows no model and no loss."""

from __future__ import annotations

from typing import final

import numpy as np

from qstore_pl._checks import Float1D, boolean, integer, real
from qstore_pl.optimizers.optimizer import Bool1D, Optimizer, State, compiled


@final
class SGD(Optimizer):
    r"""Stochastic gradient descent: plain, with heavy-ball or with Nesterov momentum.

    With :math:`g_t` the gradient plus ``weight_decay`` times the parameters,

    .. math::

        v_t = \mu v_{t-1} + g_t, \qquad
        \theta_t = \theta_{t-1} - \eta \begin{cases}
            g_t + \mu v_t & \text{Nesterov} \\ v_t & \text{otherwise.} \end{cases}

    This is the convention of PyTorch: the learning rate multiplies the velocity, not
    the gradients inside it; and with Nesterov momentum, too, gradients are taken at the
    parameters themselves, not at a point ahead of them.

    Args:
        learning_rate: Step length :math:`\eta`, > 0.
        momentum: Decay :math:`\mu` of the velocity, in [0, 1); 0 is plain descent.
        nesterov: Whether to use Nesterov momentum; ``momentum`` must then be > 0.
        weight_decay: Multiple of the parameters that is added to the gradient, >= 0.

    Raises:
        TypeError: If an argument is not a real number, or ``nesterov`` is no bool.
        ValueError: If an argument is out of its range.

    Example:
        >>> parameters = np.array([1.0, -2.0])
        >>> sgd = SGD(0.1, momentum=0.9)
        >>> for _ in range(2):
        ...     sgd.step(parameters, [1.0, 0.0])
        >>> parameters
        array([ 0.71, -2.  ])

    References:
        Polyak, "Some methods of speeding up the convergence of iteration methods"
        (1964), doi:10.1016/0041-5553(64)90137-5; Sutskever et al., "On the importance
        of initialization and momentum in deep learning", ICML 2013.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = real("momentum", momentum, minimum=0.0, below=1.0)
        if boolean("nesterov", nesterov) and self.momentum == 0.0:
            raise ValueError(
                "Argument `momentum` must be > 0 with nesterov=True, but is 0.0. Give "
                "one, as momentum=0.9, or leave out nesterov."
            )
        self.nesterov = bool(nesterov)
        self.weight_decay = real("weight_decay", weight_decay, minimum=0.0)

    def init(self, n_parameters: int) -> State:
        """The state before the first step: a velocity of zeros.

        Args:
            n_parameters: Length of the parameter vector.
        """
        size = integer("n_parameters", n_parameters, minimum=0)
        return {"velocity": np.zeros(size)}

    def _advance(
        self, parameters: Float1D, gradients: Float1D, trainable: Bool1D, state: State
    ) -> int:
        return compiled("sgd")(
            parameters,
            gradients,
            state["velocity"],
            trainable,
            self._learning_rate,
            self.momentum,
            self.weight_decay,
            self.nesterov,
        )
