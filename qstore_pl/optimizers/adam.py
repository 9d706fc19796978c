"""Adam, and the functions it shares with AdamW. It knows no model and no loss."""

from __future__ import annotations

from typing import final

import numpy as np

from qstore_pl._checks import Float1D, integer, real
from qstore_pl.optimizers.optimizer import Bool1D, Optimizer, State, compiled


@final
class Adam(Optimizer):
    r"""Adam (Kingma and Ba 2015) with bias correction.

    With :math:`g_t` the gradient plus ``weight_decay`` times the parameters,

    .. math::

        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t &= \theta_{t-1} - \eta \,
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    The weight decay is a plain L2 penalty: it enters both moments, other than in
    :class:`~qstore_pl.optimizers.AdamW`. While a parameter is frozen its moments do not
    change; :math:`t` counts all steps, also those in which it was frozen.

    Args:
        learning_rate: Step length :math:`\eta`, > 0.
        beta1: Decay :math:`\beta_1` of the first moment, in [0, 1).
        beta2: Decay :math:`\beta_2` of the second moment, in [0, 1).
        epsilon: Number :math:`\epsilon` that is added to the root of the second moment,
            > 0.
        weight_decay: Multiple of the parameters that is added to the gradient, >= 0.

    Raises:
        TypeError: If an argument is not a real number.
        ValueError: If an argument is out of its range.

    Example:
        >>> parameters = np.array([1.0, -2.0])
        >>> adam = Adam(0.1)
        >>> adam.step(parameters, [0.5, -0.5])
        >>> parameters.round(6)
        array([ 0.9, -1.9])
        >>> adam.state["count"]
        1

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2, self.epsilon, self.weight_decay = checked(
            beta1, beta2, epsilon, weight_decay
        )

    def init(self, n_parameters: int) -> State:
        """The state before the first step: ``count`` is 0, and both moments are zeros.

        Args:
            n_parameters: Length of the parameter vector.
        """
        return no_moments(n_parameters)

    def _advance(
        self, parameters: Float1D, gradients: Float1D, trainable: Bool1D, state: State
    ) -> int:
        return advance(
            parameters,
            gradients,
            trainable,
            state,
            self._learning_rate,
            self.beta1,
            self.beta2,
            self.epsilon,
            self.weight_decay,
            0.0,
        )


def checked(
    beta1: float, beta2: float, epsilon: float, weight_decay: float
) -> tuple[float, float, float, float]:
    """The hyperparameters, after checking that each is in its range."""
    return (
        real("beta1", beta1, minimum=0.0, below=1.0),
        real("beta2", beta2, minimum=0.0, below=1.0),
        real("epsilon", epsilon, above=0.0),
        real("weight_decay", weight_decay, minimum=0.0),
    )


def no_moments(n_parameters: int) -> State:
    """The state before the first step: ``count`` is 0, and both moments are zeros."""
    size = integer("n_parameters", n_parameters, minimum=0)
    return {"count": 0, "first": np.zeros(size), "second": np.zeros(size)}


def advance(
    parameters: Float1D,
    gradients: Float1D,
    trainable: Bool1D,
    state: State,
    *hyperparameters: float,
) -> int:
    """One step in place; the hyperparameters come in the order of the kernel."""
    count = state["count"] + 1
    bad = compiled("adam")(
        parameters,
        gradients,
        state["first"],
        state["second"],
        trainable,
        *hyperparameters,
        count,
    )
    if bad < 0:
        state["count"] = count
    return bad
