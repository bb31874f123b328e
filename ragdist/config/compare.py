"""The options of comparing runs; a file of its own, so that --help need not import PyTorch."""

from dataclasses import dataclass

from ragdist.config.option import common


@dataclass
class CompareOptions:
    """Options of comparing runs."""

    figures: str = common("")
    """figures of the table, by their names in evaluation.json, separated by commas; all; empty: the first five that
    runs of such samples are usually ranked by. The page has all"""
    out: str = common("")
    """the page; empty: comparison.html, with --json none"""
