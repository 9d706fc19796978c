"""What notebooks and terminals show: tables, curves, and progress bars."""

import io
import re
import sys
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest

from qstore_pl import (
    AmplitudeEncoding,
    History,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    _progress,
    audit_gradients,
    report,
    sweep,
)
from qstore_pl._curves import HEIGHT, MOST_POINTS, WIDTH, curves_of
from qstore_pl._tables import aligned, html_table, paragraph
from qstore_pl.sklearn import QuantumClassifier

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (12, 2))
Y = (X[:, 0] > 0).astype(int)


# --- tables ------------------------------------------------------------------------


def parsed(page):
    """The elements of a piece of a page, which must be well formed."""
    return ET.fromstring(f"<div>{page.replace('<br>', '<br/>')}</div>")


def rows_of(page):
    """The cells of all tables of a page."""
    return [
        ["".join(cell.itertext()) for cell in row] for row in parsed(page).iter("tr")
    ]


def test_columns_are_aligned():
    rows = [("a", "number", "c"), ("long one", "1", ""), ("b", "1,000", "<c>")]
    lines = aligned(rows, right=[1], rules=[1, 2])
    assert lines == [
        "a         number  c",
        "---------------------",
        "long one       1",
        "---------------------",
        "b          1,000  <c>",
    ]
    assert aligned([]) == []
    assert rows_of(html_table(rows)) == [list(row) for row in rows]
    assert html_table([]) == "<table><thead></thead><tbody></tbody></table>"
    with pytest.raises(ValueError, match="shorter"):
        aligned([("a", "b"), ("c",)])


def test_text_is_escaped():
    wild = "<script>alert('&')</script>"
    for page in (
        html_table([(wild,), (wild,)]),
        paragraph(wild),
        curves_of({wild: [(0, 1), (1, 2)]}, x=wild, y=wild),
    ):
        assert "<script>" not in page
        assert wild in "".join(parsed(page).itertext())


# --- curves ------------------------------------------------------------------------


def points_of(page):
    """The places of each curve in the drawing, shape (n_points, 2)."""
    return [
        np.array([pair.split(",") for pair in line.split()], dtype=float)
        for line in re.findall(r'<polyline points="([^"]*)"', page)
    ]


def test_curves_are_linear_maps_of_their_points():
    x, y = np.arange(5.0), np.array([3.0, -1.0, 0.5, 2.0, 1.0])
    page = curves_of(
        {"a": [*zip(x, y, strict=True)], "b": [(0, 0), (4, 1)]}, x="", y=""
    )
    places, other = points_of(page)
    assert other.shape == (2, 2)
    for values, column, sign in ((x, 0, 1), (y, 1, -1)):
        slope, offset = np.polyfit(values, places[:, column], 1)
        assert np.sign(slope) == sign
        np.testing.assert_allclose(values * slope + offset, places[:, column], atol=0.1)
    assert (places > 0).all()
    assert (places < [WIDTH, HEIGHT]).all()
    assert "currentColor" in page


@pytest.mark.parametrize(
    ("points", "n_lines", "n_dots"),
    [
        ([], 0, 0),
        ([(0, np.nan), (1, np.inf)], 0, 0),
        ([(0, 1.0)], 0, 1),
        ([(0, 1.0), (1, np.nan), (2, 1.0)], 1, 0),
        ([(0, -1.7e308), (1, 1.7e308)], 1, 0),
        ([(0, 0.0), (1, 0.0)], 1, 0),
        ([(i, 1 / (i + 1)) for i in range(10_000)], 1, 0),
    ],
)
def test_odd_curves_are_drawn(points, n_lines, n_dots):
    page = curves_of({"a": points}, x="x", y="y")
    assert (page.count("<polyline"), page.count("<circle")) == (n_lines, n_dots)
    assert "nan" not in page
    assert "inf" not in page
    for places in points_of(page):
        assert len(places) <= MOST_POINTS
        assert (places >= 0).all()
        assert (places <= [WIDTH, HEIGHT]).all()
    assert len(page) < 10_000


# --- what notebooks show -------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """A model, its trainer and its history."""
    model = QuantumModel(2, 2, n_layers=1, readout="affine", seed=0)
    config = TrainingConfig(epochs=4, loss="cross_entropy", seed=0)
    trainer = QuantumTrainer(config)
    return model, trainer, trainer.train(model, (X, Y), (X, Y))


def test_a_history_shows_rows_and_both_losses(trained):
    _, _, history = trained
    page = history._repr_html_()
    head, *rows = rows_of(page)
    assert head == ["", *history.columns]
    assert [row[0] for row in rows] == ["first", "best and last"]
    assert rows[0][head.index("loss")] == f"{history['loss'][0]:.4g}"
    assert rows[1][head.index("val_loss")] == f"{history['val_loss'][-1]:.4g}"
    assert [len(places) for places in points_of(page)] == [4, 4]
    assert len(page) < 5000


def test_histories_without_rows_or_validation():
    history = History()
    assert "History(0 epochs)" in history._repr_html_()
    assert rows_of(history._repr_html_()) == []
    for epoch, loss in enumerate([0.5, 0.25, 0.75]):
        history.append({"epoch": epoch, "loss": loss, "accuracy": epoch or None})
    assert rows_of(history._repr_html_()) == [
        ["", "epoch", "loss", "accuracy"],
        ["first", "0", "0.5", "-"],
        ["best", "1", "0.25", "1"],
        ["last", "2", "0.75", "2"],
    ]
    (places,) = points_of(history._repr_html_())
    assert len(places) == 3
    undone = History()
    undone.append({"epoch": 0, "loss": np.nan})
    assert rows_of(undone._repr_html_())[1] == ["first and last", "0", "nan"]
    assert "<svg" not in undone._repr_html_()


def test_a_model_shows_its_summary(trained):
    model, _, _ = trained
    page, summary = model._repr_html_(), model.summary()
    assert "".join(parsed(page).find("p").itertext()) == repr(model)
    assert page.endswith(summary._repr_html_())
    text = [re.split(" {2,}", line) for line in str(summary).splitlines()]
    rows = [line for line in text if len(line) == 6]
    assert rows_of(page) == rows
    assert str(summary).splitlines()[-1] in "".join(parsed(page).itertext())


def test_a_model_of_many_features_is_shown_without_a_summary():
    """It would take long: the first number of amplitudes that is too many is 2**17."""
    layers = [AmplitudeEncoding(), QuantumLayer(n_layers=1)]
    model = QuantumModel(2**17, 1, layers=layers, seed=0)
    assert rows_of(model._repr_html_()) == []
    assert "".join(parsed(model._repr_html_()).itertext()) == repr(model)


def test_a_cost_shows_its_tables(trained):
    model, trainer, _ = trained
    estimate = trainer.estimate_cost(model, (X, Y))
    rows = rows_of(estimate._repr_html_())
    assert rows[0][1:3] == ["circuits", "shots"]
    assert rows[-1][:2] == ["whole run, 4 epochs", f"{estimate.total.circuits}"]


# --- progress bars -----------------------------------------------------------------


class Terminal(io.StringIO):
    """A stderr that a person watches."""

    def isatty(self):
        return True


def run(**settings):
    model = QuantumModel(2, 2, n_layers=1, seed=0)
    config = TrainingConfig(epochs=3, loss="cross_entropy", seed=0, **settings)
    QuantumTrainer(config).train(model, (X, Y))


def watched(monkeypatch):
    """Stderr as a terminal, in which no variable of tqdm is set."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


@pytest.mark.parametrize(
    ("settings", "disabled", "n_bars"),
    [
        ({}, None, 1),
        ({}, "0", 1),
        ({}, "1", 0),
        ({"progress": False}, None, 0),
        ({"progress": True}, "1", 1),
        ({"progress": True, "log_interval": 2}, None, 1),
    ],
)
def test_who_watches_a_terminal_sees_a_bar(settings, disabled, n_bars, monkeypatch):
    terminal = watched(monkeypatch)
    if disabled is not None:
        monkeypatch.setenv("TQDM_DISABLE", disabled)
    run(**settings)
    shown = terminal.getvalue()
    assert ("3/3" in shown) == bool(n_bars)
    assert ("epoch/s" in shown) == bool(n_bars)
    assert "loss=" in shown or not n_bars


def test_lines_of_the_log_are_instead_of_the_bar(monkeypatch):
    terminal = watched(monkeypatch)
    run(log_interval=3)
    assert "epoch/s" not in terminal.getvalue()


def test_many_short_runs_have_one_bar_or_none(monkeypatch):
    terminal = watched(monkeypatch)
    QuantumClassifier(epochs=2, n_layers=1, random_state=0).fit(X, Y)
    trainer = QuantumTrainer(TrainingConfig(epochs=2, loss="cross_entropy", seed=0))
    trainer.estimate_cost(QuantumModel(2, 2, n_layers=1, seed=0), (X, Y))
    report(
        QuantumModel(2, 2, n_layers=1, seed=0),
        (X, Y),
        config=TrainingConfig(epochs=1, loss="cross_entropy"),
        seeds=2,
        baselines=["linear"],
    )
    assert terminal.getvalue() == ""

    def make(*, seed):
        return QuantumModel(2, 1, n_layers=1, seed=seed)

    sweep(make, (X, Y[:, None]), [{"epochs": 1}], seeds=[0, 1])
    assert "2/2" in terminal.getvalue()
    assert re.search("run/s|s/run", terminal.getvalue())
    assert "epoch" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("shell", "is_watched"),
    [(None, False), ({}, False), ({"IPKernelApp": {}}, True)],
    ids=["no shell", "a terminal's shell", "a notebook"],
)
def test_a_notebook_is_watched(shell, is_watched, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    given = None if shell is None else SimpleNamespace(config=shell)
    module = SimpleNamespace(get_ipython=lambda: given)
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert _progress.is_watched() == is_watched
    monkeypatch.setattr(sys, "stderr", None)  # a process without one
    assert _progress.is_watched() == is_watched


def test_a_notebook_without_widgets_gets_no_warning(monkeypatch, capsys):
    """Warnings are errors here, and tqdm chooses what it draws when it is imported."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    given = SimpleNamespace(config={"IPKernelApp": {}})
    module = SimpleNamespace(get_ipython=lambda: given)
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    run()
    assert "3/3" in capsys.readouterr().err


def test_an_audit_and_a_report_show_what_they_print():
    rng = np.random.default_rng(0)
    samples, labels = rng.uniform(-1, 1, (24, 2)), np.arange(24) % 2
    model = QuantumModel(2, 2, n_layers=1, readout="affine", seed=0)
    config = TrainingConfig(epochs=1, loss="cross_entropy")
    shown = [
        audit_gradients(model, (samples, labels), loss="cross_entropy", shots=10),
        report(model, (samples, labels), config=config, seeds=2, baselines=["linear"]),
    ]
    for one in shown:
        _, *rows = rows_of(one._repr_html_())
        assert len(rows) == len(one.rows)
        assert all(cell in str(one) for row in rows for cell in row if cell)
