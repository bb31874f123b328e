"""Features, feature sets and the real data: what is computed once, in parts, and in any order gives the same."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ragdist.distributed.world import World
from ragdist.evaluation.feature_set import Collector
from ragdist.evaluation.reference_data import Batch, DataSet
from ragdist.evaluation.reference_features import ReferenceFeatures
from ragdist.generation import sampling
from ragdist.modalities import classifier as classifiers
from ragdist.modalities.image.features import Laplacian, Pixels
from ragdist.tools.errors import UserError
from tests.conftest import encoded, picture
from tests.ranks import on_ranks

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def data(digits, tmp_path_factory):
    return DataSet(str(digits), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def quick(monkeypatch):
    """A classifier that is trained on few images."""
    monkeypatch.setattr(classifiers, "_SEEN", (6_000, 6_000))


def test_samples_are_drawn_once_each_in_an_order_of_the_data_alone(data):
    numbers = data.drawn(0)
    assert sorted(numbers.tolist()) == list(range(1797))
    assert data.drawn(100).tolist() == numbers[:100].tolist()
    images, there = data.samples(numbers[:50])
    assert there.all()
    single = [data.samples(numbers[i : i + 1])[0] for i in range(50)]
    torch.testing.assert_close(torch.cat(single), images)
    labels = torch.cat([batch.labels[batch.places.argsort()] for batch in data.batches(numbers[:50], 64)])
    torch.testing.assert_close(labels, data.labels[numbers[:50]])


@pytest.mark.parametrize("kind", [Pixels, Laplacian])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 50, 70), (1, 96, 96)])
def test_features_without_a_network(kind, shape):
    extractor = kind(shape)
    images = torch.randint(0, 256, (5, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    features, logits = extractor(images)
    assert features.shape == (5, extractor.dim)
    assert features.dtype == torch.float32
    assert logits is None
    assert extractor.dim <= 800
    torch.testing.assert_close(features[2:3], extractor(images[2:3])[0])
    assert kind(shape).sha256 == extractor.sha256
    assert kind((1, 9, 9)).sha256 != extractor.sha256


def test_pixels_of_a_small_image_are_its_pixels():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    features, _ = Pixels((1, 16, 16))(images)
    torch.testing.assert_close(features, images.flatten(1) / 127.5 - 1)


def reals_of(world: World, where: str, cache: Path) -> list[np.ndarray] | None:
    """One rank of computing the reals' features; what rank 0 has of them."""
    data = DataSet(where, cache)
    reals = ReferenceFeatures(data, Pixels(data.index.shape), 500, cache)
    found = reals.feature_set(64, world)
    again = ReferenceFeatures(data, Pixels(data.index.shape), 500, cache)
    assert (again.feature_set(64, world) is None) == (world.rank > 0)
    assert (reals.cached, again.cached) == (False, True)
    parts = found and (found.numbers, found.labels, found.features, *vars(found.moments).values())
    return parts and [part.numpy() for part in parts]


def test_the_reals_are_the_same_in_any_world(digits, tmp_path):
    """Each rank embeds its share, here 8 batches; the second time they come from the cache."""
    (alone,) = on_ranks(1, reals_of, str(digits), tmp_path / "1")
    assert alone[0].tolist() == list(range(500))
    assert alone[3] == 500  # the moments' count
    for size in (2, 3):
        found, *others = on_ranks(size, reals_of, str(digits), tmp_path / str(size))
        assert others == [None] * (size - 1)
        for mine, whole in zip(found, alone, strict=True):
            np.testing.assert_allclose(mine, whole, rtol=1e-9, atol=1e-12)


def broken_reals_of(world: World, where: str, cache: Path, lost: str) -> tuple[str, list[int]]:
    """One rank where a shard is damaged, then where it is lost; the error of the latter, the bad samples of the former."""
    data = DataSet(where, cache)
    found = ReferenceFeatures(data, Pixels(data.index.shape), 0, cache).feature_set(64, world)
    assert world.rank or found.count == len(data) - len(data.bad)
    world.gather("read")
    if world.rank == 0:
        Path(lost).unlink()
    world.gather("gone")
    try:
        ReferenceFeatures(DataSet(where, cache), Pixels(data.index.shape), 0, cache).feature_set(64, world)
    except UserError as error:
        return str(error), sorted(data.bad)
    return "", []


def test_what_one_rank_cannot_read_all_know(digits, tmp_path):
    """Bad samples are counted once, on every rank, and nothing of it is kept; without a shard all end alike."""
    where = shutil.copytree(digits, tmp_path / "digits")
    last = sorted(where.glob("*.tar"))[-1]
    content = bytearray(last.read_bytes())
    for place in [found.start() for found in re.finditer(b"\x89PNG", content)][-2:]:
        content[place : place + 4] = b"junk"
    last.write_bytes(content)
    found = on_ranks(2, broken_reals_of, str(where), tmp_path / "cache", str(last))
    assert found[0] == found[1]
    assert last.name in found[0][0]
    assert len(found[0][1]) == 2


def test_reals_are_computed_once(data, tmp_path):
    extractor = Pixels(data.index.shape)

    def both():
        reals = ReferenceFeatures(data, extractor, 300, tmp_path)
        found = reals.feature_set(64, ALONE)
        return found, reals.spacing(found, 200), reals.cached

    first, first_spacing, cached = both()
    assert not cached
    second, second_spacing, cached = both()
    assert cached
    torch.testing.assert_close(second.features, first.features)
    torch.testing.assert_close(second.moments.outer, first.moments.outer)
    torch.testing.assert_close(second_spacing, first_spacing)
    assert ReferenceFeatures(data, extractor, 301, tmp_path).feature_set(64, ALONE) is not None
    for file in (tmp_path / "evaluation").iterdir():  # what rots is computed again
        file.write_bytes(file.read_bytes()[:100])
    third, _, cached = both()
    assert not cached
    torch.testing.assert_close(third.features, first.features)


@pytest.mark.usefixtures("quick")
def test_a_classifier_is_trained_once_and_kept_with_the_data(digits, tmp_path):
    here = shutil.copytree(digits, tmp_path / "digits")
    data = DataSet(str(here), tmp_path / "fetched")
    begun = []
    first = classifiers.classifier(
        data, tmp_path / "cache", begin=lambda total: begun.append(total) or (lambda n: None)
    )
    second = classifiers.classifier(
        data, tmp_path / "cache", begin=lambda total: begun.append(total) or (lambda n: None)
    )
    assert begun == [6_000]
    assert first.sha256 == second.sha256
    assert first.about["accuracy"] > 0.6
    assert first.about["trained_on"] + first.about["held_out"] == 1797
    assert (here / f"classifier-{data.index.digest}.safetensors").is_file()
    assert not (tmp_path / "cache").exists()
    images, _ = data.samples(data.drawn(300))
    features, logits = first(images)
    assert features.shape == (300, first.dim)
    assert (logits.argmax(1) == data.labels[data.drawn(300)]).double().mean() > 0.6


@pytest.mark.parametrize(("count", "seen"), [
    (18, 5_000), (54, 5_000), (540, 16_200), (1_333, 39_990), (1_334, 40_000), (4_000, 40_000), (5_400, 54_000), (45_000, 200_000),
])  # fmt: skip
def test_a_classifier_of_little_data_is_trained_for_less_long(count, seen):
    assert classifiers._budget(count) == seen


def test_a_classifier_of_sixty_images_tells_the_classes_of_others(digits, tmp_path):
    data = DataSet(str(digits), tmp_path / "fetched")
    few = DataSet(str(digits), tmp_path / "fetched")
    few.drawn = lambda count: data.drawn(60)
    seen = []
    extractor = classifiers.ClassifierFeatures(classifiers.train(few, 0, "cpu", lambda total: seen.append), "cpu")
    others, there = data.samples(data.drawn(0)[60:])
    assert there.all()
    right = extractor(others)[1].argmax(1) == data.labels[data.drawn(0)[60:]]
    assert right.float().mean() > 0.75
    assert 4_900 < sum(seen) <= 5_000


def test_a_classifier_is_a_function_of_data_and_seed_and_may_lie_in_the_cache(digits, tmp_path, monkeypatch):
    data = DataSet(str(digits), tmp_path / "fetched")
    monkeypatch.setattr(classifiers, "_SEEN", (1_000, 1_000))
    monkeypatch.setattr(classifiers, "_SAMPLES", 300)
    contents = [classifiers.train(data, seed, "cpu", lambda total: lambda n: None) for seed in (0, 0, 1)]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    monkeypatch.setattr(classifiers, "train", lambda *_: contents[0])
    write_whole = classifiers.write_whole

    def refuse(path, content):
        if path.parent == digits:
            raise PermissionError(13, "read-only")
        write_whole(path, content)

    monkeypatch.setattr(classifiers, "write_whole", refuse)
    classifiers.classifier(data, tmp_path / "cache")
    assert (tmp_path / "cache" / f"classifier-{data.index.digest}.safetensors").is_file()
    (tmp_path / "cache" / f"classifier-{data.index.digest}.safetensors").write_bytes(b"\x10" + bytes(30))
    assert classifiers.classifier(data, tmp_path / "cache").about["seed"] == 0  # a damaged one is made anew


def test_data_without_labels_have_no_classifier(tmp_path):
    from ragdist.config.shards import ShardOptions
    from ragdist.data.writing.writer import write_shards

    (tmp_path / "flat").mkdir()
    for i in range(12):
        (tmp_path / "flat" / f"{i}.png").write_bytes(encoded(picture(i), "png"))
    write_shards(str(tmp_path / "flat"), tmp_path / "shards", ShardOptions())
    data = DataSet(str(tmp_path / "shards"), tmp_path)
    with pytest.raises(UserError, match="has no labels"):
        classifiers.classifier(data, tmp_path)


def test_labels_are_drawn_as_in_the_data():
    shares = torch.tensor([10, 0, 30, 60]).numpy()
    labels = sampling.labels_like(0, 0, 4000, shares)
    assert (torch.bincount(labels, minlength=4) / 4000).tolist() == pytest.approx([0.1, 0, 0.3, 0.6], abs=0.03)
    parts = torch.cat([sampling.labels_like(0, first, 1000, shares) for first in range(0, 4000, 1000)])
    torch.testing.assert_close(parts, labels)


def test_not_finite_features_are_refused():
    class Broken(Pixels):
        def __call__(self, images):
            return super().__call__(images)[0] * torch.nan, None

    batch = Batch(torch.arange(2), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.full((2,), -1))
    with pytest.raises(UserError, match="not finite"):
        Collector(Broken((1, 8, 8)), keep=9).add(batch)


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """A file of InceptionV3 weights as torch-fidelity takes them, untrained."""
    inceptionv3 = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    original = inceptionv3.load_state_dict_from_url, inceptionv3.FeatureExtractorInceptionV3.load_state_dict
    kind = inceptionv3.FeatureExtractorInceptionV3
    try:
        inceptionv3.load_state_dict_from_url = lambda *_, **__: {}
        kind.load_state_dict = lambda *_, **__: None
        torch.manual_seed(0)
        net = kind("inception-v3-compat", ["2048"])
    finally:
        inceptionv3.load_state_dict_from_url, kind.load_state_dict = original
    torch.save(net.state_dict(), path)
    return path


def test_inception_through_torch_fidelity(random_inception):
    from ragdist.modalities.image.inception import Inception

    extractor = Inception(str(random_inception), "cpu")
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    features, logits = extractor(images)
    assert (features.shape, logits.shape) == ((2, 2048), (2, 1008))
    grey, _ = extractor(images[:, :1])
    torch.testing.assert_close(grey, extractor(images[:, :1].expand(-1, 3, -1, -1).contiguous())[0])
    assert len(extractor.sha256) == 64


def test_weights_that_are_none(tmp_path, monkeypatch):
    pytest.importorskip("torch_fidelity")
    from ragdist.modalities.image.inception import Inception

    with pytest.raises(UserError, match="no such file"):
        Inception(str(tmp_path / "x.pth"), "cpu")
    (tmp_path / "x.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match="no file of PyTorch weights"):
        Inception(str(tmp_path / "x.pth"), "cpu")
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="no InceptionV3 weights"):
        Inception(str(tmp_path / "x.pth"), "cpu")

    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save(Runs(), tmp_path / "x.pth")
    with pytest.raises(UserError, match="no file of PyTorch weights"):
        Inception(str(tmp_path / "x.pth"), "cpu")
    assert not (tmp_path / "ran").exists()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError("no network"))
    )
    with pytest.raises(UserError, match="give the file by --inception_weights FILE"):
        Inception("", "cpu")


def test_the_reals_of_a_folder_of_one_class_are_images(tmp_path):
    """Images that are decoded are those that were written."""
    from ragdist.config.shards import ShardOptions
    from ragdist.data.writing.writer import write_shards

    (tmp_path / "flat").mkdir()
    wanted = {}
    for i in range(6):
        image = picture(i)
        wanted[image.tobytes()] = i
        (tmp_path / "flat" / f"{i}.png").write_bytes(encoded(image, "png"))
    write_shards(str(tmp_path / "flat"), tmp_path / "shards", ShardOptions(shard_samples=4))
    data = DataSet(str(tmp_path / "shards"), tmp_path)
    images, _ = data.samples(data.drawn(0))
    found = {Image.fromarray(image.permute(1, 2, 0).numpy()).tobytes() for image in images}
    assert found == set(wanted)
    assert json.dumps(list(data.index.shape)) == "[3, 8, 8]"
