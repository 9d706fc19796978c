"""The backends and what is known of each, as a table.

Nothing is imported and nothing is asked of the network for it: whether a package is
installed is seen from its files, and a key from the names of environment variables.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from qstore_pl._tables import aligned, html_table, paragraph
from qstore_pl.backends.kinds import DEVICE_OPTIONS, KINDS, GivenDevice
from qstore_pl.backends.machine import Limits, Machine
from qstore_pl.backends.mitigation import MITIGATION
from qstore_pl.backends.prices import price_list
from qstore_pl.backends.zero_noise import can_extrapolate
from qstore_pl.devices.memory import fits

BY_CIRCUITS = ("parameter_shift", "finite_diff", "spsa", "random_subset")


@final
@dataclass(frozen=True)
class BackendInfo:
    """What is known of a backend.

    Args:
        name: Name of the backend.
        installed: Whether the packages that it needs are installed.
        extra: Name of the extra that installs them; empty if none is needed.
        keys: Environment variables in which its key is looked for, in this order.
        key_found: Where the key is: the first of these variables that is set, or
            ``"quantum_api_key"``, the field of the configuration. None if there is no
            key.
        qubits: Most qubits of a circuit; None if that is not known.
        exact: Whether it gives exact values; None if that is not known.
        shots: Whether it runs with shots; None if that is not known.
        gradient_methods: Words for ``gradient_method`` in the configuration.
        remote: Whether circuits leave this computer; None if that is not known.
        price: What it takes, in words.
        least: What a circuit without gates costs with one shot, in US dollars; None if
            that is not known.
        price_source: Where the price comes from, with its day.
        options: Names of the options of :meth:`BackendManager.get_backend`.
        required: Those of the options that must be given.
    """

    name: str
    installed: bool = True
    extra: str = ""
    keys: tuple[str, ...] = ()
    key_found: str | None = None
    qubits: int | None = None
    exact: bool | None = None
    shots: bool | None = None
    gradient_methods: tuple[str, ...] = BY_CIRCUITS
    remote: bool | None = None
    price: str = "unknown"
    least: float | None = None
    price_source: str = ""
    options: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    @property
    def install(self) -> str:
        """The command that installs what it needs."""
        return f'pip install "qstore-pl[{self.extra}]"'

    @property
    def key(self) -> str:
        """Whether there is a key, and where; never the key itself."""
        if not self.keys:
            return "not needed" if self.remote is not None else "unknown"
        return f"{self.key_found} is set" if self.key_found else "missing"

    def row(self) -> dict[str, str]:
        """The columns of the table, in words."""
        ways = {"exact": self.exact, "shots": self.shots}
        values = " or ".join(word for word, given in ways.items() if given)
        adjoint = "adjoint" in self.gradient_methods
        price = self.price
        if self.least:
            price = f"from {self.least:g} a circuit"
        where = {True: "remote", False: "here", None: "unknown"}[self.remote]
        return {
            "backend": self.name,
            "installed": "yes" if self.installed else f"no: {self.install}",
            "key": self.key,
            "where": where,
            "qubits": "unknown" if self.qubits is None else str(self.qubits),
            "values": values or "unknown",
            "gradients": "all" if adjoint else "all but adjoint",
            "price": price,
        }


@final
class BackendTable(Mapping[str, BackendInfo]):
    """The backends by name, in alphabetical order.

    It is a mapping from names to what is known of them. ``print`` shows it as a table.

    Args:
        rows: The backends.

    Example:
        >>> from qstore_pl import BackendManager
        >>> backends = BackendManager().list_backends()
        >>> "mock_ideal" in backends, backends["mock_ideal"].price
        (True, 'free')
    """

    def __init__(self, rows: Mapping[str, BackendInfo]) -> None:
        self._rows = dict(sorted(rows.items()))

    def __getitem__(self, name: str) -> BackendInfo:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        fill = functools.partial(textwrap.fill, width=88, subsequent_indent="    ")
        return "\n".join([*aligned(self._cells()), *map(fill, self._notes())])

    def _cells(self) -> list[list[str]]:
        rows = [info.row() for info in self._rows.values()]
        return [list(rows[0]), *(list(row.values()) for row in rows)] if rows else []

    def _notes(self) -> list[str]:
        """The sentences below the table."""
        options = [
            f"Options of {info.name}: {', '.join(info.options)}."
            for info in self._rows.values()
            if info.options
        ]
        date = price_list().date.isoformat()
        return [*options, f"Prices of {date}, in US dollars."]

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        return html_table(self._cells()) + paragraph("\n".join(self._notes()))


def of_kind(name: str, given: Mapping[str, Any]) -> BackendInfo:
    """What is known of a machine of another package.

    Args:
        name: Name of the backend.
        given: The options that the configuration sets.
    """
    kind = KINDS[name]
    limits: Limits | None = None
    target, found = target_of(name, given), None
    mitigation: tuple[str, ...] = MITIGATION
    if not kind.required:
        words = {option: given[option] for option in ("machine",) if option in given}
        home = importlib.import_module(f"qstore_pl.backends.{kind.module}")
        machine: Machine = getattr(home, kind.machine)(**kind.fixed, **words)
        limits = machine.limits
        if not can_extrapolate(machine):
            mitigation = tuple(word for word in mitigation if word != "zero_noise")
    if "api_key" in given:
        found = "quantum_api_key"
    else:
        found = next((key for key in kind.key if os.environ.get(key)), None)
    return BackendInfo(
        name,
        installed=all(is_installed(module) for module in kind.needs),
        extra=kind.extra,
        keys=kind.key,
        key_found=found,
        qubits=None if limits is None else limits.qubits,
        exact=None if limits is None else limits.exact,
        shots=None if limits is None else limits.sampled,
        remote=kind.remote,
        options=(*kind.options, *mitigation, *DEVICE_OPTIONS),
        required=kind.required,
        price=_in_words(target),
        least=least(target, 1),
        price_source=price_list().source_of(target),
    )


def of_simulator(name: str) -> BackendInfo:
    """What is known of a simulator of this package or of PennyLane."""
    return BackendInfo(
        name,
        qubits=_largest(mixed=name == "mock_noisy"),
        exact=True,
        shots=True,
        gradient_methods=("adjoint", *BY_CIRCUITS),
        remote=False,
        price=_in_words(name),
        least=least(name, 1),
        price_source=price_list().source_of(name),
    )


def of_registered(name: str, factory: Callable[[int], Any]) -> BackendInfo:
    """What is known of a backend that a user registered."""
    qubits = None
    if isinstance(factory, GivenDevice) and factory.device.wires is not None:
        qubits = len(factory.device.wires)
    return BackendInfo(name, qubits=qubits)


def is_installed(module: str) -> bool:
    """Whether a package is installed; it is not imported."""
    return importlib.util.find_spec(module) is not None


def target_of(name: str, given: Mapping[str, Any]) -> str:
    """The name of a backend in the list of prices.

    Args:
        name: Name of the backend.
        given: Its options.
    """
    if name == "ionq_qpu":
        return f"ionq.qpu.{given.get('machine', 'aria-1')}"
    return "ionq.simulator" if name == "ionq_simulator" else name


def least(target: str, shots: int) -> float | None:
    """The least that a circuit costs, one without gates, in US dollars.

    Args:
        target: Name in the list of prices.
        shots: Number of shots of the circuit, >= 0.

    Returns:
        None if the price is not known.
    """
    price = price_list().of(target)
    if price is None:
        return None
    none = np.zeros(1, dtype=np.int64)
    return float(price.dollars(none, none, np.array([shots]))[0])


def _largest(*, mixed: bool) -> int:
    """The most qubits whose states fit into the memory of this computer."""
    return max(n for n in range(1, 31) if fits(n, mixed=mixed))


def _in_words(target: str) -> str:
    """What a target of the list of prices takes, in words."""
    price = price_list().of(target)
    if price is None:
        return "unknown"
    parts = [
        f"{dollars:g} a {what}"
        for what, dollars in (
            ("circuit", price.circuit),
            ("shot", price.shot),
            ("one-qubit gate and shot", price.one_qubit_gate),
            ("two-qubit gate and shot", price.two_qubit_gate),
        )
        if dollars
    ]
    if price.minimum:
        parts.append(f"at least {price.minimum:g} a circuit")
    return ", ".join(parts) or "free"
