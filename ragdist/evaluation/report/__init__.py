"""Reports of an evaluation: the table in a terminal, evaluation.json, the history of a run, the page.

Nothing here computes a figure.
"""
