"""A trial's run on Ray workers of its own: `python -m ragdist.train` as a driver beside this process."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ragdist.config import Config, cli, settings
from ragdist.storage.files import write_whole
from ragdist.tools import plugins
from ragdist.tools.errors import Diverged, UserError
from tune.space import varied

_LOOK = 0.5  # seconds between two looks at it
_STOP = 90.0  # seconds in which it writes a checkpoint and ends when asked to


def train(config: Config, environment: dict[str, str], stop: Callable[[], bool]) -> bool:
    """Train a run, or continue it, to ``config.samples``; whether it got there.

    A process of its own, because a driver of Ray Train connects to the cluster, and leaves it, as it needs to.

    Args:
        config: of the run, ``config.workers`` in number.
        environment: variables by which it joins the cluster.
        stop: asked now and then; a run that stops writes a checkpoint.

    Raises:
        Diverged: too many updates were not finite.
        UserError: what the run says.
    """
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    file = out.with_name(f"{out.name}.yaml")
    config = varied(config, {"plugin": _plugins_beside(out, config)})
    write_whole(file, settings.dumps(config))
    # Ray kills a trial's process without asking: its pipe to the command ends with it, and so does the command.
    command = [sys.executable, "-m", "ragdist.tools.follow_parent", "ragdist.train", "--config", str(file)]
    with open(out.with_name(f"{out.name}.log"), "ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
        try:
            while process.poll() is None:
                if stop():
                    process.terminate()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_STOP)
                    break
                time.sleep(_LOOK)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdin.close()
    if process.returncode == 0:
        return True
    if process.returncode in (130, -signal.SIGTERM) or stop():
        return False
    said = Path(log.name).read_bytes()[start:].decode(errors="replace").strip().splitlines()
    reason = said[-1].removeprefix("error: ") if said else f"it ended with exit code {process.returncode}"
    # The type of what a worker raised does not come through, its words do.
    raise (Diverged if "not finite" in reason else UserError)(reason)


def _plugins_beside(out: Path, config: Config) -> str:
    """Write the plugins' files, which this node need not have, beside the run; a value for --plugin."""
    folder, files = out.with_name(f"{out.name}.plugins"), []
    for plugin in plugins.named(cli.plugin_files(config.plugin)):
        folder.mkdir(exist_ok=True)
        files.append(str((folder / Path(plugin.path).name).absolute()))
        write_whole(Path(files[-1]), plugin.text)
    return ",".join(files)
