"""What symbols stand for, and its gradient, by the columns that a Program computes."""

import numpy as np

from qstore_pl.devices.lowering import with_columns
from qstore_pl.engine.derived import Columns
from qstore_pl.engine.gates import WEIGHT, PauliRotation


def placed(symbols, n_features):
    """The angles of symbols with derived values in columns, and the columns."""
    gates = [PauliRotation("X", (0,), angle) for angle in symbols.angles.flat]
    gates, derived = with_columns(gates, n_features)
    return [gate.angle for gate in gates], Columns(derived, n_features)


def values(symbols, weights, features=None):
    """The numbers of each sample, shape ``(n_samples, *shape)``; of one without."""
    rows = np.zeros((1, 0)) if features is None else features
    angles, columns = placed(symbols, rows.shape[1])
    whole = columns.forward(weights, rows)
    found = np.empty((len(rows), len(angles)))
    for i, angle in enumerate(angles):
        found[:, i] = angle.evaluate(weights, whole)
    found = found.reshape(len(rows), *symbols.shape)
    return found[0] if features is None else found


def gradients(symbols, weights, features, dy):
    """Gradients of ``(dy * values).sum()`` by weights and by features."""
    angles, columns = placed(symbols, features.shape[1])
    whole = columns.forward(weights, features)
    gw, gx = np.zeros_like(weights), np.zeros_like(whole)
    for angle, share in zip(angles, dy.reshape(len(features), -1).T, strict=True):
        for coefficient, *slots in angle.terms:
            factors = [
                1.0 if not kind else weights[i] if kind == WEIGHT else whole[:, i]
                for kind, i in slots
            ]
            for (kind, i), other in zip(slots, reversed(factors), strict=True):
                if kind == WEIGHT:
                    gw[i] += (share * coefficient * other).sum()
                elif kind:
                    gx[:, i] += share * coefficient * other
    return columns.backward(gw, gx)
