"""Opening an index at Pinecone, or making it: what is done once for each store."""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
import time
from dataclasses import dataclass
from typing import Any, Final, final

from qstore_pl._secrets import Secret
from qstore_pl.errors import StoreError, StoreTimeoutError
from qstore_pl.store import pinecone_steps
from qstore_pl.store.pinecone_errors import (
    MissingError,
    client,
    failures,
    translated,
)

FIELD: Final = "_values"  # the field that the vectors of an index are in
CONTROLLER: Final = "https://api.pinecone.io"
HOST_VARIABLE: Final = "PINECONE_CONTROLLER_HOST"
CLOUDS: Final = ("aws", "gcp", "azure")
OPENING: Final = 300.0  # seconds until a new index must be ready
# Nothing that another reader could take for another host: no user, no second scheme.
_HOST = re.compile(
    r"(?P<scheme>https?://)?(?P<name>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*"
)
_REGION = re.compile(r"(?P<region>[a-z]+[a-z0-9-]*?)(?:-(?P<cloud>aws|gcp|azure))?")


@final
@dataclass(frozen=True, slots=True)
class Account:
    """Where indexes are, and the key for it.

    Attributes:
        key: The API key.
        host: The host that knows the indexes.
        timeout: Time for one attempt of a request, in seconds.
        insecure: Whether hosts may be spoken to without encryption.
    """

    key: Secret
    host: str
    timeout: float
    insecure: bool

    def reveal(self) -> str:
        """The API key.

        Raises:
            StoreError: If the environment variable for it is not set.
        """
        try:
            return self.key.reveal()
        except KeyError as error:
            raise StoreError(
                f"Pinecone needs an API key. {error.args[0]} Or pass `api_key`."
            ) from None

    def connect(self) -> Any:
        """A new client for what concerns whole indexes."""
        return self._made("Pinecone", self.host)

    def index(self, host: str, *, kind: str = "Index") -> Any:
        """A new client for the index at a host.

        Args:
            host: The host.
            kind: Name of the client's class: ``"Index"`` or ``"AsyncIndex"``.
        """
        return self._made(kind, host)

    def _made(self, kind: str, host: str) -> Any:
        package = client()
        key = self.reveal()
        try:
            return getattr(package, kind)(
                api_key=key,
                host=host,
                timeout=self.timeout,
                # Without encryption no certificates are loaded, which takes 50 ms.
                ssl_verify=not host.startswith("http://"),
            )
        except failures() as error:
            failed = translated(error, host, key)
        raise failed


@final
@dataclass(frozen=True, slots=True)
class Place:
    """An index that is ready."""

    host: str
    dimension: int
    metric: str


def controller(host: str | None, *, insecure: bool) -> str:
    """The host that knows the indexes: the argument, or that of the environment.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is no address, or the key would go there without encryption.
    """
    if host is not None and not isinstance(host, str):
        raise TypeError(f"Argument `host` must be a string, but is {host!r}.")
    found = (host or os.environ.get(HOST_VARIABLE) or CONTROLLER).rstrip("/")
    if not _HOST.fullmatch(found):
        raise ValueError(
            "Argument `host` must be an address such as https://api.pinecone.io, but "
            f"is {found!r}."
        )
    if not is_safe(found) and not insecure:
        raise ValueError(
            f"Argument `host` must be https:// or on this machine, but is {found!r}: "
            "the API key would go there in clear. Pass allow_insecure=True if it is "
            "in a network of your own."
        )
    return found


def is_safe(host: str) -> bool:
    """Whether what is sent to a host is encrypted, or stays on this machine."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    if match["scheme"] != "http://":
        return True
    name = match["name"].lower().strip("[].")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def deployment(environment: str | None) -> dict[str, str]:
    """Where a new index is made.

    Args:
        environment: A region, as ``"us-east-1"``, or a region and a cloud, as
            ``"us-central1-gcp"``. The cloud is ``"aws"`` if there is none.

    Raises:
        ValueError: If it is of another form.
    """
    match = _REGION.fullmatch(environment or "us-east-1")
    if match is None:
        raise ValueError(
            "Argument `environment` must be a region, or a region and one of the "
            f'clouds {", ".join(CLOUDS)}, as "us-east-1" or "us-central1-gcp", but is '
            f"{environment!r}."
        )
    return {
        "deployment_type": "managed",
        "cloud": match["cloud"] or "aws",
        "region": match["region"],
    }


def opened(
    account: Account,
    index: str,
    dimension: int | None,
    metric: str | None,
    environment: str | None,
) -> Place:
    """An index that is ready, which is made if it is not there.

    Raises:
        StoreError: If it is not there and has no dimension to be made with, has
            another dimension or metric, or the service refuses.
        StoreTimeoutError: If it is not ready within its deadline.
    """
    place = deployment(environment)
    with account.connect() as service:
        model = _described(service, account, index)
        if model is None:
            if dimension is None:
                raise StoreError(
                    f"There is no index `{index}` at {account.host}. Pass `dimension` "
                    "to make it."
                )
            field = {"type": "dense_vector", "dimension": dimension}
            field["metric"] = metric or "cosine"
            _create(service, account, index, field, place)
        model = _ready(service, account, index)
    found = model.schema.fields.get(FIELD)
    if found is None or len(model.schema.fields) > 1 or not _is_dense(found):
        raise StoreError(
            f"Index `{index}` at {account.host} is not an index of dense vectors. "
            "Take another `index`."
        )
    _compare(index, (dimension, metric), (found.dimension, found.metric))
    if not is_safe(model.host) and not account.insecure:
        raise StoreError(
            f"Index `{index}` is at {model.host}, where the API key would go in clear. "
            "Pass allow_insecure=True if that is in a network of your own."
        )
    return Place(model.host, found.dimension, found.metric)


def names(account: Account) -> list[str]:
    """The names of all indexes, sorted."""
    with account.connect() as service:
        return sorted(_asked(account, lambda: [m.name for m in service.indexes.list()]))


def _asked(account: Account, ask: Any) -> Any:
    try:
        return ask()
    except failures() as error:
        failed = translated(error, account.host, account.reveal())
    raise failed


def _described(service: Any, account: Account, index: str) -> Any:
    try:
        return _asked(account, lambda: service.indexes.describe(index))
    except MissingError:
        return None


def _create(
    service: Any,
    account: Account,
    index: str,
    field: dict[str, Any],
    place: dict[str, str],
) -> None:
    try:
        service.indexes.create(
            name=index,
            schema={"fields": {FIELD: field}},
            deployment=place,
            timeout=-1,  # we wait ourselves
        )
    except client().ConflictError:
        return  # somebody else was quicker
    except failures() as error:
        failed = translated(error, account.host, account.reveal())
    else:
        return
    raise failed


def _ready(service: Any, account: Account, index: str) -> Any:
    deadline = time.monotonic() + OPENING
    for attempt in itertools.count():
        model = _described(service, account, index)
        state = "missing" if model is None else model.status.state
        if model is not None and model.status.ready and model.host:
            return model
        if state in ("InitializationFailed", "Terminating", "Disabled"):
            raise StoreError(f"Index `{index}` at {account.host} is {state}.")
        if time.monotonic() > deadline:
            raise StoreTimeoutError(
                f"Index `{index}` at {account.host} is not ready after {OPENING:g} "
                f"seconds, but {state}."
            )
        time.sleep(pinecone_steps.pause(attempt).seconds)
    raise AssertionError


def _is_dense(field: Any) -> bool:
    return isinstance(field, client().models.DenseVectorField)


def _compare(
    index: str, wanted: tuple[int | None, str | None], found: tuple[int, str]
) -> None:
    for name, one, other in zip(("dimension", "metric"), wanted, found, strict=True):
        if one is not None and one != other:
            raise StoreError(
                f"Index `{index}` has {name} {other!r}, but `{name}` is {one!r}. Leave "
                f"`{name}` out, or take another `index`."
            )
