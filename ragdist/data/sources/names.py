"""Names of files as archives and folders of other systems have them, as paths with ``/`` inside of the source."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from ragdist.data.sources.source import Remarks

_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")
_REPLACED = "not read, for a later file of the same name is"


def paths(
    names: Sequence[str],
    places: Sequence[Any],
    remarks: Remarks,
    windows: Callable[[int], bool] = lambda i: False,
) -> dict[str, Any]:
    """Paths inside of a source -> places, by files' names as they are written there.

    Absolute names, drives and ``..`` lead nowhere but into the source, as when an archive is unpacked; of several files
    with one path the last is taken, as then. What was understood otherwise than it is written goes into ``remarks``.

    Args:
        names: of the files.
        places: where each is.
        remarks: to add to.
        windows: whether a file was packed on Windows, by its number.
    """
    divides = _backslash_divides(names, windows)
    found: dict[str, Any] = {}
    for i, (name, place) in enumerate(zip(names, places, strict=True)):
        path = _inside(name, divides(i))
        if not path:
            remarks.count("files whose name leads nowhere, not read", name)
            continue
        if path in found:
            remarks.count(_REPLACED, name)
        found[path] = place
        if divides(i):
            remarks.count(r"files with \ in their names, taken for the / of folders", name)
        if not name.isascii() and re.search("[\ud800-\udfff]", name):
            remarks.count("files with names that are not in UTF-8, read all the same", name)
    return found


def _inside(name: str, backslash: bool) -> str:
    name = _DRIVE.sub("", name, count=1)
    parts: list[str] = []
    for part in (name.replace("\\", "/") if backslash else name).split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _backslash_divides(names: Sequence[str], windows: Callable[[int], bool]) -> Callable[[int], bool]:
    r"""Whether the ``\`` in a name, by its number, divides folders: it may be a letter where it was made on Unix.

    There it divides where all names have it, or a name without ``/`` lies beside files in folders.
    """
    marked = {i for i, name in enumerate(names) if "\\" in name}
    if not marked:
        return lambda i: False
    folders = any("/" in name for name in names)
    every = len(marked) == len(names)
    return lambda i: i in marked and (windows(i) or every or (folders and "/" not in names[i]))
