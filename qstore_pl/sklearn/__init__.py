"""Estimators of scikit-learn, made of quantum circuits.

They take part in pipelines, grid searches and cross-validation as all estimators do.
They know the models, the trainer and the kernels of this package, and no device.
"""

from qstore_pl.sklearn.autoencoder import QuantumAutoencoderTransformer
from qstore_pl.sklearn.classifier import QuantumClassifier
from qstore_pl.sklearn.feature_map import QuantumFeatureMap
from qstore_pl.sklearn.kernel_classifier import QuantumKernelClassifier
from qstore_pl.sklearn.kernel_regressor import QuantumKernelRegressor
from qstore_pl.sklearn.regressor import QuantumRegressor

__all__ = [
    "QuantumAutoencoderTransformer",
    "QuantumClassifier",
    "QuantumFeatureMap",
    "QuantumKernelClassifier",
    "QuantumKernelRegressor",
    "QuantumRegressor",
]
