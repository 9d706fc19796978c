"""One request to IonQ through the client of its PennyLane plugin, and its reply.

The frames of the plugin hold the API key, and so do the exceptions of its HTTP library.
None of them leaves this module, so that the key is in no traceback.
"""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from qstore_pl._secrets import Secret

OK, CREATED = 200, 201
LONGEST_TEXT = 300  # characters of a reply in an error


@final
@dataclass(frozen=True)
class Reply:
    """What came back.

    Args:
        status: Status of HTTP; None if no reply came.
        data: The JSON of the reply; None if it has none.
        text: The beginning of the reply, or what went wrong instead.
        after: Seconds that the service asks to wait.
        sent: Whether the request can have reached the service.
        again: Whether it may succeed later, if it was not sent.
    """

    status: int | None
    data: Any = None
    text: str = ""
    after: float | None = None
    sent: bool = True
    again: bool = True


def talk(
    secret: Secret,
    path: str,
    timeout: float,
    *,
    payload: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
) -> Reply:
    """One request, and what came of it; no exception but an interrupt leaves it.

    Args:
        secret: The API key.
        path: Where it goes, relative to the address of the service.
        timeout: Seconds to wait for the reply.
        payload: The JSON that is sent with POST; None makes it a GET.
        params: The query of a GET.
    """
    from pennylane_ionq.api_client import APIClient
    from requests import exceptions

    client = APIClient(
        api_key=secret.reveal(),
        timeout=timeout,
        max_retries=0,
        debug=False,  # it would keep replies
    )
    interrupted = False
    try:
        if payload is not None:
            answer = client.post(path, payload)
        else:
            answer = client.get(path, params=params)
    except exceptions.RequestException as error:
        return _failure(error)
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        raise KeyboardInterrupt  # a new one: the other has the frames of the plugin
    text, data = masked(answer.text, secret), None
    with contextlib.suppress(json.JSONDecodeError):
        data = json.loads(text)
    after = _seconds(answer.headers.get("Retry-After"))
    return Reply(answer.status_code, data, text[:LONGEST_TEXT], after)


def masked(text: str, secret: Secret) -> str:
    """A text of the service without the key."""
    return text.replace(secret.reveal(), "***")


def base_url() -> str:
    """The address of the service, as the plugin has it now."""
    from pennylane_ionq.api_client import APIClient

    return str(APIClient.BASE_URL)


def _failure(error: Exception) -> Reply:
    """What a broken connection means; the texts of these errors are not passed on."""
    from requests import exceptions
    from urllib3.exceptions import NewConnectionError

    cause = _cause(error)
    if isinstance(error, exceptions.ConnectTimeout | exceptions.InvalidURL):
        return Reply(None, text="the service cannot be reached", sent=False)
    if isinstance(cause, NewConnectionError):
        return Reply(None, text="the service cannot be reached", sent=False)
    if isinstance(cause, ssl.SSLCertVerificationError):
        text = "the certificate of the service is not valid"
        return Reply(None, text=text, sent=False, again=False)
    if isinstance(error, exceptions.Timeout):
        return Reply(None, text="no reply came in time")
    name = type(error).__name__
    return Reply(None, text=f"the connection broke before a reply came ({name})")


def _cause(error: Exception) -> Any:
    """Why a connection was not made, inside the errors of the HTTP libraries."""
    from urllib3.exceptions import MaxRetryError, ProxyError, SSLError

    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    if isinstance(cause, ProxyError):
        cause = cause.original_error
    if isinstance(cause, SSLError):
        cause = cause.args[0]
    return cause


def _seconds(text: str | None) -> float | None:
    """The header Retry-After, if it is a number of seconds."""
    return float(text) if text is not None and text.isdigit() else None
