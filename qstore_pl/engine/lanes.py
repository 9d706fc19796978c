r"""One circuit at many values at once: shifted gates, or weights of each lane's own.

A lane is one sample at one set of values. In a turned circuit every number of a gate
that may be shifted has a feature column of its own, its turn, which is added to it; a
shift rule is then one run of the circuit on more samples. The rule

.. math:: f'(\theta) = \sum_t c_t\, f(a_t \theta + s_t)

gives derivatives with respect to the numbers of gates; the chain rule of the
polynomials that these are makes derivatives with respect to weights and features of
them. This module knows arrays and angles, not PennyLane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._lazy import cached_property
from qstore_pl.engine.derived import Columns, Derived
from qstore_pl.engine.gates import FEATURE, ONE, WEIGHT, Angle, Slot
from qstore_pl.engine.program import Float1D, Float2D, Rows
from qstore_pl.engine.streams import Ids

Bool1D = NDArray[np.bool_]
Float3D = NDArray[np.float64]
CHUNK_BYTES = 1 << 24  # of the columns and states of the lanes that run together
UNSHIFTED = (1.0, 0.0)  # factor and shift of the value itself


@dataclass(frozen=True)
class Use:
    """A number of a gate that may be shifted.

    Args:
        angle: What it is, as a polynomial in weights, features and derived values.
        rule: Triples :math:`(c, a, s)` of its shift rule.
    """

    angle: Angle
    rule: tuple[tuple[float, float, float], ...]


@final
class Uses:
    """All numbers of a circuit that may be shifted, and their chain rule.

    Args:
        uses: The numbers, in the order of their columns.
        derived: Functions of weights and features: feature slots from ``n_features``
            on.
        n_weights: Length of the weights.
        n_features: Columns of the features that the circuit is given.
    """

    def __init__(
        self,
        uses: Sequence[Use],
        derived: Sequence[Derived],
        *,
        n_weights: int,
        n_features: int,
    ) -> None:
        self.uses, self._derived = tuple(uses), tuple(derived)
        self.n_weights, self.n_features = n_weights, n_features
        entries = [
            (u, c, *slot, *other)
            for u, use in enumerate(self.uses)
            for c, a, b in use.angle.terms
            for slot, other in ((a, b), (b, a))
            if slot != ONE
        ]
        table = np.array(entries, dtype=np.float64).reshape(-1, 6)
        self._coefficients = table[:, 1]
        self._use, _, *rest = table.T.astype(np.int64)
        self._kind, self._slot, self._other_kind, self._other = rest
        self._is_linear = not self._other_kind.any()

    @cached_property
    def slots(self) -> list[set[Slot]]:
        """The weights and features that each number depends on."""
        behind = [self._given(d.slots) for d in self._derived]
        return [
            set().union(
                *(
                    behind[i - self.n_features]
                    if kind == FEATURE and i >= self.n_features
                    else {(kind, i)}
                    for kind, i in use.angle.slots
                )
            )
            for use in self.uses
        ]

    def _given(self, slots: set[Slot]) -> set[Slot]:
        found: set[Slot] = set()
        for kind, i in slots:
            if kind == FEATURE and i >= self.n_features:
                found |= self._given(self._derived[i - self.n_features].slots)
            else:
                found.add((kind, i))
        return found

    def depending(self, weights: Bool1D, features: Bool1D | None = None) -> list[int]:
        """Indices of the numbers that depend on some weights or features.

        Args:
            weights: Mask of the weights, shape ``(n_weights,)``.
            features: Mask of the features, shape ``(n_features,)``; None is none.
        """
        wanted = {(WEIGHT, int(i)) for i in np.flatnonzero(weights)}
        if features is not None:
            wanted |= {(FEATURE, int(i)) for i in np.flatnonzero(features)}
        return [u for u, slots in enumerate(self.slots) if not wanted.isdisjoint(slots)]

    def values(
        self, which: Sequence[int], weights: Float1D, features: Float2D
    ) -> Float2D:
        """Some of the numbers, for each sample, shape ``(batch, len(which))``.

        Args:
            which: Their indices.
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.
        """
        whole = Columns(self._derived, self.n_features).forward(weights, features)
        angles = [self.uses[u].angle for u in which]
        return np.stack([angle.evaluate(weights, whole) for angle in angles], axis=1)

    def pull_back(
        self, gradient: Float2D, weights: Float1D, features: Float2D
    ) -> tuple[Float1D, Float2D]:
        """Gradients with respect to weights and features.

        Args:
            gradient: Gradient with respect to the numbers of each sample, shape
                ``(batch, n_uses)``.
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.

        Returns:
            Shapes ``(n_weights,)`` and ``(batch, n_features)``.
        """
        columns: Columns | None = None
        if self._derived:
            columns = Columns(self._derived, self.n_features)
            features = columns.forward(weights, features)
        parts = gradient[:, self._use] * self._coefficients
        if not self._is_linear:
            parts *= self._others(weights, features)
        by_weight, by_feature = self._kind == WEIGHT, self._kind == FEATURE
        totals = parts[:, by_weight].sum(axis=0)
        gw = np.zeros(self.n_weights)
        np.add.at(gw, self._slot[by_weight], totals)
        gx = np.zeros(features.shape)
        np.add.at(gx.T, self._slot[by_feature], parts[:, by_feature].T)
        return (gw, gx) if columns is None else columns.backward(gw, gx)

    def largest(self, of_weights: Float1D) -> Float1D:
        """For each number, the largest value of the weights that it depends on.

        Args:
            of_weights: One value for each weight, >= 0, shape ``(n_weights,)``.

        Returns:
            Shape ``(n_uses,)``, 0 for numbers that depend on no weight.
        """
        return np.array(
            [
                max((of_weights[i] for kind, i in slots if kind == WEIGHT), default=0.0)
                for slots in self.slots
            ]
        )

    def jacobian(self, weights: Float1D, features: Float2D) -> Float3D:
        """Derivatives of the numbers of each sample with respect to the weights.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.

        Returns:
            Shape ``(batch, n_uses, n_weights)``.
        """
        if not self._derived:
            found = np.zeros((len(features), len(self.uses), self.n_weights))
            parts = self._coefficients * self._others(weights, features)
            chosen = self._kind == WEIGHT
            by_slot = found.transpose(1, 2, 0)
            where = self._use[chosen], self._slot[chosen]
            np.add.at(by_slot, where, parts[:, chosen].T)
            return found
        units = np.eye(len(self.uses))[:, None]
        rows = [
            [self.pull_back(unit, weights, sample[None])[0] for unit in units]
            for sample in features
        ]
        return np.array(rows).reshape(len(features), len(units), self.n_weights)

    def _others(self, weights: Float1D, features: Float2D) -> Float2D:
        """The other factor of each term, shape ``(batch, n_entries)``."""
        found = np.ones((len(features), len(self._other)))
        by_weight = self._other_kind == WEIGHT
        by_feature = self._other_kind == FEATURE
        found[:, by_weight] = weights[self._other[by_weight]]
        found[:, by_feature] = features[:, self._other[by_feature]]
        return found


@final
class Shifts:
    """The lanes of a mini-batch in which some numbers are shifted.

    Lane 0 of each sample is the circuit as it is. Terms of shift rules that are the
    same circuit share a lane.

    Args:
        uses: The numbers of the circuit that may be shifted.
        which: Indices of those that are shifted.
    """

    def __init__(self, uses: Uses, which: Sequence[int]) -> None:
        self._uses = uses
        self.which = tuple(which)
        lanes: dict[tuple[int, float, float], int] = {}
        terms = []
        for u in self.which:
            for coefficient, factor, shift in uses.uses[u].rule:
                if (factor, shift) == UNSHIFTED:
                    lane = 0
                else:
                    lane = 1 + lanes.setdefault((u, factor, shift), len(lanes))
                terms.append((u, lane, coefficient))
        self.n_lanes = 1 + len(lanes)
        self._use = np.array([u for u, _, _ in lanes], dtype=np.int64)
        self._factor = np.array([factor for _, factor, _ in lanes])
        self._shift = np.array([shift for _, _, shift in lanes])
        self.terms = np.array([(u, lane) for u, lane, _ in terms], dtype=np.int64)
        self.terms = self.terms.reshape(-1, 2)
        self.coefficients = np.array([coefficient for _, _, coefficient in terms])
        self._moves = bool(np.any(self._factor != 1.0))

    def turns(self, weights: Float1D, features: Float2D) -> Float2D:
        """What each lane but the first adds to the number that it shifts, in radians.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.

        Returns:
            Shape ``(n_lanes - 1, batch)``.
        """
        turns = np.repeat(self._shift[:, None], len(features), axis=1)
        if self._moves:
            values = self._uses.values(self._use.tolist(), weights, features)
            turns += (self._factor - 1.0)[:, None] * values.T
        return turns

    def columns(self, weights: Float1D, features: Float2D, lanes: slice) -> Float2D:
        """The features of some lanes of the turned circuit.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.
            lanes: Which of the ``n_lanes * batch`` pairs of a lane and a sample: lane 0
                of all samples, then lane 1 of all samples, and so on.

        Returns:
            A row for each of these, shape ``(n, n_features + n_uses)``.
        """
        batch, n = features.shape
        numbers = np.arange(lanes.start, lanes.stop)
        lane, sample = np.divmod(numbers, batch)
        found = np.zeros((len(numbers), n + len(self._uses.uses)))
        found[:, :n] = features[sample]
        (moved,) = np.nonzero(lane)
        of_lane = lane[moved] - 1
        turns = self.turns(weights, features)[of_lane, sample[moved]]
        found[moved, n + self._use[of_lane]] = turns
        return found

    def by_use(self, values: Float3D, cotangents: Float2D) -> Float2D:
        """The gradient with respect to the numbers of each sample.

        Args:
            values: Measured values in each lane, shape ``(n_lanes, batch, n_values)``.
            cotangents: Factors of the measured values, shape ``(batch, n_values)``.

        Returns:
            Shape ``(batch, n_uses)``, 0 for numbers that are not shifted.
        """
        found = np.zeros((len(self._uses.uses), len(cotangents)))
        by_lane = np.vecdot(values, cotangents)  # (n_lanes, batch)
        use, lane = self.terms.T
        np.add.at(found, use, self.coefficients[:, None] * by_lane[lane])
        return found.T

    @property
    def shifted_uses(self) -> NDArray[np.int64]:
        """The number that is shifted in each lane but the first."""
        return self._use

    def variance(
        self,
        spread: Float2D,
        weights: Float1D,
        features: Float2D,
        directions: Float2D | None = None,
    ) -> Float1D:
        """Variance of the gradient with respect to the weights.

        Args:
            spread: Variance of the sum of cotangents times measured values, for each
                lane and sample, shape ``(n_lanes, batch)``. These sums are independent.
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.
            directions: Vectors whose products with the gradient are meant, shape
                ``(n_directions, n_weights)``; None means its entries.

        Returns:
            Shape ``(n_directions,)``, or ``(n_weights,)`` for the entries.
        """
        use, lane = self.terms.T
        factors = np.zeros((self.n_lanes, len(self._uses.uses)))
        np.add.at(factors, (lane, use), self.coefficients)
        by_weight = factors @ self._uses.jacobian(weights, features)
        if directions is not None:
            by_weight = by_weight @ directions.T
        return np.einsum("blw,lb->w", by_weight**2, spread)

    def gradient(
        self,
        values: Float3D,
        cotangents: Float2D,
        weights: Float1D,
        features: Float2D,
    ) -> tuple[Float1D, Float2D]:
        """Gradients with respect to weights and features.

        Args:
            values: Measured values in each lane, shape ``(n_lanes, batch, n_values)``.
            cotangents: Factors of the measured values, shape ``(batch, n_values)``.
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.
        """
        by_use = self.by_use(values, cotangents)
        return self._uses.pull_back(by_use, weights, features)


def own_columns(features: Float2D, points: Float2D, lanes: slice) -> Float2D:
    """The features of some lanes of an untied circuit, which have their own weights.

    Args:
        features: Shape ``(batch, n_features)``.
        points: The weights of all samples at each point, ``(n_points, n_weights)``.
        lanes: Which of the ``n_points * batch`` pairs of a point and a sample: the
            first point with all samples, then the second one, and so on.

    Returns:
        A row for each of these, shape ``(n, n_features + n_weights)``.
    """
    point, sample = np.divmod(np.arange(lanes.start, lanes.stop), len(features))
    return np.concatenate([features[sample], points[point]], axis=1)


def in_chunks(
    n_lanes: int,
    rows: Rows,
    lane_bytes: int,
    run: Callable[[slice, Ids], Float2D],
    *,
    first: int = 0,
) -> Float3D:
    """Measured values of many lanes, in as many runs as memory asks for.

    Args:
        n_lanes: Lanes of each sample.
        rows: Index of each sample in the data, shape ``(batch,)``.
        lane_bytes: Memory in bytes that one lane of one sample takes.
        run: Function from a range of the ``n_lanes * batch`` pairs of a lane and a
            sample, and from the row and the circuit of each, shape ``(n, 2)``, to their
            values, shape ``(n, n_values)``.
        first: The first lane that is run; those before it are left out.

    Returns:
        Shape ``(n_lanes - first, batch, n_values)``.
    """
    batch = len(rows)
    end, step = n_lanes * batch, max(1, CHUNK_BYTES // lane_bytes)
    if batch == 0:
        values = run(slice(0, 0), np.empty((0, 2), dtype=np.int64))
        return np.empty((n_lanes - first, 0, values.shape[1]))
    found = []
    for start in range(first * batch, end, step):
        lanes = slice(start, min(start + step, end))
        lane, sample = np.divmod(np.arange(lanes.start, lanes.stop), batch)
        ids = np.stack([rows[sample], lane], axis=1)
        found.append(run(lanes, ids))
    values = found[0] if len(found) == 1 else np.concatenate(found)
    return values.reshape(n_lanes - first, batch, -1)
