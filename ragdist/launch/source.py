"""What a run starts from, before it starts: where that is, for all of its processes, and which weights it has."""

from dataclasses import replace
from pathlib import Path

from ragdist.config import Config
from ragdist.launch.session import absolute_path
from ragdist.runs.open import run_at
from ragdist.storage.store import Store, scheme
from ragdist.tools.errors import UserError
from ragdist.training import transfer_source


def of_run(config: Config, *, overwrite: bool) -> Config:
    """The configuration of a run with the absolute path of its --init_from and the digest of the weights there.

    A run that has a checkpoint does not read its source again, which may be gone. One that is given under another name
    has to have the same weights.

    Raises:
        UserError: there is no source, it is the run itself, or has other weights than the run started from.
    """
    if not config.init_from:
        return config
    where = _absolute(config)
    if _is_within(where, config.out):
        raise UserError(f"--init_from {where}: it is the run of --out: give a run another --out")
    saved = None if overwrite else run_at(config.out).begun()
    said = saved["init_sha256"] if saved else ""
    if said and saved["init_from"] == where and config.init_sha256 in ("", said):
        return replace(config, init_from=where, init_sha256=said)
    found = of_all(config)
    if saved and found.init_sha256 != said:
        began = f"with the weights {said[:12]} of {saved['init_from']}" if said else "from no other run's weights"
        raise UserError(
            f"{config.out} holds a run that started {began}, and --init_from {where} has others "
            f"({found.init_sha256[:12]}): give what it started from, another --out, or --overwrite to start anew"
        )
    return found


def of_all(config: Config) -> Config:
    """A configuration with the absolute path of its --init_from and the digest of the weights there, of any runs.

    Raises:
        UserError: there is no source, or it has other weights than --init_sha256 says.
    """
    if not config.init_from:
        return config
    source = transfer_source.read(_absolute(config))
    if config.init_sha256:
        transfer_source.check_digest(source, config.init_sha256)
    return replace(config, init_from=source.where, init_sha256=source.sha256)


def _absolute(config: Config) -> str:
    return absolute_path(config.init_from, "--init_from").rstrip("/")


def _is_within(where: str, out: str) -> bool:
    """Whether a path or URL is that of a run, or of a file in it."""
    if scheme(where) is not None or scheme(out) is not None:
        return f"{where.rstrip('/')}/".startswith(f"{out.rstrip('/')}/")
    path, folder = Store(where).local.resolve(), Path(out).resolve()
    return path == folder or folder in path.parents
