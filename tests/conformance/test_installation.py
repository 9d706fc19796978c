"""Kernels compile where the package cannot be written, and once for many processes."""

from __future__ import annotations

import collections
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qstore_pl

PROGRAM = """
import logging
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
import numpy as np
import pennylane as qml
from pennylane import numpy as pnp
import qstore_pl

@qml.qnode(qml.device("qstore.mock_ideal", wires=2))
def circuit(x, w):
    qml.AngleEmbedding(x, [0, 1])
    qml.BasicEntanglerLayers(w, [0, 1])
    return qml.expval(qml.Z(0))

x, w = pnp.ones((3, 2), requires_grad=False), pnp.ones((1, 2))
gradient = qml.grad(lambda w: pnp.sum(circuit(x, w)))(w)
print(qstore_pl.__file__)
print(gradient.tolist())
"""
COMPILED = re.compile(r"qstore_pl compiled (\w+) once, kept in (.+)")


def start(place: Path, **environment: str) -> subprocess.Popen[str]:
    """Run `PROGRAM` with no variable that names a place to write but those given."""
    places = ("HOME", "XDG_CACHE_HOME", "QSTORE_CACHE_DIR", "NUMBA_CACHE_DIR")
    kept = {k: v for k, v in os.environ.items() if k not in places}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=place,
        env=kept | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Lines printed, and the kernels compiled with the directory they are kept in."""
    out, log = process.communicate(timeout=200)
    assert process.returncode == 0, log
    return out.splitlines(), COMPILED.findall(log)


@pytest.mark.slow
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
        run = start(
            tmp_path,
            HOME="/proc/nonexistent",
            TMPDIR=str(temporary),
            PYTHONPATH=str(site),
            PYTHONDONTWRITEBYTECODE="1",
        )
        (place, _), compiled = finish(run)
        after = sorted(installed.rglob("*"))
    finally:
        for path in [site, installed, *installed.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)
    assert Path(place).parent == installed
    assert after == before
    assert compiled
    assert all(Path(kept).is_relative_to(temporary) for _, kept in compiled)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_processes_starting_together_compile_each_kernel_once(tmp_path):
    cache = tmp_path / "cache"
    runs = [start(tmp_path, QSTORE_CACHE_DIR=str(cache)) for _ in range(2)]
    outputs, compiled = zip(*map(finish, runs), strict=True)
    counts = collections.Counter(name for run in compiled for name, _ in run)
    assert counts
    assert set(counts.values()) == {1}
    assert len({gradient for _, gradient in outputs}) == 1
    assert finish(start(tmp_path, QSTORE_CACHE_DIR=str(cache)))[1] == []
