"""Folders that only divide many files into parts, as data set tools make them, told from folders that are classes.

Nothing in a name says for certain whether ``00003`` is the third thousand of the files or the third traffic sign. What
tells is how the files in it are called: those of parts are numbered on from one folder to the next, or repeat its name.
"""

import re
from collections.abc import Sequence
from typing import Any

_PART = re.compile(
    r"(.*[-_. ])?(part|chunk|shard|batch|split|bucket|block|fold|images?|imgs?|dir|folder|volume|vol)[-_. ]?[0-9]+",
    re.I,
)
_SPLIT = re.compile(r"(train|training|val|valid|validation|dev|test|testing|eval)([AB]?)", re.I)
_PICTURES = re.compile(r"(images?|imgs?|jpegimages|photos?|pictures?|rgb|inputs?|source)", re.I)
_MASKS = re.compile(
    r".*(masks?|segmentation\w*|annotations?|labels?|depths?|edges?|gt|ground_?truth|targets?|alphas?|mattes?)", re.I
)
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "eval"}
_SPLITS |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
_PARTITION = re.compile(r"(^|[-_.])(partitions?|splits?)([-_.]|$)", re.I)
_DIGITS = re.compile(r"[0-9]{1,18}")
_LAST_DIGITS = re.compile(r"([0-9]{1,18})[^0-9]*$")
_HEX = re.compile(r"[0-9a-f]{2,}")

Folder = tuple[str, ...]


def are_splits(names: set[str]) -> bool:
    """Whether the names of folders are those of parts that a data set is split into, such as train and test."""
    return len(names) > 1 and all(_SPLIT.fullmatch(name) for name in names)


def of_another_split(stem: str, split: str) -> bool:
    """Whether a table's name without its ending, as ``train_labels``, says that it is of another split than this."""
    named = {_SPLITS[word] for word in re.split(r"[^a-z]+", stem.lower()) if word in _SPLITS}
    wanted = _SPLITS.get(split.lower())
    return bool(named and wanted) and wanted not in named


def tells_splits(stem: str, labels: Sequence[Any]) -> bool:
    """Whether a table, by its name without its ending and its labels, tells training from test files, not classes."""
    return bool(_PARTITION.search(stem)) and {str(label).strip() for label in labels} <= {"0", "1", "2", *_SPLITS}


def are_pairs(names: set[str]) -> bool:
    """Whether the names of folders are those of pictures and of masks or the like that belong to them."""
    masks = {name for name in names if _MASKS.fullmatch(name)}
    return bool(masks) and len(names - masks) == 1 and all(map(_PICTURES.fullmatch, names - masks))


def part_levels(folders: Sequence[Folder], stems: Sequence[str]) -> tuple[set[int], bool]:
    """Which levels of folders are only parts, and whether that is certain.

    Args:
        folders: the folder of each file, without what all have in common.
        stems: the name of each file without its ending.
    """
    deepest = min(map(len, folders))
    by_name = {level for level in range(deepest) if all(_PART.fullmatch(folder[level]) for folder in folders)}
    if by_name:
        return by_name, True
    lengths = {len(folder) for folder in folders}
    if len(lengths) > 1 or not deepest:
        return set(), True
    last = [folder[-1] for folder in folders]
    whole = ["".join(folder) for folder in folders]
    for names, levels in ((whole, set(range(deepest))), (last, {deepest - 1})):
        if _repeated(names, stems):
            return levels, True
    certain = not (deepest == 1 and numbered_alike(set(last)) and running(last, stems))
    return (set() if certain else {0}), certain


def numbered_alike(names: set[str]) -> bool:
    """Whether all names are numbers of one width, with zeros in front: parts, or classes."""
    return (
        len({len(name) for name in names}) == 1
        and all(map(_DIGITS.fullmatch, names))
        and any(name.startswith("0") and len(name) > 1 for name in names)
    )


def _repeated(names: Sequence[str], stems: Sequence[str]) -> bool:
    """Whether folders' names come again in files': 00012/img00012345, 01000/01734, 4f/4f02ab91, 0123/4567123."""
    different = set(names)
    if all(map(_HEX.fullmatch, different)) and len(different) >= 4 and len({len(name) for name in different}) == 1:
        pairs = zip(names, stems, strict=True)
        if all(_HEX.fullmatch(stem) and stem.startswith(name) and len(stem) >= len(name) + 4 for name, stem in pairs):
            return True
    if not numbered_alike(different):
        return False
    numbers = [match[1] if (match := _LAST_DIGITS.search(stem)) else "" for stem in stems]
    if all(len(n) > len(name) and n.startswith(name) for name, n in zip(names, numbers, strict=True)):
        return True
    if not all(numbers):
        return False
    pairs = [(int(name), int(number)) for name, number in zip(names, numbers, strict=True)]
    step = min((first for first, _ in pairs if first), default=0)
    if step >= 10 and all(number // step * step == first for first, number in pairs):
        return True
    return any(len(different) > 2 and all(n >= m and n % m == k for k, n in pairs) for m in (100, 1000, 10_000))


def running(names: Sequence[str], stems: Sequence[str]) -> bool:
    """Whether the files are numbered through all folders, with as many in each: as parts are, and perhaps classes."""
    if not all(map(_DIGITS.fullmatch, set(names))):
        return False
    numbers = [int(match[1]) if (match := _LAST_DIGITS.search(stem)) else -1 for stem in stems]
    folders = [int(name) for name in names]
    first, base = min(folders), min(numbers)
    size = sum(folder == first for folder in folders)
    if base < 0 or size < 2 or len(set(numbers)) < len(numbers):
        return False
    return all((number - base) // size == folder - first for folder, number in zip(folders, numbers, strict=True))
