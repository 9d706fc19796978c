"""All strings of errors with their exact weights, in the place of drawn ones.

Tests that want the exact average over trajectories take :func:`unknown` for the source
of random numbers, and import the fixture, which is used without being named.
"""

import itertools

import numpy as np
import pytest

from qstore_pl.engine.strata import Strata


def unknown(shape):
    """No random numbers: what is drawn from them is every string."""
    return np.full(shape, np.nan)


def every(odds, uniform):
    """Every string once, for each sample; ``n`` must be their number without one."""
    n_channels, batch, n = uniform.shape[0] - 1, *uniform.shape[1:]
    each = [np.broadcast_to(p, (batch, p.shape[1])) for p in odds.probabilities]
    strings = np.array([*itertools.product(*(range(p.shape[1]) for p in each))]).T
    assert strings.shape == (n_channels, 1 + n)
    weights = np.ones((batch, 1 + n))
    for p, own in zip(each, strings, strict=True):
        weights *= p[:, own]
    rows = batch * (1 + n)
    return Strata(
        choices=np.tile(strings, batch).astype(np.uint16),
        sample=np.arange(rows) // (1 + n),
        weights=weights.ravel(),
        place=np.arange(rows).reshape(batch, 1 + n)[:, 1:],
        slot=np.arange(rows),
        no_error=weights[:, 0],
        rest=1.0 - weights[:, 0],
    )


@pytest.fixture(autouse=True)
def every_string(monkeypatch):
    draw = Strata.draw

    def drawn(odds, uniform):
        return (every if np.isnan(uniform).all() else draw)(odds, uniform)

    monkeypatch.setattr(Strata, "draw", drawn)
