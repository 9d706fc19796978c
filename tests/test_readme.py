"""The code of the README runs, block after block, as a reader would copy it."""

import re
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"


def test_the_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # one of them writes checkpoints
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)
    names = {"__name__": "readme"}
    for block in blocks:
        exec(block, names)
    assert names["gradient"].shape == (2, 4, 3)
    assert np.isfinite(names["gradient"]).all()
    assert names["noisy"].name == "qstore.mock_noisy"
    nearest = names["nearest"]
    assert [one.metadata for one in nearest] == [{"label": 1.0}] * 3
    assert nearest[0].fidelity > nearest[2].fidelity > 0.3
    history, accuracy = capsys.readouterr().out.splitlines()[:2]
    assert history.startswith("History(20 epochs")
    assert float(accuracy) > 0.8
