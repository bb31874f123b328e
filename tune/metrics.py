"""Metrics of a search: figures, and which way is better, as in a run that keeps its best generator."""

from ragdist.config.evaluation import best_by, figures_to_rank_by
from ragdist.tools.errors import UserError, nearest


def check(metric: str) -> None:
    """Refuse an unknown metric: raises UserError."""
    if not best_by(metric):
        known = figures_to_rank_by()
        close = nearest(metric, known).partition(" there are:")[0]
        raise UserError(f"--metric {metric}: there is no such figure{close} there are: {', '.join(known)}")


def sign(metric: str) -> int:
    """1 if more is better, -1 if less is."""
    return 1 if best_by(metric)[1] == "more" else -1


def measure(metric: str) -> str:
    """The measure of `ragdist.evaluate` that gives a metric."""
    return best_by(metric)[0]
