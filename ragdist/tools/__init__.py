"""Small tools that everything above may use: errors for users, progress, counter-based noise, memory, signals.

A tool imports nothing else of ragdist.
"""
