"""The monitor of a run: progress line, TensorBoard events, metrics.jsonl, sample grids, the closing picture.

The device is read once every few seconds; in between, metrics are summed on it.
"""

import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ragdist import modalities
from ragdist.config import Config, migrations, settings
from ragdist.config.run import flat
from ragdist.data.index import Index
from ragdist.modalities import pictures
from ragdist.runs.folder import RunFolder
from ragdist.storage.files import os_errors_as_user_error, write_whole
from ragdist.tools.progress import Progress
from ragdist.training import weights_and_biases
from ragdist.training.update import STATISTICS

GRID_COLUMNS, GRID_ROWS = 10, 8
_GRID = re.compile(r"(?:images|samples)-(\d+)\.png")  # "images" sorts first: of two the newer name wins
_NORMS = ("grad_norm_g", "grad_norm_d")
_PENALTIES = ("r1", "r2", "gp")  # are computed on some updates only
_GROUPS = {"loss": "loss", "logit": "logits", "relative": "relative", "distance": "relative", "coverage": "relative"}
_GROUPS |= {
    "pair": "logits",
    "augment": "augmentation",
    "lam": "relative",
    "r1": "penalty",
    "r2": "penalty",
    "gp": "penalty",
    "grad": "gradients",
}


class Monitor:
    """Logs a run from ``seen`` on.

    Args:
        config: the run's configuration.
        folder: the run's folder; what it holds beyond ``seen`` belongs to a past that is computed again.
        index: the data set's index.
        seen: samples seen at the start.
        progress: what shows the progress; None: this terminal.
    """

    def __init__(self, config: Config, folder: RunFolder, index: Index, seen: int, progress: Any = None):
        self.config, self.folder, self.index = config, folder, index
        self.modality, self.judging = modalities.training(index.codec), modalities.judging(index.codec)
        self.units = modalities.making(index.codec).units
        self.every_grid = config.monitor.grid_every or max(config.samples // 20, 1)
        self.progress = progress or Progress(config.samples, done=seen, unit=self.units)
        self._sums: Tensor | None = None
        self._reset()
        self._first, self._p = True, None
        folder.fence()
        with self._writing():
            _cut(folder.metrics, seen)
            self._metrics = open(folder.metrics, "a")  # noqa: SIM115 - closed in close()
            self._board = self._open_board(seen)
        self._wandb = weights_and_biases.begin(config, folder, seen, self.say) if config.monitor.wandb else None

    def _open_board(self, seen: int):
        if not self.config.monitor.tensorboard:
            return None
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        board = SummaryWriter(str(self.folder.path), purge_step=seen + 1 if seen else None, flush_secs=20)
        if not seen:
            board.add_text("config", f"```yaml\n{settings.dumps(self.config)}```", 0)
            values = flat(self.config, free=False)
            for summary in hparams(values, {"loss/loss_g": None, "relative/relative_distance": None}):
                board.file_writer.add_summary(summary, 0)
        return board

    def _reset(self) -> None:
        if self._sums is not None:
            self._sums.zero_()
        self._updates = self._penalties = 0
        self._wait = 0.0
        self._since = time.perf_counter()

    def update(
        self, seen: int, statistics: Tensor, norms: Tensor, *, batch: int, penalty: bool, wait: float, now: Callable
    ) -> dict[str, float] | None:
        """Count one update; every few seconds read the sums, log them and return them.

        Args:
            seen: samples seen after it.
            statistics, norms: `update.STATISTICS`, and gradient norms of G and D; on the device.
            batch: samples of the update.
            penalty: whether the penalties were computed.
            wait: seconds it waited for data.
            now: gives further scalars when a reading is due.
        """
        values = torch.cat([statistics, norms.to(statistics.dtype)])
        self._sums = values.clone() if self._sums is None else self._sums.add_(values)
        self._updates += 1
        self._penalties += penalty
        self._wait += wait
        self.progress.advance(batch)
        due = time.perf_counter() - self._since >= self.config.monitor.seconds
        if not (due or self._first or seen >= self.config.samples):
            return None
        self._first = False
        sums = self._sums.tolist()  # waits for the device
        seconds = time.perf_counter() - self._since
        objective = self.config.objective
        row = dict(zip((*STATISTICS, *_NORMS), (value / self._updates for value in sums), strict=True))
        for name in _PENALTIES:
            computed = self._penalties and (objective.gp > 0 if name == "gp" else objective.at_samples)
            row[name] = row[name] * self._updates / self._penalties if computed else None
        row |= {
            "samples_per_second": self._updates * batch / seconds,
            "step_seconds": seconds / self._updates,
            "data_wait_share": self._wait / seconds,
            **now(),
        }
        self._log(seen, {name: value for name, value in row.items() if value is not None})
        self._reset()
        return row

    def _log(self, seen: int, row: dict[str, float]) -> None:
        moves = "augment_p" in row and self._p not in (None, row["augment_p"])
        self._p = row.get("augment_p")
        distance = f"relative distance {row['relative_distance']:+.4f}" + (f"  p {self._p:.3f}" if moves else "")
        self.progress.describe(f"L_G {row['loss_g']:.3f}  L_D {row['loss_d']:.3f}  {distance}")
        self._metrics.write(json.dumps({"samples": seen, "time": time.time(), **row}) + "\n")
        self._metrics.flush()
        if self._board:
            for name, value in row.items():
                group = _GROUPS.get(name.partition("_")[0], "run")
                self._board.add_scalar(f"{group}/{name}", value, seen)
        if self._wandb:
            self._wandb.log(row, step=seen)

    def evaluated(self, seen: int, figures: dict[str, float | None]) -> None:
        """Log an evaluation's figures, which come later than the samples that the generator had seen."""
        row = {f"evaluate/{name}": value for name, value in figures.items() if value is not None}
        self._metrics.write(json.dumps({"samples": seen, "time": time.time(), **row}) + "\n")
        self._metrics.flush()
        if self._board:
            for name, value in row.items():
                self._board.add_scalar(name, value, seen)
        if self._wandb:  # whose own steps only go forward
            self._wandb.log({"evaluate/samples": seen, **row})

    def say(self, line: str) -> None:
        """Print a line beside the progress."""
        self.progress.say(line)

    def grid_due(self, before: int, seen: int) -> bool:
        """Whether a sample grid falls between these two counts of samples."""
        crossed = seen // self.every_grid > before // self.every_grid
        return crossed or seen >= self.config.samples

    def grid(self, seen: int, samples: Tensor) -> Path:
        """Write a picture of GRID_ROWS x GRID_COLUMNS samples [n, *network_shape], and show them in TensorBoard."""
        form = self.index.form
        samples = self.modality.from_network(samples, form).cpu()
        picture = self.judging.preview(samples, form, GRID_COLUMNS)
        path = self.folder.samples / f"samples-{seen:012d}.png"
        pictures.save(picture, path)
        if self._board:
            self.judging.log(self._board, "samples", samples, form, picture, seen)
            self._board.flush()
        return path

    def course(self) -> Path | None:
        """Write the closing picture: the same latents over the whole run, from its grids."""
        grids = sorted(self._grids().items())
        if not grids:
            return None
        chosen = [grids[i] for i in pictures.evenly(len(grids), 10)]
        moments = [(seen, pictures.load(path)) for seen, path in chosen]
        picture = pictures.course(moments, GRID_ROWS, self.units)
        path = self.folder.samples / "course.png"
        pictures.save(picture, path)
        if self._board:
            self._board.add_image("course", pictures.to_tensor(picture), moments[-1][0])
        return path

    def _grids(self) -> dict[int, Path]:
        """The run's sample grids by samples seen; those of version 0.1 are called images-*."""
        found = ((path, _GRID.fullmatch(path.name)) for path in sorted(self.folder.samples.glob("*.png")))
        return {int(name[1]): path for path, name in found if name}  # others are the user's

    def close(self) -> None:
        """Close all. Raises UserError where the system refuses what is left to be written."""
        self.progress.close()
        with self._writing():
            self._metrics.close()
            if self._board:
                self._board.close()
        if self._wandb:
            self._wandb.finish()

    def _writing(self) -> AbstractContextManager[None]:
        return os_errors_as_user_error(f"cannot write to {self.config.out} (the last checkpoint is kept)")


def _cut(path: Path, seen: int) -> None:
    """Drop the lines of a metrics file beyond ``seen``, and an incomplete last line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        if migrations.RECORDS.migrated(row, str(path))["samples"] <= seen:
            kept.append(line + "\n")
    write_whole(path, "".join(kept))
