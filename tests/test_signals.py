"""Signals of workers are read once."""

import torch

from ragdist.training.worker_signals import SignalReader, WorkerSignals


def test_flushed_signals_are_not_read_again():
    """Two checkpoints after one update: bad samples that the first one merged must not count twice."""
    reader = SignalReader(torch.device("cpu"))
    reduced = reader.read(torch.tensor([0.0, 0.0, 3.0]), torch.tensor(2.0))
    assert reduced.signals == WorkerSignals(0, 0, 3)
    assert reader.flush() == reduced
    assert reader.flush().signals == WorkerSignals()
    assert reader.flush().skipped == 2
