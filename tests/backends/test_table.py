"""The table of backends, which of them is the best, and how their options are set."""

import logging
import sys

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import BackendManager, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl._secrets import Secret
from qstore_pl.backends import BackendInfo
from qstore_pl.backends.choosing import FASTEST, NOISY
from qstore_pl.backends.kinds import DEVICE_OPTIONS, KINDS, OTHERS, OURS
from qstore_pl.backends.mitigation import MITIGATION
from qstore_pl.backends.prices import price_list
from qstore_pl.backends.table import least
from qstore_pl.devices.memory import fits
from qstore_pl.gradients import OPTIONS

CANARY = "canary-key-3f1c"
KEYS = ("PENNYLANE_IONQ_API_KEY", "IONQ_API_KEY")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    """No backend is registered, and no key is in the environment."""
    monkeypatch.setattr("qstore_pl.backends.manager._registered", {})
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)


def listed(**config):
    return BackendManager(TrainingConfig(**config)).list_backends()


# --- the table --------------------------------------------------------------------


def test_what_is_known_of_the_simulators():
    table = listed()
    assert table["mock_ideal"] == BackendInfo(
        "mock_ideal",
        qubits=max(n for n in range(31) if fits(n)),
        exact=True,
        shots=True,
        gradient_methods=tuple(name for name in OPTIONS if name != "best"),
        remote=False,
        price="free",
        least=0.0,
        price_source=price_list().source_of("mock_ideal"),
    )
    assert table["mock_noisy"].qubits < table["mock_ideal"].qubits
    assert table["cirq"].options == (*MITIGATION, *DEVICE_OPTIONS)
    assert "noise" in table["cirq_mixed"].options
    assert "zero_noise" not in table["ionq_qpu"].options  # it would be refused
    assert "adjoint" not in table["cirq"].gradient_methods
    assert {table[name].key for name in (*OURS, *OTHERS)} == {"not needed"}


def test_the_methods_are_those_that_the_devices_have():
    """A device without an adjoint gradient refuses it, and every other method runs."""
    x, y = np.zeros((1, 1)), np.zeros((1, 1))
    for name in ("mock_ideal", "default.qubit", "lightning", "cirq"):
        config = TrainingConfig(epochs=1, gradient_method="adjoint", quantum_sdk=name)
        trainer = QuantumTrainer(config)
        model = QuantumModel(1, 1, n_layers=1, seed=0)
        if "adjoint" in listed()[name].gradient_methods:
            trainer.train(model, (x, y))
        else:
            with pytest.raises(ValueError, match="needs a device with a gradient"):
                trainer.train(model, (x, y))


def test_what_is_known_of_a_quantum_computer():
    found = listed()["ionq_qpu"]
    assert (found.qubits, found.exact, found.shots) == (25, False, True)
    assert found.remote
    assert found.key == "missing"
    assert "at least 12.4166 a circuit" in found.price
    assert "microsoft" in found.price_source
    chosen = listed(quantum_target="forte-1")["ionq_qpu"]
    assert chosen.qubits == 36
    assert chosen.least == least("ionq.qpu.forte-1", 1) == 25.7899


def test_a_key_is_named_by_its_place_and_never_shown(monkeypatch):
    assert listed(quantum_api_key=CANARY)["ionq_qpu"].key == "quantum_api_key is set"
    monkeypatch.setenv("IONQ_API_KEY", CANARY)
    table = listed()
    assert table["ionq_simulator"].key == "IONQ_API_KEY is set"
    monkeypatch.setenv("PENNYLANE_IONQ_API_KEY", CANARY)
    assert listed()["ionq_qpu"].key == "PENNYLANE_IONQ_API_KEY is set"
    given = listed(quantum_api_key=CANARY)
    for shown in (table, given):
        rows = repr(list(shown.values()))
        assert CANARY not in repr(shown) + shown._repr_html_() + rows


def test_the_table_is_a_mapping_and_is_readable():
    manager = BackendManager()
    manager.register_backend("mine", qml.device("default.qubit", wires=3))
    manager.register_backend("<other>", lambda n: qml.device("default.qubit", wires=n))
    table = manager.list_backends()
    assert "mine" in table
    assert "else" not in table
    assert sorted(table) == list(table)
    assert len(table) == len(OURS) + len(KINDS) + len(OTHERS) + 2
    assert (table["mine"].qubits, table["mine"].price) == (3, "unknown")
    assert table["<other>"].qubits is None
    lines = repr(table).splitlines()
    head, rows = lines[0], {line.split()[0]: line for line in lines[1:]}
    for column in table["mine"].row():
        assert column in head
    # Every word stands below its column.
    at = head.index("price")
    assert rows["mock_ideal"][at:] == "free"
    assert rows["ionq_qpu"][at:] == "from 12.4166 a circuit"
    assert rows["mine"][at:] == "unknown"
    assert lines[-1] == f"Prices of {price_list().date}, in US dollars."
    page = table._repr_html_()
    assert page.count("<tr>") == len(table) + 1
    assert "<td>&lt;other&gt;</td>" in page


# --- packages that are missing ----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module"),
    [(name, module) for name, kind in KINDS.items() for module in kind.needs],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    extra = KINDS[name].extra
    info = listed()[name]
    assert not info.installed
    assert info.row()["installed"] == f'no: pip install "qstore-pl[{extra}]"'
    needed = {option: object() for option in KINDS[name].required}
    backend = BackendManager().get_backend(name, **needed)
    with pytest.raises(ImportError) as caught:
        backend.device(2)
    message = str(caught.value)
    assert f"Backend {name} needs {module}" in message
    assert f'pip install "qstore-pl[{extra}]"' in message


# --- the best backend -------------------------------------------------------------

BEST = [
    ({}, "mock_ideal"),
    ({"shots": 100}, "mock_ideal"),
    ({"noisy": True}, "mock_noisy"),
    ({"shots": 10, "remote": True}, "mock_ideal"),
    ({"max_cost": 0.0}, "mock_ideal"),
    ({"prefer_qpu": True, "shots": 100}, "ionq_qpu"),
    ({"prefer_qpu": True, "shots": 100, "max_cost": 12.4166}, "ionq_qpu"),
    ({"prefer_qpu": True, "shots": 100, "max_cost": 12.0}, "mock_ideal"),
    ({"prefer_qpu": True}, "mock_ideal"),  # no exact values there
    ({"circuit": 20, "noisy": True, "shots": 5, "remote": True}, "ionq_qpu"),
]


@pytest.mark.parametrize(("wanted", "best"), BEST)
def test_the_fastest_that_can_is_the_best(monkeypatch, wanted, best):
    monkeypatch.setenv("IONQ_API_KEY", CANARY)
    manager = BackendManager()
    manager.register_backend("mine", qml.device("default.qubit"))
    found = manager.find_best_backend(**{"circuit": 4, **wanted})
    assert found == manager.get_backend(best)


def test_a_circuit_is_a_model_a_qnode_or_a_number():
    manager = BackendManager()
    few, many = 4, max(n for n in range(31) if fits(n, mixed=True)) + 1
    qnode = qml.QNode(
        lambda: qml.expval(qml.Z(0)), qml.device("default.qubit", wires=4)
    )
    for circuit in (few, np.int64(few), QuantumModel(few, 1), qnode):
        assert manager.find_best_backend(circuit, noisy=True).name == "mock_noisy"
    for circuit in (many, QuantumModel(many, 1)):
        with pytest.raises(ValueError, match=f"mock_noisy has {many - 1} qubits"):
            manager.find_best_backend(circuit, noisy=True)
    with pytest.raises(ValueError, match=r"takes any\. Give the number of qubits"):
        manager.find_best_backend(qnode.update(device=qml.device("default.qubit")))
    for wrong in ("4", 4.0, True, None):
        with pytest.raises(TypeError, match="a model, a QNode or a number of qubits"):
            manager.find_best_backend(wrong)
    with pytest.raises(ValueError, match="must be >= 1"):
        manager.find_best_backend(0)


def test_the_error_says_what_excludes_each():
    with pytest.raises(ValueError, match="No backend runs 100 qubits with 7") as caught:
        BackendManager().find_best_backend(100, shots=7, noisy=True, remote=True)
    message = str(caught.value)
    assert message.count(";") == sum(name in listed() for name in FASTEST) - 1
    assert "cirq has no noise by itself" in message
    assert "ionq_qpu has 25 qubits" in message
    assert "ionq_simulator has no noise" in message
    with pytest.raises(
        ValueError, match="No backend runs 100 qubits exactly"
    ) as caught:
        BackendManager().find_best_backend(100)
    message = str(caught.value)
    assert "mock_noisy has noise" in message
    assert "ionq_simulator is remote, and `remote` is False" in message


def test_a_package_or_a_key_that_is_missing_excludes(monkeypatch):
    n = max(n for n in range(31) if fits(n)) + 1
    for module in ("qiskit", "cirq"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"No backend") as caught:
        BackendManager().find_best_backend(n, shots=1, remote=True)
    message = str(caught.value)
    if n <= 29:
        assert 'qiskit is not installed: pip install "qstore-pl[qiskit]"' in message
        assert "ionq_simulator has no key: set PENNYLANE_IONQ_API_KEY" in message


def test_every_built_in_backend_may_be_chosen():
    assert {*OURS, *KINDS, *OTHERS} <= set(FASTEST)
    assert set(NOISY) <= set(FASTEST)


# --- options that the configuration sets ------------------------------------------


def test_the_configuration_sets_the_options_of_backends_that_have_them():
    config = TrainingConfig(
        quantum_target="forte-1", quantum_api_key=CANARY, max_concurrent_circuits=2
    )
    manager = BackendManager(config)
    wanted = {"machine": "forte-1", "api_key": Secret(CANARY), "max_concurrent": 2}
    assert manager.get_backend("ionq_qpu").options == wanted
    of_simulator = manager.get_backend("ionq_simulator").options
    assert of_simulator == {k: wanted[k] for k in ("api_key", "max_concurrent")}
    assert manager.get_backend("cirq").options == {}
    own = manager.get_backend("ionq_qpu", machine="aria-2").options
    assert own["machine"] == "aria-2"
    assert CANARY not in repr(manager.get_backend("ionq_qpu"))


def test_ionq_is_the_simulator_of_ionq(caplog):
    with caplog.at_level(logging.INFO, logger="qstore_pl.backends"):
        backend = BackendManager().get_backend("ionq")
    assert backend == BackendManager().get_backend("ionq_simulator")
    assert backend.is_remote
    assert "a simulator that IonQ runs" in caplog.text
    assert not BackendManager().get_backend("mock").is_remote


def test_hardware_settings_that_a_run_would_ignore_are_refused():
    data = np.zeros((2, 1)), np.zeros((2, 1))

    def train(model, **options):
        QuantumTrainer(TrainingConfig(epochs=1, **options)).train(model, data)

    with pytest.raises(ValueError, match="quantum_target must be unset: cirq would"):
        train(QuantumModel(1, 1), quantum_sdk="cirq", quantum_target="aria-1")
    # The model has a backend that does not have the machine of the configuration.
    own = BackendManager().get_backend("ionq_qpu", machine="aria-2", api_key=CANARY)
    model = QuantumModel(1, 1, backend=own)
    with pytest.raises(ValueError, match="quantum_target must be unset: ionq_qpu"):
        train(model, quantum_target="aria-1", quantum_api_key=CANARY)
    assert model.backend is own
    # What is refused is not bound.
    unbound = QuantumModel(1, 1)
    with pytest.raises(ValueError, match="max_concurrent_circuits must be unset"):
        train(unbound, max_concurrent_circuits=2)
    assert unbound.backend is None
