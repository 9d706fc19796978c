"""The page of the documentation, made from a JSON file of the suite.

``python -m tests.benchmarks.page benchmarks.json`` copies the file to ``docs/_static``
and writes the page and its pictures. No number on the page is typed by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tests.benchmarks.cases import CASES, GROUPS
from tests.benchmarks.machine import ALONE
from tests.benchmarks.plots import PLOTS, drawn
from tests.benchmarks.report import (
    found,
    lines_of,
    markdown,
    ratio,
    rows_of,
    seconds,
    target,
)

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = "_static/benchmarks.json"
LEAST_REPEATS = 3
PICTURES = {
    "peers": "Time of the quickest peer of each row, over ours",
    "growth": "Growth of the time with batch, layers and qubits",
    "roofline": "Rate of our gradient below the rates of the machine",
}
INTRODUCTION = """\
# Benchmarks

All numbers of this page come from [one file](_static/benchmarks.json) that
`python -m tests.benchmarks` has written; `python -m tests.benchmarks.page` made the
page of it. `tests/benchmarks/README.md` says how each case is measured.

Before anything is timed, all programs must agree. They then take turns on one thread
(JAX keeps its own), and medians count; in brackets are the quartiles. Each peer has the
quickest of the settings that were tried. A ratio is the time of the peer over ours:
above 1 we are quicker. Where a target is a largest ratio (≤), both programs are ours.
"""


def machine_table(result):
    """The machine, what is installed, and how busy it was."""
    machine = result["machine"]
    dates = sorted({case["date"] for case in result["cases"].values()})
    lines = [
        ("processor", machine["processor"]),
        ("cores", machine["cores"]),
        ("caches", ", ".join(machine["caches"])),
        ("DGEMM, one core", f"{machine['dgemm'] / 1e9:.3g} GFLOP/s"),
        ("copies of memory, read and written", f"{machine['copy'] / 1e9:.3g} GB/s"),
        ("system", machine["system"]),
        ("Python", machine["python"]),
        ("measured", " to ".join(dict.fromkeys((dates[0], dates[-1])))),
        ("load average before a case, at most", f"{_busiest(result):.2f}"),
    ]
    for key in ("versions", "versions of the other Python"):
        versions = machine.get(key, {})
        words = [f"{name} {v}" for name, v in versions.items() if v is not None]
        if words:
            lines.append((key, ", ".join(words)))
    return markdown([("what", "value"), *lines])


def _busiest(result):
    return max(case["load"]["before"] for case in result["cases"].values())


def warning(result):
    """What keeps the numbers from being measurements; empty if nothing does."""
    fewest = min(case["repeats"] for case in result["cases"].values())
    found = []
    if _busiest(result) > ALONE:
        found.append(f"the load average was up to {_busiest(result):.1f}")
    if fewest < LEAST_REPEATS:
        found.append(f"some cases were measured {fewest} times")
    if not found:
        return ""
    return f"```{{warning}}\nThese times are no measurements: {', '.join(found)}.\n```"


def figures(result):
    """Every row that has a target."""
    lines = [("row", "beside", "target", "measured", "reached")]
    lines += [
        (row["row"], row["peer"], target(row), found(row), _yes(row["reached"]))
        for row in rows_of(result)
        if row["target"] is not None
    ]
    return markdown(lines)


def _yes(reached):
    return "yes" if reached else "**no**"


def slower(result):
    """The rows in which a program of others is quicker than ours."""
    lines = [
        (row["row"], row["peer"], row["setting"], ratio(row["ratio"]))
        for row in rows_of(result)
        if row["kind"] == "peer" and row["ratio"] is not None and row["ratio"] < 1
    ]
    if not lines:
        return "In no row of this run."
    return markdown([("row", "peer", "its setting", "ratio"), *lines])


def settings(result):
    """How each peer was set in each row, and how long it compiled."""
    lines = [("row", "peer", "setting", "compiled in")]
    for row in rows_of(result):
        if row["setting"]:
            compiled = row["compile_seconds"]
            lines.append(
                (
                    row["row"],
                    row["peer"],
                    row["setting"],
                    seconds(compiled) if compiled else "",
                )
            )
    return markdown(lines)


def missing(result):
    """What was not measured, and which peers were not installed."""
    lines = []
    for name, case in result["cases"].items():
        if case["missing"]:
            lines.append(f"- `{name}`: not installed: {', '.join(case['missing'])}")
        if "error" in case:
            lines.append(f"- `{name}`: {case['error']}")
    absent = [name for name in CASES if name not in result["cases"]]
    if absent:
        lines.append(f"- not in this run: {', '.join(absent)}")
    return "\n".join(lines) or "Nothing is missing."


def group(title, cases, result):
    """One section: a sentence for each case, and a table of them all."""
    measured = {
        name: result["cases"][name]["rows"]
        for name in cases
        if name in result["cases"] and result["cases"][name]["rows"]
    }
    parts = [f"## {title}"]
    for name, rows in measured.items():
        parts.append(f"**`{name}`**: {cases[name].says}")
        parts.append(markdown(lines_of(rows)))
    return "\n\n".join(parts) if measured else ""


def page(result):
    """The page as MyST Markdown."""
    parts = [
        INTRODUCTION.rstrip(),
        *filter(None, [warning(result)]),
        "## Figures to reach",
        figures(result),
        "## Where others are faster",
        slower(result),
    ]
    pictures = drawn(result)
    if pictures:
        parts.append("## In pictures")
        parts += [
            f"![{PICTURES[one]}](_static/benchmarks-{one}.svg)" for one in pictures
        ]
    parts += filter(None, (group(t, cases, result) for t, cases in GROUPS.items()))
    parts += ["## The machine", machine_table(result)]
    parts += ["## How the peers were set", settings(result)]
    parts += ["## What is missing", missing(result)]
    return "\n\n".join(parts) + "\n"


def written(result, directory):
    """Write the page, its pictures and the file they are made from."""
    static = directory / "_static"
    static.mkdir(parents=True, exist_ok=True)
    (directory / RESULTS).write_text(json.dumps(result, indent=1) + "\n")
    for name in drawn(result):
        PLOTS[name](result, static / f"benchmarks-{name}.svg")
    (directory / "benchmarks.md").write_text(page(result))


def main():
    """Make the page of a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.page")
    parser.add_argument("json", type=Path, nargs="?", default=Path("benchmarks.json"))
    parser.add_argument("--directory", type=Path, default=DOCS)
    options = parser.parse_args()
    written(json.loads(options.json.read_text()), options.directory)
    print(f"written to {options.directory / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
