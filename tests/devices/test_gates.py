"""Each gate of the table on the device against default.qubit, to 1e-10.

A random product state on the gate's wires and two more, in shuffled order, then the
gate, then the state or the expectation of a random Pauli sum and its gradient.
"""

import warnings
import zlib

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp

from tests.cases import (
    GATES,
    PREPARATIONS,
    TEMPLATES,
    UNSUPPORTED,
    VARIANTS,
    gate_classes,
    has_variant,
    pauli_word,
)

DEVICE = "qstore.mock_ideal"
ALL = GATES | TEMPLATES
N_SPARE = 2


class Circuit:
    """One gate after a product state; everything random follows from its name."""

    def __init__(self, name, variant=None, *, prepares=False):
        self.gate = (PREPARATIONS if prepares else ALL)[name]
        self.variant = variant
        self.prepares = prepares
        self.seed = zlib.crc32(f"{name} {variant}".encode())
        rng = np.random.default_rng(self.seed)
        self.n_wires = self.gate.n_wires + N_SPARE
        order = [int(w) for w in rng.permutation(self.n_wires)]
        self.wires, self.spare = order[:-N_SPARE], order[-N_SPARE:]
        self.product = rng.uniform(-np.pi, np.pi, size=(self.n_wires, 2))
        scales = rng.uniform(0.5, 1.5, size=10).tolist()
        words = [pauli_word(rng, range(self.n_wires)) for _ in scales]
        self.observable = qml.sum(*map(qml.s_prod, scales, words))
        self.matrix = qml.matrix(self.observable, wire_order=range(self.n_wires))

    def parameters(self, batch=None):
        """Values to call a QNode with; those no one differentiates say so."""
        values = self.gate.parameters(np.random.default_rng(self.seed + 1), batch)
        trainable = self.gate.oracle == "autograd"
        return [pnp.array(v, requires_grad=trainable) for v in values]

    def apply(self, parameters):
        if not self.prepares:
            for wire, (theta, phi) in enumerate(self.product):
                qml.RY(theta, wire)
                qml.RZ(phi, wire)
        rng = np.random.default_rng(self.seed + 2)
        op = self.gate.build(parameters, self.wires, rng)
        if self.variant is not None:
            VARIANTS[self.variant](op, self.spare, rng)
        if self.prepares:
            for wire, (theta, phi) in enumerate(self.product):
                qml.Rot(theta, phi, theta, wire)

    def state(self, device, parameters):
        @qml.qnode(qml.device(device, wires=self.n_wires))
        def circuit():
            self.apply(parameters)
            return qml.state()

        return circuit()

    def expectation(self):
        """The QNode of a random Pauli sum."""

        @qml.qnode(qml.device(DEVICE, wires=self.n_wires))
        def circuit(*parameters):
            self.apply(parameters)
            return qml.expval(self.observable)

        return circuit

    def reference(self):
        """The same on default.qubit, with the sum as a dense matrix."""
        device = qml.device("default.qubit", wires=self.n_wires)

        @qml.qnode(device, diff_method="backprop")
        def circuit(*parameters):
            self.apply(parameters)
            return qml.expval(qml.Hermitian(self.matrix, range(self.n_wires)))

        return circuit

    def mean(self, state):
        return np.real(np.vdot(state, self.matrix @ state))


def gradients(qnode, parameters, interface="autograd"):
    """Gradient of the sum over the batch with respect to each parameter."""
    if interface == "torch":
        tensors = [torch.tensor(p, requires_grad=True) for p in parameters]
        qnode(*tensors).sum().backward()
        return [t.grad.numpy() for t in tensors]
    argnums = list(range(len(parameters)))
    return qml.grad(lambda *p: qml.math.sum(qnode(*p)), argnums=argnums)(*parameters)


def reference_gradients(circuit, parameters):
    qnode = circuit.reference()
    with warnings.catch_warnings():
        # Autograd's own: the cotangent of a real angle inside a complex matrix.
        warnings.filterwarnings("ignore", "Casting complex values to real")
        return gradients(qnode, parameters, circuit.gate.oracle)


def assert_same(got, expected):
    assert np.shape(got) == np.shape(expected)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


def assert_same_values(circuit, parameters):
    state = circuit.state("default.qubit", parameters)
    assert_same(circuit.state(DEVICE, parameters), state)
    assert_same(circuit.expectation()(*parameters), circuit.mean(state))


def assert_same_batch(circuit, batch):
    """Compare a batch with default.qubit run on one sample after the other."""
    parameters = circuit.parameters(batch)
    samples = list(zip(*parameters, strict=True))
    states = [circuit.state("default.qubit", sample) for sample in samples]
    assert_same(circuit.state(DEVICE, parameters), states)
    means = [circuit.mean(state) for state in states]
    assert_same(circuit.expectation()(*parameters), means)


def assert_same_gradients(circuit, parameters, interface=None):
    expected = reference_gradients(circuit, parameters)
    interface = interface or circuit.gate.oracle
    got = gradients(circuit.expectation(), parameters, interface)
    assert len(got) == len(expected) == len(parameters)
    for one, other in zip(got, expected, strict=True):
        assert_same(one, other)
    return expected


def differentiable(table):
    return [name for name, gate in table.items() if gate.shapes and gate.oracle]


def batched(table):
    return [name for name, gate in table.items() if gate.shapes and gate.batches]


def in_batches(names):
    return [n for n in names if ALL[n].batches and ALL[n].batch_gradients]


def with_variants(names):
    return [
        pytest.param(name, variant, id=f"{name}-{variant.replace(' ', '_')}")
        for name in names
        for variant in VARIANTS
        if has_variant(ALL[name], variant)
    ]


def with_two_variants(names):
    """Each gate in two variants, each variant of many gates."""
    pairs = []
    for i, name in enumerate(names):
        all_of_it = with_variants([name])
        pairs += [all_of_it[(i + k) % len(all_of_it)] for k in range(2)]
    return pairs


def test_every_gate_of_pennylane_has_a_row_or_a_reason():
    rows = {gate.operation for gate in (GATES | PREPARATIONS).values()}
    missing = {cls.__name__ for cls in gate_classes() - rows}
    assert missing == set(UNSUPPORTED)
    assert len(UNSUPPORTED) <= 10
    assert all(UNSUPPORTED.values())


def test_the_enumeration_finds_the_gates_everyone_knows():
    names = {cls.__name__ for cls in gate_classes()}
    assert {"PauliX", "RX", "Rot", "CNOT", "Toffoli", "QubitUnitary"} <= names
    assert names.isdisjoint({"Displacement", "TRX", "BitFlip", "Hermitian", "Barrier"})


def test_a_mixed_state_is_refused_by_name():
    @qml.qnode(qml.device(DEVICE, wires=1))
    def circuit():
        qml.QubitDensityMatrix(np.eye(2) / 2, wires=0)
        return qml.expval(qml.Z(0))

    with pytest.raises(qml.exceptions.DeviceError, match="QubitDensityMatrix"):
        circuit()


def test_a_batch_of_exponentials_is_refused_with_the_way_out():
    @qml.qnode(qml.device(DEVICE, wires=1))
    def circuit(t):
        qml.exp(qml.X(0), -0.5j * t)
        return qml.expval(qml.Z(0))

    with pytest.raises(qml.exceptions.DeviceError, match=r"qml\.PauliRot"):
        circuit(np.array([0.1, 0.2]))


@pytest.mark.parametrize("name", ALL)
def test_values(name):
    circuit = Circuit(name)
    assert_same_values(circuit, circuit.parameters())


@pytest.mark.parametrize("name", batched(ALL))
@pytest.mark.parametrize("batch", [1, 3])
def test_values_of_a_batch(name, batch):
    assert_same_batch(Circuit(name), batch)


@pytest.mark.parametrize("name", differentiable(ALL))
def test_gradients(name):
    circuit = Circuit(name)
    expected = assert_same_gradients(circuit, circuit.parameters())
    steepest = max(np.abs(g).max() for g in expected)
    # A global phase is not seen; anything else must be, or nothing was compared.
    assert (steepest > 1e-6) == (circuit.gate.operation is not qml.GlobalPhase)


@pytest.mark.parametrize("name", [n for n in differentiable(ALL) if ALL[n].in_torch])
def test_gradients_in_torch(name):
    circuit = Circuit(name)
    assert_same_gradients(circuit, circuit.parameters(), "torch")


@pytest.mark.parametrize("name", in_batches(differentiable(ALL)))
def test_gradients_of_a_batch(name):
    circuit = Circuit(name)
    assert_same_gradients(circuit, circuit.parameters(3))


@pytest.mark.parametrize(
    "name", [n for n in differentiable(ALL) if len(ALL[n].shapes) > 1]
)
def test_gradients_when_only_the_first_parameter_is_a_batch(name):
    circuit = Circuit(name)
    _, *others = circuit.parameters()
    batch = circuit.parameters(3)[0]
    assert_same_gradients(circuit, [batch, *others])


@pytest.mark.parametrize(("name", "variant"), with_variants(ALL))
def test_values_of_variants(name, variant):
    circuit = Circuit(name, variant)
    assert_same_values(circuit, circuit.parameters())


@pytest.mark.parametrize(("name", "variant"), with_variants(differentiable(ALL)))
def test_gradients_of_variants(name, variant):
    circuit = Circuit(name, variant)
    assert_same_gradients(circuit, circuit.parameters())


@pytest.mark.parametrize(
    ("name", "variant"), with_two_variants(in_batches(differentiable(ALL)))
)
def test_gradients_of_a_batch_of_variants(name, variant):
    circuit = Circuit(name, variant)
    assert_same_gradients(circuit, circuit.parameters(3))


@pytest.mark.parametrize("name", PREPARATIONS)
def test_values_of_preparations(name):
    circuit = Circuit(name, prepares=True)
    assert_same_values(circuit, circuit.parameters())


@pytest.mark.parametrize("name", batched(PREPARATIONS))
def test_values_of_a_batch_of_preparations(name):
    assert_same_batch(Circuit(name, prepares=True), 3)


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("name", differentiable(PREPARATIONS))
def test_gradients_of_preparations(name, batch):
    circuit = Circuit(name, prepares=True)
    expected = assert_same_gradients(circuit, circuit.parameters(batch))
    assert max(np.abs(g).max() for g in expected) > 1e-6
