"""Rows of the JSON file as text: aligned for a terminal, and as Markdown."""

from __future__ import annotations

HEAD = ("row", "ours", "peer", "its time", "ratio", "target", "reached")
MEMORY = ("peak memory: ours", "the peer's")


def rows_of(result):
    """All rows of a JSON file, in the order of the cases."""
    return [row for case in result["cases"].values() for row in case["rows"]]


def seconds(value, unit="s"):
    """A time in the unit that suits it."""
    if unit != "s":
        return f"{value:.3g} {unit}"
    if value >= 1:
        return f"{value:.3g} s"
    for factor, name in ((1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {name}"
    return f"{value * 1e9:.3g} ns"


def megabytes(value):
    """A memory in MB, empty if not measured."""
    return "" if value is None else f"{value / 1e6:.1f} MB"


def ratio(value):
    """How many times longer, with three digits."""
    return f"{value:,.0f}x" if value >= 100 else f"{value:.3g}x"


def target(row):
    """What a row is to reach; empty if it has no target."""
    if row["target"] is None:
        return ""
    if row["peer_time"] is None:
        return f"< {seconds(row['target'], row['unit'])}"
    return f"{'≤' if row['at_most'] else '≥'} {ratio(row['target'])}"


def found(row):
    """What a target is compared with."""
    alone = row["ratio"] is None
    return seconds(row["ours"], row["unit"]) if alone else ratio(row["ratio"])


def spread(row, who):
    """The median of one side, and its quartiles where they were measured."""
    value = row["ours" if who == "ours" else "peer_time"]
    shown = seconds(value, row["unit"])
    if who not in row["spread"] or not value:
        return shown
    low, high = (100 * (one / value - 1) for one in row["spread"][who])
    return f"{shown} ({low:+.0f}, {high:+.0f} %)"


def cells(row):
    """The texts of one row of the table."""
    alone = row["peer_time"] is None
    return (
        row["row"],
        spread(row, "ours"),
        row["peer"],
        "" if alone else spread(row, "peer"),
        "" if alone else ratio(row["ratio"]),
        target(row),
        {None: "", True: "yes", False: "NO"}[row["reached"]],
    )


def lines_of(rows):
    """Head and rows as tuples of texts; memory only where it was measured."""
    if all(row["memory"] is None for row in rows):
        return [HEAD, *map(cells, rows)]
    memories = [(megabytes(r["memory"]), megabytes(r["peer_memory"])) for r in rows]
    lines = [cells(row) + own for row, own in zip(rows, memories, strict=True)]
    return [HEAD + MEMORY, *lines]


def table(rows):
    """The rows as aligned text."""
    lines = lines_of(rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(lines):
    """A table; the first line is its head."""
    head, *rows = lines
    escaped = (
        [str(cell).replace("|", "\\|") for cell in line]
        for line in (head, ["---"] * len(head), *rows)
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def details(rows):
    """How each peer was set, a line each."""
    lines = []
    for row in rows:
        if row["setting"]:
            line = f"{row['row']}: {row['peer']} with {row['setting']}"
            if row["compile_seconds"]:
                line += f", compiled in {row['compile_seconds']:.1f} s"
            lines.append(f"{line}\n")
    return "".join(lines)
