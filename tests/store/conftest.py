"""The places that the suite of vector stores runs over."""

import pytest

from tests.servers.pinecone import serving
from tests.store.places import PLACES


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    """An empty place of its own for each test."""
    made = PLACES[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture(
    scope="module", params=[name for name in PLACES if not name.endswith("-async")]
)
def shared_place(request, tmp_path_factory):
    """A place that the tests of a file share: of those whose stores block.

    What the awaited ones send is the same, as the other tests show.
    """
    made = PLACES[request.param](tmp_path_factory.mktemp(request.param))
    yield made
    made.close()


@pytest.fixture
def server(monkeypatch):
    """A conformance server, to which Pinecone's client goes."""
    with serving(monkeypatch) as running:
        yield running
