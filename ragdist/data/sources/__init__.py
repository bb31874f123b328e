"""Sources of samples: folders, archives, listings, arrays, data sets of other libraries.

One idea a file; `open_source` picks the file by the source's name.
"""

import errno
import importlib
from dataclasses import replace
from pathlib import Path

from ragdist import modalities
from ragdist.config.shards import SOURCES, ShardOptions
from ragdist.data.sources import listing, single
from ragdist.data.sources.chosen import chosen
from ragdist.data.sources.source import Source
from ragdist.data.sources.tables import ENDINGS as TABLES
from ragdist.tools.errors import UserError, nearest

# What each way of naming a source is opened by: the functions take (the rest of the name, options, scratch).
_PREFIXES = {"torchvision": "torchvision_set", "hf": "huggingface"}
_ENDINGS = dict.fromkeys(TABLES, "listing") | {".npy": "arrays", ".npz": "arrays"}
_NAMED = ("digits", "speech", "text", "paths")  # what is at hand, or made on the spot
# What these hold is certain.
_HOLD = {
    "digits": "image",
    "torchvision_set": "image",
    "speech": "audio",
    "text": "text",
    "paths": "array",
}
_TAKE_SPLIT = ("folder", "archive", "torchvision_set", "huggingface")
_HAVE_FILES = ("folder", "archive")


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """Open the source of a name.

    Args:
        name: see `SOURCES`.
        options: ``split`` and what single kinds of sources need.
        scratch: a folder for what must be unpacked to be read; it stays as long as the source is read.

    Raises:
        UserError: there is nothing to read there.
    """
    kind, rest = _kind(name, options)
    if options.modality:
        modalities.MODALITIES.check(options.modality, f"--modality {options.modality}")
        modalities.MODALITIES.use(options.modality, modalities.whole_making)
    if kind == "listing" and options.modality and getattr(modalities.making(options.modality), "of_tables", False):
        kind = "number_table"
    if kind in _HOLD and options.modality not in ("", _HOLD[kind]):
        units = modalities.making(_HOLD[kind]).units
        raise UserError(f"--modality {options.modality}: {name} holds {units}; leave it out")
    if options.split and kind not in _TAKE_SPLIT:
        raise UserError(f"--split {options.split}: {name} has no splits; leave it out")
    if options.labels not in ("auto", "none") and kind not in _HAVE_FILES:
        raise UserError(
            f"--labels {options.labels}: {name} has no folders and no label files beside it; give auto or none"
        )
    try:
        source = importlib.import_module(f"ragdist.data.sources.{kind}").open_source(rest, options, scratch)
        source = replace(source, labels=(), classes=()) if options.labels == "none" else source
        return chosen(name, source, options)
    except UserError as error:
        if kind != "listing" or options.modality or Path(name).suffix.lower() not in single.TEXTS:
            raise
        raise UserError(f"{error}; --modality text, if it is no listing of files but a text") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # while unpacking: the disk's fault, not the source's
            raise
        raise UserError(f"{name} cannot be read ({error.strerror or error})") from error


def _kind(name: str, options: ShardOptions) -> tuple[str, str]:
    """The module for a source's name, and what it opens."""
    path = Path(name)
    if path.is_dir():
        return "folder", name
    if path.is_file():
        kind = _ENDINGS.get(path.suffix.lower(), "archive")
        lists_files = kind == "listing" and not options.modality and listing.names_files(path)
        if single.modality_of(path, options.modality) and not lists_files and kind != "arrays":
            kind = "single"
        return kind, name
    if name in _NAMED:
        return name, name
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _PREFIXES and rest:
        return _PREFIXES[prefix], rest
    if colon and prefix not in _PREFIXES and "/" not in prefix:
        raise UserError(f"no source '{name}'{nearest(prefix, _PREFIXES)}")
    raise UserError(f"no source '{name}': there is no such file; give {SOURCES}")
