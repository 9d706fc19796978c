"""``qstore.mock_noisy``: the name is taken, the device is not there yet."""

from __future__ import annotations

from typing import Any


class MockNoisy:
    """The noisy twin of :class:`MockIdeal`, in a later release.

    Raises:
        NotImplementedError: Always; the message says what to use until then.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        del args, options
        raise NotImplementedError(
            "Device qstore.mock_noisy is not in this release of qstore-pl. Until it "
            "is, add noise to PennyLane's own device: "
            'qml.noise.add_noise(qml.device("default.mixed"), noise_model).'
        )
