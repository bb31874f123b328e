"""The samples among a source's files, and their classes: of label files beside them, else of their folders."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ragdist import modalities
from ragdist.config.shards import ShardOptions
from ragdist.data.labels import numbered
from ragdist.data.sources import label_files, of_names
from ragdist.data.sources.parts import are_pairs, are_splits, numbered_alike, part_levels, running
from ragdist.data.sources.source import Remarks, Source
from ragdist.data.sources.strange import advice_for
from ragdist.tools.errors import UserError, nearest


def grouped(
    where: str,
    files: Mapping[str, Any],
    read: Callable[[Any], bytes],
    identity: str,
    options: ShardOptions,
    remarks: Remarks,
) -> Source:
    """A source of files.

    Args:
        where: for messages: what holds the files.
        files: their paths inside of it, with ``/`` -> where ``read`` finds each.
        read: gives a file's bytes.
        identity: of the source.
        options: ``split``: take only the files in the folder of this name; ``modality``; ``labels``.
        remarks: to add to: how it was understood.

    Raises:
        UserError: no file is a sample, no such split, or nothing tells the classes for certain.
    """
    modality = options.modality or most_of(where, files)
    making = modalities.making(modality)
    chosen = sorted(name for name in files if ending(name) in making.suffixes)
    ignored = sorted(files.keys() - set(chosen))
    if not chosen:
        seen = f" ({len(ignored)} other files, such as {ignored[0]})" if ignored else ""
        if unread := unread_of(modality, ignored):
            raise UserError(f"{where} holds no {making.units} that can be read: {unread}")
        kinds = ", ".join(sorted(making.suffixes))
        advice = advice_for(ignored) or f": give a folder of class folders with {kinds} files"
        raise UserError(f"{where} holds no {making.units}{seen}{advice}")
    if options.split:
        chosen = _split(where, chosen, options.split)
    beside = label_files.Beside(where, chosen, {name: files[name] for name in ignored}, read, options, remarks)
    if options.labels == "none":
        labels, classes = [], []
    elif (pattern := of_names.pattern(options.labels)) is not None:
        values = of_names.values(where, chosen, pattern, options.labels)
        labels, classes = numbered(where, values, each=chosen.__getitem__)
    elif (found := beside.find()) is not None:
        labels, classes = numbered(where, found.values, found.names, each=chosen.__getitem__)
    else:
        chosen, labels, classes = _by_folders(where, chosen, making.units, beside, options, remarks)
    places = [files[name] for name in chosen]
    return Source(chosen, places, read, modality, identity, labels, classes, ignored, remarks.lines())


def _by_folders(
    where: str, files: list[str], units: str, beside: label_files.Beside, options: ShardOptions, remarks: Remarks
) -> tuple[list[str], list[int], list[str]]:
    """The files, without those that lie beside class folders, their class numbers and the classes' names."""
    folders = [_folder(name) for name in files]
    shared = shared_parts(folders)
    folders = [folder[shared:] for folder in folders]
    if options.labels == "auto":
        if len(set(folders)) > 1:
            _refuse_splits(where, folders)
            folders = _without_parts(where, folders, files, units, remarks)
        if len(set(folders)) == 1 and (found := beside.among()) is not None:
            return files, *numbered(where, found.values, found.names, each=files.__getitem__)
        if len(set(folders)) > 1:
            beside.remark_on_others()
    loose = [name for name, folder in zip(files, folders, strict=True) if not folder]
    if loose and len(loose) < len(files):
        line = f"{len(loose):,} {units} beside the class folders, such as {loose[0]}"
        if options.bad != "skip":
            raise UserError(
                f"{where} has {line}: move them into one or remove them, or give --bad skip, which leaves them out, or "
                "--labels none"
            )
        remarks.say(f"left out {line}")
        files = [name for name, folder in zip(files, folders, strict=True) if folder]
        folders = [folder for folder in folders if folder]
    names = ["/".join(folder) for folder in folders]
    distinct = sorted(set(names))
    if len(distinct) < 2:
        return files, [], []
    number = {name: i for i, name in enumerate(distinct)}
    return files, [number[name] for name in names], class_names(distinct)


def _folder(name: str) -> tuple[str, ...]:
    return tuple(name.split("/")[:-1])


def _refuse_splits(where: str, folders: Sequence[tuple[str, ...]]) -> None:
    first = {folder[0] for folder in folders if folder}
    if all(folders) and are_pairs(first):
        raise UserError(
            f"{where} holds {' and '.join(sorted(first))}, which belong together and are no classes: take one with "
            "--split, or give --labels folders"
        )
    if all(folders) and are_splits(first):
        raise UserError(
            f"{where} holds the parts {', '.join(sorted(first))} of a data set: take one with --split "
            f"{min(first, key=lambda name: ('train' not in name.lower(), name))}, or give --labels none or folders"
        )


def _without_parts(
    where: str, folders: list[tuple[str, ...]], files: Sequence[str], units: str, remarks: Remarks
) -> list[tuple[str, ...]]:
    """The folders without levels that only divide the files into parts."""
    stems = [name.rpartition("/")[2].rpartition(".")[0] for name in files]
    levels, certain = part_levels(folders, stems)
    first, last = "/".join(min(folders)), "/".join(max(folders))
    if not certain:
        raise UserError(
            f"{where}: the folders {first} to {last} hold consecutive numbers, as many in each: give --labels none if "
            "they are parts of one sequence, --labels folders if they are classes"
        )
    if levels:
        remarks.say(
            f"folders {first} to {last} are taken as parts and not as classes, by how they and their {units} are "
            f"called ({files[0]}); --labels folders takes them as classes"
        )
        return [tuple(part for level, part in enumerate(folder) if level not in levels) for folder in folders]
    names = ["/".join(folder) for folder in folders]
    if numbered_alike(set(names)):
        remarks.say(
            f"folders {first} to {last} are taken as classes: their {units} are not numbered as those of parts are"
        )
    elif running(names, stems):
        remarks.say(
            f"folders {first} to {last} are taken as classes, and their {units} are numbered from one to the next: "
            "--labels none, if they are only parts"
        )
    return folders


def unread_of(modality: str, ignored: Iterable[str]) -> str:
    """What to say of files that are samples of kinds that are not read, by their endings; empty: there are none."""
    making = modalities.making(modality)
    others = getattr(making, "others", ())
    found = Counter(kind for kind in map(ending, ignored) if kind in others)
    if not found:
        return ""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.most_common(5))
    how = f", {making.convert}" if getattr(making, "convert", "") else ""
    return f"{kinds} of kinds that are not read here; convert them first{how}"


def most_of(where: str, names: Iterable[str]) -> str:
    """The modality that most of the files are samples of, by their endings.

    Raises:
        UserError: two are equally likely.
    """
    endings = Counter(map(ending, names))
    every = modalities.all_making()
    for kind in ("suffixes", "others"):  # if nothing can be read, what it would be is said
        count = {name: sum(endings[end] for end in getattr(making, kind, ())) for name, making in every.items()}
        if any(count.values()):
            break
    return modalities.most_likely(where, count)


def ending(name: str) -> str:
    """A file's ending; none of hidden ones, such as the ``._1.jpg`` of a Mac's archives."""
    dot = name.rfind(".")
    hidden = name.startswith((".", "__MACOSX/")) or "/." in name or "/__MACOSX/" in name
    if dot <= 0 or (hidden and not name.startswith(("../", "/"))):
        return ""
    return name[dot:].lower()


def _split(where: str, files: list[str], split: str) -> list[str]:
    """The files below the folder called ``split``: the first level at which folders differ, or above it."""
    folders = [_folder(name) for name in files]
    shared = shared_parts(folders)
    if split in folders[0][:shared]:
        return files
    chosen = [name for name, parts in zip(files, folders, strict=True) if parts[shared : shared + 1] == (split,)]
    if not chosen:
        there = sorted({parts[shared] for parts in folders if len(parts) > shared} | set(folders[0][:shared]))
        raise UserError(f"--split {split}: {where} has no folder of that name{nearest(split, there) if there else ''}")
    return chosen


def shared_parts(folders: Sequence[tuple[str, ...]]) -> int:
    """How many leading folders all of the paths have in common."""
    first, last = min(folders), max(folders)  # what the two extremes share, all between them do
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def class_names(folders: Sequence[str]) -> list[str]:
    """The folders' names without the part that all of them share."""
    parts = [PurePosixPath(folder).parts for folder in folders]
    shared = shared_parts(parts)
    return ["/".join(p[shared:]) or "." for p in parts]
