"""Arrays that are generated, looked at and judged, by the commands."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ragdist.data.sources import paths as grid_world
from ragdist.evaluate import main as judge
from ragdist.generate import main as draw
from ragdist.metrics.measure import Material, Result
from ragdist.modalities.array import files, foreign, judging, shapes
from ragdist.modalities.array.features import Numbers
from ragdist.modalities.array.measures import CROSSINGS, ROUTES, TRAJECTORIES
from ragdist.modalities.array.picture import SIDE
from ragdist.modalities.base import Form
from tests.conftest import TINY, command, refused_here

FORM = Form((2, 16), {"shift": [0, 0], "scale": [1, 2]})
NETWORK = [words for words in TINY if not words.startswith(("--monitor", "--network.family"))]


def circles(count: int, seed: int, radius: float = 1.0) -> np.ndarray:
    """Circles of about one radius, from any of their points on, float32 [count, 2, 16]."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 16) + rng.uniform(0, 6, (count, 1))
    around = np.stack([np.cos(angle), np.sin(angle)], 1)
    return (radius * rng.uniform(0.9, 1.1, (count, 1, 1)) * around).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with shards of circles of two classes, other shards of them, and a run of two updates."""
    cwd = tmp_path_factory.mktemp("arrays")
    for name, seed in (("data", 0), ("other", 1)):
        np.savez(cwd / f"{name}.npz", tracks=circles(60, seed), labels=np.arange(60) % 2)
        made = command("ragdist.shards", f"{name}.npz", name, "--modality=array", "--processes=1", cwd=cwd)
        assert made.returncode == 0, made.stderr
    options = ["--data=data", "--out=run", "--samples=64", "--network.family=resnet1d", "--network.labels=true"]
    options += ["--evaluate_every=64", "--evaluate.samples=20", "--evaluate.cache=cache"]
    made = command("ragdist.train", *NETWORK, *options, cwd=cwd)
    assert made.returncode == 0, made.stderr
    assert "evaluation after 64 arrays: frechet_distance" in made.stdout
    assert "--out samples.png" in made.stdout
    return cwd


def test_samples_are_written_as_numbers_and_as_pictures(place, tmp_path):
    run = str(place / "run")
    for out in ("a.npz", "a.csv", "a.png", "each"):
        draw([run, "--n=5", f"--out={tmp_path / out}"])
    numbers = np.load(tmp_path / "a.npz")["samples"]
    assert (numbers.shape, numbers.dtype) == ((5, 2, 16), np.float32)
    each = [np.load(tmp_path / "each" / f"{i:06d}.npy") for i in range(5)]
    assert (np.stack(each) == numbers).all()
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "sample,step,x0,x1"
    table = np.loadtxt(tmp_path / "a.csv", delimiter=",", skiprows=1)
    assert (table[:, :2] == [(i, j) for i in range(5) for j in range(16)]).all()
    assert (table[:, 2:].astype(np.float32).reshape(5, 16, 2).transpose(0, 2, 1) == numbers).all(), "digits were lost"
    assert Image.open(tmp_path / "a.png").size == (3 * SIDE + 8, 2 * SIDE + 6)
    draw([run, "--interpolate", "--n=2", "--points=2", "--frames=3", f"--out={tmp_path / 'a.gif'}"])
    assert Image.open(tmp_path / "a.gif").n_frames == 6
    assert "end it in .npz or .csv" in refused_here(draw, run, "--out=a.wav")
    assert "a.gif" in refused_here(draw, run, "--interpolate", "--out=a.npz")


def test_a_run_is_judged_beside_data_of_another_scale(place, tmp_path):
    judge([str(place / "run"), f"--held_out={place / 'other'}", "--samples=40", f"--out={tmp_path / 'a'}",
           f"--cache={place / 'cache'}", "--device=cpu", f"--data={place / 'data'}"])  # fmt: skip
    found = json.loads((tmp_path / "a/evaluation.json").read_text())["figures"]
    assert {"frechet_distance", "coverage", "js_step", "js_turn", "js_length", "js_radius", "js_ends"} <= found.keys()
    assert "routes" not in found, "nobody knows them"
    assert "data:image/png" in (tmp_path / "a/evaluation.html").read_text()


def test_a_measure_that_is_asked_for_says_that_it_finds_nothing(place, tmp_path):
    words = ["--samples=40", f"--cache={place / 'cache'}", "--device=cpu", f"--data={place / 'data'}"]
    judge([str(place / "run"), *words, f"--out={tmp_path / 'a'}", "--metrics=crossings,trajectories,routes"])
    notes = json.loads((tmp_path / "a/evaluation.json").read_text())["notes"]
    assert notes == [f"--metrics {name}: there is nothing of it in these data" for name in ("crossings", "routes")]


def test_a_file_of_many_arrays_is_judged(place, tmp_path):
    draw([str(place / "run"), "--n=20", f"--out={tmp_path / 'a.npz'}"])
    words = ["--samples=40", f"--cache={place / 'cache'}", "--device=cpu", f"--data={place / 'data'}"]
    judge([str(tmp_path / "a.npz"), *words, f"--out={tmp_path / 'a'}"])
    content = json.loads((tmp_path / "a/evaluation.json").read_text())
    assert (content["judged"]["files"], content["judged"]["held"]) == (1, 20)
    np.savez(tmp_path / "two.npz", a=np.ones((2, 2, 16)), b=np.ones(3))
    assert "holds no arrays: it holds no array 'samples' but a, b" in refused_here(judge, tmp_path / "two.npz", *words)
    (tmp_path / "two.npz").write_bytes(b"PK")
    assert "it is no .npz file, or damaged" in refused_here(judge, tmp_path / "two.npz", *words)


def test_others_files_are_judged(place, tmp_path):
    (tmp_path / "theirs").mkdir()
    for i, circle in enumerate(circles(40, 2)):
        np.save(tmp_path / "theirs" / f"{i}.npy", circle.T if i % 2 else circle.astype(np.float64))
    words = [f"--data={place / 'data'}", f"--cache={place / 'cache'}", "--device=cpu", f"--out={tmp_path / 'a'}"]
    judge([str(tmp_path / "theirs"), *words])
    found = json.loads((tmp_path / "a/evaluation.json").read_text())
    assert found["figures"]["coverage"]["value"] > 0.8
    assert "transposed to [channels, steps]: 20 of 40 samples" in json.dumps(found)
    np.save(tmp_path / "theirs/9.npy", np.ones(7))
    assert "has the shape [7], not [2, 16]" in refused_here(judge, tmp_path / "theirs", *words)


@pytest.mark.parametrize(("array", "says"), [
    (np.array([{}], object), "holds object"), (np.full((2, 16), np.nan), "not finite"),
    (np.full((2, 16), 1j), "floats or integers"), (np.full((2, 16), "a"), "floats or integers"), (np.ones((2, 16, 1)), r"has the shape \[2, 16, 1\]"),
])  # fmt: skip
def test_files_of_others_that_are_no_arrays(tmp_path, array, says):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=says):
        files.row_of((tmp_path / "a.npy").read_bytes(), FORM)


@pytest.mark.parametrize("shape", ["(True, True)", "(-2, -2)", "(4, -1)"])
def test_a_header_with_a_shape_that_is_none(shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117)
    numbers = bytes(16 if "-2" in shape else 4)
    with pytest.raises(ValueError, match="its header says"):
        foreign.content(b"\x93NUMPY\x01\x00v\x00" + header.encode() + b"\n" + numbers)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["i8", "u8", "i4", "u4"])
def test_the_largest_whole_numbers_are_rounded(kind):
    largest = np.iinfo(kind).max
    assert foreign.rounded(np.array([largest, 1], kind)) == ("rounded to float32",)
    assert foreign.rounded(np.array([largest // 2 + 1, np.iinfo(kind).min], kind)) == ()


def test_shapes_of_a_square():
    square = np.array([[[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]]], np.float32)
    assert shapes.steps(square).tolist() == [[1, 1, 1, 1]]
    assert shapes.turns(square) == pytest.approx(np.full((1, 3), np.pi / 2))
    assert shapes.turns(square[:, :, ::-1]) == pytest.approx(np.full((1, 3), -np.pi / 2)), "to the right"
    in_space = np.concatenate([square, np.zeros((1, 1, 5))], 1)
    assert shapes.turns(in_space[:, [2, 1, 0]]) == pytest.approx(np.full((1, 3), np.pi / 2))
    corners = np.array([[[1, 1, -1, -1], [1, -1, -1, 1]]])
    assert shapes.radii(corners + 5).tolist() == pytest.approx([2**0.5])


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([(), (2,)]))
def test_a_divergence_of_histograms(data, more):
    some = arrays.arrays(np.float64, (12, *more), elements=st.floats(-9, 9))
    a, b, reals = (data.draw(some) for _ in range(3))
    value = shapes.histogram_divergence(a, b, reals)
    assert -1e-12 <= value <= 1 + 1e-12
    assert value == pytest.approx(shapes.histogram_divergence(b, a, reals))
    assert shapes.histogram_divergence(a, a, reals) == 0
    assert shapes.histogram_divergence(reals, reals + 100, reals) == pytest.approx(1), "beyond all bins"


def test_what_is_unlike_has_larger_divergences():
    half, other, small = circles(400, 3), circles(400, 4), circles(400, 5, 0.7)
    for values in (lambda x: shapes.steps(x).ravel(), shapes.radii, lambda x: x[:, :, -1]):
        alike, unlike = (shapes.histogram_divergence(values(x), values(half), values(half)) for x in (other, small))
        assert alike < 0.3 < unlike


@pytest.mark.parametrize(
    ("shape", "numbers"), [((2, 16), 32), ((2, 300), 256), ((300, 2), 300), ((1000,), 256), ((3,), 3)]
)
def test_features(shape, numbers):
    channels = shape[0]
    form = Form(shape, {"shift": [1.0] * channels, "scale": [2.0] * channels})
    features = Numbers(form)
    found, _ = features(torch.full((4, *shape), 5.0))
    assert found.shape == (4, features.dim) == (4, numbers)
    torch.testing.assert_close(found, torch.full_like(found, 2.0))


@pytest.mark.parametrize("shape", [(2, 16), (3, 16), (1, 16), (5, 16), (7,), (1,), (2, 1)])
def test_anything_has_a_picture(shape):
    channels = shape[0]
    form = Form(shape, {"shift": [0.0] * channels, "scale": [1.0] * channels})
    for samples in (torch.randn(3, *shape), torch.zeros(3, *shape), torch.full((3, *shape), 1e30)):
        picture = judging.preview(samples, form, 3)
        assert picture.size == (3 * SIDE + 8, SIDE + 4)
    assert judging.html_rows([("a", torch.randn(2, *shape)), ("b", torch.randn(2, *shape))], form)


def test_what_is_judged_of_walks():
    about = grid_world.about()
    form = Form((2, grid_world.STEPS), {"shift": [0, 0], "scale": [1, 1], **about})
    walks = np.random.default_rng(0).permutation(grid_world.made(about, 0))
    reals = torch.from_numpy(walks[:800])

    def judged(fakes):
        material = Material("", None, None, 0, lambda n: None, torch.from_numpy(fakes), reals, "array", "arrays", form)
        result = Result()
        for measure in (TRAJECTORIES, CROSSINGS, ROUTES):
            measure.take(material, None, result)
        return {figure.name: (figure.value, float(figure.ideal)) for figure in result.figures}

    alike, one = judged(walks[800:1600]), judged(np.repeat(walks[:1], 800, 0))
    straight = judged(np.repeat(np.linspace([0, 0], [10, 8], grid_world.STEPS, dtype=np.float32).T[None], 800, 0))
    assert list(alike) == [
        "js_step",
        "js_turn",
        "js_length",
        "js_radius",
        "js_ends",
        "crossings",
        "routes",
        "no_route",
        "js_routes",
    ]
    for name in ("js_step", "js_turn", "js_length", "js_radius", "js_ends", "js_routes"):
        assert alike[name][0] == pytest.approx(alike[name][1], abs=0.03), "other walks of the same ways"
        assert one[name][0] > 3 * one[name][1]
    assert alike["crossings"] == alike["no_route"] == one["crossings"] == (0, 0)
    assert alike["routes"][0] > 0.9
    assert one["routes"][0] == 1 / len(about["routes"])
    assert (straight["crossings"][0], straight["routes"][0], straight["no_route"][0]) == (1, 0, 1)


def test_statistics():
    samples = torch.from_numpy(circles(4, 0))
    samples[2] = 3
    found = {figure.name: figure.values for figure in judging.statistics([], samples, FORM)}
    assert list(found["constant"]) == [False, False, True, False]
    assert found["length of the path"][2] == 0
    assert found["length of the path"][0] == pytest.approx(2 * np.pi, rel=0.15)
