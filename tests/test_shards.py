"""Shards from every source are what any WebDataset reader expects, and the index is what is in them."""

import hashlib
import io
import json
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.reader import BadSample, ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.data.writing.writer import write_shards
from ragdist.tools.errors import UserError
from tests.conftest import command, encoded, make_tar, picture, refused

SHARDS = "ragdist.shards"


def members(folder):
    """(key, payload, label) of all samples, by webdataset's own reader."""
    import webdataset

    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False):
        payload = next(sample[key] for key in ("jpg", "png") if key in sample)
        yield sample["__key__"], payload, int(sample["cls"]) if "cls" in sample else None


def test_webdataset_reads_every_sample(digits):
    from sklearn.datasets import load_digits

    data = load_digits()
    found = list(members(digits))
    assert len({key for key, _, _ in found}) == len(found) == 1797
    images = sorted((np.asarray(Image.open(io.BytesIO(payload))).tobytes(), label) for _, payload, label in found)
    expected = np.round(data.images * 255 / 16).astype(np.uint8)
    assert images == sorted((image.tobytes(), label) for image, label in zip(expected, data.target, strict=True))
    labels = [label for _, _, label in found]
    assert len(set(labels[:50])) == 10, "shuffled when written"


def test_the_index_says_what_is_in_the_tars(digits):
    index = index_file.load(digits)
    assert [shard.samples for shard in index.shards] == [700, 700, 397]
    assert index.shape == (1, 8, 8)
    assert index.classes == tuple("0123456789")
    found = iter(members(digits))
    for shard in index.shards:
        content = (digits / shard.name).read_bytes()
        assert len(content) == shard.bytes
        assert hashlib.sha256(content).hexdigest() == shard.sha256
        for row in index_file.load_table(digits, shard):
            _, payload, label = next(found)
            offset, length = int(row["offset"]), int(row["length"])
            assert content[offset : offset + length] == payload
            assert row["crc32"] == zlib.crc32(payload)
            assert row["label"] == label


def test_the_reader_decodes_what_pillow_decodes(digits):
    index = index_file.load(digits)
    reader = ShardReader(ShardFiles(digits, index))
    found = list(members(digits))
    for i in (0, 699, 700, 1796):
        shard, sample = divmod(i, 700)
        image, label = reader.read(shard, sample)
        assert image.dtype == torch.uint8
        np.testing.assert_array_equal(image[0], np.asarray(Image.open(io.BytesIO(found[i][1]))))
        assert label == found[i][2]


def test_the_same_source_gives_the_same_bytes(tmp_path):
    digests = set()
    for name in ("a", "b"):
        write_shards("digits", tmp_path / name, ShardOptions(shard_samples=1000))
        digests.add(index_file.load(tmp_path / name).digest)
    write_shards("digits", tmp_path / "c", ShardOptions(shard_samples=1000, seed=1))
    assert len(digests) == 1
    assert index_file.load(tmp_path / "c").digest not in digests


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz"])
def test_class_folders(tmp_path, class_folders, kind):
    source = class_folders if kind == "folder" else make_tar(class_folders, tmp_path / f"source.{kind}")
    summary = write_shards(str(source), tmp_path / "out", ShardOptions())
    assert summary.index.classes == ("cat", "dog")
    assert summary.index.samples == 6
    expected = sorted(
        (path.read_bytes(), label)
        for label, name in enumerate(("cat", "dog"))
        for path in (class_folders / name).iterdir()
    )
    assert sorted((payload, label) for _, payload, label in members(tmp_path / "out")) == expected, "bytes are kept"


def test_a_flat_folder_has_no_labels(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encoded(picture(i), "png"))
    index = write_shards(str(tmp_path), tmp_path / "out", ShardOptions()).index
    assert index.classes == ()
    assert {label for _, _, label in members(tmp_path / "out")} == {None}


def test_cifar10(tmp_path, test_data):
    result = command(SHARDS, test_data / "cifar10-train.tar.gz", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "50,000 samples [3, 32, 32] in 5 shards, 10 classes" in result.stdout
    index = index_file.load(tmp_path / "out")
    assert index.classes[:3] == ("airplane", "automobile", "bird")
    labels = np.concatenate([index_file.load_table(tmp_path / "out", shard)["label"] for shard in index.shards])
    assert np.bincount(labels).tolist() == [5000] * 10


@pytest.mark.parametrize("change", ["size", "channels", "format"])
def test_images_are_brought_to_size_colour_and_format(tmp_path, class_folders, change):
    options = {
        "size": {"size": 16},
        "channels": {"channels": 1},
        "format": {"format": "jpg"},
    }
    index = write_shards(str(class_folders), tmp_path / "out", ShardOptions(), options[change]).index
    assert index.shape == {"size": (3, 16, 16), "channels": (1, 8, 8), "format": (3, 8, 8)}[change]
    for _, payload, _ in members(tmp_path / "out"):
        image = Image.open(io.BytesIO(payload))
        assert (len(image.getbands()), image.height, image.width) == index.shape
        assert image.format == ("JPEG" if change == "format" else "PNG")


def test_a_photo_is_turned_the_way_its_camera_says(tmp_path):
    image = picture(1, (64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    image.save(out, "jpeg", exif=exif, quality=100)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(out.getvalue())
    write_shards(str(tmp_path / "in"), tmp_path / "out", ShardOptions())
    ((_, payload, _),) = members(tmp_path / "out")
    turned = np.asarray(Image.open(io.BytesIO(payload)), int)
    assert np.abs(turned - np.asarray(image.rotate(-90, expand=True), int)).mean() < 8


def test_bad_images_are_named_counted_and_skipped_on_request(tmp_path, class_folders):
    (class_folders / "cat" / "broken.jpg").write_bytes(b"this is no picture")
    whole = (class_folders / "dog" / "1.jpg").read_bytes()
    (class_folders / "dog" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (class_folders / "notes.txt").write_text("not a picture, and does not say so")
    result = command(SHARDS, class_folders, "out", cwd=tmp_path)
    line = refused(result)
    assert "broken.jpg" in line or "cut.jpg" in line
    assert "--bad skip" in line
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    result = command(SHARDS, class_folders, "out", "--bad=skip", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "6 samples" in result.stdout
    assert "skipped 2 images" in result.stdout
    assert "cat/broken.jpg" in result.stdout
    assert "dog/cut.jpg" in result.stdout
    assert "ignored 1 files that are no images, such as notes.txt" in result.stdout


def test_a_decompression_bomb_is_a_bad_image(tmp_path, class_folders):
    (class_folders / "cat" / "bomb.png").write_bytes(encoded(picture(3, (15, 15)), "png"))
    summary = write_shards(str(class_folders), tmp_path / "out", ShardOptions(bad="skip"), {"max_pixels": 100})
    assert summary.index.samples == 6
    assert "bomb" in summary.skipped[0]


@pytest.mark.parametrize(
    ("make", "arguments", "says"),
    [
        (lambda p: None, ["nowhere", "out"], "no source 'nowhere'"),
        (lambda p: (p / "empty").mkdir(), ["empty", "out"], "holds no images"),
        (lambda p: (p / "a.tar").write_bytes(b"no tar at all"), ["a.tar", "out"], "is no tar"),
        (lambda p: (p / "out").mkdir() or (p / "out" / "x").touch(), ["digits", "out"], "not empty"),
        (lambda p: (p / "out").write_text(""), ["digits", "out/deeper"], "part of the path is a file"),
        (lambda p: None, ["digits", "/proc/nowhere/out"], "cannot write shards"),
        (lambda p: None, ["digits", "out", "--size=ten"], "--size: 'ten' is not a whole number"),
        (lambda p: None, ["digits", "out", "--sise=8"], "did you mean --size?"),
        (lambda p: None, ["digits"], "out"),
        (lambda p: None, ["digits", "out", "--shard_samples=0"], "--shard_samples"),
        (lambda p: None, ["digits", "out", "--size=-1"], "--size"),
    ],
)
def test_mistakes_get_one_line(tmp_path, make, arguments, says):
    make(tmp_path)
    assert says in refused(command(SHARDS, *arguments, cwd=tmp_path))


def test_a_cut_off_archive(tmp_path, class_folders):
    for kind in ("tar.gz", "tar"):
        path = make_tar(class_folders, tmp_path / f"cut.{kind}")
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if kind == "tar.gz" else content[:3000])
        line = refused(command(SHARDS, path, "out", cwd=tmp_path))
        assert "cut off" in line or "cannot be read" in line
        assert not (tmp_path / "out").exists()


def test_images_that_differ_in_size_or_colour_are_refused(tmp_path, class_folders):
    odd = class_folders / "cat" / "odd.png"
    for image, says in ((picture(5, (9, 8)), "--size 8"), (picture(5, mode="L"), "--channels 1 or --channels 3")):
        odd.write_bytes(encoded(image, "png"))
        with pytest.raises(UserError, match=says) as error:
            write_shards(str(class_folders), tmp_path / "out", ShardOptions())
        assert "odd.png" in str(error.value)


# Shards that are not what their index says, given to the trainer.


@pytest.fixture
def copy(tmp_path, digits):
    import shutil

    shutil.copytree(digits, tmp_path / "data")
    return tmp_path / "data"


def spoil(folder, how: str) -> None:
    first = folder / "shard-000000.tar"
    if how == "cut":
        first.write_bytes(first.read_bytes()[:-10_000])
    elif how == "gone":
        first.unlink()
    elif how == "no index":
        (folder / "index.json").unlink()
    elif how == "damaged index":
        (folder / "index.json").write_text('{"format": "ragdist-index"')
    elif how == "edited index":
        text = (folder / "index.json").read_text()
        (folder / "index.json").write_text(text.replace('"samples": 700', '"samples": 699', 1))
    elif how == "other format":
        content = json.loads((folder / "index.json").read_text()) | {"version": 7}
        (folder / "index.json").write_text(json.dumps(content))
    elif how == "other table":
        (folder / "shard-000000.npy").write_bytes((folder / "shard-000001.npy").read_bytes())
    elif how == "empty":
        for path in folder.iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("cut", "it was cut off or changed"),
        ("gone", "in the index but not there"),
        ("no index", "no index.json"),
        ("damaged index", "is damaged"),
        ("edited index", "was changed after it was written"),
        ("other format", "version 7"),
        ("empty", "holds no shards"),
    ],
)
def test_an_index_that_does_not_match_is_refused(copy, how, says):
    spoil(copy, how)
    with pytest.raises(UserError, match=says):
        index_file.load(copy)


def test_a_table_of_another_shard_is_refused(copy):
    spoil(copy, "other table")
    index = index_file.load(copy)
    with pytest.raises(UserError, match="was changed"):
        ShardReader(ShardFiles(copy, index)).read(0, 0)


def test_a_flipped_bit_is_found_and_placed(copy):
    index = index_file.load(copy)
    offset = int(index_file.load_table(copy, index.shards[0])[5]["offset"])
    content = bytearray((copy / "shard-000000.tar").read_bytes())
    content[offset + 60] ^= 1
    (copy / "shard-000000.tar").write_bytes(content)
    reader = ShardReader(ShardFiles(copy, index))
    bad = reader.read(0, 5)
    assert isinstance(bad, BadSample)
    assert reader.read_all([(0, 4), (0, 5), (0, 6)]) is None
    samples, labels = reader.read_all([(0, 6), (1, 0), (0, 4)])
    each = [reader.read(*place) for place in ((0, 6), (1, 0), (0, 4))]
    assert torch.equal(samples, torch.stack([sample for sample, _ in each]))
    assert labels == [label for _, label in each]
    assert f"shard-000000.tar: sample 5 (000000005.png) at byte {offset}: its bytes changed" in str(bad)
    sample, label, passed = reader.read_or_next(0, 5)
    assert passed == [bad]
    assert (sample == reader.read(0, 6)[0]).all(), "the next one stands in"
    assert label == reader.read(0, 6)[1]


def test_members_of_a_shard_come_from_nowhere_else(copy):
    """A name in an index cannot lead out of its folder."""
    text = (copy / "index.json").read_text().replace("shard-000000.tar", "../shard-000000.tar")
    content = json.loads(text)
    index = index_file.Index(
        content["codec"], tuple(content["shape"]), tuple(content["classes"]),
        tuple(index_file.Shard(**shard) for shard in content["shards"]),
    )  # fmt: skip
    (copy / "index.json").write_text(index.dumps())
    with pytest.raises(UserError, match="outside its folder"):
        index_file.load(copy)


def test_tars_are_plain(digits):
    with tarfile.open(digits / "shard-000000.tar") as tar:
        member = tar.next()
        assert member.name == "000000000.cls"
        assert member.mtime == 0
