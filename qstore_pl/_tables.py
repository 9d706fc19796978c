"""Tables for terminals and notebooks: the one place that puts cells into columns."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence

Cells = Sequence[str]


def aligned(
    rows: Sequence[Cells], *, right: Collection[int] = (), rules: Collection[int] = ()
) -> list[str]:
    r"""The rows of a table as lines of text, with two spaces between columns.

    Args:
        rows: The cells of each row, as many in all rows; the first row is the head.
        right: Positions of the columns that are flush right, as numbers are.
        rules: Positions of the rows in front of which a line of dashes is drawn.

    Returns:
        The lines, without spaces at their ends; none if there are no rows.

    Example:
        >>> rows = [("layer", "weights"), ("RX", "4"), ("CNOT", "12")]
        >>> print("\n".join(aligned(rows, right=[1], rules=[1])))
        layer  weights
        --------------
        RX           4
        CNOT        12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for place, row in enumerate(rows):
        if place in rules:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def html_table(rows: Sequence[Cells], *, right: Collection[int] = ()) -> str:
    """The rows of a table as HTML, in the colours of the page that shows it.

    Args:
        rows: As for :func:`aligned`. All cells are escaped.
        right: Positions of the columns that are flush right.

    Example:
        >>> html_table([("name",), ("<b>",)]).endswith(
        ...     "<tr><td>&lt;b&gt;</td></tr></tbody></table>"
        ... )
        True
    """

    def line(tag: str, cells: Cells) -> str:
        found = []
        for column, cell in enumerate(cells):
            side = ' style="text-align: right"' if column in right else ""
            found.append(f"<{tag}{side}>{html.escape(cell)}</{tag}>")
        return f"<tr>{''.join(found)}</tr>"

    head = line("th", rows[0]) if rows else ""
    body = "".join(line("td", row) for row in rows[1:])
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def paragraph(text: str) -> str:
    """A paragraph of escaped text, whose lines stay lines."""
    return f"<p>{'<br>'.join(map(html.escape, text.splitlines()))}</p>"
