"""Rows `store-*`: 100,000 vectors in LanceDB, by our store and by direct calls.

The peer writes the same columns in the same parts, but for the checksum, and searches
with the same index. Its times contain the conversion from Python's values to Arrow, and
back to Python's values.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from qstore_pl.store import LanceStore, Vectors
from qstore_pl.store.lance import rows_in_part
from tests.benchmarks.race import DisagreementError, Row, in_turn, medians

N_VECTORS = 100_000
DIMENSION = 64
STATE_NUMBERS = 256  # of the Pauli vector of 4 qubits
TARGET = 1 / 1.3  # of the peer's time to ours
STATE_SECONDS = 0.05
FILTER = {"label": {"$eq": 3}}
PEER = "direct LanceDB"


def given(n_vectors, dimension):
    """Records with a label and a name."""
    rng = np.random.default_rng(0)
    metadata = [{"label": i % 10, "name": f"n{i % 97}"} for i in range(n_vectors)]
    values = rng.normal(size=(n_vectors, dimension)).astype(np.float32)
    return Vectors([f"r{i}" for i in range(n_vectors)], values, metadata)


class Direct:
    """What a user of LanceDB writes."""

    def __init__(self, path, dimension):
        import lancedb
        import pyarrow as pa

        primary = {"lance-schema:unenforced-primary-key": "true"}
        self.schema = pa.schema(
            [
                pa.field("id", pa.string(), nullable=False, metadata=primary),
                pa.field("vector", pa.list_(pa.float32(), dimension)),
                pa.field("label", pa.float64()),
                pa.field("name", pa.string()),
            ]
        )
        self.table = lancedb.connect(path).create_table("t", schema=self.schema)

    def upsert(self, records):
        """The records in parts."""
        import pyarrow as pa

        rows = rows_in_part(records.values.shape[1])
        for start in range(0, len(records.ids), rows):
            cut = slice(start, start + rows)
            values = records.values[cut]
            metadata = records.metadata[cut]
            columns = [
                pa.array(records.ids[cut]),
                pa.FixedSizeListArray.from_arrays(
                    pa.array(values.reshape(-1)), values.shape[1]
                ),
                pa.array([float(one["label"]) for one in metadata]),
                pa.array([one["name"] for one in metadata]),
            ]
            table = pa.Table.from_arrays(columns, schema=self.schema)
            merge = self.table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(table)

    def optimize(self):
        """As ours: one index, searched as a whole."""
        from lancedb.index import IvfFlat

        self.table.optimize()
        self.table.create_index("vector", config=IvfFlat(distance_type="cosine"))

    def query(self, vector, condition=None):
        """The ten nearest, as dicts."""
        search = self.table.search(vector).distance_type("cosine").nprobes(1 << 20)
        if condition is not None:
            search = search.where(condition, prefilter=True)
        columns = ["id", "label", "name", "_distance"]
        return search.limit(10).select(columns).to_arrow().to_pylist()


def upsert(repeats):
    """Time to write all records into an index that has one of them."""
    records = given(N_VECTORS, DIMENSION)
    first = given(1, DIMENSION)
    with tempfile.TemporaryDirectory() as directory:
        places = (Path(directory, f"{i}") for i in range(1000))

        def ours():
            store = LanceStore(next(places), dimension=DIMENSION)
            store.upsert(first)
            return elapsed(lambda: store.upsert(records))

        def peer():
            direct = Direct(next(places), DIMENSION)
            direct.upsert(first)
            return elapsed(lambda: direct.upsert(records))

        return [row("store-upsert", in_turn({"ours": ours, PEER: peer}, repeats))]


def query(name, repeats):
    """Time of a search for ten."""
    records = given(N_VECTORS, DIMENSION)
    options = {"filter": FILTER} if name == "store-query-filtered" else {}
    condition = "label = 3.0" if options else None
    with tempfile.TemporaryDirectory() as directory:
        store = LanceStore(Path(directory, "ours"), dimension=DIMENSION)
        direct = Direct(Path(directory, "direct"), DIMENSION)
        for one in (store, direct):
            one.upsert(records)
            one.optimize()
        vector = np.random.default_rng(1).normal(size=DIMENSION).astype(np.float32)
        found = [match.id for match in store.query(vector, **options)]
        if found != [one["id"] for one in direct.query(vector, condition)]:
            raise DisagreementError(f"{name}: the matches differ")
        measures = {
            "ours": lambda: elapsed(lambda: store.query(vector, **options)),
            PEER: lambda: elapsed(lambda: direct.query(vector, condition)),
        }
        in_turn(measures, 3)
        return [row(name, in_turn(measures, 10 * repeats))]


def states(repeats):
    """Time of a search for ten among states of 4 qubits."""
    with tempfile.TemporaryDirectory() as directory:
        store = LanceStore(directory, dimension=STATE_NUMBERS)
        records = given(N_VECTORS, STATE_NUMBERS)
        store.upsert(records)
        store.optimize()
        vector = records.values[5]
        measures = {"ours": lambda: elapsed(lambda: store.query(vector))}
        in_turn(measures, 3)
        times = in_turn(measures, 10 * repeats)
        ours = medians(times)["ours"]
        return [Row("store-states-4q", ours, target=STATE_SECONDS, raw=times)]


def row(name, times):
    """A line of the table."""
    found = medians(times)
    return Row(
        name,
        found["ours"],
        PEER,
        "typed columns, the same parts and index",
        found[PEER],
        TARGET,
        raw=times,
    )


def elapsed(call):
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measured(name, peers, repeats):
    """The rows of one of the ``store-*`` benchmarks."""
    if name == "store-upsert":
        return upsert(repeats)
    return states(repeats) if name == "store-states-4q" else query(name, repeats)
