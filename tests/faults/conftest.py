"""The fixtures of the conformance tests, here too."""

from tests.conformance.conftest import agree, flat, framework, reference, rng

__all__ = ["agree", "flat", "framework", "reference", "rng"]
