"""Modalities: all that knows what a sample is, one folder each, and the table of their names.

A modality has three faces (`base`): making shards, training, judging. What a run's samples are is said by the index of
its data (the key ``codec``), so that no option names it. Importing this imports no modality and no PyTorch.
"""

from importlib import import_module
from typing import Any

from ragdist.modalities.base import Judging, Making, Training
from ragdist.tools.table import Table

# Packages, each with the modules making, training and judging; or objects with these as attributes.
MODALITIES = Table("ragdist.modalities", "modality", {"image": "ragdist.modalities.image"})


def making(name: str) -> Making:
    """The face of a modality that makes and indexes shards."""
    return _face(name, "making")


def training(name: str) -> Training:
    """The face of a modality that training needs."""
    return _face(name, "training")


def judging(name: str) -> Judging:
    """The face of a modality that shows and measures samples."""
    return _face(name, "judging")


def _face(name: str, face: str) -> Any:
    modality = MODALITIES[name]
    if not hasattr(modality, face):
        import_module(f"{modality.__name__}.{face}")  # a package, whose modules are imported one by one
    return getattr(modality, face)
