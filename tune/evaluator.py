"""The metric of a trial's run: an evaluation of its exported EMA generator."""

from collections.abc import Callable
from pathlib import Path

import torch

from ragdist.config.evaluation import EvaluateOptions
from ragdist.distributed.world import World
from ragdist.evaluation import source
from ragdist.evaluation.reference import Reference, suitable
from ragdist.evaluation.reference_data import DataSet
from ragdist.evaluation.steps import EvaluationSteps
from ragdist.tools.errors import UserError
from tune import metrics
from tune.plan import Plan


def check(plan: Plan) -> DataSet:
    """Check that a search's metric and features suit its data, before anything is computed or written.

    Returns:
        The data that samples are compared with.

    Raises:
        UserError: they do not.
    """
    config, asked, options = plan.config, plan.options, _options(plan)
    data = DataSet(options.data, Path(config.data.cache).expanduser(), config.data.cache_gb)
    if options.metrics == "classes" and len(data.index.classes) < 2:
        raise UserError(f"--metric {asked.metric} needs data with labels: choose another one")
    if asked.metric == "label_accuracy" and not config.network.labels:
        raise UserError("--metric label_accuracy needs --network.labels true")
    suitable(options, data, asked.samples)
    return data


def _options(plan: Plan, device: torch.device | str = "auto") -> EvaluateOptions:
    """The options of evaluating a trial."""
    asked = plan.options
    return EvaluateOptions(
        data=asked.judged_by or plan.config.data.path,
        samples=asked.samples,
        features=asked.features,
        inception_weights=asked.inception_weights,
        metrics=metrics.measure(asked.metric),
        device=str(device),
    )


class TrialEvaluator:
    """An evaluator of trials, with the same samples, reals and features for all.

    Args:
        plan: the search's plan.
        device: of the features' networks.
        say: prints a line about what takes long, once.

    Raises:
        UserError: the metric does not suit the data.
    """

    def __init__(self, plan: Plan, device: torch.device, say: Callable[[str], None] = lambda line: None):
        options = plan.options
        self.metric, self.device, self.options = options.metric, device, _options(plan, device)
        data, world = check(plan), World(0, 1, device)
        self.reference = Reference(data, self.options, options.samples, world=world, say=say)
        by = f", by {self.options.data}" if options.judged_by else ""
        self.text = f"{self.metric} of {options.samples:,} samples{by}, {self.reference.extractor.title}"

    def __call__(self, run: Path) -> float:
        """The metric of a run.

        Raises:
            Diverged: its samples are not finite.
            UserError: it has no generator yet.
        """
        steps = EvaluationSteps(source.open_source(run, self.options, self.device).samples, self.reference)
        for _ in range(steps.steps):
            steps.step()
        assert steps.evaluation is not None
        value = steps.evaluation.result.value(self.metric)
        assert value is not None, self.metric
        return float(value)
