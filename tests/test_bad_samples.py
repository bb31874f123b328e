"""Samples that cannot be read: counted, named, replaced in a way that is a function of the data, and limited."""

import json
import re
import shutil

import pytest

from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.writing.writer import write_shards
from tests.conftest import TINY, command, encoded, picture, refused


@pytest.fixture
def data(tmp_path):
    """The digits with four samples of the second shard damaged, two of them neighbours."""
    write_shards("digits", tmp_path / "data", ShardOptions(shard_samples=600))
    shard = index_file.load(tmp_path / "data").shards[1]
    content = bytearray((tmp_path / "data" / shard.name).read_bytes())
    for number in (10, 11, 300, 599):
        content[int(index_file.load_table(tmp_path / "data", shard)[number]["offset"]) + 50] ^= 255
    (tmp_path / "data" / shard.name).write_bytes(content)
    return tmp_path / "data"


def train(data, out: str, *more: str, samples: int = 3600):
    return command(
        "ragdist.train", *TINY, f"--data={data}", f"--out={out}", f"--samples={samples}", *more, cwd=data.parent
    )


def summary(data, out: str) -> dict:
    return json.loads((data.parent / out / "summary.json").read_text())


def test_a_run_within_the_budget_names_counts_and_replaces_them(data):
    """Two epochs: each is said once; kills and loader processes change neither the weights nor the count."""
    options = ["--data.max_bad=0.01", "--checkpoint.every=640"]
    result = train(data, "run", *options, "--data.loader_workers=1")
    assert result.returncode == 0, result.stderr
    said = [line for line in result.stdout.splitlines() if "bad sample" in line]
    assert len(said) == 4
    assert all("shard-000001.tar: sample" in line and "at byte" in line for line in said)
    assert "its bytes changed since it was indexed" in said[0]
    assert summary(data, "run")["bad_samples"] == 4
    rows = [json.loads(line) for line in (data.parent / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["bad_samples"] == 4

    assert train(data, "parts", *options, "--data.loader_workers=0", samples=1280).returncode == 0
    again = train(data, "parts", *options, "--data.loader_workers=3")
    assert again.returncode == 0, again.stderr
    assert summary(data, "parts")["weights_sha256"] == summary(data, "run")["weights_sha256"]
    assert summary(data, "parts")["bad_samples"] == 4, "those of before the restart are not forgotten or counted twice"


def test_a_run_above_the_budget_ends_with_a_checkpoint_and_goes_on_with_mended_data(data):
    """0.1% of 1,797 samples is one."""
    whole = data.parent / "whole"
    shutil.copytree(data, whole)
    content = bytearray((whole / "shard-000001.tar").read_bytes())
    shard = index_file.load(whole).shards[1]
    for number in (10, 11, 300, 599):
        content[int(index_file.load_table(whole, shard)[number]["offset"]) + 50] ^= 255
    (whole / "shard-000001.tar").write_bytes(content)

    line = refused(train(data, "run", "--data.loader_workers=1"))
    assert "shard-000001.tar: sample" in line
    # Three where the update that finds the second also meets the third.
    assert re.search(r"with it [23] of 1,797 samples cannot be read, and --data.max_bad 0.001 allows 1\.", line)
    assert "ragdist.shards check" in line
    assert list((data.parent / "run" / "checkpoints").glob("samples-*")), "what was trained until then is kept"
    refused(train(data, "run"))
    mended = train(whole, "run")
    assert mended.returncode == 0, mended.stderr
    assert train(whole, "other").returncode == 0


def test_a_shard_without_a_single_good_sample_ends_the_run(data):
    shard = index_file.load(data).shards[2]
    (data / shard.name).write_bytes(bytes(shard.bytes))
    line = refused(train(data, "run", "--data.max_bad=1", "--data.loader_workers=1"))
    assert "no sample of" in line
    assert "shard-000002.tar can be used" in line


@pytest.mark.parametrize(("kind", "more"), [
    ("webp", {"lossless": True}), ("jpeg", {"progressive": True}), ("jpeg", {}), ("png", {}),
])  # fmt: skip
def test_a_small_payload_of_huge_dimensions_is_refused_before_it_is_unpacked(kind, more):
    """In a few kilobytes fit hundreds of megabytes; a baseline JPEG and a PNG are large enough to be looked at."""
    import io

    import torch
    from PIL import Image

    from ragdist.modalities.base import Form
    from ragdist.modalities.image.training import decode, decode_all

    out = io.BytesIO()
    Image.new("RGB", (12_000, 12_000)).save(out, kind, **more)
    with pytest.raises(
        ValueError, match=r"^it is 12000x12000 pixels|exceeds limit"
    ):  # by its header; unpacked, "its shape" would be said
        decode(torch.frombuffer(bytearray(out.getvalue()), dtype=torch.uint8), Form((3, 8, 8)))
    good = encoded(picture(0), "jpeg")
    with pytest.raises(ValueError, match=r"^it is 12000x12000 pixels|exceeds limit"):
        decode_all([memoryview(good), memoryview(out.getvalue())], Form((3, 8, 8)))


@pytest.mark.parametrize("bad", ["nothing", "no image", "cut", "another size", "16 bits"])
@pytest.mark.parametrize("others", [0, 2])
def test_one_bad_payload_among_others_is_an_error_of_them_all(bad, others):
    import numpy as np
    from PIL import Image

    from ragdist.modalities.base import Form
    from ragdist.modalities.image.training import decode_all

    good = encoded(picture(0), "jpeg")
    payload = {
        "nothing": b"",
        "no image": b"\xff\xd8 and no more of a JPEG",
        "cut": encoded(picture(0), "png")[:60],
        "another size": encoded(picture(0, (9, 8)), "jpeg"),
        "16 bits": encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)), "png"),
    }[bad]
    channels = 1 if bad == "16 bits" else 3
    payloads = [memoryview(good)] * others + [memoryview(payload)]
    for turned in (payloads, payloads[::-1]):
        with pytest.raises(ValueError, match=r"\w"):
            decode_all(turned, Form((channels, 8, 8)))


@pytest.mark.parametrize(
    ("kind", "more"), [("webp", {"lossless": True}), ("jpeg", {"progressive": True}), ("jpeg", {})]
)
def test_all_kinds_of_the_right_size_are_decoded(kind, more):
    import io

    import torch
    from PIL import Image

    from ragdist.modalities.base import Form
    from ragdist.modalities.image.training import decode, decode_all

    out = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 10, 90)).save(out, kind, **more)
    sample = decode(torch.frombuffer(bytearray(out.getvalue()), dtype=torch.uint8), Form((3, 8, 8)))
    both = decode_all([memoryview(out.getvalue())] * 2, Form((3, 8, 8)))
    assert torch.equal(both, torch.stack([sample, sample]))
    assert (sample.int() - torch.tensor([200, 10, 90]).view(3, 1, 1)).abs().max() < 6
