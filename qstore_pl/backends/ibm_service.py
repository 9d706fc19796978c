"""IBM's quantum service: its machines, jobs that are sent, and their results.

The client of ``qiskit-ibm-runtime`` does the talking. This module says of each of its
errors whether the service can have taken a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from qstore_pl._secrets import Secret, unlinked
from qstore_pl.backends.sending import NoAnswerError, RefusedError
from qstore_pl.errors import CredentialsError, JobCancelledError, JobFailedError

TOO_MANY = 429  # HTTP: the service takes 5 jobs a minute, and asks for patience
TAG = "qstore-{:.32}"  # of a job: half of its key in the ledger is unique, too


@final
class IBMService:
    """A machine of IBM's service, and the jobs on it.

    Args:
        name: Name of the backend, for errors.
        machine: Name of the machine at the service.
        token: The key of the service; None takes the environment variable
            ``QISKIT_IBM_TOKEN``, or the account that the client has saved.
        instance: The instance of the service; None lets the client choose.
    """

    def __init__(
        self, name: str, machine: str, token: Secret | None, instance: str | None
    ) -> None:
        self._name, self._machine = name, machine
        self._token, self._instance = token, instance
        self._client: Any = None
        self._backend: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # The client has the key in clear.
        return self.__dict__ | {"_client": None, "_backend": None}

    @property
    @unlinked()
    def client(self) -> Any:
        """The client, which is connected when it is first needed.

        Raises:
            CredentialsError: If there is no key, or the service does not accept it.
        """
        if self._client is None:
            import qiskit_ibm_runtime
            from qiskit_ibm_runtime.exceptions import (
                IBMAccountError,
                IBMError,
                IBMNotAuthorizedError,
            )

            try:
                self._client = qiskit_ibm_runtime.QiskitRuntimeService(
                    token=None if self._token is None else self._token.reveal(),
                    instance=self._instance,
                )
            except (IBMAccountError, IBMNotAuthorizedError) as error:
                raise self._unauthorized(error) from None
            except IBMError as error:
                raise JobFailedError(
                    f"IBM's service cannot be reached: {self._masked(error)}.",
                    backend=self._name,
                ) from None
        return self._client

    @property
    @unlinked()
    def backend(self) -> Any:
        """The machine.

        Raises:
            CredentialsError: If there is no key, or the service does not accept it.
            ValueError: If the service has no such machine for this account.
        """
        from qiskit.providers.exceptions import QiskitBackendNotFoundError

        if self._backend is None:
            try:
                self._backend = self.client.backend(self._machine)
            except QiskitBackendNotFoundError as error:
                raise ValueError(
                    "Argument `backend` must be the name of a machine that the account "
                    f"may use, but is {self._machine!r}: {self._masked(error)}"
                ) from None
        return self._backend

    @unlinked()
    def create(self, pubs: Sequence[Any], key: str) -> str:
        """Send a job; returns its identifier.

        Args:
            pubs: Its circuits, each with angles and a number of shots.
            key: Its key in the ledger, of which its tag is made.

        Raises:
            RefusedError: If the service surely did not take it.
            NoAnswerError: If it may have taken it.
        """
        from qiskit_ibm_runtime import SamplerV2
        from qiskit_ibm_runtime.exceptions import (
            IBMError,
            IBMInputValueError,
            IBMNotAuthorizedError,
        )

        options = {"environment": {"job_tags": [TAG.format(key)]}}
        try:
            job = SamplerV2(mode=self.backend, options=options).run(pubs)
        except IBMNotAuthorizedError as error:
            raise RefusedError(self._unauthorized(error), again=False) from None
        except IBMInputValueError as error:  # found before anything was sent
            raise RefusedError(self._refused(error), again=False) from None
        except IBMError as error:
            status = _status(error)
            if status is None or not 400 <= status < 500:
                raise NoAnswerError(self._masked(error)) from None
            again = status == TOO_MANY
            raise RefusedError(self._refused(error), again=again) from None
        return str(job.job_id())

    def named(self, key: str) -> str | None:
        """The identifier of the job with this key in the ledger, if it is found."""
        from qiskit_ibm_runtime.exceptions import IBMError

        try:
            jobs = self.client.jobs(limit=1, job_tags=[TAG.format(key)])
        except IBMError:
            return None
        return str(jobs[0].job_id()) if jobs else None

    @unlinked()
    def result(self, job: str) -> Any:
        """What the sampler measured in a job; None if it is not ready.

        Args:
            job: Its identifier.

        Raises:
            NoAnswerError: If the question can be asked again.
            JobFailedError: If it failed.
            JobCancelledError: If it was cancelled.
        """
        from qiskit_ibm_runtime.exceptions import (
            IBMError,
            IBMNotAuthorizedError,
            RuntimeJobNotFound,
        )

        where = {"backend": self._name, "job": job}
        try:
            found = self.client.job(job)
            status = found.status()
            if status == "DONE":
                return found.result()
            reason = self._masked(found.error_message()) if status == "ERROR" else ""
        except IBMNotAuthorizedError as error:
            raise self._unauthorized(error) from None
        except RuntimeJobNotFound:
            raise JobFailedError("The service has no such job.", **where) from None
        except IBMError as error:
            raise NoAnswerError(self._masked(error)) from None
        if status == "ERROR":
            raise JobFailedError(f"A job failed at the service: {reason}.", **where)
        if status == "CANCELLED":
            raise JobCancelledError(
                "A job was cancelled. Run the program again to send it again.", **where
            )
        return None

    def _unauthorized(self, error: Exception) -> CredentialsError:
        return CredentialsError(
            "IBM's service needs a valid key. Set the environment variable "
            "QISKIT_IBM_TOKEN, save an account with QiskitRuntimeService.save_account, "
            f'or give the backend `token="env:NAME"`: {self._masked(error)}',
            backend=self._name,
        )

    def _refused(self, error: Exception) -> JobFailedError:
        text = f"The service refused a job: {self._masked(error)}"
        return JobFailedError(text, backend=self._name)

    def _masked(self, error: Any) -> str:
        """What an error says, without the key."""
        text = str(error)
        if self._token is not None:
            text = text.replace(self._token.reveal(), "***")
        return text


def _status(error: Exception) -> int | None:
    """The HTTP status that an error of the client stands for, if the service replied.

    The client raises its errors in place of those of its requests, and only these know.
    """
    from qiskit_ibm_runtime.api.exceptions import RequestsApiError

    inner = error.__context__
    for one in (error, inner):
        if isinstance(one, RequestsApiError) and one.status_code > 0:
            return int(one.status_code)
    return None
