"""The quantum model as a regressor of scikit-learn."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import validate_data

from qstore_pl.sklearn.trained import Float1D, Float2D, TrainedEstimator
from qstore_pl.sklearn.weights import sample_weights


class QuantumRegressor(RegressorMixin, TrainedEstimator):
    r"""A quantum model that is trained to predict numbers, by the mean squared error.

    The circuit is ``n_layers`` times an upload and a layer of rotations and CNOTs. By
    the default encoding each feature is an angle. The features are dealt to the qubits
    in turns: where there are more features than qubits, each upload has the next ones;
    where there are fewer, several qubits are given the same one.

    Args:
        n_layers: Number of trainable layers, >= 1, each with an upload before it. None
            is 3, or as many as it takes to upload all features. The encodings other
            than ``"angle"`` upload once, before the first layer.
        encoding: ``"angle"``, ``"amplitude"``, ``"basis"`` or ``"zz_feature_map"``.
        layers: The layers of the circuit, in place of ``n_layers``, ``encoding`` and
            ``entanglement``; None builds the circuit from these three.
        entanglement: ``"linear"``, ``"circular"`` or ``"full"``.
        n_qubits: Number of qubits, >= 1. None takes as many as there are features or
            targets, but from 2 to 4, for angles, and more only where another encoding
            or more than 15 targets need them. Where there are more targets than qubits,
            products of Z on several qubits are measured.
        readout: How the outputs of the circuit are made of what is measured, as in
            :class:`~qstore_pl.QuantumModel`.
        standardize: Whether features are standardised, with the means and standard
            deviations of the training data, before they are encoded. ``"auto"`` does so
            except for amplitudes and bits.
        scale: Factor of the features after that, radians per unit, > 0. ``"auto"`` is
            :math:`\min(1, \sqrt{2 / n})` for n standardised features, and 1 for others
            and with ``layers``.
        backend: Where the circuit runs: a name, a Backend or a PennyLane device.
        shots: Measurements per circuit in training, >= 1; None is exact on the devices
            of this package.
        optimizer: Name of the optimizer, as in :class:`~qstore_pl.TrainingConfig`, or
            an optimizer, which has a learning rate of its own.
        learning_rate: Step length of the optimizer, > 0.
        epochs: Number of passes over the samples, >= 1.
        batch_size: Samples for each gradient, >= 1.
        early_stopping: Whether some samples are held out, and training stops when
            their loss has not fallen for ``patience`` epochs. The weights are then
            those of the best epoch.
        validation_fraction: Share of the samples that early stopping holds out, in
            (0, 1).
        patience: Number of epochs that early stopping waits, >= 1.
        warm_start: Whether :meth:`fit` goes on from the weights, and with the scaling,
            of the last one.
        random_state: Seed of the first weights and of all random draws: an integer, a
            RandomState, or None for a fresh seed.
        verbose: A line for every so many epochs goes to the log; 0 and False write
            none.

    Attributes:
        target_scaler_: Means and standard deviations of the targets.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the samples came with names that are strings.
        model_: The trained :class:`~qstore_pl.QuantumModel`.
        scaling_: What is done to features before the model takes them: means and
            deviations in ``scaling_.scaler``, the factor in ``scaling_.factor``.
        history_: The :class:`~qstore_pl.History` of the last training.
        n_iter_: Number of epochs in it.
        loss_curve_: The loss in each of them.

    The targets are always standardised for training: each has mean 0 and standard
    deviation 1. Predictions are in the units of the targets that were given.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-3, 3, (100, 1))
        >>> regressor = QuantumRegressor(random_state=0).fit(X, np.sin(X[:, 0]))
        >>> regressor.score(X, np.sin(X[:, 0])) > 0.99
        True
    """

    _loss: ClassVar[str] = "mse"

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one epoch more on some samples, which may differ from those before.

        The optimizer goes on from its state. Means and standard deviations of features
        and targets follow all samples that came.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.
            y: Targets, shape ``(n_samples,)`` or ``(n_samples, n_targets)``.
            sample_weight: Weight of each sample in the loss, >= 0, shape
                ``(n_samples,)``; they are used as they are.

        Returns:
            The estimator.

        Raises:
            ValueError: If the data or a parameter do not fit.
        """
        again = self._is_fitted
        X, y = self._checked(X, y, reset=not again)
        weights = sample_weights(sample_weight, len(X))
        if again:
            self._check_targets(y)
            column = y.reshape(len(y), -1)
            self.target_scaler_.partial_fit(column, sample_weight=weights)
        else:
            self._learn_targets(y, weights)
        return self._epoch(X, y, weights)

    def predict(self, X: Any) -> Float2D:
        """The predicted targets.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.

        Returns:
            Shape ``(n_samples,)``, or ``(n_samples, n_targets)`` if the targets had two
            axes.
        """
        outputs = self._outputs(X)
        found = self.target_scaler_.inverse_transform(outputs)
        return found[:, 0] if self._one_axis else found

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Float2D, NDArray[Any]]:
        X, y = validate_data(
            *(self, X, y),
            reset=reset,
            dtype=np.float64,
            y_numeric=True,
            multi_output=True,
        )
        return X, np.asarray(y, dtype=np.float64)

    def _learn_targets(self, y: NDArray[Any], weights: Float1D | None) -> None:
        self._one_axis = y.ndim == 1
        self.target_scaler_ = StandardScaler()
        self.target_scaler_.fit(y.reshape(len(y), -1), sample_weight=weights)

    def _check_targets(self, y: NDArray[Any]) -> None:
        n_targets = 1 if y.ndim == 1 else y.shape[1]
        if n_targets != self._n_outputs or (y.ndim == 1) != self._one_axis:
            raise ValueError(
                f"Argument `y` must have {self._n_outputs} targets on "
                f"{1 if self._one_axis else 2} axes, as before, but has shape "
                f"{y.shape}. Fit a new estimator."
            )

    def _prepared(self, y: NDArray[Any]) -> NDArray[Any]:
        return self.target_scaler_.transform(y.reshape(len(y), -1))

    @property
    def _n_outputs(self) -> int:
        return int(self.target_scaler_.n_features_in_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
