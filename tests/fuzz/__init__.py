"""Fuzzers: readers of other people's bytes, tried with bytes that are damaged at random.

Each tries the same damage every time, a fixed number of rounds; ``pytest tests/fuzz --fuzz 600`` goes on for 600 seconds
in each of them. ``--fuzz_from ROUND`` begins at the round that failed, which is named.
"""
