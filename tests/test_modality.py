"""A modality of a plugin's, tests/plugins/vectors.py, through all commands: nothing in ragdist/ knows of it."""

import json
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ragdist import generate
from ragdist import train as train_command
from ragdist.config import settings
from ragdist.config.shards import IndexOptions, ShardOptions
from ragdist.data import index as index_file
from ragdist.data.index import Index
from ragdist.data.indexing.index_shards import index_shards
from ragdist.data.reader import ShardReader
from ragdist.data.shard_files import ShardFiles
from ragdist.data.writing.writer import write_shards
from ragdist.evaluation.report import history
from ragdist.generation import generator_file
from ragdist.modalities import base
from ragdist.tools import plugins
from ragdist.tools.errors import UserError
from tests import warm
from tests.conftest import TINY, begin, command, each_refused, plugins_of_a_test, refused_here
from tests.ranks import on_ranks
from tests.test_world import train
from tune import search
from tune.folder import SearchFolder

FILE = Path(__file__).parent / "plugins/vectors.py"
PLUGIN = f"--plugin={FILE}"
SHARDS, TRAIN, GENERATE, EVALUATE = "ragdist.shards", "ragdist.train", "ragdist.generate", "ragdist.evaluate"
FORM = {"dtype": "float32", "scale": 2.0}
N, D = 600, 5
IMAGES, EVERY = 960, 320
FIT = ["--network.labels=true", f"--samples={IMAGES}", f"--checkpoint.every={EVERY}", PLUGIN]


def said(result) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def values() -> tuple[np.ndarray, np.ndarray]:
    """Vectors of two kinds, float32 [N, D], and which of them each is."""
    rng = np.random.default_rng(0)
    kinds = np.arange(N) % 2
    centres = np.array([[3, -3, 0, 1, 2], [-2, 2, 4, -1, 0]])
    return (centres[kinds] + rng.normal(size=(N, D))).astype(np.float32), kinds


@pytest.fixture(scope="module", autouse=True)
def vectors():
    """The plugin's module, loaded in this process as commands load it."""
    with plugins_of_a_test():
        plugins.load([str(FILE)])
        import ragdist_plugins.vectors as module

        yield module


@pytest.fixture(scope="module")
def place(tmp_path_factory, vectors) -> Path:
    """``vectors.npy`` [N, D], and ``files``: the same as .vec files of scale 2 in two class folders."""
    cwd = tmp_path_factory.mktemp("vectors")
    rows, kinds = values()
    np.save(cwd / "vectors.npy", rows)
    for i, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        folder = cwd / "files" / "ab"[kind]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:03d}.vec").write_bytes(vectors.packed(row, 2.0))
    return cwd


@pytest.fixture(scope="module")
def data(place) -> Path:
    """Shards with labels, of the files."""
    write_shards(str(place / "files"), place / "data", ShardOptions(shard_samples=250))
    return place / "data"


@pytest.fixture(scope="module")
def run(place, data) -> Path:
    """A run with all that a run may have beside it: a loader process, grids, TensorBoard, evaluations on its way."""
    options = [o for o in TINY if not o.startswith(("--data.loader", "--monitor"))]
    options += ["--data.loader_workers=1", f"--monitor.grid_every={EVERY}", f"--evaluate_every={EVERY}"]
    options += ["--evaluate.samples=100", "--evaluate.metrics=frechet,spread", "--evaluate.share=1"]
    options += [f"--evaluate.cache={place / 'cache'}", "--checkpoint.keep=9"]
    (place / "said").write_text(said(command(TRAIN, *options, *FIT, f"--data={data}", "--out=run", cwd=place)))
    return place / "run"


def read(folder: Path, index: Index) -> list[tuple[torch.Tensor, int]]:
    reader = ShardReader(ShardFiles(folder, index))
    return [reader.read(n, i) for n, shard in enumerate(index.shards) for i in range(shard.samples)]


def as_set(rows) -> set[bytes]:
    return {np.asarray(row, np.float32).tobytes() for row in rows}


# Making shards.


def test_shards_of_an_array_with_an_option_of_the_modality(place, tmp_path):
    text = said(command(SHARDS, place / "vectors.npy", "data", PLUGIN, "--scale=2.5", "--processes=2", cwd=tmp_path))
    assert f"data: {N} samples [{D}] in 1 shards, no labels" in text
    assert f"--network.family mlp --data data {PLUGIN.replace('=', ' ')} --out" in text
    index = index_file.load(tmp_path / "data")
    assert (index.codec, index.shape, index.spec) == ("vectors", (D,), FORM | {"scale": 2.5})
    assert as_set(sample for sample, _ in read(tmp_path / "data", index)) == as_set(values()[0])


def test_shards_of_files_keep_values_and_labels(data):
    index = index_file.load(data)
    assert (index.classes, index.spec, index.samples) == (("a", "b"), FORM, N)
    kinds = {row.tobytes(): kind for row, kind in zip(*values(), strict=True)}
    for sample, label in read(data, index):
        assert sample.dtype == torch.float32
        assert kinds[sample.numpy().tobytes()] == label


def test_shards_of_others(place, tmp_path):
    """A tar of the files, with labels beside them, and one in another form."""
    files = sorted((place / "files").rglob("*.vec"))
    (tmp_path / "0.cls").write_text("0")
    with tarfile.open(tmp_path / "theirs.tar", "w") as tar:
        for number, file in enumerate(files):
            tar.add(file, f"{number:04d}.vec")
            tar.add(tmp_path / "0.cls", f"{number:04d}.cls")
    assert f"{N} samples [{D}]" in said(command(SHARDS, "index", "theirs.tar", "--processes=2", PLUGIN, cwd=tmp_path))
    index = index_file.load(tmp_path)
    assert (index.codec, index.spec, index.classes) == ("vectors", FORM, ("0",))
    assert as_set(sample for sample, _ in read(tmp_path, index)) == as_set(values()[0])
    with pytest.raises(UserError, match=r"no sample can be read: .* it has no image, only \.vec, \.cls"):
        index_shards([str(tmp_path)], IndexOptions(modality="image"), overwrite=True)
    with pytest.raises(
        UserError, match=r"^--channels: .*theirs\.tar holds vectors, and it is for images; leave it out$"
    ):
        index_shards([str(tmp_path)], IndexOptions(), {"channels": 1}, overwrite=True)


def test_check_and_stats(data, tmp_path):
    assert "all is well" in said(command(SHARDS, "check", data, "--with=webdataset", PLUGIN, cwd=tmp_path))
    text = said(command(SHARDS, "stats", data, "--out=page.png", "--columns=4", PLUGIN, cwd=tmp_path))
    assert f"samples  {N} of shape [{D}] (vectors)" in text
    width, height = Image.open(tmp_path / "page.png").size
    assert width > 4 * 8 * D
    assert 2 * 64 < height < 3 * 64, "a row for each class"


@pytest.mark.parametrize(
    ("arrange", "says"),
    [
        (lambda v, a, b: (a.write_bytes(v.packed(np.ones(5), 1)), b.write_bytes(v.packed(np.ones(4), 1))),
         "vectors of different forms: "),
        (lambda v, a, b: (a.write_bytes(v.packed(np.ones(5), 1)), b.write_bytes(v.packed(np.ones(5), 2))),
         "5 values of scale 2"),
        (lambda v, a, b: a.write_bytes(b"nothing"), "a.vec cannot be read as a vector (it is no .vec file)"),
        (lambda v, a, b: (a.write_bytes(v.packed(np.ones(5), 1)), b.with_suffix(".png").touch()),
         "may hold images or vectors: say which with --modality image or --modality vectors"),
        (lambda v, a, b: np.save(a.with_name("x.npy"), np.ones((4, 5, 6, 7))), "for vectors it holds float64 [4, 5, 6"),
    ],
)  # fmt: skip
def test_mistakes_in_sources(arrange, says, vectors, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    arrange(vectors, source / "a.vec", source / "b.vec")
    array = source / "x.npy"
    with pytest.raises(UserError) as error:
        write_shards(str(array if array.exists() else source), tmp_path / "out", ShardOptions())
    assert says in str(error.value)


def test_what_an_index_could_not_say_is_refused_before_anything_is_written(place, vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors.Making, "spec", frozenset(("dtype",)))
    said_of = r"^the modality 'vectors' says of its samples scale, and its `spec` does not list that$"
    with pytest.raises(UserError, match=said_of):
        write_shards(str(place / "files"), tmp_path / "out", ShardOptions())
    with tarfile.open(tmp_path / "theirs.tar", "w") as tar:
        tar.add(place / "files/a/000.vec", "0.vec")
    with pytest.raises(UserError, match=said_of):
        index_shards([str(tmp_path)], IndexOptions())
    monkeypatch.setattr(vectors.Making, "spec", frozenset(("dtype", "scale")))
    monkeypatch.setattr(
        vectors, "form_of", lambda payload: base.Form((D,), {"dtype": "float32", "scale": float("nan")})
    )
    for attempt in (
        lambda: write_shards(str(place / "files"), tmp_path / "out", ShardOptions(bad="skip")),
        lambda: index_shards([str(tmp_path)], IndexOptions(bad="skip")),
    ):
        with pytest.raises(UserError, match=r"^a modality says of its samples {'dtype': 'float32', 'scale': nan}, "):
            attempt()
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.tar"]


def test_without_the_plugin_a_line_says_what_is_missing(run, tmp_path):
    for name in ("data", "files"):
        (tmp_path / name).symlink_to(run.parent / name)
    shutil.copy(run / "generator.safetensors", tmp_path)
    for line in each_refused(
        tmp_path,
        [TRAIN, *TINY, "--data=data", "--out=new"],
        [SHARDS, "check", "data"],
        [SHARDS, "stats", "data"],
        [GENERATE, "generator.safetensors", "--out=samples.npy"],
        [EVALUATE, "generator.safetensors", "--data=data"],
        [EVALUATE, "files", "--data=data"],
    ):
        missing = (
            "holds samples of the modality 'vectors', which is not here: give the plugin that adds it, as --plugin"
        )
        assert missing in line


# Training.


def weights(run: Path) -> str:
    return json.loads((run / "summary.json").read_text())["weights_sha256"]


def test_a_run_and_what_it_shows(run):
    text = (run.parent / "said").read_text()
    assert f"{IMAGES} vectors in" in text
    assert f"evaluation after {EVERY} vectors: " in text
    grids = sorted((run / "samples").glob("samples-*.png"))
    assert len(grids) == 1 + IMAGES // EVERY
    width, height = Image.open(grids[0]).size
    assert (width, height) == (10 * (8 * D + 10) + 2, 8 * 66 + 2)
    course = Image.open(run / "samples/course.png")
    assert course.height == len(grids) * 66 + 2
    assert course.width > width, "names stand beside the rows"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
    assert {"samples", "course"} <= set(board.Tags()["images"])
    assert [event.step for event in board.Scalars("evaluate/spread")] == [EVERY, 2 * EVERY, IMAGES]


def test_a_killed_run_goes_on_to_the_same_weights(run, data, tmp_path):
    argv = [*TINY, *FIT, f"--data={data}", "--out=run", "--data.loader_workers=1", "--checkpoint.every=32"]
    process = begin(TRAIN, *argv, cwd=tmp_path)
    end = time.monotonic() + 240
    while not list((tmp_path / "run/checkpoints").glob("samples-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.wait()
    text = said(command(TRAIN, *argv, cwd=tmp_path))
    assert "continuing from" in text
    assert weights(tmp_path / "run") == weights(run)


def train_on(world, argv: list[str]) -> list:
    """One rank of a run: its weights, their hash, bad samples."""
    config, _ = settings.parse(argv, "test")
    found = train(world, config)
    return [found["weights"], found["sha"], found["bad"]]


@pytest.fixture(scope="module")
def damaged(data, place) -> Path:
    """The data with a sample whose bytes are others than were indexed, and one that is of another scale."""
    copy = shutil.copytree(data, place / "damaged")
    index = index_file.load(copy)
    table = index_file.load_table(copy, index.shards[0])
    with open(copy / index.shards[0].name, "r+b") as tar:
        tar.seek(int(table["offset"][3]) + 20)
        tar.write(b"\xff")
    return copy


def test_two_workers_and_bad_samples(damaged, tmp_path):
    options = [*TINY, *FIT, f"--data={damaged}", "--optim.warmup_samples=2000", "--samples=640", "--data.max_bad=0.01"]
    single = on_ranks(1, train_on, [*options, f"--out={tmp_path / 'single'}"])[0]
    pair = on_ranks(2, train_on, [*options, f"--out={tmp_path / 'pair'}"])
    assert np.array_equal(pair[0][0], pair[1][0]), "the ranks differ"
    assert np.array_equal(pair[0][0], single[0])
    assert single[2] == pair[0][2] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--network.family=dcgan"], "--network.family dcgan cannot make vectors [1, 5]: use mlp"),
        (["--network.family=resnet"], "--network.family resnet cannot make vectors [1, 5]: use mlp"),
        (["--data.flip=true"], "--data.flip and --data.crop_padding are for images: leave them out"),
        (["--evaluate_every=64", "--evaluate.features=pixels"], "--evaluate.features pixels: vectors have no such"),
        (["--evaluate_every=64", "--evaluate.metrics=swd"], "--evaluate.metrics swd needs other samples than"),
        (["--evaluate_every=64", "--evaluate.metrics=classes"], "--evaluate.metrics classes needs other samples than"),
    ],
)
def test_what_does_not_suit_vectors_gets_one_line(data, tmp_path, arguments, says):
    argv = [*TINY, PLUGIN, f"--data={data}", f"--out={tmp_path / 'new'}", *arguments]
    assert says in refused_here(train_command.main, *argv)


def test_a_search_by_features_of_other_samples_is_refused_before_it_writes_anything(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [*TINY, PLUGIN, f"--data={data}", "--features=pixels", "--out=found"]
    assert refused_here(search.main, *argv).startswith("--features pixels: vectors have no such features")
    assert not list(tmp_path.iterdir())


@pytest.mark.cluster
def test_two_ray_workers_and_a_search(data, tmp_path):
    pytest.importorskip("ray", reason="needs Ray")
    quiet = os.environ | {"RAY_worker_niceness": "0", **warm.SETTINGS}
    options = [*TINY, "--network.labels=true", "--samples=640", PLUGIN, f"--data={data}", "--cpus_per_worker=1"]
    found = ["--trials=2", "--samples=100", "--metric=kid", "--budget_samples=320", "--out=found"]
    for module, more in ((TRAIN, ["--workers=2", "--out=pair"]), ("tune.search", found)):
        argv = [warm.python(), "-m", module, *options, *more]
        said(subprocess.run(argv, cwd=tmp_path, env=quiet, capture_output=True, text=True, timeout=500))
    assert len(weights(tmp_path / "pair")) == 64
    assert [trial.state for trial in SearchFolder(tmp_path / "found").read()] == ["finished"] * 2
    assert "data:image/png" in (tmp_path / "found/report.html").read_text()


# Samples of the generator.


def test_generate(run, tmp_path):
    """The run says which plugin it was trained with; a generator on its own has to be given one."""
    assert "samples.npy: an array [70, 5]" in said(command(GENERATE, run, "--n=70", cwd=tmp_path))
    shutil.copy(run / "generator.safetensors", tmp_path / "g.safetensors")
    said(command(GENERATE, "g.safetensors", "--n=70", "--out=files", PLUGIN, cwd=tmp_path))
    rows = np.load(tmp_path / "samples.npy")
    assert (rows.dtype, rows.shape) == (np.float32, (70, D))
    exported = generator_file.load(run / "generator.safetensors", torch.device("cpu"))
    assert exported.form == ((D,), FORM)
    assert exported.generator(torch.zeros(1, 8), torch.zeros(1, dtype=torch.int64)).shape == (1, 1, D)
    files = sorted((tmp_path / "files").iterdir())
    assert [file.name for file in files] == [f"{i:06d}.vec" for i in range(70)]
    for row, file in zip(rows, files, strict=True):
        assert np.frombuffer(file.read_bytes()[16:], "<f4") == pytest.approx(row, rel=1e-5)
    generate.main([str(run), "--n=4", f"--out={tmp_path / 'b.npy'}", "--class=b"])
    assert not np.array_equal(np.load(tmp_path / "b.npy"), rows[:4])
    few = ["--n=4", "--interpolate", "--points=2", "--frames=3"]
    generate.main([str(run), *few, f"--out={tmp_path / 'a.gif'}"])
    assert Image.open(tmp_path / "a.gif").n_frames > 1
    assert "end it in .npy, or name a folder" in refused_here(generate.main, run, "--out=grid.png")
    assert "name it samples.gif" in refused_here(generate.main, run, "--interpolate")


def figures(folder: Path) -> dict[str, float]:
    content = json.loads((folder / "evaluation.json").read_text())
    return {name: figure["value"] for name, figure in content["figures"].items()}


def test_evaluate(run, place, tmp_path):
    few = ["--samples=100", f"--cache={place / 'cache'}", "--device=cpu"]
    text = said(command(EVALUATE, run, *few, "--out=one", cwd=tmp_path))
    assert f"generator after {IMAGES} vectors" in text
    assert "values" in text
    one = figures(tmp_path / "one")
    assert {"frechet_distance", "kid", "precision", "coverage", "copies", "spread"} <= set(one)
    assert not {"swd_8", "ms_ssim", "modes", "inception_score"} & set(one)
    assert 0.05 < one["spread"] < 5
    page = (tmp_path / "one/evaluation.html").read_text()
    for part in ("Samples", "Nearest training vectors", "Between latents"):
        assert f"<h2>{part}</h2>" in page
    last = history.read_lines(run / "evaluations.jsonl")[-1]
    assert {name: one[name] for name in last["figures"]} == pytest.approx(last["figures"], rel=1e-4)

    said(command(EVALUATE, run, *few, "--out=two", "--workers=2", cwd=tmp_path))
    assert figures(tmp_path / "two") == pytest.approx(one, rel=1e-4)

    generate.main([str(run), "--n=100", f"--out={tmp_path / 'files'}"])
    said(command(EVALUATE, "files", *few, f"--data={place / 'data'}", PLUGIN, cwd=tmp_path))
    files = figures(tmp_path / "files-evaluation")
    assert set(files) == set(one)
    assert files["spread"] == pytest.approx(one["spread"], rel=0.2)
