"""A folder of samples that is complete or not there, and holds no others' samples: what is judged is of one drawing."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ragdist.storage.files import discard_on_error, sync_folder
from ragdist.tools.errors import UserError
from ragdist.tools.ownership import abandoned, owner_name

_NUMBERED = re.compile(r"\d{6,}\.\w+")  # names of samples


def check(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds something, but for samples that may be overwritten.

    Raises:
        UserError: it does, or it is the working directory, in whose place no other folder can be put.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: it is a file: choose another folder")
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if others := [name for name in held if not _NUMBERED.fullmatch(name)]:
        raise UserError(f"--out {out}: it holds other things than samples, as {others[0]}: choose another folder")
    if held and not overwrite:
        raise UserError(
            f"--out {out}: it holds {len(held):,} samples, and others would be mixed with them: choose another folder, "
            "or give --overwrite to replace them"
        )
    if out.is_dir() and out.samefile("."):
        raise UserError(f"--out {out}: it is the working directory: name a folder in it")


@contextmanager
def whole_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A context with an empty folder to write to, which gets the name ``out`` at its end and is deleted after an error.

    Raises:
        UserError: see `check`; a folder that was filled by others meanwhile is left as it is.
    """
    check(out, overwrite=overwrite)
    place = Path(os.path.realpath(out))
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    part, old = (place.with_name(f".{place.name}.{kind}-{owner_name()}") for kind in ("part", "old"))
    part.mkdir()
    with discard_on_error(part, f"cannot write {out}"):
        yield part
        check(out, overwrite=overwrite)
        try:
            _put(part, place, old)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise UserError(f"--out {out}: another process has filled it meanwhile: choose another folder") from error
        sync_folder(place.parent)


def _put(part: Path, place: Path, old: Path) -> None:
    """Give a folder its place; what is there is first put aside, then deleted."""
    with suppress(FileNotFoundError):
        place.rename(old)
    try:
        part.rename(place)
    except OSError:
        with suppress(OSError):
            old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Delete what killed commands have left half-written."""
    for path in place.parent.iterdir():
        for begin in (f".{place.name}.part-", f".{place.name}.old-"):
            if path.name.startswith(begin) and abandoned(path.name.removeprefix(begin), path.lstat().st_mtime):
                shutil.rmtree(path, ignore_errors=True)
