"""The options of writing shards; a file of its own, so that --help need not import the writer."""

from dataclasses import dataclass
from typing import Literal

from ragdist.config.option import common, option

SOURCES = (
    "a folder of class folders or of files, a .tar, .tar.gz or .zip of one, a .csv, .tsv, .txt, .json or .jsonl "
    "table, a .npy or .npz array, torchvision:NAME, hf:NAME, 'digits', 'speech', 'text', 'paths'"
)


@dataclass
class ShardOptions:
    """Options of writing shards, whatever the samples are; a modality's own (`modalities.image.options`) join them."""

    modality: str = common("")
    """what the samples are: image, audio, text, array, or a plugin's; empty: as most files of the source"""
    plugin: str = ""
    """Python files, separated by commas, that add modalities of your own"""
    shard_samples: int = option(10_000, at_least=1, at_most=2**32)
    """most samples of a shard"""
    seed: int = option(0, at_least=0, at_most=2**63)
    """seed of the order in which samples are written"""
    bad: Literal["fail", "skip"] = common("fail")
    """what a file that cannot be read does: end the command, or be left out, listed and counted"""
    processes: int = option(0, at_least=0, at_most=2**12)
    """processes that decode and write; 0: one a core"""
    split: str = ""
    """part of the source: train, test, ... of torchvision and hf, a sub-folder of a folder or archive; empty: all"""
    labels: str = common("auto")
    """classes of files: auto: of a label file beside them, else of folders that are more than parts; folders; none; a
    label file's name; or name:REGEX: its group in their names, 'name:^([0-9])_' of 7_jackson_32.wav"""
    classes: str = ""
    """names of classes, separated by commas: samples of these alone; empty: all"""
    without: str = ""
    """names of classes whose samples are left out"""
    take: str = ""
    """share of the samples, of a random order that is always the same, as 0:0.8, and 0.8:1 for held-out data; empty:
    all. Taken before classes are chosen"""
    root: str = ""
    """folder that torchvision downloads into; empty: ~/.cache/ragdist/torchvision"""
    hf_config: str = ""
    """configuration of an hf data set that has several"""
    image_column: str = ""
    """column that holds the samples, or their paths, of an hf data set, a listing or a label file; empty: found by its
    type or name"""
    label_column: str = ""
    """column that holds the labels of an hf data set, a listing or a label file; empty: found by its type or name, or
    none"""
    scratch: str = ""
    """folder for shards on their way to an OUT that is a URL; empty: ~/.cache/ragdist/uploads"""


@dataclass
class IndexOptions:
    """Options of indexing shards that others wrote, whatever the samples are; a modality's own join them."""

    out: str = ""
    """folder of the index; empty: the shards' own"""
    modality: str = ""
    """what the samples are: image, audio, text, array, or a plugin's; empty: what most samples have a member of"""
    plugin: str = ""
    """Python files, separated by commas, that add modalities of your own"""
    payload: str = ""
    """extension of the member that is the sample, such as jpg; empty: the one of each sample that can be it"""
    label: str = ""
    """where the label is in each sample's .json, such as label or meta.class; empty: the .cls member, if any"""
    keys: Literal["unique", "any"] = "unique"
    """unique: a key that was in another shard already makes a sample bad; any: shards may count from zero each"""
    bad: Literal["fail", "skip"] = "fail"
    """skip: leave bad samples out, listed and counted; a shard that is damaged is always refused"""
    processes: int = option(0, at_least=0, says="0 (as many as there are cores) or more")
    """shards that are read at a time; 0: as many as there are cores"""


@dataclass
class CheckOptions:
    """Options of checking a data set."""

    plugin: str = ""
    """Python files, separated by commas, with the modality of the data"""
    processes: int = option(0, at_least=0, says="0 (as many as there are cores) or more")
    """shards that are read at a time; 0: as many as there are cores"""


@dataclass
class StatsOptions:
    """Options of showing a data set."""

    plugin: str = ""
    """Python files, separated by commas, with the modality of the data"""
    out: str = ""
    """page to write, a row for each class: a picture of thumbnails (.png, .jpg or .webp), or samples to look at and to
    listen to (.html)"""
    rows: int = option(20, at_least=1)
    """most rows of the page"""
    columns: int = option(10, at_least=1)
    """thumbnails in a row"""
    decode: int = option(2_000, at_least=0)
    """most samples that are decoded for figures of what they hold, where there are some: of sounds their loudness, ...;
    spread evenly"""
