"""Transparent pictures: an index says their background, only where there are any, and what is judged has it, too."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from ragdist import modalities
from ragdist.config.shards import IndexOptions
from ragdist.data import index as index_file
from ragdist.data.indexing.index_shards import index_shards
from ragdist.data.reader import ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.evaluation.samples import FolderSamples
from ragdist.modalities.base import Form

ORANGE = (200, 100, 50)


def picture(alpha: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (8, 8), (*ORANGE, alpha)).save(out, "png")
    return out.getvalue()


def shard(path, *alphas: int) -> str:
    with tarfile.open(path, "w") as tar:
        for number, alpha in enumerate(alphas):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(data := picture(alpha))
            tar.addfile(member, io.BytesIO(data))
    return str(path)


def indexed(tmp_path, *alphas: int, **given):
    path = shard(tmp_path / "a.tar", *alphas)
    return index_shards([path], IndexOptions(processes=1), given, overwrite=True)


def test_the_index_of_opaque_pictures_says_nothing_of_a_background(tmp_path):
    """So its digest is the one that earlier versions gave it, and their runs go on with it."""
    plain, green = indexed(tmp_path, 255, 255), indexed(tmp_path, 255, 255, background="green")
    assert plain.index.form == Form((3, 8, 8))
    assert plain.index.digest == green.index.digest
    assert not plain.notes


def test_the_index_of_transparent_pictures_says_the_background(tmp_path):
    summary = indexed(tmp_path, 255, 0, background="#0000FF")
    index = index_file.load(tmp_path)
    assert index.form == summary.index.form == Form((3, 8, 8), {"background": "#0000ff"})
    assert summary.notes == {"transparent parts composed on #0000ff (--background)": 1}
    reader = ShardReader(ShardFiles(tmp_path, index))
    colours = [reader.read(0, sample)[0].amin((1, 2)).tolist() for sample in range(2)]
    assert colours == [list(ORANGE), [0, 0, 255]]
    assert np.array_equal(reader.read_all([(0, 0), (0, 1)])[0].amin((2, 3)), colours)


def test_notes_of_another_background_are_not_taken_for_this_one(tmp_path):
    indexed(tmp_path, 0, background="red")
    assert indexed(tmp_path, 0, background="blue").index.spec == {"background": "#0000ff"}


def test_samples_on_any_background_can_be_compared():
    form = Form((3, 8, 8), {"background": "#0000ff"})
    assert modalities.comparable("image", form) == Form((3, 8, 8))


@pytest.mark.parametrize(("spec", "expected"), [({}, (255, 255, 255)), ({"background": "#0000ff"}, (0, 0, 255))])
def test_a_folder_is_judged_on_the_background_of_the_data(tmp_path, spec, expected):
    (tmp_path / "a.png").write_bytes(picture(0))
    samples = FolderSamples(tmp_path, "image", Form((3, 8, 8), spec), 0)
    (batch,) = samples.batches(range(1), 1)
    assert batch.samples.amin((0, 2, 3)).tolist() == list(expected)
