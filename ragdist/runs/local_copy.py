"""Local copies of runs and generators that are only read: in place on a disk, fetched from a URL."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ragdist.config.settings import CONFIG
from ragdist.storage.store import Store, scheme
from ragdist.tools.errors import UserError

_ATTEMPTS = 4  # at a file that is replaced meanwhile


@contextmanager
def local_copy(where: str, *names: str) -> Iterator[Path]:
    """The folder or file at a path or URL, on this machine; a copy of what a URL names lasts as long as the context.

    Args:
        where: a path; the URL of a run; or that of a generator, which ends in ``.safetensors``.
        names: the files of a run that are wanted, where they are there; for a generator those that lie beside it, where
            they may be read.

    Raises:
        UserError: there is nothing, it cannot be had, or the URL is of a kind that is not read.
    """
    if scheme(where) is None:
        yield Path(re.sub(r"^file:/+", "/", where))
        return
    base, name = where.rstrip("/"), ""
    if base.endswith(".safetensors"):
        base, _, name = base.rpartition("/")
        names = tuple(file for file in names if file == CONFIG)
    store = Store(base)
    with TemporaryDirectory(prefix="ragdist-") as scratch:
        folder = Path(scratch) / (base.rpartition("/")[2].strip(".") or "run")
        folder.mkdir()
        print(f"fetching {where}", flush=True)
        if name and not _fetched(store, name, folder):
            raise UserError(f"there is no file at {where}")
        for file in names:
            with suppress(UserError) if name else nullcontext():  # to many what lies beside a public file is forbidden
                _fetched(store, file, folder)
        if not any(folder.iterdir()):
            raise UserError(f"there is no run at {where}: none of {', '.join(names)}")
        try:
            yield folder / name if name else folder
        except UserError as error:  # which the copy's path would not help
            raise type(error)(str(error).replace(str(folder), base)) from error


def _fetched(store: Store, name: str, folder: Path) -> bool:
    """Fetch a file into the folder, as it was at one moment; False where there is none.

    A run that goes on replaces its files, and a large one is fetched in parts.

    Raises:
        UserError: it cannot be had.
    """
    part = (folder / name).with_name(f".{Path(name).name}")
    part.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        try:
            before = store.stat(name)
            part.unlink(missing_ok=True)
            store.fetch(name, before[0], part)
            if store.stat(name) == before:
                part.rename(folder / name)
                return True
        except FileNotFoundError:
            return False
    raise UserError(f"{store.locate(name)} was replaced again and again while it was fetched: try once more")
