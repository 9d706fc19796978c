"""``qstore bench``: how long a training step takes on this computer, beside others."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qstore_pl._tables import aligned
from qstore_pl.commands.printing import add_command, show

if TYPE_CHECKING:
    from qstore_pl.commands.contenders import Problem, Timing

QUIET = 0.5  # load average of the last minute, above which the times are doubtful
REPEATS = 5
HEAD = ("qubits", "device", "setting", "step", "half of them", "times ours")


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "bench",
        "time a training step here, beside PennyLane's own devices",
        description="Trains a circuit of 4 qubits, 2 layers and batches of 10 samples, "
        "and one of 8 qubits, 4 layers and batches of 32: RY(x) on each wire, then "
        "RX, RY, RZ and a ring of CNOTs in each layer; two expectation values, mean "
        "squared error, Adam. Ours is QuantumTrainer on qstore.mock_ideal; the others "
        "are qml.AdamOptimizer with a QNode on default.qubit, and on lightning.qubit "
        "if that is installed. First the losses and gradients of all are compared, and "
        "nothing is timed if they differ. Then all are timed in turn, and the medians "
        "are printed. It takes about half a minute, and other work on the computer "
        "makes the times longer.",
    )
    parser.add_argument(
        "--repeats",
        type=_repeats,
        default=REPEATS,
        help="measurements of each, >= 3",
    )
    parser.set_defaults(run=_bench)


def _repeats(word: str) -> int:
    if not word.isdecimal() or int(word) < 3:
        raise argparse.ArgumentTypeError(f"must be a number >= 3, but is {word!r}")
    return int(word)


def _bench(options: argparse.Namespace) -> int:
    from qstore_pl._computer import processors
    from qstore_pl._progress import bar
    from qstore_pl.commands.contenders import PROBLEMS, checked, timed

    before = _load()
    timings: list[tuple[Problem, float, list[Timing]]] = []
    with bar(len(PROBLEMS) * options.repeats, "round") as shown:
        for problem in PROBLEMS:
            contenders, error = checked(problem)
            after_round = None if shown is None else shown.update
            found = timed(contenders, options.repeats, after_round)
            timings.append((problem, error, found))
    after = _load()
    computer = {
        "processors": processors(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": before,
        "load_after": after,
    }
    results = [
        {
            "qubits": problem.n_qubits,
            "layers": problem.n_layers,
            "batch": problem.batch,
            "largest_difference": error,
            "steps": [one._asdict() for one in found],
        }
        for problem, error, found in timings
    ]
    document = {"computer": computer, "repeats": options.repeats, "results": results}
    show(options, document, _lines(timings, computer, options.repeats))
    return 0


def _load() -> float | None:
    """The load average of the last minute; None where the system has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _lines(
    timings: Sequence[tuple[Problem, float, list[Timing]]],
    computer: dict[str, Any],
    repeats: int,
) -> list[str]:
    rows = [HEAD]
    for problem, _, found in timings:
        for one in found:
            low, high = one.quartiles
            rows.append(
                (
                    str(problem.n_qubits),
                    one.device,
                    one.setting,
                    _span(one.median),
                    f"{_span(low)} to {_span(high)}",
                    f"{one.median / found[0].median:,.3g}",
                )
            )
    worst = max(error for _, error, _ in timings)
    load = computer["load_before"]
    lines = [
        *aligned(rows, right=(0, 3, 5)),
        f"Medians of {repeats} measurements in turn, and the range that half of them "
        "are in.",
        f"Losses and gradients of all agreed before: the largest difference is "
        f"{worst:.0e}.",
        f"Processors: {computer['processors']}. {computer['system']}, Python "
        f"{computer['python']}.",
    ]
    if load is None:
        lines.append("This system does not say how busy it is.")
    elif load > QUIET:
        lines.append(
            f"The load average was {load} before: other work on this computer made the "
            "times longer, and the ratios are doubtful."
        )
    else:
        lines.append(f"The load average was {load} before, which is an idle computer.")
    return lines


def _span(seconds: float) -> str:
    return f"{1e3 * seconds:,.3g} ms"
