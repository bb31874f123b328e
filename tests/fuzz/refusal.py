"""What a refusal of damaged data looks like: words for the user, and nothing of a library's insides."""

import re
from collections.abc import Callable

import numpy as np
import torch

from ragdist.modalities.base import Form


def check_words(line: str) -> None:
    """Check that a refusal says something, in one line without addresses and source files."""
    assert re.search(r"\w{2}", line)
    assert not re.search(r" at 0x|\.c(pp)?\b|\n", line), line


def decoded(decode: Callable[[torch.Tensor, Form], torch.Tensor], data: bytes, form: Form) -> torch.Tensor | None:
    """What a modality decodes; None: it is refused, in words."""
    try:
        return decode(torch.from_numpy(np.frombuffer(data, np.uint8).copy()), form)
    except ValueError as error:
        check_words(str(error))
        return None
