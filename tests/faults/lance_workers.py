"""Processes that write to and read from a LanceStore, for the tests of faults."""

import os
import resource
import signal

import numpy as np

from qstore_pl.errors import StoreError
from qstore_pl.store import LanceStore, Vectors
from qstore_pl.store import lance as lance_module

ROWS = 100


def batch(name, number):
    """A hundred records, each of which says what belongs together."""
    ids = [f"{name}-{number:04d}-{i:03d}" for i in range(ROWS)]
    rng = np.random.default_rng([number, *name.encode()])
    metadata = [{"batch": number, f"of_{name}": True}] * ROWS
    return Vectors(ids, rng.normal(size=(ROWS, 8)), metadata)


def write_for_ever(path, name, acknowledge):
    """Write batches; after each, send its number."""
    lance_module.OPTIMIZED_AFTER = 5
    store = LanceStore(path)
    number = 0
    while True:
        store.upsert(batch(name, number))
        acknowledge.send(number)
        number += 1


def write_until(path, name, stop, answer):
    """Write own batches, and one that others write too, until the event."""
    lance_module.OPTIMIZED_AFTER = 7
    store = LanceStore(path)
    answer.send("begun")
    number = 0
    while not stop.is_set():
        store.upsert(batch(name, number))
        store.upsert(batch("common", number % 3))
        number += 1
    answer.send(number)


def read_until(path, stop, answer):
    """Check that batches are whole, until the event; send the number of checks."""
    store, checks = LanceStore(path), 0
    answer.send("begun")
    while not stop.is_set():
        ids = store.list()
        assert len(ids) == len(set(ids))
        assert len(ids) % ROWS == 0
        store.query(np.ones(8), include_values=True, filter={"batch": {"$lt": 3}})
        checks += 1
    answer.send(checks)


def fill_disk(path, answer):
    """Write with a limit on the size of files, until the store refuses."""
    store = LanceStore(path)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
    store.upsert(batch("small", 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    rng = np.random.default_rng(0)
    large = Vectors([f"large-{i}" for i in range(9000)], rng.normal(size=(9000, 8)))
    try:
        store.upsert(large)
    except StoreError as error:
        answer.send(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    store.upsert(batch("after", 0))


def write_where_not_allowed(path, answer):
    """Try to write as a user who may only read."""
    LanceStore(path).list()  # that user may not import packages
    if os.geteuid() == 0:
        os.seteuid(65534)  # nobody: root may write everywhere
    store = LanceStore(path)
    answer.send(store.list())
    for write in (
        lambda: store.upsert(batch("refused", 0)),
        lambda: store.delete(["a"]),
        lambda: LanceStore(path, index="new", dimension=2),
    ):
        try:
            write()
        except StoreError as error:
            answer.send(str(error))
    answer.send(store.list())
