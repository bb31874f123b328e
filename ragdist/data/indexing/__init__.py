"""Indexing and checking of shards that lie somewhere already: strict walks through tars, samples by key, statistics.

Nothing here writes a shard or a sample.
"""
