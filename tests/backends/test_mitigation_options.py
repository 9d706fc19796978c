"""Options of error mitigation, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from qstore_pl import BackendManager, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.backends import (
    Batch,
    Limits,
    MachineDevice,
    ReadoutMitigation,
    ZeroNoise,
)
from qstore_pl.devices import Circuit
from qstore_pl.errors import QuantumCircuitError
from tests.noisy_machine import TICKET, Dense


def test_options_of_a_backend():
    get = BackendManager().get_backend
    chosen = {"readout_mitigation": {"every": 4, "shots": 7}, "zero_noise": [1, 3]}
    backend = get("cirq", **chosen)
    machine = pickle.loads(pickle.dumps(backend)).device(2).machine
    assert repr(machine) == (
        "ZeroNoise(ReadoutMitigation(CirqMachine(mixed=False, noise=None), "
        "every=4, shots=7), scale_factors=(1, 3), extrapolate='richardson')"
    )
    options = {"scale_factors": (1, 3, 5), "extrapolate": "linear"}
    machine = get("cirq", zero_noise=options).device(2).machine
    assert repr(machine).endswith("extrapolate='linear')")
    plain = get("cirq", zero_noise=None, readout_mitigation=False).device(2).machine
    assert repr(plain) == "CirqMachine(mixed=False, noise=None)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zero_nose": True}, "no option 'zero_nose'.*zero_noise"),
        ({"zero_noise": 3}, "`scale_factors` must be a sequence of odd integers"),
        ({"zero_noise": {"factors": (1, 3)}}, "no part 'factors'; its parts are \"sca"),
        ({"zero_noise": {"scale_factors": 3}}, "`scale_factors` must be a sequence"),
        ({"zero_noise": (1, 2.5)}, "`scale_factors` must be an integer"),
        ({"zero_noise": (1, 2, 3)}, "different odd integers, but is"),
        ({"zero_noise": (1, 1, 3)}, "different odd integers, but is"),
        ({"zero_noise": (3,)}, "different odd integers, but is"),
        ({"zero_noise": {"extrapolate": "cubic"}}, '"linear", "richardson", but is'),
        ({"zero_noise": {"extrapolate": 3}}, "must be below 3, the number of scale"),
        ({"zero_noise": {"extrapolate": 0}}, "`extrapolate` must be >= 1"),
        ({"readout_mitigation": 5}, "`readout_mitigation` must be True, or a dict"),
        ({"readout_mitigation": {"each": 5}}, "no part 'each'"),
        ({"readout_mitigation": {"every": 0}}, "`every` must be >= 1"),
        ({"readout_mitigation": {"shots": 1.5}}, "`shots` must be an integer"),
    ],
)
def test_wrong_options_are_refused_before_a_device_is_made(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        BackendManager().get_backend("cirq", **options)


@pytest.mark.parametrize(
    ("wrap", "limits", "gates", "message"),
    [
        (ZeroNoise, Limits(), "RX RY CNOT", "may cancel gates with their inverses"),
        (ZeroNoise, Limits(verbatim=True), "RX GPI", "not know the inverse of GPI, a"),
        (ReadoutMitigation, Limits(), "RY CNOT", "neither of the gates PauliX and RX"),
        (
            lambda m: ReadoutMitigation(m, shots=9),
            Limits(shots=8),
            "RX",
            "`shots` of the readout mitigation must be <= 8",
        ),
        (
            lambda m: ReadoutMitigation(m, shots=9),
            Limits(sampled=False),
            "RX",
            "runs without shots",
        ),
    ],
)
def test_machines_that_cannot_be_mitigated_are_refused(wrap, limits, gates, message):
    machine = Dense(limits=limits)
    machine.gate_set = frozenset(gates.split())
    with pytest.raises(ValueError, match=message):
        wrap(machine)


def test_a_compiler_that_is_not_ours_is_refused(tmp_path):
    options = {"ledger": tmp_path / "jobs.db", "api_key": "canary-key-3f1c"}
    get = BackendManager().get_backend
    backend = get("ionq_simulator", zero_noise=True, **options)
    with pytest.raises(ValueError, match=r"Backend ionq_simulator may cancel gates"):
        backend.device(2)
    backend = get("ionq_simulator", readout_mitigation=True, **options)
    assert "ReadoutMitigation(IonQMachine" in repr(backend.device(2).machine)


@pytest.mark.parametrize("wrap", [ReadoutMitigation, ZeroNoise])
def test_lists_of_outcomes_are_refused_before_they_are_run(wrap):
    machine = Dense()
    batch = Batch(Circuit(13, (), tuple(range(13))), np.empty((1, 0)), np.array([5]))
    for method in ("bill", "run"):
        arguments = ([batch],) if method == "bill" else ([batch], TICKET)
        with pytest.raises(QuantumCircuitError, match=r"12 measured wires, but 13"):
            getattr(wrap(machine), method)(*arguments)
    assert machine.submissions == []


def test_adaptive_shots_are_refused():
    """Their rule needs variances, which corrected frequencies do not give."""
    device = MachineDevice(ReadoutMitigation(Dense()), 2)
    model = QuantumModel(2, 1, 1, backend=device, seed=1)
    config = TrainingConfig(epochs=1, shots="adaptive", shots_budget=10_000, seed=0)
    with pytest.raises(QuantumCircuitError, match="Adaptive shots need the var"):
        QuantumTrainer(config).train(model, (np.zeros((2, 2)), np.zeros((2, 1))))
    assert device.machine.machine.submissions == []
