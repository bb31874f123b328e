"""``python -m ragdist.outliers``: scores, latents, protocols, the files; shards of a part of a source; mistakes."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from ragdist.config.outliers import OutlierOptions
from ragdist.config.shards import ShardOptions
from ragdist.data.writing.writer import write_shards
from ragdist.evaluation.outliers.find import find
from ragdist.evaluation.outliers.inversion import invert
from ragdist.evaluation.outliers.protocol import LEAVE_ONE_OUT, ONE_CLASS, OTHER, protocol
from ragdist.evaluation.reference_data import DataSet
from ragdist.metrics.ranking import auroc, average_precision, roc
from ragdist.modalities import training
from ragdist.runs.mirror import RemoteFolder
from ragdist.tools.errors import UserError
from tests.conftest import TINY, command, encoded, picture, refused

OUTLIERS = "ragdist.outliers"
CPU = torch.device("cpu")
FEW = {"samples": 200, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run on the threes of four fifths of the digits, a conditional one without threes, and the rest."""
    cwd = tmp_path_factory.mktemp("outliers")
    for name, options in (("threes", {"classes": "3"}), ("nine", {"without": "3"})):
        write_shards("digits", cwd / name, ShardOptions(take="0:0.8", **options))
    write_shards("digits", cwd / "test", ShardOptions(take="0.8:1"))
    for name, more in (
        ("threes", ["--samples=3200", "--network.labels=false"]),
        ("nine", ["--samples=320", "--network.labels=true"]),
    ):
        options = [f"--data={cwd / name}", f"--out=run-{name}", "--optim.ema_samples=500", *more]
        result = command("ragdist.train", *TINY, *options, "--optim.g_lr=1e-3", "--optim.d_lr=1e-3", cwd=cwd)
        assert result.returncode == 0, result.stderr
    return cwd


def scored(place, run="run-threes", data="test", **options):
    return find(place / run, run, str(place / data), OutlierOptions(**FEW | options), CPU)


# Figures.


scores = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({outlier for _, outlier in rows}) == 2
)


@given(scores)
def test_auroc_is_the_share_of_pairs_in_the_right_order(rows):
    score, outlier = torch.tensor([float(s) for s, _ in rows]), torch.tensor([o for _, o in rows])
    pairs = [(a > b) + 0.5 * (a == b) for a in score[outlier].tolist() for b in score[~outlier].tolist()]
    assert auroc(score, outlier) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@given(scores)
def test_figures_are_those_of_torchmetrics(rows):
    score, outlier = torch.tensor([s / 10 + 0.5 for s, _ in rows]), torch.tensor([o for _, o in rows])
    assert auroc(score, outlier) == pytest.approx(float(binary_auroc(score, outlier.long())), abs=1e-6)
    expected = float(binary_average_precision(score, outlier.long()))
    assert average_precision(score, outlier) == pytest.approx(expected, abs=1e-6)


def test_figures_of_scores_that_say_all_or_nothing():
    outlier = torch.tensor([True, False, False, True])
    best = torch.tensor([2.0, -torch.inf, 0.0, torch.inf])
    assert (auroc(best, outlier), average_precision(best, outlier)) == (1, 1)
    assert (auroc(-best, outlier), auroc(torch.zeros(4), outlier)) == (0, 0.5)
    assert average_precision(torch.zeros(4), outlier) == 0.5
    assert roc(best, outlier)[0] == (0, 0)
    assert roc(best, outlier)[-1] == (1, 1)


# Protocols.


LABELS, CLASSES = torch.tensor([0, 0, 1, 2, -1]), ("a", "b", "c")


def named(trained, labels=LABELS, classes=CLASSES, **said):
    said = {"outlier_labels": "", "normal_labels": ""} | said
    return protocol(labels, classes, said, trained, where="DATA", run="RUN")


def test_protocols_are_told_by_what_was_trained_on():
    one = named(["a"], normal_labels="a")
    assert (one.name, one.normal, one.outliers) == (ONE_CLASS, ("a",), ("b", "c"))
    assert one.outlier.tolist() == [False, False, True, True, False]
    assert one.judged.tolist() == [True, True, True, True, False]
    assert "trained on a" in one.sentence()
    assert named(["a"], outlier_labels="b,c").name == ONE_CLASS
    assert named(["a", "b"], outlier_labels="c").name == LEAVE_ONE_OUT
    assert named(["a", "b", "x", "y"], LABELS, (*CLASSES, "d"), outlier_labels="c").name == LEAVE_ONE_OUT
    four = torch.tensor([0, 1, 2, 3])
    assert named(["a", "b"], four, ("a", "b", "c", "d"), normal_labels="a,b").name == OTHER
    assert "not checked" in named(None, outlier_labels="c").sentence()
    assert named(["a"]) is None


@pytest.mark.parametrize(
    ("trained", "said", "says"),
    [
        (["a", "b", "c"], {"outlier_labels": "c"}, "RUN was trained on c, which is to be an outlier.*--without c"),
        (["a"], {"outlier_labels": "c"}, "not trained on b, which is to be normal: give --normal_labels a"),
        (["a"], {"outlier_labels": "c", "normal_labels": "a"}, "each is what the other one leaves"),
        (["a"], {"normal_labels": "q"}, "there is no class 'q'"),
        (["a"], {"normal_labels": "a,b,c"}, "DATA holds no outlier"),
        (["a"], {"outlier_labels": "a,b,c"}, "DATA holds no normal sample"),
    ],
)
def test_protocols_are_never_mixed(trained, said, says):
    with pytest.raises(UserError, match=says):
        named(trained, **said)


def test_data_without_labels_have_no_protocol():
    with pytest.raises(UserError, match="DATA has no labels"):
        named(None, classes=(), outlier_labels="c")


# Shards of a part of a source.


def payloads(folder) -> list[bytes]:
    data = DataSet(str(folder), folder)
    return [data.samples(np.array([n]))[0].numpy().tobytes() for n in range(len(data))]


def test_parts_of_a_source_have_no_sample_in_common(place, digits):
    threes, nine, test = (DataSet(str(place / name), place) for name in ("threes", "nine", "test"))
    assert (threes.index.classes, len(nine.index.classes), len(test.index.classes)) == (("3",), 9, 10)
    assert "3" not in nine.index.classes
    assert len(threes) + len(nine) == round(0.8 * 1797)
    assert len(threes) + len(nine) + len(test) == 1797
    every = sorted(payloads(place / "threes") + payloads(place / "nine") + payloads(place / "test"))
    assert every == sorted(payloads(digits))
    assert set(threes.labels.tolist()) == {0}


def test_labels_of_a_part_are_those_of_the_whole(tmp_path):
    write_shards("digits", tmp_path / "some", ShardOptions(classes="7, 1"))
    write_shards("digits", tmp_path / "ones", ShardOptions(classes="1"))
    some = DataSet(str(tmp_path / "some"), tmp_path)
    assert some.index.classes == ("1", "7")  # in the source's order
    ones = [payload for payload, label in zip(payloads(tmp_path / "some"), some.labels, strict=True) if label == 0]
    assert sorted(ones) == sorted(payloads(tmp_path / "ones"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": "ten"}, "--classes ten: there is no class 'ten'"),
        ({"classes": "1", "without": "2"}, "give one of them"),
        ({"classes": "1", "labels": "none"}, "digits has no labels"),
        ({"take": "0.8"}, "it must be a share as 0:0.8"),
        ({"take": "0.8:0.2"}, "it must be a share as 0:0.8"),
        ({"take": "0:1.5"}, "it must be a share as 0:0.8"),
        ({"take": "0.1:0.1001"}, "no sample is left by --take"),
        ({"without": "0,1,2,3,4,5,6,7,8,9"}, "no sample is left by --without"),
    ],
)
def test_parts_that_are_none(tmp_path, options, says):
    with pytest.raises(UserError, match=says):
        write_shards("digits", tmp_path / "out", ShardOptions(**options))


# Scores.


def test_scores_of_a_one_class_run(place):
    result = command(
        OUTLIERS, "run-threes", "test", "--normal_labels=3", "--samples=300", "--invert=10", "--rate=0.5", cwd=place
    )
    assert result.returncode == 0, result.stderr
    assert "protocol  one-class (trained on 3)" in result.stdout
    assert "baseline: training data, in pixels" in result.stdout
    content = json.loads((place / "run-threes/outliers.json").read_text())
    assert content["protocol"]["name"] == ONE_CLASS
    assert content["protocol"]["normal_samples"] + content["protocol"]["outlier_samples"] == 359
    assert content["training"]["samples"] == len(DataSet(str(place / "threes"), place))
    with open(place / "run-threes/outliers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == list(range(359))
    assert rows[7]["where"].startswith("shard-000000.tar:")
    outlier = torch.tensor([int(row["outlier"]) for row in rows])
    assert [row["label"] != "3" for row in rows] == outlier.bool().tolist()
    assert set(content["figures"]) == {"logit", "features", "points", "residual", "combined", "training"}
    for name, figures in content["figures"].items():
        column = torch.tensor([float(row[name]) for row in rows], dtype=torch.float64)
        assert figures["auroc"] == pytest.approx(auroc(column, outlier.bool()), abs=1e-6)
    assert content["figures"]["points"]["auroc"] > 0.9
    assert all(float(row["residual"]) <= float(row["points"]) * (1 + 1e-5) for row in rows)
    assert sum(float(row["residual"]) < 0.999 * float(row["points"]) for row in rows) > 250
    page = (place / "run-threes/outliers.html").read_text()
    for part in ("Least typical", "Most typical", "Outliers that look most typical", "Protocol: one-class", "<svg"):
        assert part in page


def test_distances_are_those_of_brute_force(place):
    found = scored(place, samples=50)
    networks, scorer = found.networks, found.scorer
    z, _ = scorer.latents(torch.arange(50))
    data = DataSet(str(place / "test"), place)
    samples = training("image").to_network(data.samples(np.arange(len(data)))[0], data.index.form)
    with torch.no_grad():
        made = networks.generator(z)
        distances = torch.cdist(samples.flatten(1).double(), made.flatten(1).double())
        seen = torch.cdist(
            networks.discriminator.features(samples).double(), networks.discriminator.features(made).double()
        )
        logits = networks.discriminator(samples)
    columns = found.scored.columns
    torch.testing.assert_close(columns["points"], distances.amin(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(columns["features"], seen.amin(1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(columns["logit"], -logits.double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(columns["combined"], (columns["points"] * columns["features"]).sqrt())
    assert (found.scored.nearest_sample == distances.argmin(1)).double().mean() > 0.99


def test_a_conditional_run_takes_the_likeliest_class(place):
    found = scored(place, "run-nine", samples=100, invert=2, outlier_labels="3")
    assert found.protocol.name == LEAVE_ONE_OUT
    data, networks = DataSet(str(place / "test"), place), found.networks
    samples = training("image").to_network(data.samples(np.arange(len(data)))[0], data.index.form)
    with torch.no_grad():
        each = [networks.discriminator(samples, torch.full((len(samples),), k)) for k in range(9)]
    torch.testing.assert_close(found.scored.columns["logit"], -torch.stack(each).amax(0).double(), rtol=1e-4, atol=1e-4)


def test_scores_are_equal_with_any_number_of_threads(place):
    before = torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(scored(place, invert=3, batch=64).scored.columns)
    torch.set_num_threads(before)
    for name, column in found[0].items():
        assert torch.equal(column, found[1][name]), name


def test_latents_of_a_generators_own_samples_are_found(place):
    found = scored(place, samples=100)
    scorer, networks = found.scorer, found.networks
    z, _ = scorer.latents(torch.arange(8))
    start = torch.from_numpy(np.random.default_rng(0).normal(size=(8, z.shape[1])).astype(np.float32))
    with torch.no_grad():
        target, before = (scorer.points(networks.generator(each)) for each in (z, start))
    inverted = invert(networks.generator, networks.modality, 32, target, start, None, steps=300, rate=0.1)
    assert (inverted.residual < 0.2 * (before - target).norm(dim=1)).all()
    assert networks.generator(inverted.z).requires_grad is False
    none = invert(networks.generator, networks.modality, 32, target, start, None, steps=0, rate=0.1)
    torch.testing.assert_close(none.residual, (before - target).norm(dim=1))


def test_the_training_data_are_no_distance_from_themselves(place):
    found = scored(place, data="threes")
    assert found.scored.columns["training"].max() == 0
    assert found.scored.nearest_training.tolist() == found.scored.numbers.tolist()
    assert any("is the training data of" in note for note in found.notes)


def test_a_folder_of_pictures_without_labels(place, tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(number, (8, 8)).convert("L"), "png"))
    result = command(
        OUTLIERS, "run-threes", tmp_path, "--samples=50", "--train=none", f"--out={tmp_path / 'out'}", cwd=place
    )
    assert result.returncode == 0, result.stderr
    assert "least typical by geometric mean of the distances" in result.stdout
    with open(tmp_path / "out/outliers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["where"].rpartition("/")[2] for row in rows] == [f"{number}.png" for number in range(5)]
    assert "training" not in rows[0]
    line = refused(command(OUTLIERS, "run-threes", tmp_path, "--normal_labels=3", cwd=place))
    assert "has no labels" in line


def test_a_run_behind_a_url(place, tmp_path, s3):
    remote, run = RemoteFolder("s3://bucket/threes"), place / "run-threes"
    for file in (path for path in run.rglob("*") if path.is_file()):
        remote.put(file, str(file.relative_to(run)))
    result = command(OUTLIERS, "s3://bucket/threes", place / "test", "--samples=50", "--normal_labels=3", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "threes-outliers/outliers.html").is_file()
    assert "one-class" in result.stdout
    line = refused(command(OUTLIERS, "s3://bucket/nothing", place / "test", cwd=tmp_path))
    assert "s3://bucket/nothing holds no run" in line


def test_mistakes(place, tmp_path):
    def says(*arguments):
        return refused(command(OUTLIERS, *arguments, cwd=place))

    assert "is an exported generator" in says("run-threes/generator.safetensors", "test")
    assert "python -m ragdist.outliers run-threes DATA" in says("run-threes/generator.safetensors", "test")
    assert "no run at nowhere" in says("nowhere", "test")
    assert "holds no run" in says("test", "test")
    shutil.copytree(place / "run-threes", tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare/checkpoints")
    assert "holds no checkpoint" in says(tmp_path / "bare", "test")
    write_shards("digits", tmp_path / "large", ShardOptions(take="0:0.01"), {"size": 16})
    assert "holds samples of shape [1, 16, 16]" in says("run-threes", tmp_path / "large")
    assert "was trained on 3, which is to be an outlier" in says("run-threes", "test", "--outlier_labels=3")
    assert "--train " in says("run-threes", "test", "--train=nine")
    assert "--invert -1: it must be 0 or more" in says("run-threes", "test", "--invert=-1")
