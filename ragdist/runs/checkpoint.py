"""Checkpoints: written whole or not at all, verified before they are loaded, safe to load.

    checkpoints/samples-000000012800/state.pt        tensors alone: loads with weights_only=True
    checkpoints/samples-000000012800/meta.json       what it is a checkpoint of
    checkpoints/samples-000000012800/manifest.json   SHA-256 of the two

Up to version 0.1 checkpoints were called images-000000012800; they are read, continued from and deleted as others are.

A folder is written under another name, synced to the disk and renamed; so a name that is there is
complete, and the manifest tells whether it still is.
"""

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ragdist.config import migrations
from ragdist.distributed.world import World
from ragdist.storage.files import discard_on_error, sync, sync_folder
from ragdist.tools.errors import UserError
from ragdist.tools.ownership import abandoned, owner_name

FORMAT, VERSION = "ragdist-checkpoint", 1
NAME = re.compile(r"(?:samples|images)-\d+")  # images: of version 0.1
_PROBE = 1 << 20  # bytes
_PART = ".part-"  # of a checkpoint that is being written or deleted: NAME.OWNER follows


class Checkpoint(NamedTuple):
    """A loaded checkpoint: its folder, and the content of state.pt and meta.json."""

    path: Path
    state: dict[str, Any]
    meta: dict[str, Any]


def path_of(folder: Path, seen: int) -> Path:
    """The path of the checkpoint after so many samples; one of version 0.1 keeps its name."""
    path, old = folder / f"samples-{seen:012d}", folder / f"images-{seen:012d}"
    return old if old.is_dir() and not path.is_dir() else path


def listed(folder: Path) -> list[Path]:
    """Paths of the checkpoints in a folder, valid or not, oldest first."""
    return sorted((path for path in folder.glob("*-*") if NAME.fullmatch(path.name) and _is_folder(path)), key=age)


def _is_folder(path: Path) -> bool:
    with suppress(OSError):  # what cannot be looked at is not a run's
        return path.is_dir()
    return False


def seen_at(path: Path) -> int:
    """The samples seen at a checkpoint, from its path."""
    return age(path)[0]


def age(path: Path | str) -> tuple[int, str]:
    """What checkpoints are sorted by: samples seen, and of two with the same number that of version 0.1 first."""
    name = Path(path).name
    return int(name.partition("-")[2]), name


def save(
    folder: Path, seen: int, state: dict[str, Any], meta: dict[str, Any], *, keep: int,
    protected: frozenset[int] = frozenset(), fence: Callable[[], None] = lambda: None,
) -> Path:  # fmt: skip
    """Write a checkpoint and delete all but the newest ``keep`` and those after the ``protected`` samples.

    Args:
        folder: of the checkpoints.
        seen: samples seen.
        state: tensors.
        meta: content of meta.json.
        keep: the newest that are kept.
        protected: samples after which one is kept besides.
        fence: raises where nothing may be written any more; asked when all is written and nothing is replaced yet.

    Raises:
        UserError: the disk refuses; the checkpoints that were there still are.
    """
    target, there = folder / f"samples-{seen:012d}", path_of(folder, seen)
    part = folder / f"{_PART}{target.name}.{owner_name()}"
    for left in folder.glob(f"{_PART}*"):
        if left == part or _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    with discard_on_error(part, f"cannot write the checkpoint {target} (the ones before it are kept)"):
        part.mkdir()
        _save_tensors(state, part / "state.pt")
        (part / "meta.json").write_text(json.dumps({"format": FORMAT, "version": VERSION, **meta}, indent=1) + "\n")
        manifest = {name: _sha256(part / name) for name in ("state.pt", "meta.json")}
        (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        for file in part.iterdir():
            sync(file)
        sync_folder(part)
        fence()
        if there.exists() and damage(there) is None:
            shutil.rmtree(part)  # it is there already: a run has one state after so many samples
            target = there
        else:
            _remove(there)
            part.rename(target)
        sync_folder(folder)
    # One that is newer is a broken one that was passed over: it does not count, and is not touched.
    for old in [path for path in listed(folder) if seen_at(path) <= seen and seen_at(path) not in protected][:-keep]:
        with suppress(OSError):  # something of others lies in it: it stays
            _remove(old)
    return target


def _remove(path: Path) -> None:
    """Delete a checkpoint, first its name: a kill half-way must not leave a part of it under that name."""
    if path.exists():
        if not path.is_dir():  # a file of others: it makes way
            path.rename(path.with_name(f"{path.name}.other-{owner_name()}"))
            return
        gone = path.with_name(f"{_PART}{path.name}.old.{owner_name()}")
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)  # what stays is tried again at the next checkpoint


def _abandoned(part: Path) -> bool:
    with suppress(OSError):
        return abandoned(part.name.rpartition(".")[2], part.stat().st_mtime)
    return False


def _save_tensors(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:  # PyTorch's writer hides the operating system's reason
        if shutil.disk_usage(path.parent).free < _tensor_bytes(state):
            raise OSError(28, os.strerror(28)) from error
        with open(path, "ab") as file:  # what is refused to PyTorch is refused here, with the reason
            file.write(bytes(_PROBE))
            file.flush()
            os.fsync(file.fileno())
        raise


def _tensor_bytes(tree: Any) -> int:
    if isinstance(tree, torch.Tensor):
        return tree.nbytes
    values = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return sum(_tensor_bytes(value) for value in values)


def load_newest(folder: Path, device: torch.device) -> tuple[Checkpoint | None, list[str]]:
    """Load the newest checkpoint that is whole, and a line for each newer one that is not.

    Raises:
        UserError: a whole one of a newer version; or there are some and none is whole.
    """
    found, broken = newest_whole(folder, device)
    if broken and not found:
        raise UserError(f"no checkpoint is whole ({'; '.join(broken)}): restore one, or give --overwrite to start anew")
    return found, broken


def newest_whole(folder: Path, device: torch.device) -> tuple[Checkpoint | None, list[str]]:
    """Load the newest checkpoint that is whole, if there is one, and a line for each newer one that is not.

    Raises:
        UserError: a whole one of a newer version.
    """
    broken = []
    for path in reversed(listed(folder)):
        if reason := damage(path):
            broken.append(f"{path}: {reason}")
            continue
        meta = json.loads((path / "meta.json").read_text())
        migrations.check_format(meta, FORMAT, VERSION, str(path))
        state = torch.load(path / "state.pt", map_location=device, weights_only=True)
        state, meta = (migrations.RECORDS.migrated(part, str(path)) for part in (state, meta))
        return Checkpoint(path, state, meta), broken
    return None, broken


def load_newest_for_all(
    folder: Path | None, world: World
) -> tuple[list[str], str, dict[str, Any], dict[str, Any] | None]:
    """Load the newest whole checkpoint on rank 0 and broadcast it: lines on broken ones, path, meta and state.

    Only one reads, so that all go on from the same one. Without a checkpoint the state is None.

    Raises:
        UserError: as `load_newest`, on all workers.
    """
    packed = None
    if world.rank == 0:
        try:
            found, broken = load_newest(folder, world.device)
            about = {"notes": [f"skipped a broken checkpoint, {line}" for line in broken], "where": "", "meta": {}}
            if found:
                about |= {"where": str(found.path), "meta": found.meta}
        except (UserError, OSError) as error:
            found, about = None, {"error": str(error)}
            if world.size == 1:
                raise
        if world.size == 1:
            return about["notes"], about["where"], about["meta"], found.state if found else None
        tensors = io.BytesIO()
        if found:
            torch.save(found.state, tensors)
        head = json.dumps(about).encode()
        packed = len(head).to_bytes(8, "little") + head + tensors.getvalue()
    packed = world.broadcast(packed)
    size = int.from_bytes(packed[:8], "little")
    about, tensors = json.loads(packed[8 : 8 + size]), packed[8 + size :]
    if "error" in about:
        raise UserError(about["error"])
    state = torch.load(io.BytesIO(tensors), map_location=world.device, weights_only=True) if tensors else None
    return about["notes"], about["where"], about["meta"], state


def load_for_all(path: Path | None, world: World, part: str) -> dict[str, Any] | None:
    """Load one part of a checkpoint's state on rank 0 and broadcast it; None where the checkpoint is not whole.

    Args:
        path: the checkpoint; on rank 0.
        part: the name in the state, as ema.
    """
    found = None
    if world.rank == 0 and damage(path) is None:
        found = torch.load(path / "state.pt", map_location=world.device, weights_only=True)[part]
    if world.size == 1:
        return found
    tensors = io.BytesIO()
    if found:
        torch.save(found, tensors)
    content = world.broadcast(tensors.getvalue())
    return torch.load(io.BytesIO(content), map_location=world.device, weights_only=True) if content else None


def damage(path: Path) -> str | None:
    """The defect of a checkpoint, in words; None where it is whole."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        for name in ("state.pt", "meta.json"):
            if _sha256(path / name) != manifest[name]:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
