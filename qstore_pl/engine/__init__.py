"""The numerical engine: numpy and numba, never PennyLane."""
