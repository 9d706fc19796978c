"""Servers of other companies, rewritten for the tests; they listen on loopback only."""
