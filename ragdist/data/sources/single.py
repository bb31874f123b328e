"""One file of which several samples are made: a text of many lines, a recording of an hour."""

from pathlib import Path

from ragdist import modalities
from ragdist.config.shards import ShardOptions
from ragdist.data.sources.archive import stamp
from ragdist.data.sources.folder import FileReader
from ragdist.data.sources.source import Source
from ragdist.tools.errors import UserError

TEXTS = (".txt",)  # endings of texts that may be listings of files, too


def modality_of(path: Path, asked: str) -> str:
    """The modality whose files end as this one does; empty: none's. ``asked`` for is what the user says it is."""
    ending = path.suffix.lower()
    every = {asked: modalities.making(asked)} if asked in modalities.MODALITIES else modalities.all_making()
    return next((name for name, making in every.items() if ending in making.suffixes), "")


def open_source(name: str, options: ShardOptions, scratch: Path) -> Source:
    """The source of a file's samples."""
    path = Path(name).absolute()
    modality = modality_of(path, options.modality)
    if not modality:
        making = modalities.making(options.modality or next(iter(modalities.MODALITIES)))
        raise UserError(f"{name} is no file of {making.units} ({', '.join(sorted(making.suffixes))})")
    remarks = [] if options.modality else [f"{name} is taken for {modalities.making(modality).units}"]
    return Source([path.name], [path.name], FileReader(str(path.parent)), modality, stamp(path), remarks=remarks)
