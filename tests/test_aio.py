"""Awaitable twins: the results of the plain ones, and an event loop that goes on."""

import asyncio
import copy
import inspect
import pickle
import threading
import time

import numpy as np
import pytest

import qstore_pl
from qstore_pl import aio
from tests.servers.pinecone import Fault, serving

X = np.random.default_rng(3).uniform(-1.5, 1.5, (8, 2))
Y = np.random.default_rng(4).uniform(-1, 1, (8, 2))
FOREVER = 10**7  # epochs

pytestmark = pytest.mark.timeout(60)


def model(package=aio, **options):
    return package.QuantumModel(2, 2, **{"n_layers": 1, "seed": 0, **options})


def trainer(package=aio, **settings):
    defaults = {"epochs": 3, "batch_size": 4, "seed": 0}
    return package.QuantumTrainer(package.TrainingConfig(**defaults | settings))


# --- names -----------------------------------------------------------------------


def test_every_public_name_is_there():
    assert set(aio.__all__) == {*qstore_pl.__all__, "AWAITABLE"}
    for name in qstore_pl.__all__:
        assert getattr(aio, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'QuantumTrainr'"):
        aio.QuantumTrainr  # noqa: B018


def test_names_with_nothing_to_wait_for_are_the_same_objects():
    for name in set(qstore_pl.__all__) - {*aio.AWAITABLE, "open_store", "sweep"}:
        assert getattr(aio, name) is getattr(qstore_pl, name)
    assert aio.TrainingConfig is qstore_pl.TrainingConfig
    assert aio.templates is qstore_pl.templates
    assert inspect.iscoroutinefunction(aio.open_store)
    assert inspect.signature(aio.open_store) == inspect.signature(qstore_pl.open_store)


@pytest.mark.parametrize("name", aio.AWAITABLE)
def test_a_twin_is_a_kind_of_the_plain_class(name):
    twin, plain = getattr(aio, name), getattr(qstore_pl, name)
    assert twin is getattr(aio, name)
    assert twin is not plain
    assert issubclass(twin, plain)
    assert (twin.__name__, twin.__module__) == (name, "qstore_pl.aio")
    assert all(f"``{method}``" in twin.__doc__ for method in aio.AWAITABLE[name])
    assert inspect.signature(twin) == inspect.signature(plain)
    for method in aio.AWAITABLE[name]:
        assert inspect.iscoroutinefunction(getattr(twin, method))
        assert not inspect.iscoroutinefunction(getattr(plain, method))
        ours, theirs = getattr(twin, method), getattr(plain, method)
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert ours.__doc__ == theirs.__doc__
    waiting = set(aio.AWAITABLE[name])
    for attribute in set(dir(plain)) - waiting - {"__module__", "__dict__", "__doc__"}:
        value = inspect.getattr_static(twin, attribute)
        if callable(value) and not attribute.startswith("__"):
            assert value is inspect.getattr_static(plain, attribute)


# --- results ---------------------------------------------------------------------


def test_they_give_what_the_plain_ones_give():
    async def awaited():
        ours = model()
        history = await trainer().train(ours, (X, Y), (X, Y))
        outputs = await ours.forward(X)
        encoder = aio.QuantumDataEncoder(2)
        encoded = await encoder.encode(X, method="zz_feature_map")
        batch = await encoder.encode_batch(X, method="angle")
        return ours, history, outputs, encoded, batch

    ours, history, outputs, encoded, batch = asyncio.run(awaited())
    plain = model(qstore_pl)
    wanted = trainer(qstore_pl).train(plain, (X, Y), (X, Y))
    assert ours.parameters.tobytes() == plain.parameters.tobytes()
    assert isinstance(history, qstore_pl.History)
    assert history["val_losses"] == wanted["val_losses"]
    assert outputs.tobytes() == plain.forward(X).tobytes()
    encoder = qstore_pl.QuantumDataEncoder(2)
    assert encoded.tobytes() == encoder.encode(X, method="zz_feature_map").tobytes()
    assert batch.tobytes() == encoder.encode_batch(X, method="angle").tobytes()


COMPUTERS = {
    "QuantumGradientComputer": {},
    "FiniteDifferenceGradient": {},
    "SPSAGradient": {"seed": 0},
    "NaturalGradientComputer": {},
}


@pytest.mark.parametrize(("name", "options"), COMPUTERS.items())
def test_gradient_computers(name, options):
    def arguments(of):
        return (of, of.parameters), {"inputs": X, "targets": Y, "loss": "mse"}

    def ask(package):
        computer = getattr(package, name)(**options)
        positional, named = arguments(model(package))
        yield computer.compute_gradients(*positional, **named)
        if name == "NaturalGradientComputer":
            yield computer.compute_natural_gradient(
                *positional, "mse", inputs=X, targets=Y
            )

    async def awaited():
        return [await coroutine for coroutine in ask(aio)]

    found, wanted = asyncio.run(awaited()), list(ask(qstore_pl))
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.gradients.tobytes() == theirs.gradients.tobytes()
        assert ours.gradients.any()


def test_twins_and_plain_objects_go_together():
    plain, twin = model(qstore_pl), model()
    asyncio.run(trainer().train(plain, (X, Y)))
    trainer(qstore_pl).train(twin, (X, Y))
    assert plain.parameters.tobytes() == twin.parameters.tobytes()


def test_an_error_comes_out_of_the_await():
    async def wrong():
        with pytest.raises(ValueError, match="4 samples and 3 targets"):
            await trainer().train(model(), (X[:4], Y[:3]))
        with pytest.raises(ValueError, match=r"shape \(n_samples, 2\)"):
            await model().forward(np.zeros((2, 3)))

    asyncio.run(wrong())


def test_they_pickle_and_copy():
    ours = model()
    for twin in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)):
        assert type(twin) is aio.QuantumModel
        assert twin.parameters.tobytes() == ours.parameters.tobytes()
        outputs = asyncio.run(twin.forward(X))
        assert outputs.tobytes() == model(qstore_pl).forward(X).tobytes()
    for made in (trainer(), aio.QuantumDataEncoder(2), aio.SPSAGradient(seed=0)):
        assert type(pickle.loads(pickle.dumps(made))) is type(made)


# --- stores ------------------------------------------------------------------------

KINDS = ("lance", "pinecone")


@pytest.fixture(params=KINDS)
def where(request, tmp_path, monkeypatch):
    """A directory, or the service and its environment."""
    if request.param == "lance":
        yield tmp_path
        return
    with serving(monkeypatch):
        yield "pinecone"


def test_an_awaitable_store_does_what_the_plain_one_does(where):
    records = [("a", [1.0, 0.0], {"label": 1}), ("b", [0.6, 0.8]), ("c", [0.0, 1.0])]

    async def awaited():
        async with await aio.open_store(where, dimension=2) as store:
            assert await store.upsert(records) == 3
            await store.optimize()
            assert await store.indexes() == ["qstore"]
            beside = await store.beside("other", dimension=3, metric="euclidean")
            assert await beside.upsert([("x", np.ones(3))]) == 1
            assert type(beside) is type(store)
            await beside.close()
            found = (
                await store.query([1.0, 0.1], filter={"label": {"$exists": False}}),
                await store.query_many(np.eye(2), top_k=1),
                await store.fetch(["a", "c"]),
                await store.list(),
                await store.stats(),
                await store.verify(),
            )
            await store.delete(["c"])
            with pytest.raises(ValueError, match="must be finite"):
                store.upsert([("d", [np.nan, 0.0])])  # at the call
            with pytest.raises(TypeError, match="async with"):
                store.__enter__()
            assert repr(store.plain) in repr(store) or "PineconeStore(" in repr(store)
            return found

    found = asyncio.run(awaited())
    with qstore_pl.open_store(where) as store:
        assert store.list() == ["a", "b"]
        store.upsert([("c", [0.0, 1.0])])
        matches, many, fetched, names, stats, damaged = found
        wanted = store.query([1.0, 0.1], filter={"label": {"$exists": False}})
        assert matches == wanted
        assert many == store.query_many(np.eye(2), top_k=1)
        assert fetched["a"].metadata == {"label": 1.0}
        assert (names, damaged) == (["a", "b", "c"], {})
        assert stats == store.stats()
        assert store.beside("other").list() == ["x"]


def test_awaitable_indexes_do_what_the_plain_ones_do(where, tmp_path):
    async def awaited():
        ours = model()
        states = await aio.EmbeddingIndex.open(ours, where)
        assert await states.add(["a", "b"], X[:2]) == 2
        found = await states.search(X[0], top_k=1)
        assert len(await states.models()) == 1
        runs = await aio.CheckpointIndex.beside(await aio.open_store(where))
        await runs.save("mine", ours.get_state(), model=ours, probe=X)
        await runs.export("mine", tmp_path / "mine.qstore")
        made = await runs.model("mine")
        assert [saved.name for saved in await runs.ls()] == await runs.names()
        assert await runs.verify() == []
        alike = await runs.search(ours)
        rebuilt = await aio.EmbeddingIndex.from_store(states.store)
        assert type(rebuilt) is aio.EmbeddingIndex
        return found, alike, made

    (nearest,), (alike,), made = asyncio.run(awaited())
    assert nearest.id == "a"
    assert nearest.fidelity == pytest.approx(1.0, abs=1e-5)
    assert (alike.name, alike.difference) == ("mine", 0.0)
    assert made.parameters.tobytes() == model().parameters.tobytes()
    assert (tmp_path / "mine.qstore").is_file()


def test_the_event_loop_goes_on_while_a_service_is_slow(monkeypatch):
    async def watched(server):
        store = await aio.open_store("pinecone", dimension=256, metric="euclidean")
        index = aio.CheckpointIndex(store)
        server.faults[:] = [Fault("slow", times=None, seconds=0.2)]
        waiting = [
            asyncio.create_task(each)
            for each in (
                index.save("name", {"number": 1}),
                asyncio.wait_for(store.query(np.ones(256)), 30),
                aio.open_store("pinecone", index="another", dimension=3),
            )
        ]
        ticks = 0
        while not all(task.done() for task in waiting):
            await asyncio.sleep(0.001)
            ticks += 1
        server.faults.clear()
        opened = [task.result() for task in waiting][-1]
        await opened.close()
        await store.close()
        return ticks

    with serving(monkeypatch) as server:  # each request would be one tick
        assert asyncio.run(watched(server)) > 5 * len(server.requests) > 15


def test_an_awaited_run_writes_to_its_store(tmp_path):
    ours = model()
    asyncio.run(trainer(store_directory=tmp_path).train(ours, (X, Y)))
    plain = qstore_pl.CheckpointIndex.open(tmp_path)
    assert len(plain.names()) == 2
    assert plain.search(ours)[0].difference == 0.0


# --- the event loop -----------------------------------------------------------------


class Gate(qstore_pl.Callback):
    """Holds a run after its first epoch until it is opened."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()
        self.thread = None

    def on_epoch_end(self, row):
        self.thread = threading.current_thread()
        self.reached.set()
        assert self.opened.wait(10)


def test_the_event_loop_goes_on_while_a_model_is_trained():
    async def watched():
        gate, ticks = Gate(), 0
        training = asyncio.create_task(
            trainer().train(model(), (X, Y), callbacks=[gate])
        )
        while not gate.reached.is_set():
            await asyncio.sleep(0.001)
        for _ in range(50):  # all while the run is inside a call
            await asyncio.sleep(0)
            ticks += 1
        assert not training.done()
        gate.opened.set()
        history = await training
        assert gate.thread is not threading.main_thread()
        return ticks, len(history)

    assert asyncio.run(watched()) == (50, 3)


def test_two_runs_at_once_give_the_bits_of_one_after_the_other():
    async def together():
        models = [model(seed=seed) for seed in (0, 1)]
        await asyncio.gather(*(trainer().train(each, (X, Y)) for each in models))
        return models

    for seed, ours in enumerate(asyncio.run(together())):
        alone = model(qstore_pl, seed=seed)
        trainer(qstore_pl).train(alone, (X, Y))
        assert ours.parameters.tobytes() == alone.parameters.tobytes()


def test_cancelling_stops_the_run_after_its_batch(tmp_path):
    async def cancelled():
        gate, ours = Gate(), model()
        running = trainer(
            epochs=FOREVER, checkpoint_directory=tmp_path, checkpoint_interval=FOREVER
        )
        task = asyncio.create_task(running.train(ours, (X, Y), callbacks=[gate]))
        while not gate.reached.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()  # it waits for the batch
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return ours, running

    ours, running = asyncio.run(cancelled())
    assert running.stopped == "stop()"
    assert len(running.history) in (1, 2)
    after = ours.parameters.copy()
    time.sleep(0.05)
    assert ours.parameters.tobytes() == after.tobytes()  # nothing runs any more
    (saved,) = tmp_path.glob("epoch*")
    tree = running.load_checkpoint(saved)
    assert tree["model"]["parameters"].tobytes() == after.tobytes()
    again = asyncio.run(trainer().train(ours, (X, Y)))
    assert len(again) == 3


class Slow:
    """Samples that take their time to become an array."""

    def __init__(self):
        self.asked, self.opened = threading.Event(), threading.Event()
        self.shape = X.shape

    def __len__(self):
        return len(X)

    def __array__(self, dtype=None, copy=None):
        self.asked.set()
        assert self.opened.wait(10)
        return np.array(X, dtype=dtype)


def test_cancelling_before_the_first_batch_stops_it_too():
    async def cancelled():
        slow = Slow()
        running = trainer(epochs=3000)
        task = asyncio.create_task(running.train(model(), (slow, Y)))
        while not slow.asked.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.01)
        slow.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return running

    running = asyncio.run(cancelled())
    assert len(running.history) <= 1
    assert running.stopped == "stop()"


def test_a_time_limit_ends_a_run():
    async def limited():
        running = trainer(epochs=FOREVER)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.train(model(), (X, Y)), 0.5)
        return running

    running = asyncio.run(limited())
    assert 0 < len(running.history) < FOREVER
    assert running.stopped == "stop()"


def test_an_error_after_a_cancel_is_not_left_lying_around():
    complaints = []

    class Failing(Gate):
        def on_step_end(self, epoch, step, loss):
            if epoch == 1:
                raise RuntimeError

    async def cancelled():
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: complaints.append(context)
        )
        gate = Failing()
        running = trainer(epochs=9, strict_callbacks=True)
        task = asyncio.create_task(running.train(model(), (X, Y), callbacks=[gate]))
        while not gate.reached.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert complaints == []
