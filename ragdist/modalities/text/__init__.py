"""Texts: lines, paragraphs or windows of a fixed number of tokens.

Stored as token numbers [T]; networks see one distribution over the tokens a place, [V, T].
"""
