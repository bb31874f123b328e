"""Whether a run's clips say what they were asked for, judged by a classifier that was trained on recordings.

python -m benchmarks.speech RUN --data SHARDS [--and SHARDS]

The judge learns from nine tenths of the clips in SHARDS and is tried on the rest. With --and it also learns the labels
of other shards of such clips, as the speakers are, and counts those of the samples.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import options as command_line
from benchmarks.measure import machine, table
from ragdist.evaluation.reference_data import DataSet
from ragdist.generation import generator_file, sampling
from ragdist.modalities.base import Form
from ragdist.networks import stft
from ragdist.runs.folder import RunFolder
from ragdist.tools.errors import UserError, run_command

_BANDS, _WIDTHS, _DROPPED = 32, (1, 16, 32, 64, 96), 0.4
_CELLS = (2, 4)  # bands and times that are left before the linear layer
_RATE, _BATCH = 4e-3, 64
_SHIFT = 0.07  # of a clip, to either side
_VOICED = (60, 400)  # Hz


class Judge(nn.Module):
    """A plain convolutional network on log-mel spectrograms, with batch normalization: unlike any D."""

    def __init__(self, classes: int, length: int):
        super().__init__()
        self.window = 1 << (length // 32).bit_length() - 1
        layers = []
        for before, after in pairwise(_WIDTHS):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(_CELLS), nn.Flatten(), nn.Dropout(_DROPPED))
        self.head = nn.Linear(_WIDTHS[-1] * _CELLS[0] * _CELLS[1], classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits [n, classes] of clips [n, C, T]."""
        with torch.no_grad():
            bands = stft.log_mel(clips.mean(1, keepdim=True), self.window, _BANDS)
            pictures = (F.avg_pool2d(bands, (1, 2)) + 4) / 2
        return self.head(self.layers(pictures))

    @torch.no_grad()
    def read(self, clips: Tensor) -> Tensor:
        """The likeliest class of each clip."""
        return torch.cat([self(part).argmax(1) for part in clips.split(256)])


def train(clips: Tensor, labels: Tensor, classes: int, epochs: int) -> Judge:
    """Train a judge: clips shifted, at another loudness, with noise."""
    torch.manual_seed(0)
    judge = Judge(classes, clips.shape[2])
    steps = epochs * len(clips) // _BATCH
    optimizer = torch.optim.AdamW(judge.parameters(), _RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(clips), (_BATCH,))
        loss = F.cross_entropy(judge(_disturbed(clips[chosen])), labels[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


def _disturbed(clips: Tensor) -> Tensor:
    most = int(_SHIFT * clips.shape[2])
    shifts = torch.randint(-most, most + 1, (len(clips),)).tolist()
    clips = torch.stack([clip.roll(shift, 1) for clip, shift in zip(clips, shifts, strict=True)])
    clips = clips * torch.empty(len(clips), 1, 1).uniform_(0.3, 1.1)
    return clips + torch.randn_like(clips) * torch.empty(len(clips), 1, 1).uniform_(0, 0.01)


class Trained(NamedTuple):
    """A judge, the names of what it tells apart, its accuracy on clips that it has not seen, and those clips."""

    judge: Judge
    names: tuple[str, ...]
    accuracy: float
    unseen: Tensor


def judge_of(where: str, form: Form, epochs: int) -> Trained:
    """Train a judge on nine tenths of the clips in a data set's folder. Raises UserError for data that do not fit."""
    data = DataSet(where, Path("~/.cache/ragdist/fetched").expanduser())
    if len(data.index.classes) < 2 or not np.all(data.labels.numpy() >= 0):
        raise UserError(f"{where} has clips without labels, and a judge learns from labels")
    if data.index.form != form:
        raise UserError(f"{where} holds clips of another length, rate or number of channels than the run makes")
    stored, there = data.samples(np.arange(len(data)))
    clips = data.reader.modality.to_network(stored[there], data.index.form)
    labels = data.labels[there]
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0))
    unseen, seen = order[: len(order) // 10], order[len(order) // 10 :]
    judge = train(clips[seen], labels[seen], len(data.index.classes), epochs)
    accuracy = float((judge.read(clips[unseen]) == labels[unseen]).double().mean())
    return Trained(judge, tuple(data.index.classes), accuracy, clips[unseen])


def as_known(asked: Sequence[str], known: Sequence[str]) -> list[int]:
    """The judge's number of each class that a generator is asked for: by their names, else in their order.

    Raises:
        UserError: they are not the same classes.
    """
    if set(asked) <= set(known):
        return [known.index(name) for name in asked]
    if len(asked) != len(known) or set(asked) & set(known):
        raise UserError(f"the run's classes are {', '.join(asked)}, and those of the recordings {', '.join(known)}")
    return list(range(len(asked)))  # "zero" to "nine" and "0" to "9"


def voicing(clips: Tensor, rate: int) -> float:
    """How periodic the loud parts of clips [n, C, T] are: the mean of the highest autocorrelation, at most 1.

    A voice has some 0.8, and noise next to none: clips of the right spectrum whose phases do not fit sound rough.
    """
    size = rate // 25
    parts = clips.mean(1).unfold(1, size, size // 2)
    power = parts.square().mean(2)
    parts = parts[power > 0.25 * power.amax(1, keepdim=True)]
    parts = parts - parts.mean(1, keepdim=True)
    spectra = torch.fft.rfft(parts, n=4 * size).abs().square()
    lags = torch.arange(rate // _VOICED[1], rate // _VOICED[0])
    correlation = torch.fft.irfft(spectra)
    periodic = correlation[:, lags] / correlation[:, :1].clamp(min=1e-9) * (size / (size - lags))
    return float(periodic.amax(1).mean())


def main() -> None:
    parser = command_line.parser("speech", __doc__)
    parser.add_argument("run", type=Path, help="a run with labels")
    parser.add_argument("--data", required=True, help="shards of recordings with the run's labels")
    parser.add_argument("--and", dest="second", help="shards of such recordings with other labels")
    parser.add_argument("--per_class", type=int, default=100, help="samples of each class")
    parser.add_argument("--epochs", type=int, default=12, help="of the judge")
    given = parser.parse_args()
    exported = generator_file.load(RunFolder(given.run).generator, torch.device("cpu"))
    rate, classes = exported.form.spec["rate"], exported.about["classes"]
    count = exported.generator.num_classes
    if not count:
        raise UserError(f"{given.run} was trained without labels: no sample was asked to say anything")
    clips = torch.cat(list(sampling.sample(exported.generator, 1, count * given.per_class)))
    asked = torch.arange(len(clips)) % count
    words = judge_of(given.data, exported.form, given.epochs)
    right = words.judge.read(clips) == torch.tensor(as_known(classes, words.names))[asked]
    shares = [float(right[asked == number].double().mean()) for number in range(count)]
    print(f"{machine()}; {given.run} after {exported.about['samples']:,} clips; {len(clips):,} samples")
    share = float(right.double().mean())
    print(f"the judge names {words.accuracy:.1%} of unseen recordings rightly, and {share:.1%} of the samples\n")
    print(table(["", *classes], [["read as asked", *(f"{share:.0%}" for share in shares)]]))
    print(f"\nvoicing: {voicing(clips, rate):.2f}, of the recordings {voicing(words.unseen, rate):.2f}")
    if given.second:
        others = judge_of(given.second, exported.form, given.epochs)
        counts = torch.bincount(others.judge.read(clips), minlength=len(others.names)) / len(clips)
        print(f"\na judge that names {others.accuracy:.1%} of unseen recordings rightly finds\n")
        print(table(["", *others.names], [["share of the samples", *(f"{share:.1%}" for share in counts.tolist())]]))


if __name__ == "__main__":
    run_command(main)
