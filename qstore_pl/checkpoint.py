r"""Checkpoint files: nested dicts and lists of numbers, strings and arrays.

A file is an npz archive (``numpy.savez``) followed by the 32 bytes of its SHA-256
digest. The archive holds the arrays, named ``"0"``, ``"1"``, ..., and an array
``document`` with the bytes of a strict JSON document ``{"format", "version", "tree"}``.
In ``tree`` a JSON object stands for a dict, and a JSON array ``[tag, content]`` for
anything that JSON lacks: ``["list", [...]]`` is a list, ``["array", i]`` the array of
that name, ``["float", bits]`` NaN or an infinity, ``["int", hex]`` an integer of more
than 64 bits.

This module knows no model and no optimizer; they decide what is saved.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
import tokenize
import zipfile
from pathlib import Path
from shutil import SpecialFileError
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from qstore_pl._files import replace_file
from qstore_pl.errors import CheckpointError

FORMAT = "qstore_pl checkpoint"
VERSION = 1

_DIGEST_SIZE = 32
_KINDS = "biufc"  # bool, int, unsigned, float, complex
_MAX_DEPTH = 100
# What zipfile, json and numpy raise on an archive that save() did not write.
_MALFORMED = (
    EOFError,
    LookupError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
)


def save(path: str | os.PathLike[str], tree: Any) -> None:
    """Write ``tree`` to ``path``, completely or not at all.

    The bytes go to a temporary file beside ``path``, which is then renamed: a full disk
    or a killed process leaves the previous file unchanged. (A killed process can leave
    a file ``.tmp-checkpoint-*`` behind.) Only its owner can read the new file. The same
    tree gives the same bytes.

    Args:
        path: The file to write. Its ending has no meaning, and none is added. A
            symbolic link is followed.
        tree: Dicts with str keys, lists, str, bool, int, float, None and NumPy arrays
            of numbers or bools, nested at most 100 deep. NumPy scalars of these kinds
            are read back as Python's bool, int, float and str.

    Raises:
        TypeError: If the tree contains anything else; the message says where.
        ValueError: If the tree is nested too deep, or contains itself.
        FileNotFoundError: If the directory of ``path`` does not exist.
        IsADirectoryError: If ``path`` is a directory.
        OSError: If the file cannot be written, or ``path`` is a device, a pipe or a
            socket, which the file would replace.

    Example:
        >>> import numpy as np
        >>> from qstore_pl import checkpoint
        >>> rng = np.random.default_rng(7)
        >>> checkpoint.save(
        ...     "run.npz", {"weights": rng.random(3), "rng": rng.bit_generator.state}
        ... )
        >>> run = checkpoint.load("run.npz")
        >>> rng.bit_generator.state = run["rng"]
    """
    target = Path(path).resolve()
    if target.is_dir():
        raise IsADirectoryError(
            f"Argument `path` must name a file, but `{path}` is a directory."
        )
    if target.exists() and not target.is_file():
        raise SpecialFileError(
            f"Argument `path` must name a file, but `{path}` is a device, a pipe or a "
            "socket, which the checkpoint would replace. Choose another name."
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"Argument `path` must lie in an existing directory, but `{target.parent}` "
            "is not one. Create it first."
        )
    replace_file(target, to_bytes(tree), prefix=".tmp-checkpoint-")


def load(path: str | os.PathLike[str]) -> Any:
    """Read a file that :func:`save` wrote.

    No code in the file is run, and its arrays take no more memory than the file.

    Args:
        path: The file to read.

    Returns:
        The tree. Arrays own their memory; dtype, shape and Fortran order are kept.

    Raises:
        FileNotFoundError: If there is no such file.
        IsADirectoryError: If ``path`` is a directory.
        CheckpointError: If the file is corrupt, truncated, a pickle, of another format
            or of a newer version.
    """
    source = Path(path)
    if source.is_dir():
        raise IsADirectoryError(
            f"Argument `path` must name a file, but `{path}` is a directory."
        )
    return from_bytes(source.read_bytes(), source)


def from_bytes(data: bytes, source: Path | str) -> Any:
    """The tree in the bytes that :func:`to_bytes` made.

    Args:
        data: The bytes.
        source: Where they come from, for errors.

    Raises:
        CheckpointError: As :func:`load`.
    """
    archive = _checked(source, data)
    try:
        return _from_archive(source, archive)
    except _MALFORMED as error:
        _refuse(source, "the contents of a checkpoint", f"{error}", error)


def _refuse(
    source: Path | str, expected: str, found: str, cause: Exception | None = None
) -> NoReturn:
    raise CheckpointError(
        f"Checkpoint `{source}` cannot be read: expected {expected}, found {found}."
    ) from cause


# --- the file --------------------------------------------------------------------


def _checked(source: Path | str, data: bytes) -> bytes:
    """The archive in ``data``, whose first bytes and digest are checked."""
    if data[:1] == b"\x80":
        _refuse(
            source,
            "a zip archive written by qstore_pl, whatever the name",
            "a Python pickle (loading one can run any code: it is never read)",
        )
    if data[:4] != b"PK\x03\x04":
        found = f"{data[:4]!r}" if data else "an empty file"
        _refuse(source, "a zip archive, which starts with b'PK\\x03\\x04'", found)
    archive, trailer = data[:-_DIGEST_SIZE], data[-_DIGEST_SIZE:]
    digest = hashlib.sha256(archive).digest()
    if trailer != digest:
        _refuse(
            source,
            f"the SHA-256 of its contents at the end, {digest.hex()}",
            f"{trailer.hex()}: the file is corrupt, truncated, or not from qstore_pl",
        )
    return archive


def _from_archive(source: Path | str, data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        document = json.loads(
            _array(archive, "document.npy").tobytes().decode("utf-8", "surrogatepass"),
            parse_constant=_no_constant,
        )
        if document["format"] != FORMAT:
            _refuse(source, f"the format {FORMAT!r}", f"{document['format']!r}")
        if document["version"] != VERSION:
            _refuse(
                source,
                f"version {VERSION} of the format",
                f"version {document['version']!r} (read it with the release of "
                "qstore-pl that wrote it, or a newer one)",
            )
        declared = sum(member.file_size for member in archive.infolist())
        if declared > len(data):  # in a made-up archive members may share bytes
            _refuse(source, f"at most {len(data)} bytes of arrays", f"{declared}")
        arrays = {name: _array(archive, name) for name in archive.namelist()}
    return _decode(document["tree"], arrays)


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array, once its header agrees with the number of bytes."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"a compressed array `{name}`")
    member = archive.read(name)
    stream = io.BytesIO(member)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"an array `{name}` of npy version {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array `{name}` of dtype {dtype}")
    declared, present = math.prod(shape) * dtype.itemsize, len(member) - stream.tell()
    if declared != present:
        raise ValueError(
            f"an array `{name}` of shape {shape} and dtype {dtype}, which takes "
            f"{declared} bytes, in {present}"
        )
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


# --- the tree --------------------------------------------------------------------


def to_bytes(tree: Any) -> bytes:
    """The bytes of the file that :func:`save` writes.

    Args:
        tree: As for :func:`save`.

    Raises:
        TypeError: As :func:`save`.
        ValueError: As :func:`save`.
    """
    arrays: list[NDArray[Any]] = []
    document = {
        "format": FORMAT,
        "version": VERSION,
        "tree": _encode(tree, "tree", 0, arrays),
    }
    # Surrogates are written unescaped: two \u escapes would be read as one character.
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    words = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    named: dict[str, Any] = {str(i): array for i, array in enumerate(arrays)}
    buffer = io.BytesIO()
    np.savez(buffer, document=words, **named)
    archive = buffer.getvalue()
    return archive + hashlib.sha256(archive).digest()


def _encode(value: Any, where: str, depth: int, arrays: list[NDArray[Any]]) -> Any:
    """Turn ``value`` into JSON, and append its arrays to ``arrays``."""
    if depth > _MAX_DEPTH:
        raise ValueError(
            f"Argument `tree` must be nested at most {_MAX_DEPTH} deep, but goes on at "
            f"{where} (does it contain itself?)."
        )
    if isinstance(value, np.bool_ | np.integer | np.floating | np.str_):
        value = value.item()
    kind = type(value)  # not isinstance: a subclass would be read back as its base
    if value is None or kind is str or kind is bool:
        return value
    if kind is int:
        return value if value.bit_length() < 64 else ["int", hex(value)]
    if kind is float:
        finite = math.isfinite(value)
        return value if finite else ["float", struct.pack(">d", value).hex()]
    if kind is np.ndarray and value.dtype.kind in _KINDS:
        arrays.append(value)
        return ["array", len(arrays) - 1]
    if kind is list:
        return [
            "list",
            [
                _encode(item, f"{where}[{i}]", depth + 1, arrays)
                for i, item in enumerate(value)
            ],
        ]
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise TypeError(
                    f"Argument `tree` must have str keys, but {where} has {key!r}."
                )
        return {
            key: _encode(item, f"{where}[{key!r}]", depth + 1, arrays)
            for key, item in value.items()
        }
    dtype = f" of dtype {value.dtype}" if kind is np.ndarray else ""
    raise TypeError(
        "Argument `tree` must hold dicts, lists, str, bool, int, float, None and NumPy "
        f"arrays of numbers, but {where} is a {kind.__name__}{dtype}. Convert it first."
    )


def _decode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Undo :func:`_encode`."""
    match value:
        case dict():
            return {key: _decode(item, arrays) for key, item in value.items()}
        case ["list", [*items]]:
            return [_decode(item, arrays) for item in items]
        case ["array", int(index)]:
            return arrays[f"{index}.npy"]
        case ["int", str(digits)]:
            return int(digits, 16)
        case ["float", str(bits)]:
            return struct.unpack(">d", bytes.fromhex(bits))[0]
        case None | str() | bool() | int() | float():
            return value
    raise ValueError(f"{value!r} in its tree")


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} in its document")
