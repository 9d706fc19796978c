"""``qstore predict``: what a trained model says of new samples."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, is_zipfile

from qstore_pl.commands.checkpoints import latest_of
from qstore_pl.commands.printing import add_command, show

if TYPE_CHECKING:
    from numpy.typing import NDArray

AT_A_TIME = 1024  # samples from one step of the progress bar to the next


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "predict",
        "print what a trained model says of the samples in a file",
        description="Prints comma-separated values: a line of names, then a line for "
        "each sample, which is its class after training with a loss of classes, else "
        "its outputs. DATA is a CSV file of numbers without labels, whose first line "
        "may hold names, or an npz archive, of which only the array X is read.",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a checkpoint, a file of QuantumModel.save, or the directory of a run, "
        "whose latest checkpoint is taken; best.qstore in it is its best epoch",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the samples")
    parser.add_argument(
        "--outputs",
        action="store_true",
        help="print the outputs of the model beside the class",
    )
    parser.add_argument(
        "--backend",
        help="where the circuits run, one of `qstore backends`; a checkpoint does not "
        "say where. Without it they run on qstore.mock_ideal",
    )
    parser.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    """Print the predictions.

    Raises:
        CheckpointError: If the checkpoint is damaged, or holds no model.
        ValueError: If the data are not of the right form, or the model is not trained.
    """
    import numpy as np

    from qstore_pl._progress import bar
    from qstore_pl.losses import decided
    from qstore_pl.model import QuantumModel

    path = latest_of(options.checkpoint)
    model = QuantumModel.from_checkpoint(path, backend=options.backend)
    X = samples_of(options.data, model.input_dim)
    word = model.get_state()["predicts"]
    if not word:
        raise ValueError(
            f"`{path}` must hold a trained model, whose loss decides whether a "
            "prediction is a class or a value, but does not, or was trained with a "
            "loss of your own. Use QuantumModel.forward in Python for its outputs."
        )
    is_class = word == "classes"
    outputs = np.empty((len(X), model.output_dim))
    with bar(len(X), "sample") as shown:
        for start in range(0, len(X), AT_A_TIME):
            rows = slice(start, start + AT_A_TIME)
            outputs[rows] = model.forward(X[rows])
            if shown is not None:
                shown.update(len(X[rows]))
    names = [f"output_{i}" for i in range(model.output_dim)]
    document: dict[str, Any] = {"checkpoint": str(path), "samples": len(X)}
    columns = []
    if is_class:
        classes = decided(outputs).tolist()
        document["classes"] = classes
        columns.append(("class", [str(one) for one in classes]))
    if options.outputs or not is_class:
        document["outputs"] = outputs.tolist()
        columns += [
            (name, [repr(one) for one in outputs[:, i].tolist()])
            for i, name in enumerate(names)
        ]
    head = ",".join(name for name, _ in columns)
    cells = zip(*(column for _, column in columns), strict=True)
    show(options, document, [head, *(",".join(row) for row in cells)])
    return 0


def samples_of(path: Path, n_features: int) -> NDArray[Any]:
    """The samples in a CSV file or an npz archive.

    Args:
        path: The file.
        n_features: How many features the model takes.

    Returns:
        Shape ``(n_samples, n_features)``, with at least one sample.

    Raises:
        ValueError: If the file is of another form.
    """
    import numpy as np

    with path.open("rb") as file:
        is_archive = is_zipfile(file)
    if is_archive:
        try:
            with np.load(path, allow_pickle=False) as archive:
                if "X" not in archive.files:
                    raise ValueError(
                        f"`{path}` must have an array X, but has "
                        f"{', '.join(archive.files) or 'none'}."
                    )
                X = np.asarray(archive["X"])
        except BadZipFile as error:
            raise ValueError(f"`{path}` is damaged: {error}.") from error
    else:
        X = _table(path)
    if X.ndim != 2 or X.shape[1] != n_features or not len(X):
        raise ValueError(
            f"The samples in `{path}` must have shape (n_samples, {n_features}), with "
            f"the features that the model was trained on, but have shape {X.shape}. "
            "Leave out a column of labels."
        )
    return X


def _table(path: Path) -> NDArray[Any]:
    """The numbers of a CSV file, without a line of names at its top."""
    import numpy as np

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"`{path}` is neither a whole npz archive nor a CSV file in UTF-8."
        ) from error
    lines = [line for line in lines if line.strip()]
    if lines and not _is_numbers(lines[0]):
        lines = lines[1:]
    if not lines:
        raise ValueError(f"`{path}` must have a line for each sample, but has none.")
    try:
        return np.loadtxt(lines, delimiter=",", ndmin=2, comments=None)
    except ValueError as error:
        raise ValueError(
            f"`{path}` must have numbers alone, with commas between them, below at "
            f"most one line of names, but has not: {error}"
        ) from error


def _is_numbers(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True
