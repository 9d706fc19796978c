"""Adam with decoupled weight decay. It knows no model and no loss."""

from __future__ import annotations

from typing import final

from qstore_pl._checks import Float1D
from qstore_pl.optimizers.adam import advance, checked, no_moments
from qstore_pl.optimizers.optimizer import Bool1D, Optimizer, State


@final
class AdamW(Optimizer):
    r"""Adam whose weight decay is decoupled from the moments.

    With :math:`m_t` and :math:`v_t` the moments of the gradients alone, as in
    :class:`~qstore_pl.optimizers.Adam` without weight decay,

    .. math::

        \theta_t = (1 - \eta \lambda)\, \theta_{t-1} - \eta \,
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    so that all parameters shrink at the same rate, however large their gradients are.
    As in PyTorch the decay is multiplied by the learning rate. Frozen parameters do not
    shrink.

    Args:
        learning_rate: Step length :math:`\eta`, > 0.
        beta1: Decay :math:`\beta_1` of the first moment, in [0, 1).
        beta2: Decay :math:`\beta_2` of the second moment, in [0, 1).
        epsilon: Number :math:`\epsilon` that is added to the root of the second moment,
            > 0.
        weight_decay: Rate :math:`\lambda` at which the parameters shrink, >= 0.

    Raises:
        TypeError: If an argument is not a real number.
        ValueError: If an argument is out of its range.

    Example:
        >>> parameters = np.array([1.0, -2.0])
        >>> adamw = AdamW(0.1, weight_decay=0.5)
        >>> adamw.step(parameters, [0.5, 0.0])
        >>> parameters.round(6)
        array([ 0.85, -1.9 ])

    References:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
        arXiv:1711.05101.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
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
            0.0,
            self.weight_decay,
        )
