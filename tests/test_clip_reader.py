"""The comparison of readers of clips runs, on a few of them, and each reader gives the same ones."""

import re

import numpy as np
import pytest
import torch

from benchmarks import clip_reader
from benchmarks.readers import BATCH, clips
from ragdist import shards
from tests.data_in_the_wild.making import tar_of
from tests.sounds import member

COUNT = 5 * BATCH


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    """Shards of WAV and of FLAC, with labels as webdataset has them."""
    found = []
    for kind in ("wav", "flac"):
        folder = tmp_path_factory.mktemp("clips") / kind
        folder.mkdir()
        members = [(f"{i:04d}.{kind}", member(kind, i, frames=256)) for i in range(COUNT)]
        (folder / "a.tar").write_bytes(tar_of(members))
        shards.index([str(folder), "--processes=1"])
        found.append(str(folder))
    return found


def test_all_give_the_same_clips(folders):
    for folder in folders:
        expected = sorted(np.asarray(clip).tobytes() for clip in clips.Bare(folder).samples())
        assert len(expected) == COUNT
        for reader in (clips.Ragdist(folder), clips.WithoutMiniaudio(folder), clips.Webdataset(folder)):
            assert sorted(np.asarray(clip).tobytes() for clip in reader.samples()) == expected
            batches = torch.cat([batch.flatten(1) for batch in reader.batches()])
            assert batches.dtype == torch.int16
            assert sorted(clip.numpy().tobytes() for clip in batches) == expected


def test_the_table_has_a_row_of_figures_for_each(folders):
    rates = clip_reader.measure(folders, 1, 0.01, clips.webdatasets_decoder)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in clip_reader.report(rates, folders).splitlines()
    ]
    assert [row[0] for row in rows[2:]] == [
        f"{kind}: {name}"
        for kind in ("wav", "flac")
        for name in (
            clip_reader.BARE,
            clip_reader.OURS,
            clip_reader.WITHOUT,
            clip_reader.RIVAL,
            clip_reader.TORCHAUDIO,
        )
    ]
    figure = re.compile(r"[\d,.]+ \([\d,.]+ to [\d,.]+\)")
    assert all(figure.fullmatch(cell) for row in rows[2:] for cell in row[1:] if cell)
    assert all(rows[3][1:]), "ours has all figures"
