"""The HTTP side of the IonQ server: requests in, replies and faults out."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.ionq_jobs import SPOILT, Fault, Job
from tests.servers.ionq_payload import BadRequest
from tests.servers.loopback import LoopbackHandler, close

if TYPE_CHECKING:
    from tests.servers.ionq import IonQServer

JOB = re.compile(r"/v0\.4/jobs/(?P<id>[0-9a-f-]+)(?P<results>/results/probabilities)?")
JSON = {"Content-Type": "application/json"}


class Handler(LoopbackHandler):
    owner: IonQServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.owner.note("POST", self.path)
        if not self._allowed():
            return
        if self.path != "/v0.4/jobs":
            self._error(404, "There is nothing here.")
            return
        fault = self.owner.fault("post")
        if self._struck(fault):
            return
        try:
            job = self.owner.accept(body, fault)
        except BadRequest as error:
            self._error(400, str(error))
            return
        self._answer(201, {"id": job.id, "status": "submitted"}, fault)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.owner.note("GET", self.path)
        if not self._allowed():
            return
        if path == "/v0.4/jobs" and self.owner.lists:
            jobs = [self._status(job, "ready") for job in self.owner.jobs]
            self._send(200, json.dumps({"jobs": jobs, "next": None}).encode(), JSON)
            return
        if path == "/v0.4/jobs" and self.owner.listing:
            self._list()
            return
        match = JOB.fullmatch(path)
        job = None if match is None else self.owner.find(match["id"])
        if match is None or job is None:
            self._error(404, "There is no such job.")
            return
        where = "results" if match["results"] else "get"
        fault = self.owner.fault(where)
        if self._struck(fault):
            return
        if where == "get":
            self._answer(200, self._status(job, self.owner.poll(job, fault)), fault)
        elif job.status(time.time()) != "completed":
            self._error(404, "The job has no results.")
        else:
            spoilt = fault.kind if fault is not None else None
            spoilt = str(spoilt) if spoilt in SPOILT else None
            self._answer(200, job.reply(self.owner.seed, spoilt), fault)

    def _list(self) -> None:
        fault = self.owner.fault("get")
        if self._struck(fault):
            return
        asked = parse_qs(urlsplit(self.path).query)
        last = asked["next"][0] if "next" in asked else None
        found, more = self.owner.page(int(asked.get("limit", ["25"])[0]), last)
        now = time.time()
        jobs = [self._status(job, job.status(now)) for job in found]
        self._answer(200, {"jobs": jobs, "next": more}, fault)

    def _status(self, job: Job, status: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": job.id,
            "status": status,
            "type": job.body["type"],
            "backend": job.payload.backend,
            "shots": job.payload.shots,
            "metadata": job.payload.metadata,
            "name": job.payload.name,
        }
        if status == "completed":
            url = f"/v0.4/jobs/{job.id}/results/probabilities"
            found["results"] = {"probabilities": {"url": url}}
        if status == "failed":
            error = "The job could not be run."
            found["failure"] = {"code": "CompilationError", "error": error}
        return found

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization", "").encode()
        if hmac.compare_digest(given, f"apiKey {self.owner.key}".encode()):
            return True
        self._error(401, "Invalid key provided.")
        return False

    def _struck(self, fault: Fault | None) -> bool:
        """Whether a fault ends the request before anything is done."""
        if fault is None:
            return False
        if fault.kind == "slow":
            self.owner.closing.wait(fault.seconds)
        if fault.kind == "drop":
            self._hang_up()
            return True
        if isinstance(fault.kind, int):
            self._error(fault.kind, fault.message, retry_after=fault.retry_after)
            return True
        return False

    def _answer(self, status: int, value: Any, fault: Fault | None) -> None:
        kind = None if fault is None else fault.kind
        if kind == "lost":
            self._hang_up()
        elif kind == "garbage":
            self._send(200, b"<html>no JSON</html>", {"Content-Type": "text/html"})
        else:
            self._send(status, json.dumps(value).encode(), JSON)

    def _error(
        self, status: int, message: str, *, retry_after: float | None = None
    ) -> None:
        headers = dict(JSON)
        if retry_after is not None:
            headers["Retry-After"] = f"{retry_after:g}"
        value = {
            "statusCode": status,
            "error": self.responses.get(status, ("Unknown",))[0],
            "message": message,
        }
        self._send(status, json.dumps(value).encode(), headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        close(self.connection)
