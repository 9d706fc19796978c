"""Noise by name: the noise of named machines, and other values for noise."""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pennylane as qml

from qstore_pl._checks import choice
from qstore_pl.devices.noise import NoiseSpec

PRESETS: tuple[str, ...]
"""Names of the presets; read from presets.toml when first asked for."""

DEFAULT_PRESET = "mild"


@functools.cache
def _tables() -> dict[str, dict[str, Any]]:
    file = Path(__file__).with_name("presets.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def __getattr__(name: str) -> Any:
    if name == "PRESETS":
        return (*_tables(), "default")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def preset(name: str) -> NoiseSpec:
    r"""The noise of a named machine; ``"default"`` is ``"mild"``.

    The file presets.toml holds the numbers, each with source, date and notes.
    Where it gives average gate infidelities :math:`r`, depolarizing is what relaxation
    over the gate time leaves of them: with the depolarizing factor
    :math:`\lambda = 1 - p\,d^2/(d^2 - 1)` and :math:`S` the sum of the diagonal of one
    wire's relaxation in the Pauli basis,

    .. math::
        1 - r\,\frac{d + 1}{d} = \frac{1 + \lambda (S^n - 1)}{d^2}, \qquad
        S = 1 + 2 e^{-t/T_2} + e^{-t/T_1}, \quad d = 2^n .

    Raises:
        ValueError: If there is no such preset.

    Example:
        >>> preset("ibm").readout
        (0.003906, 0.01147)

    References:
        M. A. Nielsen, Phys. Lett. A 303, 249 (2002), arXiv:quant-ph/0205035.
    """
    name = choice("noise", name, (*_tables(), "default"))
    table = _tables()[DEFAULT_PRESET if name == "default" else name]
    fields = {field.name for field in dataclasses.fields(NoiseSpec)}
    values = {key: value for key, value in table.items() if key in fields}
    if "infidelity_1" in table:
        values["p1"] = _pauli_error(table, 1)
        values["p2"] = _pauli_error(table, 2)
    return NoiseSpec(**values)


def _pauli_error(table: Mapping[str, Any], width: int) -> float:
    """The p at which depolarizing and relaxation together have the given infidelity."""
    d, time = 2**width, table[f"gate_time_{width}"]
    trace = 1.0 + 2.0 * math.exp(-time / table["t2"]) + math.exp(-time / table["t1"])
    process = 1.0 - table[f"infidelity_{width}"] * (d + 1) / d
    kept = (d**2 * process - 1.0) / (trace**width - 1.0)
    return (1.0 - kept) * (d**2 - 1) / d**2


def as_noise(noise: Any) -> NoiseSpec | qml.NoiseModel:
    """Noise as a value: the noise of a preset for its name, and no noise for None.

    Args:
        noise: A name, a NoiseSpec, a `qml.NoiseModel` or None.

    Raises:
        TypeError: If it is something else.
        ValueError: If there is no preset of that name; the message lists the names.
    """
    if noise is None:
        return NoiseSpec()
    if isinstance(noise, str):
        return preset(noise)
    if isinstance(noise, NoiseSpec | qml.NoiseModel):
        return noise
    raise TypeError(
        f"Argument `noise` must be the name of a preset, a NoiseSpec, a qml.NoiseModel "
        f"or None, but is {noise!r}."
    )
