"""Kernels compile where the package cannot be written, and once for many processes."""

from __future__ import annotations

import collections
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qstore_pl
from tests.processes import Forked

# Kernels of optimizers are compiled and kept as all others are, which take longer.
STEPS = """
import logging
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
import numpy as np
import qstore_pl
from qstore_pl.optimizers import get_optimizer
print(qstore_pl.__file__)
parameters = np.ones(3)
for name in ("adam", "sgd", "rmsprop"):
    get_optimizer(name, 0.1).step(parameters, np.ones(3))
    print(parameters.tolist())
"""
COMPILED = re.compile(r"qstore_pl compiled (\w+) once, kept in (.+)")


def variables(**environment: str) -> dict[str, str]:
    """An environment that names no place to write but those given."""
    places = ("HOME", "XDG_CACHE_HOME", "QSTORE_CACHE_DIR", "NUMBA_CACHE_DIR")
    kept = {k: v for k, v in os.environ.items() if k not in places}
    return kept | environment


def finish(process: Forked) -> tuple[str, list[str]]:
    """What it prints, and the kernels it compiled."""
    out, log = process.communicate(timeout=200)
    assert process.returncode == 0, log
    return out, [name for name, _ in COMPILED.findall(log)]


@pytest.mark.timeout(240)
def test_a_read_only_installation_compiles_elsewhere(tmp_path):
    source = Path(qstore_pl.__file__).parent
    site, temporary = tmp_path / "site", tmp_path / "temporary"
    installed = shutil.copytree(
        source, site / "qstore_pl", ignore=shutil.ignore_patterns("__pycache__")
    )
    temporary.mkdir()
    for path in [*installed.rglob("*"), installed, site]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = sorted(installed.rglob("*"))
    try:
        # Permissions do not bind the superuser; this home cannot be written by anyone.
        done = subprocess.run(
            [sys.executable, "-c", STEPS],
            cwd=tmp_path,
            env=variables(
                HOME="/proc/nonexistent",
                TMPDIR=str(temporary),
                PYTHONPATH=str(site),
                PYTHONDONTWRITEBYTECODE="1",
            ),
            capture_output=True,
            text=True,
            timeout=200,
        )
        after = sorted(installed.rglob("*"))
    finally:
        for path in [site, installed, *installed.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)
    assert done.returncode == 0, done.stderr
    place, stepped, *_ = done.stdout.splitlines()
    compiled = COMPILED.findall(done.stderr)
    assert Path(place).parent == installed
    np.testing.assert_allclose(json.loads(stepped), 0.9, atol=1e-7)
    assert after == before
    assert compiled
    assert all(Path(kept).is_relative_to(temporary) for _, kept in compiled)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_processes_starting_together_compile_each_kernel_once(tmp_path):
    environment = variables(QSTORE_CACHE_DIR=str(tmp_path / "cache"))
    with (
        Forked(STEPS, env=environment) as one,
        Forked(STEPS, env=environment) as other,
    ):
        (out, compiled), (same, compiled_too) = finish(one), finish(other)
    counts = collections.Counter(compiled + compiled_too)
    assert len(counts) == 3
    assert set(counts.values()) == {1}
    assert out == same
    with Forked(STEPS, env=environment) as late:
        assert finish(late) == (out, [])
