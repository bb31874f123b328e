"""Judging a generator: its samples against data by the measures of `ragdist.metrics`, and the report of it."""
