"""Shift rules of single gates: the gradient of the adjoint method, or a refusal.

Each gate stands between gates without symmetry. Its parameters are weights, features,
or polynomials of both.
"""

import itertools

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError
from pennylane.tape import QuantumScript

from qstore_pl import devices
from qstore_pl.devices import NoiseSpec, Shifts
from qstore_pl.devices.bound import bound_operations
from qstore_pl.devices.lanes import lanes_of
from qstore_pl.devices.shifts import measured_wires, turned
from tests.cases import GATES, TEMPLATES, VARIANTS, has_variant

NOISE = NoiseSpec(p1=0.02, p2=0.05, dephasing=0.03, readout=(0.03, 0.06))
DEVICES = {
    "ideal": ("qstore.mock_ideal", {}),
    "noisy": ("qstore.mock_noisy", {"noise": NOISE}),
    "readout": ("qstore.mock_noisy", {"noise": NoiseSpec(readout=(0.1, 0.2))}),
}
TABLE = GATES | TEMPLATES
# Their parameters are real and may be trained.
ROWS = [name for name, row in TABLE.items() if row.shapes and row.oracle]
SCALAR = [name for name in ROWS if TABLE[name].shapes[0] == ()]
WITH_VARIANTS = [
    (name, variant)
    for name in SCALAR
    for variant in VARIANTS
    if has_variant(TABLE[name], variant)
]
CONTROLLED = "controlled", "adjoint of controlled"
ANY = None, *VARIANTS
# Gates that have no rule, by device: of several numbers under a control, of which
# PennyLane knows no frequencies, or whose coefficient is no angle.
UNSHIFTED = {
    *itertools.product(("Rot", "CRot", "U2", "U3", "PSWAP"), CONTROLLED),
    *itertools.product(("Exp", "SpecialUnitary-1", "SpecialUnitary-2"), ANY),
}
# Noise follows their parts, which PennyLane finds only if it knows the parameter.
WHOLE = {
    *itertools.product(("CRX", "CRY", "CRZ", "ControlledPhaseShift"), CONTROLLED),
    *itertools.product(("FermionicSWAP", "Select"), CONTROLLED),
    *itertools.product(("DoubleExcitationMinus", "DoubleExcitationPlus"), ANY),
    *itertools.product(["PCPhase-3"], ANY),
    *itertools.product(("U2", "U3"), ["adjoint"]),
}
UNSHIFTED |= {
    *itertools.product(("Prod", "ChangeOpBasis"), ("adjoint", "square", *CONTROLLED)),
}
MAY_BE_REFUSED = {"ideal": UNSHIFTED, "readout": UNSHIFTED, "noisy": UNSHIFTED | WHOLE}


def refusable(name, variant, device):
    """Whether there may be a DeviceError, which must name the gate."""
    return (name, variant) in MAY_BE_REFUSED[device]


FORMS = ["weights", "features", "affine", "quadratic", "shared"]
BATCH = 2


def around(rng, wires):
    """Gates that leave no direction special."""
    angles = rng.uniform(-2, 2, 2 * len(wires))
    turns = [qml.RX(a, w) for a, w in zip(angles, wires, strict=False)]
    turns += [qml.RZ(a, w) for a, w in zip(angles[len(wires) :], wires, strict=True)]
    return [*turns, *[qml.CNOT(pair) for pair in itertools.pairwise(wires)]]


class Slots:
    """Parameters of a gate in one form, with weights and features of their own."""

    def __init__(self, form):
        self._form, self.n = form, 0

    def of(self, shape):
        size = int(np.prod(shape))
        w = devices.symbols("weights", self.n, shape)
        x = devices.symbols("features", self.n, shape)
        self.n += size
        if self._form == "weights":
            return w
        if self._form == "features":
            return x
        if self._form == "affine":
            return 0.7 * w - 1.3 * x + 0.2
        if self._form == "quadratic":
            return w * x + 0.5 * w * w - x
        first = devices.symbols("weights", 0, (1,))[0]  # which all parameters share
        return 0.5 * first * x + first


def circuit_of(op, form, rng, wires):
    """A tape with the operation, and what the parameters on it are."""
    slots = Slots(form)
    before, after = around(rng, wires), around(rng, wires)
    inputs = [None for gate in before for _ in gate.data]
    inputs += [slots.of(np.shape(value)) for value in op.data]
    inputs += [None for gate in after for _ in gate.data]
    measured = [qml.expval(qml.Z(w)) for w in wires[:2]]
    measured += [qml.expval(qml.X(wires[0])), qml.probs(wires=wires[-2:])]
    return QuantumScript([*before, op, *after], measured), inputs, slots.n


def agree(op, form, device, rng, wires):
    """Compare shifts with the adjoint method; returns the number of lanes."""
    tape, inputs, n = circuit_of(op, form, rng, wires)
    name, options = DEVICES[device]
    device = qml.device(name, wires=wires, **options)
    sizes = {"n_weights": n, "n_features": n}
    weights, features = rng.uniform(-2, 2, n), rng.uniform(-2, 2, (BATCH, n))
    lanes = lanes_of(
        tape,
        bound_operations(tape, inputs),
        device,
        **sizes,
        shots=False,
        shifted=True,
        inputs=True,
    )
    program = devices.compile(tape, inputs, device, **sizes)
    shifts = Shifts(lanes.uses, range(len(lanes.uses.uses)))
    values = lanes.shifted(shifts, weights, features, np.arange(BATCH))
    cotangents = rng.normal(size=values[0].shape)
    seen = shifts.gradient(values, cotangents, weights, features)
    wanted = program.vjp(weights, features, cotangents, inputs=True)
    np.testing.assert_allclose(values[0], program.run(weights, features), atol=1e-12)
    for one, other in zip(seen, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
    return shifts.n_lanes


def right_or_refused(op, form, case, rng, wires):
    """The law: a gradient is right, or refused where that is known."""
    name, variant, device = case
    refused = ""
    try:
        agree(op, form, device, rng, wires)
    except DeviceError as error:
        if not refusable(name, variant, device):
            raise
        refused = str(error)
    if refused:
        words = {op.name, TABLE[name].operation.__name__, "C(PhaseShift)"}
        words |= {f"C({part})" for part in ("RX", "RY", "RZ", "Rot", "U2", "U3")}
        assert any(word in refused for word in words)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "variant", "device"),
    [(name, None, device) for name in ROWS for device in DEVICES],
)
def test_the_gradient_of_a_gate(name, variant, device, form):
    rng = np.random.default_rng([ROWS.index(name), FORMS.index(form)])
    row = TABLE[name]
    wires = list(range(max(2, row.n_wires)))
    op = row.random(rng, rng.permutation(wires)[: row.n_wires].tolist())
    right_or_refused(op, form, (name, variant, device), rng, wires)


@pytest.mark.parametrize(
    ("name", "variant", "device"),
    [(*case, device) for case in WITH_VARIANTS for device in ("ideal", "noisy")],
)
def test_the_gradient_of_a_variant(name, variant, device):
    rng = np.random.default_rng([WITH_VARIANTS.index((name, variant)), 5])
    row = TABLE[name]
    n = row.n_wires + 1
    wires = rng.permutation(n).tolist()
    op = row.random(rng, wires[: row.n_wires])
    op = VARIANTS[variant](op, wires[row.n_wires :], rng)
    right_or_refused(op, "quadratic", (name, variant, device), rng, list(range(n)))


# ------------------------------------------------------- refusals, and what is free
def turned_pairs(operations, params, measured=(0,), *, inputs=False):
    tape = QuantumScript(operations, [qml.expval(qml.Z(w)) for w in measured])
    pairs = bound_operations(tape, params)
    return turned(pairs, measured_wires(tape), None, n_features=1, inputs=inputs)


def weight(index=0):
    return devices.symbols("weights", index, ())


def feature(index=0):
    return devices.symbols("features", index, ())


TWICE = qml.ctrl(qml.Rot(0.1, 0.2, 0.3, 0), [1, 2])


class Unknown(qml.operation.Operation):
    """A gate that is known by its matrix alone."""

    num_wires, num_params, ndim_params = 1, 1, (0,)

    @staticmethod
    def compute_matrix(angle):
        return qml.RX.compute_matrix(angle) @ qml.RZ.compute_matrix(angle**2)


@pytest.mark.parametrize(
    ("operations", "params", "words"),
    [
        ([TWICE], [weight(), None, None], "C(Rot)"),
        ([qml.exp(qml.X(0), -0.3j)], [weight()], "Exp"),
        ([Unknown(0.2, wires=0)], [weight()], "Unknown"),
        ([qml.QubitUnitary(np.eye(2), 0)], [devices.symbols("weights", 0, (2, 2))],
         "QubitUnitary"),
        ([qml.RX(0.1, 0), qml.Projector([1], 0)], [weight(), None], "for RX before"),
    ],
)  # fmt: skip
def test_gates_without_a_rule_are_refused_by_name(operations, params, words):
    with pytest.raises(DeviceError) as caught:
        turned_pairs(operations, params)
    assert words in str(caught.value)


def test_gates_of_features_without_a_rule_are_refused_only_if_features_are_wanted():
    operations = [TWICE, qml.RX(0.3, 0)]
    params = [feature(), None, None, weight()]
    _, uses = turned_pairs(operations, params)
    assert len(uses) == 1
    with pytest.raises(
        DeviceError, match=r"C\(Rot\) (has no shift rule|cannot be compiled)"
    ):
        turned_pairs(operations, params, inputs=True)


def test_constants_features_phases_and_gates_unseen_are_not_turned():
    """Nor are gates before which a measurement collapses nothing that is shifted."""
    operations = [
        qml.Projector([0], 1),
        qml.RX(0.1, 0),  # a constant
        qml.RY(0.1, 0),  # a feature alone
        qml.RZ(0.1, 0),  # both
        qml.GlobalPhase(0.3, 0),
        qml.CNOT([0, 1]),
        qml.RX(0.1, 1),  # no output is seen from here
        qml.RX(0.1, 2),
    ]
    both = weight(1) * feature()
    params = [None, None, feature(), both, weight(2), weight(3), weight(4)]
    found, uses = turned_pairs(operations, params)
    assert [use.angle.slots for use in uses] == [both.angle.slots]
    assert len(found) == len(operations)
    _, uses = turned_pairs(operations, params, inputs=True)
    assert len(uses) == 2
    _, uses = turned_pairs(operations, params, measured=(0, 1), inputs=True)
    assert len(uses) == 3


@pytest.mark.parametrize(
    ("op", "n_terms"),
    [
        (qml.RX(0.1, 0), 2),
        (qml.PhaseShift(0.1, 0), 2),
        (qml.CRX(0.1, [0, 1]), 4),
        (qml.SingleExcitation(0.1, [0, 1]), 4),
        (qml.IsingXX(0.1, [0, 1]), 2),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_rules_are_as_long_as_the_gate_asks_for(op, n_terms):
    _, (use,) = turned_pairs([op], [weight()])
    assert len(use.rule) == n_terms


def test_lanes_that_are_the_same_circuit_are_one():
    """CNOT-free rules: the value itself is lane 0, of which no rule has a copy."""
    _, uses = turned_pairs([qml.RX(0.1, 0), qml.CRX(0.1, [0, 1])], [weight(), weight()])
    n = sum(len(use.rule) for use in uses)
    tape = QuantumScript([qml.RX(0.1, 0), qml.CRX(0.1, [0, 1])], [qml.expval(qml.Z(0))])
    lanes = lanes_of(
        tape,
        bound_operations(tape, [weight(), weight()]),
        qml.device("qstore.mock_ideal", wires=2),
        n_weights=1,
        n_features=0,
        shots=False,
        shifted=True,
    )
    assert Shifts(lanes.uses, [0, 1]).n_lanes == 1 + n == 7
