"""The tables of the documentation have what the package has."""

import importlib.util
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from qstore_pl import TrainingConfig, config
from qstore_pl.devices.presets import PRESETS
from qstore_pl.gradients import OPTIONS
from qstore_pl.losses import LOSSES
from qstore_pl.optimizers import OPTIMIZERS

PATH = Path(__file__).parents[1] / "docs" / "tables.py"
pytestmark = pytest.mark.skipif(not PATH.exists(), reason="no docs beside the tests")


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("tables", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_field_has_a_row_with_its_default_and_meaning(tables):
    rows = tables.training_fields()
    assert [name.strip("`") for name, *_ in rows] == list(config.DEFAULTS)
    found = {name.strip("`"): rest for name, *rest in rows}
    assert found["epochs"][:3] == ["`int`", "`10`", "≥ 1"]
    assert found["learning_rate"][:3] == ["`float`", "`0.01`", "> 0"]
    assert found["momentum"][:3] == ["`float`", "unset", "≥ 0, < 1"]
    assert found["shuffle"][:3] == ["`bool`", "`True`", "`True`, `False`"]
    assert found["on_nan"][1:3] == ["`'raise'`", '`"raise"`, `"skip"`, `"rollback"`']
    assert found["batch_size"][3] == "Samples per gradient, >= 1."
    for name, (*_, meaning) in found.items():
        assert meaning.endswith("."), name
        assert not re.search(r":\w+:`|``$", meaning), name


def test_a_field_that_is_added_has_a_row(tables, monkeypatch):
    class More(TrainingConfig):
        __doc__ = inspect.getdoc(TrainingConfig).replace(
            "Args:\n", "Args:\n    added: Only here,\n        for a test.\n"
        )
        __annotations__ = inspect.get_annotations(TrainingConfig) | {
            "added": "int | None"
        }

    monkeypatch.setattr(tables, "TrainingConfig", More)
    monkeypatch.setitem(config.DEFAULTS, "added", 3)
    monkeypatch.setitem(config._INTEGERS, "added", 2)
    assert tables.training_fields()[-1] == (
        *("`added`", "`int`", "`3`", "≥ 2", "Only here, for a test."),
    )


@pytest.mark.parametrize(
    ("rows", "names"),
    [("optimizers", OPTIMIZERS), ("losses", LOSSES), ("gradient_methods", OPTIONS)],
)
def test_every_name_has_a_row(tables, rows, names):
    found = getattr(tables, rows)()
    assert [row[0] for row in found] == [f'`"{name}"`' for name in names]
    assert all(all(row) for row in found)


def test_the_targets_of_losses_are_those_they_take(tables):
    found = {name.strip('`"'): rest for name, *rest in tables.losses()}
    assert found["mse"][0].startswith("numbers")
    assert found["cross_entropy"] == ["none", "labels 0, 1, ..., one-hot rows"]
    assert found["binary"][1] == "none"
    assert "-1 and 1" in found["hinge"][0]
    for name, loss in LOSSES.items():
        with pytest.raises(ValueError, match=r"."):
            loss.prepare_targets(np.zeros((3, 7, 2)), 7, 3)
        assert name in found


def test_other_names_are_listed(tables):
    found = dict(tables.words())
    assert found["noise preset"] == ", ".join(f'`"{name}"`' for name in PRESETS)
    assert all('`"' in names for names in found.values())


def test_bars_do_not_end_a_cell(tables):
    assert tables.markdown(["a"], [["x | y"]]) == "| a |\n| --- |\n| x \\| y |"
