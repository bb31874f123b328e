"""The limit: a JPEG decoder in a loop over bytes that are in memory, in the order of training.

Kinds: turbo, libjpeg-turbo itself, which ragdist's reader calls; operator, torchvision's around it.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from simplejpeg import decode_jpeg

from benchmarks.readers import SEED, Data
from ragdist.data import index as index_file
from ragdist.data.order import Order
from ragdist.modalities.image.webp import torchvision_operator

RGB = 3


class Reader:
    def __init__(self, data: Data, kind: str):
        index = index_file.load(data.shards)
        order = Order([s.samples for s in index.shards], index.digest, SEED, 8, 16_384)
        tars = [open(f"{data.shards}/{shard.name}", "rb").read() for shard in index.shards]  # noqa: SIM115
        tables = [index_file.load_table(data.shards, shard) for shard in index.shards]
        self.decode: Callable[[object], object] = _turbo(index.shape) if kind == "turbo" else _operator()
        self.payloads = []
        for shard, sample in zip(*(part.tolist() for part in order.locate(0, index.samples)), strict=True):
            start, length = (int(tables[shard][name][sample]) for name in ("offset", "length"))
            payload = bytearray(tars[shard][start : start + length])
            self.payloads.append(payload if kind == "turbo" else torch.frombuffer(payload, dtype=torch.uint8))

    def samples(self) -> Iterator[object]:
        decode = self.decode
        for payload in self.payloads:
            yield decode(payload)


def _turbo(shape: tuple[int, int, int]) -> Callable[[bytearray], np.ndarray]:
    image = np.empty((*shape[1:], shape[0]), np.uint8)
    return lambda payload: decode_jpeg(payload, "RGB", buffer=image)


def _operator() -> Callable[[torch.Tensor], torch.Tensor]:
    decode = torchvision_operator("decode_image")
    return lambda payload: decode(payload, RGB)
