"""What holds for every template: checks, batches, frameworks, copies."""

import copy
import pickle

import jax
import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp

from qstore_pl.templates import (
    ENTANGLEMENTS,
    BasisEncoding,
    ConvolutionLayers,
    RotationEntanglerLayers,
    ZZFeatureMap,
)

# autograd's derivative of a cast from real to complex drops the zero imaginary part; a
# PhaseShift alone in default.qubit does the same.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Casting complex values to real:numpy.exceptions.ComplexWarning"
)

RNG = np.random.default_rng(7)
BATCH = 3


def _case(template, shape, bits=False, **options):
    batch = RNG.uniform(-3, 3, size=(BATCH, *shape))
    if bits:
        batch = RNG.integers(0, 2, size=(BATCH, *shape)).astype(float)
        batch[0], batch[1] = 1, 0
    words = [str(word) for word in options.values() if isinstance(word, str)]
    name = "-".join([template.__name__, "x".join(map(str, shape)), *words])
    return pytest.param(template, options, batch, id=name)


def _convolution(kernel, kernel_shape, *, size=2, wrap=False):
    return {
        "kernel_size": size,
        "stride": 1,
        "wrap": wrap,
        "kernel": kernel,
        "kernel_shape": kernel_shape,
    }


CASES = [
    *(
        _case(RotationEntanglerLayers, (2, n, 3), entanglement=word)
        for n in (1, 2, 3)
        for word in ENTANGLEMENTS
    ),
    *(
        _case(ZZFeatureMap, (n,), reps=reps, entanglement=word)
        for n, reps in ((1, 1), (3, 2))
        for word in ("full", "linear")
    ),
    _case(BasisEncoding, (1,), bits=True),
    _case(BasisEncoding, (3,), bits=True),
    _case(ConvolutionLayers, (2, 2, 3), **_convolution("rotation", (2, 3), wrap=True)),
    _case(ConvolutionLayers, (1, 15), **_convolution("su4", (15,))),
    _case(ConvolutionLayers, (1, 1, 3), **_convolution("rotation", (1, 3), size=1)),
]
EACH = pytest.mark.parametrize(("template", "options", "batch"), CASES)
WIDEST = pytest.mark.parametrize(
    ("template", "options", "batch"), [CASES[8], CASES[11], CASES[14], CASES[17]]
)
OF_ALL_WIRES = pytest.mark.parametrize(("template", "options", "batch"), CASES[:15])


def _wires(batch, template):
    if template is ConvolutionLayers:  # whose weights do not tell
        return range(3 if batch.shape[-2:] == (2, 3) else 2)
    return range(batch.shape[2 if template is RotationEntanglerLayers else 1])


def _state(template, options, wires):
    """A QNode in which the operation acts on a state that is no basis state."""

    @qml.qnode(qml.device("default.qubit"))
    def circuit(x):
        for k, wire in enumerate(wires):
            qml.RY(0.4 + k, wires=wire)
        template(x, wires=wires, **options)
        return qml.state()

    return circuit


@pytest.fixture(params=[False, True], ids=["stack", "graph"])
def graph(request):
    if request.param:
        qml.decomposition.enable_graph()
    yield request.param
    qml.decomposition.disable_graph()


@EACH
def test_pennylanes_own_checks(template, options, batch):
    wires = _wires(batch, template)
    qml.ops.functions.assert_valid(template(batch[0], wires=wires, **options))


@EACH
def test_pennylanes_own_checks_on_a_batch(template, options, batch):
    operation = template(batch, wires=_wires(batch, template), **options)
    assert operation.batch_size == BATCH
    # PennyLane's parameter shift cannot differentiate a broadcast parameter.
    qml.ops.functions.assert_valid(operation, skip_differentiation=True)
    with pytest.raises(NotImplementedError, match="gradient of broadcasted tapes"):
        qml.ops.functions.assert_valid(operation)


@EACH
def test_a_batch_is_its_samples(template, options, batch, graph):
    circuit = _state(template, options, _wires(batch, template))
    one_by_one = np.stack([circuit(sample) for sample in batch])
    assert np.abs(one_by_one - one_by_one[0]).max() > 1e-3  # the samples differ
    np.testing.assert_allclose(circuit(batch), one_by_one, atol=1e-14)


@EACH
def test_graph_and_stack_decompositions_agree(template, options, batch):
    circuit = _state(template, options, _wires(batch, template))
    stack = circuit(batch)
    qml.decomposition.enable_graph()
    try:
        np.testing.assert_allclose(circuit(batch), stack, atol=1e-14)
    finally:
        qml.decomposition.disable_graph()


@WIDEST
def test_decomposes_to_a_gate_set(template, options, batch, graph):
    gates = {"RX", "RY", "RZ", "CNOT", "GlobalPhase"}
    wires = _wires(batch, template)
    tape = qml.tape.QuantumScript([template(batch[0], wires=wires, **options)])
    (expanded,), _ = qml.transforms.decompose(tape, gate_set=gates)
    assert {gate.name for gate in expanded.operations} <= gates
    np.testing.assert_allclose(
        qml.matrix(expanded, wire_order=wires),
        qml.matrix(tape, wire_order=wires),
        atol=1e-13,
    )


@WIDEST
def test_adjoint_and_control(template, options, batch, graph):
    wires = _wires(batch, template)
    operation = template(batch[0], wires=wires, **options)
    unitary = qml.matrix(operation, wire_order=wires)
    size = len(unitary)

    def inverse():
        qml.adjoint(template)(batch[0], wires=wires, **options)

    def controlled():
        qml.ctrl(template, control="c")(batch[0], wires=wires, **options)

    np.testing.assert_allclose(
        qml.matrix(inverse, wire_order=wires)() @ unitary, np.eye(size), atol=1e-13
    )
    expected = np.eye(2 * size, dtype=complex)
    expected[size:, size:] = unitary
    np.testing.assert_allclose(
        qml.matrix(controlled, wire_order=["c", *wires])(), expected, atol=1e-13
    )


@WIDEST
@pytest.mark.parametrize("rows", [0, slice(None)], ids=["sample", "batch"])
def test_every_framework_gives_the_same_state(template, options, batch, rows):
    circuit = _state(template, options, _wires(batch, template))
    x = batch[rows]
    expected = circuit(x)
    np.testing.assert_allclose(circuit(pnp.array(x)), expected, atol=1e-14)
    np.testing.assert_allclose(circuit(torch.tensor(x)).numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(circuit(x.tolist()), expected, atol=1e-14)
    with jax.experimental.enable_x64():
        np.testing.assert_allclose(circuit(jax.numpy.array(x)), expected, atol=1e-14)
        jitted = jax.jit(circuit)(jax.numpy.array(x))
    np.testing.assert_allclose(jitted, expected, atol=1e-14)


@WIDEST
def test_every_framework_gives_the_finite_difference_gradient(template, options, batch):
    wires = _wires(batch, template)
    # Between bits there is no basis state: their derivative is that of the gates.
    x = batch[0]

    @qml.qnode(qml.device("default.qubit"))
    def circuit(x):
        qml.RY(0.3, wires=wires[0])
        template(x, wires=wires, **options)
        return qml.expval(qml.X(wires[0]) @ qml.Z(wires[-1]))

    def gates_only(x):
        """The circuit, free of the checks of the constructor."""
        decomposed = template.compute_decomposition(
            x, wires, **template(batch[0], wires=wires, **options).hyperparameters
        )
        tape = qml.tape.QuantumScript(
            [qml.RY(0.3, wires=wires[0]), *decomposed],
            [qml.expval(qml.X(wires[0]) @ qml.Z(wires[-1]))],
        )
        return qml.execute([tape], qml.device("default.qubit"))[0]

    step = 1e-5
    expected = np.empty_like(x)
    for where in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[where] = step
        expected[where] = (gates_only(x + shift) - gates_only(x - shift)) / (2 * step)

    np.testing.assert_allclose(qml.grad(circuit)(pnp.array(x)), expected, atol=1e-8)
    tensor = torch.tensor(x, requires_grad=True)
    circuit(tensor).backward()
    np.testing.assert_allclose(tensor.grad.numpy(), expected, atol=1e-8)
    with jax.experimental.enable_x64():
        jitted = jax.jit(jax.grad(circuit))(jax.numpy.array(x))
    np.testing.assert_allclose(jitted, expected, atol=1e-8)


@EACH
def test_copies_and_pickles(template, options, batch):
    wires = _wires(batch, template)
    operation = template(batch, wires=wires, **options)
    for twin in (
        copy.copy(operation),
        copy.deepcopy(operation),
        pickle.loads(pickle.dumps(operation)),
        type(operation)._unflatten(*operation._flatten()),
    ):
        assert twin is not operation
        qml.assert_equal(twin, operation)
        assert twin.batch_size == BATCH
        assert twin.hyperparameters == operation.hyperparameters == options


@WIDEST
def test_is_drawn_whole_and_expanded(template, options, batch):
    circuit = _state(template, options, _wires(batch, template))
    whole = qml.draw(circuit, show_matrices=False)(batch[0])
    assert template.__name__ in whole
    expanded = qml.draw(circuit, level="device", show_matrices=False)(batch[0])
    assert template.__name__ not in expanded
    assert "R" in expanded


@WIDEST
def test_specs_count_the_gates(template, options, batch, graph):
    wires = _wires(batch, template)
    circuit = _state(template, options, wires)
    whole = qml.specs(circuit)(batch[0]).resources
    assert whole.gate_types == {"RY": len(wires), template.__name__: 1}
    expanded = qml.specs(circuit, level="device")(batch[0]).resources
    operation = template(batch[0], wires=wires, **options)
    assert expanded.num_gates == len(wires) + len(operation.decomposition())


@WIDEST
def test_wires_may_have_any_name(template, options, batch):
    numbers = _wires(batch, template)
    names = ["a", 7, "c", -1][: len(numbers)]
    named = template(batch[0], wires=names, **options)
    np.testing.assert_array_equal(
        qml.matrix(named, wire_order=names),
        qml.matrix(template(batch[0], wires=numbers, **options), wire_order=numbers),
    )


@OF_ALL_WIRES
def test_shapes_that_do_not_fit_are_refused(template, options, batch):
    n = len(_wires(batch, template))
    name = {
        RotationEntanglerLayers: "weights",
        ZZFeatureMap: "features",
        BasisEncoding: "bits",
    }[template]
    needed = rf"Argument `{name}` must have shape \(.*{n}.*\(batch, .*{n}"
    wrong = [batch[None], batch[..., :0], np.array(1.0), 1.0]
    for x in wrong:
        with pytest.raises(ValueError, match=needed):
            template(x, wires=range(n), **options)
    with pytest.raises(ValueError, match=rf"\(.*{n + 1}.*but has shape \({BATCH}, "):
        template(batch, wires=range(n + 1), **options)
    with pytest.raises(
        ValueError, match="Argument `wires` must name at least one wire"
    ):
        template(batch, wires=[], **options)
