"""The quantum model as a classifier of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from qstore_pl.layers import Layer
from qstore_pl.losses import decided
from qstore_pl.optimizers import Optimizer
from qstore_pl.readout import Readout
from qstore_pl.sklearn.labels import several_classes
from qstore_pl.sklearn.scaling import AUTO
from qstore_pl.sklearn.trained import Float1D, Float2D, TrainedEstimator
from qstore_pl.sklearn.weights import sample_weights


class QuantumClassifier(ClassifierMixin, TrainedEstimator):
    r"""A quantum model that is trained to tell classes apart, by cross-entropy.

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
            classes, but from 2 to 4, for angles, and more only where another encoding
            or more than 15 classes need them. Where there are more classes than qubits,
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
        class_weight: Factor of each class in the loss: a dict from label to factor,
            ``"balanced"``, which lets all classes count the same, or None.
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
        classes_: The labels, sorted.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the samples came with names that are strings.
        model_: The trained :class:`~qstore_pl.QuantumModel`.
        scaling_: What is done to features before the model takes them: means and
            deviations in ``scaling_.scaler``, the factor in ``scaling_.factor``.
        history_: The :class:`~qstore_pl.History` of the last training.
        n_iter_: Number of epochs in it.
        loss_curve_: The loss in each of them.

    Example:
        >>> from sklearn.datasets import make_circles
        >>> X, y = make_circles(100, noise=0.1, factor=0.4, random_state=0)
        >>> classifier = QuantumClassifier(random_state=0).fit(X, y)
        >>> classifier.score(X, y) > 0.95
        True
        >>> classifier.predict_proba(X[:3]).shape
        (3, 2)
    """

    _loss: ClassVar[str] = "cross_entropy"
    classes_: NDArray[Any]

    def __init__(
        self,
        *,
        n_layers: int | None = None,
        encoding: str = "angle",
        layers: Sequence[Layer] | None = None,
        entanglement: str = "circular",
        n_qubits: int | None = None,
        readout: str | Readout = "affine",
        standardize: bool | str = AUTO,
        scale: float | str = AUTO,
        backend: Any = "mock_ideal",
        shots: int | None = None,
        optimizer: str | Optimizer = "adam",
        learning_rate: float = 0.02,
        epochs: int = 100,
        batch_size: int = 64,
        class_weight: str | Mapping[Any, float] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            n_layers=n_layers,
            encoding=encoding,
            layers=layers,
            entanglement=entanglement,
            n_qubits=n_qubits,
            readout=readout,
            standardize=standardize,
            scale=scale,
            backend=backend,
            shots=shots,
            optimizer=optimizer,
            learning_rate=learning_rate,
            epochs=epochs,
            batch_size=batch_size,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> Self:
        """Train one epoch more on some samples, which may differ from those before.

        The optimizer goes on from its state. Means and standard deviations of the
        features follow all samples that came.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.
            y: Labels, shape ``(n_samples,)``.
            classes: All labels that there will ever be. The first call needs them; in
                later ones they may be left out.
            sample_weight: Weight of each sample in the loss, >= 0, shape
                ``(n_samples,)``; they are used as they are.

        Returns:
            The estimator.

        Raises:
            ValueError: If ``classes`` are missing or others than before, a label is
                not among them, or the data or a parameter do not fit.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                'Parameter class_weight must not be "balanced" for partial_fit, which '
                "does not know how often each class will come. Give a dict."
            )
        again = self._is_fitted
        X, y = self._checked(X, y, reset=not again)
        if again:
            if classes is not None and not np.array_equal(
                np.unique(classes), self.classes_
            ):
                raise ValueError(
                    f"Argument `classes` must be {self.classes_.tolist()}, as before, "
                    f"but is {np.unique(classes).tolist()}."
                )
        elif classes is None:
            raise ValueError(
                "Argument `classes` must be given in the first call of partial_fit: "
                "all labels that there will ever be."
            )
        else:
            self.classes_ = several_classes(classes)
        self._check_targets(y)
        weights = self._weighted(y, sample_weights(sample_weight, len(X)))
        return self._epoch(X, y, weights)

    def predict(self, X: Any) -> NDArray[Any]:
        """The predicted label of each sample: that of the largest output.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.

        Returns:
            Labels, shape ``(n_samples,)``.
        """
        outputs = self._outputs(X)
        return self.classes_[decided(outputs)]

    def decision_function(self, X: Any) -> Float1D | Float2D:
        """How much speaks for each class: the outputs of the model, which are logits.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.

        Returns:
            Shape ``(n_samples, n_classes)``; for two classes the second output minus
            the first, shape ``(n_samples,)``, positive for ``classes_[1]``.
        """
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs

    def predict_proba(self, X: Any) -> Float2D:
        """The probability of each class: softmax of the outputs.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.

        Returns:
            Rows that add up to 1, in the order of ``classes_``, shape
            ``(n_samples, n_classes)``.
        """
        return softmax(self._outputs(X), axis=1)

    def predict_log_proba(self, X: Any) -> Float2D:
        """The logarithm of :meth:`predict_proba`, without its rounding."""
        return log_softmax(self._outputs(X), axis=1)

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Float2D, NDArray[Any]]:
        X, y = validate_data(self, X, y, reset=reset, dtype=np.float64)
        check_classification_targets(y)
        return X, y

    def _learn_targets(self, y: NDArray[Any], weights: Float1D | None) -> None:
        self.classes_ = several_classes(y)

    def _check_targets(self, y: NDArray[Any]) -> None:
        unseen = np.setdiff1d(y, self.classes_)
        if unseen.size:
            raise ValueError(
                f"Argument `y` must have labels out of {self.classes_.tolist()}, the "
                f"classes that the estimator knows, but has {unseen.tolist()}."
            )

    def _prepared(self, y: NDArray[Any]) -> NDArray[Any]:
        return np.searchsorted(self.classes_, y)

    @property
    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _weighted(self, y: NDArray[Any], weights: Float1D | None) -> Float1D | None:
        if self.class_weight is None:
            return weights
        by_class = compute_sample_weight(self.class_weight, y)
        return by_class if weights is None else by_class * weights

    def _strata(self, y: NDArray[Any]) -> NDArray[Any] | None:
        return y
