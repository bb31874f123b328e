"""The one rule for labels, wherever they are written: whole numbers from 0 on are classes, texts are names of classes.

Text of digits is a number, in JSON as in a CSV file; what is true or false is a name; what is empty, null or NaN is no
label. Other numbers, and numbers mixed with names, are refused: whoever means them has to say as what.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ragdist.tools.errors import UserError

MOST_CLASSES = 1_000_000  # a larger number is no class but an identifier
_LONGEST_NAME = 200  # characters
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")  # and what is no character at all
_MISSING = ("", "nan", "NaN")  # as NumPy, and tables of numbers, write what is not there
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def label_of(value: object) -> int | str | None:
    """A label, as it is written somewhere, as a class number or a name; None: it says that there is none.

    Raises:
        ValueError: it is neither; the reason, which begins with the value.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _class_number(value)
    if isinstance(value, float):
        raise ValueError(_no_whole_number(value))
    if not isinstance(value, str):
        raise ValueError(f"{_short(value)}, neither a whole number nor a name")
    text = value.strip()
    if _WHOLE.fullmatch(text):
        return _class_number(int(text) if len(text) < 20 else MOST_CLASSES)
    if _NUMBER.fullmatch(text):
        raise ValueError(_no_whole_number(text))
    if len(text) > _LONGEST_NAME or _CONTROL.search(text):
        raise ValueError(f"{_short(value)}, no name of a class")
    return None if text in _MISSING else text


def _class_number(number: int) -> int:
    if not 0 <= number < MOST_CLASSES:
        raise ValueError(f"{number}: classes are numbered from 0 to {MOST_CLASSES - 1:,}")
    return number


def _no_whole_number(value: object) -> str:
    return f"{value}, no whole number: write classes as 0, 1, 2, ..., or as names"


def _short(value: object) -> str:
    return ascii(value)[:50]


def classes_of(values: Iterable[int | str]) -> list[int] | list[str]:
    """The classes of different labels, in order: numbers from 0 to the largest, or sorted names.

    Digits among other single characters are names, as in a set of written characters.

    Raises:
        ValueError: some are numbers and some are names; its arguments are one of each.
    """
    values = list(values)
    numbers = [value for value in values if isinstance(value, int)]
    names = [value for value in values if isinstance(value, str)]
    if not names:
        return list(range(max(numbers) + 1)) if numbers else []
    if numbers and not all(len(str(value)) == 1 for value in values):
        raise ValueError(numbers[0], names[0])
    return sorted(map(str, values))


def numbered(
    where: str,
    values: Sequence[object],
    names: Sequence[str] = (),
    *,
    each: Callable[[int], str] = "item {}".format,
) -> tuple[list[int], list[str]]:
    """Number the labels of samples: class numbers and class names; both are empty where no sample has a label.

    Args:
        where: what holds them, for messages.
        values: labels as they are written there.
        names: of the classes, where labels are numbers; a number beyond them names itself.
        each: names a sample by its place in ``values``, for messages.

    Raises:
        UserError: a label that is none, numbers mixed with names, or samples without one beside others.
    """
    known: dict[object, int | str | None] = {}
    found = []
    for i, value in enumerate(values):
        try:
            key = (type(value), value)
            if key not in known:
                known[key] = label_of(value)
            found.append(known[key])
        except ValueError as error:
            raise UserError(f"{where} {each(i)}: label {error}") from error
        except TypeError as error:  # a list, which is no key
            raise UserError(f"{where} {each(i)}: label {_short(value)}, neither a whole number nor a name") from error
    distinct = dict.fromkeys(value for value in found if value is not None)
    if not distinct:
        return [], []
    if None in found:
        raise UserError(f"{where} {each(found.index(None))}: no label, and others have one")
    try:
        classes = classes_of(distinct)
    except ValueError as error:
        number, name = error.args
        raise UserError(
            f"{where}: the label {name!r} is neither a whole number like {number} and others, nor are all labels names"
        ) from error
    if isinstance(classes[0], str):
        place = {name: i for i, name in enumerate(classes)}
        return [place[str(value)] for value in found], classes
    return found, [names[i] if i < len(names) else str(i) for i in range(max(len(classes), len(names)))]
