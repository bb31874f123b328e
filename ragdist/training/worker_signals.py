"""Signals between workers: numbers that are reduced along with the gradients of every update."""

from typing import NamedTuple

import torch
from torch import Tensor


class WorkerSignals(NamedTuple):
    """The signals of one worker; reduced, every entry is the sum over the workers."""

    stop: float = 0  # workers that want to end here
    problem: float = 0  # workers that have nothing to compute: the update is not applied
    bad_samples: float = 0  # unreadable samples found since the last checkpoint
    evaluate: float = 0  # whether a step of the evaluation under way is to follow, as rank 0 decides


SIGNALS = WorkerSignals._fields


class ReducedSignals(NamedTuple):
    """The reduced signals, equal on all workers."""

    signals: WorkerSignals
    skipped: float  # updates that were skipped so far


class SignalReader:
    """Reads reduced signals on the host without making the device wait: on a GPU one update late."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        self._before = None
        self._last = ReducedSignals(WorkerSignals(), 0.0)  # on the CPU

    def flush(self) -> ReducedSignals:
        """The signals not yet read, after waiting for the device."""
        before, self._before = self._before, None
        if before is None:  # said once: what was counted by then must not count again
            last, self._last = self._last, ReducedSignals(WorkerSignals(), self._last.skipped)
            return last
        before[1].synchronize()
        return _reduced(before[0])

    def read(self, signals: Tensor, skipped: Tensor) -> ReducedSignals:
        """Read the signals of this update, or on a GPU of the one before.

        Args:
            signals: reduced SIGNALS [len(SIGNALS)], on the device.
            skipped: updates that were skipped so far, a scalar there.
        """
        values = torch.cat([signals, skipped.view(1)])
        if not self.cuda:
            self._last = _reduced(values)
            return self._last
        host = torch.empty(values.shape, pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(values.device))
        before, self._before = self._before, (host, arrived)
        if before is None:
            return ReducedSignals(WorkerSignals(), 0.0)
        before[1].synchronize()
        return _reduced(before[0])


def _reduced(values: Tensor) -> ReducedSignals:
    *signals, skipped = values.tolist()
    return ReducedSignals(WorkerSignals(*signals), skipped)
