"""Vectors of floats: a modality in one file, and features and a measure for it. Give it as ``--plugin vectors.py``.

A sample is stored as float32 [D] and networks see it as [1, D], divided by the data set's scale, which its index keeps.
"""

import hashlib
import io
import struct
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from ragdist.config.option import common
from ragdist.metrics import FEATURES, MEASURES
from ragdist.metrics.extractor import Extractor, Features
from ragdist.metrics.measure import Figure, Measure
from ragdist.modalities import MODALITIES, base, pictures
from ragdist.modalities.base import Encoded, Form
from ragdist.storage.files import write_whole

# A payload, and a .vec file: this header, then the values as little-endian float32.
HEADER = struct.Struct("<4sId")  # magic, D, scale
MAGIC = b"VEC1"
LONGEST = 2**20  # values: a header that says more is damaged


def packed(values: np.ndarray, scale: float) -> bytes:
    return HEADER.pack(MAGIC, len(values), scale) + values.astype("<f4").tobytes()


def form_of(payload: memoryview | bytes) -> Form:
    """The form that a payload's header says. Raises ValueError for no vector."""
    if len(payload) < HEADER.size or payload[:4] != MAGIC:
        raise ValueError("it is no .vec file")
    _, length, scale = HEADER.unpack_from(payload)
    if not 0 < length <= LONGEST or not 0 < scale < float("inf"):
        raise ValueError(f"its header says {length:,} values of scale {scale:g}")
    if len(payload) != HEADER.size + 4 * length:
        raise ValueError(f"it has {len(payload):,} bytes, and {length:,} values take {HEADER.size + 4 * length:,}")
    return Form((length,), {"dtype": "float32", "scale": scale})


@dataclass
class VectorOptions:
    """How vectors become samples: these options join those of `ragdist.shards`."""

    scale: float = common(0.0, at_least=0)
    """of vectors: networks see values divided by it; 0: as a .vec file says, else 1"""


class Making(base.Making):
    """From files and arrays to payloads."""

    unit, units = "vector", "vectors"
    payload = ("vec",)
    suffixes = frozenset((".vec",))
    spec = frozenset(("dtype", "scale"))
    options = VectorOptions
    begin = "--config cifar10 --data.flip false --network.family mlp"

    def encode(self, item, options):
        scale = 1.0
        if isinstance(item, bytes):  # of a file; else a row of an array
            scale = form_of(item).spec["scale"]
            item = np.frombuffer(item, "<f4", offset=HEADER.size)
        if not np.isfinite(item).all():
            raise ValueError("a value is not finite")
        data = packed(item, options.scale or scale)
        return Encoded(data, "vec", *form_of(data))

    def check_array(self, shape, dtype):
        if len(shape) != 2 or dtype.kind != "f":
            return f"holds {dtype} {list(shape)}: vectors are an array [N, D] of floats"
        return ""

    def describe(self, payload, options):
        return form_of(payload)

    def in_words(self, form):
        return f"{form.shape[0]} values of scale {form.spec['scale']:g}"


class Training(base.Training):
    """From payloads to what networks see, and back."""

    head = "identity"
    families = ("mlp",)

    def decode(self, data, form):
        payload = data.numpy().tobytes()
        if form_of(payload) != form:
            raise ValueError(f"it has {Making().in_words(form_of(payload))}, not {Making().in_words(form)}")
        return torch.from_numpy(np.frombuffer(payload, "<f4", offset=HEADER.size).astype(np.float32))

    def blank(self, count, form):
        return torch.zeros(count, *form.shape)

    def network_shape(self, form):
        return (1, *form.shape)

    def to_network(self, samples, form):
        return samples.unsqueeze(1) / form.spec["scale"]

    def from_network(self, samples, form):
        return samples.detach().float().squeeze(1) * form.spec["scale"]

    def points(self, samples, pool):
        return samples.float().flatten(1)


class Judging(base.Judging):
    """Looking at vectors, and measuring them."""

    features, measures = ("values",), ("spread",)
    quantization = "float32"
    out = "samples.npy"

    def preview(self, samples, form, columns=None):
        return pictures.grid([self._bars(values.tolist(), form.spec["scale"]) for values in samples], columns)

    def _bars(self, values, scale) -> Image.Image:
        """A bar for each value, up or down from the middle, which three times the scale fills."""
        tile = Image.new("RGB", (8 * len(values) + 8, 64), "#f4f4f4")
        pen = ImageDraw.Draw(tile)
        for i, value in enumerate(values):
            end = 32 - round(28 * max(-1.0, min(1.0, value / (3 * scale))))
            pen.rectangle((8 * i + 5, min(end, 32), 8 * i + 10, max(end, 32)), fill="#3366aa")
        return tile

    def check_out(self, out, animate):
        if animate and out.suffix != ".gif":
            return f"an animation of bars is a GIF; name it {out.with_suffix('.gif')}"
        return "" if animate or out.suffix in ("", ".npy") else "end it in .npy, or name a folder"

    def write(self, samples, form, out, columns):
        data = io.BytesIO()
        np.save(data, samples.cpu().numpy())
        write_whole(out, data.getvalue())
        return f"an array {list(samples.shape)}"

    def write_each(self, samples, form, folder, first):
        for number, values in enumerate(samples.cpu().numpy(), first):
            write_whole(folder / f"{number:06d}.vec", packed(values, form.spec["scale"]))
        return len(samples)


class Values(Extractor):
    """Features: the values as networks see them."""

    name, resizing = "values", "none"

    def __init__(self, source):
        self.dim, self.scale, self.about = source.shape[0], source.spec["scale"], {}
        self.sha256 = hashlib.sha256(f"values 1: {self.dim} / {self.scale}".encode()).hexdigest()

    def __call__(self, samples):
        return samples / self.scale, None


def spread(material, found, result):
    """Add the standard deviation of samples by that of the data, averaged over the values."""
    fakes, reals = (samples.std(0) for samples in (material.fake_samples, material.real_samples))
    ratio = float((fakes / reals).mean())
    result.figures.append(Figure("spread", "spread of samples by that of the data", ratio, None, "1", "values"))


class Vectors:
    """The modality: its three faces."""

    making, training, judging = Making(), Training(), Judging()


MODALITIES.add("vectors", Vectors)
FEATURES.add("values", Features(Values))
MEASURES.add("spread", Measure(spread, needs=2, of_samples=True))
