"""Small drawings of curves as SVG, for notebooks; they need no matplotlib.

Text and axes have the colour of the page's text, and the colours of the curves can be
told apart on a light and on a dark page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728")
WIDTH, HEIGHT = 420, 180
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 22, 34  # margins around the curves
MOST_POINTS = 400  # of a curve; more cannot be told apart at this width


def curves_of(curves: Mapping[str, Points], *, x: str, y: str) -> str:
    """Curves in one drawing with axes, as an ``<svg>`` element.

    Points that are not finite are left out. A curve of one point is a dot.

    Args:
        curves: The points ``(x, y)`` of each curve in the order of x, by its name; at
            most four curves.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.

    Returns:
        The element; the empty string if there is no point to draw.

    Example:
        >>> drawn = curves_of({"loss": [(1, 0.5), (2, 0.25)]}, x="epoch", y="loss")
        >>> drawn.startswith("<svg"), "polyline" in drawn
        (True, True)
    """
    shown = {name: _shown(points) for name, points in curves.items()}
    shown = {name: points for name, points in shown.items() if points}
    if not shown:
        return ""
    everything = [point for points in shown.values() for point in points]
    left, right = _limits([one for one, _ in everything])
    low, high = _limits([one for _, one in everything])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        """Where a point is in the drawing, whose y grows downwards."""
        across = (point[0] - left) / (right - left)
        up = point[1] / 2 - low / 2  # halves, since a difference may overflow
        up /= high / 2 - low / 2
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    floor, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<path d="M{LEFT} {TOP}V{floor}H{end}" fill="none" stroke="currentColor" '
        'stroke-opacity="0.5"/>',
        *(
            _text(f"{value:.3g}", LEFT - 6, height, "end")
            for value, height in ((high, TOP + 4), (low, floor))
        ),
        *(
            _text(f"{value:.6g}", place((value, low))[0], floor + 14, anchor)
            for value, anchor in (
                (min(point[0] for point in everything), "middle"),
                (max(point[0] for point in everything), "end"),
            )[: 2 if len(everything) > 1 else 1]
        ),
        _text(x, (LEFT + end) / 2, HEIGHT - 4, "middle"),
        _text(y, LEFT - 6, TOP - 8, "end"),
    ]
    at = float(LEFT + 8)
    for (name, points), colour in zip(shown.items(), COLOURS, strict=False):
        spots = [place(point) for point in points]
        if len(spots) == 1:
            (across, down) = spots[0]
            parts.append(
                f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="{colour}"/>'
            )
        else:
            line = " ".join(f"{across:.1f},{down:.1f}" for across, down in spots)
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{colour}" '
                'stroke-width="1.5"/>'
            )
        parts.append(
            f'<path d="M{at:.0f} {TOP - 12}h16" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(_text(name, at + 20, TOP - 8, "start"))
        at += 32 + 6.5 * len(name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" '
        f'font-size="11">{"".join(parts)}</svg>'
    )


def _shown(points: Points) -> list[tuple[float, float]]:
    """Finite points, of which at most ``MOST_POINTS``, the first and last included."""
    found = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    n = len(found)
    if n <= MOST_POINTS:
        return found
    last = MOST_POINTS - 1
    return [found[round(i * (n - 1) / last)] for i in range(MOST_POINTS)]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis, which are never the same."""
    low, high = min(values), max(values)
    if low < high:
        return low, high
    around = abs(low) / 10 or 1.0
    return low - around, high + around


def _text(words: str, across: float, down: float, anchor: str) -> str:
    return (
        f'<text x="{across:.0f}" y="{down:.0f}" text-anchor="{anchor}" '
        f'fill="currentColor">{html.escape(words)}</text>'
    )
