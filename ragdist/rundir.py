"""What lies where in a run's folder."""

from collections.abc import Callable
from pathlib import Path

from ragdist import settings


class RunFolder:
    """One run's folder.

    config.yaml              the configuration it was started with
    checkpoints/             see `checkpoint`
    generator.safetensors    the newest EMA generator with all that is needed to sample from it
    samples/                 sample grids, and course.png at the end
    events.out.tfevents.*    TensorBoard
    metrics.jsonl            the same scalars, a line a reading
    summary.json             written at the end
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config = self.path / settings.CONFIG
        self.checkpoints = self.path / "checkpoints"
        self.generator = self.path / "generator.safetensors"
        self.samples = self.path / "samples"
        self.metrics = self.path / "metrics.jsonl"
        self.summary = self.path / "summary.json"
        # Raises if this process may not write here any more: another one goes on with the run.
        self.fence: Callable[[], None] = lambda: None

    def before_saving(self) -> None:
        """Called before a checkpoint is written; raises if it may not be."""
        self.fence()

    def saved(self) -> None:
        """Called when a checkpoint was written."""
