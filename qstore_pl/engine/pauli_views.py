"""What the kernels of Pauli vectors read and write, as views of a few arrays.

This module knows no channels.
"""

from __future__ import annotations

from typing import Any

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.precision import doubles, per_double

LINE = 16  # most numbers of a cache line, at which scratch begins


@inner
def unpack(sizes: Array, ints: Array, floats: Array) -> Any:
    """The tables of a circuit as views, in the order of ``PauliTables.INTS``."""
    n = sizes[0]
    n_angles, n_terms, n_words, n_tables = sizes[3], sizes[4], sizes[5], sizes[7]
    at = 0
    code = ints[at : at + 8 * sizes[1]].reshape(sizes[1], 8)
    at += 8 * sizes[1]
    elements = ints[at : at + 5 * sizes[2]].reshape(sizes[2], 5)
    at += 5 * sizes[2]
    rotations = ints[at : at + 4 * n_angles].reshape(n_angles, 4)
    at += 4 * n_angles
    terms = ints[at : at + 4 * n_terms].reshape(n_terms, 4)
    at += 4 * n_terms
    observables = ints[at : at + 2 * n_words].reshape(n_words, 2)
    at += 2 * n_words
    wires = ints[at : at + sizes[6]]
    at += sizes[6]
    side = 1 << 2 * n
    tables = ints[at : at + n_tables * side].reshape(n_tables, side)
    constants = floats[:n_angles]
    at = n_angles
    coefficients = floats[at : at + n_terms]
    at += n_terms
    weights_of_terms = floats[at : at + n_words]
    at += n_words
    scales = floats[at : at + n_tables * side].reshape(n_tables, side)
    at += n_tables * side
    return (
        n, code, elements, rotations, terms, observables, wires, tables, constants,
        coefficients, weights_of_terms, scales, floats[at:],
    )  # fmt: skip


@inner
def divide(
    ws: Array,
    n: int,
    batch: int,
    n_angles: int,
    n_elements: int,
    n_blocks: int,
    scratch: int,
) -> Any:
    """The work array as views.

    Returns:
        Three vectors, values of angles, products up to each element, number of the
        checkpoint before each block (or -1), scratch, and checkpoints. Vectors,
        checkpoints and products have the type of the work array, the others are
        float64.
    """
    size, each = batch << 2 * n, per_double(ws)
    at, length = 3 * size, each * 2 * n_angles * batch
    cs = doubles(ws[at : at + length]).reshape(2 * n_angles, batch)
    at += length
    ps = ws[at : at + 12 * n_elements * batch].reshape(n_elements, 12 * batch)
    at += 12 * n_elements * batch
    marks = doubles(ws[at : at + each * n_blocks])
    at += each * n_blocks
    at = (at + LINE - 1) // LINE * LINE
    p, kept = doubles(ws[at : at + each * scratch]), ws[at + each * scratch :]
    return ws[: 3 * size].reshape(3, size), cs, ps, marks, p, kept
