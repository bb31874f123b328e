"""What workers say is heard once."""

import torch

from ragdist.signals import Ear, Signals


def test_what_is_flushed_is_not_heard_again():
    """Two checkpoints after one update: bad samples that the first one merged must not count twice."""
    ear = Ear(torch.device("cpu"))
    heard = ear.hear(torch.tensor([0.0, 0.0, 3.0]), torch.tensor(2.0))
    assert heard.signals == Signals(0, 0, 3)
    assert ear.flush() == heard
    assert ear.flush().signals == Signals()
    assert ear.flush().skipped == 2
