"""IBM's sampler: on a simulator, on the model of a chip, and behind a service."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest
import qiskit_ibm_runtime
from qiskit.transpiler import PassManager
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime import SamplerV2
from qiskit_ibm_runtime.exceptions import (
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RuntimeJobNotFound,
)
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from qstore_pl import BackendManager, QuantumGradientComputer, QuantumModel
from qstore_pl.backends.ibm import EXECUTIONS, IBMMachine
from qstore_pl.backends.machine import Batch, Ticket
from qstore_pl.devices import Circuit, Gate
from qstore_pl.errors import (
    CredentialsError,
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
    LostJobError,
    WrongResultError,
)

pytestmark = pytest.mark.timeout(60)
KEY = "canary-key-3f1c"
SHOTS = 4000
X = np.random.default_rng(1).uniform(-1, 1, (3, 2))
MANILA = FakeManilaV2()


def device(backend, n_wires=2, **options):
    found = BackendManager().get_backend("qiskit_remote", backend=backend, **options)
    return found.device(n_wires)


def model(backend, **options):
    found = BackendManager().get_backend("qiskit_remote", backend=backend, **options)
    return QuantumModel(2, 2, n_layers=1, seed=3, backend=found)


def runs(monkeypatch):
    """The circuits of every call of the sampler, and those that were translated."""
    calls, translated = [], []
    run, translate = SamplerV2.run, PassManager.run

    def noted_run(self, pubs, **options):
        calls.append(list(pubs))
        return run(self, calls[-1], **options)

    def noted_translate(self, circuits, *args, **options):
        if getattr(circuits, "cregs", None):  # passes translate parts, too
            translated.append(circuits)
        return translate(self, circuits, *args, **options)

    monkeypatch.setattr(SamplerV2, "run", noted_run)
    monkeypatch.setattr("qiskit.transpiler.StagedPassManager.run", noted_translate)
    return calls, translated
