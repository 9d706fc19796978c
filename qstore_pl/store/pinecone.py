"""The hosted store: Pinecone, by its official client."""

from __future__ import annotations

from qstore_pl._secrets import Secret
from qstore_pl.store.store import VectorStore


class PineconeStore(VectorStore):
    """To come."""

    def __init__(
        self,
        api_key: str | Secret | None = None,
        *,
        index: str = "qstore",
        dimension: int | None = None,
        metric: str | None = None,
        environment: str | None = None,
        host: str | None = None,
    ) -> None:
        raise NotImplementedError
