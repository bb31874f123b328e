"""Evaluation of a generator: its samples against reference data, in steps, for a command or during training.

What is compared, and in which order. The measures themselves are pure functions in `ragdist.metrics`.
"""
