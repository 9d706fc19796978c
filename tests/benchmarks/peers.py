"""The programs that ours is compared with: which are installed, and where.

A peer that this Python lacks may be in another one, named by ``--python``. A setting of
a peer is written as the path of its class, which is imported where the peer is.
"""

from __future__ import annotations

import importlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from tests.benchmarks.contender import Contender

MODULES = {
    "default.qubit": "pennylane",
    "default.mixed": "pennylane",
    "lightning.qubit": "pennylane_lightning",
    "jax": "jax",
    "torch": "torch",
    "catalyst": "catalyst",
    "qulacs": "qulacs",
    "scaluq": "scaluq",
    "prism-q": "prism_q",
    "qiskit-aer": "qiskit_aer",
    "qsim": "qsimcirq",
    "pennylane-cirq": "pennylane_cirq",
    "pennylane-qiskit": "pennylane_qiskit",
    "tensorcircuit": "tensorcircuit",
    "torchquantum": "torchquantum",
    "qiskit-machine-learning": "qiskit_machine_learning",
    "lancedb": "lancedb",
}
PACKAGES = (
    *("pennylane", "pennylane-lightning", "pennylane-catalyst", "numpy", "numba"),
    *("autograd", "torch", "jax", "jaxlib", "qulacs", "scaluq", "prism-q", "qsimcirq"),
    *("cirq-core", "qiskit", "qiskit-aer", "qiskit-machine-learning"),
    *("pennylane-cirq", "pennylane-qiskit", "tensorcircuit-ng", "torchquantum-ng"),
    *("qstore-pl", "lancedb", "pyarrow"),
)
ASK = """
import json, sys
from importlib.util import find_spec
print(json.dumps([name for name in sys.argv[1:] if find_spec(name)]))
"""


class MissingPeerError(Exception):
    """A peer that was asked for is not installed."""


@dataclass(frozen=True)
class Setting:
    """A peer in one setting, made when it is known where the peer is.

    Args:
        peer: A key of :data:`MODULES`.
        path: Module and class, as ``"tests.benchmarks.simulators:Qulacs"``. The class
            takes the problem and then the options.
        options: Keyword arguments.
    """

    peer: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *arguments) -> Contender:
        """The contender, in this Python."""
        contender = imported(self.path)(*arguments, **self.options)
        contender.made_by = self
        return contender


def imported(path):
    """The class of a path."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def settings(peer, path, *options):
    """One setting for each of some dicts of options, or one without options."""
    return [Setting(peer, path, one) for one in options or ({},)]


class Peers:
    """Where each peer is.

    Args:
        chosen: Those wanted; None takes all that are found.
        python: Another interpreter to look in.

    Raises:
        MissingPeerError: If one that is named in `chosen` is in neither.
    """

    def __init__(self, chosen: Iterable[str] | None = None, python: str | None = None):
        self.python = python
        elsewhere = []
        if python is not None:
            command = [python, "-c", ASK, *MODULES.values()]
            elsewhere = json.loads(subprocess.check_output(command))
        self._places: dict[str, str | None] = {}
        for name, module in MODULES.items():
            if find_spec(module) is not None:
                self._places[name] = None
            elif module in elsewhere:
                self._places[name] = python
        if chosen is not None:
            chosen = tuple(chosen)
            missing = [name for name in chosen if name not in self._places]
            if missing:
                raise MissingPeerError(
                    f"{', '.join(missing)} not installed: install it, or name a Python "
                    "that has it by --python"
                )
            self._places = {name: self._places[name] for name in chosen}
        self.missing: dict[str, list[str]] = {}  # by case

    @property
    def found(self) -> list[str]:
        """The names of those that take part."""
        return list(self._places)

    def has(self, *names: str) -> bool:
        """Whether all of these are in this Python, and take part."""
        return all(self._places.get(name, "") is None for name in names)

    def columns(self, case: str, columns: Sequence[Sequence[Setting]], *arguments):
        """The contenders of those peers that are found, a list for each peer.

        Args:
            case: Who asks; peers that are not found are noted under this name.
            columns: The settings of each peer.
            *arguments: What the settings take.
        """
        from tests.benchmarks.remote import Remote

        made = []
        for column in columns:
            contenders = []
            for setting in column:
                if setting.peer not in self._places:
                    self._note(case, setting.peer)
                elif (python := self._places[setting.peer]) is None:
                    contenders.append(setting(*arguments))
                else:
                    contenders.append(Remote(python, setting, arguments))
            if contenders:
                made.append(contenders)
        return made

    def _note(self, case, peer):
        missing = self.missing.setdefault(case, [])
        if peer not in missing:
            missing.append(peer)

    def need(self, case: str, names: Sequence[str]) -> bool:
        """Whether a case can run, which needs these; notes those that are missing."""
        lacking = [name for name in names if not self.has(name)]
        for name in lacking:
            self._note(case, name)
        return not lacking


def versions():
    """Installed versions, by package; None is not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
