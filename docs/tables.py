"""Rows of the reference tables, read from the package whenever the pages are built.

A field or a name that is added to the package is in the tables without further ado.
"""

import inspect
import re

import numpy as np

from qstore_pl import BackendManager, TrainingConfig, config
from qstore_pl.devices.presets import PRESETS
from qstore_pl.gradients import OPTIONS
from qstore_pl.losses import LOSSES
from qstore_pl.model import ENCODINGS
from qstore_pl.optimizers import OPTIMIZERS, get_optimizer
from qstore_pl.readout import WORDS
from qstore_pl.templates import ENTANGLEMENTS


def markdown(head, rows):
    """A table; a bar inside a cell would end it."""
    lines = [head, ["---"] * len(head), *rows]
    escaped = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def code(values):
    return ", ".join(f"`{value}`" for value in values)


def described(cls):
    """What the docstring of a class says of each of its arguments."""
    section = re.search(r"^Args:\n(.*?)(?=^\w|\Z)", inspect.getdoc(cls), re.M | re.S)
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section[1], re.M | re.S)
    plain = ((name, re.sub(r":\w+:`~?", "`", text)) for name, text in entries)
    return {name: " ".join(text.split()) for name, text in plain}


def allowed(name):
    """The range of a field, or the words that it takes; empty where neither is."""
    if name in config.CHOICES:
        return code(f'"{word}"' for word in config.CHOICES[name])
    if name in config._SWITCHES:
        return "`True`, `False`"
    if name in config._INTEGERS:
        return f"≥ {config._INTEGERS[name]}"
    bounds = config._REALS.get(name, {})
    signs = {"minimum": "≥", "above": ">", "below": "<"}
    return ", ".join(f"{signs[kind]} {bound:g}" for kind, bound in bounds.items())


def training_fields():
    """A row for each field of the configuration."""
    meaning, types = described(TrainingConfig), inspect.get_annotations(TrainingConfig)
    return [
        (
            f"`{name}`",
            f"`{types[name].removesuffix(' | None')}`",
            "unset" if default is None else f"`{default!r}`",
            allowed(name),
            meaning[name],
        )
        for name, default in config.DEFAULTS.items()
    ]


def optimizers():
    """A row for each optimizer: its name, and what it is with its own defaults."""
    made = ((name, get_optimizer(name, 0.01)) for name in OPTIMIZERS)
    return [
        (f'`"{name}"`', f"`{made!r}`", inspect.getdoc(made).splitlines()[0])
        for name, made in made
    ]


TARGETS = {  # name: of a number of classes, for four samples
    "numbers": lambda k: np.full((4, k), 0.25),
    "labels 0, 1, ...": lambda k: np.arange(4) % max(k, 2),
    "one-hot rows": lambda k: np.eye(k)[np.arange(4) % k] if k > 1 else None,
    "-1 and 1": lambda k: np.resize([-1.0, 1.0], (4, k)),
}


def takes(loss, targets, n_outputs):
    if targets is None:
        return False
    try:
        loss.prepare_targets(targets, n_outputs, 4)
    except (TypeError, ValueError):
        return False
    return True


def losses():
    """A row for each loss, and which targets it takes, as trying tells."""
    return [
        (
            f'`"{name}"`',
            *(
                ", ".join(t for t, make in TARGETS.items() if takes(loss, make(k), k))
                or "none"
                for k in (1, 3)
            ),
        )
        for name, loss in LOSSES.items()
    ]


def gradient_methods():
    """A row for each method, with the options that it takes."""
    return [
        (f'`"{name}"`', code(options) or "none") for name, options in OPTIONS.items()
    ]


def words():
    """A row for everything else that is chosen by name."""
    named = {
        "encoding of a model": ENCODINGS,
        "entanglement": ENTANGLEMENTS,
        "readout of a model": WORDS,
        "metric tensor of the natural gradient": config.CHOICES["metric_tensor"],
        "approximation of the metric tensor": config.CHOICES[
            "metric_tensor_approximation"
        ],
        "schedule": config.CHOICES["schedule"],
        "noise preset": PRESETS,
        "backend": BackendManager().list_backends(),
    }
    return [
        (what, code(f'"{name}"' for name in names)) for what, names in named.items()
    ]
