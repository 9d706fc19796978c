"""What the servers of the tests have in common: HTTP on this computer only."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection; its ``owner`` is the server."""

    owner: Any
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a reply is one packet
    disable_nagle_algorithm = True
    timeout = 30

    def setup(self) -> None:
        super().setup()
        self.owner.connections.add(self.connection)

    def finish(self) -> None:
        self.owner.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class LoopbackServer:
    """A context manager that serves in threads of this process.

    Attributes:
        handler: The class of the handlers.
        path: What comes behind the host in the address.
        url: The address.
        closing: Set when the server stops, for handlers that wait.
        connections: Those that are open.
    """

    handler: type[LoopbackHandler]
    path = ""

    def __init__(self) -> None:
        self.closing = threading.Event()
        self.connections: set[socket.socket] = set()

    def __enter__(self) -> Self:
        bound = type("Bound", (self.handler,), {"owner": self})
        self._http = Http(("127.0.0.1", 0), bound)
        self._thread = threading.Thread(
            target=self._http.serve_forever,
            kwargs={"poll_interval": 0.01},
            daemon=True,
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}{self.path}"
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        for connection in list(self.connections):
            close(connection)
        self._thread.join()


def close(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        connection.close()  # the client was first
