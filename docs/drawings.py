"""Boxes and arrows for the figures of the concept pages.

All colours are readable on the light and on the dark pages of the theme: backgrounds
are transparent, lines and letters are of a middle grey.
"""

import matplotlib.pyplot as plt

INK = "#83888f"
BLUE, ORANGE, GREEN, RED = "#3d8bd4", "#e0812b", "#3aa35a", "#d9534f"

plt.rcParams.update(
    {
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "legend.framealpha": 0,
        "figure.dpi": 110,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED]),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": "medium",
    }
)


def canvas(width, height):
    """A figure without axes, in which a unit is the same length both ways."""
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.axis("off")
    return figure, axes


def box(axes, x, y, text, *, width=1.6, height=0.6, color=INK, size=9):
    """A box around its text, with the middle at (x, y)."""
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(
        plt.Rectangle(corner, width, height, facecolor=color, alpha=0.15, linewidth=0)
    )
    axes.add_patch(plt.Rectangle(corner, width, height, fill=False, edgecolor=color))
    axes.text(x, y, text, ha="center", va="center", fontsize=size)


def arrow(axes, start, end, *, color=INK, text="", shift=(0, 0.12)):
    """An arrow, with words beside its middle."""
    style = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)
    middle = [(a + b) / 2 + s for a, b, s in zip(start, end, shift, strict=True)]
    axes.text(*middle, text, ha="center", va="center", fontsize=8)
