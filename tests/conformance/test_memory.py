"""Shots of large registers take little more memory than the state."""

from __future__ import annotations

import sys
import textwrap

import pytest

from tests.processes import run

SCRIPT = """
    import sys

    import numpy as np
    import pennylane as qml

    from qstore_pl import compile


    def megabytes(name):
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith(name))
        return int(line.split()[1]) / 1024


    def run(n, returned, compiled):
        def circuit(w):
            for i in range(n):
                qml.RX(w[i], i)
            for i in range(n - 1):
                qml.CNOT([i, i + 1])
            for i in range(n):
                qml.RY(w[i], i)
            return returned()

        device = qml.device("qstore.mock_ideal", wires=n, seed=1)
        qnode = qml.QNode(circuit, device, shots=1000)
        (compile(qnode) if compiled else qnode)(np.linspace(0.1, 1.0, n))


    measured = {
        "counts": lambda n: lambda: qml.counts(),
        "words": lambda n: lambda: [qml.expval(qml.Z(i)) for i in range(n)],
    }[sys.argv[1]]
    compiled = sys.argv[2] == "compiled"
    run(4, measured(4), compiled)  # the kernels
    run(14, measured(14), compiled)  # more outcomes than are counted
    before = megabytes("VmRSS")
    run(21, measured(21), compiled)
    print(megabytes("VmHWM") - before)
"""
STATE = 16 * 2**21 / 2**20  # MB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("measured", "road"),
    [(what, road) for what in ("counts", "words") for road in ("QNode", "compiled")],
)
def test_shots_take_the_memory_of_three_states(measured, road):
    status, out, errors = run(textwrap.dedent(SCRIPT), measured, road)
    assert status == 0, errors
    # The offset is for what Python and numba allocate for themselves.
    assert float(out) < 2.7 * STATE + 8
