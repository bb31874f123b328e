"""Indexing of shards that others wrote, where they lie: nothing is rewritten, nothing left out silently."""

import hashlib
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ragdist import modalities
from ragdist.config.option import check_limits
from ragdist.config.shards import IndexOptions
from ragdist.data import index as index_file
from ragdist.data.index import INDEX, NO_LABEL, Index, Shard
from ragdist.data.indexing.scan_shard import LISTED, Found, Job, Plan, make_plan, survey
from ragdist.data.indexing.tar_files import Tar, is_remote, look_at, tars
from ragdist.data.indexing.tar_walk import printable
from ragdist.data.labels import classes_of
from ragdist.data.parallel import each
from ragdist.modalities import joined_options
from ragdist.storage.files import os_errors_as_user_error, write_whole
from ragdist.storage.store import Store
from ragdist.tools import plugins
from ragdist.tools.errors import UserError
from ragdist.tools.progress import Progress

# Where notes on finished shards are kept until the index is written.
NOTES = ".indexing"
_RULES = 2  # part of a note's name: to be raised when a shard would be surveyed otherwise
_MB = 1_000_000


@dataclass
class Summary:
    """Result of indexing: counts of what was indexed and of what was left out."""

    index: Index
    out: Path
    plan: Plan
    bad: list[str]  # samples that are left out, and why: the first of each shard
    bad_count: int
    ignored: Counter  # members that nothing is read from, by extension
    dotted: str  # one of them that looks like a sample of its own; empty: none
    unasked: str  # key of their .json that may be the label; empty: none
    empty: list[str]  # shards without samples, left out
    notes: Counter  # what is done to so many samples, see `Making.notes`


def index_shards(
    patterns: list[str], options: IndexOptions, sample_options: Any = None, *, overwrite: bool = False
) -> Summary:
    """Index the tars that the patterns name.

    ``sample_options`` are those of the samples' modality: a `Making.index_options`, or a mapping from what the command
    calls options to their values, others' among them; what is missing has its default.

    An interrupted command leaves notes on the shards it finished, by place, size and time (or ETag) of the
    tar and by what was asked for; the same command goes on from them. A SHA-256 would name a tar more surely,
    but computing it costs reading, or fetching, the tar again, which is most of what the note saves.

    Raises:
        UserError: nothing to read, a damaged shard, a bad sample (unless they are skipped), or nowhere to write.
    """
    check_limits(options)
    if options.modality:
        modalities.MODALITIES.check(options.modality, f"--modality {options.modality}")
        modalities.MODALITIES.use(options.modality, modalities.whole_making)
    places = tars(patterns)
    out = _out(places, options.out, overwrite)
    with os_errors_as_user_error(f"cannot write an index to {out}"):
        notes = out / NOTES
        notes.mkdir(parents=True, exist_ok=True)
        try:
            jobs = _jobs([look_at(place) for place in places], notes, options, sample_options or {})
            _survey(jobs, options.processes)
            summary = _Merge(jobs, options).write(out)
        except BaseException:
            with suppress(OSError):  # it holds notes
                notes.rmdir()
            raise
        shutil.rmtree(notes, ignore_errors=True)
    return summary


def _out(places: list[str], said: str, overwrite: bool) -> Path:
    """Folder of the index."""
    if said:
        if (out := Store(said).local) is None:
            raise UserError(f"--out {said}: it must be a local folder; copy the index beside the shards then")
        out = Path(os.path.abspath(out))
    else:
        folders = {os.path.dirname(place) for place in places}
        if len(folders) != 1 or any(map(is_remote, places)):
            raise UserError("the shards are not in one local folder: say where the index goes with --out")
        out = Path(folders.pop())
    if (out / INDEX).exists() and not overwrite:
        raise UserError(f"{out / INDEX} is there already: give --overwrite, or another folder with --out")
    return out


def _jobs(found: list[Tar], notes: Path, options: IndexOptions, given: Any) -> list[Job]:
    joined = joined_options.of_indexing()
    said = joined.said(given)

    def own(modality: str) -> Any:
        return joined.of(modality, given, found[0].place)

    # Where nothing tells whether a tar is the same one, a note on it is of use to this command alone.
    marks = [tar.mark or os.urandom(8).hex() for tar in found]
    identity = [(tar.place, tar.size, mark) for tar, mark in zip(found, marks, strict=True)]
    code = sorted(plugin.sha256 for plugin in plugins.loaded())  # which may read samples otherwise than they did
    name = _name(identity, options.payload, said, options.modality, *code)
    plan = _plan(name, notes, lambda: make_plan(found, notes, options, own))
    asked = (asdict(plan), options.label, said, *code)
    return [
        Job(tar, plan, options, own(plan.modality), notes / f"{_name(which, *asked)}.npz", notes)
        for tar, which in zip(found, identity, strict=True)
    ]


def _name(*of) -> str:
    return hashlib.sha256(json.dumps([_RULES, *of], sort_keys=True).encode()).hexdigest()[:32]


def _plan(name: str, notes: Path, make: Callable[[], Plan]) -> Plan:
    """Make the plan, or read it from the note of this name, which saves fetching the first shard again."""
    path = notes / f"{name}.json"
    with suppress(FileNotFoundError, TypeError, KeyError):  # another version's note may say other things
        said = json.loads(path.read_text())
        return Plan(**said | {"shape": tuple(said["shape"])})
    plan = make()
    write_whole(path, json.dumps(asdict(plan)))
    return plan


def _survey(jobs: list[Job], processes: int) -> None:
    """Scan the shards of which there is no usable note."""
    todo = [job for job in jobs if not _noted(job)]
    total, left = sum(job.tar.size for job in jobs), sum(job.tar.size for job in todo)
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} shards were surveyed before")
    progress = Progress(total // _MB, done=(total - left) // _MB, unit="MB surveyed", first=False)
    with closing(progress):
        for _ in each(survey, todo, processes, progress, unit=_MB):
            pass


def _noted(job: Job) -> bool:
    try:
        return not Found.load(job.note).bad_count or job.options.bad == "skip"
    except (FileNotFoundError, TypeError, KeyError):  # another version's note may say other things
        return False


class _Merge:
    """Merge of the notes on shards into one index."""

    def __init__(self, jobs: list[Job], options: IndexOptions):
        self.jobs, self.options = jobs, options
        self.bad, self.ignored, self.notes = [], Counter(), Counter()
        self.bad_count, self.dotted, self.unasked = 0, "", ""
        values: dict[int | str, str] = {}  # label -> a shard that has it
        hashes = []
        for job, found in self._found():
            values |= dict.fromkeys(found.values, job.tar.place)
            hashes.append(found.hashes)
            self.bad += found.bad
            self.bad_count += found.bad_count
            self.ignored.update(found.ignored)
            self.notes.update(found.notes)
            self.dotted = self.dotted or found.dotted
            self.unasked = self.unasked or found.unasked
        self.classes = _classes(values)
        if options.label and not values:
            raise UserError(f"--label {options.label}: no sample has it in a .json member")
        self.number = {str(value): i for i, value in enumerate(self.classes)}
        self.again = _again(hashes) if options.keys == "unique" else [np.zeros(len(part), bool) for part in hashes]

    def _found(self) -> Iterator[tuple[Job, Found]]:
        for job in self.jobs:  # read one by one: the keys of all samples need not be in memory together
            yield job, Found.load(job.note)

    def write(self, out: Path) -> Summary:
        """Write tables, then the index; then delete the tables of the index before."""
        shards, empty = [], []
        for number, (job, found) in enumerate(self._found()):
            table = self._rows(job, found, self.again[number])
            if not len(table):
                empty.append(job.tar.place)
                continue
            sha256 = hashlib.sha256(table.tobytes()).hexdigest()
            # Named after its content: it is never one of another index or a file of the user's.
            name = f"{_stem(job.tar.place)}.{sha256[:12]}.npy"
            data = io.BytesIO()
            np.save(data, table, allow_pickle=False)
            write_whole(out / name, data.getvalue())
            shards.append(Shard(_shard_name(job.tar.place, out), name, job.tar.size, len(table), found.sha256, sha256))
        if not shards:
            raise UserError(f"no sample is left of {self.bad_count:,}; the first: {self.bad[0]}")
        plan = self.jobs[0].plan
        names = tuple(str(value) for value in self.classes)
        settled = getattr(modalities.making(plan.modality), "settled", lambda form, notes: form)
        form = settled(plan.form, self.notes)
        index = Index(plan.modality, form.shape, names, tuple(shards), form.spec)
        before = _tables_of(out)
        write_whole(out / INDEX, index.dumps())
        for name in before - {shard.table for shard in shards}:
            (out / name).unlink(missing_ok=True)
        told = self.bad, self.bad_count, self.ignored, self.dotted, self.unasked
        return Summary(index, out, plan, *told, empty, self.notes)

    def _rows(self, job: Job, found: Found, again: np.ndarray) -> np.ndarray:
        """A shard's table with the data set's labels, without samples that are bad only in view of all shards."""
        table = found.table
        unlabelled = (table["label"] == NO_LABEL) if self.classes else np.zeros(len(table), bool)
        where = f"'{self.options.label}' in a .json" if self.options.label else "a .cls"
        for rows, reason, advice in (
            (unlabelled, f"it has no label ({where}), and others have", ""),
            (again, "its key was in an earlier shard, too", ", or give --keys any if shards count anew"),
        ):
            for row in np.flatnonzero(rows)[: LISTED if self.options.bad == "skip" else 1]:
                line = (
                    f"{job.tar.place}: sample {printable(found.keys[row])} at byte {table['offset'][row]:,}: {reason}"
                )
                if self.options.bad != "skip":
                    raise UserError(f"{line}; mend the shard, or leave such samples out with --bad skip{advice}")
                self.bad.append(line)
        bad = unlabelled | again
        self.bad_count += int(bad.sum())
        numbers = np.array([self.number[str(value)] for value in found.values] or [NO_LABEL], np.int64)
        table = table.copy()
        if self.classes:
            table["label"] = numbers[table["label"]]  # of unlabelled rows anything: they go
        return table[~bad]


def _classes(values: dict[int | str, str]) -> list[int] | list[str]:
    """Classes in order: numbers from 0 to the largest, or sorted names. Raises UserError for a mixture."""
    try:
        return classes_of(values)
    except ValueError as error:
        number, name = error.args
        raise UserError(
            f"some labels are numbers and some are names: {number} in {values[number]}, '{name}' in {values[name]}"
        ) from error


def _again(hashes: list[np.ndarray]) -> list[np.ndarray]:
    """Masks of the samples whose keys were in an earlier shard: bool [samples] for each shard."""
    every = np.concatenate(hashes)
    order = np.argsort(every, kind="stable")
    ordered = every[order]
    again = np.zeros(len(every), bool)
    again[order[1:][ordered[1:] == ordered[:-1]]] = True
    return np.split(again, np.cumsum([len(part) for part in hashes])[:-1])


def _stem(place: str) -> str:
    """A file's name without its ending, to name another file by."""
    path = urlsplit(place).path if is_remote(place) else place
    return re.sub(r"[^A-Za-z0-9._-]", "-", Path(path).stem)[:100].lstrip(".") or "shard"


def _shard_name(place: str, out: Path) -> str:
    """The name of a shard in the index: in the index's folder its file name, else its path or URL."""
    name = Path(place).name
    if is_remote(place) or Path(place).parent != out or ":" in name:
        return place
    return name


def _tables_of(folder: Path) -> set[str]:
    """Table files that the index in a folder names; none where it cannot be read."""
    try:
        index = index_file.loads((folder / INDEX).read_bytes(), "")
    except (OSError, UserError):
        return set()
    return {shard.table for shard in index.shards if Path(shard.table).name == shard.table}
