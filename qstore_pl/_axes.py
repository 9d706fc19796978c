"""Axes of matplotlib to draw on, given by the user or made; matplotlib is optional."""

from __future__ import annotations

from typing import Any


def axes_of(caller: str, name: str, given: Any, hint: str = "") -> Any:
    """The axes that were given, or those of a new figure.

    Args:
        caller: Name of the method that draws, for the message where matplotlib is
            missing.
        name: Name of the argument.
        given: Its value: axes, or None.
        hint: What to do instead, for the message.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        TypeError: If something else than axes was given.
    """
    try:
        from matplotlib.axes import Axes
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{caller} needs matplotlib: pip install "qstore-pl[viz]".'
        ) from error
    if given is None:
        import matplotlib.pyplot as plt  # notebooks show its figures

        _, given = plt.subplots(layout="constrained")
    elif not isinstance(given, Axes):
        raise TypeError(
            f"Argument `{name}` must be axes of matplotlib, but is {given!r}. {hint}"
        )
    given.spines[["top", "right"]].set_visible(False)
    return given
