"""Circuits of 12 wires and more on the device, against lightning.qubit.

A small sample of ``tests/benchmarks/large_agreement.py``, which runs sixty circuits.
"""

import pytest

from qstore_pl.engine.large import LARGE
from tests.benchmarks.large_agreement import TOLERANCE, difference, recipes

RECIPES = list(recipes(6, range(LARGE, LARGE + 2)))


@pytest.mark.parametrize("number", [0, 1, 3])
def test_values_and_gradients_are_those_of_lightning(number):
    assert difference(RECIPES[number]) < TOLERANCE
