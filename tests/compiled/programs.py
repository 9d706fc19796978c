"""Random QNodes as source text: a failing test prints a QNode that one can run.

A program has arguments of all kinds (numbers, arrays, lists, tuples, dictionaries, a
batch, static ones), computes gate parameters from them by classical code, and returns
measurements in some form. The classical code is written with ``xp``, the module of
functions of a framework.
"""

from __future__ import annotations

import linecache
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pennylane as qml

from tests.cases import (
    DRAWN,
    GATES,
    OBSERVABLES,
    PREPARATIONS,
    TEMPLATES,
    VARIANTS,
    has_variant,
)
from tests.devices.test_channels import CHANNELS

ROWS = MappingProxyType(GATES | TEMPLATES | PREPARATIONS)
DEVICES = {"ideal": "qstore.mock_ideal", "noisy": "qstore.mock_noisy"}
RATES = 0.3  # arguments of channels are between 0 and this
# Gates that compiled circuits do not have with arguments, see test_gates.py.
CONSTANT = ("Exp", "Evolution")
# PennyLane compares numbers of the first; those of the second bound each other.
NOT_SCALED = ("PauliError", "ThermalRelaxationError")
FORMS = ("one", "one", "list", "tuple", "dict", "nested")


@dataclass(frozen=True)
class Program:
    """A quantum function, its arguments and its device.

    Args:
        seed: The number from which it was drawn.
        source: Text of the function ``circuit``.
        args: Arguments by position.
        kwargs: Arguments by name.
        device: ``"ideal"`` or ``"noisy"``.
        n_wires: Number of wires.
        gates: Names of rows of the tables in tests/cases.py.
    """

    seed: int
    source: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    device: str
    n_wires: int
    gates: tuple[str, ...]

    def function(self, xp: Any) -> Callable[..., Any]:
        """The quantum function, computing with the functions of ``xp``."""
        file = f"<program {self.seed}>"  # which inspect and tracebacks can read
        linecache.cache[file] = (0, None, self.source.splitlines(keepends=True), file)
        names = {"qml": qml, "np": np, "xp": xp, "__name__": __name__} | HELPERS
        exec(compile(self.source, file, "exec"), names)
        return names["circuit"]

    def qnode(self, xp: Any, device: str | None = None) -> qml.QNode:
        """The QNode, by default on the device of the program."""
        device = DEVICES[self.device] if device is None else device
        return qml.QNode(self.function(xp), qml.device(device, wires=self.n_wires))

    def __repr__(self) -> str:
        arguments = f"circuit(*{self.args!r}, **{self.kwargs!r})"
        return f"seed {self.seed}, {self.device}\n{self.source}\n{arguments}"


# ----------------------------------------------------- names that programs know
# In read-only views `compile` does not look for random generators; in the tables, which
# each program can reach, it would for longer than it traces.
def gate(name, parameters, wires, seed, variant=None, controls=()):
    """A row of the tables, perhaps its adjoint, controlled or squared form."""
    rng = np.random.default_rng(seed)
    op = ROWS[name].build(parameters, list(wires), rng)
    return op if variant is None else VARIANTS[variant](op, list(controls), rng)


def constants(name, seed, batch=None):
    """Parameters of a row of the tables, for each sample or for all."""
    return ROWS[name].parameters(np.random.default_rng(seed), batch)


def channel(name, parameters, wires):
    return CHANNELS[name].build(parameters, list(wires))


def observable(name, wires, seed):
    rng = np.random.default_rng(seed)
    return OBSERVABLES[name](rng, list(wires), rng.normal(size=3))


HELPERS = {
    "gate": gate,
    "constants": constants,
    "channel": channel,
    "observable": observable,
}


# --------------------------------------------------------------------- writing
@dataclass(frozen=True)
class Leaf:
    """An array or number among the arguments: how it is written, and its shape."""

    text: str
    shape: tuple[int, ...]
    batched: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def entry(self, index: int) -> str:
        if not self.shape:
            return self.text
        where = [str(i) for i in np.unravel_index(index % self.size, self.shape)]
        return f"{self.text}[{', '.join(['...', *where] if self.batched else where)}]"

    def some(self, start: int, stop: int) -> str:
        """Entries of a leaf with one axis."""
        return f"{self.text}[{'..., ' if self.batched else ''}{start}:{stop}]"


@dataclass
class Writer:
    """Draws the parts of a program and collects their text."""

    rng: np.random.Generator
    n_wires: int
    batch: int | None
    leaves: list[Leaf] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    gates: list[str] = field(default_factory=list)

    # ----- numbers
    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def number(self) -> float:
        return round(float(self.rng.uniform(-1.5, 1.5)), 3)

    def choice(self, among: Sequence[Any]) -> Any:
        return among[self.integer(0, len(among))]

    # ----- expressions
    def leaf(self, *, batched: bool, n_axes: int | None = None) -> Leaf | None:
        """A leaf; one without the batch axis will do where that axis is broadcast."""
        found = [
            leaf
            for leaf in self.leaves
            if (n_axes is None or len(leaf.shape) == n_axes)
            and (batched or not leaf.batched)
        ]
        with_axis = [leaf for leaf in found if leaf.batched]
        if with_axis and self.chance(0.6):
            found = with_axis
        return self.choice(found) if found else None

    def atom(self, *, batched: bool) -> str:
        leaf = self.leaf(batched=batched)
        assert leaf is not None
        return leaf.entry(self.integer(0, 12))

    def scalar(self, *, batched: bool = False, depth: int = 2) -> str:
        """A number of each sample, or one for all."""
        kinds = [self.atom, self.affine, self.product, self.scaled]
        if depth:
            kinds += [self.smooth, self.total, self.dot, self.picked, self.root]
        kind = self.choice(kinds)
        return kind(batched=batched)

    def affine(self, *, batched: bool) -> str:
        left, right = self.atom(batched=batched), self.number()
        return self.choice(
            [
                f"{self.number()} * {left} + {right}",
                f"{right} - {left}",
                f"{self.atom(batched=batched)} * {left} + {self.atom(batched=False)}",
                f"({left} + {right}) / {abs(self.number()) + 0.5}",
                f"-{left}",
            ]
        )

    def product(self, *, batched: bool) -> str:
        factors = [self.atom(batched=batched) for _ in range(self.integer(2, 4))]
        return " * ".join(factors)

    def scaled(self, *, batched: bool) -> str:
        return f"np.pi * {self.atom(batched=batched)}"

    def smooth(self, *, batched: bool) -> str:
        name = self.choice(["sin", "cos", "arctan", "tanh", "sin"])
        inner = self.scalar(batched=batched, depth=0)
        return f"{self.number()} * xp.{name}({inner})"

    def root(self, *, batched: bool) -> str:
        inner = self.atom(batched=batched)
        return self.choice([f"xp.sqrt(1 + {inner}**2)", f"xp.exp(-0.4 * {inner})"])

    def total(self, *, batched: bool) -> str:
        leaf = self.leaf(batched=batched, n_axes=1)
        if leaf is None:
            return self.atom(batched=batched)
        if not leaf.batched and self.chance(0.5):
            return f"xp.sum({leaf.text})"
        return f"xp.sum({leaf.some(0, self.integer(1, leaf.size + 1))}, axis=-1)"

    def dot(self, *, batched: bool) -> str:
        one, other = (self.leaf(batched=False, n_axes=1) for _ in range(2))
        matrix = self.leaf(batched=False, n_axes=2)
        if one is None or other is None:
            return self.atom(batched=batched)
        if matrix is not None and matrix.shape[1] <= one.size and self.chance(0.5):
            row = self.integer(0, matrix.shape[0])
            return f"xp.dot({matrix.text}, {one.some(0, matrix.shape[1])})[{row}]"
        n = min(one.size, other.size)
        return f"xp.dot({one.some(0, n)}, {other.some(0, n)})"

    def picked(self, *, batched: bool) -> str:
        """An entry of an array that is made for it."""
        n = self.integer(2, 4)
        i = self.integer(0, n)
        matrix = self.leaf(batched=False, n_axes=2)
        if matrix is not None and self.chance(0.4):
            return f"xp.reshape({matrix.text}, (-1,))[{i}]"
        return f"{self.vector(n, batched=False)}[{i}]"

    def vector(self, n: int, *, batched: bool) -> str:
        """An array of shape ``(n,)``, or with a batch axis in front."""
        kind = self.choice(["stack", "slices", "function", "slices"])
        batched = batched and any(leaf.batched for leaf in self.leaves)
        if kind == "function":
            name = self.choice(["sin", "tanh", "arctan"])
            return f"xp.{name}({self.slices(n, batched=batched)})"
        if kind == "slices":
            text = self.slices(n, batched=batched)
            return text if self.chance(0.5) else f"np.pi * {text}"
        if batched:
            parts = [f"{self.own()} + {self.number()}" for _ in range(n)]
        else:
            parts = [self.scalar(depth=0) for _ in range(n)]
        return f"xp.stack([{', '.join(parts)}], axis=-1)"

    def own(self) -> str:
        """An entry that each sample has for itself."""
        leaf = self.choice([leaf for leaf in self.leaves if leaf.batched])
        return leaf.entry(self.integer(0, 12))

    def slices(self, n: int, *, batched: bool) -> str:
        """Entries of leaves with one axis, one piece after the other."""
        leaves = [
            leaf
            for leaf in self.leaves
            if len(leaf.shape) == 1 and leaf.batched == batched
        ]
        pieces = []
        while n:
            leaf = self.choice(leaves)
            start = self.integer(0, leaf.size)
            stop = min(leaf.size, start + n)
            pieces.append(leaf.some(start, stop))
            n -= stop - start
        if len(pieces) == 1:
            return pieces[0]
        return f"xp.concatenate([{', '.join(pieces)}], axis=-1)"

    def array(self, shape: tuple[int, ...], *, batched: bool) -> str:
        """A parameter of any shape."""
        if not shape:
            return self.scalar(batched=batched)
        size = math.prod(shape)
        if len(shape) == 1:
            return self.vector(size, batched=batched)
        front = (self.batch,) if batched and self.batch else ()
        return f"xp.reshape({self.vector(size, batched=batched)}, {front + shape})"

    # ----- gates
    def gate(self, names: Sequence[str], *, variants: bool = True) -> str:
        rng = self.rng
        name = self.choice([n for n in names if ROWS[n].n_wires <= self.n_wires])
        row = ROWS[name]
        order = [int(w) for w in rng.permutation(self.n_wires)]
        wires, spare = tuple(order[: row.n_wires]), order[row.n_wires :]
        seed = self.integer(0, 10**6)
        self.gates.append(name)
        parameters = self.parameters(name, seed)
        text = f"gate({name!r}, {parameters}, {wires}, {seed}"
        if variants and self.chance(0.25):
            possible = [v for v in VARIANTS if v != "root" and has_variant(row, v)]
            variant = str(self.choice(possible))
            if "controlled" not in variant:
                return f"{text}, {variant!r})"
            if spare:
                return f"{text}, {variant!r}, {tuple(spare[:1])})"
        return f"{text})"

    def parameters(self, name: str, seed: int) -> str:
        row = ROWS[name]
        batched = self.batch is not None and row.batches and row.batch_gradients
        constant = name in CONSTANT or name in PREPARATIONS or row.oracle != "autograd"
        if constant or self.chance(0.05):
            wide = batched and self.chance(0.3)
            return f"constants({name!r}, {seed}{f', {self.batch}' if wide else ''})"
        batched = batched and self.chance(0.6)
        parts = [self.array(shape, batched=batched) for shape in row.shapes]
        return f"[{', '.join(parts)}]"

    def channel(self) -> str:
        names = [
            name
            for name, row in CHANNELS.items()
            if row.n_wires <= self.n_wires
            and row.oracle == "autograd"
            and not name.startswith(NOT_SCALED)
        ]
        name = self.choice(names)
        row = CHANNELS[name]
        wires = tuple(int(w) for w in self.rng.permutation(self.n_wires)[: row.n_wires])
        parts = [
            f"{number} * (1 + 0.5 * xp.sin({self.atom(batched=False)})) / 1.5"
            for number in row.numbers
        ]
        return f"channel({name!r}, [{', '.join(parts)}], {wires})"

    def measurement(self) -> str:
        kind = self.choice(["expval", "expval", "expval", "var", "probs"])
        wires = tuple(int(w) for w in self.rng.permutation(self.n_wires))
        wires = wires[: self.integer(1, min(3, self.n_wires) + 1)]
        if kind == "probs":
            return f"qml.probs(wires={list(wires)})"
        name = self.choice(list(OBSERVABLES))
        return f"qml.{kind}(observable({name!r}, {wires}, {self.integer(0, 10**6)}))"

    def result(self) -> str:
        form = self.choice(FORMS)
        made = [self.measurement() for _ in range(1 if form == "one" else 3)]
        made = made if self.chance(0.7) or form in ("one", "nested") else made[:2]
        joined = ", ".join(made)
        if form == "one":
            return made[0]
        if form == "list":
            return f"[{joined}]"
        if form == "tuple":
            return f"({joined})"
        if form == "dict":
            return f"dict({', '.join(f'm{i}={m}' for i, m in enumerate(made))})"
        return f"{{'a': {made[0]}, 'b': [{made[1]}, {made[2]}]}}"


def drawn(
    seed: int,
    *,
    names: Sequence[str] = DRAWN,
    channels: bool = False,
    variants: bool = True,
) -> Program:
    """The program of a seed.

    Args:
        seed: From 0.
        names: Names of the gates, rows of tests/cases.py.
        channels: Whether there are channels, whose strengths depend on arguments.
        variants: Whether there are adjoint, controlled and squared gates.
    """
    rng = np.random.default_rng([seed, 20])
    n_wires = int(rng.choice([2, 2, 3, 3, 4]))
    batch = None if rng.random() < 0.55 else int(rng.choice([1, 2, 3]))
    writer = Writer(rng, n_wires, batch)
    positional, named = arguments(writer)
    if writer.chance(0.25):
        first = [n for n, row in PREPARATIONS.items() if row.n_wires <= n_wires]
        writer.lines.append(writer.gate(first, variants=False))
    own = [leaf for leaf in writer.leaves if leaf.batched]
    if own and own[0].size <= n_wires and writer.chance(0.5):
        wires = list(range(own[0].size))
        writer.lines.append(f"qml.AngleEmbedding({own[0].text}, wires={wires})")
    for _ in range(writer.integer(3, 9)):
        writer.lines.append(writer.gate(names, variants=variants))
        if channels:
            writer.lines.append(writer.channel())
    if "k" in positional | named:
        w = f"w[(i + {writer.integer(0, 4)}) % 4]"
        writer.lines.append(f"for i in range(k): qml.RY({w}, wires=i)")
    if "rotation" in positional | named:
        text = (
            f"qml.AngleEmbedding({writer.slices(2, batched=False)}, [0, 1], rotation)"
        )
        writer.lines.append(text)
    if "flag" in positional | named:
        writer.lines.append(f"if flag: {writer.gate(names, variants=variants)}")
    body = "\n".join(f"    {line}" for line in writer.lines)
    listed = ", ".join([*positional, "*", *named] if named else positional)
    source = f"def circuit({listed}):\n{body}\n    return {writer.result()}\n"
    noisy = channels or bool(rng.random() < 0.3)
    return Program(
        seed,
        source,
        tuple(positional.values()),
        dict(named),
        "noisy" if noisy else "ideal",
        n_wires,
        tuple(writer.gates),
    )


def arguments(writer: Writer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of all kinds, by position and by name; notes their leaves."""
    rng = writer.rng

    def array(text, *shape, batched=False):
        front = (writer.batch,) if batched and writer.batch is not None else ()
        writer.leaves.append(Leaf(text, shape, batched and bool(front)))
        return rng.uniform(-1.5, 1.5, front + shape)

    def number(text):
        writer.leaves.append(Leaf(text, ()))
        return float(rng.uniform(-1.5, 1.5))

    kinds = {
        "b": lambda: number("b"),
        "m": lambda: array("m", 2, 3),
        "pair": lambda: [number("pair[0]"), array("pair[1]", 3)],
        "both": lambda: (array("both[0]", 2), [number("both[1][0]")]),
        "options": lambda: {
            "scale": number("options['scale']"),
            "inner": {"v": array("options['inner']['v']", 2)},
        },
        "zero": lambda: array("zero"),
        "unused": lambda: rng.uniform(-1, 1, (2, 2)),
        "k": lambda: int(rng.integers(1, 3)),
        "rotation": lambda: str(rng.choice(list("XYZ"))),
        "flag": lambda: bool(rng.integers(2)),
    }
    given = {"w": array("w", 4)}
    if writer.batch is not None or writer.chance(0.4):
        given["x"] = array("x", int(rng.integers(2, 4)), batched=True)
    for name in rng.permutation(list(kinds))[: writer.integer(1, 5)].tolist():
        given[name] = kinds[name]()
    order = rng.permutation(list(given)).tolist()
    n_named = writer.integer(0, len(order))
    positional = order[: len(order) - n_named]
    return (
        {name: given[name] for name in positional},
        {name: given[name] for name in order[len(positional) :]},
    )
