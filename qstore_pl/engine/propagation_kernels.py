"""The compiled kernels of Pauli propagation: forward run and vector-Jacobian product.

An interpreter computes the numbers of all gates from weights and features; then the
cells are filled one after the other, each a short sum of numbers times earlier cells.
The backward run goes through the cells from the last to the first. All cells of a
sample are kept, so that nothing is un-computed. Arrays are flat with the batch as the
fast axis. The mathematics is in ``propagation.md``.
"""

from __future__ import annotations

from typing import Any

from qstore_pl.engine.angles import fill_angles
from qstore_pl.engine.compile import (
    F1,
    F1_IN,
    F2,
    F2_IN,
    I1_IN,
    I8,
    T1_IN,
    Array,
    inner,
    kernel,
)
from qstore_pl.engine.pauli import multiply_elements
from qstore_pl.engine.pauli_blocks import add_to_angle, pull_back_block
from qstore_pl.engine.pauli_values import (
    fill_transfer,
    load_amplitudes,
    pull_back_amplitudes,
    pull_back_kraus,
    read_amplitudes,
)
from qstore_pl.engine.pauli_words import expectations, start_cotangent
from qstore_pl.engine.propagation_tables import (
    AFFINE,
    FACTORS,
    GIVEN,
    MATRICES,
    STATE,
    TURN,
)


@inner
def unpack(sizes: Array, ints: Array, floats: Array) -> Any:
    """The tables as views, in the order of ``PropagationTables``."""
    n_angles, n_terms, n_words, n_starts = sizes[3], sizes[4], sizes[5], sizes[7]
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
    starts = ints[at : at + n_starts]
    cells = ints[at + n_starts :].reshape(sizes[8], 2)
    constants = floats[:n_angles]
    at = n_angles
    coefficients = floats[at : at + n_terms]
    at += n_terms
    weights_of_terms = floats[at : at + n_words]
    at += n_words
    matrices = floats[at : at + sizes[9]]
    at += sizes[9]
    given = floats[at : at + sizes[10]]
    return (
        code, elements, rotations, terms, observables, wires, starts, cells, constants,
        coefficients, weights_of_terms, matrices, given, floats[at + sizes[10] :],
    )  # fmt: skip


@inner
def divide(
    ws: Array, batch: int, n_cells: int, n_numbers: int, n_angles: int, n_elements: int
) -> Any:
    """The work array as views.

    Returns:
        Values of the cells and their cotangents, numbers and their cotangents, values
        of angles, products up to each element, and the rest.
    """
    size, n = n_cells * batch, n_numbers * batch
    values, cotangents = ws[:size], ws[size : 2 * size]
    at = 2 * size
    numbers, by_numbers = ws[at : at + n], ws[at + n : at + 2 * n]
    at += 2 * n
    cs = ws[at : at + 2 * n_angles * batch].reshape(2 * n_angles, batch)
    at += 2 * n_angles * batch
    ps = ws[at : at + 12 * n_elements * batch].reshape(n_elements, 12 * batch)
    at += 12 * n_elements * batch
    return values, cotangents, numbers, by_numbers, cs, ps, ws[at:]


@kernel(I1_IN, T1_IN, F1_IN, F1_IN, F2_IN, I1_IN, F1, I8, F2)
def propagation_forward(
    sizes: Array,
    ints: Array,
    floats: Array,
    w: Array,
    X: Array,
    rows: Array,
    ws: Array,
    n_numbers: int,
    out: Array,
) -> None:
    """Numbers of gates, values of cells, and expectation values: out (batch, n)."""
    (
        code, elements, rotations, terms, observables, wires, starts, cells, constants,
        coefficients, weights_of_terms, matrices, given, factors,
    ) = unpack(sizes, ints, floats)  # fmt: skip
    batch, n_cells = rows.shape[0], factors.shape[0]
    values, _, numbers, _, cs, ps, p = divide(
        ws, batch, n_cells, n_numbers, rotations.shape[0], elements.shape[0]
    )
    fill_angles(rotations, constants, terms, coefficients, w, X, rows, 1.0, cs)
    for m in range(code.shape[0]):
        op, a, b, c = code[m, 0], code[m, 2], code[m, 3], code[m, 4]
        f = numbers[code[m, 1] * batch :]
        if op == GIVEN:
            for j in range(batch):
                f[j] = given[a]
        elif op == AFFINE:
            lanes = batch if c & 2 else 1
            multiply_elements(a, b, elements, rotations, cs, matrices, ps, 4, lanes)
            for i in range(12):
                for j in range(batch):
                    f[i * batch + j] = ps[b - 1, i * lanes + (j if lanes > 1 else 0)]
        elif op == TURN:
            d = rotations[a, 3]
            for j in range(batch):
                f[j] = cs[2 * a, d * j]
                f[batch + j] = cs[2 * a + 1, d * j]
                f[2 * batch + j] = -cs[2 * a + 1, d * j]
        elif op == FACTORS:
            for i in range(b - a):
                d = rotations[a + i, 3]
                for j in range(batch):
                    f[i * batch + j] = cs[2 * (a + i), d * j]
        elif op == MATRICES:
            lanes = batch if b == 2 else 1
            size = 1 << 4 * a
            T, q = p[: size * lanes], p[size * lanes :]
            value, n_controls = wires[code[m, 6]], wires[code[m, 6] + 1]
            count = code[m, 5]
            fill_transfer(a, n_controls, value, b, c, count, w, X, rows, lanes, T, q)
            for i in range(size):
                for j in range(batch):
                    f[i * batch + j] = T[i * lanes + (j if lanes > 1 else 0)]
        elif op == STATE:
            digits = wires[code[m, 6] : code[m, 6] + a]
            read_amplitudes(digits, a, b, c, code[m, 5], w, X, rows, p)
            load_amplitudes(f[: batch << 2 * a], a, batch, p)
    for j in range(batch):
        values[j] = 1.0
    if batch == 1:
        for d in range(1, n_cells):
            total = 0.0
            for t in range(starts[d], starts[d + 1]):
                total += numbers[cells[t, 0]] * values[cells[t, 1]]
            values[d] = factors[d] * total
    else:
        for d in range(1, n_cells):
            x = values[d * batch : (d + 1) * batch]
            for j in range(batch):
                x[j] = 0.0
            k = factors[d]
            for t in range(starts[d], starts[d + 1]):
                n, o = cells[t, 0] * batch, cells[t, 1] * batch
                y, z = numbers[n : n + batch], values[o : o + batch]
                for j in range(batch):
                    x[j] += k * y[j] * z[j]
    expectations(values, observables, weights_of_terms, batch, out)


@kernel(I1_IN, T1_IN, F1_IN, F1_IN, F2_IN, I1_IN, F1, I8, F2_IN, F1, F2)
def propagation_backward(
    sizes: Array,
    ints: Array,
    floats: Array,
    w: Array,
    X: Array,
    rows: Array,
    ws: Array,
    n_numbers: int,
    dy: Array,
    gw: Array,
    gx: Array,
) -> None:
    """Gradients with respect to weights and features: gw and gx are written.

    ``gx`` has no rows if the gradient with respect to features is not wanted.
    """
    (
        code, elements, rotations, terms, observables, wires, starts, cells, _,
        coefficients, weights_of_terms, matrices, _, factors,
    ) = unpack(sizes, ints, floats)  # fmt: skip
    batch, n_cells = rows.shape[0], factors.shape[0]
    values, cotangents, numbers, by_numbers, cs, ps, p = divide(
        ws, batch, n_cells, n_numbers, rotations.shape[0], elements.shape[0]
    )
    start_cotangent(cotangents, observables, weights_of_terms, dy, batch)
    for i in range(by_numbers.shape[0]):
        by_numbers[i] = 0.0
    if batch == 1:
        for d in range(n_cells - 1, 0, -1):
            g = factors[d] * cotangents[d]
            for t in range(starts[d], starts[d + 1]):
                n, o = cells[t, 0], cells[t, 1]
                by_numbers[n] += g * values[o]
                cotangents[o] += g * numbers[n]
    else:
        for d in range(n_cells - 1, 0, -1):
            k = factors[d]
            x = cotangents[d * batch : (d + 1) * batch]
            for t in range(starts[d], starts[d + 1]):
                n, o = cells[t, 0] * batch, cells[t, 1] * batch
                y, z = numbers[n : n + batch], values[o : o + batch]
                v, u = by_numbers[n : n + batch], cotangents[o : o + batch]
                for j in range(batch):
                    g = k * x[j]
                    v[j] += g * z[j]
                    u[j] += g * y[j]
    kinds = 3 if gx.shape[0] > 0 else 1
    for i in range(gw.shape[0]):
        gw[i] = 0.0
    for j in range(gx.shape[0]):
        for i in range(gx.shape[1]):
            gx[j, i] = 0.0
    for m in range(code.shape[0]):
        op, a, b, c = code[m, 0], code[m, 2], code[m, 3], code[m, 4]
        f = by_numbers[code[m, 1] * batch :]
        if op == AFFINE and c & kinds:
            lanes = batch if c & 2 else 1
            C = p[: 12 * lanes].reshape(12, lanes)
            v = p[12 * lanes : 13 * lanes]
            summed(f, 12, lanes, batch, p)
            pull_back_block(
                a, b, elements, rotations, terms, coefficients, cs, matrices, ps, C, v,
                4, lanes, w, X, rows, gw, gx,
            )  # fmt: skip
        elif op == TURN and c & kinds:
            v, d = p[:batch], rotations[a, 3]
            for j in range(batch):
                cosine, sine = cs[2 * a, d * j], cs[2 * a + 1, d * j]
                v[j] = cosine * (f[batch + j] - f[2 * batch + j]) - sine * f[j]
            add_to_angle(
                a, v, batch, rotations, terms, coefficients, w, X, rows, gw, gx
            )
        elif op == FACTORS and c & kinds:
            for i in range(b - a):
                v = f[i * batch : (i + 1) * batch]
                add_to_angle(
                    a + i, v, batch, rotations, terms, coefficients, w, X, rows, gw, gx
                )
        elif op == MATRICES and code[m, 7] & kinds:
            lanes = batch if b == 2 else 1
            size = 1 << 4 * a
            C, q = p[: size * lanes], p[size * lanes :]
            value, n_controls = wires[code[m, 6]], wires[code[m, 6] + 1]
            summed(f, size, lanes, batch, C)
            pull_back_kraus(
                a, n_controls, value, b, c, code[m, 5], w, X, rows, lanes, C, gw, gx, q
            )
        elif op == STATE and code[m, 7] & kinds:
            digits = wires[code[m, 6] : code[m, 6] + a]
            read_amplitudes(digits, a, b, c, code[m, 5], w, X, rows, p)
            part = f[: batch << 2 * a]
            pull_back_amplitudes(part, digits, a, b, c, code[m, 5], batch, gw, gx, p)


@inner
def summed(f: Array, size: int, lanes: int, batch: int, out: Array) -> None:
    """Cotangents of numbers for each lane: those of all samples added for one lane."""
    for i in range(size):
        if lanes == 1:
            total = 0.0
            for j in range(batch):
                total += f[i * batch + j]
            out[i] = total
        else:
            for j in range(batch):
                out[i * batch + j] = f[i * batch + j]


forward_core, backward_core = propagation_forward, propagation_backward
