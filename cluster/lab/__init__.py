"""A real Ray cluster of several hosts on one Linux machine, for tests and demos; docs/lab.md describes it."""

from cluster.lab.lab import Lab

__all__ = ["Lab"]
