"""The metric of a run as it is now: an evaluation of its exported EMA generator, beside its training."""

from pathlib import Path

import torch

from ragdist.errors import UserError
from ragdist.evaluation import source
from ragdist.evaluation.evaluate import check_counts, choose, evaluate, make_extractor
from ragdist.evaluation.reals import Reals
from ragdist.metrics.dataset import DataSet
from ragdist.metrics.options import EvaluateOptions
from tune import metrics
from tune.plan import Plan


class Judge:
    """Gives figures of runs that are comparable: same samples, reals and features.

    Args:
        plan: the search's.
        device: of the features' networks.
    """

    def __init__(self, plan: Plan, device: torch.device):
        options = plan.options
        self.plan, self.device, self.metric = plan, device, options.metric
        self.options = EvaluateOptions(
            data=options.judged_by or plan.config.data.path,
            samples=options.samples,
            features=options.features,
            inception_weights=options.inception_weights,
            metrics=metrics.measure(options.metric),
            device=str(device),
        )

    def prepare(self, say) -> str:
        """Compute once what all trials need, a classifier and the reals' features; what the metric is, in words.

        Raises:
            UserError: the metric does not suit the data.
        """
        config, options = self.plan.config, self.options
        data = DataSet(options.data, Path(config.data.cache).expanduser(), config.data.cache_gb)
        kind, names = choose(options, data)
        if "classes" in names and len(data.index.classes) < 2:
            raise UserError(f"--metric {self.metric} needs data with labels: choose another one")
        check_counts(names, options.samples, min(options.reals, len(data)), options.neighbours)
        cache = Path(options.cache).expanduser()
        extractor = make_extractor(kind, data, options, self.device, cache, say)
        Reals(data, extractor, options.reals, cache).side(options.batch, self.device)
        by = f", by {options.data}" if self.plan.options.judged_by else ""
        return f"{self.metric} of {options.samples:,} samples{by}, {extractor.title}"

    def __call__(self, run: Path) -> float:
        """The metric of a run.

        Raises:
            Diverged: its samples are not finite.
            UserError: it has no generator yet.
        """
        opened = source.open_source(run, self.options, self.device)
        found = evaluate(opened.judged, opened.data, self.options, device=self.device, say=lambda line: None)
        value = found.result.value(self.metric)
        assert value is not None, self.metric
        return float(value)
