"""What may be sent to IonQ's REST interface, version 0.4, read strictly.

Whatever is not exactly as the interface wants it is refused with a message, so that a
client that is careless with types or names fails in the tests and not at the customer.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

QUBITS = {
    "simulator": 29,
    "qpu.aria-1": 25,
    "qpu.aria-2": 25,
    "qpu.forte-1": 36,
    "qpu.forte-enterprise-1": 36,
}
NOISE_MODELS = (
    "ideal",
    "harmony",
    "aria-1",
    "aria-2",
    "forte-1",
    "forte-enterprise-1",
)
SHOTS = {"simulator": 1_000_000, "qpu": 10_000}
SINGLE, MULTI = "ionq.circuit.v1", "ionq.multi-circuit.v1"

PLAIN = ("x", "y", "z", "h", "s", "si", "t", "ti", "v", "vi")
ROTATIONS = ("rx", "ry", "rz")
ISING = ("xx", "yy", "zz")
FIELDS = {
    **dict.fromkeys(PLAIN, ("gate", "target")),
    **dict.fromkeys(ROTATIONS, ("gate", "rotation", "target")),
    **dict.fromkeys(ISING, ("gate", "rotation", "targets")),
    "cnot": ("control", "gate", "target"),
    "swap": ("gate", "targets"),
}


class BadRequest(Exception):
    """A payload that the interface refuses."""


class Gate(NamedTuple):
    """A gate: its name in the interface, its qubits, and its angle in radians."""

    name: str
    qubits: tuple[int, ...]
    angle: float = 0.0


@dataclass(frozen=True)
class Payload:
    """A request to run circuits."""

    backend: str
    n_qubits: int
    circuits: list[list[Gate]]
    multi: bool
    shots: int
    noise_model: str | None = None
    noise_seed: int | None = None
    metadata: dict[str, str] | None = None
    name: str | None = None
    dry_run: bool = False
    debiasing: bool | None = None


def read(body: bytes, *, most_circuits: int | None = None) -> Payload:
    """The payload in the body of a request.

    Raises:
        BadRequest: If it is not exactly as the interface wants it.
    """
    try:
        data = json.loads(body, parse_constant=_no_number)
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}") from error
    _object(data, "body", needed=("type", "input", "backend"), allowed=OPTIONAL)
    backend = _one_of(data["backend"], "backend", QUBITS)
    multi = _one_of(data["type"], "type", (SINGLE, MULTI)) == MULTI
    n_qubits, circuits = _input(data["input"], backend, multi, most_circuits)
    kind = "simulator" if backend == "simulator" else "qpu"
    model, seed = _noise(data.get("noise"), kind)
    metadata = data.get("metadata")
    if metadata is not None:
        _metadata(metadata)
    if "name" in data and not isinstance(data["name"], str):
        raise BadRequest("name must be a string.")
    if not isinstance(data.get("dry_run", False), bool):
        raise BadRequest("dry_run must be a boolean.")
    return Payload(
        backend,
        n_qubits,
        circuits,
        multi,
        _integer(data.get("shots", 100), "shots", 1, SHOTS[kind]),
        model,
        seed,
        metadata,
        data.get("name"),
        data.get("dry_run", False),
        _settings(data.get("settings"), kind),
    )


OPTIONAL = ("shots", "name", "noise", "dry_run", "metadata", "settings")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _object(
    value: Any, name: str, *, needed: tuple[str, ...], allowed: tuple[str, ...] = ()
) -> None:
    if not isinstance(value, dict):
        raise BadRequest(f"{name} must be an object.")
    for key in needed:
        if key not in value:
            raise BadRequest(f"{name} needs the field {key!r}.")
    for key in value:
        if key not in needed and key not in allowed:
            raise BadRequest(f"{name} has the unknown field {key!r}.")


def _one_of(value: Any, name: str, known: Any) -> str:
    if not isinstance(value, str) or value not in known:
        raise BadRequest(f"{name} must be one of {', '.join(known)}, not {value!r}.")
    return value


def _integer(value: Any, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"{name} must be an integer, not {value!r}.")
    if not least <= value <= most:
        raise BadRequest(f"{name} must be from {least} to {most}, not {value}.")
    return value


def _input(
    value: Any, backend: str, multi: bool, most: int | None
) -> tuple[int, list[list[Gate]]]:
    where = "circuits" if multi else "circuit"
    _object(value, "input", needed=("qubits", "gateset", where))
    n_qubits = _integer(value["qubits"], "input.qubits", 1, QUBITS[backend])
    _one_of(value["gateset"], "input.gateset", ("qis",))
    if not multi:
        return n_qubits, [_circuit(value["circuit"], n_qubits)]
    if not isinstance(value["circuits"], list) or not value["circuits"]:
        raise BadRequest("input.circuits must be a list of at least one circuit.")
    if most is not None and len(value["circuits"]) > most:
        raise BadRequest(f"input.circuits must be at most {most} circuits.")
    circuits = []
    for one in value["circuits"]:
        _object(one, "input.circuits[]", needed=("circuit",), allowed=("name",))
        circuits.append(_circuit(one["circuit"], n_qubits))
    return n_qubits, circuits


def _circuit(value: Any, n_qubits: int) -> list[Gate]:
    if not isinstance(value, list):
        raise BadRequest("circuit must be a list of gates.")
    return [_gate(one, n_qubits) for one in value]


def _gate(value: Any, n_qubits: int) -> Gate:
    if not isinstance(value, dict):
        raise BadRequest("A gate must be an object.")
    name = _one_of(value.get("gate"), "gate", FIELDS)
    _object(value, f"gate {name}", needed=FIELDS[name])
    angle = value.get("rotation", 0.0)
    if isinstance(angle, bool) or not isinstance(angle, int | float):
        raise BadRequest(f"gate {name}: rotation must be a number, not {angle!r}.")
    if not math.isfinite(angle):
        raise BadRequest(f"gate {name}: rotation must be finite.")
    if "targets" in value:
        qubits = value["targets"]
        if not isinstance(qubits, list) or len(qubits) != 2:
            raise BadRequest(f"gate {name}: targets must be a list of two qubits.")
    else:
        qubits = [value[key] for key in ("control", "target") if key in value]
    for qubit in qubits:
        _integer(qubit, f"gate {name}: qubit", 0, n_qubits - 1)
    if len(set(qubits)) != len(qubits):
        raise BadRequest(f"gate {name}: its qubits must differ.")
    return Gate(name, tuple(qubits), float(angle))


def _noise(value: Any, kind: str) -> tuple[str | None, int | None]:
    if value is None:
        return None, None
    if kind != "simulator":
        raise BadRequest("noise is only for the simulator.")
    _object(value, "noise", needed=("model",), allowed=("seed",))
    model = _one_of(value["model"], "noise.model", NOISE_MODELS)
    if "seed" not in value:
        return model, None
    return model, _integer(value["seed"], "noise.seed", 1, 2**31 - 1)


def _metadata(value: Any) -> None:
    if not isinstance(value, dict) or len(value) > 10:
        raise BadRequest("metadata must be an object of at most 10 fields.")
    for key, text in value.items():
        if not isinstance(text, str):
            raise BadRequest(f"metadata.{key} must be a string.")
        if len(key) > 40 or len(text) > 400:
            raise BadRequest("metadata has keys over 40 or texts over 400 characters.")


def _settings(value: Any, kind: str) -> bool | None:
    """Whether errors are mitigated, as far as the settings say it."""
    if value is None:
        return None
    _object(value, "settings", needed=(), allowed=("compilation", "error_mitigation"))
    if (compilation := value.get("compilation")) is not None:
        allowed = ("opt", "precision")
        _object(compilation, "settings.compilation", needed=(), allowed=allowed)
    if (mitigation := value.get("error_mitigation")) is None:
        return None
    if kind != "qpu":
        raise BadRequest("settings.error_mitigation is only for a QPU.")
    _object(mitigation, "settings.error_mitigation", needed=("debiasing",))
    if not isinstance(mitigation["debiasing"], bool):
        raise BadRequest("settings.error_mitigation.debiasing must be a boolean.")
    return mitigation["debiasing"]
