"""IonQ's jobs: what its replies mean, and whether it can have taken a job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, final
from urllib.parse import quote, urljoin, urlsplit

from qstore_pl._secrets import Secret
from qstore_pl.backends.ionq_talk import CREATED, OK, Reply, base_url, talk
from qstore_pl.backends.sending import NoAnswerError, RefusedError
from qstore_pl.errors import (
    CredentialsError,
    JobFailedError,
    LostJobError,
    WrongResultError,
)

KEYS = ("PENNYLANE_IONQ_API_KEY", "IONQ_API_KEY")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DENIED = (401, 403)
NOT_FOUND = 404
BUSY = (429, 503)  # the service says that it did not take what was sent
TRANSIENT = (408, 409, 425, 429, 500, 502, 503, 504, *range(520, 530))
CLIENT_ERRORS = range(400, 500)
PAGE, MOST_PAGES = 100, 20  # of a list of jobs


@final
class IonQService:
    """IonQ's jobs.

    Args:
        backend: Name of the backend, for errors.
        api_key: The key; None takes it from the environment when it is used.
    """

    def __init__(self, backend: str, api_key: Secret | None) -> None:
        self._backend, self._api_key = backend, api_key

    def __repr__(self) -> str:
        return f"IonQService({self._backend!r}, api_key={self._api_key!r})"

    def prepare(self) -> None:
        """Check that there is a key, and that it does not travel in clear.

        Raises:
            CredentialsError: If there is none, or it would be sent without encryption.
        """
        key = self._secret()
        if not key.reveal().isascii() or not key.reveal().isprintable():
            raise CredentialsError(
                "The API key has characters that no key has, such as the end of a "
                "line. Set it again.",
                backend=self._backend,
            )
        address = urlsplit(base_url())
        if address.scheme != "https" and address.hostname not in LOOPBACK:
            raise CredentialsError(
                f"The API key would be sent to {address.hostname} without encryption. "
                "Set pennylane_ionq.api_client.APIClient.BASE_URL to an https address.",
                backend=self._backend,
            )

    def create(self, payload: Mapping[str, Any], *, timeout: float) -> str:
        """Send a job; returns its identifier.

        Raises:
            RefusedError: If the service surely did not take it.
            NoAnswerError: If it may have taken it.
        """
        reply = talk(self._secret(), "jobs", timeout, payload=payload)
        if reply.status in (OK, CREATED):
            if isinstance(reply.data, dict) and isinstance(reply.data.get("id"), str):
                return str(reply.data["id"])
            raise NoAnswerError(f"the reply has no identifier of a job {reply.text}")
        if reply.status in DENIED:
            raise RefusedError(self._denied(reply), again=False)
        busy = reply.status in BUSY or not reply.sent
        if busy or reply.status in CLIENT_ERRORS:
            error = JobFailedError(
                f"The service did not take a job: {_said(reply)}.",
                backend=self._backend,
            )
            raise RefusedError(error, again=busy and reply.again, after=reply.after)
        raise NoAnswerError(_said(reply))

    def job(self, identifier: str, *, timeout: float) -> dict[str, Any]:
        """What the service says of a job.

        Raises:
            NoAnswerError: If the question can be asked again.
            LostJobError: If the service has no such job.
            WrongResultError: If the reply is no job.
        """
        path = f"jobs/{quote(identifier, safe='')}"
        found = self._read(path, timeout, identifier)
        if not isinstance(found, dict):
            raise self._wrong("The reply about a job is a list or a number", identifier)
        return found

    def result(self, address: str, identifier: str, *, timeout: float) -> Any:
        """What the service has at the address that it gives for a result.

        Raises:
            NoAnswerError: If the question can be asked again.
            CredentialsError: If the address is elsewhere: it would be sent the key.
        """
        url, base = urljoin(f"{base_url()}/jobs/", address), base_url()
        if urlsplit(url)[:2] != urlsplit(base)[:2]:
            raise CredentialsError(
                f"The result is said to be at {urlsplit(url).netloc}, which is not the "
                "service. The API key is not sent there.",
                backend=self._backend,
                job=identifier,
            )
        return self._read(url, timeout, identifier)

    def named(self, key: str, *, timeout: float) -> str | None:
        """The identifier of the newest job whose metadata has our key, if it is found.

        Args:
            key: The key of the ledger.
            timeout: Seconds to wait for a reply.
        """
        params: dict[str, Any] = {"limit": PAGE}
        for _ in range(MOST_PAGES):
            reply = talk(self._secret(), "jobs", timeout, params=params)
            if reply.status in DENIED:
                raise self._denied(reply)
            if reply.status != OK or not isinstance(reply.data, dict):
                return None
            for job in reply.data.get("jobs") or []:
                if (job.get("metadata") or {}).get("qstore_key") == key:
                    return str(job["id"])
            if not reply.data.get("next"):
                return None
            params["next"] = reply.data["next"]
        return None

    def _read(self, path: str, timeout: float, identifier: str) -> Any:
        reply = talk(self._secret(), path, timeout)
        if reply.status == OK and reply.data is not None:
            return reply.data
        if reply.status in DENIED:
            raise self._denied(reply, identifier)
        if reply.status == NOT_FOUND:
            raise LostJobError(
                f"The service has no job {identifier}. If it was made with another "
                "key, give that key. Else let the job be sent again: `qstore jobs ls`, "
                "and `qstore jobs resolve KEY --resend`.",
                backend=self._backend,
                job=identifier,
            )
        if reply.status is None or reply.status in TRANSIENT:
            raise NoAnswerError(_said(reply), after=reply.after)
        raise self._wrong(
            f"The reply about a job cannot be read: {_said(reply)}", identifier
        )

    def _wrong(self, what: str, identifier: str) -> WrongResultError:
        return WrongResultError(
            f"{what}. Run the program again to ask for it again.",
            backend=self._backend,
            job=identifier,
        )

    def _denied(self, reply: Reply, identifier: str | None = None) -> CredentialsError:
        return CredentialsError(
            f"The service does not accept the API key: {_said(reply)}. Set it in the "
            f"environment variable {KEYS[0]} or {KEYS[1]}, or give the backend the "
            "option api_key.",
            backend=self._backend,
            job=identifier,
        )

    def _secret(self) -> Secret:
        """The key, which is not in clear before it is used.

        Raises:
            CredentialsError: If there is none.
        """
        names = [name for name in KEYS if os.environ.get(name)]
        if self._api_key is None and names:
            return Secret(f"env:{names[0]}")
        if self._api_key is None:
            raise CredentialsError(
                f"There is no API key. Set the environment variable {KEYS[0]} or "
                f"{KEYS[1]}, or give the backend the option api_key.",
                backend=self._backend,
            )
        named = self._api_key.reference
        if named is not None and not os.environ.get(named.removeprefix("env:")):
            raise CredentialsError(
                f"There is no API key: the environment has no variable "
                f"{named.removeprefix('env:')}. Set it.",
                backend=self._backend,
            )
        return self._api_key


def _said(reply: Reply) -> str:
    """What came back, as part of a sentence."""
    if reply.status is None:
        return reply.text
    return f"HTTP status {reply.status}, {reply.text or 'and nothing else'}".rstrip(".")
