"""The options of writing shards; a file of its own, so that --help need not import the writer."""

from dataclasses import dataclass
from typing import Literal

SOURCES = (
    "a folder of class folders or of images, a .tar, .tar.gz or .zip of one, a .csv or .jsonl listing, a .npy or "
    ".npz array, torchvision:NAME, hf:NAME, or 'digits'"
)


@dataclass
class ShardOptions:
    """How images become samples."""

    size: int = 0
    """side of the samples in pixels: images are made square as --fit says and resized; 0: as they are, all alike"""
    fit: Literal["crop", "pad"] = "crop"
    """what --size does with an image that is no square: crop: its centre, pad: all of it, with black beside"""
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
    processes: int = 0
    """processes that decode and write; 0: one a core"""
    split: str = ""
    """part of the source: train, test, ... of torchvision and hf, a sub-folder of a folder or archive; empty: all"""
    root: str = ""
    """folder that torchvision downloads into; empty: ~/.cache/ragdist/torchvision"""
    hf_config: str = ""
    """configuration of an hf data set that has several"""
    image_column: str = ""
    """column of an hf data set that holds the images; empty: found by its type"""
    label_column: str = ""
    """column of an hf data set that holds the labels; empty: found by its type, or none"""
    scratch: str = ""
    """folder for shards on their way to an OUT that is a URL; empty: ~/.cache/ragdist/shards"""
