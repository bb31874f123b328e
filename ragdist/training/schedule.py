"""Schedules: pure functions of images seen, so that they resume for free and mean the same at any batch size."""

import math


def decay(kind: str, images: int, horizon: int) -> float:
    """Decay factor from 1 to 0 over ``horizon`` images: constant (always 1), linear or cosine."""
    if kind == "constant":
        return 1.0
    done = min(images / horizon, 1.0)
    return 1.0 - done if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def warmup(images: int, horizon: int) -> float:
    """Warm-up factor from 0 to 1 over ``horizon`` images; 0 images: always 1."""
    return min(images / horizon, 1.0) if horizon else 1.0


def ema_decay(images: int, batch: int, half_life: float, ramp: float) -> float:
    """Decay of the moving average over an update of ``batch`` images.

    The half-life in images is at most ``ramp`` times the images seen, so that early, bad weights are
    forgotten soon (Karras et al. 2020).
    """
    half_life = min(half_life, ramp * images) if ramp else half_life
    return 0.5 ** (batch / max(half_life, 1e-8))
