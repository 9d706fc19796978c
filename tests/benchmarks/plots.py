"""The pictures of the page, from the rows of the JSON file."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from tests.benchmarks.report import ratio, rows_of

# No date and no random names: the same numbers give the same file.
STYLE = {"svg.hashsalt": "benchmarks", "svg.fonttype": "none"}


def saved(figure, path):
    """Write an SVG."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, metadata={"Date": None})


def best_peers(result):
    """The quickest peer of each row that has peers: name of the row, peer, ratio."""
    best = {}
    for row in rows_of(result):
        if row["kind"] == "peer" and row["ratio"] is not None:
            name = row["row"]
            if name not in best or row["ratio"] < best[name][1]:
                best[name] = row["peer"], row["ratio"]
    return [(name, *found) for name, found in best.items()]


def peers(result, path):
    """How many times longer the quickest peer takes, for each row."""
    best = best_peers(result)[::-1]
    figure = Figure(figsize=(8, 0.6 + 0.27 * len(best)), layout="constrained")
    axes = figure.subplots()
    ratios = [one[2] for one in best]
    colours = ["C3" if one < 1 else "C0" for one in ratios]
    bars = axes.barh([one[0] for one in best], ratios, color=colours)
    words = [f" {ratio(r)} {peer}" for _, peer, r in best]
    axes.bar_label(bars, words, fontsize=7)
    axes.set(xscale="log", xlabel="time of the quickest peer / ours")
    axes.axvline(1.0, color="gray", linewidth=0.8)
    axes.set_xlim(min([0.5, *ratios]), 40 * max([1.0, *ratios]))
    axes.tick_params(axis="y", labelsize=7)
    saved(figure, path)


AXES = {
    "growth-batch": ("batch", "samples of a batch"),
    "growth-depth": ("n_layers", "layers"),
    "growth-qubits": ("n_qubits", "qubits"),
}


def growth(result, path):
    """Time over what it should be proportional to, relative to the smallest circuit."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, (name, (key, label)) in zip(
        figure.subplots(1, 3), AXES.items(), strict=True
    ):
        rows = result["cases"].get(name, {"rows": []})["rows"]
        sizes = [row["work"][key] for row in rows]
        axes.plot(sizes, [row["ratio"] for row in rows], marker=".")
        axes.axhline(1.0, color="gray", linewidth=0.8)
        for row in rows[:1]:
            axes.axhline(row["target"], color="gray", linewidth=0.8, linestyle=":")
        axes.set(xlabel=label, ylim=(0, None))
        if key == "n_qubits":
            axes.set_xticks(sizes)
        else:
            axes.set_xscale("log", base=2)
    figure.supylabel("time for each, relative")
    saved(figure, path)


def roofline(result, path):
    """Operations a second over operations a byte, below both rates of the machine."""
    rows = result["cases"]["roofline"]["rows"]
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    dgemm, copy = rows[0]["work"]["dgemm"] / 1e9, rows[0]["work"]["copy"] / 1e9
    x = np.geomspace(0.5, 20, 100)
    roof = np.minimum(dgemm, copy * x)
    axes.plot(
        x, roof, color="black", label=f"{copy:.0f} GB/s, DGEMM {dgemm:.0f} GFLOP/s"
    )
    for i, batch in enumerate(sorted({row["work"]["batch"] for row in rows})):
        own = [row for row in rows if row["work"]["batch"] == batch]
        intensity = [row["work"]["operations"] / row["work"]["bytes"] for row in own]
        rate = [row["work"]["operations"] / row["ours"] / 1e9 for row in own]
        axes.plot(intensity, rate, f"C{i}.-", label=f"batch {batch}")
        for row, a, b in zip(own, intensity, rate, strict=True):
            n = row["work"]["n_qubits"]
            axes.annotate(str(n), (a, b), fontsize=7, ha="right", va="bottom")
    axes.set(xscale="log", yscale="log", ylabel="GFLOP/s")
    axes.set_xlabel("operations a byte (numbers at the points: qubits)")
    axes.legend(frameon=False, fontsize=8)
    saved(figure, path)


PLOTS = {"peers": peers, "growth": growth, "roofline": roofline}
NEEDS = {"peers": (), "growth": tuple(AXES), "roofline": ("roofline",)}


def drawn(result):
    """The names of the plots for which there are rows."""
    cases = {name for name, case in result["cases"].items() if case["rows"]}
    names = [name for name in PLOTS if cases.issuperset(NEEDS[name])]
    return names if best_peers(result) else names[1:]
