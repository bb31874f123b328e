"""The classifier of a data set: a small convolutional network, and its features.

Offline the field's Inception network cannot be had, and on small or grey images it is far from what it was
trained on. A classifier of the data at hand sees what tells their classes apart. It is trained once, by seed, and
kept: features of two trainings are two kinds of features, and their hashes say so.

It reads pictures: images as they are, of other samples what their modality shows of them (`Judging.classified`).
"""

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ragdist import modalities
from ragdist.config import migrations
from ragdist.metrics.extractor import Extractor, Features, FeatureSource
from ragdist.modalities.base import Form
from ragdist.storage.files import write_whole
from ragdist.tools import noise
from ragdist.tools.errors import TooNew, UserError
from ragdist.tools.optimizer import without_compile

FORMAT, VERSION = "ragdist-classifier", 1
DIM = 128
_LARGEST = 64  # pixels a side
_WIDTHS, _LAST, _CELLS = (24, 48, 96, 128), 128, 4
_SAMPLES = 50_000  # most that it is trained and tested on
_HELD_OUT = 0.1
_SEEN = (40_000, 200_000)  # least and most samples that are seen; ten epochs where that lies between
_FEW, _EPOCHS = 5_000, 30  # of little data fewer are seen: so many epochs, and no fewer samples than that
_BATCH, _RATE = 128, 2e-3
_DRAWS = 3  # random numbers of `Judging.vary` for a picture
_UNSAID = "image"  # what classifiers are of whose files do not say it


class Classifier(nn.Module):
    """Strided convolutions with group normalization, then a linear layer over the whole picture: DIM features.

    A mean over the picture in its place would see parts and not where they are: on digits it names 93% and not 98%.
    """

    def __init__(self, channels: int, size: tuple[int, int], classes: int):
        super().__init__()
        self.size = size
        stages = max(min(size).bit_length() - 3, 1)  # down to 4 pixels a side, or up to 7
        widths = [*_WIDTHS[:stages], _LAST]
        layers: list[nn.Module] = []
        before = channels
        for number, width in enumerate(widths):
            layers += [nn.Conv2d(before, width, 3, stride=2 if number else 1, padding=1)]
            layers += [nn.GroupNorm(8, width), nn.ReLU()]
            before = width
        layers += [nn.AdaptiveAvgPool2d(_CELLS), nn.Flatten(), nn.Linear(_LAST * _CELLS**2, DIM), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(DIM, classes)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Map pictures uint8 [n, C, H, W] to features [n, DIM] and logits [n, classes]."""
        x = F.adaptive_avg_pool2d(pictures.float(), self.size) / 127.5 - 1
        features = self.body(x.contiguous(memory_format=torch.channels_last))
        return features, self.head(features)


class ClassifierFeatures(Extractor):
    """A trained classifier's last hidden layer, and its logits.

    Args:
        content: of the classifier's file.

    Raises:
        TooNew: the file is of a newer version.
        ValueError: the file is damaged or of another kind.
    """

    name = "classifier"

    def __init__(self, content: bytes, device: torch.device | str):
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            self.about = json.loads(
                json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["ragdist"]
            )
            migrations.check_format(self.about, FORMAT, VERSION, "the data's classifier")
            state = load(content)
            codec = self.about.get("codec", _UNSAID)
            self.judging, self.form = modalities.judging(codec), Form(self.about["shape"], self.about.get("spec", {}))
            if self.about.get("sees", "") != getattr(self.judging, "sees", ""):
                raise ValueError("it sees samples otherwise than they are shown today")
            channels, height, width = _pictures(codec, self.form)
            self.net = Classifier(channels, _size(height, width), len(self.about["classes"]))
            self.net.load_state_dict(state)
        except TooNew:
            raise
        except (SafetensorError, KeyError, TypeError, RuntimeError, UserError) as error:
            raise ValueError(f"it is no classifier: {error}") from error
        self.content = content
        self.net.to(device).eval().requires_grad_(False)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.dim = DIM
        self.resizing = self.about.get("sees") or f"averaged to {self.net.size[1]}x{self.net.size[0]}"

    def __call__(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(self.judging.classified(samples, self.form))


def classifier(
    data: Any, cache: Path, *, seed: int = 0, device: torch.device | str = "cpu",
    begin: Callable[[int], Callable[[int], None]] = lambda total: lambda n: None,
) -> ClassifierFeatures:  # fmt: skip
    """Read the data set's classifier, or train it and write it beside the index, else to the cache.

    Args:
        data: with labels, `evaluation.reference_data.DataSet`.
        cache: folder.
        seed: of its training.
        begin: called where it has to be trained, with the number of samples; what it returns counts the progress.

    Raises:
        UserError: the data have fewer than two classes.
    """
    if len(data.index.classes) < 2:
        raise UserError(
            f"{data.where} has no labels (or one class only), which --features classifier and --metrics classes need: "
            f"choose --features {modalities.judging(data.index.codec).features[0]}, or make shards with labels"
        )
    name = f"classifier-{data.index.digest}.safetensors"
    local = data.reader.files.store.local
    places = [folder / name for folder in (local, cache) if folder]
    for place in places:
        with suppress(OSError, ValueError):
            found = ClassifierFeatures(place.read_bytes(), device)
            if found.about["data"] == data.index.digest:
                return found
    content = train(data, seed, device, begin)
    _keep(content, places)
    return ClassifierFeatures(content, device)


def _keep(content: bytes, places: list[Path]) -> None:
    """Write a classifier to the first of these places that takes it. None may: that costs time, and is said."""
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, content)
            return
        except OSError as error:
            why = error.strerror
    print(
        f"the classifier cannot be kept in {place.parent} ({why}): the next command trains it again, or give another "
        "--cache",
        file=sys.stderr,
    )


def train(data: Any, seed: int, device: torch.device | str, begin: Callable[[int], Callable[[int], None]]) -> bytes:
    """Train a classifier and return its file's content. The last tenth of the samples is held out for its accuracy."""
    from safetensors.torch import save

    numbers = data.drawn(_SAMPLES)
    numbers = numbers[data.labels[numbers].numpy() >= 0]
    if len(numbers) < 20:
        raise UserError(f"{data.where} has {len(numbers)} samples with a label, too few to train a classifier on")
    index, judging = data.index, modalities.judging(data.index.codec)
    channels, *size = _pictures(index.codec, index.form)
    pictures, there = _read(data, numbers, channels, _size(*size))
    pictures, labels = pictures[there], data.labels[numbers][there]
    split = len(pictures) - max(int(len(pictures) * _HELD_OUT), 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Classifier(channels, _size(*size), len(index.classes))
    net.to(device, memory_format=torch.channels_last)
    _fit(net, judging.vary, pictures[:split], labels[:split], seed, device, begin)
    net.eval()
    with torch.no_grad():
        held = zip(pictures[split:].split(512), labels[split:].split(512), strict=True)
        right = sum(int((net(x.to(device))[1].argmax(1).cpu() == y).sum()) for x, y in held)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "data": index.digest,
        "shape": list(index.shape),
        "classes": list(index.classes),
        "seed": seed,
        "accuracy": right / (len(pictures) - split),
        "trained_on": split,
        "held_out": len(pictures) - split,
    }
    if sees := getattr(judging, "sees", ""):
        about |= {"codec": index.codec, "spec": dict(index.spec), "sees": sees}
    return save(
        {name: value.cpu().contiguous() for name, value in net.state_dict().items()}, {"ragdist": json.dumps(about)}
    )


def _pictures(codec: str, form: Form) -> tuple[int, int, int]:
    """The shape [C, H, W] of what the classifier is shown of samples of a form."""
    blank = modalities.training(codec).blank(1, form)
    return tuple(modalities.judging(codec).classified(blank, form).shape[1:])


def _read(data: Any, numbers: Any, channels: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pictures of these samples, uint8 [n, C, H, W] at the size that is looked at, and which there are, bool [n]."""
    judging = modalities.judging(data.index.codec)
    pictures = torch.zeros(len(numbers), channels, *size, dtype=torch.uint8)
    there = torch.zeros(len(numbers), dtype=torch.bool)
    for batch in data.batches(numbers, 1024):
        part = judging.classified(batch.samples, data.index.form)
        if part.shape[2:] != size:
            part = F.adaptive_avg_pool2d(part.float(), size).round().byte()
        pictures[batch.places], there[batch.places] = part, True
    return pictures, there


def _budget(count: int) -> int:
    """Samples that are seen in training on ``count``."""
    least, most = _SEEN
    return max(min(least, max(_FEW, _EPOCHS * count)), min(10 * count, most))


def _fit(
    net: Classifier, vary: Callable, pictures: Tensor, labels: Tensor, seed: int, device: Any, begin: Callable
) -> None:
    total = _budget(len(pictures))
    advance = begin(total)
    batch = min(_BATCH, len(pictures))
    steps = total // batch
    optimizer = without_compile(torch.optim.AdamW)(net.parameters(), lr=_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.1)
    order = torch.empty(0, dtype=torch.int64)
    epoch = 0
    for step in range(steps):
        if len(order) < batch:
            order = torch.cat(
                [order, torch.from_numpy(noise.permutation(seed, noise.CLASSIFIER, epoch, len(pictures)))]
            )
            epoch += 1
        chosen, order = order[:batch], order[batch:]
        uniform = noise.uniform(seed, noise.CLASSIFIER, step * batch, batch, _DRAWS)
        x = vary(pictures[chosen], uniform)
        loss = F.cross_entropy(net(x.to(device))[1], labels[chosen].to(device), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        advance(batch)


def _size(height: int, width: int) -> tuple[int, int]:
    return min(height, _LARGEST), min(width, _LARGEST)


def _make(source: FeatureSource) -> ClassifierFeatures:
    return classifier(source.data, source.cache / "evaluation", device=source.device, begin=source.begin)


CLASSIFIER = Features(_make, ClassifierFeatures)
