"""Numbering of a source's classes."""

from collections.abc import Sequence

import numpy as np

from ragdist.tools.errors import UserError

_MOST_CLASSES = 2**20  # a larger number is no class but an identifier


def numbered(where: str, values: Sequence[int | str], names: Sequence[str] = ()) -> tuple[list[int], list[str]]:
    """Number the labels of samples: class numbers and class names.

    Whole numbers stay what they are, and are named by ``names`` where it reaches, else by themselves; text
    that is not all numbers becomes the place of the name in the sorted names.

    Raises:
        UserError: negative or enormous numbers, or numbers mixed with names.
    """
    if not len(values):
        return [], []
    if all(isinstance(value, str) for value in values):
        if not all(value.isascii() and value.isdigit() for value in values):
            classes = sorted(set(values))
            place = {name: i for i, name in enumerate(classes)}
            return [place[value] for value in values], classes
        values = [int(value) for value in values]
    if not all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in values):
        odd = next(value for value in values if not isinstance(value, (int, np.integer)) or isinstance(value, bool))
        raise UserError(
            f"{where}: the label {odd!r} is neither a whole number like the others nor are all labels names"
        )
    least, most = int(min(values)), int(max(values))
    if least < 0 or most >= _MOST_CLASSES:
        raise UserError(f"{where}: label {least if least < 0 else most}; class numbers go from 0 to {_MOST_CLASSES:,}")
    classes = [names[i] if i < len(names) else str(i) for i in range(max(most + 1, len(names)))]
    return [int(value) for value in values], classes
