"""History: rows and columns, JSON there and back, errors."""

import copy
import json
import math
import pickle

import numpy as np
import pytest

from qstore_pl.history import COLUMNS, History

ROWS = [
    {
        "epoch": 0,
        "loss": 0.1 + 0.2,
        "val_loss": 0.5,
        "accuracy": 0.75,
        "val_accuracy": 0.5,
        "gradient_norm": 1e-300,
        "learning_rate": 0.01,
        "circuits": 490,
        "shots": 1000,
        "time": 0.25,
    },
    {"epoch": 1, "loss": math.nan, "gradient_norm": math.inf, "circuits": 10**20},
    {"epoch": 2, "loss": np.float32(0.25), "shots": np.int64(7), "time": -math.inf},
]


def filled():
    history = History()
    for row in ROWS:
        history.append(row)
    return history


def test_rows_are_read_back_with_none_for_what_was_not_measured():
    history = filled()
    assert len(history) == 3
    assert history[0] == ROWS[0]
    assert history[-1] == dict.fromkeys(COLUMNS.values()) | ROWS[2]
    assert [row["epoch"] for row in history] == [0, 1, 2]


def test_every_column_has_one_entry_per_row():
    history = filled()
    assert history["losses"][::2] == [0.1 + 0.2, 0.25]
    assert math.isnan(history["losses"][1])
    assert history["val_losses"] == [0.5, None, None]
    assert history["shots"] == [1000, None, 7]
    assert set(COLUMNS) == {
        *("epochs", "losses", "val_losses", "accuracies", "val_accuracies", "times"),
        *("gradient_norms", "learning_rates", "circuits", "shots"),
    }
    for column, key in COLUMNS.items():
        assert len(history[column]) == 3
        assert history[column][0] == ROWS[0][key]


def test_numbers_are_plain_python_numbers():
    row = filled()[-1]
    assert type(row["loss"]) is float
    assert type(row["shots"]) is int


def test_what_is_handed_out_is_a_copy():
    history = filled()
    history[0]["loss"] = 9.0
    next(iter(history))["loss"] = 9.0
    history["losses"].clear()
    assert history == filled()


def test_json_is_strict_and_comes_back_bit_for_bit():
    history = filled()
    text = history.to_json()

    def refuse(token):
        raise AssertionError(token)

    parsed = json.loads(text, parse_constant=refuse)
    assert parsed["version"] == 1
    assert parsed["rows"][1]["loss"] == "nan"
    back = History.from_json(text)
    assert back == history
    assert back[0]["loss"] == 0.1 + 0.2
    assert back[1]["gradient_norm"] == math.inf
    assert back[2]["time"] == -math.inf
    assert back[1]["circuits"] == 10**20
    assert History.from_json(History().to_json()) == History()


def test_json_text_is_fixed():
    history = History()
    history.append({"epoch": 0, "loss": 0.5})
    assert history.to_json() == (
        '{"version": 1, "rows": [{"epoch": 0, "loss": 0.5, "val_loss": null, '
        '"accuracy": null, "val_accuracy": null, "gradient_norm": null, '
        '"learning_rate": null, "circuits": null, "shots": null, "time": null}]}'
    )


def test_equality_sees_every_number_and_takes_nan_for_nan():
    assert filled() == filled()
    assert filled() != History()
    other = filled()
    other.append({"epoch": 3, "loss": 0.0})
    assert filled() != other
    assert filled() != ROWS


def test_copies_and_pickles_are_equal_and_apart():
    history = filled()
    for twin in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert twin == history
        twin.append({"epoch": 3, "loss": 0.0})
        assert len(history) == 3


def test_repr_tells_epochs_last_and_best():
    assert repr(History()) == "History(0 epochs)"
    assert (
        repr(filled()) == "History(3 epochs, last loss 0.25, best loss 0.25 in epoch 2)"
    )
    history = History()
    history.append({"epoch": 0, "loss": math.nan})
    assert repr(history) == "History(1 epochs, last loss nan)"


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ({"epoch": 0, "loss": 1.0, "losss": 1}, ValueError, "epoch, loss, .*has losss"),
        ({"epoch": 0}, ValueError, "an epoch and a loss"),
        ({"loss": 1.0}, ValueError, "an epoch and a loss"),
        (
            {"epoch": 0.5, "loss": 1.0},
            TypeError,
            r"`row\['epoch'\]` must be an integer",
        ),
        ({"epoch": -1, "loss": 1.0}, ValueError, "must be >= 0"),
        (
            {"epoch": 0, "loss": "1.0"},
            TypeError,
            r"`row\['loss'\]` must be a real number",
        ),
        ({"epoch": 0, "loss": True}, TypeError, "must be a real number"),
        ({"epoch": 0, "loss": 1j}, TypeError, "must be a real number"),
        ({"epoch": 0, "loss": np.zeros(1)}, TypeError, "must be a real number"),
    ],
)
def test_rows_that_do_not_fit_are_refused(row, error, message):
    history = filled()
    with pytest.raises(error, match=message):
        history.append(row)
    assert history == filled()


def test_unknown_columns_and_rows_are_refused():
    with pytest.raises(
        KeyError, match="no column 'loss'; there are epochs, losses, val_"
    ):
        filled()["loss"]
    with pytest.raises(IndexError):
        filled()[3]


@pytest.mark.parametrize("text", ["{}", "[]", '{"version": 2, "rows": []}', "nonsense"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"version 1|Expecting value"):
        History.from_json(text)
