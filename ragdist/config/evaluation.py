"""The options of an evaluation; a file of its own, so that --help need not import PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass

from ragdist.config.option import common, option
from ragdist.metrics import MEASURES

# Every measure: the samples that it needs on each side, and what it is.
METRICS = {
    "frechet": (2, "Frechet distance of features (FID where they are Inception's)"),
    "kid": (4, "kernel distance of features, with its standard error"),
    "precision_recall": (4, "share of fakes that look real, share of reals that fakes reach"),
    "density_coverage": (6, "the same, without the influence of outliers among the fakes"),
    "memorization": (2, "distances between fakes and training data, against held-out data"),
    "swd": (16, "sliced Wasserstein distance of the Laplacian pyramid's levels"),
    "ms_ssim": (2, "similarity of pairs of samples: diversity"),
    "classes": (1, "classes covered and their shares, by the classifier"),
    "inception_score": (10, "Inception score (features inception)"),
    "clip_faults": (1, "clips that are cut off, silent, or click, beside the data's"),
    "text_scores": (8, "n-grams, words and a language model of texts, beside chains of characters"),
    "trajectories": (4, "steps, turns, lengths and ends of paths"),
    "crossings": (1, "paths through obstacles that the index knows"),
    "routes": (1, "routes that are found, of those that it knows"),
}

CHEAP = ("frechet", "kid", "precision_recall", "density_coverage", "classes")  # those that suit are --metrics cheap

# Figures by which one generator is better than another: the measure that gives them, and what is better.
BEST = {
    "frechet_distance": ("frechet", "less"),
    "kid": ("kid", "less"),
    "precision": ("precision_recall", "more"),
    "recall": ("precision_recall", "more"),
    "density": ("density_coverage", "more"),
    "coverage": ("density_coverage", "more"),
    "authenticity": ("memorization", "more"),
    "class_kl": ("classes", "less"),
    "label_accuracy": ("classes", "more"),
    "inception_score": ("inception_score", "more"),
    "js_3": ("text_scores", "less"),
    "js_4": ("text_scores", "less"),
    "reverse_lm_score": ("text_scores", "less"),
    "routes": ("routes", "more"),
    "crossings": ("crossings", "less"),
}


def best_by(figure: str) -> tuple[str, str] | None:
    """The measure that gives a figure, and which is better: "less" or "more"; None: generators are not ranked by it."""
    return BEST.get(figure) or figures_to_rank_by().get(figure)


def figures_to_rank_by() -> dict[str, tuple[str, str]]:
    """`BEST`, and the figures of measures that plugins and installed packages add."""
    added = MEASURES.working(_best_of)
    return BEST | {figure: (name, better) for name, best in added.items() for figure, better in best.items()}


def _best_of(name: str) -> Mapping[str, str]:
    return {} if name in MEASURES.own else dict(MEASURES[name].best)  # the project's are not imported for it


@dataclass
class EvaluateOptions:
    """Options of an evaluation."""

    data: str = common("")
    """training data, a folder of shards or its URL; empty: the run's own"""
    held_out: str = ""
    """shards of the same kind that the generator was not trained on: what distance to the training data is natural"""
    samples: int = common(10_000, at_least=1)
    """samples to judge, at most"""
    reals: int = option(50_000, at_least=0)
    """training samples to judge them by, drawn at random where there are more; 0: all"""
    neighbours: int = option(10_000, at_least=1)
    """most samples, and as many reals, that measures of neighbours take: their time grows with the square"""
    seed: int = option(0, at_least=0)
    """seed of the latents; sample i of a seed is always the same"""
    features: str = common("auto")
    """what is compared: of images pixels, laplacian, classifier or inception, of clips log_mel, classifier or speaker,
    of texts ngrams or classifier, of arrays numbers; auto: what suits the data, or inception with
    --inception_weights"""
    plugin: str = ""
    """Python files, separated by commas, with features, measures or modalities of your own; empty: the run's"""
    metrics: str = common("all")
    """measures, separated by commas; all: those that suit the data and features; cheap: what a run measures on its way
    (--evaluate_every)"""
    inception_weights: str = common("")
    """file of torch-fidelity's InceptionV3 weights; empty: downloaded on first use"""
    out: str = common("")
    """folder for evaluation.json and evaluation.html; empty: the run, else NAME-evaluation"""
    batch: int = option(256, at_least=1)
    """samples computed at a time"""
    device: str = common("auto")
    """cpu, cuda, ...; auto: a GPU if there is any"""
    workers: int = common(1, at_least=1)
    """processes of this machine that share the samples, and its GPUs"""
    cache: str = "~/.cache/ragdist"
    """folder for what is computed once: the reals' features, a classifier that the data's folder has no room for"""
