"""What workers tell each other with every update: numbers that ride along in the reduction of the gradients."""

from typing import NamedTuple

import torch
from torch import Tensor


class Signals(NamedTuple):
    """What one worker says; reduced, every entry is the sum over the workers."""

    stop: float = 0  # workers that want to end here
    problem: float = 0  # workers that have nothing to compute: the update is not applied
    bad_samples: float = 0  # unreadable samples found since the last checkpoint
    evaluate: float = 0  # whether a step of the evaluation under way is to follow: rank 0's word


SIGNALS = Signals._fields


class Heard(NamedTuple):
    """What all workers heard alike."""

    signals: Signals
    skipped: float  # updates that were skipped so far


class Ear:
    """Brings reduced signals to the host without making the device wait: on a GPU one update late."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        self._before = None
        self._last = Heard(Signals(), 0.0)  # on the CPU

    def flush(self) -> Heard:
        """What was said last, waiting for the device; nothing is left to hear."""
        before, self._before = self._before, None
        if before is None:  # said once: what was counted by then must not count again
            last, self._last = self._last, Heard(Signals(), self._last.skipped)
            return last
        before[1].synchronize()
        return _heard(before[0])

    def hear(self, signals: Tensor, skipped: Tensor) -> Heard:
        """The signals of this update, or on a GPU of the one before.

        Args:
            signals: reduced SIGNALS [len(SIGNALS)], on the device.
            skipped: updates that were skipped so far, a scalar there.
        """
        values = torch.cat([signals, skipped.view(1)])
        if not self.cuda:
            self._last = _heard(values)
            return self._last
        host = torch.empty(values.shape, pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(values.device))
        before, self._before = self._before, (host, arrived)
        if before is None:
            return Heard(Signals(), 0.0)
        before[1].synchronize()
        return _heard(before[0])


def _heard(values: Tensor) -> Heard:
    *signals, skipped = values.tolist()
    return Heard(Signals(*signals), skipped)
