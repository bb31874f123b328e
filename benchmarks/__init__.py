"""Measurements; what they found is in docs/performance.md. Each is ``python -m benchmarks.NAME``."""
