"""The classical baselines: scikit-learn's models, and a small network in PyTorch."""

from __future__ import annotations

import warnings
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import SVC, SVR

Float2D = NDArray[np.float64]

N_EPOCHS = 200  # of the convolutional network
CLASSICAL = ("linear", "mlp", "svm", "cnn")
"""Words of the classical baselines."""


def untrained(
    word: str, X: Float2D, y: NDArray[Any], *, classes: bool, n_wanted: int, seed: int
) -> Any:
    """A classical model, with the methods ``fit`` and ``predict`` of scikit-learn.

    Args:
        word: Which one, out of ``CLASSICAL``.
        X: The training samples, shape ``(n_samples, n_features)``.
        y: Their classes, shape ``(n_samples,)``, or numbers, ``(n_samples, n_outputs)``
            or ``(n_samples,)``.
        classes: Whether ``y`` are classes.
        n_wanted: How many parameters networks should have, as nearly as they can.
        seed: Seed of the first weights and of the order of samples.

    Raises:
        ModuleNotFoundError: If the word is ``"cnn"`` and PyTorch is not installed.
    """
    n_outputs = len(np.unique(y)) if classes else np.reshape(y, (len(y), -1)).shape[1]
    match word:
        case "linear":
            return LogisticRegression(max_iter=10_000) if classes else Ridge()
        case "mlp":
            last = 1 if classes and n_outputs == 2 else n_outputs
            hidden = round((n_wanted - last) / (X.shape[1] + 1 + last))
            network = MLPClassifier if classes else MLPRegressor
            return network(
                hidden_layer_sizes=(max(1, hidden),),
                solver="lbfgs",
                max_iter=2000,
                random_state=seed,
            )
        case "svm":
            if classes:
                return SVC()
            return SVR() if np.ndim(y) == 1 else MultiOutputRegressor(SVR())
    return ConvolutionalNetwork(n_outputs, n_wanted, classes=classes, seed=seed)


def fitted(model: Any, X: Float2D, y: NDArray[Any]) -> bool:
    """Fit a classical model.

    Args:
        model: From :func:`untrained`.
        X: The training samples.
        y: Their classes or numbers.

    Returns:
        Whether its fit converged, by its own account.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(X, y)
    found = False
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            found = True
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return not found


def n_parameters(model: Any) -> int:
    """How many numbers a fitted classical model has learned.

    Of a support vector machine they are the factors of its support vectors.
    """
    match model:
        case ConvolutionalNetwork():
            return model.n_parameters
        case MultiOutputRegressor():
            return sum(map(n_parameters, model.estimators_))
        case MLPClassifier() | MLPRegressor():
            arrays = [*model.coefs_, *model.intercepts_]
        case SVC() | SVR():
            arrays = [model.dual_coef_, model.intercept_]
        case _:
            arrays = [model.coef_, model.intercept_]
    return sum(np.size(array) for array in arrays)


@final
class ConvolutionalNetwork:
    """Two convolutions along the features, their mean, and a linear layer.

    It is trained by Adam for 200 epochs in batches of 32, with a learning rate of 0.01.

    Args:
        n_outputs: Number of classes, or of numbers for each sample.
        n_wanted: How many parameters it should have, as nearly as it can.
        classes: Whether it tells classes apart.
        seed: Seed of the first weights and of the order of samples.

    Raises:
        ModuleNotFoundError: If PyTorch is not installed.
    """

    def __init__(
        self, n_outputs: int, n_wanted: int, *, classes: bool, seed: int
    ) -> None:
        try:
            import torch
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'The baseline "cnn" needs PyTorch: pip install "qstore-pl[torch]".'
            ) from error
        self._torch = torch
        self.n_outputs, self.classes, self.seed = n_outputs, classes, seed

        def size(channels: int) -> int:
            return 3 * channels**2 + (5 + n_outputs) * channels + n_outputs

        channels = min(range(1, 257), key=lambda c: abs(size(c) - n_wanted))
        self.n_parameters, self._channels = size(channels), channels

    def _network(self) -> Any:
        nn, c = self._torch.nn, self._channels
        return nn.Sequential(
            nn.Conv1d(1, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(c, c, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(c, self.n_outputs),
        )

    def fit(self, X: Float2D, y: NDArray[Any]) -> None:
        """Train it.

        Args:
            X: Shape ``(n_samples, n_features)``.
            y: Classes, shape ``(n_samples,)``, or numbers, ``(n_samples, n_outputs)``.
        """
        torch = self._torch
        inputs = self._sequences(X)
        if self.classes:
            self._labels, places = np.unique(y, return_inverse=True)
            targets, loss = torch.as_tensor(places), torch.nn.CrossEntropyLoss()
        else:
            numbers = np.reshape(y, (len(y), -1))
            targets = torch.as_tensor(numbers, dtype=torch.float32)
            loss = torch.nn.MSELoss()
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)  # more are slower in so small a network
        try:
            with torch.random.fork_rng(devices=[]):  # torch's own generator stays
                torch.manual_seed(self.seed)
                self._model = self._network()
                optimizer = torch.optim.Adam(self._model.parameters(), lr=0.01)
                for _ in range(N_EPOCHS):
                    for rows in torch.randperm(len(inputs)).split(32):
                        optimizer.zero_grad()
                        loss(self._model(inputs[rows]), targets[rows]).backward()
                        optimizer.step()
        finally:
            torch.set_num_threads(n_threads)

    def predict(self, X: Float2D) -> NDArray[Any]:
        """The class of each sample, or its numbers.

        Args:
            X: Shape ``(n_samples, n_features)``.
        """
        with self._torch.no_grad():
            outputs = self._model(self._sequences(X)).numpy()
        return self._labels[outputs.argmax(axis=1)] if self.classes else outputs

    def _sequences(self, X: Float2D) -> Any:
        return self._torch.as_tensor(X[:, None], dtype=self._torch.float32)
