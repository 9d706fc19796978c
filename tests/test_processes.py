"""Forked processes are like those that a command starts."""

import os
import signal

from tests.processes import Forked, run

PROGRAM = """
import os, sys, warnings
print(sys.argv[1], os.getcwd(), os.environ["NAME"], sys.stdin.readline().strip())
try:
    warnings.warn("a warning")
except UserWarning as error:
    print(error, file=sys.stderr)
sys.exit(3)
"""
LOOK = """
import sys
from qstore_pl.engine import statevector, updates
assert "pennylane" in sys.modules
print(statevector.forward_core._compiled, updates.adam._compiled)
"""


def test_streams_arguments_and_status(tmp_path):
    environment = os.environ | {"NAME": "value"}
    with Forked(PROGRAM, 7, cwd=tmp_path, env=environment) as process:
        process.stdin.write("a line\n")
        out, errors = process.communicate()
    assert out == f"7 {tmp_path} value a line\n"
    assert errors == "a warning\n"
    assert process.returncode == 3


def test_it_has_run_nothing_before():
    assert run(LOOK) == (0, "None None\n", "")


def test_an_error_is_told_and_a_signal_ends_it():
    status, out, errors = run("1 / 0")
    assert (status, out) == (1, "")
    assert errors.endswith("ZeroDivisionError: division by zero\n")
    with Forked("import time; print(1, flush=True); time.sleep(60)") as process:
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
