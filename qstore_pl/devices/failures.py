"""One error for whatever another package's device raises while it executes circuits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pennylane.devices import Device
from pennylane.exceptions import DeviceError

from qstore_pl.devices.base import QStoreDevice
from qstore_pl.devices.resumable import ResumableDevice
from qstore_pl.errors import QStoreError, QuantumCircuitError


@contextmanager
def running_on(device: Device, backend: str) -> Iterator[None]:
    """A context in which circuits are executed on a device.

    Our own devices, and those in front of machines of other packages, raise errors that
    say what was wrong with a circuit; these are not changed, and neither are
    ``KeyboardInterrupt`` and ``SystemExit``.

    Args:
        device: The device.
        backend: Name of the backend, as the user knows it.

    Raises:
        QuantumCircuitError: If another package's device raises any error, which is its
            cause.
    """
    try:
        yield
    except Exception as error:  # another package's device may raise anything
        ours = isinstance(error, QStoreError) or isinstance(device, QStoreDevice)
        if ours or (
            isinstance(device, ResumableDevice) and isinstance(error, DeviceError)
        ):
            raise
        raise QuantumCircuitError(
            f"Running circuits failed with {type(error).__name__}: {error}. Try again, "
            "or take another backend.",
            backend=backend,
        ) from error
