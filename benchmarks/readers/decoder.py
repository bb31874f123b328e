"""The limit: torchvision's JPEG operator in a loop over bytes that are in memory, in the order of training."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.readers import SEED, Data
from ragdist.data import index as index_file
from ragdist.data.codecs import _decoder
from ragdist.data.order import Order

RGB = 3


class Reader:
    def __init__(self, data: Data, _kind: str):
        self.decode = _decoder()
        index = index_file.load(data.shards)
        order = Order([s.samples for s in index.shards], index.digest, SEED, 8, 16_384)
        tars = [open(f"{data.shards}/{shard.name}", "rb").read() for shard in index.shards]  # noqa: SIM115
        tables = [index_file.load_table(data.shards, shard) for shard in index.shards]
        self.payloads = []
        for shard, sample in zip(*(part.tolist() for part in order.locate(0, index.samples)), strict=True):
            start, length = (int(tables[shard][name][sample]) for name in ("offset", "length"))
            payload = bytearray(tars[shard][start : start + length])
            self.payloads.append(torch.frombuffer(payload, dtype=torch.uint8))

    def samples(self) -> Iterator[Tensor]:
        decode = self.decode
        for payload in self.payloads:
            yield decode(payload, RGB)
