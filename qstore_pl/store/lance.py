"""The embedded store: LanceDB in a directory."""

from __future__ import annotations

import os
from typing import final

from qstore_pl.store.store import VectorStore


@final
class LanceStore(VectorStore):
    """To come."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        index: str = "qstore",
        dimension: int | None = None,
        metric: str | None = None,
    ) -> None:
        raise NotImplementedError
