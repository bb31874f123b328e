"""Options of making arrays."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class ArrayOptions:
    """How rows of numbers become samples."""

    scaling: Literal["deviation", "range", "none"] = "deviation"
    """how networks see each channel, or number of a vector, shifted and scaled: to mean 0 and deviation 1, to -1 to 1,
    or as it is"""
