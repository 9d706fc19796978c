"""Compiled circuits in the frameworks that differentiate: autograd, PyTorch and JAX.

PyTorch and JAX are imported by their own module alone, where they are used.
"""
