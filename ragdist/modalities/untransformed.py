"""What a `base.Training` says of random transforms that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ragdist.config.run import DataOptions


def check_transforms(options: DataOptions, form: Any) -> str:
    """The reason against random transforms; empty: none is asked for."""
    if options.flip or options.crop_padding:
        return "--data.flip and --data.crop_padding are for images: leave them out"
    return ""


def draws(options: DataOptions) -> int:
    """No uniform number a sample."""
    return 0


def transform(samples: Tensor, uniform: np.ndarray, options: DataOptions) -> Tensor:
    """The samples as they are."""
    return samples
