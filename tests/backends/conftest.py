"""IonQ's interface on loopback, in the place of the one of the company."""

from __future__ import annotations

import pytest

from tests.servers.ionq import KEY, IonQServer


@pytest.fixture
def ionq_server(monkeypatch):
    """A server that the plugin talks to, with its key in the environment."""
    monkeypatch.delenv("IONQ_API_KEY", raising=False)
    monkeypatch.setenv("PENNYLANE_IONQ_API_KEY", KEY)
    with IonQServer() as server:
        monkeypatch.setattr("pennylane_ionq.api_client.APIClient.BASE_URL", server.url)
        yield server
