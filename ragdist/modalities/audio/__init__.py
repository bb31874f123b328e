"""Sounds, of speech as of music: a sample is a clip of one length and rate, int16 [channels, T].

Networks see float32 [channels, T] from -1 to 1. T is a power of two, which strided convolutions halve to a few steps.
"""
