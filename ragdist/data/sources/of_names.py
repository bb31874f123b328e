"""Classes of files that are a part of their names, as --labels name:REGEX says."""

import re
from collections.abc import Sequence

from ragdist.tools.errors import UserError

PREFIX = "name:"


def pattern(labels: str) -> re.Pattern[str] | None:
    """The pattern of file names whose group is the class; None: --labels says something else.

    Raises:
        UserError: it is no regular expression with a group.
    """
    if not labels.startswith(PREFIX):
        return None
    try:
        found = re.compile(labels.removeprefix(PREFIX))
    except re.error as error:
        raise UserError(f"--labels {labels}: it is no regular expression ({error})") from error
    if not found.groups:
        raise UserError(
            f"--labels {labels}: it has no group: put the part of the name that is the class in parentheses, as in "
            f"'{PREFIX}([a-z]+)_'"
        )
    return found


def values(where: str, files: Sequence[str], pattern: re.Pattern[str], labels: str) -> list[str]:
    """The class of each file, the pattern's first group where it is found first in the name without its folder.

    Raises:
        UserError: it is not found in one.
    """
    found = [pattern.search(file.rpartition("/")[2]) for file in files]
    missing = [file for file, match in zip(files, found, strict=True) if not (match and match[1])]
    if missing:
        raise UserError(
            f"--labels {labels}: {len(missing):,} of {len(files):,} files in {where} have no such part in their names, "
            f"such as {missing[0]}"
        )
    return [match[1] for match in found]
