"""Readers of clips: bare soundfile, ragdist's, webdataset with soundfile as its decoder.

Each gives int16, in the order of training or shuffled, a clip or a batch of BATCH at a time.
"""

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile
import torch
import webdataset
from torch.utils.data import DataLoader

from benchmarks.readers import BATCH, SEED, Data, ours
from ragdist.data import index as index_file
from ragdist.modalities.audio import dr_flac

SUFFIXES = ("flac", "wav", "mp3", "ogg", "opus")


def by_soundfile(payload: bytes) -> np.ndarray:
    """int16 [frames] or [frames, channels], as soundfile's documentation reads from memory."""
    return soundfile.read(io.BytesIO(payload), dtype="int16")[0]


def webdatasets_decoder(key: str, payload: bytes) -> np.ndarray | None:
    """A decoder in the form of webdataset's documentation: of members of these extensions, others pass."""
    return by_soundfile(payload) if key.rpartition(".")[2] in SUFFIXES else None


def torchaudios() -> tuple[Callable | None, str]:
    """webdataset's own decoder of sounds, which takes torchaudio, and the reason why there is none."""
    try:
        from webdataset.autodecode import torch_audio

        decoder = torch_audio
        out = io.BytesIO()
        soundfile.write(out, np.zeros(64, np.int16), 16_000, format="FLAC")
        return (decoder, "") if decoder("a.flac", out.getvalue()) is not None else (None, "it decodes no FLAC")
    except Exception as error:
        return None, " ".join(str(error).split())[:200] or type(error).__name__


class Bare:
    """The decoder in a loop over bytes that are in memory, in the order of training."""

    def __init__(self, shards: str):
        index = index_file.load(shards)
        tars = [Path(shards, shard.name).read_bytes() for shard in index.shards]
        self.payloads = [
            tar[offset : offset + length]
            for tar, shard in zip(tars, index.shards, strict=True)
            for offset, length in index_file.load_table(shards, shard)[["offset", "length"]].tolist()
        ]

    def samples(self) -> Iterator[object]:
        return map(by_soundfile, self.payloads)


class Ragdist:
    """ragdist's reader from a local folder."""

    def __init__(self, shards: str):
        self.reader = ours.Reader(Data(shards, "", "", "", "", index_file.load(shards).samples), "local")
        self.samples, self.batches = self.reader.samples, self.reader.batches


class WithoutMiniaudio(Ragdist):
    """ragdist's reader where miniaudio is not installed."""

    def __init__(self, shards: str):
        super().__init__(shards)
        self.samples, self.batches = self._without(self.samples), self._without(self.batches)

    def _without(self, read: Callable[[], Iterator[object]]) -> Callable[[], Iterator[object]]:
        def here() -> Iterator[object]:
            with patch.object(dr_flac, "_library", lambda: None):
                yield from read()

        return here


class Webdataset:
    """webdataset's pipeline as its documentation shows it: shards and samples shuffled, decoded, in batches."""

    def __init__(self, shards: str, decoder: Callable = webdatasets_decoder):
        self.urls, self.decoder = sorted(map(str, Path(shards).glob("*.tar"))), decoder
        self.extensions = ";".join(SUFFIXES)

    def samples(self) -> Iterator[object]:
        random.seed(SEED)
        dataset = webdataset.WebDataset(self.urls, shardshuffle=100, seed=SEED).shuffle(1000)
        return (clip for (clip,) in dataset.decode(self.decoder).to_tuple(self.extensions))

    def batches(self) -> Iterator[torch.Tensor]:
        random.seed(SEED)
        dataset = webdataset.WebDataset(self.urls, shardshuffle=100, seed=SEED).shuffle(1000)
        batched = dataset.decode(self.decoder).to_tuple(self.extensions).map_tuple(torch.from_numpy).batched(BATCH)
        return (clips for (clips,) in DataLoader(batched, batch_size=None))
