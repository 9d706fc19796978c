"""How training scales with the number of workers: a model on paper, and two workers.

    python -m tests.benchmarks.scaling

One step of T seconds on one worker takes, on W workers, with S shards,

    t(W) = ceil(S / W) / S * T + W * m + b / r + L

where m is the time that the client takes for the messages of one worker, b the bytes
that leave and reach the client, r the rate at which it handles them, and L the latency
of one round. T, m, r and L are measured here. The rest follows. All processes have one
thread, so that the speed-up is that over one thread of one process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("QSTORE_NUM_THREADS", "1")  # before workers take it over

import numpy as np
from distributed import Client, LocalCluster

from qstore_pl import DaskExecutor, QuantumModel, ThreadExecutor
from qstore_pl.gradients import ModelExpectations, ParallelEstimator, ShardWork
from qstore_pl.losses import get_loss
from tests.benchmarks.machine import load_average, machine

N_QUBITS, BATCH, TARGET = 10, 256, 1.6
DEPTHS = (2, 4, 8, 16)
WORKERS = (1, 2, 16, 256, 4096)


def echoed(size):
    """What a worker answers in a round in which it computes nothing."""
    return np.zeros(size)


def median_time(call, repeats):
    """The median of the times of some calls, after two that do not count."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


class Problem:
    """A gradient step of a model whose loss is the mean square error."""

    def __init__(self, n_layers):
        rng = np.random.default_rng(0)
        self.model = QuantumModel(N_QUBITS, 1, n_layers=n_layers, seed=0)
        self.features = self.model.prepare(rng.uniform(-1, 1, (BATCH, N_QUBITS)))
        self.targets = rng.uniform(-1, 1, (BATCH, 1))
        self.loss = get_loss("mse")
        self.expectations = ModelExpectations(self.model)

    def gradient(self, estimator):
        """One step, without the optimizer."""
        outputs = estimator.forward(
            self.model.parameters,
            self.features,
            np.arange(BATCH),
            targets=self.targets,
        )
        _, cotangents = self.loss.value_and_grad(outputs, self.targets)
        return estimator.backward(cotangents).copy()

    def serial(self):
        """The estimator that a trainer without an executor has."""
        from qstore_pl.gradients import estimator_of

        return estimator_of(self.expectations)

    def seconds(self, executor, repeats):
        """Time and gradient of one step on an executor."""
        work = ShardWork(self.expectations, "best", {}, self.loss)
        with executor.crew(work) as run:
            estimator = ParallelEstimator(
                self.expectations,
                run,
                n_shards=executor.n_shards,
                rng=np.random.default_rng(0),
                loss=self.loss,
            )
            found = self.gradient(estimator)
            return median_time(lambda: self.gradient(estimator), repeats), found


def constants(client, repeats):
    """Seconds of a round: latency, for each further worker, and for each byte."""
    executor = DaskExecutor(client)
    with executor.crew(echoed) as run:
        both = median_time(lambda: run([1, 1]), repeats)
        megabyte = median_time(lambda: run([1 << 17, 1]), repeats)
        one = median_time(lambda: run([1]), repeats)
    per_worker = max(both - one, 0.0)
    return {
        "latency": max(one - per_worker, 0.0),
        "per_worker": per_worker,
        "bytes_per_second": (8 << 17) / max(megabyte - both, 1e-9),
    }


def predicted(serial, n_workers, n_shards, measured, n_bytes):
    """Seconds of a step on some workers, by the formula of this module."""
    busy = min(n_workers, n_shards, BATCH)
    n_shards = min(n_shards, BATCH)  # a shard has a sample at least
    return (
        math.ceil(n_shards / busy) / n_shards * serial
        + busy * measured["per_worker"]
        + n_bytes / measured["bytes_per_second"]
        + measured["latency"]
    )


def bytes_of(problem, n_workers):
    """Bytes of the arrays of one step that leave and reach the client."""
    weights = 8 * problem.model.parameters.size
    rows = 8 * BATCH * (N_QUBITS + 1 + 1)  # features, targets, a measured value
    return rows + n_workers * 2 * weights


def main():
    """Measure, predict, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    found = {"machine": machine(), "load": load_average(0.5), "rows": []}
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        found["constants"] = measured = constants(client, 10 * given.repeats)
        print(
            f"a round: {1e3 * measured['latency']:.2f} ms, for each worker "
            f"{1e3 * measured['per_worker']:.2f} ms more, and "
            f"{measured['bytes_per_second'] / 1e6:.0f} MB/s"
        )
        for depth in DEPTHS:
            problem = Problem(depth)
            serial_estimator = problem.serial()
            wanted = problem.gradient(serial_estimator)
            whole = median_time(
                lambda e=serial_estimator, p=problem: p.gradient(e), given.repeats
            )
            cut, _ = problem.seconds(ThreadExecutor(1), given.repeats)
            two, gradient = problem.seconds(DaskExecutor(client), given.repeats)
            if not np.allclose(gradient, wanted, rtol=0, atol=1e-12):
                raise SystemExit("the gradients differ: nothing is reported")
            row = {"layers": depth, "serial": whole, "shards": cut, "two": two}
            row["predicted"] = {
                n: whole / predicted(cut, n, max(8, n), measured, bytes_of(problem, n))
                for n in WORKERS
            }
            found["rows"].append(row)
            reached = "reached" if whole / two >= TARGET else "NOT reached"
            said = ", ".join(f"{n}: {v:.2f}" for n, v in row["predicted"].items())
            print(
                f"{N_QUBITS} qubits, {depth} layers, batch {BATCH}: serial "
                f"{1e3 * whole:.1f} ms, in 8 shards {1e3 * cut:.1f} ms, 2 workers "
                f"{1e3 * two:.1f} ms: {whole / two:.2f}x ({TARGET}x {reached}); "
                f"predicted speed-up by number of workers: {said}",
                flush=True,
            )
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
