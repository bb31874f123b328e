"""The metric of a run as it is now: an evaluation of its exported EMA generator, beside its training."""

from collections.abc import Callable
from pathlib import Path

import torch

from ragdist.errors import UserError
from ragdist.evaluation import source
from ragdist.evaluation.judging import Judgement
from ragdist.evaluation.yardstick import Yardstick
from ragdist.metrics.dataset import DataSet
from ragdist.metrics.options import EvaluateOptions
from ragdist.world import World
from tune import metrics
from tune.plan import Plan


class Judge:
    """Gives figures of runs that are comparable: same samples, reals and features.

    Args:
        plan: the search's.
        device: of the features' networks.
        say: told what takes long, once.

    Raises:
        UserError: the metric does not suit the data.
    """

    def __init__(self, plan: Plan, device: torch.device, say: Callable[[str], None] = lambda line: None):
        config, options = plan.config, plan.options
        self.metric, self.device = options.metric, device
        self.options = EvaluateOptions(
            data=options.judged_by or config.data.path,
            samples=options.samples,
            features=options.features,
            inception_weights=options.inception_weights,
            metrics=metrics.measure(options.metric),
            device=str(device),
        )
        data = DataSet(self.options.data, Path(config.data.cache).expanduser(), config.data.cache_gb)
        if metrics.measure(options.metric) == "classes" and len(data.index.classes) < 2:
            raise UserError(f"--metric {options.metric} needs data with labels: choose another one")
        if options.metric == "label_accuracy" and not config.network.labels:
            raise UserError("--metric label_accuracy needs --network.labels true")
        world = World(0, 1, device)
        self.yardstick = Yardstick(data, self.options, options.samples, world=world, say=say)
        by = f", by {self.options.data}" if options.judged_by else ""
        self.text = f"{self.metric} of {options.samples:,} samples{by}, {self.yardstick.extractor.title}"

    def __call__(self, run: Path) -> float:
        """The metric of a run.

        Raises:
            Diverged: its samples are not finite.
            UserError: it has no generator yet.
        """
        judgement = Judgement(source.open_source(run, self.options, self.device).judged, self.yardstick)
        for _ in range(judgement.steps):
            judgement.step()
        assert judgement.evaluation is not None
        value = judgement.evaluation.result.value(self.metric)
        assert value is not None, self.metric
        return float(value)
