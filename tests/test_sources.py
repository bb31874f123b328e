"""Every kind of source gives the images, labels and names that are in it, and says in one line what it cannot read."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ragdist.config.shards import ShardOptions
from ragdist.data import labels
from ragdist.data.sources import grouping, open_source
from ragdist.data.writing.writer import write_shards
from ragdist.modalities.image import making
from ragdist.tools.errors import UserError
from tests.conftest import command, encoded, make_tar, picture, refused
from tests.test_shards import members

SHARDS = "ragdist.shards"


def samples(source, out, **options):
    """(sorted payloads with their class names, index) of a source that has been written."""
    summary = write_shards(str(source), out, ShardOptions(**options))
    classes = summary.index.classes
    found = [(payload, classes[label] if classes else None) for _, payload, label in members(out)]
    return sorted(found, key=lambda row: (row[0], row[1] or "")), summary


def pixels(found):
    return sorted((np.asarray(Image.open(io.BytesIO(payload))).tobytes(), label) for payload, label in found)


def expected(class_folders):
    return sorted((file.read_bytes(), file.parent.name) for file in class_folders.rglob("*.*"))


def refusal(source, tmp_path, **options) -> str:
    with pytest.raises(UserError) as error:
        write_shards(str(source), tmp_path / "refused", ShardOptions(**options))
    assert not list(tmp_path.glob("*refused*"))
    assert "\n" not in str(error.value)
    return str(error.value)


def make_zip(source, path, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(source.rglob("*")):
            archive.write(file, f"some/where/{file.relative_to(source)}")
    return path


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz", "zip", "stored zip"])
def test_archives(tmp_path, class_folders, kind):
    if "zip" in kind:
        method = zipfile.ZIP_STORED if "stored" in kind else zipfile.ZIP_DEFLATED
        source = make_zip(class_folders, tmp_path / "a.zip", method)
    else:
        import tarfile

        source = tmp_path / f"a.{kind}"
        with tarfile.open(source, "w" if kind == "tar" else f"w:{kind}") as tar:
            tar.add(class_folders, ".")
    assert samples(source, tmp_path / "out")[0] == expected(class_folders)


def test_nothing_leaves_an_archive_by_its_name(tmp_path, class_folders):
    source = make_zip(class_folders, tmp_path / "a.zip")
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("../../cat/evil.png", encoded(picture(9), "png"))
    summary = samples(source, tmp_path / "deep" / "er" / "out")[1]
    assert summary.index.samples == 7
    assert not list(tmp_path.rglob("evil*"))


def test_a_zip_member_that_is_more_than_it_says_or_damaged_is_a_bad_image(tmp_path, class_folders):
    source = make_zip(class_folders, tmp_path / "a.zip")
    content = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        info = next(m for m in archive.infolist() if m.filename.endswith("cat/0.png"))
    place = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02"))
    while struct.unpack_from("<I", content, place + 42)[0] != info.header_offset:
        place = content.index(b"PK\x01\x02", place + 1)
    content[place + 24 : place + 28] = struct.pack("<I", 10)  # the size in the directory
    source.write_bytes(content)
    summary = samples(source, tmp_path / "out", bad="skip")[1]
    assert summary.index.samples == 5
    assert "cat/0.png: its bytes are damaged" in summary.skipped[0]


def test_hidden_files_of_a_mac_are_no_images(tmp_path, class_folders):
    (class_folders / "cat" / "._0.png").write_bytes(b"a resource fork")
    (class_folders / "__MACOSX" / "cat").mkdir(parents=True)
    (class_folders / "__MACOSX" / "cat" / "0.png").write_bytes(b"another")
    summary = samples(class_folders, tmp_path / "out")[1]
    assert summary.index.classes == ("cat", "dog")
    assert summary.ignored == ["__MACOSX/cat/0.png", "cat/._0.png"]


def test_links_are_followed_and_circles_are_not(tmp_path, class_folders):
    root = tmp_path / "links"
    root.mkdir()
    for name in ("cat", "dog"):
        (root / name).symlink_to(class_folders / name)
    (class_folders / "cat" / "up").symlink_to(root)
    (root / "dog" / "self").symlink_to("self")
    found, summary = samples(root, tmp_path / "out")
    assert found == expected(class_folders)
    assert [line for line in summary.remarks if line.startswith("links that lead nowhere: 1")]


@pytest.mark.parametrize("link", ["a", "z"])
def test_a_folder_that_is_linked_beside_itself_keeps_its_own_name(tmp_path, class_folders, link):
    (class_folders / link).symlink_to(class_folders / "cat")
    (class_folders / "cow").mkdir()
    summary = samples(class_folders, tmp_path / "out")[1]
    assert summary.index.classes == ("cat", "dog")
    assert f"links to folders that are there already, not followed: 1, such as {link}" in summary.remarks
    assert "empty folders: 1, such as cow" in summary.remarks


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_a_split_is_a_sub_folder(tmp_path, class_folders, kind):
    root = tmp_path / "splits"
    for split, color in (("train", 0), ("test", 100)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            (root / split / name / "a.png").write_bytes(encoded(picture(color + len(name + split)), "png"))
    source = root if kind == "folder" else make_tar(root, tmp_path / "a.tar")
    found, summary = samples(source, tmp_path / "out", split="train")
    assert found == expected(root / "train")
    assert summary.index.classes == ("cat", "dog")
    assert "did you mean 'train'" in refusal(source, tmp_path, split="trian")
    assert samples(root / "train", tmp_path / "all")[0] == found


ROWS = [("cat/0.png", "cat"), ("cat/1.jpg", "cat"), ("dog/2.png", "dog")]


@pytest.mark.parametrize("keys", [("path", "label"), ("file", "class"), ("image", "label")])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_listings(tmp_path, class_folders, kind, keys):
    listing = class_folders / f"list.{kind}"
    if kind == "csv":
        listing.write_text("\n".join([",".join(["more", *keys]), *(f"x,{path},{label}" for path, label in ROWS)]))
    else:
        listing.write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True)) | {"more": 1}) for row in ROWS))
    found, summary = samples(listing, tmp_path / "out")
    assert found == sorted(((class_folders / path).read_bytes(), label) for path, label in ROWS)
    assert summary.index.classes == ("cat", "dog")


def test_listings_with_numbers_or_without_labels(tmp_path, class_folders):
    listing = class_folders / "list.csv"
    listing.write_text(
        "path,label\n" + "".join(f"{path},{number}\n" for (path, _), number in zip(ROWS, (0, 3, 0), strict=True))
    )
    summary = samples(listing, tmp_path / "numbers")[1]
    assert summary.index.classes == ("0", "1", "2", "3")
    assert {label for _, _, label in members(tmp_path / "numbers")} == {0, 3}
    listing.write_text("path\n" + "".join(f"{path}\n" for path, _ in ROWS))
    assert samples(listing, tmp_path / "none")[1].index.classes == ()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "pth,label\nx.png,1\n", "did you mean 'path'"),
        ("a.csv", "", "no column 'path'"),
        ("a.csv", "path\n", "lists no images"),
        ("a.csv", "path,label\ncat/0.png,1\ncat/1.jpg,\n", "line 3: no label"),
        ("a.csv", "path,label\ncat/0.png,1\ncat/1.jpg,cat\n", "neither a whole number"),
        ("a.csv", "path\nnowhere.png\n", "nowhere.png cannot be read"),
        ("a.jsonl", '{"path": "cat/0.png"}\n{', "line 2: no JSON"),
        ("a.jsonl", "[1]", "line 1: give an object"),
        ("a.jsonl", '{"label": 1}', "line 1: it names no image"),
        ("a.jsonl", '{"path": "cat/0.png", "label": -1}', "label -1"),
        (
            "a.jsonl",
            '{"path": "cat/0.png", "label": 1}\n{"path": "cat/1.jpg", "label": "fox"}',
            "neither a whole number",
        ),
    ],
)
def test_listings_that_are_wrong(tmp_path, class_folders, name, text, says):
    (class_folders / name).write_text(text)
    assert says in refusal(class_folders / name, tmp_path)


COLOUR = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "images",
    [COLOUR, COLOUR.transpose(0, 3, 1, 2), COLOUR[..., 0], COLOUR[..., :1], COLOUR[..., :1].transpose(0, 3, 1, 2)],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "packed npz"])
def test_arrays(tmp_path, images, kind):
    source = tmp_path / f"a.{kind[-3:]}"
    given_labels = np.array([2, 0, 1, 2, 0, 1, 1])
    if kind == "npy":
        np.save(source, images)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(source, images=images, labels=given_labels, other=[1])
    found, summary = samples(source, tmp_path / "out")
    grey = images.ndim == 3 or 1 in images.shape
    assert summary.index.shape == (1 if grey else 3, 5, 6)
    names = map(str, given_labels) if kind != "npy" else [None] * 7
    plain = COLOUR[..., 0] if grey else COLOUR
    assert pixels(found) == sorted((image.tobytes(), name) for image, name in zip(plain, names, strict=True))


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ({"images": COLOUR / 255.0}, "float64 and not uint8: save (255 * x).round()"),
        ({"images": COLOUR.astype(int)}, "int64 and not uint8"),
        ({"images": COLOUR[..., :2]}, "has the shape [7, 5, 6, 2]"),
        ({"image": COLOUR}, "did you mean 'image'"),
        ({"images": np.array([{}, {}], dtype=object)}, "without pickled objects"),
        ({"images": COLOUR, "labels": np.zeros(6, int)}, "for each of the 7 images"),
        ({"images": COLOUR, "labels": np.zeros(7)}, "labels are float64"),
        ({"images": COLOUR, "labels": np.full(7, -1)}, "label -1"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, contents, says):
    np.savez(tmp_path / "a.npz", **contents)
    assert says in refusal(tmp_path / "a.npz", tmp_path)


def test_labels_of_arrays_by_other_names(tmp_path):
    np.savez(tmp_path / "a.npz", images=COLOUR, y=np.arange(7) % 2, mean=[1.0])
    summary = samples(tmp_path / "a.npz", tmp_path / "out")[1]
    assert summary.index.classes == ("0", "1")
    assert summary.remarks == [f"{tmp_path / 'a.npz'}: labels are y; not used: 'mean'"]


def test_cut_off_arrays(tmp_path):
    np.save(tmp_path / "a.npy", COLOUR)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:300])
    assert "a.npy cannot be read" in refusal(tmp_path / "a.npy", tmp_path)


def idx(array: np.ndarray) -> bytes:
    """The format of MNIST's files."""
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


def test_torchvision_mnist(tmp_path):
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(1).integers(0, 256, (9, 28, 28), dtype=np.uint8)
    for part, count in (("train", 9), ("t10k", 4)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images[:count]))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    found, summary = samples("torchvision:mnist", tmp_path / "out", root=str(tmp_path / "root"), split="test")
    classes = summary.index.classes
    assert classes[:2] == ("0 - zero", "1 - one")
    assert pixels(found) == sorted((images[i].tobytes(), classes[i]) for i in range(4))
    assert samples("torchvision:MNIST", tmp_path / "train", root=str(tmp_path / "root"))[1].index.samples == 9
    assert "'train' and 'test'" in refusal("torchvision:MNIST", tmp_path, root=str(tmp_path / "root"), split="val")


def test_torchvision_files_keep_their_bytes(tmp_path, class_folders):
    place = tmp_path / "root" / "caltech256" / "256_ObjectCategories"
    place.mkdir(parents=True)
    for label, name in enumerate(("cat", "dog")):
        (class_folders / name).rename(place / f"{label + 1:03d}.{name}")
        for i, file in enumerate(sorted((place / f"{label + 1:03d}.{name}").iterdir())):
            data = encoded(picture(label * 10 + i), "jpeg")
            file.unlink()
            (file.parent / f"{label + 1:03d}_{i + 1:04d}.jpg").write_bytes(data)
    found, summary = samples("torchvision:Caltech256", tmp_path / "out", root=str(tmp_path / "root"))
    assert found == sorted((file.read_bytes(), file.parent.name) for file in place.rglob("*.jpg"))
    assert summary.index.classes == ("001.cat", "002.dog")


def test_torchvision_mistakes(tmp_path, monkeypatch):
    assert "did you mean 'CIFAR10'" in refusal("torchvision:CIFAR1O", tmp_path)
    for name in ("HTTPS_PROXY", "https_proxy"):  # no way out, as behind a firewall
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    line = refusal("torchvision:CIFAR10", tmp_path, root=str(tmp_path / "root"))
    assert "can be neither opened in" in line
    assert "did you mean 'torchvision'" in refusal("torchvison:MNIST", tmp_path)


@pytest.fixture
def hugging(tmp_path, class_folders):
    datasets = pytest.importorskip("datasets")
    files = sorted(class_folders.rglob("*.*"))
    features = datasets.Features(
        {
            "name": datasets.Value("string"),
            "img": datasets.Image(),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "boxes": datasets.Sequence(datasets.Value("int64")),
        }
    )
    content = {
        "name": [file.name for file in files],
        "img": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "kind": [file.parent.name for file in files],
        "boxes": [[1, 2]] * len(files),
    }
    rows = datasets.Dataset.from_dict(content, features)
    datasets.DatasetDict({"train": rows, "few": rows.select(range(2))}).save_to_disk(tmp_path / "hub")
    return tmp_path / "hub"


def test_hugging_face(tmp_path, class_folders, hugging):
    found, summary = samples(f"hf:{hugging}", tmp_path / "out")
    assert found == expected(class_folders)
    assert summary.index.classes == ("cat", "dog")
    assert samples(f"hf:{hugging}", tmp_path / "few", split="few")[1].index.samples == 2
    by_name = samples(f"hf:{hugging}", tmp_path / "names", label_column="name")[1]
    assert by_name.index.classes == ("0.png", "1.jpg", "2.png")
    assert "did you mean 'train'" in refusal(f"hf:{hugging}", tmp_path, split="trian")
    assert "did you mean 'img'" in refusal(f"hf:{hugging}", tmp_path, image_column="imgs")
    assert "has no images there" in refusal(f"hf:{hugging}", tmp_path, image_column="kind")
    assert "label [1, 2], neither a whole number nor a name" in refusal(f"hf:{hugging}", tmp_path, label_column="boxes")
    line = refused(command(SHARDS, "hf:no/such-set-anywhere", "none", cwd=tmp_path, HF_HUB_OFFLINE="1"))
    assert "hf:no/such-set-anywhere cannot be loaded" in line, line


def test_hugging_face_in_other_processes(tmp_path, hugging):
    import pickle

    source = open_source(f"hf:{hugging}", ShardOptions(), tmp_path)
    packed = pickle.dumps(source.read)
    assert len(packed) < 20_000, "names of files, not the images"
    read = pickle.loads(packed)
    assert [read(place) for place in source.places] == [source.read(place) for place in source.places]


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'ragdist[hf]'" in refusal("hf:mnist", tmp_path)


def test_split_of_a_source_without_splits(tmp_path):
    assert "--split train: digits has no splits" in refusal("digits", tmp_path, split="train")


NAMES = st.text("abc", min_size=1, max_size=2)


@given(st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=2, max_size=8))
def test_class_names_tell_folders_apart(folders):
    folders = sorted(folders)
    names = grouping.class_names(folders)
    assert len(set(names)) == len(folders)
    for name, path in zip(names, folders, strict=True):
        assert name == "." or path == name or path.endswith(f"/{name}")
    assert len({name.partition("/")[0] for name in names}) > 1, "no part is common to all"


@given(st.lists(st.one_of(st.integers(0, 50), st.integers(0, 50).map(str)), min_size=1))
def test_numbers_stay_what_they_are(values):
    found, classes = labels.numbered("x", values)
    assert found == [int(value) for value in values]
    assert [classes[i] for i in found] == [str(value) for value in values]


@given(st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=150), min_size=1))
def test_names_become_numbers_and_back(values):
    values = [f"n{value}".strip() for value in values]
    found, classes = labels.numbered("x", values)
    assert [classes[i] for i in found] == values
    assert classes == sorted(set(values))


@given(st.sampled_from([1, 3]), st.integers(4, 9), st.integers(4, 9))
def test_layouts_agree(channels, height, width):
    image = np.random.default_rng(0).integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    moved = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    a = making.as_picture(image[0])
    b = making.as_picture(moved[0])
    np.testing.assert_array_equal(a, b)
    assert a.shape == ((height, width, 3) if channels == 3 else (height, width))
