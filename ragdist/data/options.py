"""The options of writing shards; a file of its own, so that --help need not import the writer."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class ShardOptions:
    """How images become samples."""

    size: int = 0
    """side of the samples in pixels: images are cut to a centred square and resized; 0: as they are, all alike"""
    channels: Literal[0, 1, 3] = 0
    """1: grey, 3: RGB; 0: as they are, all alike"""
    format: Literal["keep", "png", "jpg"] = "keep"
    """keep: an image that needs no change keeps its bytes, others become PNG; png, jpg: encode all anew"""
    quality: int = 95
    """of JPEG, 1 to 100"""
    shard_samples: int = 10_000
    """most samples of a shard"""
    seed: int = 0
    """seed of the order in which samples are written"""
    bad: Literal["fail", "skip"] = "fail"
    """what an image that cannot be read does"""
