"""The figures that a search may compare: the measure that gives each, and which way is better."""

from ragdist.errors import UserError, nearest

# Figure of an evaluation: (measure of `ragdist.evaluate`, sign of what is better: -1 less, 1 more).
METRICS = {
    "frechet_distance": ("frechet", -1),
    "kid": ("kid", -1),
    "precision": ("precision_recall", 1),
    "recall": ("precision_recall", 1),
    "density": ("density_coverage", 1),
    "coverage": ("density_coverage", 1),
    "train_to_fake_mean": ("memorization", -1),
    "train_to_fake_median": ("memorization", -1),
    "authenticity": ("memorization", 1),
    "modes": ("classes", 1),
    "fair_modes": ("classes", 1),
    "class_kl": ("classes", -1),
    "label_accuracy": ("classes", 1),
    "inception_score": ("inception_score", 1),
}


def check(metric: str) -> None:
    """Raises UserError for a metric that there is none of."""
    if metric not in METRICS:
        close = nearest(metric, METRICS).partition(" there are:")[0]
        raise UserError(f"--metric {metric}: there is no such figure{close} there are: {', '.join(METRICS)}")


def sign(metric: str) -> int:
    """1 if more is better, -1 if less is."""
    return METRICS[metric][1]


def measure(metric: str) -> str:
    """The measure of `ragdist.evaluate` that gives it."""
    return METRICS[metric][0]
