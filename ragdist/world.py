"""Where this process stands among the workers of a run: a value that is passed, no globals."""

import os
from dataclasses import dataclass

import torch

from ragdist.errors import UserError


@dataclass(frozen=True)
class World:
    """Rank and size as in torch.distributed, and the device this worker computes on."""

    rank: int
    size: int
    device: torch.device

    def slots(self, batch: int) -> range:
        """The slots of a global batch that this worker computes: contiguous, in all workers all of them.

        Where the batch does not divide, the first workers have one slot more.
        """
        share, rest = divmod(batch, self.size)
        start = self.rank * share + min(self.rank, rest)
        return range(start, start + share + (self.rank < rest))


def pick_device(name: str, *, deterministic: bool = False) -> torch.device:
    """The device of this name, "auto" for a GPU where there is one.

    ``deterministic`` has a GPU use only kernels that give the same bits every time, where PyTorch has them.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name}: {reason}; choose cpu, or cuda where there is a GPU") from error
    if device.type == "cuda" and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return device
