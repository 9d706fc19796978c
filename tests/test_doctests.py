"""The examples in the docstrings of every module of the package are run."""

import doctest
import importlib
import pkgutil

import numpy as np
import pennylane as qml
import pytest

import qstore_pl

MODULES = [
    "qstore_pl",
    *(m.name for m in pkgutil.walk_packages(qstore_pl.__path__, "qstore_pl.")),
]


def examples(name):
    """The doctests of a module that hold at least one example."""
    found = doctest.DocTestFinder(exclude_empty=True).find(
        importlib.import_module(name), extraglobs={"np": np, "qml": qml}
    )
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report = []
    for test in examples(name):
        runner.run(test, out=report.append)
    assert not runner.summarize(verbose=False).failed, "".join(report)
