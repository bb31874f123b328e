"""Schedules: pure functions of samples seen, so that they resume for free and mean the same at any batch size."""

import math


def decay(kind: str, seen: int, horizon: int) -> float:
    """Decay factor from 1 to 0 over ``horizon`` samples: constant (always 1), linear or cosine."""
    if kind == "constant":
        return 1.0
    done = min(seen / horizon, 1.0)
    return 1.0 - done if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def warmup(seen: int, horizon: int) -> float:
    """Warm-up factor from 0 to 1 over ``horizon`` samples; 0 samples: always 1."""
    return min(seen / horizon, 1.0) if horizon else 1.0


def ema_decay(seen: int, batch: int, half_life: float, ramp: float) -> float:
    """Decay of the moving average over an update of ``batch`` samples.

    The half-life in samples is at most ``ramp`` times the samples seen, so that early, bad weights are
    forgotten soon (Karras et al. 2020).
    """
    half_life = min(half_life, ramp * seen) if ramp else half_life
    return 0.5 ** (batch / max(half_life, 1e-8))
