"""The number of workers of a run: the values of ``--workers``."""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from ragdist.tools.errors import UserError

AS_MANY_AS_FIT = 1 << 20


class WorldSize(NamedTuple):
    """A range of ``low`` to ``high`` workers; 0 to 0: this process, without Ray."""

    low: int
    high: int

    @property
    def in_process(self) -> bool:
        return self.high == 0


def parse(text: str, environment: Mapping[str, str] = os.environ) -> WorldSize:
    """Parse a value of ``--workers``: "auto", "0", "4" or "2:8".

    "auto" is as many as the Ray cluster has room for where one is named (a Ray job, or RAY_ADDRESS), and
    this process elsewhere.

    Raises:
        UserError: it is none of these.
    """
    if text == "auto":
        return WorldSize(1, AS_MANY_AS_FIT) if environment.get("RAY_ADDRESS") else WorldSize(0, 0)
    if re.fullmatch(r"\d{1,6}", text):
        return WorldSize(int(text), int(text))
    if found := re.fullmatch(r"(\d{1,6}):(\d{1,6})", text):
        low, high = int(found[1]), int(found[2])
        if 1 <= low <= high:
            return WorldSize(low, high)
    raise UserError(
        f"--workers {text}: it must be auto, 0 (this process), a number as 4, or a range as 2:8 for a run that goes on "
        "with fewer workers when nodes are lost"
    )
