"""The options of a search; a file of its own, so that --help need not import PyTorch or Ray."""

from dataclasses import dataclass
from typing import Literal

from ragdist.config.option import common, option


@dataclass
class SearchOptions:
    """What is searched and how. Options of `python -m ragdist.train` may be given beside these."""

    out: str = common("")
    """folder of the search; started again it continues. Empty: searches/ and the config's name"""
    trials: int = common(12, at_least=1)
    """configurations that are tried, the baselines included; a finished search is extended by a larger number"""
    budget_samples: int = common(0, at_least=0, says="0 (a third of the run's --images) or more")
    """samples that a trial is trained on, for each seed; 0: a third of the run's --images"""
    seeds: int = common(1, at_least=1)
    """runs of each configuration, with other seeds; what counts is their median"""
    space: str = common("")
    """YAML file that says which options vary: {objective.lam: {loguniform: [0.1, 10]}, ...}; also uniform, int, choice.
    Empty: lambda and both learning rates"""
    search: Literal["optuna", "random", "grid"] = common("optuna")
    """who proposes configurations: optuna's TPE, which learns from the trials before; chance; a grid"""
    scheduler: Literal["asha", "none", "pbt"] = "asha"
    """asha: trials that look bad after a part of the budget are stopped; none: all get the whole budget"""
    metric: str = common("frechet_distance")
    """what is compared: a figure of `python -m ragdist.evaluate`"""
    samples: int = option(2000, at_least=2)
    """samples of a generator that are judged each time"""
    judged_by: str = ""
    """data that samples are compared with, where these are not the training data: more of the kind, as a test set"""
    features: str = "auto"
    """of the metric, as of `ragdist.evaluate`. auto: classifier for data with labels, else pixels, of clips log_mel"""
    inception_weights: str = ""
    """file of torch-fidelity's InceptionV3 weights, for --features inception"""
    workers_per_trial: str = common("0")
    """Ray workers of each trial: 4, or 2:8; 0: a trial is one process"""
    concurrent: int = common(0, at_least=0, says="0 (as many as there is room for) or more")
    """most trials at a time; 0: as many as there is room for"""
    max_crashes: int = option(3, at_least=1)
    """trials in a row whose processes die, or that lack something, before the search gives up"""
