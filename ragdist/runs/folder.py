"""The files of a run's folder."""

from collections.abc import Callable
from pathlib import Path

from ragdist.config import settings


class RunFolder:
    """The folder of a run.

    config.yaml              the configuration it was started with
    checkpoints/             see `checkpoint`
    generator.safetensors    the newest EMA generator with all that is needed to sample from it
    best.safetensors         the best one by --evaluate.best, with the figure by which it is, where a run evaluates
    evaluation*              figures: evaluations.jsonl of all evaluations; a report's .json and .html
    samples/                 sample grids, and course.png at the end
    events.out.tfevents.*    TensorBoard
    metrics.jsonl            the same scalars, a line a reading
    wandb.json               by which Weights & Biases knows the run, with --monitor.wandb
    summary.json             written at the end
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config = self.path / settings.CONFIG
        self.checkpoints = self.path / "checkpoints"
        self.generator = self.path / "generator.safetensors"
        self.best = self.path / "best.safetensors"
        self.evaluations = self.path / "evaluations.jsonl"
        self.samples = self.path / "samples"
        self.metrics = self.path / "metrics.jsonl"
        self.wandb = self.path / "wandb.json"
        self.summary = self.path / "summary.json"
        # Samples after which a checkpoint is kept beside the newest: the best one, one that is being evaluated.
        self.protected: frozenset[int] = frozenset()
        # Each raises if this process may not write here any more: another one goes on with the run.
        self.fences: list[Callable[[], None]] = []

    def fence(self) -> None:
        """Check that this process may write here still. Raises UserError where another one goes on with the run."""
        for check in self.fences:
            check()

    def before_saving(self) -> None:
        """Hook before a checkpoint is written; raises if it may not be."""
        self.fence()

    def saved(self) -> None:
        """Hook after a checkpoint was written."""
