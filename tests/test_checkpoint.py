"""Checkpoint files: exact round trips, exact bytes, and every way a file can be bad."""

import base64
import copy
import doctest
import errno
import hashlib
import io
import json
import os
import pickle
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qstore_pl import checkpoint
from qstore_pl.errors import CheckpointError

TREE = {
    "version": 1,
    "name": "π",
    "nan": float("nan"),
    "big": 2**100,
    "none": None,
    "on": True,
    "rate": 0.1,
    "items": [1, []],
    "weights": np.array([[0.1, -0.0], [np.inf, 2.0]], order="F"),
}
# What version 1 of the format writes for TREE.
FROZEN = base64.b64decode(
    """
    UEsDBC0AAAAAAAAAIQAMMtgI//////////8MABQAZG9jdW1lbnQubnB5AQAQAJIBAAAAAAAAkgEA
    AAAAAACTTlVNUFkBAHYAeydkZXNjcic6ICd8dTEnLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAn
    c2hhcGUnOiAoMjc0LCksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg
    ICAgICAgICAgICAgICAgICAgCnsiZm9ybWF0IjogInFzdG9yZV9wbCBjaGVja3BvaW50IiwgInZl
    cnNpb24iOiAxLCAidHJlZSI6IHsidmVyc2lvbiI6IDEsICJuYW1lIjogIs+AIiwgIm5hbiI6IFsi
    ZmxvYXQiLCAiN2ZmODAwMDAwMDAwMDAwMCJdLCAiYmlnIjogWyJpbnQiLCAiMHgxMDAwMDAwMDAw
    MDAwMDAwMDAwMDAwMDAwMCJdLCAibm9uZSI6IG51bGwsICJvbiI6IHRydWUsICJyYXRlIjogMC4x
    LCAiaXRlbXMiOiBbImxpc3QiLCBbMSwgWyJsaXN0IiwgW11dXV0sICJ3ZWlnaHRzIjogWyJhcnJh
    eSIsIDBdfX1QSwMELQAAAAAAAAAhANRmeeL//////////wUAFAAwLm5weQEAEACgAAAAAAAAAKAA
    AAAAAAAAk05VTVBZAQB2AHsnZGVzY3InOiAnPGY4JywgJ2ZvcnRyYW5fb3JkZXInOiBUcnVlLCAn
    c2hhcGUnOiAoMiwgMiksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg
    ICAgICAgICAgICAgICAgICAgIAqamZmZmZm5PwAAAAAAAPB/AAAAAAAAAIAAAAAAAAAAQFBLAQIt
    Ay0AAAAAAAAAIQAMMtgIkgEAAJIBAAAMAAAAAAAAAAAAAACAAQAAAABkb2N1bWVudC5ucHlQSwEC
    LQMtAAAAAAAAACEA1GZ54qAAAACgAAAABQAAAAAAAAAAAAAAgAHQAQAAMC5ucHlQSwUGAAAAAAIA
    AgBtAAAApwIAAAAAaZ352nzZFpC05iYmqrTa/Z9zvZuxyxSVEONcG6stsOg=
    """
)


def assert_same(left, right):
    """Equal to the last bit, types and memory order included."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, np.ndarray):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.tobytes() == right.tobytes()
    elif isinstance(left, float):
        assert struct.pack(">d", left) == struct.pack(">d", right)
    else:
        assert left == right


def sealed(archive):
    """A file with the right checksum, whatever is in it."""
    return archive + hashlib.sha256(archive).digest()


def crafted(document=None, *, compress=False, **arrays):
    """A sealed file with any document and arrays."""
    text = document if isinstance(document, str) else json.dumps(document)
    buffer = io.BytesIO()
    write = np.savez_compressed if compress else np.savez
    write(buffer, document=np.frombuffer(text.encode(), np.uint8), **arrays)
    return sealed(buffer.getvalue())


def wrapped(tree, *, version=1, name="qstore_pl checkpoint"):
    return {"format": name, "version": version, "tree": tree}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


# --- round trips -----------------------------------------------------------------

ARRAYS = hnp.arrays(
    dtype=st.one_of(
        hnp.boolean_dtypes(),
        hnp.integer_dtypes(endianness="?"),
        hnp.unsigned_integer_dtypes(endianness="?"),
        hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
        hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    ),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates included
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | ARRAYS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=12,
)


@given(tree=TREES)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_load_gives_what_was_saved(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "any-tree"
    checkpoint.save(path, tree)
    assert_same(checkpoint.load(path), tree)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        5e-324,
        float("-inf"),
        struct.unpack(">d", bytes.fromhex("fff8000000abcdef"))[0],  # NaN with a payload
        2**63 - 1,
        -(2**63),
        pytest.param(10**6000, id="more digits than Python turns into text"),
        "\ud83d\ude00",  # a pair of surrogates is not the one character
        ["list", []],  # our own tags
        {"array": ["array", 0]},
        np.array(2.5),
        np.zeros((0, 3)),
        np.longdouble(1) / np.arange(1, 4, dtype=np.longdouble),
    ],
)
def test_difficult_values(path, value):
    checkpoint.save(path, value)
    assert_same(checkpoint.load(path), value)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.int8, np.bool_])
def test_arrays_of_any_memory_order(path, dtype):
    base = np.random.default_rng(1).integers(0, 2, (4, 6, 5)).astype(dtype)
    tree = {
        "fortran": np.asfortranarray(base),
        "strided": base[::2, ::-1, 1:4],
        "transposed": base.transpose(1, 2, 0),
        "broadcast": np.broadcast_to(base[0], (3, 6, 5)),
    }
    checkpoint.save(path, tree)
    loaded = checkpoint.load(path)
    for name, array in tree.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array, strict=True)
        assert loaded[name].flags.owndata or loaded[name].base.flags.owndata
        assert loaded[name].flags.writeable
    assert loaded["fortran"].flags.f_contiguous


def test_numpy_scalars_come_back_as_python_scalars(path):
    scalars = [np.float64(0.1), np.float32(0.1), np.int64(-3), np.uint64(2**64 - 1)]
    checkpoint.save(path, [*scalars, np.bool_(True), np.str_("a")])
    expected = [0.1, float(np.float32(0.1)), -3, 2**64 - 1, True, "a"]
    assert_same(checkpoint.load(path), expected)


@pytest.mark.parametrize("name", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_a_generator_goes_on_where_it_was(path, name):
    rng = np.random.Generator(getattr(np.random, name)(3))
    rng.integers(7, size=3, dtype=np.uint32)  # leaves half a word behind
    checkpoint.save(path, rng.bit_generator.state)
    expected = rng.random(5), rng.integers(7, size=5, dtype=np.uint32)
    other = np.random.Generator(getattr(np.random, name)(4))
    other.bit_generator.state = checkpoint.load(path)
    np.testing.assert_array_equal(other.random(5), expected[0])
    drawn = other.integers(7, size=5, dtype=np.uint32)
    np.testing.assert_array_equal(drawn, expected[1])


def test_saving_changes_nothing_in_the_tree(path):
    before = copy.deepcopy(TREE)
    checkpoint.save(path, TREE)
    assert_same(TREE, before)


def test_example_of_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(checkpoint)
    assert result.attempted > 0
    assert result.failed == 0


# --- the format ------------------------------------------------------------------


def test_frozen_file_loads(path):
    path.write_bytes(FROZEN)
    assert_same(checkpoint.load(path), TREE)


def test_bytes_of_the_format(path):
    checkpoint.save(path, TREE)
    assert path.read_bytes() == FROZEN
    with zipfile.ZipFile(path) as archive:
        times = {member.date_time for member in archive.infolist()}
    assert times == {(1980, 1, 1, 0, 0, 0)}


def test_numpy_reads_the_arrays(path):
    checkpoint.save(path, TREE)
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["0"], TREE["weights"])


def test_the_name_means_nothing(tmp_path):
    checkpoint.save(tmp_path / "model.pkl", TREE)
    assert_same(checkpoint.load(str(tmp_path / "model.pkl")), TREE)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pkl"]


# --- what cannot be saved --------------------------------------------------------


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        b"bytes",
        1j,
        np.complex128(1j),
        np.longdouble(1),
        np.datetime64("2026-01-01"),
        Colour.RED,
        OrderedDict(a=1),
        Path("a"),
        object(),
        np.array([1, None]),
        np.array(["a"]),
        np.array([b"a"]),
        np.array(["2026-01-01"], dtype="datetime64[D]"),
        np.zeros(2, dtype=[("a", float)]),
        np.ma.masked_array([1.0, 2.0], mask=[True, False]),
    ],
    ids=lambda value: type(value).__name__ + str(getattr(value, "dtype", "")),
)
def test_other_objects_are_refused_by_place(path, value):
    kind = type(value).__name__
    with pytest.raises(TypeError, match=rf"tree\['a'\]\[1\] is a {kind}"):
        checkpoint.save(path, {"a": [0, value]})
    assert list(path.parent.iterdir()) == []


def test_keys_must_be_str(path):
    with pytest.raises(TypeError, match=r"str keys, but tree\['a'\] has 3"):
        checkpoint.save(path, {"a": {3: 0}})


def test_a_tree_that_contains_itself(path):
    tree = {"a": []}
    tree["a"].append(tree)
    with pytest.raises(ValueError, match="at most 100 deep"):
        checkpoint.save(path, tree)


def test_the_deepest_tree_comes_back(path):
    tree = []
    for _ in range(100):
        tree = [tree]
    checkpoint.save(path, tree)
    assert checkpoint.load(path) == tree
    with pytest.raises(ValueError, match="at most 100 deep"):
        checkpoint.save(path, [tree])


# --- where a file can be ---------------------------------------------------------


def test_missing_file(path):
    with pytest.raises(FileNotFoundError, match=r"run\.npz"):
        checkpoint.load(path)


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_parent_is_no_directory(tmp_path, parent):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=rf"existing .*{parent}` is not one"):
        checkpoint.save(tmp_path / parent / "run.npz", TREE)


def test_path_is_a_directory(tmp_path):
    with pytest.raises(IsADirectoryError, match="must name a file"):
        checkpoint.save(tmp_path, TREE)
    with pytest.raises(IsADirectoryError, match="must name a file"):
        checkpoint.load(tmp_path)


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "runs").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(Path("runs") / "7.npz")
    checkpoint.save(link, 7)
    assert link.is_symlink()
    assert checkpoint.load(tmp_path / "runs" / "7.npz") == 7


# --- atomic ----------------------------------------------------------------------


def test_data_reaches_the_disk_before_the_name(path, monkeypatch):
    calls = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor):
        calls.append("directory" if os.path.isdir(descriptor) else "file")  # noqa: PTH112
        real_fsync(descriptor)

    def replace(self, target):
        calls.append("replace")
        assert self.parent == target.parent
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    checkpoint.save(path, TREE)
    assert calls == ["file", "replace", "directory"]


@pytest.mark.parametrize(
    "failure", [OSError(errno.EIO, "bad disk"), KeyboardInterrupt()], ids=repr
)
@pytest.mark.parametrize(("owner", "step"), [(os, "fsync"), (Path, "replace")])
def test_a_failed_save_leaves_the_old_file(path, monkeypatch, owner, step, failure):
    checkpoint.save(path, "old")

    def fail(*_):
        raise failure

    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(type(failure)):
        checkpoint.save(path, "new")
    assert checkpoint.load(path) == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(path):
    checkpoint.save(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.save(path, np.zeros(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load(path) == "old"
    assert list(path.parent.iterdir()) == [path]


SAVE_FOR_EVER = """
import itertools, sys
import numpy as np
from qstore_pl import checkpoint
for step in itertools.count():
    checkpoint.save(sys.argv[1], {"step": step, "array": np.full(30_000, step)})
    print(step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_kill_never_leaves_an_unreadable_file(path):
    rng = np.random.default_rng(11)
    for _ in range(25):
        command = [sys.executable, "-c", SAVE_FOR_EVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                for _ in range(int(rng.integers(1, 20))):
                    child.stdout.readline()
                time.sleep(rng.uniform(0, 0.01))
            finally:
                child.send_signal(signal.SIGKILL)
            acknowledged = [int(line) for line in child.stdout.read().splitlines()]
        tree = checkpoint.load(path)
        assert tree["step"] >= max(acknowledged, default=0)
        np.testing.assert_array_equal(tree["array"], np.full(30_000, tree["step"]))


# --- bad files -------------------------------------------------------------------


def test_every_changed_byte_is_caught(path):
    for position in range(len(FROZEN)):
        for change in (1, 16, 128, 255):
            data = bytearray(FROZEN)
            data[position] ^= change
            path.write_bytes(data)
            with pytest.raises(CheckpointError, match=r"run\.npz.* expected .* found "):
                checkpoint.load(path)


def test_every_truncation_is_caught(path):
    for length in range(len(FROZEN)):
        path.write_bytes(FROZEN[:length])
        with pytest.raises(CheckpointError, match=r"run\.npz.* expected .* found "):
            checkpoint.load(path)
    path.write_bytes(FROZEN + b"\0")
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.load(path)


def changed(data):
    for position in range(len(data)):
        for change in (1, 16, 255):
            other = bytearray(data)
            other[position] ^= change
            yield bytes(other)


def archives_with_one_changed_byte():
    """Changed anywhere, then changed inside a member, whose checksum is put right."""
    archive = FROZEN[:-32]
    yield from changed(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    for name, data in members.items():
        for other in changed(data):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as file:
                for member, content in (members | {name: other}).items():
                    file.writestr(member, content)
            yield buffer.getvalue()


# numpy warns when it tries to read a header that is no literal as Python 2 wrote it.
@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz`:UserWarning")
def test_changes_under_right_checksums_raise_nothing_else(path):
    refused = total = 0
    for archive in archives_with_one_changed_byte():
        total += 1
        path.write_bytes(sealed(archive))
        try:
            checkpoint.load(path)
        except CheckpointError:
            refused += 1
    assert 0.7 * total < refused < total  # a changed number or name is not seen


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused(tmp_path, protocol):
    path, canary = tmp_path / "model.pkl", tmp_path / "canary"
    path.write_bytes(pickle.dumps(Canary(canary), protocol))
    with pytest.raises(CheckpointError, match=r"model\.pkl.* expected a zip archive"):
        checkpoint.load(path)
    assert not canary.exists()
    pickle.loads(path.read_bytes())
    assert canary.exists()  # the trap works


def test_a_pickle_is_called_one(path):
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="a Python pickle"):
        checkpoint.load(path)


def test_an_object_array_is_refused(path):
    canary = path.parent / "canary"
    objects = np.array([Canary(canary)], dtype=object)
    path.write_bytes(crafted(wrapped(["array", 0]), **{"0": objects}))
    with pytest.raises(CheckpointError, match="dtype object"):
        checkpoint.load(path)
    assert not canary.exists()
    with np.load(path, allow_pickle=True) as archive:
        archive["0"]
    assert canary.exists()  # the trap works


def npy(shape, descr):
    """An npy member that declares ``shape`` and ``descr``, with 8 bytes or none."""
    text = (
        f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    )
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    return head + bytes(0 if shape.startswith("(0, ") else 8)


@pytest.mark.parametrize(
    ("shape", "descr"),
    [
        ("(1000000000000,)", "<f8"),
        ("(2,)", "<f8"),
        ("(-1,)", "<f8"),
        ("(-1, -1)", "<f8"),
        (f"(0, 1{40 * '0'})", "<f8"),
        (f"(0, -{2**63 + 1})", "<f8"),
        ("(1,)", "|V8"),
        ("(1,)", "<U2"),
        ("(1,)", "<M8[s]"),
        ("(1,)", "|O"),
    ],
)
def test_array_headers_that_lie(path, shape, descr):
    path.write_bytes(archive_with(npy(shape, descr)))
    with pytest.raises(CheckpointError, match="expected the contents of a checkpoint"):
        checkpoint.load(path)


def test_array_headers_that_do_not_lie(path):
    path.write_bytes(archive_with(npy("(1,)", "<f8")))
    assert_same(checkpoint.load(path), np.zeros(1))
    path.write_bytes(archive_with(npy("(0, 3)", "<f8")))
    assert_same(checkpoint.load(path), np.zeros((0, 3)))


def archive_with(member, *, copies=1):
    """A sealed file whose array "0" is ``member``, listed ``copies`` times."""
    document = io.BytesIO()
    text = json.dumps(wrapped(["array", 0]))
    np.save(document, np.frombuffer(text.encode(), np.uint8))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("document.npy", document.getvalue())
        archive.writestr("0.npy", member)
        archive.filelist += [archive.getinfo("0.npy")] * (copies - 1)
    return sealed(buffer.getvalue())


def test_members_that_share_their_bytes(path):
    large = io.BytesIO()
    np.save(large, np.zeros(1000))
    path.write_bytes(archive_with(large.getvalue(), copies=100))
    with pytest.raises(CheckpointError, match=r"expected at most \d+ bytes of arrays"):
        checkpoint.load(path)


def test_compressed_arrays_are_refused(path):
    path.write_bytes(
        crafted(wrapped(["array", 0]), compress=True, **{"0": np.zeros(1_000_000)})
    )
    assert path.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="found a compressed array"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (wrapped({}, version=2), "expected version 1 of the format, found version 2"),
        (
            wrapped({}, version="1"),
            "expected version 1 .*, found version '1'",
        ),
        (wrapped({}, name="other"), "expected the format .*, found 'other'"),
        ([], "expected the contents of a checkpoint"),
        ({"format": "qstore_pl checkpoint"}, "expected the contents of a checkpoint"),
        ("", "expected the contents of a checkpoint"),
        ("{", "expected the contents of a checkpoint"),
        (json.dumps(wrapped(float("nan"))), "found NaN in its document"),
        (json.dumps(wrapped("@")).replace('"@"', "[" * 10**5), "expected the contents"),
        (json.dumps(wrapped("@")).replace('"@"', "9" * 5000), "expected the contents"),
        (wrapped(["array", 0]), r"0\.npy"),
        (wrapped(["array", "0"]), r"\['array', '0'\] in its tree"),
        (wrapped(["tuple", []]), r"\['tuple', \[\]\] in its tree"),
        (wrapped([]), r"\[\] in its tree"),
        (wrapped(["int", "xyz"]), "expected the contents of a checkpoint"),
        (wrapped(["float", "00"]), "expected the contents of a checkpoint"),
    ],
    ids=range(16),
)
def test_documents_that_are_not_ours(path, document, message):
    path.write_bytes(crafted(document))
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


def test_foreign_files(path):
    np.savez(path, a=np.zeros(3))
    with pytest.raises(CheckpointError, match="not from qstore_pl"):
        checkpoint.load(path)
    path.write_text("weights: 1, 2, 3")
    with pytest.raises(CheckpointError, match="found b'weig'"):
        checkpoint.load(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="found an empty file"):
        checkpoint.load(path)
    path.write_bytes(sealed(b"PK\x03\x04 but no zip archive"))
    with pytest.raises(CheckpointError, match="not a zip file"):
        checkpoint.load(path)
    path.write_bytes(crafted(wrapped({})).replace(b"document", b"dokument"))
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.load(path)


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def device_at(path):
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))  # a null device


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such files")
@pytest.mark.parametrize("make", [os.mkfifo, socket_at, device_at])
def test_what_is_no_file_is_refused_and_not_replaced(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    path = Path("special")
    try:
        make(path)
    except PermissionError:
        pytest.skip("only root may make devices")
    Path("link").symlink_to(path)
    before = path.stat()
    for name in ("special", "link"):
        with pytest.raises(OSError, match=f"`{name}` is a device, a pipe or a socket"):
            checkpoint.save(name, {"a": 1})
    after = path.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "special"]
