"""The code of the README runs, block after block, as a reader would copy it."""

import re
import tomllib
from pathlib import Path

import numpy as np

from qstore_pl import cli

README = Path(__file__).parents[1] / "README.md"


def test_the_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)
    names = {"__name__": "readme"}
    for block in blocks:
        exec(block, names)
    assert names["gradient"].shape == (2, 4, 3)
    assert np.isfinite(names["gradient"]).all()
    history, accuracy = capsys.readouterr().out.splitlines()[:2]
    assert history.startswith("History(20 epochs")
    assert float(accuracy) > 0.8


def test_the_commands_that_it_names_exist():
    named = re.search(r"`qstore train`, (.*?)\]", README.read_text()).group(1)
    words = {"train", *re.findall(r"`(\w+)`", named)}
    commands = {command.__name__.rpartition(".")[2] for command in cli.COMMANDS}
    assert words | {"quickstart"} == commands


def test_the_extras_that_it_names_are_those_of_the_package():
    text = README.read_text()
    project = tomllib.loads(README.with_name("pyproject.toml").read_text())["project"]
    table = re.search(r"^\| name \| for \|\n.*?\n\n", text, re.M | re.S).group()
    rows = [row.split("|")[1] for row in table.strip().splitlines()[2:]]
    extras = re.findall(r"`([\w-]+)`", " ".join(rows))
    assert len(extras) == len(set(extras))
    assert set(extras) == set(project["optional-dependencies"])
    installed = re.findall(r'pip install -e "\.\[([a-z,]+)\]"', text)
    assert {"viz,lance", "test"} <= set(installed)
    assert {name for names in installed for name in names.split(",")} <= set(extras)
