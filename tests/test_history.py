"""History: rows and columns, JSON there and back, other forms, errors."""

import copy
import csv
import io
import json
import math
import pickle
import sys
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

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
    {"epoch": 1, "loss": math.nan, "gradient_norm": math.inf, "circuits": 10**18},
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
        assert str(history[key]) == str(history[column])


def test_the_names_of_columns_and_keys_are_listed_in_an_error():
    with pytest.raises(
        KeyError, match=r"losses or loss, val_losses or val_loss, .*mae"
    ):
        History(["mae"])["lost"]


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
    assert back[1]["circuits"] == 10**18
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
        KeyError, match="no column 'lost'; there are epochs or epoch, losses or"
    ):
        filled()["lost"]
    with pytest.raises(IndexError):
        filled()[3]


@pytest.mark.parametrize("text", ["{}", "[]", '{"version": 2, "rows": []}', "nonsense"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"version 1|Expecting value"):
        History.from_json(text)


# --- metrics --------------------------------------------------------------------


def measured():
    history = History(["mae", "f1"])
    history.append({"epoch": 0, "loss": 0.5, "mae": 0.25, "val_f1": np.float32(0.5)})
    history.append({"epoch": 1, "loss": 0.25, "f1": math.nan, "val_mae": 1})
    return history


def test_metrics_have_columns_of_their_names():
    history = measured()
    assert history["mae"] == [0.25, None]
    assert history["val_mae"] == [None, 1.0]
    assert history["val_f1"] == [0.5, None]
    assert math.isnan(history["f1"][1])
    assert list(history[0])[-4:] == ["mae", "val_mae", "f1", "val_f1"]
    assert list(history[0])[:-4] == list(COLUMNS.values())
    with pytest.raises(KeyError, match="times or time, mae, val_mae, f1, val_f1"):
        history["r2"]
    with pytest.raises(ValueError, match="time, mae, val_mae, f1, val_f1, but has r2"):
        history.append({"epoch": 2, "loss": 0.0, "r2": 1.0})
    with pytest.raises(TypeError, match=r"`row\['mae'\]` must be a real number"):
        history.append({"epoch": 2, "loss": 0.0, "mae": "0"})


def test_metrics_come_back_from_json():
    history = measured()
    text = history.to_json()
    assert json.loads(text)["metrics"] == ["mae", "f1"]
    back = History.from_json(text)
    assert back == history
    assert back["val_mae"] == [None, 1.0]
    back.append({"epoch": 2, "loss": 0.0, "f1": 1.0})
    for twin in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert twin == history
        assert twin["mae"] == history["mae"]
    assert "metrics" not in json.loads(filled().to_json())
    assert History(["mae"]) != History()


@pytest.mark.parametrize("name", ["loss", "losses", "epoch", "times", "accuracy"])
def test_metrics_with_a_name_that_is_taken_are_refused(name):
    with pytest.raises(ValueError, match=f"names of its own, but '{name}' is a column"):
        History(["mae", name])


@pytest.mark.parametrize("names", [["a", "a"], ["a", "val_a"], ["val_a", "a"]])
def test_metrics_that_would_share_a_column_are_refused(names):
    with pytest.raises(ValueError, match="names of its own"):
        History(names)


# --- other forms ----------------------------------------------------------------


@pytest.mark.parametrize("make", [filled, measured, History])
def test_csv_has_every_number(make, tmp_path):
    history, path = make(), tmp_path / "history.csv"
    path.write_text("before")
    history.to_csv(path)
    with path.open(newline="", encoding="utf-8") as file:
        names, *lines = list(csv.reader(file))
    assert names == list(history[0] if len(history) else filled()[0])
    assert len(lines) == len(history)
    for line, row in zip(lines, history, strict=True):
        for text, value in zip(line, row.values(), strict=True):
            assert text == ("" if value is None else repr(value))


class Frame:
    """Stands in for a DataFrame of pandas."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns


@pytest.mark.parametrize("make", [filled, measured, History])
def test_a_dataframe_is_made_of_the_rows_and_all_columns(make, monkeypatch):
    module = ModuleType("pandas")
    module.DataFrame = Frame
    monkeypatch.setitem(sys.modules, "pandas", module)
    history = make()
    frame = history.to_dataframe()
    assert [str(row) for row in frame.rows] == [str(row) for row in history]
    assert frame.columns[:10] == list(COLUMNS.values())
    if len(history):
        assert frame.columns == list(history[0])


def test_without_pandas_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        filled().to_dataframe()


def test_arrays_come_back_bit_for_bit_and_are_short():
    rng = np.random.default_rng(0)
    history = History(["mae"], monitor="val_loss", mode="min")
    for epoch in range(50):
        row = {"epoch": epoch, "loss": rng.random(), "learning_rate": 0.1}
        row |= {"circuits": 7, "gradient_norm": -0.0 if epoch == 3 else 0.0}
        row |= {"val_loss": rng.random()} if epoch % 5 == 0 else {}
        history.append(row | ({"accuracy": math.nan} if epoch > 40 else {}))
    for n_rows in (0, 1, 37, 50):
        tree = history.to_tree(n_rows)
        twin = History.from_tree(tree)
        assert (len(twin), twin.monitor) == (n_rows, "val_loss")
        assert json.dumps(list(map(str, twin))) == json.dumps(
            [str(history[i]) for i in range(n_rows)]
        )
    columns = tree["columns"]
    assert {"epoch", "mae", "time"}.isdisjoint(columns)
    assert [len(columns[k][0]) for k in ("loss", "learning_rate", "circuits")] == [
        50, 1, 1,
    ]  # fmt: skip
    assert len(columns["gradient_norm"][0]) == 50  # -0.0 is another number
    later = History()
    later.append({"epoch": 7, "loss": 1.0})
    assert History.from_tree(later.to_tree(1))[0] == later[0]


@pytest.fixture
def figures():
    """Pyplot without a figure before and after; it draws on no screen."""
    plt.switch_backend("agg")
    plt.close("all")
    yield plt.get_fignums
    plt.close("all")


def drawn(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_plot_draws_what_was_measured_where_pyplot_shows_it(figures):
    history = History()
    for epoch, (loss, val_loss) in enumerate([(3.0, None), (2.0, 2.5), (1.0, None)]):
        history.append({"epoch": epoch, "loss": loss, "val_loss": val_loss})
    axes = history.plot()
    assert figures() == [axes.figure.number]  # plt.show() and notebooks show these
    assert drawn(axes) == {
        "loss": [[1, 3.0], [2, 2.0], [3, 1.0]],
        "val_loss": [[2, 2.5]],
    }
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")
    assert [text.get_text() for text in axes.get_legend().texts] == ["loss", "val_loss"]
    axes.figure.savefig(io.BytesIO())


def test_plot_draws_on_axes_that_were_given(figures):
    axes = Figure().subplots()
    history = History()
    history.append({"epoch": 4, "loss": 0.5})
    assert history.plot(axes) is axes
    assert drawn(axes) == {"loss": [[5, 0.5]]}
    assert figures() == []


def test_plot_draws_the_columns_that_are_asked_for():
    history = measured()
    history.append({"epoch": 2, "loss": 0.0, "learning_rate": 0.5})

    def lines(columns):
        axes = history.plot(Figure().subplots(), columns=columns)
        return drawn(axes), axes.get_ylabel()

    assert lines("mae") == ({"mae": [[1, 0.25]], "val_mae": [[2, 1.0]]}, "mae")
    assert lines("val_f1") == ({"val_f1": [[1, 0.5]]}, "val_f1")
    for columns in (["loss", "learning_rate"], ("losses", "learning_rates")):
        assert lines(columns) == (
            {"loss": [[1, 0.5], [2, 0.25], [3, 0.0]], "learning_rate": [[3, 0.5]]},
            "",
        )


def test_plot_refuses_what_it_cannot_draw(figures):
    with pytest.raises(KeyError, match="no column 'r2'; there are epochs or epoch, "):
        measured().plot(columns=["loss", "r2"])
    with pytest.raises(TypeError, match="Names of columns are given as col"):
        measured().plot("mae")
    assert figures() == []


def test_plot_of_no_epochs_is_empty():
    assert drawn(History().plot(Figure().subplots())) == {}


def test_plot_of_losses_that_are_not_finite_can_be_drawn(tmp_path):
    figure = filled().plot(Figure().subplots()).figure
    figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "qstore-pl\[viz\]"'):
        filled().plot()
