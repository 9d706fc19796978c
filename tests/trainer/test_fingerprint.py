"""A fingerprint is the same for the same function, everywhere, and another for another.

That a resumed run makes use of it is in `test_resume`.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pennylane import numpy as pnp

from qstore_pl.trainer.fingerprint import fingerprint


def written(source, *, line=0, file="one.py", **names):
    """The function ``f`` of a source text, as if it stood in a file."""
    found = {"__name__": "somewhere", **names}
    exec(compile("\n" * line + source, file, "exec"), found)
    return found["f"]


def closing_over(value):
    return lambda: value


class Scale:
    """An object that is called, and has methods."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, p, t):
        return self.factor

    def up(self, p, t):
        return p

    def down(self, p, t):
        return t


SOURCES = [  # any two of them differ
    "def f(p, t): return p - t",
    "def f(p, t): return t - p",
    "def f(t, p): return p - t",
    "def g(p, t): return p - t\nf = g",
    "def f(p, t): return p - t - 1",
    "def f(p, t): return p - t - 1.0",
    "def f(p, t): return p - t - 2",
    "def f(p, t): return p.mean()",
    "def f(p, t): return p.max()",
    "def f(p, t): return mean(p)",
    "def f(p, t=1): return p - t",
    "def f(p, t=2): return p - t",
    "def f(p, *, t=1): return p - t",
    "def f(p, *, t=2): return p - t",
    "def f(p, t): return (lambda: 1)()",
    "def f(p, t): return (lambda: 2)()",
    "def f(p, t): return [x + 1 for x in p]",
    "def f(p, t): return [x + 2 for x in p]",
    "def f(p, t): return p in {'a', 'b'}",
    "def f(p, t): return p in {'a', 'c'}",
    "def f(p, t): return p in ('a', 'b')",
    "def f(p, t): return p in ('ab',)",
    "def f(p, t):\n try: return p[0]\n except IndexError: return t",
    "def f(p, t):\n try: return p[0]\n except KeyError: return t",
]
VALUES = [  # any two of them differ
    *(0, 1, 2**70, True, 0.0, -0.0, 1.0, 1j, None, "1", b"1", ..., "", ()),
    *((1, 2), [1, 2], {1, 2}, frozenset({1, 2}), (1, (2,)), ((1,), 2), [], [[]]),
    *({"a": 1}, {"a": 2}, {"b": 1}, {"a": {"b": 1}}, {}, range(3), range(4)),
    *(slice(0, 1), slice(0, 2), np.float64(1), np.float32(1), np.int64(1)),
    *(np.arange(3), np.arange(3.0), np.arange(3.0)[:, None], np.arange(3.0) + 1e-16),
    *(np.arange(3.0) + 1, np.zeros(2), np.zeros((2, 1)), np.array(["a", "b"])),
    *(np.array([1, "a"], dtype=object), np.array([1, "b"], dtype=object)),
    *(pnp.array([1.0, 2.0]), pnp.array([1.0, 3.0]), np.nan, np.inf),
    *(max, min, len, np.add, np.exp, np.mean, np.median, np, pnp, int, float),
    *(Scale, Scale(1), Scale(1).up, Scale(1).down, "a".join),
    *(functools.partial(max, 1), functools.partial(max, 2), functools.partial(min, 1)),
    *(functools.partial(max, key=len), functools.partial(max, key=abs)),
    *(closing_over(1), closing_over(2), closing_over(closing_over(1))),
    *(written(source) for source in SOURCES),
]


def test_other_functions_have_other_fingerprints():
    words = [fingerprint(written(source)) for source in SOURCES]
    assert len(set(words)) == len(SOURCES)
    assert words[0].startswith("somewhere.f ")


def test_other_values_closed_over_have_other_fingerprints():
    words = [fingerprint(closing_over(value)) for value in VALUES]
    repeated = {word for word in words if words.count(word) > 1}
    assert not repeated, [VALUES[words.index(word)] for word in repeated]


@pytest.mark.parametrize("source", SOURCES)
def test_where_it_is_written_does_not_count(source):
    here = fingerprint(written(source))
    assert fingerprint(written(source, line=7, file="/tmp/other.py")) == here
    assert fingerprint(written(f"{source}  # for a reason")) == here
    assert fingerprint(written(source, __name__="elsewhere")) != here


def test_how_often_it_ran_does_not_count():
    """Python rewrites the bytecode of what runs often."""
    function = written("def f(p, t): return [p * x + t for x in (1, 2)]")
    word = fingerprint(function)
    for _ in range(1000):
        function(1, 2)
    assert fingerprint(function) == word
    sys.settrace(lambda *_: None)
    try:
        function(1, 2)
        assert fingerprint(function) == word
    finally:
        sys.settrace(None)


def test_what_it_closes_over_counts_by_what_it_holds():
    def made(values, order):
        names = {name: values.copy() for name in order}
        return lambda p, t: (names, {*order}, values)

    array = np.arange(4.0)
    word = fingerprint(made(array, "abcd"))
    assert fingerprint(made(np.arange(8.0)[:4], "dcba"[::-1])) == word
    first, second = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert fingerprint(closing_over(first)) == fingerprint(closing_over(second))
    apart, view = np.arange(3.0) * 2, np.arange(0.0, 6.0)[::2]
    assert fingerprint(closing_over(apart)) == fingerprint(closing_over(view))


def test_other_objects_count_by_their_type():
    assert fingerprint(Scale(1)) == fingerprint(Scale(2))
    assert fingerprint(Scale(1)).startswith(f"{__name__}.Scale ")
    rng = np.random.default_rng
    assert fingerprint(closing_over(rng(0))) == fingerprint(closing_over(rng(1)))
    assert fingerprint(closing_over(rng(0))) != fingerprint(closing_over(Scale(1)))


def test_a_function_may_close_over_itself():
    def made(step):
        def down(n):
            return 0 if n <= 0 else down(n - step)

        return down

    def circle():
        one, two = [1], [2]
        one.append(two)
        two.append(one)
        return closing_over(one)

    assert fingerprint(made(1)) == fingerprint(made(1)) != fingerprint(made(2))
    assert fingerprint(circle()) == fingerprint(circle())

    def before():
        return later

    word = fingerprint(before)
    later = 1
    assert fingerprint(before) != word
    assert later


ELSEWHERE = """
from tests.trainer.test_fingerprint import words
print(words())
"""


def words():
    return [fingerprint(closing_over(value)) for value in VALUES]


def test_processes_agree_whatever_their_hashes():
    here = os.environ.get("PYTHONHASHSEED")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ELSEWHERE],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONHASHSEED": "12345" if here != "12345" else "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout == f"{words()}\n"
