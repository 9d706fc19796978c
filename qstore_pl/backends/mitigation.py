"""Error mitigation as options of a backend: what they mean, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qstore_pl.backends.machine import Machine
from qstore_pl.backends.readout_mitigation import (
    ReadoutMitigation,
    check_readout_options,
)
from qstore_pl.backends.zero_noise import ZeroNoise, check_zero_noise_options

MITIGATION = ("readout_mitigation", "zero_noise")


def check_mitigation(options: Mapping[str, Any]) -> None:
    """Check the options of a backend that mitigate errors.

    Args:
        options: All options of the backend.

    Raises:
        TypeError: If an option is of another kind, or has a part that is not known.
        ValueError: If a part of an option is out of its range.
    """
    if (chosen := _readout(options)) is not None:
        check_readout_options(**chosen)
    if (chosen := _zero_noise(options)) is not None:
        check_zero_noise_options(**chosen)


def mitigated(machine: Machine, options: Mapping[str, Any]) -> Machine:
    """A machine with the error mitigation that was asked for.

    Readout error is corrected first, in the circuits of every scale factor, and then
    gate noise is extrapolated.

    Args:
        machine: The machine.
        options: Options of the backend that mitigate errors:

            - ``readout_mitigation``: True, or a dict with any of ``every`` and
              ``shots``, as for :class:`ReadoutMitigation`.
            - ``zero_noise``: True, the scale factors, or a dict with any of
              ``scale_factors`` and ``extrapolate``, as for :class:`ZeroNoise`.

            None and False leave one out.

    Raises:
        ValueError: If the machine cannot be mitigated so.
    """
    if (chosen := _readout(options)) is not None:
        machine = ReadoutMitigation(machine, **chosen)
    if (chosen := _zero_noise(options)) is not None:
        machine = ZeroNoise(machine, **chosen)
    return machine


def _readout(options: Mapping[str, Any]) -> dict[str, Any] | None:
    chosen = options.get("readout_mitigation")
    return _chosen("readout_mitigation", chosen, ("every", "shots"))


def _zero_noise(options: Mapping[str, Any]) -> dict[str, Any] | None:
    chosen = options.get("zero_noise")
    if not (chosen is None or isinstance(chosen, bool | Mapping)):
        chosen = {"scale_factors": chosen}
    return _chosen("zero_noise", chosen, ("scale_factors", "extrapolate"))


def _chosen(name: str, chosen: Any, known: tuple[str, ...]) -> dict[str, Any] | None:
    """The parts of an option that were given; None if it is left out."""
    if chosen is None or chosen is False:
        return None
    if chosen is True:
        return {}
    listed = " and ".join(f'"{word}"' for word in known)
    if not isinstance(chosen, Mapping):
        raise TypeError(
            f"Option `{name}` must be True, or a dict with any of {listed}, but is "
            f"{chosen!r}."
        )
    if unknown := [word for word in chosen if word not in known]:
        raise TypeError(
            f"Option `{name}` has no part {unknown[0]!r}; its parts are {listed}."
        )
    return dict(chosen)
