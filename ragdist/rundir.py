"""The run's folder: its configuration, its lock, and where everything in it is."""

import fcntl
import os
import shutil
import socket
from pathlib import Path

from ragdist import settings
from ragdist.config import Config
from ragdist.errors import UserError
from ragdist.files import explain, write_whole


class RunFolder:
    """One run's folder.

    config.yaml              the configuration it was started with
    checkpoints/             see `checkpoint`
    generator.safetensors    the newest EMA generator with all that is needed to sample from it
    samples/                 sample grids, and course.png at the end
    events.out.tfevents.*    TensorBoard
    metrics.jsonl            the same scalars, a line a reading
    summary.json             written at the end
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config = self.path / settings.CONFIG
        self.checkpoints = self.path / "checkpoints"
        self.generator = self.path / "generator.safetensors"
        self.samples = self.path / "samples"
        self.metrics = self.path / "metrics.jsonl"
        self.summary = self.path / "summary.json"
        self._lock = None

    def claim(self, config: Config, *, overwrite: bool) -> None:
        """Create the folder or continue it, and lock it until this process ends.

        Raises:
            UserError: another process uses it, it cannot be written, or it holds a run of another configuration.
        """
        with explain(f"cannot write the run to {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / "lock", "a+")  # noqa: SIM115 - held as long as the process lives
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            raise UserError(f"{self.path} is in use by {self._lock.read().strip()}: wait for it or stop it") from error
        with explain(f"cannot write the run to {self.path}"):
            self._lock.truncate(0)
            self._lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._lock.flush()
            if overwrite:
                self._clear()
            elif self.config.is_file():
                self._compare(config)
            elif self.checkpoints.exists():
                raise UserError(f"{self.path} holds checkpoints but no {settings.CONFIG}: restore it, or --overwrite")
            write_whole(self.config, settings.dumps(config))
            self.checkpoints.mkdir(exist_ok=True)
            self.samples.mkdir(exist_ok=True)

    def _compare(self, config: Config) -> None:
        if changed := settings.differences(config, settings.read(self.config)):
            raise UserError(
                f"{self.path} holds a run of another configuration ({'; '.join(changed)}): "
                "give the same options to continue it, another --out, or --overwrite to start anew"
            )

    def _clear(self) -> None:
        """Delete what a run writes, and nothing else that may lie in the folder."""
        for folder in (self.checkpoints, self.samples):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.config, self.generator, self.metrics, self.summary):
            file.unlink(missing_ok=True)
        for file in self.path.glob("events.out.tfevents.*"):
            file.unlink()
