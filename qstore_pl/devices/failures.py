"""What a device of others raises while it runs circuits, as one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pennylane.devices import Device

from qstore_pl.devices.base import QStoreDevice
from qstore_pl.errors import QStoreError, QuantumCircuitError


@contextmanager
def running_on(device: Device, backend: str) -> Iterator[None]:
    """A context in which circuits run on a device.

    Our own devices fail only for what they were asked to do, and say what: their errors
    pass as they are. So do ``KeyboardInterrupt`` and its like.

    Args:
        device: Where they run.
        backend: Name of the backend, as the user knows it.

    Raises:
        QuantumCircuitError: If another device fails; its own error is the cause.
    """
    try:
        yield
    except Exception as error:  # nobody knows what a device of others may raise
        if isinstance(device, QStoreDevice) or isinstance(error, QStoreError):
            raise
        raise QuantumCircuitError(
            f"Running circuits failed with {type(error).__name__}: {error}. Try again, "
            "or take another backend.",
            backend=backend,
        ) from error
