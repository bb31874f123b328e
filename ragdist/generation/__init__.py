"""Samples from a trained generator, and the file that holds one.

Nothing here trains, and nothing needs a run: a generator file is enough.
"""
