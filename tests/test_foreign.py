"""Shards that others wrote are indexed where they are; what readers lose silently is found and named."""

import functools
import http.server
import io
import json
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragdist.config.shards import IndexOptions
from ragdist.data import index as index_file
from ragdist.data.indexing.index_shards import NOTES, index_shards
from ragdist.data.indexing.tar_samples import key_and_extension
from ragdist.data.reader import ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.modalities.image.options import ImageIndexOptions
from ragdist.storage.store import Store
from ragdist.tools.errors import UserError
from tests.conftest import TINY, command, encoded, picture, refused

SHARDS = "ragdist.shards"
NAMES = ("cat", "dog", "emu")


@functools.cache  # some tests write thousands, of a few hundred kinds
def png(seed: int, **how) -> bytes:
    return encoded(picture(seed, **how), "png")


def write(path, entries) -> None:
    """A tar of (name, content), as given."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def sample(key: str, seed: int = 0, label="0", **how) -> list[tuple[str, bytes]]:
    return [(f"{key}.png", png(seed, **how)), *([(f"{key}.cls", str(label).encode())] if label is not None else [])]


@pytest.fixture
def named(tmp_path):
    """Two shards of 24 by webdataset's own writer, with the class's name in .json."""
    from webdataset import ShardWriter

    (tmp_path / "tars").mkdir()
    with ShardWriter(str(tmp_path / "tars" / "d-%06d.tar"), maxcount=24, verbose=0) as writer:
        for i in range(48):
            about = {"meta": {"class": NAMES[i % 3]}, "size": 8}
            writer.write({"__key__": f"{i:05d}", "png": picture(i), "json": about, "txt": "a picture"})
    return tmp_path / "tars"


def index(*patterns, overwrite: bool = False, channels: int = 0, **options):
    own = ImageIndexOptions(channels)
    return index_shards([str(p) for p in patterns], IndexOptions(processes=1, **options), own, overwrite=overwrite)


def refusal(*patterns, **options) -> str:
    with pytest.raises(UserError) as error:
        index(*patterns, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def labels(where) -> list[int]:
    found = index_file.load(where)
    return [int(n) for shard in found.shards for n in index_file.load_table(where, shard)["label"]]


def test_training_on_shards_of_webdatasets_own_writer(named, tmp_path):
    before = {path.name: path.read_bytes() for path in named.iterdir()}
    result = command(
        SHARDS, "index", "tars/d-{000000..000001}.tar", "--label=meta.class", "--processes=2", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "48 samples [3, 8, 8] in 2 shards, 3 classes" in result.stdout
    assert "ignored members: 48 .txt" in result.stdout
    assert {name: (named / name).read_bytes() for name in before} == before, "nothing is rewritten"
    assert not (named / NOTES).exists()
    found = index_file.load(named)
    assert found.classes == NAMES
    assert [shard.name for shard in found.shards] == ["d-000000.tar", "d-000001.tar"]
    reader = ShardReader(ShardFiles(named, found))
    for i in (0, 23, 24, 47):
        image, label = reader.read(*divmod(i, 24))
        np.testing.assert_array_equal(image.permute(1, 2, 0), np.asarray(picture(i)))
        assert label == i % 3
    trained = command(
        "ragdist.train", "--data", "tars", "--out=run", "--samples=128", "--network.labels=true", "--data.window=16", *TINY,
        cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr


def test_labels_from_cls_numbers_and_names(tmp_path):
    write(tmp_path / "a.tar", [*sample("0", 0, 3), *sample("1", 1, 0)])
    assert index(tmp_path / "a.tar").index.classes == ("0", "1", "2", "3")
    assert labels(tmp_path) == [3, 0]
    write(tmp_path / "a.tar", [*sample("0", 0, "wolf"), *sample("1", 1, "bear")])
    assert index(tmp_path / "a.tar", overwrite=True).index.classes == ("bear", "wolf")
    assert labels(tmp_path) == [1, 0]
    write(tmp_path / "b.tar", sample("2", 2, 7))
    assert "some labels are numbers and some are names: 7 in " in refusal(tmp_path, overwrite=True)


def test_no_labels(tmp_path):
    write(tmp_path / "a.tar", [*sample("0", 0, None), *sample("1", 1, None)])
    assert index(tmp_path).index.classes == ()
    assert labels(tmp_path) == [-1, -1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it has no label (a .cls), and others have"),
        (b"1.0", "is 1.0, no whole number"),
        (b"-1", "is -1: classes are numbered from 0"),
        (b"99999999", "classes are numbered"),
        (b"\xff\xfe", "no text"),
    ],
)
def test_a_label_that_is_none_is_refused(tmp_path, content, says):
    write(tmp_path / "a.tar", [*sample("0"), ("1.png", png(1)), ("1.cls", content)])
    line = refusal(tmp_path)
    assert "a.tar: sample 1 at byte" in line
    assert says in line


@pytest.mark.parametrize(
    ("about", "says"), [(b"{", "cannot be read"), (b'{"a": [1]}', "neither"), (b"[" * 100_000, "cannot be read")]
)
def test_a_json_without_a_usable_label_is_refused(tmp_path, about, says):
    write(tmp_path / "a.tar", [("0.png", png(0)), ("0.json", b'{"a": 1}'), ("1.png", png(1)), ("1.json", about)])
    assert says in refusal(tmp_path, label="a")


def test_a_label_no_sample_has(named):
    assert "--label meta.clas: no sample has it" in refusal(named, label="meta.clas")


# What readers lose silently.


def test_a_corrupt_header_in_mid_shard_is_refused_even_with_skip(named):
    path = named / "d-000001.tar"
    with tarfile.open(path) as tar:
        at = tar.getmembers()[30].offset
    data = bytearray(path.read_bytes())
    data[at + 3] ^= 1
    path.write_bytes(data)
    for bad in ("fail", "skip"):
        line = refusal(named, bad=bad)
        assert f"d-000001.tar: at byte {at:,}, after 000" in line
        assert "the header is damaged" in line
    assert not (named / "index.json").exists()


def test_an_unfinished_shard_is_refused(named):
    path = named / "d-000000.tar"
    path.write_bytes(path.read_bytes()[:20_480])
    assert "d-000000.tar: at byte" in refusal(named, bad="skip")


LOST = {
    "a sample without an image": ([("1.txt", b"x")], "sample 1 at byte", "it has no image, only .txt"),
    "a key twice": ([*sample("0", 5)], "sample 0 at byte 0", "its key comes twice"),
    "interleaved keys": (
        [("1.png", png(1)), ("2.png", png(2)), ("1.cls", b"1"), ("2.cls", b"0")],
        "sample 1 at byte", "not next to each other",
    ),
    "a missing label": (sample("1", 1, None), "sample 1 at byte", "it has no label"),
    "keys with dots": ([("v1.5.png", png(1))], "sample v1 at byte", "the key ends at the first dot"),
    "a broken image": ([("1.png", png(1)[:60]), ("1.cls", b"0")], "sample 1 at byte", "cannot be decoded"),
    "an empty image": ([("1.png", b""), ("1.cls", b"0")], "sample 1 at byte", "it is empty"),
    "another size": (sample("1", 1, size=(9, 8)), "sample 1 at byte", "it is 9x8 pixels, and the first sample, 0 of"),
}  # fmt: skip


@pytest.mark.parametrize("what", LOST)
def test_a_sample_that_readers_would_lose_is_refused_or_left_out(tmp_path, what):
    entries, where, why = LOST[what]
    write(tmp_path / "a.tar", [*sample("0", 0), *entries, *sample("9", 9)])
    line = refusal(tmp_path)
    assert "a.tar: " + where in line
    assert why in line
    assert "--bad skip" in line
    summary = index(tmp_path, bad="skip")
    gone = {"interleaved keys": 2}.get(what, 1)
    assert summary.bad_count == gone
    assert why in summary.bad[0]
    assert summary.index.samples == {"a key twice": 1}.get(what, 2)


def test_a_key_that_comes_again_in_another_shard(tmp_path):
    write(tmp_path / "a.tar", [*sample("0", 0), *sample("1", 1)])
    write(tmp_path / "b.tar", [*sample("1", 1), *sample("2", 2)])
    line = refusal(tmp_path)
    assert "b.tar: sample 1 at byte" in line
    assert "--keys any" in line
    assert index(tmp_path, bad="skip").index.samples == 3
    assert index(tmp_path, keys="any", overwrite=True).index.samples == 4


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    out = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(out, "png")  # 900 million pixels in about 100 kB
    write(tmp_path / "a.tar", [*sample("0"), ("1.png", out.getvalue()), ("1.cls", b"0")])
    assert "could be decompression bomb" in refusal(tmp_path)
    write(tmp_path / "a.tar", [("1.png", out.getvalue()), ("1.cls", b"0")])
    assert "no sample can be read" in refusal(tmp_path)


def test_several_images_in_a_sample(tmp_path):
    both = [
        (f"{i}.{kind}", encoded(picture(i), {"jpg": "jpeg"}.get(kind, kind)))
        for i in range(3)
        for kind in ("png", "jpg")
    ]
    write(tmp_path / "a.tar", both)
    summary = index(tmp_path)
    assert summary.plan.payload == "jpg"
    assert summary.ignored == {".png": 3}
    summary = index(tmp_path, payload="png", overwrite=True)
    assert ShardReader(ShardFiles(tmp_path, summary.index)).read(0, 1)[0].flatten().tolist() == (
        np.asarray(picture(1)).transpose(2, 0, 1).flatten().tolist()
    )
    write(tmp_path / "a.tar", [*both, ("3.png", png(3))])
    assert index(tmp_path, overwrite=True).plan.payload == "png", "the one that all have"
    assert "3 at byte" in refusal(tmp_path, overwrite=True, payload="jpg")
    write(tmp_path / "a.tar", [*both, ("3.webp", encoded(picture(3), "webp"))])
    assert "say which to read with --payload" in refusal(tmp_path, overwrite=True)


def test_an_image_with_dots_in_its_name_beside_another_gets_a_warning(tmp_path):
    write(tmp_path / "a.tar", [("v1.png", png(1)), ("v1.5.png", png(2))])
    assert index(tmp_path).dotted == "v1.5.png"


def test_colour_among_grey_is_not_lost_silently(tmp_path):
    write(tmp_path / "a.tar", [*sample("0", mode="L"), *sample("1")])
    assert "it is in colour" in refusal(tmp_path)
    assert index(tmp_path, channels=3).index.shape == (3, 8, 8)
    assert index(tmp_path, channels=1, overwrite=True).index.shape == (1, 8, 8)


def test_sixteen_bit_images_are_refused(tmp_path):
    out = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(out, "png")
    write(tmp_path / "a.tar", [*sample("0", mode="L"), ("1.png", out.getvalue()), ("1.cls", b"0")])
    assert "16 bits" in refusal(tmp_path)


def test_long_names_links_and_readers_own_members(tmp_path):
    long = "folder.with.dots/" + "x" * 150
    write(tmp_path / "a.tar", [("__meta__/a.json", b"{}"), (".hidden", b""), *sample(long)])
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo("link.png")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    summary = index(tmp_path)
    assert summary.index.samples == 1
    assert summary.ignored == {"without a key": 2, "symbolic links": 1, "devices and pipes": 1}


@given(st.text("ab./ _J", min_size=1, max_size=12).filter(lambda n: not any(p.startswith(".") for p in n.split("/"))))
def test_keys_are_webdatasets(name):
    from webdataset.tariterators import base_plus_ext

    key, extension = base_plus_ext(name)
    assert key_and_extension(name) == (None if key is None else (key, extension.lower()))


# Places.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.tar"], "there is no nowhere.tar"),
        (["none-*.tar"], "there is no none-*.tar"),
        (["empty"], "holds no .tar files"),
        (["tars/d-{000000..000001.tar"], "its braces do not match"),
        (["tars", "tars/d-000000.tar"], "is named twice"),
        (["a-{0..99999999}.tar"], "more than 100,000 shards"),
        (["pipe:cat x.tar"], "a path, or a URL that starts with"),
        (["http://127.0.0.1:9/*.tar"], "one by one or by braces"),
        (["x.tar.gz"], "it is compressed"),
        (["tars", "x.tar.gz"], "--out"),
        (["tars", "--out=s3://bucket/x"], "must be a local folder"),
        (["tars", "--out=/proc/x"], "cannot write an index"),
        (["tars", "--processes=-1"], "--processes"),
        (["tars", "--lable=x"], "did you mean --label?"),
        ([], "urls"),
    ],
)
def test_mistakes_get_one_line(tmp_path, named, arguments, says):
    (tmp_path / "empty").mkdir()
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(__file__)
    assert says in refused(command(SHARDS, "index", *arguments, cwd=tmp_path))
    assert not (named / "index.json").exists()


def test_nothing_is_run(tmp_path):
    with pytest.raises(UserError):
        Store("pipe:touch " + str(tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()


def test_an_index_elsewhere_names_shards_by_path(named, tmp_path):
    summary = index(named / "*.tar", out=str(tmp_path / "new" / "index"), label="meta.class")
    assert [shard.name for shard in summary.index.shards] == [str(named / f"d-{i:06d}.tar") for i in range(2)]
    assert index_file.load(tmp_path / "new" / "index").samples == 48
    assert sorted(path.name for path in named.iterdir()) == ["d-000000.tar", "d-000001.tar"]


def test_an_index_that_is_there_is_replaced_only_on_request_and_leaves_no_tables(named):
    first = index(named, label="meta.class").index
    assert "--overwrite" in refusal(named)
    second = index(named, overwrite=True).index
    assert second.classes == ()
    assert first.digest != second.digest
    assert {path.name for path in named.glob("*.npy")} == {shard.table for shard in second.shards}


@pytest.fixture
def server(named):
    """The folder over HTTP, and the GET requests for tars."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=named)) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_port}", asked
        http_server.shutdown()


def test_shards_at_a_url_are_fetched_once(named, server, tmp_path):
    url, asked = server
    local = index(named, label="meta.class").index
    result = command(
        SHARDS,
        "index",
        url + "/d-{000000..000001}.tar",
        "--label=meta.class",
        "--out=here",
        "--processes=2",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert sorted(asked) == ["/d-000000.tar", "/d-000001.tar"]
    remote = index_file.load(tmp_path / "here")
    assert [shard.name for shard in remote.shards] == [f"{url}/d-000000.tar", f"{url}/d-000001.tar"]
    assert remote.digest == local.digest, "the data are the same wherever they lie"
    assert sorted(path.suffix for path in (tmp_path / "here").iterdir()) == [".json", ".npy", ".npy"]
    assert "there is no" in refusal(url + "/d-000002.tar", out=str(tmp_path / "there"))
    checked = command(SHARDS, "check", "here", "--processes=1", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    shown = command(SHARDS, "stats", "here", "--out=page.png", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr


def test_help_needs_no_torch(tmp_path):
    code = "import sys, ragdist.shards as s\ntry: s.main([sys.argv[1], '--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    for name in ("index", "check", "stats"):
        result = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True)
        assert result.stdout.splitlines()[-1] == "False", result.stderr


def test_the_index_is_json_and_npy_without_pickle(named):
    found = index(named, label="meta.class").index
    assert json.loads((named / "index.json").read_text())["digest"] == found.digest
    for shard in found.shards:
        assert np.load(named / shard.table, allow_pickle=False).dtype == index_file.TABLE
